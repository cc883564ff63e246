//! An entry on its way through the stages, and what was extracted of it.

use std::borrow::Cow;
use std::sync::Arc;

use logyard_model::LabelSet;
use serde_json::Value as Json;

/// A value of the extracted map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
}

impl Value {
    /// Returns the value as text: numbers without exponent; null has none.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number_text(*number))),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Null => None,
        }
    }

    /// Takes a value of JSON; objects and arrays become JSON text.
    pub(crate) fn from_json(value: &Json) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.as_f64().unwrap_or_default()),
            Json::String(text) => Self::Text(text.clone()),
            other => {
                let mut out = String::new();
                write_json(other, &mut out);
                Self::Text(out)
            }
        }
    }
}

/// Writes a number as Go's `strconv.FormatFloat(x, 'f', -1, 64)` does.
fn number_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{number}")
}

/// Writes JSON as Go does: keys sorted, `<`, `>` and `&` escaped, numbers as floats.
fn write_json(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let size = number.abs();
            if number != 0.0 && !(1e-6..1e21).contains(&size) {
                let text = format!("{number:e}");
                out.push_str(&if text.contains("e-") { text } else { text.replace('e', "e+") });
            } else {
                out.push_str(&number_text(number));
            }
        }
        Json::String(text) => write_json_text(text, out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            // The map keeps its keys sorted.
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json_text(name, out);
                out.push(':');
                write_json(member, out);
            }
            out.push('}');
        }
    }
}

/// Writes a text of JSON as Go does.
pub(crate) fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What stages found: names and values. It starts with all labels of the entry.
#[derive(Clone, Debug)]
pub(crate) struct Extracted {
    /// Labels at the start, shared.
    base: Arc<LabelSet>,
    /// Later values; `None`: the name is gone.
    own: Vec<(Box<str>, Option<Value>)>,
}

impl Extracted {
    pub(crate) fn new(labels: &Arc<LabelSet>) -> Self {
        Self { base: Arc::clone(labels), own: Vec::new() }
    }

    /// Returns the labels at the start.
    pub(crate) fn into_base(self) -> Arc<LabelSet> {
        self.base
    }

    /// Returns whether a name has a value, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.own.iter().find(|(own, _)| **own == *name) {
            Some((_, value)) => value.is_some(),
            None => self.base.get(name).is_some(),
        }
    }

    /// Returns a value.
    pub(crate) fn value(&self, name: &str) -> Option<Cow<'_, Value>> {
        match self.own.iter().find(|(own, _)| **own == *name) {
            Some((_, value)) => value.as_ref().map(Cow::Borrowed),
            None => self.base.get(name).map(|text| Cow::Owned(Value::Text(text.to_owned()))),
        }
    }

    /// Returns a value as text; `None` if there is none, or it is null.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.own.iter().find(|(own, _)| **own == *name) {
            Some((_, value)) => value.as_ref()?.text(),
            None => self.base.get(name).map(Cow::Borrowed),
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.put(name, Some(value));
    }

    pub(crate) fn set_text(&mut self, name: &str, text: impl Into<String>) {
        self.put(name, Some(Value::Text(text.into())));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.put(name, None);
    }

    fn put(&mut self, name: &str, value: Option<Value>) {
        match self.own.iter_mut().find(|(own, _)| **own == *name) {
            Some(slot) => slot.1 = value,
            None => self.own.push((name.into(), value)),
        }
    }

    /// Calls `visit` with all names and values that have a text.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self.base.iter() {
            if !self.own.iter().any(|(own, _)| **own == *name) {
                visit(name, value);
            }
        }
        for (name, value) in &self.own {
            if let Some(text) = value.as_ref().and_then(Value::text) {
                visit(name, &text);
            }
        }
    }
}

/// What lines that are joined have in common: labels and output.
pub(crate) type JoinKey = (Arc<LabelSet>, u8);

/// An entry on its way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) labels: Arc<LabelSet>,
    pub(crate) ts_ns: i64,
    pub(crate) line: Vec<u8>,
    pub(crate) metadata: LabelSet,
    pub(crate) extracted: Extracted,
    /// Which of the target's outputs it came from.
    pub(crate) output: u8,
    /// Numbers of the first and the last line that went into it.
    pub(crate) lines: (u64, u64),
}

impl Entry {
    /// What lines that are joined have in common.
    pub(crate) fn key(&self) -> JoinKey {
        (Arc::clone(&self.labels), self.output)
    }

    pub(crate) fn set_label(&mut self, name: &str, value: &str) {
        if self.labels.get(name) != Some(value) {
            Arc::make_mut(&mut self.labels).insert(name, value);
        }
    }

    pub(crate) fn remove_label(&mut self, name: &str) {
        if self.labels.get(name).is_some() {
            Arc::make_mut(&mut self.labels).remove(name);
        }
    }

    /// The text of `source`, or the line if there is no source.
    pub(crate) fn input(&self, source: Option<&str>) -> Option<Cow<'_, [u8]>> {
        match source {
            None => Some(Cow::Borrowed(&self.line)),
            Some(name) => self.extracted.text(name).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        }
    }
}
