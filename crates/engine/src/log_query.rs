//! Log queries: the first entries of a range, merged over all streams.
//!
//! Entries are ordered by time, then by the canonical text of their stream, then by arrival, then by
//! row; backward is exactly the reverse. Views are taken in the direction of the query, a batch at a
//! time, and each gives at most as many places of entries as are wanted; once enough are found that
//! no remaining view can hold an earlier one, reading stops. Lines and labels are built for the
//! winners only.
//!
//! A place stands for an entry without holding its block: blocks are let go of once their places are
//! found, but for a few, and those of the winners are decoded again.
//!
//! Where all entries pass and few are wanted, the nearest part of a long range is looked at before the whole: if it has enough
//! of them, they are the answer.
//!
//! Copies are recognised among the places found: they have the same time and stream, so they are
//! neighbours, and blocks beyond the answer need not be looked at for them. Which copy stays decides
//! the order among equal times; so wherever places are cut off, those of the last time all stay.

use crate::dedupe::fingerprint;
use crate::engine::Context;
use crate::error::Error;
use crate::hash::{ByStream, Hash128};
use crate::kept_blocks::KeptBlocks;
use crate::labels::{Base, Labels};
use crate::limits;
use crate::line_source::line_of;
use crate::log_context::{self, Around};
use crate::plan::{Columns, Pipeline};
use crate::request::{LogEntry, QueryResult, QueryStats, ScanCounts};
use crate::scan::{ByCodes, Codes, LabelColumns, rows_of};
use crate::stage::Entry;
use crate::stage_distinct::NO_COMBINATION;
use crate::turns::Work;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{LogExpr, StageKind};
use logyard_model::{Direction, LabelSet, StreamId, TimeRange};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Where an entry is, and everything that decides its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) ts_ns: i64,
    /// Rank of the stream by its canonical text.
    stream: u32,
    arrival: u64,
    pub(crate) row: u32,
    pub(crate) view: u32,
    run: u32,
    /// Stands for the values that `distinct` looks at.
    combination: Hash128,
}

/// A log query, ready to run.
pub(crate) struct LogQuery<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) pipeline: Pipeline,
    pub(crate) range: TimeRange,
    pub(crate) views: Vec<BlockView>,
    pub(crate) ranks: ByStream<u32>,
    /// By rank.
    pub(crate) streams: Vec<Arc<LabelSet>>,
    pub(crate) kept: KeptBlocks,
    /// Most entries.
    pub(crate) limit: usize,
    pub(crate) is_backward: bool,
    pub(crate) interval_ns: i64,
    /// The one stream that is looked at.
    pub(crate) only: Option<StreamId>,
}

/// Evaluates a log query over `[start_ns, end_ns)`; an equal start and end mean that instant.
pub(crate) fn run(
    context: &Context<'_>,
    log: &LogExpr,
    start_ns: i64,
    end_ns: i64,
) -> Result<(QueryResult, QueryStats), Error> {
    let (request, settings) = (context.request, context.settings);
    if request.limit == 0 {
        return Err(Error::invalid("limit must be a positive value"));
    }
    if request.limit > settings.entries_max {
        return Err(Error::invalid(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({} > {})",
            request.limit, settings.entries_max
        )));
    }
    if end_ns < start_ns {
        return Err(Error::invalid("end timestamp must not be before or equal to start time"));
    }
    let range = TimeRange { start_ns, end_ns: end_ns.max(start_ns.saturating_add(1)) };
    let range = limits::cut(settings, range, request.now_ns);
    let around = around(log);
    around.map_or(Ok(()), |around| log_context::check_limit(around, request.limit))?;
    let near = near_part(range, request.direction).filter(|_| may_stop_early(context, log));
    let (mut entries, mut scan, mut stats) = run_in(context, log, around, near.unwrap_or(range))?;
    if near.is_some() && entries.len() < request.limit {
        context.memory.release(entries.iter().map(entry_bytes).sum());
        (entries, scan, stats) = run_in(context, log, around, range)?;
    }
    stats.returned = entries.len() as u64;
    context.add_scan(scan, &stats);
    Ok((QueryResult::Entries(entries), stats))
}

