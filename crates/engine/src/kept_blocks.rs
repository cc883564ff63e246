//! Decoded blocks that a log query keeps until its answer is built, so that the few blocks of most
//! answers are decoded once.

use logyard_codec::Block;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decoded bytes of blocks that are kept: enough for the last lines of some streams.
const KEPT_BYTES_MAX: u64 = 16 << 20;

/// Blocks that hold places found so far, as far as there is room, by view.
#[derive(Debug, Default)]
pub(crate) struct KeptBlocks(Mutex<HashMap<u32, (Arc<Block>, u64)>>);

impl KeptBlocks {
    fn blocks(&self) -> MutexGuard<'_, HashMap<u32, (Arc<Block>, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a block if there is room.
    pub(crate) fn keep(&self, view: u32, block: Arc<Block>, bytes: u64) {
        let mut blocks = self.blocks();
        let kept: u64 = blocks.values().map(|(_, bytes)| *bytes).sum();
        if kept + bytes <= KEPT_BYTES_MAX {
            blocks.insert(view, (block, bytes));
        }
    }

    pub(crate) fn get(&self, view: u32) -> Option<Arc<Block>> {
        self.blocks().get(&view).map(|(block, _)| Arc::clone(block))
    }

    /// Lets go of the blocks of other views.
    pub(crate) fn retain(&self, mut is_needed: impl FnMut(u32) -> bool) {
        self.blocks().retain(|view, _| is_needed(*view));
    }
}
