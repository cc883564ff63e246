//! Stages that extract values of a text: `json` and `regex`; and `output`, which makes one of them the line.

use jmespath::Expression;
use logyard_model::translate;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value as Json;
use std::sync::Arc;

use crate::entry::{Entry, Value};
use crate::error::Error;
use crate::settings::{JsonSettings, RegexSettings};

/// Deepest nesting of a regular expression's groups, twice Go's bound.
const NEST_MAX: u32 = 2_010;

/// Compiles a regular expression of Go's dialect that may match anywhere in bytes.
pub(crate) fn compile_regex(pattern: &str) -> Result<Regex, Error> {
    let translated = translate(pattern).map_err(|error| Error::new(error.to_string()))?;
    RegexBuilder::new(&translated)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|_| Error::new(format!("error parsing regexp: expression too large: `{pattern}`")))
}

/// `json`.
#[derive(Clone, Debug)]
pub(crate) struct JsonStage {
    expressions: Vec<(String, Path)>,
    source: Option<String>,
    pub(crate) drops_malformed: bool,
}

/// Where a value is in an object.
#[derive(Clone, Debug)]
enum Path {
    /// Names, one inside the other: by far the most frequent form, and without a copy of the object.
    Names(Vec<String>),
    Expression(Arc<Expression<'static>>),
}

impl JsonStage {
    pub(crate) fn compile(settings: &JsonSettings) -> Result<Self, Error> {
        if settings.expressions.is_empty() {
            return Err(
                Error::new("no expression is given; add one such as level: level").inside("expressions")
            );
        }
        let mut expressions = Vec::new();
        for (name, text) in &settings.expressions {
            let text = text.as_deref().filter(|text| !text.is_empty()).unwrap_or(name);
            let path = match plain_names(text) {
                Some(names) => Path::Names(names),
                None => Path::Expression(Arc::new(jmespath::compile(text).map_err(|error| {
                    let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
                    Error::new(format!("{text:?} is no JMESPath expression: {reason}"))
                        .inside(name.as_str())
                        .inside("expressions")
                })?)),
            };
            expressions.push((name.clone(), path));
        }
        Ok(Self { expressions, source: settings.source.clone(), drops_malformed: settings.drop_malformed })
    }

    /// Returns whether the text is an object; a missing source counts as one.
    pub(crate) fn apply(&self, entry: &mut Entry) -> bool {
        let Some(input) = entry.input(self.source.as_deref()) else { return true };
        let Ok(object @ Json::Object(_)) = serde_json::from_str(&String::from_utf8_lossy(&input)) else {
            return false;
        };
        for (name, path) in &self.expressions {
            let value = match path {
                Path::Names(names) => {
                    let found = names.iter().try_fold(&object, |value, name| value.get(name.as_str()));
                    Value::from_json(found.unwrap_or(&Json::Null))
                }
                Path::Expression(expression) => match expression.search(&object) {
                    Ok(found) => Value::from_json(&serde_json::to_value(&found).unwrap_or_default()),
                    Err(_) => continue,
                },
            };
            entry.extracted.set(name, value);
        }
        true
    }
}

/// Splits an expression that is nothing but names with dots between them.
fn plain_names(text: &str) -> Option<Vec<String>> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split('.').map(|name| is_name(name).then(|| name.to_owned())).collect()
}

/// `regex`.
#[derive(Clone, Debug)]
pub(crate) struct RegexStage {
    regex: Regex,
    source: Option<String>,
}

impl RegexStage {
    pub(crate) fn compile(settings: &RegexSettings) -> Result<Self, Error> {
        let regex = compile_regex(&settings.expression).map_err(|error| error.inside("expression"))?;
        if regex.capture_names().flatten().next().is_none() {
            return Err(Error::new("no group has a name; write (?P<name>…)").inside("expression"));
        }
        Ok(Self { regex, source: settings.source.clone() })
    }

    pub(crate) fn apply(&self, entry: &mut Entry) {
        let Some(input) = entry.input(self.source.as_deref()) else { return };
        let Some(captures) = self.regex.captures(&input) else { return };
        let found: Vec<(&str, String)> = (self.regex.capture_names().enumerate())
            .filter_map(|(index, name)| {
                let text = captures.get(index).map(|found| found.as_bytes()).unwrap_or_default();
                Some((name?, String::from_utf8_lossy(text).into_owned()))
            })
            .collect();
        drop(captures);
        drop(input);
        for (name, text) in found {
            entry.extracted.set_text(name, text);
        }
    }
}
