//! How far a destination has come in the spool, and the next batches for it in memory.
//!
//! One spool serves all destinations, since a batch is written and synced once however many there are, and since one bound
//! holds then for the disk. What each has acknowledged is a mark of its own; a file goes when all marks are behind it.
//! Memory: each destination holds the next batches of its own up to its share of one bound. Those that keep up hold the
//! same bytes; one that is behind reads its own back from the disk, and disturbs nobody.

use std::collections::VecDeque;

use bytes::Bytes;

/// What the spool needs to know of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkSettings {
    /// Tells it apart from the others; it stands in the spool's records. That of the first counts for nothing there.
    pub(crate) name: String,
    /// Bytes of batches that may wait for it; 0: as many as the spool holds.
    pub(crate) bytes_max: u64,
    /// Whether the oldest batches are dropped for it when no more may wait; if not, reading stops.
    pub(crate) drops: bool,
}

impl MarkSettings {
    /// That of a destination alone.
    pub(crate) fn only() -> Vec<Self> {
        vec![Self { name: String::new(), bytes_max: 0, drops: false }]
    }
}

/// How much waits for a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) batches: u64,
    pub(crate) entries: u64,
    /// Of the encoded batches.
    pub(crate) bytes: u64,
}

/// A batch as the marks count it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) record: u64,
    pub(crate) entries: u32,
    pub(crate) bytes: u64,
}

/// The place of one destination.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) settings: MarkSettings,
    /// All batches in records up to this one are acknowledged, or dropped.
    pub(crate) acked_record: u64,
    pub(crate) backlog: Backlog,
    /// The first batches behind the mark, by record, without a gap.
    window: VecDeque<(u64, Bytes)>,
    window_bytes: usize,
}

impl Mark {
    pub(crate) fn new(settings: MarkSettings, acked_record: u64) -> Self {
        let (backlog, window) = (Backlog::default(), VecDeque::new());
        Self { settings, acked_record, backlog, window, window_bytes: 0 }
    }

    /// Counts a batch behind all others.
    pub(crate) fn count(&mut self, size: Size) {
        self.backlog.batches += 1;
        self.backlog.entries += u64::from(size.entries);
        self.backlog.bytes += size.bytes;
    }

    /// Keeps the bytes of a batch that was just counted, if those of all before it are here and there is room.
    pub(crate) fn keep(&mut self, record: u64, encoded: &Bytes, bytes_max: usize) {
        let is_next = self.window.len() as u64 + 1 == self.backlog.batches;
        if is_next && self.window_bytes + encoded.len() <= bytes_max {
            self.push(record, encoded.clone());
        }
    }

    /// Puts the bytes of the next batch behind those that are here.
    pub(crate) fn push(&mut self, record: u64, encoded: Bytes) {
        self.window_bytes += encoded.len();
        self.window.push_back((record, encoded));
    }

    /// Returns the bytes of the first batch behind the mark, if they are here.
    pub(crate) fn front(&self) -> Option<Bytes> {
        self.window.front().map(|(_, encoded)| encoded.clone())
    }

    /// Whether as much is in memory as may be; there is always room for one batch.
    pub(crate) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.window.is_empty() || self.window_bytes + bytes <= bytes_max
    }

    /// Moves over the first batch.
    pub(crate) fn pass(&mut self, size: Size) {
        self.acked_record = size.record;
        self.backlog.batches -= 1;
        self.backlog.entries -= u64::from(size.entries);
        self.backlog.bytes -= size.bytes;
        if let Some((_, encoded)) = self.window.pop_front_if(|(record, _)| *record <= size.record) {
            self.window_bytes -= encoded.len();
        }
    }

    /// Whether more waits than may, by the bound of this destination alone.
    pub(crate) fn is_beyond(&self) -> bool {
        self.settings.bytes_max > 0
            && self.backlog.batches > 0
            && self.backlog.bytes >= self.settings.bytes_max
    }

    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> Vec<u64> {
        self.window.iter().map(|(record, _)| *record).collect()
    }
}
