//! What a target has not been told yet: read off the states of alerts, which survive a restart, so that there is no queue
//! that could be lost, overflow or disagree with them.

use crate::alert::{Alert, AlertState, Told};
use crate::quiet::Quiet;
use logyard_model::{LabelSet, Tenant};
use std::sync::Arc;

/// What a target wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// Its name.
    pub(crate) target: String,
    /// Time after which it is told again, in ns; 0 for never.
    pub(crate) repeat_ns: i64,
    /// Whether it is told that an alert has resolved.
    pub(crate) resolved: bool,
    /// Whether that is repeated too: an Alertmanager keeps nothing over a restart.
    pub(crate) repeat_resolved: bool,
    /// When it is told nothing but what cannot wait.
    pub(crate) quiet: Option<Arc<Quiet>>,
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) ns: i64,
    pub(crate) monotonic_ns: u64,
}

impl Moment {
    /// Returns the time since a target was told, in ns. Of another process only the time of day is known, whose distance
    /// it is: a clock that went back does not stop repeats.
    fn since(self, told: &Told) -> i64 {
        match told.at_monotonic_ns {
            Some(at_ns) => i64::try_from(self.monotonic_ns.saturating_sub(at_ns)).unwrap_or(i64::MAX),
            None => self.ns.saturating_sub(told.at_ns).saturating_abs(),
        }
    }
}

/// What is to be done about an alert and a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Tell that it fires, or has resolved.
    Tell,
    /// Tell that it fires although it has resolved: an Alertmanager says nothing of alerts that it never saw firing.
    TellFiring,
    /// Only take down that it has resolved.
    Skip,
}

/// An alert that a target is to be told of.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) place: Place,
    pub(crate) tenant: Tenant,
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) annotations: Arc<LabelSet>,
    /// Lines that made it fire.
    pub(crate) lines: Arc<[String]>,
    /// Firing or resolved.
    pub(crate) state: AlertState,
    pub(crate) value: f64,
    /// When it began to fire, in ns.
    pub(crate) started_ns: i64,
    /// When it resolved, in ns.
    pub(crate) ended_ns: Option<i64>,
    pub(crate) due: Due,
}

/// Where the alert is found again, if it is still the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) group: String,
    /// Its number in the group.
    pub(crate) rule: usize,
    /// Tells one life of an alert from the next.
    pub(crate) active_at_ns: i64,
}

impl Wishes {
    /// Returns what is to be done about an alert.
    pub(crate) fn due(&self, labels: &LabelSet, alert: &Alert, now: Moment) -> Option<Due> {
        match &self.quiet {
            Some(quiet) if quiet.covers(now.ns) && !quiet.lets_through(labels) => {
                // What came and went in quiet hours is never told; everything else waits for their end.
                let began_ns = alert.fired_at_ns.unwrap_or(alert.active_at_ns);
                let is_over = alert.state == AlertState::Resolved && !alert.told.contains_key(&self.target);
                (is_over && quiet.covers(began_ns)).then_some(Due::Skip)
            }
            _ => self.due_now(alert, now),
        }
    }

