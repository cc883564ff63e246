//! Behaviours 2, 3, 21 and 27: many lines, many containers, and a front that spoils what the engine says.
//!
//! Of many containers there are 40, since an engine takes long to start 200: `LOGYARD_MANY_CONTAINERS=200 cargo test
//! --features end-to-end --test it -- --nocapture b27` has them, and prints times and memory.

use crate::engine::{Engine, numbered};
use crate::process::Logyard;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(90);

/// What engines say when they lose their way in the files of a log.
const COMPLAINT: &str = "Error grabbing logs: file already closed";

/// Passes requests on to an engine, and ends some answers with the engine's own error.
struct Front {
    socket: PathBuf,
    /// So many responses that follow a log are still to be spoiled.
    spoils: Arc<AtomicUsize>,
    /// Responses that followed a log.
    follows: Arc<AtomicUsize>,
}

impl Front {
    fn start(folder: &Path, engine: PathBuf) -> Self {
        let socket = folder.join("front.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (spoils, follows) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&spoils), Arc::clone(&follows));
        // Ends with the test program: it waits for connections that nobody makes any more.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (engine, counts) = (engine.clone(), counts.clone());
                // Whoever leaves in the middle is no fault of this test.
                thread::spawn(move || drop(pass(client, &engine, &counts)));
            }
        });
        Self { socket, spoils, follows }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

fn pass(
    mut client: UnixStream,
    engine: &Path,
    (spoils, follows): &(Arc<AtomicUsize>, Arc<AtomicUsize>),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (first, headers) = text.split_once("\r\n").unwrap();
    let mut engine = UnixStream::connect(engine)?;
    // One request each, and an answer without chunks: its frames lie in it as they are.
    let first = first.replace("HTTP/1.1", "HTTP/1.0");
    engine.write_all(format!("{first}\r\n{headers}").as_bytes())?;
    let is_follow = first.contains("/logs?") && first.contains("follow=1");
    follows.fetch_add(usize::from(is_follow), Ordering::SeqCst);
    let down = |left: usize| left.checked_sub(1);
    if is_follow && spoils.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok() {
        spoil(&mut engine, &mut client)?;
    } else {
        let ends = (engine.try_clone()?, client.try_clone()?);
        // The agent may leave first, and what it leaves is to end at the engine, too.
        thread::spawn(move || {
            let (engine, mut client) = ends;
            drop((client.read(&mut [0]), engine.shutdown(Shutdown::Both)));
        });
        std::io::copy(&mut engine, &mut client)?;
    }
    client.shutdown(Shutdown::Both)
}

/// Passes on the head and twenty frames, then the error.
fn spoil(engine: &mut UnixStream, client: &mut UnixStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        engine.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    client.write_all(&head)?;
    for _ in 0..20 {
        let mut header = [0; 8];
        engine.read_exact(&mut header)?;
        let length = u32::from_be_bytes(*header.last_chunk().unwrap());
        let mut payload = vec![0; length as usize];
        engine.read_exact(&mut payload)?;
        client.write_all(&[&header[..], &payload].concat())?;
    }
    let length = u32::try_from(COMPLAINT.len()).unwrap().to_be_bytes();
    client.write_all(&[&[3, 0, 0, 0], &length[..], COMPLAINT.as_bytes()].concat())
}

