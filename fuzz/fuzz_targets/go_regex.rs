//! Any bytes as a pattern and a text, see `check_go_regex`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logyard_fuzz::check_go_regex::check(bytes));
