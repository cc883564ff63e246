//! The ids of each block: which ones it may hold, and how long those are that only the filter knows.
//!
//! Format of the section, little endian, version 2:
//!
//! ```text
//! magic "LYID"   version u16   reserved u16   blocks u32
//! per block:     flags u8 (1 = holds words that are in no dictionary, 2 = some ids are in the dictionary only,
//!                4 = ids of 17 bytes and more are in the filter by their parts, too)
//!                masks 3 × u64: by class, bit n set for ids of n + 1 bytes, bit 63 for 64 and more
//!                filter bytes u32
//! the filters of the blocks, end to end
//! ```
//!
//! The filter holds the ids of the masks from 6 bytes on; in version 1 the shorter ones too.
//!
//! The masks are what makes the filter answer for a part of a token: an id that no longer id of its block
//! can contain is in the filter itself or nowhere. Where longer ones are cut, each part of eight bytes, counted from the front,
//! is in the filter: a text of 15 bytes and more within such an id covers at least one of them.

use crate::error::Error;
use crate::fuse::{self, Fuse};
use crate::token::{CLASSES, CUT_BYTES_MIN, Class, PART_BYTES};
use bytes::Bytes;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 4] = b"LYID";
const VERSION: u16 = 2;
const HEAD_BYTES: usize = 12;
const BLOCK_BYTES: usize = 1 + 3 * 8 + 4;
const FLAG_UNLISTED_WORDS: u8 = 1;
const FLAG_LISTED_IDS: u8 = 2;
const FLAG_CUT_IDS: u8 = 4;

/// Collects the ids of block after block.
#[derive(Debug, Default)]
pub(crate) struct IdsBuilder {
    table: Vec<u8>,
    filters: Vec<u8>,
    blocks: u32,
    told_apart: ToldApart,
}

/// A table of hashes, kept from block to block for its memory: sorting them takes several times as long.
#[derive(Debug, Default)]
struct ToldApart {
    /// 0 for none; a power of two of them, half of them empty.
    places: Vec<u64>,
}

impl ToldApart {
    /// Removes hashes that came before.
    fn keep_distinct(&mut self, hashes: &mut Vec<u64>) {
        let mask = (hashes.len() * 2).next_power_of_two() - 1;
        self.places.clear();
        self.places.resize(mask + 1, 0);
        let mut had_zero = false;
        hashes.retain(|&hash| {
            if hash == 0 {
                return !std::mem::replace(&mut had_zero, true);
            }
            let mut place = hash as usize & mask;
            loop {
                match &mut self.places[place] {
                    known if *known == hash => return false,
                    empty if *empty == 0 => {
                        *empty = hash;
                        return true;
                    }
                    _ => place = (place + 1) & mask,
                }
            }
        });
    }
}

/// What one block adds.
#[derive(Debug, Default)]
pub(crate) struct BlockIds {
    /// Hashes of the ids for the filter; may hold equal ones.
    pub(crate) hashes: Vec<u64>,
    pub(crate) masks: Masks,
    /// The block holds words that are in no dictionary.
    pub(crate) has_unlisted_words: bool,
    /// Some ids of the block are in the dictionary instead of the filter.
    pub(crate) has_listed_ids: bool,
    /// All long ids of the masks are in `hashes` by their parts, too.
    pub(crate) has_cut_ids: bool,
}

/// Lengths of the ids that are not in the dictionary, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks([u64; 3]);

impl Masks {
    /// Notes an id of this class and length.
    pub(crate) fn add(&mut self, class: Class, bytes: usize) {
        if let Some(mask) = self.0.get_mut(class as usize) {
            *mask |= 1 << (bytes.clamp(1, 64) - 1);
        }
    }

    /// Returns whether there are ids of this class and length.
    pub(crate) fn has(self, class: Class, bytes: usize) -> bool {
        let bit = 1 << (bytes.clamp(1, 64) - 1);
        self.0.get(class as usize).is_none_or(|mask| mask & bit != 0)
    }

    /// Returns whether an id of `class` or a wider one is longer than `bytes`.
    pub(crate) fn any_longer(self, class: Class, bytes: usize) -> bool {
        // Bit n − 1 stands for n bytes, so bits from `bytes` on stand for more; bit 63 for 64 and any more.
        self.any(class, u64::MAX << bytes.min(63))
    }

