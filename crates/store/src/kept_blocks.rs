//! What is decoded of blocks, kept between queries: dashboards ask again and again about the same few.
//!
//! Only what queries have decoded gets in, so a store that nobody asks keeps nothing. What is kept belongs to a
//! block of a segment of this run, whose bytes never change and whose number no other segment has; it holds no handle
//! of the segment, whose file so goes as soon as it would without.
//!
//! A block gets in on trial. Used by another query it stays, among those which were used longest ago go first. So a query
//! over a month, the blocks of which nobody asks for again, takes the place of other blocks on trial only.
//!
//! Blocks are weighed when a handle of them goes, since each query may decode more of a block that is kept.

use crate::metrics::{Metrics, gauge};
use logyard_codec::Decoded;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    /// The number that no other segment of this run has.
    pub(crate) segment: u64,
    pub(crate) block: u32,
}

/// Of so many parts of all bytes one is left to blocks on trial. A query lets less than that outlast it, see the module
/// `shared_blocks` of the engine, so when it comes again it finds all, and may keep it.
const TRIAL_PART: u64 = 2;

/// What an entry takes beside what is decoded: it bounds the number of small ones.
const ENTRY_BYTES: u64 = 1024;

/// Decoded blocks, bounded by the sum of their bytes.
#[derive(Debug)]
pub(crate) struct KeptBlocks {
    bytes_max: u64,
    state: Mutex<State>,
    bytes: Gauge,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<BlockKey, Entry>,
    on_trial: Shelf,
    proven: Shelf,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    decoded: Arc<Decoded>,
    bytes: u64,
    /// When it was used last.
    used: u64,
    is_proven: bool,
}

/// Entries by their last use.
#[derive(Debug, Default)]
struct Shelf {
    keys: BTreeMap<u64, BlockKey>,
    bytes: u64,
}

impl KeptBlocks {
    pub(crate) fn new(bytes_max: u64, metrics: &Metrics) -> Self {
        let (bytes, state) = (metrics.kept_block_bytes.clone(), Mutex::default());
        let (hits, misses) = (metrics.kept_block_hits.clone(), metrics.kept_block_misses.clone());
        Self { bytes_max, state, bytes, hits, misses }
    }

    /// Returns what is kept of a block, and notes that it is used.
    pub(crate) fn get(&self, key: BlockKey) -> Option<Arc<Decoded>> {
        if self.bytes_max == 0 {
            return None;
        }
        let mut state = self.state.lock();
        let Some(mut entry) = state.take(key) else {
            self.misses.inc();
            return None;
        };
        self.hits.inc();
        let decoded = Arc::clone(&entry.decoded);
        (entry.used, entry.is_proven) = (state.next_use(), true);
        state.put(key, entry);
        state.make_room(self.bytes_max);
        Some(decoded)
    }

    /// Keeps what has been decoded of a block, or weighs it anew if it is kept already.
    ///
    /// `is_gone` tells whether the block is to be kept no more: whoever forgets one lets it say so before.
    pub(crate) fn keep(&self, key: BlockKey, decoded: &Arc<Decoded>, is_gone: impl FnOnce() -> bool) {
        let weigh = |decoded: &Decoded| decoded.heap_bytes() as u64 + ENTRY_BYTES;
        let entry = Entry { decoded: Arc::clone(decoded), bytes: weigh(decoded), used: 0, is_proven: false };
        if self.bytes_max == 0 || entry.bytes == ENTRY_BYTES {
            return;
        }
        let mut state = self.state.lock();
        let entry = match state.take(key) {
            // Two queries may have opened the block before one of them had decoded it.
            Some(kept) if entry.bytes <= kept.bytes => Entry { bytes: weigh(&kept.decoded), ..kept },
            Some(kept) => Entry { used: kept.used, is_proven: kept.is_proven, ..entry },
            None => Entry { used: state.next_use(), ..entry },
        };
        if !is_gone() && entry.bytes <= self.bytes_max / TRIAL_PART {
            state.put(key, entry);
            state.make_room(self.bytes_max);
        }
        self.bytes.set(gauge(state.bytes()));
    }

    /// Lets go of a block that is damaged.
    pub(crate) fn forget_block(&self, key: BlockKey) {
        self.forget(|kept| kept == key);
    }

    /// Lets go of all blocks of a segment that is gone.
    pub(crate) fn forget_segment(&self, segment: u64) {
        self.forget(|kept| kept.segment == segment);
    }

