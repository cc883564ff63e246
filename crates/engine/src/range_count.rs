//! Range aggregations that count entries or bytes: `count_over_time`, `rate`, `bytes_over_time`,
//! `bytes_rate`, `absent_over_time` and `present_over_time`.
//!
//! Counts are whole numbers, so each entry is added once where its steps begin and taken away where
//! they end; running sums give the windows. Nothing is kept per entry or per window. Runs whose
//! entries all belong to the same steps and series are counted without opening the block.

use crate::by_class::ByClass;
use crate::dedupe::{Copies, find_copies};
use crate::error::Error;
use crate::grid::{StepFinder, Window};
use crate::labels::{Base, Buffers, ERROR, Labels, PRESERVE_ERROR};
use crate::limits;
use crate::line_source::LineSource;
use crate::metric_query::Context;
use crate::plan::{Columns, Pipeline};
use crate::range_sums::{Counts, POINT_BYTES};
use crate::scan::{Bases, ByCodes, LabelColumns, Rows, rows_of};
use crate::series_index::SeriesLabels;
use crate::stage::Entry;
use crate::turns::Work;
use crate::unwrap::Unwrapper;
use crate::vector::GridSeries;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Grouping, RangeAggregation, RangeOp};
use logyard_model::{LabelSet, MatchOp, TimeRange};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// The aggregation, ready to run over views.
struct Counting<'a> {
    pipeline: Arc<Pipeline>,
    /// Skips entries without a number, for `absent_over_time`.
    unwrap: Option<Unwrapper>,
    window: Window,
    grouping: Option<&'a Grouping>,
    which: SeriesLabels,
    range: TimeRange,
    needs_bytes: bool,
}

/// What counting the rows of one run takes beside the columns of their labels.
struct OfRun<'a> {
    stream: &'a Arc<LabelSet>,
    /// The steps of all entries, if they are the same.
    whole: Option<Range<usize>>,
    ts_ns: &'a [i64],
    line_ends: Option<&'a [u32]>,
    /// Absent if labels tell all.
    lines: Option<LineSource<'a>>,
}

/// What is done with an entry that ends with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errors {
    /// It is counted under all its labels.
    Count,
    /// It is left: not all of its labels are known yet.
    Stop,
}

/// An entry that ends with an error, under [`Errors::Stop`].
struct Faulty;

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
    let known = match context.query.standing {
        Some(standing) if context.grid.steps == 1 => standing.known(aggregation, context.grid.start_ns),
        _ => None,
    };
    let compile = || {
        Pipeline::for_samples(aggregation, grouping, context.request.now_ns, context.push_down).map(Arc::new)
    };
    let mut counting = Counting {
        pipeline: known.as_ref().map_or_else(compile, |known| Ok(Arc::clone(&known.pipeline)))?,
        unwrap: unwrap.map(Unwrapper::compile).transpose()?,
        window,
        grouping,
        which: SeriesLabels::new(grouping, None),
        range: limits::cut(context.settings, TimeRange { start_ns, end_ns }, context.request.now_ns),
        needs_bytes: matches!(aggregation.op, RangeOp::BytesOverTime | RangeOp::BytesRate),
    };
    if let Some(known) = &known {
        counting.range.end_ns = counting.range.end_ns.min(known.from_ns.saturating_add(1));
    }
    let (views, scan) = match counting.range.start_ns < counting.range.end_ns {
        true => context.query.select(log, counting.range, &counting.pipeline.prefilter)?,
        false => Default::default(),
    };
    let copies = find_copies(&context.turns, &context.query.blocks, &views, counting.range)?;
    let parts = context.turns.fold(views.len(), Work::Unknown, |counts: &mut Counts, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        counting.count_view(context, counts, (index, view), &copies)
    })?;
    let mut counts = Counts::default();
    for part in parts {
        context.request.cancel.check()?;
        counts = counts.merge(part);
        check_size(context, &mut counts)?;
    }
    for (labels, entries, bytes) in known.into_iter().flat_map(|known| known.sums) {
        let series = counts.series_of_set(&labels);
        counts.add(series, &(0..1), entries, bytes);
    }
    check_size(context, &mut counts)?;
    context.add_scan(scan, &counts.stats);
    let steps = context.grid.steps;
    let seconds = seconds(range_ns);
    let value = |(entries, bytes): (i64, i64)| match aggregation.op {
        RangeOp::Rate => entries as f64 / seconds,
        RangeOp::PresentOverTime => 1.0,
        RangeOp::BytesOverTime => bytes as f64,
        RangeOp::BytesRate => bytes as f64 / seconds,
        _ => entries as f64,
    };
    let mut series = Vec::with_capacity(counts.series.len());
    for (labels, changes) in counts.index.into_labels().into_iter().zip(&counts.series) {
        context.request.cancel.check()?;
        context.memory.hold(steps as u64 * POINT_BYTES)?;
        let values: Vec<_> = changes.windows(steps).map(|sums| (sums.0 > 0).then(|| value(sums))).collect();
        if values.iter().any(Option::is_some) {
            series.push(GridSeries { labels: Arc::new(labels), values });
        }
    }
    check_errors(&series)?;
    Ok(if is_absent { vec![absence(&series, absent_labels(log), steps)] } else { series })
}

