//! What a store does with entries: pushes are read, logged, kept, packed into blocks and indexed.

use crate::bodies;
use crate::cases::{Case, Work};
use crate::corpus::made;
use bytes::Bytes;
use logyard_codec::{
    Block, BlockBuilder, EncodedBlock, Entries, LetterCase, LineCodec, Needles, SectionSource, encode_batch,
};
use logyard_index::{ContentIndex, ContentIndexBuilder, StreamIndex};
use logyard_model::{LabelSet, MatchOp, Matcher, Prefilter, Stream, Tenant};
use logyard_store::{Encoded, Store, StoreBatch, StoreParts, StoreSettings};
use logyard_sys::{Random, SimClock, SimDisk};
use logyard_wal::{Log, LogSettings};
use logyard_wire::loki_push::{PushRequest, decode_json, decode_protobuf};
use memchr::memmem::Finder;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

/// Bytes of lines in a case.
const BYTES: usize = 256 << 10;
const START_NS: i64 = 1_741_046_400_000_000_000;

pub(crate) const CASES: &[Case] = &[
    Case { name: "push decode, protobuf", prepare: push_protobuf },
    Case { name: "push decode, json", prepare: push_json },
    Case { name: "wal append", prepare: wal_append },
    Case { name: "store append: wal and head", prepare: store_append },
    Case { name: "block write, plain", prepare: || block_write(LineCodec::Plain) },
    Case { name: "block write, shredded", prepare: || block_write(LineCodec::BEST) },
    Case { name: "block decode, plain", prepare: || block_decode(LineCodec::Plain) },
    Case { name: "block decode, shredded", prepare: || block_decode(LineCodec::BEST) },
    Case { name: "literal search, plain", prepare: || literal_search(LineCodec::Plain) },
    Case { name: "literal search, shredded", prepare: || literal_search(LineCodec::BEST) },
    Case { name: "set search, plain", prepare: || set_search(LineCodec::Plain) },
    Case { name: "set search, shredded", prepare: || set_search(LineCodec::BEST) },
    Case { name: "content index build", prepare: content_build },
    Case { name: "content index lookup", prepare: content_lookup },
    Case { name: "stream index build", prepare: streams_build },
    Case { name: "stream index lookup", prepare: streams_lookup },
];

fn read_entries(request: &PushRequest<'_>) {
    let entries: usize = request.streams.iter().map(|stream| stream.entries.len()).sum();
    assert!(entries > 500, "got {entries}");
    black_box(request);
}

/// One stream of a push: its labels and lines, each with metadata.
fn push_streams() -> Vec<(String, Vec<String>)> {
    let lines = made("text", BYTES).lines;
    let of_stream = |lines: &[String]| lines.to_vec();
    let streams = lines.chunks(lines.len() / 10 + 1).map(of_stream).enumerate();
    streams.map(|(number, lines)| (format!("{{app=\"shop\",container=\"c{number}\"}}"), lines)).collect()
}

fn push_protobuf() -> Work {
    let mut body = Vec::new();
    for (labels, lines) in push_streams() {
        let mut stream = Vec::new();
        field(&mut stream, 1, labels.as_bytes());
        for (number, line) in lines.iter().enumerate() {
            let (mut time, mut pair, mut entry) = (vec![8], Vec::new(), Vec::new());
            varint(&mut time, (START_NS / 1_000_000_000) as u64);
            time.push(16);
            varint(&mut time, number as u64 * 1_000);
            field(&mut pair, 1, b"trace_id");
            field(&mut pair, 2, format!("{number:032x}").as_bytes());
            field(&mut entry, 1, &time);
            field(&mut entry, 2, line.as_bytes());
            field(&mut entry, 3, &pair);
            field(&mut stream, 2, &entry);
        }
        field(&mut body, 1, &stream);
    }
    Box::new(move || read_entries(&decode_protobuf(&body).unwrap()))
}

/// Appends a field of protobuf that holds bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_json() -> Work {
    let streams: Vec<Vec<String>> = push_streams().into_iter().map(|(_, lines)| lines).collect();
    let body = bodies::json(&streams, START_NS);
    Box::new(move || read_entries(&decode_json(&body).unwrap()))
}

fn wal_append() -> Work {
    let disk = Arc::new(SimDisk::new());
    let mut ignore = |_: u64, _: &[u8]| Ok::<(), std::io::Error>(());
    let (mut log, _) = Log::open(disk, Path::new("/wal"), LogSettings::default(), 1, &mut ignore).unwrap();
    let payload: Vec<u8> = made("text", 4 << 10).lines.concat().into_bytes();
    Box::new(move || {
        for _ in 0..64 {
            for _ in 0..4 {
                log.append(&payload).unwrap();
            }
            log.sync().unwrap();
        }
    })
}

fn store_append() -> Work {
    let parts = StoreParts {
        disk: Arc::new(SimDisk::new()),
        clock: Arc::new(SimClock::new(START_NS)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut Default::default(),
    };
    let mut settings = StoreSettings::default();
    settings.compaction.enabled = false;
    let store = Store::open(Path::new("/data"), settings, parts).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.recovered()).unwrap();
    let tenant = Tenant::single();
    let stream = Arc::new(Stream::new(&tenant, LabelSet::from_pairs([("container", "c1")])));
    let lines = made("text", BYTES).lines;
    let mut next_ns = START_NS;
    Box::new(move || {
        for lines in lines.chunks(100) {
            let mut entries = Entries::new();
            for line in lines {
                next_ns += 1_000_000;
                entries.push(next_ns, line.as_bytes(), "info", &LabelSet::default());
            }
            let encoded = encode_batch(&[(&stream.labels, &entries)]);
            let batch = StoreBatch {
                tenant: tenant.clone(),
                id: None,
                chunks: vec![(Arc::clone(&stream), entries)],
                encoded: Some(Encoded::Batch(Bytes::from(encoded))),
            };
            runtime.block_on(store.append(batch)).unwrap();
        }
    })
}

