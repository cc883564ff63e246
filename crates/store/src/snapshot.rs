//! Snapshots: whole data folders as of one moment, made of links to segments, for backup programs.
//!
//! `snapshots/<id>/` is a data folder like any other: `logyard` starts on it once it is put in place. A segment never
//! changes, so a second name for its file is a copy that costs nothing; where the file system has no links it is
//! copied. What compaction, retention or a person removes from the store stays in the snapshot.
//!
//! Order: everything acknowledged is flushed → the catalog's state and the segments it lists are taken in one step →
//! files and a catalog of its own are made durable in `<id>.tmp/` → the folder gets its name. A crash before that
//! leaves a `.tmp`, which the next start removes; so does a snapshot that is being deleted.
//!
//! Why no copy of the write-ahead log: it grows while it is copied. The flush before costs a small segment.

use crate::catalog::Catalog;
use crate::catalog_record::Edit;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::shared::Shared;
use logyard_sys::Disk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that describes a snapshot, written last.
pub(crate) const ABOUT: &str = "snapshot.json";

/// Ending of a folder that is no snapshot yet, or no more.
const UNFINISHED: &str = ".tmp";

/// Longest name of a snapshot.
const ID_BYTES_MAX: usize = 64;

/// Deepest folder that is removed: a snapshot has five levels, and its log a quarantine.
const DEPTH_MAX: usize = 8;

/// Bytes copied at a time where links are impossible.
const COPY_BYTES: usize = 1 << 20;

const SECOND_NS: i64 = 1_000_000_000;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotInfo {
    /// Its name, and that of its folder.
    pub id: String,
    /// The folder.
    #[serde(default)]
    pub path: String,
    /// When it was made, nanoseconds since the Unix epoch.
    pub created_ns: i64,
    /// Number of segments.
    pub segments: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of their files; those that are linked take room of their own once the store has removed them.
    pub bytes: u64,
    /// Bytes of the files that were copied, since they could not be linked.
    pub copied_bytes: u64,
}

/// Lists the snapshots of the data folder `root`, the oldest first. Needs no lock.
///
/// Errors: `Kind::Unavailable` if the disk fails. One without a readable description is left out, and told.
pub fn list_snapshots(disk: &dyn Disk, root: &Path) -> Result<Vec<SnapshotInfo>> {
    let dir = Folder::at(root).snapshots();
    if !is_there(disk, &dir)? {
        return Ok(Vec::new());
    }
    let items = disk.list(&dir).map_err(|error| Error::io("list folder", &dir, error))?;
    let mut snapshots = Vec::new();
    for item in items.into_iter().filter(|item| item.is_dir && !item.name.ends_with(UNFINISHED)) {
        let path = dir.join(&item.name);
        match describe(disk, &path) {
            Ok(about) => {
                snapshots.push(SnapshotInfo { id: item.name, path: path.display().to_string(), ..about })
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "snapshot without a description left out")
            }
        }
    }
    snapshots.sort_by(|left, right| (left.created_ns, &left.id).cmp(&(right.created_ns, &right.id)));
    Ok(snapshots)
}

