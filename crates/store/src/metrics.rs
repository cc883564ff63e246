//! What the store tells about itself. Updated per batch, group or flush, never per entry.

use crate::catalog_record::SegmentRecord;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// Highest level of a segment.
const LEVEL_MAX: u32 = 2;

/// The level of a segment: 0 after a flush, up to 2 by compaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LevelLabel {
    level: u32,
}

/// The state of a delete request, as its list says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeleteLabel {
    state: &'static str,
}

pub(crate) fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

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
    pub(crate) level_segments: Family<LevelLabel, Gauge>,
    pub(crate) level_bytes: Family<LevelLabel, Gauge>,
    pub(crate) flushed_bytes: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compaction_failures: Counter,
    pub(crate) compacted_entries: Counter,
    pub(crate) compaction_read_bytes: Counter,
    pub(crate) compaction_written_bytes: Counter,
    pub(crate) compaction_seconds: Histogram,
    pub(crate) copied_blocks: Counter,
    pub(crate) line_mismatches: Counter,
    pub(crate) write_amplification: Gauge<f64, AtomicU64>,
    pub(crate) expired_segments: Counter,
    pub(crate) expired_entries: Counter,
    pub(crate) expired_bytes: Counter,
    pub(crate) capped_segments: Counter,
    pub(crate) capped_entries: Counter,
    pub(crate) capped_bytes: Counter,
    pub(crate) delete_requests: Family<DeleteLabel, Gauge>,
    pub(crate) deleted_entries: Counter,
    pub(crate) damaged_blocks: Counter,
    pub(crate) damaged_entries: Counter,
    pub(crate) segments_lost: Counter,
    pub(crate) unreadable_indexes: Counter,
    pub(crate) kept_block_bytes: Gauge,
    pub(crate) kept_block_hits: Counter,
    pub(crate) kept_block_misses: Counter,
    pub(crate) replayed_records: Counter,
    pub(crate) damaged_records: Counter,
    pub(crate) read_only: Gauge,
    pub(crate) disk_free_bytes: Gauge,
    pub(crate) disk_full: Gauge,
    pub(crate) refused_disk_full: Counter,
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
            level_segments: Family::default(),
            level_bytes: Family::default(),
            flushed_bytes: Counter::default(),
            compactions: Counter::default(),
            compaction_failures: Counter::default(),
            compacted_entries: Counter::default(),
            compaction_read_bytes: Counter::default(),
            compaction_written_bytes: Counter::default(),
            compaction_seconds: Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0]),
            copied_blocks: Counter::default(),
            line_mismatches: Counter::default(),
            write_amplification: Gauge::default(),
            expired_segments: Counter::default(),
            expired_entries: Counter::default(),
            expired_bytes: Counter::default(),
            capped_segments: Counter::default(),
            capped_entries: Counter::default(),
            capped_bytes: Counter::default(),
            delete_requests: Family::default(),
            deleted_entries: Counter::default(),
            damaged_blocks: Counter::default(),
            damaged_entries: Counter::default(),
            segments_lost: Counter::default(),
            unreadable_indexes: Counter::default(),
            kept_block_bytes: Gauge::default(),
            kept_block_hits: Counter::default(),
            kept_block_misses: Counter::default(),
            replayed_records: Counter::default(),
            damaged_records: Counter::default(),
            read_only: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_full: Gauge::default(),
            refused_disk_full: Counter::default(),
        };
        metrics.register(registry);
        metrics
    }

    /// Sets what is told about the live segments.
    pub(crate) fn count_segments<'a>(&self, records: impl Iterator<Item = &'a SegmentRecord>) {
        let (mut segments, mut bytes) = (0, 0);
        // Levels that have emptied are told as such.
        let mut levels: BTreeMap<u32, (i64, u64)> = (0..=LEVEL_MAX).map(|level| (level, (0, 0))).collect();
        for record in records {
            segments += 1;
            bytes += record.bytes;
            let level = levels.entry(record.level.min(LEVEL_MAX)).or_default();
            *level = (level.0 + 1, level.1 + record.bytes);
        }
        self.segments.set(segments);
        self.segment_bytes.set(gauge(bytes));
        for (level, (segments, bytes)) in levels {
            let label = LevelLabel { level };
            self.level_segments.get_or_create(&label).set(segments);
            self.level_bytes.get_or_create(&label).set(gauge(bytes));
        }
    }

    /// Sets what is told about delete requests: how many are pending, and how many done.
    pub(crate) fn count_deletes(&self, pending: usize, done: usize) {
        for (state, count) in [("received", pending), ("processed", done)] {
            self.delete_requests.get_or_create(&DeleteLabel { state }).set(gauge(count as u64));
        }
    }

    /// Sets the write amplification from what was written so far.
    pub(crate) fn amplify(&self) {
        let flushed = self.flushed_bytes.get();
        if flushed > 0 {
            let written = flushed + self.compaction_written_bytes.get();
            self.write_amplification.set(written as f64 / flushed as f64);
        }
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("logyard_store");
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("appended_entries", "Entries acknowledged", &self.appended_entries);
        counter("appended_bytes", "Bytes of lines and metadata acknowledged", &self.appended_bytes);
        counter("duplicate_batches", "Batches acknowledged as already stored", &self.duplicate_batches);
        counter("refused_batches", "Batches refused because the write queue was full", &self.refused_batches);
        counter(
            "refused_disk_full_batches",
            "Batches refused because too little of the disk was free",
            &self.refused_disk_full,
        );
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
        counter("kept_block_hits", "Blocks that queries found decoded", &self.kept_block_hits);
        counter("kept_block_misses", "Blocks that queries had to decode anew", &self.kept_block_misses);
        counter("flushed_bytes", "Bytes of segments written by flushes", &self.flushed_bytes);
        counter("compactions", "Compactions done", &self.compactions);
        counter(
            "compaction_failures",
            "Compactions that failed and will be tried again",
            &self.compaction_failures,
        );
        counter("compacted_entries", "Entries read by compactions", &self.compacted_entries);
        counter(
            "compaction_read_bytes",
            "Bytes of segments read by compactions",
            &self.compaction_read_bytes,
        );
        counter(
            "compaction_written_bytes",
            "Bytes of segments written by compactions",
            &self.compaction_written_bytes,
        );
        counter("copied_blocks", "Blocks that compactions copied as they were", &self.copied_blocks);
        counter(
            "line_mismatches",
            "Blocks kept plain since their lines came back different from columns: a bug, to be reported",
            &self.line_mismatches,
        );
        counter("expired_segments", "Segments dropped as too old", &self.expired_segments);
        counter("expired_entries", "Entries of segments dropped as too old", &self.expired_entries);
        counter("expired_bytes", "Bytes of segments dropped as too old", &self.expired_bytes);
        counter("capped_segments", "Segments dropped as too many bytes", &self.capped_segments);
        counter("capped_entries", "Entries of segments dropped as too many bytes", &self.capped_entries);
        counter("capped_bytes", "Bytes of segments dropped as too many bytes", &self.capped_bytes);
        counter(
            "deleted_entries",
            "Entries removed because a delete request means them",
            &self.deleted_entries,
        );
        counter("damaged_blocks", "Blocks found damaged, by queries and compactions", &self.damaged_blocks);
        counter(
            "damaged_entries",
            "Entries that compactions left out since their block is damaged",
            &self.damaged_entries,
        );
        counter("replayed_records", "WAL records replayed at start", &self.replayed_records);
        counter(
            "damaged_records",
            "WAL records found damaged or missing at start: acknowledged entries may be lost",
            &self.damaged_records,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("queue_bytes", "Bytes of batches that wait to be written", &self.queue_bytes);
        gauge("wal_bytes", "Bytes of the write-ahead log on disk", &self.wal_bytes);
        gauge("head_bytes", "Bytes of lines and metadata in the active head", &self.head_bytes);
        gauge("head_entries", "Entries in the active head", &self.head_entries);
        gauge("kept_block_bytes", "Bytes of decoded blocks kept between queries", &self.kept_block_bytes);
        gauge("segments", "Live segments", &self.segments);
        gauge("segment_bytes", "Bytes of live segments on disk", &self.segment_bytes);
        gauge("read_only", "1 after a failed sync, until restart", &self.read_only);
        gauge("disk_free_bytes", "Bytes free on the disk of the data folder", &self.disk_free_bytes);
        gauge("disk_full", "1 while pushes are refused because the disk is full", &self.disk_full);
        registry.register(
            "delete_requests",
            "Delete requests by state, of those that are remembered",
            self.delete_requests.clone(),
        );
        registry.register("level_segments", "Live segments by level", self.level_segments.clone());
        registry.register("level_segment_bytes", "Bytes of live segments by level", self.level_bytes.clone());
        registry.register(
            "write_amplification",
            "Bytes written by flushes and compactions, by bytes flushed, since the start",
            self.write_amplification.clone(),
        );
        registry.register(
            "compaction_seconds",
            "Time of one compaction, pauses included",
            self.compaction_seconds.clone(),
        );
        registry.register("wal_sync_seconds", "Time of one group sync", self.wal_sync_seconds.clone());
    }
}
