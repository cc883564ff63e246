//! The ruler: the groups in force, each evaluated at its instants.
//!
//! One task waits for the next instant of any group; evaluations are tasks of their own, of which
//! `rules.evaluations_running_max` run at once. A group never runs twice at a time: what comes due meanwhile is missed, and
//! counted. Nothing here evaluates a query; [`Evaluate`] does, and is dropped when its time is over.
//!
//! Groups are told apart by tenant, namespace and name. When a group is replaced, its rules keep the alerts of those
//! with the same name and labels. Alerts of rules and groups that are no more end, and whoever was told of them is told so.

use crate::check::read_file;
use crate::error::{Error, Kind};
use crate::evaluate::Evaluate;
use crate::folder::RuleFolder;
use crate::group::RuleGroup;
use crate::group_run::State;
use crate::mask::Masks;
use crate::metrics::Metrics;
use crate::namespaces::{NamespaceFiles, Namespaces};
use crate::pack::PACK_NAMESPACE;
use crate::record::Queue;
use crate::record_settings::RemoteWriteSettings;
use crate::schedule::{Schedule, Spread};
use crate::settings::RulesSettings;
use crate::status::GroupStatus;
use logyard_model::Tenant;
use logyard_sys::{Clock, Disk};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Time between two looks at the folder of files, and the longest sleep: a clock that jumped is noticed then.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Most files that one message names.
const FAULTS_TOLD_MAX: usize = 10;

/// Time after which it is told that the folder does not answer.
const LOOK_SLOW: Duration = Duration::from_secs(20);

/// Files of states that can be written at once.
const FILE_TURNS: usize = 16;

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
    /// For whom the rules that come along are in force; `None` for nobody.
    pub pack_tenant: Option<Tenant>,
    /// How the instants of groups lie to each other.
    pub spread: Spread,
    /// Gets the metrics, under `logyard_rules_`.
    pub registry: &'r mut Registry,
}

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
    /// Samples of recording rules on their way, as many queues as somebody takes them.
    queues: Vec<Arc<Queue>>,
    /// What is hidden in lines.
    masks: Masks,
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
    /// Whether the folder was good when it was read last.
    is_folder_good: AtomicBool,
    /// Whether the last write of a state failed.
    state_failed: AtomicBool,
    /// Held while the folder is read, which may take any time; taken before `sources`.
    folder: Mutex<Option<RuleFolder>>,
    /// Held over writes to the disk; taken before `listed` and `table`, which are not.
    sources: Mutex<Sources>,
    /// Held while a file of a state is written or removed, each for some of the groups; taken before `table`.
    file_turns: [Mutex<()>; FILE_TURNS],
    /// All groups in force.
    listed: Mutex<Arc<BTreeMap<Tenant, Namespaces>>>,
    table: Mutex<BTreeMap<Key, Entry>>,
}

/// Where rules come from.
#[derive(Debug)]
struct Sources {
    files: NamespaceFiles,
    /// Whether all of them are known: until a folder was read without fault, rules may be missing.
    are_whole: bool,
    /// Whether states of groups that are no more have been looked for on the disk.
    took_states: bool,
    /// What the folder held when all of it was good.
    of_folder: BTreeMap<Tenant, Namespaces>,
    /// What comes along, and for whom, if it is wanted.
    pack: Option<(Tenant, Vec<Arc<RuleGroup>>)>,
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
    /// Without rules if the group is no more.
    group: Arc<RuleGroup>,
    /// Whether it only stands for a group that is no more, until everybody has heard that its alerts are over.
    is_gone: bool,
    schedule: Schedule,
    next_ns: i64,
    state: Arc<State>,
}

