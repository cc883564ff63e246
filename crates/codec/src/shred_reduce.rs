//! Lines reduced to what a parser looks at, and which of them are alike.
//!
//! Of a JSON line with thirty keys `{"status":500,"router":"web"}` is left, of a line of pairs `status=500 router=web`: a parser that wants these keys alone reads the
//! same from it as from the whole one, and only the columns of these keys are decoded. That holds for lines of a
//! template whose keys are all certain (`shred_keys` says which those are). Of other lines that is left out what an
//! automaton only skips (`shred_automaton`). What cannot be reduced the reader takes whole.
//!
//! Reduced lines with few different values have a *class*: those of one class are equal, byte by byte, so that
//! what one of them gave need not be found out again.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::block::Block;
use crate::error::Error;
use crate::shred_automaton::{LineAutomaton, Reading};
use crate::shred_head::{Slot, Template};
use crate::shred_keys::{Found, KeyFormat, WalkedValue, find_all};
use crate::shred_split::SLOT;
use crate::shred_values::Values;
use crate::shredded::Shredded;
use std::ops::Range;

/// Lines of a template have classes if there are at most so many, and so many per line, of them.
const CLASSES_FREE: usize = 64;
const CLASSES_PER_LINE: usize = 2;
/// Most classes of all templates: what is kept for each class must stay small.
const CLASSES_MAX: usize = 1 << 14;
/// Of fewer rows than one in so many, each is looked at by itself.
const SPARSE_SHARE: usize = 16;

/// What lines are reduced to.
#[derive(Debug)]
pub enum Reduction {
    /// Some top-level keys of a JSON object, or of pairs, and their values, as they are written in the line.
    Keys {
        /// How lines write them.
        format: KeyFormat,
        /// The keys.
        keys: Vec<String>,
        /// That of the keys whose value, where it is a number, does not make lines differ in class.
        number: Option<String>,
    },
    /// What a parser may take something of, or needs to find its way.
    Text(LineAutomaton),
}

/// The reduced lines of one block.
#[derive(Debug)]
pub struct ReducedLines<'a> {
    block: &'a Block,
    shredded: &'a Shredded,
    /// By template; `None` if its lines are not reduced.
    templates: Vec<Option<Reduced<'a>>>,
    /// The parts of all templates, end to end.
    parts: Vec<Part<'a>>,
    /// What the parts' fixed texts are cut from.
    literals: Vec<u8>,
    /// The digits of all templates, end to end.
    digits: Vec<Digit<'a>>,
    /// Rows of templates that are reduced, which are not reduced themselves; ascending.
    others: Vec<u32>,
    rows_left: usize,
    classes: u32,
}

/// How the lines of a template are reduced.
#[derive(Debug)]
struct Reduced<'a> {
    parts: Range<usize>,
    /// The class of lines whose digits are all 0, and the digits; `None` if lines have no classes.
    classes: Option<(u32, Range<usize>)>,
    number: Option<ValuesOf<'a>>,
}

/// A fixed text and the value behind it.
#[derive(Debug)]
struct Part<'a> {
    literal: Range<usize>,
    values: Option<ValuesOf<'a>>,
}

/// The values of a template's lines in one place: those of a column, from a base on.
#[derive(Clone, Copy, Debug)]
struct ValuesOf<'a> {
    values: &'a Values,
    base: u32,
}

/// What a value adds to the class of its line: less than `radix`, or the line has none.
#[derive(Debug)]
struct Digit<'a> {
    of: ValuesOf<'a>,
    least: u64,
    radix: u32,
}

/// How many rows of a template are asked for, and their places among its rows.
#[derive(Clone, Debug, Default)]
struct Asked {
    rows: usize,
    ranks: Range<u32>,
}

impl Asked {
    /// Returns whether a look at all rows between the first and the last costs much more than one at those asked for.
    fn is_sparse(&self) -> bool {
        self.ranks.len() > self.rows.saturating_mul(SPARSE_SHARE)
    }
}

