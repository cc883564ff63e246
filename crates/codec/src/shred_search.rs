//! Which shredded lines hold one of some texts, found without rebuilding those that need not be.
//!
//! A template whose fixed text holds one is *sure*: all its rows do. Elsewhere a needle can lie inside a
//! value: the columns are searched, each in one pass. Or it can lie across the *border* of a fixed text and a
//! value: where the text fits, the values are looked at that would have to start or end as the needle goes on or
//! begins, and the rows are rebuilt in which one does.
//!
//! A block is searched as a whole, whichever of its rows are asked for, unless those are few, and what was found is
//! kept for the rest of the query: it asks for one run after the other.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::needles::{LetterCase, Needles, SearchId};
use crate::shred_head::{ColumnForm, Piece, Slot, Template};
use crate::shred_trigrams::TRIGRAM_BYTES;
use crate::shred_values::{may_shape_end, may_shape_hold, may_shape_start};
use crate::shredded::Shredded;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Searches of fewer rows than one in so many, all together, rebuild them: a search of a block as a whole decodes few
/// columns, where a single line needs all of its own.
const FEW_ROWS: usize = 512;

/// With more borders than that for each piece of a template its rows are rebuilt: a literal of one letter
/// repeated can be cut anywhere.
const BORDERS_PER_PIECE_MAX: usize = 4;

