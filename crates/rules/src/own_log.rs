//! What the own log says of alerts: a line when one begins to fire and one when it is over, whoever else is told.
//!
//! Never the lines that made it fire, nor annotations: Logyard reads its own log, and rules would find them there again.

use crate::alert::{Alert, AlertState, Alerts};
use logyard_model::{LabelSet, Tenant};

/// Most alerts of a rule that one evaluation tells one by one.
const TOLD_MAX: usize = 20;

/// Tells of the alerts that changed at an evaluation.
pub(crate) fn tell(tenant: &Tenant, alerts: &Alerts, at_ns: i64) {
    let changed: Vec<_> = changed(alerts, at_ns).collect();
    for (what, labels, alert) in changed.iter().take(TOLD_MAX) {
        let (tenant, alertname) = (tenant.as_str(), labels.get("alertname").unwrap_or_default());
        tracing::info!(tenant, alertname, %labels, value = alert.value, "{what}");
    }
    if let Some(more) = changed.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        tracing::info!(tenant = tenant.as_str(), more, "more alerts of this rule fire or are over");
    }
}

fn changed(alerts: &Alerts, at_ns: i64) -> impl Iterator<Item = (&'static str, &LabelSet, &Alert)> {
    alerts.by_labels.iter().filter_map(move |(labels, alert)| match alert.state {
        AlertState::Firing if alert.fired_at_ns == Some(at_ns) => Some(("alert fires", &**labels, alert)),
        AlertState::Resolved if alert.resolved_at_ns == Some(at_ns) => {
            Some(("alert is over", &**labels, alert))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Seen, Terms};
    use std::sync::Arc;

    #[test]
    fn each_change_is_told_once() {
        let mut alerts = Alerts::default();
        let terms = Terms { for_ns: 10, keep_firing_for_ns: 0, gap_ns_max: 100, targets: &[] };
        let labels = LabelSet::from_pairs([("alertname", "A")]);
        let seen = Seen { labels: Arc::new(labels), annotations: Arc::default(), value: 3.0, lines: None };
        let mut told = Vec::new();
        for (at_ns, is_there) in [(10, true), (20, true), (30, true), (40, false), (50, false)] {
            alerts.step(at_ns, terms, if is_there { vec![seen.clone()] } else { Vec::new() });
            told.extend(changed(&alerts, at_ns).map(|(what, labels, _)| format!("{at_ns}: {what} {labels}")));
        }
        assert_eq!(told, [r#"20: alert fires {alertname="A"}"#, r#"40: alert is over {alertname="A"}"#]);
    }
}
