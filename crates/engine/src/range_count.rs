//! Range aggregations that count entries or bytes: `count_over_time`, `rate`, `bytes_over_time`,
//! `bytes_rate`, `absent_over_time` and `present_over_time`.
//!
//! Counts are whole numbers, so each entry is added once where its steps begin and taken away where
//! they end; running sums give the windows. Nothing is kept per entry or per window. Runs whose
//! entries all belong to the same steps and series are counted without opening the block.

use crate::dedupe::{Copies, find_copies};
use crate::error::Error;
use crate::grid::{StepFinder, Window};
use crate::labels::{Base, ERROR, Labels, PRESERVE_ERROR};
use crate::metric_query::Context;
use crate::plan::{Columns, Pipeline};
use crate::request::QueryStats;
use crate::scan::{ByCodes, LabelColumns, rows_of};
use crate::select::SelectRequest;
use crate::stage::Entry;
use crate::unwrap::Unwrapper;
use crate::vector::{GridSeries, pick};
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Grouping, RangeAggregation, RangeOp};
use logyard_model::{Direction, LabelSet, MatchOp, TimeRange};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Entries and bytes that begin (positive) or end (negative) at each step.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// The step of the first element.
    first: usize,
    by_step: Vec<(i64, i64)>,
}

impl Changes {
    /// Adds entries to all windows of `steps`, which is not empty.
    fn add(&mut self, steps: &Range<usize>, entries: i64, bytes: i64) {
        if self.by_step.is_empty() {
            self.first = steps.start;
        } else if steps.start < self.first {
            let missing = self.first - steps.start;
            self.by_step.splice(0..0, std::iter::repeat_n((0, 0), missing));
            self.first = steps.start;
        }
        let end = steps.end - self.first;
        if self.by_step.len() <= end {
            self.by_step.resize(end + 1, (0, 0));
        }
        for (step, sign) in [(steps.start - self.first, 1), (end, -1)] {
            if let Some(change) = self.by_step.get_mut(step) {
                change.0 += sign * entries;
                change.1 += sign * bytes;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (index, (entries, bytes)) in other.by_step.iter().enumerate() {
            if (*entries, *bytes) == (0, 0) {
                continue;
            }
            let step = other.first + index;
            // Any step after the first serves as an end: only the beginning is wanted here.
            self.add_at(step, *entries, *bytes);
        }
    }

    fn add_at(&mut self, step: usize, entries: i64, bytes: i64) {
        if self.by_step.is_empty() {
            self.first = step;
        } else if step < self.first {
            let missing = self.first - step;
            self.by_step.splice(0..0, std::iter::repeat_n((0, 0), missing));
            self.first = step;
        }
        let index = step - self.first;
        if self.by_step.len() <= index {
            self.by_step.resize(index + 1, (0, 0));
        }
        if let Some(change) = self.by_step.get_mut(index) {
            change.0 += entries;
            change.1 += bytes;
        }
    }

    /// Returns entries and bytes of each step's window.
    fn windows(&self, steps: usize) -> impl Iterator<Item = (i64, i64)> {
        let mut sums = (0, 0);
        (0..steps).map(move |step| {
            let change = step.checked_sub(self.first).and_then(|index| self.by_step.get(index));
            let (entries, bytes) = change.copied().unwrap_or_default();
            sums = (sums.0 + entries, sums.1 + bytes);
            sums
        })
    }
}

/// Bytes of a step of a series.
const POINT_BYTES: u64 = size_of::<(i64, i64)>() as u64;

/// Bytes of a series beside its labels' texts and its steps: the places in the two lists, twice for growth.
const SERIES_BYTES: u64 = 256;

/// What one worker has counted.
#[derive(Debug, Default)]
struct Counts {
    index: HashMap<LabelSet, usize>,
    series: Vec<Changes>,
    /// Steps of all series, and bytes of everything.
    points: usize,
    bytes: u64,
    /// How many of the bytes are accounted for.
    bytes_held: u64,
    stats: QueryStats,
}

impl Counts {
    fn series_of(&mut self, labels: LabelSet) -> usize {
        let next = self.series.len();
        let label_bytes = labels.text_bytes() as u64;
        let index = *self.index.entry(labels).or_insert(next);
        if index == next {
            self.series.push(Changes::default());
            self.bytes += SERIES_BYTES + label_bytes;
        }
        index
    }

    fn has_grown(&mut self, points: usize) {
        self.points += points;
        self.bytes += points as u64 * POINT_BYTES;
    }

    fn add(&mut self, series: usize, steps: &Range<usize>, entries: i64, bytes: i64) {
        if !steps.is_empty()
            && let Some(changes) = self.series.get_mut(series)
        {
            let before = changes.by_step.len();
            changes.add(steps, entries, bytes);
            let grown = changes.by_step.len() - before;
            self.has_grown(grown);
        }
    }

    fn merge(mut self, other: Self) -> Self {
        if self.series.len() < other.series.len() {
            return other.merge(self);
        }
        self.stats.add(&other.stats);
        self.bytes_held += other.bytes_held;
        for (labels, index) in other.index {
            let own = self.series_of(labels);
            if let (Some(changes), Some(more)) = (self.series.get_mut(own), other.series.get(index)) {
                let before = changes.by_step.len();
                changes.merge(more);
                let grown = changes.by_step.len() - before;
                self.has_grown(grown);
            }
        }
        self
    }
}

/// The aggregation, ready to run over views.
struct Counting<'a> {
    pipeline: Pipeline,
    /// Skips entries without a number, for `absent_over_time`.
    unwrap: Option<Unwrapper>,
    window: Window,
    grouping: Option<&'a Grouping>,
    range: TimeRange,
    needs_bytes: bool,
}

/// Evaluates a range aggregation; `grouping` is the one that decides the series.
pub(crate) fn evaluate(
    context: &Context<'_>,
    aggregation: &RangeAggregation,
    grouping: Option<&Grouping>,
) -> Result<Vec<GridSeries>, Error> {
    let nothing = Grouping::default();
    let is_absent = aggregation.op == RangeOp::AbsentOverTime;
    let log = &aggregation.range.log;
    let (range_ns, offset_ns) = (aggregation.range.range_ns, aggregation.range.offset_ns);
    let window = Window { grid: context.grid, range_ns, offset_ns };
    let (start_ns, end_ns) = window.bounds();
    let grouping = if is_absent { Some(&nothing) } else { grouping };
    let unwrap = aggregation.range.unwrap.as_ref();
    let counting = Counting {
        pipeline: Pipeline::for_samples(aggregation, grouping, context.request.now_ns)?,
        unwrap: unwrap.map(Unwrapper::compile).transpose()?,
        window,
        grouping,
        range: TimeRange { start_ns, end_ns },
        needs_bytes: matches!(aggregation.op, RangeOp::BytesOverTime | RangeOp::BytesRate),
    };
    let views = context.source.select(&SelectRequest {
        tenant: &context.request.tenant,
        matchers: &log.matchers,
        range: counting.range,
        prefilter: &counting.pipeline.prefilter,
        direction: Direction::Forward,
    })?;
    let copies = find_copies(&context.turns, &views, counting.range)?;
    let parts = context.turns.fold(views.len(), |counts: &mut Counts, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        counting.count_view(context, counts, (index, view), &copies)
    })?;
    let mut counts = Counts::default();
    for part in parts {
        context.request.cancel.check()?;
        counts = counts.merge(part);
        check_size(context, &mut counts)?;
    }
    context.add_stats(&counts.stats);
    let steps = context.grid.steps;
    if is_absent {
        // An entry with an error is a series of its own, and is there all the same.
        let mut present = vec![false; steps];
        for changes in &counts.series {
            for (present, (entries, _)) in present.iter_mut().zip(changes.windows(steps)) {
                *present |= entries > 0;
            }
        }
        let values = present.into_iter().map(|present| (!present).then_some(1.0)).collect();
        return Ok(vec![GridSeries { labels: Arc::new(absent_labels(log)), values }]);
    }
    let seconds = seconds(range_ns);
    let value = |(entries, bytes): (i64, i64)| match aggregation.op {
        RangeOp::Rate => entries as f64 / seconds,
        RangeOp::PresentOverTime => 1.0,
        RangeOp::BytesOverTime => bytes as f64,
        RangeOp::BytesRate => bytes as f64 / seconds,
        _ => entries as f64,
    };
    let mut series = Vec::with_capacity(counts.series.len());
    for (labels, index) in counts.index {
        let Some(changes) = counts.series.get(index) else { continue };
        context.request.cancel.check()?;
        context.memory.hold(steps as u64 * POINT_BYTES)?;
        let values: Vec<_> = changes.windows(steps).map(|sums| (sums.0 > 0).then(|| value(sums))).collect();
        if values.iter().any(Option::is_some) {
            series.push(GridSeries { labels: Arc::new(labels), values });
        }
    }
    check_errors(&series)?;
    Ok(series)
}

