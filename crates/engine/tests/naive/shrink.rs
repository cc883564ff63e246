//! Makes a failing query and its entries smaller as long as they fail.

use crate::data::Data;
use logyard_logql::{Expr, MetricExpr};

/// Returns queries that are a little simpler.
pub(crate) fn simpler(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::Log(log) => (0..log.stages.len())
            .map(|index| {
                let mut less = log.clone();
                less.stages.remove(index);
                Expr::Log(less)
            })
            .collect(),
        Expr::Metric(metric) => simpler_metric(metric).into_iter().map(Expr::Metric).collect(),
        Expr::Variants(_) => Vec::new(),
    }
}

fn simpler_metric(expr: &MetricExpr) -> Vec<MetricExpr> {
    let mut found = Vec::new();
    match expr {
        MetricExpr::Range(range) => {
            for index in 0..range.range.log.stages.len() {
                let mut less = range.clone();
                less.range.log.stages.remove(index);
                found.push(MetricExpr::Range(less));
            }
            if range.range.offset_ns != 0 {
                let mut less = range.clone();
                less.range.offset_ns = 0;
                found.push(MetricExpr::Range(less));
            }
            if range.grouping.is_some() {
                found.push(MetricExpr::Range(logyard_logql::RangeAggregation {
                    grouping: None,
                    ..range.clone()
                }));
            }
        }
        MetricExpr::Vector(aggregation) => {
            found.push((*aggregation.inner).clone());
            for inner in simpler_metric(&aggregation.inner) {
                let mut less = aggregation.clone();
                *less.inner = inner;
                found.push(MetricExpr::Vector(less));
            }
        }
        MetricExpr::LabelReplace(replace) => {
            found.push((*replace.inner).clone());
            for inner in simpler_metric(&replace.inner) {
                let mut less = replace.clone();
                *less.inner = inner;
                found.push(MetricExpr::LabelReplace(less));
            }
        }
        MetricExpr::Binary(binary) => {
            found.extend([binary.left.clone(), binary.right.clone()]);
            for left in simpler_metric(&binary.left) {
                let mut less = binary.clone();
                less.left = left;
                found.push(MetricExpr::Binary(less));
            }
            for right in simpler_metric(&binary.right) {
                let mut less = binary.clone();
                less.right = right;
                found.push(MetricExpr::Binary(less));
            }
        }
        _ => {}
    }
    found
}

/// Returns data with an entry less.
pub(crate) fn fewer(data: &Data) -> Vec<Data> {
    let mut found = Vec::new();
    for (view, one) in data.views.iter().enumerate() {
        for index in 0..one.entries.len() {
            let mut less = data.clone();
            less.views[view].entries.remove(index);
            found.push(less);
        }
    }
    found
}

/// Makes both smaller while `fails` holds.
pub(crate) fn shrink(mut expr: Expr, mut data: Data, fails: impl Fn(&Expr, &Data) -> bool) -> (Expr, Data) {
    loop {
        if let Some(less) = simpler(&expr).into_iter().find(|less| fails(less, &data)) {
            expr = less;
        } else if let Some(less) = fewer(&data).into_iter().find(|less| fails(&expr, less)) {
            data = less;
        } else {
            return (expr, data);
        }
    }
}
