//! JSON documents, one a line, as entries: what Elasticsearch's `_bulk` carries, and JSON lines.
//!
//! ```text
//! bulk   {"create":{"_index":"logs"}} ⏎ {"@timestamp":"…","message":"…",…} ⏎ …
//! lines  {"@timestamp":"…","message":"…",…} ⏎ …
//! ```
//!
//! Of a document some fields become labels, one the time, one the line; the others are structured metadata, nested
//! names joined with `_`, lists as JSON. Which ones is said by [`FieldNames`]; where it says nothing, the lists below
//! hold: what Filebeat (ECS), Fluent Bit, Logstash and Vector send. A document without a line is its own line.
//!
//! A document that cannot be read is refused alone, the others stay. Memory: documents are parsed one at a time, and
//! what they become is counted in one budget with the rest of the request.

use crate::Error;
use crate::budget::Budget;
use crate::bulk::{self, Action};
use crate::go_time::{GoTime, parse_rfc3339};
use crate::loki_push::{Pair, PushEntries, PushLabels, PushRequest, PushStream};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// Fields that become labels; of several for one label the first that is there.
const LABELS: [(&str, &str); 26] = [
    ("service.name", "service_name"),
    ("host.name", "host"),
    ("host", "host"),
    ("hostname", "host"),
    ("container.name", "container"),
    ("container.image.name", "image"),
    ("container.labels.com_docker_compose_project", "compose_project"),
    ("container.labels.com_docker_compose_service", "compose_service"),
    ("kubernetes.namespace", "namespace"),
    ("kubernetes.namespace_name", "namespace"),
    ("kubernetes.pod.name", "pod"),
    ("kubernetes.pod_name", "pod"),
    ("kubernetes.container.name", "container"),
    ("kubernetes.container_name", "container"),
    ("kubernetes.node.name", "node"),
    ("log.file.path", "filename"),
    ("stream", "stream"),
    ("container_name", "container"),
    ("compose_project", "compose_project"),
    ("compose_service", "compose_service"),
    ("image", "image"),
    ("container", "container"),
    ("namespace", "namespace"),
    ("service", "service"),
    ("app", "app"),
    ("job", "job"),
];

/// Fields that hold the line.
const LINES: [&str; 5] = ["message", "log", "msg", "line", "_msg"];

/// Fields that hold the time. What the first one holds must be a time; of the others only what is one counts.
const TIMES: [&str; 6] = ["@timestamp", "_time", "timestamp", "time", "ts", "date"];

/// Deepest nesting of a document whose members get names of their own; deeper ones are JSON.
const DEPTH_MAX: usize = 16;

/// Most bytes of the path of a field.
const PATH_BYTES_MAX: usize = 1024;

/// What a member or item takes at most in the tree of one document: a node of the parser's map.
const ITEM_BYTES: usize = 300;

/// Most fields that a sender may name as labels.
const LABEL_FIELDS_MAX: usize = 64;

/// Which fields of a document mean something, by their dotted path; `None` for the lists of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    /// Fields that become labels, under their own names.
    pub labels: Option<Vec<String>>,
    /// The field that holds the line.
    pub line: Option<String>,
    /// The field that holds the time.
    pub time: Option<String>,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Elasticsearch's `_bulk`: an action before each document.
    Bulk,
    /// Documents alone.
    Lines,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An entry of the request: index of its stream, and of the entry there.
    Entry(usize, usize),
    /// Nothing, and why; its bytes.
    Refused(&'static str, usize),
}

/// Decoded documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents<'a> {
    /// Their entries, one stream for each set of labels.
    pub request: PushRequest<'a>,
    /// What was asked and what became of it, in the order sent.
    pub items: Vec<(Action, Place)>,
}

