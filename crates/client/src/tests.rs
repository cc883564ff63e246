//! Calls against a server of a few lines that records requests and plays back answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use logyard_model::{Direction, Tenant, TimeRange};
use logyard_wire::loki_query::QueryData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    BackoffSettings, Client, ClientOptions, ClientSettings, DeleteRange, Kind, Login, Proxy, RangeQuery,
    Retries,
};

/// Plays one answer per request and counts connections.
struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let mut answers: Vec<String> = answers.iter().rev().map(|&answer| answer.to_owned()).collect();
        let (seen, opened) = (Arc::clone(&requests), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                *opened.lock().unwrap() += 1;
                while let Some(request) = read_request(&mut socket).await {
                    seen.lock().unwrap().push(request);
                    let Some(answer) = answers.pop() else { return };
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { base, requests, connections }
    }

    fn client(&self) -> Client {
        self.client_with(ClientOptions::default())
    }

    fn client_with(&self, options: ClientOptions) -> Client {
        let settings = ClientSettings {
            timeout: Duration::from_secs(5),
            org_id: Some(Tenant::new("team-a").unwrap().into()),
            token: None,
            tls: None,
            user_agent: "logyard-test/1".to_owned(),
        };
        Client::with_options(&self.base, settings, options).unwrap()
    }
}

/// Reads one request with a body of `content-length` bytes; none at the end of the connection.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_push_carries_its_id_and_connections_are_reused() {
    let ok = answer(
        "200 OK",
        "",
        r#"{"duplicate":false,"accepted":3,"rejected":1,"reasons":{"line_too_long":1}}"#,
    );
    let server = Server::start(&[&ok, &ok]).await;
    let client = server.client();
    for _ in 0..2 {
        let answer = client.push_native(&"00ff/1/7", Bytes::from_static(b"LYBA...")).await.unwrap();
        assert_eq!((answer.accepted, answer.reasons["line_too_long"]), (3, 1));
    }
    let requests = server.requests.lock().unwrap();
    let request = requests[0].to_lowercase();
    assert!(request.starts_with("post /logyard/v1/push http/1.1"), "{request}");
    assert!(request.contains("x-logyard-batch: 00ff/1/7"), "{request}");
    assert!(request.contains("content-type: application/x-logyard-batch"), "{request}");
    assert!(request.contains("x-scope-orgid: team-a"), "{request}");
    assert!(request.ends_with("lyba..."), "{request}");
    assert_eq!(*server.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn refusals_have_kind_reason_and_pause() {
    let server = Server::start(&[
        &answer("400 Bad Request", "", "cannot decode batch: bad checksum\n"),
        &answer("429 Too Many Requests", "retry-after: 4\r\n", "ingestion rate limit exceeded"),
        &answer("503 Service Unavailable", "", "recovering"),
        &answer("302 Found", "location: http://elsewhere/\r\n", ""),
        &answer("200 OK", "", "<html>welcome to my router</html>"),
    ])
    .await;
    let client = server.client();
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(client.push_native(&"id", Bytes::new()).await.unwrap_err());
    }
    let kinds: Vec<Kind> = errors.iter().map(|error| error.kind()).collect();
    assert_eq!(kinds, [Kind::Invalid, Kind::Limited, Kind::Unavailable, Kind::Invalid, Kind::Unavailable]);
    assert_eq!(errors[0].to_string(), "cannot decode batch: bad checksum");
    assert_eq!((errors[1].status(), errors[1].retry_after()), (Some(429), Some(Duration::from_secs(4))));
    assert!(errors[3].to_string().contains("redirects"), "{}", errors[3]);
    assert!(errors[4].to_string().contains("check the address"), "{}", errors[4]);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        base: format!("http://{}", listener.local_addr().unwrap()),
        requests: Arc::default(),
        connections: Arc::default(),
    };
    drop(listener);
    let error = server.client().push_native(&"id", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("start the store or correct the address"), "{error}");
}

#[tokio::test]
async fn a_range_query_sends_its_parameters_and_reads_entries() {
    let body = r#"{"status":"success","data":{"resultType":"streams","result":[
        {"stream":{"a":"b"},"values":[["1","x",{"structuredMetadata":{"detected_level":"info"}}]]}]}}"#;
    let server = Server::start(&[&answer("200 OK", "", body)]).await;
    let query = RangeQuery {
        query: "{a=\"b\"} |= \"x y\"".to_owned(),
        range: TimeRange { start_ns: 1_795_229_946_884_000_000, end_ns: 1_795_229_947_000_000_000 },
        limit: 7,
        direction: Direction::Forward,
        step: None,
    };
    let answer = server.client().query_range(&query).await.unwrap();
    let QueryData::Streams(streams) = answer.data else { panic!("not streams") };
    assert_eq!(streams[0].values[0].categories.structured_metadata["detected_level"], "info");
    let requests = server.requests.lock().unwrap();
    assert!(
        requests[0].contains("query=%7Ba%3D%22b%22%7D+%7C%3D+%22x+y%22&start=1795229946884000000"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("&limit=7&direction=forward "), "{}", requests[0]);
    assert!(requests[0].contains("x-loki-response-encoding-flags: categorize-labels"), "{}", requests[0]);
}