/// Returns the part of a long range that an answer begins with: mostly the entries that are wanted lie in it, and it takes a
/// hundredth of the views.
fn near_part(range: TimeRange, direction: Direction) -> Option<TimeRange> {
    let is_long =
        range.end_ns.checked_sub(range.start_ns).is_none_or(|span_ns| span_ns > NEAR_PART_OF * NEAR_NS);
    is_long.then(|| match direction {
        Direction::Backward => TimeRange { start_ns: range.end_ns.saturating_sub(NEAR_NS), ..range },
        Direction::Forward => TimeRange { end_ns: range.start_ns.saturating_add(NEAR_NS), ..range },
    })
}

/// Returns whether so few entries are wanted, of which all pass, that they may be found in a part of the range: they are the
/// answer if there are enough. A limit of bytes speaks of the whole range, though.
fn may_stop_early(context: &Context<'_>, log: &LogExpr) -> bool {
    let request = context.request;
    let has_few = request.limit <= LITTLE_ENTRIES_MAX && request.interval_ns == 0;
    log.stages.is_empty() && has_few && context.settings.bytes_read_max == 0
}

/// Finds the entries of the answer in a range; returns what was selected for them, too, and what it took.
fn run_in(
    context: &Context<'_>,
    log: &LogExpr,
    around: Option<Around>,
    range: TimeRange,
) -> Result<(Vec<LogEntry>, ScanCounts, QueryStats), Error> {
    let request = context.request;
    let pipeline = Pipeline::compile(log, request.now_ns, context.push_down)?;
    let (views, scan) = context.select(log, range, &pipeline.prefilter)?;
    let (ranks, streams) = rank_streams(&views);
    let kept = KeptBlocks::default();
    let query = LogQuery {
        context,
        pipeline,
        range,
        views,
        ranks,
        streams,
        kept,
        limit: request.limit,
        is_backward: request.direction == Direction::Backward,
        interval_ns: request.interval_ns,
        only: None,
    };
    let mut stats = QueryStats::default();
    let all: Vec<usize> = (0..query.views.len()).collect();
    let places = query.find_among(&all, &mut stats)?;
    let entries = match around {
        Some(around) => log_context::with_context(&query, log, around, &places, &mut stats)?,
        None => query.build(&places)?,
    };
    Ok((entries, scan, stats))
}

/// Returns the context that the query asks for around its matches.
fn around(log: &LogExpr) -> Option<Around> {
    log.stages.iter().find_map(|stage| match stage.kind {
        StageKind::Context { before, after } => Some(Around { before, after }),
        _ => None,
    })
}

/// Numbers the streams in the order of their canonical texts; returns the labels of each, too.
pub(crate) fn rank_streams(views: &[BlockView]) -> (ByStream<u32>, Vec<Arc<LabelSet>>) {
    let mut texts: ByStream<(String, &Arc<LabelSet>)> = ByStream::default();
    for run in views.iter().flat_map(|view| &view.runs) {
        let labels = &run.stream.labels;
        texts.entry(run.stream.id).or_insert_with(|| (labels.text(), labels));
    }
    let mut order: Vec<_> = texts.into_iter().map(|(id, (text, labels))| (text, id, labels)).collect();
    order.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let streams = order.iter().map(|(_, _, labels)| Arc::clone(labels)).collect();
    (order.into_iter().zip(0..).map(|((_, id, _), rank)| (id, rank)).collect(), streams)
}

