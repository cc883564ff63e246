//! Housekeeping rules of the repository, as tests: what a reviewer should never have to say.
//!
//! `arrows` compares the map in `crates/README.md` with what cargo sees, `files` looks at every source
//! file, `links` at every page.

#![allow(clippy::disallowed_methods, reason = "this suite reads the repository itself")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod arrows;
mod files;
mod links;
mod tree;