/// Decodes documents; those without a time get `now_ns`.
///
/// Errors: `Invalid` for a bulk whose actions cannot be told from documents, `Limited` above about `bytes_max` bytes of
/// memory. Cost: a tree for each document, one after the other.
pub fn decode<'a>(
    form: Form,
    body: &'a [u8],
    names: &FieldNames,
    now_ns: i64,
    bytes_max: usize,
) -> Result<Documents<'a>, Error> {
    let mut reader = Reader::new(names, now_ns, bytes_max);
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        if line.is_empty() {
            reader.budget.idle()?;
            continue;
        }
        let (action, document) = match form {
            Form::Lines => (Action::Line, line),
            Form::Bulk => {
                let action = bulk::action(line, reader.items.len())?;
                let document = if action.has_document() { lines.next().unwrap_or_default() } else { line };
                (action, document)
            }
        };
        let place = match action {
            Action::Update | Action::Delete => {
                Place::Refused("entries are added only: want index or create", document.len())
            }
            _ => reader.add(document)?,
        };
        reader.budget.push(&mut reader.items, (action, place))?;
    }
    let streams = reader.streams;
    Ok(Documents { request: PushRequest { streams }, items: reader.items })
}

struct Reader<'a, 'n> {
    names: &'n FieldNames,
    now_ns: i64,
    budget: Budget,
    streams: Vec<PushStream<'a>>,
    index: HashMap<Vec<Pair<'a>>, usize>,
    items: Vec<(Action, Place)>,
}

impl<'a, 'n> Reader<'a, 'n> {
    fn new(names: &'n FieldNames, now_ns: i64, bytes_max: usize) -> Self {
        let budget = Budget::new(bytes_max);
        Self { names, now_ns, budget, streams: Vec::new(), index: HashMap::new(), items: Vec::new() }
    }

    fn add(&mut self, text: &'a [u8]) -> Result<Place, Error> {
        let count = |byte: u8| text.iter().filter(|have| **have == byte).count();
        let mark = self.budget.mark();
        self.budget.take((count(b',') + count(b'{') + count(b'[')).saturating_mul(ITEM_BYTES))?;
        self.budget.take(text.len())?;
        let parsed = serde_json::from_slice(text);
        self.budget.back_to(mark);
        let Ok(Value::Object(mut document)) = parsed else {
            return Ok(Place::Refused("not a JSON object", text.len()));
        };
        let Some(ts_ns) = self.time(&mut document) else {
            return Ok(Place::Refused("its time is neither RFC 3339 nor a number", text.len()));
        };
        let labels = self.labels(&mut document);
        let line = self.line(&mut document);
        let at = self.stream(labels)?;
        let budget = &mut self.budget;
        let Some(stream) = self.streams.get_mut(at) else { return Ok(Place::Refused("lost", text.len())) };
        let entries: &mut PushEntries<'a> = &mut stream.entries;
        let line: Cow<'a, [u8]> = match line {
            Some(line) => {
                let pairs = entries.next_pairs().0;
                for (name, value) in document {
                    flatten(name, value, 0, pairs, budget)?;
                }
                budget.take_allocation(line.len())?;
                Cow::Owned(line.into_bytes())
            }
            None => {
                budget.take(text.len())?;
                Cow::Borrowed(text)
            }
        };
        entries.push(GoTime::from_ns(ts_ns), line, budget)?;
        Ok(Place::Entry(at, entries.len() - 1))
    }

    /// Returns the stream of some labels, which are sorted.
    fn stream(&mut self, labels: Vec<Pair<'a>>) -> Result<usize, Error> {
        if let Some(at) = self.index.get(&labels) {
            return Ok(*at);
        }
        let bytes = labels.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<Pair<'_>>());
        // Once for the stream, once for the index.
        self.budget.take_allocation(2 * bytes.sum::<usize>())?;
        let at = self.streams.len();
        let stream = PushStream { labels: PushLabels::Pairs(labels.clone()), ..PushStream::default() };
        self.budget.push(&mut self.streams, stream)?;
        self.index.insert(labels, at);
        Ok(at)
    }

    fn labels(&self, document: &mut Map<String, Value>) -> Vec<Pair<'a>> {
        let mut labels: Vec<Pair<'a>> = Vec::new();
        let mut add = |path: &str, name: &str| {
            if labels.iter().all(|(have, _)| have != name)
                && let Some(text) = take_path(document, path, is_scalar).and_then(into_text)
            {
                labels.push((Cow::Owned(name.to_owned()), Cow::Owned(text)));
            }
        };
        match &self.names.labels {
            Some(paths) => {
                for path in paths.iter().take(LABEL_FIELDS_MAX) {
                    add(path, &label_name(path));
                }
            }
            None => LABELS.into_iter().for_each(|(path, name)| add(path, name)),
        }
        labels.sort();
        labels
    }

    fn line(&self, document: &mut Map<String, Value>) -> Option<String> {
        let mut take = |path: &str| take_path(document, path, is_scalar).and_then(into_text);
        match &self.names.line {
            Some(path) => take(path),
            None => LINES.into_iter().find_map(take),
        }
    }

    /// Returns the time of a document; `None` if it has one that cannot be read.
    fn time(&self, document: &mut Map<String, Value>) -> Option<i64> {
        let mut strict = |path: &str| take_path(document, path, |_| true);
        let given = match &self.names.time {
            Some(path) => strict(path),
            None => strict(TIMES[0]),
        };
        if let Some(value) = given.filter(|value| !value.is_null()) {
            return time_ns(&value);
        }
        if self.names.time.is_some() {
            return Some(self.now_ns);
        }
        let others = TIMES.iter().skip(1);
        let found =
            others.filter_map(|path| take_path(document, path, |value| time_ns(value).is_some())).next();
        Some(found.and_then(|value| time_ns(&value)).unwrap_or(self.now_ns))
    }
}

