//! HyperLogLog: counts distinct values in 4 KiB, off by some percent.
//!
//! 4096 registers hold the longest run of leading zeros seen among the hashes that chose them; sketches of
//! parts merge into the sketch of the whole. A sketch of few values lists the registers in use. The
//! estimator is Ertl's (arXiv:1702.01284, algorithm 6): right from 0 on without tables of corrections. The
//! standard error is 1.04 / sqrt(4096) = 1.6 %.

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Highest value of a register: all other bits are zero.
const RANK_MAX: u8 = (64 - INDEX_BITS + 1) as u8;
/// Registers listed one by one until all of them take no more room.
const LISTED_MAX: usize = REGISTERS / size_of::<(u16, u8)>();

/// Most bytes of a sketch.
pub(crate) const SKETCH_BYTES: u64 = REGISTERS as u64 + 64;

/// A set of values, seen from afar.
#[derive(Clone, Debug)]
pub(crate) enum Sketch {
    /// The registers in use, in order.
    Listed(Vec<(u16, u8)>),
    All(Box<[u8]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Sketch {
    /// Adds a value by its hash.
    pub(crate) fn add(&mut self, hash: u64) {
        let index = (hash >> (64 - INDEX_BITS)) as u16;
        // At most 52 zeros: the bits that chose the register are gone.
        let rank = ((hash << INDEX_BITS).leading_zeros() as u8 + 1).min(RANK_MAX);
        self.raise(index, rank);
    }

    fn raise(&mut self, index: u16, rank: u8) {
        match self {
            Self::All(registers) => {
                if let Some(register) = registers.get_mut(usize::from(index)) {
                    *register = rank.max(*register);
                }
            }
            Self::Listed(listed) => match listed.binary_search_by_key(&index, |entry| entry.0) {
                Ok(place) => {
                    if let Some((_, register)) = listed.get_mut(place) {
                        *register = rank.max(*register);
                    }
                }
                Err(place) => {
                    listed.insert(place, (index, rank));
                    if listed.len() > LISTED_MAX {
                        self.spread();
                    }
                }
            },
        }
    }

    /// Writes all registers down.
    fn spread(&mut self) {
        let Self::Listed(listed) = self else { return };
        let mut registers = vec![0; REGISTERS].into_boxed_slice();
        for (index, rank) in listed {
            if let Some(register) = registers.get_mut(usize::from(*index)) {
                *register = *rank;
            }
        }
        *self = Self::All(registers);
    }

    /// Adds the values of another sketch.
    pub(crate) fn merge(&mut self, other: &Self) {
        match other {
            Self::Listed(listed) => listed.iter().for_each(|(index, rank)| self.raise(*index, *rank)),
            Self::All(others) => {
                self.spread();
                if let Self::All(registers) = self {
                    registers.iter_mut().zip(others).for_each(|(own, other)| *own = (*own).max(*other));
                }
            }
        }
    }

    /// Estimates the number of values.
    pub(crate) fn estimate(&self) -> f64 {
        let mut counts = [0_u32; RANK_MAX as usize + 1];
        let mut count = |rank: u8| {
            if let Some(count) = counts.get_mut(usize::from(rank)) {
                *count += 1;
            }
        };
        match self {
            Self::All(registers) => registers.iter().for_each(|rank| count(*rank)),
            Self::Listed(listed) => {
                listed.iter().for_each(|(_, rank)| count(*rank));
                counts[0] += (REGISTERS - listed.len()) as u32;
            }
        }
        let registers = REGISTERS as f64;
        let [empty, middle @ .., full] = counts;
        let mut sum = registers * tail(1.0 - f64::from(full) / registers);
        for count in middle.iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += registers * head(f64::from(empty) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

/// What registers that were never chosen stand for; infinite if that is all of them.
fn head(mut share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, share);
    loop {
        share *= share;
        let before = sum;
        sum += share * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// What registers at their highest value stand for.
fn tail(mut share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - share);
    loop {
        share = share.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - share).powi(2) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash_of;

    fn sketch(values: std::ops::Range<u64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.for_each(|value| sketch.add(hash_of(&value).0));
        sketch
    }

    #[test]
    fn errors_are_those_of_the_theory() {
        assert_eq!(Sketch::default().estimate(), 0.0);
        for count in [1, 10, 100, 1000, 5000, 20_000, 100_000, 500_000] {
            // Of many sketches the root of the mean square is near the standard error; one alone may be off
            // by some times that.
            let rounds = (400_000 / count).clamp(4, 100);
            let mut squares = 0.0;
            for round in 0..rounds {
                let estimate = sketch(round << 32..(round << 32) + count).estimate();
                let error = estimate / count as f64 - 1.0;
                // Of ten values two may share a register.
                assert!((estimate - count as f64).abs() < 0.08 * count as f64 + 2.0, "{count}: {estimate}");
                squares += error * error;
            }
            let error = (squares / rounds as f64).sqrt();
            assert!(error < 0.03, "{count}: {error}");
        }
    }

    #[test]
    fn merging_is_counting_together() {
        for (first, second) in
            [(0..10, 5..20), (0..10, 0..50_000), (0..30_000, 20_000..60_000), (0..3000, 0..1)]
        {
            let mut merged = sketch(first.clone());
            merged.merge(&sketch(second.clone()));
            let whole = sketch(first.start..second.end.max(first.end));
            assert_eq!(merged.estimate(), whole.estimate(), "{first:?} {second:?}");
        }
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let mut backward = Sketch::default();
        (0..2000_u64).rev().chain(500..700).for_each(|value| backward.add(hash_of(&value).0));
        assert_eq!(backward.estimate(), sketch(0..2000).estimate());
    }
}