fn describe(disk: &dyn Disk, path: &Path) -> Result<SnapshotInfo> {
    let about = path.join(ABOUT);
    let bytes = disk.read(&about).map_err(|error| Error::io("read", &about, error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::corrupt(format!("cannot read {}", about.display())).with_source(error))
}

/// Removes a snapshot of the data folder `root`; the store's own files stay. Returns whether there was one.
///
/// Errors: `Kind::Invalid` for a name that cannot be one; `Kind::Unavailable` if the disk fails.
pub fn delete_snapshot(disk: &dyn Disk, root: &Path, id: &str) -> Result<bool> {
    check_id(id)?;
    let dir = Folder::at(root).snapshots();
    let (path, tmp) = (dir.join(id), dir.join(format!("{id}{UNFINISHED}")));
    if !is_there(disk, &path)? {
        return Ok(false);
    }
    remove_tree(disk, &tmp, 0).map_err(|error| Error::io("remove", &tmp, error))?;
    let hidden = disk.rename(&path, &tmp).and_then(|()| disk.sync_dir(&dir));
    hidden.map_err(|error| Error::io("remove", &path, error))?;
    remove_tree(disk, &tmp, 0).map_err(|error| Error::io("remove", &tmp, error))?;
    Ok(true)
}

/// Makes a snapshot of everything that is in segments.
///
/// Errors: `Kind::Invalid` for a name that cannot be one, or is taken; `Kind::Limited` if there are as many as
/// `store.snapshots.count_max`; `Kind::Unavailable` if the disk fails, which leaves no snapshot.
pub(crate) fn create(shared: &Shared, id: Option<&str>) -> Result<SnapshotInfo> {
    let _alone = shared.snapshots.lock();
    let (disk, dir) = (&*shared.disk, shared.folder.snapshots());
    let created_ns = shared.clock.now_ns();
    let id = id.map_or_else(|| default_id(created_ns), str::to_owned);
    check_id(&id)?;
    disk.create_dir_all(&dir).map_err(|error| Error::io("create folder", &dir, error))?;
    let (path, tmp) = (dir.join(&id), dir.join(format!("{id}{UNFINISHED}")));
    if is_there(disk, &path)? {
        return Err(Error::invalid(format!(
            "cannot make snapshot {id}: it exists; delete it first, or choose another name"
        )));
    }
    let (count, count_max) =
        (list_snapshots(disk, shared.folder.root())?.len() as u64, shared.settings.snapshots.count_max);
    if count >= count_max {
        return Err(Error::limited(format!(
            "cannot make snapshot {id}: there are {count}, limit is {count_max}; delete one, or raise store.snapshots.count_max"
        )));
    }
    remove_tree(disk, &tmp, 0).map_err(|error| Error::io("remove", &tmp, error))?;
    let made = fill(
        shared,
        &tmp,
        SnapshotInfo {
            id,
            path: path.display().to_string(),
            created_ns,
            segments: 0,
            entries: 0,
            bytes: 0,
            copied_bytes: 0,
        },
    );
    let named = made.and_then(|about| {
        let renamed = disk.rename(&tmp, &path).and_then(|()| disk.sync_dir(&dir));
        renamed.map_err(|error| Error::io("rename snapshot", &tmp, error))?;
        Ok(about)
    });
    if named.is_err()
        && let Err(error) = remove_tree(disk, &tmp, 0)
    {
        tracing::warn!(%error, path = %tmp.display(), "cannot remove an unfinished snapshot yet");
    }
    if let Ok(about) = &named {
        tracing::info!(id = about.id, segments = about.segments, entries = about.entries, "snapshot made");
    }
    named
}

/// Fills the folder of a snapshot, durably.
fn fill(shared: &Shared, tmp: &Path, mut about: SnapshotInfo) -> Result<SnapshotInfo> {
    let disk = &*shared.disk;
    let (state, segments) = {
        let catalog = shared.catalog.lock();
        (catalog.state().clone(), Arc::clone(&shared.view.read().segments))
    };
    let folder = Folder::at(tmp);
    disk.create_dir_all(tmp).map_err(|error| Error::io("create folder", tmp, error))?;
    let mut dirs = BTreeSet::new();
    for record in &state.segments {
        let (from, to) = (record.path(&shared.folder)?, record.path(&folder)?);
        if let Some(parent) = to.parent()
            && dirs.insert(parent.to_owned())
        {
            disk.create_dir_all(parent).map_err(|error| Error::io("create folder", parent, error))?;
        }
        let is_linked =
            link_or_copy(disk, &from, &to).map_err(|error| Error::io("copy segment", &from, error))?;
        about.segments += 1;
        about.entries += record.rows;
        about.bytes += record.bytes;
        about.copied_bytes += if is_linked { 0 } else { record.bytes };
    }
    // Only now may the files of segments that were replaced meanwhile go.
    drop(segments);
    for dir in &dirs {
        disk.sync_dir(dir).map_err(|error| Error::io("sync folder", dir, error))?;
    }
    folder.write_format(disk)?;
    let (mut catalog, _) = Catalog::open(Arc::clone(&shared.disk), &folder.catalog(), false)?;
    catalog.edit(Edit::Snapshot(state))?;
    drop(catalog);
    let json = serde_json::to_vec_pretty(&about)
        .map_err(|error| Error::internal("cannot describe a snapshot").with_source(error))?;
    let path = tmp.join(ABOUT);
    disk.write_atomic(&path, &json).map_err(|error| Error::io("write", &path, error))?;
    Ok(about)
}

/// Gives a file a second name, or copies it where that is impossible. Returns whether it is a name.
pub(crate) fn link_or_copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<bool> {
    match disk.hard_link(from, to) {
        Ok(()) => return Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => {
            return Err(error);
        }
        Err(_) => {}
    }
    let source = disk.open_file(from)?;
    let mut copy = disk.create_file(to)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let got = source.read_at(&mut buffer, copy.bytes())?;
        if got == 0 {
            break;
        }
        copy.write_all(buffer.get(..got).unwrap_or_default())?;
    }
    copy.sync()?;
    Ok(false)
}

