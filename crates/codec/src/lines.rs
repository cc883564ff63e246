//! Lines laid end to end, and the search of all of them in one pass.
//!
//! Every line is followed by `\n`, the last one too, so that one scan over the text sees line borders as a
//! person does. Lines may hold `\n` themselves: borders are the stored ends, never the `\n` found.

use crate::cursor::{Cursor, put_len};
use crate::error::Error;
use crate::needles::Needles;
use crate::shred_render::{Pen, append};
use memchr::memchr_iter;
use std::ops::Range;

/// The text of many lines in one buffer. Cost: 5 bytes per line beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Each line and a `\n`.
    text: Vec<u8>,
    /// For each line the offset of the `\n` behind it.
    ends: Vec<u32>,
}

impl Lines {
    /// Returns the number of lines.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Returns all lines, each followed by `\n`.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the text of all lines, as [`Lines::text`].
    pub(crate) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// Returns the offsets in [`Lines::text`] where lines end, ascending: of the `\n` behind each.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns a line without its final `\n`. Panics: if there is no such row.
    pub fn line(&self, row: u32) -> &[u8] {
        &self.text[self.start(row as usize)..self.end(row as usize)]
    }

    /// Returns the length of a line. Panics: if there is no such row.
    pub fn line_bytes(&self, row: u32) -> usize {
        self.end(row as usize) - self.start(row as usize)
    }

    /// Returns the text of some rows, each line followed by `\n`. Panics: if there are no such rows.
    pub fn rows_text(&self, rows: Range<u32>) -> &[u8] {
        if rows.is_empty() {
            return &[];
        }
        &self.text[self.start(rows.start as usize)..=self.end(rows.end as usize - 1)]
    }

    /// Returns the row that holds an offset of [`Lines::text`], its final `\n` counted in; the number of
    /// rows for offsets behind the text.
    pub fn row_at(&self, offset: usize) -> u32 {
        row_count(self.ends.partition_point(|&end| (end as usize) < offset))
    }

    /// Appends to `out` the rows whose line holds one of the texts, ascending.
    ///
    /// One pass of the searcher over the rows' text, and a step per row that is hit: rows without a hit
    /// cost nothing of their own. The empty text is in every line. Panics: if there are no such rows.
    pub fn rows_with(&self, needles: &Needles<'_>, rows: Range<u32>, out: &mut Vec<u32>) {
        if needles.are_empty() {
            out.extend(rows);
        } else if needles.have_line_ends() {
            // The needle could run over the ends of lines.
            out.extend(rows.filter(|&row| needles.are_in(self.line(row))));
        } else {
            self.rows_found(|text, from| needles.find(text, from), rows, out);
        }
    }

    /// Appends to `out` the rows that a search finds, ascending.
    ///
    /// `find` gets the text of the rows, each line followed by `\n`, and an offset in it, and returns
    /// where the first hit from there on starts; no hit may hold a `\n`. Cost: as of
    /// [`Lines::rows_with`]. Panics: if there are no such rows.
    fn rows_found(&self, find: impl Fn(&[u8], usize) -> Option<usize>, rows: Range<u32>, out: &mut Vec<u32>) {
        let text = self.rows_text(rows.clone());
        let (mut row, mut from) = (rows.start as usize, 0);
        let start = self.start(row.min(self.rows()));
        while let Some(hit) = find(text, from) {
            row = self.seek(row, start + hit);
            out.push(row_count(row));
            from = self.end(row) + 1 - start;
            row += 1;
            if from >= text.len() {
                break;
            }
        }
    }

    /// Makes room for lines to come, of so many bytes together.
    pub(crate) fn reserve(&mut self, rows: usize, line_bytes: usize) {
        self.text.reserve(line_bytes.saturating_add(rows));
        self.ends.reserve(rows);
    }

    /// Returns no lines, with room for some.
    pub(crate) fn with_capacity(text_bytes: usize, rows: usize) -> Self {
        Self { text: Vec::with_capacity(text_bytes), ends: Vec::with_capacity(rows) }
    }

