//! How fast the steps are that entries take into a store, and answers out of it.
//!
//! Figures are bytes of lines per second of processor time. Beside them stand the limits of the machine over the same
//! bytes: a copy, `memmem`, zstd. The store works on a disk in memory, so that what is measured is its own work. What
//! blocks cost is measured by `codec`, what queries cost by `stages`. See `../README.md`.

#![allow(clippy::disallowed_methods, reason = "real lines are read from a folder of the caller's")]
#![allow(clippy::unwrap_used, reason = "a panic is how a bench fails")]

#[path = "../harness/bodies.rs"]
mod bodies;
#[path = "../stages/corpus.rs"]
#[allow(dead_code, reason = "some of it is for other benches only")]
mod corpus;
#[path = "../stages/cpu_time.rs"]
mod cpu_time;
#[path = "../harness/limits.rs"]
mod limits;
mod lines;
mod stored;

use bytes::Bytes;
use cpu_time::CpuTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use lines::{ABSENT_ID, START_NS, Streams};
use logyard_index::{ContentIndex, ContentIndexBuilder, StreamIndex};
use logyard_model::{LabelSet, MatchOp, Matcher, Prefilter};
use logyard_sys::SimDisk;
use logyard_wal::{Log, LogSettings};
use logyard_wire::loki_answer::{StreamsAnswer, matrix};
use logyard_wire::loki_push::unpack_push;
use logyard_wire::loki_push_encode::{CONTENT_TYPE, encode_push};
use logyard_wire::loki_stats::Stats;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes that a push may become.
const PUSH_BYTES_MAX: usize = 1 << 30;

/// Bytes of a record of the write-ahead log, and records to a sync.
const RECORD_BYTES: usize = 16 << 10;
const GROUP_RECORDS: usize = 4;

/// Streams of an index of streams.
const INDEX_STREAMS: u32 = 10_000;

/// Series and points of an answer.
const SERIES: usize = 100;
const POINTS: i64 = 500;

type Group<'a> = BenchmarkGroup<'a, CpuTime>;

/// Runs every case.
fn paths(criterion: &mut Criterion<CpuTime>) {
    let streams = Streams::read();
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Bytes(streams.bytes()));
    let texts = streams.texts();
    let borrowed: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    limits::measure(&mut group, &borrowed, &[("memmem, absent", ABSENT_ID)], &[1, 3]);
    group.finish();
    let mut group = criterion.benchmark_group("paths");
    group.throughput(Throughput::Bytes(streams.bytes()));
    push_decode(&mut group, &streams);
    wal(&mut group, &texts);
    stored::measure(&mut group, &streams);
    content(&mut group, &texts);
    answer_streams(&mut group, &streams);
    group.finish();
    label_index(&mut criterion.benchmark_group("streams"));
    answer_matrix(&mut criterion.benchmark_group("points"));
}

/// Bodies as agents send them, until their entries can be looked at.
fn push_decode(group: &mut Group<'_>, streams: &Streams) {
    let chunks = streams.chunks();
    let protobuf = chunks.iter().map(|(stream, entries)| encode_push(&[(&stream.labels, entries)]));
    let json = streams.batches().map(|batch| bodies::json(&[batch.to_vec()], START_NS));
    let cases: [(&str, &str, Vec<Vec<u8>>); 2] = [
        ("push decode, protobuf and snappy", CONTENT_TYPE, protobuf.collect()),
        ("push decode, json", "application/json", json.collect()),
    ];
    for (name, content_type, pushes) in cases {
        let pushes: Vec<Bytes> = pushes.into_iter().map(Bytes::from).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for body in &pushes {
                    let push = unpack_push(body.clone(), Some(content_type), "", PUSH_BYTES_MAX).unwrap();
                    black_box(push.decode().unwrap());
                }
            });
        });
    }
}

/// Records and syncs of groups of them, on a disk in memory.
fn wal(group: &mut Group<'_>, texts: &[Vec<u8>]) {
    group.bench_function("wal append", |bencher| {
        bencher.iter_batched(
            || {
                let mut ignore = |_: u64, _: &[u8]| Ok::<(), std::io::Error>(());
                let disk = Arc::new(SimDisk::new());
                Log::open(disk, Path::new("/wal"), LogSettings::default(), 1, &mut ignore).unwrap().0
            },
            |mut log| {
                for records in texts.iter().flat_map(|text| text.chunks(RECORD_BYTES * GROUP_RECORDS)) {
                    for record in records.chunks(RECORD_BYTES) {
                        log.append(record).unwrap();
                    }
                    log.sync().unwrap();
                }
                log
            },
            BatchSize::LargeInput,
        );
    });
}

