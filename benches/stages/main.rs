//! How fast each stage of LogQL runs over lines, as a query runs it: through the engine, on one thread.
//!
//! Each case is a query over blocks in memory, already decompressed, so that what is measured is the
//! engine's own work. Figures are bytes of lines per second of processor time. Beside them stands the
//! limit of the machine: `memmem` over the same bytes. See `README.md` for how to run and what was measured.

#![allow(clippy::disallowed_methods, reason = "real lines are read from a folder of the caller's")]
#![allow(clippy::unwrap_used, reason = "a panic is how a bench fails")]

mod cases;
mod corpus;
mod cpu_time;
#[allow(dead_code, reason = "some of it is for `instructions` only")]
mod memory;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memory::Memory;
use std::hint::black_box;
use std::time::Duration;

/// Runs every case, grouped by the lines it reads.
fn stages(criterion: &mut Criterion<CpuTime>) {
    let corpora = corpus::all();
    for (lines, name, query) in cases::LIMITS {
        let corpus = corpus::by_name(&corpora, lines);
        let mut group = criterion.benchmark_group(format!("limit/{lines}"));
        group.throughput(Throughput::Bytes(corpus.bytes()));
        let finder = memchr::memmem::Finder::new(query);
        let texts = Memory::new(corpus).texts();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| texts.iter().map(|text| finder.find_iter(text).count()).sum::<usize>());
        });
    }
    for (lines, name, query) in cases::QUERIES {
        let corpus = corpus::by_name(&corpora, lines);
        let memory = Memory::new(corpus);
        let mut group = criterion.benchmark_group(lines.to_string());
        group.throughput(Throughput::Bytes(corpus.bytes()));
        let run = memory.prepare(query);
        group.bench_function(*name, |bencher| bencher.iter(|| black_box(run())));
    }
    for (name, steps, query) in cases::STEPS {
        let corpus = corpus::by_name(&corpora, "logfmt");
        let memory = Memory::new(corpus);
        let mut group = criterion.benchmark_group("steps");
        group.throughput(Throughput::Elements(memory.entries()));
        let run = memory.prepare_range(query, *steps);
        group.bench_function(format!("{name}, {steps} steps"), |bencher| bencher.iter(|| black_box(run())));
    }
}

/// Short runs: the cases are many.
fn settings() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .without_plots()
}

criterion_group! { name = all; config = settings(); targets = stages }
criterion_main!(all);