impl LogQuery<'_> {
    /// Orders places as the answer does.
    fn order(&self, a: &Place, b: &Place) -> Ordering {
        if self.is_backward { b.cmp(a) } else { a.cmp(b) }
    }

    /// Returns the time of the view's entry that could come first in the answer.
    fn nearest_ns(&self, view: &BlockView) -> i64 {
        let runs = self.runs(view);
        if self.is_backward {
            runs.map(|run| run.max_ns).max().unwrap_or(i64::MIN)
        } else {
            runs.map(|run| run.min_ns).min().unwrap_or(i64::MAX)
        }
    }

    /// Returns the runs of a view that are looked at.
    fn runs<'v>(&self, view: &'v BlockView) -> impl Iterator<Item = &'v RunView> {
        view.runs.iter().filter(|run| self.only.is_none_or(|only| run.stream.id == only))
    }

    /// Returns the stream of an entry.
    pub(crate) fn stream_of(&self, place: &Place) -> Option<StreamId> {
        let view = self.views.get(place.view as usize)?;
        view.runs.get(place.run as usize).map(|run| run.stream.id)
    }

    /// Finds the entries of the answer, in its order, in some of the views.
    pub(crate) fn find_among(&self, views: &[usize], stats: &mut QueryStats) -> Result<Vec<Place>, Error> {
        let overlaps =
            |view: &BlockView| self.runs(view).any(|run| self.range.overlaps(run.min_ns, run.max_ns));
        let wanted = views.iter().filter_map(|index| Some((self.views.get(*index)?, *index)));
        let mut order: Vec<(i64, usize)> = wanted
            .filter(|(view, _)| self.only.is_none() || overlaps(view))
            .map(|(view, index)| (self.nearest_ns(view), index))
            .collect();
        order.sort_unstable();
        if self.is_backward {
            order.reverse();
        }
        let mut picker =
            Picker { query: self, pending: Vec::new(), picked: Vec::new(), combinations: HashSet::new() };
        let work = self.work_of_finding();
        // A few entries of one stream mostly lie in one view; and what one thread does needs no views for others.
        let is_one_by_one = self.only.is_some() || work == Work::Little;
        let mut batch = if is_one_by_one { 1 } else { self.context.turns.lanes() };
        let mut rest = &*order;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let bound = picker.bound();
            let found = self.context.turns.fold(now.len(), work, |found: &mut Found, turn| {
                let Some((_, index)) = now.get(turn) else { return Ok(0) };
                self.find_in_view(*index, bound, found)
            })?;
            for mut part in found {
                picker.pending.append(&mut part.places);
                stats.add(&part.stats);
            }
            picker.settle(later.first().map(|(nearest_ns, _)| *nearest_ns))?;
            self.kept.retain(|view| picker.needs(view));
            if picker.is_full() {
                break;
            }
            rest = later;
            batch = (batch * 2).min(BATCH_MAX);
        }
        self.context.memory.release(picker.pending.len() as u64 * PLACE_BYTES);
        Ok(picker.picked)
    }

    /// Returns what it takes to find entries in a few views: little if all pass, so that no more are looked at than are
    /// wanted.
    fn work_of_finding(&self) -> Work {
        let all_pass = self.pipeline.line_filters.is_empty() && self.pipeline.is_filters_only();
        match all_pass && self.interval_ns == 0 && self.limit <= LITTLE_ENTRIES_MAX {
            true => Work::Little,
            false => Work::Unknown,
        }
    }

    /// Returns what it takes to build entries: a parser takes its time for each.
    fn work_of_building(&self, entries: usize) -> Work {
        match self.pipeline.is_filters_only() && entries <= LITTLE_ENTRIES_MAX {
            true => Work::Little,
            false => Work::Unknown,
        }
    }

    /// Adds the places of a view's entries that may be in the answer; returns the bytes decoded.
    fn find_in_view(&self, index: usize, bound: Option<Place>, found: &mut Found) -> Result<u64, Error> {
        let Some(view) = self.views.get(index) else { return Ok(0) };
        let block = self.kept.get(index as u32).unwrap_or_else(|| self.context.blocks.open(&view.block));
        let open = Some((index as u32, &block));
        let mut places = Vec::new();
        // No entry behind this time can be in the answer.
        let mut last_ns = bound.map(|bound| bound.ts_ns);
        for (run_index, run) in self.runs_by_nearest(view) {
            if !self.range.overlaps(run.min_ns, run.max_ns) {
                continue;
            }
            if last_ns.is_some_and(|last_ns| self.is_behind(self.nearest_of(run), last_ns)) {
                break;
            }
            // Views and runs are fewer than u32 counts.
            let first = Place {
                ts_ns: 0,
                stream: 0,
                arrival: view.arrival,
                row: 0,
                view: index as u32,
                run: run_index as u32,
                combination: NO_COMBINATION,
            };
            self.find_in_run(&block, run, (first, last_ns), &mut places, &mut found.stats)?;
            // Not before there are twice as many, so that each place is sorted a few times at most.
            if self.interval_ns == 0 && places.len() / 2 >= self.limit {
                self.shorten(&mut places, open)?;
                let last = self.last_of(&places, self.limit).and_then(|last| places.get(last));
                last_ns = last.map(|place| place.ts_ns).or(last_ns);
            }
        }
        self.shorten(&mut places, open)?;
        self.context.memory.hold(places.len() as u64 * PLACE_BYTES)?;
        let bytes = self.context.blocks.note(&block, &mut found.stats);
        if !places.is_empty() {
            let heap_bytes = block.heap_bytes() as u64;
            self.kept.keep(index as u32, block, heap_bytes);
        }
        found.places.append(&mut places);
        Ok(bytes)
    }

    /// Puts the places of a view in order, and drops those that cannot be in the answer.
    fn shorten(&self, places: &mut Vec<Place>, open: Option<(u32, &Arc<Block>)>) -> Result<(), Error> {
        places.sort_unstable_by(|a, b| self.order(a, b));
        self.drop_copies(places, open)?;
        self.keep_first(places, &HashSet::new());
        self.cut(places, self.limit);
        Ok(())
    }

    /// Returns the runs of a view with their places in it, those first whose entries could come first in the answer.
    fn runs_by_nearest<'v>(&self, view: &'v BlockView) -> Vec<(usize, &'v RunView)> {
        let is_wanted = |run: &RunView| self.only.is_none_or(|only| run.stream.id == only);
        let mut runs: Vec<_> = view.runs.iter().enumerate().filter(|(_, run)| is_wanted(run)).collect();
        runs.sort_by_key(|(_, run)| self.nearest_of(run));
        if self.is_backward {
            runs.reverse();
        }
        runs
    }

    /// Returns the time of the run's entry that could come first in the answer.
    fn nearest_of(&self, run: &RunView) -> i64 {
        if self.is_backward { run.max_ns } else { run.min_ns }
    }

    /// Returns whether a time comes behind another in the order of the answer.
    fn is_behind(&self, ts_ns: i64, other_ns: i64) -> bool {
        if self.is_backward { ts_ns < other_ns } else { ts_ns > other_ns }
    }

    /// Adds the places of a run; `place` is one of them but for time, stream and row. Entries behind `bound_ns` are of no
    /// use.
    fn find_in_run(
        &self,
        block: &Block,
        run: &RunView,
        (place, bound_ns): (Place, Option<i64>),
        places: &mut Vec<Place>,
        stats: &mut QueryStats,
    ) -> Result<(), Error> {
        let rows = rows_of(block, run, self.range, &[], &self.pipeline, stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let ts_ns = block.timestamps()?;
        let stream = self.ranks.get(&run.stream.id).copied().unwrap_or_default();
        let mut test = match self.pipeline.is_filters_only() {
            true => None,
            false => Some(RunTest::new(&self.pipeline, block, run, self.labels_of(stream))?),
        };
        let most = if self.interval_ns > 0 { usize::MAX } else { self.limit };
        let is_distinct = self.pipeline.is_distinct();
        let mut first_ns: HashMap<Hash128, i64> = HashMap::new();
        let mut found = 0;
        let rows: Box<dyn Iterator<Item = u32>> =
            if self.is_backward { Box::new(rows.iter().rev()) } else { rows.iter() };
        let mut last_ns = None;
        for row in rows {
            let Some(ts_ns) = ts_ns.get(row as usize) else { continue };
            if found >= most && last_ns != Some(*ts_ns) {
                break;
            }
            if bound_ns.is_some_and(|bound_ns| self.is_behind(*ts_ns, bound_ns)) {
                break;
            }
            // A template may keep a thread for a while.
            self.context.request.cancel.check()?;
            let passes =
                test.as_mut().map_or(Ok(Some(NO_COMBINATION)), |test| test.combination(row, *ts_ns))?;
            let Some(combination) = passes else { continue };
            stats.entries_passed += 1;
            let mut is_new = true;
            if is_distinct {
                let first = first_ns.get(&combination);
                // Of equal times another may turn out to be the first.
                if first.is_some_and(|first| first != ts_ns) {
                    continue;
                }
                is_new = first.is_none();
                first_ns.insert(combination, *ts_ns);
            }
            found += usize::from(is_new);
            last_ns = Some(*ts_ns);
            places.push(Place { ts_ns: *ts_ns, stream, row, combination, ..place });
        }
        Ok(())
    }

    fn labels_of(&self, stream: u32) -> Arc<LabelSet> {
        self.streams.get(stream as usize).map(Arc::clone).unwrap_or_default()
    }

    /// Drops places whose combination of values was seen before or comes earlier in time; the places are
    /// in order. Those of equal times stay: which of them is the first is not known before all copies are.
    fn keep_first(&self, places: &mut Vec<Place>, seen: &HashSet<Hash128>) {
        if !self.pipeline.is_distinct() {
            return;
        }
        let mut first_ns: HashMap<Hash128, i64> = HashMap::new();
        places.retain(|place| {
            let first = *first_ns.entry(place.combination).or_insert(place.ts_ns);
            first == place.ts_ns && !seen.contains(&place.combination)
        });
    }

    /// Returns the index of the place with which there are `count`, each combination of values once.
    fn last_of(&self, places: &[Place], count: usize) -> Option<usize> {
        if !self.pipeline.is_distinct() {
            return count.checked_sub(1).filter(|last| *last < places.len());
        }
        let mut seen = HashSet::new();
        places.iter().position(|place| seen.insert(place.combination) && seen.len() == count)
    }

    /// Drops places behind the first `count`, but for those of the same time as the last of them.
    fn cut(&self, places: &mut Vec<Place>, count: usize) {
        if self.interval_ns > 0 {
            return;
        }
        let Some(last) = self.last_of(places, count) else { return };
        let Some(last_ns) = places.get(last).map(|place| place.ts_ns) else { return };
        let beyond = places.iter().skip(last).position(|place| place.ts_ns != last_ns);
        places.truncate(beyond.map_or(places.len(), |beyond| last + beyond));
    }

    /// Drops all but the first arrived of equal entries; the places are in order, and `open` is a view whose block is at
    /// hand.
    fn drop_copies(&self, places: &mut Vec<Place>, open: Option<(u32, &Arc<Block>)>) -> Result<(), Error> {
        let mut doubtful = self.doubtful(places);
        if doubtful.is_empty() {
            return Ok(());
        }
        // By view, so that each block is opened once.
        doubtful.sort_by_key(|place| place.view);
        let mut first_by_content: HashMap<(i64, u32, (u64, u64)), Place> = HashMap::new();
        let mut copies: Vec<Place> = Vec::new();
        for group in doubtful.chunk_by(|a, b| a.view == b.view) {
            let Some(view) = group.first().map(|place| place.view) else { continue };
            let at_hand = open.filter(|(of, _)| *of == view).map(|(_, block)| Arc::clone(block));
            let Some(block) = at_hand.or_else(|| self.block(view)) else { continue };
            for place in group {
                self.context.request.cancel.check()?;
                let key = (place.ts_ns, place.stream, fingerprint(&block, place.row)?);
                let first = first_by_content.entry(key).or_insert(*place);
                if first != place {
                    copies.push(*place.max(&*first));
                    *first = *place.min(&*first);
                }
            }
        }
        if !copies.is_empty() {
            copies.sort_unstable();
            places.retain(|place| copies.binary_search(place).is_err());
        }
        Ok(())
    }

    /// Returns the places that may be copies of others: those of the same time and stream in several
    /// runs, since a run holds no entry twice.
    fn doubtful(&self, places: &[Place]) -> Vec<Place> {
        let run = |place: &Place| (place.view, place.run);
        let groups = places.chunk_by(|a, b| (a.ts_ns, a.stream) == (b.ts_ns, b.stream));
        let several =
            |group: &&[Place]| group.windows(2).any(|pair| matches!(pair, [a, b] if run(a) != run(b)));
        groups.filter(several).flatten().copied().collect()
    }

    /// Returns the block of a view: one that was kept, or one with nothing decoded.
    pub(crate) fn block(&self, view: u32) -> Option<Arc<Block>> {
        let kept = self.kept.get(view);
        let open = || Some(self.context.blocks.open(&self.views.get(view as usize)?.block));
        kept.or_else(open)
    }

    /// Builds lines and labels of the winners, block by block.
    pub(crate) fn build(&self, places: &[Place]) -> Result<Vec<LogEntry>, Error> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        let view_of = |index: &usize| places.get(*index).map(|place| place.view);
        order.sort_by_key(view_of);
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| view_of(a) == view_of(b)).collect();
        let work = self.work_of_building(places.len());
        let parts =
            self.context.turns.fold(groups.len(), work, |built: &mut Vec<(usize, LogEntry)>, index| {
                let group = groups.get(index).copied().unwrap_or_default();
                let Some(block) = group.first().and_then(view_of).and_then(|view| self.block(view)) else {
                    return Ok(0);
                };
                let columns = LabelColumns::new(&block, Columns::ALL)?;
                // Made once per stream, level and metadata: most entries share theirs with others.
                let mut bases: HashMap<(u32, Codes), Base> = HashMap::new();
                for index in group {
                    self.context.request.cancel.check()?;
                    let Some(place) = places.get(*index) else { continue };
                    let base = bases
                        .entry((place.stream, columns.codes(place.row)))
                        .or_insert_with(|| columns.base(&self.labels_of(place.stream), place.row));
                    let entry = build_entry(&self.pipeline, &block, base, (place.ts_ns, place.row))?;
                    self.context.memory.hold(entry_bytes(&entry))?;
                    built.push((*index, entry));
                }
                Ok(block.new_bytes() as u64)
            })?;
        let mut built: Vec<(usize, LogEntry)> = parts.into_iter().flatten().collect();
        built.sort_unstable_by_key(|(index, _)| *index);
        Ok(built.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// Builds line and labels of an entry, whether it passes or not: a neighbour of one that does is shown as well.
fn build_entry(
    pipeline: &Pipeline,
    block: &Block,
    base: &Base,
    (ts_ns, row): (i64, u32),
) -> Result<LogEntry, Error> {
    let mut entry = Entry { line: line_of(block, row)?, ts_ns, labels: Labels::new(base) };
    pipeline.apply(&mut entry);
    Ok(finished(entry, base))
}

/// Builds line and labels of an entry if it passes.
pub(crate) fn passing_entry(
    pipeline: &Pipeline,
    block: &Block,
    columns: &LabelColumns<'_>,
    stream: &Arc<LabelSet>,
    (ts_ns, row): (i64, u32),
) -> Result<Option<LogEntry>, Error> {
    let base = columns.base(stream, row);
    let mut entry = Entry { line: line_of(block, row)?, ts_ns, labels: Labels::new(&base) };
    Ok(pipeline.apply(&mut entry).then(|| finished(entry, &base)))
}

fn finished(entry: Entry<'_>, base: &Base) -> LogEntry {
    let (ts_ns, line) = (entry.ts_ns, entry.line.into_owned());
    let (stream, metadata, parsed) = entry.labels.split(base);
    LogEntry { ts_ns, line, stream, metadata, parsed }
}

/// Returns the name of a stage by which an entry passes or not because of others, if there is one: entries that are
/// looked at one by one cannot be tested by it.
pub(crate) fn stage_of_several(log: &LogExpr) -> Option<&'static str> {
    log.stages.iter().find_map(|stage| match stage.kind {
        StageKind::Distinct(_) => Some("distinct"),
        StageKind::Context { .. } => Some("context"),
        _ => None,
    })
}

