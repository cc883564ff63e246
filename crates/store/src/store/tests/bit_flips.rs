//! A bit flips in each part of each kind of file, and each file is missing in turn: it is found and told, costs what
//! it held and nothing else, and the store goes on.

use super::scenarios::stride;
use super::*;
use crate::compaction::Form;
use crate::compaction_plan::plan;
use crate::fsck::fsck;
use crate::maintenance::{Pace, Worker};
use crate::segment_format::{SECTION_IDS, SECTION_LINEAGE, SECTION_STREAM_INDEX, SECTION_WORDS, Toc};
use crate::segment_tables::SegmentTables;
use crate::segment_write::INDEXED_STREAMS_MIN;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

const DAY_NS: i64 = 24 * HOUR_NS;

/// What may be missing after a part was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Costs {
    Nothing,
    /// A block, which queries over its time are told of.
    Block,
    /// The segment, which is in quarantine then, and which queries over its day are told of.
    Segment,
    /// Batches of the log: no query knows of when they were.
    Batch,
}

/// A folder with a compacted segment of the first day, a flushed one of the second, and two batches of the third in
/// the log.
struct Sample {
    disk: SimDisk,
    found: Vec<Found>,
}

fn tenant() -> Tenant {
    Tenant::single()
}

fn sample() -> Sample {
    let disk = SimDisk::new();
    let store = open(&disk);
    for part in 0..8 {
        let chunk = |number: usize| {
            let (app, host) = (format!("app{}", number / 2), ["one", "two"][number % 2]);
            let mut entries = Entries::default();
            for row in 0..3 {
                let ts_ns = NOON_NS + (part * 1_000_000 + number * 1_000 + row) as i64;
                let line = format!("GET /path/{number} trace={:032x} took {row} ms", number * row + part);
                let metadata = LabelSet::from_pairs([("trace", row.to_string())]);
                entries.push(ts_ns, line.as_bytes(), ["info", "error"][row % 2], &metadata);
            }
            (stream(&tenant(), &[("app", &app), ("host", host)]), entries)
        };
        let chunks = (0..INDEXED_STREAMS_MIN / 8 * (part + 1)).map(chunk).collect();
        append(&store, StoreBatch { tenant: tenant(), id: Some(id(part as u64 + 1)), chunks, encoded: None })
            .unwrap();
        run(store.flush()).unwrap();
    }
    compact_with_words(&store.inner.shared);
    store.inner.shared.sweep();
    append(&store, batch("second", Some(id(20)), &[(NOON_NS + DAY_NS, "second day")])).unwrap();
    run(store.flush()).unwrap();
    append(&store, batch("log", Some(id(21)), &[(NOON_NS + 2 * DAY_NS, "in the log")])).unwrap();
    append(&store, batch("log", Some(id(22)), &[(NOON_NS + 2 * DAY_NS + 1, "in the log too")])).unwrap();
    let found = find(&store, &tenant(), &[], TimeRange::ALL);
    drop(store);
    assert_eq!(segment_files(&disk).len(), 2);
    Sample { disk, found }
}

/// Merges the flushed segments into one that has every index, though it has few lines.
fn compact_with_words(shared: &Shared) {
    let records = shared.catalog.lock().state().segments.clone();
    let jobs = plan(&records, &[], &HashSet::new(), &HashSet::new(), &[], NOON_NS);
    let form = Form { words_raw_bytes_min: 0, ..Form::BEST };
    crate::compaction::run(shared, &jobs[0], form, &mut Pace::new(shared)).unwrap();
}

fn day(number: i64) -> TimeRange {
    let start_ns = NOON_NS - 12 * HOUR_NS + number * DAY_NS;
    TimeRange { start_ns, end_ns: start_ns + DAY_NS }
}

