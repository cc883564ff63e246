//! The labels of one entry on its way through a pipeline: three maps and the error pair.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Map = BTreeMap<String, String>;

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) ts_ns: i64,
    pub(crate) stream: Map,
    pub(crate) line: String,
    pub(crate) level: String,
    pub(crate) metadata: Map,
}

/// An entry in a pipeline. A label that a stage deletes is gone from all maps.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) line: Vec<u8>,
    pub(crate) stream: Map,
    pub(crate) metadata: Map,
    pub(crate) parsed: Map,
    pub(crate) error: Option<String>,
    pub(crate) details: Option<String>,
    pub(crate) preserve: bool,
    /// The labels of the stream before any stage.
    pub(crate) original: Map,
    /// Names ever set as parsed, by a parser or by `label_format`.
    pub(crate) set_once: BTreeSet<String>,
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("__error") || name.starts_with("__preserve_error")
}

impl Entry {
    pub(crate) fn new(stored: &Stored) -> Self {
        let mut metadata = Map::new();
        let level = (!stored.level.is_empty()).then(|| ("detected_level".to_owned(), stored.level.clone()));
        for (name, value) in stored.metadata.clone().into_iter().chain(level) {
            let taken = stored.stream.contains_key(&name) || is_reserved(&name);
            metadata.insert(if taken { format!("{name}_extracted") } else { name }, value);
        }
        Self {
            line: stored.line.clone().into_bytes(),
            stream: stored.stream.clone(),
            metadata,
            parsed: Map::new(),
            error: None,
            details: None,
            preserve: false,
            original: stored.stream.clone(),
            set_once: BTreeSet::new(),
        }
    }

    /// The visible value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            "__error__" => self.error.as_deref(),
            "__error_details__" => self.details.as_deref(),
            _ => self
                .parsed
                .get(name)
                .or_else(|| self.metadata.get(name))
                .or_else(|| self.stream.get(name))
                .map(String::as_str),
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.metadata.remove(name);
        self.stream.remove(name);
        self.parsed.insert(name.to_owned(), value.to_owned());
        self.set_once.insert(name.to_owned());
    }

    pub(crate) fn delete(&mut self, name: &str) {
        match name {
            "__error__" => self.error = None,
            "__error_details__" => self.details = None,
            _ => {
                self.stream.remove(name);
                self.metadata.remove(name);
                self.parsed.remove(name);
            }
        }
    }

    /// Whether what a parser finds under the name is stored as `<name>_extracted`.
    pub(crate) fn collides(&self, name: &str) -> bool {
        self.original.contains_key(name) || self.metadata.contains_key(name) || is_reserved(name)
    }

    /// The name under which a parser stores what it finds.
    pub(crate) fn stored_name(&self, name: &str) -> String {
        if self.collides(name) { format!("{name}_extracted") } else { name.to_owned() }
    }

    /// Sets what an implicit parser found: the first extraction wins.
    pub(crate) fn extract(&mut self, name: &str, value: &str) {
        let name = self.stored_name(name);
        if !self.set_once.contains(&name) {
            self.set(&name, value);
        }
    }

    pub(crate) fn fail(&mut self, error: &str, details: &str) {
        self.error = Some(error.to_owned());
        self.details = (!details.is_empty()).then(|| details.to_owned());
    }

    /// The error pair as labels.
    pub(crate) fn errors(&self) -> Map {
        let mut errors = Map::new();
        if let Some(error) = &self.error {
            errors.insert("__error__".to_owned(), error.clone());
        }
        if let Some(details) = &self.details {
            errors.insert("__error_details__".to_owned(), details.clone());
        }
        if self.preserve {
            errors.insert("__preserve_error__".to_owned(), "true".to_owned());
        }
        errors
    }

    /// All visible labels, the error pair included.
    pub(crate) fn visible(&self) -> Map {
        let mut all = self.stream.clone();
        all.extend(self.metadata.clone());
        all.extend(self.parsed.clone());
        all.extend(self.errors());
        all
    }
}

/// Makes a label name of any text; empty if nothing is left.
pub(crate) fn sanitise(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars() {
        if name.is_empty() && c.is_ascii_digit() {
            name.push('_');
        }
        name.push(if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    }
    name
}

/// Makes a value of what a json or logfmt parser found.
pub(crate) fn clean(value: &str) -> String {
    value.replace('\u{fffd}', " ")
}
