//! Any bytes as a batch: refused, or decoded to chunks that survive another round trip. The checksum is
//! put right first, so that the fuzzer gets past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_codec::{decode_batch, encode_batch};
use logyard_fuzz::crc32c;

const RAW_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if decode_batch(bytes, RAW_BYTES_MAX).is_err() && bytes.len() >= 4 {
        let content = &bytes[..bytes.len() - 4];
        let mended = [content, &crc32c(content).to_le_bytes()].concat();
        round_trip(&mended);
    }
    round_trip(bytes);
});

fn round_trip(bytes: &[u8]) {
    let Ok(batch) = decode_batch(bytes, RAW_BYTES_MAX) else { return };
    let chunks: Vec<_> = batch.chunks.iter().map(|chunk| (&chunk.labels, &chunk.entries)).collect();
    let again = decode_batch(&encode_batch(&chunks), 64 * RAW_BYTES_MAX).expect("what we encode we decode");
    for (first, second) in batch.chunks.iter().zip(&again.chunks) {
        assert_eq!(first.labels, second.labels);
        assert_eq!(first.entries.ts_ns(), second.entries.ts_ns());
        assert_eq!(first.entries.lines(), second.entries.lines());
    }
}
