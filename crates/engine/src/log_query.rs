//! Log queries: the first entries of a range, merged over all streams.
//!
//! Entries are ordered by time, then by the canonical text of their stream, then by arrival, then by
//! row; backward is exactly the reverse. Views are taken in the direction of the query, a batch at a
//! time, and each gives at most as many places of entries as are wanted; once enough are found that
//! no remaining view can hold an earlier one, reading stops. Lines and labels are built for the
//! winners only.
//!
//! Copies are recognised among the places found: they have the same time and stream, so they are
//! neighbours, and blocks beyond the answer need not be looked at for them. Which copy stays decides
//! the order among equal times; so wherever places are cut off, those of the last time all stay.

use crate::dedupe::{Content, content};
use crate::error::Error;
use crate::labels::Labels;
use crate::plan::{Columns, Pipeline};
use crate::request::{LogEntry, QueryRequest, QueryResult, QueryStats};
use crate::scan::{ByCodes, LabelColumns, rows_of};
use crate::select::{Select, SelectRequest};
use crate::settings::EngineSettings;
use crate::stage::Entry;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::LogExpr;
use logyard_model::{Direction, LabelSet, StreamId, TimeRange};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Where an entry is, and everything that decides its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ts_ns: i64,
    /// Rank of the stream by its canonical text.
    stream: u32,
    arrival: u64,
    row: u32,
    view: u32,
    run: u32,
}

/// A log query, ready to run.
struct LogQuery<'a> {
    request: &'a QueryRequest,
    pipeline: Pipeline,
    range: TimeRange,
    views: Vec<BlockView>,
    ranks: HashMap<StreamId, u32>,
}

/// Evaluates a log query over `[start_ns, end_ns)`; an equal start and end mean that instant.
pub(crate) fn run(
    source: &dyn Select,
    request: &QueryRequest,
    settings: &EngineSettings,
    log: &LogExpr,
    start_ns: i64,
    end_ns: i64,
) -> Result<(QueryResult, QueryStats), Error> {
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
    let pipeline = Pipeline::compile(log, request.now_ns)?;
    let views = source.select(&SelectRequest {
        tenant: &request.tenant,
        matchers: &log.matchers,
        range,
        prefilter: &pipeline.prefilter,
        direction: request.direction,
    })?;
    let ranks = rank_streams(&views);
    let query = LogQuery { request, pipeline, range, views, ranks };
    let mut stats = QueryStats::default();
    let places = query.find(&mut stats)?;
    let entries = query.build(&places)?;
    stats.returned = entries.len() as u64;
    Ok((QueryResult::Entries(entries), stats))
}

/// Numbers the streams in the order of their canonical texts.
fn rank_streams(views: &[BlockView]) -> HashMap<StreamId, u32> {
    let mut texts: HashMap<StreamId, String> = HashMap::new();
    for run in views.iter().flat_map(|view| &view.runs) {
        texts.entry(run.stream.id).or_insert_with(|| run.stream.labels.to_string());
    }
    let mut order: Vec<(String, StreamId)> = texts.into_iter().map(|(id, text)| (text, id)).collect();
    order.sort_unstable();
    order.into_iter().zip(0..).map(|((_, id), rank)| (id, rank)).collect()
}