impl Block {
    /// Returns the lines of some rows reduced; `None` if lines are plain.
    ///
    /// Cost: a walk over each template that has one of the rows; decodes the columns of what is left, and those of
    /// which an automaton has to see the values.
    pub fn reduced(
        &self,
        reduction: &Reduction,
        rows: impl Iterator<Item = u32>,
    ) -> Result<Option<ReducedLines<'_>>, Error> {
        let Some(shredded) = self.shredded()? else { return Ok(None) };
        let mut lines = ReducedLines {
            block: self,
            shredded,
            templates: Vec::with_capacity(shredded.head.templates.len()),
            parts: Vec::new(),
            literals: Vec::new(),
            digits: Vec::new(),
            others: Vec::new(),
            rows_left: 0,
            classes: 0,
        };
        for (template, asked) in shredded.head.templates.iter().zip(asked_by_template(shredded, rows)) {
            let reduced = lines.reduce(template, reduction, &asked).map_err(|error| self.located(error))?;
            if reduced.is_none() {
                lines.rows_left += asked.rows;
            }
            lines.templates.push(reduced);
        }
        lines.others.sort_unstable();
        lines.others.dedup();
        lines.rows_left += lines.others.len();
        Ok(Some(lines))
    }
}

fn asked_by_template(shredded: &Shredded, rows: impl Iterator<Item = u32>) -> Vec<Asked> {
    let mut all = vec![Asked::default(); shredded.head.templates.len()];
    for row in rows {
        let number = shredded.template_of.get(row as usize).map(|&number| usize::from(number));
        let asked = number.and_then(|number| all.get_mut(number));
        let (Some(asked), Some(&rank)) = (asked, shredded.rank().get(row as usize)) else { continue };
        asked.ranks = match asked.rows {
            0 => rank..rank.saturating_add(1),
            _ => asked.ranks.start.min(rank)..asked.ranks.end.max(rank.saturating_add(1)),
        };
        asked.rows += 1;
    }
    all
}

impl<'a> ReducedLines<'a> {
    /// Returns how many of the rows have lines that are not reduced.
    pub fn rows_left(&self) -> usize {
        self.rows_left
    }

    /// Returns how many classes there are: about two per row, and some ten thousand, at most.
    pub fn classes(&self) -> usize {
        self.classes as usize
    }

    /// Returns the class of a row's reduced line, less than [`ReducedLines::classes`]. Lines of one class are equal, but
    /// for the number that the reduction named.
    pub fn class_of(&self, row: u32) -> Option<u32> {
        let (reduced, rank) = self.reduced_of(row)?;
        let (first, digits) = reduced.classes.as_ref()?;
        let mut class = 0;
        for digit in self.digits.get(digits.clone()).unwrap_or_default() {
            class = class * digit.radix + digit.of(rank)?;
        }
        Some(first + class)
    }

    /// Returns the number that the reduction named, for a row with a class, unless it made the class.
    pub fn number_of(&self, row: u32) -> Option<u64> {
        let (reduced, rank) = self.reduced_of(row)?;
        let ValuesOf { values, base } = reduced.number?;
        match values {
            Values::Numbers(numbers) => Some(numbers.get(base.saturating_add(rank) as usize)),
            _ => None,
        }
    }

    /// Appends the reduced line of a row that was asked for. Returns false, with nothing appended, if it is not reduced.
    pub fn line_into(&self, row: u32, out: &mut Vec<u8>) -> bool {
        let Some((reduced, rank)) = self.reduced_of(row) else { return false };
        for part in self.parts.get(reduced.parts.clone()).unwrap_or_default() {
            out.extend_from_slice(self.literals.get(part.literal.clone()).unwrap_or_default());
            if let Some(ValuesOf { values, base }) = part.values {
                values.render(base.saturating_add(rank), out);
            }
        }
        true
    }

    fn reduced_of(&self, row: u32) -> Option<(&Reduced<'a>, u32)> {
        let number = *self.shredded.template_of.get(row as usize)?;
        let reduced = self.templates.get(usize::from(number))?.as_ref()?;
        if !self.others.is_empty() && self.others.binary_search(&row).is_ok() {
            return None;
        }
        Some((reduced, *self.shredded.rank().get(row as usize)?))
    }

