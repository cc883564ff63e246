//! The distinct tokens of a text, with their shapes, in one pass.
//!
//! A text of two mebibytes has half a million tokens, of which some ten thousand are distinct. So what counts is
//! how soon a token is known again: its first and last eight bytes are two words that tell all of it if it has
//! 16 bytes at most, and those are nearly all. Short numbers, which are not indexed, are not even looked up.

use crate::token::{Class, ID_BYTES_MIN, NUMBER_BYTES_MIN, Shape, WORD_BYTES_MAX};
use xxhash_rust::xxh3::xxh3_64;

const DIGIT: u8 = 1;
/// `a` to `f`.
const LOWER_HEX: u8 = 2;
/// Any other letter, and what is not ASCII.
const OTHER: u8 = 4;

/// The kind of each byte, a bit each; 0 for what separates tokens.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => LOWER_HEX,
            b'g'..=b'z' | b'A'..=b'Z' | 0x80.. => OTHER,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// Factors of the hash. Their outer bytes are in no token, so neither is ever equal to what it is mixed with.
const FRONT_FACTOR: u64 = 0x9e37_79b9_7f4a_7c01;
const BACK_FACTOR: u64 = 0x01c6_a4a7_935b_d1e9;

/// Of ids that are too short for the filter, so many of one class and length are returned: more are in no dictionary, and
/// then only their length counts.
pub(crate) const SHORT_IDS_MAX: u32 = 48;

/// A table of tokens, kept from text to text for its memory.
#[derive(Debug, Default)]
pub(crate) struct TokenSet {
    tokens: Vec<Known>,
    /// Number of a token plus one by its hash, 0 for none; a power of two of them, at least half of them empty.
    places: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    front: u64,
    back: u64,
    hash: u64,
    start: usize,
    bytes: usize,
    kinds: u8,
}

impl TokenSet {
    /// Returns each token of a text once, but for short numbers and for ids beyond [`SHORT_IDS_MAX`].
    ///
    /// Cost: about 2 ns per byte of text.
    pub(crate) fn distinct<'a>(&'a mut self, text: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Shape)> {
        self.tokens.clear();
        self.places.fill(0);
        // How many short ids there are: lower-case hexadecimal ones and others, by their bytes.
        let mut short_ids = [[0; ID_BYTES_MIN]; 2];
        let mut at = 0;
        while at < text.len() {
            let (start, mut kinds) = (at, 0);
            while let Some(&byte) = text.get(at)
                && KINDS[usize::from(byte)] != 0
            {
                kinds |= KINDS[usize::from(byte)];
                at += 1;
            }
            let is_short_number = kinds == DIGIT && at - start < NUMBER_BYTES_MIN;
            if at > start && !is_short_number {
                let bytes = at - start;
                match short_ids[usize::from(kinds & OTHER != 0)].get_mut(bytes) {
                    Some(count) if kinds & DIGIT != 0 => {
                        if *count < SHORT_IDS_MAX {
                            *count += u32::from(self.add(text, start, bytes, kinds));
                        }
                    }
                    _ => {
                        self.add(text, start, bytes, kinds);
                    }
                }
            }
            at += 1;
        }
        self.tokens.iter().map(|token| (token.text(text), token.shape()))
    }

    /// Returns whether the token is new.
    fn add(&mut self, text: &[u8], start: usize, bytes: usize, kinds: u8) -> bool {
        if self.tokens.len() * 2 >= self.places.len() {
            self.grow();
        }
        let (front, back) = (front(text, start, bytes), back(text, start, bytes));
        let mut hash = fold(front, back ^ bytes as u64);
        if bytes > 16 {
            hash ^= xxh3_64(&text[start..start + bytes]);
        }
        let token = Known { front, back, hash, start, bytes, kinds };
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(number) = (self.places[place] as usize).checked_sub(1) {
            let known = &self.tokens[number];
            let is_same = known.front == front && known.back == back && known.bytes == bytes;
            if is_same && (bytes <= 16 || known.text(text) == token.text(text)) {
                return false;
            }
            place = (place + 1) & mask;
        }
        self.tokens.push(token);
        self.places[place] = u32::try_from(self.tokens.len()).expect("a block has fewer than 2^32 bytes");
        true
    }

    fn grow(&mut self) {
        let mask = (self.places.len() * 2).max(1 << 12) - 1;
        self.places.clear();
        self.places.resize(mask + 1, 0);
        for (number, token) in (1..).zip(&self.tokens) {
            let mut place = token.hash as usize & mask;
            while self.places[place] != 0 {
                place = (place + 1) & mask;
            }
            self.places[place] = number;
        }
    }
}

