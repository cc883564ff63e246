//! How long entries are kept: nothing older than the retention is answered, and nothing younger goes.
//!
//! Answers mind the instant, for each stream its own: what lies before it is left out of every view at once. Files
//! go by whole days, once the last entry that a day can hold is too old for all of its streams. Beyond
//! `retention.bytes_max` days go early, the oldest first.
//!
//! A clock that jumps must not cost a month of logs: files go only after the clock has run evenly for an hour.

use crate::catalog_record::LostRecord;
use crate::compaction_plan::Job;
use crate::epochs::{self, Past, floor_max_ns, floor_ns};
use crate::error::{Error, Result};
use crate::folder::{day_last_ns, day_name};
use crate::head::order_of;
use crate::policy::{Period, Periods};
use crate::run_part::part;
use crate::segment::{Segment, SegmentReads};
use crate::segment_tables::RunRow;
use crate::shared::Shared;
use crate::snapshot;
use logyard_codec::{Block, BlockView, Kind, RunView};
use logyard_model::{Stream, StreamId, Tenant, TimeRange};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const DAY_NS: i64 = 86_400_000_000_000;

/// How long the clock has to run evenly, and by how much it may be put right meanwhile.
const EVEN_NS: u64 = 3_600_000_000_000;

/// The part of a query's range that is not too old, stream by stream.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    /// What the streams that are kept longest answer.
    pub(crate) range: TimeRange,
    periods: &'a Periods,
    past: Arc<Vec<Past>>,
    tenant: &'a str,
    now_ns: i64,
    /// Whether there may be entries in the range that are too old for their stream.
    has_border: bool,
    is_uniform: bool,
}

impl<'a> Window<'a> {
    /// Returns `None` if all of the range is too old.
    pub(crate) fn new(
        periods: &'a Periods,
        past: Arc<Vec<Past>>,
        tenant: &'a Tenant,
        range: TimeRange,
        now_ns: i64,
    ) -> Option<Self> {
        let tenant = tenant.as_str();
        let (shortest, longest) = periods.bounds(tenant);
        Some(Self {
            range: clamp(range, longest.cutoff_ns(now_ns))?,
            periods,
            tenant,
            now_ns,
            has_border: range.start_ns < shortest.cutoff_ns(now_ns).max(floor_max_ns(&past, tenant)),
            is_uniform: periods.is_uniform(tenant) && past.is_empty(),
            past,
        })
    }

    /// Returns what is left for one stream, of entries of a place in order of arrival.
    pub(crate) fn of(&self, order: u64, stream: &Stream) -> Option<TimeRange> {
        if self.is_uniform || !self.has_border {
            return Some(self.range);
        }
        clamp(self.range, self.cutoff_ns(order, stream))
    }

    /// Returns whether all entries between two times, both included, are in the range and none of them too old.
    pub(crate) fn holds(&self, min_ns: i64, max_ns: i64) -> bool {
        let is_same_for_all = self.is_uniform || !self.has_border;
        is_same_for_all && self.range.start_ns <= min_ns && max_ns < self.range.end_ns
    }

    /// Takes the rows that are too old out of views. Errors and cost: as [`trim`].
    pub(crate) fn trim(&self, views: &mut Vec<BlockView>) -> Result<()> {
        if !self.has_border {
            return Ok(());
        }
        let mut known: HashMap<(usize, StreamId), i64> = HashMap::new();
        trim(views, |order, stream| {
            let over = self.past.partition_point(|epoch| epoch.order_end < order);
            *known.entry((over, stream.id)).or_insert_with(|| self.cutoff_ns(order, stream))
        })
    }

    fn cutoff_ns(&self, order: u64, stream: &Stream) -> i64 {
        let present = self.periods.of(self.tenant, &stream.labels).cutoff_ns(self.now_ns);
        present.max(floor_ns(&self.past, order, self.tenant, &stream.labels))
    }
}

