//! The settings of rules, section `rules` of the config.

use crate::pack::PackSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rules are evaluated, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesSettings {
    /// Folder of rule files, `*.yaml` and `*.yml`, in the form of Loki and Prometheus; those of a tenant in a folder of
    /// its name. Read again when something in it changes; if a file is bad, the rules that were in force stay. Default
    /// empty: none.
    pub dir: String,
    /// The rules that come along.
    pub pack: PackSettings,
    /// Whether rules can be made and changed through the API, as Grafana does. They are kept in the data folder.
    /// Default true.
    pub api_enabled: bool,
    /// Seconds from one evaluation of a group to the next, where the group says nothing. Default 60.
    pub interval_secs: u64,
    /// Longest time for one rule, in seconds; its query is ended then. Default 30.
    pub timeout_secs: u64,
    /// Most groups that are evaluated at once; others wait. Default 2, so that queries of people find room.
    pub evaluations_running_max: usize,
    /// Most groups of a tenant. Default 500.
    pub groups_max: usize,
    /// Most rules of a group. Default 200.
    pub rules_per_group_max: usize,
    /// Most alerts, or series, of one rule where its group names no limit; a rule that has more fails. Default 1000.
    pub alerts_per_rule_max: usize,
    /// Address at which people reach this server, for links in the texts of alerts. Default empty: none.
    pub external_url: String,
}

impl RulesSettings {
    /// Checks what the types do not say. Errors: the text of a fault, which begins with its key.
    pub fn check(&self) -> Result<(), String> {
        let positive: [(&str, u64); 2] =
            [("interval_secs", self.interval_secs), ("timeout_secs", self.timeout_secs)];
        self.pack.check()?;
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("rules.{key}: 0 is too short; want a second at least")),
            None => Ok(()),
        }
    }
}

impl Default for RulesSettings {
    fn default() -> Self {
        Self {
            dir: String::new(),
            pack: PackSettings::default(),
            api_enabled: true,
            interval_secs: 60,
            timeout_secs: 30,
            evaluations_running_max: 2,
            groups_max: 500,
            rules_per_group_max: 200,
            alerts_per_rule_max: 1000,
            external_url: String::new(),
        }
    }
}
