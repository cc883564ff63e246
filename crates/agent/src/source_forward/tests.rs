//! Senders of the forward protocol, and what becomes of what they send.

use super::*;
use crate::forward_event::tests::message;
use crate::forward_key::tests::greet;
use crate::metrics::Reason;
use crate::received::tests::{Rig, rig, rows, shared_spool};
use crate::settings::AgentSettings;
use crate::sources::{Sources, Sourcing};
use crate::stage_metrics::StageMetrics;
use logyard_sys::SimDisk;
use std::path::Path;
use tokio::net::TcpStream;

async fn started(more: &str) -> (Rig, String, JoinHandle<()>) {
    started_on(more, Arc::new(SimDisk::new())).await
}

async fn started_on(more: &str, disk: Arc<dyn Disk>) -> (Rig, String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    let settings: ForwardSettings =
        serde_json::from_str(&format!(r#"{{"listen": "{free}"{more}}}"#)).unwrap();
    let rig = rig(job_settings(&settings));
    let lines = Arc::new(Parts::open(Arc::clone(&disk), "/forward-parts".into()));
    let task = start(&settings, Arc::clone(&rig.job), &rig.parts, (&*disk, lines)).await.unwrap();
    (rig, free, task)
}

const DOCKER: &[(&str, &str)] =
    &[("container_id", "ab"), ("container_name", "/web"), ("source", "stderr"), ("log", "hello\n")];

#[tokio::test]
async fn chunks_are_acknowledged_once_spooled_and_taken_once() {
    let (mut rig, address, task) = started("").await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream
        .write_all(&[message("x", DOCKER, None), message("app", DOCKER, Some("id"))].concat())
        .await
        .unwrap();
    let mut found = Vec::new();
    let spooled = loop {
        let mut piece = rig.pieces.recv().await.unwrap();
        let spooled = piece.spooled.take();
        for (labels, entries) in &piece.chunks {
            found.extend((0..entries.len()).map(|row| {
                (labels.to_string(), entries.line(row).to_vec(), entries.metadata(row).to_string())
            }));
        }
        if let Some(spooled) = spooled {
            break spooled;
        }
    };
    let labels = r#"{container="web", host="nas", job="forward", stream="stderr"}"#;
    let row =
        |tag: &str| (labels.to_owned(), b"hello".to_vec(), format!(r#"{{container_id="ab", tag="{tag}"}}"#));
    assert_eq!(found, [row("x"), row("app")]);
    let mut answer = [0; 10];
    let early = timeout(Duration::from_millis(50), stream.read(&mut answer)).await;
    assert!(early.is_err(), "nothing is acknowledged before it is spooled");
    spooled.send(()).unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
    // The sender did not see it, and sends again over another connection.
    let mut again = TcpStream::connect(&address).await.unwrap();
    again.write_all(&message("app", DOCKER, Some("id"))).await.unwrap();
    let mut piece = rig.pieces.recv().await.unwrap();
    assert!(piece.chunks.is_empty(), "{piece:?}");
    piece.spooled.take().unwrap().send(()).unwrap();
    again.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
    rig.stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn parts_are_joined_and_an_open_one_survives_the_end() {
    let (mut rig, address, task) = started("").await;
    let part = |id: &str, last: &str, log: &str| {
        message("t", &[("partial_id", id), ("partial_last", last), ("log", log)], None)
    };
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let other = message("t", &[("level", "warn"), ("n", "1")], None);
    // Once an entry came, the connection is accepted.
    stream.write_all(&other).await.unwrap();
    let first = rig.pieces.recv().await.unwrap();
    assert_eq!(first.chunks[0].1.line(0), br#"{"level":"warn","n":"1"}"#);
    let bytes = [part("1", "false", "a"), part("2", "false", "open"), part("1", "true", "b"), vec![0xc0]];
    stream.write_all(&bytes.concat()).await.unwrap();
    rig.stop.send_replace(true);
    task.await.unwrap();
    let mut lines: Vec<String> = rows(&mut rig.pieces).into_iter().map(|row| row.2).collect();
    lines.sort();
    assert_eq!(lines, ["ab", "open"]);
}

/// Answers for all pieces that they are spooled, until one has a line; returns its lines.
async fn spooled_lines(rig: &mut Rig) -> Vec<Vec<u8>> {
    loop {
        let mut piece = timeout(Duration::from_secs(60), rig.pieces.recv()).await.unwrap().unwrap();
        if let Some(spooled) = piece.spooled.take() {
            spooled.send(()).unwrap();
        }
        let lines = piece.chunks.iter().flat_map(|(_, entries)| {
            (0..entries.len()).map(|row| entries.line(row).to_vec()).collect::<Vec<_>>()
        });
        let lines: Vec<_> = lines.collect();
        if !lines.is_empty() {
            return lines;
        }
    }
}

/// A part of a line, to be acknowledged.
fn part(last: &str, ordinal: &str, log: &str, chunk: &str) -> Vec<u8> {
    let fields = [("partial_id", "7"), ("partial_ordinal", ordinal), ("partial_last", last), ("log", log)];
    message("t", &fields, Some(chunk))
}

#[tokio::test]
async fn parts_that_were_acknowledged_outlive_a_crash() {
    let disk = SimDisk::new();
    let (mut rig, address, task) = started_on("", Arc::new(disk.clone())).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut answer = [0; 10];
    // The sender waits for each acknowledgement before it sends the next part, as Docker's driver does.
    for (ordinal, log, chunk) in [("1", "a", "c1"), ("2", "b", "c2")] {
        stream.write_all(&part("false", ordinal, log, chunk)).await.unwrap();
        let mut piece = rig.pieces.recv().await.unwrap();
        assert!(piece.chunks.is_empty());
        piece.spooled.take().unwrap().send(()).unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[8..], chunk.as_bytes());
    }
    task.abort();
    let crashed = disk.crash();
    let (mut rig, address, task) = started_on("", Arc::new(crashed.clone())).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    // The last acknowledgement did not reach it.
    let rest = [part("false", "2", "b", "c2"), part("true", "3", "c", "c3")].concat();
    stream.write_all(&rest).await.unwrap();
    assert_eq!(spooled_lines(&mut rig).await, [b"abc"]);
    for _ in 0..2 {
        stream.read_exact(&mut answer).await.unwrap();
    }
    assert_eq!(crashed.metadata(Path::new("/forward-parts")).unwrap(), None, "it is in the spool now");
    rig.stop.send_replace(true);
    task.await.unwrap();
}

/// Sends a part and answers for what is handed over meanwhile, until the part is acknowledged.
async fn acknowledged(rig: &mut Rig, stream: &mut TcpStream, part: &[u8]) -> Vec<Vec<u8>> {
    stream.write_all(part).await.unwrap();
    let (mut answer, mut lines) = ([0; 10], Vec::new());
    loop {
        tokio::select! {
            read = stream.read_exact(&mut answer) => {
                read.unwrap();
                return lines;
            }
            piece = rig.pieces.recv() => {
                let mut piece = piece.unwrap();
                for (_, entries) in &piece.chunks {
                    lines.extend((0..entries.len()).map(|row| entries.line(row).to_vec()));
                }
                piece.spooled.take().into_iter().for_each(|spooled| spooled.send(()).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_line_goes_on_over_the_next_connection() {
    let (mut rig, address, task) = started("").await;
    for (last, ordinal, log, chunk, want) in [
        ("false", "1", "a", "c1", vec![]),
        ("false", "2", "b", "c2", vec![]),
        ("true", "3", "c", "c3", vec![b"abc".to_vec()]),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let part = part(last, ordinal, log, chunk);
        assert_eq!(acknowledged(&mut rig, &mut stream, &part).await, want);
    }
    rig.stop.send_replace(true);
    task.await.unwrap();
    assert_eq!(rows(&mut rig.pieces), []);
}

#[tokio::test]
async fn a_part_that_cannot_be_kept_is_not_acknowledged() {
    let disk = SimDisk::new();
    let (mut rig, address, task) = started_on("", Arc::new(disk.clone())).await;
    disk.fail_sync(1);
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(&part("false", "1", "a", "c1")).await.unwrap();
    rig.pieces.recv().await.unwrap().spooled.take().unwrap().send(()).unwrap();
    let mut answer = Vec::new();
    drop(timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap());
    assert_eq!(answer, b"", "the connection is left");
    // So the sender sends it again.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    assert!(acknowledged(&mut rig, &mut stream, &part("false", "1", "a", "c1")).await.is_empty());
    let lines = acknowledged(&mut rig, &mut stream, &part("true", "2", "b", "c2")).await;
    assert_eq!(lines, [b"ab"]);
    rig.stop.send_replace(true);
    task.await.unwrap();
}

/// A line of which a part is acknowledged, in the file.
async fn kept(disk: &SimDisk, path: &str) -> Arc<Parts> {
    disk.create_dir_all(Path::new("/agent")).unwrap();
    let parts = Arc::new(Parts::open(Arc::new(disk.clone()), path.into()));
    let labels = LabelSet::from_pairs([("container", "web"), ("__forward_tag", "t")]);
    let line = OpenLine {
        labels,
        metadata: LabelSet::default(),
        at: SentAt::Unknown,
        line: Vec::new(),
        cut_bytes: 0,
        ordinal: 0,
    };
    let owner = parts.new_owner();
    let part = Part { bytes: b"abc", is_last: false, ordinal: Some(1) };
    parts.add(owner, ("192.0.2.7".parse().unwrap(), "7".to_owned()), part, 10, || line);
    parts.promise(owner);
    parts.keep().await.unwrap();
    let left = rig(JobSettings { job: "left", ..job_settings(&ForwardSettings::default()) });
    parts.leave(owner, &left.job);
    parts
}

#[tokio::test(start_paused = true)]
async fn a_line_that_nobody_goes_on_with_is_handed_over() {
    let disk = SimDisk::new();
    let parts = kept(&disk, "/agent/forward-parts").await;
    let mut rig = rig(job_settings(&ForwardSettings::default()));
    let handing = hand_over_forgotten(Arc::clone(&parts), Arc::clone(&rig.job), rig.parts.clone());
    let task = tokio::spawn(handing);
    let piece = rig.pieces.recv().await.unwrap();
    let labels = piece.chunks[0].0.to_string();
    assert_eq!(labels, r#"{container="web", host="nas", job="left"}"#, "those of its port");
    rig.pieces.recv().await.unwrap().spooled.take().unwrap().send(()).unwrap();
    while disk.metadata(Path::new("/agent/forward-parts")).unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    rig.stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_found_reaches_the_spool_though_there_is_no_port_any_more() {
    let disk = SimDisk::new();
    kept(&disk, "/agent/forward-parts").await;
    let disk = disk.crash();
    let rig = rig(job_settings(&ForwardSettings::default()));
    let (pieces, mut handed) = tokio::sync::mpsc::channel(64);
    let sourcing = Sourcing {
        dir: "/agent".into(),
        disk: Arc::new(disk),
        clock: Arc::clone(&rig.parts.clock),
        random: Arc::clone(&rig.parts.staging.random),
        metrics: rig.parts.metrics.clone(),
        stage_metrics: StageMetrics::new(Arc::clone(&rig.parts.clock)),
        board: rig.parts.board.clone(),
        spool: shared_spool(),
        pieces: pieces.into(),
        input_ended: watch::channel(false).0,
    };
    let mut settings = AgentSettings { host: "nas".to_owned(), ..AgentSettings::default() };
    settings.docker.enabled = false;
    let sources = Sources::start(sourcing, settings).await.unwrap();
    let piece = handed.recv().await.unwrap();
    assert_eq!(piece.chunks[0].0.to_string(), r#"{container="web", host="nas", job="forward"}"#);
    assert_eq!(piece.chunks[0].1.line(0), b"abc");
    drop(handed);
    sources.stop().await;
}

#[tokio::test]
async fn nothing_is_taken_from_who_does_not_know_the_key() {
    let disk = SimDisk::new();
    disk.write_atomic(Path::new("/key"), b"sesame\n").unwrap();
    let (mut rig, address, task) = started_on(r#", "shared_key_file": "/key""#, Arc::new(disk)).await;
    let event = message("app", DOCKER, Some("id"));
    // Without a handshake, with a wrong key, and with the answer to an older nonce.
    let mut bare = TcpStream::connect(&address).await.unwrap();
    bare.write_all(&event).await.unwrap();
    let mut stranger = TcpStream::connect(&address).await.unwrap();
    assert!(!greet(&mut stranger, "open", None).await);
    let mut late = TcpStream::connect(&address).await.unwrap();
    assert!(!greet(&mut late, "sesame", Some([1; 16])).await);
    for stream in [&mut bare, &mut stranger, &mut late] {
        stream.write_all(&event).await.unwrap_or_default();
        let mut answer = Vec::new();
        // Closed, or reset since bytes were left.
        drop(timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap());
    }
    assert_eq!(rows(&mut rig.pieces), []);
    let reason = Reason { reason: "forward_shared_key".to_owned() };
    assert_eq!(rig.parts.metrics.messages_refused.get_or_create(&reason).get(), 3);
    let mut friend = TcpStream::connect(&address).await.unwrap();
    assert!(greet(&mut friend, "sesame", None).await);
    friend.write_all(&event).await.unwrap();
    let mut piece = rig.pieces.recv().await.unwrap();
    assert_eq!(piece.chunks[0].1.line(0), b"hello");
    piece.spooled.take().unwrap().send(()).unwrap();
    let mut answer = [0; 10];
    friend.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
    rig.stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_no_event_ends_the_connection() {
    let (mut rig, address, task) = started(r#", "chunk_bytes_max": 1024"#).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xdb, 0, 1, 0, 0], &[0xc1]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&message("t", &[("log", "before")], None)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.write_all(&[0; 2_000]).await.unwrap_or_default();
        let mut answer = Vec::new();
        // Closed, or reset since bytes were left.
        drop(timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap());
    }
    rig.stop.send_replace(true);
    task.await.unwrap();
    assert_eq!(rows(&mut rig.pieces).len(), 3);
}
