//! Writing one segment file, block by block, in bounded memory.
//!
//! The file is written under a temporary name, synced, renamed, and its folder synced: after a crash at any
//! point it is whole or not there. What is there without a catalog edit is removed at the next start.

use crate::catalog_record::SegmentRecord;
use crate::error::{Error, Result};
use crate::folder::{CLASS, Folder};
use crate::head::row_bytes;
use crate::segment_format::{
    Header, SECTION_BLOCKS, SECTION_RUNS, SECTION_STREAM_INDEX, SECTION_STREAMS, Toc, TocSection, Totals,
};
use crate::segment_tables::{BlockRow, RunRow, encode_blocks, encode_runs, encode_streams};
use crc32c::crc32c;
use logyard_codec::{BlockBuilder, Entries};
use logyard_model::{LabelSet, Stream, Tenant};
use logyard_sys::{Disk, WriteFile};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Raw bytes (lines and metadata) of a block: compression gains nothing beyond, measured 64 KiB to 8 MiB.
const BLOCK_BYTES: u64 = 2 << 20;

/// Rows of a block.
const BLOCK_ROWS: usize = 65_536;

/// Where a segment belongs.
#[derive(Clone, Debug)]
pub(crate) struct SegmentPlace {
    pub(crate) tenant: Tenant,
    pub(crate) day: i32,
    pub(crate) ulid: ulid::Ulid,
    /// Place in order of arrival.
    pub(crate) order: u64,
    /// Last WAL record whose entries it may hold.
    pub(crate) wal_done: u64,
}

/// A segment file being written. Dropped unfinished, it leaves a temporary file that the next start removes.
#[derive(Debug)]
pub(crate) struct SegmentWriter<'a> {
    disk: &'a dyn Disk,
    place: SegmentPlace,
    dir: PathBuf,
    tmp: PathBuf,
    file: Box<dyn WriteFile>,
    builder: BlockBuilder,
    /// Bytes of the builder's lines and metadata.
    builder_bytes: u64,
    /// Rows of the current stream that are not in the builder yet, so that a stream has one run per block.
    pending: Entries,
    pending_ref: u32,
    blocks: Vec<BlockRow>,
    runs: Vec<RunRow>,
    totals: Totals,
}

impl<'a> SegmentWriter<'a> {
    /// Creates the temporary file and the folders above it.
    pub(crate) fn create(disk: &'a dyn Disk, folder: &Folder, place: SegmentPlace) -> Result<Self> {
        let dir = folder.partition(&place.tenant, place.day, CLASS);
        disk.create_dir_all(&dir).map_err(|error| Error::io("create folder", &dir, error))?;
        let tmp = dir.join(format!("{}.tmp", file_name(place.ulid)));
        let file = disk.create_file(&tmp).map_err(|error| Error::io("create segment", &tmp, error))?;
        let header = Header {
            ulid: place.ulid.to_bytes(),
            tenant_hash: xxh3_64(place.tenant.as_str().as_bytes()),
            day: place.day,
            class: CLASS.to_owned(),
            level: 0,
        };
        let totals = Totals { min_ns: i64::MAX, max_ns: i64::MIN, ..Totals::default() };
        let mut writer = Self {
            disk,
            place,
            dir,
            tmp,
            file,
            builder: BlockBuilder::new(),
            builder_bytes: 0,
            pending: Entries::default(),
            pending_ref: 0,
            blocks: Vec::new(),
            runs: Vec::new(),
            totals,
        };
        match writer.write(&header.encode()) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    /// Adds sorted rows of a stream. Refs never decrease, and the rows of one stream come in order of time.
    pub(crate) fn push(&mut self, stream_ref: u32, entries: &Entries, rows: Range<usize>) -> Result<()> {
        if stream_ref != self.pending_ref {
            self.end_run();
            self.pending_ref = stream_ref;
        }
        for row in rows {
            let bytes = row_bytes(entries, row);
            let row_count = self.builder.rows() as usize + self.pending.len();
            let block_bytes = self.builder_bytes + self.pending.raw_bytes();
            if row_count > 0 && (block_bytes + bytes > BLOCK_BYTES || row_count >= BLOCK_ROWS) {
                self.end_block()?;
            }
            self.pending.push_from(entries, row);
        }
        Ok(())
    }

    fn end_run(&mut self) {
        let rows = 0..self.pending.len();
        self.builder.push_run(self.pending_ref, &self.pending, rows);
        self.builder_bytes += self.pending.raw_bytes();
        self.pending = Entries::default();
    }

    fn end_block(&mut self) -> Result<()> {
        self.end_run();
        if self.builder.rows() == 0 {
            return Ok(());
        }
        let block = std::mem::take(&mut self.builder).finish();
        self.builder_bytes = 0;
        let offset = self.file.bytes();
        self.write(&block.bytes)?;
        let number = u32::try_from(self.blocks.len()).expect("a segment has fewer than 2^32 blocks");
        let bytes = u32::try_from(block.bytes.len()).expect("a block takes less than 4 GiB");
        self.totals.rows += u64::from(block.meta.rows);
        self.totals.raw_bytes += block.meta.raw_bytes;
        self.totals.min_ns = self.totals.min_ns.min(block.meta.min_ns);
        self.totals.max_ns = self.totals.max_ns.max(block.meta.max_ns);
        self.blocks.push(BlockRow { offset, bytes, meta: Arc::new(block.meta) });
        self.runs.extend(block.runs.into_iter().map(|run| RunRow { block: number, run }));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("write segment", &self.tmp, error))
    }

