//! Metric queries: evaluates the tree from the leaves up, all steps at once.

use crate::aggregate;
use crate::binary;
use crate::engine::{self, Warnings};
use crate::error::Error;
use crate::function;
use crate::grid::Grid;
use crate::label_replace;
use crate::memory::Memory;
use crate::plan::PushDown;
use crate::range_count;
use crate::range_distinct;
use crate::range_values;
use crate::request::{
    InstantSample, QueryKind, QueryRequest, QueryResult, QueryStats, Sample, ScanCounts, Series,
};
use crate::settings::EngineSettings;
use crate::turns::Turns;
use crate::vector::{GridSeries, Value, constant, into_vector, sort_by_labels};
use logyard_logql::{MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp};
use std::sync::{Mutex, PoisonError};

/// What evaluation needs everywhere.
pub(crate) struct Context<'a> {
    pub(crate) query: &'a engine::Context<'a>,
    pub(crate) request: &'a QueryRequest,
    pub(crate) settings: &'a EngineSettings,
    pub(crate) turns: Turns<'a>,
    pub(crate) memory: &'a Memory<'a>,
    pub(crate) push_down: PushDown,
    pub(crate) grid: Grid,
    warnings: &'a Warnings,
    stats: Mutex<QueryStats>,
}

impl Context<'_> {
    /// Notes what a selector took.
    pub(crate) fn add_scan(&self, scan: ScanCounts, more: &QueryStats) {
        self.query.add_scan(scan, more);
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).add(more);
    }

    /// Tells the user something that stands beside the answer.
    pub(crate) fn warn(&self, text: String) {
        self.warnings.add(text);
    }
}

/// Evaluates a metric query.
pub(crate) fn run(
    query: &engine::Context<'_>,
    expr: &MetricExpr,
) -> Result<(QueryResult, QueryStats), Error> {
    let engine::Context { request, settings, turns, ref memory, push_down, ref warnings, .. } = *query;
    let grid = Grid::new(request.kind)?;
    let stats = Mutex::new(QueryStats::default());
    let context = Context { query, request, settings, turns, memory, push_down, grid, warnings, stats };
    let value = evaluate(&context, expr)?;
    let mut stats = context.stats.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_instant = matches!(request.kind, QueryKind::Instant { .. });
    if let (true, Value::Scalar(value)) = (is_instant, &value) {
        stats.returned = 1;
        return Ok((QueryResult::Scalar { ts_ns: grid.start_ns, value: *value }, stats));
    }
    if let (true, Value::Numbers(values)) = (is_instant, &value) {
        stats.returned = 1;
        let value = values.first().copied().unwrap_or(f64::NAN);
        return Ok((QueryResult::Scalar { ts_ns: grid.start_ns, value }, stats));
    }
    let mut series = into_vector(value, grid.steps);
    series.retain(|series| series.values.iter().any(Option::is_some));
    if !(is_instant && aggregate::sorts_values(expr)) {
        sort_by_labels(&mut series);
    }
    bound_series(query, &mut series)?;
    let result = match is_instant {
        true => QueryResult::Vector(instant_samples(series, grid)),
        false => QueryResult::Matrix(matrix(series, grid)),
    };
    stats.returned = match &result {
        QueryResult::Vector(samples) => samples.len() as u64,
        QueryResult::Matrix(series) => series.iter().map(|series| series.samples.len() as u64).sum(),
        QueryResult::Entries(_) | QueryResult::Scalar { .. } => 0,
    };
    Ok((result, stats))
}

/// Refuses too many series, or keeps the first of them (Loki v3.7.6, where they are any).
fn bound_series(query: &engine::Context<'_>, series: &mut Vec<GridSeries>) -> Result<(), Error> {
    let limit = query.settings.series_max;
    if series.len() <= limit {
        return Ok(());
    }
    let reason = format!("maximum number of series ({limit}) reached for a single query");
    if query.request.partial_series {
        series.truncate(limit);
        query.warnings.add(format!("{reason}; returning partial results"));
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{reason}; consider reducing query cardinality by adding more specific stream selectors, reducing the \
         time range, or aggregating results with functions like sum(), count() or topk()"
    )))
}