impl LogQuery<'_> {
    fn is_backward(&self) -> bool {
        self.request.direction == Direction::Backward
    }

    /// Orders places as the answer does.
    fn order(&self, a: &Place, b: &Place) -> Ordering {
        if self.is_backward() { b.cmp(a) } else { a.cmp(b) }
    }

    /// Returns the time of the view's entry that could come first in the answer.
    fn nearest_ns(&self, view: &BlockView) -> i64 {
        let runs = view.runs.iter();
        if self.is_backward() {
            runs.map(|run| run.max_ns).max().unwrap_or(i64::MIN)
        } else {
            runs.map(|run| run.min_ns).min().unwrap_or(i64::MAX)
        }
    }

    /// Finds the entries of the answer, in its order.
    fn find(&self, stats: &mut QueryStats) -> Result<Vec<Place>, Error> {
        let mut order: Vec<(i64, usize)> =
            self.views.iter().enumerate().map(|(index, view)| (self.nearest_ns(view), index)).collect();
        order.sort_unstable();
        if self.is_backward() {
            order.reverse();
        }
        let mut picker = Picker { query: self, pending: Vec::new(), picked: Vec::new() };
        let mut batch = rayon::current_num_threads().max(1);
        let mut rest = &*order;
        while !rest.is_empty() {
            self.request.cancel.check()?;
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let bound = picker.bound();
            let found: Vec<(Vec<Place>, QueryStats)> = now
                .par_iter()
                .map(|(_, index)| self.find_in_view(*index, bound))
                .collect::<Result<_, Error>>()?;
            for (places, more) in found {
                picker.pending.extend(places);
                stats.add(&more);
            }
            picker.settle(later.first().map(|(nearest_ns, _)| *nearest_ns))?;
            if picker.is_full() {
                break;
            }
            rest = later;
            batch = (batch * 2).min(BATCH_MAX);
        }
        Ok(picker.picked)
    }

    /// Returns the places of a view's entries that may be in the answer.
    fn find_in_view(&self, index: usize, bound: Option<Place>) -> Result<(Vec<Place>, QueryStats), Error> {
        self.request.cancel.check()?;
        let (mut places, mut stats) = (Vec::new(), QueryStats::default());
        stats.blocks += 1;
        let Some(view) = self.views.get(index) else { return Ok((places, stats)) };
        for (run_index, run) in view.runs.iter().enumerate() {
            let beyond = bound.is_some_and(|bound| {
                if self.is_backward() { run.max_ns < bound.ts_ns } else { run.min_ns > bound.ts_ns }
            });
            if beyond || !self.range.overlaps(run.min_ns, run.max_ns) {
                continue;
            }
            self.find_in_run(view, run, (index, run_index), &mut places, &mut stats)?;
        }
        places.sort_unstable_by(|a, b| self.order(a, b));
        self.drop_copies(&mut places)?;
        self.cut(&mut places, self.request.limit);
        Ok((places, stats))
    }

    fn find_in_run(
        &self,
        view: &BlockView,
        run: &RunView,
        (view_index, run_index): (usize, usize),
        places: &mut Vec<Place>,
        stats: &mut QueryStats,
    ) -> Result<(), Error> {
        let block = &view.block;
        let rows = rows_of(block, run, self.range, &[], &self.pipeline, stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let ts_ns = block.timestamps()?;
        let mut test = RunTest::new(&self.pipeline, block, run)?;
        let stream = self.ranks.get(&run.stream.id).copied().unwrap_or_default();
        let most = if self.request.interval_ns > 0 { usize::MAX } else { self.request.limit };
        let mut found = 0;
        let rows: Box<dyn Iterator<Item = u32>> =
            if self.is_backward() { Box::new(rows.iter().rev()) } else { rows.iter() };
        let mut last_ns = None;
        for row in rows {
            let Some(ts_ns) = ts_ns.get(row as usize) else { continue };
            if found >= most && last_ns != Some(*ts_ns) {
                break;
            }
            // A template may keep a thread for a while.
            self.request.cancel.check()?;
            if test.passes(row, *ts_ns)? {
                found += 1;
                last_ns = Some(*ts_ns);
                // Views and runs are fewer than u32 counts.
                let (view_index, run_index) = (view_index as u32, run_index as u32);
                let place = Place {
                    ts_ns: *ts_ns,
                    stream,
                    arrival: view.arrival,
                    row,
                    view: view_index,
                    run: run_index,
                };
                places.push(place);
            }
        }
        stats.entries_passed += found as u64;
        Ok(())
    }

    /// Drops places behind the first `count`, but for those of the same time as the last of them.
    fn cut(&self, places: &mut Vec<Place>, count: usize) {
        if self.request.interval_ns > 0 {
            return;
        }
        let Some(last) = count.checked_sub(1).and_then(|last| places.get(last)).map(|place| place.ts_ns)
        else {
            return;
        };
        let beyond = places.iter().skip(count).position(|place| place.ts_ns != last);
        places.truncate(beyond.map_or(places.len(), |beyond| count + beyond));
    }

    /// Drops all but the first arrived of equal entries; the places are in order.
    fn drop_copies(&self, places: &mut Vec<Place>) -> Result<(), Error> {
        let mut copies: Vec<Place> = Vec::new();
        for group in places.chunk_by(|a, b| (a.ts_ns, a.stream) == (b.ts_ns, b.stream)) {
            // A run holds no entry twice.
            let run = |place: &Place| (place.view, place.run);
            if group.windows(2).all(|pair| matches!(pair, [a, b] if run(a) == run(b))) {
                continue;
            }
            let mut first_by_content: HashMap<Content<'_>, Place> = HashMap::with_capacity(group.len());
            for place in group {
                let Some(view) = self.views.get(place.view as usize) else { continue };
                let first = first_by_content.entry(content(&view.block, place.row)?).or_insert(*place);
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

    /// Builds lines and labels of the winners.
    fn build(&self, places: &[Place]) -> Result<Vec<LogEntry>, Error> {
        let mut streams: HashMap<u32, Arc<LabelSet>> = HashMap::new();
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let view = self.views.get(place.view as usize);
            let run = view.and_then(|view| view.runs.get(place.run as usize));
            let (Some(view), Some(run)) = (view, run) else { continue };
            let stream = streams.entry(place.stream).or_insert_with(|| Arc::new(run.stream.labels.clone()));
            let columns = LabelColumns::new(&view.block, Columns::ALL)?;
            let base = columns.base(stream, place.row);
            let line = Cow::Borrowed(view.block.lines()?.line(place.row));
            let mut entry = Entry { line, ts_ns: place.ts_ns, labels: Labels::new(&base) };
            self.pipeline.apply(&mut entry);
            let line = entry.line.into_owned();
            let (stream, metadata, parsed) = entry.labels.split(&base);
            entries.push(LogEntry { ts_ns: place.ts_ns, line, stream, metadata, parsed });
        }
        Ok(entries)
    }
}

/// The walk by intervals begins anew with each hour of the clock: Loki v3.7.6 cuts ranges there.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Most views read at once: more would be read in vain when few suffice.
const BATCH_MAX: usize = 64;

/// Tests the entries of a run by the stages behind the line filters.
struct RunTest<'a> {
    pipeline: &'a Pipeline,
    block: &'a Block,
    columns: LabelColumns<'a>,
    stream: Arc<LabelSet>,
    labels_only: bool,
    known: ByCodes<bool>,
}

impl<'a> RunTest<'a> {
    fn new(pipeline: &'a Pipeline, block: &'a Block, run: &RunView) -> Result<Self, Error> {
        let none = logyard_logql::Grouping::default();
        let needed = pipeline.columns(&run.stream.labels, Some(&none));
        let columns = LabelColumns::new(block, needed)?;
        let stream = Arc::new(run.stream.labels.clone());
        let labels_only = pipeline.labels_only();
        Ok(Self { pipeline, block, columns, stream, labels_only, known: ByCodes::new() })
    }

    fn passes(&mut self, row: u32, ts_ns: i64) -> Result<bool, Error> {
        let codes = self.columns.codes(row);
        if let Some(passes) = self.known.get(&codes).filter(|_| self.labels_only) {
            return Ok(*passes);
        }
        let base = self.columns.base(&self.stream, row);
        let line = if self.labels_only { &[] } else { self.block.lines()?.line(row) };
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels: Labels::new(&base) };
        let passes = self.pipeline.apply(&mut entry);
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
}

impl Picker<'_> {
    fn is_full(&self) -> bool {
        self.picked.len() >= self.query.request.limit
    }

    /// Returns a place behind which nothing can be in the answer any more.
    fn bound(&self) -> Option<Place> {
        if self.query.request.interval_ns > 0 {
            return None;
        }
        let missing = self.query.request.limit - self.picked.len();
        self.pending.get(missing.checked_sub(1)?).copied()
    }

    /// Picks what no later view can come before; `nearest_ns` is the first time those can hold.
    fn settle(&mut self, nearest_ns: Option<i64>) -> Result<(), Error> {
        let query = self.query;
        self.pending.sort_unstable_by(|a, b| query.order(a, b));
        query.drop_copies(&mut self.pending)?;
        let is_settled = |place: &Place| match nearest_ns {
            None => true,
            // Equal times may still be ordered by stream or arrival.
            Some(nearest_ns) if query.is_backward() => place.ts_ns > nearest_ns,
            Some(nearest_ns) => place.ts_ns < nearest_ns,
        };
        let settled = self.pending.partition_point(is_settled);
        for place in self.pending.drain(..settled) {
            if self.picked.len() >= query.request.limit {
                break;
            }
            let distant = self.picked.last().is_none_or(|last| {
                query.request.interval_ns <= 0
                    || last.ts_ns.div_euclid(HOUR_NS) != place.ts_ns.div_euclid(HOUR_NS)
                    || last.ts_ns.abs_diff(place.ts_ns) >= query.request.interval_ns.unsigned_abs()
            });
            if distant {
                self.picked.push(place);
            }
        }
        query.cut(&mut self.pending, query.request.limit - self.picked.len());
        Ok(())
    }
}
