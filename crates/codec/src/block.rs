//! A block, decoded section by section as a query asks. Bytes: `schemas/block.md`.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block_meta::{
    BLOCK_ROWS_MAX, BlockMeta, CODEC_NUMBERS, CODEC_PLAIN, CODEC_ZSTD, SECTION_LENGTHS, SECTION_LEVEL,
    SECTION_LINES, SECTION_METADATA, SECTION_RAW_BYTES_MAX, SECTION_TEMPLATE_ROWS, SECTION_TEMPLATES,
    SECTION_TS, SECTION_VALUES, SectionMeta,
};
use crate::column::{Column, ColumnValue, LevelColumn, MetadataColumn};
use crate::compress::decompress;
use crate::cursor::Cursor;
use crate::entries::Entries;
use crate::error::Error;
use crate::lines::Lines;
use crate::needles::Needles;
use crate::shredded::Shredded;
use crate::timestamps;
use bytes::Bytes;
use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Where the bytes of a block come from: memory, or a segment file.
pub trait SectionSource: Send + Sync + Debug {
    /// Reads `bytes` bytes from `offset`. Blocks.
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes>;

    /// Returns the name of the file that the bytes lie in, for errors; `None` if they lie in memory.
    fn name(&self) -> Option<String> {
        None
    }

    /// Is told that bytes it gave fail their checksum; the error goes to the caller all the same.
    fn note_damage(&self, _why: &str) {}

    /// Returns what is kept decoded of the block that it was made for.
    fn kept(&self) -> Option<Arc<Decoded>> {
        None
    }

    /// Is given what has been decoded of its block, when a handle that shares it goes, and may keep it.
    fn keep(&self, _decoded: &Arc<Decoded>) {}
}

