//! Flush: a sealed head becomes segments, one per tenant, day and retention class, and one catalog edit.
//! Blocks that were compressed in the head are written as they are, unless their times overlap. What lines hold is
//! indexed unless a compaction is about to do that: on a day that goes on, a segment may wait for hours until others
//! are there to be merged with, and every search for something rare would read all of it.
//!
//! Order: segment files durable under their names → catalog edit durable → readers switch in one step → the
//! WAL is trimmed. A crash in between leaves segments that the catalog does not list, and the
//! WAL, from which the same entries come back: the next start removes such segments once it has seen that WAL. A failed attempt keeps the files it finished for
//! the next, so that a full disk is not filled further by trying.

use crate::batch_window::WindowRecord;
use crate::catalog_record::{Edit, SegmentRecord};
use crate::compaction_plan::is_over;
use crate::error::Result;
use crate::freezer;
use crate::head::{Head, HeadStream};
use crate::lineage::Lineage;
use crate::locality;
use crate::merge::{Piece, merge};
use crate::queue::FlushNews;
use crate::segment_content::WORDS_RAW_BYTES_MIN;
use crate::segment_write::{SegmentPlace, SegmentWriter};
use crate::shared::Shared;
use logyard_codec::{LineCodec, RunMeta};
use logyard_model::{Stream, Tenant};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Time between attempts: a full disk is looked at often enough to be forgotten soon after it has room.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// One sealed head on its way into segments.
#[derive(Debug)]
pub(crate) struct Flush {
    head: Arc<Head>,
    /// Last WAL record whose entries are in the head or before it.
    wal_done: u64,
    /// Known batches as of that record.
    windows: Vec<WindowRecord>,
    written: HashMap<(Tenant, i32, String), SegmentRecord>,
}

impl Flush {
    pub(crate) fn new(head: Arc<Head>, wal_done: u64, windows: Vec<WindowRecord>) -> Self {
        Self { head, wal_done, windows, written: HashMap::new() }
    }

    /// Flushes until it succeeds, or the store stops or turns read-only. Reports every outcome.
    pub(crate) fn run(mut self, shared: &Shared) -> FlushNews {
        loop {
            let error = match self.attempt(shared) {
                Ok(()) => return FlushNews::Done(self.wal_done),
                Err(error) => error,
            };
            shared.metrics.flush_failures.inc();
            shared.space.look();
            if shared.catalog.lock().is_poisoned() {
                shared.turn_read_only(&error);
                return FlushNews::GaveUp(error);
            }
            tracing::warn!(?error, "cannot flush, try again in {} s", RETRY_WAIT.as_secs());
            shared.queue.report(FlushNews::Failed(error.clone()));
            if shared.queue.wait_for_stop(RETRY_WAIT) {
                return FlushNews::GaveUp(error);
            }
        }
    }

    /// Tries once. Errors: the head stays sealed, and what is written is kept for the next attempt.
    pub(crate) fn attempt(&mut self, shared: &Shared) -> Result<()> {
        let start_ns = shared.clock.monotonic_ns();
        for (tenant, day, head_day) in self.head.days() {
            let mut classes: BTreeMap<String, Vec<Arc<HeadStream>>> = BTreeMap::new();
            for head_stream in head_day.matching(&[]) {
                let period = shared.periods.of(tenant.as_str(), &head_stream.stream.labels);
                classes.entry(period.class()).or_default().push(head_stream);
            }
            for (class, head_streams) in classes {
                let key = (tenant.clone(), day, class);
                if !self.written.contains_key(&key) {
                    let record = self.write_segment(shared, &key, head_streams)?;
                    self.written.insert(key, record);
                }
            }
        }
        let mut add: Vec<SegmentRecord> = self.written.values().cloned().collect();
        add.sort_by(|left, right| {
            (&left.tenant, left.day, &left.class).cmp(&(&right.tenant, right.day, &right.class))
        });
        let edit = Edit::Flush { add: add.clone(), wal_done: self.wal_done, windows: self.windows.clone() };
        // The catalog stays locked until readers have switched: no edit about the new segments comes between.
        let mut catalog = shared.catalog.lock();
        let segments =
            add.into_iter().map(|record| shared.open_segment(record)).collect::<Result<Vec<_>>>()?;
        let entries: u64 = segments.iter().map(|segment| segment.record.rows).sum();
        let bytes: u64 = segments.iter().map(|segment| segment.record.bytes).sum();
        let count = segments.len();
        catalog.edit(edit)?;
        shared.replace_sealed(segments);
        drop(catalog);
        shared.metrics.flushes.inc();
        shared.metrics.flushed_bytes.inc_by(bytes);
        shared.metrics.amplify();
        shared.maintenance.wake();
        shared.metrics.flushed_entries.inc_by(entries);
        let millis = shared.clock.monotonic_ns().saturating_sub(start_ns) / 1_000_000;
        tracing::info!(segments = count, entries, bytes, wal_done = self.wal_done, millis, "head flushed");
        Ok(())
    }

    fn write_segment(
        &self,
        shared: &Shared,
        (tenant, day, class): &(Tenant, i32, String),
        head_streams: Vec<Arc<HeadStream>>,
    ) -> Result<SegmentRecord> {
        let place = SegmentPlace {
            tenant: tenant.clone(),
            day: *day,
            class: class.clone(),
            level: 0,
            ulid: shared.new_ulid(),
            order: self.head.order(),
            wal_done: self.wal_done,
            line_codec: LineCodec::Plain,
        };
        let mut writer = SegmentWriter::create(&*shared.disk, &shared.folder, place)?;
        if !is_soon_compacted(shared, *day) {
            let raw_bytes: u64 = head_streams.iter().map(|head_stream| head_stream.line_bytes()).sum();
            writer.index_lines(raw_bytes >= WORDS_RAW_BYTES_MIN);
        }
        let streams = self.write_streams(shared, head_streams, &mut writer);
        let record = streams.and_then(|streams| writer.finish(&streams, &Lineage::default()));
        if record.is_err() {
            writer.abandon();
        }
        record
    }

    fn write_streams(
        &self,
        shared: &Shared,
        mut head_streams: Vec<Arc<HeadStream>>,
        writer: &mut SegmentWriter<'_>,
    ) -> Result<Vec<Arc<Stream>>> {
        head_streams.sort_by(|left, right| locality::compare(&left.stream.labels, &right.stream.labels));
        for (stream_ref, head_stream) in (0_u32..).zip(&head_streams) {
            // The freezer may not have come to it yet.
            freezer::freeze(shared, head_stream);
            let (frozen, open) = head_stream.pieces();
            let removed = merge(&frozen, open, |piece| match piece {
                Piece::Whole(frozen) => {
                    let (bytes, meta, run) = frozen.parts();
                    writer.push_block(bytes, meta, RunMeta { stream_ref, ..run })
                }
                Piece::Rows(entries, rows) => writer.push(stream_ref, entries, rows),
            })?;
            shared.metrics.duplicate_entries.inc_by(removed);
        }
        Ok(head_streams.iter().map(|head_stream| Arc::clone(&head_stream.stream)).collect())
    }
}

/// Returns whether what is flushed of a day is written anew at once.
fn is_soon_compacted(shared: &Shared, day: i32) -> bool {
    shared.settings.compaction.enabled && is_over(day, shared.clock.now_ns())
}
