//! Any bytes as a rule file, see `logyard_rules::inspect`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    logyard_rules::inspect::check_file(bytes);
});
