//! The states of a rule's alerts: pending, firing, resolved. Pure: time and samples come in, changes go out.
//!
//! How long a sample has been there, or away, is the time between evaluations added up, and each addition is bounded.
//! So an outage, or a jump of the clock, neither makes a pending alert fire nor resolves a firing one:
//! only what was really evaluated counts.
//!
//! Besides that the states are those of Prometheus: a sample makes an alert pending, after `for` firing;
//! a pending alert whose sample is gone is forgotten, a firing one resolves once it was gone for `keep_firing_for`.
//! Only one that begins anew before somebody has heard of its end goes on for them, and ends in being resolved.

use logyard_model::LabelSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long resolved alerts are remembered, in ns: whoever sends notifications may have been in trouble.
pub(crate) const RESOLVED_KEPT_NS: i64 = 15 * 60 * 1_000_000_000;

/// How long they are remembered while somebody who was to be told of them has not been, in ns: longer than the quiet
/// hours of a weekend.
pub(crate) const UNTOLD_KEPT_NS: i64 = 72 * 3600 * 1_000_000_000;

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Its condition held until lately.
    Resolved,
    /// Its condition holds, not for long enough yet.
    Pending,
    /// Its condition holds.
    Firing,
}

impl AlertState {
    /// Returns the name that the API and the metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert, told apart from the others of its rule by its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its state.
    pub state: AlertState,
    /// When its condition began to hold, in ns.
    pub active_at_ns: i64,
    /// When it began to fire, in ns.
    pub fired_at_ns: Option<i64>,
    /// When it resolved, in ns.
    pub resolved_at_ns: Option<i64>,
    /// Value of its sample when that was last there.
    pub value: f64,
    /// Annotations as of then, expanded.
    pub annotations: Arc<LabelSet>,
    /// Lines that made it fire, the oldest first, as they may be shown.
    pub lines: Arc<[String]>,
    /// Time in the present state that was seen, in ns: of a firing one, time without its sample.
    pub(crate) seen_ns: i64,
    /// Whether the sample of a firing alert was there at the last evaluation.
    pub(crate) is_there: bool,
    /// Who was told what, by the name of the target; of a pending alert, those who believe that it still fires.
    pub(crate) told: BTreeMap<String, Told>,
}

/// What a target was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Firing or resolved.
    pub(crate) state: AlertState,
    /// When, in ns.
    pub(crate) at_ns: i64,
    /// When, by the clock that does not jump, unless it was in another process.
    pub(crate) at_monotonic_ns: Option<u64>,
}

/// A sample with the labels of its alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) annotations: Arc<LabelSet>,
    pub(crate) value: f64,
    /// Lines of an alert that begins to fire; `None` for those it has.
    pub(crate) lines: Option<Arc<[String]>>,
}

/// What a rule says about time, in ns, and who is told of its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms<'a> {
    pub(crate) for_ns: i64,
    pub(crate) keep_firing_for_ns: i64,
    /// Most that counts of the time between two evaluations.
    pub(crate) gap_ns_max: i64,
    /// Names of those who must be told that an alert has resolved before it is forgotten.
    pub(crate) targets: &'a [String],
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alerts {
    pub(crate) by_labels: BTreeMap<Arc<LabelSet>, Alert>,
    /// Instant of the last evaluation that succeeded.
    pub(crate) last_ns: Option<i64>,
}

impl Alerts {
    /// Takes the samples of an evaluation; their labels are distinct. Returns whether any alert changed its state.
    pub(crate) fn step(&mut self, now_ns: i64, terms: Terms<'_>, seen: Vec<Seen>) -> bool {
        let since_ns = self.since_ns(now_ns, terms);
        self.last_ns = Some(now_ns);
        let mut changed = false;
        let mut there: BTreeMap<Arc<LabelSet>, Seen> =
            seen.into_iter().map(|seen| (Arc::clone(&seen.labels), seen)).collect();
        self.by_labels.retain(|labels, alert| {
            let before = alert.state;
            let sample = there.remove(labels);
            let kept = alert.step(now_ns, since_ns, terms, sample);
            changed |= !kept || alert.state != before;
            kept
        });
        for (labels, sample) in there {
            changed = true;
            self.by_labels.insert(labels, Alert::new(now_ns, terms, sample));
        }
        changed
    }

    /// Returns the time since the last evaluation, as far as it counts.
    fn since_ns(&self, now_ns: i64, terms: Terms<'_>) -> i64 {
        let since_ns = self.last_ns.map_or(0, |last_ns| now_ns.saturating_sub(last_ns));
        since_ns.clamp(0, terms.gap_ns_max.max(0))
    }

