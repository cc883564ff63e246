//! Compaction: answers stay, in the same order; a crash at any point loses and doubles nothing.

use super::*;
use crate::maintenance::{Pace, Worker};
use logyard_codec::LineCodec;
use std::collections::HashSet;

/// An entry in the order of a query's answer: stream, time, content.
type Answer = (String, i64, Vec<u8>, String, String);

/// Returns what a log query would answer: by stream, time, arrival and row, the first of equal entries.
fn answer(store: &Store) -> Vec<Answer> {
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    let mut rows = Vec::new();
    for view in &views {
        for run in &view.runs {
            let entries = crate::head::entries_of(&view.block.shared(), run.rows.clone()).unwrap();
            for row in 0..entries.len() {
                let content = (
                    run.stream.labels.to_string(),
                    entries.ts_ns()[row],
                    entries.line(row).to_vec(),
                    entries.level(row).to_owned(),
                    entries.metadata(row).to_string(),
                );
                rows.push((
                    (content.0.clone(), content.1, view.arrival, run.rows.start as usize + row),
                    content,
                ));
            }
        }
    }
    rows.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut seen = HashSet::new();
    rows.into_iter().map(|(_, content)| content).filter(|content| seen.insert(content.clone())).collect()
}

/// Compacts whatever is due, and removes what nobody reads.
fn compact(store: &Store) -> usize {
    let (shared, mut worker) = (&store.inner.shared, Worker::default());
    let count = (0..100).take_while(|_| worker.run_once(shared)).count();
    assert!(count < 100, "compaction comes to an end");
    shared.sweep();
    count
}

