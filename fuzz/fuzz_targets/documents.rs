//! Any bytes as JSON documents, with actions and without: refused, or each document has one place, and each place one
//! document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_wire::documents::{FieldNames, Form, Place, decode};
use std::collections::HashSet;

fuzz_target!(|bytes: &[u8]| {
    for form in [Form::Bulk, Form::Lines] {
        let Ok(documents) = decode(form, bytes, &FieldNames::default(), 1_795_230_000_000_000_000, 1 << 20)
        else {
            continue;
        };
        let mut places = HashSet::new();
        for (_, place) in &documents.items {
            if let Place::Entry(stream, entry) = *place {
                assert!(documents.request.streams[stream].entries.iter().nth(entry).is_some());
                assert!(places.insert((stream, entry)));
            }
        }
        let entries: usize = documents.request.streams.iter().map(|stream| stream.entries.len()).sum();
        assert_eq!(entries, places.len());
    }
});