/// The series that `absent_over_time` answers with, from those that are present.
fn absence(present: &[GridSeries], labels: LabelSet, steps: usize) -> GridSeries {
    let is_present =
        |step: usize| present.iter().any(|series| series.values.get(step).copied().flatten().is_some());
    let values = (0..steps).map(|step| (!is_present(step)).then_some(1.0)).collect();
    GridSeries { labels: Arc::new(labels), values }
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
        let block = context.query.blocks.open(&view.block);
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                self.count_run(context, (&block, run), copies.of(index, run_index), counts)?;
            }
        }
        check_size(context, counts)?;
        Ok(context.query.blocks.note(&block, &mut counts.stats))
    }

    fn count_run(
        &self,
        context: &Context<'_>,
        (block, run): (&Block, &RunView),
        copies: &[u32],
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let stream = &run.stream.labels;
        if !self.pipeline.labels_only() {
            let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut counts.stats)?;
            if rows.len() == 0 {
                return Ok(());
            }
            let (needed, may_fail) = match self.unwrap {
                Some(_) => (Columns::ALL, false),
                None => self.pipeline.columns_without_error(stream, self.grouping),
            };
            return self.count_rows(context, (block, run), &rows, (needed, may_fail), counts);
        }
        let needed = match self.unwrap {
            Some(_) => Columns::ALL,
            None => self.pipeline.columns(stream, self.grouping),
        };
        let columns = LabelColumns::new(block, needed)?;
        if columns.are_constant() {
            let base = columns.base(stream, run.rows.start);
            let mut buffers = Buffers::default();
            let found = self.series_of(&base, run.min_ns, &[], &mut buffers, counts, Errors::Count);
            let Some((series, _)) = found.unwrap_or_default() else { return Ok(()) };
            return self.count_constant(block, run, copies, series, counts);
        }
        if let (false, Some(steps)) = (self.needs_bytes, self.steps_of_whole(run, copies)) {
            self.count_codes((&columns, run), &steps, counts);
            return Ok(());
        }
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut counts.stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        self.count_rows(context, (block, run), &rows, (needed, false), counts)
    }

    /// Counts rows one by one. `may_fail` says that the columns do for entries without an error only.
    fn count_rows(
        &self,
        context: &Context<'_>,
        (block, run): (&Block, &RunView),
        rows: &Rows,
        (needed, may_fail): (Columns, bool),
        counts: &mut Counts,
    ) -> Result<(), Error> {
        // Entries that all belong to the same steps need no look at their times.
        let whole =
            if self.pipeline.reads_time() { None } else { self.window.steps_of_span(run.min_ns, run.max_ns) };
        let ts_ns = if whole.is_some() { &[] } else { block.timestamps()? };
        let line_ends = if self.needs_bytes { Some(block.line_ends()?) } else { None };
        let lines = match self.pipeline.labels_only() {
            true => None,
            false => Some(LineSource::for_stages(block, rows, &self.pipeline)?),
        };
        let stream = Arc::clone(&run.stream.labels);
        let mut of_run = OfRun { stream: &stream, whole, ts_ns, line_ends, lines };
        let columns = LabelColumns::new(block, needed)?;
        let errors = if may_fail { Errors::Stop } else { Errors::Count };
        let counted = self.count_by_columns(context, &mut of_run, &columns, (rows, 0), errors, counts)?;
        if counted < rows.len() {
            let columns = LabelColumns::new(block, Columns::ALL)?;
            let rest = (rows, counted);
            self.count_by_columns(context, &mut of_run, &columns, rest, Errors::Count, counts)?;
        }
        Ok(())
    }

    /// Counts the rows from a place among them on; returns the place of the first that was not counted.
    fn count_by_columns(
        &self,
        context: &Context<'_>,
        of_run: &mut OfRun<'_>,
        columns: &LabelColumns<'_>,
        (rows, from): (&Rows, usize),
        errors: Errors,
        counts: &mut Counts,
    ) -> Result<usize, Error> {
        let OfRun { stream, ref whole, ts_ns, line_ends, ref mut lines } = *of_run;
        let labels_only = lines.is_none();
        let mut finder = StepFinder::new(self.window);
        let changes_line = self.pipeline.changes_line();
        let mut known: ByCodes<Option<(usize, i64)>> = ByCodes::new();
        let (mut bases, mut buffers) = (Bases::new(columns, stream), Buffers::default());
        let mut by_class: ByClass<Option<(usize, i64)>> =
            ByClass::new(lines.as_ref().map_or(0, LineSource::classes));
        for (place_of_row, row) in rows.iter().enumerate().skip(from) {
            let codes = columns.codes(row);
            let class = lines.as_ref().and_then(|lines| lines.class_of(row));
            let mut place = class.and_then(|class| by_class.place(codes, class));
            let series = match &mut place {
                Some(place) => **place,
                None if labels_only => known.get(&codes).copied(),
                None => None,
            };
            let series = match series {
                Some(series) => series,
                None => {
                    context.request.cancel.check()?;
                    let line = lines.as_mut().map_or(Ok(&[][..]), |lines| lines.line(row))?;
                    let ts_ns = ts_ns.get(row as usize).copied().unwrap_or_default();
                    let found = self.series_of(bases.of(row), ts_ns, line, &mut buffers, counts, errors);
                    let Ok(series) = found else { return Ok(place_of_row) };
                    if labels_only {
                        known.insert(codes, series);
                    }
                    if let Some(place) = place {
                        *place = Some(series);
                    }
                    series
                }
            };
            let Some((series, final_bytes)) = series else { continue };
            counts.stats.entries_passed += 1;
            let stored_bytes = line_ends.map_or(0, |ends| line_bytes(ends, row));
            let bytes = if changes_line { final_bytes } else { stored_bytes };
            match (whole, ts_ns.get(row as usize)) {
                (Some(steps), _) => counts.add(series, steps, 1, bytes),
                (None, Some(ts)) => counts.add(series, &finder.steps_of(*ts), 1, bytes),
                (None, None) => {}
            }
        }
        Ok(rows.len())
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
        if let Some(steps) = self.steps_of_whole(run, copies) {
            let (entries, bytes) = (run.rows.len() as i64, i64::try_from(run.raw_bytes).unwrap_or(i64::MAX));
            counts.count_whole(run, run.rows.len() as u64);
            counts.add(series, &steps, entries, bytes);
            return Ok(());
        }
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut counts.stats)?;
        counts.stats.entries_passed += rows.len() as u64;
        if rows.len() == 0 {
            return Ok(());
        }
        let line_ends = if self.needs_bytes { Some(block.line_ends()?) } else { None };
        if let Some(steps) = self.window.steps_of_span(run.min_ns, run.max_ns) {
            let bytes = line_ends.map_or(0, |ends| rows.iter().map(|row| line_bytes(ends, row)).sum());
            counts.add(series, &steps, rows.len() as i64, bytes);
            return Ok(());
        }
        let ts_ns = block.timestamps()?;
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

    /// Counts a run whose entries all belong to the same steps, by their labels alone.
    fn count_codes(
        &self,
        (columns, run): (&LabelColumns<'_>, &RunView),
        steps: &Range<usize>,
        counts: &mut Counts,
    ) {
        let stream = Arc::clone(&run.stream.labels);
        let mut buffers = Buffers::default();
        let mut rows_by_codes: ByCodes<(u32, i64)> = ByCodes::new();
        for row in run.rows.clone() {
            rows_by_codes.entry(columns.codes(row)).or_insert((row, 0)).1 += 1;
        }
        let mut passed = 0;
        for (row, entries) in rows_by_codes.into_values() {
            let base = columns.base(&stream, row);
            let found = self.series_of(&base, run.min_ns, &[], &mut buffers, counts, Errors::Count);
            let Some((series, _)) = found.unwrap_or_default() else { continue };
            counts.add(series, steps, entries, 0);
            passed += entries.unsigned_abs();
        }
        counts.count_whole(run, passed);
    }

    /// Returns the steps that all entries of a run belong to, if no entry needs a look of its own.
    fn steps_of_whole(&self, run: &RunView, copies: &[u32]) -> Option<Range<usize>> {
        let whole = self.pipeline.may_count_whole()
            && copies.is_empty()
            && self.range.contains(run.min_ns)
            && self.range.contains(run.max_ns);
        if whole { self.window.steps_of_span(run.min_ns, run.max_ns) } else { None }
    }

    /// Runs the stages; returns the series that the entry counts for, and the length of its line as the
    /// stages left it. `Err` for one that ends with an error, if those are to be left.
    fn series_of(
        &self,
        base: &Base,
        ts_ns: i64,
        line: &[u8],
        buffers: &mut Buffers,
        counts: &mut Counts,
        errors: Errors,
    ) -> Result<Option<(usize, i64)>, Faulty> {
        let labels = Labels::reusing(base, std::mem::take(buffers));
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels };
        let passes = self.pipeline.apply(&mut entry)
            && self.unwrap.as_ref().is_none_or(|unwrap| unwrap.value(&mut entry.labels).is_some());
        if passes && errors == Errors::Stop && entry.labels.error.is_some() {
            return Err(Faulty);
        }
        let found = passes.then(|| {
            let bytes = i64::try_from(entry.line.len()).unwrap_or(i64::MAX);
            (counts.series_of(&entry.labels, &self.which), bytes)
        });
        *buffers = entry.labels.into_buffers();
        Ok(found)
    }
}

/// Returns the length of a line from where lines end; a newline stands between them.
pub(crate) fn line_bytes(ends: &[u32], row: u32) -> i64 {
    let index = row as usize;
    let end = ends.get(index).copied().unwrap_or_default();
    let before = index.checked_sub(1).and_then(|before| ends.get(before));
    i64::from(end) - before.map_or(0, |end| i64::from(*end) + 1)
}
