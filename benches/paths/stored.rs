//! What a store does with entries: takes them, makes segments of them, makes one segment of several.

use crate::cpu_time::CpuTime;
use crate::lines::{START_NS, Streams};
use bytes::Bytes;
use criterion::BenchmarkGroup;
use criterion::measurement::Measurement as _;
use logyard_codec::encode_batch;
use logyard_model::{Tenant, TimeRange};
use logyard_store::{Encoded, Store, StoreBatch, StoreParts, StoreSettings};
use logyard_sys::{Random, SimClock, SimDisk};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Segments that a compaction makes one of.
const SEGMENTS: usize = 8;

/// From the time of the entries to when their day has been over for a while.
const NEXT_DAY_NS: i64 = 86_400_000_000_000;

/// More than the entries take: nothing is flushed before it is asked for.
const HEAD_BYTES_MAX: u64 = 4 << 30;

/// Longest wait for a compaction.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Ticks of `/proc/self/stat` in a second, the same on every Linux.
const TICKS_PER_SEC: u64 = 100;

pub(crate) fn measure(group: &mut BenchmarkGroup<'_, CpuTime>, streams: &Streams) {
    let batches = batches(streams);
    group.bench_function("batch encode, for the wal", |bencher| {
        bencher.iter(|| batches.iter().map(|batch| encode_batch(&encodable(batch)).len()).sum::<usize>());
    });
    group.bench_function("append: wal and head", |bencher| {
        bencher.iter_custom(|times| {
            let of_one = |_| {
                let store = open(SimDisk::new(), START_NS, false);
                let batches = batches.clone();
                let start = CpuTime.start();
                append(&store, batches);
                CpuTime.end(start)
            };
            (0..times).map(of_one).sum()
        });
    });
    group.bench_function("flush to a segment", |bencher| {
        bencher.iter_custom(|times| {
            let of_one = |_| {
                let store = open(SimDisk::new(), START_NS, false);
                append(&store, batches.clone());
                // In ticks, since the thread of a flush ends with it.
                let start = ticks();
                block_on(store.flush()).unwrap();
                ticks() - start
            };
            (0..times).map(of_one).sum::<Duration>().max(Duration::from_nanos(1))
        });
    });
    let disk = with_segments(&batches);
    group.bench_function("compaction of 8 segments", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| compaction(disk.crash())).sum());
    });
}

/// Returns the batches of all streams.
fn batches(streams: &Streams) -> Vec<StoreBatch> {
    let batch = |chunk| {
        let mut batch = StoreBatch { tenant: Tenant::single(), id: None, chunks: vec![chunk], encoded: None };
        batch.encoded = Some(Encoded::Batch(Bytes::from(encode_batch(&encodable(&batch)))));
        batch
    };
    streams.chunks().into_iter().map(batch).collect()
}

fn encodable(batch: &StoreBatch) -> Vec<(&logyard_model::LabelSet, &logyard_codec::Entries)> {
    batch.chunks.iter().map(|(stream, entries)| (&*stream.labels, entries)).collect()
}

fn open(disk: SimDisk, now_ns: i64, compacts: bool) -> Store {
    let parts = StoreParts {
        disk: Arc::new(disk),
        clock: Arc::new(SimClock::new(now_ns)),
        random: Arc::new(Random::seeded(now_ns.unsigned_abs())),
        registry: &mut Default::default(),
    };
    let mut settings = StoreSettings::default();
    settings.compaction.enabled = compacts;
    settings.flush.head_bytes_max = HEAD_BYTES_MAX;
    settings.flush.wal_bytes_max = HEAD_BYTES_MAX;
    let store = Store::open(Path::new("/data"), settings, parts).unwrap();
    block_on(store.recovered()).unwrap();
    store
}

fn append(store: &Store, batches: Vec<StoreBatch>) {
    block_on(async {
        for batch in batches {
            store.append(batch).await.unwrap();
        }
    });
}

/// Returns a disk whose store has segments to compact once their day is over.
fn with_segments(batches: &[StoreBatch]) -> SimDisk {
    let disk = SimDisk::new();
    let store = open(disk.clone(), START_NS, false);
    // By turns, so that all have entries of all streams.
    for segment in 0..SEGMENTS {
        append(&store, batches.iter().skip(segment).step_by(SEGMENTS).cloned().collect());
        block_on(store.flush()).unwrap();
    }
    block_on(store.close()).unwrap();
    disk
}

/// Opens a store that has something to compact, and returns what that took.
fn compaction(disk: SimDisk) -> Duration {
    let (start, begun) = (CpuTime.start(), Instant::now());
    let store = open(disk, START_NS + NEXT_DAY_NS, true);
    while store.segment_counts(&Tenant::single(), TimeRange::ALL).0 > 1 {
        assert!(begun.elapsed() < WAIT_MAX, "nothing is compacted");
        std::thread::sleep(Duration::from_millis(1));
    }
    CpuTime.end(start)
}

/// Returns the processor time of this process, of ended threads, too.
fn ticks() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold spaces: user and system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SEC)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
