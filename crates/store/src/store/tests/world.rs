//! What the tests of crashes and faults share: a store with a list of what it has acknowledged.

use super::*;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) const DAY_NS: i64 = 24 * HOUR_NS;

/// A store, its disk and clock, and what it must and what it may answer.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<SimClock>,
    pub(super) settings: StoreSettings,
    pub(super) store: Option<Store>,
    /// Seconds that `app 1` is kept, if not as long as the others.
    pub(super) short_secs: Option<u64>,
    expiry: Expiry,
    batches: u64,
    /// By number of the batch: what was acknowledged.
    acked: BTreeMap<u64, (StoreBatch, Vec<Found>)>,
    /// What was refused or got no answer: there whole or not at all.
    unsure: BTreeMap<u64, (StoreBatch, Vec<Found>)>,
    /// What a test has damaged: it may be missing.
    pub(super) damaged: BTreeSet<Found>,
    /// The catalog was lost, and with it the ids of batches.
    pub(super) are_ids_lost: bool,
    /// Texts that entries hold which are to be gone, up to a time.
    deleted: Vec<(String, i64)>,
    /// The same of requests without an answer: all such entries are gone, or none.
    unsure_deleted: Vec<(String, i64)>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut settings = StoreSettings::default();
        settings.retention.period_secs = Some(3 * 86_400);
        settings.deletes.cancel_secs = 0;
        Self {
            disk: SimDisk::new(),
            clock: Arc::new(SimClock::new(NOON_NS)),
            settings,
            store: None,
            short_secs: None,
            expiry: Expiry::default(),
            batches: 0,
            acked: BTreeMap::new(),
            unsure: BTreeMap::new(),
            damaged: BTreeSet::new(),
            are_ids_lost: false,
            deleted: Vec::new(),
            unsure_deleted: Vec::new(),
        }
    }

    /// Opens the store and waits for it. Errors: those of the store, and that a flush during the replay failed,
    /// which would be tried again for ever.
    pub(super) fn try_start(&mut self) -> Result<()> {
        self.store = None;
        let policies: Vec<_> = self.policy().into_iter().collect();
        let mut settings = self.settings.clone();
        settings.retention.policies = vec![crate::RetentionPolicySettings::default(); policies.len()];
        let rules = StoreRules { policies, ..deletes::rules() };
        let store = open_with_rules(&self.disk, settings, rules, &self.clock)?;
        let waits = || store.inner.shared.metrics.flush_failures.get() > 0;
        until("the WAL is replayed", || {
            !matches!(store.readiness(), Readiness::Recovering { .. }) || waits()
        });
        if matches!(store.readiness(), Readiness::Recovering { .. }) {
            return Err(Error::unavailable("the store waits for the disk"));
        }
        run(store.recovered())?;
        self.store = Some(store);
        Ok(())
    }

    fn policy(&self) -> Option<crate::RetentionPolicy> {
        self.short_secs.map(|period_secs| crate::RetentionPolicy {
            tenant: None,
            matchers: vec![matcher("app", MatchOp::Equal, "app 1")],
            period_secs,
            priority: -1,
        })
    }

    /// Lets what is too old by now be missing, whatever the policies say later.
    pub(super) fn forgive_too_old(&mut self) {
        let found: BTreeSet<Found> = self.found().into_iter().collect();
        let acked = self.acked.values().flat_map(|(_, entries)| entries);
        self.damaged.extend(acked.filter(|entry| !found.contains(*entry)).cloned());
    }

    /// Mends the folder as `logyard repair` does; the store is not running.
    pub(super) fn repair(&self, forgets_lost: bool) -> Result<crate::repair::RepairReport> {
        let disk = crate::DiskSettings { free_bytes_min: Some(0), ballast_bytes: 0 };
        let settings = StoreSettings { disk, ..self.settings.clone() };
        let mut registry = Registry::default();
        let parts = StoreParts {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::<SimClock>::clone(&self.clock),
            random: Arc::new(Random::seeded(next_seed())),
            registry: &mut registry,
        };
        let options = crate::repair::RepairOptions { is_dry_run: false, forgets_lost };
        run(crate::repair::repair(&root(), &settings, parts, options, &mut |_| {}))
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
            short_secs: self.short_secs,
            expiry: Expiry::default(),
            batches: self.batches,
            acked: self.acked.clone(),
            unsure: self.unsure.clone(),
            damaged: self.damaged.clone(),
            are_ids_lost: self.are_ids_lost,
            deleted: self.deleted.clone(),
            unsure_deleted: self.unsure_deleted.clone(),
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

    /// Asks for all entries of `app 0` that hold a text to be deleted, of those that are there.
    pub(super) fn delete(&mut self, text: &str) {
        let end_ns = self.clock.now_ns() + self.batches as i64 * 1000 + 1;
        let range = TimeRange { start_ns: 0, end_ns };
        let query = format!("app_0 {text}");
        match self.store().request_delete(&Tenant::single(), &query, range) {
            Ok(_) => self.deleted.push((text.to_owned(), end_ns)),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                self.unsure_deleted.push((text.to_owned(), end_ns));
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

    /// Asks for everything, as a query does that takes errors for an answer.
    pub(super) fn look(&self) {
        for tenant in [Tenant::single(), Tenant::new("other").unwrap()] {
            let views = self.store().select(&tenant, &[], TimeRange::ALL, &Prefilter::default());
            for view in views.unwrap_or_default() {
                drop(view.block.timestamps());
            }
        }
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
        let now_ns = shared.clock.now_ns();
        let cutoff_ns = |entry: &Found| {
            let app = if entry.0.ends_with("\"app 1\"}") { "app 1" } else { "app 0" };
            shared.periods.of("", &LabelSet::from_pairs([("app", app)])).cutoff_ns(now_ns)
        };
        let found = self.found();
        let all: BTreeSet<&Found> = found.iter().collect();
        assert_eq!(all.len(), found.len(), "{what}: some entries are there twice");
        let means = |(text, end_ns): &(String, i64), entry: &Found| {
            let is_ours = entry.0 == "fake:{app=\"app 0\"}" && entry.1 < *end_ns;
            is_ours && String::from_utf8_lossy(&entry.2).contains(text)
        };
        let is_deleted = |entry: &Found| self.deleted.iter().any(|delete| means(delete, entry));
        let is_doubtful = |entry: &Found| self.unsure_deleted.iter().any(|delete| means(delete, entry));
        for delete in &self.unsure_deleted {
            // Those that no other request may have hidden.
            let others = |entry: &Found| {
                let mut others = self.unsure_deleted.iter().filter(|other| *other != delete);
                is_deleted(entry) || others.any(|other| means(other, entry))
            };
            let acked = self.acked.values().flat_map(|(_, entries)| entries);
            let meant: Vec<&Found> = acked
                .filter(|entry| entry.1 >= cutoff_ns(entry) && means(delete, entry) && !others(entry))
                .collect();
            let there = meant.iter().filter(|entry| all.contains(**entry)).count();
            assert!(there == 0 || there == meant.len(), "{what}: {delete:?} is done in part");
        }
        let is_due = |entry: &&Found| {
            entry.1 >= cutoff_ns(entry)
                && !self.damaged.contains(*entry)
                && !is_deleted(entry)
                && !is_doubtful(entry)
        };
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
        let invented = found
            .iter()
            .find(|entry| !may.contains(entry) || entry.1 < cutoff_ns(entry) || is_deleted(entry));
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