impl SectionSource for Bytes {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(bytes as usize));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.len() => Ok(self.slice(start..end)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The sections of a block that have been decoded so far, without where they came from.
///
/// Handles that share it add to it. It never holds the lines of a shredded block: those are rebuilt for one reader,
/// and take more than all that they are made of.
#[derive(Debug, Default)]
pub struct Decoded {
    ts_ns: OnceLock<Vec<i64>>,
    ends: OnceLock<Vec<u32>>,
    lines: OnceLock<Lines>,
    shredded: OnceLock<Shredded>,
    levels: OnceLock<LevelColumn>,
    metadata: OnceLock<MetadataColumn>,
}

impl Decoded {
    /// Returns about how much memory all of it takes.
    pub fn heap_bytes(&self) -> usize {
        self.ts_ns.get().map_or(0, |ts_ns| ts_ns.len() * 8)
            + self.ends.get().map_or(0, |ends| ends.len() * 4)
            + self.lines.get().map_or(0, Lines::heap_bytes)
            + self.shredded.get().map_or(0, Shredded::heap_bytes)
            + self.levels.get().map_or(0, Column::heap_bytes)
            + self.metadata.get().map_or(0, Column::heap_bytes)
    }
}

/// A block whose sections are read, checked and decoded at their first use, then kept.
///
/// Shared between threads; two that ask at once may both decode, and one result is kept. Errors are not
/// kept, and name the file that the block lies in. Panics: never, on whatever bytes.
pub struct Block {
    meta: Arc<BlockMeta>,
    /// Absent for entries that were never encoded.
    source: Option<(Arc<dyn SectionSource>, u64)>,
    /// Had from the source at the first need, if the handle shares it; with how much was decoded then.
    decoded: OnceLock<(Arc<Decoded>, usize)>,
    /// The lines of a shredded block, if all were asked for.
    rebuilt: OnceLock<Lines>,
    is_shared: bool,
}

impl Block {
    /// Opens a block that starts at `base_offset` of `source`. Cost: reads nothing yet.
    pub fn open(meta: Arc<BlockMeta>, source: Arc<dyn SectionSource>, base_offset: u64) -> Self {
        let (decoded, rebuilt) = (OnceLock::new(), OnceLock::new());
        Self { meta, source: Some((source, base_offset)), decoded, rebuilt, is_shared: false }
    }

    /// Makes a decoded block of one run from sorted entries, without a copy.
    pub fn from_entries(entries: Entries) -> Self {
        debug_assert!(entries.is_sorted(), "the rows of a run are in time order");
        let meta = BlockMeta {
            rows: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            raw_bytes: entries.line_bytes(),
            min_ns: entries.min_ns(),
            max_ns: entries.max_ns(),
            sections: Vec::new(),
        };
        let (ts_ns, lines, levels, metadata) = entries.into_columns();
        let decoded = Decoded {
            ts_ns: ts_ns.into(),
            ends: OnceLock::new(),
            lines: lines.into(),
            shredded: OnceLock::new(),
            levels: levels.into(),
            metadata: metadata.into(),
        };
        let (decoded, rebuilt) = (OnceLock::from((Arc::new(decoded), 0)), OnceLock::new());
        Self { meta: Arc::new(meta), source: None, decoded, rebuilt, is_shared: false }
    }

    /// Returns a handle of the same block with nothing decoded, so that what is decoded through it goes
    /// with it; of entries that were never encoded the handle itself. Cost: reads nothing.
    pub fn fresh(self: &Arc<Self>) -> Arc<Self> {
        match &self.source {
            Some((source, base_offset)) => {
                Arc::new(Self::open(Arc::clone(&self.meta), Arc::clone(source), *base_offset))
            }
            None => Arc::clone(self),
        }
    }

    /// Returns a handle of the same block with as much decoded as its source has kept, which it is asked for at the first
    /// need. What is decoded through the handle is given to the source in the end. Cost: as [`Block::fresh`].
    pub fn shared(self: &Arc<Self>) -> Arc<Self> {
        let Some((source, base_offset)) = &self.source else { return Arc::clone(self) };
        Arc::new(Self {
            meta: Arc::clone(&self.meta),
            source: Some((Arc::clone(source), *base_offset)),
            decoded: OnceLock::new(),
            rebuilt: OnceLock::new(),
            is_shared: true,
        })
    }

    /// Returns the description of the block.
    pub fn meta(&self) -> &Arc<BlockMeta> {
        &self.meta
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.meta.rows
    }

    /// Returns the timestamp of each row; ascending within each run.
    pub fn timestamps(&self) -> Result<&[i64], Error> {
        let decoded = self.get_or_decode(&self.decoded().ts_ns, || {
            let rows = self.row_count()?;
            match self.meta.section(SECTION_TS) {
                Some(section) if section.codec == CODEC_NUMBERS => {
                    let (offset, bytes) = (section.offset.into(), section.bytes);
                    let stored = self.read_stored(offset, bytes, section.crc32c, "timestamps")?;
                    timestamps::decode_numbers(&stored, rows)
                }
                _ => timestamps::decode(&self.required(SECTION_TS, "timestamps")?, rows),
            }
        })?;
        Ok(decoded)
    }

    /// Returns where each line ends, as [`Lines::ends`] does, without touching the text.
    pub fn line_ends(&self) -> Result<&[u32], Error> {
        if let Some(lines) = self.rebuilt.get().or_else(|| self.decoded().lines.get()) {
            return Ok(lines.ends());
        }
        let decoded = self.get_or_decode(&self.decoded().ends, || match self.shredded()? {
            Some(shredded) => shredded.line_ends(self),
            None => self.decode_ends(),
        })?;
        Ok(decoded)
    }

    /// Returns the lines. Cost: of shredded ones, rebuilds them all; see [`Block::rows_with`] and
    /// [`Block::line_into`] for what does not. Columns are kept only if something else asked for them before.
    pub fn lines(&self) -> Result<&Lines, Error> {
        if self.is_shredded() {
            return self.get_or_decode(&self.rebuilt, || match self.decoded().shredded.get() {
                Some(shredded) => shredded.lines(self, self.meta.raw_bytes),
                None => self.decode_shredded()?.lines(self, self.meta.raw_bytes),
            });
        }
        self.get_or_decode(&self.decoded().lines, || {
            let ends = match self.decoded().ends.get() {
                Some(ends) => ends.clone(),
                None => self.decode_ends()?,
            };
            Lines::from_parts(self.required(SECTION_LINES, "lines")?, ends)
        })
    }

    /// Returns whether the lines are kept as templates and columns.
    pub fn is_shredded(&self) -> bool {
        self.meta.is_shredded()
    }

    /// Appends to `out` those of `rows` whose line holds one of the texts, ascending.
    ///
    /// A text is found wherever it stands in a line, as in [`Lines::rows_with`]; the empty one is in every
    /// line. Cost: on shredded lines decodes only the columns that one of the texts may stand in; what these
    /// needles are found in is kept, so that other rows cost nothing more. `rows` beyond the last are ignored.
    pub fn rows_with(
        &self,
        needles: &Needles<'_>,
        rows: Range<u32>,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let rows = rows.start.min(self.rows())..rows.end.min(self.rows());
        match self.unbuilt_lines()? {
            Some(_) if needles.are_empty() => out.extend(rows),
            Some(shredded) => {
                let found = shredded.search(self, needles, &rows).map_err(|error| self.located(error))?;
                found.push_rows(&rows, out);
            }
            None => self.lines()?.rows_with(needles, rows, out),
        }
        Ok(())
    }

    /// Returns how many of `rows` hold one of the texts. Cost: as [`Block::rows_with`].
    pub fn count_with(&self, needles: &Needles<'_>, rows: Range<u32>) -> Result<u32, Error> {
        let rows = rows.start.min(self.rows())..rows.end.min(self.rows());
        if let Some(shredded) = self.unbuilt_lines()?
            && !needles.are_empty()
        {
            let found = shredded.search(self, needles, &rows).map_err(|error| self.located(error))?;
            return Ok(found.count(&rows));
        }
        let mut found = Vec::new();
        self.rows_with(needles, rows, &mut found)?;
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }

    /// Appends the line of a row to `out`. Appends nothing if there is no such row.
    ///
    /// Cost: of shredded lines decodes the columns of this line's template, and keeps them.
    pub fn line_into(&self, row: u32, out: &mut Vec<u8>) -> Result<(), Error> {
        if row >= self.rows() {
            return Ok(());
        }
        match self.unbuilt_lines()? {
            Some(shredded) => shredded.push_line(self, row, out).map_err(|error| self.located(error)),
            None => {
                out.extend_from_slice(self.lines()?.get(row));
                Ok(())
            }
        }
    }

    /// Returns what is decoded so far.
    fn decoded(&self) -> &Decoded {
        let (decoded, _) = self.decoded.get_or_init(|| {
            let source = self.source.as_ref().filter(|_| self.is_shared);
            let decoded = source.and_then(|(source, _)| source.kept()).unwrap_or_default();
            let bytes = decoded.heap_bytes();
            (decoded, bytes)
        });
        decoded
    }

    /// Returns the shredded form of the lines; `None` if they are plain.
    pub(crate) fn shredded(&self) -> Result<Option<&Shredded>, Error> {
        if !self.is_shredded() {
            return Ok(None);
        }
        self.get_or_decode(&self.decoded().shredded, || self.decode_shredded()).map(Some)
    }

    fn decode_shredded(&self) -> Result<Shredded, Error> {
        let templates = self.required(SECTION_TEMPLATES, "templates")?;
        let template_rows = self.required(SECTION_TEMPLATE_ROWS, "template rows")?;
        let Some(values) = self.meta.section(SECTION_VALUES) else {
            return Err(Error::corrupt("values", format!("the block has no section {SECTION_VALUES}")));
        };
        Shredded::decode(&templates, &template_rows, *values, self.row_count()?)
    }

    /// Returns the shredded form of lines that have not been rebuilt.
    fn unbuilt_lines(&self) -> Result<Option<&Shredded>, Error> {
        if self.rebuilt.get().is_some() { Ok(None) } else { self.shredded() }
    }

    /// Returns the levels.
    pub fn levels(&self) -> Result<&LevelColumn, Error> {
        self.get_or_decode(&self.decoded().levels, || self.decode_column(SECTION_LEVEL, "levels"))
    }

    /// Returns the structured metadata.
    pub fn metadata(&self) -> Result<&MetadataColumn, Error> {
        self.get_or_decode(&self.decoded().metadata, || self.decode_column(SECTION_METADATA, "metadata"))
    }

    /// Returns whether lines, or parts of them, have been decoded from their compressed form.
    pub fn has_decoded_lines(&self) -> bool {
        let is_decoded =
            |decoded: &Decoded| decoded.lines.get().is_some() || decoded.shredded.get().is_some();
        self.source.is_some()
            && (self.rebuilt.get().is_some() || self.decoded.get().is_some_and(|(all, _)| is_decoded(all)))
    }

    /// Returns about how much memory the sections decoded so far take.
    pub fn heap_bytes(&self) -> usize {
        let decoded = self.decoded.get().map_or(0, |(decoded, _)| decoded.heap_bytes());
        decoded + self.rebuilt.get().map_or(0, Lines::heap_bytes)
    }

    /// Returns how much of [`Block::heap_bytes`] is shared with other handles; 0 unless it is one that shares.
    pub fn shared_bytes(&self) -> usize {
        let decoded = self.decoded.get().filter(|_| self.is_shared);
        decoded.map_or(0, |(decoded, _)| decoded.heap_bytes())
    }

    /// Returns how much of [`Block::heap_bytes`] was decoded since the handle was made, by other handles too if it
    /// shares with them.
    pub fn new_bytes(&self) -> usize {
        self.heap_bytes().saturating_sub(self.decoded.get().map_or(0, |(_, before)| *before))
    }

    fn get_or_decode<'a, T>(
        &self,
        slot: &'a OnceLock<T>,
        decode: impl FnOnce() -> Result<T, Error>,
    ) -> Result<&'a T, Error> {
        if let Some(decoded) = slot.get() {
            return Ok(decoded);
        }
        let decoded = decode().map_err(|error| self.located(error))?;
        Ok(slot.get_or_init(|| decoded))
    }

    /// Names the file in an error, if the block lies in one.
    pub(crate) fn located(&self, error: Error) -> Error {
        let Some((source, base_offset)) = &self.source else { return error };
        match source.name() {
            Some(name) => error.located(&format!("the block at offset {base_offset} of {name}")),
            None => error,
        }
    }

    fn decode_ends(&self) -> Result<Vec<u32>, Error> {
        let raw = self.required(SECTION_LENGTHS, "lengths")?;
        let mut cursor = Cursor::new("lengths", &raw);
        let ends = Lines::decode_ends(&mut cursor, self.row_count()?)?;
        cursor.finish()?;
        Ok(ends)
    }

    fn decode_column<T: ColumnValue + ?Sized>(
        &self,
        kind: u8,
        what: &'static str,
    ) -> Result<Column<T>, Error> {
        let rows = self.row_count()?;
        let Some(section) = self.meta.section(kind) else { return Ok(Column::all_none(rows)) };
        let raw = self.read(section, what)?;
        let mut cursor = Cursor::new(what, &raw);
        let column = Column::decode(&mut cursor, rows)?;
        cursor.finish()?;
        Ok(column)
    }

    fn row_count(&self) -> Result<usize, Error> {
        let (got, limit) = (u64::from(self.meta.rows), u64::from(BLOCK_ROWS_MAX));
        if got > limit {
            return Err(Error::Limited { what: "block".into(), unit: "rows", got, limit });
        }
        Ok(self.meta.rows as usize)
    }

    fn required(&self, kind: u8, what: &'static str) -> Result<Vec<u8>, Error> {
        match self.meta.section(kind) {
            Some(section) => self.read(section, what),
            None => Err(Error::corrupt(what, format!("the block has no section {kind}"))),
        }
    }

    /// Reads a section that may be absent.
    pub(crate) fn section_if_any(&self, kind: u8, what: &'static str) -> Result<Option<Vec<u8>>, Error> {
        self.meta.section(kind).map(|section| self.read(section, what)).transpose()
    }

    /// Reads a part of a section that has a checksum of its own; the part's offset is from the section's start.
    pub(crate) fn read_part(
        &self,
        section: &SectionMeta,
        offset: u32,
        bytes: u32,
        crc32c: u32,
    ) -> Result<Bytes, Error> {
        if u64::from(offset) + u64::from(bytes) > u64::from(section.bytes) {
            return Err(Error::corrupt("values", "a part lies beyond its section"));
        }
        self.read_stored(u64::from(section.offset) + u64::from(offset), bytes, crc32c, "values")
    }

    /// Reads bytes from an offset in the block, and checks them.
    fn read_stored(&self, offset: u64, bytes: u32, want: u32, what: &'static str) -> Result<Bytes, Error> {
        let Some((source, base_offset)) = &self.source else {
            return Err(Error::corrupt(what, "the block was never encoded"));
        };
        let offset = base_offset.saturating_add(offset);
        let stored =
            source.read(offset, bytes).map_err(|source| Error::Read { what: what.into(), source })?;
        let got = crc32c::crc32c(&stored);
        if got != want {
            let why = format!("checksum mismatch at offset {offset} (want {want:08x}, got {got:08x})");
            source.note_damage(&why);
            return Err(Error::corrupt(what, why));
        }
        Ok(stored)
    }

    /// Reads a section, checks its checksum and decompresses it.
    fn read(&self, section: &SectionMeta, what: &'static str) -> Result<Vec<u8>, Error> {
        if section.raw_bytes > SECTION_RAW_BYTES_MAX {
            let (got, limit) = (section.raw_bytes.into(), SECTION_RAW_BYTES_MAX.into());
            return Err(Error::Limited { what: what.into(), unit: "raw bytes", got, limit });
        }
        let stored = self.read_stored(section.offset.into(), section.bytes, section.crc32c, what)?;
        match section.codec {
            CODEC_ZSTD => decompress(what, &stored, section.raw_bytes as usize),
            CODEC_PLAIN if stored.len() == section.raw_bytes as usize => Ok(stored.to_vec()),
            CODEC_PLAIN => {
                let why = format!("want {} raw bytes, got {}", section.raw_bytes, stored.len());
                Err(Error::corrupt(what, why))
            }
            codec => {
                let why = format!("unknown codec {codec}; upgrade the reader");
                Err(Error::Invalid { what: what.into(), why })
            }
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let (true, Some((source, _)), Some((decoded, _))) =
            (self.is_shared, &self.source, self.decoded.get())
        {
            source.keep(decoded);
        }
    }
}

impl Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("meta", &self.meta)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
