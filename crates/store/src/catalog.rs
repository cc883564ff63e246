//! The one list of live segments, edited atomically. Format: `schemas/catalog.md`.
//!
//! A record log of JSON edits. The first record of each file is a snapshot of everything, so the newest file
//! alone is the truth; older ones are removed once it is durable. An edit takes effect when it is synced. A
//! catalog that has no snapshot at all has never been opened, or was lost: the caller tells which by looking
//! for segments. A lost one is written anew from the segments, whose files say who they are.

use crate::batch_window::BatchWindows;
use crate::catalog_record::{self, Edit, RECORD_BYTES_MAX, SegmentRecord, Snapshot, VERSION};
use crate::error::{Error, Result};
use logyard_sys::Disk;
use logyard_wal::{Log, LogSettings, Recovery};
use std::path::Path;
use std::sync::Arc;

/// Edits after which a new file is begun with a snapshot: bounds what an opening reads.
const EDITS_PER_FILE: u64 = 1000;

/// Bounds of the catalog's files and records.
const LOG_SETTINGS: LogSettings =
    LogSettings { file_bytes_max: 64 << 20, record_bytes_max: RECORD_BYTES_MAX };

/// The open catalog.
#[derive(Debug)]
pub(crate) struct Catalog {
    log: Log,
    state: Snapshot,
    edits: u64,
}

/// Which edits were lost to damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostEdits {
    None,
    /// The last one, which may never have been durable: what hung on it then is still to be done.
    Last,
    /// Any.
    Some,
}

impl Catalog {
    /// Opens the catalog in `dir`, or creates it. Returns with it which edits were lost to damage: files that it does
    /// not list may be segments all the same.
    ///
    /// One that is empty although there are segments counts as damaged: it was lost.
    ///
    /// Errors: `Kind::Unavailable`; `Kind::Invalid` for one of a newer version; `Kind::Corrupt`.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, has_segments: bool) -> Result<(Self, LostEdits)> {
        let mut state: Option<Snapshot> = None;
        let mut orphaned_edits = false;
        let mut edits = 0;
        let mut replay = |_sequence: u64, payload: &[u8]| -> Result<()> {
            edits += 1;
            match (catalog_record::decode(payload)?, &mut state) {
                (Edit::Snapshot(snapshot), _) => {
                    edits = 0;
                    state.get_or_insert_default().apply(Edit::Snapshot(snapshot));
                }
                (edit, Some(state)) => state.apply(edit),
                // The snapshot before it was lost to damage; the next one says all.
                (_, None) => orphaned_edits = true,
            }
            Ok(())
        };
        let (log, recovery) =
            Log::open(disk, dir, LOG_SETTINGS, 0, &mut replay).map_err(|error| open_error(dir, error))?;
        log_recovery(&recovery);
        let is_new = state.is_none();
        if is_new && has_segments {
            tracing::error!(
                path = %dir.display(),
                "the catalog is empty or unreadable although there are segments: it is written anew from what their \
                 files say; batches sent again are stored again, equal entries once"
            );
        }
        let are_any_lost = recovery.missing > 0
            || recovery.quarantined.len() > usize::from(recovery.is_end_damaged)
            || orphaned_edits
            || (is_new && has_segments);
        let lost = match (are_any_lost, recovery.is_end_damaged) {
            (true, _) => LostEdits::Some,
            (false, true) => LostEdits::Last,
            (false, false) => LostEdits::None,
        };
        let state = state.unwrap_or_else(|| Snapshot { version: VERSION, ..Snapshot::default() });
        let mut catalog = Self { log, state, edits };
        if BatchWindows::from_records(&catalog.state.windows).is_none() {
            return Err(Error::corrupt(
                "catalog holds a batch window whose source is no number; restore catalog/",
            ));
        }
        if is_new {
            catalog.write(&Edit::Snapshot(catalog.state.clone()))?;
        }
        Ok((catalog, lost))
    }

    /// Returns the current state.
    pub(crate) fn state(&self) -> &Snapshot {
        &self.state
    }

    /// Returns whether a failed sync has made the catalog refuse edits until restart.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.log.is_poisoned()
    }

    /// Makes an edit durable, then applies it.
    ///
    /// Errors: `Kind::Unavailable`; the state is as before, though the edit may be found at the next opening.
    pub(crate) fn edit(&mut self, edit: Edit) -> Result<()> {
        if self.edits >= EDITS_PER_FILE {
            self.rotate()?;
        }
        self.write(&edit)?;
        self.state.apply(edit);
        self.edits += 1;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        self.log.rotate().map_err(write_error)?;
        let first = self.log.next_sequence();
        self.write(&Edit::Snapshot(self.state.clone()))?;
        self.edits = 0;
        // Old files only cost space; the next rotation tries again.
        if let Err(error) = self.log.trim(first) {
            tracing::warn!(%error, "cannot remove old files of the catalog");
        }
        Ok(())
    }

    fn write(&mut self, edit: &Edit) -> Result<()> {
        let json = serde_json::to_vec(edit)
            .map_err(|error| Error::internal("cannot encode an edit of the catalog").with_source(error))?;
        self.log.append(&json).map_err(write_error)?;
        self.log.sync().map_err(write_error)
    }
}

