//! Queries and their answers.

use crate::cancel::Cancel;
use logyard_codec::Block;
use logyard_logql::Expr;
use logyard_model::{Direction, LabelSet, Tenants};
use std::sync::Arc;

/// A query, parsed, with everything it needs.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// Whose entries.
    pub tenants: Tenants,
    /// What is asked.
    pub expr: Arc<Expr>,
    /// For when.
    pub kind: QueryKind,
    /// Most entries of a log query, at least 1.
    pub limit: usize,
    /// Which end of the range a log query reads first.
    pub direction: Direction,
    /// Shortest distance between entries of a log query, in nanoseconds; 0 for none.
    pub interval_ns: i64,
    /// Whether series beyond `series_max` are left out with a warning; else such a query is refused.
    pub partial_series: bool,
    /// The present, for templates that ask for it, in ns since the Unix epoch.
    pub now_ns: i64,
    /// Stops the query.
    pub cancel: Arc<Cancel>,
}

/// The instants of a query, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// Log queries read `[start, end)`; metric queries are evaluated at every multiple of the step
    /// from at or before the start until at or behind the end.
    Range {
        /// First instant.
        start_ns: i64,
        /// Last instant.
        end_ns: i64,
        /// Distance between evaluations; positive.
        step_ns: i64,
    },
    /// Metric queries at one instant.
    Instant {
        /// The instant.
        time_ns: i64,
    },
}

/// An answer with its cost.
#[derive(Clone, Debug)]
pub struct QueryOutcome {
    /// The answer.
    pub result: QueryResult,
    /// What it took.
    pub stats: QueryStats,
    /// What each selector of the query found and took, in the order in which they are written.
    pub scans: Vec<ScanCounts>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryResult {
    /// Of a log query, in its direction over all streams.
    Entries(Vec<LogEntry>),
    /// Of a metric query over a range, sorted by labels.
    Matrix(Vec<Series>),
    /// Of a metric query at an instant, sorted by labels unless the query sorts.
    Vector(Vec<InstantSample>),
    /// Of a number at an instant.
    Scalar {
        /// When.
        ts_ns: i64,
        /// The number.
        value: f64,
    },
}

/// An entry with the labels that the pipeline left it, by where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub ts_ns: i64,
    /// The line as the pipeline left it.
    pub line: Vec<u8>,
    /// Labels of the stream.
    pub stream: Arc<LabelSet>,
    /// Structured metadata, `detected_level` included.
    pub metadata: Arc<LabelSet>,
    /// What the pipeline added or changed, errors included.
    pub parsed: Arc<LabelSet>,
}

/// A value at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub ts_ns: i64,
    /// The value.
    pub value: f64,
}

/// Labels and their values over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What tells the series from others.
    pub labels: Arc<LabelSet>,
    /// Ascending by time; instants without a value are absent. Never empty.
    pub samples: Vec<Sample>,
}

/// Labels and their value at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// What tells the sample from others.
    pub labels: Arc<LabelSet>,
    /// When.
    pub ts_ns: i64,
    /// The value.
    pub value: f64,
}

/// What a query took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Block views that were looked at.
    pub blocks: u64,
    /// Entries tested.
    pub entries: u64,
    /// Bytes of the lines of those entries, uncompressed.
    pub line_bytes: u64,
    /// Entries that passed all filters.
    pub entries_passed: u64,
    /// Entries, or points of series, in the answer.
    pub returned: u64,
    /// Block views of which any column was decoded; what is found in run tables decodes none.
    pub blocks_decoded: u64,
    /// Block views whose lines were decoded.
    pub blocks_with_lines: u64,
    /// Bytes of everything decoded.
    pub decoded_bytes: u64,
}

/// What one selector of a query found, and what reading it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// What the source says about its own choice, as names and numbers.
    pub source: Vec<(&'static str, u64)>,
    /// Distinct streams with entries.
    pub streams: u64,
    /// Block views that the source yielded.
    pub blocks: u64,
    /// Entries of the wanted streams in them, those outside of the range included.
    pub entries: u64,
    /// Bytes of the lines of those entries.
    pub line_bytes: u64,
    /// What was looked at of that.
    pub stats: QueryStats,
}

impl QueryStats {
    /// Adds another part of the work.
    pub(crate) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.entries += other.entries;
        self.line_bytes += other.line_bytes;
        self.entries_passed += other.entries_passed;
        self.returned += other.returned;
        self.blocks_decoded += other.blocks_decoded;
        self.blocks_with_lines += other.blocks_with_lines;
        self.decoded_bytes += other.decoded_bytes;
    }

    /// Notes a block that has been evaluated; returns the bytes that were decoded for it.
    pub(crate) fn note_block(&mut self, block: &Block) -> u64 {
        let bytes = block.new_bytes() as u64;
        self.blocks += 1;
        self.blocks_decoded += u64::from(bytes > 0);
        self.blocks_with_lines += u64::from(block.has_decoded_lines());
        self.decoded_bytes += bytes;
        bytes
    }
}