    /// Adds a line. Panics: if the text passes 4 GiB, which callers are far from.
    pub(crate) fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(offset_of(self.text.len()));
        self.text.push(b'\n');
    }

    /// Adds a line for each item, written by `write`: at most `bytes_max` bytes together, ends counted in.
    pub(crate) fn write_each<T>(
        &mut self,
        bytes_max: usize,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(T, &mut Pen<'_>),
    ) {
        let ends = &mut self.ends;
        append(&mut self.text, bytes_max, |pen| {
            ends.extend(items.map(|item| {
                write(item, pen);
                let end = pen.at();
                pen.front(b"\n", 1);
                u32::try_from(end).unwrap_or(u32::MAX)
            }));
        });
    }

    /// Removes all lines, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Returns a line without its final `\n`, or the empty line if there is no such row.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> &[u8] {
        let row = row as usize;
        let start =
            row.checked_sub(1).map_or(0, |before| self.ends.get(before).map_or(0, |&end| end as usize + 1));
        let end = self.ends.get(row).map_or(start, |&end| end as usize);
        self.text.get(start..end).unwrap_or_default()
    }

    /// Writes a line, nothing if there is no such row.
    #[inline(always)]
    pub(crate) fn write(&self, row: u32, pen: &mut Pen<'_>) {
        let row = row as usize;
        let Some(&end) = self.ends.get(row) else { return };
        let start =
            row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end as usize + 1);
        pen.part(&self.text, start, end as usize);
    }

    /// Adds lines of another buffer.
    pub(crate) fn extend(&mut self, other: &Self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let (from, to) = (other.start(rows.start), other.end(rows.end - 1));
        let base = self.text.len();
        self.text.extend_from_slice(&other.text[from..=to]);
        offset_of(self.text.len());
        self.ends.extend(other.ends[rows].iter().map(|&end| offset_of(end as usize - from + base)));
    }

    /// Keeps the lines that `order` names, in its order.
    pub(crate) fn gather(&mut self, order: &[u32]) {
        let mut gathered = Self::with_capacity(self.text.len(), order.len());
        for &row in order {
            gathered.push(self.line(row));
        }
        *self = gathered;
    }

    /// Returns the bytes of all lines, without what separates them.
    pub(crate) fn line_bytes_total(&self) -> u64 {
        (self.text.len() - self.ends.len()) as u64
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4
    }

    /// Appends the length of each line, a varint each.
    pub(crate) fn encode_lengths(&self, out: &mut Vec<u8>) {
        let mut start = 0;
        for &end in &self.ends {
            put_len(out, (end - start) as usize);
            start = end + 1;
        }
    }

    /// Reads the ends of `rows` lines from their lengths, a varint each.
    pub(crate) fn decode_ends(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<u32>, Error> {
        if rows > cursor.left() {
            return Err(cursor.corrupt(format!("{rows} lengths do not fit in {} bytes", cursor.left())));
        }
        let mut ends = Vec::with_capacity(rows);
        let mut start = 0u64;
        for _ in 0..rows {
            let end = start.saturating_add(cursor.varint()?);
            let Ok(short) = u32::try_from(end) else {
                return Err(cursor.corrupt("lines are longer than 4 GiB"));
            };
            ends.push(short);
            start = end + 1;
        }
        Ok(ends)
    }

    /// Joins a text with the ends of its lines, if they belong together.
    pub(crate) fn from_parts(text: Vec<u8>, ends: Vec<u32>) -> Result<Self, Error> {
        let want = ends.last().map_or(0, |&end| end as usize + 1);
        if text.len() != want {
            return Err(Error::corrupt("lines", format!("want {want} bytes of text, got {}", text.len())));
        }
        if ends.iter().any(|&end| text.get(end as usize) != Some(&b'\n')) {
            return Err(Error::corrupt("lines", "a line does not end where its length says"));
        }
        Ok(Self { text, ends })
    }

    /// Takes a text of `rows` lines, none of which holds `\n`, and finds their ends.
    pub(crate) fn from_separated(text: Vec<u8>, rows: usize) -> Result<Self, Error> {
        if rows > text.len() {
            return Err(Error::corrupt("lines", format!("{rows} lines do not fit in {} bytes", text.len())));
        }
        if u32::try_from(text.len()).is_err() {
            return Err(Error::corrupt("lines", "lines are longer than 4 GiB"));
        }
        let mut ends = Vec::with_capacity(rows);
        ends.extend(memchr_iter(b'\n', &text).map(offset_of));
        if ends.len() != rows {
            return Err(Error::corrupt("lines", format!("want {rows} lines, got {}", ends.len())));
        }
        if text.last().is_some_and(|&last| last != b'\n') {
            return Err(Error::corrupt("lines", "the last line does not end"));
        }
        Ok(Self { text, ends })
    }

    /// Cuts a text into lines of the lengths given.
    pub(crate) fn from_lengths(text: &[u8], lengths: impl Iterator<Item = u64>) -> Result<Self, Error> {
        let mut lines = Self::default();
        let mut rest = text;
        for length in lengths {
            let cut = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
            let Some((line, others)) = cut else {
                return Err(Error::corrupt("lines", format!("want {length} more bytes, got {}", rest.len())));
            };
            lines.push(line);
            rest = others;
        }
        if !rest.is_empty() {
            return Err(Error::corrupt("lines", format!("{} bytes too many", rest.len())));
        }
        Ok(lines)
    }

    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] as usize + 1 }
    }

    fn end(&self, row: usize) -> usize {
        self.ends[row] as usize
    }

    /// Returns the first row from `row` on that ends at or behind `offset`; near rows are found first.
    fn seek(&self, row: usize, offset: usize) -> usize {
        let mut low = row;
        let mut step = 1;
        while low + step < self.ends.len() && self.end(low + step - 1) < offset {
            low += step;
            step *= 2;
        }
        let high = (low + step).min(self.ends.len());
        low + self.ends[low..high].partition_point(|&end| (end as usize) < offset)
    }
}

