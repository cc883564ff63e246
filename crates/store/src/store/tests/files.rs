//! Segment files that are missing or damaged.

use super::*;
use crate::segment_format::{SECTION_STREAM_INDEX, Toc};

/// A disk with two days of entries in two segments, and the files in order of time.
fn two_days() -> (SimDisk, Vec<PathBuf>) {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS, "first day"), (NOON_NS + 24 * HOUR_NS, "second day")]))
        .unwrap();
    run(store.close()).unwrap();
    let disk = disk.crash();
    let mut files = segment_files(&disk);
    files.sort();
    assert_eq!(files.len(), 2);
    assert!(files[0].starts_with("/data/tenants/fake/20260601/30d"), "{files:?}");
    assert!(files[0].to_string_lossy().ends_with("-L0.seg"));
    (disk, files)
}

fn expect_lost(store: &Store, reason: &str) {
    let tenant = Tenant::single();
    let lost = store.lost_segments(&tenant, TimeRange::ALL);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].reason.contains(reason), "{lost:?}");
    assert_eq!((lost[0].min_ns, lost[0].entries), (NOON_NS, 1));
    let later = TimeRange { start_ns: NOON_NS + HOUR_NS, end_ns: i64::MAX };
    assert!(store.lost_segments(&tenant, later).is_empty());
    assert!(store.lost_segments(&Tenant::new("other").unwrap(), TimeRange::ALL).is_empty());
}

#[test]
fn a_missing_segment_stops_nothing() {
    let (disk, files) = two_days();
    disk.remove_file(&files[0]).unwrap();
    for more in 1..3 {
        let store = open(&disk);
        assert_eq!(lines(&store).len(), more);
        expect_lost(&store, "file is missing");
        append(&store, batch("a", None, &[(NOON_NS + 25 * HOUR_NS, &more.to_string())])).unwrap();
        run(store.close()).unwrap();
    }
}

#[test]
fn a_cut_segment_goes_to_quarantine() {
    let (disk, files) = two_days();
    disk.truncate(&files[0], 100).unwrap();
    let store = open(&disk);
    assert_eq!(lines(&store), ["second day"]);
    expect_lost(&store, "100 bytes, want");
    let quarantined = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(quarantined.len(), 1);
}

#[test]
fn a_segment_with_a_damaged_end_is_lost_at_first_use() {
    let (disk, files) = two_days();
    let bytes = disk.metadata(&files[0]).unwrap().unwrap().bytes;
    disk.damage(&files[0], bytes - 40, 1).unwrap();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(lines(&store), ["second day"]);
        expect_lost(&store, "checksum mismatch");
        run(store.close()).unwrap();
    }
}

#[test]
fn a_damaged_block_is_an_error_of_its_query_alone() {
    let (disk, files) = two_days();
    disk.damage(&files[0], 66, 1).unwrap();
    let store = open(&disk);
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    let error = views[0].block.timestamps().unwrap_err();
    assert_eq!(error.kind(), logyard_codec::Kind::Corrupt);
    assert!(error.to_string().contains("offset 64"), "{error}");
    let block = format!("{:?}", views[0].block);
    assert!(block.contains(&*files[0].to_string_lossy()), "the block names its file: {block}");
    assert_eq!(views[1].block.timestamps().unwrap(), [NOON_NS + 24 * HOUR_NS]);
}

#[test]
fn answers_stay_without_a_stream_index() {
    let (disk, files) = two_days();
    for file in &files {
        let bytes = disk.read(file).unwrap();
        let toc = Toc::decode(&bytes, bytes.len() as u64).unwrap();
        let index = toc.sections.iter().find(|section| section.kind == SECTION_STREAM_INDEX).unwrap();
        disk.damage(file, index.offset + 20, 0xff).unwrap();
    }
    let store = open(&disk);
    assert_eq!(lines(&store), ["first day", "second day"]);
    let none = find(&store, &Tenant::single(), &[matcher("app", MatchOp::NotEqual, "a")], TimeRange::ALL);
    assert!(none.is_empty());
    assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
}

#[test]
fn a_lost_catalog_refuses_rather_than_removing_segments() {
    let (disk, files) = two_days();
    for item in disk.list(Path::new("/data/catalog")).unwrap() {
        disk.remove_file(&Path::new("/data/catalog").join(item.name)).unwrap();
    }
    let error = try_open(&disk, StoreSettings::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("restore catalog/ from a backup"), "{error}");
    assert_eq!(segment_files(&disk).len(), files.len());
}
