//! A segment for reading: its index area on demand, its blocks by positioned reads.
//!
//! A live segment costs its catalog record. Its index area is read at first use, in one read from the end,
//! and kept in a bounded cache; open files are kept in another, and what queries decode of blocks in a third.

use crate::Stats;
use crate::cache::Cache;
use crate::catalog_record::SegmentRecord;
use crate::damage::Damage;
use crate::error::{Error, Kind, Result};
use crate::head::arrival;
use crate::interner::Interner;
use crate::kept_blocks::{BlockKey, KeptBlocks};
use crate::label_texts::Asked;
use crate::lineage::Lineage;
use crate::metrics::Metrics;
use crate::policy::Period;
use crate::retention::Window;
use crate::segment_content::{self, CONTENT_CACHE_BYTES, ContentPlaces};
use crate::segment_format::{SECTION_STREAM_INDEX, Toc};
use crate::segment_tables::{BlockRow, RunRow, SegmentTables};
use crate::settings::CacheSettings;
use bytes::Bytes;
use logyard_codec::{Block, BlockMeta, BlockView, Decoded, RunView, SectionSource};
use logyard_index::{ContentIndex, StreamIndex};
use logyard_model::{Matcher, Prefilter, Stream, StreamId, TimeRange};
use logyard_sys::{Disk, ReadFile};
use prometheus_client::metrics::counter::Counter;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes of index areas kept in memory: all of a homelab's month, or 180,000 streams, each in one segment, at 130 bytes.
/// Where they do not fit, queries over all of them decode each anew.
const INDEX_CACHE_BYTES: u64 = 24 << 20;

/// Segment files kept open.
const OPEN_FILES_MAX: u64 = 64;

/// Longest index area that is read; a segment of 2 GiB has about 12 MiB.
const TAIL_BYTES_MAX: u64 = 1 << 30;

/// Gives segments access to the disk, and keeps what was read.
#[derive(Debug)]
pub(crate) struct SegmentReads {
    disk: Arc<dyn Disk>,
    files: Cache<dyn ReadFile>,
    indexes: Cache<SegmentIndex>,
    pub(crate) contents: Cache<ContentIndex>,
    kept_blocks: KeptBlocks,
    pub(crate) interner: Interner,
    pub(crate) unreadable_indexes: Counter,
    damaged_blocks: Counter,
}

/// One live segment.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Distinct among all segments of this run: the key in caches.
    key: u64,
    pub(crate) record: SegmentRecord,
    pub(crate) path: PathBuf,
    pub(crate) damage: Damage,
    /// See [`crate::retention::period_bytes`].
    pub(crate) period_bytes: OnceLock<BTreeMap<Period, u64>>,
    /// Set when nothing of it is to be kept any more.
    is_forgotten: AtomicBool,
}

/// Why a segment's index area could not be had.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// The file is missing or damaged: reading on is useless.
    Lost(Error),
    /// The disk failed, which may work later, or a newer version wrote the file, which that one can read.
    Failed(Error),
}

/// The decoded index area of a segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) streams: Vec<Arc<Stream>>,
    /// By block, then row; hence by stream ref.
    pub(crate) runs: Vec<RunRow>,
    pub(crate) blocks: Vec<BlockRow>,
    /// Which segments this one was made of.
    pub(crate) lineage: Lineage,
    /// Last WAL record whose entries it may hold.
    pub(crate) wal_done: u64,
    pub(crate) content: ContentPlaces,
    /// Absent when the segment has none that can be read: then the label sets themselves are searched.
    stream_index: Option<StreamIndex>,
    /// Set when the stream index failed a query: it is not asked again.
    is_stream_index_bad: AtomicBool,
    unreadable_indexes: Counter,
}

impl SegmentReads {
    pub(crate) fn new(disk: Arc<dyn Disk>, settings: &CacheSettings, metrics: &Metrics) -> Self {
        Self {
            disk,
            files: Cache::new(OPEN_FILES_MAX),
            indexes: Cache::new(INDEX_CACHE_BYTES),
            contents: Cache::new(CONTENT_CACHE_BYTES),
            kept_blocks: KeptBlocks::new(settings.blocks_bytes_max, metrics),
            interner: Interner::default(),
            unreadable_indexes: metrics.unreadable_indexes.clone(),
            damaged_blocks: metrics.damaged_blocks.clone(),
        }
    }

