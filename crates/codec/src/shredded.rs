//! Shredded lines for reading: whole, one at a time, or only what a search needs of them.
//!
//! The tables are decoded when the lines are first asked for, each column when it is first needed. A line is
//! rebuilt by copying the pieces of its template and the values of its row one after the other into one
//! buffer: nothing is allocated per line, template or column.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::block_meta::{SECTION_RAW_BYTES_MAX, SectionMeta};
use crate::compress::decompress;
use crate::error::Error;
use crate::lines::Lines;
use crate::shred_head::{Column, Frame, Head, Piece, Slot, Stream, Template};
use crate::shred_render::append;
use crate::shred_search::Searches;
use crate::shred_values::{self, Parts, Values};
use bytes::Bytes;
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
    columns: Vec<OnceLock<Values>>,
    frames: Vec<OnceLock<Bytes>>,
    /// What the tables take.
    table_bytes: usize,
    /// What the columns and frames take that are decoded so far.
    decoded_bytes: AtomicUsize,
    /// The section that the frames lie in.
    section: SectionMeta,
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
        let table_bytes = table_bytes(&head, rows);
        Ok(Self {
            head,
            template_of,
            order: OnceLock::new(),
            columns,
            frames,
            table_bytes,
            decoded_bytes: AtomicUsize::new(0),
            section,
            searches: Searches::default(),
        })
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| {
            let rows = self.template_of.len();
            let templates = &self.head.templates;
            let mut next: Vec<usize> = templates.iter().map(|template| template.rows.start).collect();
            let mut rank = Vec::with_capacity(rows);
            let mut rows_by_template = vec![0; rows];
            for (row, &number) in (0u32..).zip(&self.template_of) {
                let number = usize::from(number);
                let (Some(place), Some(template)) = (next.get_mut(number), templates.get(number)) else {
                    continue;
                };
                rank.push(u32::try_from(*place - template.rows.start).unwrap_or(u32::MAX));
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
        self.order().rows_by_template.get(template.rows.clone()).unwrap_or_default()
    }

    /// Returns the template of a row, and the row's place among the template's rows.
    pub(crate) fn place_of(&self, row: u32) -> Option<(&Template, u32)> {
        let number = *self.template_of.get(row as usize)?;
        Some((self.head.templates.get(usize::from(number))?, *self.rank().get(row as usize)?))
    }

    /// Returns the values of a column.
    pub(crate) fn values(&self, block: &Block, column: u32) -> Result<&Values, Error> {
        let index = column as usize;
        let (Some(kept), Some(column)) = (self.columns.get(index), self.head.columns.get(index)) else {
            return Err(Error::corrupt(WHAT, format!("no column {column}")));
        };
        if let Some(values) = kept.get() {
            return Ok(values);
        }
        let (frames, decoded_bytes) = (&self.frames, Some(&self.decoded_bytes));
        let parts = ColumnParts { shredded: self, block, column, frames, decoded_bytes };
        let values = Values::decode(&column.form, column.values as usize, &parts)?;
        Ok(kept.get_or_init(|| {
            self.decoded_bytes.fetch_add(values.heap_bytes(), Ordering::Relaxed);
            values
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
            bytes += piece.literal.len();
            if let Some(Slot { column, base }) = piece.slot {
                bytes += self.values(block, column)?.bytes(base + rank);
            }
        }
        append(out, bytes, |pen| {
            for piece in pieces {
                pen.part(&self.head.literals, piece.literal.start, piece.literal.end);
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
            let parts = ColumnParts { shredded: self, block, column, frames: &frames, decoded_bytes: None };
            let decode = || Values::decode(&column.form, column.values as usize, &parts);
            decoded.push(if kept.get().is_some() { None } else { Some(decode()?) });
        }
        let columns = self.columns.iter().zip(&decoded);
        let columns: Vec<Option<&Values>> =
            columns.map(|(kept, decoded)| kept.get().or(decoded.as_ref())).collect();
        let mut steps = Vec::with_capacity(self.head.pieces.len());
        for piece in &self.head.pieces {
            let values =
                piece.slot.and_then(|slot| Some(((*columns.get(slot.column as usize)?)?, slot.base)));
            steps.push((piece.literal.start, piece.literal.end, values));
        }
        let mut lines = Lines::default();
        let rows_of = self.template_of.iter().zip(self.rank());
        lines.write_each(want, rows_of, |(&template, &rank), pen| {
            let Some(template) = self.head.templates.get(usize::from(template)) else { return };
            for &(start, end, values) in steps.get(template.pieces.clone()).unwrap_or_default() {
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
                end = end.saturating_add(piece.literal.len());
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

    pub(crate) fn heap_bytes(&self) -> usize {
        self.table_bytes + self.decoded_bytes.load(Ordering::Relaxed) + self.searches.heap_bytes()
    }
}

/// Returns about what the tables of a block of so many rows take, the order of rows counted in before it is made.
fn table_bytes(head: &Head, rows: usize) -> usize {
    let texts: usize = head.templates.iter().map(|template| template.text.len()).sum();
    let slots: usize = head.columns.iter().map(|column| column.slots.len() * size_of::<u32>()).sum();
    rows * (2 + 4 + 4)
        + head.literals.len()
        + texts
        + slots
        + head.templates.len() * size_of::<Template>()
        + head.pieces.len() * size_of::<Piece>()
        + head.slots.len() * size_of::<Slot>()
        + head.columns.len() * (size_of::<Column>() + size_of::<OnceLock<Values>>())
        + head.streams.len() * size_of::<Stream>()
        + head.frames.len() * (size_of::<Frame>() + size_of::<OnceLock<Bytes>>())
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
}

impl Parts for ColumnParts<'_> {
    fn stream(&self, number: u32) -> Result<Vec<u8>, Error> {
        let head = &self.shredded.head;
        let place = head.streams.get(number as usize).and_then(|stream| {
            Some((stream, head.frames.get(stream.frame)?, self.frames.get(stream.frame)?))
        });
        let Some((stream, frame, kept)) = place else {
            return Err(Error::corrupt(WHAT, format!("no stream {number}")));
        };
        let read = || {
            let stored =
                self.block.read_part(&self.shredded.section, frame.offset, frame.bytes, frame.crc32c)?;
            match frame.is_compressed {
                true => decompress(WHAT, &stored, frame.raw_bytes),
                false => Ok(stored.to_vec()),
            }
        };
        if frame.streams == 1 {
            return read();
        }
        let whole = match kept.get() {
            Some(whole) => whole,
            None => {
                let whole = Bytes::from(read()?);
                kept.get_or_init(|| {
                    if let Some(decoded_bytes) = self.decoded_bytes {
                        decoded_bytes.fetch_add(whole.len(), Ordering::Relaxed);
                    }
                    whole
                })
            }
        };
        Ok(whole.get(stream.range.clone()).unwrap_or_default().to_vec())
    }

    fn ts_ns(&self) -> Result<Vec<i64>, Error> {
        let ts_ns = self.block.timestamps()?;
        let head = &self.shredded.head;
        let mut all = Vec::with_capacity(self.column.values as usize);
        let mut template_at = 0;
        for &slot in &self.column.slots {
            // Slots ascend, and so do the templates they are in.
            let has_slot = |template: &Template| template.slots.end > slot as usize;
            let others = head.templates.get(template_at..).unwrap_or_default();
            template_at += others.iter().take_while(|template| !has_slot(template)).count();
            let Some(template) = head.templates.get(template_at) else { break };
            let rows = self.shredded.rows_of(template).iter();
            all.extend(rows.map(|&row| ts_ns.get(row as usize).copied().unwrap_or(0)));
        }
        Ok(all)
    }
}
