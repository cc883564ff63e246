//! Reading the tables of shredded lines: templates, columns, streams, frames. Bytes: `schemas/block.md`.
//!
//! Nothing here is trusted. Counts are bounded by the bytes they are read from or by named caps, and what the
//! columns may take once decoded is added up against one budget before anything is decoded.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block_meta::SECTION_RAW_BYTES_MAX;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::shred_column::{
    COLUMN_ADDRESSES, COLUMN_CONSTANT, COLUMN_DICTIONARY, COLUMN_NUMBERS, COLUMN_SHAPE, COLUMN_SIZED_TEXT,
    COLUMN_TEXT, DICTIONARY_MAX, NUMBERS_DELTA, NUMBERS_FROM_TS, TS_UNITS_NS,
};
use crate::shred_shape::{Field, SHAPE_BYTES_MAX};
use crate::shred_split::{ESCAPE, SLOT};
use crate::shred_write::{FRAME_PLAIN, FRAME_ZSTD, SLOTS_MAX, TEMPLATES_MAX, VALUES_MAX};
use std::ops::Range;

const WHAT: &str = "templates";
/// Longest constant that becomes part of its templates; longer ones are put in as values.
const CONSTANT_BYTES_MAX: usize = 64;
/// What all columns may take once decoded, in bytes: twice the largest section.
const DECODED_BYTES_MAX: u64 = 2 * SECTION_RAW_BYTES_MAX as u64;

/// The tables of shredded lines.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) templates: Vec<Template>,
    /// The texts of all templates as stored, end to end.
    texts: Vec<u8>,
    /// The slots of all templates, end to end.
    pub(crate) slots: Vec<Slot>,
    /// The pieces of all templates, end to end.
    pub(crate) pieces: Vec<Piece>,
    /// What the pieces' fixed texts are cut from.
    pub(crate) literals: Vec<u8>,
    pub(crate) columns: Vec<Column>,
    /// The numbers of the slots of all columns, end to end.
    column_slots: Vec<u32>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) frames: Vec<Frame>,
}

/// A line without its values.
#[derive(Debug)]
pub(crate) struct Template {
    /// Whether the line is a JSON object, or `key=value` pairs.
    pub(crate) splitter: u8,
    /// The text as stored, with a mark for each slot.
    text: Range<u32>,
    slots: Range<u32>,
    pieces: Range<u32>,
    /// Where its rows lie among all, ordered by template.
    rows: Range<u32>,
}

impl Template {
    /// Returns the numbers of its slots.
    pub(crate) fn slots(&self) -> Range<usize> {
        wide(&self.slots)
    }

    /// Returns where its rows lie among all, ordered by template.
    pub(crate) fn rows(&self) -> Range<usize> {
        wide(&self.rows)
    }

    /// Returns where its pieces lie among those of all.
    pub(crate) fn pieces(&self) -> Range<usize> {
        wide(&self.pieces)
    }
}

/// A place for a value: the column it comes from, and where there the values for the template's rows start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) column: u32,
    pub(crate) base: u32,
}

/// A fixed text and the value behind it; the last piece of a template has none.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    literal: Range<u32>,
    pub(crate) slot: Option<Slot>,
}

impl Piece {
    /// Returns where its fixed text lies among those of all.
    pub(crate) fn literal(&self) -> Range<usize> {
        wide(&self.literal)
    }
}

/// The values of some slots, in order of template, slot and row.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) form: ColumnForm,
    pub(crate) values: u32,
    /// Where the numbers of its slots lie among those of all.
    slots: Range<u32>,
}

/// How the values of a column are stored. Streams are given by number.
#[derive(Debug)]
pub(crate) enum ColumnForm {
    Constant(Vec<u8>),
    Dictionary { count: usize, values: Box<ColumnForm>, low: u32, high: Option<u32> },
    Numbers(NumbersForm),
    Shape { fields: Vec<Field>, numbers: Vec<NumbersForm>, nibbles: Option<u32> },
    Addresses(u32),
    Text(u32),
    SizedText(u32, NumbersForm),
}

/// How numbers are stored.
#[derive(Debug)]
pub(crate) struct NumbersForm {
    pub(crate) mode: u8,
    pub(crate) base: i64,
    pub(crate) first: u64,
    /// Symbols and bits; absent if nothing is added to the base.
    pub(crate) streams: Option<(u32, u32)>,
}

