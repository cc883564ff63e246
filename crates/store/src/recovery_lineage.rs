//! What a crash, or a lost edit of the catalog, left between a compaction and its edit.
//!
//! A segment file that the catalog does not list may be
//! - an output whose edit never was: all its sources are live, and it is removed;
//! - an output whose edit was lost: sources are gone, and the catalog still lists them. It takes their place;
//! - an input that was not removed yet: a live segment was made of it, and it is removed;
//! - one that went for good, because it was too old or nothing of it was to stay: the catalog lists nothing that it
//!   was made of either.
//!
//! Any other is left to `recovery_orphans`. Likewise a segment whose file is missing is not lost if a live one
//! was made of it. Lineages are read only where something does not fit, so a clean start costs nothing.

use crate::catalog::{Catalog, LostEdits};
use crate::catalog_record::{Edit, SegmentRecord};
use crate::error::{Kind, Result};
use crate::folder::Folder;
use crate::lineage::Lineage;
use crate::recovery::FoundFile;
use crate::recovery_orphans::{FoundSegment, read_record, remove_leftover};
use logyard_sys::Disk;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Removes what is superseded and puts outputs in their place. Returns the files that are gone.
///
/// Errors: `Kind::Unavailable` if the disk fails or the catalog cannot be edited; `Kind::Corrupt` if it holds no
/// valid paths.
pub(crate) fn mend(
    disk: &dyn Disk,
    folder: &Folder,
    catalog: &mut Catalog,
    lost_edits: LostEdits,
    files: &[FoundFile],
) -> Result<HashSet<PathBuf>> {
    let found: HashMap<&Path, &FoundFile> = files.iter().map(|file| (file.path(), file)).collect();
    let state = catalog.state();
    let (mut good, mut missing, mut listed) = (HashMap::new(), Vec::new(), HashSet::new());
    for record in &state.segments {
        let path = record.path(folder)?;
        match found.get(path.as_path()) {
            Some(file) if file.bytes() == record.bytes => {
                good.insert(record.ulid.clone(), record.clone());
            }
            _ => missing.push(record.clone()),
        }
        listed.insert(path);
    }
    for lost in &state.lost {
        listed.insert(lost.segment.path(folder)?);
    }
    let is_orphan = |file: &&FoundFile| file.is_segment() && !listed.contains(file.path());
    let orphans: Vec<&FoundFile> = files.iter().filter(is_orphan).collect();
    if orphans.is_empty() && missing.is_empty() {
        return Ok(HashSet::new());
    }
    // Names of all that live segments have taken over.
    let mut superseded = HashSet::new();
    let mut touched: HashSet<PathBuf> = orphans.iter().filter_map(|file| dir(file.path())).collect();
    for record in &missing {
        touched.extend(dir(&record.path(folder)?));
    }
    for record in good.values().filter(|record| record.level > 0) {
        let path = record.path(folder)?;
        if !dir(&path).is_some_and(|dir| touched.contains(&dir)) {
            continue;
        }
        let Some(file) = found.get(path.as_path()) else { continue };
        // A live segment that cannot be read is dealt with at its first use.
        if let Some(segment) = read(disk, folder, file)? {
            superseded.extend(names(&segment.lineage));
        }
    }
    let gone = settle(disk, folder, catalog, lost_edits, &orphans, (&mut good, &mut superseded))?;
    for dir in gone.iter().filter_map(|path| dir(path)).collect::<HashSet<_>>() {
        // Files that come back after a power cut are removed again.
        if let Err(error) = disk.sync_dir(&dir) {
            tracing::debug!(%error, dir = %dir.display(), "cannot sync a folder of removed segments");
        }
    }
    let replaced: Vec<String> =
        missing.into_iter().map(|record| record.ulid).filter(|ulid| superseded.contains(ulid)).collect();
    if !replaced.is_empty() {
        tracing::warn!(segments = replaced.len(), "the catalog still listed segments that were compacted");
        catalog.edit(Edit::Replace { remove: replaced, add: Vec::new(), deleted: Vec::new() })?;
    }
    Ok(gone)
}

/// Takes in outputs whose edit was lost; removes other outputs, and inputs of live segments.
fn settle(
    disk: &dyn Disk,
    folder: &Folder,
    catalog: &mut Catalog,
    lost_edits: LostEdits,
    orphans: &[&FoundFile],
    (good, superseded): (&mut HashMap<String, SegmentRecord>, &mut HashSet<String>),
) -> Result<HashSet<PathBuf>> {
    let mut read_orphans = Vec::new();
    for file in orphans {
        // Those that cannot be read are for `recovery_orphans`.
        if let Some(segment) = read(disk, folder, file)? {
            read_orphans.push((*file, segment));
        }
    }
    // Outputs of outputs first: they supersede the others. One that is made of another of its level has a longer
    // lineage; its name tells nothing, since the clock may have gone back.
    read_orphans.sort_by_key(|(_, segment)| {
        let earlier = segment.lineage.sources.len() + segment.lineage.ancestors.len();
        std::cmp::Reverse((segment.record.level, earlier))
    });
    let mut gone = HashSet::new();
    for (file, FoundSegment { record, lineage, .. }) in read_orphans {
        let sources: HashSet<String> = lineage.sources.iter().map(name).collect();
        let is_redone = sources.iter().any(|source| superseded.contains(source));
        let is_unfinished = !sources.is_empty() && sources.iter().all(|source| good.contains_key(source));
        if superseded.contains(&record.ulid) || is_redone || is_unfinished {
            remove_leftover(disk, file);
            gone.insert(file.path().to_owned());
            continue;
        }
        if sources.is_empty() {
            continue;
        }
        let all: HashSet<String> = names(&lineage).collect();
        let listed = catalog.state().segments.iter().map(|record| &record.ulid);
        let remove: Vec<String> = listed.filter(|ulid| all.contains(*ulid)).cloned().collect();
        if remove.is_empty() && lost_edits != LostEdits::Some {
            continue;
        }
        tracing::warn!(
            path = %file.path().display(),
            entries = record.rows,
            replaced = remove.len(),
            "the catalog has lost the edit of a compaction: its output takes the place of its inputs again"
        );
        catalog.edit(Edit::Replace { remove, add: vec![record.clone()], deleted: Vec::new() })?;
        good.retain(|ulid, _| !all.contains(ulid));
        good.insert(record.ulid.clone(), record);
        superseded.extend(all);
    }
    Ok(gone)
}

/// Reads what a segment says of itself; `None` if it cannot be read.
fn read(disk: &dyn Disk, folder: &Folder, file: &FoundFile) -> Result<Option<FoundSegment>> {
    match read_record(disk, folder, file) {
        Ok(segment) => Ok(Some(segment)),
        Err(error) if error.kind() == Kind::Unavailable => Err(error),
        Err(_) => Ok(None),
    }
}

fn name(ulid: &[u8; 16]) -> String {
    ulid::Ulid::from_bytes(*ulid).to_string()
}

fn names(lineage: &Lineage) -> impl Iterator<Item = String> {
    lineage.all().map(name)
}

fn dir(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}
