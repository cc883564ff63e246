//! `logq import` and `logq export`, killed at random instants and started again: nothing is lost, nothing comes twice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http;
use crate::process::Logyard;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const LINES: usize = 20_000;
const ALL: &str = r#"{source=~".+"}"#;

/// Kills before a command may come to its end.
const KILLS: u64 = 8;

#[test]
fn transfers_killed_at_any_instant_are_whole() {
    let mut from = Logyard::new(NO_ENGINE, &["store"]);
    from.start();
    fill(&from);
    let mut to = Logyard::new(NO_ENGINE, &["store"]);
    to.start();
    let source = from.url("");
    let import = ["import", "--history-of", &source, ALL, "--since", "2h", "--batch", "1000"];
    insist(&to, &import);
    compare(&from, &to);

    let file = to.folder().join("out.jsonl.zst").display().to_string();
    insist(&to, &["export", ALL, "--since", "2h", "--batch", "1000", "-f", &file]);
    let mut again = Logyard::new(NO_ENGINE, &["store"]);
    again.start();
    insist(&again, &["import", &file]);
    compare(&from, &again);
    for logyard in [&from, &to, &again] {
        logyard.assert_quiet_but_for(&[]);
    }
}

/// Pushes lines to a store, some hundred of each timestamp.
fn fill(logyard: &Logyard) {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    for part in 0..10_u64 {
        let values = |stream: u64| -> Vec<serde_json::Value> {
            let lines = (0..LINES as u64 / 20).map(|n| {
                let ts_ns = now_ns - (3600 - part * 300 - n / 100) * 1_000_000_000;
                serde_json::json!([ts_ns.to_string(), format!("part {part} stream {stream} line {n}")])
            });
            lines.collect()
        };
        let streams: Vec<_> = (0..2)
            .map(|stream| serde_json::json!({"stream": {"source": stream.to_string()}, "values": values(stream)}))
            .collect();
        let body = serde_json::json!({ "streams": streams }).to_string();
        let answer =
            http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
}

/// Starts a command again and again, killing it sooner or later, and at last waits for its end.
fn insist(logyard: &Logyard, arguments: &[&str]) {
    for kill in 0..KILLS {
        let mut child = command(logyard, arguments).stderr(Stdio::null()).spawn().unwrap();
        // At another instant each time; where that lies in its work does not matter.
        thread::sleep(Duration::from_millis(20 + kill * kill * 12));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = command(logyard, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn command(logyard: &Logyard, arguments: &[&str]) -> Command {
    let state: &Path = logyard.folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_logq"));
    command.args(arguments).env("LOGQ_ADDR", logyard.url("")).env("XDG_STATE_HOME", state);
    command
}

/// Compares the entries of two stores: their count, and each with its time.
fn compare(one: &Logyard, other: &Logyard) {
    let entries = |logyard: &Logyard| {
        let (status, out, err) =
            logyard.logq(&[ALL, "--since", "2h", "--limit", "0", "--forward", "-o", "jsonl", "--utc"]);
        assert_eq!(status, 0, "{err}");
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (one_entries, other_entries) = (entries(one), entries(other));
    assert_eq!(one_entries.len(), LINES);
    assert!(one_entries == other_entries, "{} against {}", one_entries.len(), other_entries.len());
    let count = |logyard: &Logyard| {
        logyard.instant(&format!("sum(count_over_time({ALL}[2h]))")).first().map(|(_, count)| *count as usize)
    };
    assert_eq!(count(other), Some(LINES), "equal entries are one, in counts too");
}
