//! Random queries over random entries: the engine answers as the definitions of the language do.
//!
//! The evaluator beside this file is plain and slow, and shares nothing with the engine but the syntax
//! tree. Each seed gives entries, their spread over blocks, and a few queries. By default 2,000 queries
//! run; `LOGYARD_NAIVE_QUERIES` sets another number and `LOGYARD_NAIVE_SEED` the first seed. A failure
//! prints the seed, and the smallest query and entries that still fail.

#![allow(clippy::unwrap_used, clippy::string_slice, clippy::panic, clippy::disallowed_methods)]

mod answer;
mod data;
mod dice;
mod filters;
mod generate;
mod generate_metric;
mod labels;
mod metric;
mod numbers;
mod parsers;
mod pipeline;
mod shrink;
mod vector;

use answer::{Asked, agree, by_definition, by_engine};
use data::{BEGIN_NS, Data, LENGTH_S, SECOND};
use dice::Dice;
use logyard_engine::{Engine, EngineSettings, QueryKind};
use logyard_logql::{Expr, parse};
use logyard_model::Direction;

const QUERIES: u64 = 2_000;
const QUERIES_PER_SEED: u64 = 10;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn asked(dice: &mut Dice, is_log: bool) -> Asked {
    const MILLISECOND: i64 = 1_000_000;
    // Often on a whole second, where entries lie.
    let time = |dice: &mut Dice| {
        let beside = if dice.once_in(3) { dice.between(-700, 700) } else { 0 };
        BEGIN_NS + dice.between(-4, LENGTH_S + 8) * SECOND + beside * MILLISECOND
    };
    let (mut one, mut other) = (time(dice), time(dice));
    if dice.once_in(3) {
        (one, other) = (BEGIN_NS - SECOND, BEGIN_NS + (LENGTH_S + 1) * SECOND);
    }
    let step_ns = dice.pick(&[
        SECOND,
        2 * SECOND,
        3 * SECOND,
        5 * SECOND,
        7 * SECOND,
        SECOND / 2,
        700 * MILLISECOND,
        60 * SECOND,
    ]);
    let range = QueryKind::Range { start_ns: one.min(other), end_ns: one.max(other), step_ns };
    Asked {
        kind: if !is_log && dice.once_in(2) { QueryKind::Instant { time_ns: one } } else { range },
        limit: if dice.once_in(3) { 1 + dice.below(5) } else { 100 },
        direction: dice.pick(&[Direction::Forward, Direction::Backward]),
        interval_ns: dice.pick(&[0, 0, 0, SECOND, 5 * SECOND]),
    }
}

/// Compares one query; returns a report if the answers differ.
fn check(engine: &Engine, data: &Data, query: &str, asked: &Asked) -> Option<String> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let fails = |expr: &Expr, data: &Data| {
        !agree(&by_engine(engine, data, expr, asked), &by_definition(data, expr, asked))
    };
    if !fails(&expr, data) {
        return None;
    }
    let (small, data) = shrink::shrink(expr, data.clone(), fails);
    Some(format!(
        "query: {query}\nsmallest: {small}\nasked: {asked:?}\nentries: {:#?}\nengine: {:?}\ndefinition: {:?}\n",
        data.views,
        by_engine(engine, &data, &small, asked),
        by_definition(&data, &small, asked),
    ))
}

#[test]
fn random_queries_agree_with_the_definitions() {
    let engine = Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() });
    let first = number("LOGYARD_NAIVE_SEED", 0);
    let count = number("LOGYARD_NAIVE_QUERIES", QUERIES);
    let mut failures = Vec::new();
    for seed in first..first + count.div_ceil(QUERIES_PER_SEED) {
        let mut dice = Dice::new(seed);
        let data = Data::random(&mut dice);
        for _ in 0..QUERIES_PER_SEED {
            let is_log = dice.once_in(2);
            let query = if is_log {
                generate::log_query(&mut dice, false)
            } else {
                generate_metric::metric_query(&mut dice, 0)
            };
            let asked = asked(&mut dice, is_log);
            if let Some(report) = check(&engine, &data, &query, &asked) {
                failures.push(format!("seed {seed}\n{report}"));
            }
        }
        if failures.len() >= 8 {
            break;
        }
    }
    assert!(failures.is_empty(), "{} answers differ\n{}", failures.len(), failures.join("\n"));
}
