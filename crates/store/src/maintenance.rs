//! The maintenance thread: drops what is too old, carries out delete requests, compacts while nobody waits for
//! anything, and removes files that nobody reads.
//!
//! One thread, one job at a time. Between blocks it looks up: it stops when the store closes, waits while
//! queries run (for a while: under queries without end it goes on, a block at a time) and while pushes fill a head
//! within a second (likewise, and only until many flushed segments wait), and rests after some blocks so that it takes no
//! more than its share of one core. A job starts only if the disk has room for its output and for
//! `compaction.free_bytes_min` and `disk.free_bytes_min`. A job that fails is tried again later, after a pause that doubles.
//!
//! The thread stands behind the others also for the processor, where the system knows such a thing of threads: a block
//! that is being compacted when a query begins takes about a tenth of a core that both want.
//!
//! Measured: merging 8 flushed segments of 24 streams (125 MiB of lines, 26 MiB stored) adds 34 MiB of memory.

use crate::compaction::{self, Form};
use crate::compaction_plan::{Job, Partition, plan};
use crate::delete_work::{self, Step};
use crate::error::{Error, Kind, Result};
use crate::retention::{self, Expiry};
use crate::shared::{Phase, Shared, View};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Time between looks at what is due, without news.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// The same while replaced files wait for their last reader.
const SWEEP_WAIT: Duration = Duration::from_secs(1);

/// Longest wait for queries before a block.
pub(crate) const QUERY_WAIT: Duration = Duration::from_millis(250);

/// Longest wait for a flood of pushes before a block: what they need of the processor they get first.
pub(crate) const FLOOD_WAIT: Duration = Duration::from_secs(1);

/// Time in which a head fills during a flood. Compaction keeps up with heads that fill more slowly.
const FLOOD_FILL_NS: u64 = 1_000_000_000;

/// Flushed segments from which on a flood is not waited for: they cost queries, and a flood may last.
const FLOOD_SEGMENTS_MAX: usize = 64;

/// Shortest rest. The allocator gives back what lies unused meanwhile, some megabytes for each block, and asking the system
/// for them again after every block cost a tenth of all work.
const REST_MIN: Duration = Duration::from_millis(250);

/// Longest time that counts as work on one block: a machine that slept meanwhile did not work.
const WORK_MAX: Duration = Duration::from_secs(10);

/// First pause after a failure, and the longest.
const RETRY_FIRST_NS: u64 = 60_000_000_000;
const RETRY_LAST_NS: u64 = 3_600_000_000_000;

/// What others tell the maintenance thread.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    state: Mutex<State>,
    wake: Condvar,
    /// Told when no query runs any more.
    calm: Condvar,
    queries: AtomicUsize,
    /// Work that no rest was taken for yet, of this job and those before.
    unrested_ns: AtomicU64,
    /// In monotonic time: when the flood of pushes is over, unless another full head is heard of.
    flood_until_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    is_woken: bool,
}

/// While it lives, maintenance gives way.
#[derive(Debug)]
pub struct QueryGuard {
    shared: Arc<Shared>,
}

impl QueryGuard {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.maintenance.queries.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }
}

impl Drop for QueryGuard {
    fn drop(&mut self) {
        self.shared.maintenance.end_query();
    }
}

