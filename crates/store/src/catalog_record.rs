//! The edits of the catalog as JSON. Format: `schemas/catalog.md`.
//!
//! These types are the format: a renamed field is another format.

use crate::batch_window::WindowRecord;
use crate::delete_requests::DONE_MAX;
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
pub(crate) const VERSION: u32 = 2;

/// The oldest version that is read: 1 knows no delete requests.
const VERSION_OLDEST: u32 = 1;

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

/// A request to delete entries, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteRecord {
    /// Distinct among all that are remembered.
    pub(crate) id: String,
    pub(crate) tenant: String,
    /// As it was sent.
    pub(crate) query: String,
    /// First instant.
    pub(crate) start_ns: i64,
    /// The instant behind the last.
    pub(crate) end_ns: i64,
    pub(crate) created_ns: i64,
    /// Entries that were removed so far.
    pub(crate) entries: u64,
    /// When the last of them was; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) done_ns: Option<i64>,
}

/// The policies of retention that are or were in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpochRecord {
    /// In the order in which they are asked.
    pub(crate) policies: Vec<PolicyRecord>,
    /// For everything else; 0 for ever.
    pub(crate) default_secs: u64,
    /// The last instant at which they were seen to be in force.
    pub(crate) seen_ns: i64,
    /// The last place in order of arrival that was flushed meanwhile; absent while they are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order_end: Option<u64>,
}

/// A policy of retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyRecord {
    /// Absent for every tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    pub(crate) matchers: Vec<MatcherRecord>,
    pub(crate) period_secs: u64,
    pub(crate) priority: i32,
}

/// A test of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatcherRecord {
    pub(crate) name: String,
    /// As in a selector.
    pub(crate) op: String,
    pub(crate) value: String,
}

/// How many entries a request took out of segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletedRecord {
    pub(crate) id: String,
    pub(crate) entries: u64,
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
        /// Entries that delete requests took meanwhile.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        deleted: Vec<DeletedRecord>,
    },
    /// A segment was found missing or damaged.
    Lost {
        /// Its name.
        ulid: String,
        /// What was found.
        reason: String,
    },
    /// Somebody asks for entries to be deleted.
    AddDelete {
        /// What is asked for.
        request: DeleteRecord,
    },
    /// A request is cancelled.
    DropDelete {
        /// Its name.
        id: String,
    },
    /// Nothing that a request means is left.
    EndDelete {
        /// Its name.
        id: String,
        /// When that was.
        done_ns: i64,
    },
    /// The policies of retention that were in force, and those that are.
    Epochs {
        /// The oldest first; all of them.
        epochs: Vec<EpochRecord>,
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
        Edit::Snapshot(snapshot) if !(VERSION_OLDEST..=VERSION).contains(&snapshot.version) => {
            Err(Error::invalid(format!(
                "catalog has version {}, known are {VERSION_OLDEST} to {VERSION}; run the version that wrote it",
                snapshot.version
            )))
        }
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
    #[serde(default)]
    deleted: Vec<DeletedRecord>,
}

/// The fields of [`Edit::Lost`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lost {
    ulid: String,
    reason: String,
}

/// The fields of [`Edit::AddDelete`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddDelete {
    request: DeleteRecord,
}

/// The fields of [`Edit::DropDelete`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropDelete {
    id: String,
}

/// The fields of [`Edit::EndDelete`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndDelete {
    id: String,
    done_ns: i64,
}

/// The fields of [`Edit::Epochs`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Epochs {
    epochs: Vec<EpochRecord>,
}

/// Every edit, by its tag.
const TAGS: [&str; 8] =
    ["snapshot", "flush", "replace", "lost", "add_delete", "drop_delete", "end_delete", "epochs"];

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
            "replace" => Replace::deserialize(fields).map(|Replace { remove, add, deleted }| Edit::Replace {
                remove,
                add,
                deleted,
            }),
            "lost" => Lost::deserialize(fields).map(|Lost { ulid, reason }| Edit::Lost { ulid, reason }),
            "add_delete" => {
                AddDelete::deserialize(fields).map(|AddDelete { request }| Edit::AddDelete { request })
            }
            "drop_delete" => DropDelete::deserialize(fields).map(|DropDelete { id }| Edit::DropDelete { id }),
            "end_delete" => EndDelete::deserialize(fields)
                .map(|EndDelete { id, done_ns }| Edit::EndDelete { id, done_ns }),
            "epochs" => Epochs::deserialize(fields).map(|Epochs { epochs }| Edit::Epochs { epochs }),
            _ => Err(de::Error::unknown_variant(&tag, &TAGS)),
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
    /// In order of their creation; absent in version 1.
    #[serde(default)]
    pub(crate) deletes: Vec<DeleteRecord>,
    /// The oldest first; absent in version 1.
    #[serde(default)]
    pub(crate) epochs: Vec<EpochRecord>,
}

