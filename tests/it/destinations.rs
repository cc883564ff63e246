//! Several destinations: stores of ours in each of their faces, one of them away, and a Loki that is none of ours.

use crate::process::{Logyard, append};
use prost::Message;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(90);
const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

// Loki's push, as its schema has it; read by another implementation than ours.
#[derive(Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}
#[derive(Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}
#[derive(Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    time: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
}
#[derive(Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Takes pushes as a Loki does, and remembers lines: the first request is refused, later ones are asked to slow down at times.
#[derive(Clone, Debug)]
struct Sink {
    url: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
        let sink = Self { url, lines: Arc::default() };
        let serving = sink.clone();
        // Ends with the test program: it waits for connections that nobody makes any more.
        thread::spawn(move || {
            let mut count = 0;
            for client in listener.incoming().map_while(Result::ok) {
                serving.serve(client, &mut count);
            }
        });
        sink
    }

    fn serve(&self, mut client: TcpStream, count: &mut usize) {
        while let Some((head, body)) = request(&mut client) {
            *count += 1;
            let status = match *count % 5 {
                1 => "429 Too Many Requests",
                2 => "503 Service Unavailable",
                _ => "204 No Content",
            };
            assert!(head.starts_with("POST /loki/api/v1/push "), "{head}");
            assert!(head.to_lowercase().contains("x-scope-orgid: team\r\n"), "{head}");
            let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
            let push = PushRequest::decode(&raw[..]).unwrap();
            for stream in &push.streams {
                assert!(stream.labels.starts_with("{filename=\""), "{}", stream.labels);
                let time = |entry: &Entry| entry.time.as_ref().map(|time| (time.seconds, time.nanos));
                assert!(stream.entries.iter().all(|entry| time(entry).is_some_and(|time| time.0 > 0)));
                if status.starts_with("204") {
                    self.lines.lock().unwrap().extend(stream.entries.iter().map(|entry| entry.line.clone()));
                }
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at + 2]).into_owned();
            let lower = head.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if bytes.len() >= at + 4 + length.parse::<usize>().unwrap() {
                return Some((head, bytes.split_off(at + 4)));
            }
        }
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn store() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    store
}

#[test]
fn each_destination_gets_every_line_whoever_is_away_or_killed() {
    let (first, loki_face, otlp_face, mut away) = (store(), store(), store(), store());
    let sink = Sink::start();
    away.kill();
    let mut agent = Logyard::new(NO_ENGINE, &["agent", "--push-url", &first.url("")]);
    let config = agent.folder().join("logyard.yaml");
    let logs = agent.folder().join("a.log");
    let text = format!(
        "agent: {{docker: {{enabled: false}}, files: [{{path: ['{}'], labels: {{job: many}}}}]}}\n\
         push:\n  also:\n  - {{name: away, url: '{}'}}\n  - {{name: face, kind: loki, url: '{}'}}\n  \
         - {{name: otlp, kind: otlp, url: '{}'}}\n  - {{name: sink, kind: loki, url: '{}', tenant: team}}\n",
        logs.display(),
        away.url(""),
        loki_face.url("/loki/api/v1/push"),
        otlp_face.url("/otlp"),
        sink.url,
    );
    std::fs::write(&config, text).unwrap();
    agent = agent.with_arguments(&["--config", config.to_str().unwrap()]);
    let part = |part: usize| {
        let lines: Vec<String> =
            (part * 500..(part + 1) * 500).map(|number| format!("number {number:06}\n")).collect();
        append(&logs, &lines.concat());
    };
    part(0);
    for round in 1..4 {
        agent.spawn();
        first.wait_for_lines(r#"{job="many"}"#, round * 500, WITHIN);
        part(round);
        // It may have read this, sent it to some, or not seen it.
        thread::sleep(Duration::from_millis(300 * round as u64));
        agent.kill();
    }
    agent.spawn();
    first.wait_for_lines(r#"{job="many"}"#, 2_000, WITHIN);
    away.start();
    let want: Vec<String> = (0..2_000).map(|number| format!("number {number:06}")).collect();
    let faces = [
        (&first, r#"{job="many"}"#),
        (&away, r#"{job="many"}"#),
        (&loki_face, r#"{job="many"}"#),
        (&otlp_face, r#"{service_name="many"}"#),
    ];
    for (store, query) in faces {
        let lines = store.wait_for_lines(query, 2_000, WITHIN);
        assert!(lines == want, "{query}: {} lines", lines.len());
    }
    let until = Instant::now() + WITHIN;
    loop {
        // At least once: an answer may get lost with the agent.
        let mut lines = sink.lines.lock().unwrap().clone();
        lines.sort_unstable();
        lines.dedup();
        if lines == want {
            break;
        }
        assert!(Instant::now() < until, "{} lines", lines.len());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(agent.stop().success());
    agent.assert_quiet_but_for(&["cannot push to the store"]);
}
