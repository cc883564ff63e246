//! Any bytes as a payload of the WAL, as they are and with the batch's checksum put right: refused, or a batch
//! within the cap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_fuzz::crc32c;
use logyard_store::inspect::check_wal_record;

const RAW_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let [_, flags, name_bytes, ..] = *bytes else { return };
    let batch_at = 3 + usize::from(name_bytes) + if flags & 1 == 0 { 0 } else { 32 };
    if batch_at + 4 <= bytes.len() {
        let (front, _) = bytes.split_at(bytes.len() - 4);
        let crc = crc32c(&front[batch_at..]);
        check(&[front, &crc.to_le_bytes()].concat());
    }
});

fn check(bytes: &[u8]) {
    let Ok(summary) = check_wal_record(bytes, RAW_BYTES_MAX) else { return };
    assert!(summary.chunks <= RAW_BYTES_MAX && summary.entries <= RAW_BYTES_MAX);
}