    /// Returns the open file of a segment.
    pub(crate) fn file(&self, segment: &Segment) -> io::Result<Arc<dyn ReadFile>> {
        if let Some(file) = self.files.get(segment.key) {
            return Ok(file);
        }
        let file = self.disk.open_file(&segment.path)?;
        self.files.insert(segment.key, Arc::clone(&file), 1);
        Ok(file)
    }

    /// Returns a segment's index area, read if it is not in memory.
    pub(crate) fn index(&self, segment: &Segment) -> std::result::Result<Arc<SegmentIndex>, IndexError> {
        if let Some(index) = self.indexes.get(segment.key) {
            return Ok(index);
        }
        let index = Arc::new(self.read_index(segment)?);
        self.indexes.insert(segment.key, Arc::clone(&index), index.bytes(&segment.record));
        Ok(index)
    }

    fn read_index(&self, segment: &Segment) -> std::result::Result<SegmentIndex, IndexError> {
        let SegmentRecord { bytes: file_bytes, tail_bytes, .. } = segment.record;
        if tail_bytes > TAIL_BYTES_MAX || tail_bytes > file_bytes {
            let text = format!("index area of {tail_bytes} bytes in {}", segment.path.display());
            return Err(IndexError::Lost(Error::corrupt(text)));
        }
        let tail = self.read_tail(segment, file_bytes, tail_bytes).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => IndexError::Lost(Error::io("open segment", &segment.path, error)),
            io::ErrorKind::UnexpectedEof => {
                let text = format!("segment {} is shorter than {file_bytes} bytes", segment.path.display());
                IndexError::Lost(Error::corrupt(text))
            }
            _ => IndexError::Failed(Error::io("read segment", &segment.path, error)),
        })?;
        SegmentIndex::decode(&tail, file_bytes, self, &segment.path).map_err(|error| {
            let text = format!("cannot open segment {}: {error}", segment.path.display());
            match error.kind() {
                Kind::Invalid => IndexError::Failed(Error::invalid(text)),
                _ => IndexError::Lost(Error::corrupt(text)),
            }
        })
    }

    fn read_tail(&self, segment: &Segment, file_bytes: u64, tail_bytes: u64) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(tail_bytes).unwrap_or(usize::MAX);
        self.file(segment)?.read_part(file_bytes - tail_bytes, bytes)
    }

    /// Reads a block of a segment as it lies in the file.
    pub(crate) fn read_block(&self, segment: &Segment, row: &BlockRow) -> io::Result<Vec<u8>> {
        self.file(segment)?.read_part(row.offset, row.bytes as usize)
    }

    /// Returns a block of a segment by its number, not yet decoded.
    pub(crate) fn block(self: &Arc<Self>, segment: &Arc<Segment>, number: u32, row: &BlockRow) -> Block {
        let source: Arc<dyn SectionSource> = Arc::new(SegmentSource {
            segment: Arc::clone(segment),
            reads: Arc::clone(self),
            block: number,
            offset: row.offset,
            meta: Arc::clone(&row.meta),
        });
        Block::open(Arc::clone(&row.meta), source, row.offset)
    }

    /// Returns how many blocks were found damaged so far.
    pub(crate) fn damaged_blocks(&self) -> u64 {
        self.damaged_blocks.get()
    }

    /// Forgets what is kept of a segment that is gone.
    pub(crate) fn forget(&self, segment: &Segment) {
        segment.is_forgotten.store(true, Ordering::Release);
        self.files.remove(segment.key);
        self.indexes.remove(segment.key);
        self.contents.remove(segment.key);
        self.kept_blocks.forget_segment(segment.key);
    }
}

impl Segment {
    pub(crate) fn new(key: u64, record: SegmentRecord, path: PathBuf) -> Self {
        let (damage, period_bytes) = (Damage::default(), OnceLock::new());
        Self { key, record, path, damage, period_bytes, is_forgotten: AtomicBool::new(false) }
    }

    /// Returns whether nothing of it is to be kept any more.
    fn is_forgotten(&self) -> bool {
        self.is_forgotten.load(Ordering::Acquire)
    }

    /// Returns the number that no other segment of this run has.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }
}

