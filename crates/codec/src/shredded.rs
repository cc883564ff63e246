//! Shredded lines for reading: whole, one at a time, or only what a search needs of them.
//!
//! The tables are decoded when the lines are first asked for, each column when it is first needed. A line is
//! rebuilt by copying the pieces of its template and the values of its row one after the other into one
//! buffer: nothing is allocated per line, template or column.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::block_meta::{SECTION_RAW_BYTES_MAX, SECTION_TRIGRAMS, SectionMeta};
use crate::compress::decompress;
use crate::error::Error;
use crate::lines::Lines;
use crate::shred_head::{Column, Frame, Head, Slot, Template};
use crate::shred_render::append;
use crate::shred_search::Searches;
use crate::shred_trigrams::Trigrams;
use crate::shred_values::{self, Parts, Values};
use bytes::Bytes;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const WHAT: &str = "values";

/// The lines of a block as templates and columns.
#[derive(Debug)]
pub(crate) struct Shredded {
    pub(crate) head: Head,
    pub(crate) template_of: Vec<u16>,
    /// Made when it is first needed: a search that finds nothing, or whole templates, does without.
    order: OnceLock<Order>,
    columns: Vec<OnceLock<Box<Values>>>,
    frames: Vec<OnceLock<Bytes>>,
    /// What the tables take.
    table_bytes: usize,
    /// What the columns and frames take that are decoded so far.
    decoded_bytes: AtomicUsize,
    /// The section that the frames lie in.
    section: SectionMeta,
    /// What the texts of columns cannot hold; read when a search first asks.
    trigrams: OnceLock<Trigrams>,
    pub(crate) searches: Searches,
}

/// Rows and templates.
#[derive(Debug)]
struct Order {
    /// For each row its place among the rows of its template.
    rank: Vec<u32>,
    /// All rows by template, ascending within each.
    rows_by_template: Vec<u32>,
}

