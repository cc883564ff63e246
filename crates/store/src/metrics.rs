//! What the store tells about itself. Updated per batch, group or flush, never per entry.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Typed handles of all the store's metrics. Names: `logyard_store_<thing>_<unit>`.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) appended_entries: Counter,
    pub(crate) appended_bytes: Counter,
    pub(crate) duplicate_batches: Counter,
    pub(crate) refused_batches: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) wal_bytes: Gauge,
    pub(crate) wal_sync_seconds: Histogram,
    pub(crate) head_bytes: Gauge,
    pub(crate) head_entries: Gauge,
    pub(crate) flushes: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) flushed_entries: Counter,
    pub(crate) duplicate_entries: Counter,
    pub(crate) segments: Gauge,
    pub(crate) segment_bytes: Gauge,
    pub(crate) segments_lost: Counter,
    pub(crate) unreadable_indexes: Counter,
    pub(crate) replayed_records: Counter,
    pub(crate) read_only: Gauge,
}

impl Metrics {
    /// Registers the store's metrics.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let syncs = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
        let metrics = Self {
            appended_entries: Counter::default(),
            appended_bytes: Counter::default(),
            duplicate_batches: Counter::default(),
            refused_batches: Counter::default(),
            queue_bytes: Gauge::default(),
            wal_bytes: Gauge::default(),
            wal_sync_seconds: Histogram::new(syncs),
            head_bytes: Gauge::default(),
            head_entries: Gauge::default(),
            flushes: Counter::default(),
            flush_failures: Counter::default(),
            flushed_entries: Counter::default(),
            duplicate_entries: Counter::default(),
            segments: Gauge::default(),
            segment_bytes: Gauge::default(),
            segments_lost: Counter::default(),
            unreadable_indexes: Counter::default(),
            replayed_records: Counter::default(),
            read_only: Gauge::default(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("logyard_store");
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("appended_entries", "Entries acknowledged", &self.appended_entries);
        counter("appended_bytes", "Bytes of lines and metadata acknowledged", &self.appended_bytes);
        counter("duplicate_batches", "Batches acknowledged as already stored", &self.duplicate_batches);
        counter("refused_batches", "Batches refused because the write queue was full", &self.refused_batches);
        counter("flushes", "Heads written as segments", &self.flushes);
        counter("flush_failures", "Attempts to write a head that failed", &self.flush_failures);
        counter("flushed_entries", "Entries written to segments", &self.flushed_entries);
        counter("duplicate_entries", "Entries dropped as equal to another", &self.duplicate_entries);
        counter("segments_lost", "Segments found missing or damaged", &self.segments_lost);
        counter(
            "unreadable_indexes",
            "Stream indexes of segments found unreadable and done without",
            &self.unreadable_indexes,
        );
        counter("replayed_records", "WAL records replayed at start", &self.replayed_records);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("queue_bytes", "Bytes of batches that wait to be written", &self.queue_bytes);
        gauge("wal_bytes", "Bytes of the write-ahead log on disk", &self.wal_bytes);
        gauge("head_bytes", "Bytes of lines and metadata in the active head", &self.head_bytes);
        gauge("head_entries", "Entries in the active head", &self.head_entries);
        gauge("segments", "Live segments", &self.segments);
        gauge("segment_bytes", "Bytes of live segments on disk", &self.segment_bytes);
        gauge("read_only", "1 after a failed sync, until restart", &self.read_only);
        registry.register("wal_sync_seconds", "Time of one group sync", self.wal_sync_seconds.clone());
    }
}
