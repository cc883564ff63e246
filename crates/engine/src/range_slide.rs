//! A range aggregation over the samples of one series, window after window, as samples arrive.
//!
//! Holds the samples of the present window only. Where windows overlap little, each is folded from its
//! samples, in their order. Where they overlap much, summaries of neighbours are joined instead, so that
//! the cost is that of samples and steps, not of windows times samples: sums then add up in another
//! order, which shows in the last digits alone; NaN and infinities come out the same.

use crate::grid::Window;
use crate::range_count::seconds;
use crate::range_fold::{compare, fold, interpolate};
use logyard_logql::RangeOp;
use std::collections::VecDeque;

/// Windows that overlap more often than this are folded by summaries: below, folding a sample anew in
/// each of its windows costs less than parsing it once.
const OVERLAP_MAX: i64 = 16;

/// The function to apply, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    pub(crate) op: RangeOp,
    pub(crate) param: Option<f64>,
    pub(crate) window: Window,
}

/// The windows of one series; samples come in order of time.
#[derive(Debug)]
pub(crate) struct Slide {
    folding: Folding,
    /// The samples of the window of the next step, and those behind it.
    live: VecDeque<(i64, f64)>,
    state: State,
    /// Values of the steps that are done.
    values: Vec<Option<f64>>,
}

#[derive(Debug)]
enum State {
    /// Room for the values of a window.
    Anew(Vec<f64>),
    Summaries(Summaries),
    Sorted(Sorted),
}

impl Slide {
    pub(crate) fn new(folding: Folding) -> Self {
        let Window { grid, range_ns, .. } = folding.window;
        let overlaps = range_ns / grid.step_ns > OVERLAP_MAX && grid.steps > 1;
        let state = match folding.op {
            _ if !overlaps => State::Anew(Vec::new()),
            RangeOp::QuantileOverTime => State::Sorted(Sorted::default()),
            _ => State::Summaries(Summaries::default()),
        };
        Self { folding, live: VecDeque::new(), state, values: Vec::new() }
    }

    /// Returns how many samples are held.
    pub(crate) fn held(&self) -> usize {
        self.live.len()
    }

    /// Adds a sample, no older than those before it.
    pub(crate) fn push(&mut self, ts_ns: i64, value: f64) {
        while self.values.len() < self.folding.window.grid.steps && self.bounds().1 < ts_ns {
            self.end_step();
        }
        if self.values.len() == self.folding.window.grid.steps || ts_ns <= self.bounds().0 {
            return;
        }
        self.live.push_back((ts_ns, value));
        match &mut self.state {
            State::Anew(_) => {}
            State::Summaries(summaries) => summaries.push(value),
            State::Sorted(sorted) => sorted.insert(value),
        }
    }

    /// Ends all steps; returns a value or nothing for each.
    pub(crate) fn finish(mut self) -> Vec<Option<f64>> {
        while self.values.len() < self.folding.window.grid.steps {
            self.end_step();
        }
        self.values
    }

    /// Returns the bounds of the next window, the first excluded.
    fn bounds(&self) -> (i64, i64) {
        let Window { grid, range_ns, offset_ns } = self.folding.window;
        let end_ns = grid.instant(self.values.len()).saturating_sub(offset_ns);
        (end_ns.saturating_sub(range_ns), end_ns)
    }

    fn end_step(&mut self) {
        let (start_ns, _) = self.bounds();
        while let Some((ts_ns, value)) = self.live.front().copied()
            && ts_ns <= start_ns
        {
            match &mut self.state {
                State::Anew(_) => {}
                State::Summaries(summaries) => summaries.pop(&self.live),
                State::Sorted(sorted) => sorted.remove(value),
            }
            self.live.pop_front();
        }
        let value = self.fold();
        self.values.push(value);
    }

    fn fold(&mut self) -> Option<f64> {
        if self.live.is_empty() {
            return None;
        }
        let Folding { op, param, window } = self.folding;
        let seconds = seconds(window.range_ns);
        match &mut self.state {
            State::Anew(values) => {
                values.clear();
                values.extend(self.live.iter().map(|(_, value)| *value));
                fold(op, param, seconds, values)
            }
            State::Summaries(summaries) => summaries.all().value(op, seconds),
            State::Sorted(sorted) => {
                let nth = |rank: usize| sorted.nth(rank);
                Some(interpolate(param.unwrap_or(f64::NAN), self.live.len(), nth))
            }
        }
    }
}

