//! The rules that come along, from the line of a container to whoever is told.

use crate::engine::Engine;
use crate::http;
use crate::notify::{Sink, wait};
use crate::process::Logyard;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long after its lines an alert may reach whoever is told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Failed logins, as the program in the container's name writes them.
const LOGINS: [(&str, &str); 13] = [
    ("sshd", "sshd[4]: Failed password for invalid user admin from 203.0.113.9 port 40022 ssh2"),
    (
        "pam",
        "su: pam_unix(su:auth): authentication failure; logname= uid=1000 euid=0 tty=pts/0 ruser=b rhost=  user=root",
    ),
    (
        "traefik",
        r#"203.0.113.9 - admin [01/Jan/2026:00:00:05 +0000] "GET / HTTP/2.0" 401 17 "-" "-" 12 "dash@docker" "-" 1ms"#,
    ),
    (
        "nginx",
        r#"203.0.113.9 - - [01/Jan/2026:00:00:05 +0000] "POST /login HTTP/1.1" 401 188 "-" "Mozilla/5.0""#,
    ),
    (
        "authelia",
        r#"time="2026-01-01T00:00:05Z" level=error msg="Unsuccessful 1FA authentication attempt by user 'bob'" method=POST path=/api/firstfactor remote_ip=203.0.113.9"#,
    ),
    (
        "tinyauth",
        "2026-01-01T00:00:05Z WRN internal/controller/user_controller.go:83 > Invalid password ip=203.0.113.9 username=bob",
    ),
    (
        "lldap",
        "2026-01-01T00:00:05.123456789+00:00  ERROR    🚨 [error]:  | error: Authentication error  for user 'bob'",
    ),
    (
        "vaultwarden",
        "[2026-01-01 00:00:05.123][vaultwarden::api::identity][ERROR] Username or password is incorrect. Try again. IP: 203.0.113.9. Username: bob@example.org.",
    ),
    (
        "grafana",
        r#"logger=authn.service t=2026-01-01T00:00:05.1Z level=info msg="Failed to authenticate request" client=auth.client.form error="[password-auth.failed] failed to authenticate identity: [password-auth.invalid] invalid password""#,
    ),
    (
        "jellyfin",
        r#"[00:00:05] [INF] [13] Jellyfin.Server.Implementations.Users.UserManager: Authentication request for "bob" has been denied (IP: "203.0.113.9")."#,
    ),
    (
        "nextcloud",
        r#"{"level":2,"remoteAddr":"203.0.113.9","user":"--","app":"core","method":"POST","url":"/login","message":"Login failed: admin (Remote IP: 203.0.113.9)"}"#,
    ),
    (
        "proxmox",
        "pvedaemon[1204]: authentication failure; rhost=::ffff:203.0.113.9 user=root@pam msg=Authentication failure",
    ),
    (
        "homeassistant",
        "2026-01-01 00:00:05.123 WARNING (MainThread) [homeassistant.components.http.ban] Login attempt or request with invalid authentication from 203.0.113.9 (203.0.113.9). Requested URL: '/auth/login_flow/1'. (curl)",
    ),
];

/// Windows short enough for alerts to resolve within the test.
const CONFIG: &str = "
rules:
  pack:
    interval_secs: 2
    errors: {window_secs: 15}
    auth_failures: {window_secs: 15}
    crash_loops: {window_secs: 20}
    out_of_memory: {window_secs: 15}
    silent: {threshold: 1, window_secs: 3}
notify:
  targets:
    - {name: sink, kind: webhook, url: 'SINK', group_by: [alertname, container]}
";

/// How often the sink was told of an alert, by container, name and status.
fn told(sink: &Sink) -> BTreeMap<[String; 3], u32> {
    let mut told = BTreeMap::new();
    for body in sink.at("/told") {
        for alert in body["alerts"].as_array().unwrap() {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let labels = &alert["labels"];
            let key = [text(&labels["container"]), text(&labels["alertname"]), text(&alert["status"])];
            *told.entry(key).or_default() += 1;
        }
    }
    told
}

fn key(container: &str, alert: &str, status: &str) -> [String; 3] {
    [container, alert, status].map(str::to_owned)
}

