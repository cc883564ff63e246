//! The timestamps of a block: per run the first one and what each adds to the one before.
//!
//! Bytes: count of runs, then per run its rows, its first timestamp (zigzag) and the exponent of its unit,
//! then all deltas, each divided by the unit of its run; all numbers are varints. The unit is the largest
//! of 1 s, 1 ms, 1 µs and 1 ns that divides every delta of the run: sources of millisecond timestamps pay
//! for milliseconds. Varints of the smaller numbers are never larger, so nothing else needs to be tried.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::{Cursor, put_len, put_varint, put_zigzag};
use crate::error::Error;

/// Units in ns by exponent code, smallest first.
const UNITS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];
const WHAT: &str = "timestamps";

/// Appends the timestamps of runs, each in order of time.
pub(crate) fn encode<'a>(runs: impl ExactSizeIterator<Item = &'a [i64]> + Clone, out: &mut Vec<u8>) {
    put_len(out, runs.len());
    let units: Vec<usize> = runs.clone().map(unit_code).collect();
    for (run, &unit) in runs.clone().zip(&units) {
        put_len(out, run.len());
        put_zigzag(out, run.first().copied().unwrap_or(0));
        put_len(out, unit);
    }
    for (run, &unit) in runs.zip(&units) {
        let divisor = UNITS.get(unit).copied().unwrap_or(1);
        deltas(run).for_each(|delta| put_varint(out, delta / divisor));
    }
}

/// Reads the timestamps of `rows` rows, a count which the caller has bounded.
pub(crate) fn decode(bytes: &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    let mut cursor = Cursor::new(WHAT, bytes);
    let run_count = cursor.count()?;
    let mut runs = Vec::new();
    let mut run_rows_total = 0usize;
    for _ in 0..run_count {
        let (run_rows, first_ns, unit) = (cursor.varint()?, cursor.zigzag()?, cursor.varint()?);
        let run_rows = usize::try_from(run_rows).unwrap_or(usize::MAX);
        let divisor = usize::try_from(unit).ok().and_then(|unit| UNITS.get(unit));
        let Some(&divisor) = divisor else {
            return Err(cursor.corrupt(format!("unknown unit {unit}")));
        };
        run_rows_total = run_rows_total.saturating_add(run_rows);
        if run_rows == 0 || run_rows_total > rows {
            return Err(cursor.corrupt(format!("a run of {run_rows} rows does not fit in {rows} rows")));
        }
        runs.push((run_rows, first_ns, divisor));
    }
    if run_rows_total != rows {
        return Err(cursor.corrupt(format!("want {rows} rows, got {run_rows_total}")));
    }
    let mut ts_ns = Vec::with_capacity(rows);
    for (run_rows, first_ns, divisor) in runs {
        let mut now_ns = first_ns;
        ts_ns.push(now_ns);
        for _ in 1..run_rows {
            let delta = cursor.varint()?.wrapping_mul(divisor);
            now_ns = now_ns.wrapping_add(delta.cast_signed());
            ts_ns.push(now_ns);
        }
    }
    cursor.finish()?;
    Ok(ts_ns)
}

fn deltas(run: &[i64]) -> impl Iterator<Item = u64> {
    run.iter().zip(run.iter().skip(1)).map(|(before, after)| after.wrapping_sub(*before).cast_unsigned())
}

fn unit_code(run: &[i64]) -> usize {
    let divides = |unit: u64| deltas(run).all(|delta| delta.is_multiple_of(unit));
    UNITS.iter().rposition(|&unit| divides(unit)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &[&[i64]], bytes_max: usize) {
        let mut out = Vec::new();
        encode(runs.iter().copied(), &mut out);
        let all = runs.concat();
        assert!(out.len() <= bytes_max, "{} bytes", out.len());
        assert_eq!(decode(&out, all.len()).unwrap(), all);
        assert!(decode(&out, all.len() + 1).is_err());
        assert!(decode(out.get(..out.len() - 1).unwrap(), all.len()).is_err());
    }

    #[test]
    fn runs_round_trip_in_their_own_unit() {
        check(&[&[i64::MIN, -1, 0, i64::MAX]], 60);
        let ns: Vec<i64> = (0..100).map(|row| 1_700_000_000_000_000_123 + row * 7).collect();
        let ms: Vec<i64> = (0..100).map(|row| 1_700_000_000_000_000_123 + row * 3_000_000).collect();
        let seconds: Vec<i64> = (0..100).map(|row| row * 1_000_000_000).collect();
        check(&[&ns, &ms, &seconds, &[5]], 400 - 3 + 50);
    }
}
