//! What is too old is not answered, and goes.

use super::*;
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
        while shared.sweep() > 0 {
            std::thread::yield_now();
        }
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