/// Opens a store whose clock stands `hours` after noon of the day of the entries.
fn open_later(disk: &SimDisk, hours: i64) -> Store {
    let clock = Arc::new(SimClock::new(NOON_NS + hours * HOUR_NS));
    let store = open_at(disk, StoreSettings::default(), &clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

fn levels(store: &Store) -> Vec<u32> {
    store.inner.shared.view().segments.iter().map(|segment| segment.record.level).collect()
}

/// Appends a batch of random entries of few streams and fewer times, some equal to earlier ones.
fn append_random(store: &Store, random: &Random, expect: &mut Vec<Answer>) {
    let below = |bound: u64| random.next_u64() % bound;
    let tenant = Tenant::single();
    let mut chunks = Vec::new();
    for _ in 0..=below(3) {
        let stream = stream(&tenant, &[("app", ["a", "b", "c"][below(3) as usize])]);
        let mut entries = Entries::default();
        for _ in 0..below(8) {
            let mut line = format!("line {}", below(30)).into_bytes();
            match below(20) {
                0 => line.resize(400_000, b'x'),
                // Blocks of one stream that are worth copying.
                1 => line.resize(1_200_000, b'y'),
                _ => {}
            }
            let level = ["", "info"][below(2) as usize];
            let metadata = match below(4) {
                0 => LabelSet::from_pairs([("trace", below(3).to_string())]),
                _ => LabelSet::default(),
            };
            // Half of all in one instant, the rest over a moving minute.
            let ts_ns = NOON_NS + if below(2) == 0 { 0 } else { below(60) as i64 * 1_000_000_000 };
            entries.push(ts_ns, &line, level, &metadata);
            expect.push((stream.labels.to_string(), ts_ns, line, level.to_owned(), metadata.to_string()));
        }
        chunks.push((stream, entries));
    }
    append(store, StoreBatch { tenant, id: None, chunks, encoded: None }).unwrap();
}

/// What is to be answered: in order of stream and time, equal times as they were appended, equal entries once.
fn in_order(mut expect: Vec<Answer>) -> Vec<Answer> {
    expect.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    let mut seen = HashSet::new();
    expect.retain(|entry| seen.insert(entry.clone()));
    expect
}

fn check(found: &[Answer], expect: &[Answer], what: &str) {
    let difference = found.iter().zip(expect).position(|(left, right)| left != right);
    assert!(
        difference.is_none() && found.len() == expect.len(),
        "{what}: {difference:?} of {}",
        expect.len()
    );
}

#[test]
fn answers_and_their_order_are_the_same_before_and_after() {
    let (mut all_jobs, mut copied_blocks) = (0, 0);
    for seed in 0..6 {
        let (disk, random, mut expect) = (SimDisk::new(), Random::seeded(seed), Vec::new());
        let store = open(&disk);
        let (mut jobs, mut flushes) = (0, 0);
        for _ in 0..30 {
            append_random(&store, &random, &mut expect);
            if random.next_u64().is_multiple_of(2) {
                run(store.flush()).unwrap();
                flushes += 1;
            }
            if random.next_u64().is_multiple_of(5) {
                jobs += compact(&store);
                check(&answer(&store), &in_order(expect.clone()), &format!("seed {seed}, day under way"));
            }
        }
        run(store.close()).unwrap();
        let store = open_later(&disk, 24);
        jobs += compact(&store);
        let expect = in_order(expect);
        check(&answer(&store), &expect, &format!("seed {seed}, day over"));
        assert!(flushes > 5 && jobs > 0, "{flushes} flushes, {jobs} compactions");
        all_jobs += jobs;
        copied_blocks += store.inner.shared.metrics.copied_blocks.get();
        assert_eq!(levels(&store).len(), 1, "a day that is over is one file");
        let rows: u64 = store.inner.shared.view().segments.iter().map(|segment| segment.record.rows).sum();
        assert_eq!(rows, expect.len() as u64, "equal entries are stored once");
        let crashed = disk.crash();
        let files = segment_files(&crashed);
        assert_eq!(files.len(), 1, "inputs are removed");
        let summary = crate::inspect::check_segment(&crashed.read(&files[0]).unwrap().into()).unwrap();
        assert!(summary.sources > 0 && summary.level > 0 && summary.stream_index_fault.is_none());
        check(&answer(&open(&crashed)), &expect, &format!("seed {seed}, after a crash"));
    }
    assert!(all_jobs > 10 && copied_blocks > 0, "{all_jobs} compactions, {copied_blocks} blocks copied");
}

/// A store with `count` flushed segments of one day.
fn flushed(disk: &SimDisk, count: i64) -> Store {
    let store = open(disk);
    for number in 0..count {
        let rows = [(NOON_NS, format!("tie {number}")), (NOON_NS + number, "same".to_owned())];
        let rows: Vec<(i64, &str)> = rows.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
        append(&store, batch("a", None, &rows)).unwrap();
        append(&store, batch(&format!("own {number}"), None, &[(NOON_NS, "x")])).unwrap();
        run(store.flush()).unwrap();
    }
    store
}

#[test]
fn files_stay_while_a_reader_holds_them() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let before = answer(&store);
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    assert_eq!((compact(&store), levels(&store)), (1, vec![1]));
    assert_eq!(segment_files(&disk.crash()).len(), 9);
    for view in views {
        assert!(view.block.lines().is_ok(), "an old view can be read to its end");
    }
    assert_eq!(store.inner.shared.sweep(), 0);
    assert_eq!(segment_files(&disk.crash()).len(), 1);
    assert_eq!(answer(&store), before);
}

#[test]
fn a_crash_at_every_change_of_a_compaction_loses_and_doubles_nothing() {
    for halt_after in 0.. {
        let disk = SimDisk::new();
        let store = flushed(&disk, 8);
        let expect = answer(&store);
        let before = disk.operations();
        disk.halt_after(halt_after);
        compact(&store);
        let is_whole = disk.operations() - before < halt_after;
        assert_eq!(answer(&store).len(), expect.len(), "halted after {halt_after} changes");
        for crashed in [disk.crash(), disk.crash_seeded(halt_after)] {
            let store = open(&crashed);
            assert_eq!(answer(&store), expect, "halted after {halt_after} changes");
            compact(&store);
            assert_eq!(answer(&store), expect);
            assert_eq!(segment_files(&crashed.crash()).len(), 1, "leftovers are removed");
            assert_eq!(answer(&open(&crashed.crash())), expect);
        }
        if is_whole {
            assert!(halt_after > 15, "a compaction has more changes than {halt_after}");
            return;
        }
    }
}

#[test]
fn a_failed_sync_at_every_place_of_a_compaction_loses_nothing() {
    for nth in 1.. {
        let disk = SimDisk::new();
        let store = flushed(&disk, 8);
        let expect = answer(&store);
        disk.fail_sync(nth);
        let done = compact(&store);
        assert_eq!(answer(&store), expect, "sync {nth} failed");
        drop(store);
        for crashed in [disk.crash(), disk.crash_seeded(nth)] {
            let store = open(&crashed);
            assert_eq!(answer(&store), expect, "sync {nth} failed");
            compact(&store);
            assert_eq!(answer(&open(&crashed.crash())), expect);
        }
        if done == 1 && nth > 8 {
            return;
        }
    }
}

#[test]
fn a_full_disk_puts_compaction_off() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let expect = answer(&store);
    disk.set_free_bytes(Some(1 << 20));
    assert_eq!(compact(&store), 0, "less than the reserve");
    assert_eq!(store.inner.shared.metrics.compaction_failures.get(), 0);
    assert_eq!(answer(&store), expect);
    disk.set_free_bytes(None);
    assert_eq!(compact(&store), 1);
    assert_eq!(answer(&store), expect);
}

