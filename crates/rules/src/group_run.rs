//! What a group carries from one evaluation to the next.

use crate::alert::{AlertState, Alerts};
use crate::group::RuleGroup;
use crate::state_file::{GroupFile, RuleFile};
use crate::status::{AlertStatus, Health, RuleStatus};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of a group, shared between whoever evaluates it and whoever looks at it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) run: Mutex<GroupRun>,
    /// Held while the state is written.
    pub(crate) writes: tokio::sync::Mutex<()>,
    is_running: AtomicBool,
}

/// Says that an evaluation has ended, however it did.
#[derive(Debug)]
pub(crate) struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl State {
    pub(crate) fn new(run: GroupRun) -> Self {
        Self {
            run: Mutex::new(run),
            writes: tokio::sync::Mutex::default(),
            is_running: AtomicBool::new(false),
        }
    }

    /// Returns whether an evaluation may begin; if so, it is taken to have begun.
    pub(crate) fn begin(&self) -> bool {
        !self.is_running.swap(true, Ordering::Acquire)
    }

    /// Ends the evaluation when dropped.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends(&self.is_running)
    }
}

/// How a group and its rules stand.
#[derive(Debug, Default)]
pub(crate) struct GroupRun {
    pub(crate) last_ns: Option<i64>,
    pub(crate) seconds: f64,
    /// As many as the group has rules, in their order.
    pub(crate) rules: Vec<RuleRun>,
}

/// How a rule stands.
#[derive(Debug)]
pub(crate) struct RuleRun {
    /// What the rule is known by when its group is replaced.
    known_by: RuleFile,
    pub(crate) health: Health,
    pub(crate) last_ns: Option<i64>,
    pub(crate) seconds: f64,
    pub(crate) alerts: Alerts,
}

impl GroupRun {
    /// Returns the state of a group that takes the place of another one.
    pub(crate) fn after(group: &RuleGroup, before: &Self) -> Self {
        let known = before
            .rules
            .iter()
            .map(|run| RuleFile::of(&run.known_by.name, &run.known_by.labels, &run.alerts));
        let rules = Self::with(group, known.collect());
        Self { last_ns: before.last_ns, seconds: before.seconds, rules }
    }

    /// Returns the state of a group that is new in this process.
    pub(crate) fn restored(group: &RuleGroup, file: Option<&GroupFile>) -> Self {
        let known = file.map(|file| file.rules.clone()).unwrap_or_default();
        Self { last_ns: None, seconds: 0.0, rules: Self::with(group, known) }
    }

    /// Gives each rule the alerts of the first one known by its name and labels, each to one rule only.
    fn with(group: &RuleGroup, mut known: Vec<RuleFile>) -> Vec<RuleRun> {
        let run = |rule: &crate::Rule| {
            let is_it = |file: &RuleFile| file.name == rule.name() && file.labels == rule.labels;
            let found = known.iter().position(is_it).map(|at| known.remove(at));
            let alerts = found.map(|file| file.to_alerts()).unwrap_or_default();
            let known_by = RuleFile::of(rule.name(), &rule.labels, &Alerts::default());
            RuleRun { known_by, health: Health::default(), last_ns: None, seconds: 0.0, alerts }
        };
        group.rules.iter().map(run).collect()
    }

    /// Returns whether time alone changes what must survive a restart.
    pub(crate) fn counts_time(&self) -> bool {
        self.rules.iter().any(|run| run.alerts.counts_time())
    }

    pub(crate) fn to_files(&self, group: &RuleGroup) -> Vec<RuleFile> {
        let file =
            |(rule, run): (&crate::Rule, &RuleRun)| RuleFile::of(rule.name(), &rule.labels, &run.alerts);
        group.rules.iter().zip(&self.rules).map(file).collect()
    }

    /// Returns how the rules stand; resolved alerts are not shown.
    pub(crate) fn statuses(&self) -> Vec<RuleStatus> {
        let status = |run: &RuleRun| {
            let shown = run.alerts.by_labels.iter().filter(|(_, alert)| alert.state != AlertState::Resolved);
            let alerts = shown.map(|(labels, alert)| AlertStatus {
                labels: Arc::clone(labels),
                annotations: Arc::clone(&alert.annotations),
                state: alert.state,
                active_at_ns: alert.active_at_ns,
                value: alert.value,
            });
            RuleStatus {
                health: run.health.clone(),
                last_evaluation_ns: run.last_ns,
                evaluation_seconds: run.seconds,
                alerts: alerts.collect(),
            }
        };
        self.rules.iter().map(status).collect()
    }
}