    /// Writes the index area for `streams` (index = ref) and makes the file durable under its name.
    pub(crate) fn finish(&mut self, streams: &[Arc<Stream>]) -> Result<SegmentRecord> {
        self.end_block()?;
        self.totals.streams = streams.len() as u64;
        self.totals.blocks = self.blocks.len() as u64;
        let index_start = self.file.bytes();
        let mut sections = Vec::new();
        self.write_section(SECTION_STREAMS, true, &encode_streams(streams), &mut sections)?;
        self.write_section(SECTION_RUNS, true, &encode_runs(&self.runs), &mut sections)?;
        self.write_section(SECTION_BLOCKS, true, &encode_blocks(&self.blocks), &mut sections)?;
        self.write_stream_index(streams, &mut sections)?;
        let toc = Toc {
            sections,
            totals: self.totals,
            order: self.place.order,
            wal_done: self.place.wal_done,
            writer: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.write(&toc.encode(index_start))?;
        self.file.sync().map_err(|error| Error::io("sync segment", &self.tmp, error))?;
        let path = self.dir.join(file_name(self.place.ulid));
        self.disk.rename(&self.tmp, &path).map_err(|error| Error::io("rename segment", &self.tmp, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| Error::io("sync folder", &self.dir, error))?;
        let bytes = self.file.bytes();
        Ok(SegmentRecord {
            ulid: self.place.ulid.to_string(),
            tenant: self.place.tenant.as_str().to_owned(),
            day: self.place.day,
            class: CLASS.to_owned(),
            level: 0,
            order: self.place.order,
            min_ns: self.totals.min_ns,
            max_ns: self.totals.max_ns,
            rows: self.totals.rows,
            raw_bytes: self.totals.raw_bytes,
            streams: self.totals.streams,
            bytes,
            tail_bytes: bytes - index_start,
        })
    }

    fn write_section(
        &mut self,
        kind: u16,
        is_required: bool,
        bytes: &[u8],
        sections: &mut Vec<TocSection>,
    ) -> Result<()> {
        let offset = self.file.bytes();
        self.write(bytes)?;
        sections.push(TocSection {
            kind,
            is_required,
            offset,
            bytes: bytes.len() as u64,
            crc32c: crc32c(bytes),
        });
        Ok(())
    }

    /// Writes the stream index. Labels it cannot hold cost the index, not the segment.
    fn write_stream_index(&mut self, streams: &[Arc<Stream>], sections: &mut Vec<TocSection>) -> Result<()> {
        let labels: Vec<(u32, &LabelSet)> = (0..).zip(streams.iter().map(|stream| &stream.labels)).collect();
        match logyard_index::build(&labels) {
            Ok(bundle) => self.write_section(SECTION_STREAM_INDEX, false, &bundle, sections),
            Err(error) => {
                tracing::warn!(%error, segment = %self.place.ulid, "cannot index streams, go on without");
                Ok(())
            }
        }
    }

    /// Removes the temporary file of a segment that could not be finished; it would go at the next start anyway.
    pub(crate) fn abandon(self) {
        drop(self.file);
        if let Err(error) = self.disk.remove_file(&self.tmp) {
            tracing::debug!(%error, path = %self.tmp.display(), "cannot remove temporary file yet");
        }
    }
}

/// Returns the name of a segment file.
pub(crate) fn file_name(ulid: ulid::Ulid) -> String {
    format!("{ulid}-L0.seg")
}
