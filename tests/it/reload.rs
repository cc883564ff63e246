//! Settings that change while lines come, and the pages of an agent that runs alone.

use crate::engine::{Engine, signal};
use crate::http;
use crate::process::{Logyard, append};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);
const LINES: usize = 20_000;

/// Polls until something is as it should be.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn reload(logyard: &Logyard) -> (u16, String) {
    let answer = http::post(&logyard.url("/reload"), "text/plain", b"").unwrap();
    (answer.status, answer.text)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn b40_reloads_under_load_lose_and_double_nothing() {
    let engine = Engine::start();
    let logyard = Logyard::new(&engine.host(), &[]);
    let folder = logyard.folder().to_owned();
    let (config, log) = (folder.join("logyard.yaml"), folder.join("logs/app.log"));
    std::fs::create_dir(folder.join("logs")).unwrap();
    let settings = |site: &str, more: &str| {
        format!(
            "agent:\n  docker:\n    relabel: [{{target_label: site, replacement: {site}}}]\n  files:\n  \
             - path: [\"{}/logs/*.log\"]\n    labels: {{job: files{more}}}\n",
            folder.display()
        )
    };
    write(&config, &settings("one", ""));
    append(&log, "");
    let mut logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    logyard.start();
    let padding = ".".repeat(60);
    // Both outputs, and slow enough that reloads fall between them.
    let burst = LINES / 40 / 2;
    let burst = format!(
        "awk -v r=$i 'BEGIN {{ for (k = 1; k <= {burst}; k++) printf \"%d %06d{padding}\\n\", r, k }}'"
    );
    let half = format!("i=0; while [ $i -lt 40 ]; do {burst}; i=$((i+1)); sleep 0.1; done");
    engine.run("flood", &[], &format!("({half}) & ({half}) >&2; wait"));
    let mut written = 0;
    for round in 0..12 {
        append(
            &log,
            &(0..500)
                .map(|_| {
                    written += 1;
                    format!("line {written:05}\n")
                })
                .collect::<String>(),
        );
        let site = if round % 3 == 0 { "one" } else { "two" };
        write(&config, &settings(site, if round % 4 < 2 { "" } else { ", half: second" }));
        match round % 2 {
            0 => signal(logyard.pid(), "HUP"),
            _ => assert_eq!(reload(&logyard).0, 200),
        }
        thread::sleep(Duration::from_millis(200));
    }
    // A file that cannot be used changes nothing, and says where.
    write(&config, "agent:\n  docker:\n    stages:\n    - nonsense: {}\n");
    let (status, text) = reload(&logyard);
    assert_eq!(status, 400);
    assert!(text.contains("logyard.yaml line 4") && text.contains("nonsense"), "{text}");
    let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
    assert!(metrics.contains("logyard_config_reloads_refused_total 1\n"), "{metrics}");
    assert!(metrics.contains("logyard_config_last_reload_refused 1\n"), "{metrics}");
    write(&config, &settings("three", ""));
    let (status, text) = reload(&logyard);
    assert_eq!(status, 200, "{text}");

    engine.wait_for(&["flood"]);
    assert_eq!(engine.logged_lines("flood"), [LINES / 2; 2]);
    let container = r#"{container="flood"}"#;
    logyard.wait_for_lines(container, LINES, WITHIN);
    let mut lines = logyard.wait_for_lines(r#"{job="files"}"#, written, WITHIN);
    thread::sleep(Duration::from_secs(2));
    let mut container_lines = logyard.lines(container);
    assert_eq!(container_lines.len(), LINES, "nothing comes twice");
    container_lines.sort_unstable();
    container_lines.dedup();
    // Each is printed on both outputs.
    assert_eq!(container_lines.len(), LINES / 2, "nothing is missing");
    lines.sort_unstable();
    assert_eq!(lines, (1..=written).map(|number| format!("line {number:05}")).collect::<Vec<_>>());
    assert_eq!(logyard.lines(r#"{job="files"}"#).len(), written);
    // Settings that differ and are not the agent's are named.
    write(&config, "listen: 127.0.0.1:1\nstore: {retention: {period_secs: 5d}}\n");
    let (_, text) = reload(&logyard);
    assert!(text.contains(r#""at_next_start":["store.retention.period_secs"]"#), "{text}");
    logyard.assert_quiet_but_for(&["cannot be used, so those in force go on"]);
}

#[test]
fn an_agent_alone_has_pages_of_its_own() {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    let agent = Logyard::new(NO_ENGINE, &["agent", "--push-url", &store.url("")]);
    let folder = agent.folder().to_owned();
    let (config, log) = (folder.join("agent.yaml"), folder.join("logs/app<1>.log"));
    std::fs::create_dir(folder.join("logs")).unwrap();
    append(&log, "one\ntwo\n");
    let settings = |path: &str| {
        format!(
            "agent:\n  docker: {{enabled: false}}\n  files: [{{path: [\"{}/{path}\"]}}]\n",
            folder.display()
        )
    };
    write(&config, &settings("logs/*.log"));
    let mut agent = agent.with_arguments(&["--config", config.to_str().unwrap()]);
    agent.spawn();
    let page = |path: &str| http::get(&agent.url(path)).map(|answer| (answer.status, answer.text));
    // Nobody takes what it reads.
    wait_until("the agent says why it is not ready", || {
        page("/ready").is_ok_and(|(status, text)| status == 503 && text.contains("cannot push: "))
    });
    store.start();
    wait_until("the agent is ready", || {
        page("/ready").is_ok_and(|answer| answer == (200, "ready\n".to_owned()))
    });
    store.wait_for_lines(r#"{job="files"}"#, 2, WITHIN);
    let targets: serde_json::Value = serde_json::from_str(&page("/targets").unwrap().1).unwrap();
    let target = &targets["targets"][0];
    assert_eq!((target["name"].as_str(), target["entries"].as_u64()), (log.to_str(), Some(2)), "{targets}");
    let metrics = page("/metrics").unwrap().1;
    for want in [
        "logyard_agent_entries_acked_total 2\n",
        "logyard_agent_target_entries_total{kind=\"file\",target=\"",
    ] {
        assert!(metrics.contains(want), "{want} in\n{metrics}");
    }
    let html = page("/").unwrap().1;
    assert!(html.contains("app&lt;1&gt;.log") && !html.contains("app<1>"), "{html}");
    assert!(page("/config").unwrap().1.contains("logs/*.log"));

    write(&config, &settings("none/*.log"));
    let (status, text) = reload(&agent);
    assert_eq!(status, 200, "{text}");
    wait_until("the agent says that it reads nothing", || {
        page("/ready").is_ok_and(|(status, text)| status == 503 && text.contains("no file matches"))
    });
    write(&config, &settings("logs/*.log"));
    signal(agent.pid(), "HUP");
    append(&log, "three\n");
    assert_eq!(store.wait_for_lines(r#"{job="files"}"#, 3, WITHIN), ["one", "two", "three"]);
    wait_until("the agent is ready again", || page("/ready").is_ok_and(|(status, _)| status == 200));
    assert!(agent.stop().success());
    agent.assert_quiet_but_for(&["cannot push to the store"]);
}