/// A part of a frame.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) frame: usize,
    pub(crate) range: Range<usize>,
}

/// A part of the section of values that is read and checked alone.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) is_compressed: bool,
    /// Place in the section.
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) raw_bytes: usize,
    pub(crate) crc32c: u32,
    /// How many streams lie in it.
    pub(crate) streams: usize,
}

impl Head {
    /// Reads the tables. `template_rows` tells how many rows each of so many templates has.
    pub(crate) fn decode(
        bytes: &[u8],
        values_bytes: u32,
        template_rows: impl FnOnce(usize) -> Result<Vec<usize>, Error>,
    ) -> Result<Self, Error> {
        let mut cursor = Cursor::new(WHAT, bytes);
        let mut head = Self {
            templates: Vec::new(),
            texts: Vec::new(),
            slots: Vec::new(),
            pieces: Vec::new(),
            literals: Vec::new(),
            columns: Vec::new(),
            column_slots: Vec::new(),
            streams: Vec::new(),
            frames: Vec::new(),
        };
        head.read_templates(&mut cursor)?;
        let row_counts = template_rows(head.templates.len())?;
        head.read_slots(&mut cursor, &row_counts)?;
        let mut next_stream = 0;
        for column in &mut head.columns {
            column.form = get_form(&mut cursor, &mut next_stream, true)?;
        }
        head.read_streams(&mut cursor, next_stream)?;
        head.read_frames(&mut cursor, values_bytes)?;
        cursor.finish()?;
        head.check_budget()?;
        head.make_pieces();
        Ok(head)
    }

    /// Returns a fixed text.
    pub(crate) fn literal(&self, piece: &Piece) -> &[u8] {
        self.literals.get(piece.literal()).unwrap_or_default()
    }

    /// Returns the text of a template as stored, with a mark for each slot.
    pub(crate) fn text(&self, template: &Template) -> &[u8] {
        self.texts.get(wide(&template.text)).unwrap_or_default()
    }

    /// Returns the pieces of a template.
    pub(crate) fn pieces_of(&self, template: &Template) -> &[Piece] {
        self.pieces.get(template.pieces()).unwrap_or_default()
    }

    /// Returns the numbers of the slots of a column, ascending.
    pub(crate) fn slots_of(&self, column: &Column) -> &[u32] {
        self.column_slots.get(wide(&column.slots)).unwrap_or_default()
    }

    /// Returns where the fixed texts of a template lie among those of all, end to end.
    pub(crate) fn literals_of(&self, template: &Template) -> Range<usize> {
        match self.pieces_of(template) {
            [first, .., last] => first.literal().start..last.literal().end,
            [only] => only.literal(),
            [] => 0..0,
        }
    }

