//! The fields that entries have: structured metadata, what the query parsed, and what a JSON or logfmt
//! parser finds in the line. For browsing, over a sample of entries.
//!
//! A line is read as JSON; if that fails, as logfmt, which always finds what there is. Labels of the
//! stream are no fields. The type of a field is that of the value looked at last, streams in the order of
//! their labels, as in Loki v3.7.6.

use crate::hash::{Hash128, hash_of};
use crate::labels::{Base, Labels, is_reserved};
use crate::request::LogEntry;
use crate::stage_json::Json;
use crate::stage_logfmt::Logfmt;
use crate::stage_parse::Hints;
use logyard_logql::{parse_go_duration, parse_go_float, parse_size};
use logyard_model::LabelSet;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// A field of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedField {
    /// What its values look like.
    pub kind: FieldKind,
    /// How many distinct values there are, the empty one counted.
    pub cardinality: u64,
    /// What finds it in lines, `json` or `logfmt` or both, each once; empty if it is never in a line.
    pub parsers: Vec<&'static str>,
    /// The keys that lead to it in a JSON line, as they are there; empty if there is none.
    pub json_path: Vec<String>,
}

/// What values look like; the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integer of 64 bits.
    Int,
    /// Another number.
    Float,
    /// `true`, `false` and what Go takes for them.
    Boolean,
    /// A Go duration, as in `1.5h`.
    Duration,
    /// A size, as in `10 kB`.
    Bytes,
    /// Anything else.
    Text,
}

impl FieldKind {
    /// Tells the kind of a value.
    pub fn of(value: &str) -> Self {
        const BOOLEANS: [&str; 12] =
            ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
        if value.parse::<i64>().is_ok() {
            Self::Int
        } else if parse_go_float(value).is_ok() {
            Self::Float
        } else if BOOLEANS.contains(&value) {
            Self::Boolean
        } else if parse_go_duration(value).is_ok() {
            Self::Duration
        } else if parse_size(value).is_ok() {
            Self::Bytes
        } else {
            Self::Text
        }
    }

    /// Returns Loki's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::Text => "string",
        }
    }
}

/// Returns the first `fields_max` fields of entries by name.
///
/// Cost: parses each line once or twice; memory for a hash of each distinct value.
pub fn detect_fields(entries: &[LogEntry], fields_max: usize) -> BTreeMap<String, DetectedField> {
    let mut fields: BTreeMap<String, (DetectedField, HashSet<Hash128>)> = BTreeMap::new();
    for entry in by_stream(entries) {
        visit(entry, |found| {
            if !fields.contains_key(found.name) {
                if fields.len() >= fields_max {
                    return;
                }
                let field = DetectedField {
                    kind: FieldKind::Text,
                    cardinality: 0,
                    parsers: Vec::new(),
                    json_path: Vec::new(),
                };
                fields.insert(found.name.to_owned(), (field, HashSet::new()));
            }
            let Some((field, values)) = fields.get_mut(found.name) else { return };
            field.kind = FieldKind::of(found.value);
            if let Some(parser) = found.parser
                && !field.parsers.contains(&parser)
            {
                field.parsers.push(parser);
            }
            if field.json_path.is_empty() {
                field.json_path.extend_from_slice(found.json_path);
            }
            values.insert(hash_of(found.value));
        });
    }
    let counted = |(name, (field, values)): (String, (DetectedField, HashSet<Hash128>))| {
        (name, DetectedField { cardinality: values.len() as u64, ..field })
    };
    fields.into_iter().map(counted).collect()
}

/// Returns the first `values_max` distinct values of a field. Blanks within sizes are left out, so that a
/// query can compare with them.
pub fn detect_values(entries: &[LogEntry], name: &str, values_max: usize) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for entry in by_stream(entries) {
        visit(entry, |found| {
            if found.name == name && values.len() < values_max {
                values.insert(match FieldKind::of(found.value) {
                    FieldKind::Bytes => found.value.replace(' ', ""),
                    _ => found.value.to_owned(),
                });
            }
        });
    }
    values
}

/// One value of a field in an entry.
struct Found<'a> {
    name: &'a str,
    value: &'a str,
    parser: Option<&'static str>,
    json_path: &'a [String],
}

/// Orders entries by the labels of their stream; those of one stream stay in order.
fn by_stream(entries: &[LogEntry]) -> Vec<&LogEntry> {
    let mut sorted: Vec<&LogEntry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.stream.cmp(&b.stream));
    sorted
}