    fn forget(&self, is_meant: impl Fn(BlockKey) -> bool) {
        let mut state = self.state.lock();
        let keys: Vec<BlockKey> = state.entries.keys().copied().filter(|key| is_meant(*key)).collect();
        for key in keys {
            drop(state.take(key));
        }
        self.bytes.set(gauge(state.bytes()));
    }
}

impl State {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn bytes(&self) -> u64 {
        self.on_trial.bytes + self.proven.bytes
    }

    fn shelf(&mut self, is_proven: bool) -> &mut Shelf {
        if is_proven { &mut self.proven } else { &mut self.on_trial }
    }

    fn take(&mut self, key: BlockKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        let shelf = self.shelf(entry.is_proven);
        shelf.keys.remove(&entry.used);
        shelf.bytes -= entry.bytes;
        Some(entry)
    }

    fn put(&mut self, key: BlockKey, entry: Entry) {
        let shelf = self.shelf(entry.is_proven);
        shelf.keys.insert(entry.used, key);
        shelf.bytes += entry.bytes;
        self.entries.insert(key, entry);
    }

    /// Puts what was proven and used longest ago on trial again, and lets go of what has been there longest.
    fn make_room(&mut self, bytes_max: u64) {
        while self.proven.bytes > bytes_max - bytes_max / TRIAL_PART
            && let Some(mut entry) = self.proven.oldest().and_then(|key| Some((key, self.take(key)?)))
        {
            (entry.1.used, entry.1.is_proven) = (self.next_use(), false);
            self.put(entry.0, entry.1);
        }
        while self.bytes() > bytes_max
            && let Some(key) = self.on_trial.oldest()
        {
            drop(self.take(key));
        }
    }
}

impl Shelf {
    fn oldest(&self) -> Option<BlockKey> {
        self.keys.first_key_value().map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::{Block, BlockBuilder, Entries, SectionSource};
    use logyard_model::LabelSet;
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Bytes in memory that keep what is decoded of them.
    #[derive(Debug)]
    struct Source {
        bytes: bytes::Bytes,
        kept: Mutex<Option<Arc<Decoded>>>,
    }

    impl SectionSource for Source {
        fn read(&self, offset: u64, bytes: u32) -> std::io::Result<bytes::Bytes> {
            self.bytes.read(offset, bytes)
        }

        fn keep(&self, decoded: &Arc<Decoded>) {
            *self.kept.lock() = Some(Arc::clone(decoded));
        }
    }

    /// What is decoded of a block of one line; `more` decodes its timestamp, too.
    fn decoded(line_bytes: usize, more: bool) -> Arc<Decoded> {
        let mut entries = Entries::new();
        entries.push(1, &vec![b'a'; line_bytes], "", &LabelSet::default());
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..1);
        let encoded = builder.finish();
        let source = Arc::new(Source { bytes: encoded.bytes.into(), kept: Mutex::default() });
        let block = Arc::new(Block::open(Arc::new(encoded.meta), Arc::clone(&source) as _, 0)).shared();
        block.lines().unwrap();
        if more {
            block.timestamps().unwrap();
        }
        drop(block);
        let kept = source.kept.lock().take();
        kept.unwrap()
    }

    fn kept_blocks(bytes_max: u64) -> KeptBlocks {
        KeptBlocks::new(bytes_max, &Metrics::new(&mut Registry::default()))
    }

    fn key(segment: u64, block: u32) -> BlockKey {
        BlockKey { segment, block }
    }

    /// Checks that all counts agree and are within bounds; returns the keys that are kept.
    fn check(kept: &KeptBlocks) -> Vec<BlockKey> {
        let state = kept.state.lock();
        let mut keys = Vec::new();
        for (is_proven, shelf) in [(false, &state.on_trial), (true, &state.proven)] {
            let mut bytes = 0;
            for (used, key) in &shelf.keys {
                let entry = &state.entries[key];
                assert_eq!((entry.used, entry.is_proven), (*used, is_proven));
                bytes += entry.bytes;
                keys.push(*key);
            }
            assert_eq!(bytes, shelf.bytes);
        }
        assert_eq!(keys.len(), state.entries.len());
        assert!(state.bytes() <= kept.bytes_max);
        assert_eq!(kept.bytes.get(), gauge(state.bytes()));
        keys
    }

