//! Building the indexes of what lines hold: one pass over each block's text.

use crate::error::Error;
use crate::ids::{BlockIds, IdsBuilder, hash, part_hashes};
use crate::token::{CLASSES, CUT_BYTES_MAX, CUT_BYTES_MIN, Class, ID_BYTES_MIN, Shape};
use crate::token_set::{SHORT_IDS_MAX, TokenSet};
use crate::words::WordsBuilder;

/// Ids of one class and length that are as few as this in a block go into the dictionary: they are names with
/// a digit (`worker12`, `h264`), and there a needle that is part of them can find them.
const LISTED_IDS_MAX: usize = SHORT_IDS_MAX as usize;
/// Their text is this long at most: what a dictionary takes is bounded.
const LISTED_FEW_BYTES_MAX: usize = 16 << 10;
/// Long ids go there, too, while their text is short: a block that holds a few hundred long tokens would otherwise be a
/// candidate for every shorter needle that could be part of one.
const LISTED_BYTES_MAX: usize = 4 << 10;
/// How long those are at least: shorter ones are in so many blocks that they would fill the dictionary.
const LISTED_BYTES_MIN: usize = 20;
/// Longer ids are as many as if they were of this length.
const GROUPED_BYTES_MAX: usize = 256;

/// Collects what the blocks of a segment hold, in the order of the blocks.
///
/// Cost: about 2 ns per byte of text; memory for the distinct tokens of one block and for all words.
#[derive(Debug)]
pub struct ContentIndexBuilder {
    words: Option<WordsBuilder>,
    ids: IdsBuilder,
    tokens: TokenSet,
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
        Ok(Self { words, ids: IdsBuilder::default(), tokens: TokenSet::default() })
    }

    /// Adds the next block: a text with the tokens of its lines, between separators.
    ///
    /// Errors: `Kind::Internal`; the builder is of no use then.
    pub fn add_block(&mut self, text: &[u8]) -> Result<(), Error> {
        let mut words: Vec<&str> = Vec::new();
        let mut ids = IdGroups::default();
        let mut block = BlockIds { has_cut_ids: true, ..BlockIds::default() };
        for (token, shape) in self.tokens.distinct(text) {
            match shape {
                Shape::ShortNumber => {}
                Shape::Id(class) => ids.add(class, token),
                Shape::LongWord => block.has_unlisted_words = true,
                Shape::Word => match std::str::from_utf8(token) {
                    Ok(word) => words.push(word),
                    Err(_) => block.has_unlisted_words = true,
                },
            }
        }
        for IdGroup { class, bytes, ids } in ids.groups {
            let text_bytes: usize = ids.iter().map(|id| id.len()).sum();
            let is_rare = ids.len() < LISTED_IDS_MAX && text_bytes <= LISTED_FEW_BYTES_MAX
                || bytes >= LISTED_BYTES_MIN && text_bytes <= LISTED_BYTES_MAX;
            let is_listed = self.words.is_some() && is_rare;
            let texts = is_listed.then(|| ids.iter().map(|id| std::str::from_utf8(id)).collect());
            match texts {
                Some(Ok::<Vec<&str>, _>(texts)) => {
                    words.extend(texts);
                    block.has_listed_ids = true;
                }
                _ => {
                    block.masks.add(class, bytes);
                    if bytes >= ID_BYTES_MIN {
                        block.hashes.extend(ids.iter().map(|id| hash(id)));
                    }
                    if bytes >= CUT_BYTES_MIN {
                        block.has_cut_ids &= ids.iter().all(|id| id.len() <= CUT_BYTES_MAX);
                        let parts = ids.iter().map(|id| id.get(..CUT_BYTES_MAX).unwrap_or(id));
                        block.hashes.extend(parts.flat_map(part_hashes));
                    }
                }
            }
        }
        self.ids.add_block(block)?;
        if let Some(dictionary) = &mut self.words
            && !dictionary.add_block(words.into_iter())?
        {
            self.words = None;
        }
        Ok(())
    }

    /// Returns the sections.
    pub fn finish(self) -> Result<ContentSections, Error> {
        let words = self.words.map(WordsBuilder::finish).transpose()?;
        Ok(ContentSections { words, ids: self.ids.finish() })
    }
}

/// The distinct ids of a block that are of one class and length.
struct IdGroup<'a> {
    class: Class,
    bytes: usize,
    ids: Vec<&'a [u8]>,
}

/// The ids of a block by class and length.
#[derive(Default)]
struct IdGroups<'a> {
    groups: Vec<IdGroup<'a>>,
    /// Place of a group plus one, by length, for each class; 0 for none.
    places: [Vec<usize>; CLASSES.len()],
}

impl<'a> IdGroups<'a> {
    fn add(&mut self, class: Class, id: &'a [u8]) {
        let bytes = id.len().min(GROUPED_BYTES_MAX);
        let places = &mut self.places[class as usize];
        if places.len() <= bytes {
            places.resize(bytes + 1, 0);
        }
        if places[bytes] == 0 {
            self.groups.push(IdGroup { class, bytes, ids: Vec::new() });
            places[bytes] = self.groups.len();
        }
        self.groups[places[bytes] - 1].ids.push(id);
    }
}