/// Calls `see` for each value of an entry: metadata first, then what the query parsed, then the line.
fn visit(entry: &LogEntry, mut see: impl FnMut(&Found<'_>)) {
    for (name, value) in entry.metadata.iter() {
        see(&Found { name, value, parser: None, json_path: &[] });
    }
    let parsed: Vec<(&str, &str)> = entry.parsed.iter().filter(|(name, _)| !is_reserved(name)).collect();
    // What the query has set over a label of the stream is a field, and so is a key of that name.
    let stream = match parsed.iter().any(|(name, _)| entry.stream.get(name).is_some()) {
        false => Arc::clone(&entry.stream),
        true => {
            let left = entry.stream.iter().filter(|(name, _)| entry.parsed.get(name).is_none());
            Arc::new(LabelSet::from_pairs(left))
        }
    };
    let base = Base { stream, metadata: Arc::default() };
    let mut labels = Labels::new(&base);
    let mut paths = Vec::new();
    Json::new(Hints::everything()).parse_with_paths(&entry.line, &mut labels, &mut paths);
    let mut parser = "json";
    if labels.error.is_some() {
        (labels, parser) = (Labels::new(&base), "logfmt");
        paths.clear();
        Logfmt::new(false, false, Hints::everything()).parse(&entry.line, &mut labels);
    }
    let (_, _, found) = labels.split(&base);
    for (name, value) in parsed {
        if found.get(name) != Some(value) {
            see(&Found { name, value, parser: Some(parser), json_path: &[] });
        }
    }
    for (name, value) in found.iter() {
        let path = paths.iter().find(|(of, _)| of == name);
        let json_path = path.map_or(&[][..], |(_, path)| path);
        see(&Found { name, value, parser: Some(parser), json_path });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn entry(stream: Pairs<'_>, line: &str, metadata: Pairs<'_>, parsed: Pairs<'_>) -> LogEntry {
        let set = |pairs: Pairs<'_>| Arc::new(LabelSet::from_pairs(pairs.iter().copied()));
        LogEntry {
            ts_ns: 0,
            line: line.as_bytes().to_vec(),
            stream: set(stream),
            metadata: set(metadata),
            parsed: set(parsed),
        }
    }

    /// Prints fields as `name:type/cardinality[parsers] path`.
    fn shown(entries: &[LogEntry], fields_max: usize) -> Vec<String> {
        let line = |(name, field): (String, DetectedField)| {
            let (kind, count) = (field.kind.as_str(), field.cardinality);
            let (parsers, path) = (field.parsers.join(","), field.json_path.join("."));
            format!("{name}:{kind}/{count}[{parsers}] {path}").trim_end().to_owned()
        };
        detect_fields(entries, fields_max).into_iter().map(line).collect()
    }

    #[test]
    fn kinds() {
        for (value, kind) in [
            ("1", "int"),
            ("-9223372036854775808", "int"),
            ("9223372036854775808", "float"),
            ("1e3", "float"),
            ("true", "boolean"),
            ("T", "boolean"),
            ("yes", "string"),
            ("1.5h", "duration"),
            ("10 kB", "bytes"),
            ("1MiB", "bytes"),
            ("", "string"),
            ("12:30", "string"),
        ] {
            assert_eq!(FieldKind::of(value).as_str(), kind, "{value}");
        }
    }

    #[test]
    fn json_then_logfmt() {
        let stream = [("app", "a")];
        let json = r#"{"app":"x","user":{"id-no":7},"a b":"q"} trailing"#;
        let entries = [
            entry(&stream, json, &[("trace", "t1")], &[]),
            entry(&stream, r#"{"user":{"id-no":8},"half"#, &[("trace", "t2")], &[]),
            entry(&stream, "dur=5ms user_id_no=9 plain", &[("trace", "t2")], &[]),
        ];
        let expect = [
            "a_b:string/1[json] a b",
            "app_extracted:string/1[json] app",
            "dur:duration/1[logfmt]",
            "trace:string/2[]",
            "user_id_no:int/2[json,logfmt] user.id-no",
        ];
        assert_eq!(shown(&entries, 10), expect);
        assert_eq!(shown(&entries, 1), ["trace:string/2[]"]);
        assert_eq!(detect_values(&entries, "user_id_no", 10), BTreeSet::from(["7".into(), "9".into()]));
        assert_eq!(detect_values(&entries, "user_id_no", 1).len(), 1);
        assert!(detect_values(&entries, "app", 10).is_empty());
    }

    #[test]
    fn what_the_query_parsed_is_a_field() {
        let parsed = [("app", "new"), ("code", "5"), ("__error__", "x")];
        let entries = [entry(&[("app", "a"), ("env", "e")], "app=line env=line", &[], &parsed)];
        let expect = ["app:string/2[logfmt]", "code:int/1[logfmt]", "env_extracted:string/1[logfmt]"];
        assert_eq!(shown(&entries, 10), expect);
    }

    #[test]
    fn sizes_lose_their_blanks_and_the_last_stream_tells_the_type() {
        let entries = [
            entry(&[("app", "b")], "", &[("size", "10 kB")], &[]),
            entry(&[("app", "a")], "", &[("size", "none at all")], &[]),
        ];
        assert_eq!(shown(&entries, 10), ["size:bytes/2[]"]);
        let values = detect_values(&entries, "size", 10);
        assert_eq!(values, BTreeSet::from(["10kB".into(), "none at all".into()]));
    }
}
