//! Which containers are read, and under which labels, once filters and rules have had their say.
//!
//! Meta labels describe a container to the rules of `agent.docker.relabel` under Prometheus' names (`__meta_docker_…`)
//! and vanish afterwards. Unlike in Promtail a container is one target, whatever its networks and ports: those shape
//! meta labels only, and a container without any is read like the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use logyard_model::{LabelSet, compile_unanchored};
use logyard_pipeline::{Relabeling, label_name_of, without_meta};
use regex::Regex;

use crate::error::Error;
use crate::labels::{ContainerFacts, container_labels, is_enabled};
use crate::log_entry::Output;
use crate::settings::{DockerSettings, FilterName};

/// Prefix of meta labels.
const META: &str = "__meta_docker_";
/// Value of the label `stream` of what happens to containers.
const LIFECYCLE: &str = "lifecycle";

/// Decides about containers. Compiled once.
#[derive(Debug)]
pub(crate) struct DockerRules {
    default_on: bool,
    has_default_labels: bool,
    filters: Vec<Filter>,
    relabel: Relabeling,
    common_labels: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Filter {
    name: FilterName,
    values: Vec<String>,
    patterns: Vec<Regex>,
}

/// Labels of a container's outputs and what each of its entries bears besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetLabels {
    /// By output; `None`: the rules leave this output out.
    pub(crate) outputs: [Option<Arc<LabelSet>>; 2],
    pub(crate) metadata: LabelSet,
    /// The rules left no label, so the default ones are used.
    pub(crate) is_fallback: bool,
}

impl TargetLabels {
    /// Returns what both outputs share, for pages.
    pub(crate) fn shown(&self) -> LabelSet {
        let mut labels =
            self.outputs.iter().flatten().next().map(|labels| LabelSet::clone(labels)).unwrap_or_default();
        labels.remove("stream");
        labels
    }
}

impl DockerRules {
    /// Errors: a rule or filter that cannot be used, by its setting.
    pub(crate) fn compile(
        settings: &DockerSettings,
        common_labels: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let invalid = |setting: &'static str| move |reason: String| Error::Setting { setting, reason };
        let mut filters = Vec::new();
        for filter in &settings.filters {
            let patterns = match filter.name {
                FilterName::Name => filter.values.iter().map(|value| compile_unanchored(value)).collect(),
                _ => Ok(Vec::new()),
            };
            let patterns = patterns.map_err(|error| error.to_string()).map_err(invalid("docker.filters"))?;
            filters.push(Filter { name: filter.name, values: filter.values.clone(), patterns });
        }
        let relabel = Relabeling::compile(&settings.relabel)
            .map_err(|error| error.to_string())
            .map_err(invalid("docker.relabel"))?;
        Ok(Self {
            default_on: settings.default_on,
            has_default_labels: settings.default_labels,
            filters,
            relabel,
            common_labels,
        })
    }

