//! Building a block from runs. Bytes: `schemas/block.md`.

use crate::block::Block;
use crate::block_meta::{
    BLOCK_ROWS_MAX, BlockMeta, CODEC_NUMBERS, CODEC_PLAIN, CODEC_ZSTD, RunMeta, SECTION_LENGTHS,
    SECTION_LEVEL, SECTION_LINES, SECTION_METADATA, SECTION_RAW_BYTES_MAX, SECTION_TEMPLATE_ROWS,
    SECTION_TEMPLATES, SECTION_TRIGRAMS, SECTION_TS, SECTION_VALUES, SectionMeta,
};
use crate::column::{Column, LevelColumn, MetadataColumn};
use crate::compress::{LEVEL, compress_at, compress_lines};
use crate::entries::Entries;
use crate::lines::Lines;
use crate::shred_write;
use crate::timestamps;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// How many parts of the lines tell what plain ones would take, and how many bytes each.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 16 << 10;

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

/// How the lines of a block are to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineCodec {
    /// One after the other: quick to write.
    Plain,
    /// As templates and columns, where that is smaller.
    Shredded {
        /// The level of zstd; [`LineCodec::BEST`] has the one to use unless time is free.
        level: i32,
    },
    /// As templates and columns, even where that is larger: for tests of readers.
    AlwaysShredded,
}

impl LineCodec {
    /// The smallest form at a speed of its own kind: zstd level 3 for text. Higher levels gain little, see
    /// `schemas/block.md`.
    pub const BEST: Self = Self::Shredded { level: Self::BEST_LEVEL };

    const BEST_LEVEL: i32 = 3;
}

