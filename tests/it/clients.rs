//! Programs that others wrote, against the real binary: Prometheus with its `promtool`, OpenTelemetry's exporter,
//! Elasticsearch's client, and schemathesis, which makes requests of the description of the endpoints.
//!
//! `tests/run` puts them below `target/outside`; the scripts are in the folder `clients` beside this file.

use crate::http;
use crate::process::Logyard;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);

/// Returns the path of something that `tests/run` put there.
pub fn outside(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/outside").join(path);
    assert!(path.is_file(), "{} is not there: tests/run puts it there", path.display());
    path
}

fn in_tree(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a command to its end and returns what it wrote; it must succeed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn python(script: &str, arguments: &[&str]) -> String {
    let script = in_tree("tests/it/clients").join(script);
    succeed(Command::new(outside("python/bin/python")).arg(script).args(arguments))
}

fn store() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    store
}

#[test]
fn the_exporter_of_opentelemetry_is_understood() {
    let mut store = store();
    python("otlp.py", &[&store.url("/otlp/v1/logs"), "20"]);
    let want: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
    for name in ["plain", "packed"] {
        let selector = format!("{{service_name=\"otel-{name}\"}}");
        assert_eq!(store.lines(&selector), want, "{name}");
        let query = format!(
            "{selector} | os_type=\"linux\" | http_method=\"GET\" | severity_text=\"ERROR\" | detected_level=\"error\""
        );
        assert_eq!(store.lines(&query).len(), 20, "{name}");
    }
    assert!(store.stop().success());
    store.assert_quiet_but_for(&[]);
}

#[test]
fn the_client_of_elasticsearch_is_understood() {
    let mut store = store();
    assert_eq!(python("elastic.py", &[&store.url(""), "25"]).trim(), "(25, [])");
    assert_eq!(store.lines("{service_name=\"elastic\"}").len(), 25);
    assert_eq!(store.lines("{service_name=\"elastic\"} | user_id=`7`"), ["document 7"]);
    assert!(store.stop().success());
    store.assert_quiet_but_for(&[]);
}

/// A Prometheus that scrapes; killed when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn prometheus_scrapes_the_metrics() {
    let mut store = store();
    let push = r#"{"streams":[{"stream":{"app":"a"},"values":[["1","too old"]]}]}"#;
    let refused = http::post(&store.url("/loki/api/v1/push"), "application/json", push.as_bytes()).unwrap();
    assert_eq!(refused.status, 400);
    let metrics = http::get(&store.url("/metrics")).unwrap().text;
    let mut promtool = Command::new(outside("prometheus/usr/bin/promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let target = store.url("");
    let target = target.trim_start_matches("http://");
    std::fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: logyard\n  static_configs: [{{targets: ['{target}']}}]\n"
        ),
    )
    .unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let _prometheus = Prometheus(
        Command::new(outside("prometheus/usr/bin/prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let ask = |query: &str| {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let answer = http::get_with(&url, &[("query", query)]).map(|answer| answer.text).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap_or_default()["data"]["result"][0]["value"]
            [1]
        .clone()
    };
    let query = "logyard_ingest_rejected_entries_total{reason=\"greater_than_max_sample_age\"} and on(instance) up == 1";
    let deadline = Instant::now() + WITHIN;
    while ask(query) != "1" {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(Instant::now() < deadline, "nothing is scraped; the log of Prometheus:\n{log}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let metadata = http::get(&format!(
        "http://127.0.0.1:{port}/api/v1/targets/metadata?metric=logyard_ingest_rejected_entries_total"
    ));
    let metadata = metadata.unwrap().text;
    assert!(metadata.contains("\"type\":\"counter\""), "{metadata}");
    assert!(store.stop().success());
}

#[test]
fn schemathesis_finds_nothing_that_is_not_described() {
    let mut store = store();
    // It leaves notes where it runs.
    let folder = tempfile::tempdir().unwrap();
    let said = succeed(
        Command::new(outside("python/bin/schemathesis"))
            .arg("run")
            .arg(in_tree("schemas/openapi.yaml"))
            .args(["--url", &store.url("")])
            .args(["--checks", "not_a_server_error,status_code_conformance"])
            .args(["--checks", "content_type_conformance,response_schema_conformance"])
            // A tail is a websocket, and each flush takes a sync of the disk.
            .args(["--exclude-path-regex", "tail|/flush"])
            .args(["--phases", "coverage,fuzzing", "--max-examples", "2", "--seed", "7"])
            // One worker: two threads that parse Python at once upset its parser (python/cpython#106905).
            .args(["--generation-database", "none", "--suppress-health-check", "all"])
            .args(["--request-timeout", "60", "--workers", "1", "--no-color"])
            .current_dir(folder.path())
            .env("PYTHONPATH", in_tree("tests/it/clients"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SCHEMATHESIS_HOOKS", "hooks"),
    );
    assert!(said.contains(" passed"), "{said}");
    // It may ask for snapshots under names that it may not have, and the like; the server must be there still.
    assert_eq!(http::get(&store.url("/ready")).unwrap().status, 200, "{}", store.log());
    assert!(store.stop().success());
    store.assert_quiet_but_for(&[]);
}
