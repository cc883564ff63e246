//! Compaction keeps to what it may take: of the processor, of memory, and behind queries. Of the disk: `compaction.rs`.

use super::*;
use crate::maintenance::{FLOOD_WAIT, Pace, QUERY_WAIT, Worker};
use logyard_sys::RealClock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Returns how long a call took.
fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let clock = RealClock::new();
    let answer = call();
    (Duration::from_nanos(clock.monotonic_ns()), answer)
}

#[test]
fn a_block_is_paid_for_with_rest_and_waits_for_queries() {
    let clock = Arc::new(SimClock::new(NOON_NS));
    let store = open_sharing(0.25, &clock);
    let shared = &store.inner.shared;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // News of work come all the time.
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                shared.maintenance.wake();
                std::thread::yield_now();
            }
        });
        let _end = SetOnDrop(&is_done);
        check_pace(&store, &clock);
    });
    // Nothing is left of the queries.
    assert_eq!(shared.maintenance.queries(), 0);
}

/// Opens a store whose compaction may take so much of a core.
fn open_sharing(share: f64, clock: &Arc<SimClock>) -> Store {
    let mut settings = StoreSettings::default();
    settings.compaction.cpu_share_max = share;
    let store = open_at(&SimDisk::new(), settings, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

#[test]
fn a_small_share_is_kept_to_as_well() {
    let clock = Arc::new(SimClock::new(NOON_NS));
    let store = open_sharing(0.02, &clock);
    let mut pace = Pace::new(&store.inner.shared);
    let worked = Duration::from_millis(30);
    clock.advance(worked);
    let (rested, goes_on) = timed(|| pace.step());
    assert!(goes_on.is_ok() && rested >= worked * 49, "{rested:?}");
    // However long it is: the end of the store ends it.
    clock.advance(Duration::from_secs(86_400));
    std::thread::scope(|scope| {
        let resting = scope.spawn(|| pace.step());
        store.inner.shared.maintenance.stop();
        assert!(resting.join().unwrap().is_err());
    });
}

/// Sets a flag, also when a test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check_pace(store: &Store, clock: &SimClock) {
    let mut pace = Pace::new(&store.inner.shared);
    // The clock of the store stands still while it rests, so that only what a test lets pass counts as work.
    let worked = Duration::from_millis(50);
    clock.advance(worked);
    let (rested, goes_on) = timed(|| pace.step());
    assert!(goes_on.is_ok() && rested < worked * 3, "a short rest is put off: {rested:?}");
    // Also to the next job.
    let mut pace = Pace::new(&store.inner.shared);
    clock.advance(worked);
    let (rested, goes_on) = timed(|| pace.step());
    assert!(goes_on.is_ok() && rested >= worked * 2 * 3, "a quarter of a core: {rested:?}");
    let query = store.begin_query();
    let (waited, goes_on) = timed(|| pace.step());
    assert!(goes_on.is_ok() && waited >= QUERY_WAIT, "{waited:?}");
    // One that begins while another runs is as good as that.
    let other = store.begin_query();
    drop(query);
    let (waited, _) = timed(|| pace.step());
    assert!(waited >= QUERY_WAIT, "{waited:?}");
    drop(other);
}

#[test]
fn compaction_waits_for_a_flood_of_pushes() {
    let clock = Arc::new(SimClock::new(NOON_NS));
    let store = open_sharing(1.0, &clock);
    let shared = &store.inner.shared;
    let step = || timed(|| Pace::new(shared).step().unwrap()).0;
    let millis = Duration::from_millis;
    let (fill_ns, now_ns) = (50_000_000, shared.clock.monotonic_ns());
    shared.maintenance.note_full_head(fill_ns * 1000, now_ns);
    assert!(step() < FLOOD_WAIT / 2, "heads that fill slowly are no flood");
    // The clock of the store stands still: for compaction, the flood never ends.
    shared.maintenance.note_full_head(fill_ns, now_ns);
    assert!(step() >= FLOOD_WAIT, "a block at a time it goes on");
    clock.advance(millis(70));
    let waited = step();
    assert!(waited >= millis(30), "what is left of it: {waited:?}");
    clock.advance(millis(31));
    assert!(step() < FLOOD_WAIT / 2, "no other head has filled meanwhile");
}

#[test]
fn a_job_that_needs_more_memory_than_it_may_have_is_refused_and_its_files_stay() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_at(&disk, StoreSettings::default(), &clock).unwrap();
    // Each a block of its own, which has to be decoded as a whole.
    let line = "x".repeat(40 << 20);
    for number in 0..2 {
        append(&store, batch("a", None, &[(NOON_NS + number, &line)])).unwrap();
        run(store.flush()).unwrap();
    }
    clock.advance(Duration::from_secs(2 * 86_400));
    let files = || store.inner.shared.view().segments.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
    let before = files();
    let mut worker = Worker::default();
    assert!(!worker.run_once(&store.inner.shared));
    assert_eq!(store.inner.shared.metrics.compaction_failures.get(), 1);
    // Not tried again at once.
    assert!(!worker.run_once(&store.inner.shared));
    assert_eq!(store.inner.shared.metrics.compaction_failures.get(), 1);
    assert_eq!((files(), before.len()), (before, 2));
    assert_eq!(store.stats(&Tenant::single(), &[], TimeRange::ALL).unwrap().entries, 2);
}
