//! Building the indexes of what lines hold: one pass over each block's text.

use crate::error::Error;
use crate::ids::{BlockIds, IdsBuilder, hash};
use crate::token::{Class, ID_BYTES_MIN, Shape, shape, tokens};
use crate::words::WordsBuilder;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use xxhash_rust::xxh3::xxh3_64;

/// Ids of one class and length that are as few as this in a block go into the dictionary: they are names with
/// a digit (`worker12`, `h264`), and there a needle that is part of them can find them.
const LISTED_IDS_MAX: usize = 48;

/// Collects what the blocks of a segment hold, in the order of the blocks.
///
/// Cost: about 5 ns per byte of text; memory for the distinct tokens of one block and for all words.
#[derive(Debug)]
pub struct ContentIndexBuilder {
    words: Option<WordsBuilder>,
    ids: IdsBuilder,
}

/// The sections of a finished index.
#[derive(Clone, Debug)]
pub struct ContentSections {
    /// The dictionary; absent if none was asked for, or if there were too many words.
    pub words: Option<Vec<u8>>,
    /// The filters.
    pub ids: Vec<u8>,
}

impl ContentIndexBuilder {
    /// Returns a builder; `with_words` for segments that are large enough for a dictionary to pay.
    pub fn new(with_words: bool) -> Result<Self, Error> {
        let words = if with_words { Some(WordsBuilder::new()?) } else { None };
        Ok(Self { words, ids: IdsBuilder::default() })
    }

    /// Adds the next block: its lines, each followed by `\n`.
    ///
    /// Errors: `Kind::Internal`; the builder is of no use then.
    pub fn add_block(&mut self, text: &[u8]) -> Result<(), Error> {
        let distinct: HashSet<&[u8], BuildHasherDefault<TokenHasher>> =
            tokens(text).map(|token| token.bytes).collect();
        let mut words: Vec<&str> = Vec::new();
        let mut ids: HashMap<(Class, usize), Vec<&[u8]>> = HashMap::new();
        let mut block = BlockIds::default();
        for token in distinct {
            match shape(token) {
                Shape::ShortNumber => {}
                Shape::Id(class) => ids.entry((class, token.len())).or_default().push(token),
                Shape::LongWord => block.has_unlisted_words = true,
                Shape::Word => match std::str::from_utf8(token) {
                    Ok(word) => words.push(word),
                    Err(_) => block.has_unlisted_words = true,
                },
            }
        }
        for ((class, bytes), group) in ids {
            let texts = group.iter().map(|id| std::str::from_utf8(id));
            let texts: Option<Vec<&str>> = texts.collect::<Result<_, _>>().ok();
            match texts {
                Some(texts) if self.words.is_some() && texts.len() < LISTED_IDS_MAX => {
                    words.extend(texts);
                    block.has_listed_ids = true;
                }
                _ => {
                    block.masks.add(class, bytes);
                    if bytes >= ID_BYTES_MIN {
                        block.hashes.extend(group.into_iter().map(hash));
                    }
                }
            }
        }
        self.ids.add_block(block)?;
        if let Some(dictionary) = &mut self.words {
            words.sort_unstable();
            if !dictionary.add_block(words.into_iter())? {
                self.words = None;
            }
        }
        Ok(())
    }

    /// Returns the sections.
    pub fn finish(self) -> Result<ContentSections, Error> {
        let words = self.words.map(WordsBuilder::finish).transpose()?;
        Ok(ContentSections { words, ids: self.ids.finish() })
    }
}

/// Hashes a token in one go; the length that slices add is part of it already.
#[derive(Debug, Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(5) ^ xxh3_64(bytes);
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