    /// Adds a template; `None` if its lines cannot be reduced.
    fn reduce(
        &mut self,
        template: &Template,
        reduction: &Reduction,
        asked: &Asked,
    ) -> Result<Option<Reduced<'a>>, Error> {
        if asked.rows == 0 {
            return Ok(None);
        }
        let before = (self.parts.len(), self.literals.len(), self.others.len());
        let (number, is_shorter) = match reduction {
            Reduction::Keys { format, keys, number } => {
                self.reduce_keys(template, (*format, keys), number.as_deref())?
            }
            Reduction::Text(automaton) => (None, self.reduce_text(template, automaton, asked)?),
        };
        let parts = before.0..self.parts.len();
        let classes = if is_shorter.is_some() { self.classify(parts.clone(), number, asked) } else { None };
        if is_shorter == Some(true) || classes.is_some() {
            let number = number.filter(|_| classes.is_some());
            return Ok(Some(Reduced { parts, classes, number }));
        }
        self.parts.truncate(before.0);
        self.literals.truncate(before.1);
        self.others.truncate(before.2);
        Ok(None)
    }

    /// Gives lines with these parts their classes, unless they would be too many.
    fn classify(
        &mut self,
        parts: Range<usize>,
        number: Option<ValuesOf<'a>>,
        asked: &Asked,
    ) -> Option<(u32, Range<usize>)> {
        if asked.is_sparse() {
            return None;
        }
        let start = self.digits.len();
        let most = asked.rows.saturating_mul(CLASSES_PER_LINE).saturating_add(CLASSES_FREE);
        let most = most.min(CLASSES_MAX.saturating_sub(self.classes as usize));
        let mut classes = 1usize;
        for part in self.parts.get(parts).unwrap_or_default() {
            let Some(of) = part.values else { continue };
            if number.is_some_and(|number| std::ptr::eq(number.values, of.values) && number.base == of.base) {
                continue;
            }
            let digit = Digit::new(of, asked.ranks.clone(), most);
            classes = classes.saturating_mul(digit.as_ref().map_or(usize::MAX, |digit| digit.radix as usize));
            self.digits.extend(digit);
            if classes > most {
                self.digits.truncate(start);
                return None;
            }
        }
        let first = self.classes;
        self.classes = first.checked_add(u32::try_from(classes).ok()?)?;
        Some((first, start..self.digits.len()))
    }

    /// Adds the parts of a template of lines with keys; says where the number is, and that lines are shorter, if they can
    /// be reduced.
    fn reduce_keys(
        &mut self,
        template: &Template,
        (format, keys): (KeyFormat, &[String]),
        number_key: Option<&str>,
    ) -> Result<(Option<ValuesOf<'a>>, Option<bool>), Error> {
        // Behind a backslash a key could be one that no parser reads to its end.
        if template.splitter != format.splitter() as u8 || self.shredded.head.text(template).contains(&b'\\')
        {
            return Ok((None, None));
        }
        let [opening, before_key, behind_key, between, closing]: [&[u8]; 5] = match format {
            KeyFormat::Json => [b"{", b"\"", b"\":", b",", b"}"],
            KeyFormat::Logfmt => [b"", b"", b"=", b" ", b""],
        };
        let found = find_all(self.shredded.head.text(template), format, keys);
        if found.contains(&Found::Unknown) {
            return Ok((None, None));
        }
        let (mut number, mut is_first) = (None, true);
        let mut start = self.literals.len();
        self.literals.extend_from_slice(opening);
        for (key, found) in keys.iter().zip(found) {
            let Found::Value { text, first_slot, form } = found else { continue };
            if !std::mem::take(&mut is_first) {
                self.literals.extend_from_slice(between);
            }
            self.literals.extend_from_slice(before_key);
            self.literals.extend_from_slice(key.as_bytes());
            self.literals.extend_from_slice(behind_key);
            let mut slots = first_slot..;
            for &byte in self.shredded.head.text(template).get(text).unwrap_or_default() {
                if byte != SLOT {
                    self.literals.push(byte);
                    continue;
                }
                let place = slots.next().and_then(|place| template.slots().start.checked_add(place));
                let slot = place.and_then(|place| self.shredded.head.slots.get(place));
                let Some(&slot) = slot else {
                    return Err(Error::corrupt("templates", "a template has too few slots"));
                };
                let of = self.values_of(slot)?;
                let is_number = matches!((of.values, form), (Values::Numbers(_), WalkedValue::Slot { .. }));
                if is_number && number_key == Some(key) {
                    number = Some(of);
                }
                self.push_part(&mut start, Some(of));
            }
        }
        self.literals.extend_from_slice(closing);
        self.push_part(&mut start, None);
        Ok((number, Some(true)))
    }

    /// Adds the parts of a template that an automaton does not only skip; says whether something is left out, if lines
    /// can be reduced.
    fn reduce_text(
        &mut self,
        template: &Template,
        automaton: &LineAutomaton,
        asked: &Asked,
    ) -> Result<Option<bool>, Error> {
        if asked.is_sparse() {
            return Ok(None);
        }
        let shredded = self.shredded;
        let head = &shredded.head;
        let mut start = self.literals.len();
        let mut is_shorter = false;
        // `None` behind values that lead to different states.
        let mut state = Some(automaton.start());
        let ends = |state: Option<u16>| state.is_some_and(|state| automaton.reading(state) == Reading::Ends);
        'pieces: for piece in head.pieces_of(template) {
            for &byte in head.literal(piece) {
                if ends(state) {
                    is_shorter = true;
                    break 'pieces;
                }
                self.literals.push(byte);
                state = state.map(|state| automaton.next(state, byte));
            }
            let Some(slot) = piece.slot else { break };
            if ends(state) {
                is_shorter = true;
                break;
            }
            let from = state;
            let form = head.columns.get(slot.column as usize).map(|column| &column.form);
            let known = from.and_then(|from| automaton.read_form(from, form?));
            if let Some((passage, example)) = &known {
                state = Some(passage.exit);
                if !passage.is_taken {
                    is_shorter = true;
                    self.literals.extend_from_slice(example);
                    continue;
                }
            }
            let of = self.values_of(slot)?;
            if let (None, Some(from)) = (known, from) {
                let index = |rank: u32| of.base.saturating_add(rank);
                let indexes = index(asked.ranks.start)..index(asked.ranks.end);
                let passages = automaton.read_all(from, of.values, indexes);
                state = passages.as_ref().map(|passages| passages.common.exit);
                if let Some(passages) = passages {
                    let rows = shredded.rows_of(template);
                    let row_of = |index: &u32| rows.get(index.checked_sub(of.base)? as usize).copied();
                    self.others.extend(passages.others.iter().filter_map(row_of));
                    if !passages.common.is_taken {
                        is_shorter = true;
                        of.values.render(passages.example, &mut self.literals);
                        continue;
                    }
                }
            }
            self.push_part(&mut start, Some(of));
        }
        self.push_part(&mut start, None);
        Ok(Some(is_shorter))
    }

    /// Adds the fixed text since the last part, and the value behind it.
    fn push_part(&mut self, start: &mut usize, values: Option<ValuesOf<'a>>) {
        let end = self.literals.len();
        self.parts.push(Part { literal: *start..end, values });
        *start = end;
    }

    fn values_of(&self, slot: Slot) -> Result<ValuesOf<'a>, Error> {
        Ok(ValuesOf { values: self.shredded.values(self.block, slot.column)?, base: slot.base })
    }
}

