//! Settings that are read anew while the process runs: on SIGHUP, and on `POST /reload`.
//!
//! What the agent reads changes at once, and only what differs restarts. Everything else counts from the next start and is
//! named. Settings that cannot be used change nothing; that is told with file, line and reason, in the log and in the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use logyard_server::ReloadReport;
use logyard_sys::Disk;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_yaml_ng::Value;

use crate::command_run::Role;
use crate::config::Settings;
use crate::settings_source::SettingsSource;
use crate::start_check;

/// Counts what came of reading the settings anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadMetrics {
    done: Counter,
    refused: Counter,
    last_is_refused: Gauge,
}

impl ReloadMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("logyard_config");
        registry.register(
            "reloads",
            "Times the settings were read anew and put in force",
            metrics.done.clone(),
        );
        registry.register(
            "reloads_refused",
            "Times the settings were read anew and could not be used; those in force went on",
            metrics.refused.clone(),
        );
        registry.register(
            "last_reload_refused",
            "1 if the settings that were read last could not be used",
            metrics.last_is_refused.clone(),
        );
        metrics
    }

    /// Counts and tells what came of it.
    pub(crate) fn note(&self, came_of_it: &anyhow::Result<ReloadReport>) {
        self.last_is_refused.set(i64::from(came_of_it.is_err()));
        match came_of_it {
            Ok(report) => {
                self.done.inc();
                let ReloadReport { started, stopped, kept, at_next_start } = report;
                let (started, stopped, at_next_start) =
                    (started.join(", "), stopped.join(", "), at_next_start.join(", "));
                tracing::info!(started, stopped, kept = kept.len(), at_next_start, "settings were read anew");
            }
            Err(error) => {
                self.refused.inc();
                tracing::error!(
                    error = format!("{error:#}"),
                    "the settings cannot be used, so those in force go on; mend them and reload again"
                );
            }
        }
    }
}

/// Reads the settings and checks all of them as a start would. Errors: why they cannot be used.
pub(crate) async fn read(
    role: Role,
    source: &SettingsSource,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<Settings> {
    let (source, disk) = (source.clone(), Arc::clone(disk));
    let reading = tokio::task::spawn_blocking(move || {
        let (settings, taken) = source.load(&*disk)?;
        start_check::check(role, &settings, &*disk)?;
        anyhow::Ok((settings, taken))
    });
    let (settings, taken) = reading.await??;
    taken.notes.iter().for_each(|note| tracing::debug!("{note}"));
    taken.refused.iter().for_each(|refused| tracing::warn!("{refused}"));
    Ok(settings)
}

/// Returns the keys besides `agent` whose values differ; a section of which only secrets differ is named whole.
pub(crate) fn beyond_agent(before: &Settings, now: &Settings) -> Vec<String> {
    let leaves = |settings: &Settings| {
        let mut found = BTreeMap::new();
        let mut value = serde_yaml_ng::to_value(settings).unwrap_or_default();
        if let Some(top) = value.as_mapping_mut() {
            top.remove("agent");
        }
        collect(&value, String::new(), &mut found);
        found
    };
    let (was, is) = (leaves(before), leaves(now));
    let mut keys: Vec<String> = was
        .iter()
        .filter(|(key, value)| is.get(*key) != Some(value))
        .map(|(key, _)| key)
        .chain(is.keys().filter(|key| !was.contains_key(*key)))
        .cloned()
        .collect();
    if keys.is_empty() {
        keys.extend((before.push != now.push).then(|| "push".to_owned()));
        keys.extend((before.server != now.server).then(|| "server".to_owned()));
        keys.extend((before.notify != now.notify).then(|| "notify".to_owned()));
        keys.extend((before.rules != now.rules).then(|| "rules".to_owned()));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Takes the values of a document apart; lists count as one.
fn collect(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
    let Value::Mapping(entries) = value else {
        found.insert(path, value.clone());
        return;
    };
    for (key, value) in entries {
        let key = key.as_str().unwrap_or_default();
        collect(value, if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_server::Secret;

    #[test]
    fn what_counts_from_the_next_start_is_named() {
        let before = Settings::default();
        let mut now = before.clone();
        now.agent.host = "other".to_owned();
        assert!(beyond_agent(&before, &now).is_empty(), "the agent tells of its own");
        now.listen = "a:1".to_owned();
        now.store.retention.period_secs = Some(1);
        assert_eq!(beyond_agent(&before, &now), ["listen", "store.retention.period_secs"]);
        let (mut before, mut now) = (before.clone(), before);
        before.push.delivery.token = Secret::new("one");
        now.push.delivery.token = Secret::new("two");
        assert_eq!(
            beyond_agent(&before, &now),
            ["push"],
            "their values are not shown, nor that they are equal"
        );
    }
}
