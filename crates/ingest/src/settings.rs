//! The settings of the write path, section `limits` of the config.

use crate::span_text::SpanText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What may be pushed. Zero means "no limit" where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IngestSettings {
    /// Longest line in bytes; longer ones are rejected, not cut. Default 262144 (256 KiB), as in Loki.
    pub line_bytes_max: usize,
    /// Most labels of one stream; an added service_name does not count. Default 15, as in Loki: more
    /// labels make streams so small that neither index nor compression work well.
    pub labels_per_stream_max: usize,
    /// Longest label name in bytes. Default 1024, as in Loki.
    pub label_name_bytes_max: usize,
    /// Longest label value in bytes. Default 2048, as in Loki.
    pub label_value_bytes_max: usize,
    /// Most bytes of names and values of one entry's structured metadata. Default 65536 (64 KiB).
    pub metadata_bytes_max: usize,
    /// Most names in one entry's structured metadata. Default 128, as in Loki.
    pub metadata_entries_max: usize,
    /// Oldest entry that is accepted, as a span before now; 0 for no limit. Default 30d, the default
    /// retention: an older entry would be deleted at once.
    pub entry_age_max: SpanText,
    /// Newest entry that is accepted, as a span after now; 0 for no limit. Default 10m, as in Loki:
    /// wide enough for clocks that run fast.
    pub entry_future_max: SpanText,
    /// How far an entry may lie behind the newest one of its stream; 0 for any distance. Default 0:
    /// late entries are stored in order of time, so there is no reason to refuse them. Loki has 1h.
    pub out_of_order_window: SpanText,
    /// Bytes of lines and metadata that one tenant may push per second on average; 0 for any. Default 0.
    pub rate_bytes_per_sec: u64,
    /// Bytes that one tenant may push at once when it was quiet before; only with rate_bytes_per_sec.
    /// Default 16777216 (16 MiB).
    pub rate_burst_bytes: u64,
    /// Largest body of one push as it arrives, in bytes. Default 104857600 (100 MiB), as in Loki.
    pub push_body_bytes_max: usize,
    /// Most bytes that one push may take in memory: its body after decompression, and what its streams, entries
    /// and texts take once decoded. Default 268435456 (256 MiB): Loki's 5000 MiB, of the body alone, would let
    /// one request fill the memory of a small machine.
    pub push_unpacked_bytes_max: usize,
    /// Whether streams without service_name get one from a well-known label. Default true, as in Loki;
    /// Logs Drilldown needs it.
    pub discover_service_name: bool,
    /// Whether the level of every entry is found and kept as detected_level. Default true, as in Loki.
    pub discover_levels: bool,
}

impl IngestSettings {
    /// Returns the age up to which entries are accepted; `None` for any age.
    pub fn age_max(&self) -> Option<Duration> {
        let SpanText(age) = self.entry_age_max;
        (!age.is_zero()).then_some(age)
    }
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            line_bytes_max: 256 << 10,
            labels_per_stream_max: 15,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 2048,
            metadata_bytes_max: 64 << 10,
            metadata_entries_max: 128,
            entry_age_max: SpanText(Duration::from_secs(30 * 86_400)),
            entry_future_max: SpanText(Duration::from_secs(600)),
            out_of_order_window: SpanText::default(),
            rate_bytes_per_sec: 0,
            rate_burst_bytes: 16 << 20,
            push_body_bytes_max: 100 << 20,
            push_unpacked_bytes_max: 256 << 20,
            discover_service_name: true,
            discover_levels: true,
        }
    }
}
