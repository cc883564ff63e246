//! Range aggregations over unwrapped values.
//!
//! Samples are held per series while the aggregation runs, bounded by the settings, in order of time,
//! stream and arrival; each step folds the slice that its window covers.

use crate::dedupe::{Copies, find_copies};
use crate::error::Error;
use crate::grid::Window;
use crate::labels::{Base, Buffers, Labels};
use crate::metric_query::Context;
use crate::plan::{Columns, Pipeline};
use crate::range_count::{check_errors, seconds};
use crate::request::QueryStats;
use crate::scan::{Bases, LabelColumns, rows_of};
use crate::select::SelectRequest;
use crate::series_index::{SeriesIndex, SeriesLabels};
use crate::stage::Entry;
use crate::unwrap::Unwrapper;
use crate::vector::GridSeries;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Grouping, RangeAggregation, RangeOp, Unwrap};
use logyard_model::{Direction, StreamId, TimeRange};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A value and what decides its order.
#[derive(Clone, Copy, Debug)]
struct Value {
    ts_ns: i64,
    stream: StreamId,
    arrival: u64,
    row: u32,
    value: f64,
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

    fn merge(mut self, other: Self) -> Self {
        for (labels, values) in other.index.into_labels().iter().zip(other.series) {
            let own = self.index.of_set(labels);
            self.values_of(own).extend(values);
        }
        self.count += other.count;
        self.stats.add(&other.stats);
        self
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
        range: TimeRange { start_ns, end_ns },
    };
    let views = context.source.select(&SelectRequest {
        tenant: &context.request.tenant,
        matchers: &log.matchers,
        range: unwrapping.range,
        prefilter: &unwrapping.pipeline.prefilter,
        direction: Direction::Forward,
    })?;
    let copies = find_copies(&context.turns, &views, unwrapping.range)?;
    let parts = context.turns.fold(views.len(), |found: &mut Found, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        unwrapping.read_view(context, found, (index, view), &copies)
    })?;
    let found = parts.into_iter().reduce(Found::merge).unwrap_or_default();
    check_count(context, found.count)?;
    context.add_stats(&found.stats);
    let ranks = rank_streams(&views);
    let mut series = Vec::with_capacity(found.series.len());
    for (labels, mut samples) in found.index.into_labels().into_iter().zip(found.series) {
        context.request.cancel.check()?;
        samples.sort_by_key(|one| (one.ts_ns, ranks.get(&one.stream).copied(), one.arrival, one.row));
        let values = fold_windows(aggregation, window, &samples);
        if values.iter().any(Option::is_some) {
            series.push(GridSeries { labels: Arc::new(labels), values });
        }
    }
    check_errors(&series)?;
    Ok(series)
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

/// Numbers the streams in the order of their canonical texts.
fn rank_streams(views: &[BlockView]) -> HashMap<StreamId, usize> {
    let runs = views.iter().flat_map(|view| &view.runs);
    let mut order: Vec<(String, StreamId)> =
        runs.map(|run| (run.stream.labels.to_string(), run.stream.id)).collect();
    order.sort_unstable();
    order.dedup();
    order.into_iter().enumerate().map(|(rank, (_, id))| (id, rank)).collect()
}

impl Unwrapping {
    fn read_view(
        &self,
        context: &Context<'_>,
        found: &mut Found,
        (index, view): (usize, &BlockView),
        copies: &Copies,
    ) -> Result<u64, Error> {
        found.stats.blocks += 1;
        let (before, block) = (found.count, view.block.fresh());
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                let place = (view.arrival, &*block, run);
                self.read_run(context, place, copies.of(index, run_index), found)?;
            }
        }
        check_count(context, found.count)?;
        context.memory.hold((found.count - before) as u64 * SAMPLE_BYTES)?;
        Ok(block.heap_bytes() as u64)
    }

    fn read_run(
        &self,
        context: &Context<'_>,
        (arrival, block, run): (u64, &Block, &RunView),
        copies: &[u32],
        found: &mut Found,
    ) -> Result<(), Error> {
        let rows = rows_of(block, run, self.range, copies, &self.pipeline, &mut found.stats)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let columns = LabelColumns::new(block, Columns::ALL)?;
        let stream = Arc::new(run.stream.labels.clone());
        let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
        let (mut bases, mut buffers) = (Bases::new(&columns, &stream), Buffers::default());
        for row in rows.iter() {
            context.request.cancel.check()?;
            let Some(ts_ns) = ts_ns.get(row as usize).copied() else { continue };
            let line = lines.line(row);
            let Some((series, value)) = self.sample(bases.of(row), ts_ns, line, &mut buffers, found) else {
                continue;
            };
            found.stats.entries_passed += 1;
            found.count += 1;
            let value = Value { ts_ns, stream: run.stream.id, arrival, row, value };
            found.values_of(series).push(value);
        }
        Ok(())
    }

    /// Runs the stages and the conversion; returns the series and the value.
    fn sample(
        &self,
        base: &Base,
        ts_ns: i64,
        line: &[u8],
        buffers: &mut Buffers,
        found: &mut Found,
    ) -> Option<(usize, f64)> {
        let labels = Labels::reusing(base, std::mem::take(buffers));
        let mut entry = Entry { line: Cow::Borrowed(line), ts_ns, labels };
        let passes = self.pipeline.apply(&mut entry);
        let value = if passes { self.unwrap.value(&mut entry.labels) } else { None };
        let sample = value.map(|value| (found.index.of(&entry.labels, &self.which), value));
        *buffers = entry.labels.into_buffers();
        sample
    }
}

