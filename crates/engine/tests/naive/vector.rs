//! Operators on the samples of one step.

use crate::filters::regex;
use crate::labels::Map;
use crate::metric::{Value, arithmetic, extreme, running_mean, variance};
use logyard_logql::{BinaryExpr, BinaryOp, GroupSide, LabelReplace, Matching, VectorAggregation, VectorOp};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

type Vector = Vec<(Map, f64)>;

/// A number counts as one sample without labels.
pub(crate) fn samples(value: Value) -> Vector {
    match value {
        Value::Scalar(value) => vec![(Map::new(), value)],
        Value::Vector(vector) => vector,
    }
}

pub(crate) fn aggregate(aggregation: &VectorAggregation, value: Value) -> Value {
    let mut vector = samples(value);
    vector.sort_by(|a, b| a.0.cmp(&b.0));
    let grouping = &aggregation.grouping;
    let mut groups: BTreeMap<Map, Vector> = BTreeMap::new();
    for (labels, value) in vector {
        let mut key = labels.clone();
        key.retain(|name, _| grouping.labels.contains(name) != grouping.without);
        groups.entry(key).or_default().push((labels, value));
    }
    let mut result = Vector::new();
    for (key, mut members) in groups {
        let values: Vec<f64> = members.iter().map(|(_, value)| *value).collect();
        let folded = match aggregation.op {
            VectorOp::Sum => values.iter().sum(),
            VectorOp::Avg => running_mean(&values),
            VectorOp::Count => values.len() as f64,
            VectorOp::Max => extreme(&values, |value, best| value > best),
            VectorOp::Min => extreme(&values, |value, best| value < best),
            VectorOp::Stdvar => variance(&values),
            VectorOp::Stddev => variance(&values).sqrt(),
            VectorOp::Bottomk | VectorOp::Sort => {
                members.sort_by(|a, b| by_value(a.1, b.1, false));
                members.truncate(aggregation.count.unwrap_or(usize::MAX));
                result.extend(members);
                continue;
            }
            VectorOp::Topk | VectorOp::ApproxTopk | VectorOp::SortDesc => {
                members.sort_by(|a, b| by_value(a.1, b.1, true));
                members.truncate(aggregation.count.unwrap_or(usize::MAX));
                result.extend(members);
                continue;
            }
        };
        result.push((key, folded));
    }
    Value::Vector(result)
}

/// Orders values, NaN last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = a.partial_cmp(&b).expect("numbers");
            if descending { order.reverse() } else { order }
        }
    }
}

pub(crate) fn label_replace(replace: &LabelReplace, value: Value) -> Result<Value, &'static str> {
    let whole = regex(&format!("^(?:{})$", replace.regex));
    let mut result = Vector::new();
    for (mut labels, value) in samples(value) {
        let source = labels.get(&replace.source).cloned().unwrap_or_default();
        if let Some(found) = whole.captures(&source) {
            let mut text = String::new();
            found.expand(&replace.replacement, &mut text);
            labels.remove(&replace.label);
            if !text.is_empty() {
                labels.insert(replace.label.clone(), text);
            }
        }
        result.push((labels, value));
    }
    let distinct: BTreeSet<&Map> = result.iter().map(|(labels, _)| labels).collect();
    if distinct.len() < result.len() {
        return Err("vector cannot contain metrics with the same labelset");
    }
    Ok(Value::Vector(result))
}

pub(crate) fn binary(expr: &BinaryExpr, left: Value, right: Value) -> Result<Value, &'static str> {
    let is_comparison = expr.op.is_comparison();
    // A comparison that does not ask for a truth value keeps one side's value, or drops the sample.
    let apply = |left: f64, right: f64, kept: f64| match arithmetic(expr.op, left, right) {
        truth if is_comparison && !expr.returns_bool => (truth == 1.0).then_some(kept),
        value => Some(value),
    };
    let (left, right) = match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            return Ok(Value::Scalar(arithmetic(expr.op, left, right)));
        }
        (Value::Vector(left), Value::Scalar(right)) => {
            let each = |(labels, value): (Map, f64)| Some((labels, apply(value, right, value)?));
            return Ok(Value::Vector(left.into_iter().filter_map(each).collect()));
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            let each = |(labels, value): (Map, f64)| Some((labels, apply(left, value, value)?));
            return Ok(Value::Vector(right.into_iter().filter_map(each).collect()));
        }
        (Value::Vector(left), Value::Vector(right)) => (left, right),
    };
    let matching = &expr.matching;
    let keys =
        |vector: &Vector| vector.iter().map(|(labels, _)| key(matching, labels)).collect::<BTreeSet<_>>();
    match expr.op {
        BinaryOp::And => {
            let found = keys(&right);
            return Ok(kept(left, |labels| found.contains(&key(matching, labels))));
        }
        BinaryOp::Unless => {
            let found = keys(&right);
            return Ok(kept(left, |labels| !found.contains(&key(matching, labels))));
        }
        BinaryOp::Or => {
            let found = keys(&left);
            let more = right.into_iter().filter(|(labels, _)| !found.contains(&key(matching, labels)));
            return Ok(Value::Vector(left.into_iter().chain(more).collect()));
        }
        _ => {}
    }
    let swapped = matching.group == Some(GroupSide::Right);
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut ones: BTreeMap<Map, (Map, f64)> = BTreeMap::new();
    for (labels, value) in one {
        if ones.insert(key(matching, &labels), (labels, value)).is_some() {
            return Err("many-to-many matching not allowed: matching labels must be unique on one side");
        }
    }
    let mut result = Vector::new();
    let mut used = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (labels, value) in many {
        let key = key(matching, &labels);
        let Some((one_labels, one_value)) = ones.get(&key) else { continue };
        if !used.insert(key) && matching.group.is_none() {
            return Err("many-to-one matching must be explicit");
        }
        let mut out = labels.clone();
        if matching.group.is_some() {
            for name in &matching.include {
                out.remove(name);
                if let Some(value) = one_labels.get(name).filter(|value| !value.is_empty()) {
                    out.insert(name.clone(), value.clone());
                }
            }
        } else if matching.given {
            out.retain(|name, _| matching.labels.contains(name) == matching.on);
        }
        let (left, right) = if swapped { (*one_value, value) } else { (value, *one_value) };
        if !seen.insert(out.clone()) {
            return Err("multiple matches for labels: grouping labels must ensure unique matches");
        }
        if let Some(value) = apply(left, right, left) {
            result.push((out, value));
        }
    }
    Ok(Value::Vector(result))
}

fn kept(vector: Vector, passes: impl Fn(&Map) -> bool) -> Value {
    Value::Vector(vector.into_iter().filter(|(labels, _)| passes(labels)).collect())
}

/// What samples of both sides must have in common.
fn key(matching: &Matching, labels: &Map) -> Map {
    let mut key = labels.clone();
    if matching.given {
        key.retain(|name, _| matching.labels.contains(name) == matching.on);
    }
    key
}
