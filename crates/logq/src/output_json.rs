//! One JSON object per line, for programs.
//!
//! Entries: `timestamp` (RFC 3339 in UTC, nanoseconds), `labels`, `line`, and, when present, `metadata`
//! and `parsed`. Samples: `timestamp`, `labels`, `value` (a text, since JSON has no infinity).

use std::collections::BTreeMap;
use std::io::{self, Write};

use logyard_wire::loki_query::Labels;
use serde::Serialize;

use crate::entry::Entry;
use crate::series::Sample;

#[derive(Serialize)]
struct JsonEntry<'a> {
    timestamp: String,
    labels: &'a Labels,
    line: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a Labels,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parsed: &'a Labels,
}

#[derive(Serialize)]
struct JsonSample<'a> {
    timestamp: String,
    labels: &'a Labels,
    value: String,
}

/// Writes one entry as one line.
pub(crate) fn write_entry(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let Entry { ts_ns, stream, metadata, parsed, line } = entry;
    write_line(out, &JsonEntry { timestamp: timestamp(*ts_ns), labels: stream, line, metadata, parsed })
}

/// Writes one sample as one line.
pub(crate) fn write_sample(out: &mut dyn Write, sample: &Sample) -> io::Result<()> {
    let value = sample.value_text();
    write_line(out, &JsonSample { timestamp: timestamp(sample.ts_ns), labels: &sample.labels, value })
}

/// Writes one label set or one name as one line.
pub(crate) fn write_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn timestamp(ts_ns: i64) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or_default();
    format!("{timestamp:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line() {
        let mut entry = Entry::sample(1_795_229_946_000_000_001, "two\nlines \"x\"");
        let mut out = Vec::new();
        write_entry(&mut out, &entry).unwrap();
        entry.metadata.insert("detected_level".to_owned(), "info".to_owned());
        write_entry(&mut out, &entry).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"timestamp":"2026-11-21T02:59:06.000000001Z","labels":{"container":"web"},"line":"two\nlines \"x\""}"#
        );
        assert!(lines[1].ends_with(r#","metadata":{"detected_level":"info"}}"#), "{}", lines[1]);
        assert_eq!(lines.len(), 2);
    }
}
