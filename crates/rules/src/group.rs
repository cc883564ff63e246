//! Rules and groups of them, checked: what the files say once it makes sense.

use crate::expand::Texts;
use logyard_logql::Expr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names and texts as a rule has them; the texts may be templates.
pub type Pairs = BTreeMap<String, String>;

/// Rules that are evaluated one after another at the same instant.
///
/// Made by [`read_group`](crate::read_group) and [`read_file`](crate::read_file) only, which check everything.
#[derive(Debug)]
pub struct RuleGroup {
    /// Its name, unique within its namespace; never empty.
    pub name: String,
    /// Time from one evaluation to the next in ns, at least a second; `None` for that of the settings.
    pub interval_ns: Option<i64>,
    /// How far behind the present it is evaluated, in ns.
    pub query_offset_ns: i64,
    /// Most alerts, or series, of one rule; 0 for that of the settings.
    pub limit: usize,
    /// Labels of all its rules, below their own ones.
    pub labels: Pairs,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// What it makes.
    pub kind: RuleKind,
    /// Its expression as it was written.
    pub expr: String,
    /// The same, parsed: a metric query.
    pub query: Arc<Expr>,
    /// Its labels as they were written, without those of the group.
    pub labels: Pairs,
    /// Its labels and those of the group, ready to expand.
    pub(crate) label_texts: Texts,
}

/// What a rule makes of its samples.
#[derive(Debug)]
pub enum RuleKind {
    /// Alerts, one for each sample.
    Alert(AlertRule),
    /// A series of this name.
    Record {
        /// The name of the metric.
        name: String,
    },
}

/// What only alerting rules have.
#[derive(Debug)]
pub struct AlertRule {
    /// The label `alertname` of its alerts.
    pub name: String,
    /// How long a sample must be there until its alert fires, in ns.
    pub for_ns: i64,
    /// How long an alert keeps firing without its sample, in ns.
    pub keep_firing_for_ns: i64,
    /// Its annotations as they were written.
    pub annotations: Pairs,
    /// The same, ready to expand.
    pub(crate) annotation_texts: Texts,
}

impl RuleGroup {
    /// Returns a group without rules, which stands for one that is no more.
    pub(crate) fn empty(name: String) -> Self {
        Self {
            name,
            interval_ns: None,
            query_offset_ns: 0,
            limit: 0,
            labels: Pairs::new(),
            rules: Vec::new(),
        }
    }
}

impl Rule {
    /// Returns the name of the alert or of the metric.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Alert(alert) => &alert.name,
            RuleKind::Record { name } => name,
        }
    }
}
