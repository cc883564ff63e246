//! Which streams match: the stream index.
//!
//! Owns: the index from label matchers to stream refs of one segment, kept as one bundle of bytes.
//! Deliberately absent: files (a bundle is bytes the caller stores), entries, time, tenants.
//!
//! An index only ever *proves absence* and is derived from the label sets: whoever holds those can drop
//! a bundle at any time and build it anew. Hence no repair here, only [`Kind::Corrupt`].
//!
//! `tantivy` is an outside package of this crate alone, and its file format never leaves the bundle.
//!
//! Change the bundle, also touch: `schemas/segment.md`, the version in `bundle.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod bundle;
mod error;
mod literals;
mod streams;
mod tantivy_directory;

pub use error::{Error, Kind};
pub use streams::{StreamIndex, build};
