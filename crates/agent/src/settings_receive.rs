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
    /// Address and port to listen on; without an address, as in `:1514`, on all IPv4 addresses.
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

/// A port for GELF.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GelfSettings {
    /// Address and port to listen on; without an address, as in `:12201`, on all IPv4 addresses.
    pub listen: String,
    /// `udp` takes whole and chunked messages, packed with gzip or zlib or not; `tcp` messages that end with a zero.
    /// Default udp, as with Docker's log driver `gelf`.
    pub protocol: Transport,
    /// Longest message, unpacked, in bytes; longer ones are refused and counted. Default 1 MiB.
    pub message_bytes_max: u32,
    /// A connection that sends nothing for so long is closed; 0: never, the default, since containers may be silent.
    pub idle_secs: u64,
    /// Most connections at once; more are refused and counted. Default 1024.
    pub connections_max: u32,
    /// Whether entries bear the time that their message tells, unless that lies more than an hour ahead; else the
    /// time of their arrival.
    pub use_incoming_timestamp: bool,
    /// Whether the line is the whole message in JSON, instead of its `full_message` or `short_message`.
    pub keep_json: bool,
    /// Files of TLS; over `udp` there is none.
    pub tls: ListenTlsSettings,
    /// Labels of all entries; they win over `host`, `container`, `image`, `stream` and `job`.
    pub labels: BTreeMap<String, String>,
    /// Whether streams bear `job`, `host` of the message and the labels of `agent.labels`, of containers also `container`,
    /// `image` and `stream`, and entries the other fields as structured metadata, besides what `labels` and `relabel` make.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave entries out; they see `__gelf_message_…` too.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl Default for GelfSettings {
    fn default() -> Self {
        Self {
            listen: ":12201".to_owned(),
            protocol: Transport::Udp,
            message_bytes_max: 1 << 20,
            idle_secs: 0,
            connections_max: 1_024,
            use_incoming_timestamp: true,
            keep_json: false,
            tls: ListenTlsSettings::default(),
            labels: BTreeMap::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// A port for Fluent's forward protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardSettings {
    /// Address and port to listen on, over TCP; without an address, as in `:24224`, on all IPv4 addresses. Chunks are
    /// acknowledged where senders ask for it, once they are spooled.
    pub listen: String,
    /// Largest message, in bytes, and most bytes that a packed one unpacks to; a connection that sends a larger one
    /// is closed. Default 16 MiB.
    pub chunk_bytes_max: u32,
    /// A connection that sends nothing for so long is closed; 0: never, the default, since containers may be silent.
    pub idle_secs: u64,
    /// Most connections at once; more are refused and counted. Default 1024.
    pub connections_max: u32,
    /// Whether entries bear the time that their event tells, unless that lies more than an hour ahead; else the time of
    /// their arrival.
    pub use_incoming_timestamp: bool,
    /// File with a key that senders must know, `shared_key` with Fluentd and `Shared_Key` with Fluent Bit. White space around it
    /// does not count. It lets nobody else in and hides nothing; TLS does that. Read at the start. Default empty:
    /// whoever reaches the port may send. Docker's driver knows no keys.
    pub shared_key_file: String,
    /// Files of TLS.
    pub tls: ListenTlsSettings,
    /// Labels of all entries; they win over `host`, `container`, `stream` and `job`.
    pub labels: BTreeMap<String, String>,
    /// Whether streams bear `job`, `host` (the sender's address, unless it is this machine) and the labels of
    /// `agent.labels`, of containers also `container` and `stream`, and entries tag and fields as structured metadata,
    /// besides what `labels` and `relabel` make.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave entries out; they see `__forward_tag`, `__forward_record_<field>` and `__forward_connection_ip_address` too.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            listen: ":24224".to_owned(),
            chunk_bytes_max: 16 << 20,
            idle_secs: 0,
            connections_max: 1_024,
            use_incoming_timestamp: true,
            shared_key_file: String::new(),
            tls: ListenTlsSettings::default(),
            labels: BTreeMap::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// A port for Loki's push API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LokiPushSettings {
    /// Address and port to listen on; without an address, as in `:3500`, on all IPv4 addresses. Whoever reaches it may
    /// push to `/loki/api/v1/push`, and lines to `/promtail/api/v1/raw`; a push is answered once it is spooled.
    pub listen: String,
    /// Largest body, packed and unpacked, in bytes. Default 100 MiB, as Promtail has it.
    pub body_bytes_max: u32,
    /// Most connections at once; more are refused and counted. Default 256.
    pub connections_max: u32,
    /// Whether entries keep the time they are pushed with, unless that lies more than an hour ahead; else they get the
    /// time of their arrival.
    pub use_incoming_timestamp: bool,
    /// Files of TLS.
    pub tls: ListenTlsSettings,
    /// Labels of all entries besides those they are pushed with; they win over them.
    pub labels: BTreeMap<String, String>,
    /// Rules that make, change and remove labels, or leave entries out.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage. What a stage holds is let go
    /// at the end of each push.
    pub stages: Vec<StageSettings>,
}

impl Default for LokiPushSettings {
    fn default() -> Self {
        Self {
            listen: ":3500".to_owned(),
            body_bytes_max: 100 << 20,
            connections_max: 256,
            use_incoming_timestamp: true,
            tls: ListenTlsSettings::default(),
            labels: BTreeMap::new(),
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// A journal of systemd, read through `journalctl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    /// Folder of the journal's files. Empty: the machine's journal.
    pub path: String,
    /// What entries must match, each as `FIELD=value`: as `journalctl` takes them.
    pub matches: Vec<String>,
    /// How far back a journal is read that was never read before. Default 7 h, as Promtail has it.
    pub max_age_secs: u64,
    /// Whether the line is the whole entry in JSON, instead of its message.
    pub json: bool,
    /// Labels of all entries; they win over `host`, `unit`, `app`, `container` and `job`.
    pub labels: BTreeMap<String, String>,
    /// Whether streams bear `job`, `host`, `unit` (of entries without a unit, or of a session's, `app` instead) and the
    /// labels of `agent.labels`, and entries severity, process and the like as structured metadata, besides what
    /// `labels` and `relabel` make.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave entries out; they see `__journal_<field>` and `__journal_priority_keyword` too.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            path: String::new(),
            matches: Vec::new(),
            max_age_secs: 7 * 3_600,
            json: false,
            labels: BTreeMap::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// The standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdinSettings {
    /// Whether the standard input is read, which `--stdin` says too. At its end the process ends. Default no.
    pub enabled: bool,
    /// Labels of all entries; they win over `host` and `job`.
    pub labels: BTreeMap<String, String>,
    /// Whether streams bear `job`, `host` and the labels of `agent.labels`, besides what `labels` and `relabel` make.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave everything out.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl Default for StdinSettings {
    fn default() -> Self {
        Self {
            enabled: false,
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
/// Bounds of `body_bytes_max` and `chunk_bytes_max`.
const BODY_BYTES_MIN: u32 = 1 << 10;
const BODY_BYTES_MAX: u32 = 256 << 20;

impl SyslogSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range(
            "syslog.message_bytes_max",
            self.message_bytes_max,
            MESSAGE_BYTES_MIN,
            MESSAGE_BYTES_MAX,
        )?;
        check_tls("syslog.tls", self.protocol, &self.tls)?;
        check_range("syslog.connections_max", self.connections_max, 1, u32::MAX)
    }
}

impl GelfSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range("gelf.message_bytes_max", self.message_bytes_max, MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX)?;
        check_tls("gelf.tls", self.protocol, &self.tls)?;
        check_range("gelf.connections_max", self.connections_max, 1, u32::MAX)
    }
}

impl ForwardSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range("forward.chunk_bytes_max", self.chunk_bytes_max, BODY_BYTES_MIN, BODY_BYTES_MAX)?;
        check_range("forward.connections_max", self.connections_max, 1, u32::MAX)
    }
}

impl LokiPushSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_range("loki_push.body_bytes_max", self.body_bytes_max, BODY_BYTES_MIN, BODY_BYTES_MAX)?;
        check_range("loki_push.connections_max", self.connections_max, 1, u32::MAX)
    }
}

impl JournalSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_match = |text: &&String| !text.contains('=') || text.starts_with('-');
        match self.matches.iter().find(is_match) {
            None => Ok(()),
            Some(text) => {
                let reason =
                    format!("{text:?} is no match; want FIELD=value, as in _SYSTEMD_UNIT=ssh.service");
                Err(Error::Setting { setting: "journal.matches", reason })
            }
        }
    }
}

fn check_tls(setting: &'static str, protocol: Transport, tls: &ListenTlsSettings) -> Result<(), Error> {
    if protocol == Transport::Udp && *tls != ListenTlsSettings::default() {
        let reason = "there is no TLS over udp; use protocol: tcp, or remove it".to_owned();
        return Err(Error::Setting { setting, reason });
    }
    Ok(())
}

fn check_range(setting: &'static str, got: u32, least: u32, most: u32) -> Result<(), Error> {
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
