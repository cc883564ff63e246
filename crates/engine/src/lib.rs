//! Plans and evaluates LogQL over anything that can select block views.
//!
//! Owns: what a query means. Deliberately absent: files, clocks, sockets, async; who calls decides
//! when a query has taken too long and says so through [`Cancel`].
//!
//! Invariants:
//! - Answers do not depend on how entries are spread over blocks; copies in overlapping runs of one
//!   stream count once.
//! - A filter that the store may use to skip blocks is a necessary condition only; the engine tests
//!   every entry itself.
//! - Everything held is bounded: entries by the limit, series and their points by the settings.
//! - Blocks are let go of once they are evaluated: what is decoded at a time is bounded by the threads,
//!   not by the queries or their ranges.
//! - Queries alternate on the threads.
//!
//! The way of a query: `plan` compiles the pipeline, [`Select`] yields views, `dedupe` marks copies,
//! `turns` hands the views to the threads, `scan` finds the rows of a run that pass, `log_query` keeps
//! the best of them, `metric_query` folds them into steps. `volume` counts bytes
//! by streams without a pipeline, `patterns` kinds of lines, `fields` what a sample of entries holds,
//! `follow` runs a log query over entries as they arrive, `standing` folds what metric queries count of them;
//! `text_query` reads text that lies in no store.
//! A new stage is a file `stage_*.rs` and a line in `stage`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod aggregate;
mod binary;
mod by_class;
mod bytes_scan;
mod cancel;
mod dedupe;
mod engine;
mod entry_filter;
mod error;
mod explain;
mod fields;
mod follow;
mod function;
mod grid;
mod hash;
mod implied;
mod implied_key;
mod kept_blocks;
mod label_replace;
mod labels;
mod limits;
mod line_automaton;
mod line_source;
mod log_context;
mod log_query;
mod memory;
mod metric_query;
mod parsed;
mod patterns;
mod patterns_text;
mod plan;
mod prefilter;
mod range_count;
mod range_distinct;
mod range_fold;
mod range_slide;
mod range_sums;
mod range_values;
mod request;
mod scan;
mod select;
mod series_index;
mod settings;
mod shared_blocks;
mod sketch;
mod stage;
mod stage_decolorize;
mod stage_distinct;
mod stage_drop_keep;
mod stage_format;
mod stage_json;
mod stage_json_arrays;
mod stage_json_paths;
mod stage_label_filter;
mod stage_line_filter;
mod stage_logfmt;
mod stage_logfmt_keys;
mod stage_parse;
mod stage_pattern;
mod stage_regexp;
mod stage_regexp_automaton;
mod stage_unpack;
mod standing;
mod text_query;
mod turns;
mod unwrap;
mod vector;
mod volume;

pub use cancel::Cancel;
pub use engine::Engine;
pub use entry_filter::EntryFilter;
pub use error::{Error, Kind};
pub use explain::PlanStep;
pub use fields::{DetectedField, FieldKind, detect_fields, detect_values};
pub use follow::Follow;
pub use patterns::{PatternCounts, PatternsRequest};
pub use request::{
    InstantSample, LogEntry, QueryKind, QueryOutcome, QueryRequest, QueryResult, QueryStats, Sample,
    ScanCounts, Series,
};
pub use select::{Select, SelectError, SelectRequest};
pub use settings::EngineSettings;
pub use standing::{Room, Standing, Standings};
pub use text_query::TextQuery;
pub use volume::{Volume, VolumeGroups, VolumeOutcome, VolumeRequest};

#[cfg(test)]
mod tests;
