//! `count_distinct_over_time`: how many values a label has in each window.
//!
//! A value is held once for each series and each set of steps that its entries fall into, as a hash of 128
//! bits: counts are exact, whatever the order in which blocks come, and windows need no entries. If that
//! are more than the settings allow, each set of steps of a series becomes a sketch, counts become
//! estimates, and a warning says so. Whether depends on the entries alone: what one worker holds is never
//! more than what all hold together.

use crate::dedupe::{Copies, find_copies};
use crate::error::Error;
use crate::grid::{StepFinder, Window};
use crate::hash::{Hash128, hash_of};
use crate::labels::{Base, Labels};
use crate::limits;
use crate::line_source::LineSource;
use crate::metric_query::Context;
use crate::plan::{Columns, Pipeline};
use crate::range_count::check_errors;
use crate::request::QueryStats;
use crate::scan::{LabelColumns, rows_of};
use crate::sketch::{SKETCH_BYTES, Sketch};
use crate::stage::Entry;
use crate::turns::Work;
use crate::vector::{GridSeries, pick};
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Grouping, RangeAggregation};
use logyard_model::{LabelSet, TimeRange};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Entries of one series that belong to the same steps: series, first step, step behind the last.
type Cell = (u32, u32, u32);

/// A value in a cell.
type Member = (Cell, Hash128);

/// Bytes of a value, with room for its set to grow.
const MEMBER_BYTES: u64 = 2 * size_of::<Member>() as u64;

/// What has been seen.
#[derive(Debug)]
enum Held {
    Values(HashSet<Member>),
    Sketches(HashMap<Cell, Sketch>),
}

/// What one worker has found.
#[derive(Debug)]
struct Found {
    index: HashMap<LabelSet, u32>,
    held: Held,
    stats: QueryStats,
}

impl Default for Found {
    fn default() -> Self {
        Self { index: HashMap::new(), held: Held::Values(HashSet::new()), stats: QueryStats::default() }
    }
}

impl Found {
    fn series_of(&mut self, labels: LabelSet) -> u32 {
        // Series are bounded far below what u32 counts.
        let next = self.index.len() as u32;
        *self.index.entry(labels).or_insert(next)
    }

    /// Adds a value to a cell.
    fn add(&mut self, context: &Context<'_>, cell: Cell, value: Hash128) -> Result<(), Error> {
        match &mut self.held {
            Held::Values(values) => {
                if values.insert((cell, value)) {
                    context.memory.hold(MEMBER_BYTES)?;
                    if values.len() > context.settings.distinct_values_max {
                        self.approximate(context)?;
                    }
                }
            }
            Held::Sketches(sketches) => sketch_of(context, sketches, cell)?.add(value.0),
        }
        Ok(())
    }

    /// Makes sketches of the values.
    fn approximate(&mut self, context: &Context<'_>) -> Result<(), Error> {
        let Held::Values(values) = &mut self.held else { return Ok(()) };
        let mut sketches = HashMap::new();
        for (cell, value) in values.iter() {
            sketch_of(context, &mut sketches, *cell)?.add(value.0);
        }
        context.memory.release(values.len() as u64 * MEMBER_BYTES);
        self.held = Held::Sketches(sketches);
        Ok(())
    }

    fn merge(mut self, context: &Context<'_>, mut other: Self) -> Result<Self, Error> {
        self.stats.add(&other.stats);
        let mut own_of = vec![0; other.index.len()];
        for (labels, index) in std::mem::take(&mut other.index) {
            let own = self.series_of(labels);
            if let Some(slot) = own_of.get_mut(index as usize) {
                *slot = own;
            }
        }
        let own_cell = |(series, from, until): Cell| {
            (own_of.get(series as usize).copied().unwrap_or_default(), from, until)
        };
        if matches!(other.held, Held::Sketches(_)) {
            self.approximate(context)?;
        }
        match other.held {
            Held::Values(values) => {
                context.memory.release(values.len() as u64 * MEMBER_BYTES);
                for (cell, value) in values {
                    self.add(context, own_cell(cell), value)?;
                }
            }
            Held::Sketches(sketches) => {
                context.memory.release(sketches.len() as u64 * SKETCH_BYTES);
                for (cell, sketch) in sketches {
                    if let Held::Sketches(own) = &mut self.held {
                        sketch_of(context, own, own_cell(cell))?.merge(&sketch);
                    }
                }
            }
        }
        Ok(self)
    }
}

fn sketch_of<'s>(
    context: &Context<'_>,
    sketches: &'s mut HashMap<Cell, Sketch>,
    cell: Cell,
) -> Result<&'s mut Sketch, Error> {
    if !sketches.contains_key(&cell) {
        context.memory.hold(SKETCH_BYTES)?;
    }
    Ok(sketches.entry(cell).or_default())
}

