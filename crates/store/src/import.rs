//! Takes the segments of an export into an open store. Format: `schemas/export.md`.
//!
//! - All or nothing: files are written under temporary names, checked byte by byte and block by block, then named, and
//!   one edit of the catalog makes all of them live. A crash before it leaves files that the next start removes.
//! - Twice is once: a segment is known by its name, also after it was compacted here, and left out then.
//! - This store's retention counts: what is too old here is left out, the rest goes to the class of its streams here.
//!
//! What depends on the store is written anew in each file, see [`crate::import_file`]. The batches by which the entries
//! came stay unknown here: pushed again, they are stored again, and their entries, being equal, are answered once.

use crate::catalog_record::SegmentRecord;
use crate::error::{Error, Kind, Result};
use crate::export::{MANIFEST, ManifestFile, read_manifest};
use crate::folder::{Folder, day_last_ns};
use crate::fsck::Progress;
use crate::import_file::{Place, SourceFile};
use crate::policy::Period;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::snapshot::{check_id, link_or_copy, remove_tree};
use logyard_model::Tenant;
use logyard_sys::Disk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// How to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Makes everything this tenant's, whosever it was; with none each stays its tenant's.
    pub tenant: Option<Tenant>,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportInfo {
    /// Files of the export.
    pub files: u64,
    /// Files that were taken in.
    pub imported: u64,
    /// Files that were here already, as they are or compacted.
    pub known: u64,
    /// Files that were left out since this store keeps nothing that old.
    pub expired: u64,
    /// Entries that were taken in.
    pub entries: u64,
    /// Bytes of the files that were taken in.
    pub bytes: u64,
}

/// One file that is to be taken in.
struct Planned<'a> {
    listed: &'a ManifestFile,
    path: PathBuf,
    tenant: Tenant,
    class: String,
    ulid: [u8; 16],
}

/// A file that has been written under a temporary name.
struct Staged {
    tmp: PathBuf,
    path: PathBuf,
    record: SegmentRecord,
}

