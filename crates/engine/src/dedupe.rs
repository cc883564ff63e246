//! Marks copies: equal entries of one stream in different runs.
//!
//! A run holds no entry twice, so only runs of one stream that overlap in time are compared, and of
//! those only lines of equal time. Of equal entries the one that arrived first stays.
//!
//! Pairs of runs are compared block by block, so that few blocks are decoded at a time, and few twice.

use crate::error::Error;
use crate::hash::{ByStream, Hash128, hash_of};
use crate::line_source::line_of;
use crate::shared_blocks::SharedBlocks;
use crate::turns::{Turns, Work};
use logyard_codec::{Block, BlockView, RunView};
use logyard_model::{LabelSet, TimeRange};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

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

/// Two runs of a stream that overlap; the first arrived first.
#[derive(Clone, Copy)]
struct Pair<'a> {
    kept: Place<'a>,
    other: Place<'a>,
}

impl Pair<'_> {
    fn views(&self) -> (usize, usize) {
        (self.kept.view_index, self.other.view_index)
    }
}

/// Finds copies among the entries of a range.
///
/// Cost: nothing but a sort of runs if none overlap; else reads timestamps of those that do.
pub(crate) fn find_copies(
    turns: &Turns<'_>,
    blocks: &SharedBlocks,
    views: &[BlockView],
    range: TimeRange,
) -> Result<Copies, Error> {
    let mut pairs = overlapping_pairs(views, range);
    if pairs.is_empty() {
        return Ok(Copies::default());
    }
    pairs.sort_by_key(Pair::views);
    let groups: Vec<&[Pair<'_>]> = pairs.chunk_by(|a, b| a.views() == b.views()).collect();
    let found = turns.fold(groups.len(), Work::Unknown, |finder: &mut Finder, index| {
        let mut bytes = 0;
        for pair in groups.get(index).copied().unwrap_or_default() {
            bytes += compare(finder, blocks, pair, range)?;
        }
        Ok(bytes)
    })?;
    let mut copies = Copies::default();
    for (place, rows) in found.into_iter().flat_map(|finder| finder.copies.0) {
        copies.0.entry(place).or_default().extend(rows);
    }
    for rows in copies.0.values_mut() {
        rows.sort_unstable();
        rows.dedup();
    }
    Ok(copies)
}

fn overlapping_pairs(views: &[BlockView], range: TimeRange) -> Vec<Pair<'_>> {
    let mut streams: ByStream<Vec<Place<'_>>> = ByStream::default();
    for (view_index, view) in views.iter().enumerate() {
        for (run_index, run) in view.runs.iter().enumerate() {
            if range.overlaps(run.min_ns, run.max_ns) {
                streams.entry(run.stream.id).or_default().push(Place { view_index, run_index, view, run });
            }
        }
    }
    let mut pairs = Vec::new();
    for places in streams.values_mut().filter(|places| places.len() > 1) {
        places.sort_by_key(|place| place.run.min_ns);
        for (index, first) in places.iter().enumerate() {
            let later = places.iter().skip(index + 1);
            for second in later.take_while(|second| second.run.min_ns <= first.run.max_ns) {
                let arrival = |place: &Place<'_>| (place.view.arrival, place.view_index, place.run_index);
                let (kept, other) =
                    if arrival(first) <= arrival(second) { (first, second) } else { (second, first) };
                pairs.push(Pair { kept: *kept, other: *other });
            }
        }
    }
    pairs
}

/// Blocks that stay decoded from one pair to the next: those of a pair, and two of the pair before.
const OPEN_MAX: usize = 4;

/// What one worker has found, and the blocks it has decoded.
#[derive(Default)]
struct Finder {
    copies: Copies,
    open: Vec<(usize, Arc<Block>)>,
}

impl Finder {
    fn block(&mut self, blocks: &SharedBlocks, place: &Place<'_>) -> Arc<Block> {
        if let Some((_, block)) = self.open.iter().find(|(view, _)| *view == place.view_index) {
            return Arc::clone(block);
        }
        if self.open.len() >= OPEN_MAX {
            let (_, block) = self.open.remove(0);
            blocks.count(&block);
        }
        let block = blocks.open(&place.view.block);
        self.open.push((place.view_index, Arc::clone(&block)));
        block
    }
}

/// Marks the rows of the later run that the earlier one holds too; returns the bytes of what was decoded.
fn compare(
    finder: &mut Finder,
    blocks: &SharedBlocks,
    pair: &Pair<'_>,
    range: TimeRange,
) -> Result<u64, Error> {
    let Pair { kept, other } = pair;
    let (kept_block, other_block) = (finder.block(blocks, kept), finder.block(blocks, other));
    let from_ns = kept.run.min_ns.max(other.run.min_ns).max(range.start_ns);
    let to_ns = kept.run.max_ns.min(other.run.max_ns).min(range.end_ns.saturating_sub(1));
    let mut kept_rows = Groups::new(&kept_block, kept.run, from_ns, to_ns)?;
    let mut other_rows = Groups::new(&other_block, other.run, from_ns, to_ns)?;
    let (mut left, mut right) = (kept_rows.next(), other_rows.next());
    while let (Some((left_ns, left_rows)), Some((right_ns, right_rows))) = (&left, &right) {
        if left_ns < right_ns {
            left = kept_rows.next();
        } else if left_ns > right_ns {
            right = other_rows.next();
        } else {
            let known: HashSet<Content<'_>> =
                left_rows.clone().map(|row| content(&kept_block, row)).collect::<Result<_, _>>()?;
            for row in right_rows.clone() {
                if known.contains(&content(&other_block, row)?) {
                    finder.copies.0.entry((other.view_index, other.run_index)).or_default().push(row);
                }
            }
            left = kept_rows.next();
            right = other_rows.next();
        }
    }
    Ok(kept.run.raw_bytes + other.run.raw_bytes)
}

/// All of an entry that makes it equal to another of its stream and time: level, metadata, line.
type Content<'a> = (&'a str, &'a LabelSet, Cow<'a, [u8]>);

/// Returns the content of an entry.
fn content(block: &Block, row: u32) -> Result<Content<'_>, Error> {
    let index = row as usize;
    Ok((block.levels()?.value(index), block.metadata()?.value(index), line_of(block, row)?))
}

/// Returns a hash of the content of an entry that stands for it: two hashes of 64 bits, begun differently.
pub(crate) fn fingerprint(block: &Block, row: u32) -> Result<Hash128, Error> {
    Ok(hash_of(&content(block, row)?))
}

/// Steps through the rows of a run by time.
struct Groups<'a> {
    ts_ns: &'a [i64],
    next: u32,
    end: u32,
}

impl<'a> Groups<'a> {
    fn new(block: &'a Block, run: &RunView, from_ns: i64, to_ns: i64) -> Result<Self, Error> {
        let ts_ns = block.timestamps()?;
        let rows = rows_between(ts_ns, &run.rows, from_ns, to_ns);
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
