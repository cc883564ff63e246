//! Stages with Go templates: `template` sets a value, `replace` what groups of a regular expression match.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use logyard_template::{Dialect, Entry as Over, Fields, Template, Value};
use regex::bytes::Regex;

use crate::entry::Entry;
use crate::error::Error;
use crate::settings::{ReplaceSettings, TemplateSettings};
use crate::stage_extract::compile_regex;

/// What Promtail calls its templates in errors.
const NAME: &str = "pipeline_template";

/// Names of one run: `.Value`, `.Entry` and everything extracted.
#[derive(Debug)]
struct Names<'a> {
    entry: &'a Entry,
    value: Option<&'a [u8]>,
    has_entry: bool,
    /// An absent name is an empty text, not no value.
    absent_is_empty: bool,
}

impl Fields for Names<'_> {
    fn field(&self, name: &str) -> Value {
        match self.find(name) {
            Some(text) => Value::Text(text),
            None if self.absent_is_empty => Value::text(""),
            None => Value::Nil,
        }
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        match name {
            "Value" => self.value,
            "Entry" if self.has_entry => Some(&self.entry.line),
            _ => None,
        }
    }

    fn all(&self) -> Value {
        let mut map = BTreeMap::new();
        self.entry.extracted.each(&mut |name, text| drop(map.insert(name.to_owned(), Value::text(text))));
        if let Some(value) = self.value {
            map.insert("Value".to_owned(), Value::text(value));
        }
        if self.has_entry {
            map.insert("Entry".to_owned(), Value::text(&*self.entry.line));
        }
        Value::Map(Rc::new(map))
    }
}

impl Names<'_> {
    fn find(&self, name: &str) -> Option<Vec<u8>> {
        match self.text(name) {
            Some(text) => Some(text.to_vec()),
            None => self.entry.extracted.text(name).map(|text| text.into_owned().into_bytes()),
        }
    }
}

/// `template`.
#[derive(Clone, Debug)]
pub(crate) struct TemplateStage {
    source: String,
    template: Arc<Template>,
}

impl TemplateStage {
    pub(crate) fn compile(settings: &TemplateSettings) -> Result<Self, Error> {
        if settings.source.is_empty() {
            return Err(Error::new("empty; name the value to set").inside("source"));
        }
        Ok(Self { source: settings.source.clone(), template: compile(&settings.template, "template")? })
    }

    /// A template that fails leaves the entry as it is.
    pub(crate) fn apply(&self, entry: &mut Entry, now_ns: i64) {
        let present = entry.extracted.text(&self.source).map(|text| text.into_owned().into_bytes());
        let names = Names { entry, value: present.as_deref(), has_entry: true, absent_is_empty: false };
        let over = Over { line: &entry.line, ts_ns: entry.ts_ns, now_ns };
        let Ok(text) = self.template.run(over, &names) else { return };
        if text.is_empty() {
            entry.extracted.remove(&self.source);
        } else {
            entry.extracted.set_text(&self.source, String::from_utf8_lossy(&text).into_owned());
        }
    }
}

fn compile(text: &str, key: &str) -> Result<Arc<Template>, Error> {
    Template::compile(NAME, text, Dialect::Agent)
        .map(Arc::new)
        .map_err(|reason| Error::new(reason).inside(key))
}

/// `replace`.
#[derive(Clone, Debug)]
pub(crate) struct ReplaceStage {
    regex: Regex,
    source: Option<String>,
    template: Arc<Template>,
}

impl ReplaceStage {
    pub(crate) fn compile(settings: &ReplaceSettings) -> Result<Self, Error> {
        if settings.expression.is_empty() {
            return Err(Error::new("empty; give a regular expression with groups").inside("expression"));
        }
        let regex = compile_regex(&settings.expression).map_err(|error| error.inside("expression"))?;
        let template = compile(&settings.replace, "replace")?;
        Ok(Self { regex, source: settings.source.clone(), template })
    }

    pub(crate) fn apply(&self, entry: &mut Entry, now_ns: i64) {
        let Some(input) = entry.input(self.source.as_deref()) else { return };
        // Without a match the text stays as it is; most lines have none.
        if !self.regex.is_match(&input) {
            return;
        }
        let input = input.into_owned();
        let mut out = Vec::with_capacity(input.len());
        let mut copied = 0;
        // Texts of the first match's named groups, as they were replaced.
        let mut named = Vec::new();
        for (number, captures) in self.regex.captures_iter(&input).enumerate() {
            for (index, name) in self.regex.capture_names().enumerate().skip(1) {
                let Some(group) = captures.get(index) else { continue };
                let names =
                    Names { entry, value: Some(group.as_bytes()), has_entry: false, absent_is_empty: true };
                let over = Over { line: &entry.line, ts_ns: entry.ts_ns, now_ns };
                let Ok(text) = self.template.run(over, &names) else { return };
                // Groups inside a replaced one have no place any more.
                if group.start() >= copied {
                    out.extend_from_slice(input.get(copied..group.start()).unwrap_or_default());
                    out.extend_from_slice(&text);
                    copied = group.end();
                }
                if let Some(name) = name.filter(|_| number == 0) {
                    named.push((name, String::from_utf8_lossy(&text).into_owned()));
                }
            }
        }
        out.extend_from_slice(input.get(copied..).unwrap_or_default());
        match &self.source {
            Some(source) => entry.extracted.set_text(source, String::from_utf8_lossy(&out).into_owned()),
            None => entry.line = out,
        }
        for (name, text) in named {
            entry.extracted.set_text(name, text);
        }
    }
}
