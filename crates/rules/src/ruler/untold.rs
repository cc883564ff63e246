//! What targets have not been told, and that they have been.

use super::{Entry, Key, Ruler};
use crate::alert::{Alert, AlertState, Told};
use crate::group_run::{GroupRun, RuleRun};
use crate::untold::{Due, Moment, News, Place, Wishes};
use logyard_model::LabelSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most alerts that are told in one turn; the others come in the next.
pub(crate) const NEWS_MAX: usize = 500;

impl Ruler {
    fn moment(&self) -> Moment {
        Moment { ns: self.0.clock.now_ns(), monotonic_ns: self.0.clock.monotonic_ns() }
    }

    /// Returns alerts that a target is to be told of, at most so many that a turn stays short. Cost: looks at every alert.
    pub(crate) fn news(&self, wishes: &Wishes) -> Vec<News> {
        let now = self.moment();
        let mut news = Vec::new();
        for (key, entry) in self.0.table.lock().iter() {
            let run = entry.state.run.lock();
            for (rule, run) in run.rules.iter().chain(&run.left).enumerate() {
                for (labels, alert) in &run.alerts.by_labels {
                    let Some(due) = wishes.due(labels, alert, now) else { continue };
                    news.push(one(key, rule, (labels, alert), due));
                    if news.len() >= NEWS_MAX {
                        return news;
                    }
                }
            }
        }
        news
    }

    /// Takes down that a target was told, durably, also of alerts that have changed since.
    pub(crate) async fn told(&self, target: &str, news: &[News]) {
        let now = self.moment();
        let mut touched = BTreeMap::new();
        {
            let table = self.0.table.lock();
            for one in news {
                let key = key_of(one);
                let Some(entry) = table.get(&key) else { continue };
                let is_new = note(entry, target, one, now);
                *touched.entry(key).or_insert(false) |= is_new;
            }
        }
        // That an Alertmanager was told the same again is not worth a write.
        for (key, _) in touched.into_iter().filter(|(_, is_new)| *is_new) {
            self.0.save(&key).await;
        }
    }
}

fn key_of(one: &News) -> Key {
    let Place { namespace, group, .. } = &one.place;
    Key { tenant: one.tenant.clone(), namespace: namespace.clone(), group: group.clone() }
}

/// Returns whether anything but the time is new.
fn note(entry: &Entry, target: &str, one: &News, now: Moment) -> bool {
    let mut run = entry.state.run.lock();
    let GroupRun { rules, left, .. } = &mut *run;
    let mut rules: Vec<&mut RuleRun> = rules.iter_mut().chain(left).collect();
    let is_it = |rule: &RuleRun| rule.alerts.by_labels.contains_key(&one.labels);
    // The group may have been replaced while the message was under way.
    let place = match rules.get(one.place.rule).is_some_and(|rule| is_it(rule)) {
        true => Some(one.place.rule),
        false => rules.iter().position(|rule| is_it(rule)),
    };
    let Some(rule) = place.and_then(|place| rules.get_mut(place)) else { return false };
    let Some(alert) = rule.alerts.by_labels.get_mut(&one.labels) else { return false };
    if alert.active_at_ns != one.place.active_at_ns && one.state == AlertState::Resolved {
        // It has begun anew while the target was told of the end before: the target knows nothing of it.
        return alert.told.remove(target).is_some();
    }
    let told = Told { state: one.state, at_ns: now.ns, at_monotonic_ns: Some(now.monotonic_ns) };
    let before = alert.told.insert(target.to_owned(), told);
    before.is_none_or(|before| before.state != one.state)
}

fn one(key: &Key, rule: usize, (labels, alert): (&Arc<LabelSet>, &Alert), due: Due) -> News {
    let is_firing = alert.state == AlertState::Firing || due == Due::TellFiring;
    News {
        place: Place {
            namespace: key.namespace.clone(),
            group: key.group.clone(),
            rule,
            active_at_ns: alert.active_at_ns,
        },
        tenant: key.tenant.clone(),
        labels: Arc::clone(labels),
        annotations: Arc::clone(&alert.annotations),
        lines: Arc::clone(&alert.lines),
        state: if is_firing { AlertState::Firing } else { AlertState::Resolved },
        value: alert.value,
        started_ns: alert.fired_at_ns.unwrap_or(alert.active_at_ns),
        ended_ns: alert.resolved_at_ns.filter(|_| !is_firing),
        due,
    }
}
