//! Queries of rules that stand: what they count is folded as entries arrive.
//!
//! One follower for each tenant that has rules takes what arrives a few times a second, and before each answer, so that a
//! fold knows whatever a query may see. It shows that to the folds of all queries that were asked lately.
//!
//! Whoever is too slow for what arrives loses entries and is told so: then everything is read for a while, and nothing is
//! kept up that costs the writer time. The same goes for a tenant whose deletes have changed.

use logyard_engine::{Engine, Standing, Standings};
use logyard_logql::Expr;
use logyard_model::{Prefilter, Tenant, TimeRange};
use logyard_rules::Ask;
use logyard_store::{Arrivals, Store};
use std::collections::HashMap;
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

/// The queries of all tenants that stand.
#[derive(Debug, Default)]
pub(crate) struct StandingQueries {
    tenants: Mutex<HashMap<Tenant, Followed>>,
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
    /// No entry that was shown, or was stored before, is younger.
    newest_ns: i64,
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
    /// Returns the folds of a query, brought up to date; `None` if all is to be read. Blocks on the disk now and then.
    pub(crate) fn of(self: &Arc<Self>, engine: &Engine, store: &Store, ask: &Ask) -> Option<Arc<Standing>> {
        let is_kept = store.retention_period_min().is_none_or(|period| period >= KEPT_MIN);
        if !(1..=INTERVAL_NS_MAX).contains(&ask.every_ns) || !is_kept {
            return None;
        }
        let following = self.following(store, ask)?;
        let mut held = lock(&following);
        held.catch_up(deletes_of(store, &ask.tenant));
        (held.asked_ns, held.asked_at) = (ask.time_ns, Instant::now());
        if held.is_lost {
            drop(held);
            self.end(&ask.tenant, &following);
            return None;
        }
        held.standing(engine, ask)
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
        // First the follower, then a look at what is there: what comes between is in both.
        let arrivals = Arc::new(store.arrivals(&ask.tenant, &[]));
        let newest_ns = newest_ns(store, ask)?;
        let following = Following {
            arrivals: Arc::clone(&arrivals),
            standings: Standings::default(),
            by_query: HashMap::new(),
            newest_ns,
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

/// Returns the time of the youngest entry that is stored, or that of the question, which no entry is expected to pass.
fn newest_ns(store: &Store, ask: &Ask) -> Option<i64> {
    let range = TimeRange { start_ns: ask.time_ns, end_ns: i64::MAX };
    let views = store.select(&ask.tenant, &[], range, &Prefilter::default()).ok()?;
    let runs = views.iter().flat_map(|view| &view.runs);
    Some(runs.map(|run| run.max_ns).max().unwrap_or(ask.time_ns).max(ask.time_ns))
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
            let youngest_ns = view.runs.iter().map(|run| run.max_ns).max();
            self.newest_ns = self.newest_ns.max(youngest_ns.unwrap_or(i64::MIN));
            if let Err(error) = self.standings.take(&view) {
                tracing::warn!(%error, "cannot fold entries for rules, so these read them; report this");
                self.is_lost = true;
            }
        }
    }

    fn standing(&mut self, engine: &Engine, ask: &Ask) -> Option<Arc<Standing>> {
        let key = (Arc::as_ptr(&ask.query) as usize, ask.every_ns);
        if let Some(asked) = self.by_query.get_mut(&key) {
            asked.asked_at = Instant::now();
            return asked.standing.clone();
        }
        self.forget_unasked();
        if self.by_query.len() >= STANDING_MAX {
            return None;
        }
        // A query that cannot be folded for a fault has it told when it is read.
        let newest_ns = self.newest_ns.max(ask.time_ns);
        let times = (ask.time_ns, ask.every_ns);
        let standing = Standing::new(engine.settings(), &ask.query, times, newest_ns).ok().flatten();
        let standing = standing.map(Arc::new);
        if let Some(standing) = &standing {
            self.standings.add(Arc::clone(standing));
        }
        let asked =
            Asked { _query: Arc::clone(&ask.query), standing: standing.clone(), asked_at: Instant::now() };
        self.by_query.insert(key, asked);
        standing
    }

    fn forget_unasked(&mut self) {
        let standings = &mut self.standings;
        self.by_query.retain(|_, asked| {
            let is_kept = asked.asked_at.elapsed() < UNASKED_MAX;
            if let (false, Some(standing)) = (is_kept, &asked.standing) {
                standings.remove(standing);
            }
            is_kept
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
