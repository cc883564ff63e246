//! What is exported from one store and imported into another is answered there, once, or not at all.

use super::*;
use crate::export::{ExportInfo, ExportQuery, export};
use crate::fsck::fsck;
use crate::import::{ImportInfo, ImportOptions};
use crate::maintenance::Worker;
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY_NS: i64 = 24 * HOUR_NS;
const EVER: RangeInclusive<i32> = i32::MIN..=i32::MAX;

fn out() -> PathBuf {
    PathBuf::from("/out")
}

/// Exports what a snapshot of the store holds, and returns it on a disk of its own.
fn exported(disk: &SimDisk, store: &Store, query: &ExportQuery) -> (SimDisk, ExportInfo) {
    run(store.create_snapshot(Some("for-export"))).unwrap();
    let source = root().join("snapshots/for-export");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let info = export(&shared, &SimClock::new(NOON_NS), &source, &out(), query, &mut |_| {}).unwrap();
    crate::snapshot::delete_snapshot(disk, &root(), "for-export").unwrap();
    let fresh = SimDisk::new();
    carry(disk, &fresh, &out());
    (fresh, info)
}

fn carry(from: &SimDisk, to: &SimDisk, dir: &Path) {
    to.create_dir_all(dir).unwrap();
    for item in from.list(dir).unwrap() {
        let path = dir.join(&item.name);
        if item.is_dir {
            carry(from, to, &path);
        } else {
            to.write_atomic(&path, &from.read(&path).unwrap()).unwrap();
        }
    }
}

fn everything() -> ExportQuery {
    ExportQuery { tenant: None, days: EVER }
}

fn import(store: &Store, tenant: Option<&str>) -> Result<ImportInfo> {
    let tenant = tenant.map(|tenant| Tenant::new(tenant).unwrap());
    store.import(&out(), &ImportOptions { tenant }, &mut |progress| {
        assert!(progress.done_bytes <= progress.total_bytes.max(1) * 2);
    })
}

fn of_tenant(tenant: &str, app: &str, rows: &[(i64, &str)]) -> StoreBatch {
    let tenant = Tenant::new(tenant).unwrap();
    let chunks = vec![(stream(&tenant, &[("app", app)]), entries(rows))];
    StoreBatch { tenant, id: None, chunks, encoded: None }
}

/// Returns a store with three days of two apps, compacted and not, another tenant, and entries in memory.
fn source() -> (SimDisk, Store) {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_at(&disk, StoreSettings::default(), &clock).unwrap();
    run(store.recovered()).unwrap();
    for round in 0..2 {
        for day in 0..2 {
            for app in ["a", "b"] {
                let line = format!("{app} day {day} round {round}");
                let time = NOON_NS + day * DAY_NS + round;
                append(&store, batch(app, None, &[(time, &line)])).unwrap();
            }
        }
        run(store.flush()).unwrap();
    }
    clock.advance(Duration::from_secs(10 * 86_400));
    compact(&store);
    assert!(store.inner.shared.view().segments.iter().any(|segment| segment.record.level > 0));
    append(&store, batch("a", None, &[(NOON_NS + 2 * DAY_NS, "flushed for the export")])).unwrap();
    append(&store, of_tenant("other", "a", &[(NOON_NS, "of another tenant")])).unwrap();
    (disk, store)
}

/// Runs all compactions that are due.
fn compact(store: &Store) {
    let mut worker = Worker::default();
    while worker.run_once(&store.inner.shared) {}
}

