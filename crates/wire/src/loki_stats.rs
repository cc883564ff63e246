//! The statistics object of query answers, with every group Loki v3.7.6 sends.
//!
//! Clients read `summary`; the other groups are there because some decode them without asking.

use serde::Serialize;

/// What a query did, for the `stats` member.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Seconds from the start of evaluation to its end.
    pub exec_secs: f64,
    /// Seconds the query waited for a free worker.
    pub queue_secs: f64,
    /// Raw bytes of lines and metadata that were looked at.
    pub bytes: u64,
    /// Lines that were looked at.
    pub lines: u64,
    /// Raw bytes of structured metadata among `bytes`.
    pub metadata_bytes: u64,
    /// Lines that passed all filters.
    pub post_filter_lines: u64,
    /// Entries (of log queries) in the answer.
    pub entries_returned: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    bytes_processed_per_second: u64,
    lines_processed_per_second: u64,
    total_bytes_processed: u64,
    total_lines_processed: u64,
    exec_time: f64,
    queue_time: f64,
    subqueries: u64,
    total_entries_returned: u64,
    splits: u64,
    shards: u64,
    total_post_filter_lines: u64,
    total_structured_metadata_bytes_processed: u64,
}

/// The groups after `summary`, all zero: they count what only Loki's parts do.
const OTHER_GROUPS: &str = concat!(
    r#","querier":{"store":{"totalChunksRef":0,"totalChunksDownloaded":0,"chunkRefsFetchTime":0,"queryReferencedStructuredMetadata":false,"#,
    r#""chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"#,
    r#""postFilterLines":0,"headChunkStructuredMetadataBytes":0,"decompressedStructuredMetadataBytes":0},"#,
    r#""chunksDownloadTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0}},"#,
    r#""ingester":{"totalReached":0,"totalChunksMatched":0,"totalBatches":0,"totalLinesSent":0,"store":{"totalChunksRef":0,"totalChunksDownloaded":0,"#,
    r#""chunkRefsFetchTime":0,"queryReferencedStructuredMetadata":false,"chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"#,
    r#""decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"postFilterLines":0,"headChunkStructuredMetadataBytes":0,"#,
    r#""decompressedStructuredMetadataBytes":0},"chunksDownloadTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0}},"#,
    r#""cache":{"chunk":{},"index":{},"result":{},"statsResult":{},"volumeResult":{},"seriesResult":{},"labelResult":{},"instantMetricResult":{}},"#,
    r#""index":{"totalChunks":0,"postFilterChunks":0,"shardsDuration":0,"usedBloomFilters":false}}"#
);

impl Stats {
    /// Appends the object.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        let per_second =
            |count: u64| if self.exec_secs > 0.0 { (count as f64 / self.exec_secs) as u64 } else { 0 };
        let summary = Summary {
            bytes_processed_per_second: per_second(self.bytes),
            lines_processed_per_second: per_second(self.lines),
            total_bytes_processed: self.bytes,
            total_lines_processed: self.lines,
            exec_time: self.exec_secs,
            queue_time: self.queue_secs,
            subqueries: 0,
            total_entries_returned: self.entries_returned,
            splits: 0,
            shards: 0,
            total_post_filter_lines: self.post_filter_lines,
            total_structured_metadata_bytes_processed: self.metadata_bytes,
        };
        buffer.extend_from_slice(b"{\"summary\":");
        // Writing numbers into memory cannot fail; the fallback keeps the object well-formed.
        match serde_json::to_vec(&summary) {
            Ok(bytes) => buffer.extend_from_slice(&bytes),
            Err(_) => buffer.extend_from_slice(b"{}"),
        }
        buffer.extend_from_slice(OTHER_GROUPS.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_json_with_all_groups() {
        let mut buffer = Vec::new();
        Stats { exec_secs: 0.5, bytes: 100, ..Stats::default() }.write(&mut buffer);
        let value: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
        assert_eq!(value["summary"]["bytesProcessedPerSecond"], 200);
        assert_eq!(value["summary"]["execTime"], 0.5);
        for group in ["querier", "ingester", "cache", "index"] {
            assert!(value[group].is_object(), "{group}");
        }
    }
}
