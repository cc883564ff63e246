//! Counters of the write path. They balance: received = accepted + rejected, entry by entry.

use crate::reason::Reason;
use crate::verdict::Verdict;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

type ByName = Family<[(&'static str, &'static str); 1], Counter>;

/// The way an entry came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    LokiJson,
    LokiProtobuf,
    Otlp,
    Bulk,
    JsonLines,
    Native,
}

impl Form {
    fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::LokiJson => "loki_json",
            Self::LokiProtobuf => "loki_protobuf",
            Self::Otlp => "otlp",
            Self::Bulk => "bulk",
            Self::JsonLines => "json_lines",
            Self::Native => "native",
        };
        [("form", name)]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    received_entries: ByName,
    received_bytes: ByName,
    accepted_entries: Counter,
    accepted_bytes: Counter,
    duplicate_entries: Counter,
    rejected_entries: ByName,
    rejected_bytes: ByName,
    repaired_lines: Counter,
    refused_requests: ByName,
}

/// What one request adds to the counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) form: Form,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) repaired_lines: u64,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("logyard_ingest");
        registry.register(
            "received_entries",
            "Entries that arrived in decodable pushes",
            metrics.received_entries.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes of lines and metadata that arrived in decodable pushes",
            metrics.received_bytes.clone(),
        );
        registry.register(
            "accepted_entries",
            "Entries that are durable (those of repeated batches among them)",
            metrics.accepted_entries.clone(),
        );
        registry.register(
            "accepted_bytes",
            "Bytes of lines and metadata of accepted entries",
            metrics.accepted_bytes.clone(),
        );
        registry.register(
            "duplicate_entries",
            "Accepted entries of batches that were stored before",
            metrics.duplicate_entries.clone(),
        );
        registry.register(
            "rejected_entries",
            "Entries refused before the ack, by reason",
            metrics.rejected_entries.clone(),
        );
        registry.register(
            "rejected_bytes",
            "Bytes of lines and metadata refused before the ack, by reason",
            metrics.rejected_bytes.clone(),
        );
        registry.register(
            "repaired_lines",
            "Lines whose invalid UTF-8 was replaced",
            metrics.repaired_lines.clone(),
        );
        registry.register(
            "refused_requests",
            "Pushes that could not be decoded, by form",
            metrics.refused_requests.clone(),
        );
        for reason in Reason::ALL {
            // Present from the start, so that rates over them see the first rejection.
            drop(metrics.rejected_entries.get_or_create(&[("reason", reason.as_str())]));
        }
        metrics
    }

    pub(crate) fn refused(&self, form: Form) {
        self.refused_requests.get_or_create(&form.label()).inc();
    }

    pub(crate) fn count(&self, received: &Received, verdict: &Verdict) {
        self.received_entries.get_or_create(&received.form.label()).inc_by(received.entries);
        self.received_bytes.get_or_create(&received.form.label()).inc_by(received.bytes);
        self.accepted_entries.inc_by(verdict.accepted());
        if verdict.duplicate() {
            self.duplicate_entries.inc_by(verdict.accepted());
        }
        let mut rejected_bytes = 0;
        for (reason, rejected) in &verdict.reasons {
            let label = [("reason", reason.as_str())];
            self.rejected_entries.get_or_create(&label).inc_by(rejected.entries);
            self.rejected_bytes.get_or_create(&label).inc_by(rejected.bytes);
            rejected_bytes += rejected.bytes;
        }
        self.accepted_bytes.inc_by(received.bytes.saturating_sub(rejected_bytes));
        self.repaired_lines.inc_by(received.repaired_lines);
        debug_assert_eq!(received.entries, verdict.accepted() + verdict.rejected());
    }
}
