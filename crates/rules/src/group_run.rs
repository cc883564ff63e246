//! What a group carries from one evaluation to the next.
//!
//! Alerts of a rule that is no more end with it, and stay until everybody has heard of it.

use crate::alert::{AlertState, Alerts, Terms};
use crate::group::{Pairs, RuleGroup, RuleKind};
use crate::state_file::{GroupFile, RuleFile};
use crate::status::{AlertStatus, Health, RuleStatus};
use logyard_model::LabelSet;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of a group, shared between whoever evaluates it and whoever looks at it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) run: Mutex<GroupRun>,
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
        Self { run: Mutex::new(run), is_running: AtomicBool::new(false) }
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
    /// Rules that are no more, the newest first, with alerts that somebody may not know to be over.
    pub(crate) left: Vec<RuleRun>,
    /// Series of recording rules that are no more, whose end is to be told.
    pub(crate) lost: Vec<Arc<LabelSet>>,
}

/// Most series that are ended at once.
const LOST_MAX: usize = 10_000;

/// Most rules of a group that are no more and remembered: those of a few versions of it.
const LEFT_MAX: usize = 400;

/// How a rule stands.
#[derive(Debug)]
pub(crate) struct RuleRun {
    /// What the rule is known by when its group is replaced.
    known_by: RuleFile,
    pub(crate) health: Health,
    pub(crate) last_ns: Option<i64>,
    pub(crate) seconds: f64,
    pub(crate) alerts: Alerts,
    /// Series of a recording rule at its last evaluation, as far as somebody takes them; a restart forgets them.
    series: BTreeSet<Arc<LabelSet>>,
}

impl GroupRun {
    /// Returns the state of a group that takes the place of another one.
    pub(crate) fn after(group: &RuleGroup, before: &Self, now_ns: i64) -> Self {
        let known = before.rules.iter().chain(&before.left).map(RuleRun::to_file).collect();
        let (mut rules, left) = Self::with(group, known, now_ns);
        let mut recorded: Vec<&RuleRun> = before.rules.iter().filter(|run| !run.series.is_empty()).collect();
        for (rule, run) in group.rules.iter().zip(&mut rules) {
            let is_it =
                |known: &&RuleRun| known.known_by.name == rule.name() && known.known_by.labels == rule.labels;
            let found = recorded.iter().position(is_it);
            if let (Some(found), RuleKind::Record { .. }) = (found, &rule.kind) {
                run.series = recorded.remove(found).series.clone();
            }
        }
        let mut lost = before.lost.clone();
        lost.extend(recorded.into_iter().flat_map(|run| run.series.iter().cloned()));
        lost.truncate(LOST_MAX);
        Self { last_ns: before.last_ns, seconds: before.seconds, rules, left, lost }
    }

    /// Returns the state of a group that is new in this process.
    pub(crate) fn restored(group: &RuleGroup, file: Option<&GroupFile>, now_ns: i64) -> Self {
        let known = file.map(|file| file.rules.clone()).unwrap_or_default();
        let (rules, left) = Self::with(group, known, now_ns);
        Self { last_ns: None, seconds: 0.0, rules, left, lost: Vec::new() }
    }

    /// Returns whether nothing waits any more of rules that are gone.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty() && self.lost.is_empty()
    }

    /// Returns whether a recording rule has a series.
    pub(crate) fn has_series(&self, labels: &LabelSet) -> bool {
        self.rules.iter().any(|run| run.series.contains(labels))
    }

    /// Gives each rule the alerts of the first one known by its name and labels, each to one rule only. Returns the rules,
    /// and those that are no more.
    fn with(group: &RuleGroup, mut known: Vec<RuleFile>, now_ns: i64) -> (Vec<RuleRun>, Vec<RuleRun>) {
        let run = |rule: &crate::Rule| {
            let is_it = |file: &RuleFile| file.name == rule.name() && file.labels == rule.labels;
            let found = known.iter().position(is_it).map(|at| known.remove(at));
            RuleRun::new(rule.name(), &rule.labels, found.as_ref())
        };
        let rules = group.rules.iter().map(run).collect();
        let mut left: Vec<RuleRun> =
            known.iter().map(|file| RuleRun::new(&file.name, &file.labels, Some(file))).collect();
        left.iter_mut().for_each(|run| run.alerts.leave(now_ns));
        left.retain(|run| !run.alerts.by_labels.is_empty());
        left.truncate(LEFT_MAX);
        (rules, left)
    }

    /// Takes an evaluation for the rules that are no more. Returns whether any alert was forgotten.
    pub(crate) fn step_left(&mut self, now_ns: i64, gap_ns_max: i64, targets: &[String]) -> bool {
        let terms = Terms { for_ns: 0, keep_firing_for_ns: 0, gap_ns_max, targets };
        let mut changed = false;
        for run in &mut self.left {
            changed |= run.alerts.step(now_ns, terms, Vec::new());
        }
        self.left.retain(|run| !run.alerts.by_labels.is_empty());
        changed
    }

    /// Returns whether time alone changes what must survive a restart.
    pub(crate) fn counts_time(&self) -> bool {
        self.rules.iter().chain(&self.left).any(|run| run.alerts.counts_time())
    }

    pub(crate) fn to_files(&self) -> Vec<RuleFile> {
        self.rules.iter().chain(&self.left).map(RuleRun::to_file).collect()
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

impl RuleRun {
    fn new(name: &str, labels: &Pairs, known: Option<&RuleFile>) -> Self {
        Self {
            known_by: RuleFile::of(name, labels, &Alerts::default()),
            health: Health::default(),
            last_ns: None,
            seconds: 0.0,
            alerts: known.map(RuleFile::to_alerts).unwrap_or_default(),
            series: BTreeSet::new(),
        }
    }

    /// Takes the series of an evaluation. Returns those that were there before and are no more.
    pub(crate) fn record(&mut self, series: &[(Arc<LabelSet>, f64)]) -> Vec<Arc<LabelSet>> {
        let now: BTreeSet<_> = series.iter().map(|(labels, _)| Arc::clone(labels)).collect();
        let ended = self.series.difference(&now).cloned().collect();
        self.series = now;
        ended
    }

    fn to_file(&self) -> RuleFile {
        RuleFile::of(&self.known_by.name, &self.known_by.labels, &self.alerts)
    }
}