impl Ruler {
    /// Reads rules and states of the data folder; nothing is evaluated yet. What `rules.dir` holds comes into force when
    /// [`Ruler::run`] begins, or by [`Ruler::reload_folder`]: a start waits for no other machine.
    ///
    /// Errors: `Invalid` for the settings, `Unavailable` for the disk.
    pub fn open(parts: RulerParts<'_>) -> Result<Self, Error> {
        let RulerParts { settings, disk, clock, data_dir, evaluate, targets, pack_tenant, spread, registry } =
            parts;
        settings.check().map_err(Error::invalid)?;
        let dir = data_dir.join("rules");
        let files = NamespaceFiles::open(Arc::clone(&disk), dir.clone())
            .map_err(|error| Error::unavailable(format!("cannot read {}: {error}", dir.display())))?;
        let folder =
            (!settings.dir.is_empty()).then(|| RuleFolder::new(Arc::clone(&disk), Path::new(&settings.dir)));
        let queues = settings.remote_write.iter().map(|settings| Arc::new(Queue::new(settings))).collect();
        let masks = Masks::new(settings.mask_common, &settings.mask)
            .map_err(|why| Error::invalid(format!("rules.mask: {why}")))?;
        let pack = match pack_tenant {
            Some(tenant) => {
                let groups = read_file(Path::new(PACK_NAMESPACE), settings.pack.text().as_bytes())
                    .map_err(|fault| Error::invalid(fault.to_string()))?;
                Some((tenant, groups.into_iter().map(Arc::new).collect()))
            }
            None => None,
        };
        let slots = settings.evaluations_running_max.clamp(1, Semaphore::MAX_PERMITS);
        let ruler = Self(Arc::new(Shared {
            settings,
            disk,
            clock,
            dir,
            evaluate,
            metrics: Metrics::register(registry),
            queues,
            masks,
            slots: Semaphore::new(slots),
            changed: Notify::new(),
            alerts_moved: AtomicBool::new(true),
            moves: watch::Sender::new(0),
            targets,
            spread,
            is_folder_good: AtomicBool::new(false),
            state_failed: AtomicBool::new(false),
            sources: Mutex::new(Sources {
                files,
                are_whole: folder.is_none(),
                took_states: false,
                of_folder: BTreeMap::new(),
                pack,
            }),
            folder: Mutex::new(folder),
            file_turns: Default::default(),
            listed: Mutex::default(),
            table: Mutex::new(BTreeMap::new()),
        }));
        ruler.0.apply();
        Ok(ruler)
    }

    /// Evaluates groups at their instants until `stop` is ready; evaluations under way are ended then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut running = JoinSet::new();
        // Beside the rest: a folder on a server that is away may not answer for hours.
        let mut looking = JoinSet::new();
        let mut looked_ns = None;
        let mut told_slow = false;
        loop {
            let now_ns = self.0.clock.monotonic_ns();
            let passed = looked_ns.map(|looked_ns| Duration::from_nanos(now_ns.saturating_sub(looked_ns)));
            if looking.is_empty() && passed.is_none_or(|passed| passed >= LOOK_EVERY) {
                looked_ns = Some(now_ns);
                if std::mem::take(&mut told_slow) {
                    self.0.folder_answers(true);
                }
                let ruler = self.clone();
                looking.spawn_blocking(move || ruler.reload_folder());
            } else if !looking.is_empty() && passed.is_some_and(|passed| passed >= LOOK_SLOW) && !told_slow {
                told_slow = true;
                self.0.folder_answers(false);
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
                Some(ended) = looking.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "reading rules.dir failed: internal error");
                },
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
            Arc::clone(&self.0).run_group(work).await;
        }
        self.0.count_alerts();
    }

    /// Looks at `rules.dir` and takes what changed. Returns whether anything was taken. Blocks on the disk.
    pub fn reload_folder(&self) -> bool {
        let mut folder = self.0.folder.lock();
        let Some(reloaded) = folder.as_mut().and_then(RuleFolder::reload) else { return false };
        match reloaded.and_then(|of_folder| self.0.within_bounds(of_folder)) {
            Ok(of_folder) => {
                let mut sources = self.0.sources.lock();
                (sources.of_folder, sources.are_whole) = (of_folder, true);
                drop(sources);
                self.0.set_folder_good(true);
                self.0.apply();
                true
            }
            Err(faults) => {
                self.0.set_folder_good(false);
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

    /// Returns those who take the series of recording rules, with what waits for them.
    pub(crate) fn remote_write(&self) -> impl Iterator<Item = (&RemoteWriteSettings, &Arc<Queue>)> {
        self.0.settings.remote_write.iter().zip(&self.0.queues)
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
        let own = table.iter().filter(|(key, entry)| key.tenant == *tenant && !entry.is_gone);
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

mod left;
mod sources;
mod states;
mod untold;
mod work;

pub(crate) use untold::NEWS_MAX;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_disk;
