//! Merging the pieces of one stream into one sorted run, without holding all of them decoded.
//!
//! Pieces come in order of arrival; their time ranges may overlap in any way. After each piece, the entries
//! older than everything that is still to come are final: they are handed on and forgotten. For a stream that
//! arrives in order this holds one or two pieces at a time.

use crate::error::Result;
use crate::head::Frozen;
use logyard_codec::Entries;
use std::ops::Range;

/// The next entries of a stream.
pub(crate) enum Piece<'a> {
    /// A frozen block as it is: everything before it is older, everything behind it newer.
    Whole(&'a Frozen),
    /// Some sorted rows.
    Rows(&'a Entries, Range<usize>),
}

/// Calls `emit` with the stream's entries in order of time, then arrival, equal ones once.
///
/// Returns how many entries were dropped as equal to another. Cost: decodes the blocks that overlap another piece.
pub(crate) fn merge(
    frozen: &[Frozen],
    open: Entries,
    mut emit: impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<u64> {
    // Earliest timestamp of all pieces behind each.
    let mut later_min = vec![i64::MAX; frozen.len()];
    let mut min_ns = open.min_ns();
    for (slot, piece) in later_min.iter_mut().zip(frozen).rev() {
        *slot = min_ns;
        min_ns = min_ns.min(piece.min_ns());
    }
    let mut removed = 0;
    let mut carried = Entries::default();
    for (piece, later_min) in frozen.iter().zip(later_min) {
        if carried.is_empty() && piece.max_ns() < later_min {
            emit(Piece::Whole(piece))?;
            continue;
        }
        let entries = piece.entries()?;
        if carried.is_empty() {
            carried = entries;
        } else {
            carried.append(&entries);
        }
        if carried.min_ns() >= later_min {
            continue;
        }
        removed += carried.sort_and_dedupe() as u64;
        let final_rows = carried.ts_ns().partition_point(|ts_ns| *ts_ns < later_min);
        emit(Piece::Rows(&carried, 0..final_rows))?;
        let mut rest = Entries::default();
        for row in final_rows..carried.len() {
            rest.push_from(&carried, row);
        }
        carried = rest;
    }
    carried.append(&open);
    removed += carried.sort_and_dedupe() as u64;
    emit(Piece::Rows(&carried, 0..carried.len()))?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;
    use logyard_model::{LabelSet, Stream, Tenant};
    use std::sync::Arc;

    /// What is handed on of a stream whose pieces, the last one open, have these timestamps: `[..]` for a whole block.
    fn merged(pieces: &[&[i64]]) -> (Vec<String>, u64) {
        let tenant = Tenant::single();
        let stream = Arc::new(Stream::new(&tenant, LabelSet::from_pairs([("app", "a")])));
        let head = Head::new(0);
        let head_stream = |head: &Head| Arc::clone(&head.days()[0].2.matching(&[])[0]);
        for (number, piece) in pieces.iter().enumerate() {
            let mut entries = Entries::new();
            piece.iter().for_each(|ts_ns| entries.push(*ts_ns, b"line", "", &LabelSet::default()));
            head.append(&tenant, &stream, entries, 0, &mut Vec::new());
            if number + 1 < pieces.len() {
                head_stream(&head).freeze().unwrap();
            }
        }
        let (frozen, open) = head_stream(&head).pieces();
        let mut found = Vec::new();
        let removed = merge(&frozen, open, |piece| {
            found.push(match piece {
                Piece::Whole(frozen) => format!("{:?} whole", frozen.entries()?.ts_ns()),
                Piece::Rows(entries, rows) => format!("{:?}", &entries.ts_ns()[rows]),
            });
            Ok(())
        });
        found.retain(|piece| piece != "[]");
        (found, removed.unwrap())
    }

    #[test]
    fn blocks_that_overlap_nothing_are_left_whole() {
        assert_eq!(merged(&[&[2, 1], &[3, 4], &[5]]).0, ["[1, 2] whole", "[3, 4] whole", "[5]"]);
        assert_eq!(
            merged(&[&[1, 2], &[3, 5], &[5, 6], &[7, 8], &[9, 8]]),
            (vec!["[1, 2] whole".into(), "[3]".into(), "[5, 6]".into(), "[7]".into(), "[8, 9]".into()], 2),
            "equal entries of two pieces are one"
        );
        assert_eq!(merged(&[&[4, 5], &[1, 9], &[2]]).0, ["[1]", "[2, 4, 5, 9]"]);
    }
}
