//! Reads a `promtail.yaml` as it is: every key is used, mapped with a note, or refused by name and line.
//!
//! The structs here are Promtail's file (v3.6.15). They are checked like our own config, by their schema, so an
//! unknown key is named with its line and the nearest known one. What a key of theirs becomes is in `promtail_map`.

use std::collections::BTreeMap;
use std::path::Path;

use logyard_agent::RelabelSettings;
use logyard_agent::pipeline::settings::StageSettings;
use logyard_rules::{Step, line_of, name_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::{Mapping, Value};

use crate::config::ConfigError;
use crate::config_check::check;
use crate::promtail_receive::{PromtailGelf, PromtailJournal, PromtailPush, PromtailSyslog};

/// Longest file.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of `match` that is put into our form.
const DEPTH_MAX: usize = 32;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailFile {
    pub(crate) server: Option<Anything>,
    pub(crate) global: Option<Anything>,
    pub(crate) client: Option<PromtailClient>,
    pub(crate) clients: Option<Vec<PromtailClient>>,
    pub(crate) positions: Option<PromtailPositions>,
    pub(crate) scrape_configs: Option<Vec<PromtailJob>>,
    pub(crate) target_config: Option<PromtailTargets>,
    pub(crate) limits_config: Option<PromtailLimits>,
    pub(crate) options: Option<Anything>,
    pub(crate) tracing: Option<Anything>,
    pub(crate) wal: Option<Anything>,
}

/// A value that is not looked into.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Anything(pub(crate) Value);

impl JsonSchema for Anything {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::default()
    }
}

/// Where to push to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailClient {
    pub(crate) name: Option<String>,
    pub(crate) url: String,
    pub(crate) batchwait: Option<String>,
    pub(crate) batchsize: Option<Anything>,
    pub(crate) timeout: Option<String>,
    pub(crate) backoff_config: Option<Anything>,
    pub(crate) drop_rate_limited_batches: Option<bool>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) external_labels: Option<BTreeMap<String, String>>,
    pub(crate) headers: Option<BTreeMap<String, String>>,
    pub(crate) basic_auth: Option<PromtailLogin>,
    pub(crate) authorization: Option<PromtailAuthorization>,
    pub(crate) bearer_token: Option<String>,
    pub(crate) bearer_token_file: Option<String>,
    pub(crate) oauth2: Option<Anything>,
    pub(crate) tls_config: Option<PromtailTls>,
    pub(crate) proxy_url: Option<String>,
    pub(crate) no_proxy: Option<Anything>,
    pub(crate) proxy_from_environment: Option<Anything>,
    pub(crate) proxy_connect_header: Option<Anything>,
    pub(crate) follow_redirects: Option<bool>,
    pub(crate) enable_http2: Option<bool>,
}

/// A user and a password.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailLogin {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<String>,
}

/// What is shown to the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailAuthorization {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) credentials: Option<String>,
    pub(crate) credentials_file: Option<String>,
}

/// Whom to trust and what to show.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailTls {
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure_skip_verify: Option<bool>,
}

/// Where positions are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailPositions {
    pub(crate) filename: Option<String>,
    pub(crate) sync_period: Option<String>,
    pub(crate) ignore_invalid_yaml: Option<bool>,
}

/// How files are looked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailTargets {
    pub(crate) sync_period: Option<String>,
    pub(crate) stdin: Option<bool>,
}

/// Bounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailLimits {
    pub(crate) readline_rate_enabled: Option<bool>,
    pub(crate) readline_rate: Option<f64>,
    pub(crate) readline_burst: Option<u64>,
    pub(crate) readline_rate_drop: Option<bool>,
    pub(crate) max_streams: Option<u64>,
    pub(crate) max_line_size: Option<String>,
    pub(crate) max_line_size_truncate: Option<bool>,
}

/// One job: sources, and what happens to their labels and lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailJob {
    pub(crate) job_name: Option<String>,
    pub(crate) pipeline_stages: Option<Vec<StageSettings>>,
    pub(crate) relabel_configs: Option<Vec<RelabelSettings>>,
    pub(crate) static_configs: Option<Vec<PromtailGroup>>,
    pub(crate) file_sd_configs: Option<Vec<PromtailLists>>,
    pub(crate) docker_sd_configs: Option<Vec<PromtailDocker>>,
    pub(crate) syslog: Option<PromtailSyslog>,
    pub(crate) gelf: Option<PromtailGelf>,
    pub(crate) loki_push_api: Option<PromtailPush>,
    pub(crate) journal: Option<PromtailJournal>,
    pub(crate) encoding: Option<String>,
    pub(crate) decompression: Option<PromtailDecompression>,
}

