//! The checks of the contract about pushes, each named after its number in the list of the reference.

use super::protobuf::{bytes, entry, fixed64, number, pair, push, snappy, timestamp, varint};
use super::*;
use flate2::write::{DeflateEncoder, ZlibEncoder};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Entries of this many seconds ago are what the checks push.
fn ago(secs: i64) -> i64 {
    NOW_NS - secs * SEC_NS
}

/// Pushes one JSON stream; a refusal has the given status and its text begins as given.
async fn check(world: &World, streams: &str, status: u16, text: &str) {
    let answer = world.push_json(streams).await;
    assert_eq!(answer.status.as_u16(), status, "{streams}: {}", answer.text());
    assert!(answer.text().starts_with(text), "{streams}: {}", answer.text());
}

/// A frame with one block as it is, of fewer than 256 bytes.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let size = u8::try_from(bytes.len()).unwrap();
    let block = u32::from(size) << 3 | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size], &block.to_le_bytes()[..3], bytes].concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn check_12_types_and_encodings_of_bodies() {
    let world = world().await;
    let json = |line: &str| {
        let stream = stream(r#"{"app":"m"}"#, &[(ago(1), line)]);
        format!("{{\"streams\":[{stream}]}}").into_bytes()
    };
    let protobuf = |line: &str| push("{app=\"m\"}", &[entry(ago(1), line, &[])]);
    let mut stored = Vec::new();
    for (number, (content_type, encoding, pack, refusal)) in [
        (JSON, "", (|bytes| bytes) as fn(Vec<u8>) -> Vec<u8>, ""),
        ("application/json; charset=utf-8", "", |bytes| bytes, ""),
        (JSON, "snappy", |bytes| bytes, ""),
        (JSON, "gzip", |bytes| gzip(&bytes), ""),
        (JSON, "deflate", |bytes| deflate(&bytes), ""),
        (JSON, "gzip", |bytes| bytes, "cannot decompress request body: "),
        (JSON, "br", |bytes| bytes, "Content-Encoding \"br\" not supported"),
        (PROTOBUF, "", |bytes| snappy(&bytes), ""),
        (PROTOBUF, "snappy", |bytes| snappy(&bytes), ""),
        (PROTOBUF, "gzip", |bytes| gzip(&snappy(&bytes)), ""),
        (PROTOBUF, "gzip", |bytes| gzip(&bytes), "snappy: corrupt input"),
        (PROTOBUF, "", |bytes| bytes, "snappy: corrupt input"),
        ("text/plain", "", |bytes| snappy(&bytes), ""),
        ("text/plain", "", |_| b"{}".to_vec(), "snappy: corrupt input"),
        // Beyond Loki.
        (JSON, "deflate", |bytes| zlib(&bytes), ""),
        (JSON, "identity", |bytes| bytes, ""),
        (JSON, "zstd", |bytes| zstd(&bytes), ""),
        (PROTOBUF, "zstd", |bytes| zstd(&snappy(&bytes)), ""),
        ("", "", |bytes| snappy(&bytes), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("row {number:02}");
        let body = if content_type.contains("json") { json(&line) } else { protobuf(&line) };
        let answer = world.push(content_type, encoding, pack(body)).await;
        let what = format!("row {number}: {content_type:?} {encoding:?}: {}", answer.text());
        match refusal {
            "" => {
                assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""), "{what}");
                stored.push(line);
            }
            text => {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
                assert!(answer.text().starts_with(text), "{what}");
            }
        }
    }
    let untyped = Request::post("/loki/api/v1/push").body(Body::from(json("row 99"))).unwrap();
    assert_eq!(world.send(untyped).await.status, StatusCode::NO_CONTENT);
    stored.push("row 99".to_owned());
    assert_eq!(world.lines("{app=\"m\"}", "").await, stored);
}