    /// Returns whether an id of `class` or a wider one is longer than `bytes` and shorter than those that are cut.
    pub(crate) fn any_longer_uncut(self, class: Class, bytes: usize) -> bool {
        self.any(class, u64::MAX << bytes.min(63) & ((1 << (CUT_BYTES_MIN - 1)) - 1))
    }

    fn any(self, class: Class, lengths: u64) -> bool {
        CLASSES.iter().zip(self.0).any(|(wider, mask)| *wider >= class && mask & lengths != 0)
    }
}

/// Returns what the filter keeps of an id.
pub(crate) fn hash(id: &[u8]) -> u64 {
    xxh3_64(id)
}

/// Returns what the filter keeps of the parts of an id, or of a text that may lie in one so that its parts begin there.
pub(crate) fn part_hashes(id: &[u8]) -> impl Iterator<Item = u64> {
    id.as_chunks::<PART_BYTES>().0.iter().map(|part| hash(part))
}

impl IdsBuilder {
    pub(crate) fn add_block(&mut self, mut block: BlockIds) -> Result<(), Error> {
        self.told_apart.keep_distinct(&mut block.hashes);
        let start = self.filters.len();
        fuse::build(&block.hashes, &mut self.filters)?;
        let unlisted = if block.has_unlisted_words { FLAG_UNLISTED_WORDS } else { 0 };
        let listed = if block.has_listed_ids { FLAG_LISTED_IDS } else { 0 };
        self.table.push(unlisted | listed | if block.has_cut_ids { FLAG_CUT_IDS } else { 0 });
        self.table.extend(block.masks.0.iter().flat_map(|mask| mask.to_le_bytes()));
        let filter_bytes = u32::try_from(self.filters.len() - start)
            .map_err(|_| Error::internal("cannot build id index: the filter of a block passes 4 GiB"))?;
        self.table.extend_from_slice(&filter_bytes.to_le_bytes());
        self.blocks += 1;
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.table.len() + self.filters.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.blocks.to_le_bytes());
        bytes.extend_from_slice(&self.table);
        bytes.extend_from_slice(&self.filters);
        bytes
    }
}

/// The section for reading. Cost: 40 bytes per block beside the section's own bytes.
#[derive(Debug)]
pub(crate) struct Ids {
    bytes: Bytes,
    blocks: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    has_unlisted_words: bool,
    has_listed_ids: bool,
    has_cut_ids: bool,
    masks: Masks,
    filter: Range<usize>,
}

impl Ids {
    /// Opens the section. Errors: `Kind::Corrupt`, also for another version.
    pub(crate) fn open(bytes: Bytes) -> Result<Self, Error> {
        let bad = |what: &str| Error::corrupt(format!("cannot read id index: {what}"));
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| bad("it ends too early"))?;
        let [m0, m1, m2, m3, v0, v1, _, _, count @ ..] = *head;
        if &[m0, m1, m2, m3] != MAGIC {
            return Err(bad("it has no magic LYID"));
        }
        let version = u16::from_le_bytes([v0, v1]);
        if !(1..=VERSION).contains(&version) {
            return Err(bad(&format!("it has version {version}, known are 1 to {VERSION}")));
        }
        let count = u32::from_le_bytes(count) as usize;
        let table = count.checked_mul(BLOCK_BYTES).and_then(|table_bytes| rest.get(..table_bytes));
        let table = table.ok_or_else(|| bad("its table ends too early"))?;
        let mut at = HEAD_BYTES + table.len();
        let mut blocks = Vec::with_capacity(count);
        for row in table.as_chunks::<BLOCK_BYTES>().0 {
            let (numbers, filter_bytes) =
                row.split_last_chunk::<4>().ok_or_else(|| bad("a row is too short"))?;
            let (flags, masks) = numbers.split_first().ok_or_else(|| bad("a row is too short"))?;
            let end = at.checked_add(u32::from_le_bytes(*filter_bytes) as usize);
            let end = end.filter(|end| *end <= bytes.len()).ok_or_else(|| bad("a filter ends too early"))?;
            let mut of_class = masks.as_chunks::<8>().0.iter().map(|mask| u64::from_le_bytes(*mask));
            let masks = Masks(std::array::from_fn(|_| of_class.next().unwrap_or(u64::MAX)));
            Fuse::open(bytes.get(at..end).unwrap_or_default())?;
            blocks.push(Row {
                has_unlisted_words: flags & FLAG_UNLISTED_WORDS != 0,
                has_listed_ids: flags & FLAG_LISTED_IDS != 0,
                has_cut_ids: flags & FLAG_CUT_IDS != 0,
                masks,
                filter: at..end,
            });
            at = end;
        }
        if at != bytes.len() {
            return Err(bad("bytes follow its last filter"));
        }
        Ok(Self { bytes, blocks })
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether the filter of the block may hold the id.
    pub(crate) fn may_hold(&self, block: usize, hash: u64) -> bool {
        let Some(row) = self.blocks.get(block) else { return true };
        match Fuse::open(self.bytes.get(row.filter.clone()).unwrap_or_default()) {
            Ok(Some(filter)) => filter.may_hold(hash),
            Ok(None) => false,
            // Opened before, so this cannot be; a filter that cannot be read proves nothing.
            Err(_) => true,
        }
    }

