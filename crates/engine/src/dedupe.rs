//! Marks copies: equal entries of one stream in different runs.
//!
//! A run holds no entry twice, so only runs of one stream that overlap in time are compared, and of
//! those only lines of equal time. Of equal entries the one that arrived first stays.

use crate::error::Error;
use logyard_codec::{Block, BlockView, RunView};
use logyard_model::{LabelSet, StreamId, TimeRange};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Rows to leave out, by view and run.
#[derive(Debug, Default)]
pub(crate) struct Copies(HashMap<(usize, usize), Vec<u32>>);

impl Copies {
    /// Returns the rows of a run that are copies, ascending.
    pub(crate) fn of(&self, view: usize, run: usize) -> &[u32] {
        self.0.get(&(view, run)).map_or(&[], |rows| rows)
    }
}

/// Where a run is.
#[derive(Clone, Copy)]
struct Place<'a> {
    view_index: usize,
    run_index: usize,
    view: &'a BlockView,
    run: &'a RunView,
}

/// Finds copies among the entries of a range.
///
/// Cost: nothing but a sort of runs if none overlap; else reads timestamps of those that do.
pub(crate) fn find_copies(views: &[BlockView], range: TimeRange) -> Result<Copies, Error> {
    let mut streams: HashMap<StreamId, Vec<Place<'_>>> = HashMap::new();
    for (view_index, view) in views.iter().enumerate() {
        for (run_index, run) in view.runs.iter().enumerate() {
            if range.overlaps(run.min_ns, run.max_ns) {
                streams.entry(run.stream.id).or_default().push(Place { view_index, run_index, view, run });
            }
        }
    }
    let mut copies = Copies::default();
    for places in streams.values_mut().filter(|places| places.len() > 1) {
        places.sort_by_key(|place| place.run.min_ns);
        for (index, first) in places.iter().enumerate() {
            let later = places.iter().skip(index + 1);
            for second in later.take_while(|second| second.run.min_ns <= first.run.max_ns) {
                let arrival = |place: &Place<'_>| (place.view.arrival, place.view_index, place.run_index);
                let (kept, other) =
                    if arrival(first) <= arrival(second) { (first, second) } else { (second, first) };
                compare(kept, other, range, &mut copies)?;
            }
        }
    }
    for rows in copies.0.values_mut() {
        rows.sort_unstable();
        rows.dedup();
    }
    Ok(copies)
}

/// Marks the rows of `other` that `kept` holds too.
fn compare(kept: &Place<'_>, other: &Place<'_>, range: TimeRange, copies: &mut Copies) -> Result<(), Error> {
    let from_ns = kept.run.min_ns.max(other.run.min_ns).max(range.start_ns);
    let to_ns = kept.run.max_ns.min(other.run.max_ns).min(range.end_ns.saturating_sub(1));
    let mut kept_rows = Groups::new(kept, from_ns, to_ns)?;
    let mut other_rows = Groups::new(other, from_ns, to_ns)?;
    let (mut left, mut right) = (kept_rows.next(), other_rows.next());
    while let (Some((left_ns, left_rows)), Some((right_ns, right_rows))) = (&left, &right) {
        if left_ns < right_ns {
            left = kept_rows.next();
        } else if left_ns > right_ns {
            right = other_rows.next();
        } else {
            let left_block = &kept.view.block;
            let known: HashSet<Content<'_>> =
                left_rows.clone().map(|row| content(left_block, row)).collect::<Result<_, _>>()?;
            for row in right_rows.clone() {
                if known.contains(&content(&other.view.block, row)?) {
                    copies.0.entry((other.view_index, other.run_index)).or_default().push(row);
                }
            }
            left = kept_rows.next();
            right = other_rows.next();
        }
    }
    Ok(())
}

/// All of an entry that makes it equal to another of its stream and time: level, metadata, line.
pub(crate) type Content<'a> = (&'a str, &'a LabelSet, &'a [u8]);

/// Returns the content of an entry.
pub(crate) fn content(block: &Block, row: u32) -> Result<Content<'_>, Error> {
    let index = row as usize;
    Ok((block.levels()?.value(index), block.metadata()?.value(index), block.lines()?.line(row)))
}

/// Steps through the rows of a run by time.
struct Groups<'a> {
    ts_ns: &'a [i64],
    next: u32,
    end: u32,
}

impl<'a> Groups<'a> {
    fn new(place: &Place<'a>, from_ns: i64, to_ns: i64) -> Result<Self, Error> {
        let ts_ns = place.view.block.timestamps()?;
        let rows = rows_between(ts_ns, &place.run.rows, from_ns, to_ns);
        Ok(Self { ts_ns, next: rows.start, end: rows.end })
    }

    fn at(&self, row: u32) -> Option<i64> {
        (row < self.end).then(|| self.ts_ns.get(row as usize).copied()).flatten()
    }

    /// Returns the next time and its rows.
    fn next(&mut self) -> Option<(i64, Range<u32>)> {
        let ts_ns = self.at(self.next)?;
        let start = self.next;
        while self.at(self.next) == Some(ts_ns) {
            self.next += 1;
        }
        Some((ts_ns, start..self.next))
    }
}

/// Returns the rows of a run from a time until a time, both included.
pub(crate) fn rows_between(ts_ns: &[i64], rows: &Range<u32>, from_ns: i64, to_ns: i64) -> Range<u32> {
    let run = ts_ns.get(rows.start as usize..rows.end as usize).unwrap_or_default();
    // A run has fewer rows than u32 counts.
    let start = run.partition_point(|ts| *ts < from_ns) as u32;
    let end = run.partition_point(|ts| *ts <= to_ns) as u32;
    rows.start + start..rows.start + end.max(start)
}