    /// Returns about how much memory the tables take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.texts.capacity()
            + self.literals.capacity()
            + self.column_slots.capacity() * size_of::<u32>()
            + self.templates.capacity() * size_of::<Template>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.columns.capacity() * size_of::<Column>()
            + self.streams.capacity() * size_of::<Stream>()
            + self.frames.capacity() * size_of::<Frame>()
    }

    fn read_templates(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        let count = cursor.count()?;
        if count > TEMPLATES_MAX {
            return Err(cursor.corrupt(format!("{count} templates, limit is {TEMPLATES_MAX}")));
        }
        self.templates.reserve_exact(count);
        self.texts.reserve(cursor.left());
        let mut slots = 0;
        for _ in 0..count {
            let splitter = cursor.u8()?;
            let text_bytes = cursor.count()?;
            let text = cursor.take(text_bytes)?;
            let end = slots + text.iter().filter(|&&byte| byte == SLOT).count();
            if end > SLOTS_MAX {
                return Err(cursor.corrupt(format!("more than {SLOTS_MAX} slots")));
            }
            let start = self.texts.len();
            self.texts.extend_from_slice(text);
            let (text, slots_here) = (narrow(start, self.texts.len()), narrow(slots, end));
            self.templates.push(Template { splitter, text, slots: slots_here, pieces: 0..0, rows: 0..0 });
            slots = end;
        }
        self.texts.shrink_to_fit();
        self.slots.reserve_exact(slots);
        Ok(())
    }

    /// Reads the column of each slot, and counts the values that each column needs.
    fn read_slots(&mut self, cursor: &mut Cursor<'_>, row_counts: &[usize]) -> Result<(), Error> {
        // For each column its values and its slots.
        let mut counts: Vec<(usize, u32)> = Vec::new();
        let (mut values, mut first_row) = (0usize, 0);
        for (template, &rows) in self.templates.iter_mut().zip(row_counts) {
            template.rows = narrow(first_row, first_row + rows);
            first_row += rows;
            for _ in template.slots.clone() {
                let column = cursor.varint_u32()?;
                let index = column as usize;
                // Columns are numbered in order of first use.
                if index == counts.len() {
                    counts.push((0, 0));
                }
                let Some((count, slots)) = counts.get_mut(index) else {
                    return Err(cursor.corrupt(format!("column {column} is not the next one")));
                };
                let base = u32::try_from(*count).unwrap_or(u32::MAX);
                self.slots.push(Slot { column, base });
                *count += rows;
                *slots += 1;
                values += rows;
                if values > VALUES_MAX {
                    return Err(cursor.corrupt(format!("more than {VALUES_MAX} values")));
                }
            }
        }
        let columns = cursor.count()?;
        if columns != counts.len() {
            return Err(cursor.corrupt(format!("want {} columns, got {columns}", counts.len())));
        }
        self.columns.reserve_exact(columns);
        let mut start = 0;
        for (count, slots) in counts {
            let values = u32::try_from(count).unwrap_or(u32::MAX);
            // Filled below.
            let form = ColumnForm::Constant(Vec::new());
            self.columns.push(Column { form, values, slots: start..start });
            start += slots;
        }
        self.column_slots.resize(self.slots.len(), 0);
        for (number, slot) in (0u32..).zip(&self.slots) {
            let Some(column) = self.columns.get_mut(slot.column as usize) else { continue };
            if let Some(place) = self.column_slots.get_mut(column.slots.end as usize) {
                *place = number;
            }
            column.slots.end += 1;
        }
        Ok(())
    }

    fn read_streams(&mut self, cursor: &mut Cursor<'_>, want: u32) -> Result<(), Error> {
        let count = cursor.count()?;
        if count != want as usize {
            return Err(cursor.corrupt(format!("want {want} streams, got {count}")));
        }
        // Streams lie end to end in their frames.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for _ in 0..count {
            let frame = cursor.varint_u32()? as usize;
            let bytes = cursor.varint_u32()? as usize;
            if frame == ends.len() {
                ends.push((0, 0));
            }
            let Some((end, streams)) = ends.get_mut(frame) else {
                return Err(cursor.corrupt(format!("frame {frame} is not the next one")));
            };
            let start = *end;
            *end = start.saturating_add(bytes);
            *streams += 1;
            self.streams.push(Stream { frame, range: start..*end });
        }
        let frames = cursor.count()?;
        if frames != ends.len() {
            return Err(cursor.corrupt(format!("want {} frames, got {frames}", ends.len())));
        }
        for (raw_bytes, streams) in ends {
            let (is_compressed, offset, bytes, crc32c) = (false, 0, 0, 0);
            self.frames.push(Frame { is_compressed, offset, bytes, raw_bytes, crc32c, streams });
        }
        Ok(())
    }

    fn read_frames(&mut self, cursor: &mut Cursor<'_>, values_bytes: u32) -> Result<(), Error> {
        let mut offset = 0u32;
        let mut raw_bytes = 0u64;
        for frame in &mut self.frames {
            frame.is_compressed = match cursor.u8()? {
                FRAME_PLAIN => false,
                FRAME_ZSTD => true,
                codec => return Err(cursor.corrupt(format!("unknown codec {codec} of a frame"))),
            };
            frame.offset = offset;
            frame.bytes = cursor.varint_u32()?;
            offset = offset.saturating_add(frame.bytes);
            let got = cursor.varint()?;
            if got != frame.raw_bytes as u64 || (!frame.is_compressed && got != u64::from(frame.bytes)) {
                return Err(cursor.corrupt(format!("a frame of {got} bytes holds {}", frame.raw_bytes)));
            }
            frame.crc32c = cursor.u32()?;
            raw_bytes = raw_bytes.saturating_add(got);
        }
        if offset != values_bytes {
            return Err(cursor.corrupt(format!("want {values_bytes} bytes of frames, got {offset}")));
        }
        if raw_bytes > u64::from(SECTION_RAW_BYTES_MAX) {
            let (got, limit) = (raw_bytes, SECTION_RAW_BYTES_MAX.into());
            return Err(Error::Limited { what: "values".into(), unit: "raw bytes", got, limit });
        }
        Ok(())
    }

    /// Adds up what all columns take once decoded.
    fn check_budget(&self) -> Result<(), Error> {
        let got = self
            .columns
            .iter()
            .map(|column| self.decoded_bytes(&column.form, column.values as usize))
            .fold(0, u64::saturating_add);
        if got > DECODED_BYTES_MAX {
            let limit = DECODED_BYTES_MAX;
            return Err(Error::Limited { what: "values".into(), unit: "decoded bytes", got, limit });
        }
        Ok(())
    }

    fn decoded_bytes(&self, form: &ColumnForm, values: usize) -> u64 {
        let values = values as u64;
        let stream =
            |number: &u32| self.streams.get(*number as usize).map_or(0, |stream| stream.range.len() as u64);
        match form {
            ColumnForm::Constant(text) => text.len() as u64,
            ColumnForm::Dictionary { count, values: distinct, low, high } => {
                // The distinct values are laid out as text.
                let text = *count as u64 * (4 + text_bytes_max(distinct));
                self.decoded_bytes(distinct, *count) + text + stream(low) + high.as_ref().map_or(0, stream)
            }
            ColumnForm::Numbers(_) => values * 8,
            ColumnForm::Shape { numbers, nibbles, .. } => {
                values * 8 * numbers.len() as u64 + nibbles.as_ref().map_or(0, stream)
            }
            ColumnForm::Addresses(bytes) => stream(bytes),
            ColumnForm::Text(text) => stream(text) + values * 4,
            ColumnForm::SizedText(text, _) => stream(text) + values * 12,
        }
    }

    /// Cuts the templates into fixed texts and values; short constants become part of the fixed texts.
    fn make_pieces(&mut self) {
        self.pieces.reserve_exact(self.slots.len() + self.templates.len());
        self.literals.reserve(self.texts.len());
        for template in &mut self.templates {
            let first_piece = self.pieces.len();
            let mut literal = self.literals.len();
            let mut slots = self.slots.get(template.slots()).unwrap_or_default().iter();
            let text = self.texts.get(wide(&template.text)).unwrap_or_default();
            for (at, part) in text.split(|&byte| byte == SLOT).enumerate() {
                if at > 0 {
                    let Some(&slot) = slots.next() else { break };
                    let column = self.columns.get(slot.column as usize);
                    match column.map(|column| &column.form) {
                        Some(ColumnForm::Constant(constant)) if constant.len() <= CONSTANT_BYTES_MAX => {
                            self.literals.extend_from_slice(constant);
                        }
                        _ => {
                            let end = self.literals.len();
                            self.pieces.push(Piece { literal: narrow(literal, end), slot: Some(slot) });
                            literal = end;
                        }
                    }
                }
                push_unescaped(part, &mut self.literals);
            }
            self.pieces.push(Piece { literal: narrow(literal, self.literals.len()), slot: None });
            template.pieces = narrow(first_piece, self.pieces.len());
        }
        self.literals.shrink_to_fit();
        self.pieces.shrink_to_fit();
    }
}