impl Shredded {
    /// Decodes the tables from the sections of templates and of template rows.
    pub(crate) fn decode(
        templates: &[u8],
        template_rows: &[u8],
        section: SectionMeta,
        rows: usize,
    ) -> Result<Self, Error> {
        let mut template_of = Vec::new();
        let head = Head::decode(templates, section.bytes, |templates| {
            let (counts, all) = shred_values::decode_template_rows(template_rows, templates, rows)?;
            template_of = all;
            Ok(counts)
        })?;
        let columns = head.columns.iter().map(|_| OnceLock::new()).collect();
        let frames = head.frames.iter().map(|_| OnceLock::new()).collect();
        let table_bytes = head.heap_bytes()
            + template_of.capacity() * size_of::<u16>()
            + head.columns.len() * size_of::<OnceLock<Box<Values>>>()
            + head.frames.len() * size_of::<OnceLock<Bytes>>();
        Ok(Self {
            head,
            template_of,
            order: OnceLock::new(),
            columns,
            frames,
            table_bytes,
            decoded_bytes: AtomicUsize::new(0),
            section,
            trigrams: OnceLock::new(),
            searches: Searches::default(),
        })
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| {
            let rows = self.template_of.len();
            self.decoded_bytes.fetch_add(rows * 2 * size_of::<u32>(), Ordering::Relaxed);
            let templates = &self.head.templates;
            let mut next: Vec<usize> = templates.iter().map(|template| template.rows().start).collect();
            let mut rank = Vec::with_capacity(rows);
            let mut rows_by_template = vec![0; rows];
            for (row, &number) in (0u32..).zip(&self.template_of) {
                let number = usize::from(number);
                let (Some(place), Some(template)) = (next.get_mut(number), templates.get(number)) else {
                    continue;
                };
                rank.push(u32::try_from(*place - template.rows().start).unwrap_or(u32::MAX));
                if let Some(slot) = rows_by_template.get_mut(*place) {
                    *slot = row;
                }
                *place += 1;
            }
            Order { rank, rows_by_template }
        })
    }

    /// Returns for each row its place among the rows of its template.
    pub(crate) fn rank(&self) -> &[u32] {
        &self.order().rank
    }

    /// Returns the rows of a template, ascending.
    pub(crate) fn rows_of(&self, template: &Template) -> &[u32] {
        self.order().rows_by_template.get(template.rows()).unwrap_or_default()
    }

    /// Returns the template of a row, and the row's place among the template's rows.
    pub(crate) fn place_of(&self, row: u32) -> Option<(&Template, u32)> {
        let number = *self.template_of.get(row as usize)?;
        Some((self.head.templates.get(usize::from(number))?, *self.rank().get(row as usize)?))
    }

    /// Returns the values of a column.
    pub(crate) fn values(&self, block: &Block, column: u32) -> Result<&Values, Error> {
        self.values_knowing(block, column, None)
    }

    /// Returns the values of a column that is decoded already.
    pub(crate) fn known_values(&self, column: u32) -> Option<&Values> {
        self.columns.get(column as usize)?.get().map(Box::as_ref)
    }

    /// Returns the values of a column, one of whose streams may be known.
    pub(crate) fn values_knowing(
        &self,
        block: &Block,
        column: u32,
        known: Option<(u32, Bytes)>,
    ) -> Result<&Values, Error> {
        let index = column as usize;
        let (Some(kept), Some(column)) = (self.columns.get(index), self.head.columns.get(index)) else {
            return Err(Error::corrupt(WHAT, format!("no column {column}")));
        };
        if let Some(values) = kept.get() {
            return Ok(values);
        }
        let (frames, decoded_bytes) = (&self.frames, Some(&self.decoded_bytes));
        let known = Cell::new(known);
        let parts = ColumnParts { shredded: self, block, column, frames, decoded_bytes, known };
        let values = Values::decode(&column.form, column.values as usize, &parts)?;
        Ok(kept.get_or_init(|| {
            self.decoded_bytes.fetch_add(size_of::<Values>() + values.heap_bytes(), Ordering::Relaxed);
            Box::new(values)
        }))
    }

    /// Appends the line of a row; `out` keeps what was appended before an error.
    pub(crate) fn push_line(&self, block: &Block, row: u32, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some((template, rank)) = self.place_of(row) else {
            return Err(Error::corrupt(WHAT, format!("no row {row}")));
        };
        let pieces = self.head.pieces_of(template);
        let mut bytes = 0;
        for piece in pieces {
            bytes += piece.literal().len();
            if let Some(Slot { column, base }) = piece.slot {
                bytes += self.values(block, column)?.bytes(base + rank);
            }
        }
        append(out, bytes, |pen| {
            for piece in pieces {
                let literal = piece.literal();
                pen.part(&self.head.literals, literal.start, literal.end);
                if let Some(Slot { column, base }) = piece.slot
                    && let Some(values) = self.columns.get(column as usize).and_then(OnceLock::get)
                {
                    values.write(base + rank, pen);
                }
            }
        });
        Ok(())
    }

    /// Rebuilds all lines, of `raw_bytes` in all. Keeps no column that was not decoded before: they serve no more.
    pub(crate) fn lines(&self, block: &Block, raw_bytes: u64) -> Result<Lines, Error> {
        let rows = self.template_of.len();
        let want = raw_bytes.saturating_add(rows as u64);
        if want > u64::from(SECTION_RAW_BYTES_MAX) {
            let (got, limit) = (want, SECTION_RAW_BYTES_MAX.into());
            return Err(Error::Limited { what: "lines".into(), unit: "raw bytes", got, limit });
        }
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        let frames: Vec<OnceLock<Bytes>> = self.frames.iter().map(OnceLock::clone).collect();
        let mut decoded = Vec::with_capacity(self.columns.len());
        for (kept, column) in self.columns.iter().zip(&self.head.columns) {
            let (frames, known) = (&frames, Cell::new(None));
            let parts = ColumnParts { shredded: self, block, column, frames, decoded_bytes: None, known };
            let decode = || Values::decode(&column.form, column.values as usize, &parts);
            decoded.push(if kept.get().is_some() { None } else { Some(decode()?) });
        }
        let columns = self.columns.iter().zip(&decoded);
        let columns: Vec<Option<&Values>> =
            columns.map(|(kept, decoded)| kept.get().map(Box::as_ref).or(decoded.as_ref())).collect();
        let mut steps = Vec::with_capacity(self.head.pieces.len());
        for piece in &self.head.pieces {
            let values =
                piece.slot.and_then(|slot| Some(((*columns.get(slot.column as usize)?)?, slot.base)));
            let literal = piece.literal();
            steps.push((literal.start, literal.end, values));
        }
        let mut lines = Lines::default();
        let rows_of = self.template_of.iter().zip(self.rank());
        lines.write_each(want, rows_of, |(&template, &rank), pen| {
            let Some(template) = self.head.templates.get(usize::from(template)) else { return };
            for &(start, end, values) in steps.get(template.pieces()).unwrap_or_default() {
                pen.part(&self.head.literals, start, end);
                if let Some((values, base)) = values {
                    values.write(base + rank, pen);
                }
            }
        });
        if lines.text().len() != want || lines.rows() != rows {
            let got = lines.text().len();
            return Err(Error::corrupt("lines", format!("want {want} bytes of text, got {got}")));
        }
        Ok(lines)
    }

    /// Returns where each line ends in the text of all of them, from the lengths of their parts.
    pub(crate) fn line_ends(&self, block: &Block) -> Result<Vec<u32>, Error> {
        let mut ends = Vec::with_capacity(self.template_of.len());
        let mut end = 0usize;
        for row in 0..u32::try_from(self.template_of.len()).unwrap_or(u32::MAX) {
            let Some((template, rank)) = self.place_of(row) else { continue };
            for piece in self.head.pieces_of(template) {
                end = end.saturating_add(piece.literal().len());
                if let Some(Slot { column, base }) = piece.slot {
                    end = end.saturating_add(self.values(block, column)?.bytes(base + rank));
                }
            }
            let short = u32::try_from(end).ok().filter(|&end| end < SECTION_RAW_BYTES_MAX);
            ends.push(short.ok_or_else(|| Error::corrupt("lines", "lines are longer than a section"))?);
            end += 1;
        }
        Ok(ends)
    }

    /// Returns what tells which texts of columns cannot hold a needle.
    ///
    /// It only saves work: if it is damaged, which the source is told of, nothing is told of any text.
    pub(crate) fn trigrams(&self, block: &Block) -> &Trigrams {
        self.trigrams.get_or_init(|| {
            let section = block.section_if_any(SECTION_TRIGRAMS, "trigrams").ok().flatten();
            let streams = self.head.streams.len();
            let trigrams =
                section.and_then(|bytes| Trigrams::decode(&bytes, streams).ok()).unwrap_or_default();
            self.decoded_bytes.fetch_add(trigrams.heap_bytes(), Ordering::Relaxed);
            trigrams
        })
    }

    /// Returns the bytes of a stream; keeps the frame that it shares with others.
    pub(crate) fn kept_stream(&self, block: &Block, number: u32) -> Result<Bytes, Error> {
        self.stream(block, number, &self.frames, Some(&self.decoded_bytes))
    }

    /// Keeps the bytes of a stream that [`Shredded::kept_stream`] returned, if it alone fills its frame.
    pub(crate) fn keep_stream(&self, number: u32, bytes: Bytes) {
        let stream = self.head.streams.get(number as usize);
        let frame = stream.and_then(|stream| Some((stream.frame, self.head.frames.get(stream.frame)?)));
        if let Some((frame, Frame { streams: 1, .. })) = frame
            && let Some(kept) = self.frames.get(frame)
        {
            kept.get_or_init(|| {
                self.decoded_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                bytes
            });
        }
    }

    /// Returns the bytes of a stream. A frame that it shares with others is put into `frames`, and counted if that is asked
    /// for.
    fn stream(
        &self,
        block: &Block,
        number: u32,
        frames: &[OnceLock<Bytes>],
        decoded_bytes: Option<&AtomicUsize>,
    ) -> Result<Bytes, Error> {
        let place = self.head.streams.get(number as usize).and_then(|stream| {
            Some((stream, self.head.frames.get(stream.frame)?, frames.get(stream.frame)?))
        });
        let Some((stream, frame, kept)) = place else {
            return Err(Error::corrupt(WHAT, format!("no stream {number}")));
        };
        let read = || {
            let stored = block.read_part(&self.section, frame.offset, frame.bytes, frame.crc32c)?;
            match frame.is_compressed {
                true => decompress(WHAT, &stored, frame.raw_bytes).map(Bytes::from),
                false => Ok(stored),
            }
        };
        if frame.streams == 1 && kept.get().is_none() {
            return read();
        }
        let whole = match kept.get() {
            Some(whole) => whole,
            None => {
                let whole = read()?;
                kept.get_or_init(|| {
                    if let Some(decoded_bytes) = decoded_bytes {
                        decoded_bytes.fetch_add(whole.len(), Ordering::Relaxed);
                    }
                    whole
                })
            }
        };
        let is_inside = stream.range.start <= stream.range.end && stream.range.end <= whole.len();
        Ok(if is_inside { whole.slice(stream.range.clone()) } else { Bytes::new() })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.table_bytes + self.decoded_bytes.load(Ordering::Relaxed) + self.searches.heap_bytes()
    }
}