/// Cuts the last edit off the catalog, as damage of its last record looks.
fn lose_last_edit(disk: &SimDisk) {
    let dir = Path::new("/data/catalog");
    let items = disk.list(dir).unwrap();
    let item = items.iter().find(|item| item.name.ends_with(".log")).unwrap();
    disk.truncate(&dir.join(&item.name), item.bytes - 1).unwrap();
}

#[test]
fn an_output_outlives_the_edit_that_listed_it() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let expect = answer(&store);
    assert_eq!(compact(&store), 1);
    drop(store);
    let disk = disk.crash();
    lose_last_edit(&disk);
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!((answer(&store), levels(&store)), (expect.clone(), vec![1]));
        assert!(store.lost_segments(&Tenant::single(), TimeRange::ALL).is_empty());
    }
    assert_eq!(segment_files(&disk).len(), 1);
}

#[test]
fn inputs_that_came_back_are_removed_again() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let expect = answer(&store);
    let inputs: Vec<_> =
        segment_files(&disk.crash()).into_iter().map(|path| (disk.read(&path).unwrap(), path)).collect();
    assert_eq!(compact(&store), 1);
    drop(store);
    // As after a power cut that undid their removal; the WAL is gone, so nothing else tells that they are old.
    for (bytes, path) in &inputs {
        disk.write_atomic(path, bytes).unwrap();
    }
    for item in disk.list(Path::new("/data/wal")).unwrap().iter().filter(|item| !item.is_dir) {
        disk.remove_file(&Path::new("/data/wal").join(&item.name)).unwrap();
    }
    let store = open(&disk);
    assert_eq!((answer(&store), levels(&store)), (expect, vec![1]));
    assert_eq!(segment_files(&disk.crash()).len(), 1);
}

#[test]
fn the_thread_compacts_by_itself_and_stops_at_once() {
    let disk = SimDisk::new();
    let expect = answer(&flushed(&disk, 8));
    let mut registry = Registry::default();
    let parts = StoreParts {
        disk: Arc::new(disk.crash()),
        clock: Arc::new(SimClock::new(NOON_NS)),
        random: Arc::new(Random::seeded(next_seed())),
        registry: &mut registry,
    };
    let store = Store::open(&root(), StoreSettings::default(), parts).unwrap();
    until("the thread compacts", || levels(&store) == [1]);
    assert_eq!(answer(&store), expect);
    run(store.close()).unwrap();
}

#[test]
fn a_closing_store_ends_a_job_between_two_blocks() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    store.inner.shared.maintenance.stop();
    assert_eq!(compact(&store), 0);
    assert_eq!(levels(&store), [0; 8]);
}

