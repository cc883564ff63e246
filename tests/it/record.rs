//! Series of recording rules, with a real Prometheus that takes them and answers a query on them.

use crate::clients::outside;
use crate::engine::signal;
use crate::http;
use crate::notify::wait;
use crate::process::Logyard;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// The Prometheus of the distribution, which scrapes nothing.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(folder: &Path, port: u16) -> Self {
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1m}\n").unwrap();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("prometheus.log"));
        let child = Command::new(outside("prometheus/usr/bin/prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver")
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let started = Self { child, port };
        let url = format!("http://127.0.0.1:{port}/-/ready");
        wait("Prometheus", || http::get(&url).is_ok_and(|answer| answer.status == 200));
        started
    }

    /// The samples of an instant query, as labels and value.
    fn query(&self, query: &str) -> Vec<(serde_json::Value, String)> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let answer = http::get_with(&url, &[("query", query)]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        let samples = body["data"]["result"].as_array().unwrap();
        let shown = |sample: &serde_json::Value| {
            (sample["metric"].clone(), sample["value"][1].as_str().unwrap().to_owned())
        };
        samples.iter().map(shown).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
    }
}

const GROUP: &str = r#"
name: g
interval: 1s
labels: {team: home}
rules:
  - record: app:errors:count1h
    expr: sum by (app) (count_over_time({app="web"} |= "ERROR" [1h]))
"#;

#[test]
fn prometheus_answers_queries_on_recorded_series() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = logyard.folder().join("logyard.yaml");
    let text = format!(
        "rules:\n  interval_secs: 1\n  remote_write:\n    \
         - {{name: prometheus, url: 'http://127.0.0.1:{port}/api/v1/write'}}\n"
    );
    std::fs::write(&config, text).unwrap();
    logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    logyard.start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let (before, last) = (now - 1_000_000_000, now);
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"web"}},"values":[["{before}","ERROR one"],["{last}","ERROR two"]]}}]}}"#
    );
    let answer = http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
    let answer = http::post(&logyard.url("/api/prom/rules/n"), "application/yaml", GROUP.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);

    // What was recorded while nobody was there is sent once somebody is.
    let metric = |name: &str| {
        let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
        let line = metrics.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()))
    };
    wait("a sample that waits", || {
        metric("logyard_rules_recorded_samples_waiting{target=\"prometheus\"}").is_some()
    });
    let prometheus = Prometheus::start(logyard.folder(), port);
    let series = || prometheus.query("app:errors:count1h");
    wait("the series", || !series().is_empty());
    let labels = serde_json::json!({"__name__": "app:errors:count1h", "app": "web", "team": "home"});
    assert_eq!(series(), [(labels, "2".to_owned())]);
    assert!(metric("logyard_rules_recorded_samples_total{target=\"prometheus\",result=\"sent\"}") > Some(0));

    // The rule goes, and its series ends at once instead of staying for five minutes.
    let url = logyard.url("/api/prom/rules/n/g");
    let answer = http::delete(&url).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    wait("the end of the series", || series().is_empty());
    let of_range = prometheus.query("count_over_time(app:errors:count1h[10m])");
    assert_eq!(of_range.len(), 1, "what was recorded stays");
    assert_eq!(
        metric("logyard_rules_recorded_samples_total{target=\"prometheus\",result=\"refused\"}"),
        None
    );
    drop(prometheus);
    assert!(logyard.stop().success());
    logyard.assert_quiet_but_for(&["cannot send samples of recording rules"]);
}
