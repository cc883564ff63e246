//! The writer thread: the only one that touches the WAL and appends to the head.
//!
//! Group commit: take everything queued, append it to the WAL, sync once, then append to the head, then
//! acknowledge. While a sync runs the next group gathers, so nothing waits on purpose: a lone batch is
//! acknowledged after one sync, a crowd shares one. Full buffers of the head are compressed by the freezer meanwhile.
//!
//! The head is sealed between two groups, hence at a record boundary: `wal_done` and the batch windows in the
//! catalog describe exactly the sealed entries.

use crate::Appended;
use crate::batch_window::BatchWindows;
use crate::error::{Error, Result};
use crate::flush::Flush;
use crate::freezer::Freezer;
use crate::queue::{FlushNews, PendingBatch, Reply, Stop};
use crate::settings::SyncMode;
use crate::shared::{FlushGuard, Phase, Shared};
use logyard_codec::BatchId;
use logyard_wal::Log;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
const MILLI_NS: u64 = 1_000_000;

/// The state of the writer thread.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    windows: BatchWindows,
    freezer: Freezer,
    /// Last record that is in the head. May be ahead of the log: see [`Writer::done`].
    applied: u64,
    /// A stop came while the flush kept failing: the sealed head stays as it is, in memory and in the WAL.
    has_given_up: bool,
    flushing: Option<JoinHandle<()>>,
    /// Why the last attempt of the flush under way failed.
    flush_error: Option<Error>,
    /// Answered when the head being flushed is in segments.
    flush_waiters: Vec<Reply<()>>,
    /// Answered when the head that is active now is; not empty = seal it as soon as possible.
    next_flush_waiters: Vec<Reply<()>>,
    /// With `sync: interval`: when the oldest unsynced record was written.
    unsynced_since_ns: Option<u64>,
}

