//! What is too old is not answered, and goes.

use super::*;
use crate::compaction_plan::Job;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use std::time::Duration;

const DAYS: u64 = 10;

/// A store that keeps ten days, over a clock at noon of the first day.
fn world() -> (SimDisk, Arc<SimClock>, Store) {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_keeping(&disk, &clock);
    (disk, clock, store)
}

fn open_keeping(disk: &SimDisk, clock: &Arc<SimClock>) -> Store {
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(DAYS * 86_400);
    let store = open_at(disk, settings, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

#[test]
fn nothing_older_is_answered_and_nothing_younger_goes() {
    let (_, clock, store) = world();
    let rows: Vec<(i64, String)> =
        (0..48).map(|hour| (NOON_NS + hour * HOUR_NS, format!("hour {hour}"))).collect();
    let rows: Vec<(i64, &str)> = rows.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    append(&store, batch("a", None, &rows)).unwrap();
    for place in ["head", "segments"] {
        // `find` also checks that what a view says of its runs is so.
        assert_eq!(lines(&store).len(), 48, "{place}");
        clock.advance(hours(DAYS * 24));
        assert_eq!(lines(&store).len(), 48, "{place}");
        clock.advance(hours(7));
        assert_eq!(lines(&store)[0], "hour 7", "{place}");
        assert_eq!(lines(&store).len(), 41, "{place}");
        let old = TimeRange { start_ns: NOON_NS, end_ns: NOON_NS + 6 * HOUR_NS };
        assert!(find(&store, &Tenant::single(), &[], old).is_empty(), "{place}");
        assert!(store.streams(&Tenant::single(), &[], old).unwrap().is_empty(), "{place}");
        assert_eq!(store.stats(&Tenant::single(), &[], old).unwrap(), Stats::default(), "{place}");
        clock.set(NOON_NS);
        run(store.flush()).unwrap();
    }
}

#[test]
fn days_go_once_they_are_too_old_as_a_whole() {
    let (disk, clock, store) = world();
    let second_day = NOON_NS + 24 * HOUR_NS;
    append(&store, batch("a", None, &[(NOON_NS, "first day"), (second_day, "second day")])).unwrap();
    run(store.flush()).unwrap();
    run(store.close()).unwrap();
    let disk = disk.crash();
    let store = open_keeping(&disk, &clock);
    let shared = &store.inner.shared;
    let mut expiry = Expiry::default();
    let mut files_after = |span| {
        clock.advance(span);
        expiry.run(shared);
        clock.advance(hours(2));
        expiry.run(shared);
        until("the files are swept", || shared.sweep() == 0);
        segment_files(&disk.crash()).len()
    };
    // Noon of the tenth day after, two hours more at each look.
    assert_eq!(files_after(hours(DAYS * 24)), 2, "the first day has twelve hours more");
    assert_eq!(files_after(hours(6)), 2);
    assert_eq!(files_after(hours(2)), 1);
    let metrics = &shared.metrics;
    assert_eq!((metrics.expired_segments.get(), metrics.expired_entries.get()), (1, 1));
    assert_eq!(lines(&store), ["second day"]);
    drop(store);
    assert_eq!(lines(&open_keeping(&disk.crash(), &clock)), ["second day"]);
}

/// Opens a store that keeps ten days, apps by policies: name, days, priority.
fn open_classes(
    disk: &SimDisk,
    clock: &Arc<SimClock>,
    classes: &[(&str, u64, i32)],
    bytes_max: u64,
) -> Store {
    let policy = |(app, days, priority): &(&str, u64, i32)| crate::RetentionPolicy {
        tenant: None,
        matchers: vec![matcher("app", MatchOp::Equal, app)],
        period_secs: days * 86_400,
        priority: *priority,
    };
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(DAYS * 86_400);
    settings.retention.bytes_max = bytes_max;
    settings.retention.policies = vec![crate::RetentionPolicySettings::default(); classes.len()];
    let rules = StoreRules { policies: classes.iter().map(policy).collect(), ..StoreRules::default() };
    let store = open_with_rules(disk, settings, rules, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

/// Returns the classes of the segments, in order of their paths.
fn classes(store: &Store) -> Vec<String> {
    let view = store.inner.shared.view();
    let mut classes: Vec<String> = view.segments.iter().map(|segment| segment.record.class.clone()).collect();
    classes.sort();
    classes
}

fn expire(store: &Store, clock: &SimClock) {
    let mut expiry = Expiry::default();
    expiry.run(&store.inner.shared);
    clock.advance(hours(2));
    expiry.run(&store.inner.shared);
}

#[test]
fn each_stream_is_kept_as_long_as_its_policy_says() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_classes(&disk, &clock, &[("short", 2, 0), ("long", 0, 0)], 0);
    for app in ["short", "middle", "long"] {
        append(&store, batch(app, None, &[(NOON_NS, app)])).unwrap();
    }
    let tenant = Tenant::single();
    for place in ["head", "segments"] {
        for (days, expect) in [(1, 3), (3, 2), (11, 1), (10_000, 1)] {
            clock.set(NOON_NS + days * 24 * HOUR_NS);
            assert_eq!(lines(&store).len(), expect, "{place}, day {days}");
            assert_eq!(store.streams(&tenant, &[], TimeRange::ALL).unwrap().len(), expect);
            let stats = store.stats(&tenant, &[], TimeRange::ALL).unwrap();
            assert_eq!((stats.entries, stats.streams), (expect as u64, expect as u64));
        }
        clock.set(NOON_NS);
        run(store.flush()).unwrap();
    }
    assert_eq!(classes(&store), ["10d", "2d", "forever"]);
    clock.set(NOON_NS + 4 * 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(classes(&store), ["10d", "forever"]);
    clock.set(NOON_NS + 12 * 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(classes(&store), ["forever"]);
    drop(store);
    assert_eq!(lines(&open(&disk.crash())), ["long"]);
}

#[test]
fn a_changed_policy_counts_for_what_is_stored() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_classes(&disk, &clock, &[], 0);
    append(&store, batch("a", None, &[(NOON_NS, "a")])).unwrap();
    append(&store, batch("b", None, &[(NOON_NS, "b")])).unwrap();
    run(store.flush()).unwrap();
    run(store.close()).unwrap();
    drop(store);
    clock.set(NOON_NS + 5 * 24 * HOUR_NS);
    let store = open_classes(&disk, &clock, &[("a", 3, 0)], 0);
    assert_eq!(lines(&store), ["b"], "shorter: at once");
    expire(&store, &clock);
    assert_eq!(classes(&store), ["10d"], "the other stream still needs the file");
    drop(store);
    let store = open_classes(&disk.crash(), &clock, &[("b", 20, 0)], 0);
    clock.set(NOON_NS + 15 * 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(lines(&store), ["b"], "longer than its class says");
    clock.set(NOON_NS + 22 * 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(classes(&store), Vec::<String>::new());
}

#[test]
fn too_many_bytes_cost_the_oldest_day_and_of_a_day_the_lowest_priority() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let policies = [("low", 8, -1), ("high", 9, 1)];
    let store = open_classes(&disk, &clock, &policies, 0);
    for day in 0..3 {
        for app in ["low", "high"] {
            append(&store, batch(app, None, &[(NOON_NS + day * 24 * HOUR_NS, app)])).unwrap();
        }
    }
    run(store.flush()).unwrap();
    let bytes: Vec<u64> =
        store.inner.shared.view().segments.iter().map(|segment| segment.record.bytes).collect();
    let (total, one) = (bytes.iter().sum::<u64>(), bytes[0]);
    drop(store);
    for (bytes_max, left) in [
        (total, 6),
        (total - 1, 5),
        (total - one - 1, 4),
        // Both of the newest day stay, however many bytes that are.
        (1, 2),
    ] {
        let store = open_classes(&disk.crash(), &clock, &policies, bytes_max);
        Expiry::default().run(&store.inner.shared);
        let names = classes(&store);
        assert_eq!(names.len(), left, "at most {bytes_max} of {total}");
        if left == 5 {
            assert_eq!(names.iter().filter(|class| *class == "8d").count(), 2, "the lower priority first");
        }
        assert_eq!(store.inner.shared.metrics.capped_segments.get(), 6 - left as u64);
        assert_eq!(lines(&store).len(), left);
    }
}

#[test]
fn lost_segments_are_forgotten_when_they_would_be_gone() {
    let (disk, clock, store) = world();
    let day = 24 * HOUR_NS;
    append(&store, batch("a", None, &[(NOON_NS, "first"), (NOON_NS + 5 * day, "second")])).unwrap();
    run(store.flush()).unwrap();
    for segment in store.inner.shared.view().segments.iter() {
        store.inner.shared.lose(segment, &Error::corrupt("gone"));
    }
    let lost = |store: &Store| store.lost_segments(&Tenant::single(), TimeRange::ALL).len();
    expire(&store, &clock);
    assert_eq!(lost(&store), 2);
    clock.set(NOON_NS + i64::try_from(DAYS).unwrap() * day + day);
    // A clock that has just been set is not believed.
    Expiry::default().run(&store.inner.shared);
    assert_eq!(lost(&store), 2);
    expire(&store, &clock);
    assert_eq!(lost(&store), 1, "the first day has gone, the second not");
    drop(store);
    let store = open_keeping(&disk.crash(), &clock);
    assert_eq!(lost(&store), 1, "durably");
}

#[test]
fn empty_folders_go_with_their_last_file() {
    let (disk, clock, store) = world();
    let folders = |disk: &SimDisk| -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![root().join("tenants")];
        while let Some(dir) = dirs.pop() {
            for item in disk.list(&dir).unwrap().into_iter().filter(|item| item.is_dir) {
                dirs.push(dir.join(&item.name));
                found.push(dir.join(&item.name).display().to_string());
            }
        }
        found
    };
    append(&store, batch("a", None, &[(NOON_NS, "first"), (NOON_NS + 48 * HOUR_NS, "third")])).unwrap();
    run(store.flush()).unwrap();
    assert_eq!(folders(&disk).len(), 5, "a tenant, two days, a class each");
    clock.set(NOON_NS + i64::try_from(DAYS).unwrap() * 24 * HOUR_NS + 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(store.inner.shared.sweep(), 0);
    assert_eq!(folders(&disk).len(), 3, "{:?}", folders(&disk));
    // What a crash has left goes at the next start of maintenance; what is in use stays.
    for left in ["x/20260101/30d", "fake/20260101/7d", "fake/20260603/7d"] {
        disk.create_dir_all(&root().join("tenants").join(left)).unwrap();
    }
    store.inner.shared.folder.remove_all_empty(&disk);
    assert_eq!(folders(&disk).len(), 3, "{:?}", folders(&disk));
    clock.set(NOON_NS + i64::try_from(DAYS).unwrap() * 24 * HOUR_NS + 72 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(store.inner.shared.sweep(), 0);
    assert!(folders(&disk).is_empty());
    append(&store, batch("a", None, &[(NOON_NS + 300 * HOUR_NS, "again")])).unwrap();
    run(store.flush()).unwrap();
    assert_eq!(
        lines(&{
            drop(store);
            open_keeping(&disk.crash(), &clock)
        }),
        ["again"]
    );
}

#[test]
fn what_was_too_old_stays_away_when_a_period_is_made_longer() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let reopened = |store: Store, disk: &SimDisk, classes: &[(&str, u64, i32)]| {
        run(store.close()).unwrap();
        drop(store);
        open_classes(disk, &clock, classes, 0)
    };
    let store = open_classes(&disk, &clock, &[("short", 2, 0)], 0);
    for app in ["short", "other"] {
        append(&store, batch(app, None, &[(NOON_NS, app), (NOON_NS + 30 * HOUR_NS, "later")])).unwrap();
    }
    run(store.flush()).unwrap();
    clock.set(NOON_NS + 50 * HOUR_NS);
    assert_eq!(lines(&store), ["other", "later", "later"]);
    // Put right within an hour: nothing has happened.
    let store = reopened(store, &disk, &[]);
    assert_eq!(lines(&store).len(), 4);
    let store = reopened(store, &disk, &[("short", 2, 0)]);
    expire(&store, &clock);
    let store = reopened(store, &disk, &[]);
    assert_eq!(lines(&store), ["other", "later", "later"], "it was too old for hours");
    let tenant = Tenant::single();
    let stats = store.stats(&tenant, &[], TimeRange::ALL).unwrap();
    assert_eq!((stats.streams, stats.entries), (2, 3));
    // What arrives now is of the new time, whatever its own.
    append(&store, batch("short", None, &[(NOON_NS + 1, "brought in")])).unwrap();
    run(store.flush()).unwrap();
    let expect = ["other", "later", "later", "brought in"];
    for _ in 0..2 {
        let mut found = lines(&store);
        found.sort();
        let mut expect = expect.to_vec();
        expect.sort();
        assert_eq!(found, expect);
        expire(&store, &clock);
        let mut worker = Worker::default();
        while worker.run_once(&store.inner.shared) {}
    }
    let epochs = store.inner.shared.catalog.lock().state().epochs.clone();
    assert_eq!(epochs.len(), 2, "one is over, and there are files of it: {epochs:?}");
    let rows: u64 = store.inner.shared.view().segments.iter().map(|segment| segment.record.rows).sum();
    assert_eq!(rows, 4, "what was too old is out of the files");
    // Ten days later nothing of that time is left, and it is forgotten.
    clock.set(NOON_NS + 20 * 24 * HOUR_NS);
    append(&store, batch("other", None, &[(clock.now_ns(), "new")])).unwrap();
    run(store.flush()).unwrap();
    expire(&store, &clock);
    clock.advance(hours(2));
    expire(&store, &clock);
    let store = reopened(store, &disk, &[]);
    assert_eq!(lines(&store), ["new"]);
    assert_eq!(store.inner.shared.catalog.lock().state().epochs.len(), 1);
}

#[test]
fn what_arrives_after_all_segments_of_an_epoch_are_gone_is_not_of_it() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_classes(&disk, &clock, &[("a", 2, 0)], 0);
    append(&store, batch("a", None, &[(NOON_NS, "first")])).unwrap();
    run(store.flush()).unwrap();
    expire(&store, &clock);
    run(store.close()).unwrap();
    drop(store);
    let store = open_classes(&disk, &clock, &[("a", 100, 0)], 0);
    assert_eq!(store.inner.shared.epochs.past().len(), 1, "the first policy's time is over");
    // As a delete request does, or too many bytes.
    let segments = store.inner.shared.view().segments;
    store.inner.shared.replace_segments(&segments, Vec::new(), Vec::new()).unwrap();
    drop((segments, store));
    let store = open_classes(&disk.crash(), &clock, &[("a", 100, 0)], 0);
    append(&store, batch("a", None, &[(NOON_NS - 3 * 24 * HOUR_NS, "brought in")])).unwrap();
    assert_eq!(lines(&store), ["brought in"], "in memory");
    run(store.flush()).unwrap();
    assert_eq!(lines(&store), ["brought in"], "in a file");
}

#[test]
fn a_start_that_cannot_note_other_policies_does_not_let_the_old_ones_go_on() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_classes(&disk, &clock, &[("a", 2, 0)], 0);
    append(&store, batch("a", None, &[(NOON_NS, "first"), (NOON_NS + 24 * HOUR_NS, "second")])).unwrap();
    run(store.flush()).unwrap();
    expire(&store, &clock);
    run(store.close()).unwrap();
    drop(store);
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(100 * 86_400);
    let store = open_at_rest(&disk, settings, StoreRules::default(), Arc::<SimClock>::clone(&clock)).unwrap();
    run(store.recovered()).unwrap();
    disk.set_free_bytes(Some(0));
    store.begin_epoch();
    disk.set_free_bytes(None);
    let epochs = || store.inner.shared.catalog.lock().state().epochs.clone();
    let noted = epochs();
    assert_eq!((noted.len(), noted[0].order_end), (1, None));
    for app in ["a", "b"] {
        append(&store, batch(app, None, &[(NOON_NS - 50 * HOUR_NS, "brought in")])).unwrap();
        run(store.flush()).unwrap();
    }
    let shared = &store.inner.shared;
    assert_eq!(shared.epochs.walls(shared.catalog.lock().state(), &shared.periods), [1]);
    clock.set(NOON_NS + 55 * HOUR_NS);
    disk.set_free_bytes(Some(0));
    expire(&store, &clock);
    assert_eq!(epochs(), noted, "the old policies were not in force at that time");
    disk.set_free_bytes(None);
    expire(&store, &clock);
    let now = epochs();
    assert_eq!((now.len(), now[0].order_end, now[0].seen_ns), (2, Some(1), noted[0].seen_ns));
    // By the old policy the first would be gone, and what was brought in never have been there.
    assert_eq!(lines(&store), ["brought in", "brought in", "first", "second"]);
}

#[test]
fn a_file_of_which_much_is_too_old_is_written_anew() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    // All of one class, as before there were policies.
    let store = open_classes(&disk, &clock, &[], 0);
    for (app, bytes) in [("short", 400), ("other", 600)] {
        append(&store, batch(app, None, &[(NOON_NS, &app.repeat(bytes / 5))])).unwrap();
    }
    run(store.flush()).unwrap();
    run(store.close()).unwrap();
    let store = open_classes(&disk.crash(), &clock, &[("short", 2, 0)], 0);
    let work = |store: &Store| {
        let mut worker = Worker::default();
        while worker.run_once(&store.inner.shared) {}
        store.inner.shared.view().segments.iter().map(|segment| segment.record.rows).sum::<u64>()
    };
    assert_eq!(work(&store), 2);
    clock.set(NOON_NS + 49 * HOUR_NS);
    assert_eq!((work(&store), lines(&store).len()), (2, 1), "the clock is not believed yet");
    expire(&store, &clock);
    assert_eq!((work(&store), lines(&store).len()), (1, 1));
    assert_eq!(
        (classes(&store), store.inner.shared.metrics.expired_entries.get()),
        (vec!["10d".to_owned()], 1)
    );
}

#[test]
fn a_file_that_has_gone_meanwhile_is_not_written_anew() {
    let (_, clock, store) = world();
    append(&store, batch("a", None, &[(NOON_NS, "first"), (NOON_NS + 48 * HOUR_NS, "third")])).unwrap();
    run(store.flush()).unwrap();
    let shared = &store.inner.shared;
    let jobs = || shared.view().segments.iter().map(|one| Job::rewrite(&one.record)).collect::<Vec<_>>();
    let mut worker = Worker::reclaiming(jobs());
    // One of the two goes before its turn comes.
    clock.set(NOON_NS + i64::try_from(DAYS).unwrap() * 24 * HOUR_NS + 24 * HOUR_NS);
    expire(&store, &clock);
    assert_eq!(jobs().len(), 1);
    while worker.run_once(shared) {}
    let metrics = &shared.metrics;
    assert_eq!((metrics.compactions.get() > 0, metrics.compaction_failures.get()), (true, 0));
    assert_eq!(lines(&store), ["third"]);
}

#[test]
fn entries_of_one_time_stay_in_order_of_arrival_when_their_stream_changes_its_class() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let mut number = 0;
    let mut push = |store: &Store, apps: &[&str]| {
        for app in apps {
            number += 1;
            append(store, batch(app, None, &[(NOON_NS, &format!("{number:02}"))])).unwrap();
        }
        run(store.flush()).unwrap();
    };
    // The policy comes, goes, and comes: files of both classes of the same day, the stream in either.
    let rules: [&[(&str, u64, i32)]; 4] = [&[], &[("a", 2, 0)], &[], &[("a", 2, 0)]];
    let mut arrived = Vec::new();
    for policies in rules {
        let store = open_classes(&disk, &clock, policies, 0);
        for _ in 0..3 {
            push(&store, &["a", "b"]);
        }
        expire(&store, &clock);
        run(store.close()).unwrap();
    }
    clock.set(NOON_NS + 20 * HOUR_NS);
    let store = open_classes(&disk, &clock, &[("a", 2, 0)], 0);
    let of_a = [matcher("app", MatchOp::Equal, "a")];
    let lines_of_a = |store: &Store| {
        let found = find_in_order(store, &of_a);
        found.into_iter().map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
    };
    arrived.extend((0..12).map(|index| format!("{:02}", 2 * index + 1)));
    assert_eq!(lines_of_a(&store), arrived);
    let mut worker = Worker::default();
    let jobs = (0..100).take_while(|_| worker.run_once(&store.inner.shared)).count();
    assert!(jobs >= 4, "{jobs} jobs");
    assert_eq!(lines_of_a(&store), arrived);
}

/// Returns the lines of matching entries in the order of the views.
fn find_in_order(store: &Store, matchers: &[Matcher]) -> Vec<Vec<u8>> {
    let views = store.select(&Tenant::single(), matchers, TimeRange::ALL, &Prefilter::default()).unwrap();
    let runs = views.iter().flat_map(|view| view.runs.iter().map(move |run| (view, run)));
    let lines = runs.flat_map(|(view, run)| {
        let lines = view.block.lines().unwrap();
        run.rows.clone().map(move |row| lines.line(row).to_vec()).collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn a_period_whose_seconds_are_many_digits_is_kept() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let mut settings = StoreSettings::default();
    // A year of the Gregorian calendar: no whole number of hours.
    settings.retention.period_secs = Some(31_556_952);
    let open = |disk: &SimDisk| {
        let store = open_at(disk, settings.clone(), &clock).unwrap();
        run(store.recovered()).unwrap();
        store
    };
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS, "a line")])).unwrap();
    run(store.flush()).unwrap();
    drop(store);
    assert_eq!(lines(&open(&disk.crash())), ["a line"]);
    assert!(segment_files(&disk)[0].starts_with(root().join("tenants/fake/20260601/8766h")));
}