/// Appends a text without marks as it stood in the line.
fn push_unescaped(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(ESCAPE, text) {
        let (before, rest) = text.split_at_checked(at).unwrap_or_default();
        out.extend_from_slice(before);
        let is_mark = rest.get(1) == Some(&ESCAPE);
        out.push(if is_mark { SLOT } else { ESCAPE });
        text = rest.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

/// Returns a range within bytes or rows of a section, of which there are fewer than 2^32.
fn narrow(start: usize, end: usize) -> Range<u32> {
    u32::try_from(start).unwrap_or(u32::MAX)..u32::try_from(end).unwrap_or(u32::MAX)
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Returns the longest text of a value that is not stored as text, and 0 for the others.
fn text_bytes_max(form: &ColumnForm) -> u64 {
    match form {
        ColumnForm::Constant(text) => text.len() as u64,
        ColumnForm::Numbers(_) => 20,
        ColumnForm::Addresses(_) => 15,
        ColumnForm::Shape { fields, .. } => fields.iter().map(|field| field.bytes() as u64).sum(),
        _ => 0,
    }
}

fn get_form(cursor: &mut Cursor<'_>, streams: &mut u32, is_outer: bool) -> Result<ColumnForm, Error> {
    let form = match cursor.u8()? {
        COLUMN_CONSTANT => {
            let bytes = cursor.count()?;
            ColumnForm::Constant(cursor.take(bytes)?.to_vec())
        }
        COLUMN_DICTIONARY if is_outer => {
            let count = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
            if count == 0 || count > DICTIONARY_MAX {
                let why = format!("a dictionary of {count} values, limit is {DICTIONARY_MAX}");
                return Err(cursor.corrupt(why));
            }
            let values = Box::new(get_form(cursor, streams, false)?);
            let low = get_stream(cursor, streams)?;
            let high = if count > 256 { Some(get_stream(cursor, streams)?) } else { None };
            ColumnForm::Dictionary { count, values, low, high }
        }
        COLUMN_NUMBERS => ColumnForm::Numbers(get_numbers(cursor, streams)?),
        COLUMN_SHAPE => {
            let count = cursor.count()?;
            if count > SHAPE_BYTES_MAX {
                return Err(cursor.corrupt(format!("a shape of {count} fields, limit is {SHAPE_BYTES_MAX}")));
            }
            let mut fields = Vec::new();
            let mut bytes = 0;
            for _ in 0..count {
                let field = Field::get(cursor)?;
                bytes += field.bytes();
                if bytes > SHAPE_BYTES_MAX {
                    return Err(cursor.corrupt(format!("a shape of more than {SHAPE_BYTES_MAX} bytes")));
                }
                fields.push(field);
            }
            let mut numbers = Vec::new();
            for _ in fields.iter().filter(|field| field.is_number()) {
                numbers.push(get_numbers(cursor, streams)?);
            }
            let has_nibbles = fields.iter().any(|field| matches!(field, Field::Hex { .. }));
            let nibbles = if has_nibbles { Some(get_stream(cursor, streams)?) } else { None };
            ColumnForm::Shape { fields, numbers, nibbles }
        }
        COLUMN_ADDRESSES => ColumnForm::Addresses(get_stream(cursor, streams)?),
        COLUMN_TEXT => ColumnForm::Text(get_stream(cursor, streams)?),
        COLUMN_SIZED_TEXT => {
            let text = get_stream(cursor, streams)?;
            ColumnForm::SizedText(text, get_numbers(cursor, streams)?)
        }
        codec => return Err(cursor.corrupt(format!("unknown codec {codec} of a column"))),
    };
    Ok(form)
}

fn get_numbers(cursor: &mut Cursor<'_>, streams: &mut u32) -> Result<NumbersForm, Error> {
    let tag = cursor.u8()?;
    let mode = tag >> 1;
    if usize::from(mode) >= usize::from(NUMBERS_FROM_TS) + TS_UNITS_NS.len() {
        return Err(cursor.corrupt(format!("unknown mode {mode} of numbers")));
    }
    let base = cursor.zigzag()?;
    let first = if mode == NUMBERS_DELTA { cursor.varint()? } else { 0 };
    let streams = match tag & 1 {
        1 => None,
        _ => Some((get_stream(cursor, streams)?, get_stream(cursor, streams)?)),
    };
    Ok(NumbersForm { mode, base, first, streams })
}

/// Reads the number of a stream, told by how far back it lies from the next new one.
fn get_stream(cursor: &mut Cursor<'_>, next: &mut u32) -> Result<u32, Error> {
    let back = cursor.varint_u32()?;
    let Some(number) = next.checked_sub(back) else {
        return Err(cursor.corrupt(format!("stream {back} before number {next}")));
    };
    if back == 0 {
        *next += 1;
    }
    Ok(number)
}
