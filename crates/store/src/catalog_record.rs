//! The edits of the catalog as JSON. Format: `schemas/catalog.md`.
//!
//! These types are the format: a renamed field is another format.

use crate::batch_window::WindowRecord;
use crate::error::{Error, Result};
use crate::folder::Folder;
use logyard_model::{Tenant, TimeRange};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of the catalog's format, in every snapshot.
pub(crate) const VERSION: u32 = 1;

/// One live segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRecord {
    pub(crate) ulid: String,
    pub(crate) tenant: String,
    /// UTC day, in days since 1970-01-01.
    pub(crate) day: i32,
    pub(crate) class: String,
    pub(crate) level: u32,
    /// Place in order of arrival, among segments and heads.
    pub(crate) order: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) rows: u64,
    /// Bytes of all lines.
    pub(crate) raw_bytes: u64,
    pub(crate) streams: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Bytes of index area, table of contents and footer, at the end of the file.
    pub(crate) tail_bytes: u64,
}

impl SegmentRecord {
    /// Returns the path of the file. Errors: `Kind::Corrupt` for a tenant or name that cannot be a path.
    pub(crate) fn path(&self, folder: &Folder) -> Result<PathBuf> {
        let bad = |what: &str| Error::corrupt(format!("catalog holds a segment with a bad {what}: {self:?}"));
        let tenant = Tenant::new(&self.tenant).map_err(|error| bad("tenant").with_source(error))?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_plain(&self.ulid) || !is_plain(&self.class) {
            return Err(bad("name"));
        }
        let dir = folder.partition(&tenant, self.day, &self.class);
        Ok(dir.join(format!("{}-L{}.seg", self.ulid, self.level)))
    }

    /// Returns whether the segment may hold entries of `tenant` in `range`.
    pub(crate) fn overlaps(&self, tenant: &Tenant, range: TimeRange) -> bool {
        self.tenant == tenant.as_str() && range.overlaps(self.min_ns, self.max_ns)
    }
}

/// A segment that was in the catalog and cannot be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LostRecord {
    pub(crate) segment: SegmentRecord,
    pub(crate) reason: String,
}

/// One record of the catalog's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Edit {
    /// Everything; the first record of each file.
    Snapshot(Snapshot),
    /// A head became segments.
    Flush {
        /// The new segments.
        add: Vec<SegmentRecord>,
        /// Last WAL record whose entries are in segments.
        wal_done: u64,
        /// Known batches as of that record, all sources.
        windows: Vec<WindowRecord>,
    },
    /// A segment was found missing or damaged.
    Lost {
        /// Its name.
        ulid: String,
        /// What was found.
        reason: String,
    },
}

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub(crate) version: u32,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) lost: Vec<LostRecord>,
    pub(crate) wal_done: u64,
    pub(crate) windows: Vec<WindowRecord>,
}

impl Snapshot {
    /// Applies an edit.
    pub(crate) fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Snapshot(snapshot) => *self = snapshot,
            Edit::Flush { add, wal_done, windows } => {
                self.segments.extend(add);
                self.wal_done = self.wal_done.max(wal_done);
                self.windows = windows;
            }
            Edit::Lost { ulid, reason } => {
                let index = self.segments.iter().position(|segment| segment.ulid == ulid);
                if let Some(index) = index {
                    self.lost.push(LostRecord { segment: self.segments.remove(index), reason });
                }
            }
        }
    }
}
