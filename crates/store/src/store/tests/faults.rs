//! Disks that fail or are full.

use super::*;
use crate::batch_window::BatchWindows;
use crate::shared::FlushGuard;
use crate::writer::Writer;
use logyard_wal::Log;

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(1, "before")])).unwrap();
    disk.fail_sync(1);
    let error = append(&store, batch("a", Some(id(1)), &[(2, "during")])).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    for _ in 0..2 {
        let error = append(&store, batch("a", Some(id(1)), &[(2, "during")])).unwrap_err();
        assert!(error.to_string().contains("read-only; check the disk, then restart"), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
    }
    assert!(matches!(store.readiness(), Readiness::ReadOnly { .. }));
    assert_eq!(lines(&store), ["before"], "what was acknowledged is still answered");
    assert_eq!(run(store.flush()).unwrap_err().kind(), Kind::Unavailable);
    run(store.close()).unwrap();
    let store = open(&disk.crash());
    assert_eq!(lines(&store), ["before"]);
    assert_eq!(append(&store, batch("a", Some(id(1)), &[(2, "during")])).unwrap(), stored());
}

#[test]
fn a_flush_that_cannot_sync_the_wal_is_answered() {
    let disk = SimDisk::new();
    let mut settings = StoreSettings::default();
    settings.wal.sync = SyncMode::Interval;
    let store = open_with(&disk, settings);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    disk.fail_sync(1);
    assert_eq!(run(store.flush()).unwrap_err().kind(), Kind::Unavailable);
    assert!(matches!(store.readiness(), Readiness::ReadOnly { .. }));
    run(store.close()).unwrap();
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    disk.set_free_bytes(Some(10));
    for _ in 0..3 {
        let error = append(&store, batch("a", Some(id(1)), &[(2, "two")])).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("disk full; free space"), "{error}");
    }
    assert_eq!(store.readiness(), Readiness::Ready);
    assert_eq!(lines(&store), ["one"]);
    disk.set_free_bytes(None);
    assert_eq!(append(&store, batch("a", Some(id(1)), &[(2, "two")])).unwrap(), stored());
    assert_eq!(lines(&open(&disk.crash())), ["one", "two"]);
}

#[test]
fn a_flush_on_a_full_disk_is_tried_again() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    disk.set_free_bytes(Some(0));
    let error = run(store.flush()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("disk full, free space"), "{error}");
    assert_eq!(lines(&store), ["one"], "a sealed head still answers");
    disk.set_free_bytes(None);
    append(&store, batch("a", None, &[(2, "two")])).unwrap();
    run(store.flush()).unwrap();
    assert_eq!(lines(&store), ["one", "two"]);
    let disk = disk.crash();
    assert_eq!(segment_files(&disk).len(), 2);
    assert_eq!(lines(&open(&disk)), ["one", "two"]);
}

#[test]
fn a_full_head_refuses_while_its_flush_fails() {
    let disk = SimDisk::new();
    let mut settings = StoreSettings::default();
    settings.flush.head_bytes_max = 1_000;
    let store = open_with(&disk, settings);
    let line = "x".repeat(600);
    append(&store, batch("a", None, &[(1, &line)])).unwrap();
    disk.set_free_bytes(Some(0));
    assert!(run(store.flush()).is_err());
    // Room for the WAL, not for a segment.
    disk.set_free_bytes(Some(2_000));
    let mut numbers = 2..100;
    let error =
        numbers.find_map(|number| append(&store, batch("a", None, &[(number, &line)])).err()).unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("disk full"), "{error}");
    // The first batch, and those before the refused one.
    let stored = numbers.start - 2;
    disk.set_free_bytes(None);
    run(store.flush()).unwrap();
    append(&store, batch("a", None, &[(200, &line)])).unwrap();
    assert_eq!(lines(&store).len() as i64, stored + 1);
}

#[test]
fn a_crash_at_every_change_of_a_flush_loses_nothing() {
    for halt_after in 0.. {
        let disk = SimDisk::new();
        let store = open(&disk);
        append(&store, batch("a", Some(id(1)), &[(1, "one"), (NOON_NS, "two")])).unwrap();
        let before = disk.operations();
        disk.halt_after(halt_after);
        let is_flushed = run(store.flush()).is_ok();
        let is_whole = is_flushed && disk.operations() - before < halt_after;
        for crashed in [disk.crash(), disk.crash_seeded(halt_after)] {
            let store = open(&crashed);
            assert_eq!(lines(&store), ["one", "two"], "halted after {halt_after} changes");
            assert!(append(&store, batch("a", Some(id(1)), &[(3, "x")])).unwrap().duplicate);
            run(store.flush()).unwrap();
            assert_eq!(segment_files(&crashed.crash()).len(), 2, "leftovers are removed");
            assert_eq!(lines(&open(&crashed.crash())), ["one", "two"]);
        }
        if is_whole {
            assert!(halt_after > 15, "a flush has more changes than {halt_after}");
            return;
        }
    }
}

