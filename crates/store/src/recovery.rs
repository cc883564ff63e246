//! What happens at open: leftovers removed, segments checked, the WAL replayed into the head.
//!
//! Replay runs on the writer thread and flushes whenever the head reaches its bound, so memory stays bounded
//! however long the WAL is.

use crate::batch_window::BatchWindows;
use crate::catalog::{Catalog, LostEdits};
use crate::catalog_record::{Edit, SegmentRecord};
use crate::error::{Error, Kind, Result};
use crate::flush::Flush;
use crate::folder::Folder;
use crate::freezer::freeze;
use crate::queue::FlushNews;
use crate::recovery_lineage;
use crate::recovery_orphans;
use crate::shared::{Phase, Shared, quarantine_file};
use crate::snapshot;
use crate::wal_record;
use crate::writer::{Writer, trim};
use logyard_model::Stream;
use logyard_sys::Disk;
use logyard_wal::{Log, LogSettings};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most raw bytes of a batch in the WAL. What is appended stays below a quarter of it.
pub(crate) const BATCH_RAW_BYTES_MAX: usize = 1 << 30;

/// Bounds of the WAL's files and records.
pub(crate) const WAL_SETTINGS: LogSettings =
    LogSettings { file_bytes_max: 64 << 20, record_bytes_max: 64 << 20 };

/// A file below `tenants/`.
#[derive(Debug)]
pub(crate) struct FoundFile {
    path: PathBuf,
    bytes: u64,
    is_segment: bool,
}

impl FoundFile {
    /// Describes a segment file.
    pub(crate) fn segment(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, is_segment: true }
    }

    /// Returns the ulid in the name of a segment file.
    pub(crate) fn ulid(&self) -> Option<&str> {
        let (ulid, _) = self.path.file_name()?.to_str()?.split_once('-')?;
        self.is_segment.then_some(ulid)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_segment(&self) -> bool {
        self.is_segment
    }
}

