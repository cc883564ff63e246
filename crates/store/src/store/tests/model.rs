//! Random histories against a plain list: entries in any order, late and repeated, flushes, compaction, retention by
//! policies that change, delete requests, clocks that jump, crashes at any point, restarts, and queries between all
//! of it.
//!
//! `LOGYARD_LONG` makes it 100,000 steps, `LOGYARD_MODEL_SEED` runs one history alone.

mod oracle;

use super::*;
use crate::maintenance::Worker;
use crate::retention::Expiry;
use oracle::{APPS, Asked, Oracle, Pushed, RULES, Rules, is_due};
use std::time::Duration;

const MINUTE_NS: i64 = 60_000_000_000;

struct History {
    random: Random,
    disk: SimDisk,
    clock: Arc<SimClock>,
    store: Store,
    rules: &'static Rules,
    expiry: Expiry,
    oracle: Oracle,
    batches: u64,
    tenants: [Tenant; 2],
    /// Some entries are pushed more than once.
    has_repeats: bool,
    /// The clock moves, and days get old.
    has_time: bool,
    /// How long delete requests can be cancelled.
    cancel_secs: u64,
}

fn settings(random: &Random) -> StoreSettings {
    let mut settings = StoreSettings::default();
    // Small enough for flushes of its own accord, and for flushes while recovering.
    settings.flush.head_bytes_max = [3_000, 100_000, 64 << 20][random.next_u64() as usize % 3];
    settings.flush.on_close = random.next_u64().is_multiple_of(2);
    settings
}

fn open_by(rules: &Rules, cancel_secs: u64, random: &Random, disk: &SimDisk, clock: &Arc<SimClock>) -> Store {
    let mut settings = settings(random);
    settings.deletes.cancel_secs = cancel_secs;
    settings.retention.period_secs = Some(rules.default_secs);
    settings.retention.policies = vec![crate::RetentionPolicySettings::default(); rules.policies.len()];
    let policy = |(apps, period_secs, priority): &(&str, u64, i32)| crate::RetentionPolicy {
        tenant: None,
        matchers: vec![matcher("app", MatchOp::Regex, apps)],
        period_secs: *period_secs,
        priority: *priority,
    };
    let policies = rules.policies.iter().map(policy).collect();
    let store = open_with_rules(disk, settings, StoreRules { policies, ..deletes::rules() }, clock).unwrap();
    run(store.recovered()).unwrap();
    store
}

