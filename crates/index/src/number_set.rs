//! A set of small numbers: documents of an index, blocks of a segment.

/// A set of the numbers from 0 to below its size, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberSet {
    words: Vec<u64>,
    size: usize,
}

impl NumberSet {
    /// Returns the empty set.
    pub fn none(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)], size }
    }

    /// Returns the set of all numbers below `size`.
    pub fn all(size: usize) -> Self {
        let mut words = vec![u64::MAX; size.div_ceil(64)];
        if let (Some(last), rest @ 1..) = (words.last_mut(), size % 64) {
            *last = (1 << rest) - 1;
        }
        Self { words, size }
    }

    /// Adds a number; one that is not below the size is left out.
    pub fn add(&mut self, number: usize) {
        if number < self.size
            && let Some(word) = self.words.get_mut(number / 64)
        {
            *word |= 1 << (number % 64);
        }
    }

    /// Returns whether the number is in the set.
    pub fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Returns how many numbers are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds what is in the other set.
    pub fn extend(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Keeps what is in the other set too.
    pub fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Removes what is in the other set.
    pub fn remove(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Returns the numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_added() {
        let mut set = NumberSet::none(70);
        set.add(3);
        set.add(69);
        set.add(70);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 69]);
        assert!(set.contains(69) && !set.contains(70) && !set.contains(4) && !set.contains(1_000));
        let mut all = NumberSet::all(70);
        assert_eq!(all.count(), 70);
        all.remove(&set);
        assert_eq!(all.count(), 68);
        all.extend(&set);
        assert_eq!(all, NumberSet::all(70));
        all.keep(&set);
        assert_eq!(all, set);
    }
}
