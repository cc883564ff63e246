//! The dictionary of a segment: word → blocks.
//!
//! One tantivy document per block, one field whose terms are the block's words and its rare ids. Beside it the
//! terms as one text, in the dictionary's order: a needle that is part of a word is found by one search
//! over that text instead of a walk over the dictionary's tree.

use crate::bundle;
use crate::error::Error;
use crate::number_set::NumberSet;
use crate::tantivy_directory::BundleDirectory;
use crate::tantivy_files::{corrupt, guarded, index_files, internal, term_schema};
use bytes::Bytes;
use memchr::{memchr, memchr_iter, memmem, memrchr};
use std::collections::HashSet;
use std::sync::Arc;
use tantivy::directory::{OwnedBytes, RamDirectory};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{
    DocSet as _, Index, InvertedIndexReader, SingleSegmentIndexWriter, TERMINATED, TantivyDocument,
};

/// Bytes of the term table that the index writer may reserve: the least it accepts.
const WRITER_BYTES: usize = 3 << 20;

/// Most words of a segment; one with more has no dictionary, since its words are no words.
pub(crate) const WORDS_MAX: usize = 200_000;
/// Most bytes of the words of a segment.
const WORDS_BYTES_MAX: usize = 8 << 20;

/// Part of the bundle with the terms, ascending, each followed by `\n`.
const PART_TERMS: &str = "terms";

/// Collects the words of block after block.
pub(crate) struct WordsBuilder {
    writer: SingleSegmentIndexWriter<TantivyDocument>,
    directory: RamDirectory,
    field: Field,
    terms: HashSet<Box<str>>,
    /// Bytes of the terms.
    bytes: usize,
}

impl std::fmt::Debug for WordsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordsBuilder").field("terms", &self.terms.len()).finish_non_exhaustive()
    }
}

impl WordsBuilder {
    pub(crate) fn new() -> Result<Self, Error> {
        let (schema, field) = term_schema("word");
        let directory = RamDirectory::create();
        // Under the name that the schema has: whoever reads asks for terms as they are.
        let tokenizers = TokenizerManager::new();
        tokenizers.register("raw", OnePerLine);
        let writer = Index::builder()
            .schema(schema)
            .tokenizers(tokenizers)
            .single_segment_index_writer(directory.clone(), WRITER_BYTES)
            .map_err(internal)?;
        Ok(Self { writer, directory, field, terms: HashSet::new(), bytes: 0 })
    }

    /// Adds the words of the next block. Returns whether all words so far are few enough; if not, the
    /// dictionary is of no use.
    pub(crate) fn add_block<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Result<bool, Error> {
        // One text of all words: a text for each costs more than its word does.
        let mut text = String::new();
        for word in words {
            if !self.terms.contains(word) {
                self.terms.insert(word.into());
                self.bytes += word.len();
            }
            text.push_str(word);
            text.push('\n');
        }
        let mut document = TantivyDocument::default();
        document.add_text(self.field, text);
        self.writer.add_document(document).map_err(internal)?;
        Ok(self.terms.len() <= WORDS_MAX && self.bytes <= WORDS_BYTES_MAX)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        let index = self.writer.finalize().map_err(internal)?;
        let mut sorted: Vec<&str> = self.terms.iter().map(AsRef::as_ref).collect();
        sorted.sort_unstable();
        let mut terms = Vec::with_capacity(sorted.iter().map(|term| term.len() + 1).sum());
        for term in sorted {
            terms.extend_from_slice(term.as_bytes());
            terms.push(b'\n');
        }
        let mut parts = vec![(PART_TERMS.to_owned(), terms)];
        parts.extend(index_files(&index, &self.directory)?);
        bundle::encode(&parts)
    }
}

/// Makes a term of each line of a text.
#[derive(Clone, Copy, Debug)]
struct OnePerLine;

/// The lines of a text that are still to come, and the last one.
struct LinesLeft<'a> {
    rest: &'a str,
    token: Token,
}

