//! Blocks of a segment whose bytes are not what was written.
//!
//! Found when they are read: each section has a checksum. A damaged block is told once, left out of all views
//! from then on, and named to queries over its time, so that one flipped bit costs its block and nothing else.
//! The next compaction writes the segment anew without it.

use logyard_codec::BlockMeta;
use logyard_model::TimeRange;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A block that cannot be read: queries go on without its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedBlock {
    /// Path of the segment's file.
    pub file: String,
    /// Where the block starts in the file.
    pub offset: u64,
    /// Entries it holds, of all its streams.
    pub entries: u64,
    /// Earliest timestamp it holds.
    pub min_ns: i64,
    /// Latest timestamp it holds.
    pub max_ns: i64,
}

/// The damaged blocks of one segment, by number.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    is_any: AtomicBool,
    blocks: Mutex<BTreeMap<u32, DamagedBlock>>,
}

impl Damage {
    /// Notes a damaged block. Returns whether that is news.
    pub(crate) fn note(&self, block: u32, file: String, offset: u64, meta: &BlockMeta) -> bool {
        let damaged = DamagedBlock {
            file,
            offset,
            entries: u64::from(meta.rows),
            min_ns: meta.min_ns,
            max_ns: meta.max_ns,
        };
        let is_new = self.blocks.lock().insert(block, damaged).is_none();
        self.is_any.store(true, Ordering::Release);
        is_new
    }

    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    pub(crate) fn contains(&self, block: u32) -> bool {
        self.is_any() && self.blocks.lock().contains_key(&block)
    }

    /// Returns the damaged blocks that may hold entries in `range`.
    pub(crate) fn in_range(&self, range: TimeRange) -> Vec<DamagedBlock> {
        let blocks = self.blocks.lock();
        blocks.values().filter(|block| range.overlaps(block.min_ns, block.max_ns)).cloned().collect()
    }
}
