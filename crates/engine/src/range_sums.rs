//! Counts of entries and bytes by series and step, as changes from step to step.

use crate::labels::Labels;
use crate::request::QueryStats;
use crate::series_index::{SeriesIndex, SeriesLabels};
use logyard_codec::RunView;
use logyard_model::LabelSet;
use std::ops::Range;

/// Entries and bytes that begin (positive) or end (negative) at each step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// The step of the first element.
    first: usize,
    by_step: Vec<(i64, i64)>,
}

impl Changes {
    /// Adds entries to all windows of `steps`, which is not empty.
    pub(crate) fn add(&mut self, steps: &Range<usize>, entries: i64, bytes: i64) {
        if self.by_step.is_empty() {
            self.first = steps.start;
        } else if steps.start < self.first {
            let missing = self.first - steps.start;
            self.by_step.splice(0..0, std::iter::repeat_n((0, 0), missing));
            self.first = steps.start;
        }
        let end = steps.end - self.first;
        if self.by_step.len() <= end {
            self.by_step.resize(end + 1, (0, 0));
        }
        for (step, sign) in [(steps.start - self.first, 1), (end, -1)] {
            if let Some(change) = self.by_step.get_mut(step) {
                change.0 += sign * entries;
                change.1 += sign * bytes;
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (index, (entries, bytes)) in other.by_step.iter().enumerate() {
            if (*entries, *bytes) == (0, 0) {
                continue;
            }
            let step = other.first + index;
            // Any step after the first serves as an end: only the beginning is wanted here.
            self.add_at(step, *entries, *bytes);
        }
    }

    fn add_at(&mut self, step: usize, entries: i64, bytes: i64) {
        if self.by_step.is_empty() {
            self.first = step;
        } else if step < self.first {
            let missing = self.first - step;
            self.by_step.splice(0..0, std::iter::repeat_n((0, 0), missing));
            self.first = step;
        }
        let index = step - self.first;
        if self.by_step.len() <= index {
            self.by_step.resize(index + 1, (0, 0));
        }
        if let Some(change) = self.by_step.get_mut(index) {
            change.0 += entries;
            change.1 += bytes;
        }
    }

    /// Returns entries and bytes of each step's window.
    pub(crate) fn windows(&self, steps: usize) -> impl Iterator<Item = (i64, i64)> {
        let mut sums = (0, 0);
        (0..steps).map(move |step| {
            let change = step.checked_sub(self.first).and_then(|index| self.by_step.get(index));
            let (entries, bytes) = change.copied().unwrap_or_default();
            sums = (sums.0 + entries, sums.1 + bytes);
            sums
        })
    }
}

/// Bytes of a step of a series.
pub(crate) const POINT_BYTES: u64 = size_of::<(i64, i64)>() as u64;

/// Bytes of a series beside its labels' texts and its steps: the places in the two lists, twice for growth.
const SERIES_BYTES: u64 = 256;

/// What one worker has counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) index: SeriesIndex,
    /// By the numbers of the index.
    pub(crate) series: Vec<Changes>,
    /// Steps of all series, and bytes of everything.
    pub(crate) points: usize,
    pub(crate) bytes: u64,
    /// How many of the bytes are accounted for.
    pub(crate) bytes_held: u64,
    pub(crate) stats: QueryStats,
}

impl Counts {
    /// Returns the number of the series that an entry counts for.
    pub(crate) fn series_of(&mut self, labels: &Labels<'_>, which: &SeriesLabels) -> usize {
        let number = self.index.of(labels, which);
        self.make_room();
        number
    }

    /// Returns the number of the series with just these labels.
    pub(crate) fn series_of_set(&mut self, labels: &LabelSet) -> usize {
        let number = self.index.of_set(labels);
        self.make_room();
        number
    }

    /// Makes room for the series that are new in the index.
    fn make_room(&mut self) {
        while self.series.len() < self.index.len() {
            let label_bytes = self.index.labels(self.series.len()).map_or(0, LabelSet::text_bytes);
            // Labels stand in the key, too.
            self.bytes += SERIES_BYTES + 2 * label_bytes as u64;
            self.series.push(Changes::default());
        }
    }

    /// Notes a run that was counted without a look at its entries.
    pub(crate) fn count_whole(&mut self, run: &RunView, passed: u64) {
        self.stats.entries += run.rows.len() as u64;
        self.stats.line_bytes += run.raw_bytes;
        self.stats.entries_passed += passed;
    }

    fn has_grown(&mut self, points: usize) {
        self.points += points;
        self.bytes += points as u64 * POINT_BYTES;
    }

    pub(crate) fn add(&mut self, series: usize, steps: &Range<usize>, entries: i64, bytes: i64) {
        if !steps.is_empty()
            && let Some(changes) = self.series.get_mut(series)
        {
            let before = changes.by_step.len();
            changes.add(steps, entries, bytes);
            let grown = changes.by_step.len() - before;
            self.has_grown(grown);
        }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        if self.series.len() < other.series.len() {
            return other.merge(self);
        }
        self.stats.add(&other.stats);
        self.bytes_held += other.bytes_held;
        for (labels, more) in other.index.into_labels().iter().zip(&other.series) {
            let own = self.index.of_set(labels);
            self.make_room();
            if let Some(changes) = self.series.get_mut(own) {
                let before = changes.by_step.len();
                changes.merge(more);
                let grown = changes.by_step.len() - before;
                self.has_grown(grown);
            }
        }
        self
    }
}
