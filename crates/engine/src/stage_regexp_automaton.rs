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
    // What stands in front of a match would matter to anchors and borders of words.
    if hir.properties().look_set().is_empty() {
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
    // Else the numbers of states would mean others by now.
    (cache.clear_count() == 0 && !first.is_dead()).then_some(states)
}
