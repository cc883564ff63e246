//! What a user may set about the agent. Nothing needs to be set.

use std::collections::BTreeMap;

use logyard_client::TlsFiles;
use logyard_pipeline::settings::StageSettings;
use logyard_pipeline::{RelabelSettings, is_label_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::file_form::encoding_of;
use crate::file_jobs::check_list;
use crate::settings_receive::{
    ForwardSettings, GelfSettings, JournalSettings, LokiPushSettings, StdinSettings, SyslogSettings,
};

/// Settings of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Address and port of the pages of an agent on its own: `/ready`, `/metrics`, `/targets` and more, under section
    /// server. Default `127.0.0.1:9080`, this machine only; with port 0 any that is free, which the log tells; empty: none.
    pub listen: String,
    /// Value of the label `host` of every stream. Empty: the machine's name; inside a container, whose
    /// own name says nothing, the engine's.
    pub host: String,
    /// Labels added to every stream; what discovery finds wins over them.
    pub labels: BTreeMap<String, String>,
    /// Containers of a Docker or Podman engine.
    pub docker: DockerSettings,
    /// Files to read. Nothing but the engine is named and none answers: `/var/log/*.log` and the like are read.
    pub files: Vec<FileSettings>,
    /// Journals of systemd.
    pub journal: Vec<JournalSettings>,
    /// Ports for syslog.
    pub syslog: Vec<SyslogSettings>,
    /// Ports for GELF, as Docker's log driver `gelf` sends it.
    pub gelf: Vec<GelfSettings>,
    /// Ports for Fluent's forward protocol, as Fluentd, Fluent Bit and Docker's log driver `fluentd` send it.
    pub forward: Vec<ForwardSettings>,
    /// Ports for Loki's push API.
    pub loki_push: Vec<LokiPushSettings>,
    /// The standard input.
    pub stdin: StdinSettings,
    /// Longest line kept, in bytes; the rest of a longer one is cut and counted. Default 256 KiB, the
    /// limit of Promtail's Docker source and of Loki.
    pub line_bytes_max: u32,
    /// What waits on disk for the store.
    pub spool: SpoolSettings,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9080".to_owned(),
            host: String::new(),
            labels: BTreeMap::new(),
            docker: DockerSettings::default(),
            files: Vec::new(),
            journal: Vec::new(),
            syslog: Vec::new(),
            gelf: Vec::new(),
            forward: Vec::new(),
            loki_push: Vec::new(),
            stdin: StdinSettings::default(),
            line_bytes_max: 256 << 10,
            spool: SpoolSettings::default(),
        }
    }
}

/// Settings of the Docker source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DockerSettings {
    /// Whether to read containers at all.
    pub enabled: bool,
    /// Address of the engine: `unix:///path`, `tcp://host:port`, or `ssh://user@host`, for which `ssh` must be installed
    /// and let this process in without a question. Empty: the environment's `DOCKER_HOST`, over TLS if
    /// `DOCKER_TLS_VERIFY` is set, with `ca.pem`, `cert.pem` and `key.pem` of `DOCKER_CERT_PATH`; else
    /// `unix:///var/run/docker.sock`.
    pub host: String,
    /// Several engines, instead of `host`. One that does not answer holds up none of the others.
    pub engines: Vec<EngineSettings>,
    /// Whether containers are read unless their label `logyard.enable` says `false`; if not, only
    /// those with `logyard.enable=true` are.
    pub default_on: bool,
    /// From where a container is read that was never seen before. `now` is for those that are there when the
    /// agent starts: one that is created later is read from its beginning.
    pub initial: Initial,
    /// From where logs are read. Default `api`.
    pub read: ReadFrom,
    /// Whether it is told, too, what happens to containers that are read: a stream of each, with the label
    /// `stream="lifecycle"`, says when it started, exited and with which code, ran out of memory, or became healthy or
    /// unhealthy.
    pub lifecycle_entries: bool,
    /// Containers read, of those there are: a filter lets one pass if any of its values fits, and all filters must.
    pub filters: Vec<FilterSettings>,
    /// Whether streams bear the labels `container`, `compose_project`, `compose_service`, `image`, `stream`, `host` and
    /// those of `agent.labels`, besides what `relabel` makes of them. A container without any label gets them anyhow.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave containers out; they see `__meta_docker_…` too.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

/// One of several engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Its address: `unix:///path`, `tcp://host:port`, or `ssh://user@host:port/path/of/its/socket`, of which user, port
    /// and path may be left out.
    pub host: String,
    /// Value of the label `host` of its containers' streams. Empty: the machine in the address; for a socket here that of
    /// `agent.host`.
    pub label: String,
    /// Certificates of the authorities that its own must be signed by, PEM. With this, or an address that begins with
    /// `https://`, TLS is spoken; empty: the machine's authorities.
    pub ca_file: String,
    /// The certificate to show to it, PEM, if it wants one.
    pub cert_file: String,
    /// The key of that certificate, PEM.
    pub key_file: String,
}

