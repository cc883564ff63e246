//! What queries leave decoded: found again by the next, and gone with the block.

use super::*;
use crate::CacheSettings;
use crate::maintenance::Worker;

/// Hits, misses and bytes so far.
fn counts(store: &Store) -> (u64, u64, i64) {
    let metrics = &store.inner.shared.metrics;
    (metrics.kept_block_hits.get(), metrics.kept_block_misses.get(), metrics.kept_block_bytes.get())
}

fn flush_batch(store: &Store, number: u64, rows: &[(i64, &str)]) {
    append(store, batch("a", Some(id(number)), rows)).unwrap();
    run(store.flush()).unwrap();
}

/// Flips bits of every byte of the blocks in the only segment.
fn damage_blocks(disk: &SimDisk, store: &Store) {
    let segment = Arc::clone(&store.inner.shared.view().segments[0]);
    let bytes = segment.record.bytes - segment.record.tail_bytes;
    (16..bytes).for_each(|offset| disk.damage(&segment.path, offset, 0xff).unwrap());
}

#[test]
fn what_a_query_decoded_is_there_for_the_next() {
    let disk = SimDisk::new();
    let store = open(&disk);
    flush_batch(&store, 1, &[(NOON_NS, "first"), (NOON_NS + 1, "second")]);
    assert_eq!(counts(&store), (0, 0, 0), "nothing is kept that nobody asked for");
    assert_eq!(lines(&store), ["first", "second"]);
    let (_, misses, bytes) = counts(&store);
    assert!(misses == 1 && bytes > 0);
    // No byte of the block is read again.
    damage_blocks(&disk, &store);
    assert_eq!(lines(&store), ["first", "second"]);
    assert_eq!(counts(&store), (1, 1, bytes));
}

#[test]
fn a_block_found_damaged_is_not_answered_from_what_was_kept_of_it() {
    let disk = SimDisk::new();
    let store = open(&disk);
    flush_batch(&store, 1, &[(NOON_NS, "first")]);
    let tenant = Tenant::single();
    let select = || store.select(&tenant, &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    // A query that decodes the times, and is still under way when another finds the block damaged.
    let views = select();
    let block = views[0].block.shared();
    block.timestamps().unwrap();
    drop(views[0].block.shared());
    damage_blocks(&disk, &store);
    select()[0].block.fresh().lines().unwrap_err();
    assert_eq!(store.damaged_blocks(&tenant, TimeRange::ALL).len(), 1);
    assert!(select().is_empty());
    drop(block);
    assert_eq!(counts(&store).2, 0);
}

#[test]
fn blocks_go_with_their_segment() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for number in 0..8 {
        flush_batch(&store, number + 1, &[(NOON_NS + number as i64, "line")]);
    }
    let tenant = Tenant::single();
    let select = || store.select(&tenant, &[], TimeRange::ALL, &Prefilter::default()).unwrap();
    let before = lines(&store);
    let (late, kept) = (select()[0].block.shared(), counts(&store).2);
    assert!(kept > 0);
    let (shared, mut worker) = (&store.inner.shared, Worker::default());
    while worker.run_once(shared) {}
    assert_eq!(shared.sweep(), 1, "one is still read");
    late.lines().unwrap();
    drop(late);
    assert_eq!((shared.sweep(), counts(&store).2), (0, 0));
    assert_eq!(lines(&store), before);
    assert!(counts(&store).2 > 0);
}

#[test]
fn without_bytes_nothing_is_kept() {
    let disk = SimDisk::new();
    let cache = CacheSettings { blocks_bytes_max: 0 };
    let store = open_with(&disk, StoreSettings { cache, ..StoreSettings::default() });
    flush_batch(&store, 1, &[(NOON_NS, "first")]);
    assert_eq!((lines(&store), lines(&store)), (vec!["first".to_owned()], vec!["first".to_owned()]));
    assert_eq!(counts(&store), (0, 0, 0));
}
