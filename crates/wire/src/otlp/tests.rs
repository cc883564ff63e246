//! Exports in both forms become the same streams.

use super::*;
use crate::Kind;
use proptest::prelude::*;

const NOW_NS: i64 = 1_795_230_000_000_000_000;

/// Prints streams: labels, then a line for each entry.
fn shown(request: &PushRequest<'_>) -> Vec<String> {
    let pairs = |pairs: &[Pair<'_>]| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    for stream in &request.streams {
        let PushLabels::Pairs(labels) = &stream.labels else { panic!("labels are pairs") };
        lines.push(format!("{{{}}}", pairs(labels)));
        for entry in &stream.entries {
            let line = String::from_utf8_lossy(entry.line);
            lines.push(format!("{} {line} | {}", entry.time.to_ns().unwrap(), pairs(entry.metadata)));
        }
    }
    lines
}

fn json(text: &str) -> Vec<String> {
    shown(&decode(Form::Json, text.as_bytes(), NOW_NS, 1 << 20).unwrap())
}

/// One length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 1 << 14);
    let length = [bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8];
    [&[number << 3 | 2], &length[..], bytes].concat()
}

fn fixed64(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1], &value.to_le_bytes()[..]].concat()
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

fn text(value: &str) -> Vec<u8> {
    field(1, value.as_bytes())
}

#[test]
fn every_member_has_its_place() {
    let expect = [
        "{service_name=shop container_name=c1}",
        "5 hello | host=h os_type=linux os_v=6 scope_name=lib scope_version=1.2 scope_dropped_attributes_count=3 \
         sc=v observed_timestamp=7 severity_number=17 severity_text=ERROR trace_id=0aff span_id=0b flags=1 \
         dropped_attributes_count=2 list=[\"a\",1,{\"k\":null}] on=true n=-5 d=1.5 raw=AQI=",
        "7 {\"k\":\"v\"} | host=h os_type=linux os_v=6 scope_name=lib scope_version=1.2 \
         scope_dropped_attributes_count=3 sc=v",
        "1795230000000000000 42 | host=h os_type=linux os_v=6",
    ];
    let from_json = json(
        r#"{"resourceLogs":[{"resource":{"attributes":[
          {"key":"service.name","value":{"stringValue":"old"}},{"key":"host","value":{"stringValue":"h"}},
          {"key":"os","value":{"kvlistValue":{"values":[{"key":"type","value":{"stringValue":"linux"}},{"key":"v","value":{"intValue":6}}]}}},
          {"key":"service.name","value":{"stringValue":"shop"}},{"key":"container.name","value":{"stringValue":"c1"}}]},
        "scopeLogs":[{"scope":{"name":"lib","version":"1.2","droppedAttributesCount":3,"attributes":[{"key":"sc","value":{"stringValue":"v"}}]},
          "logRecords":[{"timeUnixNano":"5","observedTimeUnixNano":7,"severityNumber":17,"severityText":"ERROR","body":{"stringValue":"hello"},
            "attributes":[
              {"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":"1"},{"kvlistValue":{"values":[{"key":"k","value":{}}]}}]}}},
              {"key":"on","value":{"boolValue":true}},{"key":"n","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":1.5}},
              {"key":"raw","value":{"bytesValue":"AQI="}}],
            "droppedAttributesCount":2,"flags":1,"traceId":"0AFF","spanId":"0b","unknown":[1]},
           {"observedTimeUnixNano":"7","traceId":"0000","body":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}]},
         {"logRecords":[{"body":{"intValue":"42"}}]}]}, {"resource":{}}]}"#,
    );
    assert_eq!(from_json, expect);
    let map = field(
        6,
        &[field(1, &attribute("type", &text("linux"))), field(1, &attribute("v", &[0x18, 6]))].concat(),
    );
    let resource = [
        field(1, &attribute("service.name", &text("old"))),
        field(1, &attribute("host", &text("h"))),
        field(1, &attribute("os", &map)),
        field(1, &attribute("service.name", &text("shop"))),
        field(1, &attribute("container.name", &text("c1"))),
    ]
    .concat();
    let scope =
        [field(1, b"lib"), field(2, b"1.2"), vec![0x20, 3], field(3, &attribute("sc", &text("v")))].concat();
    let inner = field(6, &field(1, &attribute("k", b"")));
    let list = field(5, &[field(1, &text("a")), field(1, &[0x18, 1]), field(1, &inner)].concat());
    let minus_five = [&[0x18][..], &[0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]].concat();
    let record = [
        fixed64(1, 5),
        fixed64(11, 7),
        vec![0x10, 17],
        field(3, b"ERROR"),
        field(5, &text("hello")),
        field(6, &attribute("list", &list)),
        field(6, &attribute("on", &[0x10, 1])),
        field(6, &attribute("n", &minus_five)),
        field(6, &attribute("d", &fixed64(4, 1.5_f64.to_bits()))),
        field(6, &attribute("raw", &field(7, &[1, 2]))),
        vec![0x38, 2, 0x45, 1, 0, 0, 0],
        field(9, &[0x0a, 0xff]),
        field(10, &[0x0b]),
        field(12, b"an unknown field"),
    ]
    .concat();
    let body = field(6, &field(1, &attribute("k", &text("v"))));
    let second = [fixed64(11, 7), field(9, &[0, 0]), field(5, &body)].concat();
    let scopes = [
        field(2, &[field(1, &scope), field(2, &record), field(2, &second)].concat()),
        field(2, &field(2, &field(5, &[0x18, 42]))),
    ]
    .concat();
    let export = [field(1, &[field(1, &resource), scopes].concat()), field(1, &field(1, b""))].concat();
    let from_protobuf = decode(Form::Protobuf, &export, NOW_NS, 1 << 20).unwrap();
    assert_eq!(shown(&from_protobuf), expect);
}

