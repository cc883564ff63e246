//! What a metric query yields: one row per series.

use std::sync::Arc;

use logyard_wire::loki_query::Labels;

use crate::series::Sample;

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its labels.
    pub(crate) labels: Arc<Labels>,
    /// Its samples in order of time: nanoseconds and number.
    pub(crate) points: Vec<(i64, f64)>,
}

impl Series {
    /// Returns the newest number.
    pub(crate) fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }
}

/// Gathers samples into series, those with the largest newest number first.
pub(crate) fn gather(samples: Vec<Sample>) -> Vec<Series> {
    let mut all: std::collections::BTreeMap<Arc<Labels>, Vec<(i64, f64)>> = std::collections::BTreeMap::new();
    for sample in samples {
        all.entry(sample.labels).or_default().push((sample.ts_ns, sample.value));
    }
    let mut series: Vec<Series> = all.into_iter().map(|(labels, points)| Series { labels, points }).collect();
    let rank = |series: &Series| series.last().filter(|value| !value.is_nan()).unwrap_or(f64::NEG_INFINITY);
    series.sort_by(|left, right| rank(right).total_cmp(&rank(left)));
    series
}

/// Draws numbers as bars of eight heights, the newest at the right; numbers that are none leave a gap.
pub(crate) fn sparkline(points: &[(i64, f64)], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = points.get(points.len().saturating_sub(columns)..).unwrap_or_default();
    let finite = || shown.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    let low = finite().fold(0.0_f64, f64::min);
    let high = finite().fold(low, f64::max);
    let bar = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts of floats saturate"
        )]
        let index = (part * 7.0).round() as usize;
        BARS.get(index).copied().unwrap_or('█')
    };
    shown.iter().map(|(_, value)| bar(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_series_by_their_newest_number() {
        let labels = |value: &str| Arc::new(Labels::from([("a".to_owned(), value.to_owned())]));
        let sample = |ts_ns, name, value| Sample { ts_ns, labels: labels(name), value };
        let series =
            gather(vec![sample(1, "x", 9.0), sample(1, "y", 1.0), sample(2, "x", 2.0), sample(2, "y", 3.0)]);
        let shape: Vec<(&str, usize)> =
            series.iter().map(|one| (one.labels["a"].as_str(), one.points.len())).collect();
        assert_eq!(shape, [("y", 2), ("x", 2)]);
    }

    #[test]
    fn bars_begin_at_zero() {
        let points: Vec<(i64, f64)> =
            [0.0, 7.0, 3.5, f64::NAN, 7.0].iter().map(|value| (0, *value)).collect();
        assert_eq!(sparkline(&points, 10), "▁█▅ █");
        assert_eq!(sparkline(&points, 2), " █");
        assert_eq!(sparkline(&[(0, 0.0)], 5), "▁");
    }
}
