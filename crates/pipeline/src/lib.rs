//! What the agent does to labels and entries before they are batched.
//!
//! Owns: relabelling, with Promtail's rules (v3.6.15). Pure: text and time come in, text and labels go out.
//! Deliberately absent: where targets and lines come from, positions, batches (`agent`), files of settings
//! (`logyard`).
//!
//! Change a setting, also regenerate `schemas/config.md`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod error;
mod relabel;

pub use error::Error;
pub use relabel::{RelabelAction, RelabelSettings, Relabeling, is_label_name, label_name_of, without_meta};