#[test]
fn exports_without_records_are_empty_and_others_are_refused() {
    for text in ["{}", r#"{"resourceLogs":[]}"#, r#"{"resourceLogs":[{"scopeLogs":[{}]}]}"#] {
        assert!(json(text).is_empty(), "{text}");
    }
    for text in
        ["nope", "[]", "", r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"}]}]}]}"#]
    {
        let error = decode(Form::Json, text.as_bytes(), NOW_NS, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{text}");
    }
    assert!(decode(Form::Protobuf, b"", NOW_NS, 100).unwrap().streams.is_empty());
    assert!(decode(Form::Protobuf, b"\x0a\x05", NOW_NS, 100).is_err());
    let body = Bytes::from_static(b"{}");
    assert!(unpack_export(body.clone(), Some("text/plain"), "", 100).is_err());
    assert_eq!(
        unpack_export(body, Some("application/json; charset=utf-8"), "", 100).unwrap().form(),
        Form::Json
    );
}

#[test]
fn memory_is_bounded() {
    let records = "{},".repeat(10_000);
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}{{}}]}}]}}]}}"#);
    let small = decode(Form::Json, json.as_bytes(), NOW_NS, 1 << 20).unwrap_err();
    assert_eq!(small.kind(), Kind::Limited);
    assert_eq!(
        decode(Form::Json, json.as_bytes(), NOW_NS, 64 << 20).unwrap().streams[0].entries.len(),
        10_001
    );
    let record = field(2, b"").repeat(1000);
    let scope = field(2, &record);
    let attributes = field(1, &field(1, &attribute("k", &text_of(1000))));
    let export = field(1, &[attributes, scope].concat());
    assert_eq!(decode(Form::Protobuf, &export, NOW_NS, 100_000).unwrap_err().kind(), Kind::Limited);
    assert_eq!(decode(Form::Protobuf, &export, NOW_NS, 10 << 20).unwrap().streams[0].entries.len(), 1000);
    let deep = (0..200).fold(text("x"), |value, _| field(5, &field(1, &value)));
    let export = field(1, &field(2, &field(2, &field(5, &deep))));
    assert_eq!(decode(Form::Protobuf, &export, NOW_NS, 1 << 20).unwrap_err().kind(), Kind::Invalid);
}

fn text_of(bytes: usize) -> Vec<u8> {
    text(&"x".repeat(bytes))
}

#[test]
fn a_status_is_one_field() {
    for message in ["", "short", &"long ".repeat(100)] {
        let bytes = status(message);
        let mut fields = crate::protobuf::Fields::new(&bytes);
        assert_eq!(fields.next(), Ok(Some((2, crate::protobuf::Value::Bytes(message.as_bytes())))));
        assert_eq!(fields.next(), Ok(None));
    }
}

#[test]
fn numbers_are_printed_as_in_go() {
    for (value, expect) in [
        (1.5, "1.5"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (0.0, "0"),
        (f64::INFINITY, "+Inf"),
        (100.0, "100"),
    ] {
        assert_eq!(double_text(value), expect);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        drop(decode(Form::Protobuf, &bytes, NOW_NS, 10_000));
        drop(decode(Form::Protobuf, &field(1, &field(2, &field(2, &bytes))), NOW_NS, 10_000));
        drop(decode(Form::Json, &bytes, NOW_NS, 10_000));
    }
}
