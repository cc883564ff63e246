//! Any bytes as lines: their first byte tells how many follow another in time, `\xff` ends a line, the last line
//! is a needle. A shredded block of them holds the same lines, and the needle in the same rows, as a plain one.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use logyard_codec::{Block, BlockBuilder, EncodedBlock, Entries, LineCodec, LineOutcome, Needles};
use logyard_model::LabelSet;
use memchr::memmem;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, text)) = bytes.split_first() else { return };
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == 0xff).collect();
    let needle = lines.pop().unwrap_or_default();
    let mut entries = Entries::new();
    // Often enough for a gain, so that the block is shredded.
    for row in 0..lines.len() * 64 {
        let ts_ns = 1_794_636_000_000_000_000 + row as i64 * i64::from(step) * 10_000_000;
        entries.push(ts_ns, lines[row % lines.len()], "", &LabelSet::default());
    }
    let mut builder = BlockBuilder::new();
    builder.push_run(0, &entries, 0..entries.len());
    let plain = open(builder.clone().finish());
    let encoded = builder.finish_with(LineCodec::BEST);
    assert_ne!(encoded.line_outcome, LineOutcome::Mismatch);
    let shredded = open(encoded);
    let needles = Needles::one(memmem::Finder::new(needle));
    let (mut expect, mut found) = (Vec::new(), Vec::new());
    plain.rows_with(&needles, 0..plain.rows(), &mut expect).unwrap();
    shredded.rows_with(&needles, 0..plain.rows(), &mut found).unwrap();
    assert_eq!(found, expect);
    assert_eq!(shredded.line_ends().unwrap(), plain.line_ends().unwrap());
});

fn open(encoded: EncodedBlock) -> Block {
    Block::open(Arc::new(encoded.meta), Arc::new(Bytes::from(encoded.bytes)), 0)
}
