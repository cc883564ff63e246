//! What cannot match: the stream index, and the indexes of what lines hold.
//!
//! Owns: the index from label matchers to stream refs of one segment; the dictionary from words to blocks and
//! the filters of ids, with the proofs of absence that they allow. Each is kept as bytes.
//! Deliberately absent: files (the caller stores the bytes), entries, time, tenants.
//!
//! An index only ever *proves absence* and is derived from the segment: whoever holds that can drop an
//! index at any time and build it anew. Hence no repair here, only [`Kind::Corrupt`]. Property tests hold the proofs
//! against a look at every line.
//!
//! `tantivy` is an outside package of this crate alone, and its file format never leaves a bundle.
//!
//! Change an index's bytes, also touch: `schemas/segment.md`, the version in `bundle.rs` or `ids.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod bundle;
mod content;
mod error;
mod fuse;
mod ids;
mod literals;
mod number_set;
mod proof;
mod streams;
mod tantivy_directory;
mod tantivy_files;
mod token;
mod token_set;
mod words;

pub use content::{ContentIndexBuilder, ContentSections};
pub use error::{Error, Kind};
pub use number_set::NumberSet;
pub use proof::ContentIndex;
pub use streams::{StreamIndex, build};
