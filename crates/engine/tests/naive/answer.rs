//! Answers in a form that can be compared: of the engine, and by the definitions.

use crate::data::Data;
use crate::labels::{Entry, Map, Stored};
use crate::metric::{Value, evaluate, stream_of};
use crate::parsers::Needed;
use crate::pipeline::{apply, stages};
use crate::vector::samples;
use logyard_engine::{Cancel, Engine, QueryKind, QueryRequest, QueryResult};
use logyard_logql::{Expr, LogExpr, MetricExpr, VectorOp};
use logyard_model::{Direction, LabelSet, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is asked beside the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: QueryKind,
    pub(crate) limit: usize,
    pub(crate) direction: Direction,
    pub(crate) interval_ns: i64,
}

/// An entry as returned: time, line, labels by category.
type Returned = (i64, String, Map, Map, Map);

/// An answer. Texts of error details are blotted out: nothing is promised about them.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Entries(Vec<Returned>),
    /// Points of series in order; `sorted` by labels, or by value, or in no order that is promised.
    Samples(Vec<(Map, Vec<(i64, f64)>)>, Order),
    Scalar(f64),
    /// Words of the error's text.
    Error(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    ByLabels,
    ByValue,
    None,
}

fn blot(mut labels: Map) -> Map {
    if let Some(details) = labels.get_mut("__error_details__") {
        "…".clone_into(details);
    }
    labels
}

