//! Queries of rules that stand: what they count is folded as entries arrive.
//!
//! One follower for each tenant that has rules takes what arrives a few times a second, and before each answer, so that a
//! fold knows whatever a query may see. It shows that to the folds of all queries that were asked lately.
//!
//! What was there before is shown to new folds when the first of them is asked: to those of all queries that are
//! expected, in one pass, the newest first, as much as is affordable. So a thousand rules that begin are one look at their
//! windows, and not a thousand.
//!
//! Whoever is too slow for what arrives loses entries and is told so: then everything is read for a while, and nothing is
//! kept up that costs the writer time. The same goes for a tenant whose deletes have changed.

use logyard_codec::BlockView;
use logyard_engine::{Cancel, Engine, Room, Standing, Standings};
use logyard_logql::Expr;
use logyard_model::{Prefilter, Tenant, TimeRange};
use logyard_rules::Ask;
use logyard_store::{Arrivals, Store};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two looks at what has arrived.
const GATHER: Duration = Duration::from_millis(250);

/// Longest pause before a follower notices that nobody asks any more.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long everything is read after entries were missed, in ns.
const READ_AFTER_MISS_NS: i64 = 60 * 1_000_000_000;

/// Longest interval of a query that stands; one that is asked less often is read.
const INTERVAL_NS_MAX: i64 = 300 * 1_000_000_000;

/// How long a query stands that nobody asks any more, and a tenant is followed of whose queries none is asked.
const UNASKED_MAX: Duration = Duration::from_secs(900);

/// Shortest time for which entries must be kept: no entry of a window goes by its age then.
const KEPT_MIN: Duration = Duration::from_secs(7200);

/// Most queries that stand for a tenant; others are read.
const STANDING_MAX: usize = 20_000;

/// Most bytes of lines of those that were there before that new folds are shown: some seconds of one core.
const SHOWN_BYTES_MAX: u64 = 2 << 30;

/// The queries of all tenants that stand.
#[derive(Debug, Default)]
pub(crate) struct StandingQueries {
    tenants: Mutex<HashMap<Tenant, Followed>>,
    /// What will be asked.
    expected: Mutex<HashMap<Tenant, Vec<Ask>>>,
    /// Shared by the folds of all tenants.
    room: Room,
}

/// A tenant that is followed, or until when it is not.
#[derive(Debug)]
enum Followed {
    Now(Arc<Mutex<Following>>),
    NotUntil(i64),
}

/// What a tenant's rules ask, and what has arrived for them.
#[derive(Debug)]
struct Following {
    arrivals: Arc<Arrivals>,
    standings: Standings,
    /// By the query's place in memory, which it keeps, and its interval.
    by_query: HashMap<(usize, i64), Asked>,
    /// Held by whoever shows new folds what was there before; taken without a hold of the rest.
    showing: Arc<Mutex<()>>,
    room: Room,
    /// Requests to delete, as they were.
    deletes: Vec<(String, bool)>,
    /// Whether entries were missed, or could not be read: what is folded is of no use any more.
    is_lost: bool,
    /// When anything was asked last, for which instant and at what time.
    asked_ns: i64,
    asked_at: Instant,
}

#[derive(Debug)]
struct Asked {
    /// Keeps the query where it is.
    _query: Arc<Expr>,
    /// `None` for a query of which nothing can be folded.
    standing: Option<Arc<Standing>>,
    asked_at: Instant,
}

impl StandingQueries {
    /// Says what will be asked, each at its instant, then again and again, in place of what was said before.
    pub(crate) fn expect(&self, asks: Vec<Ask>) {
        let mut expected: HashMap<Tenant, Vec<Ask>> = HashMap::new();
        for ask in asks {
            expected.entry(ask.tenant.clone()).or_default().push(ask);
        }
        *lock(&self.expected) = expected;
    }

