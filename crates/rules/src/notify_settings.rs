//! The settings of notifications, section `notify` of the config.

use crate::quiet::{Quiet, QuietSettings};
use crate::settings::check_whom;
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
    /// E-mail, handed to a mail server by SMTP.
    Email,
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
    /// Discord and Slack, is better kept in a file. Of `email` the mail server: `smtp://mail.lan:587` begins plain and
    /// must change to TLS before anything is sent, `smtps://mail.lan:465` is TLS from the first byte, and
    /// `smtp+plain://localhost:25` has none. Without a port those that are shown.
    pub url: String,
    /// File that holds the address, read at start.
    pub url_file: String,
    /// File that holds the token to show, read at start. Default empty: none.
    pub token_file: String,
    /// File with certificates of the authorities that its certificate may come from, PEM. Default empty: those of the
    /// machine.
    pub ca_file: String,
    /// Of `email`: the name to log in by. Default empty: without.
    pub user: String,
    /// Of `email`: file that holds the password, read at start.
    pub password_file: String,
    /// Of `email`: who sends, such as `Logyard <logyard@example.org>`.
    pub from: String,
    /// Of `email`: who gets it, one at least.
    pub to: Vec<String>,
    /// Of `email`: the subject, a template with `.Title`, `.Status` (`firing`, `resolved`), `.Firing` and `.Resolved`
    /// (how many) and `.Labels` (those of `group_by`). Default `{{ .Title }}`, as in `[FIRING:2] ErrorsLogged`.
    pub subject: String,
    /// Whether it is also told when an alert has resolved. Default true.
    pub send_resolved: bool,
    /// Seconds after which it is told again of an alert that still fires; 0 for never. Default 14400 (4 h). An Alertmanager is
    /// told every minute, whatever this says.
    pub repeat_secs: u64,
    /// Times in which it is told nothing: what still fires at their end is told then. Not of an Alertmanager, which has
    /// its own. Default none.
    pub quiet: Vec<QuietSettings>,
    /// Values of the label `severity` that it is told in those times, too. Default `critical`, `page`, `emergency`.
    pub quiet_but_for: Vec<String>,
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
            ca_file: String::new(),
            user: String::new(),
            password_file: String::new(),
            from: String::new(),
            to: Vec::new(),
            subject: "{{ .Title }}".to_owned(),
            send_resolved: true,
            repeat_secs: 4 * 3600,
            quiet: Vec::new(),
            quiet_but_for: ["critical", "page", "emergency"].map(str::to_owned).to_vec(),
            group_by: vec!["alertname".to_owned()],
        }
    }
}

impl NotifySettings {
    /// Checks what the types do not say. Errors: the text of the first fault, which begins with its key.
    pub fn check(&self) -> Result<(), String> {
        for (number, target) in self.targets.iter().enumerate() {
            let fault = |text: &str| Err(format!("notify.targets.{number}: {text}"));
            let others = self.targets.iter().take(number).map(|other| &*other.name);
            check_whom(&target.name, others, (&target.url, &target.url_file)).or_else(|why| fault(&why))?;
            if target.kind == TargetKind::Gotify && target.token_file.is_empty() {
                return fault("gotify wants the token of an application; set token_file");
            }
            Quiet::new(&target.quiet, &[]).map(drop).or_else(|why| fault(&why))?;
            if target.kind == TargetKind::Alertmanager && !target.quiet.is_empty() {
                return fault(
                    "an Alertmanager has quiet hours of its own; use its time intervals instead of quiet",
                );
            }
            if target.kind == TargetKind::Email {
                target.check_email().or_else(|why| fault(&why))?;
            }
        }
        Ok(())
    }
}

impl TargetSettings {
    fn check_email(&self) -> Result<(), String> {
        if self.from.is_empty() || self.to.is_empty() {
            return Err("email wants somebody to send it and somebody to get it; set from and to".to_owned());
        }
        if self.user.is_empty() != self.password_file.is_empty() {
            return Err("only one of user and password_file; set both, or none".to_owned());
        }
        match self.token_file.is_empty() {
            true => Ok(()),
            false => Err("email takes no token; set user and password_file instead of token_file".to_owned()),
        }
    }
}