    /// Returns the lengths of the block's ids that are not in the dictionary.
    pub(crate) fn masks(&self, block: usize) -> Masks {
        self.blocks.get(block).map_or(Masks([u64::MAX; 3]), |row| row.masks)
    }

    /// Returns whether some ids of the block are in the dictionary instead of the filter.
    pub(crate) fn has_listed_ids(&self, block: usize) -> bool {
        self.blocks.get(block).is_none_or(|row| row.has_listed_ids)
    }

    /// Returns whether the long ids of the block are in the filter by their parts, too.
    pub(crate) fn has_cut_ids(&self, block: usize) -> bool {
        self.blocks.get(block).is_some_and(|row| row.has_cut_ids)
    }

    /// Returns whether the block holds words that are in no dictionary.
    pub(crate) fn has_unlisted_words(&self, block: usize) -> bool {
        self.blocks.get(block).is_none_or(|row| row.has_unlisted_words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Vec<u8> {
        let mut builder = IdsBuilder::default();
        let ids = |texts: &[&str]| texts.iter().map(|text| hash(text.as_bytes())).collect();
        let mut masks = Masks::default();
        masks.add(Class::LowerHex, 16);
        masks.add(Class::Other, 90);
        let first = BlockIds {
            hashes: ids(&["abc123", "abc123", "def456"]),
            masks,
            has_unlisted_words: true,
            has_listed_ids: false,
            has_cut_ids: true,
        };
        builder.add_block(first).unwrap();
        builder.add_block(BlockIds::default()).unwrap();
        builder.finish()
    }

    #[test]
    fn blocks_come_back() {
        let ids = Ids::open(section().into()).unwrap();
        assert_eq!(ids.blocks(), 2);
        assert!(ids.may_hold(0, hash(b"abc123")) && !ids.may_hold(1, hash(b"abc123")));
        assert!(ids.has_unlisted_words(0) && !ids.has_unlisted_words(1));
        assert!(ids.has_cut_ids(0) && !ids.has_cut_ids(1) && !ids.has_listed_ids(0));
        let masks = ids.masks(0);
        assert!(masks.any_longer(Class::Decimal, 15) && masks.any_longer(Class::LowerHex, 15));
        assert!(!Masks::default().any_longer(Class::Decimal, 0));
        assert!(masks.any_longer(Class::LowerHex, 16), "the one of 90 bytes may hold it");
        assert!(masks.any_longer(Class::Other, 64), "64 bytes and more share a bit");
        assert!(masks.any_longer_uncut(Class::Decimal, 15) && !masks.any_longer_uncut(Class::Decimal, 16));
    }

    #[test]
    fn hashes_are_told_apart() {
        let mut told_apart = ToldApart::default();
        for count in [0, 1, 5, 40] {
            let many = || (0..count).map(|number| number * 64);
            let mut hashes: Vec<u64> = many().chain(many().rev()).chain([0, 0]).collect();
            told_apart.keep_distinct(&mut hashes);
            let expect: Vec<u64> = many().chain((count == 0).then_some(0)).collect();
            assert_eq!(hashes, expect);
        }
    }

    #[test]
    fn damage_is_refused() {
        let section = section();
        for end in 0..section.len() {
            assert!(Ids::open(section[..end].to_vec().into()).is_err(), "cut at {end}");
        }
        let mut longer = section.clone();
        longer.push(0);
        assert!(Ids::open(longer.into()).is_err());
        let mut newer = section;
        newer[4] = 3;
        assert!(Ids::open(newer.into()).unwrap_err().to_string().contains("version 3"));
    }
}
