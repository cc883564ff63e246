//! What a `promtail.yaml` says of sources that are not read but sent to it, and what becomes of it here.
//!
//! As with files and containers, only the labels that the file makes are put on streams.

use std::collections::BTreeMap;

use logyard_agent::pipeline::settings::StageSettings;
use logyard_agent::{
    GelfSettings, JournalSettings, ListenTlsSettings, LokiPushSettings, RelabelSettings, StdinSettings,
    SyslogFormat, SyslogSettings, Transport,
};
use logyard_rules::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use crate::config_units::Unit;
use crate::promtail::{Anything, PromtailJob, place};
use crate::promtail_map::Mapped;
use crate::promtail_server::{UNKNOWN_SERVER_KEY, is_server_key};

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

/// A port for GELF.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailGelf {
    pub(crate) listen_address: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) use_incoming_timestamp: Option<bool>,
}

/// A port for Loki's push API.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailPush {
    pub(crate) server: Option<Anything>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) use_incoming_timestamp: Option<bool>,
    pub(crate) max_send_msg_size: Option<u32>,
}

/// The journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailJournal {
    pub(crate) max_age: Option<String>,
    pub(crate) json: Option<bool>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) path: Option<String>,
    pub(crate) matches: Option<String>,
}

impl Mapped {
    /// Takes what a job receives, and its journal.
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
        if let Some(gelf) = &job.gelf {
            let defaults = GelfSettings::default();
            self.settings.agent.gelf.push(GelfSettings {
                listen: gelf.listen_address.clone().unwrap_or_else(|| "0.0.0.0:12201".to_owned()),
                use_incoming_timestamp: gelf.use_incoming_timestamp == Some(true),
                keep_json: true,
                labels: gelf.labels.clone().unwrap_or_default(),
                default_labels: false,
                relabel: relabel.to_vec(),
                stages: stages.to_vec(),
                ..defaults
            });
        }
        if let Some(push) = &job.loki_push_api {
            self.loki_push(place!["scrape_configs", index, "loki_push_api"], push, relabel, stages);
        }
        if let Some(journal) = &job.journal {
            let at = place!["scrape_configs", index, "journal"];
            let settings = self.journal(&at, journal, relabel, stages);
            self.journals.push((job.job_name.clone().unwrap_or_default(), self.settings.agent.journal.len()));
            self.settings.agent.journal.push(settings);
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

impl Mapped {
    fn loki_push(
        &mut self,
        at: Vec<Step>,
        push: &PromtailPush,
        relabel: &[RelabelSettings],
        stages: &[StageSettings],
    ) {
        let (mut host, mut port, mut tls) = (String::new(), None, ListenTlsSettings::default());
        if let Some(Anything(Value::Mapping(keys))) = &push.server {
            for (key, value) in keys {
                let Some(key) = key.as_str() else { continue };
                let text = || value.as_str().unwrap_or_default().to_owned();
                match key {
                    "http_listen_address" => host = text(),
                    "http_listen_port" => port = value.as_u64(),
                    "http_tls_config" => {
                        match serde_yaml_ng::from_value::<PromtailServerTls>(value.clone()) {
                            Ok(given) => tls = given.settings(),
                            Err(error) => {
                                let path = [at.clone(), place!["server", key]].concat();
                                self.refuse(path, format!("is refused: {error}"));
                            }
                        }
                    }
                    "http_path_prefix" if !text().trim_matches('/').is_empty() => {
                        let path = [at.clone(), place!["server", key]].concat();
                        self.refuse(path, "is refused: pushes are taken at /loki/api/v1/push");
                    }
                    key if is_server_key(key) => {
                        let path = [at.clone(), place!["server", key]].concat();
                        self.note(path, "has no effect: the port takes pushes and nothing else");
                    }
                    _ => self.refuse([at.clone(), place!["server", key]].concat(), UNKNOWN_SERVER_KEY),
                }
            }
        }
        let Some(port) = port.filter(|port| (1..=65_535).contains(port)) else {
            let text = "is refused: it has no server.http_listen_port; want one such as 3500";
            self.refuse(at, text);
            return;
        };
        let defaults = LokiPushSettings::default();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        self.settings.agent.loki_push.push(LokiPushSettings {
            listen: format!("{host}:{port}"),
            body_bytes_max: push
                .max_send_msg_size
                .filter(|bytes| *bytes > 0)
                .unwrap_or(defaults.body_bytes_max),
            use_incoming_timestamp: push.use_incoming_timestamp == Some(true),
            tls,
            labels: push.labels.clone().unwrap_or_default(),
            relabel: relabel.to_vec(),
            stages: stages.to_vec(),
            ..defaults
        });
    }

    fn journal(
        &mut self,
        at: &[Step],
        journal: &PromtailJournal,
        relabel: &[RelabelSettings],
        stages: &[StageSettings],
    ) -> JournalSettings {
        let below = |key: &str| [at.to_vec(), place![key]].concat();
        let defaults = JournalSettings::default();
        let mut max_age_secs = defaults.max_age_secs;
        if let Some(text) = journal.max_age.as_deref().filter(|text| !text.is_empty()) {
            match Unit::of_key("age_secs").and_then(|unit| unit.parse(text)) {
                Some(secs) => {
                    max_age_secs = secs;
                    let text = "counts where no position is known: a longer pause loses no entries";
                    self.note(below("max_age"), text);
                }
                None => {
                    self.refuse(below("max_age"), format!("is refused: {text:?} is no duration such as 12h"));
                }
            }
        }
        JournalSettings {
            path: journal.path.clone().unwrap_or_default(),
            matches: journal
                .matches
                .iter()
                .flat_map(|text| text.split_whitespace())
                .map(str::to_owned)
                .collect(),
            max_age_secs,
            json: journal.json == Some(true),
            labels: journal.labels.clone().unwrap_or_default(),
            default_labels: false,
            relabel: relabel.to_vec(),
            stages: stages.to_vec(),
        }
    }

    /// Takes the standard input, which goes through the first job's rules and stages; nothing else is read then.
    pub(crate) fn stdin(&mut self) {
        let (relabel, stages) = std::mem::take(&mut self.first);
        let agent = &mut self.settings.agent;
        agent.read_stdin();
        if self.is_first_left_out {
            // It would let out what the job's rules and stages were to keep back.
            agent.stdin.enabled = false;
            let text =
                "is refused: the standard input goes through the first job, which cannot be used; mend that";
            self.refuse(place!["target_config", "stdin"], text);
            return;
        }
        agent.stdin = StdinSettings {
            enabled: true,
            labels: [("job".to_owned(), "stdin".to_owned())].into(),
            default_labels: true,
            relabel,
            stages,
        };
    }
}

/// TLS of a server of Promtail's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PromtailServerTls {
    cert_file: Option<String>,
    key_file: Option<String>,
    client_ca_file: Option<String>,
}

impl PromtailServerTls {
    fn settings(self) -> ListenTlsSettings {
        let [cert_file, key_file, client_ca_file] =
            [self.cert_file, self.key_file, self.client_ca_file].map(Option::unwrap_or_default);
        ListenTlsSettings { cert_file, key_file, client_ca_file }
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
