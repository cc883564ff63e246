//! How long entries are kept: nothing older than the retention is answered, and nothing younger goes.
//!
//! Answers mind the instant: what lies before it is left out of every view at once. Files go by whole days, once
//! the last entry that a day can hold is too old, so nothing is written anew to make room.
//!
//! A clock that jumps must not cost a month of logs: files go only after the clock has run evenly for an hour.

use crate::error::{Error, Result};
use crate::folder::{day_last_ns, day_name};
use crate::segment::Segment;
use crate::settings::RetentionSettings;
use crate::shared::Shared;
use crate::snapshot;
use logyard_codec::{Block, BlockView, Kind, RunView};
use logyard_model::TimeRange;
use std::sync::Arc;

/// How long the clock has to run evenly, and by how much it may be put right meanwhile.
const EVEN_NS: u64 = 3_600_000_000_000;

/// Returns the instant before which nothing is answered; `i64::MIN` if everything is kept.
pub(crate) fn cutoff_ns(settings: &RetentionSettings, now_ns: i64) -> i64 {
    let Some(period) = settings.period() else { return i64::MIN };
    now_ns.saturating_sub(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX))
}

/// Returns the part of a range that is not too old; `None` if there is none.
pub(crate) fn clamp(range: TimeRange, cutoff_ns: i64) -> Option<TimeRange> {
    let start_ns = range.start_ns.max(cutoff_ns);
    (start_ns < range.end_ns).then_some(TimeRange { start_ns, end_ns: range.end_ns })
}

/// Takes the rows before an instant out of views.
///
/// Errors: `Kind::Unavailable` if a block at the border cannot be read. Damaged ones are left out.
/// Cost: reads the timestamps and lengths of the blocks with entries on both sides of the border.
pub(crate) fn trim(views: &mut Vec<BlockView>, cutoff_ns: i64) -> Result<()> {
    for view in views.iter_mut() {
        let mut kept = Vec::with_capacity(view.runs.len());
        for run in view.runs.drain(..) {
            if run.min_ns >= cutoff_ns {
                kept.push(run);
                continue;
            }
            match trim_run(&view.block, run, cutoff_ns) {
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
    mut run: RunView,
    cutoff_ns: i64,
) -> std::result::Result<Option<RunView>, logyard_codec::Error> {
    let (ts_ns, ends) = (block.timestamps()?, block.line_ends()?);
    let rows = ts_ns.get(run.rows.start as usize..run.rows.end as usize).unwrap_or_default();
    let gone = rows.partition_point(|ts_ns| *ts_ns < cutoff_ns);
    let Some(first_ns) = rows.get(gone) else { return Ok(None) };
    // Rows are counted in 32 bits.
    run.rows.start += gone as u32;
    run.min_ns = *first_ns;
    // Each line has one byte behind it that is not its own.
    let end_of =
        |row: u32| row.checked_sub(1).and_then(|row| ends.get(row as usize)).map_or(0, |end| end + 1);
    let text_bytes = end_of(run.rows.end).saturating_sub(end_of(run.rows.start));
    run.raw_bytes = u64::from(text_bytes).saturating_sub(run.rows.len() as u64);
    Ok(Some(run))
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

    /// Takes segments out whose whole day is too old; their files go with their last reader.
    pub(crate) fn run(&mut self, shared: &Shared) {
        let now_ns = shared.clock.now_ns();
        if !self.is_even(now_ns, shared.clock.monotonic_ns()) || shared.refusal().is_some() {
            return;
        }
        snapshot::expire(shared, now_ns);
        let cutoff_ns = cutoff_ns(&shared.settings.retention, now_ns);
        let segments = Arc::clone(&shared.view.read().segments);
        let is_expired = |segment: &&Arc<Segment>| day_last_ns(segment.record.day) < cutoff_ns;
        for segment in segments.iter().filter(is_expired) {
            let record = &segment.record;
            if let Err(error) = shared.replace_segments(&[Arc::clone(segment)], None) {
                tracing::warn!(?error, segment = %record.ulid, "cannot drop a segment that is too old yet");
                if shared.catalog.lock().is_poisoned() {
                    shared.turn_read_only(&error);
                }
                return;
            }
            shared.metrics.expired_segments.inc();
            shared.metrics.expired_entries.inc_by(record.rows);
            shared.metrics.expired_bytes.inc_by(record.bytes);
            tracing::info!(
                tenant = %record.tenant,
                day = %day_name(record.day),
                class = %record.class,
                segment = %record.ulid,
                entries = record.rows,
                bytes = record.bytes,
                "segment dropped: its day is older than store.retention.period_secs"
            );
        }
    }
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
        assert_eq!(cutoff_ns(&RetentionSettings { period_secs: Some(0) }, 77), i64::MIN);
        assert_eq!(cutoff_ns(&RetentionSettings { period_secs: Some(2) }, 3_000_000_000), 1_000_000_000);
    }
}
