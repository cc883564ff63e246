//! Binary operators between numbers and vectors.

use crate::error::Error;
use crate::vector::{Collector, GridSeries, Value, into_vector, pick};
use logyard_logql::{BinaryExpr, BinaryOp, GroupSide, Matching};
use logyard_model::LabelSet;
use std::collections::{HashMap, HashSet};

const MANY_RIGHT: &str = "found duplicate series on the right hand-side;many-to-many matching not allowed: \
    matching labels must be unique on one side";
const MANY_LEFT: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
const MANY_RESULTS: &str = "multiple matches for labels: grouping labels must ensure unique matches";

/// Applies an operator at every step.
pub(crate) fn evaluate(expr: &BinaryExpr, left: Value, right: Value, steps: usize) -> Result<Value, Error> {
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => Ok(Value::Scalar(expr.op.apply(left, right))),
        (Value::Vector(series), Value::Scalar(right)) => {
            Ok(with_number(expr, series, |value, _| (value, right)))
        }
        (Value::Scalar(left), Value::Vector(series)) => {
            Ok(with_number(expr, series, |value, _| (left, value)))
        }
        (Value::Vector(series), Value::Numbers(right)) if !expr.op.is_set() => {
            Ok(with_number(expr, series, |value, step| (value, number_at(&right, step))))
        }
        (Value::Numbers(left), Value::Vector(series)) if !expr.op.is_set() => {
            Ok(with_number(expr, series, |value, step| (number_at(&left, step), value)))
        }
        (left @ (Value::Scalar(_) | Value::Numbers(_)), right @ (Value::Scalar(_) | Value::Numbers(_)))
            if !expr.op.is_set() =>
        {
            let (left, right) = (numbers(left, steps), numbers(right, steps));
            let pairs = left.into_iter().zip(right);
            Ok(Value::Numbers(pairs.map(|(left, right)| expr.op.apply(left, right)).collect()))
        }
        (left, right) => {
            let (left, right) = (into_vector(left, steps), into_vector(right, steps));
            let result = if expr.op.is_set() {
                set(expr, left, &right, steps)
            } else {
                matched(expr, &left, &right, steps)
            };
            result.map(Value::Vector)
        }
    }
}

fn number_at(numbers: &[f64], step: usize) -> f64 {
    numbers.get(step).copied().unwrap_or(f64::NAN)
}

/// Returns a number for each step; a vector has none.
fn numbers(value: Value, steps: usize) -> Vec<f64> {
    match value {
        Value::Scalar(value) => vec![value; steps],
        Value::Numbers(values) => values,
        Value::Vector(_) => Vec::new(),
    }
}

/// Applies the operator to each value; a comparison that filters keeps the vector's value.
fn with_number(
    expr: &BinaryExpr,
    mut series: Vec<GridSeries>,
    operands: impl Fn(f64, usize) -> (f64, f64),
) -> Value {
    for (step, value) in series.iter_mut().flat_map(|series| series.values.iter_mut().enumerate()) {
        let Some(old) = *value else { continue };
        let (left, right) = operands(old, step);
        *value = combine(expr, left, right, old);
    }
    Value::Vector(series)
}

/// Returns the result, or `kept` or nothing for a comparison that filters.
fn combine(expr: &BinaryExpr, left: f64, right: f64, kept: f64) -> Option<f64> {
    let result = expr.op.apply(left, right);
    if expr.op.is_comparison() && !expr.returns_bool { (result != 0.0).then_some(kept) } else { Some(result) }
}

/// Returns the labels by which samples find each other.
fn key(matching: &Matching, labels: &LabelSet) -> LabelSet {
    if matching.given { pick(labels, &matching.labels, matching.on) } else { labels.clone() }
}

fn value_at(series: &GridSeries, step: usize) -> Option<f64> {
    series.values.get(step).copied().flatten()
}

