//! What bounds queries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What bounds queries. Defaults are those of Loki v3.7.6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Most entries a log query may ask for. Default 5000, since a browser shows no more.
    pub entries_max: usize,
    /// Most series in the answer of a metric query. Default 500, since a panel shows no more.
    pub series_max: usize,
    /// Seconds after which a query is ended. Default 60.
    pub timeout_secs: u64,
    /// Most series that one range aggregation may hold while it is evaluated, before outer
    /// aggregations fold them. Default 100000, some 100 MB for short windows.
    pub inner_series_max: usize,
    /// Most points of all series of one range aggregation. Default 20 million, 320 MB.
    pub points_max: usize,
    /// Most values that `count_distinct_over_time` holds to count them exactly; beyond, it estimates and
    /// says so. A value counts once for each series and each set of steps that its entries fall into.
    /// Default 250000, some 25 MB.
    pub distinct_values_max: usize,
    /// Most bytes that one query may hold in memory: entries, series and samples; 0 for any. Default
    /// 268435456 (256 MiB). Each thread has one block of a few MiB besides.
    pub query_memory_bytes_max: u64,
    /// Most bytes that all queries together may hold; 0 for any. A query that would pass it gets 429.
    /// Default 536870912 (512 MiB).
    pub memory_bytes_max: u64,
    /// Widest window `[r]` of a metric query, in seconds; 0 for any. Default 0.
    pub range_secs_max: u64,
    /// How far back queries reach, in seconds before now: what is older does not exist for them; 0 for
    /// any distance. Default 0, since retention bounds it already.
    pub lookback_secs_max: u64,
    /// Most bytes of lines that the entries of one query's streams and range may have, skipped ones
    /// included: it is refused before anything is read; 0 for any. Default 0.
    pub bytes_read_max: u64,
    /// Most label matchers of one query. Default 1000, as in Loki.
    pub matchers_max: usize,
    /// Labels that every selector must name. Default none.
    pub required_labels: Vec<String>,
    /// How many labels every selector must name at least; 0 for any. Default 0.
    pub required_labels_min: usize,
    /// Threads that evaluate queries; 0 for one per core. Default 0.
    pub threads: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            entries_max: 5000,
            series_max: 500,
            timeout_secs: 60,
            inner_series_max: 100_000,
            points_max: 20_000_000,
            distinct_values_max: 250_000,
            query_memory_bytes_max: 256 << 20,
            memory_bytes_max: 512 << 20,
            range_secs_max: 0,
            lookback_secs_max: 0,
            bytes_read_max: 0,
            matchers_max: 1000,
            required_labels: Vec::new(),
            required_labels_min: 0,
            threads: 0,
        }
    }
}
