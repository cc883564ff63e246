//! What a metric query yields: one row per series.

use std::sync::Arc;

use logyard_wire::loki_query::Labels;

use crate::chart::columns::columns;
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
    /// Draws its newest numbers, so many, as columns.
    pub(crate) fn drawn(&self, count: usize) -> String {
        let newest = self.points.get(self.points.len().saturating_sub(count)..).unwrap_or_default();
        columns(&newest.iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }

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
}
