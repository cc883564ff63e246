//! Evaluations: which are due, and what becomes of their samples.

use super::{Key, LOOK_EVERY, Shared};
use crate::alert::{Seen, Terms};
use crate::evaluate::{Around, Ask, AskLines, Labelled, RuleSample, annotate, label, series};
use crate::group::{AlertRule, Rule, RuleGroup, RuleKind};
use crate::group_run::State;
use crate::lines::{shown, wanted};
use crate::own_log;
use crate::record::Recorded;
use crate::status::Health;
use logyard_model::{LabelSet, Tenant};
use logyard_wire::remote_write::STALE_BITS;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Intervals that may lie between two evaluations for all of that time to count.
const GAP_INTERVALS_MAX: i64 = 3;

/// Most alerts of an evaluation whose lines are looked for: where more begin to fire at once, the lines tell little.
const LINES_ALERTS_MAX: usize = 10;

/// Longest time to look for lines of one evaluation.
const LINES_TIMEOUT: Duration = Duration::from_secs(5);

/// Most alerts of a rule that are held at once, those that are over among them: they wait for targets for days.
const ALERTS_KEPT_MAX: usize = 10_000;

/// What is told of a fault of ours.
const INTERNAL: &str = "internal error, see the log of logyard";

/// An evaluation to make.
#[derive(Debug)]
pub(super) struct Work {
    key: Key,
    group: Arc<RuleGroup>,
    interval_ns: i64,
    state: Arc<State>,
    at_ns: i64,
}

/// What comes of the samples of a rule.
enum Made {
    Alerts(Vec<Seen>),
    Series(Vec<(Arc<LabelSet>, f64)>),
}

impl Shared {
    /// Returns the evaluations whose time has come.
    pub(super) fn take_due(&self) -> Vec<Work> {
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
    pub(super) fn pause(&self) -> Duration {
        let now_ns = self.clock.now_ns();
        let next_ns = self.table.lock().values().map(|entry| entry.next_ns).min();
        let wait_ns = next_ns.map_or(i64::MAX, |next_ns| next_ns.saturating_sub(now_ns));
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or_default())
            .clamp(Duration::from_millis(1), LOOK_EVERY)
    }

    /// Evaluates a group, its rules in order. Safe to drop: rules that were evaluated keep their states.
    pub(super) async fn run_group(self: Arc<Self>, work: Work) {
        let _ended = work.state.ends();
        let Ok(_slot) = self.slots.acquire().await else { return };
        let begun_ns = self.clock.monotonic_ns();
        let mut moved = false;
        self.end_series(&work);
        for index in 0..work.group.rules.len() {
            moved |= self.run_rule(&work, index).await;
        }
        let seconds = self.seconds_since(begun_ns);
        self.metrics.seconds.observe(seconds);
        let counts_time = {
            let mut run = work.state.run.lock();
            (run.last_ns, run.seconds) = (Some(work.at_ns), seconds);
            let gap_ns_max = work.interval_ns.saturating_mul(GAP_INTERVALS_MAX);
            moved |= run.step_left(work.at_ns, gap_ns_max, &self.targets);
            run.counts_time()
        };
        if moved {
            for key in self.hand_over() {
                self.save(&key).await;
            }
        }
        if work.group.rules.is_empty() && self.end_gone(&work.key) {
            let (shared, key) = (Arc::clone(&self), work.key.clone());
            if tokio::task::spawn_blocking(move || shared.forget(&key)).await.is_err() {
                tracing::error!("removing the state of a group failed: internal error");
            }
        } else if moved || counts_time {
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
        let query = Arc::clone(&rule.query);
        let ask = Ask { tenant, query, time_ns, every_ns: work.interval_ns };
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
            (Ok(Made::Series(series)), _) => {
                if !self.queues.is_empty() {
                    let ended = rule_run.record(&series);
                    self.send_series(work, &series, &ended, time_ns);
                }
                false
            }
            (Ok(Made::Alerts(seen)), RuleKind::Alert(alert)) => {
                let terms = self.terms(work, alert);
                let moved = rule_run.alerts.step(work.at_ns, terms, seen);
                let forgotten = rule_run.alerts.bound(ALERTS_KEPT_MAX.max(self.settings.alerts_per_rule_max));
                if forgotten > 0 {
                    self.tell_forgotten(work, rule, forgotten);
                }
                if moved {
                    own_log::tell(&work.key.tenant, &rule_run.alerts, work.at_ns);
                }
                moved
            }
            _ => false,
        }
    }

