//! Stages that set and remove labels and structured metadata, and those that rewrite the line with them.

use std::borrow::Cow;

use crate::entry::{Entry, write_json_text};
use crate::error::Error;
use crate::relabel::is_label_name;
use crate::settings::{Names, PackSettings};

/// The key under which a packed entry keeps its line.
const PACKED_LINE: &str = "_entry";

/// Names and their sources, checked.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Takes names of labels and their sources; an empty source is the same name.
    pub(crate) fn compile(names: &Names) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::new("nothing is given; add a name such as level:"));
        }
        let pair = |(name, source): (&String, &Option<String>)| {
            check_name(name)?;
            let source = source.as_deref().filter(|source| !source.is_empty()).unwrap_or(name);
            Ok((name.clone(), source.to_owned()))
        };
        Ok(Self(names.iter().map(pair).collect::<Result<_, _>>()?))
    }

    /// Takes names of labels and fixed values; empty ones are left out.
    pub(crate) fn compile_fixed(names: &Names) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::new("nothing is given; add a label such as env: prod"));
        }
        let mut pairs = Vec::new();
        for (name, value) in names {
            check_name(name)?;
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                pairs.push((name.clone(), value.to_owned()));
            }
        }
        Ok(Self(pairs))
    }

    /// `labels`
    pub(crate) fn set_labels(&self, entry: &mut Entry) {
        for (name, source) in &self.0 {
            if let Some(text) = entry.extracted.text(source).map(Cow::into_owned) {
                entry.set_label(name, &text);
            }
        }
    }

    /// `static_labels`
    pub(crate) fn set_fixed(&self, entry: &mut Entry) {
        for (name, value) in &self.0 {
            entry.set_label(name, value);
        }
    }

    /// `structured_metadata`
    pub(crate) fn set_metadata(&self, entry: &mut Entry) {
        for (name, source) in &self.0 {
            let label = entry.labels.get(source).map(str::to_owned);
            let extracted = entry.extracted.text(source).map(Cow::into_owned);
            let Some(value) = extracted.or_else(|| label.clone()) else { continue };
            if label.is_some_and(|label| label == value) {
                entry.remove_label(source);
            }
            entry.metadata.insert(name.as_str(), value);
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    match is_label_name(name) {
        true => Ok(()),
        false => Err(Error::new(format!(
            "{name:?} is no label name; use letters, digits and _, and no digit first"
        ))),
    }
}

/// `labeldrop`
pub(crate) fn drop_labels(names: &[String], entry: &mut Entry) {
    for name in names {
        entry.remove_label(name);
    }
}

/// `labelallow`
pub(crate) fn allow_labels(names: &[String], entry: &mut Entry) {
    let is_gone = |name: &&str| !names.iter().any(|allowed| allowed == name);
    let gone: Vec<String> =
        entry.labels.iter().map(|(name, _)| name).filter(is_gone).map(str::to_owned).collect();
    for name in gone {
        entry.remove_label(&name);
    }
}

/// `pack`
pub(crate) fn pack(settings: &PackSettings, entry: &mut Entry, now_ns: i64) {
    let mut packed: Vec<(&String, String)> = Vec::new();
    for name in &settings.labels {
        let label = entry.labels.get(name).map(str::to_owned);
        if let Some(value) = entry.extracted.text(name).map(Cow::into_owned).or(label) {
            packed.push((name, value));
        }
        entry.remove_label(name);
    }
    packed.sort_unstable();
    packed.dedup_by(|later, earlier| later.0 == earlier.0);
    let mut line = String::from("{");
    for (name, value) in packed {
        write_json_text(name, &mut line);
        line.push(':');
        write_json_text(&value, &mut line);
        line.push(',');
    }
    write_json_text(PACKED_LINE, &mut line);
    line.push(':');
    write_json_text(&String::from_utf8_lossy(&entry.line), &mut line);
    line.push('}');
    entry.line = line.into_bytes();
    if settings.ingest_timestamp {
        entry.ts_ns = now_ns;
    }
}