    /// Returns why a container is not read, if so, by what lists and events tell of it.
    pub(crate) fn refusal(&self, id: &str, facts: &ContainerFacts) -> Option<&'static str> {
        if !is_enabled(facts, self.default_on) {
            return Some(match self.default_on {
                true => "its label logyard.enable says false",
                false => "agent.docker.default_on is false and it has no label logyard.enable=true",
            });
        }
        let is_match = self.filters.iter().all(|filter| filter.matches(id, facts));
        (!is_match).then_some("agent.docker.filters leave it out")
    }

    /// Returns the labels of a container; `meta` is what an inspection adds.
    pub(crate) fn labels(
        &self,
        id: &str,
        facts: &ContainerFacts,
        meta: &BTreeMap<String, String>,
    ) -> TargetLabels {
        let defaults = container_labels(facts, &self.common_labels);
        let metadata = defaults.metadata;
        if self.relabel.is_empty() && self.has_default_labels {
            let outputs = defaults.outputs.map(|labels| Some(Arc::new(labels)));
            return TargetLabels { outputs, metadata, is_fallback: false };
        }
        let mut is_fallback = false;
        let outputs = Output::ALL.map(|output| {
            let default = defaults.outputs.get(output.index()).cloned().unwrap_or_default();
            let (labels, has_none) = self.ruled(id, facts, meta, default, output.as_str())?;
            is_fallback |= has_none;
            Some(Arc::new(labels))
        });
        TargetLabels { outputs, metadata, is_fallback }
    }

    /// Returns the labels under which it is told what happens to a container; `None`: the rules leave that out.
    pub(crate) fn lifecycle_labels(&self, id: &str, facts: &ContainerFacts) -> Option<LabelSet> {
        let [mut labels, _] = container_labels(facts, &self.common_labels).outputs;
        labels.insert("stream", LIFECYCLE);
        if self.relabel.is_empty() && self.has_default_labels {
            return Some(labels);
        }
        self.ruled(id, facts, &BTreeMap::new(), labels, LIFECYCLE).map(|(labels, _)| labels)
    }

    /// Applies the rules; also tells whether they left no label, so that the default ones stand.
    fn ruled(
        &self,
        id: &str,
        facts: &ContainerFacts,
        meta: &BTreeMap<String, String>,
        default: LabelSet,
        stream: &str,
    ) -> Option<(LabelSet, bool)> {
        let mut labels = if self.has_default_labels { default.clone() } else { LabelSet::default() };
        add_meta(&mut labels, id, facts, meta, stream);
        if !self.relabel.apply(&mut labels) {
            return None;
        }
        let kept = without_meta(&labels);
        let has_none = kept.is_empty();
        Some((if has_none { default } else { kept }, has_none))
    }
}

impl Filter {
    /// Any of the values, as the engine's own filters have it.
    fn matches(&self, id: &str, facts: &ContainerFacts) -> bool {
        match self.name {
            // The engine's names begin with a slash, and patterns may say so.
            FilterName::Name => {
                let slashed = format!("/{}", facts.name);
                self.patterns.iter().any(|regex| regex.is_match(&facts.name) || regex.is_match(&slashed))
            }
            FilterName::Id => self.values.iter().any(|value| id.starts_with(&**value)),
            FilterName::Label => self.values.iter().any(|value| match value.split_once('=') {
                Some((name, value)) => facts.labels.get(name).is_some_and(|own| own == value),
                None => facts.labels.contains_key(value),
            }),
            FilterName::Ancestor => self.values.iter().any(|value| {
                let image = facts.image.split_once('@').map_or(&*facts.image, |(name, _)| name);
                image == value || image.rsplit_once(':').is_some_and(|(name, _)| name == value)
            }),
        }
    }
}

