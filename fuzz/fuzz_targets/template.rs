//! Any bytes as a template, labels and a line, see `check_template`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logyard_fuzz::check_template::check(bytes));
