//! Entries of one stream as a store would offer them, and queries over them.

use logyard_codec::{Block, BlockView, Entries, RunView};
use logyard_engine::{
    Cancel, Engine, EngineSettings, Error, QueryKind, QueryRequest, QueryResult, Select, SelectError,
    SelectRequest,
};
use logyard_logql::Expr;
use logyard_model::{Direction, LabelSet, Stream, Tenant};
use std::sync::{Arc, OnceLock};

pub const SECOND: i64 = 1_000_000_000;

/// One entry a second, from second 1 on.
#[derive(Debug)]
pub struct OneStream {
    pub lines: Vec<Vec<u8>>,
    pub metadata: LabelSet,
}

impl Select for OneStream {
    /// Everything in two views, the middle entry in both.
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let labels = LabelSet::from_pairs([("app", "a"), ("env", "p")]);
        if !request.matchers.iter().all(|matcher| matcher.matches_set(&labels)) {
            return Ok(Vec::new());
        }
        let stream = Arc::new(Stream::new(&Tenant::single(), labels));
        let middle = self.lines.len() / 2;
        let mut views = Vec::new();
        for (arrival, rows) in [0..middle + 1, middle..self.lines.len()].into_iter().enumerate() {
            let mut entries = Entries::new();
            for (line, second) in self.lines.iter().zip(1..).skip(rows.start).take(rows.len()) {
                entries.push(second * SECOND, line, "", &self.metadata);
            }
            if entries.is_empty() {
                continue;
            }
            let run = RunView {
                stream: Arc::clone(&stream),
                rows: 0..u32::try_from(entries.len()).expect("few entries"),
                min_ns: entries.min_ns(),
                max_ns: entries.max_ns(),
                raw_bytes: entries.line_bytes(),
            };
            let block = Arc::new(Block::from_entries(entries));
            views.push(BlockView { block, runs: vec![run], arrival: arrival as u64 });
        }
        Ok(views)
    }
}

impl OneStream {
    /// Asks for everything.
    pub fn ask(&self, expr: &Expr, is_instant: bool, direction: Direction) -> Result<QueryResult, Error> {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        let engine =
            ENGINE.get_or_init(|| Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() }));
        let end_ns = (self.lines.len() as i64 + 1) * SECOND;
        let kind = if is_instant {
            QueryKind::Instant { time_ns: end_ns }
        } else {
            QueryKind::Range { start_ns: 0, end_ns, step_ns: SECOND }
        };
        let request = QueryRequest {
            tenants: Tenant::single().into(),
            expr: Arc::new(expr.clone()),
            kind,
            limit: 5000,
            direction,
            interval_ns: 0,
            partial_series: false,
            now_ns: 0,
            cancel: Arc::new(Cancel::new()),
        };
        engine.run(self, &request).map(|outcome| outcome.result)
    }
}