#[test]
fn a_damaged_block_goes_to_quarantine_and_the_others_stay() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let expect = answer(&store);
    drop(store);
    let disk = disk.crash();
    disk.damage(&segment_files(&disk)[3], 70, 1).unwrap();
    let store = open(&disk);
    let shared = &store.inner.shared;
    assert_eq!(compact(&store), 1);
    let left: Vec<Answer> = answer(&store);
    assert!(left.iter().all(|entry| expect.contains(entry)));
    // Each flush has a block of its own: a tie, a stream of its own, and a line that others may have too.
    assert_eq!(expect.len() - left.len(), 3);
    assert_eq!((shared.metrics.damaged_entries.get(), store.damage_found()), (3, 1));
    let kept = disk.list(Path::new("/data/quarantine")).unwrap();
    assert!(kept[0].name.ends_with("-L0.seg.block-64") && kept[0].bytes > 0, "{kept:?}");
    assert!(store.damaged_blocks(&Tenant::single(), TimeRange::ALL).is_empty());
}

#[test]
fn a_segment_that_a_query_found_damaged_is_written_anew() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 2);
    let expect = answer(&store);
    drop(store);
    let disk = disk.crash();
    let files = segment_files(&disk);
    disk.damage(&files[0], 70, 1).unwrap();
    let store = open(&disk);
    let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    assert_eq!(compact(&store), 0, "nobody knows yet");
    assert!(views.iter().any(|view| view.block.timestamps().is_err()));
    drop(views);
    let left = answer(&store);
    assert_eq!(expect.len() - left.len(), 3);
    assert_eq!(compact(&store), 1);
    assert_eq!(answer(&store), left);
    // All of it was in that block: nothing was left to write.
    assert_eq!(segment_files(&disk.crash()), files[1..]);
    assert_eq!(answer(&open(&disk.crash())), left);
}

#[test]
fn a_segment_that_cannot_be_opened_stops_one_job_and_stays_lost() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 9);
    let expect = answer(&store);
    // The last one: a lost segment is a wall between those before and behind it.
    let last = Arc::clone(store.inner.shared.view().segments.last().unwrap());
    drop(store);
    let disk = disk.crash();
    disk.damage(&last.path, last.record.bytes - 40, 1).unwrap();
    let store = open(&disk);
    assert_eq!(compact(&store), 0, "found during the job");
    assert_eq!(store.lost_segments(&Tenant::single(), TimeRange::ALL).len(), 1);
    assert_eq!(compact(&store), 1, "the others are still enough");
    assert_eq!(expect.len() - answer(&store).len(), 3);
}

#[test]
fn a_lost_catalog_takes_outputs_and_not_their_inputs() {
    let disk = SimDisk::new();
    let store = flushed(&disk, 8);
    let expect = answer(&store);
    let inputs: Vec<_> =
        segment_files(&disk.crash()).into_iter().map(|path| (disk.read(&path).unwrap(), path)).collect();
    assert_eq!(compact(&store), 1);
    drop(store);
    let disk = disk.crash();
    for (bytes, path) in &inputs {
        disk.write_atomic(path, bytes).unwrap();
    }
    for item in disk.list(Path::new("/data/catalog")).unwrap() {
        disk.remove_file(&Path::new("/data/catalog").join(item.name)).unwrap();
    }
    let store = open(&disk);
    assert_eq!((answer(&store), levels(&store)), (expect, vec![1]));
    assert_eq!(segment_files(&disk.crash()).len(), 1);
}

/// Appends 1.2 MB of lines of a service, and flushes them.
fn flush_service(store: &Store, name: &str, first: i64) {
    let line = |row: i64| {
        format!(
            r#"{{"service":"{name}","request":{},"took_ms":{},"path":"/api/v1/items/{}"}}"#,
            row * 7919,
            row % 977,
            row * 31
        )
    };
    let lines: Vec<(i64, String)> = (first..first + 16_000).map(|row| (NOON_NS + row, line(row))).collect();
    let rows: Vec<(i64, &str)> = lines.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    append(store, batch(name, None, &rows)).unwrap();
    run(store.flush()).unwrap();
}

