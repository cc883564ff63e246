//! Any bytes as a connection of syslog: the same messages however the bytes are divided, none beyond the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::read_syslog;

const MESSAGE_BYTES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    // The last byte says how long the pieces are, too.
    let piece_bytes = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
    for message_bytes_max in [MESSAGE_BYTES_MAX, 64 << 10] {
        let whole = read_syslog(&[bytes], message_bytes_max);
        assert_eq!(whole, read_syslog(&pieces, message_bytes_max));
        assert!(whole.0.iter().all(|message| message.text.len() <= message_bytes_max));
    }
});
