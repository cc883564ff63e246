//! Housekeeping rules of the repository, as tests: what a reviewer should never have to say.
//!
//! `arrows` compares the map in `crates/README.md` with what cargo sees, `behaviours` the list of what the
//! agent is held to with the tests that show it, `files` looks at every source file, `links` at every page.

#![allow(clippy::disallowed_methods, reason = "this suite reads the repository itself")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod arrows;
mod behaviours;
mod files;
mod links;
mod tree;
