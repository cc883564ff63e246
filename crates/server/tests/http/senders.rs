//! Pushes as known senders write them, byte for byte where it matters: path, headers, packing, shape. Each arrives
//! with its labels; each is told to try again, or not to, in the way that it understands.

use super::protobuf::{bytes, entry, fixed64, number, push, snappy};
use super::*;

/// What a sender sends, and what of it is found again.
struct Sender {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    selector: &'static str,
    /// Of the first stream.
    label: (&'static str, &'static str),
    /// Status of a refusal for good; Elasticsearch's clients read it from within a 200.
    refused: u16,
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// The shapes; `line` is what all of them say, at a second ago.
fn senders(line: &str) -> Vec<Sender> {
    let at = NOW_NS - SEC_NS;
    let json = |labels: &str, line: &str| {
        format!(r#"{{"streams":[{{"stream":{labels},"values":[["{at}",{line}]]}}]}}"#)
    };
    let quoted = serde_json::to_string(line).unwrap();
    let text = |field: u64, text: &str| bytes(field, bytes(1, text));
    let resource = bytes(1, [bytes(1, "service.name"), text(2, "collector")].concat());
    let record = [
        fixed64(1, u64::try_from(at).unwrap()),
        number(2, 9),
        text(5, line),
        fixed64(11, u64::try_from(at).unwrap()),
    ];
    let export = bytes(1, [bytes(1, resource), bytes(2, bytes(2, record.concat()))].concat());
    let documents = |action: &str, document: &str| format!("{action}\n{document}\n").into_bytes();
    vec![
        Sender {
            name: "Promtail 2.9",
            path: "/loki/api/v1/push",
            headers: &[PROTOBUF, ("user-agent", "promtail/2.9.10"), ("x-scope-orgid", "fake")],
            body: snappy(&push(r#"{filename="/var/log/app.log", job="varlogs"}"#, &[entry(at, line, &[])])),
            selector: "{job=\"varlogs\"}",
            label: ("filename", "/var/log/app.log"),
            refused: 400,
        },
        Sender {
            name: "Alloy 1.5: metadata and a hash",
            path: "/loki/api/v1/push",
            headers: &[PROTOBUF, ("user-agent", "Alloy/v1.5.1 (linux; docker)")],
            body: snappy(&bytes(
                1,
                [
                    bytes(1, r#"{container="web", job="alloy"}"#),
                    bytes(2, entry(at, line, &[("trace_id", "ab")])),
                    number(3, 0xdead_beef),
                ]
                .concat(),
            )),
            selector: "{job=\"alloy\"}",
            label: ("trace_id", "ab"),
            refused: 400,
        },
        Sender {
            name: "the Docker driver",
            path: "/loki/api/v1/push",
            headers: &[PROTOBUF, ("user-agent", "promtail/")],
            body: snappy(&push(
                r#"{compose_project="shop", compose_service="db", container_name="shop-db-1", filename="/var/log/docker/0a/json.log", host="vm", source="stdout"}"#,
                &[entry(at, line, &[])],
            )),
            selector: "{compose_project=\"shop\"}",
            label: ("service_name", "shop-db-1"),
            refused: 400,
        },
        Sender {
            name: "Vector, snappy",
            path: "/loki/api/v1/push",
            headers: &[PROTOBUF, ("content-encoding", "snappy"), ("user-agent", "Vector/0.58.0")],
            body: snappy(&push(r#"{agent="vector",host="vm"}"#, &[entry(at, line, &[])])),
            selector: "{agent=\"vector\"}",
            label: ("host", "vm"),
            refused: 400,
        },
        Sender {
            name: "Vector, gzip",
            path: "/loki/api/v1/push",
            headers: &[JSON, GZIP, ("user-agent", "Vector/0.58.0")],
            body: gzip(json(r#"{"agent":"vector-gzip"}"#, &format!(r#"{quoted},{{"k":"v"}}"#)).as_bytes()),
            selector: "{agent=\"vector-gzip\"}",
            label: ("k", "v"),
            refused: 400,
        },
        Sender {
            name: "Fluent Bit",
            path: "/loki/api/v1/push",
            headers: &[JSON, ("user-agent", "Fluent-Bit")],
            body: json(
                r#"{"job":"fluent-bit","container_id":"0a"}"#,
                &serde_json::to_string(&format!(r#"{{"log":{quoted}}}"#)).unwrap(),
            )
            .into_bytes(),
            selector: "{job=\"fluent-bit\"} | json | line_format \"{{.log}}\"",
            label: ("container_id", "0a"),
            refused: 400,
        },
        Sender {
            name: "Fluentd, gzip",
            path: "/loki/api/v1/push",
            headers: &[JSON, GZIP, ("user-agent", "Ruby")],
            body: gzip(json(r#"{"job":"fluentd","fluentd_thread":"flush_thread_0"}"#, &quoted).as_bytes()),
            selector: "{job=\"fluentd\"}",
            label: ("fluentd_thread", "flush_thread_0"),
            refused: 400,
        },
        Sender {
            name: "the Collector of OpenTelemetry",
            path: "/otlp/v1/logs",
            headers: &[
                PROTOBUF,
                GZIP,
                ("user-agent", "OpenTelemetry Collector Contrib/0.115.1 (linux/amd64)"),
            ],
            body: gzip(&export),
            selector: "{service_name=\"collector\"}",
            label: ("severity_number", "9"),
            refused: 400,
        },
        Sender {
            name: "Fluent Bit to Elasticsearch",
            path: "/_bulk",
            headers: &[("content-type", "application/x-ndjson"), ("user-agent", "Fluent-Bit")],
            body: documents(
                r#"{"create":{"_index":"fluent-bit"}}"#,
                &format!(
                    r#"{{"@timestamp":"2026-11-21T02:59:59.000Z","app":"fluent-es","log":{quoted},"stream":"stderr"}}"#
                ),
            ),
            selector: "{app=\"fluent-es\"}",
            label: ("stream", "stderr"),
            refused: 200,
        },
        Sender {
            name: "Vector to Elasticsearch, gzip",
            path: "/_bulk",
            headers: &[("content-type", "application/x-ndjson"), GZIP, ("user-agent", "Vector/0.58.0")],
            body: gzip(&documents(
                r#"{"create":{"_index":"vector-2026.11.21"}}"#,
                &format!(
                    r#"{{"host":"vm","app":"vector-es","message":{quoted},"source_type":"docker_logs","timestamp":"2026-11-21T02:59:59.000000000Z"}}"#
                ),
            )),
            selector: "{app=\"vector-es\"}",
            label: ("source_type", "docker_logs"),
            refused: 200,
        },
    ]
}

async fn send(world: &World, sender: &Sender) -> Answer {
    let request = sender
        .headers
        .iter()
        .fold(Request::post(sender.path), |request, (name, value)| request.header(*name, *value));
    world.send(request.body(Body::from(sender.body.clone())).unwrap()).await
}

#[tokio::test]
async fn check_27_shapes_of_senders_arrive() {
    let world = world().await;
    let line = "GET /cart 200 \"caf\u{e9}\"";
    for sender in senders(line) {
        let name = sender.name;
        // Twice, as after an answer that was lost.
        for _ in 0..2 {
            let answer = send(&world, &sender).await;
            assert!(answer.status.is_success(), "{name}: {} {}", answer.status, answer.text());
        }
        let streams = world.streams(sender.selector, "").await;
        assert_eq!(streams.len(), 1, "{name}");
        assert_eq!(streams[0].values.len(), 1, "{name}");
        assert_eq!(streams[0].values[0].line, line, "{name}");
        assert_eq!(streams[0].values[0].ts_ns, NOW_NS - SEC_NS, "{name}");
        let (label, value) = sender.label;
        assert_eq!(
            streams[0].stream.get(label).map(|found| found.as_ref()),
            Some(value),
            "{name}: {:?}",
            streams[0].stream
        );
    }
}

#[tokio::test]
async fn check_27_senders_are_told_to_drop_or_to_come_back() {
    let limits = IngestSettings { line_bytes_max: 10, ..IngestSettings::default() };
    let strict = world_with(limits, ServerSettings::default()).await;
    for sender in senders("longer than ten bytes") {
        let answer = send(&strict, &sender).await;
        assert_eq!(answer.status.as_u16(), sender.refused, "{}", sender.name);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("max entry size '10' bytes exceeded"), "{}: {text}", sender.name);
        assert!(!answer.headers.contains_key("retry-after"), "{}", sender.name);
        // What an exporter reads is a message of protobuf, what Elasticsearch's clients read a status for each document.
        match sender.path {
            "/_bulk" => {
                assert!(text.contains("\"errors\":true") && text.contains("\"status\":400"), "{text}")
            }
            "/otlp/v1/logs" => assert_eq!(answer.headers["content-type"], "application/octet-stream"),
            _ => assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8"),
        }
    }
    for sender in senders("longer than ten bytes") {
        let limits =
            IngestSettings { rate_bytes_per_sec: 1, rate_burst_bytes: 1, ..IngestSettings::default() };
        let busy = world_with(limits, ServerSettings::default()).await;
        // Larger than the burst it passes once, and what follows has to wait.
        assert!(send(&busy, &sender).await.status.is_success(), "{}", sender.name);
        let answer = send(&busy, &sender).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", sender.name);
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait > 0, "{}", sender.name);
    }
}