/// Files under the same labels.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailGroup {
    pub(crate) targets: Option<Vec<String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// Files that list files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailLists {
    pub(crate) files: Vec<String>,
    pub(crate) refresh_interval: Option<String>,
}

/// An engine's containers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailDocker {
    pub(crate) host: String,
    pub(crate) filters: Option<Vec<PromtailFilter>>,
    pub(crate) refresh_interval: Option<String>,
    pub(crate) port: Option<u64>,
    pub(crate) host_networking_host: Option<String>,
    pub(crate) match_first_network: Option<bool>,
    pub(crate) follow_redirects: Option<bool>,
    pub(crate) enable_http2: Option<bool>,
    pub(crate) basic_auth: Option<Anything>,
    pub(crate) authorization: Option<Anything>,
    pub(crate) bearer_token: Option<Anything>,
    pub(crate) bearer_token_file: Option<Anything>,
    pub(crate) oauth2: Option<Anything>,
    pub(crate) proxy_url: Option<Anything>,
    pub(crate) tls_config: Option<Anything>,
}

/// Chooses containers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromtailFilter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// Whether files are compressed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromtailDecompression {
    pub(crate) enabled: Option<bool>,
    pub(crate) initial_delay: Option<String>,
    pub(crate) format: Option<String>,
}

/// Kinds of sources that are not read, and what to do instead.
pub(crate) const REFUSED_KINDS: [(&str, &str); 26] = [
    ("dockerswarm_sd_configs", "run one agent per node with docker_sd_configs"),
    ("windows_events", "Linux only; send Windows events with an OTLP or syslog forwarder"),
    ("kafka", NO_SOURCE),
    ("gcplog", NO_SOURCE),
    ("azure_event_hubs", NO_SOURCE),
    ("cloudflare", NO_SOURCE),
    ("heroku_drain", NO_SOURCE),
    ("kubernetes_sd_configs", "read /var/log/pods/*/*/*.log with static_configs and the stage cri meanwhile"),
    ("consul_sd_configs", NO_LOCAL),
    ("consulagent_sd_configs", NO_LOCAL),
    ("dns_sd_configs", NO_LOCAL),
    ("ec2_sd_configs", NO_LOCAL),
    ("gce_sd_configs", NO_LOCAL),
    ("azure_sd_configs", NO_LOCAL),
    ("openstack_sd_configs", NO_LOCAL),
    ("digitalocean_sd_configs", NO_LOCAL),
    ("marathon_sd_configs", NO_LOCAL),
    ("nerve_sd_configs", NO_LOCAL),
    ("serverset_sd_configs", NO_LOCAL),
    ("triton_sd_configs", NO_LOCAL),
    ("hetzner_sd_configs", NO_LOCAL),
    ("http_sd_configs", NO_LOCAL),
    ("lightsail_sd_configs", NO_LOCAL),
    ("linode_sd_configs", NO_LOCAL),
    ("scaleway_sd_configs", NO_LOCAL),
    ("vultr_sd_configs", NO_LOCAL),
];
const NO_SOURCE: &str = "not an agent source here; push to the store instead";
const NO_LOCAL: &str = "it discovers machines, not local logs; remove it";

/// Stages that are not there, and what to do instead.
const REFUSED_STAGES: [(&str, &str); 4] = [
    ("tenant", "entries of several tenants are not sent yet; set clients[].tenant_id for all"),
    ("geoip", "places of addresses are not looked up yet; remove the stage"),
    ("eventlogmessage", "there are no Windows events here; remove the stage"),
    ("windowsevent", "there are no Windows events here; remove the stage"),
];

/// Something to say about a place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) path: Vec<Step>,
    pub(crate) text: String,
}

/// Makes the way to a place: texts are keys.
macro_rules! place {
    ($($step:expr),* $(,)?) => { vec![$(logyard_rules::Step::from($step)),*] };
}
pub(crate) use place;

/// Returns where a place of the file without its refused stages stands in the file itself.
pub(crate) fn in_file(path: Vec<Step>, refused: &[Remark]) -> Vec<Step> {
    let mut found = Vec::with_capacity(path.len());
    for step in path {
        let is_in_stages =
            matches!(found.last(), Some(Step::Key(key)) if key == "pipeline_stages" || key == "stages");
        let Step::Item(mut index) = step else {
            found.push(step);
            continue;
        };
        // Refused stages are in the order of the file, so each shifts those that come behind it.
        for remark in refused.iter().filter(|_| is_in_stages) {
            match remark.path.strip_prefix(found.as_slice()) {
                Some([Step::Item(gone), Step::Key(_)]) if *gone <= index => index += 1,
                _ => {}
            }
        }
        found.push(Step::Item(index));
    }
    found
}