/// Returns for each block of all segments whether its lines are shredded.
fn shredded_blocks(store: &Store) -> Vec<bool> {
    let shared = &store.inner.shared;
    let segments = Arc::clone(&shared.view().segments);
    let indexes = segments.iter().map(|segment| shared.reads.index(segment).unwrap());
    indexes
        .flat_map(|index| index.blocks.iter().map(|row| row.meta.is_shredded()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn compaction_shreds_lines_and_copies_what_is_shredded() {
    let disk = SimDisk::new();
    let store = open(&disk);
    (0..8).for_each(|number| flush_service(&store, "a", number * 16_000));
    assert!(shredded_blocks(&store).iter().all(|is_shredded| !is_shredded), "a flush writes plain lines");
    let before = answer(&store);
    assert_eq!((compact(&store), levels(&store)), (1, vec![1]));
    assert!(shredded_blocks(&store).iter().all(|is_shredded| *is_shredded));
    (8..16).for_each(|number| flush_service(&store, "a", number * 16_000));
    assert_eq!((compact(&store), levels(&store)), (1, vec![1, 1]));
    run(store.close()).unwrap();
    let store = open_later(&disk, 24);
    assert_eq!((compact(&store), levels(&store)), (1, vec![2]));
    let blocks = shredded_blocks(&store);
    assert!(blocks.iter().all(|is_shredded| *is_shredded));
    let metrics = &store.inner.shared.metrics;
    assert!(metrics.copied_blocks.get() + 4 >= blocks.len() as u64, "{} copied", metrics.copied_blocks.get());
    assert_eq!(metrics.line_mismatches.get(), 0);
    let after = answer(&store);
    assert_eq!((after.len(), &after[..before.len()]), (before.len() * 2, &before[..]));
}

#[test]
fn plain_blocks_of_an_earlier_version_are_shredded_when_they_are_compacted_again() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let shared = Arc::clone(&store.inner.shared);
    for half in 0..2 {
        (half * 8..half * 8 + 8).for_each(|number| flush_service(&store, "a", number * 16_000));
        let records = shared.catalog.lock().state().segments.clone();
        let jobs = crate::compaction_plan::plan(
            &records,
            &[],
            &HashSet::new(),
            &HashSet::new(),
            &[],
            shared.clock.now_ns(),
        );
        let plain = crate::compaction::Form { line_codec: LineCodec::Plain, ..crate::compaction::Form::BEST };
        crate::compaction::run(&shared, &jobs[0], plain, &mut Pace::new(&shared)).unwrap();
    }
    assert!(shredded_blocks(&store).iter().all(|is_shredded| !is_shredded));
    let before = answer(&store);
    run(store.close()).unwrap();
    let store = open_later(&disk, 24);
    assert_eq!((compact(&store), levels(&store)), (1, vec![2]));
    assert!(shredded_blocks(&store).iter().all(|is_shredded| *is_shredded));
    assert_eq!(answer(&store), before);
}

#[test]
fn damage_in_any_part_of_shredded_lines_is_noted_and_whole_ones_are_not_taken_for_damaged() {
    let disk = SimDisk::new();
    let store = open(&disk);
    (0..8).for_each(|number| flush_service(&store, "a", number * 16_000));
    assert_eq!(compact(&store), 1);
    let shared = Arc::clone(&store.inner.shared);
    let segments = Arc::clone(&shared.view().segments);
    let row = shared.reads.index(&segments[0]).unwrap().blocks[1].clone();
    let values = *row.meta.sections.iter().find(|section| section.codec == 0).unwrap();
    assert_eq!(answer(&store).len(), 128_000);
    assert_eq!(store.damage_found(), 0);
    drop((store, shared));
    for place in [0, values.bytes / 2, values.bytes - 1] {
        let disk = disk.crash();
        disk.damage(&segments[0].path, row.offset + u64::from(values.offset + place), 1).unwrap();
        let store = open(&disk);
        let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
        let errors = views.iter().filter(|view| view.block.lines().is_err()).count();
        assert_eq!((errors, store.damage_found()), (1, 1), "byte {place} of the values");
        assert_eq!(answer(&store).len(), 128_000 - row.meta.rows as usize);
    }
}
