//! Blocks that keep what queries decode of them, as those of a store do, behind the engine's `Select`.

use crate::corpus::made;
use bytes::Bytes;
use logyard_codec::{
    Block, BlockBuilder, BlockMeta, BlockView, Decoded, Entries, LineCodec, RunView, SectionSource,
};
use logyard_engine::{
    Cancel, Engine, EngineSettings, QueryKind, QueryRequest, QueryResult, Select, SelectError, SelectRequest,
};
use logyard_logql::parse;
use logyard_model::{Direction, LabelSet, Stream, Tenant};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Streams that share a block.
const STREAMS: usize = 12;

#[derive(Debug)]
struct Keeping {
    bytes: Bytes,
    kept: Mutex<Option<Arc<Decoded>>>,
}

impl SectionSource for Keeping {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        self.bytes.read(offset, bytes)
    }

    fn kept(&self) -> Option<Arc<Decoded>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, decoded: &Arc<Decoded>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(decoded));
    }
}

/// Shredded blocks of several streams each.
#[derive(Clone, Debug, Default)]
struct Stored(Vec<StoredBlock>);

type StoredBlock = (Arc<BlockMeta>, Arc<Keeping>, Vec<RunView>);

impl Stored {
    fn push(&mut self, lines: &[String], number: usize) {
        let (mut builder, mut runs) = (BlockBuilder::new(), Vec::new());
        let mut first_row = 0;
        for (stream, lines) in lines.chunks(lines.len().div_ceil(STREAMS)).enumerate() {
            let mut entries = Entries::new();
            for (row, line) in lines.iter().enumerate() {
                let ts_ns = (row * STREAMS + stream) as i64 * 1_000_000;
                entries.push(ts_ns, line.as_bytes(), "info", &LabelSet::default());
            }
            builder.push_run(stream as u32, &entries, 0..entries.len());
            let labels =
                LabelSet::from_pairs([("app", "shop".to_owned()), ("n", format!("{number}-{stream}"))]);
            runs.push(RunView {
                stream: Arc::new(Stream::new(&Tenant::single(), labels)),
                rows: first_row..first_row + entries.len() as u32,
                min_ns: entries.min_ns(),
                max_ns: entries.max_ns(),
                raw_bytes: entries.line_bytes(),
            });
            first_row += entries.len() as u32;
        }
        let block = builder.finish_with(LineCodec::BEST);
        let keeping = Keeping { bytes: block.bytes.into(), kept: Mutex::default() };
        self.0.push((Arc::new(block.meta), Arc::new(keeping), runs));
    }
}

impl Select for Stored {
    fn select(&self, _: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let view = |(arrival, (meta, keeping, runs)): (u64, &StoredBlock)| {
            let block = Arc::new(Block::open(Arc::clone(meta), Arc::clone(keeping) as _, 0));
            BlockView { block, runs: runs.clone(), arrival }
        };
        Ok((0..).zip(&self.0).map(view).collect())
    }
}

/// Returns a run of the query for the last 100 lines of all streams.
pub(crate) fn last_lines(bytes: usize) -> impl Fn() -> QueryResult {
    let mut stored = Stored::default();
    for (number, kind) in ["text", "json", "logfmt"].into_iter().enumerate() {
        stored.push(&made(kind, bytes).lines, number);
    }
    let engine = Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() });
    let expr = Arc::new(parse(r#"{app="shop"}"#).expect("a selector"));
    move || {
        let request = QueryRequest {
            tenants: Tenant::single().into(),
            expr: Arc::clone(&expr),
            kind: QueryKind::Range { start_ns: 0, end_ns: 1 << 40, step_ns: 1_000_000_000 },
            limit: 100,
            direction: Direction::Backward,
            interval_ns: 0,
            partial_series: false,
            now_ns: 0,
            cancel: Arc::new(Cancel::new()),
        };
        let result = engine.run(&stored, &request).expect("a page").result;
        assert!(matches!(&result, QueryResult::Entries(entries) if entries.len() == 100));
        result
    }
}