/// Returns the file and what is refused of it while reading. `text` has its variables expanded.
///
/// Errors: no YAML, an unknown key, a value of the wrong form; file and line are named.
pub(crate) fn read(path: &Path, text: &str) -> Result<(PromtailFile, Vec<Remark>), ConfigError> {
    if text.len() > FILE_BYTES_MAX {
        let reason = format!("cannot read {}: longer than {FILE_BYTES_MAX} bytes", path.display());
        return Err(ConfigError::new(reason));
    }
    let mut document: Value = serde_yaml_ng::from_str(text).map_err(|error| {
        ConfigError::new(format!("cannot read {}: no valid YAML: {error}", path.display()))
    })?;
    let mut refused = Vec::new();
    normalize(&mut document, &mut refused);
    let schema = schemars::schema_for!(PromtailFile).to_value();
    let checked = check(&document, &schema).map_err(|fault| {
        let remark = Remark { path: in_file(fault.path, &refused), text: fault.text };
        ConfigError::new(shown(path, text, &remark))
    })?;
    let file = serde_yaml_ng::from_value(checked)
        .map_err(|error| ConfigError::new(format!("cannot use {}: {error}", path.display())))?;
    Ok((file, refused))
}

/// Writes a remark with file, line and key.
pub(crate) fn shown(file: &Path, text: &str, remark: &Remark) -> String {
    let name = name_of(&remark.path);
    match line_of(text, &remark.path) {
        Some(line) => format!("{} line {line}: {name:?} {}", file.display(), remark.text),
        None => format!("{}: {name:?} {}", file.display(), remark.text),
    }
}

/// Puts forms that Promtail takes and our settings do not into ours, and takes out what is refused.
fn normalize(document: &mut Value, refused: &mut Vec<Remark>) {
    let jobs = document.get_mut("scrape_configs").and_then(Value::as_sequence_mut);
    for (index, job) in jobs.into_iter().flatten().enumerate() {
        let at = place!["scrape_configs", index];
        if let Some(job) = job.as_mapping_mut() {
            for (kind, instead) in REFUSED_KINDS {
                if job.remove(kind).is_some() {
                    refused.push(Remark {
                        path: [at.clone(), place![kind]].concat(),
                        text: format!("is refused: {instead}"),
                    });
                }
            }
        }
        if let Some(rules) = job.get_mut("relabel_configs").and_then(Value::as_sequence_mut) {
            rules.iter_mut().filter_map(|rule| rule.get_mut("action")).for_each(lowercase);
        }
        if let Some(stages) = job.get_mut("pipeline_stages") {
            normalize_stages(stages, [at, place!["pipeline_stages"]].concat(), refused, DEPTH_MAX);
        }
    }
}

fn normalize_stages(stages: &mut Value, at: Vec<Step>, refused: &mut Vec<Remark>, depth: usize) {
    let Some(stages) = stages.as_sequence_mut().filter(|_| depth > 0) else { return };
    let mut index = 0;
    stages.retain_mut(|stage| {
        let at = [at.clone(), place![index]].concat();
        index += 1;
        let Some(stage) = stage.as_mapping_mut() else { return true };
        for (name, instead) in REFUSED_STAGES {
            if stage.contains_key(name) {
                refused.push(Remark {
                    path: [at, place![name]].concat(),
                    text: format!("is refused: {instead}"),
                });
                return false;
            }
        }
        for name in ["docker", "cri", "decolorize"] {
            if let Some(settings) = stage.get_mut(name).filter(|settings| settings.is_null()) {
                *settings = Value::Mapping(Mapping::new());
            }
        }
        if let Some(names) = stage.remove("non_indexed_labels") {
            stage.insert("structured_metadata".into(), names);
        }
        if let Some(metrics) = stage.get_mut("metrics").and_then(Value::as_mapping_mut) {
            metrics.values_mut().filter_map(|metric| metric.get_mut("type")).for_each(lowercase);
        }
        if let Some(inner) = stage.get_mut("match").and_then(|inner| inner.get_mut("stages")) {
            normalize_stages(inner, [at, place!["match", "stages"]].concat(), refused, depth - 1);
        }
        true
    });
}

fn lowercase(value: &mut Value) {
    if let Value::String(text) = value {
        *text = text.to_lowercase();
    }
}
