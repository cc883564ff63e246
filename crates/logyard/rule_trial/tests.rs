//! Tests of tests: what passes, what differs, what is no test; and the rules that come along on their lines.

use super::*;
use logyard_rules::PackSettings;

const RULES: &[u8] = b"
groups:
  - name: g
    interval: 30s
    rules:
      - alert: Logins
        expr: sum by (container) (count_over_time({container=~\".+\"} |= \"login failed\" [5m])) >= 3
        for: 30s
        labels: {severity: page}
        annotations: {summary: '{{ $labels.container }}: {{ $value }}'}
";

const TESTS: &str = "
rule_files: [rules.yaml]
tests:
  - name: a burst
    input_streams:
      - stream: '{container=\"web\"}'
        lines: [{at: 10s, line: login failed for root, every: 5s, times: 3}, {at: 0s, line: hello}]
      - stream: '{container=\"db\"}'
        lines: [{at: 10s, line: login failed}]
    alert_rule_test:
      - {eval_time: 30s, alertname: Logins}
      - eval_time: 1m
        alertname: Logins
        exp_alerts:
          - {exp_labels: {container: web, severity: page}, exp_annotations: {summary: 'web: 3'}}
      - {eval_time: 6m, alertname: Logins}
";

fn trial(tests: &str) -> anyhow::Result<Vec<String>> {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/t")).unwrap();
    disk.write_atomic(Path::new("/t/rules.yaml"), RULES).unwrap();
    disk.write_atomic(Path::new("/t/tests.yaml"), tests.as_bytes()).unwrap();
    run(Path::new("/t/tests.yaml"), &disk)
}

/// Runs tests of the rules that come along: as they are, and in `quick.yaml` that about silence with a minute for an hour.
fn pack_trial(tests: &str) -> Vec<String> {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/t")).unwrap();
    let mut settings = PackSettings::default();
    disk.write_atomic(Path::new("/t/pack.yaml"), settings.text().as_bytes()).unwrap();
    settings.silent.window_secs = 60;
    settings.interval_secs = 3;
    let text = settings.text();
    let (_, silence) = text.split_once("  - name: silence\n").unwrap();
    let quick = format!("groups:\n  - name: silence\n{silence}");
    disk.write_atomic(Path::new("/t/quick.yaml"), quick.as_bytes()).unwrap();
    disk.write_atomic(Path::new("/t/tests.yaml"), tests.as_bytes()).unwrap();
    run(Path::new("/t/tests.yaml"), &disk).unwrap()
}

#[test]
fn rules_that_come_along_fire_on_their_lines_alone() {
    let tests = include_str!("../rule_pack_tests.yaml");
    assert_eq!(pack_trial(tests), Vec::<String>::new());
    // Each rule has lines that fire it.
    let text = PackSettings::default().text();
    let rules = logyard_rules::read_file(Path::new("pack.yaml"), text.as_bytes()).unwrap();
    for rule in rules.iter().flat_map(|group| &group.rules) {
        let fires = format!("alertname: {}\n        exp_alerts:", rule.name());
        assert!(tests.contains(&fires), "{} is not tried", rule.name());
    }
}

#[test]
fn a_noisy_home_that_is_well_wakes_nobody() {
    assert_eq!(pack_trial(include_str!("../rule_pack_calm_tests.yaml")), Vec::<String>::new());
}

#[test]
fn examples_of_the_rules_that_come_along_are_true() {
    let text = PackSettings::default().text();
    let rules = logyard_rules::read_file(Path::new("pack.yaml"), text.as_bytes()).unwrap();
    let mut tried = 0;
    for rule in rules.iter().flat_map(|group| &group.rules) {
        // What fires these is no line by itself.
        if matches!(rule.name(), "CrashLoop" | "WentSilent") {
            continue;
        }
        let at = text.find(&format!("- alert: {}\n", rule.name())).unwrap();
        let (before, _) = text.split_at(at);
        let example = |mark: &str| {
            let line = before.lines().rev().find_map(|line| line.trim().strip_prefix(mark)).unwrap();
            serde_json::Value::from(line.trim())
        };
        let (fires, silent) = (example("# fires: "), example("# silent: "));
        let tests = serde_json::json!({
            "rule_files": ["pack.yaml"],
            "tests": [{
                "input_streams": [
                    {"stream": r#"{container="fires"}"#,
                     "lines": [{"at": "1s", "line": fires, "every": "500ms", "times": 40}]},
                    {"stream": r#"{container="silent"}"#,
                     "lines": [{"at": "1s", "line": silent, "every": "500ms", "times": 40}]},
                ],
                "alert_rule_test": [{
                    "eval_time": "30s", "alertname": rule.name(),
                    "exp_alerts": [{"exp_labels": {
                        "container": "fires", "service_name": "fires",
                        "severity": rule.labels["severity"],
                    }}],
                }],
            }],
        });
        assert_eq!(pack_trial(&tests.to_string()), Vec::<String>::new());
        tried += 1;
    }
    assert_eq!(tried, 8);
}

#[test]
fn rules_are_tried_on_given_lines() {
    assert_eq!(trial(TESTS).unwrap(), Vec::<String>::new());
}

#[test]
fn what_differs_is_told() {
    let wrong = TESTS.replace("web: 3", "web: 4").replace("eval_time: 6m", "eval_time: 2m");
    let page = r#"{alertname="Logins", container="web", severity="page"}"#;
    assert_eq!(
        trial(&wrong).unwrap(),
        [
            format!(
                "a burst: Logins at 60 s: want {page} {{summary=\"web: 4\"}}, got {page} {{summary=\"web: 3\"}}"
            ),
            format!("a burst: Logins at 120 s: want none, got {page}"),
        ]
    );
}

#[test]
fn what_is_no_test_is_refused() {
    for (from, to, want) in [
        ("rules.yaml", "none.yaml", "no such file"),
        ("eval_time: 6m", "evl_time: 6m", "unknown field `evl_time`"),
        ("every: 5s, ", "", "times wants every"),
        ("container=\"db\"", "container=~\"db\"", "wants = only"),
        ("eval_time: 6m", "eval_time: 8d", "beyond 7 days"),
    ] {
        let error = format!("{:#}", trial(&TESTS.replace(from, to)).unwrap_err());
        assert!(error.contains(want), "{error}");
    }
}
