//! Following a query without losing or repeating entries, live or by polling.
//!
//! A pure state machine, as `pages`. Entries do not become visible in order of time: each agent ships
//! its batches when they are full. So every poll reads again the last [`LATE_NS`] before the newest
//! entry, and what was printed before is left out by identity. An entry that arrives later than that
//! behind a newer one is printed live, and not by a poll; it is in the store all the same.

use std::collections::HashMap;

use logyard_model::TimeRange;

use crate::entry::{Entry, Identity};

/// How far behind the newest entry a late one is still printed: several times the second or so that
/// agents wait to fill a batch.
const LATE_NS: i64 = 5_000_000_000;

/// How far ahead of this machine's clock the sender's may be.
const AHEAD_NS: i64 = 600_000_000_000;

/// Which entries have been printed.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Nothing older is ever asked for.
    start_ns: i64,
    newest_ns: Option<i64>,
    printed: HashMap<Identity, Printed>,
}

#[derive(Debug)]
struct Printed {
    ts_ns: i64,
    count: usize,
}

impl Tail {
    /// Starts to follow after `first`, the newest entries found at `now_ns`, oldest first, which the
    /// caller has printed.
    pub(crate) fn new(first: &[Entry], now_ns: i64) -> Self {
        // Older entries than the oldest printed one were left out on purpose.
        let start_ns = first.first().map_or(now_ns.saturating_sub(LATE_NS), |oldest| oldest.ts_ns);
        let mut tail = Self { start_ns, newest_ns: None, printed: HashMap::new() };
        for entry in first {
            tail.remember(entry);
        }
        tail.advance(now_ns);
        tail
    }

    /// Returns the range the next poll must read, completely and oldest first.
    pub(crate) fn range(&self, now_ns: i64) -> TimeRange {
        let newest_ns = self.newest_ns.unwrap_or(now_ns).max(now_ns);
        TimeRange { start_ns: self.start_ns, end_ns: newest_ns.saturating_add(AHEAD_NS) }
    }

    /// Takes what the poll read and returns what has not been printed yet.
    pub(crate) fn take(&mut self, read: Vec<Entry>, now_ns: i64) -> Vec<Entry> {
        let mut counts: HashMap<Identity, usize> = HashMap::new();
        let mut fresh = Vec::new();
        for entry in read {
            let identity = entry.identity();
            let count = counts.entry(identity).or_default();
            *count += 1;
            let printed = self.printed.get(&identity).map_or(0, |printed| printed.count);
            if *count > printed {
                self.remember(&entry);
                fresh.push(entry);
            }
        }
        self.advance(now_ns);
        fresh
    }

    /// Takes what has just arrived, however old, and returns what has not been printed yet.
    pub(crate) fn arrived(&mut self, entries: Vec<Entry>, now_ns: i64) -> Vec<Entry> {
        let mut fresh = Vec::new();
        for entry in entries {
            if self.printed.contains_key(&entry.identity()) {
                continue;
            }
            // No poll reads what is older.
            if entry.ts_ns >= self.start_ns {
                self.remember(&entry);
            }
            fresh.push(entry);
        }
        self.advance(now_ns);
        fresh
    }

    fn remember(&mut self, entry: &Entry) {
        self.newest_ns = self.newest_ns.max(Some(entry.ts_ns));
        let printed =
            self.printed.entry(entry.identity()).or_insert(Printed { ts_ns: entry.ts_ns, count: 0 });
        printed.count += 1;
    }

    /// Moves the start of the range behind the newest entry and forgets what lies before it. One entry
    /// from the future must not cut off the present, hence the clock.
    fn advance(&mut self, now_ns: i64) {
        let Some(newest_ns) = self.newest_ns else { return };
        let start_ns = newest_ns.min(now_ns).saturating_sub(LATE_NS).max(self.start_ns);
        self.start_ns = start_ns;
        self.printed.retain(|_, printed| printed.ts_ns >= start_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn read(stored: &[Entry], range: TimeRange) -> Vec<Entry> {
        let mut found: Vec<Entry> =
            stored.iter().filter(|entry| range.contains(entry.ts_ns)).cloned().collect();
        found.sort_by_key(|entry| entry.ts_ns);
        found
    }

    #[test]
    fn each_entry_comes_once_even_at_equal_timestamps_and_late() {
        let mut stored = vec![Entry::sample(100 * S, "a")];
        let mut tail = Tail::new(&stored, 101 * S);
        let mut poll = |stored: &[Entry], now_ns: i64| -> Vec<String> {
            let fresh = tail.take(read(stored, tail.range(now_ns)), now_ns);
            fresh.into_iter().map(|entry| entry.line).collect()
        };
        assert!(poll(&stored, 102 * S).is_empty());
        stored.push(Entry::sample(100 * S, "same time"));
        stored.push(Entry::sample(103 * S, "b"));
        assert_eq!(poll(&stored, 104 * S), ["same time", "b"]);
        stored.push(Entry::sample(101 * S, "late"));
        stored.push(Entry::sample(103 * S, "b"));
        assert_eq!(poll(&stored, 105 * S), ["late", "b"]);
        assert!(poll(&stored, 106 * S).is_empty());
    }

    #[test]
    fn what_arrives_live_and_is_polled_comes_once() {
        let mut stored = vec![Entry::sample(100 * S, "a")];
        let mut tail = Tail::new(&stored, 101 * S);
        let lines = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.line).collect::<Vec<_>>();
        let arrive = [Entry::sample(100 * S, "a"), Entry::sample(102 * S, "b"), Entry::sample(S, "old")];
        assert_eq!(lines(tail.arrived(arrive.to_vec(), 102 * S)), ["b", "old"]);
        stored.extend([Entry::sample(102 * S, "b"), Entry::sample(103 * S, "c")]);
        assert_eq!(lines(tail.take(read(&stored, tail.range(103 * S)), 103 * S)), ["c"]);
        assert_eq!(lines(tail.arrived(vec![Entry::sample(103 * S, "c")], 103 * S)), Vec::<String>::new());
    }

    #[test]
    fn entries_left_out_at_first_stay_out() {
        let stored: Vec<Entry> = (0..10).map(|n| Entry::sample((90 + n) * S, &n.to_string())).collect();
        let mut tail = Tail::new(&stored[8..], 100 * S);
        assert!(tail.take(read(&stored, tail.range(101 * S)), 101 * S).is_empty());
    }

    #[test]
    fn memory_is_that_of_the_last_seconds() {
        let mut stored = Vec::new();
        let mut tail = Tail::new(&stored, 0);
        for n in 0..1000 {
            stored.push(Entry::sample(n * S, "x"));
            assert_eq!(tail.take(read(&stored, tail.range(n * S)), n * S).len(), 1, "{n}");
            assert!(tail.printed.len() <= 7);
        }
    }

    #[test]
    fn an_entry_from_the_future_does_not_hide_the_present() {
        let mut stored = vec![Entry::sample(160 * S, "future")];
        let mut tail = Tail::new(&[], 100 * S);
        assert_eq!(tail.take(read(&stored, tail.range(100 * S)), 100 * S).len(), 1);
        stored.push(Entry::sample(101 * S, "present"));
        assert_eq!(tail.take(read(&stored, tail.range(102 * S)), 102 * S).len(), 1);
    }
}