/// How the lines of a finished block are kept, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// Plain, as asked for.
    Plain,
    /// Shredded.
    Shredded,
    /// Plain, since shredding them would have saved less than a tenth.
    TooLittleGain,
    /// Plain, since shredded they came back different: a bug of ours, to be counted and said.
    Mismatch,
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
    /// How the lines are kept.
    pub line_outcome: LineOutcome,
    /// What [`Block::token_text`] returns.
    pub token_text: Vec<u8>,
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
        let Some(run) = self.run_of(stream_ref, entries, &rows) else { return };
        self.ts_ns.extend_from_slice(&entries.ts_ns()[rows.clone()]);
        self.lines.extend(entries.lines(), rows.clone());
        self.end_run(run, entries.levels(), entries.metadata_column(), rows);
    }

    /// Adds a run of all `entries`, which are sorted. Cost: lines are moved if it is the first run, and copied otherwise.
    ///
    /// Panics: as [`BlockBuilder::push_run`].
    pub fn push_entries(&mut self, stream_ref: u32, entries: Entries) {
        let rows = 0..entries.len();
        if !self.runs.is_empty() {
            return self.push_run(stream_ref, &entries, rows);
        }
        let Some(run) = self.run_of(stream_ref, &entries, &rows) else { return };
        let (ts_ns, lines, levels, metadata) = entries.into_columns();
        (self.ts_ns, self.lines) = (ts_ns, lines);
        self.end_run(run, &levels, &metadata, rows);
    }

    /// Returns what describes the next run; `None` for no rows. Panics: as [`BlockBuilder::push_run`].
    fn run_of(&self, stream_ref: u32, entries: &Entries, rows: &Range<usize>) -> Option<RunMeta> {
        let ts_ns = &entries.ts_ns()[rows.clone()];
        let (&min_ns, &max_ns) = (ts_ns.first()?, ts_ns.last()?);
        assert!(entries.is_sorted() || ts_ns.is_sorted(), "the entries of a run are in order of time");
        let raw_bytes = entries.line_bytes_of(rows);
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
        Some(run)
    }

    /// Ends a run whose times and lines are here.
    fn end_run(&mut self, run: RunMeta, levels: &LevelColumn, metadata: &MetadataColumn, rows: Range<usize>) {
        self.levels.extend(levels, rows.clone());
        let known = self.metadata.dictionary().len();
        self.metadata.extend(metadata, rows);
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
        self.finish_with(LineCodec::Plain)
    }

    /// Encodes entries, which are sorted, as a block of one run with plain lines. Cost: as of
    /// [`BlockBuilder::finish`], without a copy of the lines; there is no text of tokens.
    ///
    /// Panics: as [`BlockBuilder::push_run`] and [`BlockBuilder::finish`].
    pub fn encode_run(stream_ref: u32, entries: &Entries) -> EncodedBlock {
        assert!(entries.is_sorted(), "the entries of a run are in order of time");
        assert!(
            entries.len() <= BLOCK_ROWS_MAX as usize,
            "a block of {} rows could not be read",
            entries.len()
        );
        let mut parts = Parts::default();
        let run = RunMeta {
            stream_ref,
            first_row: 0,
            rows: u32::try_from(entries.len()).expect("rows are within BLOCK_ROWS_MAX"),
            min_ns: entries.min_ns(),
            max_ns: entries.max_ns(),
            raw_bytes: entries.line_bytes(),
        };
        parts.put_timestamps([entries.ts_ns()].into_iter());
        parts.put_plain_lines(entries.lines());
        parts.put_columns(entries.levels(), entries.metadata_column());
        let meta = BlockMeta {
            rows: run.rows,
            raw_bytes: run.raw_bytes,
            min_ns: run.min_ns,
            max_ns: run.max_ns,
            sections: parts.sections,
        };
        let line_outcome = LineOutcome::Plain;
        EncodedBlock { bytes: parts.bytes, meta, runs: vec![run], line_outcome, token_text: Vec::new() }
    }

    /// Encodes the block, its lines in the smaller of the forms allowed.
    ///
    /// Shredded lines are decoded and compared before they are taken, and must save a tenth of what plain
    /// ones take. Cost: as [`BlockBuilder::finish`]; shredding works at 130 to 150 MB/s and takes about four times
    /// the raw size of memory. Panics: as [`BlockBuilder::finish`].
    pub fn finish_with(self, codec: LineCodec) -> EncodedBlock {
        let mut parts = Parts::default();
        let runs = self.runs.iter().map(|run| {
            let first = run.first_row as usize;
            &self.ts_ns[first..first + run.rows as usize]
        });
        parts.put_timestamps(runs);
        let (mut parts, line_outcome, token_text) = self.with_lines(parts, codec);
        parts.put_columns(&self.levels, &self.metadata);
        let meta = self.meta_of(parts.sections);
        let token_text = token_text.unwrap_or_else(|| self.lines.into_text());
        EncodedBlock { bytes: parts.bytes, meta, runs: self.runs, line_outcome, token_text }
    }

    /// Encodes the block with shredded lines, whatever they gain.
    #[cfg(test)]
    pub(crate) fn finish_shredded_always(self) -> EncodedBlock {
        let mut parts = Parts::default();
        parts.put_timestamps(self.runs.iter().map(|_| self.ts_ns.as_slice()));
        let parts =
            self.with_shredded_lines(parts, LineCodec::BEST_LEVEL).and_then(|parts| self.checked(parts));
        let (parts, token_text) = parts.expect("shredded lines come back");
        let (meta, line_outcome) = (self.meta_of(parts.sections), LineOutcome::Shredded);
        EncodedBlock { bytes: parts.bytes, meta, runs: self.runs, line_outcome, token_text }
    }

    /// Adds the lines to `parts` in the smaller of the forms allowed; of shredded ones returns the text of tokens.
    fn with_lines(&self, parts: Parts, codec: LineCodec) -> (Parts, LineOutcome, Option<Vec<u8>>) {
        let level = match codec {
            LineCodec::Plain => return (self.with_plain_lines(parts), LineOutcome::Plain, None),
            LineCodec::Shredded { level } => level,
            LineCodec::AlwaysShredded => LineCodec::BEST_LEVEL,
        };
        let Some(shredded) = self.with_shredded_lines(parts.clone(), level) else {
            return (self.with_plain_lines(parts), LineOutcome::TooLittleGain, None);
        };
        let is_new = |section: &&SectionMeta| section.offset as usize >= parts.bytes.len();
        let sections = shredded.sections.iter().filter(is_new);
        // What helps a search is not weighed: it belongs to the form.
        let lines = sections.filter(|section| section.kind != SECTION_TRIGRAMS);
        let bytes: usize = lines.map(|section| section.bytes as usize).sum();
        if codec != LineCodec::AlwaysShredded && !self.is_surely_less(bytes) {
            let start = parts.bytes.len();
            let plain = self.with_plain_lines(parts);
            let plain_bytes = plain.bytes.len() - start;
            if bytes >= plain_bytes - plain_bytes / 10 {
                return (plain, LineOutcome::TooLittleGain, None);
            }
            return match self.checked(shredded) {
                Some((shredded, text)) => (shredded, LineOutcome::Shredded, Some(text)),
                None => (plain, LineOutcome::Mismatch, None),
            };
        }
        match self.checked(shredded) {
            Some((shredded, text)) => (shredded, LineOutcome::Shredded, Some(text)),
            None => (self.with_plain_lines(parts), LineOutcome::Mismatch, None),
        }
    }

    fn with_plain_lines(&self, mut parts: Parts) -> Parts {
        parts.put_plain_lines(&self.lines);
        parts
    }

    /// Returns whether so many bytes are so few that plain lines are not worth encoding to compare them.
    ///
    /// Judged by samples of the lines, which compress less well than all of them, hence with a wide margin.
    fn is_surely_less(&self, bytes: usize) -> bool {
        let text = self.lines.text();
        let stride = text.len() / SAMPLES;
        if stride < SAMPLE_BYTES * 4 {
            return false;
        }
        let sample: Vec<u8> =
            text.chunks(stride).flat_map(|part| &part[..part.len().min(SAMPLE_BYTES)]).copied().collect();
        let frame = compress_at(LEVEL, &sample).map_or(sample.len(), |frame| frame.len());
        // The text is some thirty times the sample, and both are far from 2^32 bytes.
        bytes as u64 * sample.len() as u64 * 3 < frame as u64 * text.len() as u64 * 2
    }

    /// Adds the shredded lines to `parts`; `None` if they cannot be shredded.
    fn with_shredded_lines(&self, mut parts: Parts, level: i32) -> Option<Parts> {
        let shredded = shred_write::encode(&self.lines, &self.ts_ns, level)?;
        parts.put(SECTION_TEMPLATES, level, &shredded.head);
        parts.put(SECTION_TEMPLATE_ROWS, level, &shredded.rows);
        parts.put_plain(SECTION_VALUES, &shredded.data);
        if !shredded.trigrams.is_empty() {
            parts.put_plain(SECTION_TRIGRAMS, &shredded.trigrams);
        }
        Some(parts)
    }

    /// Returns the sections if the lines in them come back as they are, and the text of their tokens.
    fn checked(&self, parts: Parts) -> Option<(Parts, Vec<u8>)> {
        let meta = self.meta_of(parts.sections.clone());
        let bytes = Bytes::from(parts.bytes);
        let block = Block::open(Arc::new(meta), Arc::new(bytes.clone()), 0);
        let is_same = block.lines().is_ok_and(|lines| *lines == self.lines);
        let token_text = block.token_text().ok().filter(|_| is_same)?.into_owned();
        drop(block);
        Some((Parts { bytes: bytes.into(), sections: parts.sections }, token_text))
    }

    fn meta_of(&self, sections: Vec<SectionMeta>) -> BlockMeta {
        BlockMeta {
            rows: self.rows(),
            raw_bytes: self.lines.line_bytes_total(),
            min_ns: self.runs.iter().map(|run| run.min_ns).min().unwrap_or(i64::MAX),
            max_ns: self.runs.iter().map(|run| run.max_ns).max().unwrap_or(i64::MIN),
            sections,
        }
    }
}

