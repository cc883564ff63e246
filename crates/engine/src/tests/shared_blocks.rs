//! What queries decode outlasts them where the source keeps it, and answers stay as they are.

use super::*;
use crate::QueryOutcome;
use logyard_codec::{BlockMeta, Decoded, SectionSource};
use proptest::prelude::*;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A block in memory that keeps what is decoded of it.
#[derive(Debug)]
struct Keeping {
    bytes: Bytes,
    kept: Mutex<Option<Arc<Decoded>>>,
    reads: AtomicU64,
}

impl SectionSource for Keeping {
    fn read(&self, offset: u64, bytes: u32) -> io::Result<Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.read(offset, bytes)
    }

    fn kept(&self) -> Option<Arc<Decoded>> {
        self.kept.lock().unwrap().clone()
    }

    fn keep(&self, decoded: &Arc<Decoded>) {
        *self.kept.lock().unwrap() = Some(Arc::clone(decoded));
    }
}

/// Blocks of one stream each.
#[derive(Debug)]
struct Stored {
    blocks: Vec<StoredBlock>,
}

type StoredBlock = (Arc<BlockMeta>, Arc<Keeping>, Arc<Stream>);

impl Stored {
    /// Stores lines of a second each, block by block.
    fn new(blocks: &[Vec<String>], codec: LineCodec) -> Self {
        let mut second = 0;
        let mut store = |(number, lines): (usize, &Vec<String>)| {
            let mut entries = Entries::new();
            for line in lines {
                second += 1;
                let level = if second % 3 == 0 { "warn" } else { "info" };
                entries.push(second * SECOND, line.as_bytes(), level, &LabelSet::default());
            }
            let mut builder = BlockBuilder::new();
            builder.push_run(0, &entries, 0..entries.len());
            let block = builder.finish_with(codec);
            let (kept, reads) = (Mutex::default(), AtomicU64::new(0));
            let labels = LabelSet::from_pairs([("app", "a"), ("part", ["x", "y"][number % 2])]);
            let keeping = Keeping { bytes: Bytes::from(block.bytes), kept, reads };
            (Arc::new(block.meta), Arc::new(keeping), Arc::new(Stream::new(&Tenant::single(), labels)))
        };
        Self { blocks: blocks.iter().enumerate().map(&mut store).collect() }
    }

    fn reads(&self) -> u64 {
        self.blocks.iter().map(|(_, keeping, _)| keeping.reads.swap(0, Ordering::Relaxed)).sum()
    }

    fn forget(&self) {
        self.blocks.iter().for_each(|(_, keeping, _)| *keeping.kept.lock().unwrap() = None);
    }

    fn kept_bytes(&self) -> usize {
        let bytes = |keeping: &Keeping| keeping.kept().map_or(0, |kept| kept.heap_bytes());
        self.blocks.iter().map(|(_, keeping, _)| bytes(keeping)).sum()
    }

    fn ask(&self, request: &QueryRequest) -> QueryOutcome {
        let settings = EngineSettings { threads: 2, ..EngineSettings::default() };
        Engine::new(settings).run(self, request).unwrap()
    }
}

impl Select for Stored {
    fn select(&self, _: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let view = |(arrival, (meta, keeping, stream)): (usize, &StoredBlock)| {
            let run = RunView {
                stream: Arc::clone(stream),
                rows: 0..meta.rows,
                min_ns: meta.min_ns,
                max_ns: meta.max_ns,
                raw_bytes: meta.raw_bytes,
            };
            let block = Arc::new(Block::open(Arc::clone(meta), Arc::clone(keeping) as _, 0));
            BlockView { block, runs: vec![run], arrival: arrival as u64 }
        };
        Ok(self.blocks.iter().enumerate().map(view).collect())
    }
}

const QUERIES: [&str; 7] = [
    r#"{app="a"}"#,
    r#"{app="a"} |= "7" | logfmt"#,
    r#"{app="a"} |~ "took=[0-9]*5 " | detected_level="warn""#,
    r#"sum by (part) (count_over_time({app="a"} |= "web" [40s]))"#,
    r#"sum by (detected_level) (bytes_over_time({app="a"}[40s]))"#,
    r#"sum_over_time({app="a"} | logfmt | unwrap took [40s])"#,
    r#"sum by (user) (count_over_time({app="a"} | logfmt | status >= 300 [40s]))"#,
];

