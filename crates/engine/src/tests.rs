//! The engine over blocks in memory: tables of queries, and a naive evaluator on random entries.

use crate::{
    Cancel, Engine, EngineSettings, Error, Kind, QueryKind, QueryRequest, QueryResult, Select, SelectError,
    SelectRequest,
};
use bytes::Bytes;
use logyard_codec::{Block, BlockBuilder, BlockView, Entries, LineCodec, RunView};
use logyard_logql::parse;
use logyard_model::{Direction, LabelSet, Prefilter, Stream, Tenant};
use std::sync::Arc;

mod bounds;
mod cases;
mod distinct_counts;
mod entry_stages;
mod log_cases;
mod metric_cases;
mod naive;
mod page;
mod patterns;
mod push_down;
mod reduced_lines;
mod shared_blocks;
mod volume;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// One entry of a test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) stream: LabelSet,
    pub(crate) ts_ns: i64,
    pub(crate) line: Vec<u8>,
    pub(crate) level: &'static str,
    pub(crate) metadata: LabelSet,
}

pub(crate) fn line(stream: &[(&str, &str)], seconds: i64, text: &str) -> Line {
    Line {
        stream: LabelSet::from_pairs(stream.iter().copied()),
        ts_ns: seconds * SECOND,
        line: text.as_bytes().to_vec(),
        level: "",
        metadata: LabelSet::default(),
    }
}

/// Entries in views: one run per stream and view, views in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) views: Vec<Vec<Line>>,
}

impl Memory {
    pub(crate) fn new(views: &[&[Line]]) -> Self {
        Self { views: views.iter().map(|lines| lines.to_vec()).collect() }
    }
}

impl Select for Memory {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let mut views = Vec::new();
        for (arrival, lines) in self.views.iter().enumerate() {
            let mut streams: Vec<&LabelSet> = lines.iter().map(|line| &line.stream).collect();
            streams.sort();
            streams.dedup();
            for labels in streams {
                if !request.matchers.iter().all(|matcher| matcher.matches_set(labels)) {
                    continue;
                }
                let mut entries = Entries::new();
                for line in lines.iter().filter(|line| line.stream == *labels) {
                    entries.push(line.ts_ns, &line.line, line.level, &line.metadata);
                }
                entries.sort_and_dedupe();
                let holds =
                    |literal: &Vec<u8>| memchr::memmem::find(entries.lines().text(), literal).is_some();
                let Prefilter { literals, any_of } = request.prefilter;
                if !literals.iter().all(holds) || !any_of.iter().all(|group| group.iter().any(holds)) {
                    continue;
                }
                let run = RunView {
                    stream: Arc::new(Stream::new(&Tenant::single(), labels.clone())),
                    rows: 0..entries.len() as u32,
                    min_ns: entries.min_ns(),
                    max_ns: entries.max_ns(),
                    raw_bytes: entries.line_bytes(),
                };
                if request.range.overlaps(run.min_ns, run.max_ns) {
                    // Decoded as those of the head are, or encoded as those of a segment in either form.
                    let block = match (arrival + entries.len()) % 4 {
                        0 => Block::from_entries(entries),
                        1 => encoded(&entries, LineCodec::Plain),
                        _ => encoded(&entries, LineCodec::AlwaysShredded),
                    };
                    let block = Arc::new(block);
                    views.push(BlockView { block, runs: vec![run], arrival: arrival as u64 });
                }
            }
        }
        Ok(views)
    }
}

pub(crate) fn encoded(entries: &Entries, codec: LineCodec) -> Block {
    let mut builder = BlockBuilder::new();
    builder.push_run(0, entries, 0..entries.len());
    let block = builder.finish_with(codec);
    Block::open(Arc::new(block.meta), Arc::new(Bytes::from(block.bytes)), 0)
}

pub(crate) fn request(query: &str, kind: QueryKind) -> QueryRequest {
    QueryRequest {
        tenants: Tenant::single().into(),
        expr: Arc::new(parse(query).unwrap_or_else(|error| panic!("{query}: {error}"))),
        kind,
        limit: 100,
        direction: Direction::Forward,
        interval_ns: 0,
        partial_series: false,
        now_ns: 0,
        cancel: Arc::new(Cancel::new()),
    }
}

fn run(memory: &Memory, request: &QueryRequest) -> Result<QueryResult, Error> {
    Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() })
        .run(memory, request)
        .map(|outcome| outcome.result)
}

/// Evaluates over whole seconds.
fn range(start: i64, end: i64, step: i64) -> QueryKind {
    QueryKind::Range { start_ns: start * SECOND, end_ns: end * SECOND, step_ns: step * SECOND }
}
