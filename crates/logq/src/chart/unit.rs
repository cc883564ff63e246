//! What the numbers of a metric query count: told by the query.

use logyard_logql::{Conversion, Expr, MetricExpr, RangeAggregation, RangeOp, VectorOp};

use crate::chart::units::{bytes_text, count_text, rate_text, seconds_text};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things: 12.3k
    Count,
    /// Bytes: 1.5 MiB
    Bytes,
    /// Seconds: 350 ms, 2m05s
    Seconds,
    /// Things by time, given by the second: 3.2/s, 7/h
    Rate,
    /// Bytes a second: 1.5 MiB/s
    BytesRate,
}

impl Unit {
    /// Tells the unit by a query; what cannot be told is counted.
    pub(crate) fn of(query: &str) -> Self {
        match logyard_logql::parse(query) {
            Ok(Expr::Metric(expr)) => of_metric(&expr),
            _ => Self::Count,
        }
    }

    /// Writes a number in this unit.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Count => count_text(value),
            Self::Bytes => bytes_text(value),
            Self::Seconds => seconds_text(value),
            Self::Rate => rate_text(value),
            Self::BytesRate => format!("{}/s", bytes_text(value)),
        }
    }
}

fn of_metric(expr: &MetricExpr) -> Unit {
    match expr {
        MetricExpr::Range(range) => of_range(range),
        MetricExpr::Vector(vector) => match vector.op {
            VectorOp::Count | VectorOp::Stdvar => Unit::Count,
            _ => of_metric(&vector.inner),
        },
        MetricExpr::LabelReplace(replace) => of_metric(&replace.inner),
        // Shares, products and the like are numbers.
        _ => Unit::Count,
    }
}

fn of_range(range: &RangeAggregation) -> Unit {
    let unwrapped = range.range.unwrap.as_ref().map(|unwrap| match unwrap.conversion {
        Some(Conversion::Bytes) => Unit::Bytes,
        Some(Conversion::Duration | Conversion::DurationSeconds) => Unit::Seconds,
        None => Unit::Count,
    });
    match (range.op, unwrapped) {
        (RangeOp::BytesOverTime, _) => Unit::Bytes,
        (RangeOp::BytesRate, _) | (RangeOp::Rate, Some(Unit::Bytes)) => Unit::BytesRate,
        (RangeOp::Rate, None) => Unit::Rate,
        (
            RangeOp::AvgOverTime
            | RangeOp::SumOverTime
            | RangeOp::MinOverTime
            | RangeOp::MaxOverTime
            | RangeOp::StddevOverTime
            | RangeOp::QuantileOverTime
            | RangeOp::FirstOverTime
            | RangeOp::LastOverTime,
            Some(unit),
        ) => unit,
        _ => Unit::Count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_tell_their_unit() {
        for (query, want) in [
            ("sum by (a) (count_over_time({a=\"b\"}[5m]))", Unit::Count),
            ("sum(rate({a=\"b\"}[5m]))", Unit::Rate),
            ("topk(3, bytes_rate({a=\"b\"}[5m]))", Unit::BytesRate),
            ("bytes_over_time({a=\"b\"}[5m])", Unit::Bytes),
            ("quantile_over_time(0.9, {a=\"b\"} | json | unwrap duration(t) [5m])", Unit::Seconds),
            ("max_over_time({a=\"b\"} | json | unwrap bytes(size) [5m])", Unit::Bytes),
            ("sum(rate({a=\"b\"}[5m])) / sum(rate({a=\"c\"}[5m]))", Unit::Count),
            ("count(bytes_rate({a=\"b\"}[5m]))", Unit::Count),
            ("no query", Unit::Count),
        ] {
            assert_eq!(Unit::of(query), want, "{query}");
        }
        assert_eq!(Unit::BytesRate.text(2048.0), "2 KiB/s");
        assert_eq!(Unit::Seconds.text(125.0), "2m05s");
    }
}
