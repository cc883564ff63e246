//! One file of an export on its way into a store: checked, and written anew where it says whose and where it is.
//!
//! Blocks, words, ids, runs and stream index are taken over byte by byte. Written anew are
//! - the header: tenant, class and, for another tenant, the name;
//! - the ids of streams, for another tenant: they are made of tenant and labels;
//! - the lineage: what the segment was made of is kept as ancestors without sources, so that a start after a crash does
//!   not take the file for an unfinished compaction of this store;
//! - the table of contents: the place in order of arrival, and no record of the write-ahead log, which was another's.
//!
//! What is written is checked as a deep `fsck` does, so that what becomes live can be answered.

use crate::catalog_record::SegmentRecord;
use crate::error::{Error, Result};
use crate::export::{ManifestFile, READ_BYTES, digits};
use crate::folder::Folder;
use crate::import::name_for;
use crate::inspect_segment::{Severity, inspect_segment};
use crate::lineage::Lineage;
use crate::recovery::FoundFile;
use crate::recovery_orphans::read_record;
use crate::segment_format::{
    HEADER_BYTES, Header, SECTION_IDS, SECTION_LINEAGE, SECTION_STREAMS, SECTION_WORDS, Toc, TocSection,
};
use crate::segment_tables::{decode_streams, encode_streams};
use crc32c::crc32c;
use logyard_model::{Stream, StreamId, Tenant};
use logyard_sys::Disk;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Longest index area that is read, as when a segment is opened.
const TAIL_BYTES_MAX: u64 = 1 << 30;

/// A file of an export as it says itself.
pub(crate) struct SourceFile {
    pub(crate) ulid: [u8; 16],
    pub(crate) streams: Vec<Stream>,
    pub(crate) lineage: Lineage,
}

/// Where a segment goes.
pub(crate) struct Place {
    pub(crate) tenant: Tenant,
    pub(crate) class: String,
    pub(crate) ulid: [u8; 16],
    pub(crate) order: u64,
    /// The tenant is another one than it was.
    pub(crate) is_renamed: bool,
}

impl SourceFile {
    /// Reads who a file is and what streams it holds, and compares that with the list.
    ///
    /// Errors: `Kind::Corrupt`, `Kind::Invalid` for a newer version, `Kind::Unavailable` if the disk fails.
    /// Cost: reads the index area.
    pub(crate) fn open(disk: &dyn Disk, folder: &Folder, listed: &ManifestFile) -> Result<Self> {
        let want = &listed.segment;
        let path = want.path(folder)?;
        let meta = disk.metadata(&path).map_err(|error| Error::io("look at", &path, error))?;
        let bytes = meta.ok_or_else(|| Error::corrupt("the file is missing"))?.bytes;
        if bytes != want.bytes {
            return Err(Error::corrupt(format!("{bytes} bytes, want {}", want.bytes)));
        }
        let found = read_record(disk, folder, &FoundFile::segment(path.clone(), bytes))?;
        let is_same = found.record.ulid == want.ulid
            && (found.record.rows, found.record.tail_bytes) == (want.rows, want.tail_bytes)
            && (found.record.day, found.record.level) == (want.day, want.level);
        if !is_same || want.tail_bytes > bytes.min(TAIL_BYTES_MAX) {
            return Err(Error::corrupt("it is another segment than the list says"));
        }
        let ulid = want.ulid.parse::<ulid::Ulid>();
        let ulid = ulid.map_err(|error| Error::corrupt("its name is none").with_source(error))?.to_bytes();
        let file = disk.open_file(&path).map_err(|error| Error::io("open segment", &path, error))?;
        let mut tail = vec![0; usize::try_from(want.tail_bytes).unwrap_or(0)];
        file.read_exact_at(&mut tail, bytes - want.tail_bytes)
            .map_err(|error| Error::io("read segment", &path, error))?;
        let toc = Toc::decode(&tail, bytes)?;
        let streams = decode_streams(toc.section(SECTION_STREAMS, &tail, bytes)?)?;
        let tenant = Tenant::new(&want.tenant)
            .map_err(|error| Error::corrupt("its tenant is none").with_source(error))?;
        if streams.iter().any(|stream| stream.id != StreamId::of(&tenant, &stream.labels)) {
            return Err(Error::corrupt("its streams are of another tenant"));
        }
        Ok(Self { ulid, streams, lineage: found.lineage })
    }
}

impl Place {
    /// Returns the record of a segment once it lies here; its sizes are set by [`Place::write`].
    pub(crate) fn record(&self, from: &SegmentRecord) -> SegmentRecord {
        SegmentRecord {
            ulid: ulid::Ulid::from_bytes(self.ulid).to_string(),
            tenant: self.tenant.as_str().to_owned(),
            class: self.class.clone(),
            order: self.order,
            ..from.clone()
        }
    }