fn map_of(set: &LabelSet) -> Map {
    blot(set.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Asks the engine.
pub(crate) fn by_engine(engine: &Engine, data: &Data, expr: &Expr, asked: &Asked) -> Answer {
    let request = QueryRequest {
        tenants: Tenant::single().into(),
        expr: Arc::new(expr.clone()),
        kind: asked.kind,
        limit: asked.limit,
        direction: asked.direction,
        interval_ns: asked.interval_ns,
        partial_series: false,
        now_ns: 0,
        cancel: Arc::new(Cancel::new()),
    };
    match engine.run(data, &request).map(|outcome| outcome.result) {
        Err(error) => Answer::Error(error.to_string()),
        Ok(QueryResult::Scalar { value, .. }) => Answer::Scalar(value),
        Ok(QueryResult::Vector(vector)) => {
            let one = |sample: &logyard_engine::InstantSample| {
                (map_of(&sample.labels), vec![(sample.ts_ns, sample.value)])
            };
            Answer::Samples(vector.iter().map(one).collect(), Order::None)
        }
        Ok(QueryResult::Matrix(series)) => {
            let one = |series: &logyard_engine::Series| {
                let points = series.samples.iter().map(|sample| (sample.ts_ns, sample.value));
                (map_of(&series.labels), points.collect())
            };
            Answer::Samples(series.iter().map(one).collect(), Order::None)
        }
        Ok(QueryResult::Entries(entries)) => {
            let one = |entry: logyard_engine::LogEntry| {
                let line = String::from_utf8_lossy(&entry.line).into_owned();
                (entry.ts_ns, line, map_of(&entry.stream), map_of(&entry.metadata), map_of(&entry.parsed))
            };
            Answer::Entries(entries.into_iter().map(one).collect())
        }
    }
}

/// Finds the answer by the definitions.
pub(crate) fn by_definition(data: &Data, expr: &Expr, asked: &Asked) -> Answer {
    let entries = data.unique();
    match (expr, asked.kind) {
        (Expr::Log(log), QueryKind::Range { start_ns, end_ns, .. }) => {
            Answer::Entries(log_entries(log, entries, start_ns, end_ns, asked))
        }
        (Expr::Metric(expr), kind) => {
            let mut steps = Vec::new();
            match kind {
                QueryKind::Instant { time_ns } => steps.push(time_ns),
                QueryKind::Range { start_ns, end_ns, step_ns } => {
                    let mut step = start_ns - start_ns.rem_euclid(step_ns);
                    steps.push(step);
                    while step < end_ns {
                        step += step_ns;
                        steps.push(step);
                    }
                }
            }
            let is_instant = matches!(kind, QueryKind::Instant { .. });
            match evaluate(expr, &entries, &steps) {
                Err(words) => Answer::Error(words.to_owned()),
                Ok(values) => assemble(expr, &steps, values, is_instant),
            }
        }
        _ => panic!("not a query that is generated"),
    }
}

fn log_entries(
    log: &LogExpr,
    mut entries: Vec<Stored>,
    start_ns: i64,
    end_ns: i64,
    asked: &Asked,
) -> Vec<Returned> {
    let selected = |stored: &Stored| {
        let inside = start_ns <= stored.ts_ns && (stored.ts_ns < end_ns || stored.ts_ns == start_ns);
        let value = |name: &str| stored.stream.get(name).map_or("", String::as_str);
        let matches = |matcher| crate::filters::matches(matcher, value(matcher.name()), true);
        inside && log.matchers.iter().all(matches)
    };
    entries.retain(selected);
    // Stable: entries of one stream and time stay in order of arrival.
    entries.sort_by_key(|stored| (stored.ts_ns, stream_of(stored).labels.to_string()));
    if asked.direction == Direction::Backward {
        entries.reverse();
    }
    let mut returned: Vec<Returned> = Vec::new();
    for stored in &entries {
        let mut entry = Entry::new(stored);
        let far =
            returned.last().is_none_or(|last| last.0.abs_diff(stored.ts_ns) >= asked.interval_ns as u64);
        if returned.len() < asked.limit && apply(&stages(log), &mut entry, &Needed { names: None }) && far {
            let line = String::from_utf8_lossy(&entry.line).into_owned();
            let mut parsed = entry.parsed.clone();
            parsed.extend(entry.errors());
            returned.push((stored.ts_ns, line, entry.stream, entry.metadata, blot(parsed)));
        }
    }
    returned
}

/// Joins the values of all steps.
fn assemble(expr: &MetricExpr, steps: &[i64], values: Vec<Value>, is_instant: bool) -> Answer {
    if let ([Value::Scalar(value)], true) = (&*values, is_instant) {
        return Answer::Scalar(*value);
    }
    if let (MetricExpr::Vector(aggregation), true) = (expr, is_instant)
        && matches!(aggregation.op, VectorOp::Sort | VectorOp::SortDesc)
    {
        let vector = samples(values.into_iter().next().expect("one step"));
        let points = vector.into_iter().map(|(labels, value)| (blot(labels), vec![(steps[0], value)]));
        return Answer::Samples(points.collect(), Order::ByValue);
    }
    let mut series: BTreeMap<Map, Vec<(i64, f64)>> = BTreeMap::new();
    for (ts_ns, value) in steps.iter().zip(values) {
        for (labels, value) in samples(value) {
            series.entry(blot(labels)).or_default().push((*ts_ns, value));
        }
    }
    let order = if is_instant && sorts(expr) { Order::None } else { Order::ByLabels };
    Answer::Samples(series.into_iter().collect(), order)
}

/// Whether the query orders its instant result anywhere.
fn sorts(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Vector(aggregation) => {
            matches!(aggregation.op, VectorOp::Sort | VectorOp::SortDesc) || sorts(&aggregation.inner)
        }
        MetricExpr::LabelReplace(replace) => sorts(&replace.inner),
        MetricExpr::Binary(binary) => sorts(&binary.left) || sorts(&binary.right),
        _ => false,
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
}

/// Whether the engine's answer is the one by the definitions.
pub(crate) fn agree(found: &Answer, expect: &Answer) -> bool {
    match (found, expect) {
        (Answer::Error(text), Answer::Error(words)) => {
            text.contains(words) || !words.contains(char::is_whitespace)
        }
        (Answer::Scalar(a), Answer::Scalar(b)) => close(*a, *b),
        (Answer::Entries(found), Answer::Entries(expect)) => found == expect,
        (Answer::Samples(found, _), Answer::Samples(expect, order)) => {
            let same = |a: &(Map, Vec<(i64, f64)>), b: &(Map, Vec<(i64, f64)>)| {
                let points = a.1.iter().zip(&b.1);
                a.0 == b.0
                    && a.1.len() == b.1.len()
                    && points.clone().all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
            };
            let (mut found, mut expect) = (found.clone(), expect.clone());
            if *order == Order::ByValue {
                let values = found.iter().zip(&expect);
                if !values.clone().all(|(a, b)| close(a.1[0].1, b.1[0].1)) {
                    return false;
                }
            }
            if *order != Order::ByLabels {
                found.sort_by(|a, b| a.0.cmp(&b.0));
                expect.sort_by(|a, b| a.0.cmp(&b.0));
            }
            found.len() == expect.len() && found.iter().zip(&expect).all(|(a, b)| same(a, b))
        }
        _ => false,
    }
}
