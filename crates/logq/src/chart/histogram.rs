//! How many entries there are over the range, by level.
//!
//! The range is cut into steps of equal length, each open at its beginning and closed at its end as the windows of the
//! language are: the sample at `start + (i + 1) × step` counts step `i`. Columns of the screen are laid over the steps
//! when they are drawn, so another width asks nobody anything.

use std::time::Duration;

use logyard_model::TimeRange;

use super::units;
use crate::series::Sample;

/// Levels as they are told apart here, the worst first.
pub(crate) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "other"];

/// Steps whose lengths people read well, in milliseconds.
const STEPS_MS: [i64; 27] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000,
    86_400_000,
];

/// Parts of a cell.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Counts of one step, by level in the order of [`LEVELS`].
pub(crate) type Counts = [u64; LEVELS.len()];

/// How a range is cut into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Where the first step begins.
    pub(crate) start_ns: i64,
    /// Length of a step, a whole number of milliseconds.
    pub(crate) step_ns: i64,
    /// How many there are.
    pub(crate) count: usize,
}

impl Steps {
    /// Cuts a range into at most `count_max` steps; the last may reach past its end.
    pub(crate) fn cut(range: TimeRange, count_max: usize) -> Self {
        let length_ns = range.end_ns.saturating_sub(range.start_ns).max(1);
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX).max(1);
        let wanted_ms = length_ns.saturating_add(count_max - 1) / count_max / 1_000_000 + 1;
        let day_ms = STEPS_MS.last().copied().unwrap_or(1);
        let step_ms = STEPS_MS.iter().copied().find(|step_ms| *step_ms >= wanted_ms);
        let step_ms = step_ms.unwrap_or_else(|| (wanted_ms + day_ms - 1) / day_ms * day_ms);
        let step_ns = step_ms.saturating_mul(1_000_000);
        // Begun at a whole millisecond, since samples carry no more; never after the range does.
        let start_ns = range.start_ns - range.start_ns.rem_euclid(1_000_000);
        let length_ns = range.end_ns.saturating_sub(start_ns).max(1);
        let count = usize::try_from((length_ns.saturating_add(step_ns - 1)) / step_ns).unwrap_or(1);
        Self { start_ns, step_ns, count }
    }

    /// Returns the query that counts the entries of a log query, and the range over which to evaluate it.
    pub(crate) fn query(self, log_query: &str) -> (String, TimeRange, Duration) {
        let step_ms = self.step_ns / 1_000_000;
        let counted = format!("sum by (level, detected_level) (count_over_time({log_query} [{step_ms}ms]))");
        let range = TimeRange { start_ns: self.start_ns.saturating_add(self.step_ns), end_ns: self.end_ns() };
        (counted, range, Duration::from_millis(u64::try_from(step_ms).unwrap_or_default()))
    }

    /// Returns where the last step ends.
    pub(crate) fn end_ns(self) -> i64 {
        self.begin_ns(self.count)
    }

    /// Returns where a step begins.
    pub(crate) fn begin_ns(self, index: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// Returns the step that an instant lies in.
    fn index(self, ts_ns: i64) -> Option<usize> {
        let since_ns = ts_ns.saturating_sub(self.start_ns).saturating_sub(1);
        let index = usize::try_from(since_ns.div_euclid(self.step_ns)).ok()?;
        (index < self.count).then_some(index)
    }
}

/// Counts over a range.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// How the range is cut.
    pub(crate) steps: Steps,
    counts: Vec<Counts>,
}

impl Histogram {
    /// Reads the samples that [`Steps::query`] asked for.
    pub(crate) fn new(steps: Steps, samples: &[Sample]) -> Self {
        let mut counts = vec![Counts::default(); steps.count];
        for sample in samples {
            let label =
                |name: &str| sample.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
            let level = level_index(label("detected_level").or_else(|| label("level")).unwrap_or_default());
            if let Some(step) = steps.index(sample.ts_ns).and_then(|index| counts.get_mut(index)) {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "casts of floats saturate"
                )]
                let count = sample.value as u64;
                step[level] = step[level].saturating_add(count);
            }
        }
        Self { steps, counts }
    }

    /// Returns the sum of all counts.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().flatten().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sums by level.
    pub(crate) fn totals(&self) -> Counts {
        let mut totals = Counts::default();
        for counts in &self.counts {
            for (total, count) in totals.iter_mut().zip(counts) {
                *total = total.saturating_add(*count);
            }
        }
        totals
    }

    /// Returns the counts of a step.
    pub(crate) fn counts(&self, index: usize) -> Counts {
        self.counts.get(index).copied().unwrap_or_default()
    }

    /// Lays the steps over so many columns, each the sum of its steps or a part of one's width.
    pub(crate) fn columns(&self, columns: usize) -> Vec<Counts> {
        (0..columns)
            .map(|column| {
                let (first, behind) = self.steps_of(column, columns);
                let mut sum = Counts::default();
                for step in self.counts.get(first..behind).unwrap_or_default() {
                    for (sum, count) in sum.iter_mut().zip(step) {
                        *sum = sum.saturating_add(*count);
                    }
                }
                sum
            })
            .collect()
    }

    /// Returns the steps that a column shows, `[first, behind)`, at least one.
    fn steps_of(&self, column: usize, columns: usize) -> (usize, usize) {
        let (count, columns) = (self.steps.count, columns.max(1));
        let first = column * count / columns;
        let behind = ((column + 1) * count / columns).max(first + 1).min(count);
        (first, behind)
    }

    /// Returns the columns that show a step, `[first, behind)`.
    pub(crate) fn columns_of(&self, step: usize, columns: usize) -> (usize, usize) {
        let is_shown = |column: &usize| {
            let (first, behind) = self.steps_of(*column, columns);
            (first..behind).contains(&step)
        };
        let first = (0..columns).find(is_shown).unwrap_or_default();
        let behind = (first..columns).take_while(is_shown).last().map_or(first, |last| last + 1);
        (first, behind)
    }
}