#[cfg(test)]
impl EncodedBlock {
    /// Returns the block with all its sections stored as they are; frames inside stay compressed.
    pub(crate) fn with_plain_sections(&self) -> Self {
        let mut parts = Parts::default();
        for section in &self.meta.sections {
            let start = section.offset as usize;
            let stored = &self.bytes[start..start + section.bytes as usize];
            let raw = match section.codec {
                CODEC_ZSTD => crate::compress::decompress("x", stored, section.raw_bytes as usize),
                _ => Ok(stored.to_vec()),
            };
            parts.put_plain(section.kind, &raw.expect("a section of our own"));
        }
        let meta = BlockMeta { sections: parts.sections, ..self.meta.clone() };
        let (runs, line_outcome) = (self.runs.clone(), self.line_outcome);
        Self { bytes: parts.bytes, meta, runs, line_outcome, token_text: self.token_text.clone() }
    }
}

/// Sections laid end to end, and their descriptions.
#[derive(Clone, Debug, Default)]
struct Parts {
    bytes: Vec<u8>,
    sections: Vec<SectionMeta>,
}

impl Parts {
    fn put_plain_lines(&mut self, lines: &Lines) {
        let mut lengths = Vec::with_capacity(lines.rows() * 2);
        lines.encode_lengths(&mut lengths);
        self.put(SECTION_LENGTHS, LEVEL, &lengths);
        self.put_packed(SECTION_LINES, lines.text(), compress_lines(lines.text()));
    }

