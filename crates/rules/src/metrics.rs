//! Counters of evaluations, and how many alerts there are.

use crate::alert::AlertState;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Tenant, name and state of alerts.
type AlertLabels = [(&'static str, String); 3];

#[derive(Debug)]
pub(crate) struct Metrics {
    /// Evaluations of rules, by how they went.
    evaluations: Family<[(&'static str, &'static str); 1], Counter>,
    /// Evaluations of groups that did not happen in time.
    pub(crate) missed: Counter,
    /// Time of one group.
    pub(crate) seconds: Histogram,
    /// Groups in force.
    pub(crate) groups: Gauge,
    /// 1 if all files of the folder are in force.
    pub(crate) folder_good: Gauge,
    /// States that could not be written.
    pub(crate) state_failures: Counter,
    alerts: Family<AlertLabels, Gauge>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            evaluations: Family::default(),
            missed: Counter::default(),
            // 1 ms to 33 s in factors of two.
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            groups: Gauge::default(),
            folder_good: Gauge::default(),
            state_failures: Counter::default(),
            alerts: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("logyard_rules");
        registry.register(
            "evaluations",
            "Evaluations of rules, by result: ok or err",
            metrics.evaluations.clone(),
        );
        registry.register(
            "missed_evaluations",
            "Evaluations of groups that did not happen since the one before, or others, took too long",
            metrics.missed.clone(),
        );
        registry.register("evaluation_seconds", "Time to evaluate a group", metrics.seconds.clone());
        registry.register("groups", "Groups in force", metrics.groups.clone());
        registry.register(
            "folder_good",
            "1 if what is in rules.dir is in force, 0 if a file there is bad",
            metrics.folder_good.clone(),
        );
        registry.register(
            "state_write_failures",
            "Times that the state of a group could not be written to the disk",
            metrics.state_failures.clone(),
        );
        registry.register(
            "alerts",
            "Alerts by tenant, alertname and alertstate: pending or firing",
            metrics.alerts.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, is_good: bool) {
        self.evaluations.get_or_create(&[("result", if is_good { "ok" } else { "err" })]).inc();
    }

    /// Replaces all counts of alerts. Rules are bounded, so their names are.
    pub(crate) fn set_alerts(&self, counts: impl IntoIterator<Item = ((String, String, AlertState), i64)>) {
        self.alerts.clear();
        for ((tenant, name, state), count) in counts {
            let labels = [("tenant", tenant), ("alertname", name), ("alertstate", state.as_str().to_owned())];
            self.alerts.get_or_create(&labels).set(count);
        }
    }
}
