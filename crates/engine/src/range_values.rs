//! Range aggregations over unwrapped values.
//!
//! Views are read in order of time, a batch at once. Samples before the next batch go, in order of time,
//! stream and arrival, through the windows of their series (`range_slide`), which keep no more than one
//! window: what is held does not grow with the length of the query.

use crate::by_class::ByClass;
use crate::dedupe::{Copies, find_copies};
use crate::error::Error;
use crate::grid::Window;
use crate::hash::ByStream;
use crate::labels::{Base, Buffers, Labels};
use crate::limits;
use crate::line_source::LineSource;
use crate::log_query::rank_streams;
use crate::metric_query::Context;
use crate::plan::{Columns, Pipeline};
use crate::range_count::check_errors;
use crate::range_slide::{Folding, Slide};
use crate::request::QueryStats;
use crate::scan::{Bases, LabelColumns, rows_of};
use crate::series_index::{SeriesIndex, SeriesLabels};
use crate::stage::Entry;
use crate::turns::Work;
use crate::unwrap::Unwrapper;
use crate::vector::GridSeries;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Grouping, RangeAggregation, Unwrap};
use logyard_model::TimeRange;
use std::borrow::Cow;
use std::sync::Arc;

/// A value and what decides its order.
#[derive(Clone, Copy, Debug)]
struct Value {
    ts_ns: i64,
    arrival: u64,
    /// Place of the stream's labels among those of all streams.
    stream: u32,
    row: u32,
    value: f64,
}

/// What an entry gives.
#[derive(Clone, Copy, Debug)]
struct Sample {
    series: usize,
    value: f64,
    /// Whether it is the line that the value comes from, not a label of the stream or metadata.
    is_of_line: bool,
    has_error: bool,
}

/// Bytes of a sample, with room for its list to grow.
const SAMPLE_BYTES: u64 = 2 * size_of::<Value>() as u64;

/// What one worker has found.
#[derive(Debug, Default)]
struct Found {
    index: SeriesIndex,
    /// By the numbers of the index.
    series: Vec<Vec<Value>>,
    count: usize,
    stats: QueryStats,
}

impl Found {
    fn values_of(&mut self, series: usize) -> &mut Vec<Value> {
        self.series.resize_with(self.index.len(), Vec::new);
        &mut self.series[series]
    }
}

/// The aggregation, ready to run over views.
struct Unwrapping {
    pipeline: Pipeline,
    unwrap: Unwrapper,
    which: SeriesLabels,
    range: TimeRange,
}

/// Evaluates a range aggregation; `grouping` is the one that decides the series.
pub(crate) fn evaluate(
    context: &Context<'_>,
    aggregation: &RangeAggregation,
    unwrap: &Unwrap,
    grouping: Option<&Grouping>,
) -> Result<Vec<GridSeries>, Error> {
    let log = &aggregation.range.log;
    let (range_ns, offset_ns) = (aggregation.range.range_ns, aggregation.range.offset_ns);
    let window = Window { grid: context.grid, range_ns, offset_ns };
    let (start_ns, end_ns) = window.bounds();
    let unwrapping = Unwrapping {
        pipeline: Pipeline::for_samples(aggregation, grouping, context.request.now_ns, context.push_down)?,
        unwrap: Unwrapper::compile(unwrap)?,
        which: SeriesLabels::new(grouping, Some(&unwrap.label)),
        range: limits::cut(context.settings, TimeRange { start_ns, end_ns }, context.request.now_ns),
    };
    let (views, scan) = context.query.select(log, unwrapping.range, &unwrapping.pipeline.prefilter)?;
    let copies = find_copies(&context.turns, &context.query.blocks, &views, unwrapping.range)?;
    let mut order: Vec<(i64, usize)> =
        views.iter().enumerate().map(|(index, view)| (earliest_ns(view), index)).collect();
    order.sort_unstable();
    let (ranks, _) = rank_streams(&views);
    let mut series = Sliding::new(Folding { op: aggregation.op, param: aggregation.param, window });
    let (mut rest, mut stats) = (&*order, QueryStats::default());
    while !rest.is_empty() {
        let batch = (context.turns.lanes() * BATCH_PER_LANE).min(rest.len());
        let (now, later) = rest.split_at(batch);
        let parts = context.turns.fold(now.len(), Work::Unknown, |found: &mut Found, place| {
            let index = now.get(place).map_or(usize::MAX, |(_, index)| *index);
            let Some(view) = views.get(index) else { return Ok(0) };
            unwrapping.read_view(context, found, (index, view), (&copies, &ranks))
        })?;
        for part in parts {
            stats.add(&part.stats);
            series.add(part);
        }
        check_count(context, series.held)?;
        // No later view holds anything before this.
        let until_ns = later.first().map_or(i64::MAX, |(earliest_ns, _)| *earliest_ns);
        context.request.cancel.check()?;
        let folded = series.settle(until_ns);
        context.memory.release(folded as u64 * SAMPLE_BYTES);
        rest = later;
    }
    context.add_scan(scan, &stats);
    let series = series.finish();
    check_errors(&series)?;
    Ok(series)
}

/// Views per thread that are read before their samples are folded.
const BATCH_PER_LANE: usize = 8;

fn earliest_ns(view: &BlockView) -> i64 {
    view.runs.iter().map(|run| run.min_ns).min().unwrap_or(i64::MAX)
}