/// What became of a batch in its group.
#[derive(Debug)]
enum Fate {
    /// Stored by an earlier group.
    Known,
    /// The same batch stands earlier in this group.
    Repeated,
    /// In the WAL under this sequence, not yet synced.
    Written(u64),
    Refused(Error),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, log: Log, windows: BatchWindows, applied: u64) -> Self {
        Self {
            freezer: Freezer::start(&shared),
            shared,
            log,
            windows,
            applied,
            has_given_up: false,
            flushing: None,
            flush_error: None,
            flush_waiters: Vec::new(),
            next_flush_waiters: Vec::new(),
            unsynced_since_ns: None,
        }
    }

    /// Works until asked to stop, first on a flush that the replay has left.
    pub(crate) fn run(mut self, waiting: Option<Flush>) {
        if let Some(flush) = waiting {
            self.start_flush(flush);
        }
        let shared = Arc::clone(&self.shared);
        let mut is_flushed_for_stop = !shared.settings.flush.on_close;
        let mut stop = None;
        loop {
            // With the head at its bound, batches wait for the flush under way; if that fails, they are refused.
            let is_open = !self.is_head_full() || self.flushing.is_none() || self.flush_error.is_some();
            let work = shared.queue.take(is_open, self.wait(), &shared.metrics);
            // Before the news: a failure answers whoever asked before it was heard of.
            self.next_flush_waiters.extend(work.flushes);
            self.hear(work.news);
            if !work.batches.is_empty() {
                self.commit(work.batches);
            }
            self.sync_interval();
            self.flush_if_due();
            stop = work.stop.or(stop);
            match stop {
                Some(Stop::Now) => break,
                Some(Stop::Clean) if self.flushing.is_none() => {
                    let is_done = is_flushed_for_stop || shared.view().active.is_empty();
                    if is_done || !self.can_seal() {
                        break;
                    }
                    is_flushed_for_stop = true;
                    self.seal();
                    if self.flushing.is_none() {
                        break;
                    }
                }
                _ => {}
            }
        }
        self.finish();
    }

    fn is_head_full(&self) -> bool {
        self.shared.view.read().active.bytes() >= self.shared.settings.flush.head_bytes_max
    }

    fn is_refusing(&self) -> bool {
        matches!(*self.shared.phase.read(), Phase::ReadOnly(_) | Phase::Failed(_))
    }

    /// Returns whether the active head may be sealed: nothing stands between it and segments.
    fn can_seal(&self) -> bool {
        self.flushing.is_none() && !self.has_given_up && !self.is_refusing()
    }

    /// Returns the last record that is in the head and in the log.
    ///
    /// With `sync: interval`, a full disk voids records that are in the head already, and the log gives their
    /// sequences again: a `wal_done` that named those would make the next replay skip the later records.
    fn done(&self) -> u64 {
        self.applied.min(self.log.next_sequence().saturating_sub(1))
    }

    /// Returns how long there is nothing to do of the writer's own accord; `None` without end.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let now_ns = self.shared.clock.monotonic_ns();
        let settings = &self.shared.settings;
        let sync = self.unsynced_since_ns.map(|since| since + settings.wal.sync_interval_ms * MILLI_NS);
        let first = self.shared.view.read().active.first_ns().filter(|_| self.can_seal());
        let age =
            first.map(|first| first.saturating_add(settings.flush.age_secs_max.saturating_mul(SECOND_NS)));
        let due_ns = sync.into_iter().chain(age).min()?;
        // At least a millisecond: whatever keeps a due task from running must not spin.
        Some(Duration::from_nanos(due_ns.saturating_sub(now_ns)).max(Duration::from_millis(1)))
    }

    /// Writes, syncs, applies and answers one group.
    fn commit(&mut self, batches: Vec<PendingBatch>) {
        let mut in_group = HashSet::new();
        let mut group = Vec::with_capacity(batches.len());
        let mut failure: Option<Error> = self.flush_error.clone().filter(|_| self.is_head_full());
        for batch in batches {
            let fate = match (&failure, &batch.id) {
                (Some(error), _) => Fate::Refused(error.clone()),
                (None, Some(id)) if self.windows.is_known(id) => Fate::Known,
                (None, Some(id)) if in_group.contains(id) => Fate::Repeated,
                (None, id) => match self.log.append_parts(&batch.record.each_ref().map(|part| &**part)) {
                    Ok(sequence) => {
                        in_group.extend(*id);
                        Fate::Written(sequence)
                    }
                    Err(error) => {
                        let is_of_disk = error.kind() == logyard_wal::Kind::Unavailable;
                        let error = store_error(error);
                        if is_of_disk {
                            self.note_failure(&error);
                            failure = Some(error.clone());
                        }
                        Fate::Refused(error)
                    }
                },
            };
            group.push((batch, fate));
        }
        let has_written = group.iter().any(|(_, fate)| matches!(fate, Fate::Written(_)));
        if failure.is_none()
            && has_written
            && let Err(error) = self.sync_or_note()
        {
            self.note_failure(&error);
            failure = Some(error);
        }
        self.apply(group, failure);
        self.shared.metrics.wal_bytes.set(i64::try_from(self.log.bytes()).unwrap_or(i64::MAX));
    }

    /// Syncs the group, or with `sync: interval` writes it and notes that it has to be synced: a killed process
    /// loses nothing then, a power cut what was not synced.
    fn sync_or_note(&mut self) -> Result<()> {
        if self.shared.settings.wal.sync == SyncMode::Interval {
            let now_ns = self.shared.clock.monotonic_ns();
            self.unsynced_since_ns.get_or_insert(now_ns);
            return self.log.write().map_err(store_error);
        }
        self.sync()
    }

    fn sync(&mut self) -> Result<()> {
        let start_ns = self.shared.clock.monotonic_ns();
        self.unsynced_since_ns = None;
        self.log.sync().map_err(store_error)?;
        let nanos = self.shared.clock.monotonic_ns().saturating_sub(start_ns);
        self.shared.metrics.wal_sync_seconds.observe(nanos as f64 / SECOND_NS as f64);
        Ok(())
    }

    fn sync_interval(&mut self) {
        let Some(since_ns) = self.unsynced_since_ns else { return };
        let now_ns = self.shared.clock.monotonic_ns();
        if now_ns.saturating_sub(since_ns) < self.shared.settings.wal.sync_interval_ms * MILLI_NS {
            return;
        }
        if let Err(error) = self.sync() {
            self.note_failure(&error);
        }
    }

    fn note_failure(&self, error: &Error) {
        if self.log.is_poisoned() {
            self.shared.turn_read_only(error);
        } else {
            tracing::warn!(?error, "cannot write to the WAL, refusing batches meanwhile");
            self.shared.space.look();
        }
    }

    /// Makes what is durable visible, remembers its ids, and answers everybody.
    fn apply(&mut self, group: Vec<(PendingBatch, Fate)>, failure: Option<Error>) {
        // After a failed write the log has gone back to its last sync, which a full file may have brought
        // forward into this group: records below its next sequence are durable.
        let durable_below = if self.log.is_poisoned() { 0 } else { self.log.next_sequence() };
        let failed = failure.unwrap_or_else(|| Error::internal("a record vanished from the WAL"));
        let mut full = Vec::new();
        let active = Arc::clone(&self.shared.view.read().active);
        let now_ns = self.shared.clock.monotonic_ns();
        for (batch, fate) in group {
            let answer = match fate {
                Fate::Written(sequence) if sequence < durable_below => {
                    self.applied = sequence;
                    let (mut entries, mut bytes) = (0, 0);
                    for (stream, chunk) in batch.chunks {
                        entries += chunk.len() as u64;
                        bytes += chunk.raw_bytes();
                        let following = self.shared.followers.hold();
                        following.hand_over(&batch.tenant, &stream, &chunk);
                        active.append(&batch.tenant, &stream, chunk, now_ns, &mut full);
                    }
                    if let Some(id) = &batch.id {
                        self.windows.mark(id);
                    }
                    self.shared.metrics.appended_entries.inc_by(entries);
                    self.shared.metrics.appended_bytes.inc_by(bytes);
                    Ok(Appended { duplicate: false })
                }
                Fate::Written(_) => Err(failed.clone()),
                Fate::Known | Fate::Repeated => self.answer_known(batch.id, &failed),
                Fate::Refused(error) => Err(error),
            };
            // The asker may have gone away; the batch is stored all the same.
            drop(batch.reply.send(answer));
        }
        self.freezer.freeze(full);
        self.shared.metrics.head_bytes.set(i64::try_from(active.bytes()).unwrap_or(i64::MAX));
        self.shared.metrics.head_entries.set(i64::try_from(active.entries()).unwrap_or(i64::MAX));
    }

    /// Answers a repeat: stored by now, or failed with the first of its group.
    fn answer_known(&self, id: Option<BatchId>, failed: &Error) -> Result<Appended> {
        if id.is_some_and(|id| self.windows.is_known(&id)) && !self.log.is_poisoned() {
            self.shared.metrics.duplicate_batches.inc();
            return Ok(Appended { duplicate: true });
        }
        Err(failed.clone())
    }

    fn flush_if_due(&mut self) {
        if self.flushing.is_some() {
            return;
        }
        let active = Arc::clone(&self.shared.view.read().active);
        if !self.can_seal() {
            let error = self.shared.refusal();
            let error = error.or_else(|| self.flush_error.clone());
            answer_all(&mut self.next_flush_waiters, &Err(error.unwrap_or_else(stopping)));
            return;
        }
        if active.is_empty() {
            answer_all(&mut self.next_flush_waiters, &Ok(()));
            return;
        }
        let settings = &self.shared.settings.flush;
        let now_ns = self.shared.clock.monotonic_ns();
        let age_ns = active.first_ns().map_or(0, |first| now_ns.saturating_sub(first));
        // Entries that only memory holds, because the disk was full, do not wait.
        let is_voided = self.done() < self.applied;
        let is_due = !self.next_flush_waiters.is_empty()
            || is_voided
            || active.bytes() >= settings.head_bytes_max
            || self.log.bytes() >= settings.wal_bytes_max
            || age_ns >= settings.age_secs_max.saturating_mul(SECOND_NS);
        if active.bytes() >= settings.head_bytes_max {
            self.shared.maintenance.note_full_head(age_ns, now_ns);
        }
        if is_due {
            self.seal();
        }
    }

    /// Seals the active head and starts the flush thread, which lives for this flush only.
    fn seal(&mut self) {
        // A new file, so that the old ones can go once the flush is done. Syncs, with `sync: interval` too.
        if let Err(error) = self.log.rotate().map_err(store_error) {
            self.note_failure(&error);
            if self.log.is_poisoned() {
                answer_all(&mut self.next_flush_waiters, &Err(error));
                return;
            }
        }
        self.unsynced_since_ns = None;
        self.applied = self.done();
        let head = self.shared.seal();
        self.start_flush(Flush::new(head, self.applied, self.windows.records()));
    }

    fn start_flush(&mut self, flush: Flush) {
        self.flush_waiters.append(&mut self.next_flush_waiters);
        let shared = Arc::clone(&self.shared);
        shared.queue.begin_flush();
        let thread = std::thread::Builder::new().name("store-flush".to_owned());
        let spawned = thread.spawn(move || {
            let _guard = FlushGuard::new(Arc::clone(&shared));
            let news = flush.run(&shared);
            shared.queue.report(news);
        });
        match spawned {
            Ok(handle) => self.flushing = Some(handle),
            Err(error) => {
                let error = Error::unavailable("cannot start the flush thread").with_source(error);
                self.shared.turn_read_only(&error);
                answer_all(&mut self.flush_waiters, &Err(error));
            }
        }
    }

    fn hear(&mut self, news: Vec<FlushNews>) {
        for one in news {
            match one {
                // Nothing more can be flushed before this head is: whoever waits for the next waits in vain.
                FlushNews::Failed(error) => {
                    answer_all(&mut self.flush_waiters, &Err(error.clone()));
                    answer_all(&mut self.next_flush_waiters, &Err(error.clone()));
                    self.flush_error = Some(error);
                }
                FlushNews::GaveUp(error) => {
                    self.join_flush();
                    self.has_given_up = true;
                    answer_all(&mut self.flush_waiters, &Err(error.clone()));
                    answer_all(&mut self.next_flush_waiters, &Err(error.clone()));
                    self.flush_error = Some(error);
                }
                FlushNews::Done(wal_done) => {
                    self.join_flush();
                    self.flush_error = None;
                    // Files that stay cost space and are tried again after the next flush.
                    trim(&self.shared, &mut self.log, wal_done + 1);
                    self.shared.metrics.wal_bytes.set(i64::try_from(self.log.bytes()).unwrap_or(i64::MAX));
                    answer_all(&mut self.flush_waiters, &Ok(()));
                }
            }
        }
    }

    fn join_flush(&mut self) {
        if let Some(handle) = self.flushing.take()
            && handle.join().is_err()
        {
            tracing::error!("the flush thread panicked");
        }
    }

    fn finish(mut self) {
        self.join_flush();
        self.freezer.stop();
        if !self.log.is_poisoned()
            && let Err(error) = self.log.sync()
        {
            tracing::warn!(%error, "cannot sync the WAL while stopping");
        }
    }
}

/// Removes what is flushed from the log. It syncs first: if that fails, nothing may be accepted any more.
pub(crate) fn trim(shared: &Shared, log: &mut Log, below: u64) {
    let Err(error) = log.trim(below) else { return };
    if log.is_poisoned() {
        shared.turn_read_only(&store_error(error));
    } else {
        tracing::warn!(%error, "cannot trim the WAL yet");
    }
}

fn stopping() -> Error {
    Error::unavailable("cannot flush: the store is stopping; its entries are in the WAL for the next start")
}

fn answer_all(waiters: &mut Vec<Reply<()>>, answer: &Result<()>) {
    for waiter in waiters.drain(..) {
        // The asker may have gone away.
        drop(waiter.send(answer.clone()));
    }
}

/// Words an error of the WAL for whoever pushed.
fn store_error(error: logyard_wal::Error) -> Error {
    if error.kind() == logyard_wal::Kind::Limited {
        return Error::invalid("cannot store batch: it is too large; send smaller batches")
            .with_source(error);
    }
    let why = if error.is_disk_full() {
        "disk full; free space"
    } else {
        "the write-ahead log failed; check the disk"
    };
    Error::unavailable(format!("cannot store batch: {why}")).with_source(error)
}
