//! Compatibility: questions over HTTP with the answers that Grafana Loki v3.7.6 gave to them.
//!
//! The data is a folder each of `datasets`, `cases` and `answers`; `README.md` beside this file tells
//! their form. Each test starts a store of its own, pushes every data set and asks every case: with all
//! entries in memory, with all of them flushed, and with half of them flushed. A case that does not give
//! the recorded answer fails the run unless `deviations.toml` says why we answer otherwise (then our own
//! answer is recorded, in `deviations.jsonl`) or `pending.toml` says what is not built yet. A listed case
//! that gives Loki's answer fails the run too, so no list can hide anything.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod answer;
mod case;
mod compare;
mod compare_series;
mod json_path;
mod lists;
mod placeholders;
mod report;
mod request;
mod run;
mod server;

use case::Corpus;
use lists::Lists;
use server::Server;
use std::collections::BTreeSet;

/// Most cases of the language that may be answered otherwise than Loki answers them.
const DEVIATIONS_MAX: usize = 30;

/// Families about the other endpoints; all others are about the language.
const FAMILIES_BESIDE: [&str; 6] = ["delete", "detected", "http", "push", "rules", "volume"];

/// Which part of the data lies in segments when the questions are asked.
#[derive(Clone, Copy)]
enum Flushed {
    Nothing,
    Everything,
    FirstHalf,
}

fn answers_are_those_of_loki(flushed: Flushed) {
    let corpus = Corpus::load();
    let lists = Lists::load();
    let server = match std::env::var("LOGYARD_COMPAT_URL") {
        // A server that runs already and holds the data: to see what another program answers.
        Ok(url) => Server::at(url),
        Err(_) => {
            let server = Server::start();
            match flushed {
                Flushed::Nothing => server.push(&corpus.datasets, 0.0, 1.0),
                Flushed::Everything => {
                    server.push(&corpus.datasets, 0.0, 1.0);
                    server.flush();
                }
                Flushed::FirstHalf => {
                    server.push(&corpus.datasets, 0.0, 0.5);
                    server.flush();
                    server.push(&corpus.datasets, 0.5, 1.0);
                }
            }
            server
        }
    };
    let outcomes = run::all(&server, &corpus, &lists);
    report::check(&outcomes, &corpus, &lists);
    server.assert_quiet();
}

#[test]
fn with_everything_in_memory() {
    answers_are_those_of_loki(Flushed::Nothing);
}

#[test]
fn with_everything_flushed() {
    answers_are_those_of_loki(Flushed::Everything);
}

#[test]
fn with_half_of_it_flushed() {
    answers_are_those_of_loki(Flushed::FirstHalf);
}

#[test]
fn the_lists_are_sound() {
    let corpus = Corpus::load();
    let lists = Lists::load();
    let mut seen = BTreeSet::new();
    for (id, reason) in lists.all() {
        let case = corpus.cases.iter().find(|case| case.id == *id);
        let case = case.unwrap_or_else(|| panic!("{id} is in a list and in no file of cases"));
        assert!(seen.insert(id), "{id} is listed twice");
        assert!(reason.len() > 20, "{id}: {reason:?} is no reason");
        let is_beside = FAMILIES_BESIDE.contains(&case.family.as_str());
        assert!(
            is_beside || !lists.pending.contains_key(id),
            "{id}: the language is whole, nothing may be pending"
        );
    }
    let of_the_language =
        lists.deviations.keys().filter(|id| !FAMILIES_BESIDE.iter().any(|family| id.starts_with(family)));
    let count = of_the_language.count();
    assert!(count <= DEVIATIONS_MAX, "{count} deviations, at most {DEVIATIONS_MAX} may stand");
    assert!(
        lists.ours.keys().eq(lists.deviations.keys()),
        "deviations.jsonl and deviations.toml differ in ids"
    );
}
