//! Functions of samples beyond Loki's: PromQL's by name and meaning.

use crate::error::Error;
use crate::label_replace::check_unique;
use crate::metric_query::{self, Context};
use crate::vector::{GridSeries, Value, into_vector};
use logyard_logql::{FunctionExpr, LabelJoin, MapCall};
use std::sync::Arc;

/// Evaluates a function at all steps.
pub(crate) fn evaluate(context: &Context<'_>, expr: &FunctionExpr) -> Result<Value, Error> {
    let grid = context.grid;
    let Some(inner) = expr.inner() else {
        let seconds = |step| grid.instant(step) as f64 / 1e9;
        return Ok(Value::Numbers((0..grid.steps).map(seconds).collect()));
    };
    let value = metric_query::evaluate(context, inner)?;
    match (expr, value) {
        (FunctionExpr::Map(call), Value::Numbers(values)) => {
            let map = |value| call.op.apply(value, &call.params).unwrap_or(f64::NAN);
            Ok(Value::Numbers(values.into_iter().map(map).collect()))
        }
        (FunctionExpr::Map(call), value) => Ok(Value::Vector(map(call, into_vector(value, grid.steps)))),
        (FunctionExpr::LabelJoin(join), value) => {
            label_join(join, into_vector(value, grid.steps)).map(Value::Vector)
        }
        (FunctionExpr::Time, value) => Ok(value),
    }
}

fn map(call: &MapCall, mut series: Vec<GridSeries>) -> Vec<GridSeries> {
    for value in series.iter_mut().flat_map(|one| &mut one.values) {
        *value = value.and_then(|value| call.op.apply(value, &call.params));
    }
    series
}

/// Joins the values of labels, absent ones as empty; an empty result removes the label.
fn label_join(join: &LabelJoin, mut series: Vec<GridSeries>) -> Result<Vec<GridSeries>, Error> {
    for one in &mut series {
        let values: Vec<&str> =
            join.sources.iter().map(|source| one.labels.get(source).unwrap_or("")).collect();
        let value = values.join(&join.separator);
        let mut labels = one.labels.as_ref().clone();
        if value.is_empty() {
            labels.remove(&join.label);
        } else {
            labels.insert(&*join.label, value);
        }
        one.labels = Arc::new(labels);
    }
    check_unique(series)
}
