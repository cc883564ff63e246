//! The timestamps of a block: per run the first one and what each adds to the one before.
//!
//! Two forms, and writers take the smaller. Varints, for zstd to find repeats in: best where entries come at
//! regular times. Numbers as in `numbers.rs`: a tenth smaller where they come as they please.
//!
//! Bytes of the first: count of runs, then per run its rows, its first timestamp (zigzag) and the exponent of its unit,
//! then all deltas, each divided by the unit of its run; all numbers are varints. The unit is the largest
//! of 1 s, 1 ms, 1 µs and 1 ns that divides every delta of the run: sources of millisecond timestamps pay
//! for milliseconds. Varints of the smaller numbers are never larger, so nothing else needs to be tried.
//!
//! Bytes of the second: stored and raw bytes of a table (varints), the table as one zstd frame, the bits of
//! the deltas. The table is that of the first form with the deltas' symbols in place of the varints.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::compress::{compress_at, decompress};
use crate::cursor::{Cursor, put_len, put_varint, put_zigzag};
use crate::error::Error;
use crate::numbers;

/// Units in ns by exponent code, smallest first.
const UNITS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];
const WHAT: &str = "timestamps";

/// Appends the timestamps of runs, each in order of time.
pub(crate) fn encode<'a>(runs: impl ExactSizeIterator<Item = &'a [i64]> + Clone, out: &mut Vec<u8>) {
    let units = put_runs(runs.clone(), out);
    for (run, &unit) in runs.zip(&units) {
        deltas(run).for_each(|delta| put_varint(out, delta / unit));
    }
}

/// Returns the timestamps of runs in the form of numbers; `None` if their table cannot be compressed.
pub(crate) fn encode_numbers<'a>(
    runs: impl ExactSizeIterator<Item = &'a [i64]> + Clone,
    level: i32,
) -> Option<Vec<u8>> {
    let (mut table, mut bits) = (Vec::new(), Vec::new());
    let units = put_runs(runs.clone(), &mut table);
    let all = runs.zip(&units).flat_map(|(run, unit)| deltas(run).map(move |delta| delta / unit));
    numbers::encode(all, &mut table, &mut bits);
    let frame = compress_at(level, &table)?;
    let mut out = Vec::with_capacity(frame.len() + bits.len() + 10);
    put_len(&mut out, frame.len());
    put_len(&mut out, table.len());
    out.extend_from_slice(&frame);
    out.extend_from_slice(&bits);
    Some(out)
}

/// Appends the table of runs, and returns the unit of each.
fn put_runs<'a>(runs: impl ExactSizeIterator<Item = &'a [i64]>, out: &mut Vec<u8>) -> Vec<u64> {
    put_len(out, runs.len());
    let mut units = Vec::with_capacity(runs.len());
    for run in runs {
        let unit = unit_code(run);
        put_len(out, run.len());
        put_zigzag(out, run.first().copied().unwrap_or(0));
        put_len(out, unit);
        units.push(UNITS.get(unit).copied().unwrap_or(1));
    }
    units
}

/// Reads the timestamps of `rows` rows, a count which the caller has bounded.
pub(crate) fn decode(bytes: &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    let mut cursor = Cursor::new(WHAT, bytes);
    let runs = get_runs(&mut cursor, rows)?;
    let ts_ns = add_up(&runs, rows, || cursor.varint())?;
    cursor.finish()?;
    Ok(ts_ns)
}

/// Reads the timestamps of `rows` rows, a count which the caller has bounded, from the form of numbers.
pub(crate) fn decode_numbers(bytes: &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    let mut cursor = Cursor::new(WHAT, bytes);
    let frame_bytes = cursor.count()?;
    let raw_bytes = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
    // A run takes 21 bytes at most and has a row; every other row has a symbol.
    let limit = rows.saturating_mul(22).saturating_add(10);
    if raw_bytes > limit {
        let (got, limit) = (raw_bytes as u64, limit as u64);
        return Err(Error::Limited { what: WHAT.into(), unit: "raw bytes", got, limit });
    }
    let table = decompress(WHAT, cursor.take(frame_bytes)?, raw_bytes)?;
    let bits = cursor.take(cursor.left())?;
    let mut table_cursor = Cursor::new(WHAT, &table);
    let runs = get_runs(&mut table_cursor, rows)?;
    let symbols = table_cursor.take(table_cursor.left())?;
    if symbols.len() + runs.len() != rows {
        let (want, got) = (rows - runs.len(), symbols.len());
        return Err(Error::corrupt(WHAT, format!("want {want} deltas, got {got}")));
    }
    let mut deltas = Vec::new();
    numbers::decode(symbols, bits, &mut deltas)?;
    let mut next = deltas.into_iter();
    add_up(&runs, rows, || next.next().ok_or_else(|| Error::corrupt(WHAT, "a delta is missing")))
}

/// A run: its rows, its first timestamp, its unit.
type Run = (usize, i64, u64);

fn get_runs(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<Run>, Error> {
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
    Ok(runs)
}

fn add_up(
    runs: &[Run],
    rows: usize,
    mut next: impl FnMut() -> Result<u64, Error>,
) -> Result<Vec<i64>, Error> {
    let mut ts_ns = Vec::with_capacity(rows);
    for &(run_rows, first_ns, divisor) in runs {
        let mut now_ns = first_ns;
        ts_ns.push(now_ns);
        for _ in 1..run_rows {
            now_ns = now_ns.wrapping_add(next()?.wrapping_mul(divisor).cast_signed());
            ts_ns.push(now_ns);
        }
    }
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
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
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
        let Some(mut out) = encode_numbers(runs.iter().copied(), 1) else { return };
        assert_eq!(decode_numbers(&out, all.len()).unwrap(), all);
        assert!(decode_numbers(&out, all.len() + 1).is_err());
        out.push(0);
        assert!(decode_numbers(&out, all.len()).is_err());
    }

    #[test]
    fn irregular_times_take_less_as_numbers() {
        let mut now_ns = 0;
        let hash = |row: i64| row.wrapping_mul(0x5851_f42d_4c95_7f2d).cast_unsigned() >> 33;
        let run: Vec<i64> = (0..5000)
            .map(|row| {
                let share = (hash(row) as f64 + 1.0) / f64::from(u32::MAX);
                now_ns += (-share.ln() * 5e6) as i64;
                now_ns
            })
            .collect();
        let mut varints = Vec::new();
        encode([run.as_slice()].into_iter(), &mut varints);
        let (numbers, frame) =
            (encode_numbers([run.as_slice()].into_iter(), 1).unwrap(), compress_at(1, &varints).unwrap());
        assert!(numbers.len() * 20 < frame.len() * 19, "{} of {}", numbers.len(), frame.len());
        check(&[&run], varints.len());
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