/// A span in seconds, as Go computes it.
pub(crate) fn seconds(range_ns: i64) -> f64 {
    (range_ns / 1_000_000_000) as f64 + (range_ns % 1_000_000_000) as f64 / 1e9
}

/// Refuses more series or points than the settings allow to hold.
fn check_size(context: &Context<'_>, counts: &mut Counts) -> Result<(), Error> {
    let settings = context.settings;
    if counts.bytes > counts.bytes_held {
        context.memory.hold(counts.bytes - counts.bytes_held)?;
        counts.bytes_held = counts.bytes;
    }
    if counts.series.len() > settings.inner_series_max {
        return Err(Error::invalid(format!(
            "cannot evaluate the query: more than {} series before outer aggregations; add a line filter or \
             grouping, or raise engine.inner_series_max",
            settings.inner_series_max
        )));
    }
    let points = counts.points;
    if points > settings.points_max {
        return Err(Error::invalid(format!(
            "cannot evaluate the query: {points} points before outer aggregations, limit is {}; raise the step \
             or engine.points_max",
            settings.points_max
        )));
    }
    Ok(())
}

/// Refuses samples of entries with an error, as Loki does.
pub(crate) fn check_errors(series: &[GridSeries]) -> Result<(), Error> {
    let faulty = series
        .iter()
        .filter(|series| series.labels.get(ERROR).is_some_and(|error| !error.is_empty()))
        .filter(|series| series.labels.get(PRESERVE_ERROR) != Some("true"))
        .min_by(|a, b| a.labels.cmp(&b.labels));
    let Some(series) = faulty else { return Ok(()) };
    let (error, labels) = (series.labels.get(ERROR).unwrap_or_default(), &series.labels);
    Err(Error::invalid(format!(
        "pipeline error: '{error}' for series: '{labels}'.\nUse a label filter to intentionally skip this error. \
         (e.g | __error__!=\"{error}\").\nTo skip all potential errors you can match empty errors.(e.g \
         __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | \
         __error__=\"\" )\n"
    )))
}