#[tokio::test]
async fn check_13_what_json_may_hold() {
    let world = world().await;
    let at = ago(1);
    let with = |entry: &str| format!(r#"{{"stream":{{"app":"j"}},"values":[{entry}]}}"#);
    for entry in [
        format!("[{at},\"x\"]"),
        "[\"2026-11-21T02:59:06Z\",\"x\"]".to_owned(),
        format!("[\"{at}\",\"x\",{{\"k\":7}}]"),
        format!("[\"{at}\",\"x\",{{\"k\":{{\"l\":\"m\"}}}}]"),
        format!("[\"{at}\",\"x\",[\"k\"]]"),
        format!("[\"{at}\",7]"),
        "[]".to_owned(),
    ] {
        check(&world, &with(&entry), 400, "").await;
    }
    for (entry, line) in [
        (format!("[\"{at}\",\"five\",{{}},4,5]"), "five"),
        (format!("[\"{}\"]", at + 1), ""),
        (format!("[\"{}\",\"a\\u0062\\\"c\"]", at + 2), "ab\"c"),
    ] {
        check(&world, &with(&entry), 204, "").await;
        assert_eq!(world.lines("{app=\"j\"}", "").await.last().unwrap(), line);
    }
    let more =
        format!(r#"{{"hash":7,"stream":{{"app":"x","app":"j\u0032"}},"values":[["{at}","z"]],"more":[]}}"#);
    check(&world, &more, 204, "").await;
    assert_eq!(world.lines("{app=\"j2\"}", "").await, ["z"]);
}

#[tokio::test]
async fn check_14_protobuf_byte_by_byte() {
    let world = world().await;
    let send = async |message: &[u8]| world.push(PROTOBUF, "", snappy(message)).await;
    let labels = br#"{ app = "p" ,path="C:\\a \"b\"\t\u00e9"}"#;
    let parsed = [entry(ago(3), b"caf\xe9 bytes", &[("k", "v")]), pair(4, "parsed", "no")].concat();
    // Fields that are not known, of each kind, in each message.
    let unknown =
        [number(9, 300), fixed64(10, 1), bytes(11, "x"), [varint(12 << 3 | 5), vec![0; 4]].concat()].concat();
    let stream =
        [bytes(1, labels), bytes(2, [parsed, unknown.clone()].concat()), number(3, 77), unknown.clone()];
    let message = [bytes(1, stream.concat()), bytes(2, "format"), unknown].concat();
    let answer = send(&message).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""));
    let streams = world.streams("{app=\"p\"}", "").await;
    let shown: Vec<(&str, &str)> =
        streams[0].stream.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    assert_eq!(
        shown,
        [
            ("app", "p"),
            ("detected_level", "unknown"),
            ("k", "v"),
            ("path", "C:\\a \"b\"\t\u{e9}"),
            ("service_name", "p"),
        ]
    );
    assert_eq!(streams[0].values[0].line, "caf\u{fffd} bytes");
    // Without a time an entry is of the year 1.
    let timeless = send(&push("{app=\"p\"}", &[bytes(2, "x")])).await;
    assert_eq!(timeless.status, StatusCode::BAD_REQUEST);
    assert!(timeless.text().contains("has timestamp too old: "), "{}", timeless.text());
    for labels in ["{app=\"p\"", "{app=p}", "{=\"p\"}", "app=\"p\"", "{app=\"\\x\"}"] {
        let answer = send(&push(labels, &[entry(ago(1), "x", &[])])).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{labels}");
        assert!(answer.text().starts_with("couldn't parse labels: "), "{labels}: {}", answer.text());
    }
    // Lengths that lie.
    let whole = push("{app=\"p\"}", &[entry(ago(1), "x", &[])]);
    for cut in 1..whole.len() {
        assert_eq!(send(&whole[..cut]).await.status, StatusCode::BAD_REQUEST, "{cut}");
    }
    assert_eq!(world.lines("{app=\"p\"}", "").await.len(), 1);
    let twice = push("{app=\"p\", app=\"q\"}", &[entry(ago(1), "x", &[])]);
    let twice = send(&twice).await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    assert!(twice.text().contains("has duplicate label name: 'app'"), "{}", twice.text());
    assert_eq!(timestamp(1_500_000_000), [8, 1, 16, 0x80, 0xca, 0xb5, 0xee, 1]);
}

