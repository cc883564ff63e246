//! Fields of a line as structured metadata: all that a JSON object or a logfmt line names, without naming them first.
//!
//! No stage of Promtail's: containers ask for it by a label. A field yields to a label and to metadata of its name.

use serde_json::Value as Json;

use crate::entry::{Entry, Value};
use crate::relabel::label_name_of;
use crate::stage_logfmt::pair;

/// How lines name their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldsOf {
    /// Members of an object; those of objects inside are named by the way to them, with `_` between.
    Json,
    /// `key=value`.
    Logfmt,
}

/// Fields of one entry; a store refuses entries with too many.
const FIELDS_MAX: usize = 64;
/// Bytes of one value; longer ones stay in the line alone.
const VALUE_BYTES_MAX: usize = 1_024;
/// Bytes of the names and values of one entry's fields, half of what a store takes; what comes later stays in the line
/// alone.
const FIELDS_BYTES_MAX: usize = 32 << 10;
/// Deepest object that is entered.
const DEPTH_MAX: usize = 4;

impl FieldsOf {
    pub(crate) fn apply(self, entry: &mut Entry) {
        let mut found = Vec::new();
        match self {
            Self::Json => {
                if let Ok(object @ Json::Object(_)) = serde_json::from_slice(&entry.line) {
                    members("", &object, DEPTH_MAX, &mut found);
                }
            }
            Self::Logfmt => {
                let mut rest: &[u8] = &entry.line;
                while let Some((key, value)) = pair(&mut rest).filter(|_| found.len() < FIELDS_MAX) {
                    // A word by itself is no field.
                    if !value.is_empty() {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        found.push((text(key), text(&value)));
                    }
                }
            }
        }
        let mut bytes = 0;
        for (name, value) in found {
            let name = label_name_of(&name);
            let is_taken = name.is_empty()
                || name.starts_with("__")
                || entry.labels.get(&name).is_some()
                || entry.metadata.get(&name).is_some();
            let bytes_with_it = bytes + name.len() + value.len();
            let fits = value.len() <= VALUE_BYTES_MAX && bytes_with_it <= FIELDS_BYTES_MAX;
            if !is_taken && !value.is_empty() && fits {
                bytes = bytes_with_it;
                entry.metadata.insert(name, value);
            }
        }
    }
}

fn members(prefix: &str, value: &Json, depth: usize, found: &mut Vec<(String, String)>) {
    let Json::Object(members_of) = value else { return };
    for (name, value) in members_of {
        if found.len() >= FIELDS_MAX {
            return;
        }
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}_{name}") };
        match value {
            Json::Object(_) if depth > 1 => members(&name, value, depth - 1, found),
            Json::Object(_) | Json::Array(_) | Json::Null => {}
            scalar => {
                if let Some(text) = Value::from_json(scalar).text() {
                    found.push((name, text.into_owned()));
                }
            }
        }
    }
}
