//! Which shredded lines hold a literal, found without rebuilding those that need not be.
//!
//! A template whose fixed text holds the needle is *sure*: all its rows do. Elsewhere the needle can lie inside a
//! value: the columns are searched, each in one pass. Or it can lie across the *border* of a fixed text and a
//! value: where the text fits, the values are looked at that would have to start or end as the needle goes on or
//! begins, and the rows are rebuilt in which one does.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::shred_head::{ColumnForm, Piece, Slot, Template};
use crate::shred_values::{may_shape_end, may_shape_hold, may_shape_start};
use crate::shredded::Shredded;
use memchr::memmem;
use std::ops::Range;

/// A search of fewer rows than one in so many rebuilds them: columns are searched as a whole.
const FEW_ROWS: usize = 32;

/// With more borders than that for each piece of a template its rows are rebuilt: a literal of one letter
/// repeated can be cut anywhere.
const BORDERS_PER_PIECE_MAX: usize = 4;

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

/// A place in a template that the needle may lie across, if the value there is as the edge wants.
#[derive(Clone, Copy, Debug)]
struct Border<'a> {
    slot: Slot,
    edge: Edge<'a>,
}

/// What a value must be for the needle to lie across one of its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge<'a> {
    /// Start with this rest of the needle, or be the start of it.
    Start(&'a [u8]),
    /// End with this start of the needle.
    End(&'a [u8]),
}

impl Edge<'_> {
    /// Returns whether a value is.
    #[inline]
    pub(crate) fn fits(self, value: &[u8]) -> bool {
        match self {
            Self::Start(rest) => value.starts_with(rest) || rest.starts_with(value),
            Self::End(start) => value.ends_with(start),
        }
    }
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
        let mut borders = Vec::new();
        let mut is_candidate = Vec::new();
        for template in &self.head.templates {
            let template_rows = self.rows_of(template);
            let within = template_rows.partition_point(|&row| row < rows.start)
                ..template_rows.partition_point(|&row| row < rows.end);
            let first_rank = u32::try_from(within.start).unwrap_or(u32::MAX);
            let template_rows = template_rows.get(within).unwrap_or_default();
            if template_rows.is_empty() {
                continue;
            }
            let pieces = self.head.pieces_of(template);
            if pieces.iter().any(|piece| finder.find(self.head.literal(piece)).is_some()) {
                template_rows.iter().for_each(|&row| found.insert(row));
                continue;
            }
            for slot in pieces.iter().filter_map(|piece| piece.slot) {
                if let Some(wanted) = is_wanted.get_mut(slot.column as usize) {
                    *wanted = true;
                }
            }
            borders.clear();
            self.push_borders(pieces, finder.needle(), &mut borders);
            if borders.is_empty() {
                continue;
            }
            // So many that to look at each would take longer than to rebuild the rows.
            let are_many = borders.len() > pieces.len() * BORDERS_PER_PIECE_MAX;
            is_candidate.clear();
            is_candidate.resize(template_rows.len(), are_many);
            for Border { slot, edge } in borders.iter().filter(|_| !are_many) {
                let first = slot.base.saturating_add(first_rank);
                self.values(block, slot.column)?.find_edge(*edge, first, &mut is_candidate);
            }
            for (&row, _) in
                template_rows.iter().zip(&is_candidate).filter(|(_, is_candidate)| **is_candidate)
            {
                line.clear();
                self.push_line(block, row, &mut line)?;
                if finder.find(&line).is_some() {
                    found.insert(row);
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

    /// Appends the borders that the needle may lie across.
    fn push_borders<'a>(&self, pieces: &[Piece], needle: &'a [u8], out: &mut Vec<Border<'a>>) {
        let mut next = pieces.iter().skip(1);
        for piece in pieces {
            let follower = next.next();
            let Some(slot) = piece.slot else { continue };
            let Some(column) = self.head.columns.get(slot.column as usize) else { continue };
            let before = self.head.literal(piece);
            let after = follower.map(|piece| self.head.literal(piece)).unwrap_or_default();
            let has_more = follower.is_some_and(|piece| piece.slot.is_some());
            let (last_before, first_after) = (before.last(), after.first());
            for (at, pair) in (1..).zip(needle.windows(2)) {
                // Nearly all cuts are ruled out by the bytes beside them.
                let enters = pair.first() == last_before;
                let reaches = first_after.is_none() || pair.last() == first_after;
                if !enters && !reaches {
                    continue;
                }
                let Some((start, rest)) = needle.split_at_checked(at) else { continue };
                // The needle starts in the text before the value and reaches into it.
                if enters && before.ends_with(start) && may_start(&column.form, rest) {
                    out.push(Border { slot, edge: Edge::Start(rest) });
                }
                // It starts in the value and reaches into the text behind, perhaps beyond it.
                let goes_on = if after.len() >= rest.len() {
                    after.starts_with(rest)
                } else {
                    has_more && rest.starts_with(after)
                };
                if reaches && goes_on && may_end(&column.form, start) {
                    out.push(Border { slot, edge: Edge::End(start) });
                }
            }
        }
    }
}

/// Returns whether a value of this form can start with `rest`, or be its start, as far as that shows without
/// decoding it. An empty value is possible only in text, which can be anything.
fn may_start(form: &ColumnForm, rest: &[u8]) -> bool {
    let Some(byte) = rest.first() else { return true };
    match form {
        ColumnForm::Numbers(_) | ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => may_shape_start(fields, rest),
        _ => true,
    }
}

/// Returns whether a value of this form can end with `start`, as far as that shows without decoding it.
fn may_end(form: &ColumnForm, start: &[u8]) -> bool {
    let Some(byte) = start.last() else { return true };
    match form {
        ColumnForm::Numbers(_) => start.len() <= 20 && start.iter().all(u8::is_ascii_digit),
        ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => may_shape_end(fields, start),
        _ => true,
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
