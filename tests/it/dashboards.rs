//! What Grafana is given in `crates/logyard/deploy/grafana`: every query of a dashboard is answered by a running Logyard
//! with something, and the files agree with each other.

use crate::clients::outside;
use crate::http;
use crate::process::{Logyard, append};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(60);

/// What Grafana puts in place of its own variables; the longer name first where one begins with another.
const BUILT_IN: [(&str, &str); 4] =
    [("$__rate_interval", "2m"), ("$__range", "3600s"), ("$__interval", "1m"), ("$__auto", "1m")];

/// Lines that tell of a login that failed, as programs write them, and the address in each.
const FAILED_LOGINS: [(&str, &str); 10] = [
    ("Jan  1 00:00:05 nas sshd[4]: Failed password for root from 203.0.113.1 port 40022 ssh2", "203.0.113.1"),
    (
        "Jan  1 00:00:05 pve pvedaemon[4]: authentication failure; rhost=::ffff:203.0.113.2 user=a@pam msg=x",
        "203.0.113.2",
    ),
    (
        "[2026-01-01 00:00:05.123][vaultwarden::api::identity][ERROR] Username or password is incorrect. Try again. \
         IP: 203.0.113.3. Username: a@example.org.",
        "203.0.113.3",
    ),
    (
        r#"[00:00:05] [INF] [13] Users.UserManager: Authentication request for "a" has been denied (IP: "203.0.113.4")."#,
        "203.0.113.4",
    ),
    (
        r#"{"time":"2026-01-01T00:00:05+00:00","message":"Login failed: a (Remote IP: 2001:db8::17)"}"#,
        "2001:db8::17",
    ),
    (
        "2026-01-01 00:00:05.123 WARNING (MainThread) [http.ban] Login attempt or request with invalid authentication \
         from 203.0.113.6 (203.0.113.6).",
        "203.0.113.6",
    ),
    (
        "time=\"2026-01-01T00:00:05Z\" level=error msg=\"Unsuccessful 1FA authentication attempt by user 'a'\" \
         remote_ip=2001:db8:0:0:0:0:0:18",
        "2001:db8:0:0:0:0:0:18",
    ),
    (
        "2026-01-01T00:00:05Z WRN user_controller.go:83 > Invalid password ip=203.0.113.8 username=a",
        "203.0.113.8",
    ),
    ("2026-01-01T00:00:05+00:00  ERROR    | error: Authentication error  for user 'a'", ""),
    ("2026-01-01 00:00:05.123 UTC [77] FATAL:  password authentication failed for user \"a\"", ""),
];

/// Lines about logins that went well, and about something else.
const GOOD_LOGINS: [&str; 4] = [
    "Jan  1 00:00:05 nas sshd[4]: Accepted publickey for root from 203.0.113.7 port 50030 ssh2",
    "time=\"2026-01-01T00:00:05Z\" level=debug msg=\"Successful 1FA authentication attempt made by user 'a'\"",
    "the password of the database is read from a file",
    "192.0.2.1 - - [01/Jan/2026:00:00:05 +0000] \"GET /login HTTP/1.1\" 200 401 \"-\" \"-\"",
];

/// What a proxy writes of a request that was denied.
const DENIED: &str = "203.0.113.9 - - [01/Jan/2026:00:00:05 +0000] \"GET /x HTTP/1.1\" 403 9 \"-\" \"-\"";

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/logyard/deploy/grafana")
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(grafana().join("provisioning").join(path)).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A dashboard and its file's name.
struct Dashboard {
    name: String,
    json: Value,
}

/// A query of a panel.
struct Query {
    place: String,
    kind: String,
    uid: String,
    expr: String,
    is_instant: bool,
}

impl Dashboard {
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = std::fs::read_dir(grafana().join("dashboards"))
            .unwrap()
            .map(|item| {
                let path = item.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
                Self { json: json.unwrap_or_else(|error| panic!("{name}: {error}")), name }
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(all.len(), 4, "containers, errors, logins, logyard");
        all
    }

    fn panels(&self) -> &[Value] {
        self.json["panels"].as_array().unwrap()
    }

    fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().unwrap()
    }

