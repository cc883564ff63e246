//! Series on a grid: what metric expressions yield.

use crate::error::Error;
use logyard_model::LabelSet;
use std::collections::HashMap;
use std::sync::Arc;

/// Labels and a value or nothing for each step of the grid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GridSeries {
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) values: Vec<Option<f64>>,
}

/// What a metric expression yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Scalar(f64),
    /// A number for each step, as `time()` gives.
    Numbers(Vec<f64>),
    Vector(Vec<GridSeries>),
}

/// Returns series; numbers become one without labels.
pub(crate) fn into_vector(value: Value, steps: usize) -> Vec<GridSeries> {
    match value {
        Value::Vector(series) => series,
        Value::Scalar(value) => vec![constant(value, steps)],
        Value::Numbers(values) => {
            let values = values.into_iter().map(Some).collect();
            vec![GridSeries { labels: Arc::new(LabelSet::default()), values }]
        }
    }
}

/// One series without labels that has a value at every step.
pub(crate) fn constant(value: f64, steps: usize) -> GridSeries {
    GridSeries { labels: Arc::new(LabelSet::default()), values: vec![Some(value); steps] }
}

/// Labels to match or group by, in the order of the label set.
pub(crate) fn pick(labels: &LabelSet, names: &[String], keep: bool) -> LabelSet {
    let listed = |name: &str| names.iter().any(|wanted| wanted == name);
    LabelSet::from_pairs(labels.iter().filter(|(name, _)| listed(name) == keep))
}

/// Sorts by the pairs of names and values, shorter sets first.
pub(crate) fn sort_by_labels(series: &mut [GridSeries]) {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
}

/// Collects values under labels; two values at one step are refused.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    index: HashMap<LabelSet, usize>,
    series: Vec<GridSeries>,
    steps: usize,
}

impl Collector {
    pub(crate) fn new(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }

    /// Sets a value; fails with `reason` if there is one.
    pub(crate) fn set(
        &mut self,
        labels: LabelSet,
        step: usize,
        value: f64,
        reason: &str,
    ) -> Result<(), Error> {
        let index = match self.index.get(&labels) {
            Some(index) => *index,
            None => {
                let index = self.series.len();
                self.series
                    .push(GridSeries { labels: Arc::new(labels.clone()), values: vec![None; self.steps] });
                self.index.insert(labels, index);
                index
            }
        };
        let slot = self.series.get_mut(index).and_then(|series| series.values.get_mut(step));
        match slot {
            Some(slot @ None) => *slot = Some(value),
            Some(Some(_)) => return Err(Error::invalid(reason)),
            None => {}
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<GridSeries> {
        self.series
    }
}