/// A block of each kind of lines that is not written yet.
fn builders() -> Vec<BlockBuilder> {
    let builder = |kind: &str| {
        let mut entries = Entries::new();
        for (number, line) in made(kind, BYTES).lines.iter().enumerate() {
            entries.push(
                START_NS + number as i64 * 10_000_000,
                line.as_bytes(),
                "info",
                &LabelSet::default(),
            );
        }
        let mut builder = BlockBuilder::new();
        builder.push_run(0, &entries, 0..entries.len());
        builder
    };
    ["text", "json", "logfmt"].map(builder).into()
}

fn blocks(codec: LineCodec) -> Vec<Arc<Block>> {
    let open = |block: EncodedBlock| {
        let source: Arc<dyn SectionSource> = Arc::new(Bytes::from(block.bytes));
        Arc::new(Block::open(Arc::new(block.meta), source, 0))
    };
    builders().into_iter().map(|builder| open(builder.finish_with(codec))).collect()
}

fn block_write(codec: LineCodec) -> Work {
    let builders = builders();
    Box::new(move || {
        for builder in &builders {
            black_box(builder.clone().finish_with(codec));
        }
    })
}

fn block_decode(codec: LineCodec) -> Work {
    let blocks = blocks(codec);
    assert_eq!(blocks.iter().all(|block| block.is_shredded()), codec != LineCodec::Plain);
    Box::new(move || {
        for block in &blocks {
            let block = block.fresh();
            black_box(block.timestamps().unwrap());
            black_box(block.lines().unwrap());
        }
    })
}

fn literal_search(codec: LineCodec) -> Work {
    let texts = ["error", "request", "Zanzibar quokka", "4f1e0c9b7d2a6835"];
    search(blocks(codec), texts.map(|text| Needles::one(Finder::new(text))).into())
}

/// What failures say: any of some texts, told apart by case and not.
fn set_search(codec: LineCodec) -> Work {
    let texts = ["connection reset", "connection refused", "timed out", "session closed", "failed password"];
    let any = |of_case| Needles::any(texts.map(|text| text.as_bytes().to_vec()).into(), of_case).unwrap();
    search(blocks(codec), [LetterCase::Told, LetterCase::Folded].map(any).into())
}

fn search(blocks: Vec<Arc<Block>>, all: Vec<Needles<'static>>) -> Work {
    Box::new(move || {
        for block in &blocks {
            for needles in &all {
                // As it comes from a disk, nothing decompressed.
                let block = block.fresh();
                black_box(block.count_with(needles, 0..block.rows()).unwrap());
            }
        }
    })
}

/// The text of some blocks.
fn texts() -> Vec<Vec<u8>> {
    blocks(LineCodec::Plain).iter().map(|block| block.lines().unwrap().text().to_vec()).collect()
}

fn content_build() -> Work {
    let texts = texts();
    Box::new(move || {
        let mut builder = ContentIndexBuilder::new(true).unwrap();
        texts.iter().for_each(|text| builder.add_block(text).unwrap());
        black_box(builder.finish().unwrap());
    })
}

fn content_lookup() -> Work {
    let texts = texts();
    let mut builder = ContentIndexBuilder::new(true).unwrap();
    texts.iter().for_each(|text| builder.add_block(text).unwrap());
    let sections = builder.finish().unwrap();
    let words = sections.words.map(Bytes::from);
    let (index, _) = ContentIndex::open(words.as_ref(), sections.ids.into(), texts.len()).unwrap();
    let literals = [" reset by peer", "invalid user", "4f1e0c9b7d2a6835", "request_id=", "quokka"];
    Box::new(move || {
        for literal in literals.iter().cycle().take(100).copied() {
            let prefilter = Prefilter { literals: vec![literal.into()], any_of: Vec::new() };
            black_box(index.candidates(&prefilter).unwrap());
        }
    })
}

fn label_sets() -> Vec<LabelSet> {
    let labels = |number: usize| {
        LabelSet::from_pairs([
            ("app", format!("app-{}", number % 40)),
            ("container", format!("shop-{number}")),
            ("host", format!("h{}", number % 7)),
        ])
    };
    (0..2_000).map(labels).collect()
}

fn streams_bundle(sets: &[LabelSet]) -> Vec<u8> {
    let streams: Vec<(u32, &LabelSet)> = (0..).zip(sets).collect();
    logyard_index::build(&streams).unwrap()
}

fn streams_build() -> Work {
    let sets = label_sets();
    Box::new(move || {
        black_box(streams_bundle(&sets));
    })
}

fn streams_lookup() -> Work {
    let index = StreamIndex::open(Bytes::from(streams_bundle(&label_sets()))).unwrap();
    let matchers = [
        (MatchOp::Equal, "container", "shop-77"),
        (MatchOp::Equal, "app", "app-7"),
        (MatchOp::Regex, "container", "shop-1.*"),
        (MatchOp::NotEqual, "host", "h1"),
    ];
    let matchers = matchers.map(|(op, name, value)| Matcher::new(name, op, value).unwrap());
    Box::new(move || {
        for matcher in &matchers {
            assert!(!index.matching(std::slice::from_ref(matcher)).unwrap().is_empty());
        }
        black_box(index.values("container").unwrap());
    })
}