    fn queries(&self) -> Vec<Query> {
        let targets = self.panels().iter().flat_map(|panel| {
            panel["targets"].as_array().into_iter().flatten().map(move |target| (panel, target))
        });
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        targets
            .map(|(panel, target)| Query {
                place: format!("{} {:?} {}", self.name, text(&panel["title"]), text(&target["refId"])),
                kind: text(&target["datasource"]["type"]),
                uid: text(&target["datasource"]["uid"]),
                expr: text(&target["expr"]),
                is_instant: target["queryType"] == "instant" || target["instant"] == true,
            })
            .collect()
    }

    /// Puts values in place of variables, as Grafana's data source of type Loki does.
    fn filled(&self, text: &str, is_all: bool) -> String {
        let mut text = text.to_owned();
        for (name, value) in BUILT_IN {
            text = text.replace(name, value);
        }
        for variable in self.variables() {
            let name = format!("${}", variable["name"].as_str().unwrap());
            let value = match (variable["type"].as_str().unwrap(), is_all) {
                ("textbox", true) => String::new(),
                ("textbox", false) => "er+or".to_owned(),
                ("query", true) => variable["allValue"].as_str().unwrap().to_owned(),
                // Several values are alternatives of a regular expression, escaped for the text of a query.
                ("query", false) => r"(web|db\\.1|authelia|shop|h1|logyard)".to_owned(),
                (other, _) => panic!("{}: variable of type {other}", self.name),
            };
            text = text.replace(&name, &value);
        }
        assert!(!text.contains('$'), "{}: a variable is left in {text}", self.name);
        text
    }
}

#[test]
fn dashboards_and_data_sources_agree() {
    let sources = yaml("datasources/logyard.yaml");
    let sources: Vec<(String, String)> = sources["datasources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| {
            assert_eq!(source["access"], "proxy");
            (source["uid"].as_str().unwrap().to_owned(), source["type"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(sources.len(), 2);
    let provider = &yaml("dashboards/logyard.yaml")["providers"][0];
    assert_eq!(provider["options"]["path"], "/etc/grafana/dashboards");
    let contact = yaml("alerting/contact.yaml");
    assert_eq!(contact["policies"][0]["receiver"], contact["contactPoints"][0]["name"]);
    assert_eq!(contact["contactPoints"][0]["receivers"][0]["settings"]["url"], "$ALERT_URL");

    let mut uids = BTreeSet::new();
    for dashboard in Dashboard::all() {
        let uid = dashboard.json["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && uids.insert(uid.to_owned()), "{}: uid {uid}", dashboard.name);
        let mut ids = BTreeSet::new();
        for panel in dashboard.panels() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: {}", dashboard.name, panel["id"]);
            let place = &panel["gridPos"];
            let number = |name: &str| place[name].as_u64().unwrap();
            assert!(number("x") + number("w") <= 24, "{}: {place}", dashboard.name);
        }
        for query in dashboard.queries() {
            assert!(sources.contains(&(query.uid, query.kind)), "{}: no such data source", query.place);
        }
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(variable["datasource"]["uid"], "logyard", "{}", dashboard.name);
        }
    }
}

fn now_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

/// Pushes lines of one stream, a millisecond apart and up to now.
fn push(logyard: &Logyard, labels: Value, lines: &[&str], metadata: &Value) {
    let first = now_ns() - 1_000_000 * lines.len() as u128;
    let values: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            serde_json::json!([(first + 1_000_000 * index as u128).to_string(), line, metadata])
        })
        .collect();
    let body = serde_json::json!({ "streams": [{ "stream": labels, "values": values }] }).to_string();
    let answer = http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

fn store_with_lines() -> Logyard {
    let mut store = Logyard::new(NO_ENGINE, &["store"]);
    store.start();
    let none = serde_json::json!({});
    let of = |container: &str, output: &str| {
        serde_json::json!({
            "container": container, "compose_project": "shop", "compose_service": container, "host": "h1",
            "stream": output,
        })
    };
    let lines = [
        "level=info msg=started",
        "level=error msg=\"no answer\"",
        "level=fatal msg=\"cannot go on\"",
        "panic: out of range",
        "java.lang.OutOfMemoryError: Java heap space",
    ];
    push(&store, of("web", "stdout"), &lines, &none);
    push(&store, of("db.1", "stderr"), &["level=error msg=\"No space left on device\""], &none);
    push(&store, of("authelia", "stdout"), &FAILED_LOGINS.map(|(line, _)| line), &none);
    push(&store, of("authelia", "stdout"), &[DENIED], &none);
    push(&store, of("authelia", "stderr"), &GOOD_LOGINS, &none);
    let level = |level: &str| serde_json::json!({ "level": level, "event": "x" });
    push(&store, of("web", "lifecycle"), &["container started"], &level("info"));
    push(&store, of("web", "lifecycle"), &["container exited code=1 after 3s"], &level("error"));
    let own = "ts=2026-01-01T00:00:00Z level=warn target=store msg=\"low disk\" error=\"3 MiB are free\"";
    push(&store, serde_json::json!({ "job": "logyard", "host": "h1" }), &[own], &none);
    store
}

/// Asks as Grafana does, and returns the result.
fn ask(store: &Logyard, query: &Query, expr: &str) -> Value {
    let end = now_ns();
    let (start, end_text) = ((end - 3_600_000_000_000).to_string(), end.to_string());
    let answer = match query.is_instant {
        true => {
            http::get_with(&store.url("/loki/api/v1/query"), &[("query", expr), ("time", end_text.as_str())])
        }
        false => http::get_with(
            &store.url("/loki/api/v1/query_range"),
            &[
                ("query", expr),
                ("start", start.as_str()),
                ("end", end_text.as_str()),
                ("step", "60000ms"),
                ("limit", "1000"),
                ("direction", "backward"),
            ],
        ),
    };
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}: {expr}\n{}", query.place, answer.text);
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    body["data"]["result"].clone()
}