    #[test]
    fn what_is_used_again_outlasts_a_query_over_much() {
        let kept = kept_blocks(120_000);
        for block in 0..4 {
            kept.keep(key(1, block), &decoded(10_000, false), || false);
            assert!(kept.get(key(1, block)).is_some());
        }
        for block in 0..1000 {
            assert!(kept.get(key(2, block)).is_none());
            kept.keep(key(2, block), &decoded(10_000, false), || false);
            check(&kept);
        }
        assert!((0..4).all(|block| kept.get(key(1, block)).is_some()));
        assert_eq!((kept.hits.get(), kept.misses.get()), (8, 1000));
        let on_trial = check(&kept).iter().filter(|key| key.segment == 2).count();
        assert!((2..=6).contains(&on_trial), "{on_trial}");
        // Used again, those that came last take the place of those used longest ago.
        for block in 900..1000 {
            kept.keep(key(3, block), &decoded(10_000, false), || false);
            kept.get(key(3, block));
            check(&kept);
        }
        assert!((0..4).all(|block| kept.get(key(1, block)).is_none()));
    }

    #[test]
    fn what_grows_is_weighed_anew() {
        let kept = kept_blocks(30_000);
        let (small, large) = (decoded(4_000, false), decoded(4_000, true));
        kept.keep(key(1, 0), &small, || false);
        let before = kept.bytes.get();
        kept.keep(key(1, 0), &large, || false);
        assert!(kept.bytes.get() > before);
        assert!(kept.get(key(1, 0)).is_some_and(|found| Arc::ptr_eq(&found, &large)));
        // Of two that decoded the same block the one stays that has more.
        kept.keep(key(1, 0), &small, || false);
        assert!(kept.get(key(1, 0)).is_some_and(|found| Arc::ptr_eq(&found, &large)));
        kept.keep(key(1, 0), &decoded(20_000, false), || false);
        assert!(kept.get(key(1, 0)).is_none(), "one is not to take the place of all");
        assert_eq!(check(&kept), []);
    }

    #[test]
    fn what_is_gone_is_not_kept() {
        let kept = kept_blocks(100_000);
        for (segment, block) in [(1, 0), (1, 1), (2, 0)] {
            kept.keep(key(segment, block), &decoded(100, false), || false);
        }
        kept.forget_block(key(1, 1));
        assert!(kept.get(key(1, 1)).is_none() && kept.get(key(1, 0)).is_some());
        kept.forget_segment(1);
        assert!(kept.get(key(1, 0)).is_none() && kept.get(key(2, 0)).is_some());
        kept.keep(key(2, 0), &decoded(200, false), || true);
        assert_eq!((check(&kept), kept.bytes.get()), (Vec::new(), 0));
        let none = kept_blocks(0);
        none.keep(key(1, 0), &decoded(100, false), || false);
        assert!(none.get(key(1, 0)).is_none());
    }

    #[test]
    fn queries_at_once_keep_within_bounds_and_nothing_of_what_is_gone() {
        let kept = kept_blocks(60_000);
        let blocks: Vec<Arc<Decoded>> = (0..16).map(|block| decoded(1000 + block * 300, false)).collect();
        let is_gone = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for thread in 0..4_usize {
                let (kept, blocks, is_gone) = (&kept, &blocks, &is_gone);
                threads.spawn(move || {
                    for round in 0..400 {
                        let block = (round * 7 + thread * 3) % blocks.len();
                        let key = key(round as u64 % 2, block as u32);
                        if let Some(found) = kept.get(key) {
                            assert!(Arc::ptr_eq(&found, &blocks[block]));
                        }
                        let is_first = key.segment == 0;
                        kept.keep(key, &blocks[block], || is_first && is_gone.load(Ordering::SeqCst));
                    }
                });
            }
            is_gone.store(true, Ordering::SeqCst);
            kept.forget_segment(0);
        });
        assert!(check(&kept).iter().all(|key| key.segment == 1));
    }

    proptest! {
        #[test]
        fn any_use_keeps_within_bounds(
            bytes_max in 0u64..20_000,
            steps in proptest::collection::vec((0u8..8, 0u64..3, 0u32..6, 0usize..6), 1..200),
        ) {
            let kept = kept_blocks(bytes_max);
            let blocks: Vec<Arc<Decoded>> = (0..6).map(|size| decoded(size * 900, size % 2 == 0)).collect();
            for (action, segment, block, size) in steps {
                match action {
                    0..=3 => kept.keep(key(segment, block), &blocks[size], || false),
                    4..=5 => drop(kept.get(key(segment, block))),
                    6 => kept.forget_block(key(segment, block)),
                    _ => kept.forget_segment(segment),
                }
                check(&kept);
            }
        }
    }
}
