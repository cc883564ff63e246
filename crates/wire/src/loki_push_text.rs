//! Loki's push as JSON, encoded: what a client sends to a store that knows no other form.
//!
//! ```text
//! {"streams":[{"stream":{"app":"a"},"values":[["<ns>","line",{"trace_id":"…"}],…]},…]}
//! ```

use crate::json_text::{push_bytes, push_joined, push_string};
use logyard_codec::Entries;
use logyard_model::LabelSet;

/// Encodes entries by stream. Bytes of lines that are not UTF-8 become U+FFFD, as JSON has no others.
///
/// A level is sent as the metadata `detected_level`, which stores keep. Cost: one buffer of about the raw size.
pub fn encode(chunks: &[(&LabelSet, &Entries)]) -> Vec<u8> {
    let mut json = b"{\"streams\":[".to_vec();
    push_joined(&mut json, chunks.iter(), |json, (labels, entries)| {
        json.extend_from_slice(b"{\"stream\":");
        push_pairs(json, labels.iter());
        json.extend_from_slice(b",\"values\":[");
        push_joined(json, 0..entries.len(), |json, row| push_entry(json, entries, row));
        json.extend_from_slice(b"]}");
    });
    json.extend_from_slice(b"]}");
    json
}

fn push_entry(json: &mut Vec<u8>, entries: &Entries, row: usize) {
    let ts_ns = entries.ts_ns().get(row).copied().unwrap_or_default();
    json.extend_from_slice(format!("[\"{ts_ns}\",").as_bytes());
    push_bytes(json, entries.line(row));
    let level = Some(("detected_level", entries.level(row))).filter(|(_, level)| !level.is_empty());
    let mut pairs = entries.metadata(row).iter().chain(level).peekable();
    if pairs.peek().is_some() {
        json.push(b',');
        push_pairs(json, pairs);
    }
    json.push(b']');
}

fn push_pairs<'a>(json: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    json.push(b'{');
    push_joined(json, pairs, |json, (name, value)| {
        push_string(json, name);
        json.push(b':');
        push_string(json, value);
    });
    json.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_push::{PushLabels, decode_json};

    #[test]
    fn what_is_encoded_is_decoded() {
        let labels = LabelSet::from_pairs([("app", "a\"b"), ("host", "h")]);
        let mut entries = Entries::new();
        entries.push(5, b"plain \xff", "", &LabelSet::default());
        entries.push(-1, b"with \"more\"\n", "warn", &LabelSet::from_pairs([("trace_id", "1")]));
        let json = encode(&[(&labels, &entries), (&LabelSet::default(), &Entries::new())]);
        let text = String::from_utf8(json.clone()).unwrap();
        assert_eq!(
            text,
            "{\"streams\":[{\"stream\":{\"app\":\"a\\\"b\",\"host\":\"h\"},\"values\":[[\"5\",\"plain \u{fffd}\"],\
             [\"-1\",\"with \\\"more\\\"\\n\",{\"trace_id\":\"1\",\"detected_level\":\"warn\"}]]},\
             {\"stream\":{},\"values\":[]}]}"
        );
        let request = decode_json(&json).unwrap();
        assert_eq!(request.streams.len(), 1);
        assert!(matches!(&request.streams[0].labels, PushLabels::Pairs(pairs) if pairs.len() == 2));
        assert_eq!(request.streams[0].entries.len(), 2);
    }
}
