//! The ruler: the groups in force, each evaluated at its instants.
//!
//! One task waits for the next instant of any group; evaluations are tasks of their own, of which
//! `rules.evaluations_running_max` run at once. A group never runs twice at a time: what comes due meanwhile is missed, and
//! counted. Nothing here evaluates a query; [`Evaluate`] does, and is dropped when its time is over.
//!
//! Groups are told apart by tenant, namespace and name. When a group is replaced, its rules keep the alerts of those
//! with the same name and labels.

use crate::check::{FileFault, read_file};
use crate::error::{Error, Kind};
use crate::evaluate::{Around, Ask, Evaluate, RuleSample, alerts_of};
use crate::folder::RuleFolder;
use crate::group::{RuleGroup, RuleKind};
use crate::group_run::{GroupRun, State};
use crate::metrics::Metrics;
use crate::namespaces::{NamespaceFiles, Namespaces};
use crate::schedule::{Schedule, Spread};
use crate::settings::RulesSettings;
use crate::state_file::{GroupFile, decode, encode};
use crate::status::{GroupStatus, Health};
use logyard_model::Tenant;
use logyard_sys::{Clock, Disk};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_128;

/// Time between two looks at the folder of files, and the longest sleep: a clock that jumped is noticed then.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Intervals that may lie between two evaluations for all of that time to count.
const GAP_INTERVALS_MAX: i64 = 3;

/// Most files that one message names.
const FAULTS_TOLD_MAX: usize = 10;

/// What a ruler is made of.
#[derive(Debug)]
pub struct RulerParts<'r> {
    /// Which rules, and within which bounds.
    pub settings: RulesSettings,
    /// Where rules and states are kept.
    pub disk: Arc<dyn Disk>,
    /// When it is.
    pub clock: Arc<dyn Clock>,
    /// The data folder; `rules/` in it is the ruler's.
    pub data_dir: &'r Path,
    /// Who evaluates queries.
    pub evaluate: Arc<dyn Evaluate>,
    /// Names of those who are told of alerts: what they have not been told is remembered for longer.
    pub targets: Vec<String>,
    /// How the instants of groups lie to each other.
    pub spread: Spread,
    /// Gets the metrics, under `logyard_rules_`.
    pub registry: &'r mut Registry,
}

/// The rules that come along, as a file.
pub const PACK: &str = include_str!("../pack/logyard.yaml");

/// Their namespace.
const PACK_NAMESPACE: &str = "logyard";

/// Groups by namespace.
pub type Listed = Namespaces;

/// Keeps rules and evaluates them. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Ruler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: RulesSettings,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    evaluate: Arc<dyn Evaluate>,
    metrics: Metrics,
    slots: Semaphore,
    /// Wakes the waiting task: groups have changed.
    changed: Notify,
    /// Whether counts of alerts may differ from what the metrics say.
    alerts_moved: AtomicBool,
    /// Counts changes, for those who tell them.
    moves: watch::Sender<u64>,
    /// Names of those who are told of alerts.
    targets: Vec<String>,
    spread: Spread,
    /// Whether the last write of a state failed.
    state_failed: AtomicBool,
    /// Held over writes to the disk; taken before `listed` and `table`, which are not.
    sources: Mutex<Sources>,
    /// All groups in force.
    listed: Mutex<Arc<BTreeMap<Tenant, Namespaces>>>,
    table: Mutex<BTreeMap<Key, Entry>>,
}

/// Where rules come from.
#[derive(Debug)]
struct Sources {
    files: NamespaceFiles,
    folder: Option<RuleFolder>,
    /// What the folder held when all of it was good.
    of_folder: BTreeMap<Tenant, Namespaces>,
    /// What comes along, if it is wanted.
    pack: Vec<Arc<RuleGroup>>,
}

/// What tells a group from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: Tenant,
    namespace: String,
    group: String,
}

impl Key {
    /// Returns a text that no other group has.
    fn text(&self) -> String {
        format!("{}\0{}\0{}", self.tenant, self.namespace, self.group)
    }
}

/// A group in force.
#[derive(Debug)]
struct Entry {
    group: Arc<RuleGroup>,
    schedule: Schedule,
    next_ns: i64,
    state: Arc<State>,
}

/// An evaluation to make.
#[derive(Debug)]
struct Work {
    key: Key,
    group: Arc<RuleGroup>,
    interval_ns: i64,
    state: Arc<State>,
    at_ns: i64,
}

