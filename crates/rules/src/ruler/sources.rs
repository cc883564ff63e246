//! Where rules come from, and how what they say comes into force.

use super::{Entry, Key, PACK_NAMESPACE, Shared, Sources};
use crate::check::FileFault;
use crate::error::{Error, Kind};
use crate::group::RuleGroup;
use crate::group_run::{GroupRun, State};
use crate::namespaces::Namespaces;
use crate::schedule::Schedule;
use crate::state_file::GroupFile;
use logyard_model::Tenant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Shared {
    pub(super) fn may_write(
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
    pub(super) fn within_bounds(
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
    pub(super) fn apply(&self) {
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
}