/// Draws one column from the bottom up: for each cell that is not empty a part of a block, and the level that its middle
/// lies in. Whatever is there at all is seen, and the lowest cell shows the worst level there is.
pub(crate) fn bar(counts: &Counts, highest: u64, rows: usize) -> Vec<(char, usize)> {
    let sum = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    if sum == 0 || highest == 0 {
        return Vec::new();
    }
    let eighths_max = rows as u128 * 8;
    let scaled = |count: u64| u128::from(count) * eighths_max / u128::from(highest);
    let height = scaled(sum).clamp(1, eighths_max);
    let cell = |row: usize| {
        let low = row as u128 * 8;
        let part = height.checked_sub(low).filter(|part| *part > 0)?.min(8);
        let symbol = usize::try_from(part - 1).ok().and_then(|at| EIGHTHS.get(at)).copied()?;
        let middle = if row == 0 { 0 } else { low + part / 2 };
        let mut below = 0_u64;
        let level = counts.iter().position(|count| {
            below = below.saturating_add(*count);
            *count > 0 && scaled(below).max(1) > middle
        });
        Some((symbol, level.unwrap_or(LEVELS.len() - 1)))
    };
    (0..rows).map_while(cell).collect()
}

/// Returns the place of a level among [`LEVELS`].
pub(crate) fn level_index(level: &str) -> usize {
    match level.to_ascii_lowercase().as_str() {
        "error" | "err" | "critical" | "crit" | "fatal" | "panic" | "alert" | "emerg" | "emergency" => 0,
        "warn" | "warning" => 1,
        "info" | "information" | "informational" | "notice" => 2,
        "debug" | "trace" | "dbug" => 3,
        _ => 4,
    }
}

/// Writes a count short: 1234 as 1.23k.
pub(crate) fn count_text(count: u64) -> String {
    units::count_text(count as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const S: i64 = 1_000_000_000;

    fn sample(ts_ns: i64, level: &str, value: f64) -> Sample {
        let labels = [("detected_level".to_owned(), level.to_owned())];
        Sample { ts_ns, labels: Arc::new(labels.into()), value }
    }

    #[test]
    fn a_range_is_cut_into_few_readable_steps() {
        for (length_s, columns, step_s, count) in [(3600, 60, 120, 30), (3600, 80, 60, 60), (10, 100, 1, 10)]
        {
            let steps = Steps::cut(TimeRange { start_ns: 7 * S, end_ns: (7 + length_s) * S }, columns);
            assert!(steps.count <= columns);
            if length_s > 10 {
                assert_eq!((steps.step_ns, steps.count), (step_s * S, count), "{length_s} {columns}");
            }
        }
        let long = Steps::cut(TimeRange { start_ns: 0, end_ns: 86_400 * 365 * 20 * S }, 100);
        assert!(long.count <= 100 && long.step_ns % (86_400 * S) == 0);
        let odd = Steps::cut(TimeRange { start_ns: 1_234_567, end_ns: 1_234_567 }, 50);
        assert_eq!((odd.start_ns, odd.count), (1_000_000, 1));
    }

    #[test]
    fn samples_are_counted_where_their_window_lies() {
        let steps = Steps { start_ns: 100 * S, step_ns: 10 * S, count: 3 };
        let (query, range, step) = steps.query("{a=\"b\"}");
        assert_eq!(query, "sum by (level, detected_level) (count_over_time({a=\"b\"} [10000ms]))");
        assert!(logyard_logql::parse(&query).is_ok());
        assert_eq!((range.start_ns, range.end_ns, step.as_secs()), (110 * S, 130 * S, 10));
        let samples = [
            sample(110 * S, "error", 2.0),
            sample(110 * S, "INFO", 3.0),
            sample(130 * S, "", 4.0),
            sample(140 * S, "", 9.0),
        ];
        let histogram = Histogram::new(steps, &samples);
        assert_eq!(histogram.counts(0), [2, 0, 3, 0, 0]);
        assert_eq!(histogram.counts(2), [0, 0, 0, 0, 4]);
        assert_eq!(histogram.total(), 9);
    }

    #[test]
    fn every_step_lies_in_some_column_and_none_is_counted_twice() {
        for count in [1, 2, 7, 60] {
            let steps = Steps { start_ns: 0, step_ns: S, count };
            let samples: Vec<Sample> =
                (0..count).map(|index| sample(steps.begin_ns(index + 1), "info", 1.0)).collect();
            let histogram = Histogram::new(steps, &samples);
            for columns in [1, 3, 7, 59, 60, 200] {
                let drawn = histogram.columns(columns);
                if columns <= count {
                    assert_eq!(drawn.iter().flatten().sum::<u64>(), count as u64);
                } else {
                    assert!(drawn.iter().all(|counts| counts[2] == 1));
                }
                for step in 0..count {
                    let (first, behind) = histogram.columns_of(step, columns);
                    assert!(first < behind && behind <= columns, "{step} of {count} in {columns}");
                }
            }
        }
    }
}