/// Returns the part of a range that is not too old; `None` if there is none.
fn clamp(range: TimeRange, cutoff_ns: i64) -> Option<TimeRange> {
    let start_ns = range.start_ns.max(cutoff_ns);
    (start_ns < range.end_ns).then_some(TimeRange { start_ns, end_ns: range.end_ns })
}

/// Takes the rows before an instant, that of their stream, out of views.
///
/// Errors: `Kind::Unavailable` if a block at the border cannot be read. Damaged ones are left out.
/// Cost: reads the timestamps and lengths of the blocks with entries on both sides of the border.
fn trim(views: &mut Vec<BlockView>, mut cutoff_of: impl FnMut(u64, &Stream) -> i64) -> Result<()> {
    for view in views.iter_mut() {
        let mut kept = Vec::with_capacity(view.runs.len());
        for run in view.runs.drain(..) {
            let cutoff_ns = cutoff_of(order_of(view.arrival), &run.stream);
            if run.min_ns >= cutoff_ns {
                kept.push(run);
                continue;
            }
            match trim_run(&view.block, &run, cutoff_ns) {
                Ok(run) => kept.extend(run),
                Err(error) if error.kind() == Kind::Corrupt => {}
                Err(error) => {
                    return Err(Error::unavailable("cannot read a block at the border of the retention")
                        .with_source(error));
                }
            }
        }
        view.runs = kept;
    }
    views.retain(|view| !view.runs.is_empty());
    Ok(())
}

fn trim_run(
    block: &Block,
    run: &RunView,
    cutoff_ns: i64,
) -> std::result::Result<Option<RunView>, logyard_codec::Error> {
    let rows = block.timestamps()?.get(run.rows.start as usize..run.rows.end as usize).unwrap_or_default();
    // Rows are counted in 32 bits.
    let gone = rows.partition_point(|ts_ns| *ts_ns < cutoff_ns) as u32;
    part(block, run, run.rows.start + gone..run.rows.end)
}

/// Watches the clock, and takes days that are too old out of the store.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// By how much the time of day is ahead of the monotonic time, and since when.
    even: Option<(i64, u64)>,
}

impl Expiry {
    /// Returns whether the clock has run evenly for long enough.
    fn is_even(&mut self, now_ns: i64, monotonic_ns: u64) -> bool {
        let ahead_ns = now_ns.saturating_sub(i64::try_from(monotonic_ns).unwrap_or(i64::MAX));
        match self.even {
            Some((known_ns, since_ns)) if known_ns.abs_diff(ahead_ns) < EVEN_NS => {
                monotonic_ns.saturating_sub(since_ns) >= EVEN_NS
            }
            _ => {
                self.even = Some((ahead_ns, monotonic_ns));
                false
            }
        }
    }

    /// Takes segments out whose whole day is too old, and then the oldest while there are too many bytes; their
    /// files go with their last reader.
    pub(crate) fn run(&mut self, shared: &Shared) {
        let now_ns = shared.clock.now_ns();
        let is_even = self.is_even(now_ns, shared.clock.monotonic_ns());
        if shared.refusal().is_some() {
            return;
        }
        if is_even {
            snapshot::expire(shared, now_ns);
        }
        epochs::see(shared, is_even.then_some(now_ns));
        if is_even && shared.periods.is_limited() {
            let segments = Arc::clone(&shared.view.read().segments);
            let is_expired = |segment: &&Arc<Segment>| {
                gone_ns(&shared.periods, &shared.reads, segment).is_some_and(|gone| gone < now_ns)
            };
            for segment in segments.iter().filter(is_expired) {
                if !drop_segment(shared, segment, "its day is older than store.retention keeps it") {
                    return;
                }
                shared.metrics.expired_segments.inc();
                shared.metrics.expired_entries.inc_by(segment.record.rows);
                shared.metrics.expired_bytes.inc_by(segment.record.bytes);
            }
        }
        if is_even {
            forget_lost(shared, now_ns);
        }
        cap(shared);
    }
}