fn open_error(dir: &Path, error: logyard_wal::Error) -> Error {
    let text = format!("cannot open catalog {}", dir.display());
    let kind = match error.kind() {
        logyard_wal::Kind::Unavailable => Error::unavailable,
        logyard_wal::Kind::Corrupt => Error::corrupt,
        logyard_wal::Kind::Invalid | logyard_wal::Kind::Limited => Error::invalid,
    };
    kind(text).with_source(error)
}

fn write_error(error: logyard_wal::Error) -> Error {
    let hint = if error.is_disk_full() { ": disk full, free space" } else { "" };
    Error::unavailable(format!("cannot edit catalog{hint}")).with_source(error)
}

fn log_recovery(recovery: &Recovery) {
    if recovery.missing > 0 || !recovery.quarantined.is_empty() {
        tracing::error!(
            missing = recovery.missing,
            quarantined = ?recovery.quarantined,
            "catalog is damaged: some edits are lost; segments it does not list any more are taken in again, look for what \
             cannot be read in quarantine/"
        );
    }
}

/// Returns the highest place in order of arrival that is taken: that of any segment, live or lost, and that of the end
/// of any epoch, whose segments may all be gone. What arrives next must not stand before it.
pub(crate) fn last_order(state: &Snapshot) -> u64 {
    let lost = state.lost.iter().map(|lost| &lost.segment);
    let of_segments = state.segments.iter().chain(lost).map(|segment: &SegmentRecord| segment.order);
    let of_epochs = state.epochs.iter().filter_map(|epoch| epoch.order_end);
    of_segments.chain(of_epochs).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    fn record(number: u64) -> SegmentRecord {
        SegmentRecord {
            ulid: format!("U{number}"),
            tenant: "fake".to_owned(),
            day: 20_000,
            class: "30d".to_owned(),
            level: 0,
            order: number,
            min_ns: 1,
            max_ns: 2,
            rows: 3,
            raw_bytes: 4,
            streams: 5,
            bytes: 6,
            tail_bytes: 2,
        }
    }

    fn flush(number: u64) -> Edit {
        Edit::Flush { add: vec![record(number)], wal_done: number, windows: Vec::new() }
    }

    fn open(disk: &SimDisk) -> (Catalog, LostEdits) {
        Catalog::open(Arc::new(disk.clone()), Path::new("/catalog"), false).unwrap()
    }

    #[test]
    fn edits_survive_a_crash_and_rotations() {
        let disk = SimDisk::new();
        let (mut catalog, lost) = open(&disk);
        assert_eq!(lost, LostEdits::None);
        for number in 1..=2_100 {
            catalog.edit(flush(number)).unwrap();
            if number > 5 {
                catalog.edit(Edit::Lost { ulid: format!("U{number}"), reason: "gone".to_owned() }).unwrap();
            }
        }
        let expect = catalog.state().clone();
        assert_eq!((expect.segments.len(), expect.lost.len(), expect.wal_done), (5, 2_095, 2_100));
        let (catalog, lost) = open(&disk.crash());
        assert_eq!(lost, LostEdits::None);
        assert_eq!(catalog.state(), &expect);
        assert_eq!(last_order(&expect), 2_100);
        assert_eq!(catalog.log.files(), 1);
    }

    #[test]
    fn a_failed_edit_changes_nothing() {
        let disk = SimDisk::new();
        let (mut catalog, _) = open(&disk);
        catalog.edit(flush(1)).unwrap();
        disk.set_free_bytes(Some(0));
        let error = catalog.edit(flush(2)).unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert_eq!(catalog.state().segments.len(), 1);
        disk.set_free_bytes(None);
        catalog.edit(flush(3)).unwrap();
        assert_eq!(open(&disk.crash()).0.state().segments, [record(1), record(3)]);
    }

    #[test]
    fn newer_versions_are_refused() {
        let disk = SimDisk::new();
        let (mut catalog, _) = open(&disk);
        let newer = Snapshot { version: VERSION + 1, ..Snapshot::default() };
        catalog.edit(Edit::Snapshot(newer)).unwrap();
        let error = Catalog::open(Arc::new(disk.crash()), Path::new("/catalog"), false).unwrap_err();
        assert!(format!("{error:?}").contains("catalog has version 3, known are 1 to 2"), "{error:?}");
    }
}