#[tokio::test]
async fn check_15_pushes_of_nothing() {
    let world = world().await;
    for body in ["{}", "{\"streams\":[]}", "{\"other\":1}"] {
        let answer = world.push(JSON, "", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.text(), "error at least one valid stream is required for ingestion\n");
    }
    assert_eq!(world.push(PROTOBUF, "", snappy(b"")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    check(&world, &stream(r#"{"app":"n"}"#, &[]), 204, "").await;
    assert_eq!(
        world.push(PROTOBUF, "", snappy(&push("{app=\"n\"}", &[]))).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(world.streams("{app=\"n\"}", "").await.is_empty());
}

#[tokio::test]
async fn check_16_each_limit_at_its_edge() {
    let limits = IngestSettings {
        line_bytes_max: 10,
        labels_per_stream_max: 3,
        label_name_bytes_max: 12,
        label_value_bytes_max: 15,
        metadata_bytes_max: 8,
        metadata_entries_max: 2,
        ..IngestSettings::default()
    };
    let world = world_with(limits, ServerSettings::default()).await;
    let one = |labels: &str, ts_ns: i64, line: &str, metadata: &str| {
        format!("{{\"stream\":{labels},\"values\":[[\"{ts_ns}\",\"{line}\",{metadata}]]}}")
    };
    let (app, day_ns) = (r#"{"app":"e"}"#, 86_400 * SEC_NS);
    let stream_text = "for stream '{app=\"e\", service_name=\"e\"}'";
    for (reason, passes, fails, text) in [
        (
            "line_too_long",
            one(app, ago(1), "0123456789", "{}"),
            one(app, ago(1), "0123456789a", "{}"),
            format!("max entry size '10' bytes exceeded {stream_text} while adding an entry with length '11' bytes"),
        ),
        (
            "max_label_names_per_series",
            one(r#"{"a":"1","b":"2","app":"e"}"#, ago(1), "x", "{}"),
            one(r#"{"a":"1","b":"2","c":"3","app":"e"}"#, ago(1), "x", "{}"),
            "entry for stream '{a=\"1\", app=\"e\", b=\"2\", c=\"3\", service_name=\"e\"}' has 4 label names; limit 3".to_owned(),
        ),
        (
            "label_name_too_long",
            one(r#"{"abcdefghijkl":"1"}"#, ago(1), "x", "{}"),
            one(r#"{"abcdefghijklm":"1"}"#, ago(1), "x", "{}"),
            "stream '{abcdefghijklm=\"1\", service_name=\"unknown_service\"}' has label name too long: 'abcdefghijklm'".to_owned(),
        ),
        (
            "label_value_too_long",
            one(r#"{"app":"abcdefghijklmno"}"#, ago(1), "x", "{}"),
            one(r#"{"app":"abcdefghijklmnop"}"#, ago(1), "x", "{}"),
            "stream '{app=\"abcdefghijklmnop\", service_name=\"abcdefghijklmnop\"}' has label value too long: 'abcdefghijklmnop'".to_owned(),
        ),
        (
            "structured_metadata_too_large",
            one(app, ago(1), "x", r#"{"abc":"defgh"}"#),
            one(app, ago(1), "x", r#"{"abc":"defghi"}"#),
            "stream '{app=\"e\", service_name=\"e\"}' has structured metadata too large: '9' bytes, limit: '8' bytes".to_owned(),
        ),
        (
            "structured_metadata_too_many",
            one(app, ago(1), "x", r#"{"a":"1","b":"2"}"#),
            one(app, ago(1), "x", r#"{"a":"1","b":"2","c":"3"}"#),
            "stream '{app=\"e\", service_name=\"e\"}' has too many structured metadata labels: '3', limit: '2'".to_owned(),
        ),
        (
            "greater_than_max_sample_age",
            one(app, NOW_NS - 30 * day_ns, "x", "{}"),
            one(app, NOW_NS - 30 * day_ns - 1, "x", "{}"),
            format!("entry {stream_text} has timestamp too old: "),
        ),
        (
            "too_far_in_future",
            one(app, NOW_NS + 600 * SEC_NS, "x", "{}"),
            one(app, NOW_NS + 600 * SEC_NS + 1, "x", "{}"),
            format!("entry {stream_text} has timestamp too new: "),
        ),
    ] {
        check(&world, &passes, 204, "").await;
        check(&world, &fails, 400, &text).await;
        let metrics = world.get("/metrics").await;
        let line = format!("logyard_ingest_rejected_entries_total{{reason=\"{reason}\"}} 1\n");
        assert!(metrics.text().contains(&line), "{line}");
    }
}

#[tokio::test]
async fn check_17_bad_entries_leave_the_good_ones() {
    let limits = IngestSettings { line_bytes_max: 10, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    let streams = [
        stream(
            r#"{"app":"a"}"#,
            &[
                (ago(3), "good 1"),
                (ago(2), "much too long"),
                (1, "too old"),
                (ago(1), "good 2"),
                (2, "too old"),
            ],
        ),
        stream(&format!("{{\"app\":\"a\",\"long\":\"{}\"}}", "x".repeat(3000)), &[(ago(1), "bad")]),
        stream(r#"{"app":"a","b":"c"}"#, &[(ago(4), "good 0")]),
    ];
    let answer = world.push_json(&streams.join(",")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // Equal texts are counted, and each stands there once.
    let text = answer.text();
    for part in [
        "2 errors like: entry for stream '{app=\"a\", service_name=\"a\"}' has timestamp too old: ",
        "1 errors like: max entry size '10' bytes exceeded for stream ",
        "1 errors like: stream '{app=\"a\", long=\"xxx",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}");
    }
    assert_eq!(text.matches(" errors like: ").count(), 3);
    assert_eq!(world.lines("{app=\"a\"}", "").await, ["good 0", "good 1", "good 2"]);
    let same = stream(r#"{"app":"a"}"#, &[(1, "too old"), (1, "just as old")]);
    check(
        &world,
        &same,
        400,
        "entry for stream '{app=\"a\", service_name=\"a\"}' has timestamp too old: 1970-01-01T00:00:00Z",
    )
    .await;
}

#[tokio::test]
async fn check_19_how_far_behind_an_entry_may_be() {
    let limits = IngestSettings { out_of_order_window: "1h".parse().unwrap(), ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    let rows =
        [(ago(0), "newest"), (ago(59 * 60), "59 min"), (ago(61 * 60), "61 min"), (ago(30 * 60), "30 min")];
    let answer = world.push_json(&stream(r#"{"app":"o"}"#, &rows)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("entry too far behind"), "{}", answer.text());
    assert!(answer.text().contains("total ignored: 1 out of 4 for stream: {app=\"o\""), "{}", answer.text());
    let range = format!("&start={}&end={}", ago(7200), NOW_NS + 1);
    assert_eq!(world.lines("{app=\"o\"}", &range).await, ["59 min", "30 min", "newest"]);
    // In the order of the answer, too, in both directions; the window is that of each stream.
    for (direction, want) in
        [("forward", ["59 min", "30 min", "newest"]), ("backward", ["newest", "30 min", "59 min"])]
    {
        let found = world.streams("{app=\"o\"}", &format!("{range}&direction={direction}")).await;
        let lines: Vec<&str> = found[0].values.iter().map(|entry| entry.line.as_str()).collect();
        assert_eq!(lines, want);
    }
    check(&world, &stream(r#"{"app":"p"}"#, &[(ago(61 * 60), "first")]), 204, "").await;
}

#[tokio::test]
async fn check_22_names_of_services() {
    let world = world().await;
    let list = [
        "service",
        "app",
        "application",
        "app_name",
        "name",
        "app_kubernetes_io_name",
        "container",
        "container_name",
        "k8s_container_name",
        "component",
        "workload",
        "job",
        "k8s_job_name",
    ];
    let named = async |labels: &str, number: usize| {
        let id = format!("n{number}");
        let labels = format!("{{\"id\":\"{id}\"{labels}}}");
        check(&world, &stream(&labels, &[(ago(1), "x")]), 204, "").await;
        let found = world.streams(&format!("{{id=\"{id}\"}}"), "").await;
        found[0].stream["service_name"].to_string()
    };
    for (number, name) in list.iter().enumerate() {
        // The first of the list that is there counts, however the labels are sorted.
        let rest: String =
            list.iter().skip(number).map(|other| format!(",\"{other}\":\"of {other}\"")).collect();
        assert_eq!(named(&rest, number).await, format!("of {name}"));
    }
    assert_eq!(named(",\"service\":\"\",\"job\":\"j\"", 20).await, "j");
    assert_eq!(named(",\"service_name\":\"own\",\"app\":\"a\"", 21).await, "own");
    assert_eq!(named(",\"host\":\"h\"", 22).await, "unknown_service");
    // It is a label of the stream, to be browsed and matched.
    let values = world.get("/loki/api/v1/label/service_name/values").await;
    assert!(values.text().contains("\"unknown_service\""), "{}", values.text());
    assert_eq!(world.streams("{service_name=\"own\"}", "").await.len(), 1);
    let off = IngestSettings { discover_service_name: false, ..IngestSettings::default() };
    let plain = world_with(off, ServerSettings::default()).await;
    check(
        &plain,
        &stream("{}", &[(ago(1), "x")]),
        400,
        "error at least one label pair is required per stream",
    )
    .await;
    check(&plain, &stream("{\"a\":\"\"}", &[(ago(1), "x")]), 400, "error at least one label pair").await;
}

#[tokio::test]
async fn check_23_levels_from_three_sources() {
    let world = world().await;
    let mut number = 0;
    let mut level = async |labels: &str, metadata: &str, line: &str| {
        number += 1;
        let line = serde_json::to_string(line).unwrap();
        let body = format!(
            "{{\"stream\":{{\"n\":\"{number}\"{labels}}},\"values\":[[\"{}\",{line},{{{metadata}}}]]}}",
            ago(1)
        );
        check(&world, &body, 204, "").await;
        let found = world.streams(&format!("{{n=\"{number}\"}}"), "").await;
        found[0].stream["detected_level"].to_string()
    };
    for (line, want) in [
        ("level=critical", "critical"),
        ("lvl=dbg a=b", "debug"),
        ("severity=NOTICE a=b", "unknown"),
        ("{\"severity\":\"Warning\"}", "warn"),
        ("{\"log\":{\"level\":\"info\"}}", "info"),
        ("{\"level\":30}", "unknown"),
        ("{\"a\":{\"b\":{\"level\":\"error\"}}}", "error"),
        ("errors only", "unknown"),
        ("2024 ERR bad", "error"),
        ("Level=Info", "info"),
        ("misc:error", "unknown"),
        ("ERROR x", "error"),
        ("[warn] y", "warn"),
        ("x error: y", "error"),
        ("nothing", "unknown"),
    ] {
        assert_eq!(level("", "", line).await, want, "{line}");
    }
    let words = [
        ("trace", "trace"),
        ("TRC", "trace"),
        ("debug", "debug"),
        ("dbg", "debug"),
        ("Info", "info"),
        ("inf", "info"),
        ("INFORMATION", "info"),
        ("warn", "warn"),
        ("wrn", "warn"),
        ("Warning", "warn"),
        ("error", "error"),
        ("ERR", "error"),
        ("critical", "critical"),
        ("fatal", "fatal"),
        ("weird", "weird"),
    ];
    let fields = [
        "level",
        "LEVEL",
        "Level",
        "severity",
        "SEVERITY",
        "Severity",
        "SeverityText",
        "lvl",
        "LVL",
        "Lvl",
        "severity_text",
        "Severity_Text",
        "SEVERITY_TEXT",
    ];
    for ((word, want), name) in words.iter().zip(fields.iter().cycle()) {
        let given = format!("\"{name}\":\"{word}\"");
        // A label of the stream comes before metadata, and both before the line.
        assert_eq!(
            level(&format!(",{given}"), "\"level\":\"info\"", "level=debug").await,
            *want,
            "{name}={word}"
        );
        assert_eq!(level("", &given, "level=debug").await, *want, "{name}={word}");
    }
    assert_eq!(level(",\"level\":\"info\"", "\"detected_level\":\"ERR\"", "x").await, "error");
    for (severity, want) in [
        ("1", "trace"),
        ("8", "debug"),
        ("9", "info"),
        ("16", "warn"),
        ("17", "error"),
        ("24", "fatal"),
        ("0", "unknown"),
        ("x", "info"),
    ] {
        assert_eq!(level("", &format!("\"severity_number\":\"{severity}\""), "level=debug").await, want);
    }
    // Never a label that can be browsed.
    assert!(!world.get("/loki/api/v1/labels").await.text().contains("detected_level"));
}

#[tokio::test]
async fn check_24_names_of_metadata() {
    let world = world().await;
    for (number, (name, want)) in [
        ("k.with-dash/9", "k_with_dash_9"),
        ("9k", "key_9k"),
        ("__frame__", "__frame__"),
        ("CamelCase", "CamelCase"),
        ("a  b", "a_b"),
        ("käse", "k_se"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(
            "{{\"stream\":{{\"app\":\"s\",\"n\":\"{number}\"}},\"values\":[[\"{}\",\"x\",{{\"{name}\":\"v\"}}]]}}",
            ago(1)
        );
        check(&world, &body, 204, "").await;
        let found = world.streams(&format!("{{n=\"{number}\"}}"), "").await;
        assert_eq!(
            found[0].stream.get(want).map(|value| value.as_ref()),
            Some("v"),
            "{name}: {:?}",
            found[0].stream
        );
    }
    for name in ["", "___", "--"] {
        let body = format!(
            "{{\"stream\":{{\"app\":\"s\"}},\"values\":[[\"{}\",\"bad\",{{\"{name}\":\"v\"}}],[\"{}\",\"good\"]]}}",
            ago(1),
            ago(2)
        );
        let answer = world.push_json(&body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name:?}: {}", answer.text());
    }
    assert_eq!(world.lines("{app=\"s\", n=\"\"}", "").await, ["good"]);
    let message = push(
        "{app=\"u\"}",
        &[[entry(ago(1), "x", &[]), bytes(3, [bytes(1, "k"), bytes(2, b"a\xffb")].concat())].concat()],
    );
    assert_eq!(world.push(PROTOBUF, "", snappy(&message)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.streams("{app=\"u\"}", "").await[0].stream["k"], "a b");
}

#[tokio::test]
async fn check_25_the_older_path_and_shape() {
    let world = world().await;
    let at = "2026-11-21T02:59:59.1Z";
    let older = |line: &str| {
        format!(
            r#"{{"streams":[{{"labels":"{{job=\"x\", app=\"old\"}}","entries":[{{"ts":"{at}","line":"{line}","structuredMetadata":{{"k":"v"}}}}]}}]}}"#
        )
    };
    let newer = |line: &str| format!("{{\"streams\":[{}]}}", stream(r#"{"app":"old"}"#, &[(ago(3), line)]));
    let protobuf = |line: &str| snappy(&push("{app=\"old\"}", &[entry(ago(2), line, &[])]));
    for path in ["/api/prom/push", "/loki/api/v1/push"] {
        for (content_type, body) in [
            (JSON, older(&format!("older to {path}")).into_bytes()),
            (JSON, newer(&format!("newer to {path}")).into_bytes()),
            (PROTOBUF, protobuf(&format!("protobuf to {path}"))),
        ] {
            let request = Request::post(path).header("content-type", content_type).body(Body::from(body));
            let answer = world.send(request.unwrap()).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""));
        }
    }
    let lines = world.lines("{app=\"old\"}", "").await;
    let mut want = Vec::new();
    for form in ["newer", "protobuf", "older"] {
        want.extend(["/api/prom/push", "/loki/api/v1/push"].map(|path| format!("{form} to {path}")));
    }
    assert_eq!(lines, want);
    let found = world.streams("{app=\"old\", job=\"x\"}", "").await;
    assert_eq!((found[0].stream["k"].as_ref(), found[0].values[0].ts_ns), ("v", ago(1) + 100_000_000));
    for (ts, labels) in [("1795229946", "{job=\\\"x\\\"}"), (at, "{job=x}"), (at, "")] {
        let body =
            format!(r#"{{"streams":[{{"labels":"{labels}","entries":[{{"ts":"{ts}","line":"x"}}]}}]}}"#);
        assert_eq!(world.push(JSON, "", body.clone()).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn malformed_pushes_change_nothing() {
    let world = world().await;
    let good = stream(r#"{"app":"m"}"#, &[(NOW_NS - SEC_NS, "good")]);
    for (bad, status) in [
        (format!("{{\"streams\":[{good},{{\"stream\":{{\"app\":\"m\"}},\"values\":[[5,\"x\"]]}}]}}"), 400),
        (
            format!("{{\"streams\":[{good},{{\"stream\":{{\"a.b\":\"m\"}},\"values\":[[\"5\",\"x\"]]}}]}}"),
            400,
        ),
        (format!("{{\"streams\":[{good}"), 400),
        ("{}".to_owned(), 422),
        ("[]".to_owned(), 400),
    ] {
        let answer = world.push("application/json", "", bad.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{bad}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert!(!answer.text().starts_with('{'), "{}", answer.text());
    }
    assert_eq!(world.push("application/x-protobuf", "", "junk").await.text(), "snappy: corrupt input\n");
    assert_eq!(
        world.push("application/json", "br", "{}").await.text(),
        "Content-Encoding \"br\" not supported\n"
    );
    assert!(world.lines("{app=\"m\"}", "").await.is_empty());
}

#[tokio::test]
async fn limits_are_named_and_the_good_part_is_kept() {
    let limits = IngestSettings {
        line_bytes_max: 10,
        push_body_bytes_max: 1000,
        push_unpacked_bytes_max: 5000,
        ..IngestSettings::default()
    };
    let world = world_with(limits, ServerSettings::default()).await;
    let mixed =
        stream(r#"{"app":"l"}"#, &[(NOW_NS - SEC_NS, "short"), (NOW_NS - SEC_NS, "longer than that")]);
    let answer = world.push_json(&mixed).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer
            .text()
            .starts_with("max entry size '10' bytes exceeded for stream '{app=\"l\", service_name=\"l\"}'"),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("limits.line_bytes_max"));
    assert_eq!(world.lines("{app=\"l\"}", "").await, ["short"]);
    let large = world.push("application/json", "", "x".repeat(1001)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        large.text().starts_with("request body too large: ")
            && large.text().contains("limits.push_body_bytes_max"),
        "{}",
        large.text()
    );
    let bomb = world.push("application/json", "gzip", gzip(&[b' '; 6000])).await;
    assert_eq!(bomb.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(bomb.text().contains("limits.push_unpacked_bytes_max"), "{}", bomb.text());
}
