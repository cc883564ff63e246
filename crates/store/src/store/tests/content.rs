//! Blocks that cannot hold what a query wants are left out, and never one that can.

use super::*;
use crate::maintenance::Worker;
use crate::segment_format::{SECTION_IDS, SECTION_WORDS, Toc};

/// A trace id, different for each row.
fn trace(row: u64) -> String {
    format!(
        "{:016x}{:016x}",
        (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        row.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
    )
}

/// Fills a store with `count` streams of 4 MiB each and compacts it; the words of a stream are its own.
fn filled(disk: &SimDisk, count: usize) -> Store {
    let store = open(disk);
    for number in 0..count {
        let name = [
            "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "kilo",
            "lima", "mike",
        ][number];
        let rows = 12_000_u64;
        let lines: Vec<String> = (0..rows)
            .map(|row| {
                let trace = trace(number as u64 * rows + row);
                format!("level=info service={name} trace={trace} {}", format!("{name}word ").repeat(30))
            })
            .collect();
        let rows: Vec<(i64, &str)> =
            lines.iter().enumerate().map(|(row, line)| (NOON_NS + row as i64, line.as_str())).collect();
        append(&store, batch(name, None, &rows)).unwrap();
    }
    run(store.flush()).unwrap();
    drop(store);
    let clock = Arc::new(SimClock::new(NOON_NS + 48 * HOUR_NS));
    let store = open_at(disk, StoreSettings::default(), &clock).unwrap();
    run(store.recovered()).unwrap();
    assert!(Worker::default().run_once(&store.inner.shared), "a segment of a past day is compacted");
    store.inner.shared.sweep();
    store
}

/// Returns how many blocks a query for a literal would read.
fn blocks(store: &Store, literal: &str) -> usize {
    let prefilter = Prefilter { literals: vec![literal.as_bytes().to_vec()], any_of: Vec::new() };
    store.select(&Tenant::single(), &[], TimeRange::ALL, &prefilter).unwrap().len()
}

#[test]
fn an_id_opens_the_blocks_that_can_hold_it() {
    let disk = SimDisk::new();
    let store = filled(&disk, 12);
    let all = blocks(&store, "");
    assert!(all >= 12, "{all} blocks");
    for row in (0..144_000).step_by(9_001) {
        let count = blocks(&store, &trace(row));
        assert!((1..=2).contains(&count), "{count} of {all} blocks for one id");
    }
    assert!(blocks(&store, "0123456789abcdef0123456789abcdef") <= 1, "an id that is nowhere");
    for word in ["charlieword", "harliew"] {
        let count = blocks(&store, word);
        assert!((1..=4).contains(&count), "{count} of {all} blocks for {word}, of one stream");
    }
    assert_eq!(blocks(&store, "nosuchword"), 0);
    assert_eq!(blocks(&store, "level="), all);
}

#[test]
fn what_is_flushed_is_indexed_unless_a_compaction_is_about_to_do_it() {
    let check = |hours, compaction, is_indexed: bool| {
        let disk = SimDisk::new();
        let clock = Arc::new(SimClock::new(NOON_NS + hours * HOUR_NS));
        let mut settings = StoreSettings::default();
        settings.compaction.enabled = compaction;
        let store = open_at(&disk, settings, &clock).unwrap();
        run(store.recovered()).unwrap();
        let lines = [format!("trace={} one", trace(1)), format!("trace={} two", trace(2))];
        append(&store, batch("a", None, &[(NOON_NS, &lines[0]), (NOON_NS + 1, &lines[1])])).unwrap();
        run(store.flush()).unwrap();
        assert_eq!(store.inner.shared.view().segments.len(), 1);
        assert_eq!(blocks(&store, &trace(2)), 1);
        assert_eq!(blocks(&store, &trace(3)), usize::from(!is_indexed));
    };
    check(0, true, true);
    check(48, true, false);
    check(48, false, true);
}

#[test]
fn damaged_indexes_cost_speed_only() {
    let disk = SimDisk::new();
    let store = filled(&disk, 12);
    let (all, wanted) = (blocks(&store, ""), trace(5));
    let path = store.inner.shared.view().segments[0].path.clone();
    drop(store);
    let file = disk.read(&path).unwrap();
    let toc = Toc::decode(&file, file.len() as u64).unwrap();
    for kind in [SECTION_IDS, SECTION_WORDS] {
        let section = toc.sections.iter().find(|section| section.kind == kind).unwrap();
        let mut bad = file.clone();
        bad[section.offset as usize + section.bytes as usize / 2] ^= 4;
        disk.write_atomic(&path, &bad).unwrap();
        let store = open(&disk);
        let found = blocks(&store, &wanted);
        match kind {
            SECTION_IDS => assert_eq!(found, all, "without ids every block is read"),
            _ => assert!((1..=all).contains(&found), "without words the ids still count"),
        }
        assert_eq!(blocks(&store, ""), all);
        assert_eq!(found, blocks(&store, &wanted));
        assert_eq!(store.inner.shared.reads.unreadable_indexes.get(), 1, "said once");
    }
}
