//! Building a block from runs. Bytes: `schemas/block.md`.

use crate::block_meta::{
    BLOCK_ROWS_MAX, BlockMeta, CODEC_PLAIN, CODEC_ZSTD, RunMeta, SECTION_LENGTHS, SECTION_LEVEL,
    SECTION_LINES, SECTION_METADATA, SECTION_RAW_BYTES_MAX, SECTION_TS, SectionMeta,
};
use crate::column::{Column, LevelColumn, MetadataColumn};
use crate::compress::compress;
use crate::entries::Entries;
use crate::lines::Lines;
use crate::timestamps;
use std::ops::Range;

/// Collects runs into one block. Cost: one copy of the lines; compression at the end.
#[derive(Clone, Debug, Default)]
pub struct BlockBuilder {
    ts_ns: Vec<i64>,
    lines: Lines,
    levels: LevelColumn,
    metadata: MetadataColumn,
    /// Bytes of the distinct metadata.
    metadata_bytes: u64,
    runs: Vec<RunMeta>,
}

/// A finished block: its bytes, and what the segment's tables keep of it.
#[derive(Clone, Debug)]
pub struct EncodedBlock {
    /// The sections, end to end.
    pub bytes: Vec<u8>,
    /// Sizes, bounds and the places of the sections.
    pub meta: BlockMeta,
    /// The runs, in the order in which they were pushed.
    pub runs: Vec<RunMeta>,
}

impl BlockBuilder {
    /// Returns a builder without runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a run: the `rows` of `entries`, which are sorted. No rows are no run.
    ///
    /// Callers keep blocks small, up to 2 MiB raw or one line. Panics: if the rows are not in order of
    /// time or not there, or if the block passes what readers accept.
    pub fn push_run(&mut self, stream_ref: u32, entries: &Entries, rows: Range<usize>) {
        let ts_ns = &entries.ts_ns()[rows.clone()];
        let (Some(&min_ns), Some(&max_ns)) = (ts_ns.first(), ts_ns.last()) else { return };
        assert!(entries.is_sorted() || ts_ns.is_sorted(), "the entries of a run are in order of time");
        let raw_bytes = entries.line_bytes_of(&rows);
        let run = RunMeta {
            stream_ref,
            first_row: self.rows(),
            rows: u32::try_from(rows.len()).expect("rows are counted in 32 bits"),
            min_ns,
            max_ns,
            raw_bytes,
        };
        let rows_after = self.ts_ns.len() + rows.len();
        assert!(rows_after <= BLOCK_ROWS_MAX as usize, "a block of {rows_after} rows could not be read");
        let text_after = self.lines.text().len() as u64 + raw_bytes + rows.len() as u64;
        assert!(
            text_after <= u64::from(SECTION_RAW_BYTES_MAX),
            "lines of {text_after} bytes could not be read"
        );
        self.ts_ns.extend_from_slice(ts_ns);
        self.lines.extend(entries.lines(), rows.clone());
        self.levels.extend(entries.levels(), rows.clone());
        let known = self.metadata.dictionary().len();
        self.metadata.extend(entries.metadata_column(), rows);
        let new = self.metadata.dictionary().iter().skip(known);
        self.metadata_bytes += new.map(|set| set.text_bytes() as u64).sum::<u64>();
        self.runs.push(run);
    }

    /// Returns the bytes of the lines and of the distinct metadata so far: what says that a block is full.
    pub fn raw_bytes(&self) -> u64 {
        self.lines.line_bytes_total() + self.metadata_bytes
    }

    /// Returns the lines so far, each followed by `\n`.
    pub fn text(&self) -> &[u8] {
        self.lines.text()
    }

    /// Returns the number of rows so far.
    pub fn rows(&self) -> u32 {
        u32::try_from(self.ts_ns.len()).expect("rows are within BLOCK_ROWS_MAX")
    }

    /// Encodes the block. Cost: compresses everything; scratch memory of about the raw size.
    ///
    /// Panics: if a column of metadata passes what readers accept.
    pub fn finish(self) -> EncodedBlock {
        let mut bytes = Vec::new();
        let mut sections = Vec::new();
        let mut scratch = Vec::new();
        let runs = self.runs.iter().map(|run| {
            let first = run.first_row as usize;
            &self.ts_ns[first..first + run.rows as usize]
        });
        timestamps::encode(runs, &mut scratch);
        sections.push(put_section(&mut bytes, SECTION_TS, &scratch));
        scratch.clear();
        self.lines.encode_lengths(&mut scratch);
        sections.push(put_section(&mut bytes, SECTION_LENGTHS, &scratch));
        sections.push(put_section(&mut bytes, SECTION_LINES, self.lines.text()));
        if !self.levels.is_all_none() {
            sections.push(put_column(&mut bytes, SECTION_LEVEL, &self.levels));
        }
        if !self.metadata.is_all_none() {
            sections.push(put_column(&mut bytes, SECTION_METADATA, &self.metadata));
        }
        let meta = BlockMeta {
            rows: self.rows(),
            raw_bytes: self.lines.line_bytes_total(),
            min_ns: self.runs.iter().map(|run| run.min_ns).min().unwrap_or(i64::MAX),
            max_ns: self.runs.iter().map(|run| run.max_ns).max().unwrap_or(i64::MIN),
            sections,
        };
        EncodedBlock { bytes, meta, runs: self.runs }
    }
}

fn put_column<T: crate::ColumnValue + ?Sized>(
    out: &mut Vec<u8>,
    kind: u8,
    column: &Column<T>,
) -> SectionMeta {
    let mut raw = Vec::new();
    column.encode(&mut raw);
    put_section(out, kind, &raw)
}

fn put_section(out: &mut Vec<u8>, kind: u8, raw: &[u8]) -> SectionMeta {
    let raw_bytes = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    assert!(raw_bytes <= SECTION_RAW_BYTES_MAX, "section {kind} of {raw_bytes} bytes could not be read");
    let frame = compress(raw);
    let (codec, stored) = match &frame {
        Some(frame) => (CODEC_ZSTD, frame.as_slice()),
        None => (CODEC_PLAIN, raw),
    };
    let section = SectionMeta {
        kind,
        codec,
        offset: u32::try_from(out.len()).expect("a block takes less than 4 GiB"),
        bytes: u32::try_from(stored.len()).expect("not larger than the raw bytes"),
        raw_bytes,
        crc32c: crc32c::crc32c(stored),
    };
    out.extend_from_slice(stored);
    section
}
