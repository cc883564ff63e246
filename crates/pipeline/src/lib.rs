//! What the agent does to labels and entries before they are batched: relabelling and stages.
//!
//! Owns: the rules of relabelling, the stages of pipelines and their settings, with Promtail's semantics (v3.6.15), and
//! what may be acknowledged while stages hold lines back. Pure: text and time come in, text and labels go out.
//! Deliberately absent: where targets and lines come from, positions, batches (`agent`), files of settings
//! (`logyard`).
//!
//! Flow: line → stages → entry, by plain calls. One [`Pipeline`] per job, one [`Run`] per target.
//!
//! Change a setting, also regenerate `schemas/config.md`; add a stage, also `stage` and `settings`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod entry;
mod error;
pub mod inspect;
mod relabel;
mod run;
pub mod settings;
mod stage;
mod stage_extract;
mod stage_fields;
mod stage_join;
mod stage_labels;
mod stage_logfmt;
mod stage_metrics;
mod stage_select;
mod stage_template;
mod stage_timestamp;

pub use error::Error;
pub use relabel::{RelabelAction, RelabelSettings, Relabeling, is_label_name, label_name_of, without_meta};
pub use run::{Finished, Line, Now, Pipeline, Run, Tally};
pub use stage::LinesFrom;
pub use stage_fields::FieldsOf;
pub use stage_metrics::{MetricFamily, MetricSample};
pub use stage_select::parse_size;
