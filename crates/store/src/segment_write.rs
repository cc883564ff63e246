//! Writing one segment file, block by block, in bounded memory.
//!
//! The file is written under a temporary name, synced, renamed, and its folder synced: after a crash at any
//! point it is whole or not there. What is there without a catalog edit is removed at the next start.

use crate::catalog_record::SegmentRecord;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::head::row_bytes;
use crate::lineage::Lineage;
use crate::segment_format::{
    Header, SECTION_BLOCKS, SECTION_IDS, SECTION_LINEAGE, SECTION_RUNS, SECTION_STREAM_INDEX,
    SECTION_STREAMS, SECTION_WORDS, Toc, TocSection, Totals,
};
use crate::segment_tables::{BlockRow, RunRow, encode_blocks, encode_runs, encode_streams};
use bytes::Bytes;
use crc32c::crc32c;
use logyard_codec::{Block, BlockBuilder, BlockMeta, Entries, LineCodec, LineOutcome, RunMeta};
use logyard_index::ContentIndexBuilder;
use logyard_model::{LabelSet, Stream, Tenant};
use logyard_sys::{Disk, WriteFile};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Raw bytes (lines and metadata) of a block: compression gains nothing beyond, measured 64 KiB to 8 MiB.
pub(crate) const BLOCK_BYTES: u64 = 2 << 20;

/// Rows of a block.
const BLOCK_ROWS: usize = 65_536;

/// Rows from which on a span of them is copied at once.
const SPAN_ROWS_MIN: usize = 64;

/// Streams from which on a segment has a stream index. Fewer are searched one by one in about the time of a look-up,
/// and building the index of one stream takes the search library 8 MiB and milliseconds.
pub(crate) const INDEXED_STREAMS_MIN: usize = 256;

/// Where a segment belongs.
#[derive(Clone, Debug)]
pub(crate) struct SegmentPlace {
    pub(crate) tenant: Tenant,
    pub(crate) day: i32,
    /// Retention class.
    pub(crate) class: String,
    /// 0 for a flush, above for a compaction.
    pub(crate) level: u16,
    pub(crate) ulid: ulid::Ulid,
    /// Place in order of arrival.
    pub(crate) order: u64,
    /// Last WAL record whose entries it may hold.
    pub(crate) wal_done: u64,
    /// How lines are kept: plain in a flush, whose entries wait in memory, shredded in a compaction.
    pub(crate) line_codec: LineCodec,
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
    /// Blocks whose shredded lines came back different.
    line_mismatches: u64,
    /// Collects what lines hold, for segments worth it.
    content: Option<ContentIndexBuilder>,
}

