//! Alerts whose rule or group is no more: they have ended, and wait until whoever was told of them has heard so.

use super::{Entry, Key, Shared};
use crate::alert::{AlertState, Told};
use crate::group::RuleGroup;
use crate::group_run::GroupRun;
use logyard_model::{LabelSet, Tenant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most groups that are no more and remembered.
const GONE_MAX: usize = 1000;

/// What targets were told of an alert, by the tenant and the labels of that.
type ToldOf = BTreeMap<(Tenant, Arc<LabelSet>), BTreeMap<String, Told>>;

impl Shared {
    /// Takes the states of groups that went while no process ran. Blocks on the disk. Returns those taken.
    pub(super) fn take_gone(&self, now_ns: i64) -> Vec<Key> {
        let found = self.restore_gone();
        let mut table = self.table.lock();
        let mut taken = Vec::new();
        for (key, file) in found {
            let group = Arc::new(RuleGroup::empty(key.group.clone()));
            let run = GroupRun::restored(&group, Some(&file), now_ns);
            if !run.left.is_empty() {
                let entry = Entry { is_gone: true, ..self.entry(&key, group, run) };
                table.insert(key.clone(), entry);
            }
            taken.push(key);
        }
        taken
    }

    /// Lets alerts that are pending or firing take over what was told of equal ones that have ended with their rules: a
    /// rule that moved to another group is neither told again nor told to be over. Returns the groups that changed.
    pub(super) fn hand_over(&self) -> Vec<Key> {
        let table = self.table.lock();
        let mut ended = BTreeSet::new();
        for (key, entry) in table.iter() {
            for run in &entry.state.run.lock().left {
                let labels = run.alerts.by_labels.keys();
                ended.extend(labels.map(|labels| (key.tenant.clone(), Arc::clone(labels))));
            }
        }
        if ended.is_empty() {
            return Vec::new();
        }
        let mut twins = ToldOf::new();
        for (key, entry) in table.iter() {
            for run in &entry.state.run.lock().rules {
                let live =
                    run.alerts.by_labels.iter().filter(|(_, alert)| alert.state != AlertState::Resolved);
                let known = live.map(|(labels, _)| (key.tenant.clone(), Arc::clone(labels)));
                twins.extend(
                    known.filter(|known| ended.contains(known)).map(|known| (known, BTreeMap::new())),
                );
            }
        }
        if twins.is_empty() {
            return Vec::new();
        }
        let mut touched = BTreeSet::new();
        for (key, entry) in table.iter() {
            for run in &mut entry.state.run.lock().left {
                run.alerts.by_labels.retain(|labels, alert| {
                    let Some(told) = twins.get_mut(&(key.tenant.clone(), Arc::clone(labels))) else {
                        return true;
                    };
                    let firing = alert.told.iter().filter(|(_, told)| told.state == AlertState::Firing);
                    told.extend(firing.map(|(target, told)| (target.clone(), *told)));
                    touched.insert(key.clone());
                    false
                });
            }
        }
        for (key, entry) in table.iter() {
            for run in &mut entry.state.run.lock().rules {
                for (labels, alert) in &mut run.alerts.by_labels {
                    let twin = twins.get(&(key.tenant.clone(), Arc::clone(labels)));
                    for (target, told) in twin.into_iter().flatten() {
                        alert.told.entry(target.clone()).or_insert(*told);
                        touched.insert(key.clone());
                    }
                }
            }
        }
        touched.into_iter().collect()
    }

    /// Drops a group that is no more once nothing of it is left. Returns whether it did.
    pub(super) fn end_gone(&self, key: &Key) -> bool {
        let mut table = self.table.lock();
        let is_over = table.get(key).is_some_and(|entry| entry.is_gone && entry.state.run.lock().is_over());
        is_over && table.remove(key).is_some()
    }

    /// Drops groups that are no more where there are too many. Blocks on the disk.
    pub(super) fn bound_gone(&self) {
        let dropped: Vec<Key> = {
            let mut table = self.table.lock();
            let gone = table.iter().filter(|(_, entry)| entry.is_gone).map(|(key, _)| key);
            let dropped: Vec<Key> = gone.skip(GONE_MAX).cloned().collect();
            dropped.iter().for_each(|key| drop(table.remove(key)));
            dropped
        };
        if !dropped.is_empty() {
            let groups = dropped.len();
            tracing::error!(
                groups,
                "too many groups were removed at once: the end of their alerts is not told"
            );
        }
        dropped.iter().for_each(|key| self.forget(key));
    }
}