/// Returns the jobs that write segments anew of which more than a quarter is too old, if they would stay for more than
/// a day: those of several periods, and those from before a period was made longer.
///
/// Each stays in its class: what counts for its streams is the period in force, wherever they lie.
/// Cost: reads the tables of segments that may hold something too old.
pub(crate) fn to_reclaim(shared: &Shared) -> Vec<Job> {
    let (periods, epochs) = (&shared.periods, &shared.epochs);
    let Some(seen_ns) = epochs.seen_ns() else { return Vec::new() };
    let segments = Arc::clone(&shared.view.read().segments);
    let is_worth_it = |segment: &&Arc<Segment>| {
        let record = &segment.record;
        let stays = |gone: i64| gone > seen_ns.saturating_add(DAY_NS);
        if record.min_ns >= epochs.gone_before_max_ns(periods, &record.tenant)
            || !gone_ns(periods, &shared.reads, segment).is_none_or(stays)
        {
            return false;
        }
        let Ok(index) = shared.reads.index(segment) else { return false };
        let gone_before = |stream: &Arc<Stream>| {
            epochs.gone_before_ns(periods, record.order, &record.tenant, &stream.labels)
        };
        let gone_before: Vec<i64> = index.streams.iter().map(gone_before).collect();
        let is_gone = |row: &&RunRow| {
            gone_before.get(row.run.stream_ref as usize).is_some_and(|gone_ns| row.run.max_ns < *gone_ns)
        };
        let gone: u64 = index.runs.iter().filter(is_gone).map(|row| row.run.raw_bytes).sum();
        // A line may be empty.
        gone * 4 > record.raw_bytes || record.max_ns < gone_before.iter().copied().min().unwrap_or(i64::MIN)
    };
    segments.iter().filter(is_worth_it).map(|segment| Job::rewrite(&segment.record)).collect()
}

/// Takes lost segments off the list whose day would be gone by now. How long their streams are kept cannot be read from
/// them any more, so the longest period of the tenant counts.
fn forget_lost(shared: &Shared, now_ns: i64) {
    let is_gone = |lost: &LostRecord| {
        let (_, longest) = shared.periods.bounds(&lost.segment.tenant);
        longest.gone_ns(day_last_ns(lost.segment.day)).is_some_and(|gone| gone < now_ns)
    };
    if !shared.lost.read().iter().any(is_gone) {
        return;
    }
    match shared.forget_lost(is_gone) {
        Ok(segments) => {
            tracing::info!(
                segments,
                "lost segments forgotten: store.retention would have removed them by now"
            );
        }
        Err(error) => {
            tracing::warn!(?error, "cannot forget lost segments yet");
            if shared.catalog.lock().is_poisoned() {
                shared.turn_read_only(&error);
            }
        }
    }
}

/// Returns the instant from which on no stream of a segment answers anything; `None` if that never comes.
///
/// Cost: as [`period_bytes`].
pub(crate) fn gone_ns(periods: &Periods, reads: &SegmentReads, segment: &Segment) -> Option<i64> {
    let last_ns = day_last_ns(segment.record.day);
    let (_, longest) = periods.bounds(&segment.record.tenant);
    let of_streams = period_bytes(periods, reads, segment).and_then(|bytes| bytes.keys().max().copied());
    of_streams.unwrap_or(longest).gone_ns(last_ns)
}

/// Returns the raw bytes of a segment by the period of their streams now; `None` if its tables cannot be read.
///
/// Cost: reads the tables once for each segment, since periods change at a start only; nothing if all streams
/// of the tenant have one period.
pub(crate) fn period_bytes<'a>(
    periods: &Periods,
    reads: &SegmentReads,
    segment: &'a Segment,
) -> Option<&'a BTreeMap<Period, u64>> {
    if let Some(known) = segment.period_bytes.get() {
        return Some(known);
    }
    let record = &segment.record;
    let mut bytes: BTreeMap<Period, u64> = BTreeMap::new();
    if periods.is_uniform(&record.tenant) {
        bytes.insert(periods.bounds(&record.tenant).1, record.raw_bytes);
    } else {
        let index = reads.index(segment).ok()?;
        let of = |stream: &Arc<Stream>| periods.of(&record.tenant, &stream.labels);
        let of_streams: Vec<Period> = index.streams.iter().map(of).collect();
        for row in &index.runs {
            if let Some(period) = of_streams.get(row.run.stream_ref as usize) {
                *bytes.entry(*period).or_default() += row.run.raw_bytes;
            }
        }
    }
    Some(segment.period_bytes.get_or_init(|| bytes))
}

