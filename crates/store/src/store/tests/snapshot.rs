//! Snapshots are folders that a store starts on, and nothing that happens to the store reaches them.

use super::*;
use crate::SnapshotSettings;
use crate::fsck::fsck;
use crate::snapshot::{SnapshotInfo, delete_snapshot, list_snapshots};

fn snapshot(store: &Store, id: &str) -> Result<SnapshotInfo> {
    run(store.create_snapshot(Some(id)))
}

/// Puts the folder of a snapshot in place on a disk of its own.
fn restore(disk: &SimDisk, id: &str) -> SimDisk {
    let disk = disk.crash();
    let from = root().join("snapshots").join(id);
    disk.rename(&root(), Path::new("/old")).unwrap();
    disk.rename(&Path::new("/old").join(from.strip_prefix(root()).unwrap()), &root()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/old/snapshots")).unwrap();
    disk
}

fn snapshots(disk: &SimDisk) -> Vec<String> {
    list_snapshots(disk, &root()).unwrap().into_iter().map(|snapshot| snapshot.id).collect()
}

#[test]
fn a_snapshot_under_load_restores_to_what_was_acknowledged() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let mut made = Vec::new();
    for number in 0..40_u64 {
        let line = format!("line {number:02}");
        let time = NOON_NS + i64::try_from(number).unwrap() * HOUR_NS;
        append(&store, batch("a", Some(id(number + 1)), &[(time, &line)])).unwrap();
        if number % 10 == 7 {
            // Batches go on while the snapshot is made.
            let more = batch("b", None, &[(time + 1, "beside")]);
            let name = format!("s{number}");
            let (about, stored) = run(async {
                let making = store.create_snapshot(Some(&name));
                let storing = store.append(more);
                let (mut making, mut storing) = (std::pin::pin!(making), std::pin::pin!(storing));
                let mut about = None;
                let stored = std::future::poll_fn(|ctx| {
                    // On a busy machine its threads may be done before they are asked.
                    if about.is_none()
                        && let std::task::Poll::Ready(done) = making.as_mut().poll(ctx)
                    {
                        about = Some(done);
                    }
                    storing.as_mut().poll(ctx)
                })
                .await;
                let about = match about {
                    Some(done) => done,
                    None => making.await,
                };
                (about, stored)
            });
            stored.unwrap();
            made.push((about.unwrap().id, number + 1));
        }
    }
    let expect = lines(&store);
    drop(store);
    for (name, count) in made {
        let restored = restore(&disk, &name);
        assert!(fsck(&restored, &root(), true, &mut |_| {}).unwrap().is_clean());
        let store = open(&restored);
        let found = lines(&store);
        let numbered: Vec<&String> = found.iter().filter(|line| line.starts_with("line")).collect();
        assert_eq!(numbered.len() as u64, count, "{found:?}");
        assert!(found.iter().all(|line| expect.contains(line)));
        // Batches of before are known, and new ones are kept.
        assert!(append(&store, batch("a", Some(id(count)), &[(1, "again")])).unwrap().duplicate);
        append(&store, batch("a", Some(id(99)), &[(2, "new")])).unwrap();
        drop(store);
        assert_eq!(lines(&open(&restored.crash())).len(), found.len() + 1);
    }
    assert_eq!(lines(&open(&disk)), expect, "the store itself is as it was");
}

#[test]
fn what_the_store_removes_stays_in_a_snapshot() {
    for has_links in [true, false] {
        let disk = SimDisk::new();
        if !has_links {
            disk.refuse_links();
        }
        let store = open(&disk);
        append(&store, batch("a", None, &[(NOON_NS, "kept")])).unwrap();
        let about = snapshot(&store, "first").unwrap();
        assert_eq!((about.segments, about.entries), (1, 1));
        assert_eq!(about.copied_bytes, if has_links { 0 } else { about.bytes });
        let segments = Arc::clone(&store.inner.shared.view().segments);
        store.inner.shared.replace_segments(&segments, Vec::new(), Vec::new()).unwrap();
        drop(segments);
        assert_eq!(store.inner.shared.sweep(), 0);
        assert!(segment_files_of(&disk).is_empty() && lines(&store).is_empty());
        drop(store);
        assert_eq!(lines(&open(&restore(&disk, "first"))), ["kept"]);
    }
}

#[test]
fn a_restored_snapshot_whose_wal_is_lost_later_says_so() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS, "one")])).unwrap();
    snapshot(&store, "s").unwrap();
    drop(store);
    let restored = restore(&disk, "s");
    let damaged = |store: &Store| store.inner.shared.metrics.damaged_records.get();
    // The plug is pulled after each change of the first start, whose WAL file has a name at some point.
    let mut starts = 0;
    for point in 0.. {
        let disk = restored.crash();
        disk.halt_after(point);
        drop(try_open(&disk, StoreSettings::default()).map(|store| run(store.recovered())));
        let is_whole = disk.operations() < point;
        let store = open(&disk.crash_seeded(point));
        assert_eq!((damaged(&store), lines(&store)), (0, vec!["one".to_owned()]), "point {point}");
        starts += 1;
        if is_whole {
            break;
        }
    }
    assert!(starts > 5, "{starts} starts");
    let store = open(&restored);
    append(&store, batch("a", None, &[(NOON_NS + 1, "two")])).unwrap();
    drop(store);
    let wal = root().join("wal");
    for item in restored.list(&wal).unwrap() {
        restored.remove_file(&wal.join(&item.name)).unwrap();
    }
    restored.sync_dir(&wal).unwrap();
    assert!(!fsck(&restored, &root(), false, &mut |_| {}).unwrap().is_clean());
    let store = open(&restored);
    assert_eq!((damaged(&store), lines(&store)), (1, vec!["one".to_owned()]));
}

