//! What is accepted and refused, as in Loki v3.7.6.

use super::*;
use crate::loki_push::{PushEntry, decode_json};
use proptest::prelude::*;

fn value(entry: &str) -> String {
    format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{entry}]}}]}}"#)
}

fn first<'r>(request: &'r PushRequest<'_>) -> PushEntry<'r> {
    request.streams[0].entries.iter().next().unwrap()
}

#[test]
fn the_current_shape() {
    let text = r#"{"more":[1],"streams":[{"values":[["7","l\n\"q\"",{"k":"v","k":"w"}]],"x":null,"stream":{"a":"1","a":"2","é":"\u00e9"}}]}"#;
    let request = decode_json(text.as_bytes()).unwrap();
    let stream = &request.streams[0];
    assert_eq!(stream.labels, PushLabels::Pairs(vec![("a".into(), "2".into()), ("é".into(), "é".into())]));
    let expect = PushEntry {
        time: GoTime { secs: 0, nanos: 7 },
        line: b"l\n\"q\"",
        metadata: &[("k".into(), "w".into())],
    };
    assert_eq!(stream.entries.iter().collect::<Vec<_>>(), [expect]);
}

#[test]
fn the_older_shape() {
    let text = r#"{"streams":[{"labels":"{x=\"y\"}","entries":[{"ts":"1970-01-01T00:00:05.5Z","line":"a","structuredMetadata":{"k":"v"}}]}]}"#;
    let request = decode_json(text.as_bytes()).unwrap();
    assert_eq!(request.streams[0].labels, PushLabels::Text(b"{x=\"y\"}".to_vec().into()));
    let entry = first(&request);
    assert_eq!(entry.time, GoTime { secs: 5, nanos: 500_000_000 });
    assert_eq!(entry.metadata.len(), 1);
}

#[test]
fn lenient_where_loki_is() {
    for text in ["{}", r#"{"streams":null}"#, r#"{"streams":[]}"#] {
        assert!(decode_json(text.as_bytes()).unwrap().streams.is_empty(), "{text}");
    }
    for text in [r#"{"streams":[{}]}"#, r#"{"streams":[{"stream":{"a":"b"},"values":null}]}"#] {
        assert!(decode_json(text.as_bytes()).unwrap().streams[0].entries.is_empty(), "{text}");
    }
    for entry in [r#"["1"]"#, r#"["1","x"]"#, r#"["1","x",{},"more",5]"#] {
        assert_eq!(decode_json(value(entry).as_bytes()).unwrap().streams[0].entries.len(), 1, "{entry}");
    }
}

#[test]
fn the_last_of_a_repeated_member_wins() {
    let text = r#"{"streams":[{"values":[["1","x"]]}],"streams":[{"labels":"{}","entries":[{"line":"a","structuredMetadata":{"a":"","b":""},"line":"b","structuredMetadata":{"c":""}},{}]}]}"#;
    let request = decode_json(text.as_bytes()).unwrap();
    let entries: Vec<_> = request.streams[0].entries.iter().collect();
    assert_eq!((entries.len(), entries[0].line, entries[0].metadata.len()), (2, &b"b"[..], 1));
    assert!(entries[1].metadata.is_empty());
    let none = r#"{"streams":[{},{"values":[["1","x"]]}],"streams":null}"#;
    assert!(decode_json(none.as_bytes()).unwrap().streams.is_empty());
}

#[test]
fn strict_where_loki_is() {
    for entry in [
        "[]",
        "[1,\"x\"]",
        r#"["2026-01-01T00:00:00Z","x"]"#,
        r#"["1.5","x"]"#,
        r#"["1",5]"#,
        r#"["1",null]"#,
        r#"["1","x",{"a":1}]"#,
        r#"["1","x",{"a":{"b":"c"}}]"#,
        r#"["1","x","y"]"#,
        r#"["1","x",[]]"#,
        "5",
    ] {
        assert!(decode_json(value(entry).as_bytes()).is_err(), "{entry}");
    }
    for text in [
        "",
        "[]",
        "not json",
        r#"{"streams":[{"stream":{"a":"b"},"values":"x"}]}"#,
        r#"{"streams":[]"#,
        "{}x",
        r#"{"streams":[{"stream":"x"}]}"#,
    ] {
        assert!(decode_json(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn lines_need_not_be_utf8() {
    let mut body = value(r#"["1","caf@"]"#).into_bytes();
    let at = body.iter().position(|&byte| byte == b'@').unwrap();
    body[at] = 0xe9;
    assert_eq!(first(&decode_json(&body).unwrap()).line, b"caf\xe9");
}

#[test]
fn many_names_keep_the_last_value() {
    let members: Vec<String> = (0..200).map(|index| format!("\"k{:02}\":\"{index}\"", index % 100)).collect();
    let text = value(&format!(r#"["1","x",{{{}}}]"#, members.join(",")));
    let request = decode_json(text.as_bytes()).unwrap();
    let metadata = first(&request).metadata;
    assert_eq!(metadata.len(), 100);
    assert_eq!(metadata[7], ("k07".into(), "107".into()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[\\[\\]{},:\"a-z0-9 ]{0,60}") {
        drop(decode_json(&bytes));
        drop(decode_json(text.as_bytes()));
        drop(decode_json(value(&text).as_bytes()));
    }
}
