//! Parts of runs: what is left of a view when some of its rows are not to be seen.

use logyard_codec::{Block, Error, RunView};
use std::ops::Range;
use std::sync::Arc;

/// Returns the part of a run that some of its rows make, with times and bytes of its own; `None` if it has none.
///
/// Errors: those of the block. Cost: reads its timestamps and the lengths of its lines.
pub(crate) fn part(block: &Block, run: &RunView, rows: Range<u32>) -> Result<Option<RunView>, Error> {
    let (ts_ns, ends) = (block.timestamps()?, block.line_ends()?);
    let times = ts_ns.get(rows.start as usize..rows.end as usize).unwrap_or_default();
    let (Some(first_ns), Some(last_ns)) = (times.first(), times.last()) else { return Ok(None) };
    // Each line has one byte behind it that is not its own.
    let end_of =
        |row: u32| row.checked_sub(1).and_then(|row| ends.get(row as usize)).map_or(0, |end| end + 1);
    let text_bytes = end_of(rows.end).saturating_sub(end_of(rows.start));
    let raw_bytes = u64::from(text_bytes).saturating_sub(rows.len() as u64);
    Ok(Some(RunView {
        stream: Arc::clone(&run.stream),
        min_ns: *first_ns,
        max_ns: *last_ns,
        raw_bytes,
        rows,
    }))
}

/// Returns the stretches of `rows` without those of `gone`, which ascend.
pub(crate) fn without(rows: Range<u32>, gone: impl Iterator<Item = u32>) -> Vec<Range<u32>> {
    let (mut kept, mut next) = (Vec::new(), rows.start);
    for row in gone.filter(|row| rows.contains(row)) {
        if row > next {
            kept.push(next..row);
        }
        next = row + 1;
    }
    if next < rows.end {
        kept.push(next..rows.end);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_lie_between_the_rows_that_go() {
        let check = |gone: &[u32], expect: &[(u32, u32)]| {
            let kept = without(10..15, gone.iter().copied());
            let kept: Vec<(u32, u32)> = kept.into_iter().map(|rows| (rows.start, rows.end)).collect();
            assert_eq!(kept, expect, "{gone:?}");
        };
        check(&[], &[(10, 15)]);
        check(&[10], &[(11, 15)]);
        check(&[3, 12, 99], &[(10, 12), (13, 15)]);
        check(&[11, 12, 14], &[(10, 11), (13, 14)]);
        check(&[10, 11, 12, 13, 14], &[]);
    }
}