/// The index of what blocks hold: made, and asked whether a block can be left out.
fn content(group: &mut Group<'_>, texts: &[Vec<u8>]) {
    let build = || {
        let mut builder = ContentIndexBuilder::new(true).unwrap();
        texts.iter().for_each(|text| builder.add_block(text).unwrap());
        builder.finish().unwrap()
    };
    group.bench_function("content index, build", |bencher| bencher.iter(|| black_box(build())));
    let sections = build();
    let words = sections.words.map(Bytes::from);
    let (index, _) = ContentIndex::open(words.as_ref(), sections.ids.into(), texts.len()).unwrap();
    for (name, literal) in [("an id", ABSENT_ID), ("words", " quokka crossed the fence")] {
        let prefilter = Prefilter { literals: vec![literal.into()], any_of: Vec::new() };
        group.bench_function(format!("content index, {name} that no line holds"), |bencher| {
            bencher.iter(|| black_box(index.candidates(&prefilter).unwrap()));
        });
    }
}

/// An answer with all lines.
fn answer_streams(group: &mut Group<'_>, streams: &Streams) {
    let none = LabelSet::default();
    let chunks = streams.chunks();
    group.bench_function("answer, lines", |bencher| {
        bencher.iter(|| {
            let mut answer = StreamsAnswer::new(&[], &[], false);
            for (stream, entries) in &chunks {
                answer.stream(&stream.labels);
                for row in 0..entries.len() {
                    answer.entry(entries.ts_ns()[row], entries.line(row), &none, &none);
                }
            }
            black_box(answer.finish(&Stats::default()))
        });
    });
}

/// An answer with points.
fn answer_matrix(group: &mut Group<'_>) {
    group.throughput(Throughput::Elements(SERIES as u64 * POINTS as u64));
    let sets: Vec<LabelSet> =
        (0..SERIES).map(|number| LabelSet::from_pairs([("container", format!("c{number}"))])).collect();
    let points = |series: usize| {
        (0..POINTS).map(move |step| (step * 15_000_000_000, (step * 7 % 31) as f64 / (series + 1) as f64))
    };
    group.bench_function("answer, points", |bencher| {
        bencher.iter(|| {
            let series = sets.iter().enumerate().map(|(number, labels)| (labels, points(number)));
            black_box(matrix(series, &Stats::default(), &[]))
        });
    });
}

/// The index of streams: made, and asked for those that match.
fn label_index(group: &mut Group<'_>) {
    group.throughput(Throughput::Elements(u64::from(INDEX_STREAMS)));
    let labels = |number: u32| {
        LabelSet::from_pairs([
            ("app", format!("app-{}", number % 40)),
            ("container", format!("shop-{number}")),
            ("host", format!("h{}", number % 7)),
        ])
    };
    let sets: Vec<LabelSet> = (0..INDEX_STREAMS).map(labels).collect();
    let streams: Vec<(u32, &LabelSet)> = (0..).zip(&sets).collect();
    group.bench_function("stream index, build", |bencher| {
        bencher.iter(|| black_box(logyard_index::build(&streams).unwrap()));
    });
    let index = StreamIndex::open(Bytes::from(logyard_index::build(&streams).unwrap())).unwrap();
    for (name, op, value) in
        [("equal", MatchOp::Equal, "shop-77"), ("beginning, by a regex", MatchOp::Regex, "shop-12.*")]
    {
        let matcher = [Matcher::new("container", op, value).unwrap()];
        group.bench_function(format!("stream index, {name}"), |bencher| {
            bencher.iter(|| black_box(index.matching(&matcher).unwrap()));
        });
    }
    group.bench_function("stream index, all values", |bencher| {
        bencher.iter(|| black_box(index.values("container").unwrap()));
    });
}

/// Short runs: the cases are many.
fn settings() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group! { name = all; config = settings(); targets = paths }
criterion_main!(all);
