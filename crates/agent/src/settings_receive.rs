//! What a user may set about entries that are sent to the agent. None is received by default.

use std::collections::BTreeMap;

use logyard_pipeline::RelabelSettings;
use logyard_pipeline::settings::StageSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::listen_tls::ListenTlsSettings;

/// Over what a receiver is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Connections: whoever sends waits while the spool is full.
    #[default]
    Tcp,
    /// Datagrams: what arrives while the spool is full is kept up to 16 MiB, then dropped and counted.
    Udp,
}

impl Transport {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The form of syslog messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyslogFormat {
    /// Each message shows which it is.
    #[default]
    Auto,
    /// `<34>1 2003-10-11T22:14:15.003Z host app process message-id - text`.
    Rfc5424,
    /// `<34>Oct 11 22:14:15 host app[process]: text`.
    Rfc3164,
}

/// A port for syslog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogSettings {
    /// Address and port to listen on; without an address, as in `:1514`, on all of the machine's.
    pub listen: String,
    /// `tcp` takes messages with their count of octets in front and messages that end with a line, as each shows.
    pub protocol: Transport,
    /// The form of messages. One that cannot be read whole is kept, with what was wrong as structured metadata
    /// `syslog_error`.
    pub format: SyslogFormat,
    /// Longest message, in bytes; the rest of a longer one is cut and counted. Default 8192, as Promtail has it.
    pub message_bytes_max: u32,
    /// A connection that sends nothing for so long is closed; 0: never. Default 120.
    pub idle_secs: u64,
    /// Most connections at once; more are refused and counted. Default 256.
    pub connections_max: u32,
    /// Whether entries bear the time that their message tells, unless that lies more than an hour ahead; else the
    /// time of their arrival.
    pub use_incoming_timestamp: bool,
    /// IANA name of the time zone of times that show none, as in RFC 3164. Empty: the machine's.
    pub time_zone: String,
    /// Whether rules see structured data as `__syslog_message_sd_<id>_<name>`; it is structured metadata besides.
    pub label_structured_data: bool,
    /// Whether the line is the whole message, with its header, instead of the text behind it.
    pub keep_header: bool,
    /// Files of TLS; over `udp` there is none.
    pub tls: ListenTlsSettings,
    /// Labels of all entries; they win over `host`, `app` and `job`.
    pub labels: BTreeMap<String, String>,
    /// Whether streams bear `job`, `host` (of the message, else the sender's address), `app` and the labels of
    /// `agent.labels`, and entries severity, facility and the like as structured metadata, besides what `labels` and
    /// `relabel` make.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave entries out; they see `__syslog_…` too.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            listen: ":1514".to_owned(),
            protocol: Transport::Tcp,
            format: SyslogFormat::Auto,
            message_bytes_max: 8 << 10,
            idle_secs: 120,
            connections_max: 256,
            use_incoming_timestamp: true,
            time_zone: String::new(),
            label_structured_data: false,
            keep_header: false,
            tls: ListenTlsSettings::default(),
            labels: BTreeMap::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// Bounds of `message_bytes_max`.
const MESSAGE_BYTES_MIN: u32 = 480;
const MESSAGE_BYTES_MAX: u32 = 16 << 20;

impl SyslogSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range(
            "syslog.message_bytes_max",
            self.message_bytes_max,
            MESSAGE_BYTES_MIN,
            MESSAGE_BYTES_MAX,
        )?;
        if self.protocol == Transport::Udp && self.tls != ListenTlsSettings::default() {
            let reason = "there is no TLS over udp; use protocol: tcp, or remove it".to_owned();
            return Err(Error::Setting { setting: "syslog.tls", reason });
        }
        check_range("syslog.connections_max", self.connections_max, 1, u32::MAX)
    }
}

pub(crate) fn check_range(setting: &'static str, got: u32, least: u32, most: u32) -> Result<(), Error> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(Error::Setting { setting, reason: format!("got {got}, want {least} to {most}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |json: &str| {
            let settings: SyslogSettings = serde_json::from_str(json).unwrap();
            settings.check().unwrap_err().to_string()
        };
        assert!(SyslogSettings::default().check().is_ok());
        let want = "cannot use setting agent.syslog.message_bytes_max: got 10, want 480 to 16777216";
        assert_eq!(refused(r#"{"message_bytes_max": 10}"#), want);
        assert!(refused(r#"{"connections_max": 0}"#).contains("agent.syslog.connections_max"));
        assert!(refused(r#"{"protocol": "udp", "tls": {"cert_file": "/c"}}"#).contains("no TLS over udp"));
    }
}