/// Bytes of a place, with room for its list to grow.
const PLACE_BYTES: u64 = 2 * size_of::<Place>() as u64;

/// Bytes of a combination of values, with room for its set to grow.
const COMBINATION_BYTES: u64 = 4 * size_of::<Hash128>() as u64;

/// Returns about what an entry takes, its encoded form in the answer included.
fn entry_bytes(entry: &LogEntry) -> u64 {
    let texts = entry.line.len() + entry.metadata.text_bytes() + entry.parsed.text_bytes();
    (size_of::<LogEntry>() + 2 * texts) as u64
}

/// What one worker has found.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    stats: QueryStats,
}

/// The walk by intervals begins anew with each hour of the clock: Loki v3.7.6 cuts ranges there.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Most entries that are found in a view, or built, in a fraction of a millisecond.
const LITTLE_ENTRIES_MAX: usize = 500;
/// What of a long range is looked at first, and how many times as long a range is that is long.
const NEAR_NS: i64 = 3_600_000_000_000;
const NEAR_PART_OF: i64 = 4;

/// Most views read at once: more would be read in vain when few suffice.
const BATCH_MAX: usize = 64;

/// Tests the entries of a run by the stages behind the line filters.
pub(crate) struct RunTest<'a> {
    pipeline: &'a Pipeline,
    block: &'a Block,
    columns: LabelColumns<'a>,
    stream: Arc<LabelSet>,
    labels_only: bool,
    known: ByCodes<Option<Hash128>>,
}

