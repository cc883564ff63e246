//! Any bytes as a block's description with its sections behind it, as they are and with the sections' checksums
//! put right: refused, or decoded to as many rows as told.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_codec::{Block, BlockMeta};
use logyard_fuzz::crc32c;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let Ok((meta, read)) = BlockMeta::decode(bytes) else { return };
    let mut mended = meta.clone();
    for section in &mut mended.sections {
        let start = read + section.offset as usize;
        if let Some(stored) = bytes.get(start..start + section.bytes as usize) {
            section.crc32c = crc32c(stored);
        }
    }
    decode(bytes, meta, read);
    decode(bytes, mended, read);
});

fn decode(bytes: &[u8], meta: BlockMeta, read: usize) {
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
}
