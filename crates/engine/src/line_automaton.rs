//! Parsers as automata, by which shredded lines are reduced to what a parser looks at (`LineAutomaton`).

use logyard_codec::{LineAutomaton, Reading};

/// Stands for the last state as long as its number is not known.
const END: u16 = u16::MAX;

/// Puts together an automaton of parts, each of which begins where the one before has ended; behind the last nothing
/// of a line matters any more.
#[derive(Debug, Default)]
pub(crate) struct AutomatonBuilder {
    states: Vec<(Reading, [u16; 256])>,
    is_too_large: bool,
}

impl AutomatonBuilder {
    /// Adds a text that must stand here; where another one does, nothing more is read.
    pub(crate) fn prefix(&mut self, text: &[u8]) {
        for &byte in text {
            let mut next = [END; 256];
            next[usize::from(byte)] = self.next_number() + 1;
            self.push(Reading::Skips, next);
        }
    }

    /// Adds all bytes up to the first place of a text, and that text.
    pub(crate) fn search(&mut self, text: &[u8], reading: Reading) {
        let first = self.next_number();
        // The state that what was read leads to, its first byte left out.
        let mut shorter = first;
        for (offset, &byte) in text.iter().enumerate() {
            let next = if offset == 0 { None } else { self.states.get(usize::from(shorter)) };
            let mut next = next.map_or([first; 256], |(_, next)| *next);
            shorter = next[usize::from(byte)];
            next[usize::from(byte)] = self.next_number() + 1;
            self.push(reading, next);
        }
    }

    /// Adds all that is left of the line.
    pub(crate) fn rest(&mut self, reading: Reading) {
        self.push(reading, [self.next_number(); 256]);
    }

    /// Adds states that lead to each other and to the end, `None`; it begins with the first of them.
    pub(crate) fn machine(&mut self, reading: Reading, states: &[[Option<u16>; 256]]) {
        let first = self.next_number();
        for next in states {
            self.push(reading, next.map(|place| place.map_or(END, |place| first.saturating_add(place))));
        }
    }

    /// Returns the automaton; `None` if it has too many states.
    pub(crate) fn finish(mut self) -> Option<LineAutomaton> {
        let end = self.next_number();
        self.push(Reading::Ends, [end; 256]);
        for next in self.states.iter_mut().flat_map(|(_, next)| next) {
            if *next == END {
                *next = end;
            }
        }
        (!self.is_too_large).then(|| LineAutomaton::new(self.states))
    }

    fn next_number(&self) -> u16 {
        // There are far fewer.
        u16::try_from(self.states.len()).unwrap_or(END)
    }

    fn push(&mut self, reading: Reading, next: [u16; 256]) {
        if self.states.len() == LineAutomaton::STATES_MAX {
            self.is_too_large = true;
        } else {
            self.states.push((reading, next));
        }
    }
}