/// The aggregation, ready to run over views.
struct Counting<'a> {
    pipeline: Pipeline,
    label: &'a str,
    grouping: Option<&'a Grouping>,
    window: Window,
    range: TimeRange,
}

/// Evaluates a range aggregation.
pub(crate) fn evaluate(
    context: &Context<'_>,
    aggregation: &RangeAggregation,
    label: &str,
) -> Result<Vec<GridSeries>, Error> {
    let log = &aggregation.range.log;
    let (range_ns, offset_ns) = (aggregation.range.range_ns, aggregation.range.offset_ns);
    let window = Window { grid: context.grid, range_ns, offset_ns };
    let (start_ns, end_ns) = window.bounds();
    let grouping = aggregation.grouping.as_ref();
    let counting = Counting {
        pipeline: Pipeline::for_samples(aggregation, grouping, context.request.now_ns, context.push_down)?,
        label,
        grouping,
        window,
        range: limits::cut(context.settings, TimeRange { start_ns, end_ns }, context.request.now_ns),
    };
    let (views, scan) = context.query.select(log, counting.range, &counting.pipeline.prefilter)?;
    let copies = find_copies(&context.turns, &context.query.blocks, &views, counting.range)?;
    let parts = context.turns.fold(views.len(), Work::Unknown, |found: &mut Found, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        counting.read_view(context, found, (index, view), &copies)
    })?;
    let mut found = Found::default();
    for part in parts {
        found = found.merge(context, part)?;
    }
    check_series(context, &found)?;
    context.add_scan(scan, &found.stats);
    let steps = context.grid.steps;
    let counts = match found.held {
        Held::Values(values) => count_values(values, found.index.len(), steps),
        Held::Sketches(sketches) => {
            context.warn(format!(
                "count_distinct_over_time estimates, with a standard error of 1.6 %: there are more than {} values; \
                 raise engine.distinct_values_max for exact counts",
                context.settings.distinct_values_max
            ));
            estimate_values(context, sketches, found.index.len(), steps)?
        }
    };
    let mut series: Vec<GridSeries> = Vec::with_capacity(found.index.len());
    for (labels, index) in found.index {
        let counts = counts.get(index as usize).map(Vec::as_slice).unwrap_or_default();
        let values: Vec<Option<f64>> =
            counts.iter().map(|count| (*count > 0).then_some(*count as f64)).collect();
        if values.iter().any(Option::is_some) {
            series.push(GridSeries { labels: Arc::new(labels), values });
        }
    }
    check_errors(&series)?;
    Ok(series)
}

fn check_series(context: &Context<'_>, found: &Found) -> Result<(), Error> {
    let limit = context.settings.inner_series_max;
    if found.index.len() <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot evaluate the query: more than {limit} series before outer aggregations; group the distinct count by \
         fewer labels, or raise engine.inner_series_max"
    )))
}

impl Counting<'_> {
    fn read_view(
        &self,
        context: &Context<'_>,
        found: &mut Found,
        (index, view): (usize, &BlockView),
        copies: &Copies,
    ) -> Result<u64, Error> {
        let block = context.query.blocks.open(&view.block);
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                self.read_run(context, (&block, run), copies.of(index, run_index), found)?;
            }
        }
        check_series(context, found)?;
        Ok(context.query.blocks.note(&block, &mut found.stats))
    }

    fn read_run(
        &self,
        context: &Context<'_>,
        (block, run): (&Block, &RunView),
        copies: &[u32],
        found: &mut Found,
    ) -> Result<(), Error> {
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut found.stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let columns = LabelColumns::new(block, Columns::ALL)?;
        let stream = Arc::clone(&run.stream.labels);
        let labels_only = self.pipeline.labels_only();
        let ts_ns = block.timestamps()?;
        let mut finder = StepFinder::new(self.window);
        let mut lines = match labels_only {
            true => None,
            false => Some(LineSource::for_stages(block, &rows, &self.pipeline)?),
        };
        for row in rows.iter() {
            context.request.cancel.check()?;
            let Some(ts_ns) = ts_ns.get(row as usize).copied() else { continue };
            let line = lines.as_mut().map_or(Ok(&[][..]), |lines| lines.line(row))?;
            let Some((labels, value)) = self.value(&columns.base(&stream, row), ts_ns, line) else {
                continue;
            };
            found.stats.entries_passed += 1;
            let Range { start, end } = finder.steps_of(ts_ns);
            if start < end {
                let series = found.series_of(labels);
                // A grid has at most some ten thousand steps.
                found.add(context, (series, start as u32, end as u32), value)?;
            }
        }
        Ok(())
    }

    /// Runs the stages; returns the labels of the series and what stands for the value. An entry whose
    /// label is absent or empty has none.
    fn value(&self, base: &Base, ts_ns: i64, line: &[u8]) -> Option<(LabelSet, Hash128)> {
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels: Labels::new(base) };
        if !self.pipeline.apply(&mut entry) {
            return None;
        }
        let labels = &entry.labels;
        let value = hash_of(labels.get(self.label).filter(|value| !value.is_empty())?);
        let mut all = labels.union();
        // An entry with an error keeps all labels, so that no grouping hides it.
        let grouping = self.grouping.filter(|_| labels.error.is_none());
        if grouping.is_none_or(|grouping| grouping.without) {
            all.remove(self.label);
        }
        let labels = grouping.map(|grouping| pick(&all, &grouping.labels, !grouping.without));
        Some((labels.unwrap_or(all), value))
    }
}

