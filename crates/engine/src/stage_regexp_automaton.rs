//! A regular expression as an automaton: which parts of a line its first match, and the groups of it, come from.
//!
//! Where every match begins with one text, what stands in front of its first place is looked at for that text alone.
//! From there on all is taken, since a state tells how the expression may go on and not where its groups began, until
//! nothing that follows can change the match.

use crate::line_automaton::AutomatonBuilder;
use logyard_codec::{LineAutomaton, Reading};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::literal::Extractor;
use std::collections::HashMap;

/// Most states behind the text that matches begin with.
const STATES_MAX: usize = 256;
/// Stands for the place of the last state as long as it is not known.
const REST: u16 = u16::MAX;

/// Returns the automaton of an expression in the syntax of `regex`; `None` if it would be too large, or cannot be made.
pub(crate) fn automaton(translated: &str, nest_limit: u32) -> Option<LineAutomaton> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).nest_limit(nest_limit).build();
    let hir = parser.parse(translated).ok()?;
    let dfa = DFA::builder()
        .syntax(syntax::Config::new().utf8(false).nest_limit(nest_limit))
        .thompson(thompson::Config::new().utf8(false))
        .build(translated)
        .ok()?;
    let mut cache = dfa.create_cache();
    let mut first = dfa.start_state_forward(&mut cache, &Input::new(b"").anchored(Anchored::No)).ok()?;
    let mut builder = AutomatonBuilder::default();
    // What stands in front of a match would matter to an anchor there, or the border of a word.
    if hir.properties().look_set_prefix_any().is_empty() {
        let starts = Extractor::new().extract(&hir);
        let text = starts.longest_common_prefix().unwrap_or_default();
        builder.search(text, Reading::Skips);
        for &byte in text {
            first = dfa.next_state(&mut cache, first, byte).ok()?;
        }
    }
    builder.machine(Reading::Takes, &states(&dfa, &mut cache, first)?);
    builder.finish()
}

/// Returns the states that are reached from one, which is the first of them: the places of the next ones by byte, and
/// `None` where the match is decided.
///
/// Letters and blanks beyond ASCII would take hundreds of states. They lead to the last one, in which all is taken.
fn states(dfa: &DFA, cache: &mut Cache, first: LazyStateID) -> Option<Vec<[Option<u16>; 256]>> {
    let classes = dfa.byte_classes();
    let (mut ids, mut places) = (vec![first], HashMap::from([(first, 0)]));
    let mut states: Vec<[Option<u16>; 256]> = Vec::new();
    while let Some(&id) = ids.get(states.len()) {
        let mut by_class = [None; 256];
        for byte in classes.representatives(0..=u8::MAX).filter_map(|unit| unit.as_u8()) {
            let next = dfa.next_state(cache, id, byte).ok()?;
            if next.is_quit() || ids.len() > STATES_MAX {
                return None;
            }
            if next.is_dead() {
                continue;
            }
            if !byte.is_ascii() {
                by_class[usize::from(classes.get(byte))] = Some(REST);
                continue;
            }
            let place = *places.entry(next).or_insert_with(|| {
                ids.push(next);
                ids.len() - 1
            });
            by_class[usize::from(classes.get(byte))] = u16::try_from(place).ok();
        }
        let mut next = [None; 256];
        for (byte, place) in (0..=u8::MAX).zip(&mut next) {
            *place = by_class[usize::from(classes.get(byte))];
        }
        states.push(next);
    }
    let rest = u16::try_from(states.len()).ok()?;
    states.iter_mut().flatten().for_each(|place| *place = place.map(|place| place.min(rest)));
    // A match is told one byte behind its end: where nothing can follow by then, neither a byte nor the end of the line,
    // that byte has decided it.
    let mut is_decided = Vec::with_capacity(states.len());
    for (&id, next) in ids.iter().zip(&states) {
        let at_end = dfa.next_eoi_state(cache, id).ok()?;
        is_decided.push(at_end.is_dead() && next.iter().all(Option::is_none));
    }
    for place in states.iter_mut().flatten() {
        *place = place.filter(|place| !is_decided.get(usize::from(*place)).copied().unwrap_or(false));
    }
    states.push([Some(rest); 256]);
    // Else the numbers of states would mean others by now.
    (cache.clear_count() == 0 && !first.is_dead()).then_some(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::encoded;
    use logyard_codec::{Entries, LineCodec, Reduction};
    use logyard_model::LabelSet;

    /// Checks how the lines of a block are reduced, by the first of them.
    fn check(regex: &str, line: impl Fn(i64) -> String, expect: &str) {
        let mut entries = Entries::new();
        (0..200).for_each(|row| entries.push(row, line(row).as_bytes(), "", &LabelSet::default()));
        let block = encoded(&entries, LineCodec::AlwaysShredded);
        let found = automaton(regex, 250).and_then(|automaton| {
            let reduction = Reduction::Text(automaton);
            let reduced = block.reduced(&reduction, 0..200).unwrap().unwrap();
            let mut found = Vec::new();
            reduced.line_into(0, &mut found).then(|| String::from_utf8(found).unwrap())
        });
        assert_eq!(found.as_deref().unwrap_or("whole"), expect, "{regex}");
    }

    #[test]
    fn lines_are_cut_to_what_decides_the_match() {
        let sshd = |row: i64| {
            format!(
                "Nov 14 sshd[{}]: Failed password for root from 10.0.{}.7 port {row} ssh2",
                row * 7,
                row % 9
            )
        };
        let user = r"Failed password for (?:invalid user )?(?P<user>\S+) from";
        check(user, sshd, "Nov 14 sshd[0]: Failed password for root from ");
        check(r"for (?P<user>\S+)", sshd, "Nov 14 sshd[0]: Failed password for root ");
        // The address is looked at to its end, and what is behind it not.
        check(r"from (?P<ip>\S+) port", sshd, "Nov 14 sshd[0]: Failed password for root from 10.0.0.7 port ");
        // What is greedy, or has to stand at the end, decides at the end.
        check(
            r"for (?P<rest>.*)",
            sshd,
            "Nov 14 sshd[0]: Failed password for root from 10.0.0.7 port 0 ssh2",
        );
        check(
            r"port (?P<port>\d+) ssh2$",
            |row| sshd(row + 1),
            "Nov 14 sshd[0]: Failed password for root from 10.0.0.7 port 1 ssh2",
        );
        // Nothing tells where such matches begin, but where they end.
        check(r"(?P<digits>\d+)\D", sshd, "Nov 14 s");
        check(r"(?P<digits>\d+) ssh2", sshd, "whole");
        check(r"^(?P<month>\w+) ", sshd, "Nov 1");
        check(r"for (?P<user>\w+) é?from", sshd, "Nov 14 sshd[0]: Failed password for root from ");
        check(
            r"nowhere (?P<user>\S+)",
            sshd,
            "Nov 14 sshd[0]: Failed password for root from 10.0.0.7 port 0 ssh2",
        );
    }
}
