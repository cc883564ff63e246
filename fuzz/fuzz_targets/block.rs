//! Any bytes as a block's description with its sections behind it: refused, or decoded to as many rows as
//! told.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_codec::{Block, BlockMeta};
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let Ok((meta, read)) = BlockMeta::decode(bytes) else { return };
    let rows = meta.rows as usize;
    let block = Block::open(Arc::new(meta), Arc::new(Bytes::copy_from_slice(bytes)), read as u64);
    if let Ok(ts_ns) = block.timestamps() {
        assert_eq!(ts_ns.len(), rows);
    }
    if let Ok(lines) = block.lines() {
        assert_eq!(lines.rows(), rows);
    }
    if let Ok(levels) = block.levels() {
        assert_eq!(levels.rows(), rows);
    }
    if let Ok(metadata) = block.metadata() {
        assert_eq!(metadata.rows(), rows);
    }
});