/// Counts the values of each step's window, by series.
fn count_values(values: HashSet<Member>, series: usize, steps: usize) -> Vec<Vec<i64>> {
    let mut changes = vec![vec![0_i64; steps + 1]; series];
    let mut members: Vec<(u32, Hash128, u32, u32)> =
        values.into_iter().map(|((series, from, until), value)| (series, value, from, until)).collect();
    members.sort_unstable();
    for one in members.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let Some(changes) = one.first().and_then(|first| changes.get_mut(first.0 as usize)) else { continue };
        // The steps of a value, each once.
        let mut covered = 0;
        for (_, _, from, until) in one {
            let from = (*from).max(covered);
            if from < *until {
                for (step, sign) in [(from, 1), (*until, -1)] {
                    if let Some(change) = changes.get_mut(step as usize) {
                        *change += sign;
                    }
                }
                covered = *until;
            }
        }
    }
    for changes in &mut changes {
        let mut sum = 0;
        for change in changes.iter_mut() {
            sum += *change;
            *change = sum;
        }
        changes.truncate(steps);
    }
    changes
}

/// Estimates the number of values of each step's window, by series.
fn estimate_values(
    context: &Context<'_>,
    sketches: HashMap<Cell, Sketch>,
    series: usize,
    steps: usize,
) -> Result<Vec<Vec<i64>>, Error> {
    let mut counts = vec![vec![0_i64; steps]; series];
    let mut cells: Vec<(Cell, Sketch)> = sketches.into_iter().collect();
    cells.sort_unstable_by_key(|(cell, _)| *cell);
    for cells in cells.chunk_by(|a, b| a.0.0 == b.0.0) {
        let Some(counts) = cells.first().and_then(|first| counts.get_mut(first.0.0 as usize)) else {
            continue;
        };
        let mut sliding = Sliding { cells, oldest: 0, next: 0, front: Vec::new(), back: Sketch::default() };
        for (step, count) in counts.iter_mut().enumerate() {
            context.request.cancel.check()?;
            *count = sliding.estimate(step as u32);
        }
    }
    Ok(counts)
}

/// The sketch of a window that moves over cells: later cells neither begin nor end earlier, so cells enter
/// and leave in order. Each is merged three times at most, however many windows it belongs to.
struct Sliding<'a> {
    cells: &'a [(Cell, Sketch)],
    /// The first cell inside.
    oldest: usize,
    /// The first cell that has not entered.
    next: usize,
    /// Sketches of the older cells inside, from each one on; the oldest comes last.
    front: Vec<Sketch>,
    /// The sketch of the cells that are not in `front`.
    back: Sketch,
}

impl Sliding<'_> {
    fn estimate(&mut self, step: u32) -> i64 {
        while let Some(((_, from, _), sketch)) = self.cells.get(self.next)
            && *from <= step
        {
            self.back.merge(sketch);
            self.next += 1;
        }
        while let Some(((_, _, until), _)) = self.cells.get(self.oldest)
            && self.oldest < self.next
            && *until <= step
        {
            self.leave();
        }
        let mut all = self.back.clone();
        if let Some(front) = self.front.last() {
            all.merge(front);
        }
        // Never more than what i64 holds: hashes have 64 bits.
        all.estimate().round() as i64
    }

    fn leave(&mut self) {
        if self.front.is_empty() {
            let mut sum = Sketch::default();
            for (_, sketch) in self.cells.get(self.oldest..self.next).unwrap_or_default().iter().rev() {
                sum.merge(sketch);
                self.front.push(sum.clone());
            }
            self.back = Sketch::default();
        }
        self.front.pop();
        self.oldest += 1;
    }
}
