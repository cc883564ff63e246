//! Which containers are read, and under which labels.
//!
//! Labels come from what the engine says about a container, never from its lines, so a container has
//! two streams however much it prints. Ids and unique names are no labels: they would make a stream
//! per run.

use std::collections::{BTreeMap, HashMap};

use logyard_model::LabelSet;

use crate::log_entry::Output;

/// Label on a container: `false` keeps it from being read.
const LABEL_ENABLE: &str = "logyard.enable";
/// Label on a container: what its streams call it.
const LABEL_NAME: &str = "logyard.name";
/// Prefix of labels on a container that become labels of its streams.
const LABEL_EXTRA_PREFIX: &str = "logyard.labels.";
const LABEL_PROJECT: &str = "com.docker.compose.project";
const LABEL_SERVICE: &str = "com.docker.compose.service";
const LABEL_ONE_OFF: &str = "com.docker.compose.oneoff";

/// What is known of a container's identity, from a list, an event or an inspection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerFacts {
    /// Without the leading slash.
    pub(crate) name: String,
    /// As the user wrote it; may bear a digest.
    pub(crate) image: String,
    pub(crate) labels: HashMap<String, String>,
}

/// Labels of a container's two streams and what each of its entries bears besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerLabels {
    pub(crate) outputs: [LabelSet; 2],
    pub(crate) metadata: LabelSet,
}

/// Returns whether the container wants to be read.
pub(crate) fn is_enabled(facts: &ContainerFacts, default_on: bool) -> bool {
    match facts.labels.get(LABEL_ENABLE).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
        Some("false" | "0" | "no" | "off") => false,
        Some("true" | "1" | "yes" | "on") => true,
        _ => default_on,
    }
}

/// Returns why the agent's own container is not read, if so: its lines would feed themselves, should there be one for
/// each that is read, so it must ask for it.
pub(crate) fn own_refusal(facts: &ContainerFacts) -> Option<&'static str> {
    let reason = "it is the agent's own container, and has no label logyard.enable=true";
    (!is_enabled(facts, false)).then_some(reason)
}

/// Builds the labels of a container.
///
/// `common` is added to everything and yields to what discovery found, except for `host`, which it sets.
pub(crate) fn container_labels(facts: &ContainerFacts, common: &BTreeMap<String, String>) -> ContainerLabels {
    let label = |name: &str| facts.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut set = LabelSet::from_pairs(common.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut metadata = LabelSet::default();
    let project = label(LABEL_PROJECT);
    let service = label(LABEL_SERVICE);
    let is_one_off = label(LABEL_ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match (project, service) {
        // `docker compose run` makes a new name each time: it would be a new stream each time.
        (Some(project), Some(service)) if is_one_off => {
            set.insert("container", format!("{project}-{service}-run"));
            metadata.insert("container_name", facts.name.as_str());
        }
        _ if label(LABEL_NAME).is_some() => set.insert("container", label(LABEL_NAME).unwrap_or_default()),
        _ if facts.name.is_empty() => {}
        _ => set.insert("container", facts.name.as_str()),
    }
    if let Some(project) = project {
        set.insert("compose_project", project);
    }
    if let Some(service) = service {
        set.insert("compose_service", service);
    }
    let image = without_digest(&facts.image);
    if !image.is_empty() {
        set.insert("image", image);
    }
    for (name, value) in &facts.labels {
        let extra = name.strip_prefix(LABEL_EXTRA_PREFIX).and_then(label_name);
        if let Some(extra) = extra.filter(|_| !value.is_empty()) {
            set.insert(extra, value.as_str());
        }
    }
    let outputs = Output::ALL.map(|output| {
        let mut labels = set.clone();
        labels.insert("stream", output.as_str());
        labels
    });
    ContainerLabels { outputs, metadata }
}

/// Cuts `@sha256:…` off an image; an image known by its id alone has no name to show.
fn without_digest(image: &str) -> &str {
    if image.starts_with("sha256:") {
        return "";
    }
    image.split_once('@').map_or(image, |(name, _)| name)
}

/// Turns the rest of a container's label into a label name: other bytes become `_`.
fn label_name(text: &str) -> Option<String> {
    let is_name_start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    (is_name_start && name != "stream").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str, image: &str, labels: &[(&str, &str)]) -> ContainerFacts {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ContainerFacts { name: name.to_owned(), image: image.to_owned(), labels }
    }

    #[track_caller]
    fn check(facts: &ContainerFacts, want: &str) {
        let common = BTreeMap::from([("host".to_owned(), "nas".to_owned())]);
        assert_eq!(container_labels(facts, &common).outputs[0].to_string(), want);
    }

    #[test]
    fn plain_and_compose_containers() {
        check(
            &facts("sonarr", "lscr.io/linuxserver/sonarr:4@sha256:abcd", &[]),
            r#"{container="sonarr", host="nas", image="lscr.io/linuxserver/sonarr:4", stream="stdout"}"#,
        );
        check(&facts("x", "sha256:0123", &[]), r#"{container="x", host="nas", stream="stdout"}"#);
        check(
            &facts("media-sonarr-1", "sonarr", &[(LABEL_PROJECT, "media"), (LABEL_SERVICE, "sonarr")]),
            r#"{compose_project="media", compose_service="sonarr", container="media-sonarr-1", host="nas", image="sonarr", stream="stdout"}"#,
        );
    }

    #[test]
    fn one_off_runs_share_a_stream() {
        let run = facts(
            "media-backup-run-5f2e",
            "restic",
            &[(LABEL_PROJECT, "media"), (LABEL_SERVICE, "backup"), (LABEL_ONE_OFF, "True")],
        );
        let labels = container_labels(&run, &BTreeMap::new());
        assert_eq!(labels.outputs[1].get("container"), Some("media-backup-run"));
        assert_eq!(labels.outputs[1].get("stream"), Some("stderr"));
        assert_eq!(labels.metadata.get("container_name"), Some("media-backup-run-5f2e"));
    }

    #[test]
    fn containers_may_add_labels_and_opt_out() {
        let own = [("logyard.labels.team", "a"), ("logyard.labels.a-b", "c"), ("logyard.labels.stream", "x")];
        check(&facts("x-1", "", &[("logyard.name", "x")]), r#"{container="x", host="nas", stream="stdout"}"#);
        check(&facts("x", "", &own), r#"{a_b="c", container="x", host="nas", stream="stdout", team="a"}"#);
        assert!(!is_enabled(&facts("x", "", &[(LABEL_ENABLE, "False")]), true));
        assert!(is_enabled(&facts("x", "", &[(LABEL_ENABLE, "true")]), false));
        assert!(is_enabled(&facts("x", "", &[]), true));
        assert_eq!(own_refusal(&facts("x", "", &[(LABEL_ENABLE, "true")])), None);
        assert!(own_refusal(&facts("x", "", &[])).unwrap().contains("own container"));
    }
}