    /// Returns the folds of a query, brought up to date; `None` if all is to be read. Blocks on the disk now and then, and
    /// for a while if folds are new.
    pub(crate) fn of(
        self: &Arc<Self>,
        engine: &Engine,
        store: &Store,
        (ask, cancel): (&Ask, &Cancel),
    ) -> Option<Arc<Standing>> {
        let is_kept = store.retention_period_min().is_none_or(|period| period >= KEPT_MIN);
        if !may_stand(ask) || !is_kept {
            return None;
        }
        let following = self.following(store, ask)?;
        let (standing, showing) = {
            let mut held = self.caught_up(store, ask, &following)?;
            (held.standing(engine, ask), Arc::clone(&held.showing))
        };
        if standing.as_ref().is_none_or(|standing| !standing.is_new()) {
            return standing;
        }
        let _turn = lock(&showing);
        let new = lock(&following).new_standings(engine, self.expected_with(ask));
        // Another turn may have shown it everything meanwhile.
        if !new.is_empty() {
            show(store, &ask.tenant, &new, cancel)?;
        }
        drop(self.caught_up(store, ask, &following)?);
        standing
    }

    /// Returns what is expected of the tenant of a question, each at its last instant until then.
    fn expected_with(&self, ask: &Ask) -> Vec<Ask> {
        let mut expected = lock(&self.expected).get(&ask.tenant).cloned().unwrap_or_default();
        expected.retain(may_stand);
        for one in &mut expected {
            let passed_ns = ask.time_ns.saturating_sub(one.time_ns).max(0);
            one.time_ns = one.time_ns.saturating_add(passed_ns - passed_ns % one.every_ns);
        }
        expected
    }

    /// Shows what has arrived to the folds; `None` if they are of no use any more.
    fn caught_up<'f>(
        &self,
        store: &Store,
        ask: &Ask,
        following: &'f Arc<Mutex<Following>>,
    ) -> Option<MutexGuard<'f, Following>> {
        let mut held = lock(following);
        held.catch_up(deletes_of(store, &ask.tenant));
        (held.asked_ns, held.asked_at) = (ask.time_ns, Instant::now());
        if held.is_lost {
            drop(held);
            self.end(&ask.tenant, following);
            return None;
        }
        Some(held)
    }

    /// Follows a tenant no longer.
    fn end(&self, tenant: &Tenant, following: &Arc<Mutex<Following>>) {
        let until_ns = {
            let held = lock(following);
            held.is_lost.then(|| held.asked_ns.saturating_add(READ_AFTER_MISS_NS))
        };
        let mut tenants = lock(&self.tenants);
        let is_it = |known: &Followed| matches!(known, Followed::Now(now) if Arc::ptr_eq(now, following));
        if tenants.get(tenant).is_some_and(is_it) {
            match until_ns {
                Some(until_ns) => tenants.insert(tenant.clone(), Followed::NotUntil(until_ns)),
                None => tenants.remove(tenant),
            };
        }
    }

    fn following(self: &Arc<Self>, store: &Store, ask: &Ask) -> Option<Arc<Mutex<Following>>> {
        let mut tenants = lock(&self.tenants);
        match tenants.get(&ask.tenant) {
            Some(Followed::Now(following)) => return Some(Arc::clone(following)),
            Some(Followed::NotUntil(until_ns)) if ask.time_ns < *until_ns => return None,
            _ => {}
        }
        let arrivals = Arc::new(store.arrivals(&ask.tenant, &[]));
        let following = Following {
            arrivals: Arc::clone(&arrivals),
            standings: Standings::default(),
            by_query: HashMap::new(),
            showing: Arc::default(),
            room: self.room.clone(),
            deletes: deletes_of(store, &ask.tenant),
            is_lost: false,
            asked_ns: ask.time_ns,
            asked_at: Instant::now(),
        };
        let following = Arc::new(Mutex::new(following));
        tenants.insert(ask.tenant.clone(), Followed::Now(Arc::clone(&following)));
        let place = (Arc::downgrade(self), ask.tenant.clone());
        tokio::spawn(follow(arrivals, Arc::downgrade(&following), place, store.clone()));
        Some(following)
    }
}