impl<'a> Digit<'a> {
    /// Makes the digit of values at some ranks; `None` if there are more than `most`.
    fn new(of: ValuesOf<'a>, ranks: Range<u32>, most: usize) -> Option<Self> {
        let (least, count) = match of.values {
            Values::Constant(_) => (0, 1),
            Values::Dictionary(dictionary) => (0, dictionary.values.rows()),
            Values::Numbers(numbers) => {
                let each = || ranks.clone().map(|rank| numbers.get(of.base.saturating_add(rank) as usize));
                let (least, largest) = (each().min()?, each().max()?);
                (least, usize::try_from(largest - least).ok()?.checked_add(1)?)
            }
            Values::Shape(_) | Values::Addresses(_) | Values::Text(_) => return None,
        };
        let radix = u32::try_from(count).ok().filter(|_| count <= most)?;
        Some(Self { of, least, radix })
    }

    fn of(&self, rank: u32) -> Option<u32> {
        let ValuesOf { values, base } = self.of;
        let index = base.saturating_add(rank);
        let digit = match values {
            Values::Constant(_) => 0,
            Values::Dictionary(dictionary) => dictionary.code(index),
            Values::Numbers(numbers) => {
                u32::try_from(numbers.get(index as usize).checked_sub(self.least)?).ok()?
            }
            Values::Shape(_) | Values::Addresses(_) | Values::Text(_) => return None,
        };
        (digit < self.radix).then_some(digit)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use crate::{Block, BlockBuilder, Entries, KeyFormat, LineCodec, LineOutcome, Reduction};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn block(lines: &[String]) -> Block {
        let mut entries = Entries::new();
        lines.iter().for_each(|line| entries.push(0, line.as_bytes(), "", &LabelSet::default()));
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..entries.len());
        let encoded = builder.finish_with(LineCodec::BEST);
        assert_eq!(encoded.line_outcome, LineOutcome::Shredded);
        Block::open(Arc::new(encoded.meta), Arc::new(bytes::Bytes::from(encoded.bytes)), 0)
    }

