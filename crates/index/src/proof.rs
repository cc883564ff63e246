//! Proofs of absence: which blocks cannot hold a literal.
//!
//! The literal is cut into tokens. One with separators on both sides must be in a block as it is. One at
//! the literal's edge may be part of a longer token, so a block stays if its dictionary has a term around it,
//! or if its filter has a longer id that could. What is not indexed proves nothing. A block that survives all
//! tokens of all literals is a candidate, no more: the reader looks.

use crate::error::Error;
use crate::ids::{self, Ids};
use crate::number_set::NumberSet;
use crate::token::{ID_BYTES_MIN, PART_BYTES, PART_COVER_BYTES, Shape, Token, class, shape, tokens};
use crate::words::Words;
use bytes::Bytes;
use logyard_model::Prefilter;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The open indexes of one segment: any of them may be missing, and proves nothing then.
#[derive(Debug)]
pub struct ContentIndex {
    words: Option<Words>,
    ids: Ids,
}

impl ContentIndex {
    /// Opens the sections of a segment with `blocks` blocks.
    ///
    /// Errors: `Kind::Corrupt` if the ids cannot be read. A dictionary that cannot be read is done without; the
    /// second value says why. Cost: reads the tables; filters stay bytes.
    pub fn open(words: Option<&Bytes>, ids: Bytes, blocks: usize) -> Result<(Self, Option<Error>), Error> {
        let ids = Ids::open(ids)?;
        let misfit = |got: usize| Error::corrupt(format!("index is of {got} blocks, want {blocks}"));
        if ids.blocks() != blocks {
            return Err(misfit(ids.blocks()));
        }
        let opened = words.map(|bytes| match Words::open(bytes) {
            Ok(words) if words.blocks() != blocks => Err(misfit(words.blocks())),
            opened => opened,
        });
        let (words, why) = match opened {
            None => (None, None),
            Some(Ok(words)) => (Some(words), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Ok((Self { words, ids }, why))
    }

    /// Returns the blocks that may hold a line which meets the prefilter; all blocks for an empty one.
    ///
    /// Errors: `Kind::Corrupt` if the dictionary fails; all blocks are candidates then.
    /// Cost: a search of the dictionary's text per token at an edge, and a probe per block and id.
    pub fn candidates(&self, prefilter: &Prefilter) -> Result<NumberSet, Error> {
        let mut candidates = NumberSet::all(self.ids.blocks());
        for literal in &prefilter.literals {
            self.narrow(literal, &mut candidates)?;
        }
        for group in &prefilter.any_of {
            let mut holders = NumberSet::none(self.ids.blocks());
            // `(connection|session) (reset|closed)` asks for the same words again and again.
            let mut known: HashMap<Token<'_>, Option<NumberSet>> = HashMap::new();
            for literal in group {
                let mut of_one = candidates.clone();
                for token in tokens(literal) {
                    let of_token = match known.entry(token) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(place) => place.insert(self.holders(token, &candidates)?),
                    };
                    if let Some(of_token) = of_token {
                        of_one.keep(of_token);
                    }
                }
                holders.extend(&of_one);
            }
            candidates.keep(&holders);
        }
        Ok(candidates)
    }

    /// Keeps the candidates that may hold the literal.
    fn narrow(&self, literal: &[u8], candidates: &mut NumberSet) -> Result<(), Error> {
        for token in tokens(literal) {
            if let Some(holders) = self.holders(token, candidates)? {
                candidates.keep(&holders);
            }
        }
        Ok(())
    }

    /// Returns those of `candidates` that may hold the token; `None` if nothing can be said of it.
    fn holders(&self, token: Token<'_>, candidates: &NumberSet) -> Result<Option<NumberSet>, Error> {
        let mut holders = NumberSet::none(self.ids.blocks());
        let is_whole = !token.is_open_left && !token.is_open_right;
        let kind = shape(token.bytes);
        match (kind, &self.words) {
            (Shape::ShortNumber | Shape::LongWord, _) | (Shape::Word, None) => return Ok(None),
            (Shape::Word | Shape::Id(_), words) => {
                if let Some(words) = words {
                    words.add_blocks(token.bytes, token.is_open_left, token.is_open_right, &mut holders)?;
                }
            }
        }
        let hash = ids::hash(token.bytes);
        let parts = PartHashes::of(token.bytes);
        for block in candidates.iter() {
            let is_possible = match kind {
                // The filter has ids only, so it speaks of longer tokens alone.
                Shape::Word => self.ids.has_unlisted_words(block),
                _ => {
                    self.may_hold_id(block, token, hash)
                        || self.words.is_none() && self.ids.has_listed_ids(block)
                }
            };
            if is_possible || !is_whole && self.may_be_part(block, token.bytes, &parts) {
                holders.add(block);
            }
        }
        Ok(Some(holders))
    }

    /// Returns whether a longer id of the block's filter may hold the token.
    fn may_be_part(&self, block: usize, token: &[u8], parts: &PartHashes) -> bool {
        // A token with a letter from g on can be in an id of the widest class only, and so forth.
        let (masks, class) = (self.ids.masks(block), class(token));
        if !masks.any_longer(class, token.len()) {
            return false;
        }
        if !self.ids.has_cut_ids(block) || masks.any_longer_uncut(class, token.len()) {
            return true;
        }
        parts.may_be(|hash| self.ids.may_hold(block, hash))
    }

    /// Returns whether the block may hold the id beside those of the dictionary.
    fn may_hold_id(&self, block: usize, token: Token<'_>, hash: u64) -> bool {
        if token.bytes.len() < ID_BYTES_MIN {
            return self.ids.masks(block).has(class(token.bytes), token.bytes.len());
        }
        self.ids.may_hold(block, hash)
    }
}

/// The parts of an id that a text covers, for each way in which it may lie there.
struct PartHashes(Vec<Vec<u64>>);

impl PartHashes {
    fn of(text: &[u8]) -> Self {
        // A shorter text may lie within an id and cover no part of it.
        let ways = if text.len() < PART_COVER_BYTES { 0 } else { PART_BYTES };
        let parts = |skipped| ids::part_hashes(text.get(skipped..).unwrap_or_default()).collect();
        Self((0..ways).map(parts).collect())
    }

    /// Returns whether an id may hold the text, from the parts that there may be.
    fn may_be(&self, may_hold: impl Fn(u64) -> bool) -> bool {
        self.0.is_empty() || self.0.iter().any(|parts| parts.iter().all(|part| may_hold(*part)))
    }
}

#[cfg(test)]
mod tests;
