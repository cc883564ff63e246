//! Counts the instructions that hot paths take, and compares them with `../baseline.json`.
//!
//! Time says little on machines that others use, too; instructions are the same in every run but for a few in a thousand.
//! Each case is a process of its own under valgrind, which lays memory out the same every time. Counted is one run of the
//! case after one that is not, by all threads. More than 5 % above the baseline fails, with the name of the path; the same
//! below it is told, so that the gain is written down. See `../README.md`.

#![allow(clippy::disallowed_methods, reason = "a tool that reads and writes its baseline")]
#![allow(clippy::unwrap_used, reason = "a panic is how a bench fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a tool says")]

mod baseline;
#[path = "../harness/bodies.rs"]
mod bodies;
mod cases;
mod cases_agent;
mod cases_query;
mod cases_store;
#[path = "../stages/corpus.rs"]
#[allow(dead_code, reason = "some of it is for `stages` only")]
mod corpus;
mod count;
mod kept;
#[path = "../stages/memory.rs"]
#[allow(dead_code, reason = "some of it is for `stages` only")]
mod memory;

use baseline::Baseline;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--case", name] => {
            cases::run(name);
            ExitCode::SUCCESS
        }
        ["--bless"] => {
            Baseline::of_here(count::all("")).write();
            ExitCode::SUCCESS
        }
        [] => compare(""),
        [word] if !word.starts_with('-') => compare(word),
        other => {
            eprintln!("unknown arguments {other:?}: want nothing, a word of names, or --bless");
            ExitCode::FAILURE
        }
    }
}

/// Counts the cases with a word in their name, prints them beside the baseline, and fails if one is worse.
fn compare(word: &str) -> ExitCode {
    let kept = Baseline::read();
    let got = Baseline::of_here(count::all(word));
    if let Some(difference) = kept.difference(&got) {
        println!("{}", got.table(None));
        println!("instructions were counted and NOT compared: {difference}");
        println!(
            "compare with the compiler of the baseline, or write a new one with benches/instructions/run --bless"
        );
        return ExitCode::SUCCESS;
    }
    println!("{}", got.table(Some(&kept)));
    let faults = kept.faults(&got, word.is_empty());
    faults.iter().for_each(|fault| println!("{fault}"));
    ExitCode::from(u8::from(!faults.is_empty()))
}