impl Snapshot {
    /// Applies an edit.
    pub(crate) fn apply(&mut self, edit: Edit) {
        match edit {
            // What is written of it is of the present version.
            Edit::Snapshot(snapshot) => *self = Self { version: VERSION, ..snapshot },
            Edit::Flush { add, wal_done, windows } => {
                self.segments.extend(add);
                self.wal_done = self.wal_done.max(wal_done);
                self.windows = windows;
            }
            Edit::Replace { remove, add, deleted } => {
                let remove: HashSet<String> = remove.into_iter().collect();
                self.segments.retain(|segment| !remove.contains(&segment.ulid));
                self.segments.extend(add);
                for DeletedRecord { id, entries } in deleted {
                    if let Some(request) = self.deletes.iter_mut().find(|request| request.id == id) {
                        request.entries = request.entries.saturating_add(entries);
                    }
                }
            }
            Edit::AddDelete { request } => self.deletes.push(request),
            Edit::DropDelete { id } => self.deletes.retain(|request| request.id != id),
            Edit::EndDelete { id, done_ns } => self.end_delete(&id, done_ns),
            Edit::Epochs { epochs } => self.epochs = epochs,
            Edit::Lost { ulid, reason } => {
                let index = self.segments.iter().position(|segment| segment.ulid == ulid);
                if let Some(index) = index {
                    self.lost.push(LostRecord { segment: self.segments.remove(index), reason });
                }
            }
        }
    }

    /// Notes that a request is done, and forgets the first of those that were done long ago.
    fn end_delete(&mut self, id: &str, done_ns: i64) {
        if let Some(request) = self.deletes.iter_mut().find(|request| request.id == id) {
            request.done_ns = Some(done_ns);
        }
        let is_done = |request: &&DeleteRecord| request.done_ns.is_some();
        let mut surplus = self.deletes.iter().filter(is_done).count().saturating_sub(DONE_MAX);
        self.deletes.retain(|request| {
            let goes = surplus > 0 && request.done_ns.is_some();
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const SNAPSHOT: &str = r#"{"edit":"snapshot","version":2,"segments":[],"lost":[],"wal_done":3,"windows":[],"deletes":[],"epochs":[]}"#;
    const LOST: &str = r#"{"edit":"lost","ulid":"01J","reason":"why"}"#;
    const REPLACE: &str = r#"{"edit":"replace","remove":["01J"],"add":[]}"#;
    const FLUSH: &str = r#"{"edit":"flush","add":[],"wal_done":7,"windows":[]}"#;

    #[test]
    fn edits_come_back_as_they_were_written() {
        // One of each kind, as version 2 wrote them.
        let sample = include_str!("../tests/data/catalog-2.jsonl");
        assert_eq!(sample.lines().count(), TAGS.len());
        for text in [SNAPSHOT, LOST, REPLACE, FLUSH].into_iter().chain(sample.lines()) {
            let edit = decode(text.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&edit).unwrap(), text);
        }
    }

    #[test]
    fn version_1_is_read_and_goes_on_as_the_present_one() {
        let text =
            SNAPSHOT.replace(r#""version":2"#, r#""version":1"#).replace(r#","deletes":[],"epochs":[]"#, "");
        let mut state = Snapshot::default();
        state.apply(decode(text.as_bytes()).unwrap());
        assert_eq!(serde_json::to_string(&Edit::Snapshot(state)).unwrap(), SNAPSHOT);
    }

    #[test]
    fn delete_requests_count_what_they_took_and_are_forgotten_long_after() {
        let mut state = Snapshot::default();
        let request = |number: usize| DeleteRecord {
            id: format!("{number:08x}"),
            tenant: "fake".to_owned(),
            query: "{a=\"b\"}".to_owned(),
            start_ns: 1,
            end_ns: 2,
            created_ns: 3,
            entries: 0,
            done_ns: None,
        };
        for number in 0..DONE_MAX + 5 {
            state.apply(Edit::AddDelete { request: request(number) });
        }
        let deleted = vec![DeletedRecord { id: "00000002".to_owned(), entries: 4 }];
        for _ in 0..2 {
            state.apply(Edit::Replace { remove: Vec::new(), add: Vec::new(), deleted: deleted.clone() });
        }
        assert_eq!(state.deletes[2].entries, 8);
        state.apply(Edit::DropDelete { id: "00000001".to_owned() });
        for number in 2..DONE_MAX + 5 {
            state.apply(Edit::EndDelete { id: format!("{number:08x}"), done_ns: 9 });
        }
        let ids: Vec<&str> = state.deletes.iter().map(|request| &*request.id).collect();
        assert_eq!((ids.len(), ids[0], ids[1]), (DONE_MAX + 1, "00000000", "00000005"));
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
        check(&SNAPSHOT.replace(r#""version":2"#, r#""version":3"#), Kind::Invalid);
        check(&SNAPSHOT.replace(r#""version":2"#, r#""version":0"#), Kind::Invalid);
    }

    #[test]
    fn the_bytes_of_an_edit_are_bounded() {
        let padded = format!("{LOST}{}", " ".repeat(RECORD_BYTES_MAX as usize));
        let error = decode(padded.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("limit is 67108864"), "{error}");
    }
}
