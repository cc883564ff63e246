//! Range aggregations: samples of all entries, then each step's window from scratch.

use crate::filters::label_passes;
use crate::labels::{Entry, Map, Stored};
use crate::numbers;
use crate::parsers::Needed;
use crate::pipeline::{apply, metric_stages, template_fields};
use crate::vector;
use logyard_logql::{
    BinaryOp, Conversion, Formatted, Grouping, LabelFilter, MetricExpr, RangeAggregation, RangeOp, StageKind,
    VectorOp,
};
use logyard_model::{LabelSet, MatchOp, Stream, Tenant};
use std::collections::{BTreeMap, BTreeSet};

/// The value of an expression at one step.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vec<(Map, f64)>),
}

/// Evaluates an expression at all steps; an error is told by the words that its text must hold.
pub(crate) fn evaluate(
    expr: &MetricExpr,
    entries: &[Stored],
    steps_ns: &[i64],
) -> Result<Vec<Value>, &'static str> {
    match expr {
        MetricExpr::Literal(value) => Ok(vec![Value::Scalar(*value); steps_ns.len()]),
        MetricExpr::VectorOf(value) => Ok(vec![Value::Vector(vec![(Map::new(), *value)]); steps_ns.len()]),
        MetricExpr::Range(range) => self::range(range, range.grouping.as_ref(), entries, steps_ns),
        MetricExpr::Vector(aggregation) => {
            let inner = match &*aggregation.inner {
                MetricExpr::Range(range) if aggregation.op == VectorOp::Sum && sums_up(range.op) => {
                    let grouping = range.grouping.as_ref().unwrap_or(&aggregation.grouping);
                    self::range(range, Some(grouping), entries, steps_ns)?
                }
                inner => evaluate(inner, entries, steps_ns)?,
            };
            Ok(inner.into_iter().map(|value| vector::aggregate(aggregation, value)).collect())
        }
        MetricExpr::LabelReplace(replace) => {
            let inner = evaluate(&replace.inner, entries, steps_ns)?;
            inner.into_iter().map(|value| vector::label_replace(replace, value)).collect()
        }
        MetricExpr::Binary(binary) => {
            let left = evaluate(&binary.left, entries, steps_ns)?;
            let right = evaluate(&binary.right, entries, steps_ns)?;
            left.into_iter().zip(right).map(|(left, right)| vector::binary(binary, left, right)).collect()
        }
        extension => panic!("{extension:?} is no part of Loki's language"),
    }
}

/// Whether the labels of a sum around the function decide what is extracted.
fn sums_up(op: RangeOp) -> bool {
    use RangeOp::{BytesOverTime, BytesRate, CountOverTime, Rate, SumOverTime};
    matches!(op, CountOverTime | Rate | BytesOverTime | BytesRate | SumOverTime)
}

fn filter_names(filter: &LabelFilter, names: &mut BTreeSet<String>) {
    match filter {
        LabelFilter::Text(matcher) => {
            names.insert(matcher.name().to_owned());
        }
        LabelFilter::Compare { name, .. } | LabelFilter::Ip { name, .. } => {
            names.insert(name.clone());
        }
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            filter_names(left, names);
            filter_names(right, names);
        }
        extension => panic!("{extension:?} is no part of Loki's language"),
    }
}

