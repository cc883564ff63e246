//! Blocks in memory behind the engine's `Select`, and queries made ready to run over them.

use crate::corpus::Corpus;
use logyard_codec::{Block, BlockBuilder, BlockView, Entries, LineCodec, RunView};
use logyard_engine::{
    Cancel, Engine, EngineSettings, QueryKind, QueryRequest, QueryResult, Select, SelectError, SelectRequest,
};
use logyard_logql::parse;
use logyard_model::{Direction, LabelSet, Stream, Tenant};
use std::sync::Arc;

/// Bytes of lines per block, as the store packs them.
const BLOCK_BYTES: u64 = 2 << 20;
/// Distance between entries.
const GAP_NS: i64 = 10_000_000;

/// The lines of a corpus as one stream in blocks.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    views: Vec<BlockView>,
    end_ns: i64,
}

impl Memory {
    /// Lays the lines out in blocks that need no decoding.
    pub(crate) fn new(corpus: &Corpus) -> Self {
        Self::with_blocks(corpus, Block::from_entries)
    }

    /// Lays the lines out in blocks as compaction writes them, which each query decodes.
    pub(crate) fn shredded(corpus: &Corpus) -> Self {
        Self::with_blocks(corpus, |entries| {
            let mut builder = BlockBuilder::new();
            builder.push_run(0, &entries, 0..entries.len());
            let encoded = builder.finish_with(LineCodec::AlwaysShredded);
            Block::open(Arc::new(encoded.meta), Arc::new(bytes::Bytes::from(encoded.bytes)), 0)
        })
    }

    fn with_blocks(corpus: &Corpus, make: impl Fn(Entries) -> Block) -> Self {
        let labels = [("app", "shop"), ("container", "shop-1"), ("host", "h1"), ("job", "docker")];
        let stream = Arc::new(Stream::new(&Tenant::single(), LabelSet::from_pairs(labels)));
        let mut memory = Self { views: Vec::new(), end_ns: 0 };
        let mut entries = Entries::new();
        for line in &corpus.lines {
            memory.end_ns += GAP_NS;
            entries.push(memory.end_ns, line.as_bytes(), "", &LabelSet::default());
            if entries.line_bytes() >= BLOCK_BYTES {
                memory.push(&stream, std::mem::take(&mut entries), &make);
            }
        }
        if !entries.is_empty() {
            memory.push(&stream, entries, &make);
        }
        memory
    }

    fn push(&mut self, stream: &Arc<Stream>, entries: Entries, make: impl Fn(Entries) -> Block) {
        let run = RunView {
            stream: Arc::clone(stream),
            rows: 0..entries.len() as u32,
            min_ns: entries.min_ns(),
            max_ns: entries.max_ns(),
            raw_bytes: entries.line_bytes(),
        };
        let arrival = self.views.len() as u64;
        self.views.push(BlockView { block: Arc::new(make(entries)), runs: vec![run], arrival });
    }

    /// Returns the number of entries.
    pub(crate) fn entries(&self) -> u64 {
        self.views.iter().map(|view| u64::from(view.block.rows())).sum()
    }

    /// Returns the text of each block.
    pub(crate) fn texts(&self) -> Vec<Vec<u8>> {
        self.views.iter().map(|view| view.block.lines().unwrap().text().to_vec()).collect()
    }

    /// Returns a run of a query that sees all entries: a metric query as one step, `[all]` standing for
    /// the range.
    pub(crate) fn prepare(&self, query: &str) -> impl Fn() -> QueryResult + use<> {
        let range_seconds = self.end_ns / 1_000_000_000 + 60;
        let text = query.replace("[all]", &format!("[{range_seconds}s]"));
        let kind = match text.starts_with('{') {
            true => QueryKind::Range { start_ns: 0, end_ns: self.end_ns + 1, step_ns: 1_000_000_000 },
            false => QueryKind::Instant { time_ns: self.end_ns + 1_000_000_000 },
        };
        self.with_kind(&text, kind)
    }

    /// Returns a run of a metric query with so many steps over all entries.
    pub(crate) fn prepare_range(&self, query: &str, steps: i64) -> impl Fn() -> QueryResult + use<> {
        let step_ns = (self.end_ns / steps / 1_000_000).max(1) * 1_000_000;
        let text = query.replace("[step]", &format!("[{}ms]", step_ns / 1_000_000));
        self.with_kind(&text, QueryKind::Range { start_ns: step_ns, end_ns: self.end_ns, step_ns })
    }

    fn with_kind(&self, query: &str, kind: QueryKind) -> impl Fn() -> QueryResult + use<> {
        let request = QueryRequest {
            tenants: Tenant::single().into(),
            expr: Arc::new(parse(query).unwrap_or_else(|error| panic!("{query}: {error}"))),
            kind,
            limit: 100,
            direction: Direction::Backward,
            interval_ns: 0,
            partial_series: false,
            now_ns: self.end_ns,
            cancel: Arc::new(Cancel::new()),
        };
        let engine =
            Engine::new(EngineSettings { threads: 1, series_max: usize::MAX, ..EngineSettings::default() });
        let memory = self.clone();
        move || engine.run(&memory, &request).unwrap().result
    }
}

impl Select for Memory {
    fn select(&self, _: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        Ok(self.views.clone())
    }
}
