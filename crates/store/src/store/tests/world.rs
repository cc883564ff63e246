//! What the tests of crashes and faults share: a store with a list of what it has acknowledged, and a table of
//! everything that the store does to its disk.

use super::*;
use crate::catalog_record::Edit;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY_NS: i64 = 24 * HOUR_NS;

/// A store, its disk and clock, and what it must and what it may answer.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<SimClock>,
    pub(super) settings: StoreSettings,
    pub(super) store: Option<Store>,
    expiry: Expiry,
    batches: u64,
    /// By number of the batch: what was acknowledged.
    acked: BTreeMap<u64, (StoreBatch, Vec<Found>)>,
    /// What was refused or got no answer: there whole or not at all.
    unsure: BTreeMap<u64, (StoreBatch, Vec<Found>)>,
    /// What a test has damaged: it may be missing.
    pub(super) damaged: BTreeSet<Found>,
    /// The catalog was lost, and with it the ids of batches.
    are_ids_lost: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let mut settings = StoreSettings::default();
        settings.retention.period_secs = Some(3 * 86_400);
        Self {
            disk: SimDisk::new(),
            clock: Arc::new(SimClock::new(NOON_NS)),
            settings,
            store: None,
            expiry: Expiry::default(),
            batches: 0,
            acked: BTreeMap::new(),
            unsure: BTreeMap::new(),
            damaged: BTreeSet::new(),
            are_ids_lost: false,
        }
    }

    /// Opens the store and waits for it. Errors: those of the store, and that a flush during the replay failed,
    /// which would be tried again for ever.
    pub(super) fn try_start(&mut self) -> Result<()> {
        self.store = None;
        let store = open_at(&self.disk, self.settings.clone(), &self.clock)?;
        while matches!(store.readiness(), Readiness::Recovering { .. }) {
            if store.inner.shared.metrics.flush_failures.get() > 0 {
                return Err(Error::unavailable("the store waits for the disk"));
            }
            std::thread::yield_now();
        }
        run(store.recovered())?;
        self.store = Some(store);
        Ok(())
    }

    pub(super) fn start(&mut self) {
        self.try_start().unwrap_or_else(|error| panic!("start always succeeds: {error:?}"));
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// The world after a power cut, with what is on the disk then; nothing runs in it.
    pub(super) fn crashed(&self, seed: Option<u64>) -> World {
        let disk = seed.map_or_else(|| self.disk.crash(), |seed| self.disk.crash_seeded(seed));
        World {
            disk,
            clock: Arc::new(SimClock::new(self.clock.now_ns())),
            settings: self.settings.clone(),
            store: None,
            expiry: Expiry::default(),
            batches: self.batches,
            acked: self.acked.clone(),
            unsure: self.unsure.clone(),
            damaged: self.damaged.clone(),
            are_ids_lost: self.are_ids_lost,
        }
    }

    /// Pushes a batch with an id: entries of the day of the clock, and sometimes of another stream the day before.
    pub(super) fn push(&mut self) {
        self.batches += 1;
        let number = self.batches;
        let tenant = if number == 2 { Tenant::new("other").unwrap() } else { Tenant::single() };
        let (mut chunks, mut found) = (Vec::new(), Vec::new());
        for app in 0..if number % 4 == 1 { 2 } else { 1 } {
            let stream = stream(&tenant, &[("app", &format!("app {app}"))]);
            let mut entries = Entries::default();
            for row in 0..3 {
                let ts_ns = self.clock.now_ns() - i64::from(app) * DAY_NS + number as i64 * 1000 - row;
                let line = format!("batch {number} app {app} row {row}").into_bytes();
                entries.push(ts_ns, &line, "info", &LabelSet::default());
                let labels = format!("{tenant}:{}", stream.labels);
                found.push((labels, ts_ns, line, "info".to_owned(), LabelSet::default().to_string()));
            }
            chunks.push((stream, entries));
        }
        let batch = StoreBatch { tenant, id: Some(id(number)), chunks, encoded: None };
        match append(self.store(), batch.clone()) {
            Ok(appended) => {
                assert!(!appended.duplicate, "batch {number} is new");
                self.acked.insert(number, (batch, found));
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                self.unsure.insert(number, (batch, found));
            }
        }
    }

    pub(super) fn flush(&self) -> bool {
        run(self.store().flush()).is_ok()
    }

    pub(super) fn push_and_flush(&mut self, count: usize) {
        for _ in 0..count {
            self.push();
            self.flush();
        }
    }

    /// Compacts all that is due, and removes what nobody reads.
    pub(super) fn compact(&self) -> usize {
        let (shared, mut worker) = (&self.store().inner.shared, Worker::default());
        let count = (0..100).take_while(|_| worker.run_once(shared)).count();
        assert!(count < 100, "compaction comes to an end");
        shared.sweep();
        count
    }

    /// Lets days pass, evenly enough for days that are too old to go.
    pub(super) fn expire(&mut self, days: u64) {
        let shared = Arc::clone(&self.store().inner.shared);
        self.clock.advance(Duration::from_secs(days * 86_400));
        self.expiry.run(&shared);
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.expiry.run(&shared);
        shared.sweep();
    }

    /// Returns all answers of both tenants, sorted.
    pub(super) fn found(&self) -> Vec<Found> {
        let mut all = Vec::new();
        for tenant in [Tenant::single(), Tenant::new("other").unwrap()] {
            let found = find(self.store(), &tenant, &[], TimeRange::ALL);
            all.extend(
                found.into_iter().map(|one| (format!("{tenant}:{}", one.0), one.1, one.2, one.3, one.4)),
            );
        }
        all.sort();
        all
    }

    /// Checks that everything acknowledged is answered once, unless it is too old or damaged, and nothing else
    /// but batches without an answer, which are there whole or not at all.
    pub(super) fn check(&self, what: &str) {
        let shared = &self.store().inner.shared;
        // No policies: every stream has the same period.
        let cutoff_ns = shared.periods.bounds("").1.cutoff_ns(shared.clock.now_ns());
        let found = self.found();
        let all: BTreeSet<&Found> = found.iter().collect();
        assert_eq!(all.len(), found.len(), "{what}: some entries are there twice");
        let is_due = |entry: &&Found| entry.1 >= cutoff_ns && !self.damaged.contains(*entry);
        let mut may: BTreeSet<&Found> = BTreeSet::new();
        for (number, (_, entries)) in &self.acked {
            let lost = entries.iter().filter(is_due).find(|entry| !all.contains(entry));
            assert!(lost.is_none(), "{what}: batch {number} was acknowledged and lost: {lost:?}");
            may.extend(entries);
        }
        for (number, (_, entries)) in &self.unsure {
            let due = entries.iter().filter(is_due).count();
            let there = entries.iter().filter(is_due).filter(|entry| all.contains(entry)).count();
            assert!(there == 0 || there == due, "{what}: batch {number} is there in part");
            may.extend(entries);
        }
        let invented = found.iter().find(|entry| !may.contains(entry) || entry.1 < cutoff_ns);
        assert!(invented.is_none(), "{what}: {invented:?}");
    }

    /// Sends again every batch, as an agent does that got no answer: known ones are not stored again.
    pub(super) fn settle(&mut self, what: &str) {
        for (number, (batch, found)) in std::mem::take(&mut self.unsure) {
            append(self.store(), batch.clone()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            self.acked.insert(number, (batch, found));
        }
        for (number, (batch, _)) in self.acked.iter().filter(|_| !self.are_ids_lost) {
            let appended = append(self.store(), batch.clone()).unwrap();
            assert!(appended.duplicate, "{what}: batch {number} was stored twice");
        }
        self.check(what);
    }

    /// Checks that the store does all it has to, now and after another start.
    pub(super) fn check_works(&mut self, what: &str) {
        self.check(what);
        self.settle(what);
        self.push();
        assert!(self.unsure.is_empty() && self.flush(), "{what}: the store takes entries again");
        self.compact();
        self.check(what);
        let mut later = self.crashed(None);
        later.start();
        later.check(&format!("{what}, after another start"));
    }
}

/// Returns how many changes lie between two that are tried: the long form, with `LOGYARD_LONG` set, tries each.
pub(super) fn stride() -> u64 {
    if std::env::var_os("LOGYARD_LONG").is_some() { 1 } else { 7 }
}

/// Something that the store does to its disk.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Brings a new world to the point.
    pub(super) prepare: fn(&mut World),
    /// Does it; what fails is for the world to remember.
    pub(super) act: fn(&mut World),
    /// Changes of the disk that it makes at least: fewer, and it does not do what it is to test.
    pub(super) changes_min: u64,
}

