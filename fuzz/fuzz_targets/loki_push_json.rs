//! Any bytes as Loki's JSON push: refused, or decoded; then names within one object are unique.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_wire::loki_push::decode_json;
use std::collections::HashSet;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = decode_json(bytes) else { return };
    for entry in request.streams.iter().flat_map(|stream| &stream.entries) {
        let names: HashSet<&str> = entry.metadata.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names.len(), entry.metadata.len());
    }
});
