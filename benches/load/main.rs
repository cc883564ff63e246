//! What a store costs as it grows, and what queries take while it has other things to do.
//!
//! Starts stores of its own, pushes made-up lines whose timestamps spread over days, asks, and writes two reports in
//! Markdown with charts: how queries, lines, memory and disk grow with entries and with streams; and what light queries take
//! beside dashboards, a heavy query, and pushes at half of the greatest rate. Fails if an answer is wrong, an entry is
//! missing from a live tail, or light queries take more than twice what they take alone. See `../README.md`.

#![allow(clippy::disallowed_methods, reason = "a load tool reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a bench fails, a line what it says"
)]

mod ask;
mod background;
mod chart;
#[path = "../harness/client.rs"]
mod client;
mod contention;
#[path = "../stages/corpus.rs"]
#[allow(dead_code, reason = "some of it is for other tools only")]
mod corpus;
mod growth;
mod report;
#[path = "../harness/store.rs"]
mod store;
mod traffic;
mod watch;
#[path = "../harness/words.rs"]
mod words;

use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut growth = growth::Sizes { entries: 10_000_000, streams: 100_000, stream_entries: 1_000_000 };
    let mut contention = contention::Sizes { stored: 2_000_000, seconds: 25 };
    let parts = words::read(
        &["growth", "contention"],
        &mut [
            ("entries", &mut growth.entries),
            ("streams", &mut growth.streams),
            ("stream_entries", &mut growth.stream_entries),
            ("stored", &mut contention.stored),
            ("seconds", &mut contention.seconds),
        ],
    );
    if parts.contains(&"growth") {
        growth::run(&mut Report::new("growth.md"), growth);
    }
    let is_asked = parts.contains(&"contention");
    let is_good = !is_asked || contention::run(&mut Report::new("contention.md"), contention);
    ExitCode::from(u8::from(!is_good))
}
