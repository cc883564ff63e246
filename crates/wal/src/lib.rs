//! A checksummed record log: append, sync, replay, trim. Bytes: `schemas/record-log.md`.
//!
//! Owns: framing of records, files and their rotation, recovery of a log whose tail is torn or whose
//! middle is damaged. A payload is bytes to this crate: the store's WAL, the catalog and the agent's spool
//! share it. Deliberately absent: group commit (the store), threads, async, what a payload means.
//!
//! Invariants: a record is durable once [`Log::sync`] returned; after a failed sync nothing is accepted
//! any more; records are replayed in order, whole, and never invented, though after damage some may be missing; sequences are never used twice.
//!
//! Change bytes, also touch: `schemas/record-log.md` with its version, the fuzz target `record_log`, the
//! samples in `fuzz/corpus/record_log`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod log;
mod reader;
mod record;
mod recovery;
mod scan;

#[cfg(test)]
mod tests;

pub use error::{Error, Kind};
pub use log::{Log, LogSettings, Replay};
pub use recovery::{Recovery, log_files};
pub use scan::{FileScan, ScannedRecord, scan_file};
