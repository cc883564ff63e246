//! Any bytes as parts of lines that were kept on disk: none, or lines that are written the same again and again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::rewrite_forward_parts;

fuzz_target!(|bytes: &[u8]| {
    if let Some(once) = rewrite_forward_parts(bytes) {
        assert_eq!(rewrite_forward_parts(&once).as_ref(), Some(&once));
    }
});
