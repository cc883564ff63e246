//! Any bytes as an edit of the catalog: refused, or read without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_store::inspect::{CatalogRecordSummary, check_catalog_record};

fuzz_target!(|bytes: &[u8]| {
    match check_catalog_record(bytes) {
        Ok(CatalogRecordSummary::Snapshot { segments, lost, sources }) => {
            assert!(segments + lost + sources <= bytes.len());
        }
        Ok(CatalogRecordSummary::Flush { segments, sources }) => assert!(segments + sources <= bytes.len()),
        Ok(CatalogRecordSummary::Replace { removed, segments }) => {
            assert!(removed + segments <= bytes.len());
        }
        Ok(CatalogRecordSummary::Lost { ulid, reason }) => assert!(ulid.len() + reason.len() <= bytes.len()),
        Ok(CatalogRecordSummary::AddDelete { id, query }) => assert!(id.len() + query.len() <= bytes.len()),
        Ok(CatalogRecordSummary::DropDelete { id } | CatalogRecordSummary::EndDelete { id }) => {
            assert!(id.len() <= bytes.len());
        }
        Ok(CatalogRecordSummary::Epochs { epochs }) => assert!(epochs <= bytes.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
