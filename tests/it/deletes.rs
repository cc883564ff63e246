//! A delete request, from the call to files without the entries, across a kill and a restart.

use crate::http;
use crate::process::Logyard;
use std::thread;
use std::time::{Duration, Instant};

/// How long the work may take, with everything in memory to be flushed first.
const DONE_WITHIN: Duration = Duration::from_secs(30);

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

fn lines(logyard: &Logyard) -> Vec<String> {
    let (code, stdout, stderr) = logyard.logq(&[r#"{job="a"}"#, "--since", "1h", "-o", "raw"]);
    assert_eq!(code, 0, "{stderr}");
    let mut lines: Vec<String> = stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_secret_is_out_of_sight_at_once_and_soon_out_of_the_files() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let config = logyard.folder().join("logyard.yaml");
    std::fs::write(&config, "store: {deletes: {cancel_secs: 0}}\n").unwrap();
    logyard = logyard.with_arguments(&["--config", &config.display().to_string()]);
    logyard.start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = |secs: u64| (now.as_nanos() - u128::from(secs) * 1_000_000_000).to_string();
    let entries = [(30, "hello"), (20, "password=hunter2"), (10, "bye")];
    let values: Vec<String> =
        entries.iter().map(|(secs, line)| format!(r#"["{}","{line}"]"#, at(*secs))).collect();
    let body = format!(r#"{{"streams":[{{"stream":{{"job":"a"}},"values":[{}]}}]}}"#, values.join(","));
    let pushed = http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(pushed.status, 204, "{}", pushed.text);
    assert_eq!(lines(&logyard), ["bye", "hello", "password=hunter2"]);
    let query = "%7Bjob%3D%22a%22%7D%7C%3D%22hunter2%22";
    let url = logyard.url(&format!("/loki/api/v1/delete?query={query}&start={}", now.as_secs() - 60));
    let asked = http::post(&url, "text/plain", b"").unwrap();
    assert_eq!(asked.status, 204, "{}", asked.text);
    assert_eq!(lines(&logyard), ["bye", "hello"]);
    logyard.kill();
    logyard.start();
    assert_eq!(lines(&logyard), ["bye", "hello"]);
    let deadline = Instant::now() + DONE_WITHIN;
    loop {
        let listed = http::get(&logyard.url("/loki/api/v1/delete")).unwrap().text;
        if listed.contains(r#""status":"processed""#) && listed.contains(r#""deleted_entries":1"#) {
            break;
        }
        assert!(Instant::now() < deadline, "{listed}; the log:\n{}", logyard.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(lines(&logyard), ["bye", "hello"]);
    assert!(logyard.stop().success());
    logyard.start();
    assert_eq!(lines(&logyard), ["bye", "hello"]);
    let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
    assert!(metrics.contains(r#"logyard_store_delete_requests{state="processed"} 1"#), "{metrics}");
    assert!(logyard.stop().success());
    logyard.assert_quiet_but_for(&[]);
}
