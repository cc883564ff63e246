//! Checks a whole data folder that no process uses: catalog, write-ahead log, every segment.
//!
//! Nothing is changed. What is found is told with what to do about it; [`crate::repair`] does it.

use crate::catalog_record::{self, Edit, SegmentRecord, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::folder::{Folder, Format};
use crate::inspect_segment::{Severity, inspect_segment};
use crate::recovery::{self, BATCH_RAW_BYTES_MAX, FoundFile, find_files};
use crate::{inspect, wal_record};
use logyard_sys::{Disk, LockGuard};
use logyard_wal::{FileScan, ScannedRecord, scan_file};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Most findings that are kept of one file; a file with more is as bad as with these.
const FINDINGS_PER_FILE_MAX: usize = 1_000;

/// What can be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Nothing has to be done.
    None,
    /// Opening the store mends it, as every start does.
    Open,
    /// The segment is taken out of service and its file moves to quarantine.
    Quarantine {
        /// The segment's name.
        ulid: String,
    },
    /// The segment is written anew without what is bad.
    Rewrite {
        /// The segment's name.
        ulid: String,
    },
    /// Its entries are gone unless the file is restored from a backup; the catalog can be told to forget it.
    Restore {
        /// The segment's name.
        ulid: String,
    },
    /// Only the version of the program that wrote it can help.
    NewerVersion,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether something is damaged; else it is worth a note only.
    pub is_damage: bool,
    /// The file, below the data folder if it lies there.
    pub path: String,
    /// Where in the file, if it is about a part of it.
    pub offset: Option<u64>,
    /// What was found.
    pub what: String,
    /// Entries that cannot be answered because of it, as far as that is known.
    pub entries: u64,
    /// What can be done.
    pub remedy: Remedy,
}

/// What a check of a data folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FsckReport {
    /// Whether every block was decoded.
    pub is_deep: bool,
    /// Edits in the catalog.
    pub catalog_edits: u64,
    /// Batches in the write-ahead log.
    pub wal_records: u64,
    /// Segment files.
    pub segments: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of the files that were looked at.
    pub bytes: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// What was found, in order of catalog, write-ahead log, segments.
    pub findings: Vec<Finding>,
}

impl FsckReport {
    /// Returns whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damages() == 0
    }

    /// Returns how many findings are damage.
    pub fn damages(&self) -> usize {
        self.findings.iter().filter(|finding| finding.is_damage).count()
    }
}

/// How far a check has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes gone over.
    pub done_bytes: u64,
    /// Bytes of all segments; a check that is not deep ends before.
    pub total_bytes: u64,
    /// Segments gone over.
    pub done_segments: u64,
    /// All segments.
    pub total_segments: u64,
}