impl History {
    fn new(seed: u64) -> Self {
        let (random, disk) = (Random::seeded(seed), SimDisk::new());
        let clock = Arc::new(SimClock::new(NOON_NS));
        let rules = &RULES[random.next_u64() as usize % RULES.len()];
        let cancel_secs = [0, 3 * 3600][seed as usize / 2 % 2];
        let store = open_by(rules, cancel_secs, &random, &disk, &clock);
        let tenants = [Tenant::single(), Tenant::new("other").unwrap()];
        let (has_repeats, has_time) = (seed.is_multiple_of(2), !seed.is_multiple_of(3));
        let (expiry, oracle) = (Expiry::default(), Oracle::default());
        Self {
            random,
            disk,
            clock,
            store,
            rules,
            expiry,
            oracle,
            batches: 0,
            tenants,
            has_repeats,
            has_time,
            cancel_secs,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    /// Returns a time as entries have it: most of the last hours, some up to four days late, some ahead.
    fn entry_ns(&self) -> i64 {
        let now_ns = self.clock.now_ns();
        match self.below(10) {
            0..6 => now_ns - self.below(180) as i64 * MINUTE_NS / 2,
            6..9 => now_ns - self.below(4 * 24 * 60) as i64 * MINUTE_NS,
            _ => now_ns + self.below(10) as i64 * MINUTE_NS,
        }
    }

    /// Makes a batch of new entries in no order, every line distinct.
    fn new_batch(&mut self) -> (u64, StoreBatch, Vec<Pushed>) {
        self.batches += 1;
        let number = self.batches;
        let tenant = self.tenants[self.below(4) as usize / 3].clone();
        let (mut chunks, mut pushed) = (Vec::new(), Vec::new());
        for chunk in 0..=self.below(3) {
            let app = self.below(4) as usize;
            let stream = stream(&tenant, &[("app", APPS[app]), ("chunk", &chunk.to_string())]);
            let labels = format!("{tenant}:{}", stream.labels);
            let mut entries = Entries::default();
            for row in 0..self.below(20) {
                let ts_ns = self.entry_ns() + number as i64;
                let mut line = format!("{number}/{chunk}/{row} {}", self.words()).into_bytes();
                if self.below(50) == 0 {
                    line.resize(40_000, b'x');
                }
                let level = ["", "info", "error"][self.below(3) as usize];
                let metadata = match self.below(3) {
                    0 => LabelSet::from_pairs([("trace", number.to_string())]),
                    _ => LabelSet::default(),
                };
                entries.push(ts_ns, &line, level, &metadata);
                let found = (labels.clone(), ts_ns, line, level.to_owned(), metadata.to_string());
                pushed.push(Pushed { app, found, has_expired: false, is_gone: false });
            }
            if self.has_repeats && self.below(3) == 0 {
                self.push_again(&labels, &mut entries);
            }
            chunks.push((stream, entries));
        }
        let id = (!number.is_multiple_of(3)).then(|| id(number));
        (number, StoreBatch { tenant, id, chunks, encoded: None }, pushed)
    }

    /// Some words and numbers for prefilters to look for.
    fn words(&self) -> String {
        match self.below(4) {
            0 => format!("GET /api/v{} 200", self.below(3)),
            1 => format!("trace={:016x} done", self.below(40).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            2 => "connection timeout, retrying".to_owned(),
            _ => String::new(),
        }
    }

    /// Adds a stored entry of the stream once more: equal entries are one.
    fn push_again(&self, labels: &str, entries: &mut Entries) {
        let plain = LabelSet::default();
        let no_metadata = plain.to_string();
        let mut of_stream = self
            .oracle
            .stored
            .iter()
            .filter(|one| one.found.0 == *labels && one.found.4 == no_metadata && !one.is_gone);
        if let Some(one) = of_stream.nth(self.below(10) as usize) {
            entries.push(one.found.1, &one.found.2, &one.found.3, &plain);
        }
    }

    fn append(&mut self) {
        let (number, batch, pushed) = self.new_batch();
        let arrivals = self.store.arrivals(&batch.tenant, &[]);
        match append(&self.store, batch.clone()) {
            Ok(appended) => {
                assert!(!appended.duplicate, "batch {number} is new");
                self.check_arrivals(&arrivals, &pushed);
                self.note_stored(number, &batch, pushed);
            }
            Err(_) => {
                self.oracle.unknown.insert(number, (batch, pushed));
            }
        }
    }

    /// Who follows gets what is not hidden of a batch, and nothing that is.
    fn check_arrivals(&self, arrivals: &crate::Arrivals, pushed: &[Pushed]) {
        let (views, missed) = arrivals.take();
        assert_eq!(missed.entries, 0);
        let mut taken = std::collections::HashSet::new();
        for view in &views {
            let lines = view.block.lines().unwrap();
            let rows = view.runs.iter().flat_map(|run| run.rows.clone());
            taken.extend(rows.map(|row| lines.line(row).to_vec()));
        }
        if self.oracle.unsure_asked.is_empty() && self.oracle.unsure_cancelled.is_empty() {
            for one in pushed {
                let is_there = taken.contains(&one.found.2);
                assert_eq!(is_there, !self.oracle.is_hidden(one), "{:?} at {}", one.found.0, one.found.1);
            }
        }
    }

    fn note_stored(&mut self, number: u64, batch: &StoreBatch, pushed: Vec<Pushed>) {
        self.oracle.stored.extend(pushed);
        if batch.id.is_some() {
            self.oracle.known.insert(number);
        }
    }

    /// Sends again a batch of the past that has an id.
    fn repeat(&mut self) {
        let Some(number) = self.oracle.known.iter().nth(self.below(10) as usize).copied() else { return };
        let again = batch("again", Some(id(number)), &[(1, "must not be stored")]);
        if let Ok(appended) = append(&self.store, again) {
            assert!(appended.duplicate, "batch {number} is known");
        }
    }

    /// Pulls the plug now, or in the middle of what comes next.
    fn crash(&mut self) {
        if self.below(3) > 0 {
            self.disk.halt_after(self.below(30));
            for _ in 0..self.below(4) {
                match self.below(7) {
                    0 => drop(run(self.store.flush())),
                    1 => self.compact(),
                    2 => self.expire(),
                    3 => self.delete(),
                    4 => self.cancel(),
                    _ => self.append(),
                }
            }
        }
        self.disk = self.disk.crash_seeded(self.random.next_u64());
        self.open();
        self.settle();
    }

    fn advance(&mut self, minutes: u64) {
        if self.has_time {
            self.clock.advance(Duration::from_secs(minutes * 60));
        }
    }

    /// Compacts one job, if one is due.
    fn compact(&mut self) {
        let minutes = self.below(300);
        self.advance(minutes);
        let due_ns = self.clock.now_ns() - self.cancel_secs as i64 * 1_000_000_000;
        self.oracle.begin_deletes(due_ns);
        Worker::default().run_once(&self.store.inner.shared);
        self.store.inner.shared.sweep();
        self.note_deletes();
    }

    /// Asks for entries of the last days to be deleted.
    fn delete(&mut self) {
        let (tenant, app) = (self.below(4) as usize / 3, self.below(4) as usize);
        self.delete_of(tenant, app);
    }

    /// Asks once or several times for entries of the same streams, and looks at some times before others: what is kept of
    /// a run for one query is right for the next.
    fn delete_and_check(&mut self) {
        let (tenant, app) = (self.below(4) as usize / 3, self.below(4) as usize);
        for _ in 0..=self.below(3) {
            self.delete_of(tenant, app);
        }
        for _ in 0..4 {
            self.check_query();
        }
        self.check_all();
    }

    fn delete_of(&mut self, tenant: usize, app: usize) {
        let tenant = self.tenants[tenant].clone();
        let end_ns = self.clock.now_ns() - self.below(24 * 60) as i64 * MINUTE_NS;
        let start_ns = end_ns - self.below(3 * 24 * 60) as i64 * MINUTE_NS;
        let needle = ["", "api/v1", "timeout", "3/", "trace="][self.below(5) as usize];
        let mut asked = Asked {
            id: None,
            tenant: tenant.to_string(),
            app,
            needle: needle.to_owned(),
            range: TimeRange { start_ns, end_ns },
            created_ns: self.clock.now_ns(),
            has_begun: false,
        };
        match self.store.request_delete(&tenant, &asked.query(), asked.range) {
            Ok(request) => {
                asked.id = Some(request.id);
                self.oracle.asked.push(asked);
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                self.oracle.unsure_asked.push(asked);
            }
        }
    }

    /// Thinks better of a request.
    fn cancel(&mut self) {
        let Some(asked) = self.oracle.asked.get(self.below(4) as usize).cloned() else { return };
        let (tenant, id) = (Tenant::new(&asked.tenant).unwrap(), asked.id.as_ref().unwrap());
        let is_forced = self.below(2) == 0;
        match self.store.cancel_delete(&tenant, id, is_forced) {
            Ok(crate::CancelOutcome::Cancelled) => self.oracle.forget(id),
            Ok(outcome) => {
                assert!(!is_forced && matches!(outcome, crate::CancelOutcome::TooLate { .. }), "{outcome:?}");
            }
            Err(_) => self.oracle.unsure_cancelled.push(id.clone()),
        }
    }

    /// Looks which requests there are, and which are done.
    fn note_deletes(&mut self) {
        let listed = self.tenants.iter().flat_map(|tenant| self.store.delete_requests(tenant));
        let pending =
            listed.filter_map(|one| one.done_ns.is_none().then_some((one.id, one.query, one.range)));
        let pending: Vec<_> = pending.collect();
        let done: Vec<String> = self
            .tenants
            .iter()
            .flat_map(|tenant| self.store.delete_requests(tenant))
            .filter_map(|one| one.done_ns.map(|_| one.id))
            .collect();
        self.oracle.note_deletes(&pending, &done);
    }

    /// Drops what is too old; the clock runs evenly for as long as that takes.
    fn expire(&mut self) {
        let shared = Arc::clone(&self.store.inner.shared);
        self.expiry.run(&shared);
        self.advance(65);
        self.expiry.run(&shared);
        shared.sweep();
    }

    /// Days that are too old as a whole are gone.
    fn expire_and_check(&mut self) {
        // No flush that is under way adds one.
        run(self.store.flush()).unwrap();
        self.expire();
        if !self.has_time {
            return;
        }
        let cutoff_ns = self.rules.longest_cutoff_ns(self.clock.now_ns());
        let view = self.store.inner.shared.view();
        let stays = |segment: &&Arc<Segment>| crate::folder::day_last_ns(segment.record.day) >= cutoff_ns;
        let left = view.segments.iter().find(|segment| !stays(segment));
        assert!(left.is_none(), "a day that is too old is still there: {left:?}");
    }

    /// The clock says something else for a moment, at which maintenance looks; nothing goes.
    fn jump(&mut self) {
        let now_ns = self.clock.now_ns();
        let day_ns = 24 * HOUR_NS;
        self.clock.set([now_ns + HOUR_NS, now_ns + 40 * day_ns, now_ns - day_ns, 0][self.below(4) as usize]);
        match self.below(3) {
            0 => run(self.store.flush()).unwrap(),
            1 => self.restart(),
            _ => {}
        }
        self.expiry.run(&self.store.inner.shared);
        self.store.inner.shared.sweep();
        self.clock.set(now_ns);
        // Maintenance looks every minute, which is less than any step takes.
        self.expiry.run(&self.store.inner.shared);
    }

    fn restart(&mut self) {
        run(self.store.close()).unwrap();
        self.open();
    }

    /// Starts with other policies: what is too old by one of them may go for good.
    fn change_rules(&mut self) {
        let is_settled = self.below(2) == 0;
        if is_settled {
            run(self.store.flush()).unwrap();
            self.expire();
        }
        run(self.store.close()).unwrap();
        if is_settled && self.has_time {
            self.oracle.bury(self.rules, self.clock.now_ns());
        }
        self.oracle.age(self.rules, self.clock.now_ns());
        self.rules = &RULES[self.below(RULES.len() as u64) as usize];
        self.oracle.age(self.rules, self.clock.now_ns());
        self.open();
    }

    fn open(&mut self) {
        self.store = open_by(self.rules, self.cancel_secs, &self.random, &self.disk, &self.clock);
        self.expiry = Expiry::default();
        self.note_deletes();
        self.oracle.settle_deletes();
    }

    /// After a crash: batches without an answer are there whole or not at all; with an id, sending them again
    /// leaves them there once.
    fn settle(&mut self) {
        let now_ns = self.clock.now_ns();
        for (number, (batch, mut pushed)) in std::mem::take(&mut self.oracle.unknown) {
            let all = self.found();
            let is_certain = |one: &&Pushed| {
                is_due(one, self.rules, now_ns) && !one.has_expired && !self.oracle.is_hidden(one)
            };
            let due: Vec<&Pushed> = pushed.iter().filter(is_certain).collect();
            let there = due.iter().filter(|one| all.binary_search(&one.found).is_ok()).count();
            let wanted = due.len();
            assert!(there == 0 || there == wanted, "batch {number}: {there} of {wanted} are there");
            if batch.id.is_some() {
                let appended = append(&self.store, batch.clone()).unwrap();
                assert!(wanted == 0 || appended.duplicate == (there > 0), "batch {number}");
                self.note_stored(number, &batch, pushed);
            } else if there > 0 {
                self.note_stored(number, &batch, pushed);
            } else if wanted == 0 {
                // It may be there, and if policies change it may be seen.
                pushed.iter_mut().for_each(|one| one.has_expired = true);
                self.note_stored(number, &batch, pushed);
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
        self.oracle.expected(self.rules, self.clock.now_ns(), |_| true).check(self.found());
    }

    fn check_query(&self) {
        let tenant = &self.tenants[self.below(2) as usize];
        let op =
            [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][self.below(4) as usize];
        let mut matchers = vec![matcher("app", op, ["a", "b|c", "", ".+", "x"][self.below(5) as usize])];
        if self.below(2) == 0 {
            matchers.push(matcher("chunk", MatchOp::Equal, &self.below(4).to_string()));
        }
        let now_ns = self.clock.now_ns();
        let start_ns = now_ns - self.below(6 * 24 * 60) as i64 * MINUTE_NS;
        let range = TimeRange { start_ns, end_ns: start_ns + self.below(48 * 60) as i64 * MINUTE_NS };
        let prefix = format!("{tenant}:");
        let matches = |one: &Pushed| {
            let chunk = one.found.0.split("chunk=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            one.found.0.starts_with(&prefix)
                && matchers[0].matches(APPS[one.app])
                && matchers.get(1).is_none_or(|matcher| matcher.matches(chunk))
        };
        let expected =
            self.oracle.expected(self.rules, now_ns, |one| matches(one) && range.contains(one.found.1));
        expected.check(tagged(tenant, find(&self.store, tenant, &matchers, range)));
        self.check_counts(tenant, &matchers);
        check_labels(&self.store, tenant, &matchers, range);
        check_labels(&self.store, tenant, &[], range);
    }

    /// Counts come from run tables alone: exact where no entry is there twice and none is too old.
    fn check_counts(&self, tenant: &Tenant, matchers: &[Matcher]) {
        let stats = self.store.stats(tenant, matchers, TimeRange::ALL).unwrap();
        let streams = self.store.streams(tenant, matchers, TimeRange::ALL).unwrap().len() as u64;
        let all = find(&self.store, tenant, matchers, TimeRange::ALL);
        let found = all.iter().map(|entry| &entry.0).collect::<std::collections::BTreeSet<_>>().len() as u64;
        assert_eq!(stats.streams, streams);
        assert!(streams >= found, "{streams} streams, {found} of them found");
        let now_ns = self.clock.now_ns();
        let counts_all = |one: &Pushed| is_due(one, self.rules, now_ns) && !one.is_gone;
        if !self.has_repeats && self.oracle.stored.iter().all(counts_all) {
            assert_eq!((stats.entries, stats.streams), (all.len() as u64, found));
            assert_eq!(stats.bytes, all.iter().map(|entry| entry.2.len() as u64).sum::<u64>());
        }
    }

    /// A block that is left out because of a prefilter holds no match.
    fn check_prefilter(&self) {
        let tenant = &self.tenants[self.below(2) as usize];
        let literals: Vec<Vec<u8>> = (0..=self.below(2)).map(|_| self.literal()).collect();
        let prefilter = match self.below(2) {
            0 => Prefilter { literals: literals.clone(), any_of: Vec::new() },
            _ => Prefilter { literals: Vec::new(), any_of: vec![literals.clone()] },
        };
        let holds = |line: &[u8], literal: &Vec<u8>| memchr::memmem::find(line, literal).is_some();
        let passes = |line: &[u8]| match prefilter.any_of.is_empty() {
            true => literals.iter().all(|literal| holds(line, literal)),
            false => literals.iter().any(|literal| holds(line, literal)),
        };
        let prefix = format!("{tenant}:");
        let expected = self.oracle.expected(self.rules, self.clock.now_ns(), |one| {
            one.found.0.starts_with(&prefix) && passes(&one.found.2)
        });
        let mut found = tagged(tenant, find_with(&self.store, tenant, &[], TimeRange::ALL, &prefilter));
        found.retain(|entry| passes(&entry.2));
        expected.check(found);
    }

    /// Part of a stored line, or something that is rarely there.
    fn literal(&self) -> Vec<u8> {
        let stored = &self.oracle.stored;
        let line = match stored.len() as u64 {
            0 => b"nothing".to_vec(),
            count => stored[self.below(count) as usize].found.2.clone(),
        };
        match self.below(4) {
            0 => format!("{:016x}", self.below(60).wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes(),
            _ => {
                let start = self.below(line.len().min(60) as u64) as usize;
                let end = (start + 1 + self.below(30) as usize).min(line.len());
                line[start..end].to_vec()
            }
        }
    }

    /// What happens in a history, and how often.
    fn step(&mut self) {
        match self.below(42) {
            0..18 => self.append(),
            18..21 => self.repeat(),
            21..25 => run(self.store.flush()).unwrap(),
            25..27 => self.crash(),
            27..30 => self.compact(),
            30 => self.expire_and_check(),
            31 => self.jump(),
            32 => self.restart(),
            33 => self.change_rules(),
            34 => self.check_all(),
            35..38 => self.check_prefilter(),
            38 => self.delete_and_check(),
            39 => self.cancel(),
            _ => self.check_query(),
        }
    }
}

fn tagged(tenant: &Tenant, found: Vec<Found>) -> Vec<Found> {
    found
        .into_iter()
        .map(|entry| (format!("{tenant}:{}", entry.0), entry.1, entry.2, entry.3, entry.4))
        .collect()
}

fn live(seed: u64, steps: u64) {
    // The same whether others ran before or not.
    SEEDS.set(seed << 32);
    let mut history = History::new(seed);
    for _ in 0..steps {
        history.step();
    }
    history.check_all();
}

/// Steps of one history: enough for days to pass.
const STEPS: u64 = 200;

#[test]
fn answers_are_those_of_a_plain_list() {
    if let Ok(seed) = std::env::var("LOGYARD_MODEL_SEED") {
        return live(seed.parse().unwrap(), STEPS);
    }
    let histories = if std::env::var_os("LOGYARD_LONG").is_some() { 500 } else { 30 };
    for seed in 0..histories {
        let outcome = std::panic::catch_unwind(|| live(seed, STEPS));
        assert!(outcome.is_ok(), "seed {seed} fails; LOGYARD_MODEL_SEED={seed} runs it alone");
    }
}