    /// The reduced lines of the rows; `?` for one that is not reduced.
    fn reduced(lines: &[String], keys: &[&str]) -> Vec<String> {
        let block = block(lines);
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let reduction = Reduction::Keys { format: KeyFormat::Json, keys, number: None };
        let reduced = block.reduced(&reduction, 0..block.rows()).unwrap().unwrap();
        let last = block.reduced(&reduction, block.rows() - 1..block.rows()).unwrap().unwrap();
        assert!(last.rows_left() <= 1);
        let mut left = 0;
        let all = (0..block.rows()).map(|row| {
            let mut line = Vec::new();
            if !reduced.line_into(row, &mut line) {
                assert!(line.is_empty());
                left += 1;
                return "?".to_owned();
            }
            String::from_utf8(line).unwrap()
        });
        let all: Vec<String> = all.collect();
        assert_eq!(left, reduced.rows_left());
        all
    }

    #[test]
    fn keys_stand_as_in_the_line() {
        let lines: Vec<String> = (0..600)
            .map(|row| match row % 4 {
                0 => format!(
                    r#"{{"status":{}, "path":"/a/{}", "n":{{"status":1}}, "at":"10.0.0.{}:{row}"}}"#,
                    200 + row % 7,
                    row % 5,
                    row % 9
                ),
                1 => format!(r#"{{"path":"x\"{row}","took":-{}.5,"at":null}}"#, row % 11),
                2 => format!("status={} path=\"/b\"", row * 1000),
                _ => format!(r#"{{"other":[{row},"status"]}}"#),
            })
            .collect();
        let both = reduced(&lines, &["status", "at"]);
        assert_eq!(
            both[..5],
            [
                r#"{"status":200,"at":"10.0.0.0:0"}"#,
                r#"{"at":null}"#,
                "?",
                "{}",
                r#"{"status":204,"at":"10.0.0.4:4"}"#
            ]
        );
        assert_eq!(reduced(&lines, &["took"])[1], r#"{"took":-1.5}"#);
        assert_eq!(reduced(&lines, &["path"])[..2], [r#"{"path":"/a/0"}"#, r#"{"path":"x\"1"}"#]);
        assert_eq!(reduced(&lines, &["n_status"])[..2], ["?", "{}"], "it may be made of a nested one");
        assert_eq!(reduced(&lines, &[])[..3], ["{}", "{}", "?"]);
    }

    #[test]
    fn keys_that_are_no_plain_texts_leave_the_line_whole() {
        let odd: Vec<String> =
            (0..600).map(|row| format!(r#"{{"a":{row},"n":{{"b\q":"{row} x"}}}}"#)).collect();
        assert_eq!(reduced(&odd, &["a"])[0], "?");
        let twice: Vec<String> =
            (0..600).map(|row| format!(r#"{{"a":{row},"b":"{row} x","a":1}}"#)).collect();
        assert_eq!(reduced(&twice, &["a"])[7], "?");
        assert_eq!(reduced(&twice, &["b"])[7], r#"{"b":"7 x"}"#);
    }
}
