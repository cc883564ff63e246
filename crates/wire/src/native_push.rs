//! The native push: how Logyard's agent sends compressed chunks to a store.
//!
//! `POST /logyard/v1/push`, the body is a batch of `codec` as it is. The batch id travels in a
//! header, so a batch sent again is known before its body is decoded. Page: `schemas/native-push.md`.

pub use logyard_codec::{BatchId, BatchIdError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Path of the endpoint.
pub const PATH: &str = "/logyard/v1/push";
/// Media type of a batch.
pub const CONTENT_TYPE: &str = "application/x-logyard-batch";
/// Request header with the batch id, `<32 hex>/<epoch>/<sequence>`.
pub const BATCH_HEADER: &str = "x-logyard-batch";
/// Response header with the version of the answering Logyard, present on every answer.
pub const VERSION_HEADER: &str = "x-logyard-version";

/// The answer to a batch that was taken, whole or in part.
///
/// A 200 means: everything counted as accepted is durable and visible, and what was rejected would be
/// rejected again. The sender never sends such a batch again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushAnswer {
    /// Whether this batch id was stored before; nothing was stored twice.
    pub duplicate: bool,
    /// Entries stored by this request (all entries of a duplicate).
    pub accepted: u64,
    /// Entries refused for good.
    pub rejected: u64,
    /// Rejected entries by reason, as in the metric `logyard_ingest_rejected_entries_total`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
    /// Text of the first rejection; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl PushAnswer {
    /// Encodes the answer as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes an answer. Unknown members are ignored.
    pub fn from_json(bytes: &[u8]) -> Result<Self, crate::Error> {
        serde_json::from_slice(bytes)
            .map_err(|error| crate::Error::invalid(format!("cannot decode push answer: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_json() {
        let answer = PushAnswer {
            accepted: 7,
            rejected: 2,
            reasons: BTreeMap::from([("line_too_long".to_owned(), 2)]),
            message: "max entry size".to_owned(),
            duplicate: false,
        };
        assert_eq!(PushAnswer::from_json(&answer.to_json()).unwrap(), answer);
        let bare =
            PushAnswer::from_json(br#"{"duplicate":true,"accepted":1,"rejected":0,"new":[1]}"#).unwrap();
        assert!(bare.duplicate && bare.reasons.is_empty() && bare.message.is_empty());
        assert!(PushAnswer::from_json(b"[").is_err());
    }
}