impl EngineSettings {
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            server_name: String::new(),
        }
    }
}

/// Names some containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSettings {
    /// What is looked at.
    pub name: FilterName,
    /// What it may be.
    pub values: Vec<String>,
}

/// What a filter of containers looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterName {
    /// The name; values are regular expressions that match anywhere.
    Name,
    /// The id; values are how it begins.
    Id,
    /// A label: `name` or `name=value`.
    Label,
    /// The image, with its tag or without.
    Ancestor,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            host: String::new(),
            engines: Vec::new(),
            default_on: true,
            initial: Initial::All,
            read: ReadFrom::Api,
            lifecycle_entries: true,
            filters: Vec::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// From where a target is read that was never seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// From the oldest entry that is kept.
    #[default]
    All,
    /// From now on.
    Now,
}

/// From where the logs of containers are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// From the engine.
    #[default]
    Api,
    /// From the files that its log driver `json-file` keeps, where this process may read them and none is packed, which
    /// spares the engine the work and loses nothing in bursts; else from the engine. A line is seen 0.2 s later at most.
    Files,
}

/// Files read as one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    /// Paths with `*`, `?`, `[…]`, `{a,b}`; `**` stands for any folders.
    pub path: Vec<String>,
    /// Paths left out, in the same form.
    pub exclude: Vec<String>,
    /// Lists of more to read, in the form of Prometheus' `file_sd_configs`: files that end in `.json`, `.yml` or `.yaml`, with
    /// one `*` behind the last `/` at most. Each group of a list names a path, in its label `__path__`, and labels; its `targets` may be left out, and
    /// nothing is read if they are an empty list. Rules see the list in `__meta_filepath`. What changes in a list counts within a second.
    pub target_lists: Vec<String>,
    /// Labels of these files' streams besides `filename`, `host` and `job`, which they may replace. With `__host__`, nothing
    /// is read but on the machine whose label `host` is that.
    pub labels: BTreeMap<String, String>,
    /// A file never seen before that nobody wrote to for longer than this is read from its end. Default 604800, which is
    /// 7 days; 0: every file is read from its beginning.
    pub unchanged_secs_max: u64,
    /// Whether files packed with gzip, zlib, bzip2, xz or zstd, whatever their names, are read as what they unpack to, to
    /// the end, once and one after the other; if not, files with such names are left out. What was read before it was
    /// packed is not read again. Default no.
    pub decompress: bool,
    /// IANA name of the encoding, such as `utf-16le` or `iso-8859-1`: lines become UTF-8, and what cannot be read U+FFFD,
    /// counted. Empty: UTF-8, and bytes stay as they are.
    pub encoding: String,
    /// Whether streams bear `job`, `host` and the labels of `agent.labels`, besides `filename` and `labels`.
    pub default_labels: bool,
    /// Rules that make, change and remove labels, or leave files out; `__path__` is the path of the file. `filename` is
    /// added behind them.
    pub relabel: Vec<RelabelSettings>,
    /// What happens to lines, in order: each item has exactly one key, the name of a stage.
    pub stages: Vec<StageSettings>,
}

impl FileSettings {
    /// Returns whether an encoding is known by this name.
    pub fn has_encoding(name: &str) -> bool {
        encoding_of(name).is_some()
    }

    /// Errors: why a pattern of lists cannot be used.
    pub fn check_list(pattern: &str) -> Result<(), String> {
        check_list(pattern)
    }

    /// Returns the pattern that matches one path and nothing else.
    pub fn pattern_of(path: &str) -> String {
        globset::escape(path)
    }
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            path: Vec::new(),
            exclude: Vec::new(),
            target_lists: Vec::new(),
            unchanged_secs_max: 7 * 86_400,
            decompress: false,
            encoding: String::new(),
            labels: BTreeMap::new(),
            default_labels: true,
            relabel: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSettings {
    /// Most bytes on disk, compressed. Full: reading stops until the store takes batches again; logs
    /// wait where they are, in the engine or in their files. Default 1 GiB, at least 64 MiB.
    pub bytes_max: u64,
    /// Most bytes kept of batches that the store refuses for what they hold, in the folder `agent/refused` of the
    /// data folder, compressed. Full: reading waits at the next such batch until files are removed. Default 64 MiB.
    pub refused_bytes_max: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self { bytes_max: 1 << 30, refused_bytes_max: 64 << 20 }
    }
}

