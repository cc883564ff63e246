//! The query command: arguments, calls, output.
//!
//! Owns: the command line of `logq`, paging and polling over the store's HTTP API, how entries and
//! samples look on a terminal, and transfers of entries in bulk. Deliberately absent: evaluation (the store does it, and
//! the engine for `--stdin`), clock, environment and the standard streams themselves (the binary passes them in as [`Surroundings`], so tests
//! run the whole command without a process).
//!
//! Order of output, as in logcli: newest first, because the limit keeps the newest; `--forward` prints
//! oldest first and keeps the oldest; `tail` is always oldest first.
//!
//! `explorer` is the command `ui`, the one that takes the terminal over; its front page says how it is built.
//!
//! A command is a module `command_*`, with its flags, its examples and what it does; `args` lists them, and `session` is
//! what they work with. Completion (`complete`, with the scripts in `completion/`) and the manual (`manual`) are made of the same
//! declarations: the name that a flag gives its value says what is proposed for it. Add one here, also touch the help in `args.rs`; a flag that
//! Loki's client has stands in `docs/logcli.md` as well. Change what a transfer keeps of
//! how far it got, also touch `schemas/logq-progress.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod args_connect;
mod args_labels;
mod args_parts;
mod args_range;
mod args_shared;
mod chart;
mod check;
mod command_completion;
mod command_context;
mod command_delete;
mod command_errors;
mod command_explain;
mod command_export;
mod command_fields;
mod command_fmt;
mod command_import;
mod command_instant;
mod command_labels;
mod command_man;
mod command_patterns;
mod command_push;
mod command_query;
mod command_series;
mod command_stats;
mod command_tail;
mod command_top;
mod command_ui;
mod command_volume;
mod complete;
mod connect;
mod entry;
mod explorer;
mod manual;
mod marks;
mod output_csv;
mod output_json;
mod output_plan;
mod output_table;
mod output_text;
mod pager;
mod pages;
mod parts;
mod people;
mod pretty_json;
mod printer;
mod run;
mod series;
mod session;
mod stdin;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_commands;
#[cfg(test)]
mod tests_examples;
#[cfg(test)]
mod tests_logcli;
#[cfg(test)]
mod tests_people;
#[cfg(test)]
mod tests_transfer;
mod time_form;
mod time_text;
mod time_words;
mod transfer;

pub use run::{FOUND, NOTHING, Surroundings, TROUBLE, run};
