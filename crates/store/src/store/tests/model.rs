//! Random histories against a list: appends, flushes, repeats, crashes at any point, restarts.

use super::*;
use crate::maintenance::Worker;
use std::collections::BTreeMap;

/// What should be found, and what may be.
#[derive(Default)]
struct Oracle {
    /// By batch number: the entries that were acknowledged.
    stored: BTreeMap<u64, Vec<Found>>,
    /// Batches whose append failed: found whole or not at all.
    unknown: BTreeMap<u64, (StoreBatch, Vec<Found>)>,
}

struct History {
    random: Random,
    disk: SimDisk,
    clock: Arc<SimClock>,
    store: Store,
    oracle: Oracle,
    batches: u64,
    tenants: [Tenant; 2],
}

fn settings(random: &Random) -> StoreSettings {
    let mut settings = StoreSettings::default();
    // Small enough for flushes of its own accord, and for flushes while recovering.
    settings.flush.head_bytes_max = [3_000, 100_000, 64 << 20][random.next_u64() as usize % 3];
    settings.flush.on_close = random.next_u64().is_multiple_of(2);
    settings
}

impl History {
    fn new(seed: u64) -> Self {
        let (random, disk) = (Random::seeded(seed), SimDisk::new());
        let clock = Arc::new(SimClock::new(NOON_NS));
        let store = open_at(&disk, settings(&random), &clock).unwrap();
        run(store.recovered()).unwrap();
        let tenants = [Tenant::single(), Tenant::new("other").unwrap()];
        Self { random, disk, clock, store, oracle: Oracle::default(), batches: 0, tenants }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    /// Makes a batch of new entries, every line distinct; some out of order, over up to three days.
    fn new_batch(&mut self) -> (u64, StoreBatch, Vec<Found>) {
        self.batches += 1;
        let number = self.batches;
        let tenant = self.tenants[self.below(4) as usize / 3].clone();
        let mut chunks = Vec::new();
        let mut found = Vec::new();
        for chunk in 0..=self.below(3) {
            let app = ["a", "b", "c", "d"][self.below(4) as usize];
            let stream = stream(&tenant, &[("app", app), ("chunk", &chunk.to_string())]);
            let mut entries = Entries::default();
            for row in 0..self.below(20) {
                let ts_ns = NOON_NS + self.below(1000) as i64 * HOUR_NS / 25 + number as i64;
                let mut line = format!("{number}/{chunk}/{row} ").into_bytes();
                if self.below(50) == 0 {
                    line.resize(40_000, b'x');
                }
                let level = ["", "info", "error"][self.below(3) as usize];
                let metadata = match self.below(3) {
                    0 => LabelSet::from_pairs([("trace", number.to_string())]),
                    _ => LabelSet::default(),
                };
                entries.push(ts_ns, &line, level, &metadata);
                found.push((stream.labels.to_string(), ts_ns, line, level.to_owned(), metadata.to_string()));
            }
            chunks.push((stream, entries));
        }
        let id = (!number.is_multiple_of(3)).then(|| id(number));
        (number, StoreBatch { tenant, id, chunks, encoded: None }, found)
    }

    fn append(&mut self) {
        let (number, batch, found) = self.new_batch();
        let found = tagged(&batch.tenant, found);
        match append(&self.store, batch.clone()) {
            Ok(appended) => {
                assert!(!appended.duplicate, "batch {number} is new");
                self.oracle.stored.insert(number, found);
            }
            Err(_) => {
                self.oracle.unknown.insert(number, (batch, found));
            }
        }
    }

    /// Sends again a batch of the past that has an id.
    fn repeat(&mut self) {
        let with_id = |number: &&u64| !number.is_multiple_of(3);
        let Some(number) = self.oracle.stored.keys().filter(with_id).nth(self.below(10) as usize).copied()
        else {
            return;
        };
        if let Ok(appended) =
            append(&self.store, batch("again", Some(id(number)), &[(1, "must not be stored")]))
        {
            assert!(appended.duplicate, "batch {number} is known");
        }
    }

    /// Pulls the plug now, or in the middle of what comes next.
    fn crash(&mut self) {
        if self.below(3) > 0 {
            self.disk.halt_after(self.below(30));
            for _ in 0..self.below(4) {
                match self.below(4) {
                    0 => drop(run(self.store.flush())),
                    1 => self.compact(),
                    _ => self.append(),
                }
            }
        }
        self.disk = self.disk.crash_seeded(self.random.next_u64());
        self.open();
        self.settle();
    }

    /// Compacts one job, if one is due; over the days of a history the clock may say that they are over.
    fn compact(&mut self) {
        self.clock.set(NOON_NS + self.below(100) as i64 * HOUR_NS);
        Worker::default().run_once(&self.store.inner.shared);
        self.store.inner.shared.sweep();
    }

    fn restart(&mut self) {
        run(self.store.close()).unwrap();
        self.open();
    }

    fn open(&mut self) {
        self.store = open_at(&self.disk, settings(&self.random), &self.clock).unwrap();
        run(self.store.recovered()).unwrap();
    }

    /// After a crash: batches without an answer are there whole or not at all; with an id, sending them again
    /// leaves them there once.
    fn settle(&mut self) {
        for (number, (batch, found)) in std::mem::take(&mut self.oracle.unknown) {
            let all = self.found();
            let there = found.iter().filter(|entry| all.binary_search(entry).is_ok()).count();
            assert!(
                there == 0 || there == found.len(),
                "batch {number}: {there} of {} are there",
                found.len()
            );
            if batch.id.is_some() {
                let appended = append(&self.store, batch).unwrap();
                assert!(found.is_empty() || appended.duplicate == (there > 0), "batch {number}");
                self.oracle.stored.insert(number, found);
            } else if there > 0 {
                self.oracle.stored.insert(number, found);
            }
        }
    }

    /// Returns everything that is found, the tenant in front of the labels, sorted.
    fn found(&self) -> Vec<Found> {
        let of = |tenant: &Tenant| tagged(tenant, find(&self.store, tenant, &[], TimeRange::ALL));
        let mut all: Vec<Found> = self.tenants.iter().flat_map(of).collect();
        all.sort();
        all
    }

    fn check_all(&self) {
        let mut expect: Vec<Found> = self.oracle.stored.values().flatten().cloned().collect();
        expect.sort();
        check_equal(&self.found(), &expect);
    }

    fn check_query(&self) {
        let tenant = &self.tenants[self.below(2) as usize];
        let op =
            [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][self.below(4) as usize];
        let matchers = [matcher("app", op, ["a", "b|c", "", ".+", "x"][self.below(5) as usize])];
        let start_ns = NOON_NS + self.below(1000) as i64 * HOUR_NS / 25;
        let range = TimeRange { start_ns, end_ns: start_ns + self.below(30) as i64 * HOUR_NS };
        let prefix = format!("{tenant}:");
        let passes = |entry: &&Found| {
            let app = entry.0.split("app=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            entry.0.starts_with(&prefix) && range.contains(entry.1) && matchers[0].matches(app)
        };
        let mut expect: Vec<Found> = self.oracle.stored.values().flatten().filter(passes).cloned().collect();
        expect.sort();
        check_equal(&tagged(tenant, find(&self.store, tenant, &matchers, range)), &expect);
        let stats = self.store.stats(tenant, &matchers, TimeRange::ALL).unwrap();
        let all = find(&self.store, tenant, &matchers, TimeRange::ALL);
        assert_eq!(stats.entries, all.len() as u64);
        assert_eq!(stats.bytes, all.iter().map(|entry| entry.2.len() as u64).sum::<u64>());
        let mut streams: Vec<&String> = all.iter().map(|entry| &entry.0).collect();
        streams.dedup();
        assert_eq!(stats.streams, streams.len() as u64);
        assert_eq!(self.store.streams(tenant, &matchers, TimeRange::ALL).unwrap().len(), streams.len());
    }
}

fn check_equal(found: &[Found], expect: &[Found]) {
    let short = |entry: &Found| {
        (entry.0.clone(), entry.1, String::from_utf8_lossy(&entry.2[..entry.2.len().min(12)]).into_owned())
    };
    let without = |some: &[Found], others: &[Found]| -> Vec<_> {
        some.iter().filter(|entry| others.binary_search(entry).is_err()).take(5).map(short).collect()
    };
    let (lost, invented) = (without(expect, found), without(found, expect));
    assert!(lost.is_empty() && invented.is_empty(), "lost {lost:?}, invented {invented:?}");
    assert_eq!(found.len(), expect.len(), "some entries are there twice");
}

fn tagged(tenant: &Tenant, found: Vec<Found>) -> Vec<Found> {
    found
        .into_iter()
        .map(|entry| (format!("{tenant}:{}", entry.0), entry.1, entry.2, entry.3, entry.4))
        .collect()
}

fn live(seed: u64, steps: u64) {
    let mut history = History::new(seed);
    for _ in 0..steps {
        match history.below(20) {
            0..10 => history.append(),
            10..12 => history.repeat(),
            12..14 => run(history.store.flush()).unwrap(),
            14 => history.crash(),
            15 => history.compact(),
            16 => history.restart(),
            17 => history.check_all(),
            _ => history.check_query(),
        }
    }
    history.check_all();
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    for seed in 0..40 {
        let outcome = std::panic::catch_unwind(|| live(seed, 60));
        assert!(outcome.is_ok(), "seed {seed} fails");
    }
}
