//! Segment files that the catalog does not list: leftovers of a crash, or all that is left of their entries.
//!
//! A crash between a segment's rename and the catalog's edit leaves a file whose entries are all in the WAL:
//! such a file is removed. When the catalog has lost edits, the same sight means the opposite, since the WAL
//! may have been trimmed behind the lost edit. So a file goes only if the WAL still begins where the catalog
//! ends; otherwise it is taken in again. What it shares with the WAL or another segment is answered once,
//! because equal entries are one.

use crate::catalog::{Catalog, LostEdits};
use crate::catalog_record::{Edit, SegmentRecord};
use crate::error::{Error, Kind, Result};
use crate::folder::Folder;
use crate::lineage::Lineage;
use crate::recovery::FoundFile;
use crate::segment_format::{HEADER_BYTES, Header, SECTION_LINEAGE, Toc};
use crate::shared::quarantine_file;
use logyard_sys::Disk;
use std::path::PathBuf;

/// Longest lineage that is read: that of all segments it may name, and a little more.
const LINEAGE_BYTES_MAX: u64 = 2 << 20;

/// Bytes read from the end of a file for its table of contents, which takes some hundred.
const TOC_READ_BYTES: u64 = 64 << 10;

/// Removes files that the catalog does not list, or takes them in. Returns the segments taken in.
///
/// Errors: `Kind::Unavailable` if the disk fails or the catalog cannot be edited.
pub(crate) fn settle(
    disk: &dyn Disk,
    folder: &Folder,
    catalog: &mut Catalog,
    lost_edits: LostEdits,
    orphans: &[&FoundFile],
) -> Result<Vec<(SegmentRecord, PathBuf)>> {
    let (segments, others): (Vec<_>, Vec<_>) = orphans.iter().partition(|file| file.is_segment());
    for file in others {
        remove_leftover(disk, file);
    }
    let wal_done = catalog.state().wal_done;
    let wal_first = first_wal_sequence(disk, folder)?;
    let is_in_wal = wal_first.is_some_and(|first| first <= wal_done + 1) && lost_edits != LostEdits::Some;
    if is_in_wal || segments.is_empty() {
        for file in segments {
            match lost_edits {
                LostEdits::None => remove_leftover(disk, file),
                // The lost edit may have been of an import, of which the WAL knows nothing.
                _ => move_away(disk, folder, file, "its entries are in the WAL, unless they were imported")?,
            }
        }
        return Ok(Vec::new());
    }
    let (mut taken, mut reached) = (Vec::new(), wal_done);
    for file in segments {
        match read_record(disk, folder, file) {
            Ok(found) => {
                reached = reached.max(found.wal_done);
                taken.push((found.record, file.path().to_owned()));
            }
            Err(error) if error.kind() == Kind::Unavailable => return Err(error),
            Err(error) => move_away(disk, folder, file, &error.to_string())?,
        }
    }
    let entries: u64 = taken.iter().map(|(record, _)| record.rows).sum();
    tracing::warn!(
        segments = taken.len(),
        entries,
        "the catalog has lost edits: segments it did not list are taken in again"
    );
    // Not above what the WAL can replay: an unfinished flush may have left only some of its segments.
    let wal_done = wal_first.map_or(reached, |first| (first - 1).max(wal_done));
    let add = taken.iter().map(|(record, _)| record.clone()).collect();
    catalog.edit(Edit::Flush { add, wal_done, windows: catalog.state().windows.clone() })?;
    Ok(taken)
}

fn move_away(disk: &dyn Disk, folder: &Folder, file: &FoundFile, why: &str) -> Result<()> {
    let path = file.path();
    tracing::error!(path = %path.display(), why, "segment the catalog does not list moves to quarantine");
    quarantine_file(disk, path, &folder.quarantine())
        .map_err(|error| Error::io("move to quarantine", path, error))
}

pub(crate) fn remove_leftover(disk: &dyn Disk, file: &FoundFile) {
    tracing::info!(path = %file.path().display(), "removing file left by an unfinished flush or compaction");
    if let Err(error) = disk.remove_file(file.path()) {
        tracing::debug!(path = %file.path().display(), %error, "leftover is gone already or stays");
    }
}

/// Returns the first sequence in the WAL by the names of its files (schemas/record-log.md).
fn first_wal_sequence(disk: &dyn Disk, folder: &Folder) -> Result<Option<u64>> {
    let dir = folder.wal();
    let items = disk.list(&dir).map_err(|error| Error::io("list folder", &dir, error))?;
    let sequences = items.iter().filter_map(|item| item.name.strip_suffix(".log")?.parse::<u64>().ok());
    Ok(sequences.filter(|first| *first > 0).min())
}

/// What a segment file says of itself.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) record: SegmentRecord,
    /// Last WAL record whose entries it may hold.
    pub(crate) wal_done: u64,
    pub(crate) lineage: Lineage,
}

/// Reads who a segment is from its own header, table of contents and path.
///
/// Errors: `Kind::Corrupt`; `Kind::Invalid` for a newer version; `Kind::Unavailable` if the disk fails.
pub(crate) fn read_record(disk: &dyn Disk, folder: &Folder, file: &FoundFile) -> Result<FoundSegment> {
    let path = file.path();
    let read = |offset: u64, bytes: u64| -> Result<Vec<u8>> {
        let open = disk.open_file(path).map_err(|error| Error::io("open segment", path, error))?;
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
        open.read_exact_at(&mut buffer, offset).map_err(|error| Error::io("read segment", path, error))?;
        Ok(buffer)
    };
    let file_bytes = file.bytes();
    if file_bytes < HEADER_BYTES as u64 {
        return Err(Error::corrupt(format!("segment {} ends within its header", path.display())));
    }
    let header = Header::decode(&read(0, HEADER_BYTES as u64)?)?;
    let tail_bytes = file_bytes.min(TOC_READ_BYTES);
    let toc = Toc::decode(&read(file_bytes - tail_bytes, tail_bytes)?, file_bytes)?;
    let tenant = path.strip_prefix(folder.tenants()).ok().and_then(|inside| inside.iter().next());
    let tenant = tenant.and_then(|tenant| tenant.to_str()).unwrap_or_default();
    let record = SegmentRecord {
        ulid: ulid::Ulid::from_bytes(header.ulid).to_string(),
        tenant: tenant.to_owned(),
        day: header.day,
        class: header.class,
        level: u32::from(header.level),
        order: toc.order,
        min_ns: toc.totals.min_ns,
        max_ns: toc.totals.max_ns,
        rows: toc.totals.rows,
        raw_bytes: toc.totals.raw_bytes,
        streams: toc.totals.streams,
        bytes: file_bytes,
        tail_bytes: file_bytes.saturating_sub(toc.tail_start()),
    };
    let is_same_tenant = xxhash_rust::xxh3::xxh3_64(tenant.as_bytes()) == header.tenant_hash;
    if !is_same_tenant || record.path(folder)? != path {
        let text = format!("segment {} is not where it was written: another file's name", path.display());
        return Err(Error::corrupt(text));
    }
    // The section may lie before what was read.
    let section = toc.sections.iter().find(|section| section.kind == SECTION_LINEAGE);
    let lineage = match section.filter(|section| section.bytes <= LINEAGE_BYTES_MAX) {
        Some(section) => toc.lineage(&read(section.offset, section.bytes)?, section.offset + section.bytes),
        None => Lineage::default(),
    };
    Ok(FoundSegment { record, wal_done: toc.wal_done, lineage })
}
