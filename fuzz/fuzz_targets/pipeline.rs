//! Any bytes as a query and lines, see `check_pipeline`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logyard_fuzz::check_pipeline::check(bytes, 16 << 10));
