//! Several destinations: each gets everything, at its own pace and in its own words.

use super::*;
use crate::destination::{DestinationKind, WhenFull};
use logyard_wire::{loki_push, otlp};

/// What a sink answers to lines: status, and a body.
type Answer = Box<dyn Fn(&[String]) -> (u16, Vec<u8>) + Send + Sync>;

/// A store of others: takes lines in Loki's or OpenTelemetry's form.
struct Sink {
    base: String,
    lines: Mutex<Vec<String>>,
    answer: Mutex<Answer>,
    taken: Notify,
}

impl Sink {
    async fn start(answer: impl Fn(&[String]) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (lines, answer) = (Mutex::default(), Mutex::new(Box::new(answer) as Answer));
        let sink = Arc::new(Self { base, lines, answer, taken: Notify::new() });
        let serving = Arc::clone(&sink);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(connection));
            }
        });
        sink
    }

    async fn serve(self: Arc<Self>, mut connection: TcpStream) {
        let mut bytes = Vec::new();
        while let Some((head, body)) = whole_request(&mut connection, &mut bytes).await {
            let (status, answer) = match head.contains("get /ready") {
                true => (200, b"ready".to_vec()),
                false => self.take(&head, body),
            };
            let text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", answer.len());
            connection.write_all(&[text.as_bytes(), &answer].concat()).await.unwrap();
            self.taken.notify_one();
        }
    }

    fn take(&self, head: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let protobuf = Some("application/x-protobuf");
        let lines: Vec<String> = if head.contains("post /loki/api/v1/push") {
            let push = loki_push::unpack_push(body.into(), protobuf, "", 1 << 20).unwrap();
            lines_of(&push.decode().unwrap())
        } else {
            assert!(head.contains("post /v1/logs") && head.contains("content-encoding: gzip"), "{head}");
            let export = otlp::unpack_export(body.into(), protobuf, "gzip", 1 << 20).unwrap();
            lines_of(&export.decode(0).unwrap())
        };
        let answer = (self.answer.lock().unwrap())(&lines);
        if answer.0 < 300 {
            self.lines.lock().unwrap().extend(lines);
        }
        answer
    }

    async fn wait_for(&self, want: &[&str]) {
        loop {
            let taken = self.taken.notified();
            let lines = self.lines.lock().unwrap().clone();
            if lines.len() >= want.len() {
                assert_eq!(lines, want);
                return;
            }
            timeout(Duration::from_secs(60), taken).await.expect("a push within 60 s");
        }
    }
}

fn lines_of(request: &loki_push::PushRequest<'_>) -> Vec<String> {
    let entries = request.streams.iter().flat_map(|stream| stream.entries.iter());
    entries.map(|entry| String::from_utf8(entry.line.to_vec()).unwrap()).collect()
}

/// Reads one request; returns its head in lower case, and its body.
async fn whole_request(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let end = at + 4 + length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end {
                let body = bytes[at + 4..end].to_vec();
                bytes.drain(..end);
                return Some((head, body));
            }
        }
        if connection.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn destination(name: &str, kind: DestinationKind, base: &str) -> Destination {
    Destination { name: name.to_owned(), kind, ..Destination::store(client_of(base, 10)) }
}

async fn start_all(disk: &SimDisk, destinations: Vec<Destination>) -> (Agent, Registry) {
    let settings = AgentSettings {
        docker: DockerSettings { enabled: false, ..DockerSettings::default() },
        files: vec![FileSettings { path: vec!["/log/*.log".to_owned()], ..FileSettings::default() }],
        ..AgentSettings::default()
    };
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        destinations,
        data_dir: "/data".into(),
        imported: ImportedPositions::default(),
    };
    (Agent::start(settings, parts).await.unwrap(), registry)
}

fn of(registry: &Registry, name: &str, destination: &str, more: &str) -> i64 {
    value(registry, &format!("destination_{name}{{destination=\"{destination}\"{more}}}"))
}

