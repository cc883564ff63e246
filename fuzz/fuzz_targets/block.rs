//! Any bytes as a block's description with its sections behind it, as they are and with the sections' checksums
//! put right: refused, or decoded to as many rows as told.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_codec::{Block, BlockMeta, KeyFormat, Needles};
use logyard_fuzz::crc32c;
use memchr::memmem;
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
    search(&block);
    if let Ok(lines) = block.lines() {
        assert_eq!(lines.rows(), rows);
    }
    if let Ok(ends) = block.line_ends() {
        assert_eq!(ends.len(), rows);
    }
    if let Ok(levels) = block.levels() {
        assert_eq!(levels.rows(), rows);
    }
    if let Ok(metadata) = block.metadata() {
        assert_eq!(metadata.rows(), rows);
    }
}

/// What reads shredded lines without rebuilding them all. Answers of damaged bytes are not looked at.
fn search(block: &Block) {
    let (mut rows, mut line) = (Vec::new(), Vec::new());
    for needle in ["1", "a\":", "level=", "x y"] {
        let _ignored = block.rows_with(&Needles::one(memmem::Finder::new(needle)), 0..block.rows(), &mut rows);
    }
    let _ignored = block.line_into(block.rows() / 2, &mut line);
    for format in [KeyFormat::Json, KeyFormat::Logfmt] {
        let Ok(Some(groups)) = block.key_groups(format, b"level", 0..block.rows()) else { continue };
        assert_eq!(groups.iter().map(|group| group.rows.len()).sum::<usize>(), block.rows() as usize);
    }
}