impl Maintenance {
    /// Tells that a query has ended: who gives way to queries goes on, who waits for news does not hear of it.
    fn end_query(&self) {
        if self.queries.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.calm.notify_all();
        }
    }

    /// Tells that there may be something to do.
    pub(crate) fn wake(&self) {
        self.state.lock().is_woken = true;
        self.wake.notify_all();
    }

    /// Ends the thread, and a job under way between two blocks.
    pub(crate) fn stop(&self) {
        self.state.lock().is_stopping = true;
        self.wake.notify_all();
        self.calm.notify_all();
    }

    /// Tells that a head is full, `age_ns` after its first entry.
    pub(crate) fn note_full_head(&self, age_ns: u64, now_ns: u64) {
        if age_ns <= FLOOD_FILL_NS {
            // The next one is late by as much again: then the flood is over.
            self.flood_until_ns.store(now_ns.saturating_add(age_ns.saturating_mul(2)), Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().is_stopping
    }

    /// Waits for news, at most for `wait`. Returns whether to go on.
    fn wait(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.is_woken && !state.is_stopping {
            self.wake.wait_for(&mut state, wait);
        }
        state.is_woken = false;
        !state.is_stopping
    }

    /// Rests, and lets queries go first. Returns whether to go on.
    fn give_way(&self, rest: Duration) -> bool {
        let mut state = self.state.lock();
        // News of work to do end neither.
        self.wake.wait_while_for(&mut state, |state| !state.is_stopping, rest);
        let is_queried = |state: &mut State| !state.is_stopping && self.queries.load(Ordering::Relaxed) > 0;
        self.calm.wait_while_for(&mut state, is_queried, QUERY_WAIT);
        !state.is_stopping
    }
}

/// Keeps a job within its share of a core and behind queries.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    shared: &'a Shared,
    since_ns: u64,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, since_ns: shared.clock.monotonic_ns() }
    }

    /// To be called before each block. Errors: `Kind::Unavailable` when the store closes.
    pub(crate) fn step(&mut self) -> Result<()> {
        let worked_ns = self.shared.clock.monotonic_ns().saturating_sub(self.since_ns);
        let rest = self.rest_after(Duration::from_nanos(worked_ns).min(WORK_MAX));
        let goes_on = self.shared.maintenance.give_way(rest) && wait_for_flood(self.shared);
        self.since_ns = self.shared.clock.monotonic_ns();
        if goes_on { Ok(()) } else { Err(Error::unavailable("cannot compact: the store is closing")) }
    }

    /// Returns how long to rest now, with work that was not rested for yet; a rest that would be short is put off.
    fn rest_after(&self, worked: Duration) -> Duration {
        let share = self.shared.settings.compaction.cpu_share_max.clamp(0.01, 1.0);
        let unrested = &self.shared.maintenance.unrested_ns;
        let all = worked + Duration::from_nanos(unrested.load(Ordering::Relaxed));
        let rest = all.mul_f64(1.0 / share - 1.0);
        let is_put_off = rest < REST_MIN;
        let left_ns = if is_put_off { u64::try_from(all.as_nanos()).unwrap_or(u64::MAX) } else { 0 };
        unrested.store(left_ns, Ordering::Relaxed);
        if is_put_off { Duration::ZERO } else { rest }
    }
}

/// Waits for the end of a flood of pushes. Returns whether to go on.
fn wait_for_flood(shared: &Shared) -> bool {
    let mut wait_max = FLOOD_WAIT;
    loop {
        let until_ns = shared.maintenance.flood_until_ns.load(Ordering::Relaxed);
        let left = Duration::from_nanos(until_ns.saturating_sub(shared.clock.monotonic_ns())).min(wait_max);
        let segments = shared.view().segments;
        let flushed = segments.iter().filter(|segment| segment.record.level == 0).count();
        drop(segments);
        if left.is_zero() || flushed >= FLOOD_SEGMENTS_MAX {
            return true;
        }
        if !shared.maintenance.give_way(left) {
            return false;
        }
        wait_max = wait_max.saturating_sub(left);
    }
}

/// Time between looks for segments of which much is too old.
const LOOK_EVERY_NS: u64 = 3_600_000_000_000;

/// The jobs that failed, and when to try again.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    failed: HashMap<Partition, Failure>,
    /// Segments of which much is too old.
    to_reclaim: Vec<Job>,
    /// When to look for more of them, in monotonic time.
    look_ns: u64,
    /// The lack of disk space has been said.
    has_warned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    retry_ns: u64,
    pause_ns: u64,
}