fn offset_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the lines of one stream or block take less than 4 GiB")
}

fn row_count(rows: usize) -> u32 {
    u32::try_from(rows).expect("rows are fewer than bytes of text, which are fewer than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use memchr::memmem::Finder;
    use proptest::prelude::*;

    fn lines_of(all: &[Vec<u8>]) -> Lines {
        let mut lines = Lines::default();
        all.iter().for_each(|line| lines.push(line));
        lines
    }

    fn rows_with(lines: &Lines, needle: &[u8], rows: Range<u32>) -> Vec<u32> {
        let mut out = Vec::new();
        lines.rows_with(&Needles::one(Finder::new(needle)), rows, &mut out);
        out
    }

    #[test]
    fn hits_over_line_borders_do_not_count() {
        let lines = lines_of(&[b"a".to_vec(), b"b\nc".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(rows_with(&lines, b"a\nb", 0..4), [0u32; 0]);
        assert_eq!(rows_with(&lines, b"b\nc", 0..4), [1]);
        assert_eq!(rows_with(&lines, b"b", 0..4), [1, 3]);
        assert_eq!(rows_with(&lines, b"b", 2..4), [3]);
        assert_eq!(rows_with(&lines, b"", 1..3), [1, 2]);
        assert_eq!(rows_with(&lines, b"\n", 0..4), [1]);
        assert_eq!(lines.rows_text(1..3), b"b\nc\n\n");
        assert_eq!((lines.row_at(0), lines.row_at(1), lines.row_at(2)), (0, 0, 1));
    }

    proptest! {
        #[test]
        fn search_equals_a_look_at_every_line(
            all in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n')], 0..6), 1..40),
            needle in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n')], 0..4),
            bounds in (0usize..40, 0usize..40),
        ) {
            let lines = lines_of(&all);
            let from = bounds.0.min(all.len());
            let to = bounds.1.clamp(from, all.len());
            let holds = |line: &Vec<u8>| needle.is_empty() || line.windows(needle.len()).any(|part| part == needle);
            let expect: Vec<u32> = (from..to).filter(|&row| holds(&all[row])).map(|row| row as u32).collect();
            prop_assert_eq!(rows_with(&lines, &needle, from as u32..to as u32), expect);
        }
    }
}