/// Opens a store at a time when the days of the source are over.
fn open_later(disk: &SimDisk) -> Store {
    let clock = Arc::new(SimClock::new(NOON_NS));
    clock.advance(Duration::from_secs(10 * 86_400));
    let store = open_at(disk, StoreSettings::default(), &clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

fn lines_of(store: &Store, tenant: &str) -> Vec<String> {
    let found = find(store, &Tenant::new(tenant).unwrap(), &[], TimeRange::ALL);
    let mut lines: Vec<String> =
        found.into_iter().map(|(_, _, line, _, _)| String::from_utf8(line).unwrap()).collect();
    lines.sort();
    lines
}

fn segments(store: &Store) -> Vec<String> {
    store.inner.shared.view().segments.iter().map(|one| one.path.display().to_string()).collect()
}

#[test]
fn an_export_is_answered_elsewhere_and_twice_is_once() {
    let (from, store) = source();
    let (disk, info) = exported(&from, &store, &everything());
    assert_eq!((info.entries, info.files), (10, info.files));
    let target = open_later(&disk);
    append(&target, batch("own", None, &[(NOON_NS, "own, in memory")])).unwrap();
    let first = import(&target, None).unwrap();
    assert_eq!((first.imported, first.entries, first.known), (info.files, 10, 0));
    for tenant in ["fake", "other"] {
        let mut want = lines_of(&store, tenant);
        if tenant == "fake" {
            want.push("own, in memory".to_owned());
            want.sort();
        }
        assert_eq!(lines_of(&target, tenant), want);
    }
    let before = segments(&target);
    let again = import(&target, None).unwrap();
    assert_eq!((again.imported, again.known), (0, info.files));
    assert_eq!(segments(&target), before);
    // Known also once they are compacted, and after a restart.
    let want = lines(&target);
    run(target.flush()).unwrap();
    compact(&target);
    assert_ne!(segments(&target), before, "something was compacted");
    assert_eq!(lines(&target), want);
    assert_eq!(import(&target, None).unwrap().known, info.files);
    run(target.close()).unwrap();
    drop(target);
    let disk = disk.crash();
    assert!(fsck(&disk, &root(), true, &mut |_| {}).unwrap().findings.is_empty());
    let target = open_later(&disk);
    assert_eq!(import(&target, None).unwrap().imported, 0);
    assert_eq!(lines(&target), want);
}

#[test]
fn a_compacted_segment_whose_inputs_are_here_is_known() {
    let (disk, clock) = (SimDisk::new(), Arc::new(SimClock::new(NOON_NS)));
    let store = open_at(&disk, StoreSettings::default(), &clock).unwrap();
    run(store.recovered()).unwrap();
    for round in 0..2 {
        append(&store, batch("a", None, &[(NOON_NS + round, "line")])).unwrap();
        run(store.flush()).unwrap();
    }
    clock.advance(Duration::from_secs(10 * 86_400));
    let (early, _) = exported(&disk, &store, &everything());
    compact(&store);
    disk.rename(&out(), Path::new("/out-before")).unwrap();
    let (late, info) = exported(&disk, &store, &everything());
    assert_eq!((info.files, info.entries), (1, 2));
    let target = open_later(&early);
    assert_eq!(import(&target, None).unwrap().imported, 2);
    early.rename(&out(), Path::new("/out-before")).unwrap();
    carry(&late, &early, &out());
    assert_eq!(import(&target, None).unwrap().known, 1);
}

#[test]
fn days_and_tenants_are_chosen() {
    let (from, store) = source();
    let day = crate::parse_day("2026-06-02").unwrap();
    let query = ExportQuery { tenant: Some(Tenant::single()), days: day..=day };
    let (disk, info) = exported(&from, &store, &query);
    assert_eq!(info.entries, 4);
    let target = open(&disk);
    import(&target, None).unwrap();
    let want = ["a day 1 round 0", "a day 1 round 1", "b day 1 round 0", "b day 1 round 1"];
    assert_eq!(lines_of(&target, "fake"), want);
    assert!(lines_of(&target, "other").is_empty());
    // A folder that holds anything is left alone.
    let shared: Arc<dyn Disk> = Arc::new(from);
    let error = export(&shared, &SimClock::new(0), &root(), &out(), &query, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn another_tenant_takes_it_as_its_own() {
    let (from, store) = source();
    let query = ExportQuery { tenant: Some(Tenant::single()), days: EVER };
    let (disk, info) = exported(&from, &store, &query);
    let target = open_later(&disk);
    assert_eq!(import(&target, None).unwrap().imported, info.files);
    assert_eq!(import(&target, Some("new")).unwrap().imported, info.files, "beside the first");
    assert_eq!(import(&target, Some("new")).unwrap().known, info.files);
    // `find` checks the ids of streams.
    assert_eq!(lines_of(&target, "new"), lines_of(&target, "fake"));
    compact(&target);
    assert_eq!(import(&target, Some("new")).unwrap().known, info.files);
    let want = lines_of(&store, "fake");
    run(target.close()).unwrap();
    drop(target);
    assert!(fsck(&disk, &root(), true, &mut |_| {}).unwrap().is_clean());
    let target = open(&disk.crash());
    assert_eq!((lines_of(&target, "new"), lines_of(&target, "fake")), (want.clone(), want));
}

#[test]
fn periods_of_the_receiving_store_count() {
    let (from, store) = source();
    let (disk, info) = exported(&from, &store, &everything());
    let policy = crate::RetentionPolicy {
        tenant: None,
        matchers: vec![matcher("app", MatchOp::Equal, "a")],
        period_secs: 20 * 86_400,
        priority: 0,
    };
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(2 * 86_400);
    settings.retention.policies = vec![crate::RetentionPolicySettings::default()];
    let clock = Arc::new(SimClock::new(NOON_NS + 5 * DAY_NS));
    let target = open_with_rules(
        &disk,
        settings,
        StoreRules { policies: vec![policy], ..StoreRules::default() },
        &clock,
    )
    .unwrap();
    run(target.recovered()).unwrap();
    let first = import(&target, None).unwrap();
    assert_eq!((first.imported, first.expired), (info.files, 0), "each file holds a stream that is kept");
    assert!(segments(&target).iter().all(|path| path.contains("/20d/")), "{:?}", segments(&target));
    assert!(lines(&target).iter().all(|line| !line.starts_with('b')), "too old to be answered");
    drop(target);
    clock.set(NOON_NS + 30 * DAY_NS);
    let target = open_at(&SimDisk::new(), StoreSettings::default(), &clock).unwrap();
    drop(target);
    let fresh = SimDisk::new();
    carry(&disk, &fresh, &out());
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(86_400);
    let target = open_at(&fresh, settings, &clock).unwrap();
    run(target.recovered()).unwrap();
    let none = import(&target, None).unwrap();
    assert_eq!((none.imported, none.expired), (0, info.files));
}

/// Returns the path of the largest file of an export.
fn largest(disk: &SimDisk) -> PathBuf {
    let files = recovery::find_files(disk, &Folder::at(&out())).unwrap();
    files.iter().max_by_key(|file| file.bytes()).unwrap().path().to_owned()
}

#[test]
fn damage_is_named_and_changes_nothing() {
    let (from, store) = source();
    let (disk, _) = exported(&from, &store, &everything());
    let target = open(&disk);
    append(&target, batch("own", None, &[(NOON_NS, "own")])).unwrap();
    let path = largest(&disk);
    let good = disk.read(&path).unwrap();
    for at in (0..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        disk.write_atomic(&path, &bad).unwrap();
        let error = import(&target, None).unwrap_err();
        assert!(matches!(error.kind(), Kind::Corrupt | Kind::Invalid), "byte {at}: {error:?}");
    }
    for cut in [0, 10, good.len() - 1] {
        disk.write_atomic(&path, &good[..cut]).unwrap();
        let error = import(&target, None).unwrap_err();
        assert!(error.to_string().contains(&format!("{cut} bytes, want")), "{error}");
        assert!(error.to_string().contains("copy the export again"), "{error}");
    }
    disk.remove_file(&path).unwrap();
    assert!(import(&target, None).unwrap_err().to_string().contains("missing"));
    disk.write_atomic(&path, &good).unwrap();
    let manifest = out().join("export.json");
    let text = String::from_utf8(disk.read(&manifest).unwrap()).unwrap();
    for (bad, kind, part) in [
        (text.replace("\"version\": 1", "\"version\": 2"), Kind::Invalid, "run the version that wrote it"),
        (text.replace("logyard-export", "something"), Kind::Invalid, "it has format something 1"),
        (text[..text.len() / 2].to_owned(), Kind::Corrupt, "is damaged"),
        (text.replace("\"class\": \"30d\"", "\"class\": \"../x\""), Kind::Corrupt, "class"),
    ] {
        if bad == text {
            continue;
        }
        disk.write_atomic(&manifest, bad.as_bytes()).unwrap();
        let error = import(&target, None).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(format!("{error:?}").contains(part), "{error:?}");
    }
    disk.remove_file(&manifest).unwrap();
    assert!(import(&target, None).unwrap_err().to_string().contains("unfinished"));
    assert_eq!(lines(&target), ["own"]);
    let left = recovery::find_files(&disk, &Folder::at(&root())).unwrap();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
    disk.write_atomic(&manifest, text.as_bytes()).unwrap();
    import(&target, None).unwrap();
    assert_eq!(lines(&target).len(), 10);
}

#[test]
fn a_lack_of_room_is_told_first() {
    let (from, store) = source();
    let (disk, _) = exported(&from, &store, &everything());
    let target = open(&disk);
    disk.set_free_bytes(Some(100));
    let error = import(&target, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("100 are free"), "{error}");
    disk.set_free_bytes(None);
    assert!(import(&target, None).is_ok());
}

#[test]
fn a_lost_segment_comes_back() {
    let (from, store) = source();
    let (disk, info) = exported(&from, &store, &everything());
    let target = open(&disk);
    import(&target, None).unwrap();
    let want = lines(&target);
    let lost = Arc::clone(&target.inner.shared.view().segments[0]);
    target.inner.shared.lose(&lost, &crate::Error::corrupt("gone"));
    drop(lost);
    assert_eq!(target.lost_segments(&Tenant::single(), TimeRange::ALL).len(), 1);
    let again = import(&target, None).unwrap();
    assert_eq!((again.imported, again.known), (1, info.files - 1));
    assert!(target.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
    assert_eq!(lines(&target), want);
    drop(target);
    assert_eq!(lines(&open(&disk.crash())), want);
}

#[test]
fn places_in_order_of_arrival_are_nobody_elses() {
    let (from, store) = source();
    let (disk, _) = exported(&from, &store, &everything());
    let target = open(&disk);
    append(&target, batch("a", None, &[(NOON_NS, "before")])).unwrap();
    import(&target, None).unwrap();
    append(&target, batch("a", None, &[(NOON_NS, "after")])).unwrap();
    let want = lines(&target);
    run(target.flush()).unwrap();
    append(&target, batch("a", None, &[(NOON_NS, "last")])).unwrap();
    run(target.flush()).unwrap();
    let mut orders: Vec<u64> =
        target.inner.shared.view().segments.iter().map(|one| one.record.order).collect();
    let count = orders.len();
    assert!(orders.is_sorted());
    orders.dedup();
    assert_eq!(orders.len(), count, "each its own");
    assert_eq!(lines(&target).len(), want.len() + 1);
}

#[test]
fn a_crash_at_any_point_leaves_all_or_none() {
    let (from, store) = source();
    let (prepared, info) = exported(&from, &store, &everything());
    let want = lines(&store);
    drop(open(&prepared));
    let mut seen = [false; 2];
    for point in 0.. {
        let disk = prepared.crash();
        let target = open(&disk);
        disk.halt_after(point);
        let is_done = import(&target, None).is_ok();
        let disk = disk.crash_seeded(point);
        drop(target);
        let target = open(&disk);
        let found = lines(&target);
        assert!(found.is_empty() || found == want, "point {point}: {found:?}");
        assert!(!is_done || found == want, "point {point}");
        seen[usize::from(!found.is_empty())] = true;
        let left = recovery::find_files(&disk, &Folder::at(&root())).unwrap();
        assert_eq!(left.len() as u64, if found.is_empty() { 0 } else { info.files }, "point {point}");
        import(&target, None).unwrap();
        assert_eq!(lines(&target), want, "point {point}");
        if is_done {
            assert_eq!(seen, [true; 2]);
            return;
        }
    }
}

#[test]
fn a_disk_that_fails_anywhere_leaves_all_or_none() {
    use std::io::ErrorKind::{Other, StorageFull};
    let (from, store) = source();
    let (prepared, _) = exported(&from, &store, &everything());
    let want = lines(&store);
    drop(open(&prepared));
    for (kind, count) in [(StorageFull, 1), (StorageFull, u64::MAX), (Other, 1), (Other, u64::MAX)] {
        let mut refused = 0;
        for point in 0.. {
            let what = format!("{kind:?} of {count} changes after {point}");
            let disk = prepared.crash();
            let target = open(&disk);
            let before = disk.operations();
            disk.fail_changes(point, count, kind);
            let is_done = import(&target, None).is_ok();
            let changes = disk.operations() - before;
            refused += u64::from(!is_done);
            let crashed = disk.crash_seeded(point);
            let while_it_lasts = lines(&target);
            assert!(
                while_it_lasts == want || !is_done && while_it_lasts.is_empty(),
                "{what}: {while_it_lasts:?}"
            );
            disk.heal();
            if target.readiness() == Readiness::Ready {
                import(&target, None).unwrap_or_else(|error| panic!("{what}, and is over: {error:?}"));
                assert_eq!(lines(&target), want, "{what}, and is over");
            }
            drop(target);
            for (disk, how) in [(disk, "a restart"), (crashed, "a crash")] {
                let target = open(&disk);
                let found = lines(&target);
                assert!(found == want || !is_done && found.is_empty(), "{what}, and {how}: {found:?}");
                import(&target, None).unwrap_or_else(|error| panic!("{what}, and {how}: {error:?}"));
                assert_eq!(lines(&target), want, "{what}, and {how}");
            }
            if changes <= point {
                assert!(is_done && refused > 5, "{what}: {refused} refused");
                break;
            }
        }
    }
}

/// Exports the snapshot that is there.
fn export_prepared(disk: &SimDisk) -> Result<ExportInfo> {
    let source = root().join("snapshots/for-export");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    export(&shared, &SimClock::new(NOON_NS), &source, &out(), &everything(), &mut |_| {})
}

/// Returns whether what is in the folder of the export is all of it; if not, it has to be refused as a whole.
fn is_whole(disk: &SimDisk, want: &[String], what: &str) -> bool {
    let fresh = SimDisk::new();
    if disk.metadata(&out()).unwrap().is_some() {
        carry(disk, &fresh, &out());
    }
    let target = open(&fresh);
    match import(&target, None) {
        Ok(_) => {
            assert_eq!(lines(&target), want, "{what}");
            true
        }
        Err(error) => {
            assert!(error.to_string().contains("no export or an unfinished one"), "{what}: {error}");
            assert!(lines(&target).is_empty(), "{what}");
            false
        }
    }
}

#[test]
fn an_export_that_is_interrupted_anywhere_is_whole_or_none() {
    use std::io::ErrorKind::{Other, StorageFull};
    for has_links in [true, false] {
        let (prepared, store) = source();
        run(store.create_snapshot(Some("for-export"))).unwrap();
        let want = lines(&store);
        drop(store);
        let prepared = || {
            let disk = prepared.crash();
            if !has_links {
                disk.refuse_links();
            }
            disk
        };
        let mut seen = [false; 2];
        for point in 0.. {
            let what = format!("crash after {point} changes, links {has_links}");
            let disk = prepared();
            disk.halt_after(point);
            let is_done = export_prepared(&disk).is_ok();
            for crashed in [disk.crash(), disk.crash_seeded(point)] {
                let is_whole = is_whole(&crashed, &want, &what);
                assert!(is_whole || !is_done, "{what}: it was said to be done");
                seen[usize::from(is_whole)] = true;
            }
            if is_done {
                assert!(seen == [true; 2] && point > 10, "{point} changes");
                break;
            }
        }
        for (kind, count) in [(StorageFull, 1), (StorageFull, u64::MAX), (Other, 1), (Other, u64::MAX)] {
            for point in 0.. {
                let what = format!("{kind:?} of {count} changes after {point}, links {has_links}");
                let disk = prepared();
                let before = disk.operations();
                disk.fail_changes(point, count, kind);
                let is_done = export_prepared(&disk).is_ok();
                let changes = disk.operations() - before;
                disk.heal();
                for disk in [disk.crash(), disk] {
                    // The list may have got its name before the last sync failed.
                    assert!(is_whole(&disk, &want, &what) || !is_done, "{what}: it was said to be done");
                }
                if changes <= point {
                    assert!(is_done, "{what}");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_running_store_takes_in_what_is_put_into_its_folder() {
    let (from, store) = source();
    let (disk, info) = exported(&from, &store, &everything());
    let target = open(&disk);
    crate::import::stage(&disk, &root(), "one", &out()).unwrap();
    let options = ImportOptions { tenant: None };
    assert_eq!(target.import_staged("one", &options).unwrap().imported, info.files);
    assert_eq!(target.import_staged("../one", &options).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(target.import_staged("two", &options).unwrap_err().kind(), Kind::Invalid);
    crate::import::unstage(&disk, &root(), "one").unwrap();
    assert!(disk.list(&root().join("imports")).unwrap().is_empty());
    assert_eq!(lines_of(&target, "fake"), lines_of(&store, "fake"));
    let error = crate::import::stage(&disk, &root(), "two", Path::new("/nothing")).unwrap_err();
    assert!(error.to_string().contains("no export or an unfinished one"), "{error}");
}