/// Most searches of a block that are kept: few queries have more filters that are searched for.
const SEARCHES_MAX: usize = 4;

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

    /// Returns how many of some rows it holds.
    pub(crate) fn count(&self, rows: &Range<u32>) -> u32 {
        self.words_in(rows).map(|(_, word)| word.count_ones()).sum()
    }

    /// Appends those of some rows that it holds, ascending.
    pub(crate) fn push_rows(&self, rows: &Range<u32>, out: &mut Vec<u32>) {
        for (first, word) in self.words_in(rows) {
            let mut rest = word;
            while rest != 0 {
                out.push(first + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
    }

    /// Returns the words that speak of some rows, without the bits of others, each with the row of its first bit.
    fn words_in(&self, rows: &Range<u32>) -> impl Iterator<Item = (u32, u64)> {
        let from = rows.start.saturating_sub(self.first);
        let end = rows.end.saturating_sub(self.first).max(from);
        let places = (0u32..).step_by(64).zip(&self.words);
        let until = end.div_ceil(64) as usize;
        places.take(until).skip(from as usize / 64).map(move |(place, &word)| {
            let below = u64::MAX.checked_shl(from.saturating_sub(place)).unwrap_or(0);
            let above = u64::MAX.checked_shl(end - place).unwrap_or(0);
            (self.first + place, word & below & !above)
        })
    }
}

/// What was found in a block by the searches of now: no search of another query goes by it.
#[derive(Debug, Default)]
pub(crate) struct Searches(Mutex<VecDeque<Known>>);

#[derive(Debug)]
struct Known {
    search: SearchId,
    /// Rows that were rebuilt since few were asked for.
    rebuilt: usize,
    rows: Option<Arc<RowSet>>,
}

impl Searches {
    fn known(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a search has found, or how many rows are rebuilt for it with `more` of them.
    fn found_or_rebuilt(&self, search: &SearchId, more: usize) -> Result<Arc<RowSet>, usize> {
        let mut known = self.known();
        if let Some(one) = known.iter_mut().find(|known| known.search == *search) {
            one.rebuilt += more;
            return one.rows.as_ref().map(Arc::clone).ok_or(one.rebuilt);
        }
        if known.len() == SEARCHES_MAX {
            known.pop_front();
        }
        known.push_back(Known { search: search.clone(), rebuilt: more, rows: None });
        Err(more)
    }

    fn keep(&self, search: &SearchId, rows: &Arc<RowSet>) {
        if let Some(known) = self.known().iter_mut().find(|known| known.search == *search) {
            known.rows = Some(Arc::clone(rows));
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let known = self.known();
        known.iter().filter_map(|known| known.rows.as_ref()).map(|rows| rows.words.len() * 8).sum()
    }
}

/// A place in a template that a needle may lie across, if the value there is as the edge wants.
#[derive(Clone, Copy, Debug)]
struct Border<'a> {
    slot: Slot,
    edge: Edge<'a>,
}

/// What a value must be for a needle to lie across one of its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge<'a> {
    side: Side<'a>,
    case: LetterCase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side<'a> {
    /// Start with this rest of the needle, or be the start of it.
    Start(&'a [u8]),
    /// End with this start of the needle.
    End(&'a [u8]),
}

impl Edge<'_> {
    /// Returns whether a value is.
    #[inline]
    pub(crate) fn fits(self, value: &[u8]) -> bool {
        match self.side {
            Side::Start(rest) => {
                let both = value.len().min(rest.len());
                let (value, rest) = (value.get(..both), rest.get(..both));
                value.zip(rest).is_some_and(|(value, rest)| self.case.eq(value, rest))
            }
            Side::End(start) => self.case.ends(value, start),
        }
    }
}

impl Shredded {
    /// Returns rows that hold one of the texts, none of which is empty: of `rows` all that do.
    pub(crate) fn search(
        &self,
        block: &Block,
        needles: &Needles<'_>,
        rows: &Range<u32>,
    ) -> Result<Arc<RowSet>, Error> {
        let rebuilt = match self.searches.found_or_rebuilt(needles.id(), rows.len()) {
            Ok(found) => return Ok(found),
            Err(rebuilt) => rebuilt,
        };
        if rebuilt * FEW_ROWS < self.template_of.len() {
            let mut found = RowSet::new(rows);
            self.search_rebuilt(block, needles, rows.clone(), &mut found)?;
            return Ok(Arc::new(found));
        }
        let found = Arc::new(self.search_all(block, needles)?);
        self.searches.keep(needles.id(), &found);
        Ok(found)
    }

    /// Rebuilds rows and adds those that hold one of the texts.
    fn search_rebuilt(
        &self,
        block: &Block,
        needles: &Needles<'_>,
        rows: impl Iterator<Item = u32>,
        found: &mut RowSet,
    ) -> Result<(), Error> {
        let mut line = Vec::new();
        for row in rows {
            line.clear();
            self.push_line(block, row, &mut line)?;
            if needles.are_in(&line) {
                found.insert(row);
            }
        }
        Ok(())
    }

    fn search_all(&self, block: &Block, needles: &Needles<'_>) -> Result<RowSet, Error> {
        let rows = u32::try_from(self.template_of.len()).unwrap_or(u32::MAX);
        let mut found = RowSet::new(&(0..rows));
        let is_sure = self.sure_templates(needles);
        if is_sure.contains(&true) {
            let is_sure = |template: &u16| is_sure.get(usize::from(*template)) == Some(&true);
            for (word, templates) in found.words.iter_mut().zip(self.template_of.chunks(64)) {
                let bits =
                    templates.iter().zip(0..).map(|(template, bit)| u64::from(is_sure(template)) << bit);
                *word = bits.fold(0, |word, bit| word | bit);
            }
        }
        let mut is_wanted = vec![false; self.head.columns.len()];
        let mut borders = Vec::new();
        let mut is_candidate = Vec::new();
        for (template, _) in self.head.templates.iter().zip(&is_sure).filter(|(_, is_sure)| !**is_sure) {
            if template.rows().is_empty() {
                continue;
            }
            let pieces = self.head.pieces_of(template);
            for slot in pieces.iter().filter_map(|piece| piece.slot) {
                if let Some(wanted) = is_wanted.get_mut(slot.column as usize) {
                    *wanted = true;
                }
            }
            borders.clear();
            self.push_borders(pieces, needles, &mut borders);
            if borders.is_empty() {
                continue;
            }
            // So many that to look at each would take longer than to rebuild the rows.
            let are_many = borders.len() > pieces.len() * BORDERS_PER_PIECE_MAX;
            is_candidate.clear();
            is_candidate.resize(template.rows().len(), are_many);
            for border in borders.iter().filter(|_| !are_many) {
                if self.may_cross(block, border) {
                    let Border { slot, edge } = *border;
                    self.values(block, slot.column)?.find_edge(edge, slot.base, &mut is_candidate);
                }
            }
            if !is_candidate.contains(&true) {
                continue;
            }
            let candidates = self.rows_of(template).iter().zip(&is_candidate);
            let candidates = candidates.filter(|(_, is_candidate)| **is_candidate).map(|(&row, _)| row);
            self.search_rebuilt(block, needles, candidates, &mut found)?;
        }
        let mut hits = Vec::new();
        for (column, _) in (0u32..).zip(&is_wanted).filter(|(_, wanted)| **wanted) {
            let Some(table) = self.head.columns.get(column as usize) else { continue };
            if !may_hold(&table.form, needles) {
                continue;
            }
            hits.clear();
            self.find(block, column, needles, &mut hits)?;
            if !hits.is_empty() {
                self.for_each_row(self.head.slots_of(table), &hits, |row| found.insert(row));
            }
        }
        Ok(found)
    }

    /// Returns for each template whether its fixed text holds one of the texts.
    ///
    /// The fixed texts of all templates lie end to end and are searched at once; a hit in several pieces is none.
    fn sure_templates(&self, needles: &Needles<'_>) -> Vec<bool> {
        let head = &self.head;
        let mut is_sure = vec![false; head.templates.len()];
        let (mut from, mut number) = (0, 0);
        while let Some(hit) = needles.find(&head.literals, from) {
            let others = head.templates.get(number..).unwrap_or_default();
            number += others.partition_point(|template| head.literals_of(template).end <= hit);
            let (Some(template), Some(is_sure)) = (head.templates.get(number), is_sure.get_mut(number))
            else {
                break;
            };
            let pieces = head.pieces_of(template);
            let piece = pieces.get(pieces.partition_point(|piece| piece.literal().end <= hit));
            let Some(piece) = piece else { break };
            *is_sure = needles.are_in(head.literal(piece));
            from = if *is_sure { head.literals_of(template).end } else { piece.literal().end };
        }
        is_sure
    }

    /// Appends the numbers of the values of a column that hold one of the texts, ascending.
    ///
    /// Cost: of what is not decoded yet, only as much as it takes to see that there are none: of a dictionary the distinct
    /// values, of a text not where the values end, and nothing of a text whose trigrams tell.
    fn find(
        &self,
        block: &Block,
        column: u32,
        needles: &Needles<'_>,
        hits: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let Some(table) = self.head.columns.get(column as usize) else { return Ok(()) };
        let mut known = None;
        if self.known_values(column).is_none()
            && let Some(stream) = text_of(&table.form)
        {
            if !self.may_text_hold(block, stream, needles) {
                return Ok(());
            }
            let text = self.kept_stream(block, stream)?;
            if needles.find(&text, 0).is_none() {
                self.keep_stream(stream, text);
                return Ok(());
            }
            known = Some((stream, text));
        }
        self.values_knowing(block, column, known)?.find(needles, table.values, hits);
        Ok(())
    }

    /// Returns whether a stream of text may hold one of the texts, as far as that shows without decompressing it.
    fn may_text_hold(&self, block: &Block, stream: u32, needles: &Needles<'_>) -> bool {
        let bytes = self.head.streams.get(stream as usize).map_or(0, |stream| stream.range.len());
        let shortest = needles.texts().iter().map(Vec::len).min().unwrap_or(0);
        if bytes < shortest {
            return false;
        }
        let trigrams = self.trigrams(block);
        needles.trigrams().iter().any(|sought| trigrams.may_hold(stream, sought))
    }

    /// Returns whether a border may be crossed, as far as trigrams tell of the values there.
    fn may_cross(&self, block: &Block, border: &Border<'_>) -> bool {
        let Side::End(start) = border.edge.side else { return true };
        let column = border.slot.column;
        let form = self.head.columns.get(column as usize).map(|column| &column.form);
        match form.and_then(text_of) {
            Some(stream) if start.len() >= TRIGRAM_BYTES && self.known_values(column).is_none() => {
                start.contains(&b'\n') || self.trigrams(block).may_hold_text(stream, start)
            }
            _ => true,
        }
    }

    /// Calls `act` with the row of each value of a column; both are ascending.
    fn for_each_row(&self, slots: &[u32], values: &[u32], mut act: impl FnMut(u32)) {
        let mut values = values.iter().peekable();
        let mut template_at = 0;
        for &number in slots {
            let Some(slot) = self.head.slots.get(number as usize) else { return };
            let others = self.head.templates.get(template_at..).unwrap_or_default();
            let has_slot = |template: &Template| template.slots().end > number as usize;
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

    /// Appends the borders that a needle may lie across.
    fn push_borders<'a>(&self, pieces: &[Piece], needles: &'a Needles<'_>, out: &mut Vec<Border<'a>>) {
        let case = needles.case();
        let mut next = pieces.iter().skip(1);
        for piece in pieces {
            let follower = next.next();
            let Some(slot) = piece.slot else { continue };
            let Some(column) = self.head.columns.get(slot.column as usize) else { continue };
            let before = self.head.literal(piece);
            let after = follower.map(|piece| self.head.literal(piece)).unwrap_or_default();
            let has_more = follower.is_some_and(|piece| piece.slot.is_some());
            // The needle starts in the text before the value and reaches into it.
            for (start, rest) in needles.with_front(before) {
                if case.ends(before, start) && may_start(&column.form, rest, case) {
                    out.push(Border { slot, edge: Edge { side: Side::Start(rest), case } });
                }
            }
            // It starts in the value and reaches into the text behind, perhaps beyond it.
            let mut refused: Option<&[u8]> = None;
            let mut reach = |start: &'a [u8], rest: &'a [u8]| {
                // Texts that start alike follow each other.
                if refused == Some(start) {
                    return;
                }
                let goes_on = if after.len() >= rest.len() {
                    case.starts(after, rest)
                } else {
                    has_more && case.starts(rest, after)
                };
                let border = Border { slot, edge: Edge { side: Side::End(start), case } };
                let is_known = |last: &Border<'_>| {
                    (last.slot.column, last.slot.base) == (slot.column, slot.base)
                        && last.edge.side == border.edge.side
                };
                if goes_on && !out.last().is_some_and(is_known) {
                    match may_end(&column.form, start, case) {
                        true => out.push(border),
                        false => refused = Some(start),
                    }
                }
            };
            if !after.is_empty() {
                needles.with_back(after).for_each(|(start, rest)| reach(start, rest));
            } else if has_more {
                needles.everywhere().for_each(|(start, rest)| reach(start, rest));
            }
        }
    }
}

/// Returns the stream that every value of this form is a part of, if it is text.
fn text_of(form: &ColumnForm) -> Option<u32> {
    match form {
        ColumnForm::Text(stream) | ColumnForm::SizedText(stream, _) => Some(*stream),
        ColumnForm::Dictionary { values, .. } => text_of(values),
        _ => None,
    }
}

/// Returns whether a value of this form can start with `rest`, or be its start, as far as that shows without
/// decoding it. An empty value is possible only in text, which can be anything.
fn may_start(form: &ColumnForm, rest: &[u8], case: LetterCase) -> bool {
    let Some(byte) = rest.first() else { return true };
    match form {
        ColumnForm::Numbers(_) | ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => may_shape_start(fields, rest, case),
        ColumnForm::Dictionary { values, .. } => may_start(values, rest, case),
        _ => true,
    }
}

/// Returns whether a value of this form can end with `start`, as far as that shows without decoding it.
fn may_end(form: &ColumnForm, start: &[u8], case: LetterCase) -> bool {
    let Some(byte) = start.last() else { return true };
    match form {
        ColumnForm::Numbers(_) => start.len() <= 20 && start.iter().all(u8::is_ascii_digit),
        ColumnForm::Addresses(_) => byte.is_ascii_digit(),
        ColumnForm::Shape { fields, .. } => may_shape_end(fields, start, case),
        ColumnForm::Dictionary { values, .. } => may_end(values, start, case),
        _ => true,
    }
}

/// Returns whether values of this form can hold one of the texts, as far as that shows without decoding them.
pub(crate) fn may_hold(form: &ColumnForm, needles: &Needles<'_>) -> bool {
    match form {
        ColumnForm::Numbers(_) => needles.texts().iter().any(|text| may_number_hold(text)),
        ColumnForm::Addresses(_) => needles.texts().iter().any(|text| may_address_hold(text)),
        ColumnForm::Shape { fields, .. } => may_shape_hold(fields, needles.texts(), needles.case()),
        ColumnForm::Constant(text) => needles.are_in(text),
        ColumnForm::Dictionary { values, .. } => may_hold(values, needles),
        ColumnForm::Text(_) | ColumnForm::SizedText(..) => true,
    }
}

fn may_number_hold(text: &[u8]) -> bool {
    text.len() <= 20 && text.iter().all(u8::is_ascii_digit)
}

fn may_address_hold(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}
