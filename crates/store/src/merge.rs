//! Merging the pieces of one stream into one sorted run, without holding all of them decoded.
//!
//! Pieces come in order of arrival; their time ranges may overlap in any way. After each piece, the entries
//! older than everything that is still to come are final: they are handed on and forgotten. For a stream that
//! arrives in order this holds one or two pieces at a time.

use crate::error::Result;
use crate::head::Frozen;
use logyard_codec::Entries;
use std::ops::Range;

/// Calls `emit` with the stream's entries in order of time, then arrival, equal ones once.
///
/// Returns how many entries were dropped as equal to another.
pub(crate) fn merge(
    frozen: &[Frozen],
    open: Entries,
    mut emit: impl FnMut(&Entries, Range<usize>) -> Result<()>,
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
        emit(&carried, 0..final_rows)?;
        let mut rest = Entries::default();
        for row in final_rows..carried.len() {
            rest.push_from(&carried, row);
        }
        carried = rest;
    }
    carried.append(&open);
    removed += carried.sort_and_dedupe() as u64;
    emit(&carried, 0..carried.len())?;
    Ok(removed)
}
