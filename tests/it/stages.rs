//! Stages of the agent with the real binary: lines joined, discarded and parsed, over kills in mid-entry.

use crate::http;
use crate::process::{Logyard, append};
use std::time::Duration;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(30);

fn configured(stages: &str) -> (Logyard, std::path::PathBuf) {
    let logyard = Logyard::new(NO_ENGINE, &[]);
    let log = logyard.folder().join("app.log");
    let config = logyard.folder().join("logyard.yaml");
    let text = format!(
        "agent:\n  files:\n  - path: [\"{}\"]\n    labels: {{job: app}}\n    stages:\n{stages}",
        log.display()
    );
    std::fs::write(&config, text).unwrap();
    let arguments = ["--config", config.to_str().unwrap()];
    (logyard.with_arguments(&arguments), log)
}

/// Entries of two lines each; the agent is killed while the second line of one is missing, and stopped so too.
#[test]
fn an_open_entry_outlives_kills_and_stops() {
    let (mut logyard, log) = configured(
        "    - drop: {expression: noise}\n    - multiline: {firstline: '^\\d', max_wait_time: 1h}\n",
    );
    let rounds = 6;
    append(&log, "0 begin\n");
    for round in 0..rounds {
        append(&log, &format!("  end of {round}\nnoise\n{} begin\n", round + 1));
        logyard.start();
        let lines = logyard.wait_for_lines(r#"{job="app"} |= "begin""#, 2 * (round + 1), WITHIN);
        assert_eq!(lines.len(), 2 * (round + 1), "{lines:?}");
        match round % 2 {
            0 => logyard.kill(),
            _ => assert!(logyard.stop().success()),
        }
    }
    logyard.start();
    let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
    assert!(metrics.contains("logyard_agent_lines_joined_total"), "{metrics}");
    let want: Vec<String> =
        (0..rounds).flat_map(|round| [format!("{round} begin"), format!("  end of {round}")]).collect();
    assert_eq!(logyard.lines(r#"{job="app"}"#), want);
    logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn lines_get_labels_times_and_another_text() {
    let (mut logyard, log) = configured(
        "    - json: {expressions: {level: lvl, text: msg, at: time}}
    - labels: {level: }
    - timestamp: {source: at, format: UnixMs}
    - output: {source: text}
    - match: {selector: '{level=\"debug\"}', action: drop, drop_counter_reason: too_much}
",
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let time = now.as_millis() - 300_000;
    for (level, text) in [("info", "one"), ("debug", "two"), ("warn", "three")] {
        append(&log, &format!("{{\"lvl\":\"{level}\",\"msg\":\"{text}\",\"time\":{time}}}\n"));
    }
    logyard.start();
    logyard.wait_for_lines(r#"{job="app"}"#, 2, WITHIN);
    assert_eq!(logyard.lines(r#"{level="info"}"#), ["one"]);
    assert_eq!(logyard.lines(r#"{level="warn"}"#), ["three"]);
    let old = logyard.instant(r#"count_over_time({job="app"}[3m])"#);
    assert!(old.is_empty(), "the time is that of the line: {old:?}");
    let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
    assert!(metrics.contains(r#"logyard_agent_entries_discarded_total{reason="too_much"} 1"#), "{metrics}");
    logyard.assert_quiet_but_for(&["engine"]);
}
