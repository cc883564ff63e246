//! What an operator sees of the store, and moves between stores, with the real binary.

use crate::http;
use crate::process::Logyard;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Runs a subcommand over the data folder of a process, running or not; returns status, output and error output.
fn run(logyard: &Logyard, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_logyard"))
        .args(arguments)
        .arg("--data-dir")
        .arg(logyard.data_dir())
        .args(["--listen", logyard.url("").trim_start_matches("http://")])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn report(logyard: &Logyard, arguments: &[&str]) -> Value {
    let (status, out, err) = run(logyard, &[&["storage", "--json"], arguments].concat());
    assert_eq!(status, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// Stores lines of now, one a stream.
fn push(logyard: &Logyard, apps: &[&str]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    for app in apps {
        let body =
            format!(r#"{{"streams":[{{"stream":{{"app":"{app}"}},"values":[["{now}","line of {app}"]]}}]}}"#);
        let answer =
            http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
}

fn flush(logyard: &Logyard) {
    assert_eq!(http::post(&logyard.url("/flush"), "", b"").unwrap().status, 204);
}

#[test]
fn storage_is_told_of_a_running_and_of_a_stopped_store() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    logyard.start();
    push(&logyard, &["web", "db"]);
    assert_eq!(report(&logyard, &[])["memory"]["entries"], 2);
    flush(&logyard);
    let running = report(&logyard, &["--streams", "10"]);
    assert_eq!((&running["memory"]["entries"], &running["totals"]["entries"]), (&0.into(), &2.into()));
    assert_eq!(running["streams_total"], 2);
    assert!(logyard.stop().success());
    let stopped = report(&logyard, &["--streams", "10"]);
    assert_eq!(stopped["memory"], Value::Null);
    for part in ["days", "streams", "limits"] {
        assert_eq!(running[part], stopped[part], "{part}");
    }
    let (status, table, err) = run(&logyard, &["storage"]);
    assert_eq!(status, 0, "{err}");
    assert!(
        table.starts_with("day ") && table.contains("30d") && table.contains("size cap    none"),
        "{table}"
    );
    let files = segment_bytes(&logyard.data_dir().join("tenants"));
    assert_eq!(stopped["totals"]["bytes"], files);
    logyard.assert_quiet_but_for(&[]);
}

fn segment_bytes(dir: &Path) -> u64 {
    let items = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    items
        .map(|item| match item.metadata().unwrap() {
            meta if meta.is_dir() => segment_bytes(&item.path()),
            meta => meta.len(),
        })
        .sum()
}

#[test]
fn days_move_between_stores_that_run_or_not() {
    let (mut from, mut to) = (Logyard::new(NO_ENGINE, &["store"]), Logyard::new(NO_ENGINE, &["store"]));
    from.start();
    push(&from, &["web", "db"]);
    let (live, stopped) = (from.folder().join("live"), from.folder().join("stopped"));
    let (status, out, err) = run(&from, &["export", &live.display().to_string(), "--json"]);
    assert_eq!(status, 0, "{err}");
    let info: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&info["files"], &info["entries"]), (&1.into(), &2.into()), "what was in memory, too");
    push(&from, &["late"]);
    assert!(from.stop().success());
    let (status, _, err) = run(&from, &["export", &stopped.display().to_string()]);
    assert_eq!(status, 0, "{err}");

    // Into a running store, twice.
    to.start();
    push(&to, &["own"]);
    for imported in [1, 0] {
        let (status, out, err) = run(&to, &["import", "--json", &live.display().to_string()]);
        assert_eq!(status, 0, "{err}");
        let info: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&info["imported"], &info["known"]), (&imported.into(), &(1 - imported).into()));
    }
    let mut lines = to.lines(r#"{app=~".+"}"#);
    lines.sort();
    assert_eq!(lines, ["line of db", "line of own", "line of web"]);
    let imports = std::fs::read_dir(to.data_dir().join("imports")).unwrap().count();
    assert_eq!(imports, 0, "nothing is left behind");
    // Into a stopped one, which knows a part.
    assert!(to.stop().success());
    let (status, out, err) = run(&to, &["import", &stopped.display().to_string()]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("1 of 2 files imported with 1 entries, 1 here already"), "{out}");
    to.start();
    assert_eq!(to.lines(r#"{app=~".+"}"#).len(), 4);
    // A damaged file is named, and nothing changes.
    let file = largest(&stopped.join("tenants"));
    let mut bytes = std::fs::read(&file).unwrap();
    // In the first block, behind the header.
    bytes[70] ^= 1;
    // The export's files may be links to the store's own.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let (status, _, err) = run(&to, &["import", "--tenant", "fake", &stopped.display().to_string()]);
    assert_eq!(status, 0, "what is here already is not looked at: {err}");
    let (status, _, err) = run(&to, &["import", "--tenant", "other", &stopped.display().to_string()]);
    assert_eq!(status, 1);
    assert!(err.contains("cannot import") && err.contains(".seg: "), "{err}");
    assert_eq!(to.lines(r#"{app=~".+"}"#).len(), 4);
    let (status, _, err) = run(&to, &["import", &from.folder().display().to_string()]);
    assert_eq!(status, 1);
    assert!(err.contains("no export.json"), "{err}");
    from.assert_quiet_but_for(&[]);
    to.assert_quiet_but_for(&["store failed"]);
}

fn largest(dir: &Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for item in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let meta = item.metadata().unwrap();
            if meta.is_dir() { dirs.push(item.path()) } else { found.push((meta.len(), item.path())) }
        }
    }
    found.into_iter().max().unwrap().1
}
