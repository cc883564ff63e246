//! Any bytes as the state of a group, below a good checksum, see `logyard_rules::inspect`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    logyard_rules::inspect::check_state(bytes);
});
