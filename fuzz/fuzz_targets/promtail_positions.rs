//! Any bytes as Promtail's file of positions: refused, or read with no more positions than there are bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::ImportedPositions;

fuzz_target!(|bytes: &[u8]| {
    match ImportedPositions::parse_promtail(bytes, &[("journal".to_owned(), 0)]) {
        Ok(positions) => {
            let count = positions.files.len() + positions.containers.len() + positions.journals.len();
            assert!(count <= bytes.len());
        }
        Err(error) => assert!(!error.is_empty()),
    }
});
