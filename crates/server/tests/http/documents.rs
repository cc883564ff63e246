//! JSON documents as Filebeat, Logstash, Fluent Bit and Vector send them.

use super::{Answer, NOW_NS, SEC_NS, World, gzip, world, world_with};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use logyard_ingest::IngestSettings;
use logyard_server::ServerSettings;
use serde_json::{Value, json};

async fn send(world: &World, method: &str, path: &str, encoding: &str, body: impl Into<Body>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=8")
        .header("content-encoding", encoding);
    world.send(request.body(body.into()).unwrap()).await
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn clients_find_what_they_ask_for_first() {
    let world = world().await;
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/_license?human=false"),
        ("GET", "/_xpack"),
        ("GET", "/_cluster/health"),
        ("HEAD", "/_index_template/filebeat-8.19.0"),
        ("GET", "/_index_template/filebeat-8.19.0"),
        ("PUT", "/_index_template/filebeat-8.19.0"),
        ("PUT", "/_template/logstash"),
        ("GET", "/_ilm/policy/filebeat"),
        ("PUT", "/_ilm/policy/filebeat"),
        ("GET", "/_data_stream/filebeat-8.19.0"),
        ("PUT", "/_ingest/pipeline/filebeat-x"),
    ] {
        let answer = send(&world, method, path, "", "").await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
        assert_eq!(answer.headers["x-elastic-product"], "Elasticsearch", "{method} {path}");
        if method != "HEAD" {
            assert!(parsed(&answer).is_object(), "{path}");
        }
    }
    let settings = ServerSettings { path_prefix: "/logs".to_owned(), ..ServerSettings::default() };
    let below = world_with(IngestSettings::default(), settings).await;
    for (path, status) in [("/logs", 200), ("/logs/_template/x", 200), ("/logs/loki/api/v1/labels", 405)] {
        assert_eq!(send(&below, "HEAD", path, "", "").await.status.as_u16(), status, "{path}");
    }
    let root = parsed(&world.get("/").await);
    assert!(root["version"]["number"].as_str().unwrap().starts_with("8."));
    assert_eq!(parsed(&world.get("/_license").await)["license"]["status"], "active");
    assert_eq!(parsed(&world.get("/_cluster/health").await)["status"], "green");
}

#[tokio::test]
async fn a_bulk_is_answered_document_by_document() {
    let limits = IngestSettings { line_bytes_max: 20, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    let time = |secs: i64| (NOW_NS / SEC_NS - secs).to_string();
    let document = |secs: i64, line: &str| {
        format!(
            "{}\n{}\n",
            json!({"create": {"_index": "filebeat"}}),
            json!({"@timestamp": time(secs), "message": line, "host": {"name": "nas"}, "user": {"id": 7}})
        )
    };
    let body = [
        document(3, "first"),
        document(2, "much longer than twenty"),
        "{\"index\":{}}\nnonsense\n".to_owned(),
        "{\"delete\":{\"_id\":\"1\"}}\n".to_owned(),
        document(1, "last"),
    ]
    .concat();
    for (path, encoding, body) in [
        ("/_bulk", "", body.clone().into_bytes()),
        ("/filebeat/_bulk?filter_path=errors", "gzip", gzip(body.as_bytes())),
    ] {
        let answer = send(&world, "POST", path, encoding, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let answer = parsed(&answer);
        assert_eq!(answer["errors"], true);
        let statuses: Vec<(&str, u64)> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|item| item.as_object().unwrap())
            .map(|(action, item)| (action.as_str(), item["status"].as_u64().unwrap()))
            .collect();
        assert_eq!(
            statuses,
            [("create", 201), ("create", 400), ("index", 400), ("delete", 400), ("create", 201)]
        );
        let text = answer["items"][1]["create"]["error"]["reason"].as_str().unwrap();
        assert!(text.contains("limits.line_bytes_max") && text.contains("document 3: not a JSON"), "{text}");
        assert_eq!(answer["items"][2]["index"]["error"]["reason"], "invalid_document");
    }
    // Sent twice, stored once.
    let streams = world.streams("{host=\"nas\"}", "").await;
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].stream["user_id"], "7");
    assert_eq!(world.lines("{host=\"nas\"}", "").await, ["first", "last"]);
    let metrics = world.get("/metrics").await;
    let counted = "logyard_ingest_rejected_entries_total{reason=\"invalid_document\"} 4";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn a_bulk_that_fails_as_a_whole_is_json() {
    let limits = IngestSettings { push_body_bytes_max: 100, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    for (body, status) in [("{\"message\":\"no action\"}\n".to_owned(), 400), ("x".repeat(101), 413)] {
        let answer = send(&world, "POST", "/_bulk", "", body).await;
        assert_eq!(answer.status.as_u16(), status);
        let failure = parsed(&answer);
        assert_eq!(failure["status"], status);
        assert!(failure["error"]["reason"].is_string());
    }
    let empty = send(&world, "POST", "/_bulk", "", "").await;
    assert_eq!(parsed(&empty)["errors"], false);
}

#[tokio::test]
async fn json_lines_are_entries() {
    let world = world().await;
    let path = "/logyard/v1/push/jsonl?label_fields=unit,node.rack&line_field=text&time_field=at";
    let line = |at: i64, text: &str| json!({"at": at, "text": text, "unit": "ssh", "node": {"rack": "r1"}, "pid": 5});
    let body = format!("{}\n{}\n", line(NOW_NS - SEC_NS, "one"), line(NOW_NS / 1_000_000 - 1, "two"));
    assert_eq!(send(&world, "POST", path, "", body).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.lines("{unit=\"ssh\", node_rack=\"r1\"} | pid = 5", "").await, ["one", "two"]);
    let answer = send(&world, "POST", path, "", "{\"text\":\"three\",\"unit\":\"ssh\"}\nnonsense\n").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text(), "document 2: not a JSON object\n");
    let end = format!("&end={}", NOW_NS + 1);
    assert_eq!(world.lines("{unit=\"ssh\", node_rack=\"\"}", &end).await, ["three"]);
}