/// Smallest spool: it is trimmed by whole files, so it must hold a few of them.
const SPOOL_BYTES_MIN: u64 = 64 << 20;
const LINE_BYTES_MIN: u32 = 1 << 10;
const LINE_BYTES_MAX: u32 = 16 << 20;

impl AgentSettings {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.spool.bytes_max < SPOOL_BYTES_MIN {
            let reason = format!("got {} bytes, want at least {SPOOL_BYTES_MIN}", self.spool.bytes_max);
            return Err(Error::Setting { setting: "spool.bytes_max", reason });
        }
        if !(LINE_BYTES_MIN..=LINE_BYTES_MAX).contains(&self.line_bytes_max) {
            let reason =
                format!("got {} bytes, want {LINE_BYTES_MIN} to {LINE_BYTES_MAX}", self.line_bytes_max);
            return Err(Error::Setting { setting: "line_bytes_max", reason });
        }
        if !self.docker.engines.is_empty() && !self.docker.host.is_empty() {
            let reason = "agent.docker.host is set as well; add it to the list".to_owned();
            return Err(Error::Setting { setting: "docker.engines", reason });
        }
        let hosts: Vec<&str> = self.docker.engines.iter().map(|engine| engine.host.as_str()).collect();
        if let Some(twice) =
            (1..hosts.len()).find(|&at| hosts.iter().take(at).any(|host| hosts.get(at) == Some(host)))
        {
            let reason = format!("{} is in the list twice", hosts.get(twice).copied().unwrap_or_default());
            return Err(Error::Setting { setting: "docker.engines", reason });
        }
        check_labels("labels", &self.labels)?;
        self.files.iter().try_for_each(|job| check_labels("files.labels", &job.labels))?;
        for syslog in &self.syslog {
            syslog.check()?;
            check_labels("syslog.labels", &syslog.labels)?;
        }
        for gelf in &self.gelf {
            gelf.check()?;
            check_labels("gelf.labels", &gelf.labels)?;
        }
        for forward in &self.forward {
            forward.check()?;
            check_labels("forward.labels", &forward.labels)?;
        }
        for push in &self.loki_push {
            push.check()?;
            check_labels("loki_push.labels", &push.labels)?;
        }
        for journal in &self.journal {
            journal.check()?;
            check_labels("journal.labels", &journal.labels)?;
        }
        check_labels("stdin.labels", &self.stdin.labels)
    }

    /// Has the standard input read, and nothing else.
    pub fn read_stdin(&mut self) {
        let stdin = StdinSettings { enabled: true, ..self.stdin.clone() };
        *self = Self {
            listen: self.listen.clone(),
            host: self.host.clone(),
            labels: self.labels.clone(),
            line_bytes_max: self.line_bytes_max,
            spool: self.spool.clone(),
            docker: DockerSettings { enabled: false, ..DockerSettings::default() },
            stdin,
            ..Self::default()
        };
    }

    /// Returns whether something besides an engine is named to read or to receive.
    pub fn names_sources(&self) -> bool {
        let ports = self.syslog.len() + self.gelf.len() + self.forward.len() + self.loki_push.len();
        self.stdin.enabled || !self.files.is_empty() || !self.journal.is_empty() || ports > 0
    }
}

/// The store refuses whole batches for one bad name, so none may get that far.
fn check_labels(setting: &'static str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    match labels.keys().find(|name| !is_label_name(name)) {
        None => Ok(()),
        Some(name) => {
            let reason = format!("{name:?} is no label name; use letters, digits and _, and no digit first");
            Err(Error::Setting { setting, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_unknown_keys_are_refused() {
        let settings: AgentSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, AgentSettings::default());
        assert!(settings.check().is_ok());
        assert!(serde_json::from_str::<AgentSettings>(r#"{"file": []}"#).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |change: fn(&mut AgentSettings)| {
            let mut settings = AgentSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(refused(|settings| settings.spool.bytes_max = 0).contains("agent.spool.bytes_max"));
        assert!(refused(|settings| settings.line_bytes_max = 0).contains("agent.line_bytes_max"));
        assert!(refused(|settings| drop(settings.labels.insert("a-b".into(), "c".into()))).contains("a-b"));
        let job = |name: &str| FileSettings {
            labels: BTreeMap::from([(name.to_owned(), "x".to_owned())]),
            ..FileSettings::default()
        };
        let mut settings = AgentSettings { files: vec![job("_ok9"), job("9th")], ..AgentSettings::default() };
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("agent.files.labels") && error.contains("9th"), "{error}");
        settings.files.pop();
        assert!(settings.check().is_ok() && settings.names_sources());
        settings.read_stdin();
        assert!(!settings.docker.enabled && settings.files.is_empty() && settings.stdin.enabled);
    }
}
