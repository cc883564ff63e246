//! Checking and mending a data folder that no process uses.

use super::*;
use crate::fsck::{FsckReport, Remedy, fsck};
use crate::repair::{RepairOptions, RepairReport, repair};
use crate::segment_format::{SECTION_STREAM_INDEX, Toc};

const MEND: RepairOptions = RepairOptions { is_dry_run: false, forgets_lost: false };

/// Of so many damaged bytes one is mended too, all parts of a file among them.
const MENDED_EVERY: usize = 17;

fn check(disk: &SimDisk, is_deep: bool) -> FsckReport {
    fsck(disk, &root(), is_deep, &mut |_| {}).unwrap()
}

fn mend(disk: &SimDisk, options: RepairOptions) -> RepairReport {
    mend_with(disk, StoreSettings::default(), options)
}

fn mend_with(disk: &SimDisk, settings: StoreSettings, options: RepairOptions) -> RepairReport {
    let mut registry = Registry::default();
    let parts = StoreParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(NOON_NS)),
        random: Arc::new(Random::seeded(next_seed())),
        registry: &mut registry,
    };
    let disk = crate::DiskSettings { free_bytes_min: Some(0), ballast_bytes: 0 };
    let settings = StoreSettings { disk, ..settings };
    run(repair(&root(), &settings, parts, options, &mut |_| {})).unwrap()
}

/// Two days in two segments, and a batch in the WAL.
fn folder() -> (SimDisk, Vec<PathBuf>) {
    let disk = SimDisk::new();
    let store = open(&disk);
    let rows = [(NOON_NS, "first day"), (NOON_NS + 24 * HOUR_NS, "second day")];
    append(&store, batch("a", Some(id(1)), &rows)).unwrap();
    run(store.flush()).unwrap();
    append(&store, batch("a", Some(id(2)), &[(NOON_NS + 25 * HOUR_NS, "in the log")])).unwrap();
    drop(store);
    let disk = disk.crash();
    let files = segment_files(&disk);
    assert_eq!(files.len(), 2);
    (disk, files)
}

fn quarantined(disk: &SimDisk) -> usize {
    let list = |dir: &str| disk.list(Path::new(dir)).map_or(0, |items| items.len());
    list("/data/quarantine") + list("/data/wal/quarantine") + list("/data/catalog/quarantine")
}

#[test]
fn a_good_folder_is_clean_and_stays_as_it_is() {
    let (disk, files) = folder();
    let bytes: Vec<_> = files.iter().map(|file| disk.read(file).unwrap()).collect();
    for is_deep in [false, true] {
        let report = check(&disk, is_deep);
        assert!(report.is_clean() && report.findings.is_empty(), "{report:?}");
        assert_eq!((report.segments, report.blocks, report.entries, report.wal_records), (2, 2, 2, 1));
    }
    let report = mend(&disk, MEND);
    assert!(report.steps.is_empty() && report.after.is_none());
    assert_eq!(segment_files(&disk), files);
    assert_eq!(files.iter().map(|file| disk.read(file).unwrap()).collect::<Vec<_>>(), bytes);
    assert_eq!(lines(&open(&disk)), ["first day", "second day", "in the log"]);
}

#[test]
fn a_folder_in_use_or_none_at_all_is_refused() {
    let (disk, _) = folder();
    let store = open(&disk);
    let error = fsck(&disk, &root(), false, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("uses it; stop that one"), "{error}");
    drop(store);
    let error = fsck(&disk, Path::new("/other"), false, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("holds neither catalog/ nor tenants/"), "{error}");
    assert!(disk.metadata(Path::new("/other")).unwrap().is_none(), "nothing is made");
}

#[test]
fn any_damaged_byte_of_a_segment_is_found_and_mended() {
    let (disk, files) = folder();
    let whole = disk.read(&files[0]).unwrap();
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        let disk = disk.crash();
        disk.write_atomic(&files[0], &bad).unwrap();
        let found = check(&disk, true);
        assert!(!found.is_clean(), "byte {at}");
        // Mending takes longer than finding.
        if at % MENDED_EVERY != 0 {
            continue;
        }
        let report = mend(&disk, MEND);
        assert_eq!(report.before, found, "byte {at}");
        assert!(report.failures.is_empty() && !report.steps.is_empty(), "byte {at}: {report:?}");
        let left = report.after.unwrap();
        let is_lost = left.findings.iter().any(|finding| matches!(finding.remedy, Remedy::Restore { .. }));
        assert_eq!(left.damages(), usize::from(is_lost), "byte {at}: {left:?}");
        let store = open(&disk);
        let lines = lines(&store);
        assert!(lines.ends_with(&["second day".to_owned(), "in the log".to_owned()]), "byte {at}: {lines:?}");
        assert_eq!(store.damage_found(), 0, "byte {at}");
        // Whose entry is gone, something is kept of; whose index was bad, the entry is there.
        assert!(lines.len() == 3 || quarantined(&disk) == 1, "byte {at}");
    }
}

