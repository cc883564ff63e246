//! Behaviours 20, 36 and 37: what lies between agent, engine and store fails, and comes back.

use crate::engine::{Engine, numbered};
use crate::process::Logyard;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(90);
const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Stands between an agent and its store, and can cut connections once the store has answered.
struct Between {
    url: String,
    /// So many answers are still to be lost.
    losses: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

impl Between {
    fn start(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (losses, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&losses), Arc::clone(&lost));
        let store = store.trim_start_matches("http://").trim_end_matches('/').to_owned();
        // Ends with the test program: it waits for connections that nobody makes any more.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&store) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from, to, None));
                let counts = counts.clone();
                thread::spawn(move || copy(server, client, Some(counts)));
            }
        });
        Self { url, losses, lost }
    }

    fn lose(&self, count: usize) {
        self.losses.store(count, Ordering::SeqCst);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, counts: Option<(Arc<AtomicUsize>, Arc<AtomicUsize>)>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        let is_lost = counts.as_ref().is_some_and(|(losses, lost)| {
            let down = |left: usize| left.checked_sub(1);
            let is_lost = losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok();
            lost.fetch_add(usize::from(is_lost), Ordering::SeqCst);
            is_lost
        });
        if read == 0 || is_lost || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Whoever is closed already needs it no more.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn b36_b37_lost_answers_and_a_store_away_double_nothing() {
    let engine = Engine::start();
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    let between = Between::start(&store.url(""));
    let mut agent = Logyard::new(&engine.host(), &["agent", "--push-url", &between.url]);
    between.lose(3);
    agent.spawn();
    engine.run("first", &[], &numbered("first", 5_000, ""));
    store.wait_for_lines(r#"{container="first"}"#, 5_000, WITHIN);
    wait_until("three answers are lost", || between.lost.load(Ordering::SeqCst) == 3);

    // The answer is lost, and then the store, before the batch comes again.
    between.lose(1);
    engine.run("second", &[], &numbered("second", 5_000, ""));
    wait_until("another answer is lost", || between.lost.load(Ordering::SeqCst) == 4);
    store.kill();
    engine.run("third", &[], &numbered("third", 50_000, ".................................."));
    engine.wait_for(&["third"]);
    thread::sleep(Duration::from_secs(2));
    store.start();
    for (name, count) in [("first", 5_000), ("second", 5_000), ("third", 50_000)] {
        let lines = store.wait_for_lines(&format!(r#"{{container="{name}"}}"#), count, WITHIN);
        let want = (1..=count).map(|number| format!("{name} {number:06}"));
        assert!(lines.iter().map(|line| line.trim_end_matches('.')).eq(want), "{name}: {}", lines.len());
    }
    agent.assert_quiet_but_for(&["store"]);
    store.assert_quiet_but_for(&[]);
}

#[test]
fn b36_a_full_spool_stops_reading_and_harms_no_container() {
    const LINES: usize = 100_000;
    let engine = Engine::start();
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    let mut agent = Logyard::new(&engine.host(), &["agent", "--push-url", &store.url("")]);
    let config = agent.folder().join("logyard.yaml");
    std::fs::write(&config, "push: {spool_bytes_max: 32KiB}\n").unwrap();
    agent = agent.with_arguments(&["--config", config.to_str().unwrap()]);
    agent.spawn();
    engine.run("calm", &[], &numbered("calm", 10, ""));
    wait_until("the agent is at work", || agent.log().contains("cannot push to the store"));
    let before = agent.memory_mb();
    // Some 6 MB of text, of which a batch holds one.
    engine.run("flood", &[], &numbered("flood", LINES, &".".repeat(50)));
    // Nobody waits for the store: the container writes all of it, and ends.
    engine.wait_for(&["flood"]);
    let waiting = || agent.metric("logyard_agent_destination_bytes_waiting");
    wait_until("the spool is full", || waiting() >= f64::from(32 << 10));
    // What it has begun to read is taken; then it reads no more.
    let read = || agent.metric("logyard_agent_entries_read_total");
    let is_still = || {
        let before = read();
        thread::sleep(Duration::from_secs(2));
        read() == before
    };
    wait_until("reading stops", is_still);
    let stood_at = read();
    assert!(stood_at < LINES as f64, "{stood_at} lines were read");
    let files = std::fs::read_dir(agent.data_dir().join("agent/spool")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes are spooled");
    let grown = agent.memory_mb().saturating_sub(before);
    assert!(grown < 64, "memory grew by {grown} MB");
    store.start();
    let lines = store.wait_for_lines(r#"{container="flood"}"#, LINES, WITHIN);
    let want = (1..=LINES).map(|number| format!("flood {number:06}"));
    assert!(lines.iter().map(|line| line.trim_end_matches('.')).eq(want), "{} lines", lines.len());
    agent.assert_quiet_but_for(&["store"]);
}

#[test]
fn b20_an_engine_that_is_away_is_asked_seldom() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // As the store's stand-in above, it ends with the test program.
    thread::spawn(move || {
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    let mut logyard = Logyard::new(&format!("unix://{}", socket.display()), &[]);
    logyard.start();
    // The pauses between attempts grow to 5 s; each attempt is one request, and one more where it is tried again.
    thread::sleep(Duration::from_secs(8));
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0, "it was asked at all");
    let away = std::env::var("LOGYARD_AWAY_SECS").map_or(10, |secs| secs.parse().unwrap());
    thread::sleep(Duration::from_secs(away));
    let since = asked.load(Ordering::SeqCst) - before;
    println!("{since} connections in {away} s");
    assert!(since as u64 <= away / 5 + 6, "{since} connections in {away} s");
    assert_eq!(logyard.targets()["engine"], serde_json::Value::Null);
    assert!(logyard.targets()["engine_problem"].as_str().unwrap().contains("docker.sock"));
    logyard.assert_quiet_but_for(&["engine"]);
}