impl SegmentIndex {
    /// Decodes the last bytes of a segment file. Never panics.
    fn decode(tail: &[u8], file_bytes: u64, reads: &SegmentReads, path: &Path) -> Result<Self> {
        let toc = Toc::decode(tail, file_bytes)?;
        let SegmentTables { streams, runs, blocks } = SegmentTables::decode(&toc, tail, file_bytes)?;
        let streams: Vec<_> = streams.into_iter().map(|stream| reads.interner.share(stream)).collect();
        let (lineage, wal_done) = (toc.lineage(tail, file_bytes), toc.wal_done);
        let stream_index = open_stream_index(&toc, tail, file_bytes).unwrap_or_else(|error| {
            reads.unreadable_indexes.inc();
            tracing::warn!(path = %path.display(), %error, "stream index unreadable, search the streams instead");
            None
        });
        let unreadable_indexes = reads.unreadable_indexes.clone();
        let is_stream_index_bad = AtomicBool::new(false);
        Ok(Self {
            streams,
            runs,
            blocks,
            lineage,
            wal_done,
            content: ContentPlaces::new(&toc),
            stream_index,
            is_stream_index_bad,
            unreadable_indexes,
        })
    }

    /// Returns about how many bytes this takes in memory.
    fn bytes(&self, record: &SegmentRecord) -> u64 {
        let rows = self.runs.len() * size_of::<RunRow>() + self.blocks.len() * 256 + self.streams.len() * 8;
        rows as u64 + record.tail_bytes
    }

    /// Returns the refs of the streams that pass all matchers, ascending.
    fn matching(&self, matchers: &[Matcher]) -> Vec<u32> {
        if let Some(refs) = self.ask_stream_index(|index| index.matching(matchers)) {
            return refs;
        }
        let passes = |stream: &Stream| matchers.iter().all(|matcher| matcher.matches_set(&stream.labels));
        (0..)
            .zip(&self.streams)
            .filter(|(_, stream)| passes(stream))
            .map(|(stream_ref, _)| stream_ref)
            .collect()
    }

    /// Asks the stream index; `None` if there is none, or it fails now or has failed before.
    fn ask_stream_index<T>(
        &self,
        ask: impl FnOnce(&StreamIndex) -> std::result::Result<T, logyard_index::Error>,
    ) -> Option<T> {
        let index = self.stream_index.as_ref()?;
        if self.is_stream_index_bad.load(Ordering::Relaxed) {
            return None;
        }
        ask(index)
            .inspect_err(|error| {
                self.is_stream_index_bad.store(true, Ordering::Relaxed);
                self.unreadable_indexes.inc();
                tracing::warn!(%error, "stream index failed, search the streams instead");
            })
            .ok()
    }

    /// Returns what is asked of all streams, sorted; `None` if there is no stream index to tell.
    pub(crate) fn label_texts(&self, asked: Asked<'_>) -> Option<Vec<String>> {
        self.ask_stream_index(|index| match asked {
            Asked::Names => index.names(),
            Asked::Values(name) => index.values(name),
        })
    }

    /// Calls `visit` once for each matching stream with entries in the window, in order of their refs.
    pub(crate) fn each_stream(
        &self,
        order: u64,
        matchers: &[Matcher],
        window: &Window<'_>,
        mut visit: impl FnMut(&Arc<Stream>),
    ) {
        let mut last_ref = None;
        self.each_run(order, matchers, window, |row, stream, _| {
            if last_ref.replace(row.run.stream_ref) != Some(row.run.stream_ref) {
                visit(stream);
            }
        });
    }

    /// Calls `visit` for the runs of matching streams that may hold entries in the window, in file order, with what
    /// the window leaves of the stream.
    fn each_run(
        &self,
        order: u64,
        matchers: &[Matcher],
        window: &Window<'_>,
        mut visit: impl FnMut(&RunRow, &Arc<Stream>, TimeRange),
    ) {
        let mut runs = self.runs.as_slice();
        for stream_ref in self.matching(matchers) {
            let Some(stream) = self.streams.get(stream_ref as usize) else { continue };
            let Some(range) = window.of(order, stream) else { continue };
            let start = runs.partition_point(|row| row.run.stream_ref < stream_ref);
            runs = runs.get(start..).unwrap_or_default();
            for row in runs.iter().take_while(|row| row.run.stream_ref == stream_ref) {
                if range.overlaps(row.run.min_ns, row.run.max_ns) {
                    visit(row, stream, range);
                }
            }
        }
    }

