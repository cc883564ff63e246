//! The pager of `logq`, on a terminal and before a real store.

use crate::http;
use crate::process::Logyard;
use crate::terminal::Terminal;
use std::time::{SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const LINES: usize = 3000;

/// Starts a store with many lines of one container and one of another.
fn store() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let values = |count: usize| -> Vec<_> {
        (1..=count)
            .map(|n| {
                serde_json::json!([(now_ns - n as u128 * 1_000_000).to_string(), format!("line {n} end")])
            })
            .collect()
    };
    let stream =
        |name: &str, count| serde_json::json!({"stream": {"container": name}, "values": values(count)});
    let body = serde_json::json!({"streams": [stream("many", LINES), stream("one", 1)]}).to_string();
    let answer = http::post(&store.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
    store
}

/// Starts a command on a terminal; behind it the shell tells its status.
fn start(store: &Logyard, env: &str, words: &str) -> Terminal {
    let logq = env!("CARGO_BIN_EXE_logq");
    let address = store.url("");
    // A key that interrupts reaches the shell as well, which is to outlive it.
    let script = format!(
        "trap : INT\nenv -u PAGER -u LESS LOGQ_ADDR={address} {env} {logq} --utc {words}\necho LEFT $?\nread end\n"
    );
    let path = store.folder().join("script");
    std::fs::write(&path, script).unwrap();
    Terminal::start((80, 24), &format!("bash {}", path.display()))
}

#[test]
fn more_than_a_screen_goes_to_the_pager_and_no_less() {
    let store = store();
    // More than a pipe holds: whoever leaves early leaves something unread.
    let terminal = start(&store, "", "many --limit 0");
    let screen = terminal.wait(&["line 1 end", "\n:"]);
    assert!(screen.starts_with("common labels: {container=\"many\""), "{screen}");
    terminal.press(&["Space"]);
    terminal.wait(&["line 40 end"]);
    // An interrupted pager goes on, and so does what feeds it.
    terminal.press(&["C-c"]);
    // The terminal forgets keys that come with the one that interrupts.
    terminal.wait_for("the first line again", |screen| {
        terminal.press(&["g"]);
        screen.contains("line 1 end")
    });
    terminal.press(&["q"]);
    terminal.wait(&["LEFT 0"]);

    let terminal = start(&store, "", "one");
    let screen = terminal.wait(&["LEFT 0"]);
    assert!(screen.contains("line 1 end\nLEFT 0"), "{screen}");

    let terminal = start(&store, "LOGQ_PAGER='sed s/^/paged:/'", "many --limit 30 -o raw");
    terminal.wait(&["paged:line 30 end\nLEFT 0"]);
    let terminal = start(&store, "LOGQ_PAGER='sed s/^/paged:/'", "many --limit 30 -o raw --no-pager");
    let screen = terminal.wait(&["\nline 30 end\nLEFT 0"]);
    assert!(!screen.contains("paged:"), "{screen}");
    let terminal = start(&store, "PAGER=/nowhere/less", "many --limit 30 -o raw");
    let screen = terminal.wait(&["LEFT 0"]);
    assert!(screen.contains("line 30 end\nlogq: cannot start the pager \"/nowhere/less\": "), "{screen}");
    store.assert_quiet_but_for(&[]);
}