impl Ruler {
    /// Reads rules and states; nothing is evaluated yet. A bad file in `rules.dir` is reported, and not fatal.
    ///
    /// Errors: `Invalid` for the settings, `Unavailable` for the disk.
    pub fn open(parts: RulerParts<'_>) -> Result<Self, Error> {
        let RulerParts { settings, disk, clock, data_dir, evaluate, targets, spread, registry } = parts;
        settings.check().map_err(Error::invalid)?;
        let dir = data_dir.join("rules");
        let files = NamespaceFiles::open(Arc::clone(&disk), dir.clone())
            .map_err(|error| Error::unavailable(format!("cannot read {}: {error}", dir.display())))?;
        let folder =
            (!settings.dir.is_empty()).then(|| RuleFolder::new(Arc::clone(&disk), Path::new(&settings.dir)));
        let pack = match settings.pack {
            true => read_file(Path::new(PACK_NAMESPACE), PACK.as_bytes())
                .map_err(|fault| Error::invalid(fault.to_string()))?,
            false => Vec::new(),
        };
        let pack = pack.into_iter().map(Arc::new).collect();
        let slots = settings.evaluations_running_max.clamp(1, Semaphore::MAX_PERMITS);
        let ruler = Self(Arc::new(Shared {
            settings,
            disk,
            clock,
            dir,
            evaluate,
            metrics: Metrics::register(registry),
            slots: Semaphore::new(slots),
            changed: Notify::new(),
            alerts_moved: AtomicBool::new(true),
            moves: watch::Sender::new(0),
            targets,
            spread,
            state_failed: AtomicBool::new(false),
            sources: Mutex::new(Sources { files, folder, of_folder: BTreeMap::new(), pack }),
            listed: Mutex::default(),
            table: Mutex::new(BTreeMap::new()),
        }));
        if !ruler.reload_folder() {
            ruler.0.apply();
        }
        Ok(ruler)
    }