impl<'a> SegmentWriter<'a> {
    /// Creates the temporary file and the folders above it.
    pub(crate) fn create(disk: &'a dyn Disk, folder: &Folder, place: SegmentPlace) -> Result<Self> {
        let dir = folder.partition(&place.tenant, place.day, &place.class);
        let tmp = dir.join(format!("{}.tmp", file_name(place.ulid, place.level)));
        let file = folder.create_in_partition(disk, &tmp)?;
        let header = Header {
            ulid: place.ulid.to_bytes(),
            tenant_hash: xxh3_64(place.tenant.as_str().as_bytes()),
            day: place.day,
            class: place.class.clone(),
            level: place.level,
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
            line_mismatches: 0,
            content: None,
        };
        match writer.write(&header.encode()) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    /// Has what the lines hold indexed, so that queries skip blocks; `with_words` for as many lines that a dictionary
    /// pays. To be called before anything is added.
    pub(crate) fn index_lines(&mut self, with_words: bool) {
        match ContentIndexBuilder::new(with_words) {
            Ok(builder) => self.content = Some(builder),
            Err(error) => self.give_up_content(&error),
        }
    }

    fn index_text(&mut self, text: &[u8]) {
        if let Some(Err(error)) = self.content.as_mut().map(|builder| builder.add_block(text)) {
            self.give_up_content(&error);
        }
    }

    fn give_up_content(&mut self, error: &logyard_index::Error) {
        self.content = None;
        tracing::warn!(%error, segment = %self.place.ulid, "cannot index what lines hold, go on without");
    }

    /// Adds sorted rows of a stream. Refs never decrease, and the rows of one stream come in order of time.
    pub(crate) fn push(&mut self, stream_ref: u32, entries: &Entries, rows: Range<usize>) -> Result<()> {
        self.begin_stream(stream_ref);
        for row in rows {
            if !self.has_room(0, 0, row_bytes(entries, row)) {
                self.end_block()?;
            }
            self.pending.push_from(entries, row);
        }
        Ok(())
    }

    /// Adds rows of a block, as [`SegmentWriter::push`] does. Errors: also those of the block's sections, which
    /// the caller may have decoded before.
    pub(crate) fn push_block_rows(&mut self, stream_ref: u32, block: &Block, rows: Range<u32>) -> Result<()> {
        let bad = |error: logyard_codec::Error| Error::corrupt("cannot copy entries").with_source(error);
        let (lines, metadata) = (block.lines().map_err(bad)?, block.metadata().map_err(bad)?);
        let has_metadata = !metadata.is_all_none();
        self.begin_stream(stream_ref);
        let (mut start, mut bytes) = (rows.start, 0);
        for row in rows.clone() {
            let mut row_bytes = lines.line_bytes(row) as u64;
            if has_metadata {
                row_bytes += metadata.value(row as usize).text_bytes() as u64;
            }
            if !self.has_room((row - start) as usize, bytes, row_bytes) {
                self.copy_rows(block, start..row).map_err(bad)?;
                self.end_block()?;
                (start, bytes) = (row, 0);
            }
            bytes += row_bytes;
        }
        self.copy_rows(block, start..rows.end).map_err(bad)
    }

    /// Few rows go one by one: copying a span looks at the whole dictionary of its block.
    fn copy_rows(
        &mut self,
        block: &Block,
        rows: Range<u32>,
    ) -> std::result::Result<(), logyard_codec::Error> {
        if rows.len() >= SPAN_ROWS_MIN {
            return self.pending.append_block_rows(block, rows);
        }
        let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
        let (levels, metadata) = (block.levels()?, block.metadata()?);
        for row in rows {
            let index = row as usize;
            let Some(ts_ns) = ts_ns.get(index) else { break };
            self.pending.push(*ts_ns, lines.line(row), levels.value(index), metadata.value(index));
        }
        Ok(())
    }

    /// Adds a whole block of one stream as it is. `bytes` are its sections, whose checksums the caller has checked.
    pub(crate) fn push_block(&mut self, bytes: &[u8], meta: &Arc<BlockMeta>, run: RunMeta) -> Result<()> {
        self.end_block()?;
        if self.content.is_some() {
            let block = Block::open(Arc::clone(meta), Arc::new(Bytes::copy_from_slice(bytes)), 0);
            match block.token_text() {
                Ok(text) => self.index_text(&text),
                // Its checksums hold, so this is no damage; a block that is not indexed would be skipped.
                Err(error) => return Err(Error::corrupt("cannot index entries").with_source(error)),
            }
        }
        self.add_block(bytes, Arc::clone(meta), [run])
    }

    fn begin_stream(&mut self, stream_ref: u32) {
        if stream_ref != self.pending_ref {
            self.end_run();
            self.pending_ref = stream_ref;
        }
    }

    /// Returns whether the block takes a row of `row_bytes` on top of `more_rows` rows of `more_bytes`.
    fn has_room(&self, more_rows: usize, more_bytes: u64, row_bytes: u64) -> bool {
        let rows = self.builder.rows() as usize + self.pending.len() + more_rows;
        let bytes = self.builder_bytes + self.pending.raw_bytes() + more_bytes;
        rows == 0 || (bytes + row_bytes <= BLOCK_BYTES && rows < BLOCK_ROWS)
    }

    /// Returns how many entries were added, without those of the block that is open.
    pub(crate) fn written_rows(&self) -> u64 {
        self.totals.rows
    }

    /// Returns of how many blocks the shredded lines came back different: bugs of ours, by which nothing is lost.
    pub(crate) fn line_mismatches(&self) -> u64 {
        self.line_mismatches
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.pending);
        self.builder_bytes += run.raw_bytes();
        self.builder.push_entries(self.pending_ref, run);
    }

    /// Writes the block that is open, if it holds anything.
    pub(crate) fn end_block(&mut self) -> Result<()> {
        self.end_run();
        if self.builder.rows() == 0 {
            return Ok(());
        }
        let block = std::mem::take(&mut self.builder).finish_with(self.place.line_codec);
        self.index_text(&block.token_text);
        self.builder_bytes = 0;
        if block.line_outcome == LineOutcome::Mismatch {
            self.line_mismatches += 1;
            tracing::warn!(
                segment = %self.place.ulid,
                block = self.blocks.len(),
                "lines in columns came back different and are kept plain, which is larger; report this"
            );
        }
        self.add_block(&block.bytes, Arc::new(block.meta), block.runs)
    }

