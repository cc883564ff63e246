//! The stream index: label matchers → stream refs.
//!
//! One tantivy document per stream, one text field whose terms are `name\0value`, postings without
//! frequencies, nothing stored. A label's values are one range of the sorted dictionary, so label names and
//! values are listed without touching a document.
//!
//! An absent label reads as the empty text. A matcher that passes on it therefore *removes* the streams
//! whose value fails; any other *keeps* the streams whose value passes.
//!
//! tantivy trusts the bytes of its files and panics on bad ones. Callers open a bundle only when its section's
//! checksum holds, which is what keeps damage away; bytes that are wrong in spite of it become an error here,
//! since every call into tantivy is guarded and the walks over its terms are bounded.

use crate::bundle;
use crate::error::Error;
use crate::literals::alternation;
use crate::number_set::NumberSet;
use crate::tantivy_directory::BundleDirectory;
use crate::tantivy_files::{corrupt, guarded, index_files, internal, term_schema};
use bytes::Bytes;
use logyard_model::{LabelSet, MatchOp, Matcher};
use std::sync::Arc;
use tantivy::directory::RamDirectory;
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{DocSet as _, Index, InvertedIndexReader, TERMINATED, TantivyDocument};

/// Bytes of the term table that the index writer may reserve: the least it accepts for our sizes.
const WRITER_BYTES: usize = 3 << 20;

/// Longest `name\0value` in bytes; tantivy drops longer terms silently, which would lose streams.
const TERM_BYTES_MAX: usize = 60_000;

/// Part of the bundle that maps documents to stream refs, u32 little endian each.
const PART_REFS: &str = "refs";
/// Builds the index of `streams` as one bundle of bytes.
///
/// Shape: refs are distinct, in any order; the bundle is the same for the same streams.
/// Errors: `Kind::Invalid` when a label name holds a NUL or a label exceeds 60,000 bytes.
/// Cost: no I/O and no thread; about 5 µs and 16 bytes per stream, and 6 MiB while it runs.
/// Source: `schemas/segment.md`, section `stream index`.
pub fn build(streams: &[(u32, &LabelSet)]) -> Result<Vec<u8>, Error> {
    let mut sorted: Vec<(u32, &LabelSet)> = streams.to_vec();
    sorted.sort_unstable_by_key(|stream| stream.0);
    let (schema, field) = term_schema("label");
    let directory = RamDirectory::create();
    let mut writer = Index::builder()
        .schema(schema)
        .single_segment_index_writer::<TantivyDocument>(directory.clone(), WRITER_BYTES)
        .map_err(internal)?;
    for (_, labels) in &sorted {
        let mut document = TantivyDocument::default();
        for (name, value) in labels.iter() {
            document.add_text(field, checked_term(name, value)?);
        }
        writer.add_document(document).map_err(internal)?;
    }
    let index = writer.finalize().map_err(internal)?;
    let refs = sorted.iter().flat_map(|stream| stream.0.to_le_bytes()).collect();
    let mut parts = vec![(PART_REFS.to_owned(), refs)];
    parts.extend(index_files(&index, &directory)?);
    bundle::encode(&parts)
}

fn term(name: &str, value: &str) -> String {
    let mut term = String::with_capacity(name.len() + 1 + value.len());
    term.push_str(name);
    term.push('\0');
    term.push_str(value);
    term
}

fn checked_term(name: &str, value: &str) -> Result<String, Error> {
    if name.contains('\0') {
        return Err(Error::invalid(format!("cannot index label {name:?}: its name holds a NUL byte")));
    }
    let term = term(name, value);
    if term.len() > TERM_BYTES_MAX {
        let got = term.len();
        let text = format!("cannot index label {name:?}: {got} bytes, limit is {TERM_BYTES_MAX}");
        return Err(Error::invalid(text));
    }
    Ok(term)
}

/// An open stream index. Cheap to share; holds its bundle's bytes and nothing else of note.
pub struct StreamIndex {
    terms: Arc<InvertedIndexReader>,
    refs: Vec<u32>,
    /// Most terms that a bundle of this size can hold: each has a list of documents of a byte or more.
    terms_max: usize,
}

impl std::fmt::Debug for StreamIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamIndex").field("streams", &self.refs.len()).finish()
    }
}

