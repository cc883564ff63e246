//! What range aggregations over unwrapped values make of the values of one window.

use logyard_logql::RangeOp;
use std::cmp::Ordering;

/// Applies a function to the values of a window; nothing gives nothing.
pub(crate) fn fold(op: RangeOp, param: Option<f64>, seconds: f64, values: &mut [f64]) -> Option<f64> {
    let (first, last) = (*values.first()?, *values.last()?);
    let sum = || values.iter().sum::<f64>();
    Some(match op {
        RangeOp::SumOverTime => sum(),
        RangeOp::Rate => sum() / seconds,
        RangeOp::FirstOverTime => first,
        RangeOp::LastOverTime => last,
        RangeOp::AvgOverTime => average(values),
        RangeOp::MinOverTime => values.iter().fold(f64::NAN, |best, value| best.min(*value)),
        RangeOp::MaxOverTime => values.iter().fold(f64::NAN, |best, value| best.max(*value)),
        RangeOp::StdvarOverTime => variance(values),
        RangeOp::StddevOverTime => variance(values).sqrt(),
        RangeOp::QuantileOverTime => quantile(param.unwrap_or(f64::NAN), values),
        RangeOp::RateCounter => counter_rate(values, seconds),
        RangeOp::Increase => counter_rate(values, 1.0),
        RangeOp::CountOverTime
        | RangeOp::BytesOverTime
        | RangeOp::BytesRate
        | RangeOp::AbsentOverTime
        | RangeOp::PresentOverTime
        | RangeOp::CountDistinctOverTime => return None,
    })
}

/// A running mean; once infinite it stays until the opposite or NaN arrives.
fn average(values: &[f64]) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for value in values {
        count += 1.0;
        let same_infinity = value.is_infinite() && (mean > 0.0) == (*value > 0.0);
        if mean.is_infinite() && (same_infinity || value.is_finite()) {
            continue;
        }
        mean += value / count - mean / count;
    }
    mean
}

fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// Interpolates between the two values around the rank; NaN sorts first.
pub(crate) fn quantile(share: f64, values: &mut [f64]) -> f64 {
    // Zeros of either sign are equal, and keep their order then.
    let is_plain =
        (0.0..=1.0).contains(&share) && values.iter().all(|value| value.to_bits() != NEGATIVE_ZERO);
    if !is_plain {
        values.sort_by(compare);
        return interpolate(share, values.len(), |rank| values.get(rank).copied());
    }
    let lower = lower_rank(share, values.len());
    if lower >= values.len() {
        return f64::NAN;
    }
    let (_, low, others) = values.select_nth_unstable_by(lower, compare);
    let (low, next) = (*low, others.iter().copied().min_by(compare));
    interpolate(share, values.len(), |rank| if rank == lower { Some(low) } else { next })
}

const NEGATIVE_ZERO: u64 = 1 << 63;

/// Returns the rank of the value below a quantile.
fn lower_rank(share: f64, count: usize) -> usize {
    // Lies between 0 and the number of values.
    (share * (count as f64 - 1.0)).floor() as usize
}

/// Orders values for quantiles: NaN first.
pub(crate) fn compare(a: &f64, b: &f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(Ordering::Equal))
}

/// Returns the quantile of `count` values, at least one; `nth` gives them in their order.
pub(crate) fn interpolate(share: f64, count: usize, nth: impl Fn(usize) -> Option<f64>) -> f64 {
    if share.is_nan() {
        return f64::NAN;
    }
    if share < 0.0 {
        return f64::NEG_INFINITY;
    }
    if share > 1.0 {
        return f64::INFINITY;
    }
    let rank = share * (count as f64 - 1.0);
    let lower = lower_rank(share, count);
    let upper = (lower + 1).min(count.saturating_sub(1));
    let weight = rank - rank.floor();
    match (nth(lower), nth(upper)) {
        (Some(low), Some(high)) => low * (1.0 - weight) + high * weight,
        _ => f64::NAN,
    }
}

/// The growth of a counter that starts again at zero whenever it falls.
fn counter_rate(values: &[f64], seconds: f64) -> f64 {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
    let falls = values.windows(2).filter_map(|pair| match pair {
        [before, after] if after < before => Some(*before),
        _ => None,
    });
    if values.len() < 2 { 0.0 } else { (last - first + falls.sum::<f64>()) / seconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folds() {
        let check = |op: RangeOp, values: &[f64], expect: f64| {
            let found = fold(op, Some(0.25), 5.0, &mut values.to_vec()).unwrap();
            assert!(found == expect || found.is_nan() && expect.is_nan(), "{op:?} {values:?}: {found}");
        };
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        check(RangeOp::SumOverTime, &[1.0, 2.0, 4.0], 7.0);
        check(RangeOp::Rate, &[1.0, 2.0, 4.0], 1.4);
        check(RangeOp::FirstOverTime, &[3.0, 1.0], 3.0);
        check(RangeOp::LastOverTime, &[3.0, 1.0], 1.0);
        check(RangeOp::AvgOverTime, &[1.0, 2.0, 6.0], 3.0);
        check(RangeOp::AvgOverTime, &[1.0, infinite, 6.0], infinite);
        check(RangeOp::AvgOverTime, &[infinite, -infinite], nan);
        check(RangeOp::MinOverTime, &[nan, 2.0, 3.0], 2.0);
        check(RangeOp::MaxOverTime, &[nan, nan], nan);
        check(RangeOp::StdvarOverTime, &[1.0, 4.0, 10.0], 14.0);
        check(RangeOp::QuantileOverTime, &[4.0, 1.0, 2.0], 1.5);
        check(RangeOp::RateCounter, &[10.0, 20.0, 30.0, 5.0, 15.0], 7.0);
        check(RangeOp::RateCounter, &[10.0], 0.0);
        check(RangeOp::Increase, &[10.0, 20.0, 30.0, 5.0, 15.0], 35.0);
        assert_eq!(quantile(2.0, &mut [1.0]), infinite);
        assert_eq!(
            quantile(0.0, &mut [-0.0, -0.0, 0.0]).to_bits(),
            NEGATIVE_ZERO,
            "equal ones keep their order"
        );
        assert_eq!(fold(RangeOp::SumOverTime, None, 1.0, &mut []), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn quantiles_are_those_of_sorted_values(
            values in proptest::collection::vec(
                prop_oneof![8 => -3.0..3.0, 4 => (-2_i32..3).prop_map(f64::from), 1 => prop::num::f64::ANY],
                1..40,
            ),
            share in prop_oneof![6 => 0.0..=1.0, 1 => Just(0.0), 1 => Just(1.0), 1 => prop::num::f64::ANY],
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(compare);
            let expect = interpolate(share, sorted.len(), |rank| sorted.get(rank).copied());
            let found = quantile(share, &mut values.clone());
            prop_assert!(found.to_bits() == expect.to_bits() || found.is_nan() && expect.is_nan(), "{} {}", found, expect);
        }
    }
}
