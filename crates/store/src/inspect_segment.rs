//! A look at a segment file that stops at nothing: every part is checked by itself, within bounded memory.
//!
//! [`check_segment`](crate::inspect::check_segment) answers whether a file in memory is good; this reads from the
//! disk, block by block, and lists all faults, so that one can tell what is left of a damaged file.

use crate::error::{Error, Kind, Result};
use crate::inspect::{check_block, check_lineage, check_stream_index, check_totals};
use crate::segment_format::{
    HEADER_BYTES, Header, SECTION_BLOCKS, SECTION_IDS, SECTION_LINEAGE, SECTION_RUNS, SECTION_STREAM_INDEX,
    SECTION_STREAMS, SECTION_WORDS, Toc, TocSection,
};
use crate::segment_tables::{BlockRow, SegmentTables};
use bytes::Bytes;
use logyard_codec::{BlockMeta, SectionMeta, SectionSource};
use logyard_sys::{Disk, ReadFile};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes read from the end of a file at first; the table of contents takes some hundred.
const TOC_READ_BYTES: u64 = 64 << 10;

/// Longest index area that is read at once, as when a segment is opened.
const TAIL_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a section that are checked at a time.
const CHECK_BYTES: usize = 1 << 20;

/// How much of a segment a fault takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing in the file can be answered.
    Segment,
    /// The entries of one block cannot be answered.
    Block,
    /// No entry is harmed: an index or the header is, and queries are slower at most.
    Index,
    /// A newer version wrote the file; that version can read it.
    Newer,
}

/// A part of a segment file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentFault {
    /// What it costs.
    pub severity: Severity,
    /// The part: `header`, `table of contents`, `section runs`, `block 7`.
    pub part: String,
    /// Where the part starts in the file.
    pub offset: u64,
    /// Entries that cannot be answered because of it, as far as that is known.
    pub entries: u64,
    /// What was found.
    pub why: String,
}

/// A section of the index area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionReport {
    /// Its name, or its number if it is unknown here.
    pub name: String,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// A section of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockSectionReport {
    /// Its name, or its number if it is unknown here.
    pub name: String,
    /// Bytes as stored.
    pub bytes: u32,
    /// Bytes decompressed.
    pub raw_bytes: u32,
}

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockReport {
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes as stored.
    pub bytes: u32,
    /// Number of entries.
    pub entries: u32,
    /// Number of streams with entries in it.
    pub runs: u64,
    /// Bytes of its lines.
    pub raw_bytes: u64,
    /// Time of the earliest entry.
    pub min_ns: i64,
    /// Time of the latest entry.
    pub max_ns: i64,
    /// Its parts.
    pub sections: Vec<BlockSectionReport>,
}

/// What a segment file says of itself, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Length of the file.
    pub bytes: u64,
    /// The segment's name; empty if the header cannot be read, like the next three.
    pub ulid: String,
    /// UTC day as `YYYYMMDD`.
    pub day: String,
    /// Retention class.
    pub class: String,
    /// 0 after a flush.
    pub level: u16,
    /// Version of the program that wrote the file; empty if the table of contents cannot be read.
    pub writer: String,
    /// Number of streams.
    pub streams: u64,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of all lines.
    pub raw_bytes: u64,
    /// Time of the earliest entry.
    pub min_ns: i64,
    /// Time of the latest entry.
    pub max_ns: i64,
    /// Place in order of arrival.
    pub order: u64,
    /// Last WAL record whose entries it may hold.
    pub wal_done: u64,
    /// Names of the segments that it was compacted from.
    pub sources: Vec<String>,
    /// The parts of the index area.
    pub sections: Vec<SectionReport>,
    /// The blocks in the order of the file.
    pub blocks: Vec<BlockReport>,
    /// What is damaged; empty for a good file.
    pub faults: Vec<SegmentFault>,
}

/// Reads sections of blocks from an open file. Has no name, so that errors tell the offset alone.
#[derive(Debug)]
struct FileSource(Arc<dyn ReadFile>);

impl SectionSource for FileSource {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        let mut buffer = vec![0; bytes as usize];
        self.0.read_exact_at(&mut buffer, offset)?;
        Ok(Bytes::from(buffer))
    }
}

