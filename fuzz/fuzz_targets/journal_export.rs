//! Any bytes as the output of `journalctl -o export`: the same entries however the bytes are divided, no message beyond
//! the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::read_journal_export;

const LINE_BYTES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    // The last byte says how long the pieces are, too.
    let piece_bytes = bytes.last().map_or(1, |last| usize::from(*last) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
    let whole = read_journal_export(&[bytes], LINE_BYTES_MAX);
    assert_eq!(whole, read_journal_export(&pieces, LINE_BYTES_MAX));
    for fields in &whole {
        assert!(!fields.is_empty());
        let message = fields.iter().find(|(name, _)| name == "MESSAGE");
        assert!(message.is_none_or(|(_, value)| value.len() <= LINE_BYTES_MAX));
    }
});
