//! Through a proxy before the engine's socket, which lets through what `compose.socket-proxy.yaml` asks it to, and ends
//! connections after a while, as proxies do.

use crate::engine::{Engine, numbered};
use crate::process::Logyard;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// How long a connection lives; proxies give them minutes. One that lasts shorter is a fault that is told.
const LIFE: Duration = Duration::from_millis(5_200);

/// What the proxy has seen.
#[derive(Debug, Default)]
struct Seen {
    /// First lines of requests that were refused.
    refused: Vec<String>,
    /// Connections that were ended while they were in use.
    ended: usize,
}

/// The sections of the engine's API that the Compose file opens, as the proxy's variables name them.
fn sections() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/logyard/deploy/compose.socket-proxy.yaml");
    let file: serde_json::Value = serde_yaml_ng::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let variables = file["services"]["socket-proxy"]["environment"].as_object().unwrap();
    assert_eq!(variables["POST"], 0, "nothing may be changed");
    let open = variables.iter().filter(|(_, value)| **value == 1);
    let sections: BTreeSet<String> =
        open.map(|(name, _)| name.to_ascii_lowercase().replace("ping", "_ping")).collect();
    assert!(sections.contains("containers"), "{sections:?}");
    sections
}

/// Starts the proxy and returns its port and what it sees.
fn start(socket: PathBuf) -> (u16, Arc<Mutex<Seen>>) {
    let sections = Arc::new(sections());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<Mutex<Seen>>::default();
    let noted = Arc::clone(&seen);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (socket, sections, seen) = (socket.clone(), Arc::clone(&sections), Arc::clone(&noted));
            // Whoever leaves in the middle is no fault of this test.
            thread::spawn(move || drop(pass(client, &socket, &sections, &seen)));
        }
    });
    (port, seen)
}

/// Passes one request on, and its answer back until it ends or its time is over.
fn pass(
    mut client: TcpStream,
    socket: &Path,
    sections: &BTreeSet<String>,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (first, headers) = text.split_once("\r\n").unwrap();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut segments = path.split(['/', '?']).skip(1).skip_while(|segment| segment.starts_with("v1."));
    if !matches!(method, "GET" | "HEAD") || !sections.contains(segments.next().unwrap_or_default()) {
        seen.lock().unwrap().refused.push(first.to_owned());
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let mut engine = UnixStream::connect(socket)?;
    // One request each, so that all are seen.
    engine.write_all(format!("{first}\r\nConnection: close\r\n{headers}").as_bytes())?;
    let end = (engine.try_clone()?, client.try_clone()?);
    let ending = Arc::new(Mutex::new(false));
    let is_over = Arc::clone(&ending);
    thread::spawn(move || {
        thread::sleep(LIFE);
        *is_over.lock().unwrap() = true;
        // Ended by itself before, most of the time.
        drop((end.0.shutdown(Shutdown::Both), end.1.shutdown(Shutdown::Both)));
    });
    let copied = std::io::copy(&mut engine, &mut client);
    if *ending.lock().unwrap() {
        seen.lock().unwrap().ended += 1;
    }
    copied?;
    client.shutdown(Shutdown::Both)
}

#[test]
fn a_proxy_that_lets_little_through_and_hangs_up_is_enough() {
    let engine = Engine::start();
    let (port, seen) = start(engine.socket());
    engine.run("early", &[], &format!("{}; sleep 600", numbered("early", 500, "")));
    let mut logyard = Logyard::new(&format!("tcp://127.0.0.1:{port}"), &[]).with_lifecycle();
    logyard.start();
    engine.run("slow", &[], "for i in 1 2 3 4 5 6 7 8; do echo step $i; sleep 0.9; done");
    engine.wait_for(&["slow"]);
    let steps: Vec<String> = (1..=8).map(|step| format!("step {step}")).collect();
    let slow = r#"{container="slow", stream="stdout"}"#;
    logyard.wait_for_lines(slow, steps.len(), WITHIN);
    let told = r#"{container="slow", stream="lifecycle"}"#;
    let told = logyard.wait_for_lines(told, 2, WITHIN);
    assert!(told[0] == "container started" && told[1].starts_with("container exited code=0"), "{told:?}");
    assert!(logyard.stop().success());
    logyard.start();
    assert_eq!(logyard.lines(slow), steps);
    let early: Vec<String> = (1..=500).map(|number| format!("early {number:06}")).collect();
    assert_eq!(logyard.lines(r#"{container="early"}"#), early);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.refused, [""; 0]);
    assert!(seen.ended >= 2, "events and logs were ended again and again: {seen:?}");
    logyard.assert_quiet_but_for(&[]);
}
