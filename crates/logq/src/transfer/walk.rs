//! All entries of a query, oldest first, in parts after which one can begin anew.
//!
//! A pure state machine, as `pages`, over windows of the range: stores bound the length of a query, and empty
//! time is passed over in few calls. Entries are handed over once all of their timestamp are known, so that
//! [`Walk::reached_ns`] says exactly which have been: those before it.

use logyard_client::RangeQuery;
use logyard_model::{Direction, TimeRange};

use crate::entry::Entry;
use crate::pages::Pages;

/// Width of the first window, and of the next after one that holds entries.
const WINDOW_NS_MIN: i64 = 86_400 * 1_000_000_000;
/// Widest window: Loki's queries span 30 days at most unless it is told otherwise.
const WINDOW_NS_MAX: i64 = 28 * WINDOW_NS_MIN;

/// Where a walk over a range is.
#[derive(Debug)]
pub(crate) struct Walk {
    query: String,
    end_ns: i64,
    batch: usize,
    pages: Pages,
    window: TimeRange,
    /// Whether the window held anything.
    has_found: bool,
    /// Entries of the last timestamp of a page, of which the next page may have more.
    held: Vec<Entry>,
    reached_ns: i64,
}

impl Walk {
    /// Starts at the beginning of a range; `batch` is the most entries one call may return.
    pub(crate) fn new(query: &str, range: TimeRange, batch: usize) -> Self {
        let window = window(range.start_ns, range.end_ns, WINDOW_NS_MIN);
        Self {
            query: query.to_owned(),
            end_ns: range.end_ns,
            batch,
            pages: Pages::new(query, window, Direction::Forward, 0, batch),
            window,
            has_found: false,
            held: Vec::new(),
            reached_ns: range.start_ns,
        }
    }

    /// Returns the next call to make, or none when everything has been handed over.
    pub(crate) fn next(&self) -> Option<RangeQuery> {
        self.pages.next()
    }

    /// Returns the time before which all entries have been handed over, and none at or after it.
    pub(crate) fn reached_ns(&self) -> i64 {
        self.reached_ns
    }

    /// Takes the answer to the last call and returns entries, oldest first.
    pub(crate) fn take(&mut self, page: Vec<Entry>) -> Vec<Entry> {
        let fresh = self.pages.take(page);
        self.has_found |= !fresh.is_empty();
        let mut whole = std::mem::take(&mut self.held);
        whole.extend(fresh);
        if self.pages.next().is_some() {
            if let Some(last_ns) = whole.last().map(|entry| entry.ts_ns) {
                let complete = whole.partition_point(|entry| entry.ts_ns < last_ns);
                self.held = whole.split_off(complete);
                self.reached_ns = last_ns;
            }
            return whole;
        }
        self.reached_ns = self.window.end_ns;
        let width_ns = self.window.end_ns.saturating_sub(self.window.start_ns);
        let width_ns =
            if self.has_found { WINDOW_NS_MIN } else { width_ns.saturating_mul(2).min(WINDOW_NS_MAX) };
        self.window = window(self.reached_ns, self.end_ns, width_ns);
        self.has_found = false;
        self.pages = Pages::new(&self.query, self.window, Direction::Forward, 0, self.batch);
        whole
    }
}

fn window(start_ns: i64, end_ns: i64, width_ns: i64) -> TimeRange {
    TimeRange { start_ns, end_ns: end_ns.min(start_ns.saturating_add(width_ns)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stored: &[Entry], query: &RangeQuery) -> Vec<Entry> {
        let mut found: Vec<Entry> =
            stored.iter().filter(|entry| query.range.contains(entry.ts_ns)).cloned().collect();
        found.sort_by_key(|entry| entry.ts_ns);
        found.truncate(query.limit);
        found
    }

    /// Walks from `start_ns`; calls `each` with what was reached and handed over by then.
    fn walk(stored: &[Entry], range: TimeRange, batch: usize, mut each: impl FnMut(i64, &[Entry])) -> usize {
        let mut walk = Walk::new("{}", range, batch);
        let (mut all, mut calls) = (Vec::new(), 0);
        while let Some(call) = walk.next() {
            all.extend(walk.take(answer(stored, &call)));
            calls += 1;
            each(walk.reached_ns(), &all);
            assert!(calls < 10_000, "the walk does not end");
        }
        calls
    }

    #[test]
    fn beginning_anew_anywhere_gives_the_rest() {
        let hour_ns = 3600 * 1_000_000_000;
        let stored: Vec<Entry> =
            (0..200).map(|n| Entry::sample(n / 3 * hour_ns, &format!("{n:03}"))).collect();
        let range = TimeRange { start_ns: 0, end_ns: 100 * hour_ns };
        let mut marks = Vec::new();
        walk(&stored, range, 7, |reached_ns, all| {
            let before: Vec<Entry> =
                stored.iter().filter(|entry| entry.ts_ns < reached_ns).cloned().collect();
            assert_eq!(all, before, "what was reached is what was handed over");
            marks.push(reached_ns);
        });
        assert_eq!(marks.last(), Some(&range.end_ns));
        for mark in marks {
            let mut rest = Vec::new();
            walk(&stored, TimeRange { start_ns: mark, ..range }, 7, |_, all| rest = all.to_vec());
            let want: Vec<Entry> = stored.iter().filter(|entry| entry.ts_ns >= mark).cloned().collect();
            assert_eq!(rest, want);
        }
    }

    #[test]
    fn empty_years_take_few_calls() {
        let year_ns = 365 * WINDOW_NS_MIN;
        let stored = [Entry::sample(2 * year_ns + 5, "x")];
        let mut found = 0;
        let calls =
            walk(&stored, TimeRange { start_ns: 0, end_ns: 3 * year_ns }, 10, |_, all| found = all.len());
        assert_eq!(found, 1);
        assert!(calls < 60, "{calls}");
        assert_eq!(walk(&stored, TimeRange { start_ns: 5, end_ns: 5 }, 10, |_, _| ()), 0);
    }
}
