//! Single turns of the states, and the whole of them against a plain model: for each alert, its history read from the
//! start and nothing kept but that.

use super::*;
use proptest::prelude::*;

const SEC: i64 = 1_000_000_000;

fn labels(name: &str) -> Arc<LabelSet> {
    Arc::new(LabelSet::from_pairs([("name", name)]))
}

fn sample(name: &str) -> Seen {
    Seen { labels: labels(name), annotations: Arc::default(), value: 1.0, lines: None }
}

fn terms(for_s: i64, keep_s: i64) -> Terms<'static> {
    Terms { for_ns: for_s * SEC, keep_firing_for_ns: keep_s * SEC, gap_ns_max: 180 * SEC, targets: &[] }
}

/// Evaluates at each time, with the sample or without, and returns the states.
fn states(terms: Terms<'_>, turns: &[(i64, bool)]) -> Vec<Option<AlertState>> {
    let mut alerts = Alerts::default();
    let turn = |(at_s, there): &(i64, bool)| {
        alerts.step(at_s * SEC, terms, if *there { vec![sample("a")] } else { Vec::new() });
        alerts.by_labels.get(&labels("a")).map(|alert| alert.state)
    };
    turns.iter().map(turn).collect()
}

const PENDING: Option<AlertState> = Some(AlertState::Pending);
const FIRING: Option<AlertState> = Some(AlertState::Firing);
const RESOLVED: Option<AlertState> = Some(AlertState::Resolved);

#[test]
fn without_for_it_fires_at_once_and_resolves_at_once() {
    assert_eq!(states(terms(0, 0), &[(0, true), (60, false), (120, true)]), [FIRING, RESOLVED, FIRING]);
}

#[test]
fn pending_ends_with_its_sample() {
    let turns = [(0, true), (60, true), (120, false), (180, true), (240, true), (300, true), (360, true)];
    assert_eq!(states(terms(120, 0), &turns), [PENDING, PENDING, None, PENDING, PENDING, FIRING, FIRING]);
}

#[test]
fn firing_is_kept_without_its_sample() {
    let turns = [(0, true), (60, false), (120, false), (180, true), (240, false), (300, false), (360, false)];
    assert_eq!(states(terms(0, 120), &turns), [FIRING, FIRING, FIRING, FIRING, FIRING, FIRING, RESOLVED]);
}

#[test]
fn resolved_is_forgotten_after_a_while() {
    let mut turns = vec![(0, true), (60, false)];
    turns.extend((2..18).map(|minute| (minute * 60, false)));
    let seen = states(terms(0, 0), &turns);
    assert_eq!((seen[15], seen[16], seen[17]), (RESOLVED, None, None));
}

#[test]
fn resolved_waits_for_whoever_is_not_told() {
    let targets = ["mail".to_owned()];
    let terms = Terms { targets: &targets, ..terms(0, 0) };
    let mut alerts = Alerts::default();
    alerts.step(0, terms, vec![sample("a")]);
    for minute in 1..60 {
        alerts.step(minute * 60 * SEC, terms, Vec::new());
    }
    let alert = alerts.by_labels.get_mut(&labels("a")).unwrap();
    assert_eq!(alert.state, AlertState::Resolved);
    alert
        .told
        .insert("mail".to_owned(), Told { state: AlertState::Resolved, at_ns: 0, at_monotonic_ns: None });
    assert_eq!(crate::state_file::round_trip(&alerts), alerts);
    alerts.step(3600 * SEC, terms, Vec::new());
    assert!(alerts.by_labels.is_empty());
}

#[test]
fn those_that_are_over_are_bounded() {
    let mut alerts = Alerts::default();
    for (at_s, name) in [(0, "a"), (60, "b"), (120, "c"), (180, "d")] {
        alerts.step(at_s * SEC, terms(0, 0), vec![sample(name)]);
    }
    assert_eq!((alerts.bound(4), alerts.bound(2)), (0, 2));
    let names: Vec<_> = alerts.by_labels.keys().map(|labels| labels.get("name").unwrap()).collect();
    assert_eq!(names, ["c", "d"]);
    // One that fires stays.
    assert_eq!((alerts.bound(0), alerts.by_labels.len()), (1, 1));
}