    /// Evaluates groups at their instants until `stop` is ready; evaluations under way are ended then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut running = JoinSet::new();
        let mut looked_ns = self.0.clock.monotonic_ns();
        loop {
            let passed = Duration::from_nanos(self.0.clock.monotonic_ns().saturating_sub(looked_ns));
            if passed >= LOOK_EVERY {
                looked_ns = self.0.clock.monotonic_ns();
                let ruler = self.clone();
                if tokio::task::spawn_blocking(move || ruler.reload_folder()).await.is_err() {
                    tracing::error!("reading rules.dir failed: internal error");
                }
            }
            for work in self.0.take_due() {
                let shared = Arc::clone(&self.0);
                running.spawn(async move { shared.run_group(work).await });
            }
            self.0.count_alerts();
            tokio::select! {
                () = &mut stop => break,
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep(self.0.pause()) => {}
                Some(ended) = running.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "evaluation of a rule group failed: internal error");
                },
            }
        }
        running.shutdown().await;
    }

    /// Evaluates what is due now, one group after another; what [`Ruler::run`] does all the time.
    pub async fn tick(&self) {
        for work in self.0.take_due() {
            self.0.run_group(work).await;
        }
        self.0.count_alerts();
    }

    /// Looks at `rules.dir` and takes what changed. Returns whether anything was taken. Blocks on the disk.
    pub fn reload_folder(&self) -> bool {
        let mut sources = self.0.sources.lock();
        let Some(reloaded) = sources.folder.as_mut().and_then(RuleFolder::reload) else { return false };
        match reloaded.and_then(|of_folder| self.0.within_bounds(of_folder)) {
            Ok(of_folder) => {
                sources.of_folder = of_folder;
                drop(sources);
                self.0.metrics.folder_good.set(1);
                self.0.apply();
                true
            }
            Err(faults) => {
                drop(sources);
                self.0.metrics.folder_good.set(0);
                for fault in faults.iter().take(FAULTS_TOLD_MAX) {
                    let reason = fault.to_string();
                    tracing::error!(reason, "rules.dir is not taken: the rules before stay in force");
                }
                false
            }
        }
    }

    /// Returns the groups of a tenant, those of files and of the API.
    pub fn namespaces(&self, tenant: &Tenant) -> Listed {
        let listed = Arc::clone(&self.0.listed.lock());
        listed.get(tenant).cloned().unwrap_or_default()
    }

    /// Returns a group. Errors: `NotFound`; `ReadOnly` if the API is off, which tells Grafana so.
    pub fn group(&self, tenant: &Tenant, namespace: &str, name: &str) -> Result<Arc<RuleGroup>, Error> {
        if !self.0.settings.api_enabled {
            return Err(Error::new(Kind::ReadOnly, "GetRuleGroup unsupported in rule local store"));
        }
        let mut listed = self.namespaces(tenant);
        let groups = listed.remove(namespace).unwrap_or_default();
        let found = groups.into_iter().find(|group| group.name == name);
        found.ok_or_else(|| Error::new(Kind::NotFound, "group does not exist"))
    }

    /// Puts a group into force in place of the one of its name. Durable on return. Blocks on the disk.
    ///
    /// Errors: `ReadOnly` for a namespace of `rules.dir`, `Limited`, `Invalid` for a namespace too long, `Unavailable`.
    pub fn set_group(&self, tenant: &Tenant, namespace: &str, group: RuleGroup) -> Result<(), Error> {
        let mut sources = self.0.sources.lock();
        self.0.may_write(&sources, tenant, namespace, "SetRuleGroup")?;
        let (rules_max, rules) = (self.0.settings.rules_per_group_max, group.rules.len());
        if rules > rules_max {
            let text =
                format!("per-user rules per rule group limit (limit: {rules_max} actual: {rules}) exceeded");
            return Err(Error::new(Kind::Limited, text + "; raise rules.rules_per_group_max"));
        }
        let of_tenant = sources.files.by_tenant.get(tenant);
        let groups = of_tenant.map_or(0, |namespaces| namespaces.values().map(Vec::len).sum::<usize>());
        let is_new = sources.files.groups(tenant, namespace).iter().all(|known| known.name != group.name);
        let groups_max = self.0.settings.groups_max;
        if is_new && groups >= groups_max {
            let text =
                format!("per-user rule groups limit (limit: {groups_max} actual: {}) exceeded", groups + 1);
            return Err(Error::new(Kind::Limited, text + "; raise rules.groups_max"));
        }
        sources.files.set(tenant, namespace, group)?;
        drop(sources);
        self.0.apply();
        Ok(())
    }

    /// Removes a group. Durable on return. Blocks on the disk. Errors: `NotFound`, `ReadOnly`, `Unavailable`.
    pub fn delete_group(&self, tenant: &Tenant, namespace: &str, name: &str) -> Result<(), Error> {
        let mut sources = self.0.sources.lock();
        self.0.may_write(&sources, tenant, namespace, "DeleteRuleGroup")?;
        sources.files.remove(tenant, namespace, name)?;
        drop(sources);
        self.0.apply();
        Ok(())
    }

    /// Removes a namespace. Durable on return. Blocks on the disk. Errors: `NotFound`, `ReadOnly`, `Unavailable`.
    pub fn delete_namespace(&self, tenant: &Tenant, namespace: &str) -> Result<(), Error> {
        let mut sources = self.0.sources.lock();
        self.0.may_write(&sources, tenant, namespace, "DeleteNamespace")?;
        sources.files.remove_namespace(tenant, namespace)?;
        drop(sources);
        self.0.apply();
        Ok(())
    }

    /// Returns a count that grows when alerts change their states, to wait for.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.0.moves.subscribe()
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.0.clock.now_ns()
    }

    pub(crate) fn external_url(&self) -> &str {
        &self.0.settings.external_url
    }

    /// Returns how the groups of a tenant stand, by namespace and name.
    pub fn status(&self, tenant: &Tenant) -> Vec<GroupStatus> {
        let table = self.0.table.lock();
        let own = table.iter().filter(|(key, _)| key.tenant == *tenant);
        own.map(|(key, entry)| {
            let run = entry.state.run.lock();
            GroupStatus {
                namespace: key.namespace.clone(),
                group: Arc::clone(&entry.group),
                interval_ns: entry.schedule.interval_ns(),
                last_evaluation_ns: run.last_ns,
                evaluation_seconds: run.seconds,
                rules: run.statuses(),
            }
        })
        .collect()
    }
}

