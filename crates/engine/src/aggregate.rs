//! Vector aggregations: fold the samples of one step, group by group.

use crate::error::Error;
use crate::vector::{GridSeries, pick, sort_by_labels};
use logyard_logql::{MetricExpr, VectorAggregation, VectorOp};
use logyard_model::LabelSet;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Folds series into groups, or picks among them.
pub(crate) fn evaluate(
    aggregation: &VectorAggregation,
    mut series: Vec<GridSeries>,
    steps: usize,
) -> Result<Vec<GridSeries>, Error> {
    // The order of input decides the last digits of sums and the winners of ties.
    sort_by_labels(&mut series);
    match aggregation.op {
        VectorOp::Sort | VectorOp::SortDesc => {
            let descending = aggregation.op == VectorOp::SortDesc;
            series.sort_by(|a, b| by_value(first(a), first(b), descending));
            Ok(series)
        }
        VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk => {
            Ok(pick_extremes(aggregation, series, steps))
        }
        _ => Ok(fold(aggregation, &series, steps)),
    }
}

/// Returns whether a query decides the order of its instant result.
pub(crate) fn sorts_values(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Vector(aggregation) => {
            matches!(aggregation.op, VectorOp::Sort | VectorOp::SortDesc) || sorts_values(&aggregation.inner)
        }
        MetricExpr::LabelReplace(replace) => sorts_values(&replace.inner),
        MetricExpr::Binary(binary) => sorts_values(&binary.left) || sorts_values(&binary.right),
        MetricExpr::Function(function) => function.inner().is_some_and(sorts_values),
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::VectorOf(_) => false,
    }
}

fn first(series: &GridSeries) -> Option<f64> {
    series.values.first().copied().flatten()
}

/// Orders values; NaN and missing ones come last either way.
fn by_value(a: Option<f64>, b: Option<f64>, descending: bool) -> Ordering {
    let number = |value: Option<f64>| value.filter(|value| !value.is_nan());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Returns the places of the series of each group, groups in order of their first series.
fn groups(aggregation: &VectorAggregation, series: &[GridSeries]) -> Vec<(LabelSet, Vec<usize>)> {
    let grouping = &aggregation.grouping;
    let mut index: HashMap<LabelSet, usize> = HashMap::new();
    let mut groups: Vec<(LabelSet, Vec<usize>)> = Vec::new();
    for (place, one) in series.iter().enumerate() {
        let key = pick(&one.labels, &grouping.labels, !grouping.without);
        let next = groups.len();
        let group = *index.entry(key.clone()).or_insert(next);
        if group == next {
            groups.push((key, Vec::new()));
        }
        if let Some((_, places)) = groups.get_mut(group) {
            places.push(place);
        }
    }
    groups
}

fn fold(aggregation: &VectorAggregation, series: &[GridSeries], steps: usize) -> Vec<GridSeries> {
    let fold_group = |(labels, places): (LabelSet, Vec<usize>)| {
        let members: Vec<&[Option<f64>]> =
            places.iter().filter_map(|place| series.get(*place)).map(|series| &*series.values).collect();
        let at = |step: usize| members.iter().filter_map(move |values| values.get(step).copied().flatten());
        let values = (0..steps).map(|step| fold_step(aggregation.op, at(step))).collect();
        GridSeries { labels: Arc::new(labels), values }
    };
    groups(aggregation, series).into_iter().map(fold_group).collect()
}

/// Folds the values of one group at one step; nothing gives nothing.
fn fold_step(op: VectorOp, values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut mean, mut squares, mut result) = (0.0, 0.0, 0.0, None);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        // An infinite mean stays: the difference of infinities is no number.
        mean = if f64::is_infinite(mean) && mean == value { mean } else { mean + delta / count };
        squares += delta * (value - mean);
        result = Some(match (op, result) {
            (_, None) => value,
            (VectorOp::Max, Some(best)) => {
                if best < value || f64::is_nan(best) {
                    value
                } else {
                    best
                }
            }
            (VectorOp::Min, Some(best)) => {
                if best > value || f64::is_nan(best) {
                    value
                } else {
                    best
                }
            }
            (_, Some(sum)) => sum + value,
        });
    }
    let result = result?;
    Some(match op {
        VectorOp::Count => count,
        VectorOp::Avg => mean,
        VectorOp::Stdvar => squares / count,
        VectorOp::Stddev => (squares / count).sqrt(),
        _ => result,
    })
}