/// Returns the labels that `absent_over_time` answers with: names tested once, for equality.
pub(crate) fn absent_labels(log: &logyard_logql::LogExpr) -> LabelSet {
    let (mut seen, mut labels) = (HashSet::new(), LabelSet::default());
    for matcher in &log.matchers {
        if seen.insert(matcher.name()) && matcher.op() == MatchOp::Equal {
            labels.insert(matcher.name(), matcher.value());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels
}

impl Counting<'_> {
    fn count_view(
        &self,
        context: &Context<'_>,
        counts: &mut Counts,
        (index, view): (usize, &BlockView),
        copies: &Copies,
    ) -> Result<u64, Error> {
        counts.stats.blocks += 1;
        let block = view.block.fresh();
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                self.count_run(context, (&block, run), copies.of(index, run_index), counts)?;
            }
        }
        check_size(context, counts)?;
        Ok(block.heap_bytes() as u64)
    }

    fn count_run(
        &self,
        context: &Context<'_>,
        (block, run): (&Block, &RunView),
        copies: &[u32],
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let needed = match self.unwrap {
            Some(_) => Columns::ALL,
            None => self.pipeline.columns(&run.stream.labels, self.grouping),
        };
        let columns = LabelColumns::new(block, needed)?;
        let stream = Arc::new(run.stream.labels.clone());
        let labels_only = self.pipeline.labels_only();
        if labels_only && columns.are_constant() {
            let base = columns.base(&stream, run.rows.start);
            let Some((labels, _)) = self.series_labels(&base, run.min_ns, &[]) else { return Ok(()) };
            let series = counts.series_of(labels);
            return self.count_constant(block, run, copies, series, counts);
        }
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut counts.stats)?;
        let ts_ns = block.timestamps()?;
        let line_ends = if self.needs_bytes { Some(block.line_ends()?) } else { None };
        let mut finder = StepFinder::new(self.window);
        let changes_line = self.pipeline.changes_line();
        let mut known: ByCodes<Option<(usize, i64)>> = ByCodes::new();
        for row in rows.iter() {
            let codes = columns.codes(row);
            let series = match known.get(&codes).filter(|_| labels_only) {
                Some(series) => *series,
                None => {
                    context.request.cancel.check()?;
                    let line = if labels_only { &[] } else { block.lines()?.line(row) };
                    let ts_ns = ts_ns.get(row as usize).copied().unwrap_or_default();
                    let labels = self.series_labels(&columns.base(&stream, row), ts_ns, line);
                    let series = labels.map(|(labels, bytes)| (counts.series_of(labels), bytes));
                    known.insert(codes, series);
                    series
                }
            };
            let (Some((series, final_bytes)), Some(ts)) = (series, ts_ns.get(row as usize)) else { continue };
            counts.stats.entries_passed += 1;
            let stored_bytes = line_ends.map_or(0, |ends| line_bytes(ends, row));
            let bytes = if changes_line { final_bytes } else { stored_bytes };
            counts.add(series, &finder.steps_of(*ts), 1, bytes);
        }
        Ok(())
    }

    /// Counts a run whose entries all belong to one series.
    fn count_constant(
        &self,
        block: &Block,
        run: &RunView,
        copies: &[u32],
        series: usize,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let whole = self.pipeline.line_filters.is_empty()
            && copies.is_empty()
            && self.range.contains(run.min_ns)
            && self.range.contains(run.max_ns);
        let steps = self.window.steps_of(run.min_ns);
        if whole && steps == self.window.steps_of(run.max_ns) && self.no_change_between(run) {
            let (entries, bytes) = (run.rows.len() as i64, i64::try_from(run.raw_bytes).unwrap_or(i64::MAX));
            counts.stats.entries += run.rows.len() as u64;
            counts.stats.line_bytes += run.raw_bytes;
            counts.stats.entries_passed += run.rows.len() as u64;
            counts.add(series, &steps, entries, bytes);
            return Ok(());
        }
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut counts.stats)?;
        counts.stats.entries_passed += rows.len() as u64;
        let ts_ns = block.timestamps()?;
        let line_ends = if self.needs_bytes { Some(block.line_ends()?) } else { None };
        let mut finder = StepFinder::new(self.window);
        // Neighbours with the same steps are added together.
        let (mut pending, mut entries, mut bytes) = (0..0, 0, 0);
        for row in rows.iter() {
            let Some(ts) = ts_ns.get(row as usize) else { continue };
            let steps = finder.steps_of(*ts);
            if steps != pending {
                counts.add(series, &pending, entries, bytes);
                (pending, entries, bytes) = (steps, 0, 0);
            }
            entries += 1;
            bytes += line_ends.map_or(0, |ends| line_bytes(ends, row));
        }
        counts.add(series, &pending, entries, bytes);
        Ok(())
    }

    /// Returns whether the steps stay the same from the first to the last entry of a run: they could
    /// change and change back only if the windows have gaps.
    fn no_change_between(&self, run: &RunView) -> bool {
        let span_ns = i128::from(run.max_ns) - i128::from(run.min_ns);
        span_ns < i128::from(self.window.grid.step_ns)
    }

    /// Runs the stages; returns the labels of the series that the entry counts for, and the length of
    /// its line as the stages left it.
    fn series_labels(&self, base: &Base, ts_ns: i64, line: &[u8]) -> Option<(LabelSet, i64)> {
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels: Labels::new(base) };
        if !self.pipeline.apply(&mut entry) {
            return None;
        }
        if let Some(unwrap) = &self.unwrap {
            unwrap.value(&mut entry.labels)?;
        }
        let bytes = i64::try_from(entry.line.len()).unwrap_or(i64::MAX);
        let all = entry.labels.union();
        // An entry with an error keeps all labels, so that no grouping hides it.
        let labels = match self.grouping {
            Some(grouping) if entry.labels.error.is_none() => pick(&all, &grouping.labels, !grouping.without),
            _ => all,
        };
        Some((labels, bytes))
    }
}

/// Returns the length of a line from where lines end; a newline stands between them.
fn line_bytes(ends: &[u32], row: u32) -> i64 {
    let index = row as usize;
    let end = ends.get(index).copied().unwrap_or_default();
    let before = index.checked_sub(1).and_then(|before| ends.get(before));
    i64::from(end) - before.map_or(0, |end| i64::from(*end) + 1)
}
