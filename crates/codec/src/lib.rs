//! The compressed forms of entries: the chunk on the wire and in the WAL, the block on disk.
//!
//! Owns: [`Entries`] (the columns of one stream), the batch of chunks ([`encode_batch`]), the table beside a push that
//! is kept as it came ([`encode_text_table`]), the block ([`BlockBuilder`], [`Block`]) and the search of its text without a step per line ([`Lines`]).
//! A block keeps its lines plain, or shredded into templates and columns (`shred_*.rs`), which is about half
//! as large; [`Block`] answers alike for both, and searches shredded lines without rebuilding them.
//! Deliberately absent: files, sockets, LogQL, and what a stream may hold.
//!
//! Everything decoded here may be hostile: decoders check lengths before they use them, take no more
//! memory than named caps allow, and never panic. Each outer form carries its own checksums.
//!
//! Change bytes, also touch: the pages `schemas/chunk.md` and `schemas/block.md` with their version, the
//! fuzz targets `chunk`, `block` and `shred`, the samples in `fuzz/corpus`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod batch_id;
mod block;
mod block_builder;
mod block_meta;
mod column;
mod compress;
mod cursor;
mod entries;
mod error;
mod lines;
mod needles;
mod numbers;
mod shred_automaton;
mod shred_column;
mod shred_head;
mod shred_keys;
mod shred_known;
mod shred_reduce;
mod shred_render;
mod shred_search;
mod shred_shape;
mod shred_split;
mod shred_tokens;
mod shred_trigrams;
mod shred_values;
mod shred_write;
mod shredded;
mod snappy;
mod text_batch;
mod timestamps;
mod view;

#[cfg(test)]
mod shred_tests;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Chunk, decode_batch, encode_batch};
pub use batch_id::{BatchId, BatchIdError};
pub use block::{Block, Decoded, SectionSource};
pub use block_builder::{BlockBuilder, EncodedBlock, LineCodec, LineOutcome};
pub use block_meta::{
    BLOCK_ROWS_MAX, BlockMeta, CODEC_NUMBERS, CODEC_PLAIN, CODEC_ZSTD, RunMeta, SECTION_LENGTHS,
    SECTION_LEVEL, SECTION_LINES, SECTION_METADATA, SECTION_RAW_BYTES_MAX, SECTION_TEMPLATE_ROWS,
    SECTION_TEMPLATES, SECTION_TRIGRAMS, SECTION_TS, SECTION_VALUES, SectionMeta,
};
pub use column::{Column, ColumnValue, LevelColumn, MetadataColumn};
pub use compress::{pack_zstd, unpack_zstd, zstd_reader};
pub use entries::Entries;
pub use error::{Error, Kind};
pub use lines::Lines;
pub use needles::{LetterCase, Needles};
pub use shred_automaton::{LineAutomaton, Reading};
pub use shred_keys::{KeyFormat, KeyGroup, KeyValue, KeyValues};
pub use shred_reduce::{ReducedLines, Reduction};
pub use snappy::{pack_snappy, unpack_snappy, unpack_snappy_into, unpacked_snappy_bytes};
pub use text_batch::{TextChunk, decode_text_table, encode_text_table};
pub use view::{BlockView, RunView};
