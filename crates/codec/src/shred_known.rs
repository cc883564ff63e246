//! Templates known from lines before: most lines are cut by following one, without finding their keys anew.
//!
//! A tree: each step is a text that must come next, and the rule that finds the value behind it. Templates that begin
//! alike share their first steps, and what is used often is tried first. Whatever line follows a path of the
//! tree to its end has what the template of that path promises, since its values were found by the same rules;
//! of any other line nothing is known, and it is split.

use crate::shred_split::{LINE_BYTES_MAX, Rule, Split};
use std::ops::Range;

/// Values that are remembered of a place: most columns repeat the same few, or hardly any.
const RECENT_MAX: usize = 4;

/// Ways to go on from one step: more would take longer to look through than a line takes to split. Of a system's log
/// more than a hundred texts may stand behind the name of a program and its number.
const WAYS_MAX: usize = 256;

/// Where a value lies in the text of all lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u32,
    pub(crate) bytes: u32,
}

/// Returns the first eight bytes of what stands at a place of a text, zeros behind the end.
fn front(text: &[u8], at: usize) -> u64 {
    let text = &text[at..];
    match text.first_chunk::<8>() {
        Some(front) => u64::from_le_bytes(*front),
        None => text.iter().rev().fold(0, |front, &byte| front << 8 | u64::from(byte)),
    }
}

/// Returns whether two texts that begin so have their first bytes in common.
fn begin_alike(front: u64, other: u64, bytes: usize) -> bool {
    let unlike = front ^ other;
    unlike == 0 || unlike.trailing_zeros() as usize / 8 >= bytes
}

/// Returns what of the first eight bytes belongs to a text of some bytes.
fn mask(bytes: usize) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 }
}

impl Place {
    pub(crate) fn new(range: Range<usize>) -> Self {
        let number = |at: usize| u32::try_from(at).expect("a block's lines take less than 4 GiB");
        Self { start: number(range.start), bytes: number(range.len()) }
    }

    /// Returns the value in the text of all lines.
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..][..self.bytes as usize]
    }
}

/// The templates of a block so far.
#[derive(Debug, Default)]
pub(crate) struct KnownTemplates {
    /// What lines begin with.
    first: Vec<Way>,
    steps: Vec<Step>,
}

/// A way on, with what tells most that are none without a look at the step.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// The first bytes of the step's text, zeros behind its end.
    front: u64,
    /// Which bits of them count.
    mask: u64,
    step: usize,
}

#[derive(Debug)]
struct Step {
    /// Where in the text of all lines lies what must come next.
    literal: Range<usize>,
    then: Then,
    /// Steps behind this one, those that are used often in front.
    ways: Vec<Way>,
}

#[derive(Debug)]
enum Then {
    /// A value, and the last ones that were found there.
    Value(Rule, Recent),
    /// The end of the line: the number of the template.
    End(usize),
}

/// The last values of a place, the last used first. Equal values are kept as one, so that whoever looks at all of
/// them looks at the same bytes.
#[derive(Debug)]
struct Recent {
    places: [Place; RECENT_MAX],
    /// Their first bytes.
    fronts: [u64; RECENT_MAX],
    count: usize,
    /// How often none was equal, less twice how often one was.
    misses: u32,
}

/// Misses from which on only the last value is looked at, and the most that are counted.
const MISSES_MANY: u32 = 32;
const MISSES_MAX: u32 = 64;

impl Recent {
    fn new(place: Place, text: &[u8]) -> Self {
        let fronts = [front(text, place.start as usize); RECENT_MAX];
        Self { places: [place; RECENT_MAX], fronts, count: 1, misses: 0 }
    }

    /// Finds the value that stands at a place of a line.
    fn find(&mut self, rule: Rule, text: &[u8], line: &Range<usize>, at: usize) -> Option<Place> {
        let tried = if self.misses < MISSES_MANY { self.count } else { 1 };
        let front_here = front(text, at);
        let is_there = |turn: &usize| {
            let place = self.places[*turn];
            begin_alike(front_here, self.fronts[*turn], place.bytes as usize)
                && rule.finds(&text[at..line.end], place.of(text))
        };
        if let Some(turn) = (0..tried).find(is_there) {
            self.misses = self.misses.saturating_sub(2);
            self.places[..=turn].rotate_right(1);
            self.fronts[..=turn].rotate_right(1);
            return Some(self.places[0]);
        }
        self.misses = MISSES_MAX.min(self.misses + 1);
        // A rule looks at what lies in front of a value, too, but not beyond the line.
        let end = line.start + rule.end(&text[line.clone()], at - line.start)?;
        let place = Place::new(at..end);
        self.count = RECENT_MAX.min(self.count + 1);
        self.places[..self.count].rotate_right(1);
        self.fronts[..self.count].rotate_right(1);
        (self.places[0], self.fronts[0]) = (place, front_here);
        Some(place)
    }
}