impl Known {
    fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.start + self.bytes]
    }

    fn shape(&self) -> Shape {
        match self.kinds {
            kinds if kinds & DIGIT == 0 && self.bytes > WORD_BYTES_MAX => Shape::LongWord,
            kinds if kinds & DIGIT == 0 => Shape::Word,
            DIGIT => Shape::Id(Class::Decimal),
            kinds if kinds & OTHER == 0 => Shape::Id(Class::LowerHex),
            _ => Shape::Id(Class::Other),
        }
    }
}

/// Returns the first eight bytes of a token, zeros behind a shorter one.
fn front(text: &[u8], start: usize, bytes: usize) -> u64 {
    let mask = if bytes < 8 { !(u64::MAX << (8 * bytes)) } else { u64::MAX };
    let word = text[start..].first_chunk::<8>().map_or_else(
        || text[start..].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        |word| u64::from_le_bytes(*word),
    );
    word & mask
}

/// Returns the last eight bytes of a token, 0 for one that has no more than that.
fn back(text: &[u8], start: usize, bytes: usize) -> u64 {
    if bytes <= 8 {
        return 0;
    }
    text[..start + bytes].last_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word))
}

fn fold(front: u64, back: u64) -> u64 {
    let product = u128::from(front ^ FRONT_FACTOR) * u128::from(back ^ BACK_FACTOR);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{shape, tokens};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(set: &mut TokenSet, text: &[u8]) {
        let all = tokens(text).map(|token| (token.bytes, shape(token.bytes)));
        let expect: BTreeMap<&[u8], Shape> = all.filter(|(_, shape)| *shape != Shape::ShortNumber).collect();
        let list: Vec<(&[u8], Shape)> = set.distinct(text).collect();
        let found: BTreeMap<&[u8], Shape> = list.iter().copied().collect();
        assert_eq!(found.len(), list.len(), "each token once");
        assert!(found.iter().all(|token| expect.get(token.0) == Some(token.1)));
        for (token, shape) in expect.iter().filter(|token| !found.contains_key(token.0)) {
            let is_like = |other: &(&&[u8], &Shape)| other.0.len() == token.len() && other.1 == shape;
            let is_short = token.len() < ID_BYTES_MIN && matches!(shape, Shape::Id(_));
            assert!(is_short && found.iter().filter(is_like).count() == SHORT_IDS_MAX as usize);
        }
    }

    #[test]
    fn many_and_long_tokens_are_told_apart() {
        let middle =
            |number: u32| format!("12345678{number:08}abcdefgh 1234567{number} {number:x} x{number}y ");
        let text: String = (0..5000).chain(100..400).map(middle).collect();
        let mut set = TokenSet::default();
        check(&mut set, text.as_bytes());
        check(&mut set, b"");
        check(&mut set, "née 12345 123456 abc 0abc".repeat(3).as_bytes());
        check(&mut set, "x".repeat(65).as_bytes());
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_a_look_at_each(texts in proptest::collection::vec("[0-3a-bgX é_]{0,60}", 1..4)) {
            let mut set = TokenSet::default();
            texts.iter().for_each(|text| check(&mut set, text.as_bytes()));
        }
    }
}
