//! Any bytes as datagrams of GELF, divided at 0xff: messages or reasons, and no line beyond the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::read_gelf;

const MESSAGE_BYTES_MAX: usize = 4 << 10;

fuzz_target!(|bytes: &[u8]| {
    let whole = read_gelf(&[bytes], MESSAGE_BYTES_MAX);
    let datagrams: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
    let found = read_gelf(&datagrams, MESSAGE_BYTES_MAX);
    assert!(whole.len() <= 1 && found.len() <= datagrams.len());
    // A number may be written longer than it was: 1e15 in full.
    assert!(whole.iter().chain(&found).flatten().all(|line| line.len() <= 8 * MESSAGE_BYTES_MAX));
});
