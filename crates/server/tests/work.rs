//! The work of queries over a compacted store, by counters: what is answered without opening a block.

#![allow(clippy::unwrap_used, missing_docs)]

use logyard_codec::{BlockView, Entries};
use logyard_engine::{
    Cancel, Engine, EngineSettings, Kind, QueryKind, QueryOutcome, QueryRequest, QueryResult, Select,
    SelectError, SelectRequest,
};
use logyard_model::{Direction, LabelSet, Stream, Tenant};
use logyard_store::{Store, StoreBatch, StoreParts, StoreSettings};
use logyard_sys::{Clock, Disk, Random, RealClock, SimClock, SimDisk};
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Midnight of 2026-06-01.
const START_NS: i64 = 1_780_272_000_000_000_000;
const DAY_NS: i64 = 86_400_000_000_000;
const DAYS: i64 = 30;
const SECOND_NS: i64 = 1_000_000_000;
const CONTAINERS: usize = 8;

/// Longest that compaction may take: seconds as a rule, minutes in the long run.
const COMPACTED_IN_NS_MAX: u64 = 3600 * 1_000_000_000;

#[derive(Debug)]
struct StoreSelect(Store);

impl Select for StoreSelect {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let views = self.0.select(&Tenant::single(), request.matchers, request.range, request.prefilter);
        views.map_err(|error| SelectError { kind: Kind::Unavailable, message: error.to_string() })
    }
}

/// Returns how many entries there are. A long run: `LOGYARD_WORK_ENTRIES=10000000 cargo test -p logyard-server --test work`.
fn entries_max() -> usize {
    std::env::var("LOGYARD_WORK_ENTRIES").ok().map_or(120_000, |text| text.parse().unwrap())
}

/// A name of 16 characters that no other entry has.
fn id(number: usize) -> String {
    format!("{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn segment_names(disk: &SimDisk, dir: &Path) -> Vec<PathBuf> {
    let items = disk.list(dir).unwrap();
    let inside = |item: logyard_sys::DirItem| {
        let path = dir.join(&item.name);
        if item.is_dir { segment_names(disk, &path) } else { vec![path] }
    };
    items.into_iter().flat_map(inside).collect()
}

fn open(disk: &SimDisk, hours: i64, is_compacting: bool) -> Store {
    let parts = StoreParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(START_NS + DAYS * DAY_NS + hours * DAY_NS / 24)),
        random: Arc::new(Random::seeded(u64::from(is_compacting))),
        registry: &mut Registry::default(),
    };
    let mut settings = StoreSettings::default();
    settings.retention.period_secs = Some(0);
    settings.compaction.cpu_share_max = 1.0;
    settings.compaction.enabled = is_compacting;
    Store::open(Path::new("/data"), settings, parts).unwrap()
}

/// Fills thirty days, and waits until nothing is left as it was flushed.
fn filled() -> StoreSelect {
    let (disk, tenant) = (SimDisk::new(), Tenant::single());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = open(&disk, 1, false);
    let per_run = entries_max() / (DAYS as usize * CONTAINERS);
    let mut number = 0;
    for day in 0..DAYS {
        for container in 0..CONTAINERS {
            let labels = LabelSet::from_pairs([("container", &*format!("c{container}"))]);
            let mut entries = Entries::default();
            for row in 0..per_run {
                let ts_ns = START_NS
                    + day * DAY_NS
                    + SECOND_NS
                    + row as i64 * ((DAY_NS - SECOND_NS) / per_run as i64);
                let line = format!("level=info request {} served in {} ms", id(number), number % 97);
                entries.push(ts_ns, line.as_bytes(), "info", &LabelSet::default());
                number += 1;
            }
            let chunks = vec![(Arc::new(Stream::new(&tenant, labels)), entries)];
            let batch = StoreBatch { tenant: tenant.clone(), id: None, chunks, encoded: None };
            runtime.block_on(store.append(batch)).unwrap();
        }
    }
    runtime.block_on(store.close()).unwrap();
    drop(store);
    // A day is over for good some hours after the last flush into it.
    let store = open(&disk, 12, true);
    runtime.block_on(store.recovered()).unwrap();
    let is_flushed = |path: &PathBuf| !path.to_string_lossy().ends_with("-L1.seg");
    let clock = RealClock::new();
    while segment_names(&disk, Path::new("/data/tenants")).iter().any(is_flushed) {
        assert!(clock.monotonic_ns() < COMPACTED_IN_NS_MAX, "some days are not compacted");
        // Compaction needs the core that looking all the time would take.
        std::thread::sleep(Duration::from_millis(10));
    }
    StoreSelect(store)
}

fn ask(source: &StoreSelect, query: &str, kind: QueryKind) -> QueryOutcome {
    let request = QueryRequest {
        tenants: Tenant::single().into(),
        expr: Arc::new(logyard_logql::parse(query).unwrap()),
        kind,
        limit: 100,
        direction: Direction::Backward,
        interval_ns: 0,
        partial_series: false,
        now_ns: START_NS + DAYS * DAY_NS,
        cancel: Arc::new(Cancel::new()),
    };
    Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() }).run(source, &request).unwrap()
}

#[test]
fn counts_ids_and_last_lines_open_few_blocks() {
    let source = filled();
    let all = QueryKind::Range { start_ns: START_NS, end_ns: START_NS + DAYS * DAY_NS, step_ns: DAY_NS };
    let instant = QueryKind::Instant { time_ns: START_NS + DAYS * DAY_NS - 1 };
    let want = entries_max() / (DAYS as usize * CONTAINERS) * DAYS as usize * CONTAINERS;

    let sum = r#"sum(count_over_time({container=~".+"}[30d]))"#;
    let outcome = ask(&source, sum, instant);
    let QueryResult::Vector(samples) = &outcome.result else { panic!("{outcome:?}") };
    assert_eq!(samples[0].value as usize, want, "{:?}", outcome.stats);
    assert_eq!(outcome.stats.blocks_decoded, 0, "{:?}", outcome.stats);

    let outcome = ask(&source, r#"sum by (container) (count_over_time({container=~".+"}[1d]))"#, all);
    let QueryResult::Matrix(series) = &outcome.result else { panic!("{outcome:?}") };
    let counted: f64 = series.iter().flat_map(|series| &series.samples).map(|sample| sample.value).sum();
    assert_eq!((series.len(), counted as usize), (CONTAINERS, want), "{:?}", outcome.stats);
    assert_eq!(outcome.stats.blocks_decoded, 0, "{:?}", outcome.stats);

    for number in [0, want / 2, want - 1] {
        let query = format!(r#"{{container=~".+"}} |= "{}""#, id(number));
        let outcome = ask(&source, &query, all);
        let QueryResult::Entries(entries) = &outcome.result else { panic!("{outcome:?}") };
        assert_eq!(entries.len(), 1);
        assert!(outcome.stats.blocks <= 3, "{:?}", outcome.stats);
    }
    let outcome = ask(&source, r#"{container=~".+"} |= "0123456789abcdef""#, all);
    assert!(outcome.stats.blocks <= 1, "an id that is nowhere: {:?}", outcome.stats);

    let outcome = ask(&source, r#"{container="c3"}"#, all);
    let QueryResult::Entries(entries) = &outcome.result else { panic!("{outcome:?}") };
    assert_eq!(entries.len(), 100);
    assert!(outcome.stats.blocks_decoded <= 2, "{:?}", outcome.stats);
}