#[tokio::test]
async fn series_and_values_are_read() {
    let server = Server::start(&[
        &answer("200 OK", "", r#"{"status":"success","data":[{"a":"1"},{"a":"2"}]}"#),
        &answer("200 OK", "", r#"{"status":"success"}"#),
    ])
    .await;
    let client = server.client();
    let range = TimeRange { start_ns: 0, end_ns: 1 };
    assert_eq!(client.series(&["{a=~\".+\"}".to_owned()], range).await.unwrap().len(), 2);
    assert!(client.label_values("a/b", range).await.unwrap().is_empty());
    let requests = server.requests.lock().unwrap();
    assert!(requests[0].contains("match%5B%5D=%7Ba%3D%7E%22.%2B%22%7D"), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /loki/api/v1/label/a%2Fb/values?"), "{}", requests[1]);
}

#[tokio::test]
async fn a_message_is_sent_and_its_path_is_never_told() {
    let server =
        Server::start(&[&answer("200 OK", "", "{}"), &answer("404 Not Found", "", "no such hook")]).await;
    let client = server.client();
    let headers = [("x-gotify-key", "sesame".to_owned())];
    client.notify("/hooks/secret?sig=1%2F2", &headers, "{\"a\":1}".to_owned()).await.unwrap();
    let request = server.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /hooks/secret?sig=1%2F2 HTTP/1.1"), "{request}");
    assert!(request.contains("x-gotify-key: sesame") && request.ends_with("{\"a\":1}"), "{request}");
    let error = client.notify("/hooks/secret", &[], String::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Invalid, "no such hook"));
    drop(server);
    let error = client.notify("/hooks/secret", &[], String::new()).await.unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_read_is_made_again_as_often_as_asked_for() {
    let busy = answer("503 Service Unavailable", "", "recovering");
    let ok = answer("200 OK", "", r#"{"status":"success","data":["a"]}"#);
    let server = Server::start(&[&busy, &busy, &ok, &busy, &answer("400 Bad Request", "", "no")]).await;
    let backoff = BackoffSettings { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    let retries = Retries { count: 2, backoff };
    let client = server.client_with(ClientOptions { retries, ..ClientOptions::default() });
    let range = TimeRange { start_ns: 0, end_ns: 1 };
    assert_eq!(client.labels(range).await.unwrap(), ["a"]);
    assert_eq!(client.labels(range).await.unwrap_err().to_string(), "no");
    assert_eq!(server.requests.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn login_headers_and_proxy_are_those_of_the_options() {
    let ok = answer("200 OK", "", r#"{"status":"success","data":["a"]}"#);
    let mut server = Server::start(&[&ok, &ok]).await;
    let login = Login { username: "me".to_owned(), password: "se@same".to_owned() };
    let options = ClientOptions {
        login: Some(login),
        auth_header: Some("X-Auth".to_owned()),
        headers: vec![("cache-control".to_owned(), "no-cache".to_owned())],
        ..ClientOptions::default()
    };
    let range = TimeRange { start_ns: 0, end_ns: 1 };
    server.client_with(options).labels(range).await.unwrap();
    let proxy = Proxy::Url(std::mem::replace(&mut server.base, "http://store.invalid:3100".to_owned()));
    server.client_with(ClientOptions { proxy, ..ClientOptions::default() }).labels(range).await.unwrap();
    let requests = server.requests.lock().unwrap();
    assert!(requests[1].starts_with("GET http://store.invalid:3100/loki/api/v1/labels"), "{}", requests[1]);
    let request = &requests[0];
    assert!(request.contains("x-auth: Basic bWU6c2VAc2FtZQ=="), "{request}");
    assert!(request.contains("cache-control: no-cache") && !request.contains("authorization:"), "{request}");
}

#[tokio::test]
async fn stats_volumes_and_fields_are_read() {
    let server = Server::start(&[
        &answer("200 OK", "", r#"{"streams":2,"chunks":3,"bytes":4,"entries":5,"more":6}"#),
        &answer(
            "200 OK",
            "",
            r#"{"data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[5,"7"]}]}}"#,
        ),
        &answer(
            "200 OK",
            "",
            r#"{"fields":[{"label":"status","type":"int","cardinality":2,"parsers":["json"]}],"limit":9}"#,
        ),
        &answer("200 OK", "", r#"{"values":["200","404"],"limit":9}"#),
    ])
    .await;
    let client = server.client();
    let range = TimeRange { start_ns: 0, end_ns: 60_000_000_000 };
    assert_eq!(client.index_stats("{a=\"1\"}", range).await.unwrap().entries, 5);
    let asked = crate::VolumeQuery {
        query: "{a=\"1\"}".to_owned(),
        range,
        limit: 30,
        target_labels: vec!["a".to_owned(), "b".to_owned()],
        is_by_labels: true,
    };
    let QueryData::Vector(volumes) = client.volume(&asked).await.unwrap().data else { panic!("no vector") };
    assert_eq!(volumes[0].value.value, 7.0);
    let asked =
        crate::FieldsQuery { query: "{a=\"1\"}".to_owned(), range, limit: 9, line_limit: 10, step: None };
    assert_eq!(client.detected_fields(&asked).await.unwrap()[0].cardinality, 2);
    assert_eq!(client.detected_values("status", &asked).await.unwrap(), ["200", "404"]);
    let requests = server.requests.lock().unwrap();
    assert!(requests[1].contains("&targetLabels=a%2Cb&aggregateBy=labels"), "{}", requests[1]);
    assert!(requests[3].starts_with("GET /loki/api/v1/detected_field/status/values?"), "{}", requests[3]);
}

#[tokio::test]
async fn deletes_are_made_listed_and_cancelled() {
    let list = r#"[{"request_id":"x1","start_time":1,"end_time":2,"query":"{a=\"1\"}","status":"received","created_at":3}]"#;
    let server = Server::start(&[
        &answer("204 No Content", "x-delete-request-id: x1\r\n", ""),
        &answer("200 OK", "", list),
        &answer("204 No Content", "", ""),
    ])
    .await;
    let client = server.client();
    let asked = DeleteRange {
        range: TimeRange { start_ns: 1_500_000_000, end_ns: 2_500_000_001 },
        max_interval: None,
    };
    client.create_delete("{a=\"1\"}", &asked).await.unwrap();
    let found = client.deletes().await.unwrap();
    assert_eq!((found[0].request_id.as_str(), found[0].status.as_str()), ("x1", "received"));
    client.cancel_delete("x1", true).await.unwrap();
    let requests = server.requests.lock().unwrap();
    assert!(
        requests[0].starts_with("POST /loki/api/v1/delete?query=%7Ba%3D%221%22%7D&start=1&end=2 "),
        "{}",
        requests[0]
    );
    assert!(
        requests[2].starts_with("DELETE /loki/api/v1/delete?request_id=x1&force=true "),
        "{}",
        requests[2]
    );
}

#[tokio::test]
async fn stores_of_others_are_pushed_to_through_a_proxy_with_a_password() {
    let mut server = Server::start(&[
        &answer("204 No Content", "", ""),
        &answer("200 OK", "", "<html>log in</html>"),
        &answer("200 OK", "", "\u{a}\u{2}\u{8}\u{3}"),
        &answer("200 OK", "", "<html>log in</html>"),
        &answer("400 Bad Request", "content-type: application/x-protobuf\r\n", "\u{12}\u{4}none"),
    ])
    .await;
    let proxy = Proxy::Url(std::mem::replace(&mut server.base, "http://nowhere.invalid:1/x".to_owned()));
    let login = Login { username: "me".to_owned(), password: "sesame".to_owned() };
    let client = server.client_with(ClientOptions { proxy, login: Some(login), ..ClientOptions::default() });
    client.push_loki_packed(Bytes::from_static(b"body")).await.unwrap();
    // A page that wants a login is no ack.
    assert_eq!(
        client.push_loki_packed(Bytes::from_static(b"body")).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    assert_eq!(client.push_otlp(Bytes::from_static(b"body")).await.unwrap().rejected, 3);
    assert_eq!(client.push_otlp(Bytes::from_static(b"body")).await.unwrap_err().kind(), Kind::Unavailable);
    let refusal = client.push_otlp(Bytes::from_static(b"body")).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.to_string()), (Kind::Invalid, "none".to_owned()));
    let requests = server.requests.lock().unwrap().clone();
    assert!(requests[0].starts_with("POST http://nowhere.invalid:1/x/loki/api/v1/push "), "{}", requests[0]);
    assert!(requests[2].starts_with("POST http://nowhere.invalid:1/x/v1/logs "), "{}", requests[2]);
    assert!(requests[0].contains("authorization: Basic bWU6c2VzYW1l\r\n"), "{}", requests[0]);
    assert!(requests[2].contains("content-encoding: gzip\r\n"), "{}", requests[2]);
}
