//! Documents of known senders, times, what is refused, bounds.

use super::*;
use proptest::prelude::*;

const NOW_NS: i64 = 1_795_230_000_000_000_000;

fn lines(body: &str, names: &FieldNames) -> Documents<'static> {
    decode(Form::Lines, body.to_owned().leak().as_bytes(), names, NOW_NS, 10 << 20).unwrap()
}

/// Labels, time, line and metadata of the only document.
fn check(document: &str, names: &FieldNames, labels: &str, ts_ns: i64, line: &str, metadata: &str) {
    let read = lines(document, names);
    assert_eq!(read.items, [(Action::Line, Place::Entry(0, 0))], "{document}");
    let stream = &read.request.streams[0];
    let text = |pairs: &[Pair<'_>]| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let PushLabels::Pairs(pairs) = &stream.labels else { panic!("no pairs") };
    let entry = stream.entries.iter().next().unwrap();
    assert_eq!(text(pairs), labels, "{document}");
    assert_eq!(entry.time.to_ns(), Some(ts_ns), "{document}");
    assert_eq!(String::from_utf8_lossy(entry.line), line, "{document}");
    assert_eq!(text(entry.metadata), metadata, "{document}");
}

#[test]
fn documents_of_known_senders() {
    let names = FieldNames::default();
    check(
        r#"{"@timestamp":"2026-11-21T03:00:00.5Z","@metadata":{"beat":"filebeat"},"message":"hello","host":{"name":"nas"},"log":{"offset":7,"file":{"path":"/var/log/a"}},"container":{"name":"web","id":"c1","image":{"name":"nginx"}},"tags":["a","b"],"none":null}"#,
        &names,
        "container=web filename=/var/log/a host=nas image=nginx",
        1_795_230_000_500_000_000,
        "hello",
        r#"@metadata_beat=filebeat container_id=c1 log_offset=7 tags=["a","b"]"#,
    );
    check(
        r#"{"@timestamp":"2026-11-21T03:00:00.000Z","log":"x y","stream":"stderr","kubernetes":{"pod_name":"p","namespace_name":"n"}}"#,
        &names,
        "namespace=n pod=p stream=stderr",
        NOW_NS,
        "x y",
        "",
    );
    check(
        r#"{"service.name":"api","msg":"dotted","host":"h","level":"warn"}"#,
        &names,
        "host=h service_name=api",
        NOW_NS,
        "dotted",
        "level=warn",
    );
}

#[test]
fn a_document_without_a_line_is_its_own_line() {
    let document = r#"{"app":"a","status":200,"path":"/"}"#;
    check(document, &FieldNames::default(), "app=a", NOW_NS, document, "");
}

#[test]
fn fields_are_named_by_the_sender() {
    let names = FieldNames {
        labels: Some(vec!["k.zone".to_owned(), "0-rack".to_owned(), "gone".to_owned()]),
        line: Some("text".to_owned()),
        time: Some("at".to_owned()),
    };
    check(
        r#"{"k":{"zone":"z"},"0-rack":5,"text":true,"at":1795230001,"message":"m","app":"a"}"#,
        &names,
        "_0_rack=5 k_zone=z",
        NOW_NS + 1_000_000_000,
        "true",
        "app=a message=m",
    );
}

#[test]
fn times_are_told_by_their_size() {
    for (text, ts_ns) in [
        ("1795230000", NOW_NS),
        ("1795230000.25", NOW_NS + 250_000_000),
        ("1795230000123", NOW_NS + 123_000_000),
        ("1795230000123456", NOW_NS + 123_456_000),
        ("1795230000123456789", NOW_NS + 123_456_789),
        ("\"1795230000123\"", NOW_NS + 123_000_000),
        ("\"2026-11-21T04:00:00+01:00\"", NOW_NS),
    ] {
        check(
            &format!(r#"{{"message":"m","@timestamp":{text}}}"#),
            &FieldNames::default(),
            "",
            ts_ns,
            "m",
            "",
        );
    }
    // Only what is called a time by all senders has to be one.
    check(r#"{"message":"m","time":"noon"}"#, &FieldNames::default(), "", NOW_NS, "m", "time=noon");
}

#[test]
fn what_cannot_be_read_is_refused_alone() {
    let read = lines(
        "{\"message\":\"a\"}\n\nnonsense\n[1]\n{\"@timestamp\":\"x\"}\n{\"message\":\"b\"}\r\n",
        &FieldNames::default(),
    );
    let places: Vec<Place> = read.items.iter().map(|(_, place)| *place).collect();
    assert_eq!(
        places,
        [
            Place::Entry(0, 0),
            Place::Refused("not a JSON object", 8),
            Place::Refused("not a JSON object", 3),
            Place::Refused("its time is neither RFC 3339 nor a number", 18),
            Place::Entry(0, 1),
        ]
    );
}

#[test]
fn actions_of_a_bulk() {
    let body = "{\"create\":{}}\n{\"message\":\"a\"}\n{\"delete\":{\"_id\":\"1\"}}\n{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{}}\n{\"index\":{}}\n{\"message\":\"b\",\"app\":\"x\"}\n{\"index\":{}}";
    let read = decode(Form::Bulk, body.as_bytes(), &FieldNames::default(), NOW_NS, 1 << 20).unwrap();
    let actions: Vec<Action> = read.items.iter().map(|(action, _)| *action).collect();
    assert_eq!(actions, [Action::Create, Action::Delete, Action::Update, Action::Index, Action::Index]);
    assert_eq!(read.items[0].1, Place::Entry(0, 0));
    assert_eq!(read.items[3].1, Place::Entry(1, 0));
    assert_eq!(read.items[4].1, Place::Refused("not a JSON object", 0), "cut off");
    let bad = decode(Form::Bulk, b"{\"message\":1}\n", &FieldNames::default(), NOW_NS, 1 << 20);
    assert_eq!(bad.unwrap_err().kind(), crate::Kind::Invalid);
}

#[test]
fn memory_is_counted() {
    let names = FieldNames::default();
    let nested = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let many = "{\"message\":\"m\"}\n".repeat(10_000);
    let wide = format!("{{\"message\":\"m\",{}\"z\":1}}", "\"a\":[[[[,".repeat(2000));
    let streams: String = (0..2000).map(|n| format!("{{\"app\":\"{n}\"}}\n")).collect();
    for body in [many.as_str(), wide.as_str(), streams.as_str(), &"\n".repeat(10_000)] {
        let error = decode(Form::Lines, body.as_bytes(), &names, NOW_NS, 100_000).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Limited);
    }
    let read = decode(Form::Lines, nested.as_bytes(), &names, NOW_NS, 1 << 20).unwrap();
    assert_eq!(read.items.len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a1.\n@ ]{0,80}") {
        for form in [Form::Bulk, Form::Lines] {
            drop(decode(form, &bytes, &FieldNames::default(), NOW_NS, 10_000));
            drop(decode(form, text.as_bytes(), &FieldNames::default(), NOW_NS, 10_000));
        }
    }

    #[test]
    fn any_number_is_a_time_or_none(number in any::<f64>(), whole in any::<i64>()) {
        prop_assert!(time_ns(&serde_json::json!(number)).is_none_or(|ts_ns| ts_ns % 1000 == 0));
        let is_ns = whole.unsigned_abs() >= 100_000_000_000_000_000;
        prop_assert_eq!(time_ns(&serde_json::json!(whole)) == Some(whole), is_ns || whole == 0);
    }
}
