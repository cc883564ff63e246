//! How groups, rules and alerts stand, for whoever asks.

use crate::alert::AlertState;
use crate::group::RuleGroup;
use logyard_model::LabelSet;
use std::sync::Arc;

/// How the last evaluation of a rule went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// It gave an answer.
    Good,
    /// It failed, and why.
    Failed(String),
}

/// A group and how it stands.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its namespace.
    pub namespace: String,
    /// What it says.
    pub group: Arc<RuleGroup>,
    /// Time from one evaluation to the next, in ns.
    pub interval_ns: i64,
    /// When it was last evaluated, in ns.
    pub last_evaluation_ns: Option<i64>,
    /// How long that took, in seconds.
    pub evaluation_seconds: f64,
    /// Its rules, in the order of the group.
    pub rules: Vec<RuleStatus>,
}

/// How a rule stands.
#[derive(Clone, Debug, Default)]
pub struct RuleStatus {
    /// How the last evaluation went.
    pub health: Health,
    /// When it was, in ns.
    pub last_evaluation_ns: Option<i64>,
    /// How long it took, in seconds.
    pub evaluation_seconds: f64,
    /// Its alerts that are pending or firing, by their labels.
    pub alerts: Vec<AlertStatus>,
}

impl RuleStatus {
    /// Returns the state of the rule: that of its most urgent alert.
    pub fn state(&self) -> AlertState {
        self.alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Resolved)
    }
}

/// How an alert stands.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertStatus {
    /// Its labels, `alertname` among them.
    pub labels: Arc<LabelSet>,
    /// Its annotations, expanded.
    pub annotations: Arc<LabelSet>,
    /// Pending or firing.
    pub state: AlertState,
    /// When its condition began to hold, in ns.
    pub active_at_ns: i64,
    /// Value of its sample.
    pub value: f64,
}