    /// Returns whether a sample would make its alert fire that does not fire yet.
    pub(crate) fn will_fire(&self, labels: &LabelSet, now_ns: i64, terms: Terms<'_>) -> bool {
        match self.by_labels.get(labels) {
            Some(alert) if alert.state == AlertState::Firing => false,
            Some(alert) if alert.state == AlertState::Pending => {
                alert.seen_ns.saturating_add(self.since_ns(now_ns, terms)) >= terms.for_ns
            }
            _ => terms.for_ns <= 0,
        }
    }

    /// Ends all alerts: their rule is no more. Those that nobody can have heard of are forgotten.
    pub(crate) fn leave(&mut self, now_ns: i64) {
        self.by_labels.retain(|_, alert| {
            if alert.state == AlertState::Pending && alert.told.is_empty() {
                return false;
            }
            if alert.state != AlertState::Resolved {
                alert.resolve(now_ns);
            }
            true
        });
    }

    /// Forgets those that have been over for longest where there are too many. Returns how many.
    pub(crate) fn bound(&mut self, alerts_max: usize) -> usize {
        let over = self.by_labels.len().saturating_sub(alerts_max);
        if over == 0 {
            return 0;
        }
        let ended = self.by_labels.iter().filter(|(_, alert)| alert.state == AlertState::Resolved);
        let mut ended: Vec<_> =
            ended.map(|(labels, alert)| (alert.resolved_at_ns, Arc::clone(labels))).collect();
        ended.sort();
        ended.truncate(over);
        ended.iter().for_each(|(_, labels)| drop(self.by_labels.remove(labels)));
        ended.len()
    }

    /// Returns whether time alone changes what must survive a restart.
    pub(crate) fn counts_time(&self) -> bool {
        self.by_labels.values().any(|alert| match alert.state {
            AlertState::Pending | AlertState::Resolved => true,
            AlertState::Firing => !alert.is_there,
        })
    }
}

impl Alert {
    fn new(now_ns: i64, terms: Terms<'_>, sample: Seen) -> Self {
        let fires = terms.for_ns <= 0;
        Self {
            state: if fires { AlertState::Firing } else { AlertState::Pending },
            active_at_ns: now_ns,
            fired_at_ns: fires.then_some(now_ns),
            resolved_at_ns: None,
            value: sample.value,
            annotations: sample.annotations,
            lines: sample.lines.unwrap_or_default(),
            seen_ns: 0,
            is_there: true,
            told: BTreeMap::new(),
        }
    }

    /// Takes one evaluation. Returns whether the alert is still to be remembered.
    fn step(&mut self, now_ns: i64, since_ns: i64, terms: Terms<'_>, sample: Option<Seen>) -> bool {
        let Some(sample) = sample else { return self.without_sample(now_ns, since_ns, terms) };
        if self.state == AlertState::Resolved {
            let mut told = std::mem::take(&mut self.told);
            // For those who have not heard of the end this life goes on, until it ends too.
            told.retain(|_, told| told.state == AlertState::Firing);
            *self = Self { told, ..Self::new(now_ns, terms, sample) };
            return true;
        }
        (self.value, self.annotations) = (sample.value, sample.annotations);
        if let Some(lines) = sample.lines {
            self.lines = lines;
        }
        if self.state == AlertState::Firing {
            (self.seen_ns, self.is_there) = (0, true);
            return true;
        }
        self.seen_ns = self.seen_ns.saturating_add(since_ns);
        if self.seen_ns >= terms.for_ns {
            (self.state, self.fired_at_ns, self.seen_ns) = (AlertState::Firing, Some(now_ns), 0);
        }
        true
    }

    fn without_sample(&mut self, now_ns: i64, since_ns: i64, terms: Terms<'_>) -> bool {
        match self.state {
            AlertState::Pending if self.told.is_empty() => false,
            AlertState::Pending => {
                self.resolve(now_ns);
                true
            }
            AlertState::Resolved => {
                self.seen_ns = self.seen_ns.saturating_add(since_ns);
                let is_told =
                    |name| self.told.get(name).is_some_and(|told: &Told| told.state == AlertState::Resolved);
                let all_told = terms.targets.iter().all(is_told);
                self.seen_ns < if all_told { RESOLVED_KEPT_NS } else { UNTOLD_KEPT_NS }
            }
            AlertState::Firing => {
                // The time before this evaluation was still covered by the sample that was there then.
                self.seen_ns = if self.is_there { 0 } else { self.seen_ns.saturating_add(since_ns) };
                self.is_there = false;
                if self.seen_ns >= terms.keep_firing_for_ns {
                    self.resolve(now_ns);
                }
                true
            }
        }
    }

    fn resolve(&mut self, now_ns: i64) {
        (self.state, self.resolved_at_ns, self.seen_ns) = (AlertState::Resolved, Some(now_ns), 0);
        self.is_there = false;
    }
}

#[cfg(test)]
mod tests;