/// Works until the store closes.
pub(crate) fn run(shared: &Shared) {
    if let Err(error) = logyard_sys::step_back() {
        tracing::debug!(%error, "compaction runs at the priority of the other threads");
    }
    let (mut worker, mut expiry) = (Worker::default(), Expiry::default());
    shared.folder.remove_all_empty(&*shared.disk);
    loop {
        shared.space.look();
        expiry.run(shared);
        while worker.run_once(shared) {}
        let wait = if shared.sweep() > 0 { SWEEP_WAIT } else { IDLE_WAIT };
        if !shared.maintenance.wait(wait) {
            shared.sweep();
            return;
        }
    }
}

impl Worker {
    /// Returns a worker that has looked for segments to reclaim, and found these.
    #[cfg(test)]
    pub(crate) fn reclaiming(to_reclaim: Vec<Job>) -> Self {
        Self { to_reclaim, look_ns: u64::MAX, ..Self::default() }
    }

    /// Does the first job that is due and possible. Returns whether there was one that succeeded.
    pub(crate) fn run_once(&mut self, shared: &Shared) -> bool {
        if shared.maintenance.is_stopping() || !matches!(*shared.phase.read(), Phase::Ready) {
            return false;
        }
        if let Some(is_done) = self.delete(shared) {
            return is_done;
        }
        if !shared.settings.compaction.enabled {
            return false;
        }
        let View { segments, sealed, active } = shared.view();
        let mut growing = HashSet::new();
        for head in sealed.iter().chain([&active]) {
            head.add_days(&mut growing);
        }
        let damaged = segments.iter().filter(|segment| segment.damage.is_any());
        let damaged: HashSet<String> = damaged.map(|segment| segment.record.ulid.clone()).collect();
        drop(segments);
        let jobs = {
            let catalog = shared.catalog.lock();
            let state = catalog.state();
            let walls = shared.epochs.walls(state, &shared.periods);
            plan(&state.segments, &state.lost, &damaged, &growing, &walls, shared.clock.now_ns())
        };
        let now_ns = shared.clock.monotonic_ns();
        let is_free =
            |job: &Job| self.failed.get(&job.partition).is_none_or(|failure| failure.retry_ns <= now_ns);
        let possible: Vec<Job> = jobs.into_iter().filter(is_free).collect();
        let Some(job) = possible.iter().find(|job| has_room(shared, job)) else {
            if !possible.is_empty() && !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(
                    jobs = possible.len(),
                    "compaction waits: less free disk than its output and store.compaction.free_bytes_min or \
                     store.disk.free_bytes_min; free space"
                );
            }
            return self.reclaim(shared);
        };
        self.has_warned = false;
        self.run(shared, job)
    }

    /// Writes the next segment anew of which much is too old. Returns whether there was one, and it succeeded.
    fn reclaim(&mut self, shared: &Shared) -> bool {
        let now_ns = shared.clock.monotonic_ns();
        if now_ns >= self.look_ns {
            self.look_ns = now_ns.saturating_add(LOOK_EVERY_NS);
            self.to_reclaim = retention::to_reclaim(shared);
        }
        // Meanwhile compaction or retention may have taken some of them.
        let segments = Arc::clone(&shared.view.read().segments);
        let is_live = |ulid: &String| segments.iter().any(|segment| segment.record.ulid == *ulid);
        self.to_reclaim.retain(|job| job.inputs.iter().all(is_live));
        drop(segments);
        let is_free =
            |job: &Job| self.failed.get(&job.partition).is_none_or(|failure| failure.retry_ns <= now_ns);
        let next = self.to_reclaim.iter().position(|job| is_free(job) && has_room(shared, job));
        let Some(job) = next.map(|index| self.to_reclaim.remove(index)) else { return false };
        self.run(shared, &job)
    }

    /// Does the next thing that delete requests ask for. Returns whether it succeeded; `None` if there is nothing to
    /// do, or nothing now.
    fn delete(&mut self, shared: &Shared) -> Option<bool> {
        let now_ns = shared.clock.monotonic_ns();
        let is_waiting = |job: &Job| {
            self.failed.get(&job.partition).is_some_and(|failure| failure.retry_ns > now_ns)
                || !has_room(shared, job)
        };
        match delete_work::step(shared, |job| !is_waiting(job)) {
            Step::None => None,
            Step::Done => Some(true),
            Step::Rewrite(job) => Some(self.run(shared, &job)),
            Step::Failed(partition, error) => {
                if !shared.maintenance.is_stopping() {
                    tracing::warn!(
                        ?error,
                        ?partition,
                        "cannot look a segment through for a delete request, try again later"
                    );
                    self.note_failure(partition, now_ns);
                }
                Some(false)
            }
        }
    }

    fn run(&mut self, shared: &Shared, job: &Job) -> bool {
        let now_ns = shared.clock.monotonic_ns();
        let is_done = compact(shared, job);
        if is_done {
            self.failed.remove(&job.partition);
        } else {
            self.note_failure(job.partition.clone(), now_ns);
        }
        is_done
    }

    fn note_failure(&mut self, partition: Partition, now_ns: u64) {
        let before = self.failed.get(&partition).map_or(RETRY_FIRST_NS / 2, |failure| failure.pause_ns);
        let pause_ns = (before * 2).min(RETRY_LAST_NS);
        self.failed.insert(partition, Failure { retry_ns: now_ns + pause_ns, pause_ns });
    }
}

