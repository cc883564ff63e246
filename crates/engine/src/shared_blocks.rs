//! The blocks that a query opens: with what earlier queries left decoded, and leaving some to later ones.

use crate::request::QueryStats;
use logyard_codec::Block;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Decoded bytes of the blocks that one query shares with others: enough for a page, or a panel of a dashboard, be it of a
/// field of JSON over a week of a busy container (a twentieth of the text). A query over more goes on with blocks of its own,
/// which go with it, so that it neither sweeps out what others ask again and again, nor makes what is kept of those grow.
const SHARED_BYTES_MAX: u64 = 14 << 20;

/// See the module doc. One for each query.
#[derive(Debug, Default)]
pub(crate) struct SharedBlocks {
    /// Of the blocks shared so far, whoever decoded them.
    bytes: AtomicU64,
}

impl SharedBlocks {
    /// Opens a block; [`SharedBlocks::note`] is to be told once it was evaluated.
    pub(crate) fn open(&self, block: &Arc<Block>) -> Arc<Block> {
        match self.bytes.load(Ordering::Relaxed) < SHARED_BYTES_MAX {
            true => block.shared(),
            false => block.fresh(),
        }
    }

    /// Notes a block that has been evaluated; returns the bytes that were decoded for that.
    pub(crate) fn note(&self, block: &Block, stats: &mut QueryStats) -> u64 {
        self.count(block);
        stats.note_block(block)
    }

    /// Counts a block that has been read.
    pub(crate) fn count(&self, block: &Block) {
        self.bytes.fetch_add(block.shared_bytes() as u64, Ordering::Relaxed);
    }
}