#[tokio::test]
async fn one_that_is_away_holds_up_nobody_and_gets_all_of_it_later() {
    let disk = SimDisk::new();
    write(&disk, "one\ntwo\n");
    let (store, base) = Store::listen(0).await;
    let is_away = |_: &[String]| (503, Vec::new());
    let (loki, otlp) = (Sink::start(is_away).await, Sink::start(|_| (200, Vec::new())).await);
    let all = || {
        vec![
            destination("push", DestinationKind::Logyard, &base),
            destination("grafana", DestinationKind::Auto, &loki.base),
            destination("collector", DestinationKind::Otlp, &otlp.base),
        ]
    };
    let (agent, registry) = start_all(&disk, all()).await;
    store.wait_for_pushes(1).await;
    otlp.wait_for(&["one", "two"]).await;
    write(&disk, "three\n");
    store.wait_for_pushes(2).await;
    otlp.wait_for(&["one", "two", "three"]).await;
    assert_eq!(of(&registry, "entries_waiting", "grafana", ""), 3);
    // Killed, while one of them has nothing.
    let after = disk.crash();
    drop(agent);
    *loki.answer.lock().unwrap() = Box::new(|_| (204, Vec::new()));
    let (agent, registry) = start_all(&after, all()).await;
    loki.wait_for(&["one", "two", "three"]).await;
    agent.stop().await;
    assert_eq!(of(&registry, "entries_acked_total", "grafana", ""), 3);
    for name in ["push", "grafana", "collector"] {
        assert_eq!(of(&registry, "entries_waiting", name, ""), 0, "{name}");
    }
}

#[tokio::test]
async fn what_a_loki_refuses_is_put_aside_with_its_reason_and_the_rest_goes_on() {
    let disk = SimDisk::new();
    write(&disk, "one\nbad\nthree\n");
    let (_store, base) = Store::listen(0).await;
    let slow = Mutex::new(2);
    let loki = Sink::start(move |lines| match lines.iter().any(|line| line == "bad") {
        _ if counted_down(&slow) => (429, b"slow down".to_vec()),
        true => (400, b"entry too far behind".to_vec()),
        false => (204, Vec::new()),
    })
    .await;
    let all = vec![
        destination("push", DestinationKind::Logyard, &base),
        destination("grafana", DestinationKind::Loki, &loki.base),
    ];
    let (agent, registry) = start_all(&disk, all).await;
    loki.wait_for(&["one", "three"]).await;
    write(&disk, "four\n");
    loki.wait_for(&["one", "three", "four"]).await;
    agent.stop().await;
    let dir = Path::new("/data/agent/refused-grafana");
    let items = disk.list(dir).unwrap();
    let read = |ending: &str| {
        let item = items.iter().find(|item| item.name.ends_with(ending)).unwrap();
        disk.read(&dir.join(&item.name)).unwrap()
    };
    assert_eq!(read(".reason"), b"entry too far behind\n");
    let push = loki_push::unpack_push(read(".loki").into(), Some("application/x-protobuf"), "", 1 << 20);
    assert_eq!(lines_of(&push.unwrap().decode().unwrap()), ["bad"]);
    assert_eq!(of(&registry, "entries_acked_total", "grafana", ""), 3);
    assert_eq!(of(&registry, "entries_rejected_total", "grafana", ",reason=\"refused_batch\""), 1);
    assert!(of(&registry, "push_failures_total", "grafana", "") >= 2);
    assert_eq!((value(&registry, "entries_acked_total"), value(&registry, "entries_waiting")), (4, 0));
}

#[tokio::test]
async fn what_an_otlp_receiver_takes_in_part_is_counted() {
    let disk = SimDisk::new();
    write(&disk, "one\ntwo\n");
    // Partial success: one record rejected.
    let sink = Sink::start(|_| (200, vec![0xa, 2, 8, 1])).await;
    let all = vec![destination("push", DestinationKind::Otlp, &sink.base)];
    let (agent, registry) = start_all(&disk, all).await;
    sink.wait_for(&["one", "two"]).await;
    agent.stop().await;
    assert_eq!(value(&registry, "entries_acked_total"), 1);
    assert_eq!(value(&registry, "entries_rejected_total{reason=\"other\"}"), 1);
}

#[tokio::test]
async fn names_are_checked() {
    let same = || destination("push", DestinationKind::Logyard, "http://a:1");
    let lossy = Destination { name: "a/b".to_owned(), when_full: WhenFull::DropOldest, ..same() };
    for destinations in [vec![], vec![same(), same()], vec![lossy]] {
        let mut registry = Registry::default();
        let parts = AgentParts {
            disk: Arc::new(SimDisk::new()),
            clock: Arc::new(SimClock::new(1)),
            random: Arc::new(Random::seeded(1)),
            registry: &mut registry,
            destinations,
            data_dir: "/data".into(),
            imported: ImportedPositions::default(),
        };
        let error = Agent::start(AgentSettings::default(), parts).await.unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Invalid);
    }
}