/// The files of segments while a store has the lock.
fn segment_files_of(disk: &SimDisk) -> Vec<PathBuf> {
    let files = recovery::find_files(disk, &Folder::at(&root())).unwrap();
    files.iter().map(|file| file.path().to_owned()).collect()
}

#[test]
fn names_and_counts_are_bounded() {
    let disk = SimDisk::new();
    let settings = StoreSettings {
        snapshots: SnapshotSettings { keep_secs: 0, count_max: 2 },
        ..StoreSettings::default()
    };
    let store = open_with(&disk, settings);
    for id in ["", "..", "a/b", ".hidden", "x.tmp", &"x".repeat(65)] {
        assert_eq!(snapshot(&store, id).unwrap_err().kind(), Kind::Invalid, "{id:?}");
        assert_eq!(delete_snapshot(&disk, &root(), id).unwrap_err().kind(), Kind::Invalid, "{id:?}");
    }
    assert_eq!(run(store.create_snapshot(None)).unwrap().id, "20260601T120000Z");
    let error = run(store.create_snapshot(None)).unwrap_err();
    assert!(error.to_string().contains("it exists; delete it first"), "{error}");
    snapshot(&store, "nightly").unwrap();
    let error = snapshot(&store, "one-more").unwrap_err();
    assert_eq!(error.kind(), Kind::Limited);
    assert!(error.to_string().contains("raise store.snapshots.count_max"), "{error}");
    assert_eq!(snapshots(&disk), ["20260601T120000Z", "nightly"]);
    assert!(delete_snapshot(&disk, &root(), "nightly").unwrap());
    assert!(!delete_snapshot(&disk, &root(), "nightly").unwrap());
    snapshot(&store, "nightly").unwrap();
}

#[test]
fn a_store_does_not_start_on_a_snapshot_where_it_was_made() {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS, "x")])).unwrap();
    snapshot(&store, "nightly").unwrap();
    drop(store);
    let parts = StoreParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(NOON_NS)),
        random: Arc::new(Random::seeded(next_seed())),
        registry: &mut Registry::default(),
    };
    let there = root().join("snapshots/nightly");
    let error = Store::open(&there, StoreSettings::default(), parts).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("start on the copy"), "{error}");
    assert_eq!(snapshots(&disk), ["nightly"]);
    let elsewhere = open(&restore(&disk, "nightly"));
    assert_eq!(lines(&elsewhere), ["x"]);
}

#[test]
fn old_snapshots_are_removed() {
    let disk = SimDisk::new();
    let clock = Arc::new(SimClock::new(NOON_NS));
    let settings = StoreSettings {
        snapshots: SnapshotSettings { keep_secs: 86_400, count_max: 9 },
        ..StoreSettings::default()
    };
    let store = open_at(&disk, settings, &clock).unwrap();
    run(store.recovered()).unwrap();
    snapshot(&store, "old").unwrap();
    crate::snapshot::expire(&store.inner.shared, NOON_NS + 24 * HOUR_NS);
    assert_eq!(snapshots(&disk), ["old"]);
    crate::snapshot::expire(&store.inner.shared, NOON_NS + 24 * HOUR_NS + 1);
    assert!(snapshots(&disk).is_empty());
}

#[test]
fn a_crash_at_any_point_leaves_a_whole_snapshot_or_none() {
    let prepared = SimDisk::new();
    let store = open(&prepared);
    append(&store, batch("a", None, &[(NOON_NS, "one"), (NOON_NS + 24 * HOUR_NS, "two")])).unwrap();
    drop(store);
    let mut seen = [false; 2];
    for point in 0.. {
        let disk = prepared.crash();
        let store = open(&disk);
        disk.halt_after(point);
        let is_made = snapshot(&store, "s").is_ok();
        let is_deleted = is_made && delete_snapshot(&disk, &root(), "s").is_ok();
        let disk = disk.crash_seeded(point);
        drop(store);
        let store = open(&disk);
        assert_eq!(lines(&store), ["one", "two"], "point {point}");
        let names: Vec<String> = disk
            .list(&root().join("snapshots"))
            .map_or_else(|_| Vec::new(), |items| items.into_iter().map(|item| item.name).collect());
        drop(store);
        assert!(names.iter().all(|name| name == "s"), "point {point}: {names:?}");
        seen[usize::from(!names.is_empty())] = true;
        if !names.is_empty() {
            assert_eq!(lines(&open(&restore(&disk, "s"))), ["one", "two"], "point {point}");
        }
        if is_deleted {
            assert!(names.is_empty() && seen == [true; 2]);
            return;
        }
    }
}
