//! What a `promtail.yaml` says of sources that are not read but sent to it, and what becomes of it here.
//!
//! As with files and containers, only the labels that the file makes are put on streams.

use std::collections::BTreeMap;

use logyard_agent::pipeline::settings::StageSettings;
use logyard_agent::{ListenTlsSettings, RelabelSettings, SyslogFormat, SyslogSettings, Transport};
use logyard_rules::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config_units::Unit;
use crate::promtail::{Anything, PromtailJob, place};
use crate::promtail_map::Mapped;

/// A port for syslog.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailSyslog {
    pub(crate) listen_address: String,
    pub(crate) listen_protocol: Option<String>,
    pub(crate) idle_timeout: Option<String>,
    pub(crate) label_structured_data: Option<bool>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) use_incoming_timestamp: Option<bool>,
    pub(crate) use_rfc5424_message: Option<bool>,
    pub(crate) syslog_format: Option<String>,
    pub(crate) max_message_length: Option<u32>,
    pub(crate) tls_config: Option<PromtailListenTls>,
}

/// What a port shows and asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailListenTls {
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) server_name: Option<Anything>,
    pub(crate) insecure_skip_verify: Option<Anything>,
}

impl Mapped {
    /// Takes what a job receives.
    pub(crate) fn receivers(
        &mut self,
        index: usize,
        job: &PromtailJob,
        relabel: &[RelabelSettings],
        stages: &[StageSettings],
    ) {
        if let Some(syslog) = &job.syslog {
            self.syslog(place!["scrape_configs", index, "syslog"], syslog, relabel, stages);
        }
        let reads_name = relabel
            .iter()
            .position(|rule| rule.source_labels.iter().any(|name| name == "__syslog_connection_hostname"));
        if let Some(rule) = reads_name {
            self.note(
                place!["scrape_configs", index, "relabel_configs", rule],
                "gets the sender's address: names of addresses are not asked for",
            );
        }
    }

    fn syslog(
        &mut self,
        at: Vec<Step>,
        syslog: &PromtailSyslog,
        relabel: &[RelabelSettings],
        stages: &[StageSettings],
    ) {
        let below = |key: &str| [at.clone(), place![key]].concat();
        let defaults = SyslogSettings::default();
        if syslog.listen_address.is_empty() {
            self.refuse(below("listen_address"), "is refused: it is empty; want one such as 0.0.0.0:1514");
        }
        let protocol = match syslog.listen_protocol.as_deref() {
            None | Some("" | "tcp") => Transport::Tcp,
            Some("udp") => Transport::Udp,
            Some(other) => {
                self.refuse(below("listen_protocol"), format!("is refused: got {other:?}, want tcp or udp"));
                Transport::Tcp
            }
        };
        let format = match syslog.syslog_format.as_deref() {
            None | Some("") => SyslogFormat::Rfc5424,
            Some("rfc5424") => SyslogFormat::Rfc5424,
            Some("rfc3164") => SyslogFormat::Rfc3164,
            Some(other) => {
                let text = format!("is refused: got {other:?}, want rfc5424 or rfc3164");
                self.refuse(below("syslog_format"), text);
                SyslogFormat::Auto
            }
        };
        let idle_secs = match &syslog.idle_timeout {
            None => defaults.idle_secs,
            Some(text) => match Unit::of_key("idle_secs").and_then(|unit| unit.parse(text)) {
                Some(secs) => secs.max(1),
                None => {
                    let text = format!("is refused: {text:?} is no duration such as 120s");
                    self.refuse(below("idle_timeout"), text);
                    defaults.idle_secs
                }
            },
        };
        let tls = syslog.tls_config.as_ref().map(listen_tls).unwrap_or_default();
        self.settings.agent.syslog.push(SyslogSettings {
            listen: syslog.listen_address.clone(),
            protocol,
            format,
            idle_secs,
            message_bytes_max: syslog
                .max_message_length
                .filter(|bytes| *bytes > 0)
                .unwrap_or(defaults.message_bytes_max),
            use_incoming_timestamp: syslog.use_incoming_timestamp == Some(true),
            time_zone: "UTC".to_owned(),
            label_structured_data: syslog.label_structured_data == Some(true),
            keep_header: syslog.use_rfc5424_message == Some(true),
            tls,
            labels: syslog.labels.clone().unwrap_or_default(),
            default_labels: false,
            relabel: relabel.to_vec(),
            stages: stages.to_vec(),
            ..defaults
        });
    }
}

fn listen_tls(tls: &PromtailListenTls) -> ListenTlsSettings {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    ListenTlsSettings {
        cert_file: text(&tls.cert_file),
        key_file: text(&tls.key_file),
        client_ca_file: text(&tls.ca_file),
    }
}