impl Scenario {
    pub(super) fn prepared(&self) -> World {
        let mut world = World::new();
        (self.prepare)(&mut world);
        world
    }
}

fn started(world: &mut World) {
    world.start();
    world.push();
}

fn flushed_often(world: &mut World) {
    world.start();
    world.push_and_flush(9);
}

/// Takes what `act` of a start does: a start that fails is followed by another once the fault is over.
fn start(world: &mut World) {
    if let Err(error) = world.try_start() {
        // A folder that cannot be made is one that cannot be used.
        assert!(matches!(error.kind(), Kind::Unavailable | Kind::Invalid), "{error:?}");
    }
}

fn stopped_at_once(world: &mut World) {
    world.store = None;
}

/// Damages the end of the oldest segment of a stopped store, so that it is lost at first use.
fn damage_oldest(world: &mut World) {
    world.start();
    let oldest = Arc::clone(&world.store().inner.shared.view().segments[0]);
    let range = TimeRange { start_ns: oldest.record.min_ns, end_ns: oldest.record.max_ns + 1 };
    let before = world.found();
    stopped_at_once(world);
    world.disk.damage(&oldest.path, oldest.record.bytes - 40, 1).unwrap();
    let of_tenant = |entry: &&Found| entry.0.starts_with(&format!("{}:", oldest.record.tenant));
    let hit = before.iter().filter(of_tenant).filter(|entry| range.contains(entry.1));
    world.damaged.extend(hit.cloned());
}

