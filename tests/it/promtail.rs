//! A `promtail.yaml` in Promtail's place: its labels, its stages, and its positions taken over.

use crate::process::{Logyard, append};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(30);

fn file(folder: &Path) -> String {
    format!(
        r#"server:
  http_listen_port: 9080
positions:
  filename: {folder}/positions.yaml
clients:
  - url: http://loki:3100/loki/api/v1/push
    external_labels: {{site: home}}
scrape_configs:
  - job_name: app
    static_configs:
      - targets: [localhost]
        labels:
          job: ${{LOGYARD_TEST_UNSET:-app}}
          __path__: {folder}/logs/*.log
          __path_exclude__: {folder}/logs/private.log
    relabel_configs:
      - source_labels: [__path__]
        regex: '.*/(.*)[.]log'
        target_label: app
      - regex: filename
        action: labeldrop
    pipeline_stages:
      - multiline:
          firstline: '^\w'
          max_wait_time: 1s
      - regex:
          expression: '^(?P<level>\w+) '
      - labels:
          level:
      - match:
          selector: '{{level="debug"}}'
          action: drop
          drop_counter_reason: debug_line
"#,
        folder = folder.display()
    )
}

#[test]
fn a_file_of_promtail_is_taken_as_it_is() {
    let logyard = Logyard::new(NO_ENGINE, &["--expand-env"]);
    let folder = logyard.folder().to_owned();
    let (config, log) = (folder.join("promtail.yaml"), folder.join("logs/web.log"));
    std::fs::create_dir(folder.join("logs")).unwrap();
    std::fs::write(&config, file(&folder)).unwrap();
    let before = "info sent by promtail\n";
    append(&log, before);
    append(&folder.join("logs/private.log"), "info secret\n");
    let positions = format!("positions:\n  {}: \"{}\"\n", log.display(), before.len());
    std::fs::write(folder.join("positions.yaml"), positions).unwrap();
    append(&log, "info one\n  more of one\ndebug noise\nwarn two\n");
    let mut logyard = logyard.with_arguments(&["--promtail-config", config.to_str().unwrap()]);
    logyard.start();
    let all = r#"{job="app"}"#;
    let want = ["info one", "  more of one", "warn two"];
    assert_eq!(logyard.wait_for_lines(all, 3, WITHIN), want);
    let series = logyard.instant(r#"count_over_time({job="app"}[1h])"#);
    let mut labels: Vec<String> = series.iter().map(|(labels, _)| labels.to_string()).collect();
    labels.sort_unstable();
    assert_eq!(labels.len(), 2, "{labels:?}");
    for label in [r#""app":"web""#, r#""site":"home""#, r#""level":"info""#] {
        assert!(labels[0].contains(label), "{label} in {labels:?}");
    }
    logyard.kill();
    append(&log, "info three\n");
    logyard.start();
    logyard.wait_for_lines(all, 4, WITHIN);
    assert_eq!(logyard.lines(all), [&want[..], &["info three"]].concat());
    logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn a_file_of_promtail_becomes_one_of_ours_or_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("promtail.yaml");
    std::fs::write(&config, file(folder.path())).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_logyard")).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let path = config.to_str().unwrap();
    let (code, ours, notes) = run(&["config", "from-promtail", path]);
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("promtail.yaml line 2: \"server.http_listen_port\" is taken"), "{notes}");
    let own = folder.path().join("logyard.yaml");
    std::fs::write(&own, &ours).unwrap();
    let (code, _, error) = run(&["config", "--config", own.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{error}\n{ours}");

    append(&config, "  - job_name: machines\n    http_sd_configs:\n    - url: http://a\n");
    let (code, _, error) = run(&["agent", "--promtail-config", path]);
    assert_eq!(code, Some(2));
    assert!(error.contains("\"scrape_configs[1].http_sd_configs\" is refused"), "{error}");
    let (code, ours, _) = run(&["config", "from-promtail", path, "--skip-unsupported"]);
    assert_eq!((code, ours.contains("http_sd")), (Some(0), false), "{ours}");
}
