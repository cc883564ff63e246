//! Segment files that are missing or damaged.

use super::*;
use crate::segment_format::{SECTION_STREAM_INDEX, Toc};
use crate::segment_write::INDEXED_STREAMS_MIN;

/// A disk with two days of entries in two segments, and the files in order of time.
fn two_days() -> (SimDisk, Vec<PathBuf>) {
    let disk = SimDisk::new();
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS, "first day"), (NOON_NS + 24 * HOUR_NS, "second day")]))
        .unwrap();
    run(store.close()).unwrap();
    let disk = disk.crash();
    let files = segment_files(&disk);
    assert_eq!(files.len(), 2);
    assert!(files[0].starts_with("/data/tenants/fake/20260601/forever"), "{files:?}");
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
fn a_restored_segment_is_taken_back() {
    let (disk, files) = two_days();
    let bytes = disk.read(&files[0]).unwrap();
    disk.remove_file(&files[0]).unwrap();
    run(open(&disk).close()).unwrap();
    // Cut short, it stays lost, and where it was put.
    disk.write_atomic(&files[0], &bytes[1..]).unwrap();
    let store = open(&disk);
    expect_lost(&store, "file is missing");
    run(store.close()).unwrap();
    assert_eq!(segment_files(&disk), files);
    disk.write_atomic(&files[0], &bytes).unwrap();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(lines(&store), ["first day", "second day"]);
        assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
        assert_eq!(store.inner.shared.metrics.segments_lost.get(), 0);
        run(store.close()).unwrap();
    }
    assert_eq!(segment_files(&disk.crash()), files);
}

#[test]
fn a_damaged_segment_is_taken_back_from_a_backup_and_not_from_another_damaged_file() {
    let (disk, files) = two_days();
    let bytes = disk.read(&files[0]).unwrap();
    let spoil = || disk.damage(&files[0], bytes.len() as u64 - 40, 1).unwrap();
    spoil();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(lines(&store), ["second day"]);
        expect_lost(&store, "checksum mismatch");
        run(store.close()).unwrap();
        disk.write_atomic(&files[0], &bytes).unwrap();
        spoil();
    }
    disk.write_atomic(&files[0], &bytes).unwrap();
    assert_eq!(lines(&open(&disk)), ["first day", "second day"]);
}