#[test]
fn any_damaged_byte_of_catalog_and_log_is_told() {
    let (disk, _) = folder();
    for dir in ["/data/catalog", "/data/wal"] {
        let items = disk.list(Path::new(dir)).unwrap();
        for item in items.iter().filter(|item| item.name.ends_with(".log")) {
            let path = Path::new(dir).join(&item.name);
            let whole = disk.read(&path).unwrap();
            for at in 0..whole.len() {
                let mut bad = whole.clone();
                bad[at] ^= 0x10;
                let disk = disk.crash();
                disk.write_atomic(&path, &bad).unwrap();
                let found = check(&disk, true);
                assert!(!found.findings.is_empty(), "byte {at} of {}", path.display());
                if at % MENDED_EVERY != 0 {
                    continue;
                }
                mend(&disk, MEND);
                assert!(check(&disk, true).is_clean(), "byte {at} of {}", path.display());
                assert!(lines(&open(&disk)).starts_with(&["first day".to_owned(), "second day".to_owned()]));
            }
        }
    }
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (disk, files) = folder();
    disk.damage(&files[0], 70, 1).unwrap();
    let before = disk.read(&files[0]).unwrap();
    let report = mend(&disk, RepairOptions { is_dry_run: true, ..MEND });
    assert!(report.steps[0].contains("anew without what is bad"), "{:?}", report.steps);
    assert_eq!((report.after, disk.read(&files[0]).unwrap(), quarantined(&disk)), (None, before, 0));
}

#[test]
fn a_bad_index_is_built_anew() {
    let disk = SimDisk::new();
    let before = lines(&super::files::many_streams(&disk));
    let file = segment_files(&disk).remove(0);
    let bytes = disk.read(&file).unwrap();
    let toc = Toc::decode(&bytes, bytes.len() as u64).unwrap();
    let index = toc.sections.iter().find(|section| section.kind == SECTION_STREAM_INDEX).unwrap();
    disk.damage(&file, index.offset + 20, 0xff).unwrap();
    let found = check(&disk, false);
    assert_eq!((found.damages(), found.findings[0].entries), (1, 0));
    assert!(found.findings[0].what.starts_with("section stream index: checksum mismatch"), "{found:?}");
    assert!(mend(&disk, MEND).after.unwrap().is_clean());
    let store = open(&disk);
    assert_eq!(lines(&store), before);
    let mended = Arc::clone(&store.inner.shared.view().segments[0]);
    let bytes = disk.read(&mended.path).unwrap();
    assert!(Toc::decode(&bytes, bytes.len() as u64).unwrap().has_section(SECTION_STREAM_INDEX));
    assert_eq!(store.inner.shared.metrics.unreadable_indexes.get(), 0);
}

#[test]
fn nothing_goes_by_age_or_bytes_meanwhile() {
    let (disk, files) = folder();
    disk.damage(&files[1], 66, 1).unwrap();
    let retention = crate::RetentionSettings {
        period_secs: Some(1),
        policies: vec![crate::RetentionPolicySettings::default(); 2],
        bytes_max: 1,
    };
    let settings = StoreSettings { retention, ..StoreSettings::default() };
    assert!(mend_with(&disk, settings, MEND).after.unwrap().is_clean());
    assert_eq!(lines(&open(&disk)), ["first day", "in the log"]);
}

#[test]
fn missing_segments_are_told_until_they_are_forgotten() {
    let (disk, files) = folder();
    disk.remove_file(&files[0]).unwrap();
    let found = check(&disk, false);
    assert_eq!((found.damages(), found.findings[0].entries), (1, 1));
    assert_eq!(found.findings[0].what, "file is missing");
    assert!(mend(&disk, MEND).after.is_none(), "nothing can be done");
    let forget = RepairOptions { forgets_lost: true, ..MEND };
    assert!(mend(&disk, forget).after.unwrap().is_clean());
    let store = open(&disk);
    assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
    assert_eq!(lines(&store), ["second day", "in the log"]);
}

#[test]
fn a_lost_catalog_is_written_anew() {
    let (disk, _) = folder();
    for item in disk.list(Path::new("/data/catalog")).unwrap() {
        disk.remove_file(&Path::new("/data/catalog").join(item.name)).unwrap();
    }
    disk.remove_file(Path::new("/data/FORMAT")).unwrap();
    assert!(check(&disk, false).damages() >= 2);
    assert!(mend(&disk, MEND).after.unwrap().is_clean());
    assert_eq!(lines(&open(&disk)), ["first day", "second day", "in the log"]);
}
