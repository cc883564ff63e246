//! The store as a whole on a simulated disk.

mod bit_flips;
mod budget;
mod clocks;
mod compaction;
mod content;
mod crash_points;
mod deletes;
mod disk_faults;
mod faults;
mod files;
mod follow;
mod formats;
mod freezing;
mod import;
mod kept_blocks;
mod model;
mod month;
mod repair;
mod retention;
mod scenarios;
mod snapshot;
mod space;
mod storage_report;
mod world;

use super::*;
use crate::{Kind, SyncMode};
use logyard_model::MatchOp;
use logyard_sys::{SimClock, SimDisk};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Noon of 2026-06-01.
const NOON_NS: i64 = 1_780_315_200_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

/// An entry as it is found: labels, time, line, level, metadata.
type Found = (String, i64, Vec<u8>, String, String);

/// Returns a number of its own for each store of a test: two that shared their randomness would name their
/// segments alike.
fn next_seed() -> u64 {
    SEEDS.set(SEEDS.get() + 1);
    SEEDS.get()
}

thread_local!(static SEEDS: Cell<u64> = const { Cell::new(0) });

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Waits until something is so that other threads bring about, for as long as any machine may take.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let clock = logyard_sys::RealClock::new();
    while !is_so() {
        assert!(clock.monotonic_ns() < 120_000_000_000, "{what}: not in two minutes");
        std::thread::yield_now();
    }
}

fn root() -> PathBuf {
    PathBuf::from("/data")
}

fn try_open(disk: &SimDisk, settings: StoreSettings) -> Result<Store> {
    open_at(disk, settings, &Arc::new(SimClock::new(NOON_NS)))
}

/// Opens a store whose maintenance runs when a test says so.
fn open_at(disk: &SimDisk, settings: StoreSettings, clock: &Arc<SimClock>) -> Result<Store> {
    open_with_rules(disk, settings, StoreRules::default(), clock)
}

fn open_with_rules(
    disk: &SimDisk,
    settings: StoreSettings,
    rules: StoreRules,
    clock: &Arc<SimClock>,
) -> Result<Store> {
    let store = open_at_rest(disk, settings, rules, Arc::<SimClock>::clone(clock))?;
    store.begin_epoch();
    Ok(store)
}

/// Opens a store that has not noted its policies yet.
fn open_at_rest(
    disk: &SimDisk,
    mut settings: StoreSettings,
    rules: StoreRules,
    clock: Arc<dyn Clock>,
) -> Result<Store> {
    if settings.retention == crate::RetentionSettings::default() {
        // Many tests have entries of 1970.
        settings.retention.period_secs = Some(0);
    }
    if settings.snapshots == crate::SnapshotSettings::default() {
        settings.snapshots.keep_secs = 0;
    }
    if settings.disk == crate::DiskSettings::default() {
        // Many tests fill the disk to see what a failed write does.
        settings.disk = crate::DiskSettings { free_bytes_min: Some(0), ballast_bytes: 0 };
    }
    let mut registry = Registry::default();
    let parts = StoreParts {
        disk: Arc::new(disk.clone()),
        clock,
        random: Arc::new(Random::seeded(next_seed())),
        registry: &mut registry,
    };
    Store::open_at_rest(&root(), settings, rules, parts)
}

fn open_with(disk: &SimDisk, settings: StoreSettings) -> Store {
    let store = try_open(disk, settings).unwrap();
    run(store.recovered()).unwrap();
    store
}

fn open(disk: &SimDisk) -> Store {
    open_with(disk, StoreSettings::default())
}

fn stream(tenant: &Tenant, pairs: &[(&str, &str)]) -> Arc<Stream> {
    Arc::new(Stream::new(tenant, LabelSet::from_pairs(pairs.iter().copied())))
}

fn entries(rows: &[(i64, &str)]) -> Entries {
    let mut entries = Entries::default();
    for (ts_ns, line) in rows {
        entries.push(*ts_ns, line.as_bytes(), "", &LabelSet::default());
    }
    entries
}

/// Names and values of labels are those of the streams.
fn check_labels(store: &Store, tenant: &Tenant, matchers: &[Matcher], range: TimeRange) {
    let streams = store.streams(tenant, matchers, range).unwrap();
    let names: BTreeSet<String> =
        streams.iter().flat_map(|one| one.labels.iter()).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(store.label_names(tenant, matchers, range).unwrap(), names, "{matchers:?} {range:?}");
    for name in names.iter().map(String::as_str).chain(["nosuch", ""]) {
        let values: BTreeSet<String> =
            streams.iter().filter_map(|one| one.labels.get(name)).map(str::to_owned).collect();
        assert_eq!(store.label_values(tenant, name, matchers, range).unwrap(), values, "{name} {range:?}");
    }
}

