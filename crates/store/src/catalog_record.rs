//! The edits of the catalog as JSON. Format: `schemas/catalog.md`.
//!
//! These types are the format: a renamed field is another format.

use crate::batch_window::WindowRecord;
use crate::error::{Error, Result};
use crate::folder::Folder;
use logyard_model::{Tenant, TimeRange};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

/// Version of the catalog's format, in every snapshot.
pub(crate) const VERSION: u32 = 1;

/// Most bytes of an edit, for writers and readers: a snapshot of 150,000 segments.
pub(crate) const RECORD_BYTES_MAX: u32 = 64 << 20;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
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
    /// Segments became others, or went for good.
    Replace {
        /// Names of those that are live no more.
        remove: Vec<String>,
        /// Those that hold their entries now.
        add: Vec<SegmentRecord>,
    },
    /// A segment was found missing or damaged.
    Lost {
        /// Its name.
        ulid: String,
        /// What was found.
        reason: String,
    },
}

/// Decodes an edit.
///
/// Errors: `Kind::Corrupt`; `Kind::Invalid` for a newer version.
/// Cost: memory in proportion to the payload, which is at most `RECORD_BYTES_MAX` long.
pub(crate) fn decode(payload: &[u8]) -> Result<Edit> {
    if payload.len() > RECORD_BYTES_MAX as usize {
        let got = payload.len();
        let text =
            format!("catalog holds an edit of {got} bytes, limit is {RECORD_BYTES_MAX}; restore catalog/");
        return Err(Error::corrupt(text));
    }
    let edit = serde_json::from_slice::<Edit>(payload).map_err(|error| {
        Error::corrupt("catalog holds an edit unknown here; run the version that wrote it").with_source(error)
    })?;
    match &edit {
        Edit::Snapshot(snapshot) if snapshot.version != VERSION => Err(Error::invalid(format!(
            "catalog has version {}, known is {VERSION}; run the version that wrote it",
            snapshot.version
        ))),
        _ => Ok(edit),
    }
}

/// The fields of [`Edit::Flush`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flush {
    add: Vec<SegmentRecord>,
    wal_done: u64,
    windows: Vec<WindowRecord>,
}

/// The fields of [`Edit::Replace`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    remove: Vec<String>,
    add: Vec<SegmentRecord>,
}

/// The fields of [`Edit::Lost`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lost {
    ulid: String,
    reason: String,
}

/// By hand, because derived code looks for the tag anywhere and until then keeps every value in a form that takes
/// up to sixteen times the bytes of the text. Here the tag comes first, as it is written.
impl<'de> Deserialize<'de> for Edit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EditVisitor)
    }
}

struct EditVisitor;

impl<'de> Visitor<'de> for EditVisitor {
    type Value = Edit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that begins with \"edit\"")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Edit, M::Error> {
        if map.next_key::<Cow<'_, str>>()?.as_deref() != Some("edit") {
            return Err(de::Error::missing_field("edit"));
        }
        let tag: String = map.next_value()?;
        let fields = MapAccessDeserializer::new(map);
        match &*tag {
            "snapshot" => Snapshot::deserialize(fields).map(Edit::Snapshot),
            "flush" => Flush::deserialize(fields).map(|Flush { add, wal_done, windows }| Edit::Flush {
                add,
                wal_done,
                windows,
            }),
            "replace" => {
                Replace::deserialize(fields).map(|Replace { remove, add }| Edit::Replace { remove, add })
            }
            "lost" => Lost::deserialize(fields).map(|Lost { ulid, reason }| Edit::Lost { ulid, reason }),
            _ => Err(de::Error::unknown_variant(&tag, &["snapshot", "flush", "replace", "lost"])),
        }
    }
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
            Edit::Replace { remove, add } => {
                let remove: HashSet<String> = remove.into_iter().collect();
                self.segments.retain(|segment| !remove.contains(&segment.ulid));
                self.segments.extend(add);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const SNAPSHOT: &str =
        r#"{"edit":"snapshot","version":1,"segments":[],"lost":[],"wal_done":3,"windows":[]}"#;
    const LOST: &str = r#"{"edit":"lost","ulid":"01J","reason":"why"}"#;
    const REPLACE: &str = r#"{"edit":"replace","remove":["01J"],"add":[]}"#;
    const FLUSH: &str = r#"{"edit":"flush","add":[],"wal_done":7,"windows":[]}"#;

    #[test]
    fn edits_come_back_as_they_were_written() {
        for text in [SNAPSHOT, LOST, REPLACE, FLUSH] {
            let edit = decode(text.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&edit).unwrap(), text);
        }
    }

    #[test]
    fn unknown_edits_fields_and_versions_are_refused() {
        let check = |text: &str, kind: Kind| assert_eq!(decode(text.as_bytes()).unwrap_err().kind(), kind);
        check("", Kind::Corrupt);
        check("[]", Kind::Corrupt);
        check("{}", Kind::Corrupt);
        check(r#"{"ulid":"01J","reason":"why","edit":"lost"}"#, Kind::Corrupt);
        check(r#"{"edit":"merge"}"#, Kind::Corrupt);
        check(r#"{"edit":"lost","ulid":"01J"}"#, Kind::Corrupt);
        check(r#"{"edit":"lost","ulid":"01J","reason":"why","more":1}"#, Kind::Corrupt);
        check(&format!("{LOST} {LOST}"), Kind::Corrupt);
        check(&SNAPSHOT.replace(r#""version":1"#, r#""version":2"#), Kind::Invalid);
    }

    #[test]
    fn the_bytes_of_an_edit_are_bounded() {
        let padded = format!("{LOST}{}", " ".repeat(RECORD_BYTES_MAX as usize));
        let error = decode(padded.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("limit is 67108864"), "{error}");
    }
}
