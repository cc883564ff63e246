//! The indexes of what a segment's lines hold: which blocks cannot meet a prefilter.
//!
//! They lie between the blocks and the rest of the index area, so that a query without a prefilter does not read
//! them. Derived and dispensable: one that cannot be read is counted, said once, and done without.

use crate::segment::{Segment, SegmentIndex, SegmentReads};
use crate::segment_format::{SECTION_IDS, SECTION_WORDS, Toc, TocSection};
use bytes::Bytes;
use crc32c::crc32c;
use logyard_index::{ContentIndex, NumberSet};
use logyard_model::Prefilter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raw bytes of a segment from which on a dictionary pays: opening one takes 0.2 ms, searching a block 2 ms.
pub(crate) const WORDS_RAW_BYTES_MIN: u64 = 4 << 20;

/// Bytes of these indexes kept in memory: of 900 MiB of lines, a homelab's week. Opening those of 100 MiB anew takes a
/// query 0.6 ms.
pub(crate) const CONTENT_CACHE_BYTES: u64 = 16 << 20;

/// Longest section that is read: that of a segment of 2 GiB has about 100 MiB.
const SECTION_BYTES_MAX: u64 = 512 << 20;

/// Where the sections of a segment lie.
#[derive(Debug)]
pub(crate) struct ContentPlaces {
    words: Option<TocSection>,
    ids: Option<TocSection>,
    /// Set when they could not be read: they are not asked again.
    is_bad: AtomicBool,
}

impl ContentPlaces {
    pub(crate) fn new(toc: &Toc) -> Self {
        let find = |kind| toc.sections.iter().find(|section| section.kind == kind).cloned();
        Self { words: find(SECTION_WORDS), ids: find(SECTION_IDS), is_bad: AtomicBool::new(false) }
    }
}

/// Returns the blocks that may meet the prefilter; `None` if nothing is known of them.
pub(crate) fn candidates(
    reads: &SegmentReads,
    segment: &Segment,
    index: &SegmentIndex,
    prefilter: &Prefilter,
) -> Option<NumberSet> {
    let places = &index.content;
    let is_asked = !prefilter.literals.is_empty() || !prefilter.any_of.is_empty();
    if !is_asked || places.ids.is_none() || places.is_bad.load(Ordering::Relaxed) {
        return None;
    }
    let found = open(reads, segment, index)
        .and_then(|content| content.candidates(prefilter).map_err(|error| error.to_string()));
    match found {
        Ok(blocks) => Some(blocks),
        Err(error) => {
            places.is_bad.store(true, Ordering::Relaxed);
            reads.unreadable_indexes.inc();
            let path = segment.path.display();
            tracing::warn!(%path, error, "index of words and ids unreadable, read the blocks instead");
            None
        }
    }
}

fn open(reads: &SegmentReads, segment: &Segment, index: &SegmentIndex) -> Result<Arc<ContentIndex>, String> {
    if let Some(content) = reads.contents.get(segment.key()) {
        return Ok(content);
    }
    let places = &index.content;
    let ids = places.ids.as_ref().ok_or("it has none")?;
    let ids = read(reads, segment, ids)?;
    // A dictionary is done without more cheaply than all of it.
    let words = places.words.as_ref().map(|section| read(reads, segment, section)).transpose();
    let (words, why) = match words {
        Ok(words) => (words, None),
        Err(error) => (None, Some(error)),
    };
    let weight = ids.len() + words.as_ref().map_or(0, Bytes::len) + index.blocks.len() * 64;
    let (content, unreadable) =
        ContentIndex::open(words.as_ref(), ids, index.blocks.len()).map_err(|error| error.to_string())?;
    if let Some(error) = why.or(unreadable.map(|error| error.to_string())) {
        reads.unreadable_indexes.inc();
        let path = segment.path.display();
        tracing::warn!(%path, error, "dictionary of words unreadable, use the ids alone");
    }
    let content = Arc::new(content);
    reads.contents.offer(segment.key(), Arc::clone(&content), weight as u64);
    Ok(content)
}

fn read(reads: &SegmentReads, segment: &Segment, section: &TocSection) -> Result<Bytes, String> {
    let offset = section.offset;
    let bytes = usize::try_from(section.bytes).ok().filter(|_| section.bytes <= SECTION_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| format!("section of {} bytes at offset {offset}", section.bytes))?;
    let file = reads.file(segment).map_err(|error| error.to_string())?;
    let part = file.read_part(offset, bytes).map_err(|error| error.to_string())?;
    let (want, got) = (section.crc32c, crc32c(&part));
    if want != got {
        return Err(format!("checksum mismatch at offset {offset} (want {want:08x}, got {got:08x})"));
    }
    Ok(part.into())
}
