//! Clocks that jump, at a start and while running: nothing goes for that, and what stands in memory is sealed by
//! monotonic time.

use super::*;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use std::time::Duration;

const DAY_NS: i64 = 24 * HOUR_NS;

/// Where a clock that shows noon may stand next: an hour or a month off, or as a machine without a battery.
const JUMPS: [i64; 5] =
    [NOON_NS + HOUR_NS, NOON_NS + 31 * DAY_NS, NOON_NS - HOUR_NS, NOON_NS - 31 * DAY_NS, 0];

/// Opens a store that keeps thirty days, and one app for two.
fn open_keeping(disk: &SimDisk, clock: &Arc<SimClock>) -> Store {
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(30 * 86_400);
    settings.retention.policies = vec![crate::RetentionPolicySettings::default()];
    let short = crate::RetentionPolicy {
        tenant: None,
        matchers: vec![matcher("app", MatchOp::Equal, "short")],
        period_secs: 2 * 86_400,
        priority: 0,
    };
    settings.snapshots.keep_secs = 7 * 86_400;
    let rules = StoreRules { policies: vec![short], ..deletes::rules() };
    let store = open_with_rules(disk, settings, rules, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

/// What the maintenance thread does within most of an hour.
fn maintain(store: &Store, clock: &SimClock) {
    let (mut expiry, mut worker, shared) = (Expiry::default(), Worker::default(), &store.inner.shared);
    for _ in 0..5 {
        shared.space.look();
        expiry.run(shared);
        while worker.run_once(shared) {}
        shared.sweep();
        clock.advance(Duration::from_secs(600));
    }
}

/// Files of several days, compacted ones among them, and entries in memory.
fn filled(disk: &SimDisk, clock: &Arc<SimClock>) -> Store {
    let store = open_keeping(disk, clock);
    for day in (0..28).rev().step_by(3) {
        let at = NOON_NS - day * DAY_NS;
        for number in 0..2 {
            append(&store, batch("long", None, &[(at + number, &format!("day {day:02} {number}"))])).unwrap();
            run(store.flush()).unwrap();
        }
    }
    for hours in [1, 20, 40] {
        append(&store, batch("short", None, &[(NOON_NS - hours * HOUR_NS, &format!("short {hours}"))]))
            .unwrap();
    }
    run(store.flush()).unwrap();
    maintain(&store, clock);
    append(&store, batch("long", None, &[(NOON_NS - 1, "in memory")])).unwrap();
    run(store.create_snapshot(Some("kept"))).unwrap();
    clock.set(NOON_NS);
    store
}

fn snapshots(disk: &SimDisk) -> usize {
    crate::snapshot::list_snapshots(disk, &root()).unwrap().len()
}

/// Everything is as it was once the clock is right again.
fn check_back(store: &Store, disk: &SimDisk, clock: &SimClock, all: &[String], what: &str) {
    maintain(store, clock);
    clock.set(NOON_NS);
    assert_eq!(lines(store), all, "{what}");
    let counted = store.stats(&Tenant::single(), &[], TimeRange::ALL).unwrap().entries;
    assert_eq!(counted, all.len() as u64, "{what}");
    assert_eq!(snapshots(disk), 1, "{what}: a snapshot went");
    let metrics = &store.inner.shared.metrics;
    assert_eq!((metrics.expired_segments.get(), metrics.expired_entries.get()), (0, 0), "{what}");
}

#[test]
fn a_jump_while_running_costs_nothing_and_answers_go_by_the_clock_meanwhile() {
    for jump_ns in JUMPS {
        let what = format!("to {}", jump_ns - NOON_NS);
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
        let store = filled(&disk, &clock);
        let mut all = lines(&store);
        assert_eq!(all.len(), 10 * 2 + 3 + 1);
        clock.set(jump_ns);
        maintain(&store, &clock);
        clock.set(jump_ns);
        let old = |ts_ns: i64| ts_ns < jump_ns - 30 * DAY_NS;
        let views = find(&store, &Tenant::single(), &[], TimeRange::ALL);
        assert!(views.iter().all(|entry| !old(entry.1)), "{what}");
        if jump_ns <= NOON_NS {
            assert_eq!(lines(&store), all, "{what}");
        }
        // An entry is judged by its own time, and stored whatever the clock says.
        append(&store, batch("long", None, &[(NOON_NS + 5, "pushed meanwhile")])).unwrap();
        run(store.flush()).unwrap();
        all.push("pushed meanwhile".to_owned());
        check_back(&store, &disk, &clock, &all, &what);
        run(store.close()).unwrap();
        drop(store);
        check_back(&open_keeping(&disk, &clock), &disk, &clock, &all, &format!("{what}, and a restart"));
    }
}

#[test]
fn a_clock_that_is_wrong_at_a_start_costs_nothing() {
    for jump_ns in JUMPS {
        for is_clean in [true, false] {
            let what = format!("to {}, clean {is_clean}", jump_ns - NOON_NS);
            let (mut disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
            let store = filled(&disk, &clock);
            let all = lines(&store);
            if is_clean {
                run(store.close()).unwrap();
            }
            drop(store);
            disk = disk.crash();
            clock.set(jump_ns);
            let store = open_keeping(&disk, &clock);
            maintain(&store, &clock);
            run(store.flush()).unwrap();
            run(store.close()).unwrap();
            drop(store);
            clock.set(NOON_NS);
            let store = open_keeping(&disk.crash(), &clock);
            check_back(&store, &disk, &clock, &all, &what);
        }
    }
}

#[test]
fn a_clock_that_stays_ahead_is_believed_and_then_policies_say_what_goes() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = filled(&disk, &clock);
    clock.set(NOON_NS + 5 * DAY_NS);
    maintain(&store, &clock);
    assert_eq!(store.inner.shared.metrics.expired_segments.get(), 0);
    let mut expiry = Expiry::default();
    expiry.run(&store.inner.shared);
    clock.advance(Duration::from_secs(3600));
    expiry.run(&store.inner.shared);
    // The days of 27 and 24 days ago would be kept for 30; those of the app that is kept for two go.
    assert!(store.inner.shared.metrics.expired_segments.get() >= 2);
    clock.set(NOON_NS);
    let left = lines(&store);
    assert!(!left.iter().any(|line| line.starts_with("short")), "{left:?}");
    assert!(left.contains(&"day 24 1".to_owned()) && left.contains(&"in memory".to_owned()), "{left:?}");
}

#[test]
fn what_is_in_memory_is_sealed_by_monotonic_time() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_keeping(&disk, &clock);
    append(&store, batch("long", None, &[(NOON_NS, "first")])).unwrap();
    let flushes = || store.inner.shared.metrics.flushes.get();
    for (number, jump_ns) in (1..).zip(JUMPS) {
        clock.set(jump_ns);
        // Each push makes the writer look.
        append(&store, batch("long", None, &[(NOON_NS + number, "next")])).unwrap();
        assert_eq!(flushes(), 0);
    }
    clock.set(NOON_NS);
    clock.advance(Duration::from_secs(StoreSettings::default().flush.age_secs_max));
    clock.set(0);
    append(&store, batch("long", None, &[(NOON_NS + 9, "last")])).unwrap();
    until("the head is sealed", || flushes() > 0);
}
