//! Which values of a template's lines a parser looks at: found out once for all lines of the template.
//!
//! A parser that reads a line from its start to its end is an automaton: a state, and for each byte the next one. In
//! the fixed text of a template all lines go from state to state alike. Where a value follows, they still do if all
//! values that stand there lead from the one state to the same other one; then, if the parser takes nothing from
//! the text that it reads meanwhile, one value may stand for all of them and none has to be put in. Numbers and
//! addresses are told by what they are written with, other values by a look at each distinct one.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::shred_head::ColumnForm;
use crate::shred_shape::Field;
use crate::shred_values::Values;
use memchr::memchr;
use std::ops::Range;

/// Most states that are followed side by side through a shape.
const SIDE_BY_SIDE_MAX: usize = 8;
/// Of more values than one in so many, none may lead elsewhere: all lines are then built with what stands there.
const OTHERS_SHARE: usize = 8;

/// What a parser does with the text that it reads in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing comes of it but the state that follows.
    Skips,
    /// It may take something of it.
    Takes,
    /// Nothing, nor of anything behind it, whatever that is.
    Ends,
}

/// A parser of lines, as far as it says which parts of a line matter.
///
/// A line in which texts are exchanged that are only skipped, and lead from state to state as before, and which
/// is cut off where the parser ends, must give the parser's reader the same.
#[derive(Debug)]
pub struct LineAutomaton {
    /// The first is the one that lines begin with.
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    reading: Reading,
    next: [u16; 256],
    leaves: Leaves,
}

/// The bytes that lead from a state to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Never,
    At(u8),
    Often,
}

/// What a text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// The state behind it.
    pub(crate) exit: u16,
    /// Whether something may be taken of it.
    pub(crate) is_taken: bool,
}

/// What all values do that stand in a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passages {
    pub(crate) common: Passage,
    /// The index of a value that does it.
    pub(crate) example: u32,
    /// The indexes of those that lead to another state, ascending.
    pub(crate) others: Vec<u32>,
}

impl LineAutomaton {
    /// Most states.
    pub const STATES_MAX: usize = 512;

    /// Makes an automaton of what it does in each state, and the next state by byte; lines begin in the first.
    ///
    /// Panics: if there is no state, if there are too many, or if a next one is none of them.
    pub fn new(states: Vec<(Reading, [u16; 256])>) -> Self {
        let count = states.len();
        assert!((1..=Self::STATES_MAX).contains(&count), "{count} states");
        let whole = |(number, (reading, next)): (u16, (Reading, [u16; 256]))| {
            assert!(next.iter().all(|&state| usize::from(state) < count), "a next state is none of {count}");
            let mut leaving = (0..=u8::MAX).zip(next).filter(|&(_, state)| state != number);
            let leaves = match (leaving.next(), leaving.next()) {
                _ if reading == Reading::Ends => Leaves::Never,
                (None, _) => Leaves::Never,
                (Some((byte, _)), None) => Leaves::At(byte),
                _ => Leaves::Often,
            };
            State { reading, next, leaves }
        };
        Self { states: (0..).zip(states).map(whole).collect() }
    }

    pub(crate) fn start(&self) -> u16 {
        0
    }

    pub(crate) fn reading(&self, state: u16) -> Reading {
        self.states.get(usize::from(state)).map_or(Reading::Takes, |state| state.reading)
    }

    fn takes(&self, state: u16) -> bool {
        self.reading(state) == Reading::Takes
    }

    fn leaves(&self, state: u16) -> Leaves {
        self.states.get(usize::from(state)).map_or(Leaves::Never, |state| state.leaves)
    }

    pub(crate) fn next(&self, state: u16, byte: u8) -> u16 {
        let next = self.states.get(usize::from(state)).and_then(|state| state.next.get(usize::from(byte)));
        next.copied().unwrap_or(state)
    }