    /// Adds views of the matching runs, one per block; blocks that cannot meet the prefilter are left out.
    pub(crate) fn views(
        &self,
        segment: &Arc<Segment>,
        reads: &Arc<SegmentReads>,
        matchers: &[Matcher],
        window: &Window<'_>,
        prefilter: &Prefilter,
        views: &mut Vec<BlockView>,
    ) {
        let mut open_block = None;
        let candidates = segment_content::candidates(reads, segment, self, prefilter);
        self.each_run(segment.record.order, matchers, window, |row, stream, _| {
            if candidates.as_ref().is_some_and(|blocks| !blocks.contains(row.block as usize)) {
                return;
            }
            let run = RunView {
                stream: Arc::clone(stream),
                rows: row.run.first_row..row.run.first_row + row.run.rows,
                min_ns: row.run.min_ns,
                max_ns: row.run.max_ns,
                raw_bytes: row.run.raw_bytes,
            };
            if segment.damage.contains(row.block) {
                return;
            }
            match views.last_mut() {
                Some(view) if open_block == Some(row.block) => view.runs.push(run),
                _ => {
                    let Some(block) = self.blocks.get(row.block as usize) else { return };
                    let block = Arc::new(reads.block(segment, row.block, block));
                    let arrival = arrival(segment.record.order, row.block as usize);
                    views.push(BlockView { block, runs: vec![run], arrival });
                    open_block = Some(row.block);
                }
            }
        });
    }

    /// Adds the matching streams with entries in the window.
    pub(crate) fn streams(
        &self,
        order: u64,
        matchers: &[Matcher],
        window: &Window<'_>,
        streams: &mut BTreeMap<StreamId, Arc<Stream>>,
    ) {
        self.each_stream(order, matchers, window, |stream| {
            streams.entry(stream.id).or_insert_with(|| Arc::clone(stream));
        });
    }

    /// Adds counts over the matching runs; those at the borders of the window count in proportion.
    pub(crate) fn stats(
        &self,
        order: u64,
        matchers: &[Matcher],
        window: &Window<'_>,
        streams: &mut BTreeMap<StreamId, Arc<Stream>>,
        stats: &mut Stats,
    ) {
        self.each_run(order, matchers, window, |row, stream, range| {
            let run = &row.run;
            stats.add_run(range, run.min_ns, run.max_ns, u64::from(run.rows), run.raw_bytes);
            streams.entry(stream.id).or_insert_with(|| Arc::clone(stream));
        });
    }
}

/// Opens the stream index of a segment; `None` if it has none, as one of few streams.
fn open_stream_index(
    toc: &Toc,
    tail: &[u8],
    file_bytes: u64,
) -> std::result::Result<Option<StreamIndex>, String> {
    if !toc.has_section(SECTION_STREAM_INDEX) {
        return Ok(None);
    }
    let bytes = toc.section(SECTION_STREAM_INDEX, tail, file_bytes).map_err(|error| error.to_string())?;
    StreamIndex::open(Bytes::copy_from_slice(bytes)).map(Some).map_err(|error| error.to_string())
}

/// Reads sections of blocks from a segment file. Its `Debug` names the file.
struct SegmentSource {
    segment: Arc<Segment>,
    reads: Arc<SegmentReads>,
    /// Number of the block, and where it starts.
    block: u32,
    offset: u64,
    meta: Arc<BlockMeta>,
}

impl SegmentSource {
    fn key(&self) -> BlockKey {
        BlockKey { segment: self.segment.key, block: self.block }
    }

    /// Sees to it that the block is left out from now on.
    fn note(&self, why: &str) {
        let file = self.segment.path.display().to_string();
        if self.segment.damage.note(self.block, file, self.offset, &self.meta) {
            self.reads.damaged_blocks.inc();
            tracing::error!(
                path = %self.segment.path.display(),
                block = self.block,
                offset = self.offset,
                tenant = %self.segment.record.tenant,
                entries = self.meta.rows,
                why,
                "block damaged: queries go on without its entries; restore the file from a backup, then restart"
            );
        }
        self.reads.kept_blocks.forget_block(self.key());
    }
}

impl std::fmt::Debug for SegmentSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {}", self.segment.path.display())
    }
}

impl SectionSource for SegmentSource {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {bytes} bytes at offset {offset}: {error}"))
        };
        let file = self.reads.file(&self.segment).map_err(named)?;
        let part = file.read_part(offset, bytes as usize).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.note("the file ends before it");
            }
            named(error)
        })?;
        Ok(Bytes::from(part))
    }

    fn name(&self) -> Option<String> {
        Some(self.segment.path.display().to_string())
    }

    fn note_damage(&self, why: &str) {
        self.note(why);
    }

    fn kept(&self) -> Option<Arc<Decoded>> {
        self.reads.kept_blocks.get(self.key())
    }

    fn keep(&self, decoded: &Arc<Decoded>) {
        let is_gone = || self.segment.is_forgotten() || self.segment.damage.contains(self.block);
        self.reads.kept_blocks.keep(self.key(), decoded, is_gone);
    }
}