/// Refuses a snapshot that still lies among those of a data folder: compaction, retention and deletes would change it,
/// and it would be no snapshot any more.
///
/// Errors: `Kind::Invalid`, with what to do.
pub(crate) fn refuse_where_made(disk: &dyn Disk, root: &Path) -> Result<()> {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let owner = root.parent().and_then(|snapshots| Some((snapshots, snapshots.parent()?)));
    let Some((snapshots, owner)) = owner else { return Ok(()) };
    let is_file = |path: PathBuf| matches!(disk.metadata(&path), Ok(Some(meta)) if !meta.is_dir);
    let lies_there = Folder::at(owner).snapshots() == snapshots
        && is_file(root.join(ABOUT))
        && is_file(Folder::at(owner).format());
    if !lies_there {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot start on {}: it is a snapshot of {}, which a start would change; copy the folder elsewhere and start on the copy",
        root.display(),
        owner.display()
    )))
}

/// Takes its description from a snapshot that is in place of a data folder, whose WAL has been opened: a folder with a WAL
/// is no snapshot any more, and if that goes missing later, it was lost. Does nothing to any other folder.
///
/// Until the WAL's file has its name for good, the description stays. What fails is done at the next start.
pub(crate) fn end(disk: &dyn Disk, folder: &Folder) {
    let about = folder.root().join(ABOUT);
    if !matches!(disk.metadata(&about), Ok(Some(_))) {
        return;
    }
    let removed = disk.sync_dir(&folder.wal()).and_then(|()| disk.remove_file(&about));
    match removed.and_then(|()| disk.sync_dir(folder.root())) {
        Ok(()) => tracing::info!(path = %about.display(), "the snapshot is a data folder from now on"),
        Err(error) => {
            tracing::warn!(%error, path = %about.display(), "cannot remove the description of a snapshot yet");
        }
    }
}

/// Removes what a crash left of snapshots that were being made or deleted.
pub(crate) fn remove_unfinished(disk: &dyn Disk, folder: &Folder) {
    let dir = folder.snapshots();
    for item in disk.list(&dir).unwrap_or_default() {
        if !item.is_dir || !item.name.ends_with(UNFINISHED) {
            continue;
        }
        let path = dir.join(&item.name);
        match remove_tree(disk, &path, 0) {
            Ok(()) => tracing::info!(path = %path.display(), "unfinished snapshot removed"),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot remove an unfinished snapshot")
            }
        }
    }
}

/// Removes snapshots older than `store.snapshots.keep_secs`. To be called only while the clock can be believed.
pub(crate) fn expire(shared: &Shared, now_ns: i64) {
    let keep_secs = i64::try_from(shared.settings.snapshots.keep_secs).unwrap_or(i64::MAX);
    if keep_secs == 0 {
        return;
    }
    let oldest_ns = now_ns.saturating_sub(keep_secs.saturating_mul(SECOND_NS));
    let root = shared.folder.root();
    let snapshots = list_snapshots(&*shared.disk, root).unwrap_or_default();
    for old in snapshots.into_iter().filter(|snapshot| snapshot.created_ns < oldest_ns) {
        match delete_snapshot(&*shared.disk, root, &old.id) {
            Ok(_) => {
                tracing::info!(id = old.id, "snapshot removed: it is older than store.snapshots.keep_secs")
            }
            Err(error) => tracing::warn!(%error, id = old.id, "cannot remove an old snapshot yet"),
        }
    }
}

fn is_there(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    disk.metadata(dir).map(|meta| meta.is_some()).map_err(|error| Error::io("look at", dir, error))
}

/// Refuses names that are no plain name of a folder: they come from outside.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_good = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(is_plain)
        && !id.starts_with('.')
        && !id.ends_with(UNFINISHED);
    if is_good {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot use {id:?} as a name: want 1 to {ID_BYTES_MAX} letters, digits, '-', '_' or '.', none of \
         the last in front, and no {UNFINISHED:?} at the end"
    )))
}

/// Returns a name that tells the time, as UTC to the second.
fn default_id(now_ns: i64) -> String {
    let second = now_ns.div_euclid(SECOND_NS).rem_euclid(86_400);
    let day = crate::folder::day_name(crate::folder::day_of(now_ns));
    format!("{day}T{:02}{:02}{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Removes a folder and all in it, if it is there.
pub(crate) fn remove_tree(disk: &dyn Disk, dir: &Path, depth: usize) -> io::Result<()> {
    let items = match disk.list(dir) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if depth >= DEPTH_MAX {
        return Err(io::Error::other("folders lie too deep for a snapshot"));
    }
    for item in items {
        let path: PathBuf = dir.join(&item.name);
        if item.is_dir {
            remove_tree(disk, &path, depth + 1)?;
        } else {
            disk.remove_file(&path)?;
        }
    }
    disk.remove_dir(dir)?;
    dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))
}
