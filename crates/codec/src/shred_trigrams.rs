//! Which three bytes in a row the texts of columns hold, so that a search leaves those compressed that cannot hold
//! what it seeks. Bytes: `schemas/block.md`.
//!
//! A *trigram* is three bytes in a row none of which ends a line. Each stream of text has a bitmap: the bit of a
//! trigram is set if the text holds it, or another one with the same bit. Letters count as small ones, so that one
//! bitmap serves searches in either case.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::{Cursor, put_len, put_varint};
use crate::error::Error;

const WHAT: &str = "trigrams";
pub(crate) const TRIGRAM_BYTES: usize = 3;
/// The smallest and the largest bitmap, as powers of two.
const BITS_LOG2_MIN: u32 = 3;
const BITS_LOG2_MAX: u32 = 16;
/// With so many bits for each trigram a third of them are set, and one of 27 texts seems to hold three trigrams that
/// it does not.
const BITS_PER_TRIGRAM: usize = 2;
/// A bitmap with a larger share of its bits set, in quarters, tells too little.
const QUARTERS_SET_MAX: usize = 3;

/// What some texts of columns hold.
#[derive(Debug, Default)]
pub(crate) struct Trigrams {
    /// By number of stream, ascending.
    texts: Vec<Bitmap>,
    /// The bitmaps, end to end.
    bitmaps: Vec<u8>,
}

#[derive(Debug)]
struct Bitmap {
    stream: u32,
    bits_log2: u32,
    /// Where it lies among all.
    start: usize,
}

/// The trigrams of a text to look for, as numbers; none of a text that is too short, or holds the end of a line.
#[derive(Debug, Default)]
pub(crate) struct Sought(Vec<u32>);

impl Sought {
    pub(crate) fn of(text: &[u8]) -> Self {
        if text.contains(&b'\n') { Self::default() } else { Self(hashes(text).collect()) }
    }
}

impl Trigrams {
    /// Reads what is told of the texts among so many streams.
    pub(crate) fn decode(bytes: &[u8], streams: usize) -> Result<Self, Error> {
        let mut cursor = Cursor::new(WHAT, bytes);
        let count = cursor.count()?;
        if count > streams {
            return Err(cursor.corrupt(format!("{count} texts of {streams} streams")));
        }
        let mut texts = Vec::with_capacity(count);
        let (mut next, mut start) = (0u32, 0);
        for _ in 0..count {
            let stream = next.saturating_add(cursor.varint_u32()?);
            if stream as usize >= streams {
                return Err(cursor.corrupt(format!("stream {stream} of {streams}")));
            }
            next = stream + 1;
            let bits_log2 = u32::from(cursor.u8()?);
            if !(BITS_LOG2_MIN..=BITS_LOG2_MAX).contains(&bits_log2) {
                return Err(cursor.corrupt(format!("a bitmap of 2^{bits_log2} bits")));
            }
            texts.push(Bitmap { stream, bits_log2, start });
            start += 1 << (bits_log2 - 3);
        }
        let bitmaps = cursor.take(start)?.to_vec();
        cursor.finish()?;
        Ok(Self { texts, bitmaps })
    }

    /// Returns whether the text of a stream may hold a text; yes, if nothing is told of it.
    pub(crate) fn may_hold(&self, stream: u32, sought: &Sought) -> bool {
        self.may_hold_all(stream, sought.0.iter().copied())
    }

    /// Returns whether the text of a stream may hold a text without the end of a line, as [`Trigrams::may_hold`].
    pub(crate) fn may_hold_text(&self, stream: u32, text: &[u8]) -> bool {
        self.may_hold_all(stream, hashes(text))
    }

    fn may_hold_all(&self, stream: u32, mut hashes: impl Iterator<Item = u32>) -> bool {
        let Ok(place) = self.texts.binary_search_by_key(&stream, |text| text.stream) else { return true };
        let Some(text) = self.texts.get(place) else { return true };
        let bytes = 1usize << (text.bits_log2 - 3);
        let Some(bitmap) = self.bitmaps.get(text.start..text.start + bytes) else { return true };
        let mask = (1u32 << text.bits_log2) - 1;
        hashes.all(|hash| {
            let bit = hash & mask;
            bitmap.get((bit >> 3) as usize).is_none_or(|byte| byte >> (bit & 7) & 1 == 1)
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.bitmaps.capacity() + self.texts.capacity() * size_of::<Bitmap>()
    }
}

/// Encodes what texts hold, each given with the number of its stream, ascending; nothing, if there is nothing to tell.
pub(crate) fn encode<'a>(texts: impl Iterator<Item = (u32, &'a [u8])>) -> Vec<u8> {
    let (mut count, mut next) = (0, 0);
    let (mut table, mut bitmaps) = (Vec::new(), Vec::new());
    let mut scratch = Vec::new();
    for (stream, text) in texts {
        let Some(bits_log2) = make_bitmap(text, &mut scratch) else { continue };
        count += 1;
        put_varint(&mut table, u64::from(stream - next));
        table.push(bits_log2);
        next = stream + 1;
        bitmaps.extend_from_slice(&scratch);
    }
    let mut out = Vec::new();
    if count > 0 {
        put_len(&mut out, count);
        out.append(&mut table);
        out.append(&mut bitmaps);
    }
    out
}

