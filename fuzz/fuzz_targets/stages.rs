//! Any bytes as stages of the agent and lines, see `logyard_pipeline::inspect`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logyard_pipeline::inspect::check_stages(bytes));