/// Summaries of a queue of values: of its older part from each value on, and of its younger part.
///
/// A value is summed up when it comes and when the older part is used up: twice.
#[derive(Debug, Default)]
struct Summaries {
    /// From each value of the older part to the end of that part; the oldest value last.
    older: Vec<Summary>,
    younger: Option<Summary>,
}

impl Summaries {
    fn push(&mut self, value: f64) {
        let one = Summary::new(value);
        self.younger = Some(match self.younger {
            Some(younger) => younger.join(one),
            None => one,
        });
    }

    /// Takes the oldest value away; `values` are all, that one included.
    fn pop(&mut self, values: &VecDeque<(i64, f64)>) {
        if self.older.is_empty() {
            self.younger = None;
            let mut later: Option<Summary> = None;
            for (_, value) in values.iter().rev() {
                let one = Summary::new(*value);
                let summary = later.map_or(one, |later| one.join(later));
                self.older.push(summary);
                later = Some(summary);
            }
        }
        self.older.pop();
    }

    fn all(&self) -> Summary {
        match (self.older.last(), self.younger) {
            (Some(older), Some(younger)) => older.join(younger),
            (Some(summary), None) => *summary,
            (None, summary) => summary.unwrap_or(Summary::new(f64::NAN)),
        }
    }
}

/// What all functions but quantiles need to know of neighbouring values.
#[derive(Clone, Copy, Debug)]
struct Summary {
    count: f64,
    first: f64,
    last: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// Of the finite values: their mean, and the sum of the squares of their distances to it.
    finite: f64,
    mean: f64,
    squares: f64,
    /// The sum of all others: infinite or no number.
    others: Option<f64>,
    /// The sum of the values before each fall.
    falls: f64,
}

impl Summary {
    fn new(value: f64) -> Self {
        let is_finite = value.is_finite();
        Self {
            count: 1.0,
            first: value,
            last: value,
            sum: value,
            min: value,
            max: value,
            finite: if is_finite { 1.0 } else { 0.0 },
            mean: if is_finite { value } else { 0.0 },
            squares: 0.0,
            others: (!is_finite).then_some(value),
            falls: 0.0,
        }
    }

    /// Joins the summary of the values that follow.
    fn join(self, next: Self) -> Self {
        let finite = self.finite + next.finite;
        let (mut mean, mut squares) = (0.0, 0.0);
        if finite > 0.0 {
            let (delta, share) = (next.mean - self.mean, next.finite / finite);
            // The distance of huge values may be too large to be told.
            mean = match delta.is_finite() {
                true => self.mean + delta * share,
                false => self.mean * (1.0 - share) + next.mean * share,
            };
            squares = self.squares + next.squares + delta * delta * self.finite * share;
        }
        let fall = if next.first < self.last { self.last } else { 0.0 };
        Self {
            count: self.count + next.count,
            first: self.first,
            last: next.last,
            sum: self.sum + next.sum,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
            finite,
            mean: if self.finite == 0.0 { next.mean } else { mean },
            squares,
            others: match (self.others, next.others) {
                (Some(own), Some(other)) => Some(own + other),
                (own, other) => own.or(other),
            },
            falls: self.falls + fall + next.falls,
        }
    }

    fn value(&self, op: RangeOp, seconds: f64) -> Option<f64> {
        let variance = if self.others.is_some() { f64::NAN } else { self.squares / self.count };
        let growth = if self.count < 2.0 { 0.0 } else { self.last - self.first + self.falls };
        Some(match op {
            RangeOp::SumOverTime => self.sum,
            RangeOp::Rate => self.sum / seconds,
            RangeOp::FirstOverTime => self.first,
            RangeOp::LastOverTime => self.last,
            RangeOp::AvgOverTime => self.others.unwrap_or(self.mean),
            RangeOp::MinOverTime => self.min,
            RangeOp::MaxOverTime => self.max,
            RangeOp::StdvarOverTime => variance,
            RangeOp::StddevOverTime => variance.sqrt(),
            RangeOp::RateCounter => growth / seconds,
            RangeOp::Increase => growth,
            // Sorted, or not over values at all.
            _ => return None,
        })
    }
}

/// Longest piece of the sorted values.
const PIECE_MAX: usize = 512;

/// Values in order, in pieces, so that one value comes or goes without all others being moved.
#[derive(Debug, Default)]
struct Sorted {
    /// None is empty.
    pieces: Vec<Vec<f64>>,
}