fn set(
    expr: &BinaryExpr,
    mut left: Vec<GridSeries>,
    right: &[GridSeries],
    steps: usize,
) -> Result<Vec<GridSeries>, Error> {
    let keys = |series: &[GridSeries]| -> Vec<LabelSet> {
        series.iter().map(|series| key(&expr.matching, &series.labels)).collect()
    };
    let (left_keys, right_keys) = (keys(&left), keys(right));
    let present = |series: &[GridSeries], keys: &[LabelSet], step: usize| -> HashSet<LabelSet> {
        let here = series.iter().zip(keys).filter(|(series, _)| value_at(series, step).is_some());
        here.map(|(_, key)| key.clone()).collect()
    };
    if expr.op == BinaryOp::Or {
        let mut result = Collector::new(steps);
        for step in 0..steps {
            let taken = present(&left, &left_keys, step);
            let others = right.iter().zip(&right_keys).filter(|(_, key)| !taken.contains(*key));
            for series in left.iter().chain(others.map(|(series, _)| series)) {
                if let Some(value) = value_at(series, step) {
                    result.set(series.labels.as_ref().clone(), step, value, MANY_RESULTS)?;
                }
            }
        }
        return Ok(result.finish());
    }
    for step in 0..steps {
        let matches = present(right, &right_keys, step);
        for (series, key) in left.iter_mut().zip(&left_keys) {
            if matches.contains(key) != (expr.op == BinaryOp::And)
                && let Some(value) = series.values.get_mut(step)
            {
                *value = None;
            }
        }
    }
    Ok(left)
}

fn matched(
    expr: &BinaryExpr,
    left: &[GridSeries],
    right: &[GridSeries],
    steps: usize,
) -> Result<Vec<GridSeries>, Error> {
    let matching = &expr.matching;
    // The "one" side is looked up by key, the "many" side is walked.
    let swapped = matching.group == Some(GroupSide::Right);
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut one_by_key: HashMap<LabelSet, Vec<&GridSeries>> = HashMap::new();
    for series in one {
        one_by_key.entry(key(matching, &series.labels)).or_default().push(series);
    }
    let many_keys: Vec<LabelSet> = many.iter().map(|series| key(matching, &series.labels)).collect();
    let mut result = Collector::new(steps);
    for step in 0..steps {
        let mut used: HashSet<&LabelSet> = HashSet::new();
        let mut results: HashSet<LabelSet> = HashSet::new();
        for (key, candidates) in &one_by_key {
            if candidates.iter().filter(|series| value_at(series, step).is_some()).count() > 1 {
                // Which side is at fault depends on who was to be unique.
                let _ = key;
                return Err(Error::invalid(MANY_RIGHT));
            }
        }
        for (series, key) in many.iter().zip(&many_keys) {
            let Some(many_value) = value_at(series, step) else { continue };
            let partner = one_by_key.get(key).and_then(|candidates| {
                candidates.iter().find_map(|candidate| Some((candidate, value_at(candidate, step)?)))
            });
            let Some((partner, one_value)) = partner else { continue };
            let (left_value, right_value) =
                if swapped { (one_value, many_value) } else { (many_value, one_value) };
            // Partners must be unique also where a comparison then drops them.
            if matching.group.is_none() && !used.insert(key) {
                return Err(Error::invalid(MANY_LEFT));
            }
            let labels = result_labels(matching, &series.labels, &partner.labels);
            if matching.group.is_some() && !results.insert(labels.clone()) {
                return Err(Error::invalid(MANY_RESULTS));
            }
            let Some(value) = combine(expr, left_value, right_value, left_value) else { continue };
            result.set(labels, step, value, MANY_RESULTS)?;
        }
    }
    Ok(result.finish())
}

fn result_labels(matching: &Matching, many: &LabelSet, one: &LabelSet) -> LabelSet {
    if matching.group.is_none() {
        return key(matching, many);
    }
    let mut labels = many.clone();
    for name in &matching.include {
        match one.get(name).filter(|value| !value.is_empty()) {
            Some(value) => labels.insert(&**name, value),
            None => {
                labels.remove(name);
            }
        }
    }
    labels
}