impl<'a> RunTest<'a> {
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        block: &'a Block,
        run: &RunView,
        stream: Arc<LabelSet>,
    ) -> Result<Self, Error> {
        let none = logyard_logql::Grouping::default();
        // It does not matter here which labels are left.
        let (needed, _) = pipeline.columns_without_error(&run.stream.labels, Some(&none));
        let columns = LabelColumns::new(block, needed)?;
        let labels_only = pipeline.labels_only();
        Ok(Self { pipeline, block, columns, stream, labels_only, known: ByCodes::new() })
    }

    /// Returns the combination of values of an entry that passes.
    pub(crate) fn combination(&mut self, row: u32, ts_ns: i64) -> Result<Option<Hash128>, Error> {
        if self.pipeline.is_filters_only() {
            return Ok(Some(NO_COMBINATION));
        }
        let codes = self.columns.codes(row);
        if let Some(known) = self.known.get(&codes).filter(|_| self.labels_only) {
            return Ok(*known);
        }
        let base = self.columns.base(&self.stream, row);
        let line = if self.labels_only { Cow::Borrowed(&[][..]) } else { line_of(self.block, row)? };
        let mut entry = Entry { line, ts_ns, labels: Labels::new(&base) };
        let passes = self.pipeline.apply(&mut entry).then_some(entry.labels.combination);
        self.known.insert(codes, passes);
        Ok(passes)
    }
}