    fn tell_forgotten(&self, work: &Work, rule: &Rule, forgotten: usize) {
        let (tenant, group, rule) = (work.key.tenant.as_str(), work.key.group.as_str(), rule.name());
        tracing::error!(
            tenant,
            group,
            rule,
            forgotten,
            "too many alerts of a rule are over: the oldest are forgotten, whoever has not heard of them; \
             mend the target that is away, or let the rule tell fewer apart"
        );
    }

    fn terms(&self, work: &Work, alert: &AlertRule) -> Terms<'_> {
        Terms {
            for_ns: alert.for_ns,
            keep_firing_for_ns: alert.keep_firing_for_ns,
            gap_ns_max: work.interval_ns.saturating_mul(GAP_INTERVALS_MAX),
            targets: &self.targets,
        }
    }

    /// Makes alerts of the samples of an alerting rule, on threads that may be busy for a while.
    async fn made_of(
        &self,
        work: &Work,
        index: usize,
        samples: Vec<RuleSample>,
        time_ns: i64,
    ) -> Result<Made, String> {
        let limit = match work.group.limit {
            0 => self.settings.alerts_per_rule_max,
            limit => limit,
        };
        let nothing = || Ok(Made::Alerts(Vec::new()));
        let Some(rule) = work.group.rules.get(index) else { return nothing() };
        let external_url: Arc<str> = self.settings.external_url.as_str().into();
        let RuleKind::Alert(alert) = &rule.kind else {
            let group = Arc::clone(&work.group);
            let made = tokio::task::spawn_blocking(move || {
                let around = Around { time_ns, limit, external_url: &external_url };
                match group.rules.get(index).map(|rule| (rule, &rule.kind)) {
                    Some((rule, RuleKind::Record { name })) => series(rule, name, samples, around),
                    _ => Ok(Vec::new()),
                }
            });
            return made.await.unwrap_or_else(|_| Err(INTERNAL.to_owned())).map(Made::Series);
        };
        if samples.is_empty() {
            return nothing();
        }
        let mut labelled = {
            let (group, external_url) = (Arc::clone(&work.group), Arc::clone(&external_url));
            let made = tokio::task::spawn_blocking(move || {
                let around = Around { time_ns, limit, external_url: &external_url };
                match group.rules.get(index).map(|rule| (rule, &rule.kind)) {
                    Some((rule, RuleKind::Alert(alert))) => label(rule, alert, samples, around),
                    _ => Ok(Vec::new()),
                }
            });
            made.await.unwrap_or_else(|_| Err(INTERNAL.to_owned()))?
        };
        self.attach_lines(work, (index, rule, alert), &mut labelled, time_ns).await;
        let group = Arc::clone(&work.group);
        let made = tokio::task::spawn_blocking(move || {
            let around = Around { time_ns, limit, external_url: &external_url };
            match group.rules.get(index).map(|rule| &rule.kind) {
                Some(RuleKind::Alert(alert)) => annotate(alert, labelled, around),
                _ => Vec::new(),
            }
        });
        made.await.map(Made::Alerts).map_err(|_| INTERNAL.to_owned())
    }

    /// Puts samples into the queues, and the ends of series that are no more.
    fn send_series(
        &self,
        work: &Work,
        series: &[(Arc<LabelSet>, f64)],
        ended: &[Arc<LabelSet>],
        time_ns: i64,
    ) {
        let ts_ms = time_ns.div_euclid(1_000_000);
        let stale = f64::from_bits(STALE_BITS);
        let live = series.iter().map(|(labels, value)| (labels, *value));
        let all = live.chain(ended.iter().map(|labels| (labels, stale)));
        let recorded = |(labels, value): (&Arc<LabelSet>, f64)| Recorded {
            labels: with_tenant(labels, &work.key.tenant),
            value,
            ts_ms,
        };
        let samples: Vec<Recorded> = all.map(recorded).collect();
        if !samples.is_empty() {
            self.queues.iter().for_each(|queue| queue.push(&samples));
        }
    }

    /// Ends the series of rules that are no more, but those that another rule goes on with.
    fn end_series(&self, work: &Work) {
        let mut lost = std::mem::take(&mut work.state.run.lock().lost);
        if lost.is_empty() {
            return;
        }
        for (_, entry) in self.table.lock().iter().filter(|(key, _)| key.tenant == work.key.tenant) {
            let run = entry.state.run.lock();
            lost.retain(|labels| !run.has_series(labels));
        }
        self.send_series(work, &[], &lost, work.at_ns);
    }

    /// Attaches lines: to alerts that begin to fire those that made them, to others those that they have.
    async fn attach_lines(
        &self,
        work: &Work,
        (index, rule, alert): (usize, &Rule, &AlertRule),
        labelled: &mut [Labelled],
        time_ns: i64,
    ) {
        if self.settings.lines_max == 0 {
            return;
        }
        let mut new = Vec::new();
        {
            let run = work.state.run.lock();
            let Some(alerts) = run.rules.get(index).map(|run| &run.alerts) else { return };
            let terms = self.terms(work, alert);
            for (number, one) in labelled.iter_mut().enumerate() {
                if alerts.will_fire(&one.labels, work.at_ns, terms) {
                    new.push(number);
                } else if let Some(known) = alerts.by_labels.get(&one.labels) {
                    one.lines = Arc::clone(&known.lines);
                }
            }
        }
        let read = async {
            for number in new.into_iter().take(LINES_ALERTS_MAX) {
                let Some(one) = labelled.get_mut(number) else { continue };
                let Some(wanted) = wanted(&rule.query, &one.sample.labels, time_ns) else { return };
                let ask = AskLines {
                    tenant: work.key.tenant.clone(),
                    query: wanted.query,
                    start_ns: wanted.start_ns,
                    end_ns: wanted.end_ns,
                    lines_max: self.settings.lines_max,
                };
                match self.evaluate.lines(ask).await {
                    Ok(lines) => {
                        one.lines = shown(&lines, &self.masks, self.settings.line_bytes_max);
                        one.are_new = true;
                    }
                    Err(reason) => {
                        tracing::debug!(rule = rule.name(), reason, "the lines of an alert cannot be read");
                        return;
                    }
                }
            }
        };
        // An alert without its lines is better than one that comes late.
        if tokio::time::timeout(LINES_TIMEOUT, read).await.is_err() {
            tracing::debug!(rule = rule.name(), "the lines of an alert were not read in time");
        }
    }

    fn seconds_since(&self, begun_ns: u64) -> f64 {
        self.clock.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e9
    }

    /// Brings the counts of alerts in the metrics up to date.
    pub(super) fn count_alerts(&self) {
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
}

/// Series of two tenants must not be one to whoever tells them apart by their labels.
fn with_tenant(labels: &Arc<LabelSet>, tenant: &Tenant) -> Arc<LabelSet> {
    if *tenant == Tenant::single() || labels.get("tenant").is_some() {
        return Arc::clone(labels);
    }
    let mut labels = LabelSet::clone(labels);
    labels.insert("tenant", tenant.as_str());
    Arc::new(labels)
}