impl Shared {
    fn may_write(
        &self,
        sources: &Sources,
        tenant: &Tenant,
        namespace: &str,
        call: &str,
    ) -> Result<(), Error> {
        let refused = |why: &str| {
            Err(Error::new(Kind::ReadOnly, format!("{call} unsupported in rule local store: {why}")))
        };
        if !self.settings.api_enabled {
            return refused("rules.api_enabled is false");
        }
        if !sources.pack.is_empty() && namespace == PACK_NAMESPACE {
            return refused(
                "these rules come along; copy them by logyard rules pack, and set rules.pack to false",
            );
        }
        match sources.of_folder.get(tenant).is_some_and(|namespaces| namespaces.contains_key(namespace)) {
            true => refused("this namespace is a file in rules.dir; change the file"),
            false => Ok(()),
        }
    }

    /// Refuses a folder with too many groups or rules.
    fn within_bounds(
        &self,
        of_folder: BTreeMap<Tenant, Namespaces>,
    ) -> Result<BTreeMap<Tenant, Namespaces>, Vec<FileFault>> {
        let fault = |path: &str, text| vec![FileFault { path: path.to_owned(), line: None, text }];
        for namespaces in of_folder.values() {
            let groups: usize = namespaces.values().map(Vec::len).sum();
            if groups > self.settings.groups_max {
                let max = self.settings.groups_max;
                let text = format!("{groups} groups, limit is {max}; have fewer or raise rules.groups_max");
                return Err(fault(&self.settings.dir, text));
            }
            let max = self.settings.rules_per_group_max;
            for (file, groups) in namespaces {
                if let Some(group) = groups.iter().find(|group| group.rules.len() > max) {
                    let (name, rules) = (&group.name, group.rules.len());
                    let text = format!(
                        "group {name:?} has {rules} rules, limit is {max}; have fewer or raise rules.rules_per_group_max"
                    );
                    return Err(fault(file, text));
                }
            }
        }
        Ok(of_folder)
    }

    /// Puts what the sources hold into force. Blocks on the disk, but lets others look meanwhile.
    fn apply(&self) {
        let sources = self.sources.lock();
        let mut listed = sources.files.by_tenant.clone();
        // Files of people win over a namespace of the API with their name.
        for (tenant, namespaces) in &sources.of_folder {
            listed.entry(tenant.clone()).or_default().extend(namespaces.clone());
        }
        if !sources.pack.is_empty() {
            let own = listed.entry(Tenant::single()).or_default();
            own.insert(PACK_NAMESPACE.to_owned(), sources.pack.clone());
        }
        let mut wanted = BTreeMap::new();
        for (tenant, namespaces) in &listed {
            for (namespace, groups) in namespaces {
                for group in groups {
                    let (tenant, namespace) = (tenant.clone(), namespace.clone());
                    wanted.insert(Key { tenant, namespace, group: group.name.clone() }, Arc::clone(group));
                }
            }
        }
        let (gone, new): (Vec<Key>, Vec<Key>) = {
            let table = self.table.lock();
            let gone = table.keys().filter(|key| !wanted.contains_key(key));
            let new = wanted.keys().filter(|key| !table.contains_key(key));
            (gone.cloned().collect(), new.cloned().collect())
        };
        let mut restored: BTreeMap<Key, GroupFile> =
            new.into_iter().filter_map(|key| self.restore(&key).map(|file| (key, file))).collect();
        let mut table = self.table.lock();
        for key in &gone {
            table.remove(key);
        }
        for (key, group) in wanted {
            match table.get_mut(&key) {
                Some(entry) if Arc::ptr_eq(&entry.group, &group) => {}
                Some(entry) => {
                    let run = GroupRun::after(&group, &entry.state.run.lock());
                    *entry = self.entry(&key, group, run);
                }
                None => {
                    let run = GroupRun::restored(&group, restored.remove(&key).as_ref());
                    let entry = self.entry(&key, group, run);
                    table.insert(key, entry);
                }
            }
        }
        self.metrics.groups.set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        self.alerts_moved.store(true, Ordering::Relaxed);
        drop(table);
        *self.listed.lock() = Arc::new(listed);
        gone.iter().for_each(|key| self.forget(key));
        self.changed.notify_one();
    }

    fn entry(&self, key: &Key, group: Arc<RuleGroup>, run: GroupRun) -> Entry {
        let default_ns = i64::try_from(Duration::from_secs(self.settings.interval_secs).as_nanos());
        let interval_ns = group.interval_ns.unwrap_or_else(|| default_ns.unwrap_or(i64::MAX));
        let schedule = Schedule::new(&key.text(), interval_ns, self.spread);
        let next_ns = schedule.after(self.clock.now_ns());
        Entry { group, schedule, next_ns, state: Arc::new(State::new(run)) }
    }

