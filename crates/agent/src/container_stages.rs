//! What a container's own labels say should happen to its lines, before what the settings say.
//!
//! `logyard.multiline` joins, `logyard.exclude` leaves out, `logyard.rate` bounds, `logyard.parser` makes fields
//! structured metadata, in this order. One that cannot be used is told of and the container read without it.

use logyard_pipeline::settings::StageSettings;
use logyard_pipeline::{FieldsOf, LinesFrom, Pipeline};
use serde_json::json;

use crate::labels::ContainerFacts;

const LABEL_MULTILINE: &str = "logyard.multiline";
const LABEL_EXCLUDE: &str = "logyard.exclude";
const LABEL_RATE: &str = "logyard.rate";
const LABEL_PARSER: &str = "logyard.parser";
/// Reason under which lines are counted that a container's label leaves out.
const EXCLUDED: &str = "container_label";

/// Returns the stages for a container's lines, and what is wrong with its labels.
pub(crate) fn container_stages(
    facts: &ContainerFacts,
    job: &Pipeline,
    line_bytes_max: usize,
) -> (Pipeline, Vec<String>) {
    let label = |name: &str| facts.labels.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let mut problems = Vec::new();
    let mut own = Pipeline::default();
    let mut add = |label: &str, stage: serde_json::Value| match compile(stage, line_bytes_max) {
        Ok(stage) => own = std::mem::take(&mut own).before(&stage),
        Err(reason) => problems.push(format!("label {label} cannot be used: {reason}")),
    };
    if let Some(first_line) = label(LABEL_MULTILINE) {
        add(LABEL_MULTILINE, json!({"multiline": {"firstline": first_line}}));
    }
    if let Some(pattern) = label(LABEL_EXCLUDE) {
        add(LABEL_EXCLUDE, json!({"drop": {"expression": pattern, "drop_counter_reason": EXCLUDED}}));
    }
    if let Some(text) = label(LABEL_RATE) {
        match text.trim().parse::<u32>() {
            Ok(rate) if rate > 0 => {
                add(LABEL_RATE, json!({"limit": {"rate": rate, "burst": rate, "drop": true}}));
            }
            _ => problems.push(format!(
                "label {LABEL_RATE} cannot be used: want lines a second such as 100, got {text:?}"
            )),
        }
    }
    match label(LABEL_PARSER) {
        None | Some("none") => {}
        Some("json") => own = own.and_fields(FieldsOf::Json),
        Some("logfmt") => own = own.and_fields(FieldsOf::Logfmt),
        Some(other) => problems
            .push(format!("label {LABEL_PARSER} cannot be used: want json, logfmt or none, got {other:?}")),
    }
    (own.before(job), problems)
}

fn compile(stage: serde_json::Value, line_bytes_max: usize) -> Result<Pipeline, String> {
    let settings: StageSettings = serde_json::from_value(stage).map_err(|error| error.to_string())?;
    Pipeline::compile(&[settings], LinesFrom::Engine, line_bytes_max)
        .map_err(|error| error.reason().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_model::LabelSet;
    use logyard_pipeline::{Line, Now, Run};
    use logyard_sys::Random;
    use std::sync::Arc;

    fn facts(labels: &[(&str, &str)]) -> ContainerFacts {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ContainerFacts { labels, ..ContainerFacts::default() }
    }

    fn run(labels: &[(&str, &str)], lines: &[&str]) -> Vec<String> {
        let (pipeline, problems) = container_stages(&facts(labels), &Pipeline::default(), 1 << 10);
        assert!(problems.is_empty(), "{problems:?}");
        let stream = Arc::new(LabelSet::from_pairs([("container", "x")]));
        let (metadata, random) = (LabelSet::default(), Random::seeded(1));
        let now = Now { ns: 0, random: &random };
        let mut run = Run::new(&pipeline);
        for text in lines {
            let text = text.as_bytes().into();
            run.push(Line { labels: &stream, ts_ns: 0, text, metadata: &metadata, output: 0 }, (), now);
        }
        run.flush(true, now);
        let mut out = Vec::new();
        run.take(&mut out);
        let shown = |entry: &logyard_pipeline::Finished| {
            format!("{}{}", String::from_utf8_lossy(&entry.line), entry.metadata)
        };
        out.iter().map(shown).collect()
    }

    #[test]
    fn labels_join_leave_out_and_parse() {
        let labels = [(LABEL_MULTILINE, r"^\S"), (LABEL_EXCLUDE, "health|trace"), (LABEL_PARSER, "logfmt")];
        let lines = ["a=1", "GET /health", "b=2", " of trace", "c=3", " more=4"];
        assert_eq!(run(&labels, &lines), ["a=1{a=\"1\"}", "c=3\n more=4{c=\"3\", more=\"4\"}"]);
        assert_eq!(run(&[(LABEL_RATE, "2")], &["a", "b", "c"]), ["a{}", "b{}"]);
        assert_eq!(run(&[(LABEL_PARSER, "json")], &[r#"{"a":1}"#]), [r#"{"a":1}{a="1"}"#]);
        assert_eq!(run(&[(LABEL_PARSER, "none"), ("other", "(")], &["a=1"]), ["a=1{}"]);
    }

    #[test]
    fn labels_that_cannot_be_used_are_told_of_and_change_nothing() {
        let labels =
            [(LABEL_MULTILINE, "("), (LABEL_EXCLUDE, "["), (LABEL_RATE, "fast"), (LABEL_PARSER, "xml")];
        let (pipeline, problems) = container_stages(&facts(&labels), &Pipeline::default(), 1 << 10);
        assert!(pipeline.is_empty());
        assert_eq!(problems.len(), 4, "{problems:?}");
        for (problem, (label, _)) in problems.iter().zip(labels) {
            assert!(problem.starts_with(&format!("label {label} cannot be used: ")), "{problem}");
        }
    }
}