/// Checks the data folder `root`; `is_deep` decodes every block and every batch too.
///
/// Errors: `Kind::Invalid` for a folder that another process uses, that is none, or of a newer format;
/// `Kind::Unavailable` if the disk fails. Damage is no error.
/// Cost: reads catalog, write-ahead log and index areas; with `is_deep` every byte. Memory for one block and the
/// tables of one segment.
pub fn fsck(
    disk: &dyn Disk,
    root: &Path,
    is_deep: bool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FsckReport> {
    let (folder, lock, format) = Folder::open_existing(disk, root)?;
    let mut check =
        Check { disk, root, folder, is_deep, out: FsckReport { is_deep, ..FsckReport::default() } };
    match format {
        Format::Known => {}
        Format::Missing => check.damage("FORMAT", None, "file is missing", 0, Remedy::Open),
        Format::Damaged(text) => {
            check.damage("FORMAT", None, &format!("holds {text:?}, which is no format"), 0, Remedy::Open);
        }
    }
    check.run(progress)?;
    drop::<Box<dyn LockGuard>>(lock);
    Ok(check.out)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    folder: Folder,
    is_deep: bool,
    out: FsckReport,
}

impl Check<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(&Progress)) -> Result<()> {
        let files = match self.disk.metadata(&self.folder.tenants()) {
            Ok(Some(_)) => find_files(self.disk, &self.folder)?,
            _ => Vec::new(),
        };
        let has_segments = files.iter().any(FoundFile::is_segment);
        let state = self.catalog(has_segments)?;
        self.wal(state.wal_done)?;
        self.segments(&state, &files, progress)?;
        let quarantine = self.folder.quarantine();
        let kept = self.disk.list(&quarantine).unwrap_or_default();
        self.out.quarantined = kept.iter().filter(|item| !item.is_dir).count() as u64;
        Ok(())
    }

    /// Reads the catalog, and returns what it says as far as it can be read.
    fn catalog(&mut self, has_segments: bool) -> Result<Snapshot> {
        let (mut state, mut is_orphaned) = (None::<Snapshot>, false);
        let mut newer = None;
        let mut bad: Vec<(u64, Error)> = Vec::new();
        let folder = self.folder.clone();
        let dir = folder.catalog();
        self.out.catalog_edits = self.log(&dir, &mut |record| {
            let edit = match inspect::check_catalog_record(record.payload) {
                Ok(_) => catalog_record::decode(record.payload),
                Err(error) => Err(error),
            };
            match (edit, &mut state) {
                (Ok(Edit::Snapshot(snapshot)), _) => state = Some(snapshot),
                (Ok(edit), Some(state)) => state.apply(edit),
                (Ok(_), None) => is_orphaned = true,
                (Err(error), _) if error.kind() == Kind::Invalid => newer = Some(error),
                (Err(error), _) => bad.push((record.sequence, error)),
            }
        })?;
        if let Some(error) = newer {
            return Err(error);
        }
        for (sequence, error) in bad {
            self.damage_at(&dir, None, &format!("edit {sequence}: {error}"), 0, Remedy::NewerVersion);
        }
        if is_orphaned && state.is_none() {
            self.damage_at(
                &dir,
                None,
                "the statement of all segments is missing before the edits",
                0,
                Remedy::Open,
            );
        }
        if state.is_none() && has_segments {
            let what = "empty or unreadable although there are segments; it can be written anew from them";
            self.damage_at(&dir, None, what, 0, Remedy::Open);
        }
        Ok(state.unwrap_or_default())
    }

    fn wal(&mut self, wal_done: u64) -> Result<()> {
        let dir = self.folder.wal();
        let (is_deep, mut bad) = (self.is_deep, Vec::new());
        let mut first = None;
        self.out.wal_records = self.log(&dir, &mut |record| {
            first.get_or_insert(record.sequence);
            let checked = match is_deep {
                true => inspect::check_wal_record(record.payload, BATCH_RAW_BYTES_MAX).map(drop),
                false => wal_record::decode(record.payload).map(drop),
            };
            if let Err(error) = checked {
                bad.push((record.sequence, error));
            }
        })?;
        for (sequence, error) in bad {
            let what = format!("batch {sequence} cannot be decoded though its checksum holds: {error}");
            self.damage_at(&dir, None, &what, 0, Remedy::NewerVersion);
        }
        if wal_done > 0 && recovery::has_lost_wal(self.disk, &self.folder) {
            let what = format!("no file of the log is there: batches after {wal_done} may be missing");
            self.damage_at(&dir, None, &what, 0, Remedy::Open);
        }
        if let Some(first) = first.filter(|first| *first > wal_done.saturating_add(1)) {
            let what = format!("batches {} to {} are missing", wal_done + 1, first - 1);
            self.damage_at(&dir, None, &what, 0, Remedy::Open);
        }
        Ok(())
    }

    /// Reads all files of a record log. Returns how many records there are.
    fn log(&mut self, dir: &Path, visit: &mut dyn FnMut(ScannedRecord<'_>)) -> Result<u64> {
        if !matches!(self.disk.metadata(dir), Ok(Some(_))) {
            return Ok(0);
        }
        let items = self.disk.list(dir).map_err(|error| Error::io("list folder", dir, error))?;
        let is_log = |name: &str| name.strip_suffix(".log").is_some_and(|stem| stem.len() == 20);
        let names: Vec<String> = items
            .into_iter()
            .filter(|item| !item.is_dir && is_log(&item.name))
            .map(|item| item.name)
            .collect();
        let (mut records, mut next) = (0, None::<u64>);
        for (number, name) in (1..).zip(&names) {
            let path = dir.join(name);
            let scan = scan_file(self.disk, &path, visit).map_err(|error| log_error(&path, error))?;
            self.out.bytes += scan.bytes;
            records += scan.records;
            self.log_damage(&path, &scan, number == names.len());
            if let Some(next) = next.filter(|next| scan.first_sequence > *next) {
                let what = format!("records {next} to {} are missing before it", scan.first_sequence - 1);
                self.damage_at(&path, None, &what, 0, Remedy::Open);
            }
            next = Some(scan.next_sequence);
        }
        Ok(records)
    }

    fn log_damage(&mut self, path: &Path, scan: &FileScan, is_last: bool) {
        for hole in &scan.holes {
            let what = format!("{} bytes are no whole record", hole.end - hole.start);
            self.damage_at(path, Some(hole.start), &what, 0, Remedy::Open);
        }
        let Some(torn_at) = scan.torn_at else { return };
        let bytes = scan.bytes - torn_at;
        if is_last && !scan.is_torn_whole {
            // A killed process leaves this, and nothing was promised about it.
            let what =
                format!("{bytes} bytes at the end are an unfinished write, which was not acknowledged");
            self.note(path, Some(torn_at), &what, Remedy::Open);
        } else {
            let what = format!("{bytes} bytes at the end are no whole record");
            self.damage_at(path, Some(torn_at), &what, 0, Remedy::Open);
        }
    }

    fn segments(
        &mut self,
        state: &Snapshot,
        files: &[FoundFile],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<()> {
        let mut listed: HashMap<PathBuf, &SegmentRecord> = HashMap::new();
        for record in &state.segments {
            listed.insert(record.path(&self.folder)?, record);
        }
        let lost: HashSet<&str> = state.lost.iter().map(|lost| lost.segment.ulid.as_str()).collect();
        let found: HashSet<&Path> = files.iter().map(FoundFile::path).collect();
        let mut missing: Vec<(&PathBuf, &&SegmentRecord)> =
            listed.iter().filter(|(path, _)| !found.contains(path.as_path())).collect();
        missing.sort_by_key(|(path, _)| *path);
        for (path, record) in missing {
            self.damage_at(
                path,
                None,
                "file is missing",
                record.rows,
                Remedy::Restore { ulid: record.ulid.clone() },
            );
        }
        for record in &state.lost {
            let what = format!("out of service: {}", record.reason);
            let (segment, path) = (&record.segment, record.segment.path(&self.folder)?);
            let remedy = Remedy::Restore { ulid: segment.ulid.clone() };
            self.damage_at(&path, None, &what, segment.rows, remedy);
        }
        let mut told = Progress {
            done_bytes: 0,
            total_bytes: files.iter().map(FoundFile::bytes).sum(),
            done_segments: 0,
            total_segments: files.iter().filter(|file| file.is_segment()).count() as u64,
        };
        for file in files {
            let path = file.path();
            if !file.is_segment() {
                self.note(path, None, "left by an unfinished write", Remedy::Open);
                continue;
            }
            let record = listed.get(path).copied();
            let is_lost = file.ulid().is_some_and(|ulid| lost.contains(ulid));
            if record.is_none() && !is_lost {
                let what =
                    "not in the catalog: the next start removes it, or takes it in if the catalog is damaged";
                self.note(path, None, what, Remedy::Open);
            }
            self.segment(file, record, &mut told, progress)?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        file: &FoundFile,
        record: Option<&SegmentRecord>,
        told: &mut Progress,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<()> {
        let path = file.path();
        let before = told.done_bytes;
        let report = inspect_segment(self.disk, path, self.is_deep, &mut |bytes| {
            told.done_bytes += bytes;
            progress(told);
        })?;
        (told.done_bytes, told.done_segments) = (before + file.bytes(), told.done_segments + 1);
        progress(told);
        self.out.segments += 1;
        self.out.blocks += report.blocks.len() as u64;
        self.out.entries += report.entries;
        self.out.bytes += report.bytes;
        let ulid = file.ulid().unwrap_or_default().to_owned();
        if let Some(record) = record.filter(|record| record.bytes != report.bytes) {
            let what = format!("{} bytes, want {}", report.bytes, record.bytes);
            self.damage_at(path, None, &what, record.rows, Remedy::Quarantine { ulid });
            return Ok(());
        }
        let rows = record.map_or(report.entries, |record| record.rows);
        for fault in report.faults.iter().take(FINDINGS_PER_FILE_MAX) {
            let ulid = ulid.clone();
            let (entries, remedy) = match fault.severity {
                Severity::Segment => (rows, Remedy::Quarantine { ulid }),
                Severity::Block | Severity::Index => (fault.entries, Remedy::Rewrite { ulid }),
                Severity::Newer => (0, Remedy::NewerVersion),
            };
            let what = format!("{}: {}", fault.part, fault.why);
            self.damage_at(path, Some(fault.offset), &what, entries, remedy);
        }
        Ok(())
    }

    fn damage_at(&mut self, path: &Path, offset: Option<u64>, what: &str, entries: u64, remedy: Remedy) {
        let shown = path.strip_prefix(self.root).unwrap_or(path).display().to_string();
        self.damage(&shown, offset, what, entries, remedy);
    }

    fn damage(&mut self, path: &str, offset: Option<u64>, what: &str, entries: u64, remedy: Remedy) {
        let (path, what) = (path.to_owned(), what.to_owned());
        self.out.findings.push(Finding { is_damage: true, path, offset, what, entries, remedy });
    }

    fn note(&mut self, path: &Path, offset: Option<u64>, what: &str, remedy: Remedy) {
        let path = path.strip_prefix(self.root).unwrap_or(path).display().to_string();
        let what = what.to_owned();
        self.out.findings.push(Finding { is_damage: false, path, offset, what, entries: 0, remedy });
    }
}

fn log_error(path: &Path, error: logyard_wal::Error) -> Error {
    let text = format!("cannot read {}", path.display());
    let kind = match error.kind() {
        logyard_wal::Kind::Unavailable => Error::unavailable,
        logyard_wal::Kind::Corrupt => Error::corrupt,
        logyard_wal::Kind::Invalid | logyard_wal::Kind::Limited => Error::invalid,
    };
    kind(text).with_source(error)
}
