//! The HTTP faces over a real store in a temporary folder: what is pushed is what is answered.

#![allow(clippy::unwrap_used, clippy::string_slice, missing_docs)]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use logyard_codec::{BatchId, Entries, encode_batch};
use logyard_engine::{Engine, EngineSettings};
use logyard_ingest::{Ingest, IngestSettings};
use logyard_model::LabelSet;
use logyard_rules::{Ruler, RulerParts, RulesSettings, Spread};
use logyard_server::{RuleQueries, Server, ServerParts, ServerSettings};
use logyard_store::{CompactionSettings, Store, StoreParts, StoreRules, StoreSettings};
use logyard_sys::{Clock, Disk, Random, RealDisk, SimClock};
use logyard_wire::loki_query::{
    IndexStatsAnswer, NamesAnswer, QueryAnswer, QueryData, SeriesListAnswer, StreamAnswer, decode,
};
use logyard_wire::native_push::{self, PushAnswer};
use prometheus_client::registry::Registry;
use std::io::Write as _;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt as _;

mod access;
mod checks;
mod clients;
mod damage;
mod decoder;
mod delete;
mod detected;
mod documents;
mod drilldown;
mod grafana;
mod hostile;
mod openapi;
mod otlp;
mod patterns;
mod protobuf;
mod proxy;
mod push;
mod rules;
mod senders;
mod storage;
mod tail;
mod tenants;
mod tls;
mod transport;
mod volume;

const NOW_NS: i64 = 1_795_230_000_000_000_000;
const SEC_NS: i64 = 1_000_000_000;