    fn add_block(
        &mut self,
        block: &[u8],
        meta: Arc<BlockMeta>,
        runs: impl IntoIterator<Item = RunMeta>,
    ) -> Result<()> {
        let offset = self.file.bytes();
        self.write(block)?;
        let number = u32::try_from(self.blocks.len()).expect("a segment has fewer than 2^32 blocks");
        let bytes = u32::try_from(block.len()).expect("a block takes less than 4 GiB");
        self.totals.rows += u64::from(meta.rows);
        self.totals.raw_bytes += meta.raw_bytes;
        self.totals.min_ns = self.totals.min_ns.min(meta.min_ns);
        self.totals.max_ns = self.totals.max_ns.max(meta.max_ns);
        self.blocks.push(BlockRow { offset, bytes, meta });
        self.runs.extend(runs.into_iter().map(|run| RunRow { block: number, run }));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("write segment", &self.tmp, error))
    }

    /// Writes the index area for `streams` (index = ref) and makes the file durable under its name.
    pub(crate) fn finish(&mut self, streams: &[Arc<Stream>], lineage: &Lineage) -> Result<SegmentRecord> {
        self.end_block()?;
        self.totals.streams = streams.len() as u64;
        self.totals.blocks = self.blocks.len() as u64;
        let index_start = self.file.bytes();
        let mut sections = Vec::new();
        self.write_content(&mut sections)?;
        let tail_start = self.file.bytes();
        self.write_section(SECTION_STREAMS, true, &encode_streams(streams), &mut sections)?;
        self.write_section(SECTION_RUNS, true, &encode_runs(&self.runs), &mut sections)?;
        self.write_section(SECTION_BLOCKS, true, &encode_blocks(&self.blocks), &mut sections)?;
        self.write_stream_index(streams, &mut sections)?;
        if !lineage.sources.is_empty() {
            self.write_section(SECTION_LINEAGE, false, &lineage.encode(), &mut sections)?;
        }
        let toc = Toc {
            sections,
            totals: self.totals,
            order: self.place.order,
            wal_done: self.place.wal_done,
            writer: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.write(&toc.encode(index_start))?;
        self.file.sync().map_err(|error| Error::io("sync segment", &self.tmp, error))?;
        let path = self.dir.join(file_name(self.place.ulid, self.place.level));
        self.disk.rename(&self.tmp, &path).map_err(|error| Error::io("rename segment", &self.tmp, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| Error::io("sync folder", &self.dir, error))?;
        let bytes = self.file.bytes();
        Ok(SegmentRecord {
            ulid: self.place.ulid.to_string(),
            tenant: self.place.tenant.as_str().to_owned(),
            day: self.place.day,
            class: self.place.class.clone(),
            level: u32::from(self.place.level),
            order: self.place.order,
            min_ns: self.totals.min_ns,
            max_ns: self.totals.max_ns,
            rows: self.totals.rows,
            raw_bytes: self.totals.raw_bytes,
            streams: self.totals.streams,
            bytes,
            tail_bytes: bytes - tail_start,
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

    fn write_content(&mut self, sections: &mut Vec<TocSection>) -> Result<()> {
        let Some(builder) = self.content.take() else { return Ok(()) };
        match builder.finish() {
            Ok(content) => {
                self.write_section(SECTION_IDS, false, &content.ids, sections)?;
                match content.words {
                    Some(words) => self.write_section(SECTION_WORDS, false, &words, sections),
                    None => Ok(()),
                }
            }
            Err(error) => {
                self.give_up_content(&error);
                Ok(())
            }
        }
    }

    /// Writes the stream index, if it pays. Labels it cannot hold cost the index, not the segment.
    fn write_stream_index(&mut self, streams: &[Arc<Stream>], sections: &mut Vec<TocSection>) -> Result<()> {
        if streams.len() < INDEXED_STREAMS_MIN {
            return Ok(());
        }
        let labels: Vec<(u32, &LabelSet)> = (0..).zip(streams.iter().map(|stream| &*stream.labels)).collect();
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
fn file_name(ulid: ulid::Ulid, level: u16) -> String {
    format!("{ulid}-L{level}.seg")
}