fn lines(first: usize, count: usize) -> Vec<String> {
    let line = |number: usize| {
        let (user, status) = (["ann", "bob", "web"][number % 3], [200, 304, 500][number / 5 % 3]);
        match number % 4 {
            0 => format!("connection {number} from 10.0.0.{} closed", number % 250),
            _ => format!("user={user} status={status} took={} path=/a/{}", number * 37 % 1000, number % 13),
        }
    };
    (first..first + count).map(line).collect()
}

#[test]
fn a_query_that_comes_again_reads_hardly_anything() {
    let blocks: Vec<Vec<String>> = (0..4).map(|block| lines(block * 300, 300)).collect();
    for codec in [LineCodec::Plain, LineCodec::AlwaysShredded] {
        let stored = Stored::new(&blocks, codec);
        for query in QUERIES {
            stored.forget();
            let request = request(query, range(30, 1000, 20));
            let first = stored.ask(&request);
            let reads = stored.reads();
            assert!(reads > 0 && first.stats.decoded_bytes > 0, "{query}");
            let second = stored.ask(&request);
            let again = stored.reads();
            assert_eq!(format!("{:?}", second.result), format!("{:?}", first.result));
            // Lines of a shredded block are rebuilt for each query that wants them all: their values are read, which
            // lie in three frames here, and nothing else.
            match codec {
                LineCodec::Plain => assert_eq!((again, second.stats.decoded_bytes), (0, 0), "{query}"),
                _ => assert!(again <= 3 * blocks.len() as u64, "{query}: {reads}, then {again}"),
            }
        }
    }
}

#[test]
fn a_query_over_much_leaves_little() {
    let blocks: Vec<Vec<String>> = (0..100).map(|block| lines(block * 8000, 8000)).collect();
    let stored = Stored::new(&blocks, LineCodec::Plain);
    let count = r#"sum(count_over_time({app="a"} |= "closed" [300h]))"#;
    let request = request(count, QueryKind::Instant { time_ns: 800_000 * SECOND });
    let outcome = stored.ask(&request);
    let kept_bytes = stored.kept_bytes() as u64;
    assert!(outcome.stats.decoded_bytes > 2 * kept_bytes, "{kept_bytes} of {:?}", outcome.stats);
    assert!((7 << 20..16 << 20).contains(&kept_bytes), "{kept_bytes}");
    // It finds that again, and goes on as before.
    let reads = stored.reads();
    let again = stored.ask(&request);
    assert_eq!(format!("{:?}", again.result), format!("{:?}", outcome.result));
    assert!(stored.reads() < reads);
    assert!(stored.kept_bytes() as u64 <= kept_bytes + (1 << 20));
}

proptest! {
    #[test]
    fn answers_are_those_of_blocks_that_are_not_kept(
        sizes in proptest::collection::vec(1usize..120, 1..5),
        asked in proptest::collection::vec((0..QUERIES.len(), 1i64..200, 1i64..200, any::<bool>(), 1usize..60), 1..8),
        is_shredded in any::<bool>(),
    ) {
        let blocks: Vec<Vec<String>> =
            sizes.iter().enumerate().map(|(number, count)| lines(number * 50, *count)).collect();
        let codec = if is_shredded { LineCodec::AlwaysShredded } else { LineCodec::Plain };
        let (stored, fresh) = (Stored::new(&blocks, codec), Stored::new(&blocks, codec));
        for (query, start, span, is_backward, limit) in asked {
            let direction = if is_backward { Direction::Backward } else { Direction::Forward };
            let kind = range(start, start + span, 7);
            let request = QueryRequest { direction, limit, ..request(QUERIES[query], kind) };
            fresh.forget();
            prop_assert_eq!(
                format!("{:?}", stored.ask(&request).result),
                format!("{:?}", fresh.ask(&request).result)
            );
        }
    }
}