/// What one column is decoded from.
struct ColumnParts<'a> {
    shredded: &'a Shredded,
    block: &'a Block,
    column: &'a Column,
    /// Frames of several streams, once decompressed.
    frames: &'a [OnceLock<Bytes>],
    /// Where they are counted, if they are kept.
    decoded_bytes: Option<&'a AtomicUsize>,
    /// A stream that was decompressed before.
    known: Cell<Option<(u32, Bytes)>>,
}

impl Parts for ColumnParts<'_> {
    fn stream(&self, number: u32) -> Result<Vec<u8>, Error> {
        match self.known.take() {
            Some((known, bytes)) if known == number => Ok(bytes.into()),
            other => {
                self.known.set(other);
                let bytes = self.shredded.stream(self.block, number, self.frames, self.decoded_bytes)?;
                Ok(bytes.into())
            }
        }
    }

    fn ts_ns(&self) -> Result<Vec<i64>, Error> {
        let ts_ns = self.block.timestamps()?;
        let head = &self.shredded.head;
        let mut all = Vec::with_capacity(self.column.values as usize);
        let mut template_at = 0;
        for &slot in head.slots_of(self.column) {
            // Slots ascend, and so do the templates they are in.
            let has_slot = |template: &Template| template.slots().end > slot as usize;
            let others = head.templates.get(template_at..).unwrap_or_default();
            template_at += others.iter().take_while(|template| !has_slot(template)).count();
            let Some(template) = head.templates.get(template_at) else { break };
            let rows = self.shredded.rows_of(template).iter();
            all.extend(rows.map(|&row| ts_ns.get(row as usize).copied().unwrap_or(0)));
        }
        Ok(all)
    }
}
