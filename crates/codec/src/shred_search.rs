//! Which shredded lines hold a literal, found without rebuilding those that need not be.
//!
//! A template whose fixed text holds the needle is *sure*: all its rows do. Where the needle could lie across
//! the border of a fixed text and a value, the template is *open*: its rows are rebuilt and looked at. In all
//! others the needle can only lie inside a value, and their columns are searched, each in one pass.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::shred_head::{ColumnForm, Piece, Template};
use crate::shred_shape::Field;
use crate::shred_values::may_shape_hold;
use crate::shredded::Shredded;
use memchr::memmem;
use std::ops::Range;

/// A search of fewer rows than one in so many rebuilds them: columns are searched as a whole.
const FEW_ROWS: usize = 32;

/// A set of rows, one bit each.
#[derive(Debug)]
pub(crate) struct RowSet {
    first: u32,
    words: Vec<u64>,
}

impl RowSet {
    fn new(rows: &Range<u32>) -> Self {
        Self { first: rows.start, words: vec![0; rows.len().div_ceil(64)] }
    }

    fn insert(&mut self, row: u32) {
        let Some(place) = row.checked_sub(self.first) else { return };
        if let Some(word) = self.words.get_mut(place as usize / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Returns how many rows it holds.
    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Appends the rows, ascending.
    pub(crate) fn push_rows(&self, out: &mut Vec<u32>) {
        for (first, &word) in (self.first..).step_by(64).zip(&self.words) {
            let mut rest = word;
            while rest != 0 {
                out.push(first + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sure,
    Open,
    InValues,
}

impl Shredded {
    /// Returns those of `rows` whose line holds the needle, which is not empty.
    pub(crate) fn search(
        &self,
        block: &Block,
        finder: &memmem::Finder<'_>,
        rows: Range<u32>,
    ) -> Result<RowSet, Error> {
        let mut found = RowSet::new(&rows);
        let mut line = Vec::new();
        if rows.len() * FEW_ROWS < self.template_of.len() {
            for row in rows {
                line.clear();
                self.push_line(block, row, &mut line)?;
                if finder.find(&line).is_some() {
                    found.insert(row);
                }
            }
            return Ok(found);
        }
        let mut is_wanted = vec![false; self.head.columns.len()];
        for template in &self.head.templates {
            let template_rows = self.rows_of(template);
            let within = template_rows.partition_point(|&row| row < rows.start)
                ..template_rows.partition_point(|&row| row < rows.end);
            let template_rows = template_rows.get(within).unwrap_or_default();
            if template_rows.is_empty() {
                continue;
            }
            let pieces = self.head.pieces_of(template);
            match self.verdict(pieces, finder) {
                Verdict::Sure => template_rows.iter().for_each(|&row| found.insert(row)),
                Verdict::Open => {
                    for &row in template_rows {
                        line.clear();
                        self.push_line(block, row, &mut line)?;
                        if finder.find(&line).is_some() {
                            found.insert(row);
                        }
                    }
                }
                Verdict::InValues => {
                    for slot in pieces.iter().filter_map(|piece| piece.slot) {
                        if let Some(wanted) = is_wanted.get_mut(slot.column as usize) {
                            *wanted = true;
                        }
                    }
                }
            }
        }
        let mut hits = Vec::new();
        for (column, _) in (0u32..).zip(&is_wanted).filter(|(_, wanted)| **wanted) {
            let Some(table) = self.head.columns.get(column as usize) else { continue };
            if !may_hold(&table.form, finder.needle()) {
                continue;
            }
            hits.clear();
            self.values(block, column)?.find(finder, table.values, &mut hits);
            self.for_each_row(&table.slots, &hits, |row| {
                if rows.contains(&row) {
                    found.insert(row);
                }
            });
        }
        Ok(found)
    }

    /// Calls `act` with the row of each value of a column; both are ascending.
    fn for_each_row(&self, slots: &[u32], values: &[u32], mut act: impl FnMut(u32)) {
        let mut values = values.iter().peekable();
        let mut template_at = 0;
        for &number in slots {
            let Some(slot) = self.head.slots.get(number as usize) else { return };
            let others = self.head.templates.get(template_at..).unwrap_or_default();
            let has_slot = |template: &Template| template.slots.end > number as usize;
            template_at += others.iter().take_while(|template| !has_slot(template)).count();
            let Some(template) = self.head.templates.get(template_at) else { return };
            let rows = self.rows_of(template);
            while let Some(&value) = values.next_if(|value| ((**value - slot.base) as usize) < rows.len()) {
                if let Some(&row) = rows.get((value - slot.base) as usize) {
                    act(row);
                }
            }
            if values.peek().is_none() {
                return;
            }
        }
    }

    fn verdict(&self, pieces: &[Piece], finder: &memmem::Finder<'_>) -> Verdict {
        if pieces.iter().any(|piece| finder.find(self.head.literal(piece)).is_some()) {
            return Verdict::Sure;
        }
        let needle = finder.needle();
        let mut next = pieces.iter().skip(1);
        for piece in pieces {
            let follower = next.next();
            let Some(slot) = piece.slot else { continue };
            let Some(column) = self.head.columns.get(slot.column as usize) else { continue };
            let before = self.head.literal(piece);
            let after = follower.map(|piece| self.head.literal(piece)).unwrap_or_default();
            let has_more = follower.is_some_and(|piece| piece.slot.is_some());
            for at in 1..needle.len() {
                let Some((head, tail)) = needle.split_at_checked(at) else { continue };
                // The needle starts in the text before the value and reaches into it.
                let enters = before.ends_with(head) && starts(&column.form, tail);
                // It starts in the value and reaches into the text behind, perhaps beyond it.
                let reaches = if after.len() >= tail.len() {
                    after.starts_with(tail)
                } else {
                    has_more && tail.starts_with(after)
                };
                if enters || (reaches && ends(&column.form, head)) {
                    return Verdict::Open;
                }
            }
        }
        Verdict::InValues
    }
}

/// Returns whether a value of this form can be followed by, or start with, the front of `text`, which the
/// needle has next. An empty value is possible only in text, which always can.
fn starts(form: &ColumnForm, text: &[u8]) -> bool {
    let Some(&byte) = text.first() else { return true };
    match form {
        ColumnForm::Numbers(_) | ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => fields.first().is_none_or(|field| may_be_edge(field, byte, true)),
        _ => true,
    }
}

/// Returns whether a value of this form can end with the last byte of `text`.
fn ends(form: &ColumnForm, text: &[u8]) -> bool {
    let Some(&byte) = text.last() else { return true };
    match form {
        ColumnForm::Numbers(_) | ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => fields.last().is_none_or(|field| may_be_edge(field, byte, false)),
        _ => true,
    }
}

fn may_be_edge(field: &Field, byte: u8, is_first: bool) -> bool {
    match field {
        Field::Text(text) if is_first => text.first().is_none_or(|&edge| edge == byte),
        Field::Text(text) => text.last().is_none_or(|&edge| edge == byte),
        Field::Hex { .. } => byte.is_ascii_hexdigit(),
        Field::Digits(_) | Field::Time(_) => byte.is_ascii_digit(),
    }
}

/// Returns whether values of this form can hold the needle, as far as that shows without decoding them.
fn may_hold(form: &ColumnForm, needle: &[u8]) -> bool {
    match form {
        ColumnForm::Numbers(_) => needle.len() <= 20 && needle.iter().all(u8::is_ascii_digit),
        ColumnForm::Addresses(_) => needle.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'),
        ColumnForm::Shape { fields, .. } => may_shape_hold(fields, needle),
        _ => true,
    }
}
