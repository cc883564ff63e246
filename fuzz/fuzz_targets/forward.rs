//! Any bytes as a connection of Fluent's forward protocol: the same messages however the bytes are divided, in bounded
//! memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::{read_forward, read_forward_ping};

const BYTES_MAX: usize = 4 << 10;

fuzz_target!(|bytes: &[u8]| {
    // The last byte says how long the pieces are, too.
    let piece_bytes = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
    let whole = read_forward(&[bytes], BYTES_MAX);
    assert!(read_forward_ping(bytes).is_none_or(|name| name.len() < bytes.len()));
    assert_eq!(whole, read_forward(&pieces, BYTES_MAX));
    for record in whole.0.iter().flat_map(|(_, records)| records) {
        // Past the bound only what was begun is ended: one value on each level.
        assert!(record.len() <= 7 * (BYTES_MAX + bytes.len()) + 1_000, "{}", record.len());
    }
});