/// Picks entries in the order of the answer from those found so far.
struct Picker<'a> {
    query: &'a LogQuery<'a>,
    /// Found, not yet picked.
    pending: Vec<Place>,
    /// In the order of the answer.
    picked: Vec<Place>,
    /// What `distinct` has let pass.
    combinations: HashSet<Hash128>,
}

impl Picker<'_> {
    fn is_full(&self) -> bool {
        self.picked.len() >= self.query.limit
    }

    /// Returns whether an entry of the view is or may become part of the answer.
    fn needs(&self, view: u32) -> bool {
        self.picked.iter().chain(&self.pending).any(|place| place.view == view)
    }

    /// Returns a place behind which nothing can be in the answer any more.
    fn bound(&self) -> Option<Place> {
        if self.query.interval_ns > 0 {
            return None;
        }
        let missing = self.query.limit - self.picked.len();
        self.pending.get(self.query.last_of(&self.pending, missing)?).copied()
    }

    /// Picks what no later view can come before; `nearest_ns` is the first time those can hold.
    fn settle(&mut self, nearest_ns: Option<i64>) -> Result<(), Error> {
        let query = self.query;
        let before = self.pending.len();
        self.pending.sort_unstable_by(|a, b| query.order(a, b));
        query.drop_copies(&mut self.pending, None)?;
        query.keep_first(&mut self.pending, &self.combinations);
        let is_distinct = query.pipeline.is_distinct();
        let is_settled = |place: &Place| match nearest_ns {
            None => true,
            // Equal times may still be ordered by stream or arrival.
            Some(nearest_ns) if query.is_backward => place.ts_ns > nearest_ns,
            Some(nearest_ns) => place.ts_ns < nearest_ns,
        };
        let settled = self.pending.partition_point(is_settled);
        for place in self.pending.drain(..settled) {
            if self.picked.len() >= query.limit {
                break;
            }
            if is_distinct {
                if !self.combinations.insert(place.combination) {
                    continue;
                }
                // As many as the limit, but for intervals, which pass over entries.
                query.context.memory.hold(COMBINATION_BYTES)?;
            }
            let distant = self.picked.last().is_none_or(|last| {
                query.interval_ns <= 0
                    || last.ts_ns.div_euclid(HOUR_NS) != place.ts_ns.div_euclid(HOUR_NS)
                    || last.ts_ns.abs_diff(place.ts_ns) >= query.interval_ns.unsigned_abs()
            });
            if distant {
                self.picked.push(place);
            }
        }
        query.keep_first(&mut self.pending, &self.combinations);
        query.cut(&mut self.pending, query.limit - self.picked.len());
        query.context.memory.release((before - self.pending.len()) as u64 * PLACE_BYTES);
        Ok(())
    }
}
