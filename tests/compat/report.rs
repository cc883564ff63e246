//! Judges the outcomes and prints what a reader needs to find the fault.

use crate::case::{Case, Corpus};
use crate::compare::compare;
use crate::lists::{self, Lists};
use crate::run::Outcome;
use std::collections::BTreeMap;

/// Failures printed in full.
const SHOWN_MAX: usize = 40;

/// Fails if a case is not what it should be: Loki's answer, or ours where a deviation is listed, or
/// anything but Loki's where something is pending.
///
/// `LOGYARD_BLESS=1` writes our answers to the listed deviations instead of checking them;
/// `LOGYARD_COMPAT_REPORT=FILE` writes the verdict of every case against Loki's answer.
pub(crate) fn check(outcomes: &[Outcome], corpus: &Corpus, lists: &Lists) {
    if let Ok(path) = std::env::var("LOGYARD_COMPAT_REPORT") {
        std::fs::write(path, verdicts(outcomes, corpus)).unwrap();
    }
    let pairs = || corpus.cases.iter().zip(outcomes);
    if std::env::var_os("LOGYARD_BLESS").is_some() {
        let listed = pairs().filter(|(case, _)| lists.deviations.contains_key(&case.id));
        let answers = listed.map(|(case, outcome)| (case.id.as_str(), outcome.answers.as_slice()));
        lists::write_ours(&answers.collect::<BTreeMap<_, _>>());
    }
    let mut families: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut faults = Vec::new();
    for (case, outcome) in pairs() {
        let excused = lists.excuse(&case.id);
        let fault = fault(case, outcome, lists);
        let counts = families.entry(&case.family).or_default();
        match (&fault, excused) {
            (Some(_), _) => counts[2] += 1,
            (None, true) => counts[1] += 1,
            (None, false) => counts[0] += 1,
        }
        faults.extend(fault.map(|text| described(case, &text)));
    }
    println!("{:<16} {:>6} {:>6} {:>6}", "family", "passed", "listed", "failed");
    for (family, [passed, listed, failed]) in &families {
        println!("{family:<16} {passed:>6} {listed:>6} {failed:>6}");
    }
    let shown = faults.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(faults.is_empty(), "{} of {} cases failed:\n{shown}", faults.len(), outcomes.len());
}

fn fault(case: &Case, outcome: &Outcome, lists: &Lists) -> Option<String> {
    if let Some(missing) = lists.pending.get(&case.id) {
        let passes = outcome.difference.is_none();
        return passes.then(|| format!("passes, take it from pending.toml ({missing})"));
    }
    let Some(reason) = lists.deviations.get(&case.id) else { return outcome.difference.clone() };
    if outcome.difference.is_none() {
        return Some(format!("answers as Loki does, take it from deviations.toml ({reason})"));
    }
    let ours = lists.ours.get(&case.id).map(Vec::as_slice).unwrap_or_default();
    let compared = case.steps.iter().zip(ours).zip(&outcome.answers);
    let difference = compared.map(|((step, want), got)| compare(want, got, step)).find_map(Result::err);
    difference.map(|text| format!("not the answer in deviations.jsonl: {text}"))
}

fn described(case: &Case, fault: &str) -> String {
    let query = case.query().map_or_else(String::new, |query| format!("\n  query: {query}"));
    format!("{} ({}){query}\n  {fault}", case.id, case.note)
}

fn verdicts(outcomes: &[Outcome], corpus: &Corpus) -> String {
    let mut text = String::new();
    for (case, outcome) in corpus.cases.iter().zip(outcomes) {
        let verdict =
            outcome.difference.as_deref().map_or_else(|| "ok".to_owned(), |text| format!("FAIL {text}"));
        text.push_str(&format!("{} {verdict}\n", case.id));
    }
    text
}