/// Looks at a segment file; `is_deep` decodes every block too. `step` is told the bytes that were gone over.
///
/// Errors: `Kind::Unavailable` if the disk fails. Damage is no error: see [`SegmentReport::faults`].
/// Cost: reads the index area into memory, and each block, one at a time.
/// Source: `schemas/segment.md`, version 1.
pub fn inspect_segment(
    disk: &dyn Disk,
    path: &Path,
    is_deep: bool,
    step: &mut dyn FnMut(u64),
) -> Result<SegmentReport> {
    let failed = |error: io::Error| Error::io("read segment", path, error);
    let file = disk.open_file(path).map_err(failed)?;
    let file_bytes = file.meta().map_err(failed)?.bytes;
    let mut report = SegmentReport { bytes: file_bytes, ..SegmentReport::default() };
    let read = |offset: u64, bytes: u64| -> Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut buffer, offset).map_err(failed)?;
        Ok(buffer)
    };
    match Header::decode(&read(0, file_bytes.min(HEADER_BYTES as u64))?) {
        Ok(header) => {
            report.ulid = ulid::Ulid::from_bytes(header.ulid).to_string();
            report.day = crate::folder::day_name(header.day);
            report.class = header.class;
            report.level = header.level;
        }
        Err(error) => report.add(Severity::Index, "header", 0, 0, &error),
    }
    let start = file_bytes.saturating_sub(TOC_READ_BYTES);
    let toc = match Toc::decode(&read(start, file_bytes - start)?, file_bytes) {
        Ok(toc) => toc,
        Err(error) => {
            report.add(Severity::Segment, "table of contents", start, 0, &error);
            return Ok(report);
        }
    };
    report.describe(&toc);
    // The footer's own numbers have no checksum: this one only readers in a hurry would use.
    let told = read(file_bytes.saturating_sub(12), 8)?;
    if told != toc.index_start().to_le_bytes() {
        let error =
            Error::corrupt(format!("does not tell the start of the index area, {}", toc.index_start()));
        report.add(Severity::Index, "footer", file_bytes.saturating_sub(20), 0, &error);
    }
    let entries = toc.totals.rows;
    let mut is_readable = true;
    for section in &toc.sections {
        let checked = check_section(&*file, section, step).map_err(failed)?;
        let Err(error) = checked else { continue };
        let severity = if section.is_required { Severity::Segment } else { Severity::Index };
        is_readable &= !section.is_required;
        let lost = if section.is_required { entries } else { 0 };
        report.add(
            severity,
            &format!("section {}", section_name(section.kind)),
            section.offset,
            lost,
            &error,
        );
    }
    let tail_start = toc.tail_start();
    if !is_readable || file_bytes - tail_start > TAIL_BYTES_MAX {
        return Ok(report);
    }
    let tail = Bytes::from(read(tail_start, file_bytes - tail_start)?);
    let tables = match SegmentTables::decode(&toc, &tail, file_bytes) {
        Ok(tables) => tables,
        Err(error) => {
            report.add(Severity::Segment, "tables", tail_start, entries, &error);
            return Ok(report);
        }
    };
    if let Err(error) = check_totals(&toc, &tables) {
        report.add(Severity::Index, "table of contents", tail_start, 0, &error);
    }
    match check_lineage(&toc, &tail, file_bytes) {
        Ok(lineage) => {
            let name = |ulid: &[u8; 16]| ulid::Ulid::from_bytes(*ulid).to_string();
            report.sources = lineage.sources.iter().map(name).collect();
        }
        Err(error) => report.add_once(SECTION_LINEAGE, tail_start, &error),
    }
    if is_deep && let Err(why) = check_stream_index(&toc, &tail, file_bytes, tables.streams.len()) {
        report.add_once(SECTION_STREAM_INDEX, tail_start, &Error::corrupt(why));
    }
    let source: Arc<dyn SectionSource> = Arc::new(FileSource(file));
    report.look_at_blocks(&tables, &source, is_deep, step);
    Ok(report)
}

