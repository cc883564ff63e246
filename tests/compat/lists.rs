//! What is not as recorded, and why: `deviations.toml` with `deviations.jsonl`, and `pending.toml`.

use crate::answer::Answer;
use crate::case::folder;
use serde_json::Value;
use std::collections::BTreeMap;

/// Cases whose recorded answer we do not give.
pub(crate) struct Lists {
    /// On purpose: id and reason.
    pub(crate) deviations: BTreeMap<String, String>,
    /// What we answer instead, step by step.
    pub(crate) ours: BTreeMap<String, Vec<Answer>>,
    /// Not built yet: id and what is missing.
    pub(crate) pending: BTreeMap<String, String>,
}

impl Lists {
    pub(crate) fn load() -> Self {
        let text = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
        let mut ours = BTreeMap::new();
        for line in text("deviations.jsonl").lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            ours.insert(value["id"].as_str().unwrap().to_owned(), Answer::recorded(&value));
        }
        let list = |name: &str| table(&text(name));
        Self { deviations: list("deviations.toml"), ours, pending: list("pending.toml") }
    }

    /// Returns all ids with their reasons; one in two lists comes twice.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.deviations.iter().chain(&self.pending)
    }

    /// Returns whether another answer than the recorded one is expected.
    pub(crate) fn excuse(&self, id: &str) -> bool {
        self.all().any(|(listed, _)| listed == id)
    }
}

/// Writes our answers to the deviations, up to the step that differs.
pub(crate) fn write_ours(answers: &BTreeMap<&str, &[Answer]>) {
    let mut text = String::new();
    for (id, steps) in answers {
        let mut value = match steps {
            [only] => only.to_json(),
            steps => serde_json::json!({ "steps": steps.iter().map(Answer::to_json).collect::<Vec<_>>() }),
        };
        value["id"] = Value::from(*id);
        text.push_str(&value.to_string());
        text.push('\n');
    }
    std::fs::write(folder().join("deviations.jsonl"), text).unwrap();
}

/// Reads the part of TOML that the lists use: comments, and lines of the form `id = "text"`.
fn table(text: &str) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parsed =
            line.split_once(" = ").and_then(|(id, reason)| Some((id, serde_json::from_str(reason).ok()?)));
        let Some((id, reason)) = parsed else { panic!("want a line of the form id = \"text\", got {line}") };
        assert!(entries.insert(id.to_owned(), reason).is_none(), "{id} twice");
    }
    entries
}