/// Takes a field out of a document if it `fits`: by its dotted path, or by its name if that has the dots.
fn take_path(
    document: &mut Map<String, Value>,
    path: &str,
    fits: impl Fn(&Value) -> bool + Copy,
) -> Option<Value> {
    if document.get(path).is_some_and(fits) {
        return document.remove(path);
    }
    let (first, rest) = path.split_once('.')?;
    match document.get_mut(first)? {
        Value::Object(members) => {
            let value = take_path(members, rest, fits)?;
            if members.is_empty() {
                document.remove(first);
            }
            Some(value)
        }
        _ => None,
    }
}

/// Returns whether a value is a text, number or boolean.
fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// Returns the text of such a value.
fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Reads a time: RFC 3339, or a number of seconds, milliseconds, microseconds or nanoseconds by its size.
pub fn time_ns(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => match parse_rfc3339(text) {
            Some(time) => time.to_ns(),
            None => number_ns(&text.parse().ok()?),
        },
        Value::Number(number) => number_ns(number),
        _ => None,
    }
}

/// The units change where seconds would lie beyond the year 5000, and so on: each range begins in 1973.
fn number_ns(number: &serde_json::Number) -> Option<i64> {
    const SECS_MAX: u64 = 100_000_000_000;
    let factor = |size: u64| match size {
        0..SECS_MAX => 1_000_000_000,
        SECS_MAX..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1000,
        _ => 1,
    };
    if let Some(number) = number.as_i64() {
        return number.checked_mul(factor(number.unsigned_abs()));
    }
    let number = number.as_f64().filter(|number| number.abs() < 9e18)?;
    let factor = factor(number.abs() as u64);
    // A float holds some hundred nanoseconds of our days: whole microseconds are what was meant.
    let micros = (number * factor as f64 / 1000.0).round();
    (micros.abs() < 9e15).then(|| (micros as i64).checked_mul(1000)).flatten()
}

/// Makes the name of a label of the path of a field.
fn label_name(path: &str) -> String {
    let mut name: String = path
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' })
        .collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        name.insert(0, '_');
    }
    name
}

fn flatten<'a>(
    name: String,
    value: Value,
    depth: usize,
    pairs: &mut Vec<Pair<'a>>,
    budget: &mut Budget,
) -> Result<(), Error> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::Object(members) if depth < DEPTH_MAX && name.len() <= PATH_BYTES_MAX => {
            for (member, value) in members {
                flatten(format!("{name}_{member}"), value, depth + 1, pairs, budget)?;
            }
            return Ok(());
        }
        Value::String(text) => text,
        value => value.to_string(),
    };
    budget.take_allocation(name.len())?;
    budget.take_allocation(text.len())?;
    budget.push(pairs, (Cow::Owned(name), Cow::Owned(text)))
}

#[cfg(test)]
mod tests;