    fn due_now(&self, alert: &Alert, now: Moment) -> Option<Due> {
        let told = alert.told.get(&self.target);
        let is_old = |told: &Told, repeat_ns: i64| repeat_ns > 0 && now.since(told) >= repeat_ns;
        match (alert.state, told) {
            (AlertState::Pending, _) => None,
            (AlertState::Firing, Some(told)) if told.state == AlertState::Firing => {
                is_old(told, self.repeat_ns).then_some(Due::Tell)
            }
            (AlertState::Firing, _) => Some(Due::Tell),
            (AlertState::Resolved, Some(told)) if told.state == AlertState::Resolved => {
                (self.repeat_resolved && is_old(told, self.repeat_ns)).then_some(Due::Tell)
            }
            (AlertState::Resolved, Some(told)) => {
                let resolved_ns = alert.resolved_at_ns.unwrap_or(now.ns);
                // Not told at once means that the target was away, and an Alertmanager may have forgotten everything.
                let was_late = told.at_ns > resolved_ns;
                let was_away = now.ns.saturating_sub(resolved_ns) >= self.repeat_ns / 2;
                if self.repeat_resolved && was_away && !was_late {
                    return Some(Due::TellFiring);
                }
                // Told too late, it fires there for one turn at least.
                let is_shown = !self.repeat_resolved || !was_late || is_old(told, self.repeat_ns);
                is_shown.then_some(if self.resolved { Due::Tell } else { Due::Skip })
            }
            // It was over before it could be told: that is told all the same.
            (AlertState::Resolved, None) => {
                Some(if self.repeat_resolved { Due::TellFiring } else { Due::Tell })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn alert(state: AlertState, told: Option<(AlertState, i64)>) -> Alert {
        let told = told.map(|(state, at_ns)| ("t".to_owned(), Told { state, at_ns, at_monotonic_ns: None }));
        Alert {
            state,
            active_at_ns: 0,
            fired_at_ns: Some(0),
            resolved_at_ns: (state == AlertState::Resolved).then_some(50),
            value: 1.0,
            annotations: Arc::default(),
            lines: Arc::default(),
            seen_ns: 0,
            is_there: true,
            told: told.into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn each_change_is_told_once_and_firing_is_repeated() {
        use AlertState::{Firing, Pending, Resolved};
        let wishes = Wishes {
            target: "t".to_owned(),
            repeat_ns: 100,
            resolved: true,
            repeat_resolved: false,
            quiet: None,
        };
        let check = |wishes: &Wishes, state, told, now_ns, want: Option<Due>| {
            assert_eq!(
                wishes.due(&LabelSet::default(), &alert(state, told), Moment { ns: now_ns, monotonic_ns: 7 }),
                want,
                "{state:?} {told:?} {now_ns}"
            );
        };
        check(&wishes, Pending, None, 0, None);
        check(&wishes, Firing, None, 0, Some(Due::Tell));
        check(&wishes, Firing, Some((Firing, 0)), 99, None);
        check(&wishes, Firing, Some((Firing, 0)), 100, Some(Due::Tell));
        check(&wishes, Firing, Some((Firing, 1000)), 500, Some(Due::Tell));
        check(&wishes, Resolved, Some((Firing, 0)), 1, Some(Due::Tell));
        check(&wishes, Resolved, Some((Resolved, 0)), 1000, None);
        check(&wishes, Resolved, None, 1, Some(Due::Tell));
        // In one process the clock that jumps says nothing.
        let mut jumped = alert(Firing, Some((Firing, 0)));
        jumped.told.values_mut().for_each(|told| told.at_monotonic_ns = Some(50));
        for (monotonic_ns, want) in [(149, None), (150, Some(Due::Tell))] {
            let now = Moment { ns: 1_000_000, monotonic_ns };
            assert_eq!(wishes.due(&LabelSet::default(), &jumped, now), want, "{monotonic_ns}");
        }
        let silent = Wishes { resolved: false, repeat_ns: 0, ..wishes.clone() };
        check(&silent, Resolved, Some((Firing, 0)), 1, Some(Due::Skip));
        check(&silent, Firing, Some((Firing, 0)), i64::MAX, None);
        let manager = Wishes { repeat_resolved: true, ..wishes };
        check(&manager, Resolved, Some((Resolved, 0)), 100, Some(Due::Tell));
        check(&manager, Resolved, Some((Firing, 0)), 60, Some(Due::Tell));
        check(&manager, Resolved, Some((Firing, 0)), 100, Some(Due::TellFiring));
        check(&manager, Resolved, None, 60, Some(Due::TellFiring));
        check(&manager, Resolved, Some((Firing, 60)), 159, None);
        check(&manager, Resolved, Some((Firing, 60)), 160, Some(Due::Tell));
    }
}