/// Drops the oldest days, of a day the class of the lowest priority first, while there are more bytes than
/// `retention.bytes_max`. The newest day of all stays, or a bound that is too low would leave nothing.
fn cap(shared: &Shared) {
    let bytes_max = shared.settings.retention.bytes_max;
    let segments = Arc::clone(&shared.view.read().segments);
    let mut bytes: u64 = segments.iter().map(|segment| segment.record.bytes).sum();
    if bytes_max == 0 || bytes <= bytes_max {
        return;
    }
    for segment in cap_order(&segments, &shared.periods) {
        if bytes <= bytes_max {
            return;
        }
        if !drop_segment(shared, segment, "there are more bytes than store.retention.bytes_max") {
            return;
        }
        bytes -= segment.record.bytes;
        shared.metrics.capped_segments.inc();
        shared.metrics.capped_entries.inc_by(segment.record.rows);
        shared.metrics.capped_bytes.inc_by(segment.record.bytes);
    }
}

/// Returns the segments in the order in which too many bytes cost them, without those of the newest day.
pub(crate) fn cap_order<'a>(segments: &'a [Arc<Segment>], periods: &Periods) -> Vec<&'a Arc<Segment>> {
    let newest = segments.iter().map(|segment| segment.record.day).max();
    let mut order: Vec<&Arc<Segment>> =
        segments.iter().filter(|segment| Some(segment.record.day) != newest).collect();
    order.sort_by_cached_key(|segment| {
        let record = &segment.record;
        let priority = periods.priority(&record.tenant, &record.class);
        // Of equals the larger file, since fewer go then.
        (record.day, priority, Reverse(record.bytes))
    });
    order
}

/// Takes a segment out and says so. Returns whether that worked.
fn drop_segment(shared: &Shared, segment: &Arc<Segment>, reason: &str) -> bool {
    let record = &segment.record;
    if let Err(error) = shared.replace_segments(&[Arc::clone(segment)], Vec::new(), Vec::new()) {
        tracing::warn!(?error, segment = %record.ulid, "cannot drop a segment yet");
        if shared.catalog.lock().is_poisoned() {
            shared.turn_read_only(&error);
        }
        return false;
    }
    tracing::info!(
        tenant = %record.tenant,
        day = %day_name(record.day),
        class = %record.class,
        segment = %record.ulid,
        entries = record.rows,
        bytes = record.bytes,
        reason,
        "segment dropped"
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_believed_for_an_hour() {
        let mut expiry = Expiry::default();
        let hour = EVEN_NS as i64;
        assert!(!expiry.is_even(1000 * hour, 0));
        assert!(!expiry.is_even(1000 * hour + hour / 2, EVEN_NS / 2));
        assert!(expiry.is_even(1001 * hour, EVEN_NS));
        assert!(!expiry.is_even(9001 * hour, EVEN_NS), "ahead by months");
        assert!(!expiry.is_even(1002 * hour, EVEN_NS * 2), "and back");
        assert!(expiry.is_even(1003 * hour + 5, EVEN_NS * 3));
    }

    #[test]
    fn ranges_begin_at_the_cutoff() {
        let range = |start_ns, end_ns| TimeRange { start_ns, end_ns };
        assert_eq!(clamp(range(0, 10), 5), Some(range(5, 10)));
        assert_eq!(clamp(range(7, 10), 5), Some(range(7, 10)));
        assert_eq!(clamp(range(0, 5), 5), None);
    }
}