#[test]
fn every_query_about_logs_finds_something() {
    let mut store = store_with_lines();
    let mut asked = 0;
    for dashboard in Dashboard::all() {
        for query in dashboard.queries().iter().filter(|query| query.kind == "loki") {
            for is_all in [true, false] {
                let expr = dashboard.filled(&query.expr, is_all);
                let result = ask(&store, query, &expr);
                assert!(!result.as_array().unwrap().is_empty(), "{}: nothing for {expr}", query.place);
                asked += 1;
            }
        }
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            let label = variable["query"]["label"].as_str().unwrap();
            let selector = dashboard.filled(variable["query"]["stream"].as_str().unwrap(), true);
            let path = store.url(&format!("/loki/api/v1/label/{label}/values"));
            let parameters = [("query", selector.as_str())];
            let parameters = if selector.is_empty() { &[][..] } else { &parameters[..] };
            let answer = http::get_with(&path, parameters).unwrap();
            assert_eq!(answer.status, 200, "{}: {selector}: {}", dashboard.name, answer.text);
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            assert!(!body["data"].as_array().unwrap().is_empty(), "{label}: {}", answer.text);
        }
    }
    assert!(asked > 50, "only {asked} queries");
    assert!(store.stop().success());
    store.assert_quiet_but_for(&[]);
}

#[test]
fn failed_logins_are_told_from_good_ones_and_by_address() {
    let mut store = store_with_lines();
    let dashboards = Dashboard::all();
    let dashboard = dashboards.iter().find(|dashboard| dashboard.name == "logins.json").unwrap();
    let queries = dashboard.queries();
    let asked = |title: &str| -> Vec<Value> {
        let of_title = queries.iter().filter(|query| query.place.contains(&format!("{title:?}")));
        of_title.map(|query| ask(&store, query, &dashboard.filled(&query.expr, true))).collect()
    };
    let lines: BTreeSet<String> = asked("The lines")[0]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|stream| stream["values"].as_array().unwrap())
        .map(|entry| entry[1].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(lines, FAILED_LOGINS.map(|(line, _)| line.to_owned()).into());
    let addresses: Vec<BTreeSet<String>> = asked("By address")
        .iter()
        .map(|result| {
            let samples = result.as_array().unwrap().iter();
            samples.map(|sample| sample["metric"]["address"].as_str().unwrap().to_owned()).collect()
        })
        .collect();
    let of_lines = FAILED_LOGINS.iter().map(|(_, address)| (*address).to_owned());
    let of_lines: BTreeSet<String> = of_lines.filter(|address| !address.is_empty()).collect();
    assert_eq!(addresses, [of_lines, BTreeSet::from(["203.0.113.9".to_owned()])]);
    assert!(store.stop().success());
}

