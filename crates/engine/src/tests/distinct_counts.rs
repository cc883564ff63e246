//! `count_distinct_over_time` on random entries: exact counts agree with the definition, estimates are
//! near it and say what they are.

use super::naive::{Dice, entries};
use super::*;
use std::collections::{BTreeMap, BTreeSet};

type Points = BTreeMap<LabelSet, Vec<(i64, f64)>>;

fn answer(memory: &Memory, wanted: &QueryRequest, distinct_values_max: usize) -> (Points, Vec<String>) {
    let settings = EngineSettings { threads: 2, distinct_values_max, ..EngineSettings::default() };
    let outcome = Engine::new(settings).run(memory, wanted).unwrap();
    let QueryResult::Matrix(series) = outcome.result else { panic!("{}", wanted.expr) };
    let points = |one: &crate::Series| {
        let samples = one.samples.iter().map(|sample| (sample.ts_ns / SECOND, sample.value)).collect();
        (one.labels.as_ref().clone(), samples)
    };
    (series.iter().map(points).collect(), outcome.warnings)
}

/// Counts as the definition says: from (series, second in ns, value).
fn naive(values: &[(LabelSet, i64, String)], (start, end, step): (i64, i64, i64), range_s: i64) -> Points {
    let mut expect = Points::new();
    let mut second = start - start.rem_euclid(step);
    loop {
        let mut sets: BTreeMap<LabelSet, BTreeSet<&str>> = BTreeMap::new();
        for (labels, ts_ns, value) in values {
            if (second - range_s) * SECOND < *ts_ns && *ts_ns <= second * SECOND {
                sets.entry(labels.clone()).or_default().insert(value);
            }
        }
        for (labels, set) in sets {
            expect.entry(labels).or_default().push((second, set.len() as f64));
        }
        if second >= end {
            return expect;
        }
        second += step;
    }
}

#[test]
fn exact_counts_agree_with_the_definition() {
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let (unique, memory) = entries(&mut dice);
        let (start, step, range_s) = (dice.below(30) as i64, 1 + dice.below(7) as i64, dice.below(20) as i64);
        let end = start + dice.below(30) as i64;
        let by: &[&str] = [&[][..], &["app"], &["app", "detected_level"]][dice.below(3) as usize];
        let query = format!(
            r#"count_distinct_over_time(trace, {{app=~".+"}} != "error" [{range_s}s]) by ({})"#,
            by.join(",")
        );
        let values: Vec<_> = unique
            .iter()
            .filter(|one| !one.line.starts_with(b"error"))
            .filter_map(|one| {
                let mut all = one.stream.clone();
                if !one.level.is_empty() {
                    all.insert("detected_level", one.level);
                }
                let labels = LabelSet::from_pairs(all.iter().filter(|(name, _)| by.contains(name)));
                Some((labels, one.ts_ns, one.metadata.get("trace")?.to_owned()))
            })
            .collect();
        let (found, warnings) = answer(&memory, &request(&query, range(start, end, step)), 1000);
        assert_eq!(found, naive(&values, (start, end, step), range_s), "seed {seed}: {query}");
        assert_eq!(warnings, Vec::<String>::new());
    }
}

/// Returns entries of many users, in views that overlap.
fn crowd() -> (Vec<(LabelSet, i64, String)>, Memory) {
    let mut dice = Dice(7);
    let mut views = vec![Vec::new(), Vec::new(), Vec::new()];
    let mut values = Vec::new();
    for _ in 0..30_000 {
        let app = ["a", "b"][dice.below(2) as usize];
        let (second, user) = (dice.below(300), dice.below(4000).to_string());
        let one = line(&[("app", app)], second as i64, &format!("user={user}"));
        values.push((one.stream.clone(), one.ts_ns, user));
        views[dice.below(3) as usize].push(one);
    }
    (values, Memory { views })
}

#[test]
fn estimates_are_near_and_say_so() {
    let (values, memory) = crowd();
    let query = r#"count_distinct_over_time(user, {app=~".+"} | logfmt [1m]) by (app)"#;
    let wanted = request(query, range(0, 300, 20));
    let expect = naive(&values, (0, 300, 20), 60);
    let (exact, warnings) = answer(&memory, &wanted, 1_000_000);
    assert_eq!((&exact, warnings.len()), (&expect, 0));
    let (found, warnings) = answer(&memory, &wanted, 10_000);
    assert!(
        matches!(&*warnings, [text] if text.contains("raise engine.distinct_values_max")),
        "{warnings:?}"
    );
    assert_eq!(found.len(), expect.len());
    for (labels, points) in expect {
        for ((second, value), (found_second, found_value)) in points.iter().zip(&found[&labels]) {
            assert_eq!(second, found_second);
            assert!((found_value / value - 1.0).abs() < 0.08, "{labels} {second}: {found_value} for {value}");
        }
    }
    assert_eq!(answer(&memory, &wanted, 10_000).0, found, "estimates depend on the order of blocks");
}

#[test]
fn errors_of_the_pipeline_are_not_hidden() {
    let memory = Memory::new(&[&[line(&[("app", "a")], 5, r#"{"user":"x", bad"#)]]);
    let kind = QueryKind::Instant { time_ns: 60 * SECOND };
    let query = |stages: &str| format!(r#"count_distinct_over_time(user, {{app="a"}} | json {stages} [1m])"#);
    let error = run(&memory, &request(&query(""), kind)).unwrap_err();
    assert!(error.to_string().starts_with("pipeline error: 'JSONParserErr'"), "{error}");
    let Ok(QueryResult::Vector(samples)) =
        run(&memory, &request(&query("| drop __error__, __error_details__"), kind))
    else {
        panic!("vector")
    };
    assert_eq!((samples.len(), samples[0].value), (1, 1.0));
}
