//! Types and encodings of bodies, and bombs: bodies that ask for far more memory than they have bytes.

use super::*;

const JSON: &[u8] = br#" {"streams":[{"stream":{"a":"b"},"values":[["5","x"]]}]}"#;

fn packed() -> Vec<u8> {
    // labels {a="b"}, one entry: seconds 1, line x
    let message = b"\x0a\x12\x0a\x07{a=\"b\"}\x12\x07\x0a\x02\x08\x01\x12\x01x";
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn check(body: &[u8], content_type: Option<&str>, encoding: &str, expect: Result<Format, &str>) {
    let unpacked = unpack_push(Bytes::copy_from_slice(body), content_type, encoding, 10_000);
    let format =
        unpacked.and_then(|push| push.decode().map(|request| (request.streams.len(), push.format())));
    match expect {
        Ok(format_expected) => {
            assert_eq!(format, Ok((1, format_expected)), "{content_type:?} {encoding}")
        }
        Err(text) => assert_eq!(format.unwrap_err().to_string(), text, "{content_type:?} {encoding}"),
    }
}

#[test]
fn types_and_encodings_of_the_table() {
    let protobuf = packed();
    for content_type in ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"] {
        check(JSON, Some(content_type), "", Ok(Format::Json));
        check(JSON, Some(content_type), "snappy", Ok(Format::Json));
    }
    check(&protobuf, Some("application/x-protobuf"), "", Ok(Format::Protobuf));
    check(&protobuf, Some("application/x-protobuf"), "snappy", Ok(Format::Protobuf));
    check(&protobuf, Some("text/plain"), "identity", Ok(Format::Protobuf));
    check(JSON, Some("text/plain"), "", Err("snappy: corrupt input"));
    check(JSON, None, "", Ok(Format::Json));
    check(&protobuf, None, "", Ok(Format::Protobuf));
    check(JSON, Some("application/json"), "br", Err("Content-Encoding \"br\" not supported"));
}

/// Bound of the tests with bombs.
const BYTES_MAX: usize = 1 << 20;

/// Bytes of body in a bomb, near the bound, as the worst one that passes unpacking.
const BODY_BYTES: usize = BYTES_MAX - 100;

pub(crate) fn held_by_list<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

#[expect(clippy::ptr_arg, reason = "it asks whether the text is owned")]
pub(crate) fn held_by_text(text: &Cow<'_, [u8]>) -> usize {
    match text {
        Cow::Borrowed(_) => 0,
        Cow::Owned(bytes) => bytes.capacity(),
    }
}

pub(crate) fn held_by_pair(pair: &Pair<'_>) -> usize {
    let held = |text: &Cow<'_, str>| match text {
        Cow::Borrowed(_) => 0,
        Cow::Owned(text) => text.capacity(),
    };
    held(&pair.0) + held(&pair.1)
}

/// Bytes of memory that a request holds besides the body it borrows from.
fn held_bytes(request: &PushRequest<'_>) -> usize {
    let labels = |labels: &PushLabels<'_>| match labels {
        PushLabels::Text(text) => held_by_text(text),
        PushLabels::Pairs(pairs) => held_by_list(pairs) + pairs.iter().map(held_by_pair).sum::<usize>(),
    };
    let streams = request.streams.iter();
    held_by_list(&request.streams)
        + streams.map(|stream| labels(&stream.labels) + stream.entries.held_bytes()).sum::<usize>()
}

fn decode(format: Format, body: &[u8], bytes_max: usize) -> Result<PushRequest<'_>, Error> {
    match format {
        Format::Json => loki_push_json::decode(body, bytes_max),
        Format::Protobuf => loki_push_protobuf::decode(body, bytes_max),
    }
}

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).unwrap());
    message.extend_from_slice(bytes);
    message
}

/// `item` as often as it fits, with commas between for JSON.
fn repeated(item: &[u8], bytes: usize) -> Vec<u8> {
    let mut text = item.repeat(bytes / item.len());
    if text.last() == Some(&b',') {
        text.pop();
    }
    text
}

fn json(begin: &str, items: &[u8], end: &str) -> Vec<u8> {
    [begin.as_bytes(), items, end.as_bytes()].concat()
}