impl StreamIndex {
    /// Opens a bundle.
    ///
    /// Errors: `Kind::Corrupt` when the bytes are no bundle or hold another version of the index.
    /// Cost: 0.2 ms; copies the bundle once.
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        guarded(|| Self::open_trusting(&bytes))
    }

    fn open_trusting(bytes: &Bytes) -> Result<Self, Error> {
        let directory = BundleDirectory::open(bytes)?;
        let refs = directory.part(PART_REFS).ok_or_else(|| corrupt("part refs is missing"))?;
        if refs.len() % 4 != 0 {
            return Err(corrupt(format!("part refs has {} bytes, want a multiple of 4", refs.len())));
        }
        let refs =
            refs.as_slice().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let mut index = Index::open(directory).map_err(corrupt)?;
        index.set_tokenizers(TokenizerManager::new());
        let field = index.schema().get_field("label").map_err(corrupt)?;
        let segments = index.searchable_segments().map_err(corrupt)?;
        let [segment] = segments.as_slice() else {
            return Err(corrupt(format!("got {} tantivy segments, want 1", segments.len())));
        };
        let reader = tantivy::SegmentReader::open(segment).map_err(corrupt)?;
        let terms = reader.inverted_index(field).map_err(corrupt)?;
        let index = Self { terms, refs, terms_max: bytes.len() };
        if index.refs.len() != reader.max_doc() as usize {
            return Err(corrupt(format!("got {} documents, want {}", reader.max_doc(), index.refs.len())));
        }
        Ok(index)
    }

    /// Returns the refs of the streams that pass all matchers, ascending; all refs for no matcher.
    ///
    /// Errors: `Kind::Corrupt`.
    /// Cost: a term each for `=`, `!=` and alternations of literals; else a walk over the label's values.
    pub fn matching(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Error> {
        guarded(|| self.matching_trusting(matchers))
    }

    fn matching_trusting(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Error> {
        let mut chosen = NumberSet::all(self.refs.len());
        for matcher in matchers {
            let removes = matcher.matches_empty();
            let mut named = NumberSet::none(self.refs.len());
            self.each_value(matcher, |value, info| {
                // The streams with a value that decides: failing for a matcher that passes on absence.
                if matcher.matches(value) != removes { self.add_documents(info, &mut named) } else { Ok(()) }
            })?;
            if removes {
                chosen.remove(&named);
            } else {
                chosen.keep(&named);
            }
        }
        Ok(chosen.iter().filter_map(|document| self.refs.get(document).copied()).collect())
    }

    /// Returns the label names, sorted.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        guarded(|| self.names_trusting())
    }

    fn names_trusting(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        let mut from: Vec<u8> = Vec::new();
        // One look-up per name: after a name's first term, go on behind its last possible one.
        loop {
            let mut terms = self.terms.terms().range().ge(&from).into_stream().map_err(corrupt)?;
            let Some((key, _)) = terms.next() else { return Ok(names) };
            let (name, _) = split_term(key)?;
            if names.len() >= self.terms_max {
                return Err(self.too_many_terms());
            }
            from = name.as_bytes().to_vec();
            from.push(1);
            names.push(name.to_owned());
        }
    }

    /// Returns the values of a label, sorted.
    pub fn values(&self, name: &str) -> Result<Vec<String>, Error> {
        guarded(|| {
            let mut values = Vec::new();
            self.walk_values(name, |value, _| {
                values.push(value.to_owned());
                Ok(())
            })?;
            Ok(values)
        })
    }

    fn too_many_terms(&self) -> Error {
        corrupt(format!("more than {} terms in as many bytes", self.terms_max))
    }

    /// Calls `visit` for at least the values of the matcher's label that can decide it.
    fn each_value(
        &self,
        matcher: &Matcher,
        mut visit: impl FnMut(&str, &TermInfo) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let literals = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => Some(vec![matcher.value().to_owned()]),
            MatchOp::Regex | MatchOp::NotRegex => alternation(matcher.value()),
        };
        // Named literals decide alone unless the empty text is one of them: then every *other* value does.
        match literals {
            Some(literals) if literals.iter().all(|literal| !literal.is_empty()) => {
                for literal in literals {
                    let key = term(matcher.name(), &literal);
                    if let Some(info) = self.terms.terms().get(key.as_bytes()).map_err(corrupt)? {
                        visit(&literal, &info)?;
                    }
                }
                Ok(())
            }
            _ => self.walk_values(matcher.name(), visit),
        }
    }

    fn walk_values(
        &self,
        name: &str,
        mut visit: impl FnMut(&str, &TermInfo) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let first = term(name, "");
        let mut behind = name.as_bytes().to_vec();
        behind.push(1);
        let range = self.terms.terms().range().ge(first.as_bytes()).lt(&behind);
        let mut terms = range.into_stream().map_err(corrupt)?;
        let mut count = 0;
        while terms.advance() {
            count += 1;
            if count > self.terms_max {
                return Err(self.too_many_terms());
            }
            let (_, value) = split_term(terms.key())?;
            visit(value, terms.value())?;
        }
        Ok(())
    }

    fn add_documents(&self, info: &TermInfo, documents: &mut NumberSet) -> Result<(), Error> {
        let postings = self.terms.read_postings_from_terminfo(info, IndexRecordOption::Basic);
        let mut postings = postings.map_err(corrupt)?;
        while postings.doc() != TERMINATED {
            documents.add(postings.doc() as usize);
            postings.advance();
        }
        Ok(())
    }
}

fn split_term(term: &[u8]) -> Result<(&str, &str), Error> {
    let text = std::str::from_utf8(term).map_err(corrupt)?;
    text.split_once('\0').ok_or_else(|| corrupt("a term has no NUL byte"))
}

#[cfg(test)]
mod tests;