    /// Returns the evaluations whose time has come.
    fn take_due(&self) -> Vec<Work> {
        let now_ns = self.clock.now_ns();
        let mut works = Vec::new();
        for (key, entry) in self.table.lock().iter_mut() {
            let due = entry.schedule.due(now_ns, entry.next_ns);
            entry.next_ns = due.next_ns;
            self.metrics.missed.inc_by(due.missed);
            let Some(at_ns) = due.at_ns else { continue };
            if entry.state.begin() {
                works.push(Work {
                    key: key.clone(),
                    group: Arc::clone(&entry.group),
                    interval_ns: entry.schedule.interval_ns(),
                    state: Arc::clone(&entry.state),
                    at_ns,
                });
            } else {
                self.metrics.missed.inc();
            }
        }
        works
    }

    /// Returns how long nothing is to be done.
    fn pause(&self) -> Duration {
        let now_ns = self.clock.now_ns();
        let next_ns = self.table.lock().values().map(|entry| entry.next_ns).min();
        let wait_ns = next_ns.map_or(i64::MAX, |next_ns| next_ns.saturating_sub(now_ns));
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or_default())
            .clamp(Duration::from_millis(1), LOOK_EVERY)
    }

    /// Evaluates a group, its rules in order. Safe to drop: rules that were evaluated keep their states.
    async fn run_group(&self, work: Work) {
        let _ended = work.state.ends();
        let Ok(_slot) = self.slots.acquire().await else { return };
        let begun_ns = self.clock.monotonic_ns();
        let mut moved = false;
        for index in 0..work.group.rules.len() {
            moved |= self.run_rule(&work, index).await;
        }
        let seconds = self.seconds_since(begun_ns);
        self.metrics.seconds.observe(seconds);
        let counts_time = {
            let mut run = work.state.run.lock();
            (run.last_ns, run.seconds) = (Some(work.at_ns), seconds);
            run.counts_time()
        };
        if moved || counts_time {
            self.save(&work.key).await;
        }
        if moved {
            self.alerts_moved.store(true, Ordering::Relaxed);
            self.moves.send_modify(|moves| *moves = moves.wrapping_add(1));
        }
    }

    /// Evaluates a rule. Returns whether alerts changed their states.
    async fn run_rule(&self, work: &Work, index: usize) -> bool {
        let Some(rule) = work.group.rules.get(index) else { return false };
        let begun_ns = self.clock.monotonic_ns();
        let time_ns = work.at_ns.saturating_sub(work.group.query_offset_ns);
        let tenant = work.key.tenant.clone();
        let ask = Ask { tenant, query: Arc::clone(&rule.query), time_ns };
        let timeout = Duration::from_secs(self.settings.timeout_secs);
        let answer = match tokio::time::timeout(timeout, self.evaluate.evaluate(ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "took longer than {} s; shorten its range, filter more, or raise rules.timeout_secs",
                self.settings.timeout_secs
            )),
        };
        let seen = match answer {
            Ok(samples) => self.made_of(work, index, samples, time_ns).await,
            Err(why) => Err(why),
        };
        self.metrics.count(seen.is_ok());
        let mut run = work.state.run.lock();
        let Some(rule_run) = run.rules.get_mut(index) else { return false };
        let (was, health) = match &seen {
            Ok(_) => (rule_run.health.clone(), Health::Good),
            Err(why) => (rule_run.health.clone(), Health::Failed(why.clone())),
        };
        if let (Err(why), false) = (&seen, matches!(was, Health::Failed(_))) {
            tracing::warn!(
                tenant = work.key.tenant.as_str(),
                namespace = work.key.namespace,
                group = work.key.group,
                rule = rule.name(),
                error = why,
                "rule cannot be evaluated; its alerts stay as they are"
            );
        }
        rule_run.health = health;
        rule_run.last_ns = Some(work.at_ns);
        rule_run.seconds = self.seconds_since(begun_ns);
        match (seen, &rule.kind) {
            (Ok(seen), RuleKind::Alert(alert)) => {
                let terms = crate::alert::Terms {
                    for_ns: alert.for_ns,
                    keep_firing_for_ns: alert.keep_firing_for_ns,
                    gap_ns_max: work.interval_ns.saturating_mul(GAP_INTERVALS_MAX),
                    targets: &self.targets,
                };
                rule_run.alerts.step(work.at_ns, terms, seen)
            }
            _ => false,
        }
    }

    /// Makes alerts of the samples of an alerting rule, on a thread that may be busy for a while.
    async fn made_of(
        &self,
        work: &Work,
        index: usize,
        samples: Vec<RuleSample>,
        time_ns: i64,
    ) -> Result<Vec<crate::alert::Seen>, String> {
        let limit = match work.group.limit {
            0 => self.settings.alerts_per_rule_max,
            limit => limit,
        };
        let is_record =
            matches!(work.group.rules.get(index).map(|rule| &rule.kind), Some(RuleKind::Record { .. }));
        if is_record {
            let count = samples.len();
            let text = || format!("exceeded limit of {limit} with {count} series");
            return if count > limit { Err(text()) } else { Ok(Vec::new()) };
        }
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let group = Arc::clone(&work.group);
        let external_url = self.settings.external_url.clone();
        let made = tokio::task::spawn_blocking(move || {
            let around = Around { time_ns, limit, external_url: &external_url };
            match group.rules.get(index).map(|rule| (rule, &rule.kind)) {
                Some((rule, RuleKind::Alert(alert))) => alerts_of(rule, alert, samples, around),
                _ => Ok(Vec::new()),
            }
        });
        made.await.unwrap_or_else(|_| Err("internal error, see the log of logyard".to_owned()))
    }

    fn seconds_since(&self, begun_ns: u64) -> f64 {
        self.clock.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e9
    }

    /// Brings the counts of alerts in the metrics up to date.
    fn count_alerts(&self) {
        if !self.alerts_moved.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut counts = BTreeMap::new();
        for (key, entry) in self.table.lock().iter() {
            let run = entry.state.run.lock();
            for (rule, status) in entry.group.rules.iter().zip(run.statuses()) {
                for alert in status.alerts {
                    let labels = (key.tenant.to_string(), rule.name().to_owned(), alert.state);
                    *counts.entry(labels).or_insert(0) += 1;
                }
            }
        }
        self.metrics.set_alerts(counts);
    }

    fn state_path(&self, key: &Key) -> PathBuf {
        let name = format!("{:032x}.state", xxh3_128(key.text().as_bytes()));
        self.dir.join(key.tenant.as_str()).join("state").join(name)
    }

    /// Writes the state of a group, if it is still in force. One write of a group at a time.
    async fn save(&self, key: &Key) {
        let Some(state) = self.table.lock().get(key).map(|entry| Arc::clone(&entry.state)) else { return };
        let _turn = state.writes.lock().await;
        let file = match self.table.lock().get(key) {
            Some(entry) if Arc::ptr_eq(&entry.state, &state) => GroupFile {
                namespace: key.namespace.clone(),
                group: key.group.clone(),
                rules: state.run.lock().to_files(&entry.group),
            },
            _ => return,
        };
        let (disk, path) = (Arc::clone(&self.disk), self.state_path(key));
        let shown = path.display().to_string();
        let write = move || -> io::Result<()> {
            if let Some(dir) = path.parent() {
                disk.create_dir_all(dir)?;
            }
            disk.write_atomic(&path, &encode(&file))
        };
        let written =
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let failed_before = self.state_failed.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            self.metrics.state_failures.inc();
            if !failed_before {
                tracing::error!(path = shown, %error, "cannot write the state of alerts: a restart may repeat some");
            }
        }
    }

    /// Reads the state that a group had before a restart.
    fn restore(&self, key: &Key) -> Option<GroupFile> {
        let path = self.state_path(key);
        let read = match self.disk.read(&path) {
            Ok(bytes) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(file) if file.namespace == key.namespace && file.group == key.group => Some(file),
            Ok(_) => None,
            Err(reason) => {
                // The next write replaces it.
                let path = path.display().to_string();
                tracing::error!(
                    path,
                    reason,
                    "cannot read the state of alerts: those of its group begin anew"
                );
                None
            }
        }
    }

    fn forget(&self, key: &Key) {
        let path = self.state_path(key);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the state of a group that is gone");
            }
            _ => {}
        }
    }
}

mod untold;

pub(crate) use untold::NEWS_MAX;

#[cfg(test)]
pub(crate) mod tests;