struct World {
    router: Router,
    has_prefix: bool,
    /// Until it serves.
    server: Option<Server>,
    folder: TempDir,
    clock: Arc<SimClock>,
    ruler: Ruler,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn world_with(limits: IngestSettings, settings: ServerSettings) -> World {
    world_over(StoreSettings::default(), limits, settings).await
}

async fn world_over(store: StoreSettings, limits: IngestSettings, settings: ServerSettings) -> World {
    world_of(store, limits, settings, |_| ()).await
}

async fn world_of(
    store: StoreSettings,
    limits: IngestSettings,
    settings: ServerSettings,
    change: impl FnOnce(&mut ServerParts),
) -> World {
    world_ruled(store, limits, settings, RulesSettings::default(), change).await
}

async fn world_ruled(
    store: StoreSettings,
    limits: IngestSettings,
    settings: ServerSettings,
    rules: RulesSettings,
    change: impl FnOnce(&mut ServerParts),
) -> World {
    let folder = TempDir::new().unwrap();
    let sim_clock = Arc::new(SimClock::new(NOW_NS));
    let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(&sim_clock);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut registry = Registry::default();
    let parts = StoreParts {
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        random: Arc::new(Random::seeded(7)),
        registry: &mut registry,
    };
    let store_rules =
        StoreRules { parse_delete: Some(logyard_server::parse_delete), ..StoreRules::default() };
    let store = Store::open_with_rules(folder.path(), store, store_rules, parts).unwrap();
    store.recovered().await.unwrap();
    let ingest = Ingest::new(limits, store.clone(), Arc::clone(&clock), &mut registry);
    let engine = Arc::new(Engine::new(EngineSettings::default()));
    let ruler = Ruler::open(RulerParts {
        settings: rules,
        disk,
        clock,
        data_dir: folder.path(),
        evaluate: Arc::new(RuleQueries::new(Arc::clone(&engine), store.clone())),
        targets: Vec::new(),
        pack_tenant: None,
        spread: Spread::ByName,
        registry: &mut registry,
    });
    let ruler = ruler.unwrap();
    let mut parts = ServerParts {
        settings,
        store,
        ingest,
        engine,
        ruler: ruler.clone(),
        registry,
        tls: None,
        own_door: None,
    };
    change(&mut parts);
    let has_prefix = !parts.settings.path_prefix.is_empty();
    let server = Server::new(parts);
    openapi::describe(&server);
    World { router: server.router(), has_prefix, server: Some(server), folder, clock: sim_clock, ruler }
}

async fn world() -> World {
    world_with(IngestSettings::default(), ServerSettings::default()).await
}

impl World {
    async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        if !self.has_prefix {
            openapi::check(&method, &path, &answer);
        }
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn push(&self, content_type: &str, encoding: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/loki/api/v1/push")
            .header("content-type", content_type)
            .header("content-encoding", encoding);
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn push_json(&self, streams: &str) -> Answer {
        self.push("application/json", "", format!("{{\"streams\":[{streams}]}}")).await
    }

    async fn streams(&self, query: &str, more: &str) -> Vec<StreamAnswer> {
        let answer = self.get(&format!("/loki/api/v1/query_range?query={}{more}", escape(query))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let QueryData::Streams(streams) = decode::<QueryAnswer>(&answer.body).unwrap().data else {
            panic!("not streams")
        };
        streams
    }

    async fn lines(&self, query: &str, more: &str) -> Vec<String> {
        let streams = self.streams(query, more).await;
        let mut entries: Vec<(i64, String)> = streams
            .into_iter()
            .flat_map(|stream| stream.values)
            .map(|entry| (entry.ts_ns, entry.line))
            .collect();
        entries.sort();
        entries.into_iter().map(|(_, line)| line).collect()
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn stream(labels: &str, entries: &[(i64, &str)]) -> String {
    let values: Vec<String> =
        entries.iter().map(|(ts_ns, line)| format!("[\"{ts_ns}\",\"{line}\"]")).collect();
    format!("{{\"stream\":{labels},\"values\":[{}]}}", values.join(","))
}

/// One length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn protobuf_push(labels: &[u8], secs: u32, line: &[u8]) -> Vec<u8> {
    let mut time = vec![0x08];
    let mut rest = secs;
    while rest >= 0x80 {
        time.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    time.push(u8::try_from(rest).unwrap());
    let entry = [field(1, &time), field(2, line)].concat();
    let message = field(1, &[field(1, labels), field(2, &entry)].concat());
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn json_push_is_answered() {
    let world = world().await;
    let labels = r#"{"app":"web","env":"prod"}"#;
    let pushed =
        world.push_json(&stream(labels, &[(NOW_NS - SEC_NS, "level=error <b>"), (NOW_NS, "plain")])).await;
    assert_eq!((pushed.status, pushed.text()), (StatusCode::NO_CONTENT, ""));
    let end = format!("&end={}", NOW_NS + 1);
    let streams = world.streams("{app=\"web\"}", &end).await;
    let levels: Vec<&str> = streams.iter().map(|stream| stream.stream["detected_level"].as_str()).collect();
    assert_eq!(levels, ["error", "unknown"]);
    assert_eq!(streams[0].stream["service_name"], "web");
    assert_eq!(streams[0].values[0].line, "level=error <b>");
    // The end is exclusive, the start inclusive.
    assert_eq!(
        world.lines("{app=\"web\"}", &format!("&start={}&end={NOW_NS}", NOW_NS - SEC_NS)).await,
        ["level=error <b>"]
    );
    assert_eq!(world.lines("{app=\"web\"} |= \"plain\"", &end).await, ["plain"]);
}

#[tokio::test]
async fn protobuf_and_gzip_push_are_answered() {
    let world = world().await;
    let secs = u32::try_from(NOW_NS / SEC_NS).unwrap();
    let body = protobuf_push(b"{app=\"pb\"}", secs - 5, b"caf\xe9 bytes");
    assert_eq!(world.push("application/x-protobuf", "", body.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        world
            .push(
                "application/x-protobuf",
                "gzip",
                gzip(&protobuf_push(b"{app=\"pb\"}", secs - 4, b"zipped"))
            )
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    let json =
        format!("{{\"streams\":[{}]}}", stream(r#"{"app":"pb"}"#, &[(NOW_NS - 3 * SEC_NS, "json gz")]));
    assert_eq!(
        world.push("application/json", "gzip", gzip(json.as_bytes())).await.status,
        StatusCode::NO_CONTENT
    );
    // Sent again, it changes nothing.
    assert_eq!(world.push("application/x-protobuf", "", body).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.lines("{app=\"pb\"}", "").await, ["caf\u{fffd} bytes", "zipped", "json gz"]);
}

#[tokio::test]
async fn check_18_rate_limits_store_nothing_and_say_when_to_come_back() {
    let limits = IngestSettings { rate_bytes_per_sec: 10, rate_burst_bytes: 10, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    // Larger than the burst: it passes once, or it never would, and what follows pays for it.
    let first = stream(r#"{"app":"r"}"#, &[(NOW_NS - SEC_NS, "longer than ten bytes")]);
    assert_eq!(world.push_json(&first).await.status, StatusCode::NO_CONTENT);
    let answer = world.push_json(&stream(r#"{"app":"r"}"#, &[(NOW_NS, "x")])).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.text().starts_with("ingestion rate limit exceeded for user fake (limit: 10 bytes/sec)"));
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(world.lines("{app=\"r\"}", "").await, ["longer than ten bytes"]);
}

#[tokio::test]
async fn native_push_is_stored_once() {
    let world = world().await;
    let labels = LabelSet::from_pairs([("app", "n"), ("service_name", "n")]);
    let mut entries = Entries::default();
    entries.push(NOW_NS - 2 * SEC_NS, b"one", "info", &LabelSet::default());
    entries.push(NOW_NS - SEC_NS, b"two", "info", &LabelSet::from_pairs([("k", "v")]));
    entries.push(1, b"too old", "info", &LabelSet::default());
    let body = Bytes::from(encode_batch(&[(&labels, &entries)]));
    let id = BatchId { source: [9; 16], epoch: 1, sequence: 7 };
    for duplicate in [false, true] {
        let request = Request::post(native_push::PATH)
            .header("content-type", native_push::CONTENT_TYPE)
            .header(native_push::BATCH_HEADER, id.to_string())
            .body(Body::from(body.clone()))
            .unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.headers.contains_key(native_push::VERSION_HEADER));
        let answer = PushAnswer::from_json(&answer.body).unwrap();
        assert_eq!((answer.duplicate, answer.accepted, answer.rejected), (duplicate, 2, 1));
        assert_eq!(answer.reasons["greater_than_max_sample_age"], 1);
    }
    assert_eq!(world.lines("{app=\"n\"}", "").await, ["one", "two"]);
    for (content_type, id, body) in [
        ("text/plain", "", "x"),
        (native_push::CONTENT_TYPE, "nonsense", "x"),
        (native_push::CONTENT_TYPE, "", "junk"),
    ] {
        let mut request = Request::post(native_push::PATH).header("content-type", content_type);
        if !id.is_empty() {
            request = request.header(native_push::BATCH_HEADER, id);
        }
        assert_eq!(world.send(request.body(Body::from(body)).unwrap()).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn labels_series_and_stats_respect_range_and_selector() {
    let world = world().await;
    let streams = [
        stream(r#"{"app":"a","host":"h1"}"#, &[(NOW_NS - SEC_NS, "abc")]),
        stream(r#"{"app":"b","zone":"z"}"#, &[(NOW_NS - SEC_NS, "defg")]),
        stream(r#"{"app":"old","rack":"r"}"#, &[(NOW_NS - 86_400 * SEC_NS, "x")]),
    ];
    assert_eq!(world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    let names = |answer: Answer| decode::<NamesAnswer>(&answer.body).unwrap().data;
    assert_eq!(names(world.get("/loki/api/v1/labels").await), ["app", "host", "service_name", "zone"]);
    // Has no meaning there, but is checked.
    let step = world.get("/loki/api/v1/index/stats?query=%7Bapp%3D%22a%22%7D&step=0").await;
    assert!(step.text().starts_with("zero or negative query resolution"), "{}", step.text());
    assert_eq!(
        names(world.get("/loki/api/v1/label?since=2d").await),
        ["app", "host", "rack", "service_name", "zone"]
    );
    let selector = escape("{app=\"a\"}");
    assert_eq!(
        names(world.get(&format!("/loki/api/v1/labels?query={selector}")).await),
        ["app", "host", "service_name"]
    );
    assert_eq!(names(world.get("/loki/api/v1/label/app/values").await), ["a", "b"]);
    let none = world.get("/loki/api/v1/label/nosuch/values").await;
    assert_eq!(none.text(), "{\"status\":\"success\",\"data\":[]}\n");
    assert_eq!(world.get("/loki/api/v1/label/a%2Fb/values").await.status, StatusCode::NOT_FOUND);
    let series = |answer: Answer| decode::<SeriesListAnswer>(&answer.body).unwrap().data.len();
    assert_eq!(series(world.get("/loki/api/v1/series").await), 2);
    assert_eq!(
        series(
            world
                .get(&format!("/loki/api/v1/series?match[]={selector}&match={}", escape("{zone!=\"q\"}")))
                .await
        ),
        2
    );
    assert_eq!(series(world.get(&format!("/loki/api/v1/series?match[]={}&since=2d", escape("{}"))).await), 3);
    let stats: IndexStatsAnswer = decode(
        &world.get(&format!("/loki/api/v1/index/stats?query={}", escape("{app=~\"a|b\"}"))).await.body,
    )
    .unwrap();
    assert_eq!((stats.streams, stats.entries, stats.bytes), (2, 2, 7));
    let refused = world.get(&format!("/loki/api/v1/labels?query={}", escape("{app=\"a\"} |= \"x\""))).await;
    assert_eq!(
        (refused.status, refused.text()),
        (StatusCode::BAD_REQUEST, "only label matchers are supported")
    );
}

#[tokio::test]
async fn answers_are_the_same_before_and_after_a_flush() {
    let world = world().await;
    let entries: Vec<(i64, String)> =
        (0..50).map(|index| (NOW_NS - (50 - index) * SEC_NS, format!("line {index}"))).collect();
    let entries: Vec<(i64, &str)> = entries.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    world.push_json(&stream(r#"{"app":"f"}"#, &entries)).await;
    let count = format!("/loki/api/v1/query?query={}", escape("sum(count_over_time({app=\"f\"}[5m]))"));
    let before = (world.lines("{app=\"f\"}", "&limit=7").await, world.get(&count).await);
    assert_eq!(
        world.send(Request::post("/flush").body(Body::empty()).unwrap()).await.status,
        StatusCode::NO_CONTENT
    );
    let after = (world.lines("{app=\"f\"}", "&limit=7").await, world.get(&count).await);
    assert_eq!((before.0.len(), &before.0), (7, &after.0));
    assert_eq!(before.0[6], "line 49");
    for answer in [before.1, after.1] {
        let QueryData::Vector(samples) = decode::<QueryAnswer>(&answer.body).unwrap().data else {
            panic!("not a vector")
        };
        assert_eq!(samples[0].value.value, 50.0);
    }
}

#[tokio::test]
async fn what_is_beyond_loki_is_answered() {
    let world = world().await;
    let at = |second: i64, text| (NOW_NS + second * SEC_NS, text);
    let entries =
        [at(1, "start"), at(2, "user=ann ok"), at(3, "user=bob error"), at(4, "user=ann ok"), at(5, "end")];
    assert_eq!(world.push_json(&stream(r#"{"app":"web"}"#, &entries)).await.status, StatusCode::NO_CONTENT);
    let range = format!("&start={NOW_NS}&end={}&limit=10", NOW_NS + 10 * SEC_NS);
    for flushed in [false, true] {
        if flushed {
            assert_eq!(
                world.send(Request::post("/flush").body(Body::empty()).unwrap()).await.status,
                StatusCode::NO_CONTENT
            );
        }
        // Neighbours lie where no line holds what the filter looks for.
        let query = r#"{app="web", "k8s.io/app"=""} |= "error" | context 2, 1"#;
        assert_eq!(
            world.lines(query, &range).await,
            ["start", "user=ann ok", "user=bob error", "user=ann ok"]
        );
        let query = r#"{app="web"} | logfmt | user!="" | distinct user"#;
        assert_eq!(world.lines(query, &range).await, ["user=bob error", "user=ann ok"]);
    }
    let query = r#"sum(count_distinct_over_time(user, {app="web"} | logfmt | label_format "k8s.io/app"=app [1m]) by ("k8s.io/app"))"#;
    let instant = format!("/loki/api/v1/query?time={}&query={}", NOW_NS + 10 * SEC_NS, escape(query));
    let answer = world.get(&instant).await;
    assert!(answer.text().contains(r#""2"]"#), "{}", answer.text());
    let formatted = world.get(&format!("/loki/api/v1/format_query?query={}", escape(query))).await;
    let expect = r#"| label_format \"k8s.io/app\"=app [1m]"#;
    assert!(formatted.text().contains(expect), "{}", formatted.text());
}

#[tokio::test]
async fn check_28_the_health_query_of_grafana() {
    let world = world().await;
    let answer =
        world.get("/loki/api/v1/query?direction=backward&query=vector(1)%2Bvector(1)&time=4000000000").await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert!(answer.text().starts_with(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}],"stats":{"summary":"#), "{}", answer.text());
}

#[tokio::test]
async fn categories_follow_the_header() {
    let world = world().await;
    world
        .push_json(&format!(
            r#"{{"stream":{{"app":"c"}},"values":[["{}","x",{{"trace":"7"}}]]}}"#,
            NOW_NS - SEC_NS
        ))
        .await;
    let path = format!("/loki/api/v1/query_range?query={}", escape("{app=\"c\"}"));
    let flagged = Request::get(&path)
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
        .body(Body::empty())
        .unwrap();
    let flagged = world.send(flagged).await;
    assert!(flagged.text().contains(r#""resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"c","service_name":"c"},"values":[["#), "{}", flagged.text());
    assert!(
        flagged.text().contains(r#""x",{"structuredMetadata":{"detected_level":"unknown","trace":"7"}}]"#),
        "{}",
        flagged.text()
    );
    let plain = world.get(&path).await;
    assert!(
        plain
            .text()
            .contains(r#""stream":{"app":"c","detected_level":"unknown","service_name":"c","trace":"7"}"#)
            && !plain.text().contains("encodingFlags")
    );
}

#[tokio::test]
async fn check_03_faults_of_queries_are_texts() {
    let world = world().await;
    let selector = escape("{a=\"b\"}");
    for (path, status, text) in [
        ("query_range?query=".to_owned(), 400, "parse error : syntax error: unexpected $end"),
        (format!("query_range?query={selector}&limit=0"), 400, "limit must be a positive value"),
        (
            format!("query_range?query={selector}&limit=5001"),
            400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
        ),
        (format!("query_range?query={selector}&start=abc"), 400, "could not parse 'start' parameter: "),
        (
            format!("query_range?query={selector}&start=1"),
            400,
            "the query time range exceeds the limit (query length: 498674h",
        ),
        (format!("query?query={selector}"), 400, "log queries are not supported as an instant query type"),
        (
            "query?query=vector(1)&time=abc".to_owned(),
            400,
            "strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        ("query?query=%zz".to_owned(), 400, "invalid URL escape \"%zz\""),
        (
            format!("query_range?query={}", escape("{ä=\"c\"}")),
            400,
            "parse error at line 1, col 2: syntax error: unexpected ä, ",
        ),
        ("nosuch".to_owned(), 404, "404 page not found\n"),
        ("push".to_owned(), 404, "404 page not found\n"),
    ] {
        let answer = world.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text().starts_with(text), "{path}: {}", answer.text());
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let format =
        world.get(&format!("/loki/api/v1/format_query?query={}", escape("{foo=  \"bar\"}|=\"x\""))).await;
    assert_eq!(format.text(), "{\"status\":\"success\",\"data\":\"{foo=\\\"bar\\\"} |= \\\"x\\\"\"}\n");
    let fault = world.get("/loki/api/v1/format_query?query=%7B").await;
    assert!(
        fault.status == StatusCode::BAD_REQUEST
            && fault.text().starts_with("{\"status\":\"invalid-query\",\"error\":\"parse error at line 1")
    );
}

#[tokio::test]
async fn methods_and_forms() {
    let world = world().await;
    world.push_json(&stream(r#"{"app":"p"}"#, &[(NOW_NS - SEC_NS, "x")])).await;
    let form = Request::post("/loki/api/v1/query_range")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("query={}", escape("{app=\"p\"}"))))
        .unwrap();
    assert!(world.send(form).await.text().contains("\"x\""));
    for method in ["PUT", "DELETE", "HEAD"] {
        let request =
            Request::builder().method(method).uri("/loki/api/v1/query_range").body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::METHOD_NOT_ALLOWED, ""), "{method}");
    }
}

#[tokio::test]
async fn check_10_gzip_only_when_asked() {
    let world = world().await;
    let entries: Vec<(i64, &str)> =
        (0..100).map(|index| (NOW_NS - SEC_NS - index, "a line that repeats itself")).collect();
    world.push_json(&stream(r#"{"app":"z"}"#, &entries)).await;
    let path = format!("/loki/api/v1/query_range?query={}", escape("{app=\"z\"}"));
    let plain = world.get(&path).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let packed =
        world.send(Request::get(&path).header("accept-encoding", "gzip").body(Body::empty()).unwrap()).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.body), &mut unpacked).unwrap();
    // Execution times differ from request to request.
    let result = |body: &[u8]| String::from_utf8_lossy(body).split("\"stats\"").next().map(str::to_owned);
    assert_eq!(result(&unpacked), result(&plain.body));
}

#[tokio::test]
async fn status_pages() {
    let world = world().await;
    assert_eq!(world.get("/ready").await.text(), "ready\n");
    assert!(world.get("/").await.text().contains("\"tagline\":\"Logyard "));
    assert!(world.get("/loki/api/v1/status/buildinfo").await.text().starts_with("{\"version\":\"3.7.6\""));
    world.push_json(&stream(r#"{"app":"s"}"#, &[(NOW_NS - SEC_NS, "abc"), (1, "old")])).await;
    let metrics = world.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for line in [
        "logyard_ingest_received_entries_total{form=\"loki_json\"} 2",
        "logyard_ingest_accepted_entries_total 1",
        "logyard_ingest_rejected_entries_total{reason=\"greater_than_max_sample_age\"} 1",
        "logyard_server_requests_total{method=\"GET\",route=\"/ready\",status=\"200\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{line} in {}", metrics.text());
    }
}

#[tokio::test]
async fn serving_ends_when_told_and_requests_under_way_are_answered() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let World { server: Some(server), folder: _folder, .. } = world().await else { panic!("it serves") };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async move { drop(stopped.await) }));
    // One connection stays idle, one has sent half a request when the server stops.
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let body = format!("{{\"streams\":[{}]}}", stream(r#"{"app":"g"}"#, &[(NOW_NS - SEC_NS, "x")]));
    let request = format!(
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut busy = tokio::net::TcpStream::connect(address).await.unwrap();
    busy.write_all(request.as_bytes()).await.unwrap();
    // The interim answer shows that the handler waits for the body.
    let mut interim = [0; 25];
    busy.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stop.send(()).unwrap();
    busy.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 No Content"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_answer_explains_itself_when_asked() {
    let world = world().await;
    world.push_json(&stream(r#"{"app":"web"}"#, &[(NOW_NS, "level=error a=1")])).await;
    let ask = async |query: &str, explain: &str| {
        let path = format!("/loki/api/v1/query_range?query={}&end={}{explain}", escape(query), NOW_NS + 1);
        let answer = world.get(&path).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, body)
    };
    let query = r#"{app="web"} | logfmt | a="1" |= "error""#;
    let (_, plain) = ask(query, "").await;
    assert!(plain.get("explain").is_none());
    let (_, planned) = ask(query, "&explain=plan").await;
    assert_eq!(planned["data"]["result"], serde_json::json!([]));
    let scan = &planned["explain"]["inputs"][0];
    assert!(
        scan["facts"].to_string().contains(r#"{"name":"on raw lines","value":"|= \"error\""}"#),
        "{scan}"
    );
    assert!(scan.get("counts").is_none());
    let (_, analyzed) = ask(query, "&explain=analyze").await;
    assert_eq!(analyzed["data"]["result"], plain["data"]["result"]);
    let counts = &analyzed["explain"]["inputs"][0]["counts"];
    assert!(counts.to_string().contains(r#"{"name":"entries that passed","value":1}"#), "{counts}");
    assert!(counts.to_string().contains(r#"{"name":"segments","value":0}"#), "{counts}");
    let (_, analyzed) = ask(r#"sum(rate({app="web"}[1m])) / vector(2)"#, "&explain=analyze").await;
    assert_eq!(analyzed["explain"]["inputs"][0]["inputs"][0]["step"], "rate [1m]");
    assert_eq!(ask(query, "&explain=yes").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_query_ends_when_its_client_goes_away() {
    use tokio::io::AsyncWriteExt as _;
    let settings = ServerSettings { queries_running_max: 1, ..ServerSettings::default() };
    let world = world_with(IngestSettings::default(), settings).await;
    let entries: Vec<(i64, String)> = (0..20_000).map(|n| (NOW_NS - n, format!("line {n}"))).collect();
    let entries: Vec<(i64, &str)> = entries.iter().map(|(ts_ns, line)| (*ts_ns, line.as_str())).collect();
    assert_eq!(world.push_json(&stream(r#"{"app":"web"}"#, &entries)).await.status, StatusCode::NO_CONTENT);
    let World { router, server: Some(server), folder: _folder, .. } = world else { panic!("it serves") };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async move { drop(stopped.await) }));
    // Some milliseconds for each entry, and none of them passes: minutes in all.
    let slow = r#"{app="web"} | line_format "{{ repeat 100000 .app | upper | lower | upper }}" |= "none""#;
    let request = format!(
        "GET /loki/api/v1/query_range?query={}&end={} HTTP/1.1\r\nhost: x\r\n\r\n",
        escape(slow),
        NOW_NS + 1
    );
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let path = format!("/loki/api/v1/query_range?query={}&end={}", escape(r#"{app="web"}"#), NOW_NS + 1);
    let quick = async || {
        let request = Request::get(&path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    // Once the slow query runs, it has the only slot.
    let patience = std::time::Duration::from_millis(1500);
    let mut is_taken = false;
    for _ in 0..100 {
        is_taken = tokio::time::timeout(patience, quick()).await.is_err();
        if is_taken {
            break;
        }
    }
    assert!(is_taken, "the slow query ended on its own");
    drop(socket);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), quick()).await;
    assert_eq!(waited.expect("the slow query goes on without its client"), StatusCode::OK);
    drop(stop);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn snapshots_are_made_listed_and_deleted() {
    let world = world().await;
    world.push_json(&format!(r#"{{"stream":{{"app":"a"}},"values":[["{NOW_NS}","one"]]}}"#)).await;
    let path = "/logyard/v1/admin/snapshot";
    let post = |query: &str| Request::post(format!("{path}{query}")).body(Body::empty()).unwrap();
    let made = world.send(post("?id=nightly")).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    let about: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!((about["id"].as_str(), about["entries"].as_u64()), (Some("nightly"), Some(1)));
    let description = world.folder.path().join("snapshots/nightly/snapshot.json");
    assert!(RealDisk.metadata(&description).unwrap().is_some());
    assert_eq!(world.send(post("?id=nightly")).await.status, StatusCode::BAD_REQUEST);
    let bad = world.send(post("?id=../x")).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST, "{}", bad.text());
    assert!(world.get(path).await.text().contains(r#""snapshots":[{"id":"nightly""#));
    let delete = |query: &str| Request::delete(format!("{path}{query}")).body(Body::empty()).unwrap();
    assert_eq!(world.send(delete("")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.send(delete("?id=nightly")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.send(delete("?id=nightly")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(path).await.text(), r#"{"snapshots":[]}"#);
}