#[test]
fn a_closed_folder_can_be_used_again_and_an_open_one_cannot() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let error = try_open(&disk, StoreSettings::default()).unwrap_err();
    assert!(error.to_string().contains("another process uses it"), "{error}");
    drop(store);
    let store = open(&disk);
    run(store.close()).unwrap();
    run(store.close()).unwrap();
    drop(open(&disk));
}

#[test]
fn a_sequence_given_twice_is_not_taken_for_flushed() {
    let disk = SimDisk::new();
    let mut settings = StoreSettings::default();
    settings.wal.sync = SyncMode::Interval;
    settings.flush.on_close = false;
    let store = open_with(&disk, settings.clone());
    append(&store, batch("a", Some(id(1)), &[(1, "one")])).unwrap();
    append(&store, batch("a", Some(id(2)), &[(2, "two")])).unwrap();
    // Neither is synced: the flush cannot write them to the WAL, which takes their sequences back.
    disk.set_free_bytes(Some(0));
    assert!(run(store.flush()).is_err());
    disk.set_free_bytes(None);
    run(store.flush()).unwrap();
    append(&store, batch("a", Some(id(3)), &[(3, "three")])).unwrap();
    append(&store, batch("a", Some(id(4)), &[(4, "four")])).unwrap();
    run(store.close()).unwrap();
    drop(store);
    let store = open_with(&disk.crash(), settings);
    assert_eq!(lines(&store), ["one", "two", "three", "four"]);
    for number in 1..=4 {
        assert!(append(&store, batch("a", Some(id(number)), &[(9, "x")])).unwrap().duplicate);
    }
}

#[test]
fn a_stop_while_a_flush_keeps_failing_leaves_the_rest_to_the_wal() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    disk.set_free_bytes(Some(0));
    assert!(run(store.flush()).is_err());
    // Room for the WAL, not for a segment.
    disk.set_free_bytes(Some(1_000));
    append(&store, batch("a", None, &[(2, "two")])).unwrap();
    disk.set_free_bytes(Some(0));
    run(store.close()).unwrap();
    assert_eq!(store.readiness(), Readiness::Ready, "the writer has not panicked");
    assert_eq!(lines(&store), ["one", "two"]);
    drop(store);
    assert_eq!(lines(&open(&disk.crash())), ["one", "two"]);
}

/// Ends a thread by a panic while it holds `guard`.
fn panic_with(guard: impl Send + 'static) {
    let thread = std::thread::spawn(move || {
        let _guard = guard;
        panic!("as a broken invariant does");
    });
    assert!(thread.join().is_err());
}

#[test]
fn a_panic_of_a_thread_is_said_to_everybody() {
    for thread in ["writer", "flush"] {
        let store = open(&SimDisk::new());
        append(&store, batch("a", None, &[(1, "one")])).unwrap();
        let shared = Arc::clone(&store.inner.shared);
        if thread == "writer" {
            panic_with(WriterGuard::new(shared));
        } else {
            panic_with(FlushGuard::new(shared));
        }
        let text = format!("the {thread} thread of the store panicked");
        let Readiness::ReadOnly { reason } = store.readiness() else { panic!("the store is ready") };
        assert!(reason.contains(&text), "{reason}");
        let error = append(&store, batch("a", None, &[(2, "two")])).unwrap_err();
        assert!(error.to_string().contains(&text), "{error}");
        assert!(run(store.flush()).unwrap_err().to_string().contains(&text));
        assert!(store.stats(&Tenant::single(), &[], TimeRange::ALL).is_err());
        run(store.close()).unwrap();
    }
}

#[test]
fn a_flush_that_failed_during_replay_is_forgotten() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let line = "x".repeat(600);
    for number in 0..10 {
        append(&store, batch("a", None, &[(number, &line)])).unwrap();
    }
    let disk = disk.crash();
    let mut settings = StoreSettings::default();
    settings.flush.head_bytes_max = 1_000;
    disk.set_free_bytes(Some(1_000));
    let store = try_open(&disk, settings).unwrap();
    until("a flush fails", || store.inner.shared.metrics.flush_failures.get() > 0);
    disk.set_free_bytes(None);
    // Tried again at once, not in seconds. The news of the attempt that was counted may still be on its way, and
    // then answers the first one who asks.
    let flushed = run(store.flush()).or_else(|_| run(store.flush()));
    run(store.recovered()).unwrap();
    assert!(flushed.is_ok(), "{flushed:?}");
    // A batch on top of a full head waits for its flush instead of hearing of the old failure.
    for number in 10..20 {
        append(&store, batch("a", None, &[(number, &line)])).unwrap();
    }
    assert_eq!(lines(&store).len(), 20);
}

#[test]
fn a_read_only_store_does_not_wake_up_for_the_age_of_its_head() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    let shared = &store.inner.shared;
    let mut nothing = |_: u64, _: &[u8]| -> Result<()> { Ok(()) };
    let dir = Path::new("/other");
    let (log, _) = Log::open(Arc::new(disk.clone()), dir, WAL_SETTINGS, 1, &mut nothing).unwrap();
    let writer = Writer::new(Arc::clone(shared), log, BatchWindows::default(), 0);
    assert!(writer.wait().is_some(), "the head is to be flushed in time");
    shared.turn_read_only(&stopped());
    assert_eq!(writer.wait(), None);
}
