//! `distinct` and `context` on random entries, spread over views with copies: the engine agrees with
//! the definitions.

use super::naive::{Dice, entries};
use super::*;
use std::collections::{BTreeSet, HashSet};

fn text(one: &Line) -> String {
    let stream = one.stream.to_string();
    format!("{} {stream} {} {} {}", one.ts_ns, String::from_utf8_lossy(&one.line), one.level, one.metadata)
}

/// Returns the entries of an answer as [`text`] prints them.
fn found(memory: &Memory, wanted: &QueryRequest) -> Vec<String> {
    let QueryResult::Entries(entries) = run(memory, wanted).unwrap() else { panic!("entries") };
    let text = |one: crate::LogEntry| {
        let mut metadata = one.metadata.as_ref().clone();
        let level = metadata.remove("detected_level").unwrap_or_default();
        let line = String::from_utf8_lossy(&one.line).into_owned();
        format!("{} {} {line} {level} {metadata}", one.ts_ns, one.stream)
    };
    entries.into_iter().map(text).collect()
}

/// Returns all entries of the range in order, and the request.
fn question(dice: &mut Dice, stages: &str) -> (Vec<Line>, Memory, QueryRequest) {
    let (mut unique, memory) = entries(dice);
    let (start, end) = (dice.below(20) as i64, 20 + dice.below(25) as i64);
    unique.retain(|one| (start * SECOND..end * SECOND).contains(&one.ts_ns));
    // Stable: arrival decides among entries of one stream and time.
    unique.sort_by_key(|one| (one.ts_ns, one.stream.to_string()));
    let mut wanted = request(&format!(r#"{{app=~".+"}} {stages}"#), range(start, end, 1));
    if dice.below(2) == 0 {
        wanted.direction = Direction::Backward;
    }
    (unique, memory, wanted)
}

#[test]
fn distinct_agrees_with_the_definition() {
    for seed in 0..1000 {
        let mut dice = Dice(seed);
        let names: &[&str] = [&["trace"][..], &["detected_level", "app"], &["word"]][dice.below(3) as usize];
        let parser = if names == ["word"] { r#"| pattern "<word> <_>""# } else { "" };
        let stages = format!(r#"!= "POST" {parser} | distinct {} | drop word"#, names.join(","));
        let (mut unique, memory, mut wanted) = question(&mut dice, &stages);
        unique.retain(|one| !one.line.starts_with(b"POST"));
        wanted.limit = 1 + dice.below(8) as usize;
        if wanted.direction == Direction::Backward {
            unique.reverse();
        }
        let value = |one: &Line, name: &str| match name {
            "app" => one.stream.get("app").unwrap_or("").to_owned(),
            "trace" => one.metadata.get("trace").unwrap_or("").to_owned(),
            "word" => {
                let line = String::from_utf8_lossy(&one.line).into_owned();
                line.split(' ').next().unwrap_or("").to_owned()
            }
            _ => one.level.to_owned(),
        };
        let mut seen = HashSet::new();
        let expect: Vec<String> = unique
            .iter()
            .filter(|one| seen.insert(names.iter().map(|name| value(one, name)).collect::<Vec<_>>()))
            .map(text)
            .take(wanted.limit)
            .collect();
        assert_eq!(found(&memory, &wanted), expect, "seed {seed}: {}", wanted.expr);
    }
}

#[test]
fn context_agrees_with_the_definition() {
    for seed in 0..1000 {
        let mut dice = Dice(seed);
        let (before, after) = (dice.below(4) as usize, dice.below(4) as usize);
        let stages = format!(r#"|= "error" | detected_level!="" | context {before}, {after}"#);
        let (unique, memory, mut wanted) = question(&mut dice, &stages);
        wanted.limit = before + after + 1 + dice.below(20) as usize;
        let mut matches: Vec<usize> = (0..unique.len())
            .filter(|index| unique[*index].line.starts_with(b"error") && !unique[*index].level.is_empty())
            .collect();
        if wanted.direction == Direction::Backward {
            matches.reverse();
        }
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        for index in matches {
            let stream: Vec<usize> =
                (0..unique.len()).filter(|other| unique[*other].stream == unique[index].stream).collect();
            let at = stream.iter().position(|other| *other == index).unwrap();
            let group = &stream[at.saturating_sub(before)..(at + after + 1).min(stream.len())];
            let mut larger = chosen.clone();
            larger.extend(group);
            if larger.len() > wanted.limit {
                break;
            }
            chosen = larger;
        }
        let mut expect: Vec<String> = chosen.iter().map(|index| text(&unique[*index])).collect();
        if wanted.direction == Direction::Backward {
            expect.reverse();
        }
        assert_eq!(found(&memory, &wanted), expect, "seed {seed}: {}", wanted.expr);
    }
}

#[test]
fn distinct_comes_before_the_interval() {
    let lines: Vec<Line> =
        (0..10).map(|second| line(&[("app", "a")], second, ["x", "y"][second as usize % 2])).collect();
    let mut wanted = request(r#"{app="a"} | pattern "<word>" | distinct word | drop word"#, range(0, 100, 1));
    wanted.interval_ns = 3 * SECOND;
    // The first "y" is too near to the first "x", later ones are not the first.
    assert_eq!(found(&Memory::new(&[&lines]), &wanted), [r#"0 {app="a"} x  {}"#]);
}

#[test]
fn matches_keep_what_the_pipeline_made_of_them() {
    let lines =
        [line(&[("app", "a")], 1, "one"), line(&[("app", "a")], 2, "two"), line(&[("app", "b")], 2, "no")];
    let wanted =
        request(r#"{app=~".+"} |= "two" | line_format "{{__line__}}!" | context 1"#, range(0, 100, 1));
    assert_eq!(
        found(&Memory::new(&[&lines]), &wanted),
        [r#"1000000000 {app="a"} one  {}"#, r#"2000000000 {app="a"} two!  {}"#]
    );
}

#[test]
fn a_limit_without_room_for_the_context_is_refused() {
    let mut wanted = request(r#"{app="a"} | context 2, 5"#, range(0, 100, 1));
    wanted.limit = 7;
    let error = run(&Memory::default(), &wanted).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("ask for at least 8 entries"), "{error}");
}
