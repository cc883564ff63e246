//! The corpus: data sets, cases and recorded answers, read from the folders beside this file.

use crate::answer::Answer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is asked and known.
pub(crate) struct Corpus {
    pub(crate) datasets: Vec<Dataset>,
    pub(crate) cases: Vec<Case>,
}

/// Log data with fixed timestamps.
pub(crate) struct Dataset {
    pub(crate) name: String,
    /// Push payloads; their order matters, since some entries arrive late on purpose.
    pub(crate) pushes: Vec<Value>,
}

/// One question, or a script of several.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) family: String,
    pub(crate) note: String,
    pub(crate) steps: Vec<Step>,
    /// Scripts change the server: they run alone, after all others.
    pub(crate) is_script: bool,
    /// What Loki answered, step by step.
    pub(crate) answers: Vec<Answer>,
}

/// One request and how its answer is compared.
pub(crate) struct Step {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) params: Vec<(String, Value)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) gzip: bool,
    pub(crate) mode: Mode,
    /// What the error text must begin with; the whole recorded text if absent.
    pub(crate) prefix: Option<String>,
    /// How long the step may be repeated until it matches.
    pub(crate) retry: Duration,
    /// Names under which parts of the answer are kept for later steps.
    pub(crate) save: Vec<(String, String)>,
    /// Members that differ from run to run, as paths.
    pub(crate) ignore: Vec<String>,
}

/// What is sent.
pub(crate) enum Body {
    None,
    /// The parameters, as a form.
    Form,
    Json(Value),
    Text(String),
    Bytes(Vec<u8>),
}

/// How two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lists in any order; entries of a stream in order of time.
    Unordered,
    /// Order counts everywhere.
    Exact,
    /// The error text must begin with a prefix.
    ErrorPrefix,
    /// Any refusal.
    Error,
    /// Only the status.
    StatusOnly,
    /// The label sets of a vector or matrix; numbers are free.
    Labels,
    /// The same members of the same JSON type.
    Shape,
}

/// Returns the folder that this file is in.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

impl Corpus {
    /// Reads everything. Panics on a file that is not as `README.md` says.
    pub(crate) fn load() -> Self {
        let mut answers = BTreeMap::new();
        for text in texts("answers") {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let value: Value = serde_json::from_str(line).unwrap();
                let id = value["id"].as_str().unwrap().to_owned();
                assert!(answers.insert(id.clone(), Answer::recorded(&value)).is_none(), "{id} twice");
            }
        }
        let mut cases = Vec::new();
        for text in texts("cases") {
            let list: Vec<Value> = serde_json::from_str(&text).unwrap();
            cases.extend(list.iter().map(|value| Case::read(value, &mut answers)));
        }
        assert!(answers.is_empty(), "answers without a case: {:?}", answers.keys().collect::<Vec<_>>());
        Self { datasets: texts("datasets").iter().map(|text| Dataset::read(text)).collect(), cases }
    }
}

/// Reads the files of a folder in the order of their names.
fn texts(name: &str) -> Vec<String> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder().join(name)).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "nothing in {name}");
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

impl Dataset {
    fn read(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap();
        let pushes = value["pushes"].as_array().unwrap().clone();
        Self { name: text_of(&value["name"]), pushes }
    }
}

impl Case {
    fn read(value: &Value, answers: &mut BTreeMap<String, Vec<Answer>>) -> Self {
        let id = text_of(&value["id"]);
        let is_script = value.get("steps").is_some();
        let steps = match value.get("steps") {
            Some(steps) => steps.as_array().unwrap().iter().map(Step::read).collect(),
            None => vec![Step::read(value)],
        };
        let answers = answers.remove(&id).unwrap_or_else(|| panic!("no recorded answer for {id}"));
        assert_eq!(answers.len(), steps.len(), "answers of {id}");
        Self {
            family: text_of(&value["family"]),
            note: text_of(&value["note"]),
            id,
            steps,
            is_script,
            answers,
        }
    }

    /// Returns the query of the last step that has one.
    pub(crate) fn query(&self) -> Option<&str> {
        let of_step = |step: &'_ Step| step.params.iter().position(|(name, _)| name == "query");
        let step = self.steps.iter().rev().find(|step| of_step(step).is_some())?;
        step.params.get(of_step(step)?)?.1.as_str()
    }
}

impl Step {
    fn read(value: &Value) -> Self {
        for key in value.as_object().unwrap().keys() {
            assert!(KEYS.contains(&key.as_str()), "a case has {key:?}, which nobody reads");
        }
        let pairs = |name: &str| -> Vec<(String, Value)> {
            let object = value.get(name).and_then(Value::as_object);
            object.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let texts = |name: &str| pairs(name).into_iter().map(|(key, value)| (key, text_of(&value))).collect();
        Self {
            method: value.get("method").map_or_else(|| "GET".to_owned(), text_of),
            path: text_of(&value["path"]),
            params: pairs("params"),
            headers: texts("headers"),
            body: Body::read(value),
            gzip: value["gzip"] == true,
            mode: mode(value.get("compare").and_then(Value::as_str)),
            prefix: value.get("prefix").map(text_of),
            retry: Duration::from_secs_f64(value["retry_s"].as_f64().unwrap_or(0.0)),
            save: texts("save"),
            ignore: value["ignore"].as_array().into_iter().flatten().map(text_of).collect(),
        }
    }
}

/// The members of a case and of a step.
const KEYS: [&str; 20] = [
    "id",
    "family",
    "datasets",
    "note",
    "method",
    "path",
    "params",
    "headers",
    "form",
    "json",
    "text",
    "base64",
    "gzip",
    "compare",
    "strict_compare",
    "prefix",
    "retry_s",
    "save",
    "ignore",
    "until",
];

impl Body {
    fn read(value: &Value) -> Self {
        if let Some(json) = value.get("json") {
            Self::Json(json.clone())
        } else if let Some(text) = value.get("text") {
            Self::Text(text_of(text))
        } else if let Some(text) = value.get("base64") {
            Self::Bytes(base64(&text_of(text)))
        } else if value["form"] == true {
            Self::Form
        } else {
            Self::None
        }
    }
}

fn mode(name: Option<&str>) -> Mode {
    match name {
        None | Some("unordered") => Mode::Unordered,
        Some("exact") => Mode::Exact,
        Some("error-prefix") => Mode::ErrorPrefix,
        Some("error") => Mode::Error,
        Some("status-only") => Mode::StatusOnly,
        Some("labels") => Mode::Labels,
        Some("shape") => Mode::Shape,
        Some(other) => panic!("no mode {other:?}"),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("want a text, got {value}")).to_owned()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no base64"),
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}