fn add_meta(
    labels: &mut LabelSet,
    id: &str,
    facts: &ContainerFacts,
    meta: &BTreeMap<String, String>,
    stream: &str,
) {
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(format!("{META}{name}"), value);
        }
    };
    put("container_id", id);
    put("container_name", &format!("/{}", facts.name));
    put("container_image", &facts.image);
    put("container_log_stream", stream);
    for (name, value) in &facts.labels {
        put(&format!("container_label_{}", label_name_of(name)), value);
    }
    for (ours, theirs) in
        [("compose_project", "com.docker.compose.project"), ("compose_service", "com.docker.compose.service")]
    {
        put(&format!("container_{ours}"), facts.labels.get(theirs).map_or("", String::as_str));
    }
    for (name, value) in meta {
        put(name, value);
    }
    if let Some(address) = meta.get("network_ip").filter(|address| !address.is_empty()) {
        let port = meta.get("port_private").map_or("80", String::as_str);
        labels.insert("__address__", format!("{address}:{port}"));
    } else if meta.get("container_network_mode").is_some_and(|mode| mode == "host") {
        labels.insert("__address__", "localhost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FilterSettings;

    fn facts(name: &str, labels: &[(&str, &str)]) -> ContainerFacts {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ContainerFacts { name: name.to_owned(), image: "nginx:1.27@sha256:ab".to_owned(), labels }
    }

    fn rules(json: serde_json::Value) -> DockerRules {
        let settings: DockerSettings = serde_json::from_value(json).unwrap();
        DockerRules::compile(&settings, BTreeMap::from([("host".to_owned(), "nas".to_owned())])).unwrap()
    }

    #[track_caller]
    fn check(rules: &DockerRules, output: usize, want: Option<&str>) {
        let facts = facts("web-1", &[("logging_jobname", "front"), ("com.docker.compose.service", "web")]);
        let meta = BTreeMap::from([
            ("network_name".to_owned(), "proxy".to_owned()),
            ("network_ip".to_owned(), "10.0.0.2".to_owned()),
            ("port_private".to_owned(), "8080".to_owned()),
        ]);
        let labels = rules.labels("0123abcd", &facts, &meta);
        assert_eq!(labels.outputs[output].as_ref().map(ToString::to_string).as_deref(), want);
    }

    #[test]
    fn without_rules_labels_are_the_default_ones() {
        check(
            &rules(serde_json::json!({})),
            1,
            Some(
                r#"{compose_service="web", container="web-1", host="nas", image="nginx:1.27", stream="stderr"}"#,
            ),
        );
    }

    #[test]
    fn rules_of_a_promtail_file_make_its_labels() {
        let rules = rules(serde_json::json!({"default_labels": false, "relabel": [
            {"source_labels": ["__meta_docker_container_name"], "regex": "/(.*)", "target_label": "container"},
            {"source_labels": ["__meta_docker_container_log_stream"], "target_label": "logstream"},
            {"source_labels": ["__meta_docker_container_label_logging_jobname"], "target_label": "job"},
            {"source_labels": ["__meta_docker_network_name", "__address__"], "target_label": "net"},
        ]}));
        check(
            &rules,
            0,
            Some(r#"{container="web-1", job="front", logstream="stdout", net="proxy;10.0.0.2:8080"}"#),
        );
    }

    #[test]
    fn rules_may_leave_an_output_out_or_change_the_default_labels() {
        let rules = rules(serde_json::json!({"relabel": [
            {"source_labels": ["stream"], "regex": "stderr", "action": "drop"},
            {"regex": "image|host", "action": "labeldrop"},
        ]}));
        check(&rules, 0, Some(r#"{compose_service="web", container="web-1", stream="stdout"}"#));
        check(&rules, 1, None);
    }

    #[test]
    fn rules_that_leave_no_label_are_as_none() {
        let rules = rules(serde_json::json!({"default_labels": false}));
        let labels = rules.labels("id", &facts("x", &[]), &BTreeMap::new());
        assert!(labels.is_fallback);
        assert_eq!(labels.shown().to_string(), r#"{container="x", host="nas", image="nginx:1.27"}"#);
    }

    #[test]
    fn filters_are_the_engines() {
        let with = |name: FilterName, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let settings = DockerSettings {
                filters: vec![FilterSettings { name, values }],
                ..DockerSettings::default()
            };
            let rules = DockerRules::compile(&settings, BTreeMap::new()).unwrap();
            rules.refusal("0123abcd", &facts("web-1", &[("logging", "promtail")])).is_none()
        };
        assert!(with(FilterName::Label, &["logging=promtail"]) && with(FilterName::Label, &["logging"]));
        assert!(!with(FilterName::Label, &["logging=alloy"]) && !with(FilterName::Label, &["other"]));
        assert!(with(FilterName::Name, &["other", "^/web"]) && with(FilterName::Name, &["b-1"]));
        assert!(!with(FilterName::Name, &["^eb"]));
        assert!(with(FilterName::Id, &["0123"]) && !with(FilterName::Id, &["123"]));
        assert!(with(FilterName::Ancestor, &["nginx"]) && with(FilterName::Ancestor, &["nginx:1.27"]));
        assert!(!with(FilterName::Ancestor, &["nginx:1.26"]));
    }

    #[test]
    fn refusals_say_which_setting() {
        let off = rules(serde_json::json!({"default_on": false}));
        assert!(off.refusal("i", &facts("x", &[])).unwrap().contains("default_on"));
        assert!(off.refusal("i", &facts("x", &[("logyard.enable", "true")])).is_none());
        let bad = serde_json::from_value(serde_json::json!({"relabel": [{"regex": "("}]})).unwrap();
        let error = DockerRules::compile(&bad, BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot use setting agent.docker.relabel: 0."), "{error}");
    }
}