/// Keeps the k largest or smallest values of each group at each step; of equal ones the series with
/// the lower labels, and any number before NaN.
fn pick_extremes(
    aggregation: &VectorAggregation,
    mut series: Vec<GridSeries>,
    steps: usize,
) -> Vec<GridSeries> {
    let descending = aggregation.op != VectorOp::Bottomk;
    let count = aggregation.count.unwrap_or(1);
    for (_, places) in groups(aggregation, &series) {
        for step in 0..steps {
            let value =
                |place: &usize| series.get(*place).and_then(|one| one.values.get(step).copied().flatten());
            let mut present: Vec<(usize, Option<f64>)> = places
                .iter()
                .map(|place| (*place, value(place)))
                .filter(|(_, value)| value.is_some())
                .collect();
            // Stable: series come in the order of their labels.
            present.sort_by(|a, b| by_value(a.1, b.1, descending));
            for (place, _) in present.into_iter().skip(count) {
                if let Some(slot) = series.get_mut(place).and_then(|one| one.values.get_mut(step)) {
                    *slot = None;
                }
            }
        }
    }
    series.sort_by(|a, b| by_value(first(a), first(b), descending));
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_logql::{Expr, parse};

    fn check(op: &str, values: &[(&str, f64)], expect: &[(&str, f64)]) {
        let text = format!("{op}(vector(1))").replace("k(", "k(2,");
        let Expr::Metric(MetricExpr::Vector(aggregation)) = parse(&text).unwrap() else { panic!("{text}") };
        let series = |(x, value): &(&str, f64)| GridSeries {
            labels: Arc::new(LabelSet::from_pairs([("g", x.split_at(1).0), ("x", x)])),
            values: vec![Some(*value)],
        };
        let result = evaluate(&aggregation, values.iter().map(series).collect(), 1).unwrap();
        let found: Vec<String> = result
            .iter()
            .filter_map(|one| {
                Some(format!("{} {}", one.labels.get("x").or(one.labels.get("g")).unwrap_or(""), first(one)?))
            })
            .collect();
        let expect: Vec<String> = expect.iter().map(|(x, value)| format!("{x} {value}")).collect();
        assert_eq!(found, expect, "{op}");
    }

    #[test]
    fn folds() {
        let values = [("a1", 1.0), ("a2", 4.0), ("b1", 10.0)];
        check("sum", &values, &[("", 15.0)]);
        check("sum by (g)", &values, &[("a", 5.0), ("b", 10.0)]);
        check("count without (x)", &values, &[("a", 2.0), ("b", 1.0)]);
        check("avg", &values, &[("", 5.0)]);
        check("min", &values, &[("", 1.0)]);
        check("max", &values, &[("", 10.0)]);
        check("stdvar", &values, &[("", 14.0)]);
        check("stddev by (g)", &values, &[("a", 1.5), ("b", 0.0)]);
        check("max", &[("a1", f64::NAN), ("a2", 1.0)], &[("", 1.0)]);
        check("min", &[("a1", 1.0), ("a2", f64::NAN)], &[("", 1.0)]);
        check("sum", &[], &[]);
    }

    #[test]
    fn picks() {
        let values =
            [("a1", 1.0), ("a2", f64::NAN), ("a3", 3.0), ("a4", f64::INFINITY), ("a5", f64::NEG_INFINITY)];
        check("topk", &values, &[("a4", f64::INFINITY), ("a3", 3.0)]);
        check("bottomk", &values, &[("a5", f64::NEG_INFINITY), ("a1", 1.0)]);
        check("topk", &[("b1", 1.0), ("a2", 1.0), ("a1", 1.0)], &[("a1", 1.0), ("a2", 1.0)]);
        check(
            "sort_desc",
            &[("a1", 1.0), ("a2", f64::NAN), ("a3", f64::INFINITY)],
            &[("a3", f64::INFINITY), ("a1", 1.0), ("a2", f64::NAN)],
        );
        check("sort", &[("a2", f64::NAN), ("a1", 1.0)], &[("a1", 1.0), ("a2", f64::NAN)]);
    }
}