/// Folds the samples of each window; they are sorted by time.
fn fold_windows(aggregation: &RangeAggregation, window: Window, samples: &[Value]) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    let (mut from, mut until) = (0, 0);
    (0..window.grid.steps)
        .map(|step| {
            let end_ns = window.grid.instant(step).saturating_sub(window.offset_ns);
            let start_ns = end_ns.saturating_sub(window.range_ns);
            from += samples.iter().skip(from).take_while(|sample| sample.ts_ns <= start_ns).count();
            until = until.max(from);
            until += samples.iter().skip(until).take_while(|sample| sample.ts_ns <= end_ns).count();
            values.clear();
            values.extend(samples.get(from..until).unwrap_or_default().iter().map(|sample| sample.value));
            fold(aggregation.op, aggregation.param, seconds(window.range_ns), &mut values)
        })
        .collect()
}

/// Applies a function to the values of a window; nothing gives nothing.
fn fold(op: RangeOp, param: Option<f64>, seconds: f64, values: &mut [f64]) -> Option<f64> {
    let (first, last) = (*values.first()?, *values.last()?);
    let sum = || values.iter().sum::<f64>();
    Some(match op {
        RangeOp::SumOverTime => sum(),
        RangeOp::Rate => sum() / seconds,
        RangeOp::FirstOverTime => first,
        RangeOp::LastOverTime => last,
        RangeOp::AvgOverTime => average(values),
        RangeOp::MinOverTime => values.iter().fold(f64::NAN, |best, value| best.min(*value)),
        RangeOp::MaxOverTime => values.iter().fold(f64::NAN, |best, value| best.max(*value)),
        RangeOp::StdvarOverTime => variance(values),
        RangeOp::StddevOverTime => variance(values).sqrt(),
        RangeOp::QuantileOverTime => quantile(param.unwrap_or(f64::NAN), values),
        RangeOp::RateCounter => counter_rate(values, seconds),
        RangeOp::Increase => counter_rate(values, 1.0),
        RangeOp::CountOverTime
        | RangeOp::BytesOverTime
        | RangeOp::BytesRate
        | RangeOp::AbsentOverTime
        | RangeOp::PresentOverTime
        | RangeOp::CountDistinctOverTime => return None,
    })
}

/// A running mean; once infinite it stays until the opposite or NaN arrives.
fn average(values: &[f64]) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for value in values {
        count += 1.0;
        let same_infinity = value.is_infinite() && (mean > 0.0) == (*value > 0.0);
        if mean.is_infinite() && (same_infinity || value.is_finite()) {
            continue;
        }
        mean += value / count - mean / count;
    }
    mean
}

fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// Interpolates between the two values around the rank; NaN sorts first.
pub(crate) fn quantile(share: f64, values: &mut [f64]) -> f64 {
    if share.is_nan() {
        return f64::NAN;
    }
    if share < 0.0 {
        return f64::NEG_INFINITY;
    }
    if share > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = share * (values.len() as f64 - 1.0);
    // The rank lies between 0 and the number of values.
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    match (values.get(lower), values.get(upper)) {
        (Some(low), Some(high)) => low * (1.0 - weight) + high * weight,
        _ => f64::NAN,
    }
}

/// The growth of a counter that starts again at zero whenever it falls.
fn counter_rate(values: &[f64], seconds: f64) -> f64 {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
    let falls = values.windows(2).filter_map(|pair| match pair {
        [before, after] if after < before => Some(*before),
        _ => None,
    });
    if values.len() < 2 { 0.0 } else { (last - first + falls.sum::<f64>()) / seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds() {
        let check = |op: RangeOp, values: &[f64], expect: f64| {
            let found = fold(op, Some(0.25), 5.0, &mut values.to_vec()).unwrap();
            assert!(found == expect || found.is_nan() && expect.is_nan(), "{op:?} {values:?}: {found}");
        };
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        check(RangeOp::SumOverTime, &[1.0, 2.0, 4.0], 7.0);
        check(RangeOp::Rate, &[1.0, 2.0, 4.0], 1.4);
        check(RangeOp::FirstOverTime, &[3.0, 1.0], 3.0);
        check(RangeOp::LastOverTime, &[3.0, 1.0], 1.0);
        check(RangeOp::AvgOverTime, &[1.0, 2.0, 6.0], 3.0);
        check(RangeOp::AvgOverTime, &[1.0, infinite, 6.0], infinite);
        check(RangeOp::AvgOverTime, &[infinite, -infinite], nan);
        check(RangeOp::MinOverTime, &[nan, 2.0, 3.0], 2.0);
        check(RangeOp::MaxOverTime, &[nan, nan], nan);
        check(RangeOp::StdvarOverTime, &[1.0, 4.0, 10.0], 14.0);
        check(RangeOp::QuantileOverTime, &[4.0, 1.0, 2.0], 1.5);
        check(RangeOp::RateCounter, &[10.0, 20.0, 30.0, 5.0, 15.0], 7.0);
        check(RangeOp::RateCounter, &[10.0], 0.0);
        check(RangeOp::Increase, &[10.0, 20.0, 30.0, 5.0, 15.0], 35.0);
        assert_eq!(quantile(2.0, &mut [1.0]), infinite);
        assert_eq!(fold(RangeOp::SumOverTime, None, 1.0, &mut []), None);
    }
}
