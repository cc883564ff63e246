//! How fast blocks are written, read and searched, plain and shredded, and how large they are.
//!
//! Figures are bytes of lines per second of processor time, one source after the other, then all of them. Beside
//! them stand the limits of the machine over the same bytes: a copy, `memmem`, and zstd. Each pass starts with
//! blocks as they come from a disk, nothing decompressed; writing a shredded block includes the plain form it is
//! compared with, and reading it back. See `../README.md` for how to run and what was measured.

#![allow(clippy::disallowed_methods, reason = "real lines are read from a folder of the caller's")]
#![allow(clippy::unwrap_used, reason = "a panic is how a bench fails")]
#![allow(clippy::print_stderr, reason = "sizes are said beside the speeds")]

#[path = "../stages/corpus.rs"]
#[allow(dead_code, reason = "some of it is for `stages` only")]
mod corpus;
#[path = "../stages/cpu_time.rs"]
mod cpu_time;
#[path = "../harness/limits.rs"]
mod limits;
mod sources;

use cpu_time::CpuTime;
use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use logyard_codec::{Block, KeyFormat, KeyValue, LetterCase, LineCodec, Needles};
use memchr::memmem::Finder;
use sources::Source;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// What no line holds: words, which stand between values, and an id, which stands where values are.
const ABSENT_WORDS: &str = "Zanzibar quokka";
const ABSENT_ID: &str = "4f1e0c9b7d2a6835";

/// What failures say, in few of the lines.
const SOME_WORDS: &[&str] =
    &["connection reset", "connection refused", "connection timed out", "session closed", "failed password"];

/// Runs every case of every source.
fn codec(criterion: &mut Criterion<CpuTime>) {
    for source in sources::all() {
        let texts: Vec<&[u8]> = source.builders.iter().map(|builder| builder.text()).collect();
        let needles = [("memmem, word", source.word.as_str()), ("memmem, absent", ABSENT_WORDS)];
        limits::measure(&mut group(criterion, &source, "limit"), &texts, &needles, &[1, 3]);
        for (form, codec) in [("plain", LineCodec::Plain), ("shredded", LineCodec::BEST)] {
            let encoded = sources::written(&source, codec);
            let stored: usize = encoded.iter().map(|block| block.bytes.len()).sum();
            let percent = stored as f64 * 100.0 / source.bytes as f64;
            eprintln!("{}, {form}: {} bytes of lines, {percent:.1} % stored", source.name, source.bytes);
            let mut group = group(criterion, &source, form);
            group.bench_function("write", |bencher| {
                bencher.iter(|| black_box(sources::written(&source, codec)));
            });
            reading(&mut group, &source, &sources::opened(&encoded));
        }
    }
}

fn group<'a, M: Measurement>(
    criterion: &'a mut Criterion<M>,
    source: &Source,
    form: &str,
) -> BenchmarkGroup<'a, M> {
    let mut group = criterion.benchmark_group(format!("{}/{form}", source.name));
    group.throughput(Throughput::Bytes(source.bytes));
    group
}

/// Measures what queries do with written blocks.
fn reading(group: &mut BenchmarkGroup<'_, CpuTime>, source: &Source, blocks: &[Arc<Block>]) {
    let mut case = |name: &str, read: &dyn Fn(&Block) -> usize| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| blocks.iter().map(|block| read(&block.fresh())).sum::<usize>());
        });
    };
    case("all lines", &|block| block.lines().unwrap().text().len());
    case("ends of lines", &|block| block.line_ends().unwrap().len());
    case("timestamps", &|block| block.timestamps().unwrap().len());
    case("levels", &|block| block.levels().unwrap().rows());
    for (name, needle) in [
        ("count word", source.word.as_str()),
        ("count absent words", ABSENT_WORDS),
        ("count absent id", ABSENT_ID),
    ] {
        let needles = Needles::one(Finder::new(needle));
        case(name, &|block| block.count_with(&needles, 0..block.rows()).unwrap() as usize);
    }
    for (name, texts, of_case) in [
        ("count any of some words", SOME_WORDS, LetterCase::Told),
        ("count any of some words, in either case", SOME_WORDS, LetterCase::Folded),
    ] {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let needles = Needles::any(texts, of_case).unwrap();
        case(name, &|block| block.count_with(&needles, 0..block.rows()).unwrap() as usize);
    }
    case("a tenth of the lines", &|block| {
        let mut line = Vec::new();
        (0..block.rows()).step_by(10).for_each(|row| block.line_into(row, &mut line).unwrap());
        line.len()
    });
    if let Some((format, key)) = source.key.filter(|_| blocks.iter().any(|block| block.is_shredded())) {
        case("count one key", &|block| count_key(block, format, key.as_bytes()));
    }
}

/// Counts the rows whose value of a key starts with a 5, and those that have to be parsed.
fn count_key(block: &Block, format: KeyFormat, key: &[u8]) -> usize {
    let mut count = 0;
    let mut value = Vec::new();
    for group in block.key_groups(format, key, 0..block.rows()).unwrap().unwrap_or_default() {
        let rows = 0..group.rows.len() as u32;
        count += match group.value {
            KeyValue::Unknown => rows.len(),
            KeyValue::Absent => 0,
            KeyValue::Values(values) => match (values.constant(), values.dictionary()) {
                (Some(constant), _) if constant.starts_with(b"5") => rows.len(),
                (Some(_), _) => 0,
                (None, Some(distinct)) => {
                    let codes = 0..distinct.rows() as u32;
                    let is_hit: Vec<bool> = codes.map(|code| distinct.line(code).starts_with(b"5")).collect();
                    rows.filter(|&place| is_hit[values.code(place) as usize]).count()
                }
                (None, None) => rows
                    .filter(|&place| {
                        value.clear();
                        values.value_into(place, &mut value);
                        value.starts_with(b"5")
                    })
                    .count(),
            },
        };
    }
    count
}

/// Short runs: the cases are many.
fn settings() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
}

criterion_group! { name = all; config = settings(); targets = codec }
criterion_main!(all);