    /// Writes the file at `from` as `tmp`, durably but for its name, checks it and completes its record.
    ///
    /// Errors: `Kind::Corrupt` for a file that is damaged, or was when it was exported; `Kind::Unavailable` if the disk
    /// fails. Cost: reads the file, writes it, reads it again; memory for its index area and one block.
    pub(crate) fn write(
        &self,
        (disk, folder): (&dyn Disk, &Folder),
        from: &Path,
        listed: &ManifestFile,
        record: &mut SegmentRecord,
        tmp: &Path,
        step: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let failed = |error| Error::io("read segment", from, error);
        let file_bytes = listed.segment.bytes;
        let tail_start = file_bytes.saturating_sub(listed.segment.tail_bytes);
        let source = disk.open_file(from).map_err(failed)?;
        let mut out = Output { file: folder.create_in_partition(disk, tmp)?, path: tmp };
        out.write(&self.header(listed)?.encode())?;
        let (mut hash, mut tail) = (Xxh3::new(), Vec::new());
        let (mut buffer, mut at) = (vec![0; READ_BYTES], 0);
        loop {
            let got = source.read_at(&mut buffer, at).map_err(failed)?;
            if got == 0 {
                break;
            }
            let bytes = buffer.get(..got).unwrap_or_default();
            hash.update(bytes);
            // Blocks, words and ids as they are; the header has been written, the rest is written below.
            let place = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(got).min(got);
            let (copied, rest) = (place(HEADER_BYTES as u64), place(tail_start));
            out.write(bytes.get(copied..rest.max(copied)).unwrap_or_default())?;
            tail.extend_from_slice(bytes.get(rest..).unwrap_or_default());
            at += got as u64;
            step(got as u64);
        }
        let got = digits(&hash);
        if got != listed.xxh3 {
            return Err(Error::corrupt(format!("checksum mismatch (want {}, got {got})", listed.xxh3)));
        }
        self.write_tail(&mut out, &tail, file_bytes)?;
        out.file.sync().map_err(|error| Error::io("sync", tmp, error))?;
        record.bytes = out.file.bytes();
        record.tail_bytes = record.bytes.saturating_sub(tail_start);
        drop(out);
        let report = inspect_segment(disk, tmp, true, step)?;
        match report.faults.first() {
            Some(fault) if fault.severity == Severity::Newer => Err(Error::invalid(fault.why.clone())),
            Some(fault) => {
                Err(Error::corrupt(format!("{} at offset {}: {}", fault.part, fault.offset, fault.why)))
            }
            None => Ok(()),
        }
    }

    fn header(&self, listed: &ManifestFile) -> Result<Header> {
        let level = u16::try_from(listed.segment.level).map_err(|_| Error::corrupt("its level is none"))?;
        Ok(Header {
            ulid: self.ulid,
            tenant_hash: xxh3_64(self.tenant.as_str().as_bytes()),
            day: listed.segment.day,
            class: self.class.clone(),
            level,
        })
    }

    /// Writes the sections that a reader needs, and the table of contents.
    fn write_tail(&self, out: &mut Output<'_>, tail: &[u8], file_bytes: u64) -> Result<()> {
        let mut toc = Toc::decode(tail, file_bytes)?;
        let index_start = toc.index_start();
        let mut sections = Vec::with_capacity(toc.sections.len());
        for section in &toc.sections {
            if matches!(section.kind, SECTION_WORDS | SECTION_IDS) {
                sections.push(section.clone());
                continue;
            }
            let old = toc.section(section.kind, tail, file_bytes)?;
            let new = match section.kind {
                SECTION_STREAMS if self.is_renamed => self.streams(old)?,
                SECTION_LINEAGE => self.lineage(old)?,
                _ => old.to_vec(),
            };
            let offset = out.file.bytes();
            out.write(&new)?;
            let (bytes, crc32c) = (new.len() as u64, crc32c(&new));
            sections.push(TocSection { offset, bytes, crc32c, ..section.clone() });
        }
        (toc.sections, toc.order, toc.wal_done) = (sections, self.order, 0);
        out.write(&toc.encode(index_start))
    }

    fn streams(&self, old: &[u8]) -> Result<Vec<u8>> {
        let streams = decode_streams(old)?.into_iter();
        let streams: Vec<Arc<Stream>> =
            streams.map(|stream| Arc::new(Stream::new(&self.tenant, stream.labels))).collect();
        Ok(encode_streams(&streams))
    }

    fn lineage(&self, old: &[u8]) -> Result<Vec<u8>> {
        let old = Lineage::decode(old)?;
        let rename = |ulid: &[u8; 16]| if self.is_renamed { name_for(ulid, &self.tenant) } else { *ulid };
        Ok(Lineage { sources: Vec::new(), ancestors: old.all().map(rename).collect() }.encode())
    }
}

/// A file that is being written.
struct Output<'a> {
    file: Box<dyn logyard_sys::WriteFile>,
    path: &'a Path,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("write segment", self.path, error))
    }
}