    fn put_columns(&mut self, levels: &LevelColumn, metadata: &MetadataColumn) {
        if !levels.is_all_none() {
            self.put_column(SECTION_LEVEL, levels);
        }
        if !metadata.is_all_none() {
            self.put_column(SECTION_METADATA, metadata);
        }
    }

    fn put_column<T: crate::ColumnValue + ?Sized>(&mut self, kind: u8, column: &Column<T>) {
        let mut raw = Vec::new();
        column.encode(&mut raw);
        self.put(kind, LEVEL, &raw);
    }

    /// Adds the section of timestamps, in the smallest of its forms.
    fn put_timestamps<'a>(&mut self, runs: impl ExactSizeIterator<Item = &'a [i64]> + Clone) {
        let mut raw = Vec::new();
        timestamps::encode(runs.clone(), &mut raw);
        let frame = compress_at(LEVEL, &raw);
        let smallest = frame.as_ref().map_or(raw.len(), Vec::len);
        match timestamps::encode_numbers(runs, LEVEL) {
            Some(numbers) if numbers.len() < smallest => {
                self.put_stored(SECTION_TS, CODEC_NUMBERS, numbers.len(), &numbers);
            }
            _ => match frame {
                Some(frame) => self.put_stored(SECTION_TS, CODEC_ZSTD, raw.len(), &frame),
                None => self.put_plain(SECTION_TS, &raw),
            },
        }
    }

    /// Adds a section, compressed if that makes it smaller.
    fn put(&mut self, kind: u8, level: i32, raw: &[u8]) {
        self.put_packed(kind, raw, compress_at(level, raw));
    }

    /// Adds a section as its frame, if it has one.
    fn put_packed(&mut self, kind: u8, raw: &[u8], frame: Option<Vec<u8>>) {
        match frame {
            Some(frame) => self.put_stored(kind, CODEC_ZSTD, raw.len(), &frame),
            None => self.put_plain(kind, raw),
        }
    }

    fn put_plain(&mut self, kind: u8, raw: &[u8]) {
        self.put_stored(kind, CODEC_PLAIN, raw.len(), raw);
    }

    fn put_stored(&mut self, kind: u8, codec: u8, raw_bytes: usize, stored: &[u8]) {
        let raw_bytes = u32::try_from(raw_bytes).unwrap_or(u32::MAX);
        assert!(raw_bytes <= SECTION_RAW_BYTES_MAX, "section {kind} of {raw_bytes} bytes could not be read");
        self.sections.push(SectionMeta {
            kind,
            codec,
            offset: u32::try_from(self.bytes.len()).expect("a block takes less than 4 GiB"),
            bytes: u32::try_from(stored.len()).expect("not larger than the raw bytes"),
            raw_bytes,
            crc32c: crc32c::crc32c(stored),
        });
        self.bytes.extend_from_slice(stored);
    }
}