/// Asserts that a bomb of about the size of the bound is refused as too large, and that smaller ones are
/// refused too or keep to the bound.
fn check_bomb(format: Format, name: &str, item: &[u8], wrap: impl Fn(&[u8]) -> Vec<u8>) {
    let body = wrap(&repeated(item, BODY_BYTES));
    let error = decode(format, &body, BYTES_MAX).unwrap_err();
    assert_eq!(error.kind(), crate::Kind::Limited, "{name}: {error}");
    assert!(error.to_string().contains(&format!("more than {BYTES_MAX} bytes of memory")), "{error}");
    let mut held_most = 0;
    for part in [200, 150, 100, 70, 50, 40, 30, 20, 15, 10, 7, 5, 4, 3, 2] {
        let body = wrap(&repeated(item, BODY_BYTES / part));
        if let Ok(request) = decode(format, &body, BYTES_MAX) {
            let held = held_bytes(&request);
            assert!(held <= BYTES_MAX, "{name}: {} bytes of body hold {held}", body.len());
            held_most = held_most.max(held);
        }
    }
    // The budget is not much stricter than the memory it stands for.
    assert!(held_most > BYTES_MAX / 5, "{name}: {held_most}");
}

#[test]
fn bombs_of_protobuf_keep_to_the_bound() {
    let check = |name, item: &[u8], wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        check_bomb(Format::Protobuf, name, item, wrap);
    };
    check("entries", b"\x12\x00", &|items| field(1, items));
    check("streams", b"\x0a\x02\x12\x00", &<[u8]>::to_vec);
    check("pairs", b"\x1a\x00", &|items| field(1, &field(2, items)));
    check("entries with a pair", b"\x12\x02\x1a\x00", &|items| field(1, items));
    check("streams with a pair", b"\x0a\x04\x12\x02\x1a\x00", &<[u8]>::to_vec);
    check("invalid values", b"\xff", &|items| field(1, &field(2, &field(3, &field(2, items)))));
    check("invalid names", b"\x1a\x03\x0a\x01\xff", &|items| field(1, &field(2, items)));
}

