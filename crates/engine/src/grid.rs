//! The instants at which a metric query is evaluated, and which of them see an entry.

use crate::error::Error;
use crate::request::QueryKind;
use std::ops::Range;

/// Most points per series (Loki v3.7.6).
const POINTS_MAX: i64 = 11_000;
const MILLISECOND_NS: i64 = 1_000_000;

/// Instants `start + k * step` for `k` below `steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ns: i64,
    /// Positive, also for a single instant.
    pub(crate) step_ns: i64,
    /// At least 1.
    pub(crate) steps: usize,
}

impl Grid {
    /// Lays the grid of a query: aligned to multiples of the step, an instant cut to milliseconds.
    pub(crate) fn new(kind: QueryKind) -> Result<Self, Error> {
        match kind {
            QueryKind::Instant { time_ns } => {
                let start_ns = time_ns - time_ns.rem_euclid(MILLISECOND_NS);
                Ok(Self { start_ns, step_ns: MILLISECOND_NS, steps: 1 })
            }
            QueryKind::Range { start_ns, end_ns, step_ns } => Self::aligned(start_ns, end_ns, step_ns),
        }
    }

    fn aligned(start_ns: i64, end_ns: i64, step_ns: i64) -> Result<Self, Error> {
        let step_ns = step_ns - step_ns % MILLISECOND_NS;
        if step_ns <= 0 {
            return Err(Error::invalid(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        let Some(length_ns) = end_ns.checked_sub(start_ns).filter(|length_ns| *length_ns >= 0) else {
            return Err(Error::invalid("end timestamp must not be before or equal to start time"));
        };
        if length_ns / step_ns > POINTS_MAX {
            return Err(Error::invalid(
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of \
                 the step parameter",
            ));
        }
        let first = start_ns.div_euclid(step_ns);
        let last = end_ns.div_euclid(step_ns) + i64::from(end_ns.rem_euclid(step_ns) > 0);
        let steps = usize::try_from(last - first + 1).unwrap_or(1);
        Ok(Self { start_ns: first.saturating_mul(step_ns), step_ns, steps })
    }

    /// Returns the instant of a step.
    pub(crate) fn instant(&self, step: usize) -> i64 {
        let distance_ns = i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(self.step_ns);
        self.start_ns.saturating_add(distance_ns)
    }

    /// Returns the last instant.
    pub(crate) fn end_ns(&self) -> i64 {
        self.instant(self.steps.saturating_sub(1))
    }
}

/// A window `(t - offset - range, t - offset]` that moves along a grid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) grid: Grid,
    pub(crate) range_ns: i64,
    pub(crate) offset_ns: i64,
}

impl Window {
    /// Returns the steps whose window holds an entry of that time; may be empty.
    pub(crate) fn steps_of(&self, ts_ns: i64) -> Range<usize> {
        let steps = self.grid.steps as i128;
        // i128: offsets and ranges of many years must not overflow.
        let shifted = i128::from(ts_ns) + i128::from(self.offset_ns) - i128::from(self.grid.start_ns);
        let step = i128::from(self.grid.step_ns);
        let ceil = |distance: i128| distance.div_euclid(step) + i128::from(distance.rem_euclid(step) > 0);
        let first = ceil(shifted).clamp(0, steps);
        let end = ceil(shifted + i128::from(self.range_ns)).clamp(0, steps);
        // Both lie between 0 and the number of steps.
        first as usize..(end as usize).max(first as usize)
    }

    /// Returns the steps whose window holds an entry, if they are sure to be the same for all times from `first_ns` to
    /// `last_ns`.
    ///
    /// Windows are all as long as each other: one that holds both times is longer than what lies between them, and
    /// one that holds neither can begin and end between them only if it is shorter.
    pub(crate) fn steps_of_span(&self, first_ns: i64, last_ns: i64) -> Option<Range<usize>> {
        let steps = self.steps_of(first_ns);
        let span_ns = i128::from(last_ns) - i128::from(first_ns);
        let is_same = span_ns <= i128::from(self.range_ns) && steps == self.steps_of(last_ns);
        is_same.then_some(steps)
    }

    /// Returns the first time inside any window, and the first behind all.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let start = self.grid.start_ns.saturating_sub(self.offset_ns).saturating_sub(self.range_ns);
        let end = self.grid.end_ns().saturating_sub(self.offset_ns);
        (start.saturating_add(1), end.saturating_add(1))
    }
}

/// Finds the steps of ascending times; most take the steps of the time before.
#[derive(Debug)]
pub(crate) struct StepFinder {
    window: Window,
    /// Times from `.0` until before `.1` all have the steps `.2`.
    known: Option<(i64, i64, Range<usize>)>,
}

impl StepFinder {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, known: None }
    }

    pub(crate) fn steps_of(&mut self, ts_ns: i64) -> Range<usize> {
        if let Some((from, until, steps)) = &self.known
            && (*from..*until).contains(&ts_ns)
        {
            return steps.clone();
        }
        let steps = self.window.steps_of(ts_ns);
        self.known = Some((ts_ns, self.next_change(ts_ns), steps.clone()));
        steps
    }

    /// Returns a time until which the steps stay those of `ts_ns`.
    fn next_change(&self, ts_ns: i64) -> i64 {
        let Window { grid, range_ns, offset_ns } = self.window;
        // An entry leaves a step's reach when it passes a multiple of the step, or that less the range.
        let until = |shift_ns: i64| {
            let shifted = i128::from(ts_ns) + i128::from(offset_ns) + i128::from(shift_ns);
            let beyond = (i128::from(grid.start_ns) - shifted).rem_euclid(i128::from(grid.step_ns));
            i128::from(ts_ns) + beyond + 1
        };
        let next = until(0).min(until(range_ns));
        i64::try_from(next).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(window: &Window, ts_ns: i64) -> Vec<usize> {
        let Window { grid, range_ns, offset_ns } = *window;
        let inside = |step: &usize| {
            let end = grid.instant(*step) - offset_ns;
            end - range_ns < ts_ns && ts_ns <= end
        };
        (0..grid.steps).filter(inside).collect()
    }

    #[test]
    fn steps_agree_with_the_definition() {
        for (step_ns, range_ns, offset_ns) in
            [(5, 5, 0), (5, 3, 0), (5, 12, 0), (5, 10, 7), (5, 10, -7), (1, 4, 2), (5, 0, 0)]
        {
            let grid = Grid { start_ns: 100, step_ns, steps: 6 };
            let window = Window { grid, range_ns, offset_ns };
            let mut finder = StepFinder::new(window);
            let (start, end) = window.bounds();
            for ts_ns in 60..160 {
                let expect = naive(&window, ts_ns);
                assert_eq!(window.steps_of(ts_ns).collect::<Vec<_>>(), expect, "{window:?} {ts_ns}");
                assert_eq!(finder.steps_of(ts_ns).collect::<Vec<_>>(), expect, "{window:?} {ts_ns}");
                assert!(expect.is_empty() || (start..end).contains(&ts_ns));
            }
        }
    }

    #[test]
    fn times_between_two_have_the_steps_that_the_two_have() {
        for (step_ns, range_ns, steps) in [(5, 5, 6), (5, 3, 6), (5, 12, 6), (1, 4, 9), (5, 0, 6), (1, 30, 1)]
        {
            let window = Window { grid: Grid { start_ns: 100, step_ns, steps }, range_ns, offset_ns: 2 };
            let mut found = 0;
            for (first_ns, last_ns) in (60..140).flat_map(|first| (first..140).map(move |last| (first, last)))
            {
                let Some(steps) = window.steps_of_span(first_ns, last_ns) else { continue };
                found += usize::from(!steps.is_empty() && first_ns < last_ns);
                for ts_ns in first_ns..=last_ns {
                    assert_eq!(window.steps_of(ts_ns), steps, "{window:?} {first_ns} {last_ns} {ts_ns}");
                }
            }
            assert_eq!(found > 0, range_ns > 1 && (step_ns > 1 || steps == 1), "{window:?}");
        }
        let instant = Window {
            grid: Grid::new(QueryKind::Instant { time_ns: 100_000_000 }).unwrap(),
            range_ns: 50_000_000,
            offset_ns: 0,
        };
        assert_eq!(instant.steps_of_span(50_000_001, 100_000_000), Some(0..1), "however short the step");
        assert_eq!(instant.steps_of_span(50_000_000, 100_000_000), None);
    }

    #[test]
    fn aligned_to_multiples_of_the_step() {
        const SECOND: i64 = 1_000_000_000;
        let kind = QueryKind::Range { start_ns: 61 * SECOND, end_ns: 119 * SECOND, step_ns: 60 * SECOND };
        let grid = Grid::new(kind).unwrap();
        assert_eq!((grid.start_ns, grid.end_ns(), grid.steps), (60 * SECOND, 120 * SECOND, 2));
        let grid = Grid::new(QueryKind::Instant { time_ns: 1_999_999 }).unwrap();
        assert_eq!((grid.start_ns, grid.steps), (1_000_000, 1));
        for (end_ns, step_ns, text) in [
            (SECOND, 1, "zero or negative"),
            (-1, SECOND, "end timestamp"),
            (20_000 * SECOND, SECOND, "11,000"),
        ] {
            let error = Grid::new(QueryKind::Range { start_ns: 0, end_ns, step_ns }).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
