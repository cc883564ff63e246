//! LogQL as text and as a syntax tree; no evaluation.
//!
//! Owns: lexer, parser, static checks, canonical printing, and the durations and sizes of the
//! language. Deliberately absent: anything that touches entries; whether a template, an address or a
//! path compiles is found where the stage is built, in the engine.
//!
//! Invariants: any input is answered within time linear in its size; input and nesting are
//! bounded; printing a tree and parsing the text gives an equal tree.
//!
//! The dialect is that of Loki v3.7.6, see `schemas/logql.md`; what is beyond it, on
//! `schemas/logql-extensions.md`, must be text that Loki refuses. A new stage touches `tree`, `token`,
//! `parser_log`, `print` and the engine's list of stages.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod check;
mod complete;
mod duration;
mod error;
mod hint;
mod levels;
mod lexer;
mod number;
mod parser;
mod parser_entries;
mod parser_filter;
mod parser_function;
mod parser_log;
mod parser_metric;
mod parser_name;
mod parser_range;
mod print;
mod print_pretty;
mod size;
mod token;
mod tree;
mod tree_function;
mod tree_metric;

pub use check::{PatternPart, capture_names, check_stream_names, pattern_parts};
pub use complete::{Completion, Wanted, complete, functions, stages};
pub use duration::{GoDuration, PrometheusDuration, parse_go_duration, parse_prometheus_duration};
pub use error::{ParseError, Span};
pub use number::{GoFloat, parse_go_float};
pub use parser::{INPUT_BYTES_MAX, parse, parse_unchecked};
pub use print::quoted;
pub use print_pretty::pretty;
pub use size::parse_size;
pub use tree::{
    CompareOp, Expr, Extraction, FilterValue, Formatted, LabelFilter, LabelFormat, LabelPick, LineFilter,
    LineFilterArg, LineFilterOp, LogExpr, Stage, StageKind,
};
pub use tree_function::{FunctionExpr, LabelJoin, MapCall, MapOp};
pub use tree_metric::{
    BinaryExpr, BinaryOp, Conversion, GroupSide, Grouping, LabelReplace, LogRange, Matching, MetricExpr,
    RangeAggregation, RangeOp, Unwrap, Variants, VectorAggregation, VectorOp,
};