/// Starts on a damaged copy, asks for everything, and checks that it costs no more than it may, that it is told, and
/// that the store goes on. `hit` is the day of what is damaged.
fn check(sample: &Sample, disk: &SimDisk, costs: Costs, hit: i64, what: &str) -> usize {
    let store = open(disk);
    let found = find(&store, &tenant(), &[], TimeRange::ALL);
    let whole: BTreeSet<&Found> = sample.found.iter().collect();
    assert!(found.iter().all(|entry| whole.contains(entry)), "{what}: something is invented");
    let there: BTreeSet<&Found> = found.iter().collect();
    let missing: Vec<&&Found> = whole.iter().filter(|entry| !there.contains(*entry)).collect();
    assert!(missing.iter().all(|entry| day(hit).contains(entry.1)), "{what}: another day is harmed");
    let (lost, blocks) =
        (store.lost_segments(&tenant(), day(hit)), store.damaged_blocks(&tenant(), day(hit)));
    match costs {
        Costs::Nothing => {
            assert_eq!((missing.len(), lost.len(), blocks.len()), (0, 0, 0), "{what}");
        }
        Costs::Block => {
            let told: u64 = blocks.iter().map(|block| block.entries).sum();
            assert_eq!((missing.len() as u64, lost.len()), (told, 0), "{what}");
        }
        Costs::Segment => {
            let told: u64 = lost.iter().map(|lost| lost.entries).sum();
            assert_eq!((missing.len() as u64, blocks.len()), (told, 0), "{what}");
        }
        Costs::Batch => {
            assert_eq!((lost.len(), blocks.len()), (0, 0), "{what}");
            let damaged = store.inner.shared.metrics.damaged_records.get();
            assert!(missing.is_empty() || damaged > 0, "{what}: acknowledged entries are gone untold");
        }
    }
    for other in (0..3).filter(|other| *other != hit) {
        assert!(store.lost_segments(&tenant(), day(other)).is_empty(), "{what}");
        assert!(store.damaged_blocks(&tenant(), day(other)).is_empty(), "{what}");
    }
    let missing = missing.len();
    // It goes on: takes batches, flushes, compacts around what is bad, and starts again.
    append(&store, batch("later", Some(id(30)), &[(NOON_NS + 3 * DAY_NS, "later")])).unwrap();
    run(store.flush()).unwrap();
    let mut worker = Worker::default();
    assert!((0..20).any(|_| !worker.run_once(&store.inner.shared)), "{what}: compaction comes to an end");
    store.inner.shared.sweep();
    let count = found.len() + 1;
    assert_eq!(find(&store, &tenant(), &[], TimeRange::ALL).len(), count, "{what}, later");
    drop(store);
    let store = open(&disk.crash());
    assert_eq!(find(&store, &tenant(), &[], TimeRange::ALL).len(), count, "{what}, after another start");
    assert!(append(&store, batch("later", Some(id(30)), &[(1, "again")])).unwrap().duplicate, "{what}");
    missing
}

/// The parts of a segment file, by name, and what they cost.
fn parts(file: &[u8]) -> Vec<(String, Range<u64>, Costs)> {
    let bytes = file.len() as u64;
    let toc = Toc::decode(file, bytes).unwrap();
    let tables = SegmentTables::decode(&toc, file, bytes).unwrap();
    let mut parts = vec![("header".to_owned(), 0..64, Costs::Nothing)];
    for (number, block) in tables.blocks.iter().enumerate() {
        let mut start = block.offset;
        for section in &block.meta.sections {
            let end = start + u64::from(section.bytes);
            parts.push((format!("section {} of block {number}", section.kind), start..end, Costs::Block));
            start = end;
        }
        assert_eq!(start, block.offset + u64::from(block.bytes), "a block is its sections");
    }
    let mut end = 0;
    for section in &toc.sections {
        end = section.offset + section.bytes;
        let costs = if section.is_required { Costs::Segment } else { Costs::Nothing };
        parts.push((format!("section {}", section.kind), section.offset..end, costs));
    }
    parts.push(("table of contents".to_owned(), end..bytes - 20, Costs::Segment));
    parts.push(("footer".to_owned(), bytes - 20..bytes - 12, Costs::Segment));
    parts.push(("start of the index area".to_owned(), bytes - 12..bytes - 4, Costs::Segment));
    parts.push(("magic".to_owned(), bytes - 4..bytes, Costs::Segment));
    parts
}

#[test]
fn a_bit_of_any_part_of_a_segment_costs_that_part() {
    let sample = sample();
    for (hit, path) in (0..).zip(segment_files(&sample.disk)) {
        let file = sample.disk.read(&path).unwrap();
        let parts = parts(&file);
        let kinds: BTreeSet<u16> =
            Toc::decode(&file, file.len() as u64).unwrap().sections.iter().map(|one| one.kind).collect();
        if hit == 0 {
            let all: BTreeSet<u16> = (1..=SECTION_IDS).chain([SECTION_LINEAGE]).collect();
            assert_eq!(kinds, all, "every kind of section");
        }
        for (name, range, costs) in parts {
            let places = BTreeSet::from([range.start, (range.start + range.end) / 2, range.end - 1]);
            let mut cost = 0;
            for (at, mask) in places.into_iter().zip([1, 0x10, 0x80]) {
                let what = format!("{name} of day {hit}, byte {at}");
                let disk = sample.disk.crash();
                disk.damage(&path, at, mask).unwrap();
                let report = fsck(&disk, &root(), true, &mut |_| {}).unwrap();
                assert!(!report.is_clean(), "{what}: fsck finds nothing");
                cost += check(&sample, &disk, costs, hit, &what);
            }
            let is_told = cost > 0 || costs == Costs::Nothing || name == "start of the index area";
            assert!(is_told, "{name} of day {hit} costs nothing");
        }
    }
}

/// Returns the lines that queries by the indexes find, each of other words, ids and labels.
fn ask_indexes(store: &Store) -> Vec<usize> {
    let literals = ["GET", "nosuchword", "00000000000000000000000000000007", "ace=0"];
    let mut found: Vec<usize> = Vec::new();
    for literal in literals {
        let prefilter = Prefilter { literals: vec![literal.as_bytes().to_vec()], any_of: Vec::new() };
        let entries = find_with(store, &tenant(), &[], TimeRange::ALL, &prefilter);
        let holds = |entry: &&Found| String::from_utf8_lossy(&entry.2).contains(literal);
        found.push(entries.iter().filter(holds).count());
    }
    for (op, app) in [(MatchOp::Equal, "app3"), (MatchOp::Regex, "app1.*"), (MatchOp::NotEqual, "app2")] {
        found.push(find(store, &tenant(), &[matcher("app", op, app)], TimeRange::ALL).len());
    }
    found
}

