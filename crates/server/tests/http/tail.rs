//! The live tail over a real socket: what comes, in which order, and how it ends.

use super::*;
use futures_util::{SinkExt as _, StreamExt as _};
use logyard_ingest::SpanText;
use logyard_wire::loki_tail::TailAnswer;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a port of its own.
pub(crate) struct Live {
    pub(crate) world: World,
    pub(crate) address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn live(settings: ServerSettings) -> Live {
    let mut world = world_with(IngestSettings::default(), settings).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = world.server.take().unwrap();
    let serving = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
    Live { world, address, stop: Some(stop), serving }
}

impl Live {
    async fn push(&self, app: &str, entries: &[(i64, &str)]) {
        let labels = format!("{{\"app\":\"{app}\"}}");
        let answer = self.world.push_json(&stream(&labels, entries)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    }

    pub(crate) async fn try_tail(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let connection = TcpStream::connect(self.address).await.unwrap();
        client_async(request, connection).await.map(|(socket, _)| socket)
    }

    async fn tail(&self, query: &str, more: &str) -> Socket {
        let path = format!("/loki/api/v1/tail?query={}{more}", escape(query));
        self.try_tail(&path, &[("origin", "http://grafana.example")]).await.unwrap()
    }

    async fn refused(&self, path: &str) -> (u16, String) {
        match self.try_tail(path, &[]).await {
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                (response.status().as_u16(), String::from_utf8(body).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn message(socket: &mut Socket) -> Message {
    let said = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(message) => return message.unwrap(),
                None => panic!("the socket ended"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, said).await.expect("a message in time")
}

pub(crate) async fn text(socket: &mut Socket) -> String {
    match message(socket).await {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn frame(socket: &mut Socket) -> TailAnswer {
    decode(text(socket).await.as_bytes()).unwrap()
}

fn lines_of(frame: &TailAnswer) -> Vec<&str> {
    frame.streams.iter().flat_map(|stream| &stream.values).map(|entry| entry.line.as_str()).collect()
}

/// Reads frames until there are so many lines.
async fn lines(socket: &mut Socket, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let frame = frame(socket).await;
        assert_eq!(frame.dropped_entries, []);
        lines.extend(lines_of(&frame).into_iter().map(str::to_owned));
    }
    lines
}

async fn closed(socket: &mut Socket) -> (u16, String) {
    match message(socket).await {
        Message::Close(Some(CloseFrame { code, reason })) => (code.into(), reason.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_44_the_past_comes_first_then_what_arrives() {
    let live = live(ServerSettings::default()).await;
    let at = |secs: i64| NOW_NS - secs * SEC_NS;
    live.push("a", &[(at(7200), "too old"), (at(30), "one"), (at(20), "two"), (at(10), "three")]).await;
    live.push("b", &[(at(5), "other")]).await;
    let mut socket = live.tail("{app=\"a\"}", "&limit=2").await;
    let past = frame(&mut socket).await;
    assert_eq!(lines_of(&past), ["two", "three"]);
    let expect: BTreeMap<_, _> = [("app", "a"), ("detected_level", "unknown"), ("service_name", "a")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(past.streams[0].stream.clone().into_iter().collect::<BTreeMap<_, _>>(), expect);
    for line in ["four", "five"] {
        live.push("b", &[(at(1), line)]).await;
        live.push("a", &[(at(1), line)]).await;
        assert_eq!(lines(&mut socket, 1).await, [line]);
    }
    // Of any age, once they arrive.
    live.push("a", &[(at(9000), "late")]).await;
    assert_eq!(lines(&mut socket, 1).await, ["late"]);
    assert!(live.world.get("/metrics").await.text().contains("logyard_server_tails 1"));
    socket.close(None).await.unwrap();
    drop(socket);
    let gone = async {
        while live.world.get("/metrics").await.text().contains("logyard_server_tails 1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the tail is counted no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_holds_no_more_of_the_past_than_it_may() {
    let settings = ServerSettings { tail_held_bytes_max: 1500, ..ServerSettings::default() };
    let live = live(settings).await;
    let texts: Vec<String> = (0..10).map(|number| format!("{number} {}", "x".repeat(300))).collect();
    let entries: Vec<(i64, &str)> =
        (0..).zip(&texts).map(|(number, text)| (NOW_NS - SEC_NS + number, text.as_str())).collect();
    live.push("a", &entries).await;
    let mut socket = live.tail("{app=\"a\"}", "").await;
    let past = frame(&mut socket).await;
    assert_eq!(lines_of(&past), texts[7..], "the newest, of some 450 bytes each");
    assert_eq!(past.dropped_entries.len(), 7);
    live.push("a", &[(NOW_NS, "next")]).await;
    assert_eq!(lines(&mut socket, 1).await, ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_45_the_pipeline_is_applied_and_categories_are_told() {
    let live = live(ServerSettings::default()).await;
    let query = r#"{app="a"} |= "x" | logfmt | level="warn" | line_format "{{.n}}!""#;
    let path = format!("/loki/api/v1/tail?query={}", escape(query));
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let mut socket = live.try_tail(&path, &flags).await.unwrap();
    let mut plain = live.tail(query, "").await;
    let entries = [(NOW_NS, "level=info n=1 x"), (NOW_NS, "level=warn n=2 x"), (NOW_NS, "level=warn n=3 y")];
    live.push("a", &entries).await;
    let text = text(&mut socket).await;
    assert_eq!(
        text,
        format!(
            r#"{{"streams":[{{"stream":{{"app":"a","service_name":"a"}},"values":[["{NOW_NS}","2!",{{"structuredMetadata":{{"detected_level":"warn"}},"parsed":{{"level":"warn","n":"2","x":""}}}}]]}}],"encodingFlags":["categorize-labels"]}}"#
        )
        .replace(r#","x":"""#, "")
    );
    let frame = frame(&mut plain).await;
    assert_eq!(frame.streams[0].stream["n"], "2");
    assert_eq!(frame.streams[0].stream["detected_level"], "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_entry_is_missed_or_sent_twice_while_a_tail_begins() {
    let live = Arc::new(live(ServerSettings::default()).await);
    let pushing = {
        let live = Arc::clone(&live);
        tokio::spawn(async move {
            for number in 0..300 {
                live.push("a", &[(NOW_NS - SEC_NS + number, &format!("n{number}"))]).await;
            }
        })
    };
    let mut tails = Vec::new();
    for _ in 0..5 {
        tails.push(live.tail("{app=\"a\"}", "&limit=5000").await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pushing.await.unwrap();
    let expect: Vec<String> = (0..300).map(|number| format!("n{number}")).collect();
    for mut socket in tails {
        assert_eq!(lines(&mut socket, 300).await, expect);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_47_a_slow_reader_is_told_what_it_missed_and_slows_nobody() {
    let live = live(ServerSettings::default()).await;
    let mut slow = live.tail("{app=\"a\"}", "").await;
    let mut quick = live.tail("{app=\"a\"} |= \"5 x\"", "").await;
    // More than sockets and frames hold; the slow reader reads nothing meanwhile, the quick one what it asks for.
    let padding = "x".repeat(20_000);
    let sent = 2000;
    // What the quick one gets at a time fits its line, however slow this machine is.
    for first in (0..sent).step_by(40) {
        let texts: Vec<String> = (first..first + 40).map(|number| format!("{number} {padding}")).collect();
        let entries: Vec<(i64, &str)> =
            texts.iter().zip(NOW_NS - SEC_NS + first..).map(|(text, ts_ns)| (ts_ns, text.as_str())).collect();
        live.push("a", &entries).await;
        let expect: Vec<&String> = texts.iter().filter(|text| text.contains("5 x")).collect();
        assert_eq!(lines(&mut quick, 4).await.iter().collect::<Vec<_>>(), expect);
    }
    let (mut read, mut missed) = (0, Vec::new());
    while missed.is_empty() {
        let frame = frame(&mut slow).await;
        read += lines_of(&frame).len();
        missed.extend(frame.dropped_entries);
    }
    assert!(
        (read as i64) < sent && !missed.is_empty() && missed.len() <= 1000,
        "{read} read, {} missed",
        missed.len()
    );
    assert_eq!(missed[0].labels["app"], "a");
    assert!(missed[0].timestamp.len() == 19, "{}", missed[0].timestamp);
    let metrics = live.world.get("/metrics").await;
    let dropped = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("logyard_server_tail_dropped_entries_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_held_back_and_put_in_order() {
    let live = live(ServerSettings::default()).await;
    let mut socket = live.tail("{app=\"a\"}", "&delay_for=2").await;
    let begun = tokio::time::Instant::now();
    // The clock of the server stands still; only waiting makes an entry of now due.
    let streams = [("x", NOW_NS, "second"), ("y", NOW_NS - 2 * SEC_NS, "first")]
        .map(|(name, ts_ns, line)| stream(&format!("{{\"app\":\"a\",\"s\":\"{name}\"}}"), &[(ts_ns, line)]));
    assert_eq!(live.world.push_json(&streams.join(",")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(lines(&mut socket, 2).await, ["first", "second"]);
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn check_46_what_is_wrong_is_said_before_the_upgrade() {
    let live = live(ServerSettings::default()).await;
    for (params, status, expect) in [
        ("", 400, "parse error : syntax error: unexpected $end"),
        ("query=%7Bapp%3D", 400, "parse error at line 1, col 6: syntax error"),
        ("query=%7Bapp%3D%22a%22%7D&limit=0", 400, "limit must be a positive value"),
        ("query=%7Bapp%3D%22a%22%7D&start=x", 400, "could not parse 'start' parameter: "),
        ("query=%7Bapp%3D%22a%22%7D&delay_for=6", 400, "delay_for can't be greater than 5"),
        ("query=%7Bapp%3D%22a%22%7D&delay_for=x", 400, "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("query=%7Bapp%3D%22a%22%7D%7Cdistinct%20x", 400, "distinct has no meaning in a live tail"),
    ] {
        let (found, text) = live.refused(&format!("/loki/api/v1/tail?{params}")).await;
        assert!(found == status && text.starts_with(expect), "{params}: {found} {text}");
    }
    let plain = live.world.get("/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D").await;
    assert_eq!((plain.status.as_u16(), plain.text()), (400, "Bad Request\n"));
    let post = Request::post("/loki/api/v1/tail").body(Body::empty()).unwrap();
    assert_eq!(live.world.send(post).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_their_own_entries_only() {
    let live = live(ServerSettings { auth_enabled: true, ..ServerSettings::default() }).await;
    let path = format!("/loki/api/v1/tail?query={}", escape("{app=\"a\"}"));
    for (tenant, status, expect) in
        [("", 401, "no org id"), ("a|b", 400, "multiple org IDs"), ("a/b", 400, "tenant ID")]
    {
        match live.try_tail(&path, &[("x-scope-orgid", tenant)]).await {
            Err(Error::Http(response)) => {
                let text = String::from_utf8(response.body().clone().unwrap()).unwrap();
                assert!(response.status() == status && text.starts_with(expect), "{tenant}: {text}");
            }
            other => panic!("{tenant}: {other:?}"),
        }
    }
    let mut sockets = Vec::new();
    for tenant in ["one", "two"] {
        sockets.push((tenant, live.try_tail(&path, &[("x-scope-orgid", tenant)]).await.unwrap()));
    }
    for tenant in ["one", "two"] {
        let body = format!("{{\"streams\":[{}]}}", stream("{\"app\":\"a\"}", &[(NOW_NS, tenant)]));
        let push = Request::post("/loki/api/v1/push")
            .header("content-type", "application/json")
            .header("x-scope-orgid", tenant)
            .body(Body::from(body))
            .unwrap();
        assert_eq!(live.world.send(push).await.status, StatusCode::NO_CONTENT);
    }
    for (tenant, socket) in &mut sockets {
        assert_eq!(lines(socket, 1).await, [*tenant]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_46_other_refusals_close_the_socket_with_a_reason() {
    let live = live(ServerSettings { tails_max: 1, ..ServerSettings::default() }).await;
    let mut metric = live.tail("rate({app=\"a\"}[1m])", "").await;
    assert_eq!(closed(&mut metric).await, (1011, "only log selector is supported".to_owned()));
    let first = live.tail("{app=\"a\"}", "").await;
    let mut second = live.tail("{app=\"a\"}", "").await;
    let (code, reason) = closed(&mut second).await;
    assert_eq!(code, 1011);
    assert!(
        reason.starts_with("max concurrent tail requests limit exceeded, count > limit (2 > 1)"),
        "{reason}"
    );
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_44_both_sides_may_ping_and_what_clients_say_is_dropped() {
    let live = live(ServerSettings::default()).await;
    let mut socket = live.tail("{app=\"a\"}", "").await;
    socket.send(Message::Text("what clients say is dropped".into())).await.unwrap();
    socket.send(Message::Ping("p".into())).await.unwrap();
    let (mut pings, mut pongs) = (0, 0);
    while pings < 2 || pongs < 1 {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            Message::Pong(_) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_46_a_tail_lasts_so_long() {
    let short = SpanText(Duration::from_millis(50));
    let live = live(ServerSettings { tail_duration_max: short, ..ServerSettings::default() }).await;
    let mut socket = live.tail("{app=\"a\"}", "").await;
    assert_eq!(closed(&mut socket).await, (1011, "reached tail max duration limit".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_form() {
    let live = live(ServerSettings::default()).await;
    let path = format!("/api/prom/tail?query={}&regexp=o%2B", escape("{app=\"a\"} # all"));
    let mut socket = live.try_tail(&path, &[]).await.unwrap();
    live.push("a", &[(NOW_NS, "none"), (NOW_NS, "eight")]).await;
    assert_eq!(
        text(&mut socket).await,
        r#"{"streams":[{"labels":"{app=\"a\", detected_level=\"unknown\", service_name=\"a\"}","entries":[{"ts":"2025-11-21T03:00:00Z","line":"none"}]}],"dropped_entries":null}"#
            .replace("2025-11-21T03:00:00Z", &logyard_wire::go_time::GoTime::from_ns(NOW_NS).rfc3339_nano())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_tails_without_a_code_so_that_clients_come_back() {
    let mut live = live(ServerSettings::default()).await;
    let mut socket = live.tail("{app=\"a\"}", "").await;
    live.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(PATIENCE, &mut live.serving).await.unwrap().unwrap().unwrap();
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an end in time") {
            Some(Ok(Message::Ping(_))) => {}
            Some(Err(_)) | None => break,
            other => panic!("{other:?}"),
        }
    }
}