impl Tokenizer for OnePerLine {
    type TokenStream<'a> = LinesLeft<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> LinesLeft<'a> {
        LinesLeft { rest: text, token: Token { position: 0, ..Token::default() } }
    }
}

impl TokenStream for LinesLeft<'_> {
    fn advance(&mut self) -> bool {
        let Some((line, rest)) = self.rest.split_once('\n') else { return false };
        self.token.text.clear();
        self.token.text.push_str(line);
        self.rest = rest;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// An open dictionary. Holds its bundle's bytes.
pub(crate) struct Words {
    index: Arc<InvertedIndexReader>,
    terms: OwnedBytes,
    blocks: usize,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl Words {
    /// Opens a bundle. Errors: `Kind::Corrupt`. Cost: 0.2 ms; copies the bundle once.
    pub(crate) fn open(bytes: &Bytes) -> Result<Self, Error> {
        guarded(|| {
            let directory = BundleDirectory::open(bytes)?;
            let terms = directory.part(PART_TERMS).ok_or_else(|| corrupt("part terms is missing"))?;
            let mut index = Index::open(directory).map_err(corrupt)?;
            index.set_tokenizers(TokenizerManager::new());
            let field = index.schema().get_field("word").map_err(corrupt)?;
            let segments = index.searchable_segments().map_err(corrupt)?;
            let [segment] = segments.as_slice() else {
                return Err(corrupt(format!("got {} tantivy segments, want 1", segments.len())));
            };
            let reader = tantivy::SegmentReader::open(segment).map_err(corrupt)?;
            let blocks = reader.max_doc() as usize;
            let index = reader.inverted_index(field).map_err(corrupt)?;
            let (got, want) = (memchr_iter(b'\n', &terms).count(), index.terms().num_terms());
            if got != want {
                return Err(corrupt(format!("got {got} terms in the text, want {want}")));
            }
            Ok(Self { index, terms, blocks })
        })
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Adds the blocks that hold a term which has `token` in it: anywhere for open ends, else at them.
    pub(crate) fn add_blocks(
        &self,
        token: &[u8],
        is_open_left: bool,
        is_open_right: bool,
        found: &mut NumberSet,
    ) -> Result<(), Error> {
        guarded(|| {
            if !is_open_left && !is_open_right {
                return match self.index.terms().get(token).map_err(corrupt)? {
                    Some(info) => self.add_postings(&info, found),
                    None => Ok(()),
                };
            }
            // The closed end is a border of the text, which a `\n` stands for.
            let mut needle = Vec::with_capacity(token.len() + 1);
            needle.extend((!is_open_left).then_some(b'\n'));
            needle.extend_from_slice(token);
            needle.extend((!is_open_right).then_some(b'\n'));
            // The first term has no `\n` in front of it.
            let first = !is_open_left && self.terms.starts_with(token);
            let at_start = first.then_some(0);
            // Where the token itself lies, past the border in front of it.
            let hits = memmem::find_iter(&self.terms, &needle).map(|hit| hit + usize::from(!is_open_left));
            let mut behind = 0;
            for at in at_start.into_iter().chain(hits) {
                // Another hit in the same term.
                if at < behind {
                    continue;
                }
                let (front, tail) = self.terms.split_at(at);
                let start = memrchr(b'\n', front).map_or(0, |border| border + 1);
                let end = at + memchr(b'\n', tail).unwrap_or(tail.len());
                let term = self.terms.get(start..end).unwrap_or_default();
                if let Some(info) = self.index.terms().get(term).map_err(corrupt)? {
                    self.add_postings(&info, found)?;
                }
                behind = end;
            }
            Ok(())
        })
    }

    fn add_postings(&self, info: &tantivy::postings::TermInfo, found: &mut NumberSet) -> Result<(), Error> {
        let postings = self.index.read_postings_from_terminfo(info, IndexRecordOption::Basic);
        let mut postings = postings.map_err(corrupt)?;
        while postings.doc() != TERMINATED {
            found.add(postings.doc() as usize);
            postings.advance();
        }
        Ok(())
    }
}