/// Takes the segments of the export `source` in. Blocks.
///
/// Errors: `Kind::Invalid` for a folder that is no export, is unfinished or of a newer version; `Kind::Corrupt` for a
/// damaged file, which is named; `Kind::Unavailable` for a lack of room, or if the disk fails. Nothing has changed then.
pub(crate) fn import(
    shared: &Shared,
    source: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<ImportInfo> {
    let _alone = shared.imports.lock();
    if let Some(refusal) = shared.refusal() {
        return Err(refusal);
    }
    let manifest = read_manifest(&*shared.disk, source)?;
    let mut info = ImportInfo { files: manifest.files.len() as u64, ..ImportInfo::default() };
    let planned = plan(shared, source, &manifest.files, options, &mut info)?;
    if planned.is_empty() {
        return Ok(info);
    }
    check_room(shared, planned.iter().map(|one| one.listed.segment.bytes).sum())?;
    let mut staged = Vec::with_capacity(planned.len());
    let written = write_all(shared, &planned, &mut staged, progress);
    if let Err(error) = written.and_then(|()| publish(shared, &staged)) {
        // After a failed sync the edit may be found at the next start, and then the files have to be there.
        if !shared.catalog.lock().is_poisoned() {
            staged.iter().for_each(|one| remove(shared, one));
        }
        return Err(error);
    }
    info.imported = staged.len() as u64;
    info.entries = staged.iter().map(|one| one.record.rows).sum();
    info.bytes = staged.iter().map(|one| one.record.bytes).sum();
    tracing::info!(
        source = %source.display(),
        segments = info.imported,
        known = info.known,
        expired = info.expired,
        entries = info.entries,
        "segments imported"
    );
    shared.maintenance.wake();
    Ok(info)
}

/// Puts the export `source` into the data folder `root`, as links where that is possible, for [`Store::import_staged`] of
/// the process that uses it. Needs no lock.
///
/// Errors: `Kind::Invalid` for a folder that is no export, or a name that cannot be one; `Kind::Corrupt` for a list or a
/// file that is not there; `Kind::Unavailable` if the disk fails. Then [`unstage`] removes what there is.
///
/// [`Store::import_staged`]: crate::Store::import_staged
pub fn stage(disk: &dyn Disk, root: &Path, id: &str, source: &Path) -> Result<()> {
    check_id(id)?;
    let manifest = read_manifest(disk, source)?;
    let target = Folder::look(disk, root)?.imports().join(id);
    let (from, to) = (Folder::at(source), Folder::at(&target));
    let mut dirs = BTreeSet::from([target.clone()]);
    disk.create_dir_all(&target).map_err(|error| Error::io("create folder", &target, error))?;
    for file in &manifest.files {
        let (from, to) = (file.segment.path(&from)?, file.segment.path(&to)?);
        if let Some(dir) = to.parent()
            && dirs.insert(dir.to_owned())
        {
            disk.create_dir_all(dir).map_err(|error| Error::io("create folder", dir, error))?;
        }
        if !matches!(disk.metadata(&from), Ok(Some(_))) {
            return Err(damaged(&from, Error::corrupt("the file is missing")));
        }
        link_or_copy(disk, &from, &to).map_err(|error| Error::io("copy segment", &from, error))?;
    }
    let list = disk.read(&source.join(MANIFEST)).map_err(|error| Error::io("read", source, error))?;
    let path = target.join(MANIFEST);
    disk.write_atomic(&path, &list).map_err(|error| Error::io("write", &path, error))
}

/// Removes what [`stage`] made. Errors: `Kind::Invalid` for a name that cannot be one; `Kind::Unavailable` if the disk
/// fails.
pub fn unstage(disk: &dyn Disk, root: &Path, id: &str) -> Result<()> {
    check_id(id)?;
    let path = Folder::at(root).imports().join(id);
    remove_tree(disk, &path, 0).map_err(|error| Error::io("remove", &path, error))
}

/// Looks at every file, and leaves out what is here or too old.
fn plan<'a>(
    shared: &Shared,
    source: &Path,
    files: &'a [ManifestFile],
    options: &ImportOptions,
    info: &mut ImportInfo,
) -> Result<Vec<Planned<'a>>> {
    let folder = Folder::at(source);
    let (mut planned, mut names) = (Vec::new(), HashSet::new());
    let mut known = Known::new(shared);
    for listed in files {
        let record = &listed.segment;
        let path = record.path(&folder)?;
        let damaged = |error: Error| damaged(&path, error);
        let from = Tenant::new(&record.tenant)
            .map_err(|error| damaged(Error::corrupt("its tenant is none").with_source(error)))?;
        let tenant = options.tenant.clone().unwrap_or_else(|| from.clone());
        let file = SourceFile::open(&*shared.disk, &folder, listed).map_err(damaged)?;
        let rename = |ulid: &[u8; 16]| if tenant == from { *ulid } else { name_for(ulid, &tenant) };
        let ulid = rename(&file.ulid);
        if !names.insert((file.ulid, tenant.clone())) {
            return Err(damaged(Error::corrupt("the list names it twice")));
        }
        let sources: Vec<[u8; 16]> = file.lineage.sources.iter().map(rename).collect();
        if known.holds(&tenant, record.day, &ulid, &sources) {
            info.known += 1;
            continue;
        }
        // One file lies in one class: that of the stream that is kept longest.
        let periods = file.streams.iter().map(|stream| shared.periods.of(tenant.as_str(), &stream.labels));
        let period = periods.max().unwrap_or(Period::FOREVER);
        if period.gone_ns(day_last_ns(record.day)).is_some_and(|gone| gone < shared.clock.now_ns()) {
            info.expired += 1;
            continue;
        }
        planned.push(Planned { listed, path, tenant, class: period.class(), ulid });
    }
    Ok(planned)
}

/// Returns the name of a segment that becomes another tenant's: always the same one for the same two.
pub(crate) fn name_for(ulid: &[u8; 16], tenant: &Tenant) -> [u8; 16] {
    let hash = xxh3_128(&[ulid.as_slice(), tenant.as_str().as_bytes()].concat()).to_be_bytes();
    let mut name = *ulid;
    // The time in front stays.
    for (to, from) in name.iter_mut().zip(hash).skip(6) {
        *to = from;
    }
    name
}

/// What this store has of a day, by name: live segments and those that they were made of.
struct Known<'a> {
    shared: &'a Shared,
    names: HashSet<[u8; 16]>,
    /// Days whose lineages have been read.
    days: HashSet<(Tenant, i32)>,
}