/// Whoever panicked left nothing half done that the next would trip over: at worst folds that are not asked again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what arrives for as long as anybody asks.
async fn follow(
    arrivals: Arc<Arrivals>,
    following: Weak<Mutex<Following>>,
    (queries, tenant): (Weak<StandingQueries>, Tenant),
    store: Store,
) {
    loop {
        // Without news it still looks whether anybody asks.
        drop(tokio::time::timeout(LOOK_EVERY, arrivals.wait()).await);
        tokio::time::sleep(GATHER).await;
        let (Some(following), Some(queries)) = (following.upgrade(), queries.upgrade()) else { return };
        let (store, tenant) = (store.clone(), tenant.clone());
        let work = move || {
            let mut held = lock(&following);
            held.catch_up(deletes_of(&store, &tenant));
            let goes_on = !held.is_lost && held.asked_at.elapsed() < UNASKED_MAX;
            drop(held);
            if !goes_on {
                queries.end(&tenant, &following);
            }
            goes_on
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

fn may_stand(ask: &Ask) -> bool {
    (1..=INTERVAL_NS_MAX).contains(&ask.every_ns)
}

/// Shows new folds what is stored, as much as is affordable, the newest first, and says so to them.
///
/// They have been shown what arrives for some time: what is stored meanwhile is among one, or the other, or both. `None` if
/// they stay new.
fn show(store: &Store, tenant: &Tenant, new: &[Arc<Standing>], cancel: &Cancel) -> Option<()> {
    match shown_after(store, tenant, new, cancel) {
        Ok(after_ns) => {
            new.iter().for_each(|standing| standing.knows_after(after_ns));
            Some(())
        }
        Err(error) => {
            tracing::debug!(error, "what is stored cannot be shown to rules, so they read it");
            None
        }
    }
}

/// Shows new folds what is stored, and returns the time after which they know everything.
fn shown_after(
    store: &Store,
    tenant: &Tenant,
    new: &[Arc<Standing>],
    cancel: &Cancel,
) -> Result<i64, String> {
    let mut standings = Standings::default();
    new.iter().for_each(|standing| standings.add(Arc::clone(standing)));
    let since_ns = new.iter().map(|standing| standing.since_ns()).min().unwrap_or(i64::MAX);
    let range = TimeRange { start_ns: since_ns.saturating_add(1), end_ns: i64::MAX };
    let mut views =
        store.select(tenant, &[], range, &Prefilter::default()).map_err(|error| error.to_string())?;
    for view in &mut views {
        let mut fault = None;
        view.runs.retain(|run| {
            let may_concern = standings.may_concern(run).unwrap_or_else(|error| {
                fault = Some(error.to_string());
                false
            });
            may_concern && range.overlaps(run.min_ns, run.max_ns)
        });
        fault.map_or(Ok(()), Err)?;
    }
    let last_ns = |view: &BlockView| view.runs.iter().map(|run| run.max_ns).max().unwrap_or(i64::MIN);
    views.sort_by_key(|view| std::cmp::Reverse(last_ns(view)));
    let mut bytes = 0;
    for view in &views {
        bytes += view.runs.iter().map(|run| run.raw_bytes).sum::<u64>();
        // What cannot be read is for the queries to tell of.
        if bytes > SHOWN_BYTES_MAX || cancel.check().is_err() || standings.take(view).is_err() {
            return Ok(last_ns(view));
        }
    }
    Ok(i64::MIN)
}

fn key_of(ask: &Ask) -> (usize, i64) {
    (Arc::as_ptr(&ask.query) as usize, ask.every_ns)
}

fn deletes_of(store: &Store, tenant: &Tenant) -> Vec<(String, bool)> {
    store.delete_requests(tenant).into_iter().map(|request| (request.id, request.done_ns.is_some())).collect()
}

impl Following {
    /// Shows what has arrived to the folds.
    fn catch_up(&mut self, deletes: Vec<(String, bool)>) {
        let (views, missed) = self.arrivals.take();
        if missed.entries > 0 || self.deletes != deletes {
            self.is_lost = true;
            // Nothing waits for a follower that is of no use.
            self.standings = Standings::default();
            self.by_query.clear();
        }
        if self.is_lost {
            return;
        }
        for view in views {
            if let Err(error) = self.standings.take(&view) {
                tracing::warn!(%error, "cannot fold entries for rules, so these read them; report this");
                self.is_lost = true;
            }
        }
    }

    fn standing(&mut self, engine: &Engine, ask: &Ask) -> Option<Arc<Standing>> {
        if let Some(asked) = self.by_query.get_mut(&key_of(ask)) {
            asked.asked_at = Instant::now();
            return asked.standing.clone();
        }
        self.forget(|_, asked| asked.asked_at.elapsed() >= UNASKED_MAX);
        self.stand(engine, ask)
    }

    /// Returns the folds that know nothing yet, after making those of queries that are expected; where any are, the others
    /// are forgotten.
    fn new_standings(&mut self, engine: &Engine, expected: Vec<Ask>) -> Vec<Arc<Standing>> {
        let keys: HashSet<_> = expected.iter().map(key_of).collect();
        self.forget(|key, _| !keys.is_empty() && !keys.contains(key));
        for ask in expected {
            if !self.by_query.contains_key(&key_of(&ask)) {
                self.stand(engine, &ask);
            }
        }
        let standings = self.by_query.values().filter_map(|asked| asked.standing.as_ref());
        standings.filter(|standing| standing.is_new()).cloned().collect()
    }

    fn stand(&mut self, engine: &Engine, ask: &Ask) -> Option<Arc<Standing>> {
        if self.by_query.len() >= STANDING_MAX {
            return None;
        }
        // A query that cannot be folded for a fault has it told when it is read.
        let times = (ask.time_ns, ask.every_ns);
        let standing = Standing::new(engine.settings(), &ask.query, times, &self.room).ok().flatten();
        let standing = standing.map(Arc::new);
        if let Some(standing) = &standing {
            self.standings.add(Arc::clone(standing));
        }
        let asked =
            Asked { _query: Arc::clone(&ask.query), standing: standing.clone(), asked_at: Instant::now() };
        self.by_query.insert(key_of(ask), asked);
        standing
    }

    fn forget(&mut self, is_over: impl Fn(&(usize, i64), &Asked) -> bool) {
        let standings = &mut self.standings;
        self.by_query.retain(|key, asked| {
            let is_over = is_over(key, asked);
            if let (true, Some(standing)) = (is_over, &asked.standing) {
                standings.remove(standing);
            }
            !is_over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleQueries;
    use logyard_engine::EngineSettings;
    use logyard_ingest::{Ingest, IngestSettings, LokiPush};
    use logyard_rules::Evaluate as _;
    use logyard_store::{StoreParts, StoreRules, StoreSettings};
    use logyard_sys::{Clock, Random, SimClock, SimDisk};
    use prometheus_client::registry::Registry;
    use std::path::Path;

    const SEC_NS: i64 = 1_000_000_000;
    const NOW_NS: i64 = 1_795_230_000 * SEC_NS;

    struct World {
        clock: Arc<SimClock>,
        store: Store,
        ingest: Ingest,
        queries: RuleQueries,
        query: Arc<Expr>,
    }

    async fn world(settings: StoreSettings) -> World {
        let sim_clock = Arc::new(SimClock::new(NOW_NS));
        let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&sim_clock);
        let mut registry = Registry::default();
        let parts = StoreParts {
            disk: Arc::new(SimDisk::new()),
            clock: Arc::clone(&clock),
            random: Arc::new(Random::seeded(0)),
            registry: &mut registry,
        };
        let rules = StoreRules { parse_delete: Some(crate::parse_delete), ..StoreRules::default() };
        let store = Store::open_with_rules(Path::new("/data"), settings, rules, parts).unwrap();
        store.recovered().await.unwrap();
        let ingest = Ingest::new(IngestSettings::default(), store.clone(), clock, &mut registry);
        let engine = Arc::new(Engine::new(EngineSettings { threads: 1, ..EngineSettings::default() }));
        let queries = RuleQueries::new(engine, store.clone());
        let query = r#"sum by (app) (count_over_time({app=~".+"} |= "ERROR" [60s]))"#;
        World {
            clock: sim_clock,
            store,
            ingest,
            queries,
            query: Arc::new(logyard_logql::parse(query).unwrap()),
        }
    }

    impl World {
        /// Pushes lines of so many seconds from now.
        async fn push(&self, app: &str, lines: &[(i64, &str)]) {
            let now_ns = self.clock.now_ns();
            let value = |(seconds, line): &(i64, &str)| {
                serde_json::json!([(now_ns + seconds * SEC_NS).to_string(), line])
            };
            let values: Vec<_> = lines.iter().map(value).collect();
            let body = serde_json::json!({"streams": [{"stream": {"app": app}, "values": values}]});
            let push = LokiPush {
                tenant: Tenant::single(),
                body: body.to_string().into(),
                content_type: Some("application/json".to_owned()),
                content_encoding: String::new(),
                room: None,
            };
            assert_eq!(self.ingest.push_loki(push).await.unwrap().rejected(), 0);
        }

        async fn ask(&self, every_ns: i64) -> String {
            let (tenant, query) = (Tenant::single(), Arc::clone(&self.query));
            let ask = Ask { tenant, query, time_ns: self.clock.now_ns(), every_ns };
            let samples = self.queries.evaluate(ask).await.unwrap();
            let mut texts: Vec<String> =
                samples.iter().map(|sample| format!("{}={}", sample.labels, sample.value)).collect();
            texts.sort();
            texts.join(" ")
        }

        /// Lets 20 s pass, and asks with folds and without.
        async fn turn(&self) -> String {
            self.clock.advance(Duration::from_secs(20));
            let (folded, read) = (self.ask(20 * SEC_NS).await, self.ask(0).await);
            assert_eq!(folded, read);
            folded
        }

        fn is_followed(&self) -> bool {
            let tenants = lock(&self.queries.standing().tenants);
            matches!(tenants.get(&Tenant::single()), Some(Followed::Now(_)))
        }
    }

    #[tokio::test]
    async fn answers_are_those_of_reading() {
        let world = world(StoreSettings::default()).await;
        world.push("a", &[(-30, "ERROR before"), (300, "ERROR of a clock ahead"), (-10, "fine")]).await;
        assert_eq!(world.turn().await, r#"{app="a"}=1"#);
        assert!(world.is_followed());
        for turn in 0..24 {
            let line = format!("ERROR {turn}");
            world.push("a", &[(1, &line), (2, "fine"), (-35, &line), (19, "ERROR")]).await;
            // Again, as whoever got no answer sends it.
            world.push("a", &[(1, &line), (19, "ERROR")]).await;
            if turn % 3 == 0 {
                world.push("b", &[(5, &line)]).await;
            }
            let got = world.turn().await;
            assert!(turn < 4 || got.contains(r#"{app="a"}="#), "{got}");
        }
        assert!(world.is_followed());
        // A delete takes away what is folded; one follows again some time later.
        let range = TimeRange { start_ns: 0, end_ns: i64::MAX };
        world.store.request_delete(&Tenant::single(), r#"{app="a"} |= "ERROR""#, range).unwrap();
        assert!(!world.turn().await.contains(r#"app="a""#));
        assert!(!world.is_followed());
        for _ in 0..8 {
            world.push("b", &[(7, "ERROR")]).await;
            world.turn().await;
        }
        assert!(world.is_followed());
    }

    #[tokio::test]
    async fn all_that_are_expected_are_shown_what_is_there_at_once() {
        let world = world(StoreSettings::default()).await;
        world.push("a", &[(-30, "ERROR one"), (-20, "other"), (-300, "ERROR before")]).await;
        let of = |query: &str, time_ns: i64, every_ns: i64| Ask {
            tenant: Tenant::single(),
            query: Arc::new(logyard_logql::parse(query).unwrap()),
            time_ns,
            every_ns,
        };
        // One was to be asked long ago, one is too rare to stand.
        let other = r#"sum(count_over_time({app="a"} |= "other" [2m]))"#;
        let asks = vec![
            of(other, NOW_NS + 7 * SEC_NS, 60 * SEC_NS),
            of(other, NOW_NS - 86_393 * SEC_NS, 60 * SEC_NS),
            of(other, NOW_NS, 3600 * SEC_NS),
            Ask { query: Arc::clone(&world.query), ..of(other, NOW_NS + 20 * SEC_NS, 20 * SEC_NS) },
        ];
        let first = Arc::clone(&asks[0].query);
        world.queries.expect(asks.clone());
        assert_eq!(world.turn().await, r#"{app="a"}=1"#);
        let following = |world: &World| {
            let tenants = lock(&world.queries.standing().tenants);
            let Some(Followed::Now(following)) = tenants.get(&Tenant::single()) else {
                panic!("not followed")
            };
            Arc::clone(following)
        };
        {
            let following = following(&world);
            let held = lock(&following);
            assert_eq!(held.by_query.len(), 3);
            let mut since: Vec<i64> = Vec::new();
            for asked in held.by_query.values() {
                let standing = asked.standing.as_ref().unwrap();
                assert!(!standing.is_new());
                since.push((standing.since_ns() - NOW_NS) / SEC_NS);
            }
            since.sort_unstable();
            assert_eq!(since, [-113, -113, -40], "as of their last instants");
        }
        // What is there counts without being read: with folds alone the answer is the same after a while.
        world.clock.advance(Duration::from_secs(47));
        let ask = Ask { time_ns: NOW_NS + 67 * SEC_NS, query: Arc::clone(&first), ..asks[0].clone() };
        assert_eq!(world.queries.evaluate(ask).await.unwrap()[0].value, 1.0);
        // Rules that are no more are forgotten once others come.
        world.queries.expect(vec![of(other, NOW_NS, 60 * SEC_NS), asks[3].clone()]);
        world.queries.evaluate(of(other, NOW_NS + 120 * SEC_NS, 60 * SEC_NS)).await.unwrap();
        let following = following(&world);
        assert_eq!(lock(&following).by_query.len(), 2);
    }

    #[tokio::test]
    async fn who_is_too_slow_reads_for_a_while() {
        let world = world(StoreSettings::default()).await;
        world.turn().await;
        assert!(world.is_followed());
        // More than waits for one follower, before anybody takes it: each of its own time, in one moment.
        let following = {
            let tenants = lock(&world.queries.standing().tenants);
            let Some(Followed::Now(following)) = tenants.get(&Tenant::single()) else {
                panic!("not followed")
            };
            Arc::clone(following)
        };
        let long = format!("ERROR {}", "x".repeat(100_000));
        let lines: Vec<(i64, &str)> = (0..15).map(|second| (second, long.as_str())).collect();
        let (holds, is_held) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let holder = std::thread::spawn(move || {
            let _held = lock(&following);
            holds.send(()).unwrap();
            released.recv().unwrap();
        });
        is_held.await.unwrap();
        for app in ["a", "b", "c", "d"] {
            world.push(app, &lines).await;
        }
        release.send(()).unwrap();
        holder.join().unwrap();
        assert_eq!(world.turn().await.matches("=15").count(), 4);
        assert!(!world.is_followed());
        for _ in 0..8 {
            world.turn().await;
        }
        assert!(world.is_followed());
    }

    #[tokio::test]
    async fn nothing_is_folded_where_entries_go_soon() {
        let mut settings = StoreSettings::default();
        settings.retention.period_secs = Some(3600);
        let world = world(settings).await;
        world.push("a", &[(1, "ERROR")]).await;
        assert_eq!(world.turn().await, r#"{app="a"}=1"#);
        assert!(!world.is_followed());
    }
}