/// Everything the store does to its disk.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "append",
        prepare: started,
        act: |world| (0..3).for_each(|_| world.push()),
        changes_min: 6,
    },
    Scenario {
        name: "flush",
        prepare: started,
        act: |world| {
            world.flush();
        },
        changes_min: 15,
    },
    Scenario {
        name: "flush of a head at its bound, and pushes behind it",
        prepare: |world| {
            world.settings.flush.head_bytes_max = 400;
            started(world);
        },
        act: |world| {
            world.push();
            world.push();
            world.flush();
        },
        changes_min: 30,
    },
    Scenario {
        name: "flush that begins a new file of the catalog",
        prepare: |world| {
            started(world);
            let mut catalog = world.store().inner.shared.catalog.lock();
            for _ in 0..1000 {
                let state = catalog.state();
                let edit =
                    Edit::Flush { add: Vec::new(), wal_done: state.wal_done, windows: state.windows.clone() };
                catalog.edit(edit).unwrap();
            }
        },
        act: |world| {
            world.flush();
        },
        changes_min: 20,
    },
    Scenario {
        name: "compaction of a day under way",
        prepare: flushed_often,
        act: |world| {
            world.compact();
        },
        changes_min: 20,
    },
    Scenario {
        name: "compaction of days that are over, two levels",
        prepare: |world| {
            flushed_often(world);
            world.compact();
            world.push_and_flush(2);
            world.clock.advance(Duration::from_secs(36 * 3600));
        },
        act: |world| {
            world.compact();
        },
        changes_min: 40,
    },
    Scenario {
        name: "retention",
        prepare: |world| {
            world.start();
            for _ in 0..3 {
                world.push_and_flush(1);
                world.clock.advance(Duration::from_secs(86_400));
            }
        },
        act: |world| world.expire(2),
        changes_min: 9,
    },
    Scenario {
        name: "loss of a segment",
        prepare: |world| {
            flushed_often(world);
            damage_oldest(world);
            world.start();
        },
        act: |world| drop(world.found()),
        changes_min: 4,
    },
    Scenario {
        name: "close",
        prepare: started,
        act: |world| run(world.store().close()).unwrap(),
        changes_min: 15,
    },
    Scenario { name: "start of a new folder", prepare: |_| {}, act: start, changes_min: 8 },
    Scenario {
        name: "start with more in the WAL than fits into the head",
        prepare: |world| {
            world.start();
            (0..4).for_each(|_| world.push());
            stopped_at_once(world);
            world.settings.flush.head_bytes_max = 400;
        },
        act: start,
        changes_min: 40,
    },
    Scenario {
        name: "start with a torn end of the WAL",
        prepare: |world| {
            started(world);
            stopped_at_once(world);
            let wal = root().join("wal");
            let items = world.disk.list(&wal).unwrap();
            let last = items.iter().rfind(|item| !item.is_dir).unwrap();
            let mut file = world.disk.append_file(&wal.join(&last.name)).unwrap();
            file.write_all(&[9; 30]).unwrap();
            file.sync().unwrap();
        },
        act: start,
        changes_min: 3,
    },
    Scenario {
        name: "start after a lost segment was restored",
        prepare: |world| {
            flushed_often(world);
            let oldest = world.store().inner.shared.view().segments[0].path.clone();
            let bytes = world.disk.read(&oldest).unwrap();
            stopped_at_once(world);
            world.disk.remove_file(&oldest).unwrap();
            world.start();
            stopped_at_once(world);
            world.disk.write_atomic(&oldest, &bytes).unwrap();
        },
        act: start,
        changes_min: 3,
    },
    Scenario {
        name: "start after the catalog was lost",
        prepare: |world| {
            flushed_often(world);
            world.compact();
            stopped_at_once(world);
            let catalog = root().join("catalog");
            for item in world.disk.list(&catalog).unwrap().iter().filter(|item| !item.is_dir) {
                world.disk.remove_file(&catalog.join(&item.name)).unwrap();
            }
            world.disk.sync_dir(&catalog).unwrap();
            world.are_ids_lost = true;
        },
        act: start,
        changes_min: 5,
    },
];