impl Sorted {
    fn insert(&mut self, value: f64) {
        let index = self.piece_of(value).min(self.pieces.len().saturating_sub(1));
        let Some(piece) = self.pieces.get_mut(index) else {
            self.pieces.push(vec![value]);
            return;
        };
        piece.insert(piece.partition_point(|one| compare(one, &value).is_lt()), value);
        if piece.len() > PIECE_MAX {
            let second = piece.split_off(PIECE_MAX / 2);
            self.pieces.insert(index + 1, second);
        }
    }

    /// Removes a value that is there.
    fn remove(&mut self, value: f64) {
        let index = self.piece_of(value);
        let Some(piece) = self.pieces.get_mut(index) else { return };
        let at = piece.partition_point(|one| compare(one, &value).is_lt());
        if at < piece.len() {
            piece.remove(at);
        }
        if piece.is_empty() {
            self.pieces.remove(index);
        }
    }

    fn nth(&self, rank: usize) -> Option<f64> {
        let mut left = rank;
        for piece in &self.pieces {
            match piece.get(left) {
                Some(value) => return Some(*value),
                None => left -= piece.len(),
            }
        }
        None
    }

    /// Returns the first piece that ends with the value or behind it.
    fn piece_of(&self, value: f64) -> usize {
        let ends_before = |piece: &Vec<f64>| piece.last().is_some_and(|last| compare(last, &value).is_lt());
        self.pieces.partition_point(ends_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Grid;
    use proptest::prelude::*;

    const OPS: [RangeOp; 12] = [
        RangeOp::SumOverTime,
        RangeOp::Rate,
        RangeOp::FirstOverTime,
        RangeOp::LastOverTime,
        RangeOp::AvgOverTime,
        RangeOp::MinOverTime,
        RangeOp::MaxOverTime,
        RangeOp::StdvarOverTime,
        RangeOp::StddevOverTime,
        RangeOp::QuantileOverTime,
        RangeOp::RateCounter,
        RangeOp::Increase,
    ];

    /// Checks against a fold of every window from its samples.
    fn check(samples: &[(i64, f64)], range_ns: i64, step_ns: i64, offset_ns: i64) {
        let window = Window { grid: Grid { start_ns: 20, step_ns, steps: 30 }, range_ns, offset_ns };
        for op in OPS {
            let mut slide = Slide::new(Folding { op, param: Some(0.3), window });
            samples.iter().for_each(|(ts_ns, value)| slide.push(*ts_ns, *value));
            for (step, found) in slide.finish().into_iter().enumerate() {
                let end_ns = window.grid.instant(step) - offset_ns;
                let inside = |(ts_ns, _): &&(i64, f64)| end_ns - range_ns < *ts_ns && *ts_ns <= end_ns;
                let mut values: Vec<f64> = samples.iter().filter(inside).map(|(_, value)| *value).collect();
                let scale = values
                    .iter()
                    .filter(|value| value.is_finite())
                    .fold(1.0_f64, |most, value| most.max(value.abs()));
                let expect = fold(op, Some(0.3), seconds(range_ns), &mut values);
                let is_equal = match (found, expect) {
                    (Some(a), Some(b)) => {
                        a == b
                            || a.is_nan() && b.is_nan()
                            || (a - b).abs() <= 1e-9 * scale * scale.max(b.abs())
                    }
                    (a, b) => a == b,
                };
                assert!(is_equal, "{op:?} at step {step}: {found:?}, want {expect:?}");
            }
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            20 => (-5_i32..100).prop_map(f64::from),
            10 => -1e3..1e3,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn windows_equal_their_folds(
            samples in proptest::collection::vec((0_i64..140, value()), 0..200),
            (range_ns, step_ns, offset_ns) in (prop_oneof![0_i64..10, 30_i64..120], 1_i64..4, -20_i64..20),
        ) {
            let mut sorted = samples;
            sorted.sort_by_key(|(ts_ns, _)| *ts_ns);
            check(&sorted, range_ns, step_ns, offset_ns);
        }

        #[test]
        fn sorted_values_stay_sorted(values in proptest::collection::vec(value(), 0..3000)) {
            let mut sorted = Sorted::default();
            values.iter().for_each(|value| sorted.insert(*value));
            let (gone, left) = values.split_at(values.len() / 2);
            gone.iter().for_each(|value| sorted.remove(*value));
            let mut expect = left.to_vec();
            expect.sort_by(compare);
            for (rank, value) in expect.iter().enumerate() {
                prop_assert!(sorted.nth(rank).is_some_and(|found| compare(&found, value).is_eq()));
            }
            prop_assert!(sorted.nth(expect.len()).is_none());
        }
    }
}
