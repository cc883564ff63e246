//! What the keys of a `promtail.yaml` become here.
//!
//! A key with another effect is remarked on, a key that cannot be honoured is refused by name and line. Nothing is
//! left out silently. Sources that are read keep Promtail's labels: ours are not added.

use std::path::PathBuf;

use logyard_agent::pipeline::settings::{LimitSettings, MatchAction, MatchSettings, StageSettings};
use logyard_agent::pipeline::{LinesFrom, Pipeline, Relabeling, parse_size};
use logyard_agent::{AgentSettings, FileSettings, FilterName, FilterSettings, RelabelSettings};
use logyard_rules::Step;

use crate::config::Settings;
use crate::promtail::{PromtailDocker, PromtailFile, PromtailJob, PromtailLimits, Remark, in_file, place};

/// A file as our settings.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) settings: Settings,
    /// Keys with another effect, or none.
    pub(crate) notes: Vec<Remark>,
    /// Keys that cannot be honoured.
    pub(crate) refused: Vec<Remark>,
    /// Jobs that are left out for it.
    pub(crate) left_out: Vec<Remark>,
    /// The file of positions to take over.
    pub(crate) positions: Option<PathBuf>,
    /// Rules and stages of the first job, which the standard input goes through.
    pub(crate) first: (Vec<RelabelSettings>, Vec<StageSettings>),
    /// Not all of the first job can be honoured.
    pub(crate) is_first_left_out: bool,
    /// Something is refused of the job at hand without which its lines would be others.
    is_job_spoiled: bool,
    /// Names of jobs that read journals, and the numbers of those in `agent.journal`.
    pub(crate) journals: Vec<(String, usize)>,
}

/// Puts what a file says over settings; what was given otherwise (`settings` differs from the default) stays.
pub(crate) fn map(file: &PromtailFile, settings: Settings, refused: Vec<Remark>) -> Mapped {
    let positions = file.positions.as_ref().and_then(|positions| positions.filename.clone());
    let positions = positions.map(PathBuf::from);
    let mut mapped = Mapped {
        settings,
        notes: Vec::new(),
        refused,
        left_out: Vec::new(),
        positions,
        first: Default::default(),
        is_first_left_out: false,
        is_job_spoiled: false,
        journals: Vec::new(),
    };
    mapped.settings.agent.docker.enabled = false;
    mapped.server(file.server.as_ref());
    mapped.whole(file);
    let external = mapped.clients(file);
    let limits = file.limits_config.clone().unwrap_or_default();
    let limit = mapped.limits(&limits);
    for (index, job) in file.scrape_configs.iter().flatten().enumerate() {
        mapped.job(index, job, &external, limit.as_ref());
    }
    if file.target_config.as_ref().is_some_and(|targets| targets.stdin == Some(true)) {
        mapped.stdin();
    }
    let agent = &mapped.settings.agent;
    if !agent.names_sources() && !agent.docker.enabled {
        mapped.refuse(
            place!["scrape_configs"],
            "leaves nothing to read; add static_configs or docker_sd_configs",
        );
    }
    mapped
}

impl Mapped {
    pub(crate) fn note(&mut self, path: Vec<Step>, text: impl Into<String>) {
        self.notes.push(Remark { path, text: text.into() });
    }

    /// Refuses a key. One of a job leaves the job out: without it lines would be others, or go elsewhere.
    pub(crate) fn refuse(&mut self, path: Vec<Step>, text: impl Into<String>) {
        self.is_job_spoiled = true;
        self.refused.push(Remark { path, text: text.into() });
    }

    /// Refuses one of several sources of a job; the others are read.
    pub(crate) fn refuse_source(&mut self, path: Vec<Step>, text: impl Into<String>) {
        self.refused.push(Remark { path, text: text.into() });
    }

