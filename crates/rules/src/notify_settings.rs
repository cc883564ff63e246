//! The settings of notifications, section `notify` of the config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is told of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NotifySettings {
    /// Targets; each is told of every alert that fires. Default none.
    pub targets: Vec<TargetSettings>,
}

/// What a target understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Alertmanager's API, version 2; it groups and repeats by itself.
    Alertmanager,
    /// JSON in the form of Alertmanager's webhooks.
    #[default]
    Webhook,
    /// ntfy; the topic is the last part of the address.
    Ntfy,
    /// A webhook of Discord.
    Discord,
    /// A webhook of Slack, Mattermost or Rocket.Chat.
    Slack,
    /// Gotify; the token is that of an application.
    Gotify,
}

/// One who is told. `name` and an address are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetSettings {
    /// Tells targets apart, also after a restart: one of another name is told everything anew.
    pub name: String,
    /// What it understands.
    pub kind: TargetKind,
    /// Its address, such as `http://alertmanager:9093` or `https://ntfy.sh/my-topic`. One that is a secret, as those of
    /// Discord and Slack, is better kept in a file.
    pub url: String,
    /// File that holds the address, read at start.
    pub url_file: String,
    /// File that holds the token to show, read at start. Default empty: none.
    pub token_file: String,
    /// Whether it is also told when an alert has resolved. Default true.
    pub send_resolved: bool,
    /// Seconds after which it is told again of an alert that still fires; 0 for never. Default 14400 (4 h). An Alertmanager is
    /// told every minute, whatever this says.
    pub repeat_secs: u64,
    /// Labels by whose values alerts are put into one message. Default `alertname`.
    pub group_by: Vec<String>,
}

impl Default for TargetSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: TargetKind::default(),
            url: String::new(),
            url_file: String::new(),
            token_file: String::new(),
            send_resolved: true,
            repeat_secs: 4 * 3600,
            group_by: vec!["alertname".to_owned()],
        }
    }
}

impl NotifySettings {
    /// Checks what the types do not say. Errors: the text of the first fault, which begins with its key.
    pub fn check(&self) -> Result<(), String> {
        for (number, target) in self.targets.iter().enumerate() {
            let fault = |text: &str| Err(format!("notify.targets.{number}: {text}"));
            if target.name.is_empty() {
                return fault("want a name");
            }
            if self.targets.iter().take(number).any(|other| other.name == target.name) {
                return fault(&format!("the name {:?} occurs twice", target.name));
            }
            match (target.url.is_empty(), target.url_file.is_empty()) {
                (true, true) => return fault("no address; set url or url_file"),
                (false, false) => return fault("both url and url_file; remove one"),
                _ => {}
            }
            if target.kind == TargetKind::Gotify && target.token_file.is_empty() {
                return fault("gotify wants the token of an application; set token_file");
            }
        }
        Ok(())
    }
}
