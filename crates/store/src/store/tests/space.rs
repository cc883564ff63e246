//! A disk that fills up, and has room again.

use super::*;
use crate::DiskSettings;
use std::time::Duration;

const KIB: u64 = 1 << 10;

/// Wants 400 KiB free, 100 KiB at least, with a ballast of 50 KiB.
fn settings() -> StoreSettings {
    let disk = DiskSettings { free_bytes_min: Some(400 * KIB), ballast_bytes: 50 * KIB };
    StoreSettings { disk, ..StoreSettings::default() }
}

fn ballast_bytes(disk: &SimDisk) -> u64 {
    disk.metadata(&root().join("ballast")).unwrap().map_or(0, |meta| meta.bytes)
}

#[test]
fn below_the_watermark_pushes_are_refused_with_the_figures_and_queries_go_on() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_at(&disk, settings(), &clock).unwrap();
    run(store.recovered()).unwrap();
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    disk.set_free_bytes(Some(90 * KIB));
    clock.advance(Duration::from_secs(2));
    let error = append(&store, batch("a", Some(id(1)), &[(2, "two")])).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("the disk of /data/tenants is full, 90 KiB free, 100 KiB wanted"), "{text}");
    assert!(text.contains("store.disk.free_bytes_min"), "{text}");
    assert_eq!(store.readiness(), Readiness::DiskFull { reason: text });
    assert_eq!(lines(&store), ["one"]);
    assert_eq!(ballast_bytes(&disk), 50 * KIB, "there is room for what was accepted");
    assert_eq!(store.inner.shared.metrics.refused_disk_full.get(), 1);
    run(store.flush()).unwrap();
    // Some more than the border, so that it does not flap.
    disk.set_free_bytes(Some(105 * KIB));
    assert!(append(&store, batch("a", Some(id(1)), &[(2, "two")])).is_err());
    disk.set_free_bytes(Some(120 * KIB));
    append(&store, batch("a", Some(id(1)), &[(2, "two")])).unwrap();
    assert_eq!(store.readiness(), Readiness::Ready);
    assert_eq!(lines(&store), ["one", "two"]);
}

#[test]
fn the_ballast_makes_room_for_what_was_accepted_and_is_made_anew() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    disk.set_free_bytes(Some(10_000 * KIB));
    let store = open_at(&disk, settings(), &clock).unwrap();
    run(store.recovered()).unwrap();
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    assert_eq!(ballast_bytes(&disk), 50 * KIB);
    disk.set_free_bytes(Some(0));
    // The clock stands still, so nothing looks before the write fails.
    assert!(append(&store, batch("a", Some(id(1)), &[(2, "two")])).is_err());
    assert_eq!(ballast_bytes(&disk), 0);
    assert!(matches!(store.readiness(), Readiness::DiskFull { .. }), "room by the ballast is none");
    run(store.flush()).unwrap();
    assert_eq!(lines(&store), ["one"]);
    disk.set_free_bytes(Some(10_000 * KIB));
    append(&store, batch("a", Some(id(1)), &[(2, "two")])).unwrap();
    assert_eq!(ballast_bytes(&disk), 50 * KIB);
    assert_eq!(lines(&open(&disk.crash())), ["one", "two"]);
}

#[test]
fn a_start_on_a_full_disk_answers_queries_and_refuses_pushes_at_once() {
    for free in [0, 3_000] {
        let disk = SimDisk::new();
        let store = open(&disk);
        let line = "x".repeat(600);
        for number in 0..6 {
            append(&store, batch("a", None, &[(number, &line)])).unwrap();
        }
        let disk = disk.crash();
        disk.set_free_bytes(Some(free));
        let mut settings = settings();
        // What is replayed is more than a head, which cannot be flushed now.
        settings.flush.head_bytes_max = 2_000;
        let clock = Arc::new(SimClock::new(NOON_NS));
        let store = open_at(&disk, settings, &clock).unwrap();
        assert_eq!(append(&store, batch("a", None, &[(9, "x")])).unwrap_err().kind(), Kind::Unavailable);
        run(store.recovered()).unwrap();
        assert!(matches!(store.readiness(), Readiness::DiskFull { .. }));
        assert_eq!(lines(&store).len(), 6, "{free} bytes free");
        disk.set_free_bytes(None);
        append(&store, batch("a", None, &[(9, "x")])).unwrap();
        // An attempt that began on the full disk may be heard of only now; the next one has room.
        run(store.flush()).or_else(|_| run(store.flush())).unwrap();
        assert_eq!(lines(&store).len(), 7);
        assert_eq!(lines(&open(&disk.crash())).len(), 7);
    }
}

#[test]
fn a_disk_that_fills_up_at_any_byte_loses_nothing_and_recovers() {
    for free in (0..12_000).step_by(97) {
        let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
        disk.set_free_bytes(Some(1 << 20));
        let mut settings = settings();
        settings.disk.free_bytes_min = Some(2_000);
        let store = open_at(&disk, settings, &clock).unwrap();
        run(store.recovered()).unwrap();
        disk.set_free_bytes(Some(free));
        let mut acked = Vec::new();
        for number in 0..6_i64 {
            let line = format!("{number} {}", "x".repeat(300));
            if append(&store, batch("a", None, &[(number, &line)])).is_ok() {
                acked.push(line);
            }
            if number % 2 == 1 {
                // Fails without room, and nothing may depend on it.
                drop(run(store.flush()));
            }
        }
        assert_eq!(lines(&store), acked, "{free} bytes free");
        disk.set_free_bytes(None);
        append(&store, batch("a", None, &[(100, "again")])).unwrap();
        run(store.flush()).unwrap();
        acked.push("again".to_owned());
        assert_eq!(lines(&store), acked, "{free} bytes free");
        assert_eq!(lines(&open(&disk.crash())), acked, "{free} bytes free");
    }
}