/// The labels that anybody looks at under the effective grouping.
fn needed(range: &RangeAggregation, stages: &[&StageKind], grouping: Option<&Grouping>) -> Needed {
    let Some(Grouping { without: false, labels }) = grouping else { return Needed { names: None } };
    let mut names: BTreeSet<String> = labels.iter().cloned().collect();
    for stage in stages {
        match stage {
            StageKind::LabelFilter(filter) => filter_names(filter, &mut names),
            StageKind::LineFormat(template) => names.extend(template_fields(template)),
            StageKind::LabelFormat(items) => {
                for item in items {
                    match &item.from {
                        Formatted::Label(source) => names.extend([source.clone()]),
                        Formatted::Template(template) => names.extend(template_fields(template)),
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(unwrap) = &range.range.unwrap {
        names.insert(unwrap.label.clone());
        unwrap.filters.iter().for_each(|filter| filter_names(filter, &mut names));
    }
    let plain: Vec<String> =
        names.iter().filter_map(|name| name.strip_suffix("_extracted")).map(str::to_owned).collect();
    names.extend(plain);
    Needed { names: Some(names) }
}

struct Sample {
    ts_ns: i64,
    labels: Map,
    value: f64,
}

/// Runs one entry through the pipeline; nothing if it is dropped.
fn sample(
    range: &RangeAggregation,
    stages: &[&StageKind],
    grouping: Option<&Grouping>,
    needed: &Needed,
    stored: &Stored,
) -> Option<Sample> {
    let mut entry = Entry::new(stored);
    if !apply(stages, &mut entry, needed) {
        return None;
    }
    let mut value = match range.op {
        RangeOp::BytesOverTime | RangeOp::BytesRate => entry.line.len() as f64,
        _ => 1.0,
    };
    let mut unwrapped = "";
    if let Some(unwrap) = &range.range.unwrap {
        unwrapped = &unwrap.label;
        let text = entry.get(unwrapped).filter(|text| !text.is_empty())?;
        let number = match unwrap.conversion {
            None => numbers::float(text),
            Some(Conversion::Bytes) => numbers::size(text).map(|bytes| bytes as f64),
            Some(_) => numbers::duration(text).map(|ns| ns as f64 / 1e9),
        };
        if number.is_none() {
            entry.fail("SampleExtractionErr", "conversion");
        }
        value = number.unwrap_or(0.0);
        if !unwrap.filters.iter().all(|filter| label_passes(filter, &mut entry)) {
            return None;
        }
    }
    let mut labels = entry.visible();
    // An error keeps all labels, so that no grouping hides it.
    if entry.error.is_none() {
        match grouping {
            Some(Grouping { without: false, labels: kept }) => labels.retain(|name, _| kept.contains(name)),
            Some(Grouping { labels: removed, .. }) => {
                labels.retain(|name, _| !removed.contains(name) && name != unwrapped);
            }
            None => labels.retain(|name, _| name != unwrapped),
        }
    }
    Some(Sample { ts_ns: stored.ts_ns, labels, value })
}

fn range(
    range: &RangeAggregation,
    grouping: Option<&Grouping>,
    entries: &[Stored],
    steps_ns: &[i64],
) -> Result<Vec<Value>, &'static str> {
    let nothing = Grouping { without: false, labels: Vec::new() };
    let is_absent = range.op == RangeOp::AbsentOverTime;
    let grouping = if is_absent { Some(&nothing) } else { grouping };
    let counts_bytes = matches!(range.op, RangeOp::BytesOverTime | RangeOp::BytesRate);
    let stages = metric_stages(&range.range.log, counts_bytes);
    let needed = needed(range, &stages, grouping);
    let selected = |stored: &&Stored| {
        range.range.log.matchers.iter().all(|matcher| {
            let value = stored.stream.get(matcher.name()).map_or("", String::as_str);
            crate::filters::matches(matcher, value, true)
        })
    };
    let mut ordered: Vec<&Stored> = entries.iter().filter(selected).collect();
    // Stable: entries of one stream and time stay in order of arrival.
    ordered.sort_by_key(|stored| (stored.ts_ns, stream_of(stored).id));
    let samples: Vec<Sample> =
        ordered.iter().filter_map(|stored| sample(range, &stages, grouping, &needed, stored)).collect();
    let mut values = Vec::new();
    for step_ns in steps_ns {
        let end_ns = step_ns - range.range.offset_ns;
        let start_ns = end_ns - range.range.range_ns;
        let mut series: BTreeMap<&Map, Vec<f64>> = BTreeMap::new();
        for sample in &samples {
            if sample.ts_ns <= start_ns || sample.ts_ns > end_ns {
                continue;
            }
            let preserved = sample.labels.contains_key("__preserve_error__");
            if sample.labels.contains_key("__error__") && !preserved {
                return Err("pipeline error");
            }
            series.entry(&sample.labels).or_default().push(sample.value);
        }
        values.push(Value::Vector(if is_absent {
            let absent = (absent_labels(range), 1.0);
            if series.is_empty() { vec![absent] } else { Vec::new() }
        } else {
            let fold = |(labels, values): (&Map, Vec<f64>)| (labels.clone(), fold(range, &values));
            series.into_iter().map(fold).collect()
        }));
    }
    Ok(values)
}

/// The stream in the model's form: its id orders samples of one time.
pub(crate) fn stream_of(stored: &Stored) -> Stream {
    Stream::new(&Tenant::single(), set_of(&stored.stream))
}

pub(crate) fn set_of(map: &Map) -> LabelSet {
    LabelSet::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn absent_labels(range: &RangeAggregation) -> Map {
    let matchers = &range.range.log.matchers;
    let once = |name: &str| matchers.iter().filter(|matcher| matcher.name() == name).count() == 1;
    matchers
        .iter()
        .filter(|matcher| matcher.op() == MatchOp::Equal && once(matcher.name()))
        .map(|matcher| (matcher.name().to_owned(), matcher.value().to_owned()))
        .collect()
}

/// Folds the values of one window, in their order; there is at least one.
fn fold(range: &RangeAggregation, values: &[f64]) -> f64 {
    let seconds = range.range.range_ns as f64 / 1e9;
    let sum: f64 = values.iter().sum();
    let (first, last) = (values[0], values[values.len() - 1]);
    match range.op {
        RangeOp::CountOverTime => values.len() as f64,
        RangeOp::Rate | RangeOp::BytesRate => sum / seconds,
        RangeOp::BytesOverTime | RangeOp::SumOverTime => sum,
        RangeOp::AvgOverTime => running_mean(values),
        RangeOp::MinOverTime => extreme(values, |value, best| value < best),
        RangeOp::MaxOverTime => extreme(values, |value, best| value > best),
        RangeOp::StdvarOverTime => variance(values),
        RangeOp::StddevOverTime => variance(values).sqrt(),
        RangeOp::FirstOverTime => first,
        RangeOp::LastOverTime => last,
        RangeOp::QuantileOverTime => quantile(range.param.expect("a quantile"), values),
        RangeOp::RateCounter if values.len() < 2 => 0.0,
        RangeOp::RateCounter => {
            let drops = values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]);
            (last - first + drops.sum::<f64>()) / seconds
        }
        RangeOp::AbsentOverTime => 1.0,
        extension => panic!("{extension:?} is no part of Loki's language"),
    }
}

/// A running mean; an infinite one stays until NaN or the opposite infinity arrives.
pub(crate) fn running_mean(values: &[f64]) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for value in values {
        count += 1.0;
        let turns = value.is_nan() || value.is_infinite() && value.signum() != mean.signum();
        if mean.is_infinite() && !turns {
            continue;
        }
        mean += value / count - mean / count;
    }
    mean
}

/// The smallest or largest value; NaN is replaced by any number.
pub(crate) fn extreme(values: &[f64], is_better: fn(f64, f64) -> bool) -> f64 {
    let pick = |best: f64, value: f64| if best.is_nan() || is_better(value, best) { value } else { best };
    values.iter().copied().reduce(pick).expect("a value")
}

/// The population variance, by Welford.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut count, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

fn quantile(phi: f64, values: &[f64]) -> f64 {
    if phi > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    // NaN is the smallest.
    sorted.sort_by(|a, b| (!a.is_nan()).cmp(&!b.is_nan()).then(a.total_cmp(b)));
    let rank = phi * (sorted.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[low] * (1.0 - weight) + sorted[high] * weight
}

/// Arithmetic on two numbers; a comparison gives 1 or 0.
pub(crate) fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide | BinaryOp::Modulo if right == 0.0 => f64::NAN,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterOrEqual => truth(left >= right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessOrEqual => truth(left <= right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => panic!("{op:?} takes vectors"),
    }
}
