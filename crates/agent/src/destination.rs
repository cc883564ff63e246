//! Where batches go: our own store, a Loki, or a receiver of OpenTelemetry's logs.

use logyard_client::Client;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One place that everything goes to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Tells it apart in metrics, in the log, and in the spool; see [`Destination::is_name`]. Whoever renames one that
    /// is not the first makes it a new one.
    pub name: String,
    /// What is spoken.
    pub kind: DestinationKind,
    /// Calls it.
    pub client: Client,
    /// What happens when no more may wait for it.
    pub when_full: WhenFull,
    /// Bytes of encoded batches that may wait for it; 0: as many as the spool holds.
    pub spool_bytes_max: u64,
}

impl Destination {
    /// The usual one, under the name `push`: a store of ours for which everything waits.
    pub fn store(client: Client) -> Self {
        Self {
            name: "push".to_owned(),
            kind: DestinationKind::Logyard,
            client,
            when_full: WhenFull::Wait,
            spool_bytes_max: 0,
        }
    }

    /// Returns whether a destination may be called this: 1 to 64 letters, digits, `-` and `_`, as in a file's name.
    pub fn is_name(name: &str) -> bool {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }
}

/// What is spoken to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DestinationKind {
    /// The native push of a Logyard store: each batch is stored once, whatever happens.
    #[default]
    Logyard,
    /// Loki's push, protobuf with snappy. Entries whose answer got lost may be stored twice, if Loki has cut their chunk.
    Loki,
    /// OpenTelemetry's export of logs over HTTP, protobuf with gzip. Entries whose answer got lost are sent twice.
    Otlp,
    /// `logyard` or `loki`, by what answers.
    Auto,
}

/// What happens when no more may wait for a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Reading stops until it takes batches again, for all destinations: logs wait where they are.
    #[default]
    Wait,
    /// Its oldest batches are dropped, and counted; the others go on.
    DropOldest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        for name in ["push", "loki-2", "A_b"] {
            assert!(Destination::is_name(name), "{name}");
        }
        for name in ["", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(!Destination::is_name(name), "{name}");
        }
    }
}
