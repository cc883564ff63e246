//! The entries on the screen and before it: in order of time, bounded in bytes.
//!
//! Estimated bytes of one entry: its line, 160 bytes for the rest, and its maps of labels as far as no entry before
//! had equal ones; of those most entries have only shared ones. Past the bound the oldest go, and are counted.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use logyard_wire::loki_query::Labels;

use crate::entry::Entry;

/// Bytes of an entry beside its line and labels: four pointers, two counts, the place in the ring.
const ROW_BYTES: usize = 160;

/// Bytes of a label beside its text, in a map of few.
const LABEL_BYTES: usize = 100;

/// Most label sets that are looked up for sharing.
const SHARED_MAX: usize = 4096;

/// One entry; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Nanoseconds since the Unix epoch.
    pub(crate) ts_ns: i64,
    /// Labels of its stream.
    pub(crate) stream: Arc<Labels>,
    /// Structured metadata.
    pub(crate) metadata: Arc<Labels>,
    /// Labels that the query's pipeline made.
    pub(crate) parsed: Arc<Labels>,
    /// The line.
    pub(crate) line: Arc<str>,
}

impl Row {
    /// Returns the value of a label of any kind; of equal names the pipeline's wins.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let maps = [&self.parsed, &self.metadata, &self.stream];
        maps.into_iter().find_map(|labels| labels.get(name)).map(String::as_str)
    }

    /// Returns the entry as others know it.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            ts_ns: self.ts_ns,
            stream: Arc::clone(&self.stream),
            metadata: (*self.metadata).clone(),
            parsed: (*self.parsed).clone(),
            line: self.line.to_string(),
        }
    }
}

/// What an addition did to the places of the entries before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The place that the new entry took, before anything was dropped.
    pub(crate) at: usize,
    /// How many of the oldest were dropped.
    pub(crate) dropped: usize,
}

/// Entries, oldest first.
#[derive(Debug)]
pub(crate) struct Buffer {
    rows: VecDeque<(Row, usize)>,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
    shared: HashSet<Arc<Labels>>,
}

impl Buffer {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, bytes_max, dropped: 0, shared: HashSet::new() }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns how many were dropped for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the estimated bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Row> {
        self.rows.get(index).map(|(row, _)| row)
    }

    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter().map(|(row, _)| row)
    }

    /// Adds an entry behind all that are not younger. The last entry stays, however long it is.
    pub(crate) fn add(&mut self, entry: Entry) -> Moved {
        let mut bytes = ROW_BYTES + entry.line.len();
        let mut share = |labels: Arc<Labels>| {
            let (labels, more) = self.shared_labels(labels);
            bytes += more;
            labels
        };
        let row = Row {
            ts_ns: entry.ts_ns,
            stream: share(entry.stream),
            metadata: share(Arc::new(entry.metadata)),
            parsed: share(Arc::new(entry.parsed)),
            line: entry.line.into(),
        };
        let at = self.rows.partition_point(|(other, _)| other.ts_ns <= row.ts_ns);
        self.rows.insert(at, (row, bytes));
        self.bytes += bytes;
        let mut dropped = 0;
        while self.bytes > self.bytes_max && self.rows.len() > 1 {
            let freed = self.rows.pop_front().map_or(0, |(_, bytes)| bytes);
            self.bytes -= freed;
            dropped += 1;
        }
        self.dropped += dropped as u64;
        Moved { at, dropped }
    }

    fn shared_labels(&mut self, labels: Arc<Labels>) -> (Arc<Labels>, usize) {
        if let Some(known) = self.shared.get(&*labels) {
            return (Arc::clone(known), 0);
        }
        if self.shared.len() >= SHARED_MAX {
            self.shared.clear();
        }
        self.shared.insert(Arc::clone(&labels));
        let bytes = labels.iter().map(|(name, value)| LABEL_BYTES + name.len() + value.len()).sum();
        (labels, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &Buffer) -> String {
        buffer.rows().map(|row| &*row.line).collect()
    }

    #[test]
    fn entries_stand_in_order_of_time() {
        let mut buffer = Buffer::new(1 << 20);
        for (ts_ns, line) in [(1, "a"), (3, "c"), (2, "b"), (3, "d"), (0, "_")] {
            buffer.add(Entry::sample(ts_ns, line));
        }
        assert_eq!(lines(&buffer), "_abcd");
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut buffer = Buffer::new(10 * (ROW_BYTES + 1000));
        for ts_ns in 0..1000 {
            buffer.add(Entry::sample(ts_ns, &"x".repeat(1000)));
            assert!(buffer.bytes() <= buffer.bytes_max);
        }
        assert_eq!(buffer.len() as u64 + buffer.dropped(), 1000);
        assert_eq!(buffer.get(buffer.len() - 1).unwrap().ts_ns, 999);
        let moved = buffer.add(Entry::sample(2000, &"x".repeat(1 << 20)));
        assert_eq!((buffer.len(), moved.at), (1, moved.dropped));
    }

    #[test]
    fn equal_label_sets_are_kept_once() {
        let mut buffer = Buffer::new(1 << 20);
        buffer.add(Entry::sample(1, ""));
        let before = buffer.bytes();
        buffer.add(Entry::sample(2, ""));
        assert_eq!(buffer.bytes() - before, ROW_BYTES);
        assert!(Arc::ptr_eq(&buffer.get(0).unwrap().stream, &buffer.get(1).unwrap().stream));
    }
}
