//! Gives every line of an input a time of its own.
//!
//! A store takes equal lines of one time for one, and does not keep the order of lines of one time. Programs write whole
//! seconds or milliseconds. So lines that bear the same time are put a nanosecond apart, in their order. A line without a
//! time belongs to the one before it, such as a line of a stack trace, and comes right behind it.
//!
//! What a line gets depends on the lines before it alone, and [`Stamps`] is saved with the place reached: reading on
//! from there gives the same times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Times that are remembered, for programs whose threads write out of order.
const TIMES_MAX: usize = 16;

/// The times given so far, as far as they matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamps {
    /// Time found in the last line that had one, or that of the input.
    found_ns: i64,
    /// Times found, and the next one that is free at each.
    next_ns: BTreeMap<i64, i64>,
}

impl Stamps {
    /// Starts with the time of lines that stand before the first time.
    pub(crate) fn new(first_ns: i64) -> Self {
        Self { found_ns: first_ns, next_ns: BTreeMap::new() }
    }

    /// Gives lines without a time, from now on, this one.
    pub(crate) fn begin_at(&mut self, now_ns: i64) {
        self.found_ns = now_ns;
    }

    /// Returns the time of the next line, given the one that was found in it.
    pub(crate) fn stamp(&mut self, found_ns: Option<i64>) -> i64 {
        let found_ns = found_ns.unwrap_or(self.found_ns);
        self.found_ns = found_ns;
        let mut stamp_ns = found_ns;
        // Lines of a time before may have run into this one, and this one may run into the next.
        while let Some(free_ns) = self.next_ns.range(..=stamp_ns).map(|(_, next_ns)| *next_ns).max()
            && free_ns > stamp_ns
        {
            stamp_ns = free_ns;
        }
        self.next_ns.insert(found_ns, stamp_ns.saturating_add(1));
        if self.next_ns.len() > TIMES_MAX {
            self.next_ns.pop_first();
        }
        stamp_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_are_put_apart_in_order() {
        let mut stamps = Stamps::new(5);
        let found = [None, Some(100), Some(100), None, Some(200), Some(100), Some(200), None];
        let given: Vec<i64> = found.into_iter().map(|found| stamps.stamp(found)).collect();
        assert_eq!(given, [5, 100, 101, 102, 200, 103, 201, 202]);
    }

    #[test]
    fn times_that_run_into_the_next_stay_apart() {
        let mut stamps = Stamps::new(0);
        let found = [10, 10, 10, 11, 11, 12];
        let given: Vec<i64> = found.into_iter().map(|found| stamps.stamp(Some(found))).collect();
        assert_eq!(given, [10, 11, 12, 13, 14, 15]);
        assert_eq!((stamps.stamp(Some(10)), stamps.stamp(Some(11)), stamps.stamp(Some(17))), (16, 17, 18));
    }

    #[test]
    fn reading_on_gives_the_same_times() {
        let found: Vec<Option<i64>> = (0..500).map(|n| (n % 7 > 0).then_some(n * 31 % 90)).collect();
        let mut whole = Stamps::new(3);
        let want: Vec<i64> = found.iter().map(|found| whole.stamp(*found)).collect();
        for cut in [0, 1, 77, 300, 499] {
            let mut first = Stamps::new(3);
            let mut given: Vec<i64> = found[..cut].iter().map(|found| first.stamp(*found)).collect();
            let saved = serde_json::to_string(&first).unwrap();
            let mut second: Stamps = serde_json::from_str(&saved).unwrap();
            given.extend(found[cut..].iter().map(|found| second.stamp(*found)));
            assert_eq!(given, want);
        }
        assert!(whole.next_ns.len() <= TIMES_MAX);
    }
}
