//! Segments of some days or of one tenant, as a folder that another store can take in. Format: `schemas/export.md`.
//!
//! The source is a data folder that does not change: a snapshot, which a running and a stopped store can make. Files are
//! linked where that is possible, else copied; each is read once for its checksum. The manifest is written last, so a
//! folder without it is unfinished. [`crate::import`] is the way back.

use crate::catalog_record::SegmentRecord;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::fsck::Progress;
use crate::snapshot::link_or_copy;
use crate::storage_report::read_catalog;
use logyard_model::Tenant;
use logyard_sys::{Clock, Disk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// The file that lists what is in the folder, written last.
pub(crate) const MANIFEST: &str = "export.json";

/// Version of the manifest that is written and read.
const VERSION: u32 = 1;
const FORMAT: &str = "logyard-export";

/// Longest manifest that is read: some hundred thousand files.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Bytes read at a time.
pub(crate) const READ_BYTES: usize = 1 << 20;

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery {
    /// Only what is this tenant's.
    pub tenant: Option<Tenant>,
    /// Days, since 1970-01-01, both ends included.
    pub days: RangeInclusive<i32>,
}

/// What an export holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportInfo {
    /// Number of segment files.
    pub files: u64,
    /// Entries in them, equal ones in different files each.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of those that were copied, since they could not be linked.
    pub copied_bytes: u64,
}

/// The list of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    /// When it was made.
    created_ns: i64,
    /// Version of the program that made it.
    writer: String,
    pub(crate) files: Vec<ManifestFile>,
}

/// One file of an export; its path follows from the segment, as in a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestFile {
    pub(crate) segment: SegmentRecord,
    /// xxh3-128 of the file, 32 hexadecimal digits.
    pub(crate) xxh3: String,
}

/// What of a manifest is looked at before the rest is believed.
#[derive(Deserialize)]
struct ManifestVersion {
    format: String,
    version: u32,
}

/// Writes segments of the data folder `source`, which must not change meanwhile, into the folder `target`.
///
/// Errors: `Kind::Invalid` if `target` holds anything, or `source` is no data folder; `Kind::Corrupt` for a source whose
/// catalog cannot be read; `Kind::Unavailable` if the disk fails, which leaves a folder without manifest.
/// Cost: reads each file once; room for those that cannot be linked.
pub fn export(
    disk: &std::sync::Arc<dyn Disk>,
    clock: &dyn Clock,
    source: &Path,
    target: &Path,
    query: &ExportQuery,
    progress: &mut dyn FnMut(&Progress),
) -> Result<ExportInfo> {
    let disk = &**disk;
    let (folder, state) = read_catalog(disk, source)?;
    let is_asked = |record: &&SegmentRecord| {
        query.days.contains(&record.day)
            && query.tenant.as_ref().is_none_or(|tenant| tenant.as_str() == record.tenant)
    };
    let records: Vec<SegmentRecord> = state.segments.iter().filter(is_asked).cloned().collect();
    begin(disk, target)?;
    let to = Folder::at(target);
    let (mut files, mut info, mut dirs) = (Vec::new(), ExportInfo::default(), BTreeSet::new());
    let mut told = Progress {
        done_bytes: 0,
        total_bytes: records.iter().map(|record| record.bytes).sum(),
        done_segments: 0,
        total_segments: records.len() as u64,
    };
    for record in records {
        let (from, path) = (record.path(&folder)?, record.path(&to)?);
        if let Some(parent) = path.parent()
            && dirs.insert(parent.to_owned())
        {
            disk.create_dir_all(parent).map_err(|error| Error::io("create folder", parent, error))?;
        }
        let is_linked =
            link_or_copy(disk, &from, &path).map_err(|error| Error::io("copy segment", &from, error))?;
        let xxh3 = checksum(disk, &path, &mut |bytes| {
            told.done_bytes += bytes;
            progress(&told);
        })?;
        told.done_segments += 1;
        info.files += 1;
        info.entries += record.rows;
        info.bytes += record.bytes;
        info.copied_bytes += if is_linked { 0 } else { record.bytes };
        files.push(ManifestFile { segment: record, xxh3 });
    }
    for dir in &dirs {
        disk.sync_dir(dir).map_err(|error| Error::io("sync folder", dir, error))?;
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        created_ns: clock.now_ns(),
        writer: env!("CARGO_PKG_VERSION").to_owned(),
        files,
    };
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::internal("cannot encode the manifest of an export").with_source(error))?;
    let path = target.join(MANIFEST);
    disk.write_atomic(&path, &json).map_err(|error| Error::io("write", &path, error))?;
    Ok(info)
}

/// Makes the folder; one that holds anything is refused, since it would be mixed.
fn begin(disk: &dyn Disk, target: &Path) -> Result<()> {
    disk.create_dir_all(target).map_err(|error| Error::io("create folder", target, error))?;
    let items = disk.list(target).map_err(|error| Error::io("list folder", target, error))?;
    if items.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot export to {}: the folder is not empty; name one that is empty, or that does not exist",
        target.display()
    )))
}

/// Reads the list of an export.
///
/// Errors: `Kind::Invalid` for a folder that is none, is unfinished or of a newer version; `Kind::Corrupt` for a
/// damaged list; `Kind::Unavailable` if the disk fails.
pub(crate) fn read_manifest(disk: &dyn Disk, source: &Path) -> Result<Manifest> {
    let path = source.join(MANIFEST);
    let meta = disk.metadata(&path).map_err(|error| Error::io("look at", &path, error))?;
    let Some(meta) = meta else {
        return Err(Error::invalid(format!(
            "cannot import {}: it holds no {MANIFEST}, so it is no export or an unfinished one; name a folder that \
             logyard export has made",
            source.display()
        )));
    };
    let damaged = |what: &str| {
        Error::corrupt(format!(
            "cannot import: {} {what}; export again, or copy the folder again",
            path.display()
        ))
    };
    if meta.bytes > MANIFEST_BYTES_MAX {
        return Err(damaged(&format!("has {} bytes, limit is {MANIFEST_BYTES_MAX}", meta.bytes)));
    }
    let bytes = disk.read(&path).map_err(|error| Error::io("read", &path, error))?;
    let version: ManifestVersion =
        serde_json::from_slice(&bytes).map_err(|error| damaged("is damaged").with_source(error))?;
    if version.format != FORMAT || version.version != VERSION {
        return Err(Error::invalid(format!(
            "cannot import {}: it has format {} {}, known is {FORMAT} {VERSION}; run the version that wrote it",
            source.display(),
            version.format,
            version.version
        )));
    }
    serde_json::from_slice(&bytes).map_err(|error| damaged("is damaged").with_source(error))
}

/// Returns the checksum of a file, as a manifest has it; `read` is told the bytes of each step.
fn checksum(disk: &dyn Disk, path: &Path, read: &mut dyn FnMut(u64)) -> Result<String> {
    let failed = |error: io::Error| Error::io("read segment", path, error);
    let file = disk.open_file(path).map_err(failed)?;
    let (mut hash, mut buffer, mut at) = (Xxh3::new(), vec![0; READ_BYTES], 0);
    loop {
        let got = file.read_at(&mut buffer, at).map_err(failed)?;
        if got == 0 {
            return Ok(digits(&hash));
        }
        hash.update(buffer.get(..got).unwrap_or_default());
        at += got as u64;
        read(got as u64);
    }
}

/// Returns a checksum as a manifest has it.
pub(crate) fn digits(hash: &Xxh3) -> String {
    format!("{:032x}", hash.digest128())
}
