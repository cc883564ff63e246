//! Where rules come from, and how what they say comes into force.

use super::{Entry, Key, PACK_NAMESPACE, Shared, Sources};
use crate::check::FileFault;
use crate::error::{Error, Kind};
use crate::evaluate::Ask;
use crate::group::{Rule, RuleGroup};
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
    /// Takes down whether what `rules.dir` holds is in force.
    pub(super) fn set_folder_good(&self, is_good: bool) {
        self.is_folder_good.store(is_good, Ordering::Relaxed);
        self.metrics.folder_good.set(i64::from(is_good));
    }

    /// Tells that `rules.dir` does not answer, or does again.
    pub(super) fn folder_answers(&self, answers: bool) {
        let dir = &self.settings.dir;
        if answers {
            self.metrics.folder_good.set(i64::from(self.is_folder_good.load(Ordering::Relaxed)));
            tracing::info!(dir, "rules.dir answers again");
            return;
        }
        self.metrics.folder_good.set(0);
        match self.sources.lock().are_whole {
            true => tracing::error!(dir, "rules.dir does not answer: the rules before stay in force"),
            false => tracing::error!(dir, "rules.dir does not answer: no rule of it is in force yet"),
        }
    }

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
        if sources.pack.as_ref().is_some_and(|(whose, _)| whose == tenant) && namespace == PACK_NAMESPACE {
            return refused(
                "these rules come along; set rules.pack.* for each, or copy them by logyard rules pack and set \
                 rules.pack.enabled to false",
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
    ///
    /// A group that is no more stays in the table, without rules, while somebody may believe that its alerts fire.
    pub(super) fn apply(&self) {
        let mut sources = self.sources.lock();
        let mut listed = sources.files.by_tenant.clone();
        // Files of people win over a namespace of the API with their name.
        for (tenant, namespaces) in &sources.of_folder {
            listed.entry(tenant.clone()).or_default().extend(namespaces.clone());
        }
        if let Some((tenant, groups)) = &sources.pack {
            let own = listed.entry(tenant.clone()).or_default();
            own.insert(PACK_NAMESPACE.to_owned(), groups.clone());
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
            let gone = table.iter().filter(|(key, entry)| !entry.is_gone && !wanted.contains_key(key));
            let gone = gone.map(|(key, _)| key);
            let new = wanted.keys().filter(|key| !table.contains_key(key));
            (gone.cloned().collect(), new.cloned().collect())
        };
        let mut restored: BTreeMap<Key, GroupFile> =
            new.into_iter().filter_map(|key| self.restore(&key).map(|file| (key, file))).collect();
        let now_ns = self.clock.now_ns();
        let mut touched = Vec::new();
        let mut table = self.table.lock();
        for key in &gone {
            let Some(entry) = table.get_mut(key) else { continue };
            let group = Arc::new(RuleGroup::empty(key.group.clone()));
            let run = GroupRun::after(&group, &entry.state.run.lock(), now_ns);
            match run.is_over() {
                true => drop(table.remove(key)),
                false => *entry = Entry { is_gone: true, ..self.entry(key, group, run) },
            }
            touched.push(key.clone());
        }
        for (key, group) in wanted {
            match table.get_mut(&key) {
                Some(entry) if Arc::ptr_eq(&entry.group, &group) => {}
                Some(entry) => {
                    let run = GroupRun::after(&group, &entry.state.run.lock(), now_ns);
                    if !run.left.is_empty() {
                        touched.push(key.clone());
                    }
                    let new = self.entry(&key, group, run);
                    // What is due of the same instants stays due.
                    let next_ns = if new.schedule == entry.schedule { entry.next_ns } else { new.next_ns };
                    *entry = Entry { next_ns, ..new };
                }
                None => {
                    let run = GroupRun::restored(&group, restored.remove(&key).as_ref(), now_ns);
                    let entry = self.entry(&key, group, run);
                    table.insert(key, entry);
                }
            }
        }
        let in_force = table.values().filter(|entry| !entry.is_gone).count();
        self.metrics.groups.set(i64::try_from(in_force).unwrap_or(i64::MAX));
        self.alerts_moved.store(true, Ordering::Relaxed);
        self.evaluate.expect(table.iter().flat_map(|(key, entry)| asks_of(key, entry)).collect());
        drop(table);
        *self.listed.lock() = Arc::new(listed);
        if sources.are_whole && !sources.took_states {
            sources.took_states = true;
            touched.extend(self.take_gone(now_ns));
        }
        touched.extend(self.hand_over());
        self.bound_gone();
        // One of the two does something.
        touched.iter().for_each(|key| {
            self.write_state(key);
            self.forget(key);
        });
        self.changed.notify_one();
        self.moves.send_modify(|moves| *moves = moves.wrapping_add(1));
    }

    pub(super) fn entry(&self, key: &Key, group: Arc<RuleGroup>, run: GroupRun) -> Entry {
        let default_ns = i64::try_from(Duration::from_secs(self.settings.interval_secs).as_nanos());
        let interval_ns = group.interval_ns.unwrap_or_else(|| default_ns.unwrap_or(i64::MAX));
        let schedule = Schedule::new(&key.text(), interval_ns, self.spread);
        let next_ns = schedule.after(self.clock.now_ns());
        Entry { group, is_gone: false, schedule, next_ns, state: Arc::new(State::new(run)) }
    }
}

/// Returns what the rules of a group will ask, at its next instant first.
fn asks_of(key: &Key, entry: &Entry) -> impl Iterator<Item = Ask> {
    let ask = |rule: &Rule| Ask {
        tenant: key.tenant.clone(),
        query: Arc::clone(&rule.query),
        time_ns: entry.next_ns.saturating_sub(entry.group.query_offset_ns),
        every_ns: entry.schedule.interval_ns(),
    };
    entry.group.rules.iter().map(ask)
}