/// Makes the bitmap of a text, and returns its size; `None` if the text is short or holds nearly everything.
///
/// A large one is made first, which tells how many trigrams there are, and folded as often as they allow: the bit of a
/// trigram in a bitmap of half the size is that of its number without the highest bit. A bitmap takes an eighth of the
/// text at most.
fn make_bitmap(text: &[u8], bitmap: &mut Vec<u8>) -> Option<u8> {
    let bits_log2_max = text.len().checked_ilog2()?.min(BITS_LOG2_MAX);
    if bits_log2_max < BITS_LOG2_MIN {
        return None;
    }
    let mut bits_log2 = (bits_log2_max + 2).min(BITS_LOG2_MAX);
    bitmap.clear();
    bitmap.resize(1 << (bits_log2 - 3), 0);
    let mask = (1u32 << bits_log2) - 1;
    hashes(text).for_each(|hash| {
        let bit = hash & mask;
        if let Some(byte) = bitmap.get_mut((bit >> 3) as usize) {
            *byte |= 1 << (bit & 7);
        }
    });
    let wanted = ones(bitmap) * BITS_PER_TRIGRAM;
    while bits_log2 > bits_log2_max || (bits_log2 > BITS_LOG2_MIN && 1 << (bits_log2 - 1) >= wanted) {
        bits_log2 -= 1;
        let half = bitmap.len() / 2;
        let (low, high) = bitmap.split_at_mut_checked(half)?;
        low.iter_mut().zip(high).for_each(|(low, high)| *low |= *high);
        bitmap.truncate(half);
    }
    let is_telling = ones(bitmap) * 4 <= (QUARTERS_SET_MAX << bits_log2);
    if is_telling { u8::try_from(bits_log2).ok() } else { None }
}

fn ones(bitmap: &[u8]) -> usize {
    bitmap.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// Returns the numbers of the trigrams of a text.
#[inline]
fn hashes(text: &[u8]) -> impl Iterator<Item = u32> {
    text.windows(TRIGRAM_BYTES).filter_map(|window| match *window {
        [first, second, third] if first != b'\n' && second != b'\n' && third != b'\n' => {
            let [first, second, third] = [first, second, third].map(|byte| byte.to_ascii_lowercase());
            let product = u32::from_le_bytes([first, second, third, 0]).wrapping_mul(0x9e37_79b1);
            Some(product ^ product >> 16)
        }
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told_of(texts: &[&[u8]]) -> Trigrams {
        let bytes = encode((0u32..).map(|number| number * 3 + 1).zip(texts.iter().copied()));
        if bytes.is_empty() { Trigrams::default() } else { Trigrams::decode(&bytes, 100).unwrap() }
    }

    #[test]
    fn a_text_tells_what_it_cannot_hold() {
        let words: Vec<String> =
            (0..400).map(|number| format!("user-{number} opened /api/{number}\n")).collect();
        let text = words.concat();
        let trigrams = told_of(&[b"a\n", text.as_bytes()]);
        let may_hold = |stream, text: &str| {
            let (told, listed) = (
                trigrams.may_hold_text(stream, text.as_bytes()),
                trigrams.may_hold(stream, &Sought::of(text.as_bytes())),
            );
            assert_eq!(told, listed, "{text}");
            told
        };
        assert!(may_hold(4, "user-3") && may_hold(4, "USER-3") && may_hold(4, "opened /api"));
        assert!(!may_hold(4, "connection refused") && !may_hold(4, "timed out"));
        // Too short to tell anything of, and streams that nothing is told of.
        assert!(may_hold(4, "zz") && may_hold(1, "connection") && may_hold(7, "connection"));
        // What holds the end of a line is not told of.
        assert!(trigrams.may_hold(4, &Sought::of(b"connection\nrefused")));
    }

    #[test]
    fn bitmaps_take_an_eighth_of_their_text_at_most() {
        let numbers = |count: u32| -> Vec<u8> {
            (0..count)
                .flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes().map(|byte| byte | 0x80))
                .collect()
        };
        for text in [b"abcabcabc".repeat(500), numbers(2000), numbers(100_000), b"x".to_vec(), Vec::new()] {
            let bytes = encode([(0, text.as_slice())].into_iter());
            assert!(bytes.len() <= text.len() / 8 + 4, "{} of {}", bytes.len(), text.len());
        }
        // Nearly all trigrams: nothing is told.
        assert_eq!(encode([(0, numbers(100_000).as_slice())].into_iter()), [0; 0]);
        // Few: a small bitmap.
        assert_eq!(encode([(0, b"abcabcabc".repeat(500).as_slice())].into_iter()).len(), 4);
    }

    #[test]
    fn broken_bytes_are_told_of() {
        let good = encode([(2, b"some text of some length".as_slice())].into_iter());
        assert!(Trigrams::decode(&good, 3).is_ok());
        assert!(Trigrams::decode(&good, 2).is_err() && Trigrams::decode(&good, 0).is_err());
        for (place, byte) in [(0, 9), (2, 2), (2, 40), (2, 16)] {
            let mut bytes = good.clone();
            bytes[place] = byte;
            assert!(Trigrams::decode(&bytes, 100).is_err(), "{place} {byte}");
        }
        assert!(Trigrams::decode(&good[..good.len() - 1], 100).is_err());
        assert!(Trigrams::decode(&[good, vec![0]].concat(), 100).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_a_text_holds_is_never_ruled_out(
            text in proptest::collection::vec(prop::sample::select(b"abcXYZ 0-/\n".to_vec()), 0..600),
            (from, bytes) in (0usize..600, 0usize..12),
        ) {
            let trigrams = told_of(&[&text]);
            let part = &text[from.min(text.len())..(from + bytes).min(text.len())];
            for part in [part.to_vec(), part.to_ascii_lowercase(), part.to_ascii_uppercase()] {
                prop_assert!(trigrams.may_hold(1, &Sought::of(&part)));
            }
        }
    }
}
