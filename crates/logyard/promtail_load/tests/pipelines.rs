//! Lines through the jobs of files of Promtail's, against what Promtail makes of them: `pipelines.yaml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use logyard_agent::pipeline::{Line, LinesFrom, Now, Pipeline, Run};
use logyard_model::LabelSet;
use logyard_sys::Random;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::*;

const CASES: &str = include_str!("pipelines.yaml");
/// 2026-01-02T04:00:00Z, an hour behind the lines: within a day, and not before them.
const NOW_NS: i64 = 1_767_326_400_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    differs: Option<String>,
    #[serde(default)]
    sample: Option<String>,
    #[serde(default)]
    stages: Option<Value>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    lines: Vec<String>,
    entries: Vec<(String, String, Option<i64>, String)>,
}

impl Case {
    fn pipeline(&self) -> Pipeline {
        let text = match &self.sample {
            Some(sample) => samples::read(&format!("{sample}.yaml")).unwrap(),
            None => {
                let stages = serde_json::to_string(&self.stages).unwrap();
                format!("{FILES}  pipeline_stages: {stages}\n")
            }
        };
        let (settings, _) =
            taken(&text, How::default()).unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        let agent = settings.agent;
        Pipeline::compile(&agent.files[0].stages, LinesFrom::Files, agent.line_bytes_max as usize).unwrap()
    }

    fn entries(&self) -> Vec<(String, String, Option<i64>, String)> {
        let random = Random::seeded(7);
        let now = Now { ns: NOW_NS, random: &random };
        let default = BTreeMap::from([("job".to_owned(), "x".to_owned())]);
        let labels = self.labels.as_ref().unwrap_or(&default).iter();
        let labels =
            Arc::new(LabelSet::from_pairs(labels.map(|(name, value)| (name.as_str(), value.as_str()))));
        let (pipeline, metadata) = (self.pipeline(), LabelSet::default());
        let mut run = Run::new(&pipeline);
        for line in &self.lines {
            let text = line.as_bytes().into();
            run.push(Line { labels: &labels, ts_ns: NOW_NS, text, metadata: &metadata, output: 0 }, (), now);
        }
        run.flush(true, now);
        let mut out = Vec::new();
        assert_eq!(run.take(&mut out), None, "{}: something is held", self.name);
        let shown = out.into_iter().map(|entry| {
            let at = (entry.ts_ns != NOW_NS).then_some(entry.ts_ns);
            let line = String::from_utf8(entry.line).unwrap();
            (entry.labels.to_string(), entry.metadata.to_string(), at, line)
        });
        shown.collect()
    }
}

#[test]
fn b40_lines_become_what_promtail_makes_of_them() {
    let cases: Vec<Case> = serde_yaml_ng::from_str(CASES).unwrap();
    assert!(cases.len() > 25 && cases.iter().filter(|case| case.differs.is_some()).count() < 3);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let found = case.entries();
            (found != case.entries)
                .then(|| format!("{}:\n got {found:#?}\nwant {:#?}", case.name, case.entries))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
