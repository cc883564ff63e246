//! Any bytes as a record of the spool: refused, or read with no more targets than there are bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_agent::inspect::{SpoolRecordSummary, check_spool_record};

fuzz_target!(|bytes: &[u8]| {
    match check_spool_record(bytes) {
        Ok(SpoolRecordSummary::Batch { targets, batch_bytes, .. }) => {
            assert!(targets.len() + batch_bytes <= bytes.len());
        }
        Ok(SpoolRecordSummary::Checkpoint { targets, .. }) => assert!(targets.len() <= bytes.len()),
        Ok(SpoolRecordSummary::Ack { .. }) => assert_eq!(bytes.len(), 10),
        Ok(SpoolRecordSummary::DestinationAck { destination, .. }) => {
            assert_eq!(bytes.len(), 14 + destination.len());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