    /// Notes those keys below a place that are given, each with its text.
    pub(crate) fn note_given<'k>(
        &mut self,
        at: &[Step],
        keys: impl IntoIterator<Item = (&'k str, bool, &'k str)>,
    ) {
        for (key, _, text) in keys.into_iter().filter(|(_, is_given, _)| *is_given) {
            self.note([at.to_vec(), place![key]].concat(), text);
        }
    }

    /// Refuses those keys below a place that are given, each with its text.
    pub(crate) fn refuse_given<'k>(
        &mut self,
        at: &[Step],
        keys: impl IntoIterator<Item = (&'k str, bool, &'k str)>,
    ) {
        for (key, _, text) in keys.into_iter().filter(|(_, is_given, _)| *is_given) {
            self.refuse([at.to_vec(), place![key]].concat(), text);
        }
    }

    /// Keys about the program as a whole.
    fn whole(&mut self, file: &PromtailFile) {
        if file.global.is_some() {
            self.note(
                place!["global"],
                "has no effect: files are looked at four times a second while lines come",
            );
        }
        if file.options.is_some() {
            self.note(place!["options"], "has no effect");
        }
        if file.tracing.is_some() {
            self.note(place!["tracing"], "has no effect: there is no tracing");
        }
        if file.wal.is_some() {
            self.note(place!["wal"], "is always on: the spool in the data folder; see agent.spool");
        }
        if let Some(positions) = &file.positions {
            let text =
                "is read once, when the agent has no positions of its own; those are in the data folder";
            let effectless = "has no effect: positions are saved with the lines they stand for";
            let keys = [
                ("filename", positions.filename.is_some(), text),
                ("sync_period", positions.sync_period.is_some(), effectless),
                ("ignore_invalid_yaml", positions.ignore_invalid_yaml.is_some(), effectless),
            ];
            self.note_given(&[Step::from("positions")], keys);
        }
        if file.target_config.as_ref().is_some_and(|targets| targets.sync_period.is_some()) {
            let text = "has no effect: files are searched for every 10 s";
            self.note(place!["target_config", "sync_period"], text);
        }
    }

    /// Takes bounds; returns a stage for those on lines a second.
    fn limits(&mut self, limits: &PromtailLimits) -> Option<StageSettings> {
        let below = |key: &str| place!["limits_config", key];
        if let Some(text) = limits.max_line_size.as_deref().filter(|text| !matches!(*text, "" | "0")) {
            match parse_size(text).map(u32::try_from) {
                Ok(Ok(bytes)) => {
                    let default = AgentSettings::default().line_bytes_max;
                    put(&mut self.settings.agent.line_bytes_max, &default, bytes);
                    if limits.max_line_size_truncate != Some(true) {
                        self.note(below("max_line_size"), "cuts longer lines instead of dropping them");
                    }
                }
                _ => self
                    .refuse(below("max_line_size"), format!("is refused: {text:?} is no size such as 256KB")),
            }
        }
        if limits.max_streams.is_some_and(|streams| streams > 0) {
            self.note(below("max_streams"), "has no effect: the store bounds streams by limits of its own");
        }
        if limits.readline_rate_enabled != Some(true) {
            return None;
        }
        self.note(below("readline_rate_enabled"), "counts for each list of static_configs by itself");
        let limit = LimitSettings {
            rate: limits.readline_rate.unwrap_or(10_000.0),
            burst: limits.readline_burst.unwrap_or(10_000),
            drop: limits.readline_rate_drop.unwrap_or(true),
            ..LimitSettings::default()
        };
        Some(StageSettings { limit: Some(limit), ..StageSettings::default() })
    }

    /// Takes a job, or leaves it out as a whole.
    fn job(
        &mut self,
        index: usize,
        job: &PromtailJob,
        external: &[(String, String)],
        limit: Option<&StageSettings>,
    ) {
        let agent = &self.settings.agent;
        let docker = agent.docker.clone();
        let counts = [
            agent.files.len(),
            agent.syslog.len(),
            agent.gelf.len(),
            agent.loki_push.len(),
            agent.journal.len(),
            self.journals.len(),
        ];
        // Stages were taken out while the file was read.
        let stages = place!["scrape_configs", index, "pipeline_stages"];
        self.is_job_spoiled = self.refused.iter().any(|remark| remark.path.starts_with(&stages));
        self.sources(index, job, external, limit);
        if !self.is_job_spoiled {
            return;
        }
        let [files, syslog, gelf, loki_push, journal, journals] = counts;
        let agent = &mut self.settings.agent;
        agent.docker = docker;
        agent.files.truncate(files);
        agent.syslog.truncate(syslog);
        agent.gelf.truncate(gelf);
        agent.loki_push.truncate(loki_push);
        agent.journal.truncate(journal);
        self.journals.truncate(journals);
        self.is_first_left_out |= index == 0;
        let why = "is left out whole: without what is refused of it, lines would be others or go elsewhere";
        self.left_out.push(match &job.job_name {
            Some(name) => {
                Remark { path: place!["scrape_configs", index, "job_name"], text: format!("{name:?} {why}") }
            }
            None => Remark { path: place!["scrape_configs", index], text: why.to_owned() },
        });
    }

    fn sources(
        &mut self,
        index: usize,
        job: &PromtailJob,
        external: &[(String, String)],
        limit: Option<&StageSettings>,
    ) {
        let at = |key: &str| place!["scrape_configs", index, key];
        let rules = job.relabel_configs.clone().unwrap_or_default();
        let stages = job.pipeline_stages.clone().unwrap_or_default();
        self.check_job(index, &rules, &stages);
        let encoding = job.encoding.clone().unwrap_or_default();
        if !FileSettings::has_encoding(&encoding) {
            let text = format!("is refused: {encoding:?} is no encoding; want an IANA name such as utf-16le");
            self.refuse(at("encoding"), text);
        }
        let decompress = job.decompression.as_ref().is_some_and(|form| form.enabled == Some(true));
        if decompress {
            self.note(at("decompression"), "takes each file in the form that its first bytes show, at once");
        }
        // Behind the stages, which neither see these labels nor remove them; without stages a rule costs less.
        let (rules_last, stages_last): (Vec<_>, Vec<_>) = match stages.is_empty() {
            true => (external.iter().map(as_rule).collect(), Vec::new()),
            false => (Vec::new(), external.iter().map(as_stage).collect()),
        };
        let relabel: Vec<RelabelSettings> = rules.into_iter().chain(rules_last).collect();
        let stages: Vec<StageSettings> =
            limit.cloned().into_iter().chain(stages).chain(stages_last).collect();
        if index == 0 {
            self.first = (relabel.clone(), stages.clone());
        }
        let of_files = FileSettings {
            default_labels: false,
            unchanged_secs_max: 0,
            decompress,
            encoding,
            relabel: relabel.clone(),
            stages: stages.clone(),
            ..FileSettings::default()
        };
        self.files(index, job, &of_files);
        for (number, docker) in job.docker_sd_configs.iter().flatten().enumerate() {
            let at = place!["scrape_configs", index, "docker_sd_configs", number];
            if self.settings.agent.docker.enabled {
                self.refuse_source(at, "is refused: one engine is read once; join all docker_sd_configs to one, with rules for what differs");
                continue;
            }
            self.docker(&at, docker);
            let settings = &mut self.settings.agent.docker;
            settings.relabel.clone_from(&relabel);
            settings.stages.clone_from(&stages);
        }
        self.receivers(index, job, &relabel, &stages);
    }

    /// Finds rules and stages that cannot be used, with their lines.
    fn check_job(&mut self, index: usize, rules: &[RelabelSettings], stages: &[StageSettings]) {
        let line_bytes_max = self.settings.agent.line_bytes_max as usize;
        let faults = [
            ("relabel_configs", Relabeling::compile(rules).err()),
            ("pipeline_stages", Pipeline::compile(stages, LinesFrom::Files, line_bytes_max).err()),
        ];
        for (key, fault) in faults {
            let Some(fault) = fault else { continue };
            let inner = fault.path().iter().map(|step| match step.parse::<usize>() {
                Ok(number) => Step::Item(number),
                Err(_) => Step::Key(step.clone()),
            });
            let at = place!["scrape_configs", index, key].into_iter().chain(inner).collect();
            let at = in_file(at, &self.refused);
            self.refuse(at, format!("cannot be used: {}", fault.reason()));
        }
    }

    fn docker(&mut self, at: &[Step], docker: &PromtailDocker) {
        let below = |key: &str| [at.to_vec(), place![key]].concat();
        let settings = &mut self.settings.agent.docker;
        settings.enabled = true;
        settings.default_labels = false;
        // Promtail has no such streams.
        settings.lifecycle_entries = false;
        settings.host.clone_from(&docker.host);
        if !docker.host.starts_with("unix://") && !docker.host.starts_with("tcp://") {
            self.refuse(
                below("host"),
                format!("is refused: got {:?}, want unix:///path or tcp://host:port", docker.host),
            );
        }
        for (number, filter) in docker.filters.iter().flatten().enumerate() {
            let name = match filter.name.as_str() {
                "name" => FilterName::Name,
                "id" => FilterName::Id,
                "label" => FilterName::Label,
                "ancestor" => FilterName::Ancestor,
                "status" if filter.values.iter().any(|value| value == "running") => {
                    let text =
                        "has no effect: containers that run are read, and those that stopped to their end";
                    self.note([below("filters"), place![number]].concat(), text);
                    continue;
                }
                other => {
                    let text = format!(
                        "is refused: cannot filter by {other:?}; use name, id, label or ancestor, or relabel_configs"
                    );
                    self.refuse([below("filters"), place![number, "name"]].concat(), text);
                    continue;
                }
            };
            self.settings.agent.docker.filters.push(FilterSettings { name, values: filter.values.clone() });
        }
        let effectless = [
            (
                "refresh_interval",
                docker.refresh_interval.is_some(),
                "has no effect: the engine tells of containers at once",
            ),
            ("port", docker.port.is_some(), "has no effect: a container is one target whatever its ports"),
            (
                "host_networking_host",
                docker.host_networking_host.is_some(),
                "has no effect: it shapes addresses only",
            ),
            (
                "match_first_network",
                docker.match_first_network.is_some(),
                "has no effect: a container is one target",
            ),
            (
                "follow_redirects",
                docker.follow_redirects.is_some(),
                "has no effect: an engine does not redirect",
            ),
            ("enable_http2", docker.enable_http2.is_some(), "has no effect: HTTP/1.1 is spoken"),
        ];
        self.note_given(at, effectless);
        if docker.tls_config.is_some() {
            let text = "is refused: set agent.docker.engines, with the address and its ca_file, cert_file and key_file";
            self.refuse(below("tls_config"), text);
        }
        let text = "is refused: the engine is spoken to without credentials; use its socket";
        let refused = [
            ("basic_auth", &docker.basic_auth),
            ("authorization", &docker.authorization),
            ("bearer_token", &docker.bearer_token),
            ("bearer_token_file", &docker.bearer_token_file),
            ("oauth2", &docker.oauth2),
            ("proxy_url", &docker.proxy_url),
        ];
        self.refuse_given(at, refused.map(|(key, value)| (key, value.is_some(), text)));
    }
}

/// Puts a value in place unless another one was given.
pub(crate) fn put<T: PartialEq>(slot: &mut T, default: &T, value: T) {
    if slot == default {
        *slot = value;
    }
}

/// A label of `external_labels` behind stages: it yields to one that is there.
fn as_stage((name, value): &(String, String)) -> StageSettings {
    let set = StageSettings {
        static_labels: Some([(name.clone(), Some(value.clone()))].into()),
        ..StageSettings::default()
    };
    let absent = MatchSettings {
        selector: format!("{{{name}=\"\"}}"),
        stages: vec![set],
        action: MatchAction::Keep,
        pipeline_name: None,
        drop_counter_reason: None,
    };
    StageSettings { match_: Some(absent), ..StageSettings::default() }
}

/// A label of `external_labels`: it yields to one that is there.
fn as_rule((name, value): &(String, String)) -> RelabelSettings {
    RelabelSettings {
        source_labels: vec![name.clone()],
        regex: "^$".to_owned(),
        // A dollar sign would begin the name of a group.
        replacement: value.replace('$', "$$"),
        target_label: name.clone(),
        ..RelabelSettings::default()
    }
}