impl<'a> Known<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, names: HashSet::new(), days: HashSet::new() }
    }

    /// Returns whether a segment is here, or all that it was made of.
    fn holds(&mut self, tenant: &Tenant, day: i32, ulid: &[u8; 16], sources: &[[u8; 16]]) -> bool {
        if self.days.insert((tenant.clone(), day)) {
            self.read(tenant, day);
        }
        let has_all = !sources.is_empty() && sources.iter().all(|source| self.names.contains(source));
        self.names.contains(ulid) || has_all
    }

    fn read(&mut self, tenant: &Tenant, day: i32) {
        let segments = Arc::clone(&self.shared.view.read().segments);
        let of_day =
            |segment: &&Arc<Segment>| segment.record.day == day && segment.record.tenant == tenant.as_str();
        for segment in segments.iter().filter(of_day) {
            self.names.extend(segment.record.ulid.parse::<ulid::Ulid>().map(|ulid| ulid.to_bytes()));
            // One that cannot be read is dealt with at its next use; its entries, imported again, are answered.
            if segment.record.level > 0
                && let Ok(index) = self.shared.reads.index(segment)
            {
                self.names.extend(index.lineage.all());
            }
        }
    }
}

fn check_room(shared: &Shared, need: u64) -> Result<()> {
    let dir = shared.folder.tenants();
    let keep = shared.space.free_bytes_min();
    let free =
        shared.disk.free_bytes(&dir).map_err(|error| Error::io("ask for the free space of", &dir, error))?;
    if free >= need.saturating_add(keep) {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "cannot import {need} bytes: {free} are free on the disk of {} and {keep} stay so; free space, import fewer days, \
         or lower store.disk.free_bytes_min",
        dir.display()
    )))
}

/// Writes and checks all files under temporary names; `staged` holds those that were begun, whatever happens.
fn write_all(
    shared: &Shared,
    planned: &[Planned<'_>],
    staged: &mut Vec<Staged>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<()> {
    let total: u64 = planned.iter().map(|one| one.listed.segment.bytes).sum();
    let mut told = Progress {
        done_bytes: 0,
        // Each is copied, then checked.
        total_bytes: total * 2,
        done_segments: 0,
        total_segments: planned.len() as u64,
    };
    let first = shared.take_places(planned.len() as u64);
    for (order, one) in (first..).zip(planned) {
        if shared.maintenance.is_stopping() {
            return Err(Error::unavailable("cannot import: the store is closing"));
        }
        let place = Place {
            tenant: one.tenant.clone(),
            class: one.class.clone(),
            ulid: one.ulid,
            order,
            is_renamed: one.tenant.as_str() != one.listed.segment.tenant,
        };
        let record = place.record(&one.listed.segment);
        let path = record.path(&shared.folder)?;
        let mut tmp = path.clone().into_os_string();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        staged.push(Staged { tmp, path, record });
        let Some(begun) = staged.last_mut() else { continue };
        let mut step = |bytes| {
            told.done_bytes += bytes;
            progress(&told);
        };
        place
            .write(
                (&*shared.disk, &shared.folder),
                &one.path,
                one.listed,
                &mut begun.record,
                &begun.tmp,
                &mut step,
            )
            .map_err(|error| damaged(&one.path, error))?;
        told.done_segments += 1;
        told.done_bytes = told.done_bytes.min(told.total_bytes);
        progress(&told);
    }
    Ok(())
}

/// Gives the files their names, durably, and makes them live.
fn publish(shared: &Shared, staged: &[Staged]) -> Result<()> {
    let mut dirs = BTreeSet::new();
    for one in staged {
        let renamed = shared.disk.rename(&one.tmp, &one.path);
        renamed.map_err(|error| Error::io("rename segment", &one.tmp, error))?;
        dirs.extend(one.path.parent().map(Path::to_owned));
    }
    for dir in &dirs {
        shared.disk.sync_dir(dir).map_err(|error| Error::io("sync folder", dir, error))?;
    }
    let added = shared.add_segments(staged.iter().map(|one| one.record.clone()).collect());
    added.inspect_err(|error| {
        if shared.catalog.lock().is_poisoned() {
            shared.turn_read_only(error);
        }
    })
}

fn remove(shared: &Shared, one: &Staged) {
    let dir = one.path.parent().unwrap_or(&one.path).to_owned();
    for path in [&one.tmp, &one.path] {
        match shared.disk.remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::debug!(%error, path = %path.display(), "cannot remove an unused segment yet");
            }
            _ => {}
        }
    }
    shared.folder.remove_empty(&*shared.disk, &dir);
}

/// Names the file that cannot be taken in, and what to do about it.
fn damaged(path: &Path, error: Error) -> Error {
    let advice = match error.kind() {
        Kind::Corrupt => {
            "copy the export again; if it was exported so, run logyard repair there and export again"
        }
        _ => return error,
    };
    Error::corrupt(format!("cannot import {}: {error}; {advice}", path.display()))
}

impl std::fmt::Display for ImportInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} files imported with {} entries, {} here already, {} too old for this store",
            self.imported, self.files, self.entries, self.known, self.expired
        )
    }
}
