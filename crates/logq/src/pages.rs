//! Fetching more entries than one call may return, without losing or repeating any.
//!
//! A pure state machine: it says what to ask next and takes the answer, so that its edge cases are
//! tested without a store. Pages overlap by the entries of one timestamp: the next page begins *at* the
//! last timestamp seen, since the page may have been cut in the middle of it, and what was handed out
//! before is left out by identity. A timestamp that fills a page is asked for with a greater one. Identities are counted, not only remembered: a pipeline may make two
//! stored entries look alike.

use std::collections::HashMap;

use logyard_client::RangeQuery;
use logyard_model::{Direction, TimeRange};

use crate::entry::{Entry, Identity};

/// What is still to be fetched of one log query.
#[derive(Debug)]
pub(crate) struct Pages {
    query: String,
    range: TimeRange,
    direction: Direction,
    /// None means all.
    remaining: Option<usize>,
    batch: usize,
    edge: Edge,
    done: bool,
}

/// The entries already handed out at the timestamp where the next page begins.
#[derive(Debug, Default)]
struct Edge {
    ts_ns: i64,
    seen: HashMap<Identity, usize>,
    count: usize,
}

impl Pages {
    /// Starts a fetch; a `limit` of 0 means all entries, `batch` is the most one call may return.
    pub(crate) fn new(
        query: &str,
        range: TimeRange,
        direction: Direction,
        limit: usize,
        batch: usize,
    ) -> Self {
        let remaining = (limit > 0).then_some(limit);
        let query = query.to_owned();
        Self { query, range, direction, remaining, batch, edge: Edge::default(), done: range.is_empty() }
    }

    /// Returns the next call to make, or none when everything has been handed out.
    pub(crate) fn next(&self) -> Option<RangeQuery> {
        if self.done {
            return None;
        }
        Some(RangeQuery {
            query: self.query.clone(),
            range: self.range,
            limit: self.asked(),
            direction: self.direction,
            step: None,
        })
    }

    /// Takes the answer to the last call, in order of the direction, and returns the entries not handed
    /// out before.
    pub(crate) fn take(&mut self, mut page: Vec<Entry>) -> Vec<Entry> {
        let full = page.len() >= self.asked();
        let Some(last_ns) = page.last().map(|entry| entry.ts_ns) else {
            self.done = true;
            return page;
        };
        let next_edge = Edge::at(last_ns, &page);
        let seen = &mut self.edge.seen;
        let edge_ns = self.edge.ts_ns;
        page.retain(|entry| entry.ts_ns != edge_ns || !take_one(seen, &entry.identity()));
        if let Some(remaining) = &mut self.remaining {
            page.truncate(*remaining);
            *remaining -= page.len();
        }
        self.done = !full || self.remaining == Some(0);
        match self.direction {
            Direction::Forward => self.range.start_ns = last_ns,
            Direction::Backward => self.range.end_ns = last_ns.saturating_add(1),
        }
        self.edge = next_edge;
        page
    }

    /// How many entries the next call asks for: those wanted plus those that will come again.
    ///
    /// Where a page ends within a timestamp that fills it, a call asks for twice as many as are known of that: only so
    /// it comes past it. A store that returns so many at no time refuses that, and says so.
    fn asked(&self) -> usize {
        let most = if self.edge.count < self.batch { self.batch } else { self.edge.count.saturating_mul(2) };
        match self.remaining {
            Some(remaining) => remaining.saturating_add(self.edge.count).min(most),
            None => most,
        }
    }
}

impl Edge {
    fn at(ts_ns: i64, page: &[Entry]) -> Self {
        let mut edge = Self { ts_ns, ..Self::default() };
        for entry in page.iter().rev().take_while(|entry| entry.ts_ns == ts_ns) {
            *edge.seen.entry(entry.identity()).or_default() += 1;
            edge.count += 1;
        }
        edge
    }
}