fn instant_samples(series: Vec<GridSeries>, grid: Grid) -> Vec<InstantSample> {
    let ts_ns = grid.start_ns;
    let sample = |series: GridSeries| {
        let value = series.values.first().copied().flatten()?;
        Some(InstantSample { labels: series.labels, ts_ns, value })
    };
    series.into_iter().filter_map(sample).collect()
}

fn matrix(series: Vec<GridSeries>, grid: Grid) -> Vec<Series> {
    let samples = |values: Vec<Option<f64>>| {
        let at =
            |(step, value): (usize, Option<f64>)| Some(Sample { ts_ns: grid.instant(step), value: value? });
        values.into_iter().enumerate().filter_map(at).collect()
    };
    series
        .into_iter()
        .map(|series| Series { labels: series.labels, samples: samples(series.values) })
        .collect()
}

/// Evaluates an expression at all steps.
pub(crate) fn evaluate(context: &Context<'_>, expr: &MetricExpr) -> Result<Value, Error> {
    context.request.cancel.check()?;
    match expr {
        MetricExpr::Literal(value) => Ok(Value::Scalar(*value)),
        MetricExpr::VectorOf(value) => Ok(Value::Vector(vec![constant(*value, context.grid.steps)])),
        MetricExpr::Range(aggregation) => range(context, aggregation, None).map(Value::Vector),
        MetricExpr::Vector(aggregation) => vector(context, aggregation).map(Value::Vector),
        MetricExpr::Function(expr) => function::evaluate(context, expr),
        MetricExpr::Binary(expr) => {
            let left = evaluate(context, &expr.left)?;
            let right = evaluate(context, &expr.right)?;
            binary::evaluate(expr, left, right, context.grid.steps)
        }
        MetricExpr::LabelReplace(replace) => {
            let inner = into_vector(evaluate(context, &replace.inner)?, context.grid.steps);
            label_replace::evaluate(replace, inner).map(Value::Vector)
        }
    }
}

fn range(
    context: &Context<'_>,
    aggregation: &RangeAggregation,
    outer: Option<&VectorAggregation>,
) -> Result<Vec<GridSeries>, Error> {
    let grouping = aggregation.grouping.as_ref().or(outer.map(|outer| &outer.grouping));
    if let Some(label) = &aggregation.label {
        return range_distinct::evaluate(context, aggregation, label);
    }
    match &aggregation.range.unwrap {
        Some(unwrap) if aggregation.op != RangeOp::AbsentOverTime => {
            range_values::evaluate(context, aggregation, unwrap, grouping)
        }
        _ => range_count::evaluate(context, aggregation, grouping),
    }
}

/// Whether a sum over the function is the function under the sum's labels.
pub(crate) fn sums_up(op: RangeOp) -> bool {
    matches!(
        op,
        RangeOp::CountOverTime
            | RangeOp::Rate
            | RangeOp::BytesOverTime
            | RangeOp::BytesRate
            | RangeOp::SumOverTime
    )
}

fn vector(context: &Context<'_>, aggregation: &VectorAggregation) -> Result<Vec<GridSeries>, Error> {
    // Such a sum is folded under its own labels at once: few series instead of many.
    if let (VectorOp::Sum, MetricExpr::Range(inner)) = (aggregation.op, &*aggregation.inner)
        && sums_up(inner.op)
    {
        let series = range(context, inner, Some(aggregation))?;
        // Entries with an error kept all labels: the sum is still to be made over those.
        return aggregate::evaluate(aggregation, series, context.grid.steps);
    }
    let inner = into_vector(evaluate(context, &aggregation.inner)?, context.grid.steps);
    aggregate::evaluate(aggregation, inner, context.grid.steps)
}