#[test]
fn a_bit_of_an_index_anywhere_costs_no_answer() {
    let sample = sample();
    let path = segment_files(&sample.disk).remove(0);
    let file = sample.disk.read(&path).unwrap();
    let expect = ask_indexes(&open(&sample.disk.crash()));
    assert!(expect[0] > 100 && expect[1] == 0 && expect[2..].iter().all(|count| *count > 0), "{expect:?}");
    let toc = Toc::decode(&file, file.len() as u64).unwrap();
    for kind in [SECTION_STREAM_INDEX, SECTION_WORDS, SECTION_IDS] {
        let section = toc.sections.iter().find(|section| section.kind == kind).unwrap();
        for at in (section.offset..section.offset + section.bytes).step_by(stride(131) as usize) {
            let what = format!("byte {at}, in section {kind}");
            let disk = sample.disk.crash();
            disk.damage(&path, at, 1 << (at % 8)).unwrap();
            let store = open(&disk);
            assert_eq!(ask_indexes(&store), expect, "{what}");
            assert_eq!(store.inner.shared.reads.unreadable_indexes.get(), 1, "{what}: said once");
            assert_eq!(
                (store.damage_found(), store.lost_segments(&tenant(), day(0)).len()),
                (0, 0),
                "{what}"
            );
        }
    }
}

/// Returns the files of a folder that are no folders themselves.
fn files_of(disk: &SimDisk, dir: &str) -> Vec<PathBuf> {
    let dir = root().join(dir);
    let items = disk.list(&dir).unwrap();
    items.into_iter().filter(|item| !item.is_dir).map(|item| dir.join(item.name)).collect()
}

#[test]
fn a_bit_of_the_logs_costs_a_batch_at_most() {
    let sample = sample();
    for (dir, costs) in [("wal", Costs::Batch), ("catalog", Costs::Nothing)] {
        let mut most = 0;
        for path in files_of(&sample.disk, dir) {
            let bytes = sample.disk.metadata(&path).unwrap().unwrap().bytes;
            // The catalog's files are long, and its records are all alike.
            let step = if dir == "wal" { stride(7) } else { stride(97) };
            for at in (0..bytes).step_by(step as usize) {
                let what = format!("byte {at} of {}", path.display());
                let disk = sample.disk.crash();
                disk.damage(&path, at, 1 << (at % 8)).unwrap();
                let report = fsck(&disk, &root(), true, &mut |_| {}).unwrap();
                assert!(!report.findings.is_empty(), "{what}: fsck finds nothing");
                let cost = check(&sample, &disk, costs, 2, &what);
                assert!(cost <= 1, "{what} costs {cost} batches");
                most = most.max(cost);
            }
        }
        assert_eq!(most > 0, costs == Costs::Batch, "{dir}");
    }
}

#[test]
fn a_bit_of_any_other_file_costs_nothing() {
    let sample = sample();
    for path in files_of(&sample.disk, "") {
        let bytes = sample.disk.metadata(&path).unwrap().unwrap().bytes;
        for at in (0..bytes).step_by(stride(2) as usize) {
            let what = format!("byte {at} of {}", path.display());
            let disk = sample.disk.crash();
            // One that makes another digit of the format's number is that of another version, and refused.
            disk.damage(&path, at, 0x80).unwrap();
            assert!(!fsck(&disk, &root(), true, &mut |_| {}).unwrap().is_clean(), "{what}");
            check(&sample, &disk, Costs::Nothing, 2, &what);
        }
    }
}

#[test]
fn any_missing_file_costs_what_it_held() {
    let sample = sample();
    let segments = segment_files(&sample.disk);
    let hit = |path: &PathBuf| segments.iter().position(|segment| segment == path);
    let files = ["", "wal", "catalog"].iter().flat_map(|dir| files_of(&sample.disk, dir));
    for path in files.chain(segments.iter().cloned()) {
        let what = format!("{} is missing", path.display());
        let disk = sample.disk.crash();
        disk.remove_file(&path).unwrap();
        disk.sync_dir(path.parent().unwrap()).unwrap();
        let is_of_log = path.starts_with(root().join("wal"));
        let costs = match hit(&path) {
            Some(_) => Costs::Segment,
            None if is_of_log => Costs::Batch,
            None => Costs::Nothing,
        };
        let is_lock = path.ends_with("LOCK");
        assert_eq!(fsck(&disk, &root(), false, &mut |_| {}).unwrap().is_clean(), is_lock, "{what}");
        let cost = check(&sample, &disk, costs, hit(&path).map_or(2, |day| day as i64), &what);
        assert_eq!(cost > 0, costs != Costs::Nothing, "{what}");
    }
}