    /// Reads a text.
    pub(crate) fn read(&self, from: u16, text: &[u8]) -> Passage {
        let (mut state, mut at) = (from, 0);
        let mut is_taken = self.takes(state);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            match self.leaves(state) {
                Leaves::Never => break,
                Leaves::At(byte) => match memchr(byte, rest) {
                    Some(before) => at += before,
                    None => break,
                },
                Leaves::Often => {}
            }
            let Some(&byte) = text.get(at) else { break };
            state = self.next(state, byte);
            is_taken |= self.takes(state);
            at += 1;
        }
        Passage { exit: state, is_taken }
    }

    /// Reads any value of a column, as far as its form tells where that leads, and makes one that does.
    pub(crate) fn read_form(&self, from: u16, form: &ColumnForm) -> Option<(Passage, Vec<u8>)> {
        match form {
            ColumnForm::Constant(text) => Some((self.read(from, text), text.clone())),
            ColumnForm::Numbers(_) => Some((self.read_any_of(from, b"0123456789")?, b"0".to_vec())),
            ColumnForm::Addresses(_) => Some((self.read_any_of(from, b"0123456789.")?, b"0.0.0.0".to_vec())),
            ColumnForm::Shape { fields, .. } => self.read_shape(from, fields),
            ColumnForm::Dictionary { .. } | ColumnForm::Text(_) | ColumnForm::SizedText(..) => None,
        }
    }

    /// Reads the values of some indexes, at least one; `None` if too many of them lead to different states.
    pub(crate) fn read_all(&self, from: u16, values: &Values, indexes: Range<u32>) -> Option<Passages> {
        if let Values::Dictionary(dictionary) = values
            && dictionary.values.rows() <= indexes.len()
        {
            let codes = 0..u32::try_from(dictionary.values.rows()).unwrap_or(u32::MAX);
            let by_code: Vec<Passage> =
                codes.map(|code| self.read(from, dictionary.values.get(code))).collect();
            return match by_code.split_first() {
                Some((first, others)) if others.iter().all(|other| other.exit == first.exit) => {
                    let is_taken = by_code.iter().any(|passage| passage.is_taken);
                    let common = Passage { is_taken, ..*first };
                    Some(Passages { common, example: indexes.start, others: Vec::new() })
                }
                _ => most(indexes, |index| by_code.get(dictionary.code(index) as usize).copied()),
            };
        }
        let mut value = Vec::new();
        most(indexes, |index| {
            Some(match values {
                Values::Text(lines) => self.read(from, lines.get(index)),
                _ => {
                    value.clear();
                    values.render(index, &mut value);
                    self.read(from, &value)
                }
            })
        })
    }

    /// Reads any text of some bytes but the empty one; `None` if it is not sure where that leads.
    fn read_any_of(&self, from: u16, bytes: &[u8]) -> Option<Passage> {
        let exit = self.next(from, *bytes.first()?);
        let stays = bytes.iter().all(|&byte| self.next(from, byte) == exit && self.next(exit, byte) == exit);
        stays.then(|| Passage { exit, is_taken: self.takes(from) || self.takes(exit) })
    }

    /// Reads any value of a shape; `None` if it is not sure where that leads.
    fn read_shape(&self, from: u16, fields: &[Field]) -> Option<(Passage, Vec<u8>)> {
        let mut example = Vec::new();
        let (mut states, mut nexts) = (vec![from], Vec::new());
        let mut is_taken = self.takes(from);
        for field in fields {
            match field {
                Field::Text(text) => example.extend_from_slice(text),
                _ => example.resize(example.len() + field.bytes(), b'0'),
            }
            let mut step = |bytes: &[u8]| {
                let leaves = |state: &u16| match self.leaves(*state) {
                    Leaves::Never => false,
                    Leaves::At(byte) => bytes.contains(&byte),
                    Leaves::Often => true,
                };
                if !states.iter().any(leaves) {
                    return;
                }
                nexts.clear();
                for &state in &states {
                    nexts.extend(bytes.iter().map(|&byte| self.next(state, byte)));
                }
                nexts.sort_unstable();
                nexts.dedup();
                is_taken |= nexts.iter().any(|&state| self.takes(state));
                std::mem::swap(&mut states, &mut nexts);
            };
            match field {
                Field::Text(text) => text.iter().for_each(|&byte| step(&[byte])),
                Field::Digits(digits) => (0..*digits).for_each(|_| step(b"0123456789")),
                Field::Hex { digits, is_upper: true } => (0..*digits).for_each(|_| step(b"0123456789ABCDEF")),
                Field::Hex { digits, is_upper: false } => {
                    (0..*digits).for_each(|_| step(b"0123456789abcdef"));
                }
                Field::Time(form) => {
                    // Any of its bytes may stand anywhere: more than there is, never less.
                    let bytes = form.alphabet();
                    (0..field.bytes()).for_each(|_| step(&bytes));
                }
            }
            if states.len() > SIDE_BY_SIDE_MAX {
                return None;
            }
        }
        match states.as_slice() {
            &[exit] => Some((Passage { exit, is_taken }, example)),
            _ => None,
        }
    }
}