#[test]
fn a_folder_without_any_of_its_segments_is_refused() {
    let (disk, files) = two_days();
    let bytes: Vec<_> = files.iter().map(|file| disk.read(file).unwrap()).collect();
    files.iter().for_each(|file| disk.remove_file(file).unwrap());
    for _ in 0..2 {
        let error = try_open(&disk, StoreSettings::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let text =
            "none of the 2 segments in its catalog is below /data/tenants; mount or restore that folder";
        assert!(error.to_string().contains(text), "{error}");
    }
    files.iter().zip(&bytes).for_each(|(file, bytes)| disk.write_atomic(file, bytes).unwrap());
    let store = open(&disk);
    assert_eq!(lines(&store), ["first day", "second day"]);
    run(store.close()).unwrap();
    // What the text says to do if they are gone for good.
    files.iter().for_each(|file| disk.remove_file(file).unwrap());
    for item in disk.list(Path::new("/data/catalog")).unwrap() {
        disk.remove_file(&Path::new("/data/catalog").join(item.name)).unwrap();
    }
    append(&open(&disk), batch("a", None, &[(1, "new")])).unwrap();
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
fn a_segment_of_a_newer_version_is_refused_by_name_and_kept() {
    let (disk, files) = two_days();
    let mut bytes = disk.read(&files[0]).unwrap();
    let toc = Toc::decode(&bytes, bytes.len() as u64).unwrap();
    let mut end = toc.encode(toc.index_start());
    let start = bytes.len() - end.len();
    // The table starts with its version and ends before the footer of 20 bytes, which holds its checksum.
    let footer = end.len() - 20;
    end[0] += 1;
    let crc = crc32c::crc32c(&end[..footer]);
    end[footer..footer + 4].copy_from_slice(&crc.to_le_bytes());
    bytes[start..].copy_from_slice(&end);
    disk.write_atomic(&files[0], &bytes).unwrap();
    for views in 1..=2 {
        let store = open(&disk);
        let select = |range| store.select(&Tenant::single(), &[], range, &Prefilter::default());
        let error = select(TimeRange::ALL).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let text = format!("cannot open segment {}: segment has version 2, known is 1", files[0].display());
        assert!(error.to_string().starts_with(&text), "{error}");
        let later = TimeRange { start_ns: NOON_NS + HOUR_NS, end_ns: i64::MAX };
        assert_eq!(select(later).unwrap().len(), views, "the rest is answered");
        assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
        append(&store, batch("a", None, &[(NOON_NS + 26 * HOUR_NS, "more")])).unwrap();
        drop(store);
    }
    assert_eq!(segment_files(&disk), files);
}

#[test]
fn a_damaged_block_is_left_out_once_it_is_found() {
    let (disk, files) = two_days();
    disk.damage(&files[0], 66, 1).unwrap();
    let store = open(&disk);
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    let error = views[0].block.timestamps().unwrap_err();
    assert_eq!(error.kind(), logyard_codec::Kind::Corrupt);
    let (text, path) = (error.to_string(), files[0].display());
    let start = format!(
        "cannot decode timestamps of the block at offset 64 of {path}: checksum mismatch at offset 64 (want "
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(text.ends_with("); restore the file from a backup"), "{text}");
    assert_eq!(views[1].block.timestamps().unwrap(), [NOON_NS + 24 * HOUR_NS]);
    assert_eq!(store.damage_found(), 1);
    assert!(views[0].block.timestamps().is_err(), "told once more, counted once");
    let tenant = Tenant::single();
    let found = store.damaged_blocks(&tenant, TimeRange::ALL);
    assert_eq!((store.damage_found(), found.len()), (1, 1));
    assert_eq!((found[0].offset, found[0].entries, found[0].min_ns), (64, 1, NOON_NS));
    assert_eq!(lines(&store), ["second day"]);
    let later = TimeRange { start_ns: NOON_NS + HOUR_NS, end_ns: i64::MAX };
    assert!(store.damaged_blocks(&tenant, later).is_empty());
    assert!(store.damaged_blocks(&Tenant::new("other").unwrap(), TimeRange::ALL).is_empty());
}

/// A store with one entry each of as many streams as an index pays for, in one segment.
pub(super) fn many_streams(disk: &SimDisk) -> Store {
    let (store, tenant) = (open(disk), Tenant::single());
    let chunk = |number: usize| {
        let (app, host) = (format!("app{}", number / 2), ["one", "two"][number % 2]);
        (stream(&tenant, &[("app", &app), ("host", host)]), entries(&[(NOON_NS + number as i64, host)]))
    };
    let chunks = (0..INDEXED_STREAMS_MIN).map(chunk).collect();
    append(&store, StoreBatch { tenant: tenant.clone(), id: None, chunks, encoded: None }).unwrap();
    run(store.flush()).unwrap();
    store
}

#[test]
fn answers_stay_without_a_stream_index() {
    let disk = SimDisk::new();
    drop(many_streams(&disk));
    let file = segment_files(&disk).remove(0);
    let bytes = disk.read(&file).unwrap();
    let toc = Toc::decode(&bytes, bytes.len() as u64).unwrap();
    let index = toc.sections.iter().find(|section| section.kind == SECTION_STREAM_INDEX).unwrap();
    let answers = |unreadable| {
        let store = open(&disk);
        let ask = |name, op, value| {
            find(&store, &Tenant::single(), &[matcher(name, op, value)], TimeRange::ALL).len()
        };
        let answers = [
            ask("app", MatchOp::Equal, "app7"),
            ask("app", MatchOp::NotEqual, "app7"),
            ask("app", MatchOp::Regex, "app[12]"),
            ask("host", MatchOp::NotRegex, "t.*"),
            ask("absent", MatchOp::Equal, ""),
            ask("absent", MatchOp::NotEqual, ""),
        ];
        assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
        assert_eq!(store.inner.shared.metrics.unreadable_indexes.get(), unreadable);
        answers
    };
    let all = INDEXED_STREAMS_MIN;
    assert_eq!(answers(0), [2, all - 2, 4, all / 2, all, 0]);
    disk.damage(&file, index.offset + 20, 0xff).unwrap();
    assert_eq!(answers(1), [2, all - 2, 4, all / 2, all, 0]);
}

/// Removes the files of the catalog.
fn lose_catalog(disk: &SimDisk) {
    for item in disk.list(Path::new("/data/catalog")).unwrap().iter().filter(|item| !item.is_dir) {
        disk.remove_file(&Path::new("/data/catalog").join(&item.name)).unwrap();
    }
}

#[test]
fn a_lost_catalog_is_written_anew_from_the_segments() {
    let (disk, files) = two_days();
    lose_catalog(&disk);
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(lines(&store), ["first day", "second day"]);
        assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
        run(store.close()).unwrap();
    }
    assert_eq!(segment_files(&disk), files);
    let store = open(&disk);
    append(&store, batch("a", None, &[(NOON_NS + 25 * HOUR_NS, "later")])).unwrap();
    run(store.close()).unwrap();
    assert_eq!(lines(&open(&disk.crash())), ["first day", "second day", "later"]);
}

#[test]
fn any_damaged_byte_of_the_catalog_loses_no_entry() {
    let (disk, files) = two_days();
    let (catalog, bytes) = catalog_file(&disk);
    let whole = disk.read(&catalog).unwrap();
    for at in 0..bytes as usize {
        let mut bad = whole.clone();
        bad[at] ^= 0x20;
        // Each time from the same files: a start mends them.
        let copy = disk.crash();
        copy.write_atomic(&catalog, &bad).unwrap();
        let store = open(&copy);
        assert_eq!(lines(&store), ["first day", "second day"], "byte {at}");
        drop(store);
        assert_eq!(segment_files(&copy), files, "byte {at}");
    }
}

/// The only file of the catalog, and its length.
fn catalog_file(disk: &SimDisk) -> (PathBuf, u64) {
    let dir = Path::new("/data/catalog");
    let items = disk.list(dir).unwrap();
    let item = items.iter().find(|item| item.name.ends_with(".log")).unwrap();
    (dir.join(&item.name), item.bytes)
}

#[test]
fn segments_outlive_the_edit_that_listed_them() {
    let (disk, files) = two_days();
    let (catalog, bytes) = catalog_file(&disk);
    disk.truncate(&catalog, bytes - 1).unwrap();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(lines(&store), ["first day", "second day"]);
        run(store.close()).unwrap();
    }
    assert_eq!(segment_files(&disk.crash()), files);
}

#[test]
fn segments_outlive_a_flipped_bit_in_the_last_edit() {
    let (disk, files) = two_days();
    let (catalog, bytes) = catalog_file(&disk);
    disk.damage(&catalog, bytes - 3, 4).unwrap();
    let store = open(&disk);
    assert_eq!(lines(&store), ["first day", "second day"]);
    append(&store, batch("a", None, &[(NOON_NS + 25 * HOUR_NS, "later")])).unwrap();
    run(store.close()).unwrap();
    assert_eq!(lines(&open(&disk)), ["first day", "second day", "later"]);
    assert_eq!(segment_files(&disk)[..1], files[..1]);
}

#[test]
fn a_segment_nobody_lists_that_cannot_be_read_goes_to_quarantine() {
    let (disk, files) = two_days();
    let (catalog, bytes) = catalog_file(&disk);
    disk.truncate(&catalog, bytes - 1).unwrap();
    let end = disk.metadata(&files[0]).unwrap().unwrap().bytes;
    disk.damage(&files[0], end - 40, 1).unwrap();
    let store = open(&disk);
    assert_eq!(lines(&store), ["second day"]);
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap().len(), 1, "kept for a person");
}