fn id(sequence: u64) -> BatchId {
    BatchId { source: [7; 16], epoch: 1, sequence }
}

/// A batch of one stream of the single tenant.
fn batch(name: &str, id: Option<BatchId>, rows: &[(i64, &str)]) -> StoreBatch {
    let tenant = Tenant::single();
    let chunks = vec![(stream(&tenant, &[("app", name)]), entries(rows))];
    StoreBatch { tenant, id, chunks, encoded: None }
}

fn append(store: &Store, batch: StoreBatch) -> Result<Appended> {
    run(store.append(batch))
}

fn stored() -> Appended {
    Appended { duplicate: false }
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

/// Returns what a query finds, sorted; checks what every view promises.
fn find(store: &Store, tenant: &Tenant, matchers: &[Matcher], range: TimeRange) -> Vec<Found> {
    find_with(store, tenant, matchers, range, &Prefilter::default())
}

/// Returns all entries of the blocks that a prefilter leaves. Asks again if a block turns out to be damaged, as the
/// server does: the next views are without it.
fn find_with(
    store: &Store,
    tenant: &Tenant,
    matchers: &[Matcher],
    range: TimeRange,
    prefilter: &Prefilter,
) -> Vec<Found> {
    loop {
        let damage = store.damage_found();
        match try_find(store, tenant, matchers, range, prefilter) {
            Err(error) if error.kind() == logyard_codec::Kind::Corrupt && store.damage_found() > damage => {}
            found => return found.unwrap(),
        }
    }
}

fn try_find(
    store: &Store,
    tenant: &Tenant,
    matchers: &[Matcher],
    range: TimeRange,
    prefilter: &Prefilter,
) -> std::result::Result<Vec<Found>, logyard_codec::Error> {
    let views = store.select(tenant, matchers, range, prefilter).unwrap();
    assert!(views.is_sorted_by_key(|view| view.arrival), "views stand in order of arrival");
    let mut found = Vec::new();
    for view in &views {
        assert!(!view.runs.is_empty(), "a view holds a run");
        for run in &view.runs {
            // As queries do, which leave what they decode to the next.
            let rows = crate::head::entries_of(&view.block.shared(), run.rows.clone())?;
            assert_eq!((rows.min_ns(), rows.max_ns()), (run.min_ns, run.max_ns));
            assert_eq!(rows.line_bytes(), run.raw_bytes);
            assert!(
                rows.is_sorted() && rows.clone().sort_and_dedupe() == 0,
                "runs are sorted and have no equals"
            );
            assert!(matchers.iter().all(|matcher| matcher.matches_set(&run.stream.labels)));
            assert_eq!(run.stream.id, StreamId::of(tenant, &run.stream.labels));
            for row in (0..rows.len()).filter(|row| range.contains(rows.ts_ns()[*row])) {
                found.push((
                    run.stream.labels.to_string(),
                    rows.ts_ns()[row],
                    rows.line(row).to_vec(),
                    rows.level(row).to_owned(),
                    rows.metadata(row).to_string(),
                ));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the lines of the single tenant, sorted by time.
fn lines(store: &Store) -> Vec<String> {
    let mut found = find(store, &Tenant::single(), &[], TimeRange::ALL);
    found.sort_by_key(|entry| entry.1);
    found.into_iter().map(|entry| String::from_utf8(entry.2).unwrap()).collect()
}

fn segment_files(disk: &SimDisk) -> Vec<PathBuf> {
    let (folder, lock) = Folder::open(disk, &root()).unwrap();
    drop(lock);
    let files = recovery::find_files(disk, &folder).unwrap();
    let mut paths: Vec<_> = files.into_iter().map(|file| file.path().to_owned()).collect();
    paths.sort();
    paths
}

#[test]
fn a_text_that_replay_would_not_unpack_is_not_kept_as_it_came() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let mut large = batch("a", None, &[(10, "line")]);
    // What a push of one line and 2 GiB of nothing begins with.
    let snappy = bytes::Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x08]);
    large.encoded = Some(Encoded::Text { table: bytes::Bytes::new(), snappy });
    assert_eq!(append(&store, large).unwrap(), stored());
    drop(store);
    assert_eq!(lines(&open(&disk)), ["line"]);
}

#[test]
fn appended_entries_are_visible_at_once_and_after_flush_and_restart() {
    let disk = SimDisk::new();
    let store = open(&disk);
    assert_eq!(append(&store, batch("a", None, &[(20, "late"), (10, "early")])).unwrap(), stored());
    assert_eq!(lines(&store), ["early", "late"]);
    run(store.flush()).unwrap();
    assert_eq!(append(&store, batch("a", None, &[(15, "middle")])).unwrap(), stored());
    assert_eq!(lines(&store), ["early", "middle", "late"]);
    run(store.close()).unwrap();
    assert_eq!(lines(&store), ["early", "middle", "late"], "queries go on after closing");
    assert_eq!(append(&store, batch("a", None, &[(1, "x")])).unwrap_err().kind(), Kind::Unavailable);
    let store = open(&disk);
    assert_eq!(lines(&store), ["early", "middle", "late"]);
    assert_eq!(segment_files(&disk.crash()).len(), 2);
}

#[test]
fn equal_entries_of_a_stream_are_one_in_a_segment() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for _ in 0..3 {
        append(&store, batch("a", None, &[(10, "x"), (10, "x"), (10, "y")])).unwrap();
    }
    append(&store, batch("b", None, &[(10, "x")])).unwrap();
    run(store.flush()).unwrap();
    assert_eq!(lines(&store), ["x", "y", "x"]);
    let stats = store.stats(&Tenant::single(), &[], TimeRange::ALL).unwrap();
    assert_eq!(stats, Stats { streams: 2, chunks: 2, bytes: 3, entries: 3 });
}

#[test]
fn equal_times_keep_their_order_of_arrival() {
    let store = open(&SimDisk::new());
    append(&store, batch("a", None, &[(10, "z"), (10, "y")])).unwrap();
    run(store.flush()).unwrap();
    append(&store, batch("a", None, &[(10, "x"), (10, "w")])).unwrap();
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    let text: Vec<&[u8]> = views.iter().map(|view| view.block.lines().unwrap().text()).collect();
    assert_eq!(text, [b"z\ny\n", b"x\nw\n"]);
}

#[test]
fn a_batch_id_is_stored_once_across_flush_and_restart() {
    let disk = SimDisk::new();
    let store = open(&disk);
    assert_eq!(append(&store, batch("a", Some(id(1)), &[(1, "one")])).unwrap(), stored());
    assert!(append(&store, batch("a", Some(id(1)), &[(1, "one")])).unwrap().duplicate);
    let disk = disk.crash();
    let store = open(&disk);
    assert!(append(&store, batch("a", Some(id(1)), &[(1, "one")])).unwrap().duplicate);
    assert_eq!(append(&store, batch("a", Some(id(2)), &[(2, "two")])).unwrap(), stored());
    run(store.flush()).unwrap();
    let disk = disk.crash();
    let store = open(&disk);
    for number in [1, 2] {
        assert!(append(&store, batch("a", Some(id(number)), &[(1, "again")])).unwrap().duplicate);
    }
    assert_eq!(lines(&store), ["one", "two"]);
}

#[test]
fn the_same_batch_twice_in_one_group_is_stored_once() {
    let store = open(&SimDisk::new());
    let answers = run(async {
        let one = store.append(batch("a", Some(id(1)), &[(1, "one")]));
        let two = store.append(batch("a", Some(id(1)), &[(1, "one")]));
        tokio::join!(one, two)
    });
    let duplicates = [answers.0.unwrap().duplicate, answers.1.unwrap().duplicate];
    assert_eq!(duplicates, [false, true]);
    assert_eq!(lines(&store), ["one"]);
}

#[test]
fn tenants_are_walls() {
    let store = open(&SimDisk::new());
    let other = Tenant::new("other").unwrap();
    append(&store, batch("a", None, &[(1, "ours")])).unwrap();
    let chunks = vec![(stream(&other, &[("app", "a")]), entries(&[(1, "theirs")]))];
    append(&store, StoreBatch { tenant: other.clone(), id: None, chunks, encoded: None }).unwrap();
    for _ in 0..2 {
        assert_eq!(lines(&store), ["ours"]);
        assert_eq!(find(&store, &other, &[], TimeRange::ALL).len(), 1);
        assert_eq!(store.streams(&other, &[], TimeRange::ALL).unwrap().len(), 1);
        run(store.flush()).unwrap();
    }
}

#[test]
fn labels_are_those_of_the_streams_wherever_they_are_told_from() {
    let store = open(&SimDisk::new());
    let tenant = Tenant::single();
    // More than a segment has without a stream index; each is there for a second, half of them with a label more.
    for number in 0..600_i64 {
        let (app, host) = (format!("a{number}"), format!("h{}", number % 3));
        let mut pairs = vec![("app", app.as_str()), ("host", host.as_str())];
        if number % 2 == 0 {
            pairs.push(("even", "yes"));
        }
        let chunks = vec![(stream(&tenant, &pairs), entries(&[(NOON_NS + number * 1_000_000_000, "one")]))];
        append(&store, StoreBatch { tenant: tenant.clone(), id: None, chunks, encoded: None }).unwrap();
    }
    let from = |start: i64, end: i64| TimeRange {
        start_ns: NOON_NS + start * 1_000_000_000,
        end_ns: NOON_NS + end * 1_000_000_000,
    };
    for _ in 0..2 {
        for range in [TimeRange::ALL, from(0, 600), from(0, 599), from(1, 2), from(300, 900), from(700, 800)]
        {
            check_labels(&store, &tenant, &[], range);
            check_labels(&store, &tenant, &[matcher("host", MatchOp::Equal, "h1")], range);
        }
        assert_eq!(store.label_values(&tenant, "app", &[], TimeRange::ALL).unwrap().len(), 600);
        run(store.flush()).unwrap();
    }
}

#[test]
fn the_newest_time_of_a_stream_is_known_until_it_is_flushed() {
    let store = open(&SimDisk::new());
    let tenant = Tenant::single();
    let stream_id = stream(&tenant, &[("app", "a")]).id;
    assert_eq!(store.stream_newest_ns(&tenant, stream_id), None);
    append(&store, batch("a", None, &[(NOON_NS + 24 * HOUR_NS, "new"), (NOON_NS, "old")])).unwrap();
    append(&store, batch("a", None, &[(NOON_NS + HOUR_NS, "between")])).unwrap();
    assert_eq!(store.stream_newest_ns(&tenant, stream_id), Some(NOON_NS + 24 * HOUR_NS));
    run(store.flush()).unwrap();
    assert_eq!(store.stream_newest_ns(&tenant, stream_id), None);
}

#[test]
fn a_full_head_flushes_by_itself() {
    let disk = SimDisk::new();
    let mut settings = StoreSettings::default();
    settings.flush.head_bytes_max = 10_000;
    let store = open_with(&disk, settings);
    let line = "x".repeat(1000);
    for number in 0..50 {
        append(&store, batch("a", None, &[(number, &line)])).unwrap();
    }
    // A flush waits for whatever is under way, so the files can be counted.
    run(store.flush()).unwrap();
    assert!(segment_files(&disk.crash()).len() >= 3, "{:?}", segment_files(&disk.crash()));
    assert_eq!(lines(&store).len(), 50);
}

#[test]
fn recovery_flushes_when_the_head_is_full() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let line = "x".repeat(1000);
    for number in 0..50 {
        append(&store, batch("a", Some(id(number)), &[(number as i64, &line)])).unwrap();
    }
    let disk = disk.crash();
    let mut settings = StoreSettings::default();
    settings.flush.head_bytes_max = 10_000;
    let store = open_with(&disk, settings);
    assert_eq!(lines(&store).len(), 50);
    assert!(segment_files(&disk.crash()).len() >= 4);
    assert!(append(&store, batch("a", Some(id(3)), &[(3, "x")])).unwrap().duplicate);
    let disk = disk.crash();
    assert_eq!(lines(&open(&disk)).len(), 50);
}

#[test]
fn with_interval_sync_a_clean_stop_loses_nothing() {
    let disk = SimDisk::new();
    let mut settings = StoreSettings::default();
    settings.wal.sync = SyncMode::Interval;
    settings.flush.on_close = false;
    let store = open_with(&disk, settings);
    append(&store, batch("a", None, &[(1, "one")])).unwrap();
    assert_eq!(lines(&store), ["one"]);
    assert_eq!(lines(&open(&disk.crash())), [""; 0], "the price of the setting");
    run(store.close()).unwrap();
    assert_eq!(lines(&open(&disk.crash())), ["one"]);
}