#[test]
fn an_outage_counts_for_little() {
    // An hour without evaluations is not an hour of the condition, nor of its absence.
    assert_eq!(states(terms(600, 0), &[(0, true), (3600, true)]), [PENDING, PENDING]);
    assert_eq!(states(terms(0, 600), &[(0, true), (60, false), (3660, false)]), [FIRING, FIRING, FIRING]);
}

#[test]
fn a_clock_that_jumps_back_stops_nothing() {
    let turns = [(7200, true), (7260, true), (60, true), (120, true), (180, true)];
    assert_eq!(states(terms(180, 0), &turns), [PENDING, PENDING, PENDING, PENDING, FIRING]);
}

/// What the history of one sample says: the state, and since when the condition holds.
fn by_history(history: &[(i64, bool)], terms: Terms<'_>) -> Option<(AlertState, i64)> {
    let counted = |from: usize, to: usize| -> i64 {
        let gap = |index: usize| (history[index].0 - history[index - 1].0).clamp(0, terms.gap_ns_max);
        (from + 1..=to).map(gap).sum()
    };
    let mut start = 0;
    loop {
        // The next instant at which it is there begins a life.
        let begun = (start..history.len()).find(|index| history[*index].1)?;
        let gone = (begun..history.len()).find(|index| !history[*index].1).unwrap_or(history.len());
        let fires = (begun..gone).find(|index| counted(begun, *index) >= terms.for_ns);
        let Some(fires) = fires else {
            if gone == history.len() {
                return Some((AlertState::Pending, history[begun].0));
            }
            start = gone;
            continue;
        };
        // It resolves at the first instant at which its present absence is long enough.
        let absent_since = |index: usize| {
            (fires..=index).rev().take_while(|earlier| !history[*earlier].1).last().unwrap_or(index)
        };
        let resolves = (fires + 1..history.len()).find(|index| {
            !history[*index].1 && counted(absent_since(*index), *index) >= terms.keep_firing_for_ns
        });
        let Some(resolved) = resolves else { return Some((AlertState::Firing, history[begun].0)) };
        let again = (resolved + 1..history.len()).find(|index| history[*index].1);
        let last = again.unwrap_or(history.len()) - 1;
        let forgotten = (resolved..=last).any(|index| counted(resolved, index) >= RESOLVED_KEPT_NS);
        match again {
            Some(again) => start = again,
            None if forgotten => return None,
            None => return Some((AlertState::Resolved, history[begun].0)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn states_are_those_of_the_history(
        for_s in prop_oneof![Just(0_i64), 1..400_i64],
        keep_s in prop_oneof![Just(0_i64), 1..400_i64],
        turns in prop::collection::vec((prop_oneof![8 => 1..120_i64, 1 => -5000..5000_i64], 0..8_u8), 1..60),
        restart in 0..60_usize,
    ) {
        let terms = terms(for_s, keep_s);
        let names = ["a", "b", "c"];
        let mut alerts = Alerts::default();
        let mut histories = vec![Vec::new(); names.len()];
        let mut now_ns = 1_000_000 * SEC;
        for (turn, (by_s, there)) in turns.into_iter().enumerate() {
            now_ns += by_s * SEC;
            let is_there = |index: usize| there & (1 << index) != 0;
            let seen = (0..names.len()).filter(|index| is_there(*index)).map(|index| sample(names[index]));
            alerts.step(now_ns, terms, seen.collect());
            if turn == restart {
                alerts = crate::state_file::round_trip(&alerts);
            }
            for (index, name) in names.iter().enumerate() {
                histories[index].push((now_ns, is_there(index)));
                let found = alerts.by_labels.get(&labels(name)).map(|alert| (alert.state, alert.active_at_ns));
                prop_assert_eq!(found, by_history(&histories[index], terms), "turn {} of {}", turn, name);
            }
        }
    }
}
