//! The query command: arguments, calls, output.
//!
//! Owns: the command line of `logq`, paging and polling over the store's HTTP API, and how entries and
//! samples look on a terminal. Deliberately absent: evaluation (the store does it), clock, environment
//! and the standard streams themselves (the binary passes them in as [`Surroundings`], so tests run the
//! whole command without a process).
//!
//! Order of output, as in logcli: newest first, because the limit keeps the newest; `--forward` prints
//! oldest first and keeps the oldest; `tail` is always oldest first.
//!
//! Add a flag here, also touch the examples in `args.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod check;
mod entry;
mod output_json;
mod output_plan;
mod output_table;
mod output_text;
mod pages;
mod run;
mod series;
mod session;
mod tail;
#[cfg(test)]
mod tests;
mod time_text;

pub use run::{FOUND, NOTHING, Surroundings, TROUBLE, run};
