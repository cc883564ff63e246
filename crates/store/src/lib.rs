//! The data folder: head, segments, catalog, flush and recovery.
//!
//! Owns: what an acknowledgement promises, where entries lie, and one consistent view of them for readers.
//! Deliberately absent: LogQL (the engine filters what [`Store::select`] yields, and what a delete request means is
//! asked through [`DeleteFilter`]), limits on what a stream may hold (ingest), HTTP.
//!
//! Invariants, each with a test that tries to break it:
//! - an acknowledged entry survives any crash, and is visible from its acknowledgement on;
//! - a batch id is stored once, however often it is pushed and wherever a crash falls;
//! - answers are the same before and after a flush, a compaction and a restart;
//! - after a failed sync nothing is acknowledged until restart;
//! - nothing older than the retention is answered, and nothing younger goes;
//! - what was too old does not come back when a period is made longer;
//! - what a delete request means is not answered from the request on, and what it does not mean stays;
//! - a damaged file is taken out of service, said once, and stops nothing.
//!
//! What is kept how long is said by policies (`policy`); each stream is answered for the period in force now, and flushed to
//! the *class* of that period, so that days go as whole files (`retention`), the oldest first where the size cap says so.
//! What free space is left decides over pushes and compaction (`space`).
//!
//! [`fsck`] checks a folder that no process uses, [`repair`] mends it; [`storage_report`] tells what lies in one. [`snapshot`]
//! makes a folder of links for backups, [`export`] and [`import`] carry segments between stores.
//!
//! Threads: the writer; one for a flush, a snapshot or the close while there is one; and maintenance, which compacts, does
//! the work of delete requests and drops what is too old. Everything read runs on the caller's thread.
//!
//! Change bytes on disk, also touch: `schemas/segment.md`, `schemas/wal.md`, `schemas/catalog.md` with their
//! version, the sample files in `tests/data`, the fuzz targets `segment`, `wal_record`, `catalog_record`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod arrivals;
mod batch_window;
mod bytes_reader;
mod cache;
mod catalog;
mod catalog_record;
mod compaction;
mod compaction_merge;
mod compaction_plan;
mod damage;
mod delete_filter;
mod delete_requests;
mod delete_work;
mod deletes;
mod epochs;
mod error;
pub mod export;
mod flush;
mod folder;
mod freezer;
pub mod fsck;
mod head;
pub mod import;
mod import_file;
pub mod inspect;
mod inspect_segment;
mod interner;
mod kept_blocks;
mod label_texts;
mod lineage;
mod locality;
mod maintenance;
mod merge;
mod metrics;
mod policy;
mod queue;
mod recovery;
mod recovery_lineage;
mod recovery_orphans;
pub mod repair;
mod retention;
mod run_part;
mod segment;
mod segment_content;
mod segment_format;
mod segment_tables;
mod segment_write;
mod settings;
mod shared;
mod sight;
pub mod snapshot;
mod space;
mod stats;
pub mod storage_report;
mod store;
mod wal_record;
mod writer;

pub use arrivals::{Append, Arrivals, Arrived, Missed};
pub use damage::DamagedBlock;
pub use delete_filter::{DeleteFilter, ParseDelete};
pub use delete_requests::{CancelOutcome, DeleteRequest};
pub use error::{Error, Kind};
pub use folder::parse_day;
pub use logyard_codec::BatchId;
pub use maintenance::QueryGuard;
pub use policy::RetentionPolicy;
pub use settings::{
    CacheSettings, CompactionSettings, DeleteSettings, DiskSettings, FlushSettings, RetentionPolicySettings,
    RetentionSettings, SnapshotSettings, StoreSettings, SyncMode, WalSettings,
};
pub use stats::Stats;
pub use store::{Appended, Encoded, LostSegment, Readiness, Store, StoreBatch, StoreParts, StoreRules};
