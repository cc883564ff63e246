//! `logq ui` on a terminal of tmux, before a real store: screens are compared as text.

use crate::http;
use crate::process::Logyard;
use crate::terminal::Terminal;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// A store that runs.
fn store() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    store
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Pushes lines of a container, a second apart; the last is `ago_secs` old.
fn push(store: &Logyard, container: &str, ago_secs: u64, lines: &[&str]) {
    let last_ns = now_ns() - ago_secs * 1_000_000_000;
    let count = lines.len() as u64;
    let values: Vec<_> = (1..=count)
        .zip(lines)
        .map(|(nth, line)| serde_json::json!([(last_ns - (count - nth) * 1_000_000_000).to_string(), line]))
        .collect();
    let stream = serde_json::json!({"stream": {"container": container, "host": "nas"}, "values": values});
    let body = serde_json::json!({"streams": [stream]}).to_string();
    let answer = http::post(&store.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// Starts the explorer before the store at `address`; behind it the shell tells how it ended and how the terminal is.
fn explore(size: (u16, u16), address: &str, arguments: &str) -> Terminal {
    let logq = env!("CARGO_BIN_EXE_logq");
    let line = format!(
        "{logq} ui --utc --addr {address} {arguments}; echo LEFT $?; stty -a | grep -ow -e -echo -e echo; read end"
    );
    Terminal::start(size, &line)
}

/// Returns the rows of a screen that show one of the texts, from the text on.
fn from_texts(screen: &str, texts: &[&str]) -> Vec<String> {
    let part = |line: &str| {
        texts.iter().find_map(|text| line.find(text).and_then(|at| line.get(at..))).map(str::to_owned)
    };
    screen.lines().filter_map(part).collect()
}

#[test]
fn the_explorer_shows_follows_filters_and_leaves() {
    let store = store();
    push(&store, "web", 20, &["GET /one 200", "GET /two 500", "ERROR upstream is gone"]);
    push(&store, "db", 30, &["checkpoint done"]);
    let terminal = explore((100, 30), &store.url(""), "");
    let screen = terminal.wait(&["4 of 4", "live", "4 entries  error 1"]);
    let lines = ["▌db ", "▌web "];
    let want = [
        "▌db             checkpoint done",
        "▌web            GET /one 200",
        "▌web            GET /two 500",
        "▌web            ERROR upstream is gone",
    ];
    assert_eq!(from_texts(&screen, &lines), want, "{screen}");
    assert!(screen.starts_with("› {container=~\".+\"}\n  last 1h  4 entries"), "{screen}");
    // New entries come by themselves.
    push(&store, "web", 0, &["GET /three 200"]);
    terminal.wait(&["GET /three 200", "5 of 5"]);
    // The browser of labels builds the selector.
    terminal.press(&["l"]);
    terminal.wait(&["▸ container", "▸ host"]);
    terminal.press(&["Enter"]);
    terminal.wait(&["▾ container", "    web", "    db"]);
    terminal.press(&["Down", "Space"]);
    terminal.wait(&["✓ web", "› {container=\"web\"}"]);
    terminal.press(&["Tab"]);
    terminal.wait(&["4 of 4"]);
    // An entry in full filters by a field.
    terminal.press(&["Tab", "Home", "Enter"]);
    terminal.wait(&["container = web", "host = nas", "GET /one 200"]);
    terminal.press(&["+"]);
    terminal.wait(&["› {container=\"web\"}", "4 of 4"]);
    // The query line completes and shows faults.
    terminal.press(&["/"]);
    terminal.write(" |= ERR");
    terminal.wait(&["^ syntax error: unexpected IDENTIFIER"]);
    terminal.press(&["BSpace", "BSpace", "BSpace"]);
    terminal.write("\"ERR\" | logf");
    terminal.press(&["Tab", "Enter"]);
    terminal.wait(&["› {container=\"web\"} |= \"ERR\" | logfmt", "1 of 1"]);
    terminal.press(&["x"]);
    terminal.wait(&["around one entry of container=web host=nas", "▶", "GET /three 200"]);
    terminal.press(&["q", "c"]);
    let command = "logq query '{container=\"web\"} |= \"ERR\" | logfmt' --since 1h";
    terminal.wait(&["copied as a command", command]);
    assert_eq!(terminal.clipboard(), command);
    terminal.press(&["x"]);
    terminal.press(&["?"]);
    terminal.wait(&["keys:", "choose the span of time"]);
    terminal.press(&["q"]);
    terminal.wait(&["1 of 1"]);
    assert_eq!(terminal.display("#{alternate_on}"), "1");
    terminal.press(&["q"]);
    terminal.wait(&["LEFT 0\necho"]);
    assert_eq!(terminal.display("#{alternate_on} #{cursor_flag}"), "0 1");
    store.assert_quiet_but_for(&[]);
}

#[test]
fn the_explorer_draws_any_line_at_any_size() {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    let config = store.folder().join("logyard.yaml");
    std::fs::write(&config, "limits: {line_bytes_max: 2MiB}\n").unwrap();
    store = store.with_arguments(&["--config", &config.display().to_string()]);
    store.start();
    let long = format!("BEGIN{}END", "x".repeat(1 << 20));
    let evil = "a\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[31mred\u{1b}[0m\r\u{8}b";
    push(&store, "web", 5, &["日本語 wide", "👩\u{200d}👧 ❤\u{fe0f} e\u{301}cole", evil, &long]);
    let terminal = explore((80, 24), &store.url(""), "'{container=\"web\"}' --no-follow");
    let screen = terminal.wait(&["4 of 4", "BEGINxxx"]);
    let want = ["日本語 wide", "👩👧 ❤ e\u{301}cole", "a␛[2J␛]0;title␇red␍␈b"];
    assert_eq!(from_texts(&screen, &["日本語", "👩", "a␛"]), want, "{screen}");
    assert_ne!(terminal.display("#{pane_title}"), "title", "no sequence of a line reaches the terminal");
    terminal.press(&["Enter"]);
    terminal.wait(&["1048584 bytes", "BEGINxxx"]);
    terminal.press(&["End"]);
    terminal.wait(&["xEND\n"]);
    for size in [(40, 10), (200, 60), (20, 5), (133, 24)] {
        terminal.resize(size);
        match size {
            (20, 5) => terminal.wait(&["the screen is too"]),
            _ => terminal.wait_for("the end at another size", |screen| {
                screen.contains("xEND\n") && screen.lines().count() <= usize::from(size.1)
            }),
        };
    }
    terminal.press(&["q"]);
    let screen = terminal.wait(&["4 of 4", "日本語 wide"]);
    assert!(screen.lines().any(|line| line.contains("BEGIN") && line.chars().count() == 133), "{screen}");
    store.assert_quiet_but_for(&[]);
}

#[test]
fn signals_end_the_explorer_as_a_key_does() {
    let store = store();
    push(&store, "web", 5, &["a line"]);
    for name in ["TERM", "INT", "HUP"] {
        let terminal = explore((80, 24), &store.url(""), "");
        terminal.wait(&["1 of 1", "a line"]);
        assert_eq!(terminal.display("#{alternate_on}"), "1");
        let shell = terminal.display("#{pane_pid}");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        crate::engine::signal(children.trim().parse().unwrap(), name);
        terminal.wait(&["LEFT 0\necho"]);
        assert_eq!(terminal.display("#{alternate_on} #{cursor_flag}"), "0 1", "{name}");
    }
    store.assert_quiet_but_for(&[]);
}

#[test]
fn the_explorer_outlives_its_store() {
    let mut store = store();
    push(&store, "web", 20, &["before"]);
    let terminal = explore((100, 24), &store.url(""), "'{container=\"web\"}'");
    terminal.wait(&["before", "live  1 of 1"]);
    store.kill();
    terminal.wait(&["before", "away: cannot connect"]);
    store.start();
    terminal.wait(&["before", "live  1 of 1"]);
    push(&store, "web", 0, &["behind"]);
    let screen = terminal.wait(&["live  2 of 2"]);
    assert_eq!(from_texts(&screen, &["before", "behind"]), ["before", "behind"], "{screen}");
    store.assert_quiet_but_for(&[]);
}

#[test]
fn the_explorer_answers_while_its_store_does_not() {
    let store = store();
    push(&store, "web", 20, &["at last"]);
    let front = Front::before(&store.url("").replace("http://", ""));
    let terminal = explore((100, 24), &front.url, "'{container=\"web\"}'");
    terminal.wait(&["asking http://"]);
    terminal.press(&["?"]);
    terminal.wait(&["keys:"]);
    terminal.press(&["q"]);
    terminal.wait(&["asking http://"]);
    terminal.press(&["Escape"]);
    terminal.wait(&["ended what was waited for"]);
    front.let_go();
    terminal.press(&["r"]);
    terminal.wait(&["at last", "live  1 of 1"]);
    store.assert_quiet_but_for(&[]);
}

/// A front of a store that passes nothing on until it is let go.
struct Front {
    url: String,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Front {
    fn before(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let (held, store) = (Arc::clone(&gate), store.to_owned());
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, gate, store) = (near.unwrap(), Arc::clone(&held), store.clone());
                thread::spawn(move || {
                    let (is_open, opened) = &*gate;
                    drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
                    let far = TcpStream::connect(store).unwrap();
                    let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
                    let (mut from, mut to) = (far, near);
                    drop(std::io::copy(&mut from, &mut to));
                });
            }
        });
        Self { url, gate }
    }

    fn let_go(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}