/// Gives a container that has written a past of two minutes, in which it wrote all the time.
fn write_past(logyard: &Logyard, container: &str) {
    let selector = format!("{{container=\"{container}\", stream=\"stdout\"}}");
    let mut labels = serde_json::Value::Null;
    wait("its first line", || {
        let answer = http::get_with(&logyard.url("/loki/api/v1/series"), &[("match[]", &selector)]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        labels = body["data"][0].clone();
        labels.is_object()
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let line = |number: u128| serde_json::json!([(now - number * 500_000_000).to_string(), "at work"]);
    let values: Vec<_> = (0..240).rev().map(line).collect();
    let body = serde_json::json!({"streams": [{"stream": labels, "values": values}]}).to_string();
    let answer = http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
}

#[test]
fn rules_that_come_along_tell_of_what_containers_write() {
    let engine = Engine::start();
    let sink = Sink::start();
    let mut logyard = Logyard::new(&engine.host(), &[]).with_lifecycle();
    let config = logyard.folder().join("logyard.yaml");
    std::fs::write(&config, CONFIG.replace("SINK", &sink.url("/told"))).unwrap();
    logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    logyard.start();

    // Each within a second of its end, several at a time: the engine takes its time for each.
    let three = r#"for n in 1 2 3; do echo "$LINE"; sleep 0.1; done"#;
    let noisy = r#"for n in $(seq 1000); do echo "level=info msg=\"request $n done, 0 errors, no panic\""; done
                   echo "$LINE"; echo "$LINE"; for n in $(seq 9); do echo "level=error msg=\"attempt $n\""; done"#;
    let mut jobs: Vec<(&str, &str, Option<&str>, &str)> =
        LOGINS.iter().map(|(name, line)| (*name, three, Some("LoginsFailed"), *line)).collect();
    jobs.push((
        "broken",
        r#"for n in $(seq 12); do echo "2026-01-01 ERROR cannot reach $n"; done"#,
        Some("ErrorsLogged"),
        "",
    ));
    jobs.push(("looping", "echo hello; exit 3", Some("CrashLoop"), ""));
    // A tenth of what it asks for is what it may have.
    let hungry = r#"echo hello; all=$(head -c 160000000 /dev/zero | tr '\0' x); echo "$all" | head -c 9"#;
    jobs.push(("hungry", hungry, Some("OutOfMemory"), ""));
    jobs.push(("noisy", noisy, None, LOGINS[0].1));
    // One that wrote all the time, and still runs; how soon it is missed is a matter of its windows.
    engine.run("silent", &[], "echo at work; sleep 1000");
    write_past(&logyard, "silent");
    let latest = thread::scope(|scope| {
        let workers: Vec<_> = jobs
            .chunks(4)
            .map(|jobs| {
                let (engine, sink) = (&engine, &sink);
                scope.spawn(move || {
                    let mut latest = Duration::ZERO;
                    for (name, script, alert, line) in jobs {
                        let line = format!("LINE={line}");
                        let restart = if *name == "looping" { "on-failure:4" } else { "no" };
                        let begun = Instant::now();
                        let mut options = vec!["-e", &*line, "--restart", restart];
                        if *name == "hungry" {
                            options.extend(["--memory", "16m", "--memory-swap", "16m"]);
                        }
                        engine.run(name, &options, script);
                        if let Some(alert) = alert {
                            let firing = key(name, alert, "firing");
                            wait(&format!("{alert} of {name}"), || told(sink).contains_key(&firing));
                            latest = latest.max(begun.elapsed());
                        }
                    }
                    latest
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).max().unwrap()
    });
    jobs.push(("silent", "", Some("WentSilent"), ""));
    wait("WentSilent", || told(&sink).contains_key(&key("silent", "WentSilent", "firing")));
    println!("told {latest:?} after the container was started at the latest");
    assert!(latest < TOLD_WITHIN, "{latest:?}");

    // They are seen without any target, too.
    let metrics = http::get(&logyard.url("/metrics")).unwrap().text;
    assert!(
        metrics
            .contains(r#"logyard_rules_alerts{tenant="fake",alertname="LoginsFailed",alertstate="firing"}"#),
        "{metrics}"
    );
    let rules = http::get(&logyard.url("/prometheus/api/v1/rules?type=alert")).unwrap().text;
    assert!(rules.contains(r#""file":"logyard""#) && rules.contains("WentSilent"), "{rules}");
    let change =
        http::post(&logyard.url("/loki/api/v1/rules/logyard"), "application/yaml", b"name: errors").unwrap();
    assert_eq!(change.status, 400, "{}", change.text);

    // All of them are over some time later, and each was told of once.
    let expected: BTreeMap<[String; 3], u32> = jobs
        .iter()
        .filter_map(|(name, _, alert, _)| alert.map(|alert| (name, alert)))
        .flat_map(|(name, alert)| ["firing", "resolved"].map(|status| (key(name, alert, status), 1)))
        .collect();
    wait("the end of all alerts", || {
        let told = told(&sink);
        expected.keys().all(|key| told.contains_key(key))
    });
    assert_eq!(told(&sink), expected);
    assert!(logyard.stop().success());
    for what in ["alert fires", "alert is over"] {
        let lines = logyard.log().lines().filter(|line| line.contains(&format!("msg=\"{what}\""))).count();
        assert_eq!(lines, expected.len() / 2, "{what}");
    }
    logyard.assert_quiet_but_for(&[]);
}