#[test]
fn bombs_of_json_keep_to_the_bound() {
    let check = |name, item: &[u8], (begin, end): (&str, &str)| {
        check_bomb(Format::Json, name, item, |items| json(begin, items, end));
    };
    let streams = (r#"{"streams":["#, "]}");
    let arrays = (r#"{"streams":[{"values":["#, "]}]}");
    let objects = (r#"{"streams":[{"entries":["#, "]}]}");
    let metadata = (r#"{"streams":[{"values":[["1","",{"#, "}]]}]}");
    let labels = (r#"{"streams":[{"stream":{"#, r#"},"values":[["1"]]}]}"#);
    check("arrays", br#"["1",""],"#, arrays);
    check("arrays without a line", br#"["1"],"#, arrays);
    check("arrays with a pair", br#"["1","",{"":""}],"#, arrays);
    check("escaped lines", br#"["1","\n"],"#, arrays);
    check("objects", b"{},", objects);
    check("streams", br#"{"values":[["1"]]},"#, streams);
    check("streams with a label", br#"{"stream":{"":""},"values":[["1"]]},"#, streams);
    check("escaped values", br#"["1","",{"":"\n"}],"#, arrays);
    // Equal names are one pair until a scan for them would take too long.
    let names: Vec<String> = (0..33).map(|index| format!(r#""{index}":"""#)).collect();
    for (begin, end) in [metadata, labels] {
        let begin = format!("{begin}{},", names.join(","));
        check("pairs", br#""":"","#, (&begin, end));
        check("invalid names", b"\"\xff\":\"\",", (&begin, end));
    }
}

#[test]
fn one_long_string_is_counted_before_it_is_copied() {
    let lengthened = [b"\xff".repeat(BODY_BYTES / 2), b"\\n".to_vec()].concat();
    let body = json(r#"{"streams":[{"values":[["1","",{"":""#, &lengthened, r#""}]]}]}"#);
    assert_eq!(decode(Format::Json, &body, BYTES_MAX).unwrap_err().kind(), crate::Kind::Limited);
    let line = json(r#"{"streams":[{"values":[["1",""#, &lengthened, r#""]]}]}"#);
    assert!(held_bytes(&decode(Format::Json, &line, BYTES_MAX).unwrap()) <= BYTES_MAX);
}

#[test]
fn streams_without_entries_cost_nothing() {
    let empty = |format, item: &[u8], (begin, end): (&str, &str)| {
        // As many as the bound lets pass take no memory, and one more is refused.
        let bytes_max = 64 * 1000;
        let body = |count: usize| json(begin, &repeated(item, item.len() * count), end);
        let passes = body(1000);
        let request = decode(format, &passes, bytes_max).unwrap();
        assert_eq!(decode(format, &body(1001), bytes_max).unwrap_err().kind(), crate::Kind::Limited);
        assert_eq!(request.streams.len(), 1, "{begin}");
        assert!(request.streams[0].entries.is_empty());
        assert!(held_bytes(&request) <= 1000);
    };
    let streams = (r#"{"streams":["#, "]}");
    empty(Format::Protobuf, b"\x0a\x00", ("", ""));
    empty(Format::Protobuf, b"\x0a\x04\x0a\x02{}", ("", ""));
    empty(Format::Json, b"{},", streams);
    empty(Format::Json, br#"{"stream":{"a":"\n"},"values":[]},"#, streams);
    empty(Format::Json, br#"{"labels":"{a=\"b\"}","entries":null},"#, streams);
}

#[test]
fn no_stream_differs_from_no_entries() {
    let streams = |format, body: &[u8]| {
        let request = decode(format, body, BYTES_MAX).unwrap();
        let entries: Vec<usize> = request.streams.iter().map(|stream| stream.entries.len()).collect();
        entries
    };
    assert_eq!(streams(Format::Protobuf, b""), [0; 0]);
    assert_eq!(streams(Format::Protobuf, b"\x0a\x00\x0a\x00"), [0]);
    assert_eq!(streams(Format::Protobuf, b"\x0a\x00\x0a\x02\x12\x00"), [1]);
    assert_eq!(streams(Format::Json, b"{}"), [0; 0]);
    assert_eq!(streams(Format::Json, br#"{"streams":[{},{}]}"#), [0]);
    assert_eq!(streams(Format::Json, br#"{"streams":[{},{"values":[["1"]]},{}]}"#), [1]);
}

#[test]
fn ordinary_pushes_may_nearly_fill_the_bound() {
    let line =
        "level=info msg=\"request done\" method=GET path=/api/v1/items status=200 took=12ms client=10.0.0.7 ";
    let entry =
        format!(r#"["1795230020142397024",{},{{"trace_id":"ab12cd34ef56"}}],"#, serde_json::json!(line));
    let body = json(
        r#"{"streams":[{"stream":{"app":"web"},"values":["#,
        &repeated(entry.as_bytes(), BYTES_MAX / 2),
        "]}]}",
    );
    let request = decode(Format::Json, &body, BYTES_MAX).unwrap();
    assert_eq!(request.streams[0].entries.len(), BYTES_MAX / 2 / entry.len());
    assert!(request.streams[0].entries.iter().all(|entry| entry.line == line.as_bytes()));

    let time = field(1, b"\x08\x05\x10\x07");
    let pair = field(3, &[field(1, b"trace_id"), field(2, b"ab12cd34ef56")].concat());
    let entry = field(2, &[time, field(2, line.as_bytes()), pair].concat());
    let body = field(1, &[field(1, b"{app=\"web\"}"), repeated(&entry, BYTES_MAX / 2)].concat());
    let request = decode(Format::Protobuf, &body, BYTES_MAX).unwrap();
    assert_eq!(request.streams[0].entries.len(), BYTES_MAX / 2 / entry.len());
    assert!(request.streams[0].entries.iter().all(|entry| entry.metadata[0].0 == "trace_id"));
}

#[test]
fn the_bound_of_unpacking_holds_for_decoding() {
    let body = json(r#"{"streams":[{"values":["#, &repeated(br#"["1",""],"#, 50_000), "]}]}");
    let decoded = |bytes_max| {
        let push = unpack_push(Bytes::from(body.clone()), Some("application/json"), "", bytes_max).unwrap();
        push.decode().map(|request| request.streams.len())
    };
    assert_eq!(decoded(100_000).unwrap_err().kind(), crate::Kind::Limited);
    assert_eq!(decoded(1_000_000), Ok(1));
}