impl KnownTemplates {
    /// Finds the template of a line and appends the places of its values; without one appends nothing.
    ///
    /// `text` is that of all lines, the line lies at `line` in it.
    pub(crate) fn follow(
        &mut self,
        text: &[u8],
        line: &Range<usize>,
        values: &mut Vec<Place>,
    ) -> Option<usize> {
        let known = values.len();
        let found = self.try_follow(text, line, values);
        if found.is_none() {
            values.truncate(known);
        }
        found
    }

    fn try_follow(&mut self, text: &[u8], line: &Range<usize>, values: &mut Vec<Place>) -> Option<usize> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let Self { first, steps } = self;
        let (mut at, mut from) = (line.start, None);
        loop {
            let mut turn = 0;
            let (front_here, left) = (front(text, at), line.end - at);
            let (way, value) = loop {
                let ways = from.map_or(&*first, |from: usize| &steps[from].ways);
                let may_be = |way: &Way| (way.front ^ front_here) & way.mask == 0;
                turn += ways.get(turn..)?.iter().position(may_be)?;
                let way = ways[turn].step;
                let Step { literal, then, .. } = &mut steps[way];
                let bytes = literal.len();
                let is_there = bytes <= left
                    && (bytes <= 8 || text[at + 8..at + bytes] == text[literal.start + 8..literal.end]);
                if is_there {
                    let start = at + bytes;
                    let value = match then {
                        Then::End(number) if start == line.end => return Some(*number),
                        Then::End(_) => None,
                        Then::Value(rule, recent) => recent.find(*rule, text, line, start),
                    };
                    if let Some(found) = value {
                        at = start + found.bytes as usize;
                        break (way, found);
                    }
                }
                turn += 1;
            };
            if turn > 0 {
                let ways = from.map_or(&mut *first, |from: usize| &mut steps[from].ways);
                ways.swap(turn, turn / 2);
            }
            values.push(value);
            from = Some(way);
        }
    }

    /// Adds the template of a line that was split, unless following it would not be sure or not pay.
    pub(crate) fn learn(&mut self, split: &Split, text: &[u8], line: &Range<usize>, number: usize) {
        if !split.has_rules {
            return;
        }
        let (mut at, mut from) = (line.start, None);
        for value in &split.values {
            let start = line.start + value.start as usize;
            let end = start + value.bytes as usize;
            let then = Then::Value(value.rule, Recent::new(Place::new(start..end), text));
            let Some(way) = self.way(text, from, at..start, then) else { return };
            (at, from) = (end, Some(way));
        }
        self.way(text, from, at..line.end, Then::End(number));
    }

    /// Finds a way on from a step, or adds it; `None` if there are too many.
    fn way(&mut self, text: &[u8], from: Option<usize>, literal: Range<usize>, then: Then) -> Option<usize> {
        let is_same = |step: &Step| {
            let is_then = match (&step.then, &then) {
                (Then::Value(rule, _), Then::Value(other, _)) => rule == other,
                (Then::End(_), Then::End(_)) => true,
                _ => false,
            };
            is_then && text[step.literal.clone()] == text[literal.clone()]
        };
        let ways = from.map_or(&self.first, |from| &self.steps[from].ways);
        let front = front(text, literal.start) & mask(literal.len());
        let known = ways.iter().find(|way| way.front == front && is_same(&self.steps[way.step]));
        if let Some(way) = known {
            return Some(way.step);
        }
        if ways.len() >= WAYS_MAX {
            return None;
        }
        let (step, mask) = (self.steps.len(), mask(literal.len()));
        self.steps.push(Step { literal, then, ways: Vec::new() });
        let ways = match from {
            Some(from) => &mut self.steps[from].ways,
            None => &mut self.first,
        };
        ways.push(Way { front, mask, step });
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shred_split::Splitter;
    use proptest::prelude::*;

    /// Learns the lines one after the other; returns of each whether its template was known.
    fn follow(lines: &[&str]) -> Vec<bool> {
        let text = lines.concat().into_bytes();
        let (mut known, mut split, mut start) = (KnownTemplates::default(), Split::default(), 0);
        let mut templates: Vec<(Splitter, Vec<u8>)> = Vec::new();
        let mut found = Vec::new();
        for line in lines {
            let range = start..start + line.len();
            start = range.end;
            let mut values = Vec::new();
            let number = known.follow(&text, &range, &mut values);
            split.split(line.as_bytes());
            if let Some(number) = number {
                // The same as a split gives.
                assert_eq!((split.splitter, &split.template), (templates[number].0, &templates[number].1));
                let part = |start: u32, bytes: u32| &line.as_bytes()[start as usize..][..bytes as usize];
                let expect = split.values.iter().map(|value| part(value.start, value.bytes));
                assert!(values.iter().map(|place| place.of(&text)).eq(expect), "{line}");
            } else {
                known.learn(&split, &text, &range, templates.len());
                templates.push((split.splitter, split.template.clone()));
            }
            found.push(number.is_some());
        }
        found
    }

    fn check(first: &str, second: &str, is_known: bool) {
        assert_eq!(follow(&[first, second]), [false, is_known], "{first} {second}");
    }

    #[test]
    fn lines_of_one_form_are_followed() {
        check("user 1 in", "user 22 in", true);
        check("user 1 in", "user a1 in", false);
        check("user 1 in", "user 22 out", false);
        check("user 1 in", "user 22 in ", false);
        check("user 1 in 2", "user 1 in", false);
        check("at 06:00:08 \"GET /\" 200", "at 07:00:09 \"POST /x\" 404", true);
        check("from 10.0.0.1 x", "from 10.0.0.22 x", true);
        check("from 10.0.0.1 x", "from 10.0.0 x", false);
        check(r#"{"a":1,"b":"x"}"#, r#"{"a":-22.5e3,"b":"y\"z"}"#, true);
        check(r#"{"a":1,"b":"x"}"#, r#"{"a":01,"b":"x"}"#, false);
        check(r#"{"a":1,"b":"x"}"#, r#"{"a":"1","b":"x"}"#, false);
        check(r#"{"a":1,"b":"x"}"#, r#"{"a":1,"b":"x","c":2}"#, false);
        check(r#"{"a":"x y"}"#, r#"{"a":"10.0.0.1:80"}"#, false);
        check(r#"{"a":1.5}"#, r#"{"a":2.25}"#, true);
        check(r#"{"a":1.5}"#, r#"{"a":02.25}"#, false);
        check(r#"a=1 b="x y" c="#, r#"a=z b="" c=/p/q"#, true);
        check(r#"a=1 b="x y" c="#, r#"a=z b="" c=p=q"#, false);
        check(r#"a=1 b=x"#, r#"a=1 b="x""#, false);
    }

    #[test]
    fn borders_that_hang_on_what_comes_behind_are_not_followed() {
        check("it\"s 5 x", "it\"s 5\" x", false);
        check("a\u{1} 5", "a\u{1} 6", false);
        check("", "", true);
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => "[0-9]{1,20}",
            1 => "[a-c]{1,3}",
            1 => "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(:[0-9]{2})?",
            1 => "[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,3})?",
            1 => "[0-9a-f]{7,20}",
            1 => "[a1\"\\\\= ,.:\u{1}-]{0,5}",
        ]
    }

    proptest! {
        #[test]
        fn followed_lines_are_objects_and_pairs_where_that_is_promised(
            values in proptest::collection::vec((0usize..6, value(), value()), 1..40)
        ) {
            let line = |(form, a, b): &(usize, String, String)| match form {
                0 => format!("{{\"a\":\"{a}\",\"b\":{b}}}"),
                1 => format!("{{\"a\":{a},\"b\":[\"{b}\",1]}}"),
                2 => format!("a={a} b={b}"),
                3 => format!("a=\"{a}\" b={b} c=1"),
                4 => format!("user {a} \"{b}\" in"),
                _ => format!("{a} {b}"),
            };
            let lines: Vec<String> = values.iter().map(line).collect();
            let text = lines.concat().into_bytes();
            let (mut known, mut split, mut start) = (KnownTemplates::default(), Split::default(), 0);
            let mut templates = Vec::new();
            for line in &lines {
                let range = start..start + line.len();
                start = range.end;
                let mut places = Vec::new();
                let number = known.follow(&text, &range, &mut places);
                split.split(line.as_bytes());
                match number {
                    Some(number) => {
                        let splitter: Splitter = templates[number];
                        let promises = matches!(splitter, Splitter::Json | Splitter::Logfmt);
                        prop_assert!(!promises || split.splitter == splitter, "{line}");
                    }
                    None => {
                        known.learn(&split, &text, &range, templates.len());
                        templates.push(split.splitter);
                    }
                }
            }
        }
    }
}