/// Finds what most values do.
fn most(indexes: Range<u32>, mut read: impl FnMut(u32) -> Option<Passage>) -> Option<Passages> {
    // The states that values lead to: how many do, the first that does, and whether something may be taken of any.
    let mut seen: Vec<(Passage, usize, u32)> = Vec::new();
    let mut exits = Vec::with_capacity(indexes.len());
    for index in indexes.clone() {
        let passage = read(index)?;
        exits.push(passage.exit);
        if let Some((known, count, _)) = seen.iter_mut().find(|(known, ..)| known.exit == passage.exit) {
            known.is_taken |= passage.is_taken;
            *count += 1;
        } else if seen.len() < SIDE_BY_SIDE_MAX {
            seen.push((passage, 1, index));
        } else {
            return None;
        }
    }
    let &(common, count, example) = seen.iter().max_by_key(|(_, count, _)| *count)?;
    if (indexes.len() - count) * OTHERS_SHARE > indexes.len() {
        return None;
    }
    let others = indexes.zip(exits).filter(|&(_, exit)| exit != common.exit).map(|(index, _)| index);
    Some(Passages { common, example, others: others.collect() })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::Reduction;
    use crate::shred_tests::{line, log, open, shredded};
    use proptest::prelude::*;

    /// Seeks a byte, and what follows it up to another one.
    fn between(open: u8, close: u8) -> LineAutomaton {
        let (mut first, mut second) = ([0; 256], [1; 256]);
        first[usize::from(open)] = 1;
        second[usize::from(close)] = 2;
        LineAutomaton::new(vec![(Reading::Skips, first), (Reading::Takes, second), (Reading::Ends, [2; 256])])
    }

    /// What is read where something may be taken: the states and bytes, in order.
    fn taken(automaton: &LineAutomaton, line: &[u8]) -> Vec<(u16, u8, u16)> {
        let (mut state, mut taken) = (automaton.start(), Vec::new());
        for &byte in line {
            if automaton.reading(state) == Reading::Ends {
                break;
            }
            let next = automaton.next(state, byte);
            if automaton.takes(state) || automaton.takes(next) {
                taken.push((state, byte, next));
            }
            state = next;
        }
        taken
    }

    /// Checks the reduced lines of each `step`th row; returns how many there are.
    fn check(automaton: LineAutomaton, lines: &[Vec<u8>], step: usize) -> usize {
        let block = open(&shredded(lines));
        let reduction = Reduction::Text(automaton);
        let Reduction::Text(automaton) = &reduction else { unreachable!() };
        let rows = (0..lines.len() as u32).step_by(step);
        let reduced = block.reduced(&reduction, rows.clone()).unwrap().unwrap();
        let mut by_class = vec![None; reduced.classes()];
        let (mut count, mut whole) = (0, 0);
        for row in rows {
            let (line, mut found) = (&lines[row as usize], Vec::new());
            if !reduced.line_into(row, &mut found) {
                assert_eq!((found.len(), reduced.class_of(row)), (0, None));
                whole += 1;
                continue;
            }
            assert_eq!(
                taken(automaton, &found),
                taken(automaton, line),
                "{:?}",
                line.escape_ascii().to_string()
            );
            count += 1;
            if let Some(class) = reduced.class_of(row) {
                let known = by_class[class as usize].get_or_insert_with(|| found.clone());
                assert_eq!(*known, found);
            }
        }
        assert!(whole <= reduced.rows_left());
        count
    }

    #[test]
    fn what_nobody_looks_at_is_left_out() {
        let lines = log(4000);
        assert_eq!(check(between(b'[', b']'), &lines, 1), 4000);
        assert_eq!(check(between(b'/', b' '), &lines, 3), 1334);
        let block = open(&shredded(&lines));
        let reduction = Reduction::Text(between(b'/', b' '));
        let reduced = block.reduced(&reduction, 0..4000).unwrap().unwrap();
        let line_of = |row: u32| {
            let mut line = Vec::new();
            assert!(reduced.line_into(row, &mut line));
            String::from_utf8(line).unwrap()
        };
        // One address and time stand for all of them; the path is taken, and what follows it is cut off.
        let (first, last) = (line_of(3), line_of(3999));
        assert!(
            first.starts_with("connection from 10.1.2.") && first.ends_with(" \"GET /jellyfin "),
            "{first}"
        );
        assert_eq!((&first, reduced.class_of(3)), (&last, reduced.class_of(3999)));
        assert!(reduced.class_of(3).is_some());
    }

    #[test]
    fn values_that_lead_elsewhere_are_others_or_too_many() {
        let every = |count: usize| {
            let line = |row: usize| match row % count {
                0 => format!("x \"a|{row}\" 1 end={}", row % 3),
                _ => format!("x \"ab{row}\" 1 end={}", row % 3),
            };
            (0..900).map(|row| line(row).into_bytes()).collect::<Vec<_>>()
        };
        // Takes what follows `=`, unless a `|` stands before.
        let mut first = [0; 256];
        (first[usize::from(b'=')], first[usize::from(b'|')]) = (1, 2);
        let automaton = || {
            LineAutomaton::new(vec![
                (Reading::Skips, first),
                (Reading::Takes, [1; 256]),
                (Reading::Ends, [2; 256]),
            ])
        };
        assert_eq!(check(automaton(), &every(100), 1), 891);
        assert_eq!(check(automaton(), &every(2), 1), 0);
    }

    fn automaton() -> impl Strategy<Value = LineAutomaton> {
        let reading = prop_oneof![
            3 => Just(Reading::Skips),
            1 => Just(Reading::Takes),
            1 => Just(Reading::Ends),
        ];
        // Few bytes lead elsewhere, among them those that stand between values.
        let leaving =
            proptest::collection::vec((prop::sample::select(b" \"[]:=,.-0a{u".to_vec()), 0u16..6), 0..4);
        let states = proptest::collection::vec((reading, leaving), 1..6);
        states.prop_map(|states| {
            let count = states.len() as u16;
            let whole = |(number, (reading, leaving)): (u16, (Reading, Vec<(u8, u16)>))| {
                let mut next = [number; 256];
                leaving.iter().for_each(|&(byte, state)| next[usize::from(byte)] = state % count);
                (reading, next)
            };
            LineAutomaton::new((0..).zip(states).map(whole).collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn reduced_lines_give_what_whole_ones_give(
            automaton in automaton(),
            lines in proptest::collection::vec(line(), 1..60),
            (copies, step) in (1usize..4, 1usize..4),
        ) {
            check(automaton, &vec![lines; copies].concat(), step);
        }
    }
}