/// The series of the aggregation, with the samples that are not in their windows yet.
#[derive(Debug)]
struct Sliding {
    folding: Folding,
    index: SeriesIndex,
    /// By the numbers of the index.
    series: Vec<(Slide, Vec<Value>)>,
    /// Samples that are held.
    held: usize,
}

impl Sliding {
    fn new(folding: Folding) -> Self {
        Self { folding, index: SeriesIndex::default(), series: Vec::new(), held: 0 }
    }

    fn add(&mut self, found: Found) {
        self.held += found.count;
        for (labels, values) in found.index.into_labels().iter().zip(found.series) {
            let number = self.index.of_set(labels);
            self.series.resize_with(self.index.len(), || (Slide::new(self.folding), Vec::new()));
            if let Some((_, waiting)) = self.series.get_mut(number) {
                waiting.extend(values);
            }
        }
    }

    /// Puts the samples before a time into their windows; returns how many are held no longer.
    fn settle(&mut self, until_ns: i64) -> usize {
        let mut held = 0;
        for (slide, waiting) in &mut self.series {
            // Made of pieces that are in order, one or two per view: this sort merges those.
            waiting.sort_by_key(|one| (one.ts_ns, one.stream, one.arrival, one.row));
            let settled = waiting.partition_point(|one| one.ts_ns < until_ns);
            waiting.drain(..settled).for_each(|one| slide.push(one.ts_ns, one.value));
            held += slide.held() + waiting.len();
        }
        std::mem::replace(&mut self.held, held) - held
    }

    fn finish(self) -> Vec<GridSeries> {
        let values = self.series.into_iter().map(|(slide, _)| slide.finish());
        let series = self.index.into_labels().into_iter().zip(values);
        series
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .map(|(labels, values)| GridSeries { labels: Arc::new(labels), values })
            .collect()
    }
}

fn check_count(context: &Context<'_>, count: usize) -> Result<(), Error> {
    let limit = context.settings.points_max;
    if count <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot evaluate the query: more than {limit} unwrapped values; shorten the range, filter more, or raise \
         engine.points_max"
    )))
}

impl Unwrapping {
    fn read_view(
        &self,
        context: &Context<'_>,
        found: &mut Found,
        (index, view): (usize, &BlockView),
        (copies, ranks): (&Copies, &ByStream<u32>),
    ) -> Result<u64, Error> {
        let (before, block) = (found.count, context.query.blocks.open(&view.block));
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                let stream = ranks.get(&run.stream.id).copied().unwrap_or_default();
                let place = (view.arrival, &*block, run, stream);
                self.read_run(context, place, copies.of(index, run_index), found)?;
            }
        }
        check_count(context, found.count)?;
        context.memory.hold((found.count - before) as u64 * SAMPLE_BYTES)?;
        Ok(context.query.blocks.note(&block, &mut found.stats))
    }

    fn read_run(
        &self,
        context: &Context<'_>,
        (arrival, block, run, rank): (u64, &Block, &RunView, u32),
        copies: &[u32],
        found: &mut Found,
    ) -> Result<(), Error> {
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut found.stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let columns = LabelColumns::new(block, Columns::ALL)?;
        let stream = Arc::clone(&run.stream.labels);
        let ts_ns = block.timestamps()?;
        let mut lines = LineSource::for_stages(block, &rows, &self.pipeline)?;
        let (mut bases, mut buffers) = (Bases::new(&columns, &stream), Buffers::default());
        let mut by_class: ByClass<Option<Sample>> = ByClass::new(lines.classes());
        for row in rows.iter() {
            context.request.cancel.check()?;
            let Some(ts_ns) = ts_ns.get(row as usize).copied() else { continue };
            let place = lines.class_of(row).and_then(|class| by_class.place(columns.codes(row), class));
            let sample = match place {
                Some(Some(sample)) => *sample,
                place => {
                    let base = bases.of(row);
                    let sample = self.sample(base, ts_ns, lines.line(row)?, &mut buffers, found);
                    // Of an entry with an error all labels count, the number's too.
                    if let Some(place) = place.filter(|_| !sample.is_some_and(|sample| sample.has_error)) {
                        *place = Some(sample);
                    }
                    sample
                }
            };
            let Some(Sample { series, value, is_of_line, .. }) = sample else { continue };
            // No stage looks at it, and every number is one for `unwrap`.
            let number = if is_of_line { lines.number_of(row) } else { None };
            let value = number.map_or(value, |number| number as f64);
            found.stats.entries_passed += 1;
            found.count += 1;
            let value = Value { ts_ns, stream: rank, arrival, row, value };
            found.values_of(series).push(value);
        }
        Ok(())
    }

    /// Runs the stages and the conversion.
    fn sample(
        &self,
        base: &Base,
        ts_ns: i64,
        line: &[u8],
        buffers: &mut Buffers,
        found: &mut Found,
    ) -> Option<Sample> {
        let labels = Labels::reusing(base, std::mem::take(buffers));
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels };
        let passes = self.pipeline.apply(&mut entry);
        let value = if passes { self.unwrap.value(&mut entry.labels) } else { None };
        let sample = value.map(|value| Sample {
            series: found.index.of(&entry.labels, &self.which),
            value,
            is_of_line: !entry.labels.is_taken(&self.unwrap.label),
            has_error: entry.labels.error.is_some(),
        });
        *buffers = entry.labels.into_buffers();
        sample
    }
}