/// Removes one occurrence and returns whether there was one.
fn take_one(seen: &mut HashMap<Identity, usize>, identity: &Identity) -> bool {
    match seen.get_mut(identity) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers as Loki does: in order of time, cut at the limit.
    fn answer(stored: &[Entry], query: &RangeQuery) -> Vec<Entry> {
        let mut found: Vec<Entry> =
            stored.iter().filter(|entry| query.range.contains(entry.ts_ns)).cloned().collect();
        match query.direction {
            Direction::Forward => found.sort_by_key(|entry| entry.ts_ns),
            Direction::Backward => found.sort_by_key(|entry| std::cmp::Reverse(entry.ts_ns)),
        }
        found.truncate(query.limit);
        found
    }

    fn fetch(stored: &[Entry], direction: Direction, limit: usize, batch: usize) -> (Vec<Entry>, usize) {
        let mut pages = Pages::new("{}", TimeRange { start_ns: 0, end_ns: 1000 }, direction, limit, batch);
        let (mut all, mut calls) = (Vec::new(), 0);
        while let Some(query) = pages.next() {
            // What is asked for is bounded by what one timestamp holds.
            assert!(query.limit <= batch.max(2 * stored.len()));
            all.extend(pages.take(answer(stored, &query)));
            calls += 1;
            assert!(calls < 1000, "paging does not end");
        }
        (all, calls)
    }

    fn lines(entries: &[Entry]) -> Vec<String> {
        let mut lines: Vec<String> = entries.iter().map(|entry| entry.line.clone()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn equal_timestamps_across_pages_come_once() {
        // Every timestamp holds three entries, so pages of five are always cut inside one.
        let stored: Vec<Entry> = (0..60).map(|n| Entry::sample(n / 3, &format!("line {n:02}"))).collect();
        for direction in [Direction::Forward, Direction::Backward] {
            let (all, calls) = fetch(&stored, direction, 0, 5);
            assert_eq!(lines(&all), lines(&stored));
            assert!(calls > 12);
            let sorted = all.windows(2).all(|pair| match direction {
                Direction::Forward => pair[0].ts_ns <= pair[1].ts_ns,
                Direction::Backward => pair[0].ts_ns >= pair[1].ts_ns,
            });
            assert!(sorted);
        }
    }

    #[test]
    fn entries_that_look_alike_are_all_kept() {
        let stored: Vec<Entry> = (0..12).map(|n| Entry::sample(n / 4, "same")).collect();
        let (all, _) = fetch(&stored, Direction::Forward, 0, 5);
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn the_limit_is_met_exactly() {
        let stored: Vec<Entry> = (0..100).map(|n| Entry::sample(n / 2, &format!("{n:03}"))).collect();
        for limit in [1, 4, 5, 6, 7, 99, 100, 101] {
            let (all, _) = fetch(&stored, Direction::Forward, limit, 5);
            assert_eq!(lines(&all), lines(&stored[..limit.min(100)]), "{limit}");
        }
        let (all, calls) = fetch(&stored, Direction::Backward, 4, 5);
        assert_eq!((lines(&all), calls), (lines(&stored[96..]), 1));
    }

    #[test]
    fn a_timestamp_that_fills_pages_is_passed_by_greater_ones() {
        let mut stored: Vec<Entry> = (0..90).map(|n| Entry::sample(7, &format!("{n:02}"))).collect();
        stored.insert(0, Entry::sample(6, "before"));
        stored.push(Entry::sample(8, "after"));
        for direction in [Direction::Forward, Direction::Backward] {
            for batch in [1, 5, 89, 90, 91, 92, 93] {
                let (all, calls) = fetch(&stored, direction, 0, batch);
                assert_eq!(lines(&all), lines(&stored), "{batch}");
                assert!(calls < 12, "{batch}: {calls}");
            }
            assert_eq!(fetch(&stored, direction, 37, 5).0.len(), 37);
        }
    }

    #[test]
    fn nothing_stored_is_one_call() {
        assert_eq!(fetch(&[], Direction::Forward, 0, 5), (Vec::new(), 1));
    }
}
