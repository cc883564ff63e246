//! The settings of rules, section `rules` of the config.

use crate::mask::Masks;
use crate::pack::PackSettings;
use crate::record_settings::RemoteWriteSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most lines of an alert: they are held in memory, and sent.
const LINES_MAX: usize = 20;

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
    /// Most lines that are attached to an alert when it begins to fire, the last ones that made it fire; 0 for none, at
    /// most 20. Default 3.
    pub lines_max: usize,
    /// Longest text of such a line, in bytes; the rest is cut. Default 300.
    pub line_bytes_max: usize,
    /// Whether common secrets in such lines are shown as `***`: passwords, tokens and keys with their names, headers
    /// `Authorization` and cookies, keys of AWS, tokens of GitHub, GitLab and Slack, users and passwords of addresses.
    /// Default true.
    pub mask_common: bool,
    /// Regular expressions of further secrets: what their groups match is hidden, or all of the match where there is
    /// none. Default none.
    pub mask: Vec<String>,
    /// Who takes the series of recording rules. Default none.
    pub remote_write: Vec<RemoteWriteSettings>,
    /// Address at which people reach this server, for links in the texts of alerts. Default empty: none.
    pub external_url: String,
}

impl RulesSettings {
    /// Checks what the types do not say. Errors: the text of a fault, which begins with its key.
    pub fn check(&self) -> Result<(), String> {
        let positive: [(&str, u64); 2] =
            [("interval_secs", self.interval_secs), ("timeout_secs", self.timeout_secs)];
        self.pack.check()?;
        if self.lines_max > LINES_MAX {
            return Err(format!(
                "rules.lines_max: {} lines, at most {LINES_MAX} are allowed",
                self.lines_max
            ));
        }
        Masks::new(self.mask_common, &self.mask).map_err(|why| format!("rules.mask: {why}"))?;
        RemoteWriteSettings::check(&self.remote_write)?;
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("rules.{key}: 0 is too short; want a second at least")),
            None => Ok(()),
        }
    }
}

/// Checks what everybody has who is sent something: a name that those before do not have, and one address.
pub(crate) fn check_whom<'a>(
    name: &str,
    mut before: impl Iterator<Item = &'a str>,
    (url, url_file): (&str, &str),
) -> Result<(), String> {
    if name.is_empty() {
        return Err("want a name".to_owned());
    }
    if before.any(|other| other == name) {
        return Err(format!("the name {name:?} occurs twice"));
    }
    match (url.is_empty(), url_file.is_empty()) {
        (true, true) => Err("no address; set url or url_file".to_owned()),
        (false, false) => Err("both url and url_file; remove one".to_owned()),
        _ => Ok(()),
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
            lines_max: 3,
            line_bytes_max: 300,
            mask_common: true,
            mask: Vec::new(),
            remote_write: Vec::new(),
            external_url: String::new(),
        }
    }
}