impl SegmentReport {
    /// Returns whether nothing in the file can be answered.
    pub fn is_lost(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity == Severity::Segment)
    }

    fn add(&mut self, severity: Severity, part: &str, offset: u64, entries: u64, error: &Error) {
        // What a newer version wrote is not damaged.
        let is_newer = error.kind() == Kind::Invalid;
        let severity = if is_newer { Severity::Newer } else { severity };
        let entries = if is_newer { 0 } else { entries };
        self.faults.push(SegmentFault {
            severity,
            part: part.to_owned(),
            offset,
            entries,
            why: error.to_string(),
        });
    }

    /// Adds a fault of an optional section, unless its checksum was one already.
    fn add_once(&mut self, kind: u16, offset: u64, error: &Error) {
        let part = format!("section {}", section_name(kind));
        if !self.faults.iter().any(|fault| fault.part == part) {
            self.add(Severity::Index, &part, offset, 0, error);
        }
    }

    fn describe(&mut self, toc: &Toc) {
        let totals = &toc.totals;
        self.writer.clone_from(&toc.writer);
        (self.streams, self.entries, self.raw_bytes) = (totals.streams, totals.rows, totals.raw_bytes);
        (self.min_ns, self.max_ns) = (totals.min_ns, totals.max_ns);
        (self.order, self.wal_done) = (toc.order, toc.wal_done);
        let describe = |section: &TocSection| SectionReport {
            name: section_name(section.kind),
            offset: section.offset,
            bytes: section.bytes,
        };
        self.sections = toc.sections.iter().map(describe).collect();
    }

    fn look_at_blocks(
        &mut self,
        tables: &SegmentTables,
        source: &Arc<dyn SectionSource>,
        is_deep: bool,
        step: &mut dyn FnMut(u64),
    ) {
        let mut runs = tables.runs.as_slice();
        let mut end = HEADER_BYTES as u64;
        for (number, row) in (0..).zip(&tables.blocks) {
            let own = runs.partition_point(|run| run.block == number);
            let (own, rest) = runs.split_at_checked(own).unwrap_or_default();
            runs = rest;
            self.blocks.push(describe_block(row, own.len() as u64));
            let (part, entries) = (format!("block {number}"), u64::from(row.meta.rows));
            if row.offset != end {
                let error = Error::corrupt(format!("starts at offset {}, want {end}", row.offset));
                self.add(Severity::Block, &part, row.offset, entries, &error);
            } else if is_deep && let Err(error) = check_block(Arc::clone(source), row, own) {
                self.add(Severity::Block, &part, row.offset, entries, &error);
            }
            end = row.offset.saturating_add(u64::from(row.bytes));
            if is_deep {
                step(u64::from(row.bytes));
            }
        }
    }
}

/// Compares a section with its checksum, a part at a time. The outer error is the disk's.
fn check_section(
    file: &dyn ReadFile,
    section: &TocSection,
    step: &mut dyn FnMut(u64),
) -> io::Result<Result<()>> {
    let mut buffer = vec![0; CHECK_BYTES];
    let (mut done, mut crc) = (0, 0);
    while done < section.bytes {
        let want = usize::try_from(section.bytes - done).unwrap_or(usize::MAX).min(CHECK_BYTES);
        let part = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact_at(part, section.offset + done)?;
        crc = crc32c::crc32c_append(crc, part);
        done += want as u64;
        step(want as u64);
    }
    if crc == section.crc32c {
        return Ok(Ok(()));
    }
    let text = format!("checksum mismatch (want {:08x}, got {crc:08x})", section.crc32c);
    Ok(Err(Error::corrupt(text)))
}

fn describe_block(row: &BlockRow, runs: u64) -> BlockReport {
    let meta: &BlockMeta = &row.meta;
    let describe = |section: &SectionMeta| BlockSectionReport {
        name: block_section_name(section.kind),
        bytes: section.bytes,
        raw_bytes: section.raw_bytes,
    };
    BlockReport {
        offset: row.offset,
        bytes: row.bytes,
        entries: meta.rows,
        runs,
        raw_bytes: meta.raw_bytes,
        min_ns: meta.min_ns,
        max_ns: meta.max_ns,
        sections: meta.sections.iter().map(describe).collect(),
    }
}

fn section_name(kind: u16) -> String {
    match kind {
        SECTION_STREAMS => "streams",
        SECTION_RUNS => "runs",
        SECTION_BLOCKS => "blocks",
        SECTION_STREAM_INDEX => "stream index",
        SECTION_WORDS => "words",
        SECTION_IDS => "ids",
        SECTION_LINEAGE => "lineage",
        _ => return kind.to_string(),
    }
    .to_owned()
}

fn block_section_name(kind: u8) -> String {
    match kind {
        logyard_codec::SECTION_TS => "timestamps",
        logyard_codec::SECTION_LENGTHS => "lengths",
        logyard_codec::SECTION_LINES => "lines",
        logyard_codec::SECTION_LEVEL => "levels",
        logyard_codec::SECTION_METADATA => "metadata",
        logyard_codec::SECTION_TEMPLATES => "templates",
        logyard_codec::SECTION_TEMPLATE_ROWS => "template rows",
        logyard_codec::SECTION_VALUES => "values",
        logyard_codec::SECTION_TRIGRAMS => "trigrams",
        _ => return kind.to_string(),
    }
    .to_owned()
}