/// Every figure is provoked, those of losses and failures too, since one without any event is not on the page.
#[test]
fn every_figure_of_the_dashboards_is_on_the_page_of_metrics() {
    let mut logyard = Logyard::new(NO_ENGINE, &[]);
    let log = logyard.folder().join("app.log");
    let config = logyard.folder().join("logyard.yaml");
    let text = format!(
        "agent:\n  files:\n  - path: ['{}']\n    labels: {{job: app}}\n    stages:\n    \
         - drop: {{expression: noise}}\n    \
         - regex: {{expression: '^at (?P<at>\\d+) '}}\n    - timestamp: {{source: at, format: Unix, action_on_failure: skip}}\n\
         notify:\n  targets: [{{name: nobody, kind: webhook, url: 'http://127.0.0.1:9'}}]\n",
        log.display()
    );
    std::fs::write(&config, text).unwrap();
    logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    append(&log, "noise\nat 1000000000 is too old\nread\n");
    logyard.start();
    logyard.wait_for_lines(r#"{job="app"}"#, 1, WITHIN);
    std::fs::write(&log, "cut\n").unwrap();
    let group =
        "name: g\ninterval: 1s\nrules:\n- {alert: A, expr: 'sum(count_over_time({job=\"app\"}[1h])) > 0'}\n";
    let answer = http::post(&logyard.url("/api/prom/rules/n"), "application/yaml", group.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    let old = r#"{"streams":[{"stream":{"app":"a"},"values":[["1","too old"]]}]}"#;
    let answer = http::post(&logyard.url("/loki/api/v1/push"), "application/json", old.as_bytes()).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text);

    let dashboards = Dashboard::all();
    let queries: Vec<(Query, String)> = dashboards
        .iter()
        .flat_map(|dashboard| dashboard.queries().into_iter().map(move |query| (dashboard, query)))
        .filter(|(_, query)| query.kind == "prometheus")
        .map(|(dashboard, query)| {
            let expr = dashboard.filled(&query.expr, true);
            (query, expr)
        })
        .collect();
    assert!(queries.len() > 20);
    let wanted: BTreeSet<&str> = queries.iter().flat_map(|(_, expr)| names(expr)).collect();
    let deadline = Instant::now() + WITHIN;
    let metrics = loop {
        let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
        let missing: Vec<&&str> = wanted.iter().filter(|name| sample(&metrics, name).is_none()).collect();
        if missing.is_empty() {
            break metrics;
        }
        assert!(Instant::now() < deadline, "not on the page: {missing:?}\n{metrics}\n{}", logyard.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    for (query, expr) in &queries {
        let first = sample(&metrics, names(expr)[0]).unwrap();
        for label in grouped_by(expr) {
            assert!(first.contains(&format!("{label}=\"")), "{}: no label {label} in {first}", query.place);
        }
    }
    check_by_promtool(logyard.folder(), &queries);
    let config = grafana().join("../prometheus.yml");
    let told = Command::new(outside("prometheus/usr/bin/promtool"))
        .args(["check", "config", "--syntax-only"])
        .arg(config)
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(logyard.stop().success());
}

/// Returns the names of Logyard's metrics in an expression.
fn names(expr: &str) -> Vec<&str> {
    expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("logyard_"))
        .collect()
}

/// Returns the first sample of a metric.
fn sample<'m>(metrics: &'m str, name: &str) -> Option<&'m str> {
    metrics.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    })
}

/// Returns the labels that an expression groups by.
fn grouped_by(expr: &str) -> Vec<&str> {
    let lists = expr.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

/// Prometheus' own tool reads the expressions.
fn check_by_promtool(folder: &Path, queries: &[(Query, String)]) {
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, (_, expr))| serde_json::json!({ "record": format!("r{index}"), "expr": expr }))
        .collect();
    let file = folder.join("rules.yml");
    let groups = serde_json::json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    std::fs::write(&file, groups.to_string()).unwrap();
    let told =
        Command::new(outside("prometheus/usr/bin/promtool")).args(["check", "rules"]).arg(&file).output();
    let told = told.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}