/// Lists the files below `tenants/`.
pub(crate) fn find_files(disk: &dyn Disk, folder: &Folder) -> Result<Vec<FoundFile>> {
    let mut files = Vec::new();
    // tenant, day, class: three levels of folders.
    let mut dirs = vec![(folder.tenants(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for item in disk.list(&dir).map_err(|error| Error::io("list folder", &dir, error))? {
            let path = dir.join(&item.name);
            if item.is_dir && depth < 3 {
                dirs.push((path, depth + 1));
            } else if !item.is_dir {
                let is_segment = item.name.ends_with(".seg");
                files.push(FoundFile { path, bytes: item.bytes, is_segment });
            }
        }
    }
    Ok(files)
}

/// Returns whether there is any segment file.
pub(crate) fn has_segments(files: &[FoundFile]) -> bool {
    files.iter().any(|file| file.is_segment)
}

/// Compares the files with the catalog. Takes missing and cut segments out of the catalog, and lost ones back
/// whose file was restored; removes leftovers of a crash, or takes in what the catalog has forgotten.
///
/// Errors: `Kind::Unavailable` if the catalog cannot be edited, `Kind::Corrupt` if it holds no valid paths,
/// `Kind::Invalid` if not one of its segments is there: then a folder is not mounted, more likely than not.
/// Returns the live segments in order of arrival.
pub(crate) fn check_segments(
    disk: &dyn Disk,
    folder: &Folder,
    catalog: &mut Catalog,
    lost_edits: LostEdits,
    files: &[FoundFile],
) -> Result<Vec<(SegmentRecord, PathBuf)>> {
    let superseded = recovery_lineage::mend(disk, folder, catalog, lost_edits, files)?;
    let files = files.iter().filter(|file| !superseded.contains(file.path()));
    let found: HashMap<&Path, &FoundFile> = files.map(|file| (file.path.as_path(), file)).collect();
    let records = catalog.state().segments.clone();
    let paths: Vec<PathBuf> = records.iter().map(|record| record.path(folder)).collect::<Result<_>>()?;
    if !paths.is_empty() && !paths.iter().any(|path| found.contains_key(path.as_path())) {
        return Err(no_segments(folder, paths.len()));
    }
    let mut live = take_back(folder, catalog, &found)?;
    for (record, path) in records.into_iter().zip(paths) {
        let reason = match found.get(path.as_path()) {
            Some(file) if file.bytes == record.bytes => {
                live.push((record, path));
                continue;
            }
            Some(file) => format!("{} bytes, want {}", file.bytes, record.bytes),
            None => "file is missing".to_owned(),
        };
        tracing::error!(
            path = %path.display(),
            tenant = %record.tenant,
            entries = record.rows,
            reason,
            "segment lost: queries go on without its entries; restore the file from a backup, then restart"
        );
        quarantine_file(disk, &path, &folder.quarantine())
            .map_err(|error| Error::io("move to quarantine", &path, error))?;
        catalog.edit(Edit::Lost { ulid: record.ulid, reason })?;
    }
    let lost: HashSet<&str> = catalog.state().lost.iter().map(|lost| lost.segment.ulid.as_str()).collect();
    let is_kept = |file: &FoundFile| {
        file.ulid().is_some_and(|ulid| lost.contains(ulid)) || live.iter().any(|(_, path)| *path == file.path)
    };
    let mut orphans: Vec<&FoundFile> = found.values().copied().filter(|file| !is_kept(file)).collect();
    orphans.sort_by(|left, right| left.path.cmp(&right.path));
    live.extend(recovery_orphans::settle(disk, folder, catalog, lost_edits, &orphans)?);
    live.sort_by_key(|(record, _)| record.order);
    Ok(live)
}

/// Takes lost segments back whose files were restored: at their paths, as long as they were. Returns them.
///
/// One that is still damaged is found lost again when it is used.
fn take_back(
    folder: &Folder,
    catalog: &mut Catalog,
    found: &HashMap<&Path, &FoundFile>,
) -> Result<Vec<(SegmentRecord, PathBuf)>> {
    let (mut state, mut back) = (catalog.state().clone(), Vec::new());
    for lost in std::mem::take(&mut state.lost) {
        let path = lost.segment.path(folder)?;
        let Some(file) = found.get(path.as_path()) else {
            state.lost.push(lost);
            continue;
        };
        let (got, want) = (file.bytes, lost.segment.bytes);
        if got == want {
            tracing::info!(path = %path.display(), entries = lost.segment.rows, "lost segment is back");
            state.segments.push(lost.segment.clone());
            back.push((lost.segment, path));
        } else {
            tracing::warn!(
                path = %path.display(), got, want,
                "lost segment stays out of service: the file is not as long as it was; restore the whole file, then restart"
            );
            state.lost.push(lost);
        }
    }
    if !back.is_empty() {
        catalog.edit(Edit::Snapshot(state))?;
    }
    Ok(back)
}

fn no_segments(folder: &Folder, count: usize) -> Error {
    Error::invalid(format!(
        "cannot open data folder: none of the {count} segments in its catalog is below {}; mount or restore that \
         folder, or, if its entries are gone for good, move {} away, then start again",
        folder.tenants().display(),
        folder.catalog().display()
    ))
}

/// Returns the bytes of the WAL's files, for progress.
pub(crate) fn wal_bytes(disk: &dyn Disk, folder: &Folder) -> u64 {
    let items = disk.list(&folder.wal()).unwrap_or_default();
    items.iter().map(|item| item.bytes).sum()
}

/// Returns whether there was a WAL whose files are gone: an open log always has a file. A snapshot has none until it is
/// opened, which takes its description away.
///
/// To be asked about a folder that has flushed something.
pub(crate) fn has_lost_wal(disk: &dyn Disk, folder: &Folder) -> bool {
    let is_there = |path: &Path| matches!(disk.metadata(path), Ok(Some(_)));
    let is_empty = logyard_wal::log_files(disk, &folder.wal()).is_ok_and(|files| files.is_empty());
    is_empty && !is_there(&folder.root().join(snapshot::ABOUT))
}

/// Heads whose entries may be in memory while a replay cannot flush. The WAL rarely holds more: with a full head
/// and a flush that fails, batches are refused.
const HEADS_MAX: u64 = 4;

/// Replays the WAL and returns the writer, and a flush that could not be done yet; sets the phase.
pub(crate) fn recover(shared: &Arc<Shared>) -> Option<(Writer, Option<Flush>)> {
    let start_ns = shared.clock.monotonic_ns();
    let writer = match replay(shared) {
        Ok(writer) => {
            let millis = shared.clock.monotonic_ns().saturating_sub(start_ns) / 1_000_000;
            let records = shared.metrics.replayed_records.get();
            tracing::info!(records, millis, entries = shared.view().active.entries(), "store is ready");
            let mut phase = shared.phase.write();
            if matches!(*phase, Phase::Recovering) {
                *phase = Phase::Ready;
            }
            Some(writer)
        }
        Err(error) => {
            tracing::error!(?error, "cannot replay the WAL: the store answers nothing until that is mended");
            shared.queue.refuse(error.clone());
            *shared.phase.write() = Phase::Failed(error);
            None
        }
    };
    shared.is_recovered.send_replace(true);
    shared.maintenance.wake();
    writer
}

fn replay(shared: &Arc<Shared>) -> Result<(Writer, Option<Flush>)> {
    let (wal_done, mut windows) = {
        let catalog = shared.catalog.lock();
        let state = catalog.state();
        let windows = BatchWindows::from_records(&state.windows);
        (state.wal_done, windows.ok_or_else(|| Error::corrupt("catalog holds a batch window that is none"))?)
    };
    let mut applied = wal_done;
    let mut waiting: Option<Flush> = None;
    let mut apply = |sequence: u64, payload: &[u8]| -> Result<()> {
        apply_record(shared, payload, &mut windows)?;
        applied = sequence;
        shared.metrics.replayed_records.inc();
        shared.recovered_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let (bytes, bytes_max) = (shared.view.read().active.bytes(), shared.settings.flush.head_bytes_max);
        if bytes >= bytes_max.saturating_mul(HEADS_MAX)
            && let Some(flush) = waiting.take()
        {
            match flush.run(shared) {
                FlushNews::Done(_) => {}
                FlushNews::Failed(error) | FlushNews::GaveUp(error) => return Err(error),
            }
        }
        if bytes >= bytes_max && waiting.is_none() {
            waiting = try_flush(shared, Flush::new(shared.seal(), applied, windows.records()))?;
        }
        Ok(())
    };
    let dir = shared.folder.wal();
    if wal_done > 0 && has_lost_wal(&*shared.disk, &shared.folder) {
        shared.metrics.damaged_records.inc();
        tracing::error!(
            path = %dir.display(),
            wal_done,
            "the WAL is gone: entries that were acknowledged and not flushed are lost; restore its files if there is a copy"
        );
    }
    let (mut log, found) = Log::open(Arc::clone(&shared.disk), &dir, WAL_SETTINGS, wal_done + 1, &mut apply)
        .map_err(|error| replay_error(&dir, error))?;
    snapshot::end(&*shared.disk, &shared.folder);
    if found.missing > 0 || !found.quarantined.is_empty() {
        shared.metrics.damaged_records.inc_by(found.missing.max(found.quarantined.len() as u64));
        tracing::error!(
            missing = found.missing,
            quarantined = ?found.quarantined,
            "WAL is damaged: acknowledged entries may be lost; the damaged part is kept in quarantine"
        );
    }
    // Attempts that failed and were made good would have the writer refuse batches.
    shared.queue.forget_news();
    let flushed = shared.catalog.lock().state().wal_done;
    trim(shared, &mut log, flushed + 1);
    shared.metrics.wal_bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
    // Sequences go on behind the catalog's even if the WAL's files are gone: `wal_done` is never ahead.
    Ok((Writer::new(Arc::clone(shared), log, windows, applied), waiting))
}

/// Flushes, or returns the flush for later: a full disk must not keep the store from answering queries.
fn try_flush(shared: &Shared, mut flush: Flush) -> Result<Option<Flush>> {
    let Err(error) = flush.attempt(shared) else { return Ok(None) };
    shared.metrics.flush_failures.inc();
    shared.space.look();
    if shared.catalog.lock().is_poisoned() {
        shared.turn_read_only(&error);
        return Err(error);
    }
    tracing::warn!(?error, "cannot flush during the replay, try again after it");
    Ok(Some(flush))
}

fn apply_record(shared: &Shared, payload: &[u8], windows: &mut BatchWindows) -> Result<()> {
    let record = wal_record::decode(payload)?;
    let batch = wal_record::batch(&record, BATCH_RAW_BYTES_MAX)?;
    let active = Arc::clone(&shared.view.read().active);
    let now_ns = shared.clock.monotonic_ns();
    let mut full = Vec::new();
    for chunk in batch.chunks {
        let stream = shared.reads.interner.share(Stream::new(&record.tenant, chunk.labels));
        active.append(&record.tenant, &stream, chunk.entries, now_ns, &mut full);
    }
    full.iter().for_each(|head_stream| freeze(shared, head_stream));
    if let Some(id) = &record.id {
        windows.mark(id);
    }
    Ok(())
}

fn replay_error(dir: &Path, error: logyard_wal::Error) -> Error {
    let text = format!("cannot replay the WAL in {}", dir.display());
    let refused = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
    let make = match refused.map(Error::kind) {
        Some(Kind::Corrupt) => Error::corrupt,
        Some(Kind::Invalid) => Error::invalid,
        Some(_) => Error::unavailable,
        None if error.kind() == logyard_wal::Kind::Unavailable => Error::unavailable,
        None => Error::invalid,
    };
    make(text).with_source(error)
}
