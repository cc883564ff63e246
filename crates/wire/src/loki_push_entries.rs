//! The entries of one stream of a push, in two lists for the whole stream.
//!
//! Rows hold time and line, the pairs of all rows lie one after the other in a second list. An entry
//! thus needs no allocation of its own, unless its line was written with escapes.

use crate::Error;
use crate::budget::Budget;
use crate::go_time::GoTime;
use crate::loki_push::Pair;
use std::borrow::Cow;
use std::slice;

/// One entry as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PushEntry<'a> {
    /// The time; year 1 if none was given, as Go reads it.
    pub time: GoTime,
    /// The line, not necessarily UTF-8.
    pub line: &'a [u8],
    /// Structured metadata in the order sent, names possibly repeated.
    pub metadata: &'a [Pair<'a>],
}

/// Entries in the order sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushEntries<'a> {
    rows: Vec<Row<'a>>,
    /// The pairs of the rows, and behind them those of the row that is being read.
    pairs: Vec<Pair<'a>>,
    /// How many of the pairs belong to rows.
    claimed: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Row<'a> {
    time: GoTime,
    line: Cow<'a, [u8]>,
    pairs: usize,
}

impl<'a> PushEntries<'a> {
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the entries in the order sent.
    pub fn iter(&self) -> EntryIter<'_> {
        EntryIter { rows: self.rows.iter(), pairs: &self.pairs }
    }

    /// Makes room for exactly `count` more entries.
    pub(crate) fn reserve(&mut self, count: usize, budget: &mut Budget) -> Result<(), Error> {
        budget.reserve(&mut self.rows, count)
    }

    /// Returns the list to which the pairs of the next entry are added, and where they begin in it.
    pub(crate) fn next_pairs(&mut self) -> (&mut Vec<Pair<'a>>, usize) {
        (&mut self.pairs, self.claimed)
    }

    /// Adds an entry; the pairs added since the one before are its metadata. The text of `line` was
    /// counted before.
    pub(crate) fn push(
        &mut self,
        time: GoTime,
        line: Cow<'a, [u8]>,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let pairs = self.pairs.len() - self.claimed;
        self.claimed = self.pairs.len();
        budget.push(&mut self.rows, Row { time, line, pairs })
    }

    /// Bytes of memory that the lists and the texts outside the body hold.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        use crate::loki_push::tests::{held_by_list, held_by_pair, held_by_text};
        let lines: usize = self.rows.iter().map(|row| held_by_text(&row.line)).sum();
        let pairs: usize = self.pairs.iter().map(held_by_pair).sum();
        held_by_list(&self.rows) + lines + held_by_list(&self.pairs) + pairs
    }
}

impl<'s> IntoIterator for &'s PushEntries<'_> {
    type Item = PushEntry<'s>;
    type IntoIter = EntryIter<'s>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterates over [`PushEntries`].
#[derive(Clone, Debug)]
pub struct EntryIter<'s> {
    rows: slice::Iter<'s, Row<'s>>,
    /// The pairs of the rows to come.
    pairs: &'s [Pair<'s>],
}

impl<'s> Iterator for EntryIter<'s> {
    type Item = PushEntry<'s>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        let (metadata, rest) = self.pairs.split_at_checked(row.pairs).unwrap_or_default();
        self.pairs = rest;
        Some(PushEntry { time: row.time, line: &row.line, metadata })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for EntryIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_belong_to_the_entry_after_them() {
        let mut budget = Budget::new(10_000);
        let mut entries = PushEntries::default();
        for (index, names) in [&["a", "b"][..], &[], &["c"]].into_iter().enumerate() {
            for &name in names {
                entries.next_pairs().0.push((name.into(), "".into()));
            }
            let time = GoTime { secs: index as i64, nanos: 0 };
            entries.push(time, Cow::Borrowed(b"x"), &mut budget).unwrap();
        }
        let names = |entry: PushEntry<'_>| {
            entry.metadata.iter().map(|(name, _)| name.clone().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            entries.iter().map(names).collect::<Vec<_>>(),
            [vec!["a".to_owned(), "b".to_owned()], vec![], vec!["c".to_owned()]]
        );
        assert_eq!((entries.len(), entries.iter().len()), (3, 3));
    }
}