fn has_room(shared: &Shared, job: &Job) -> bool {
    let dir = shared.folder.tenants();
    let reserve = shared.settings.compaction.free_bytes_min.max(shared.space.free_bytes_min());
    let need = job.bytes.saturating_add(reserve);
    shared.disk.free_bytes(&dir).is_ok_and(|free| free >= need)
}

/// Runs one job, counts and tells what it did. Returns whether it succeeded.
fn compact(shared: &Shared, job: &Job) -> bool {
    let start_ns = shared.clock.monotonic_ns();
    let result = compaction::run(shared, job, Form::BEST, &mut Pace::new(shared));
    let nanos = shared.clock.monotonic_ns().saturating_sub(start_ns);
    let (tenant, day, class) = &job.partition;
    let day = crate::folder::day_name(*day);
    let metrics = &shared.metrics;
    match result {
        Ok(done) => {
            metrics.compactions.inc();
            metrics.compaction_seconds.observe(nanos as f64 / 1e9);
            metrics.compacted_entries.inc_by(done.merged.rows);
            metrics.compaction_read_bytes.inc_by(done.read_bytes);
            metrics.compaction_written_bytes.inc_by(done.written_bytes);
            metrics.copied_blocks.inc_by(done.merged.copied_blocks);
            metrics.line_mismatches.inc_by(done.line_mismatches);
            metrics.duplicate_entries.inc_by(done.merged.duplicates);
            metrics.damaged_entries.inc_by(done.merged.damaged_rows);
            metrics.deleted_entries.inc_by(done.deleted);
            metrics.expired_entries.inc_by(done.merged.left_out - done.deleted);
            metrics.amplify();
            tracing::info!(
                %tenant, %day, %class,
                level = job.level,
                segments = done.inputs,
                entries = done.merged.rows,
                duplicates = done.merged.duplicates,
                deleted = done.deleted,
                expired = done.merged.left_out - done.deleted,
                read_bytes = done.read_bytes,
                bytes = done.written_bytes,
                millis = nanos / 1_000_000,
                "segments compacted"
            );
            shared.sweep();
            true
        }
        Err(_) if shared.maintenance.is_stopping() => false,
        Err(error) => {
            metrics.compaction_failures.inc();
            if error.kind() == Kind::Internal {
                tracing::error!(%tenant, %day, %class, ?error, "compaction failed, try again later");
            } else {
                tracing::warn!(%tenant, %day, %class, ?error, "compaction failed, try again later");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_query_is_no_news() {
        let maintenance = Arc::new(Maintenance::default());
        let waits = Arc::clone(&maintenance);
        let waiter = std::thread::spawn(move || waits.wait(Duration::from_secs(600)));
        for _ in 0..10_000 {
            maintenance.queries.fetch_add(1, Ordering::Relaxed);
            maintenance.end_query();
            std::thread::yield_now();
        }
        assert!(!waiter.is_finished());
        maintenance.wake();
        assert!(waiter.join().unwrap());
    }
}