#[test]
fn b21_an_error_of_the_engine_is_no_line_and_the_log_is_opened_again() {
    let engine = Engine::start();
    let folder = tempfile::tempdir().unwrap();
    let front = Front::start(folder.path(), engine.socket());
    front.spoils.store(3, Ordering::SeqCst);
    let mut logyard = Logyard::new(&front.host(), &[]);
    logyard.start();
    let script =
        "i=1; while [ $i -le 100 ]; do echo line $i; echo error $i >&2; i=$((i+1)); sleep 0.03; done";
    engine.run("spoiled", &[], script);
    for (stream, word) in [("stdout", "line"), ("stderr", "error")] {
        let query = format!(r#"{{container="spoiled", stream="{stream}"}}"#);
        let want: Vec<String> = (1..=100).map(|number| format!("{word} {number}")).collect();
        assert_eq!(logyard.wait_for_lines(&query, 100, WITHIN), want);
    }
    assert_eq!(front.spoils.load(Ordering::SeqCst), 0, "three responses ended with the error");
    assert!(front.follows.load(Ordering::SeqCst) > 3, "and another was opened");
    let all = logyard.lines(r#"{container=~".+"}"#);
    assert!(all.iter().all(|line| !line.contains("grabbing")), "{all:?}");
    assert!(logyard.metric("logyard_agent_reopens_total") >= 3.0);
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b27_many_containers_are_followed_side_by_side() {
    let many = std::env::var("LOGYARD_MANY_CONTAINERS").ok().and_then(|text| text.parse().ok());
    let many: usize = many.unwrap_or(40);
    let engine = Engine::start();
    let script = "echo up; while [ ! -e /go ]; do sleep 0.5; done; echo later; sleep 600";
    let names: Vec<String> = (0..many).map(|number| format!("many-{number:03}")).collect();
    thread::scope(|scope| {
        for names in names.chunks(many / 4) {
            let engine = &engine;
            scope.spawn(move || names.iter().for_each(|name| engine.run(name, &[], script)));
        }
    });
    let mut logyard = Logyard::new(&engine.host(), &[]);
    let begun = Instant::now();
    logyard.start();
    let count = |line: &str| {
        let query = format!(r#"sum(count_over_time({{container=~"many-.*"}} |= "{line}" [1h]))"#);
        logyard.instant(&query).first().map_or(0, |(_, value)| *value as usize)
    };
    let wait = |line: &str, want: usize| {
        let begun = Instant::now();
        while count(line) < want {
            assert!(begun.elapsed() < WITHIN, "{line}: {} of {want}\n{}", count(line), logyard.log());
            thread::sleep(Duration::from_millis(100));
        }
    };
    wait("up", many);
    let started_within = begun.elapsed();
    for name in names.iter().step_by(10) {
        engine.docker(&["exec", name, "/bin/sh", "-c", ": > /go"]);
    }
    let told = names.iter().step_by(10).count();
    wait("later", told);
    // Until a query returns it: the wait for more lines of a batch is in it, and up to half a second of the container's own.
    engine.docker(&["exec", &names[1], "/bin/sh", "-c", ": > /go"]);
    let told_at = Instant::now();
    wait("later", told + 1);
    let shown_within = told_at.elapsed();
    assert_eq!((count("up"), count("later")), (many, told + 1), "each once");
    let following = |row: &serde_json::Value| row["state"] == "following";
    let page = logyard.targets();
    let rows = page["targets"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| following(row)).count(), many, "{page}");
    // Agent and store together, with all the responses open, in a build without optimisation.
    let memory_mb = logyard.memory_mb();
    eprintln!(
        "b27: {many} containers: {started_within:?} to the first line of each, {shown_within:?} from a command to its line, {memory_mb} MB"
    );
    assert!(memory_mb < 250, "{memory_mb} MB");
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b02_b03_two_hundred_thousand_lines_through_ten_kills_of_the_agent() {
    const LINES: usize = 100_000;
    let engine = Engine::start();
    let mut store = Logyard::new("unix:///nonexistent/docker.sock", &["store"]);
    store.start();
    let mut agent = Logyard::new(&engine.host(), &["agent", "--push-url", &store.url("")]);
    agent.spawn();
    let script = format!("{} & {} >&2; wait", numbered("out", LINES, ""), numbered("err", LINES, ""));
    engine.run("both", &[], &script);
    // Instants from a seed; the first ones fall into the writing, and all into what is read again.
    let mut dice = 7_u64;
    for _ in 0..10 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(50 + (dice >> 33) % 600));
        agent.kill();
        agent.spawn();
    }
    engine.wait_for(&["both"]);
    for (stream, word) in [("stdout", "out"), ("stderr", "err")] {
        let query = format!(r#"{{container="both", stream="{stream}"}}"#);
        let lines = store.wait_for_lines(&query, LINES, WITHIN);
        let want = (1..=LINES).map(|number| format!("{word} {number:06}"));
        assert!(lines.iter().cloned().eq(want), "{stream}: {} lines, or out of order", lines.len());
    }
    agent.assert_quiet_but_for(&[]);
    store.assert_quiet_but_for(&[]);
}
