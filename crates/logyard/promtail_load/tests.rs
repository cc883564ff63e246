//! Files of Promtail's users, and what they become.

use super::*;
use logyard_sys::SimDisk;

mod keys;
mod pipelines;
mod samples;
mod server;

/// Every kind of key that is taken or mapped.
const WHOLE: &str = r#"server:
  http_listen_port: 9080
  grpc_listen_port: 0
  log_level: warn
positions:
  filename: /tmp/positions.yaml
clients:
  - url: http://loki:3100/loki/api/v1/push
    batchwait: 1s
    timeout: 45s
    tenant_id: team
    backoff_config: {min_period: 500ms, max_retries: 10}
    external_labels: {site: home, cost: $5}
limits_config: {max_line_size: 64KB, readline_rate_enabled: true, readline_rate: 5, readline_burst: 7}
target_config: {sync_period: 10s}
scrape_configs:
- job_name: system
  static_configs:
  - targets: [localhost]
    labels:
      job: varlogs
      year: 2026
      __path__: /var/log/{syslog,*.log}
      __path_exclude__: /var/log/private.log
  - labels: {job: none}
  pipeline_stages:
  - docker:
  - cri: {}
  - decolorize:
  - non_indexed_labels: {id: }
  - drop: {source: level, value: debug, longer_than: 8kb}
  - match:
      selector: '{job="varlogs"} |= "x"'
      stages:
      - metrics: {seen: {type: Counter, config: {action: inc, match_all: true}}}
- job_name: containers
  docker_sd_configs:
  - host: unix:///var/run/docker.sock
    refresh_interval: 5s
    filters: [{name: label, values: [logging=promtail]}, {name: status, values: [running]}]
  relabel_configs:
  - source_labels: [__meta_docker_container_name]
    regex: '/(.*)'
    target_label: container
  - {action: LabelMap, regex: '__meta_docker_container_label_(.+)'}
"#;

fn taken(text: &str, how: How) -> anyhow::Result<(Settings, Taken)> {
    let disk = SimDisk::new();
    let put = |path: &str, text: &str| {
        let path = Path::new(path);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.write_atomic(path, text.as_bytes()).unwrap();
    };
    put("/etc/promtail.yaml", text);
    let id = "0123456789abcdef".repeat(4);
    let positions = format!(
        "positions:\n  /var/log/syslog: \"1234\"\n  /var/log/a.log: 7\n  cursor-{id}: \"1700000000\"\n  cursor-journal: s=ab;i=1\n"
    );
    put("/tmp/positions.yaml", &positions);
    take(Path::new("/etc/promtail.yaml"), how, Settings::default(), &disk)
}

#[test]
fn a_whole_file() {
    let (settings, taken) = taken(WHOLE, How::default()).unwrap();
    assert!(taken.refused.is_empty());
    assert_eq!(
        taken.positions.files,
        [("/var/log/a.log".to_owned(), 7), ("/var/log/syslog".to_owned(), 1234)].into()
    );
    assert_eq!(taken.positions.containers.values().copied().collect::<Vec<_>>(), [1_700_000_000]);
    let printed = print_short(&settings).unwrap();
    let want = r#"log:
  level: warn
push:
  url: http://loki:3100
  kind: auto
  tenant: team
  timeout_secs: 45s
agent:
  docker:
    host: unix:///var/run/docker.sock
    lifecycle_entries: false
    filters:
    - name: label
      values:
      - logging=promtail
    default_labels: false
"#;
    assert!(printed.starts_with(want), "{printed}");
    for want in [
        "line_bytes_max: 64KiB\n",
        "job: varlogs\n      year: '2026'\n",
        "path:\n    - /var/log/{syslog,*.log}\n    exclude:\n    - /var/log/private.log\n",
        "unchanged_secs_max: '0'\n",
        "limit:\n        rate: 5.0\n        burst: 7\n        drop: true\n",
        "source:\n        - level\n        value: debug\n        longer_than: 8kb\n",
        "structured_metadata:\n        id: null\n",
        "type: counter\n",
        "action: labelmap\n",
        "regex: ^$\n      target_label: cost\n      replacement: $$5\n",
        // Behind the stages of the files.
        "selector: '{cost=\"\"}'\n        stages:\n        - static_labels:\n            cost: $5\n",
    ] {
        assert!(printed.contains(want), "{want:?} in\n{printed}");
    }
    let notes = taken.notes.join("\n");
    for want in [
        "/etc/promtail.yaml line 2: \"server.http_listen_port\" is taken on this machine only",
        "line 6: \"positions.filename\" is read once",
        "line 12: \"clients[0].backoff_config\" has no effect",
        "\"scrape_configs[0].static_configs[1]\" reads nothing",
        "line 39: \"scrape_configs[1].docker_sd_configs[0].refresh_interval\" has no effect",
    ] {
        assert!(notes.contains(want), "{want:?} in\n{notes}");
    }
    // What it became can be used.
    for job in &settings.agent.files {
        use logyard_agent::pipeline::{LinesFrom, Pipeline};
        Pipeline::compile(&job.stages, LinesFrom::Files, 1 << 10).unwrap();
    }
    // What is printed means the same.
    let file = Some(("short.yaml".into(), printed));
    let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
    assert_eq!(again, settings);
}

#[track_caller]
fn refuses(text: &str, want: &[&str]) {
    let error = format!("{:#}", taken(text, How::default()).unwrap_err());
    for want in want {
        assert!(error.contains(want), "{want:?} in {error}");
    }
}

const FILES: &str = "scrape_configs:\n- job_name: a\n  static_configs: [{labels: {__path__: /a}}]\n";

#[test]
fn what_cannot_be_honoured_is_refused_by_file_line_and_name() {
    refuses(
        &format!("{FILES}- job_name: j\n  http_sd_configs: []\n- job_name: k\n  kafka: {{brokers: []}}\n"),
        &[
            "/etc/promtail.yaml line 5: \"scrape_configs[1].http_sd_configs\" is refused: it discovers",
            "/etc/promtail.yaml line 7: \"scrape_configs[2].kafka\" is refused: not an agent source here",
            "--skip-unsupported",
        ],
    );
    refuses(
        &format!("{FILES}  pipeline_stages:\n  - tenant: {{source: t}}\n  - regex: {{expression: '('}}\n"),
        &[
            "line 5: \"scrape_configs[0].pipeline_stages[0].tenant\" is refused",
            "regex.expression\" cannot be used: ",
        ],
    );
    refuses(
        &format!(
            "{FILES}  pipeline_stages:\n  - match:\n      selector: '{{a=\"b\"}}'\n      stages:\n      - jsn: {{}}\n"
        ),
        &["line 8: \"scrape_configs[0].pipeline_stages[0].match.stages[0].jsn\" is no setting", "\"json\""],
    );
    refuses(
        &format!("clients:\n- url: ftp://logs.example/loki/api/v1/push\n  oauth2: {{client_id: a}}\n{FILES}"),
        &["line 2: \"clients[0].url\" is refused: want http://", "line 3: \"clients[0].oauth2\" is refused"],
    );
    refuses(&format!("{FILES}  relable_configs: []\n"), &["line 4: ", "\"relabel_configs\""]);
    refuses("scrape_configs: []\n", &["line 1: \"scrape_configs\" leaves nothing to read"]);
    refuses("scrape_configs: [\n", &["no valid YAML", "line 2"]);
    refuses("positions: {filename: /etc/promtail.yaml, x: 1}\n", &["\"positions.x\" is no setting"]);
}

#[test]
fn places_behind_a_refused_stage_are_named_as_the_file_has_them() {
    let stages = "  pipeline_stages:\n  - tenant: {source: t}\n  - decolorize:\n  - match:\n      selector: '{a=\"b\"}'\n      stages:\n      - geoip: {db: x}\n      - tenant: {source: t}\n";
    refuses(
        &format!("{FILES}{stages}      - regex: {{expression: '('}}\n"),
        &[
            "line 12: \"scrape_configs[0].pipeline_stages[2].match.stages[2].regex.expression\" cannot be used: ",
        ],
    );
    refuses(
        &format!("{FILES}{stages}      - rgex: {{expression: '(a)'}}\n"),
        &["line 12: \"scrape_configs[0].pipeline_stages[2].match.stages[2].rgex\" is no setting"],
    );
}

#[test]
fn tokens_are_taken_over() {
    let push = |keys: &str| {
        let text = format!("clients:\n- url: http://logs:3100/loki/api/v1/push\n{keys}{FILES}");
        taken(&text, How::default()).unwrap().0.push.delivery
    };
    assert_eq!(push("  bearer_token: sesame\n").token, logyard_server::Secret::new("sesame"));
    assert_eq!(push("  bearer_token_file: /run/token\n").token_file, "/run/token");
    assert_eq!(push("  authorization: {credentials_file: /run/token}\n").token_file, "/run/token");
    assert_eq!(
        push("  authorization: {type: bearer, credentials: sesame}\n").token,
        logyard_server::Secret::new("sesame")
    );
    let client = "clients:\n- url: http://logs:3100/loki/api/v1/push\n";
    refuses(
        &format!("{client}  basic_auth: {{username: a, password: b}}\n  bearer_token: c\n{FILES}"),
        &["line 1: \"clients[0]\" is refused: it has both a token and a user"],
    );
    refuses(
        &format!("{client}  authorization: {{type: Basic, credentials: b}}\n{FILES}"),
        &["line 3: \"clients[0].authorization.type\" is refused"],
    );
    refuses(
        &format!("{client}  bearer_token: a\n  bearer_token_file: b\n{FILES}"),
        &["line 1: \"clients[0]\" is refused: it has both"],
    );
}

#[test]
fn certificates_are_taken_over() {
    let text = |tls: &str| {
        format!("clients:\n- url: https://logs.example/a/loki/api/v1/push\n  tls_config: {tls}\n{FILES}")
    };
    let tls = "{ca_file: /ca, cert_file: /cert, key_file: /key, server_name: store}";
    let push = taken(&text(tls), How::default()).unwrap().0.push;
    assert_eq!(push.url, "https://logs.example/a");
    let tls = &push.delivery.tls;
    let tls = [&tls.ca_file, &tls.cert_file, &tls.key_file, &tls.server_name];
    assert_eq!(tls, ["/ca", "/cert", "/key", "store"]);
    refuses(
        &text("{insecure_skip_verify: true}"),
        &["line 3: \"clients[0].tls_config.insecure_skip_verify\" is refused: name the store's certificate"],
    );
}

#[test]
fn ports_for_syslog_are_taken_over() {
    let job = "scrape_configs:\n- job_name: syslog\n  relabel_configs:\n  - {source_labels: [__syslog_connection_hostname], target_label: from}\n";
    let keys = "  syslog:\n    listen_address: 0.0.0.0:1514\n    listen_protocol: udp\n    idle_timeout: 60s\n    label_structured_data: yes\n    labels: {job: net}\n    syslog_format: rfc3164\n    max_message_length: 16384\n";
    let (settings, taken) = taken(&format!("{job}{keys}"), How::default()).unwrap();
    let syslog = &settings.agent.syslog[0];
    let want = SyslogSettings {
        listen: "0.0.0.0:1514".to_owned(),
        protocol: logyard_agent::Transport::Udp,
        format: logyard_agent::SyslogFormat::Rfc3164,
        idle_secs: 60,
        label_structured_data: true,
        message_bytes_max: 16_384,
        use_incoming_timestamp: false,
        time_zone: "UTC".to_owned(),
        labels: [("job".to_owned(), "net".to_owned())].into(),
        default_labels: false,
        relabel: syslog.relabel.clone(),
        ..SyslogSettings::default()
    };
    assert_eq!((syslog, syslog.relabel.len()), (&want, 1));
    let notes = taken.notes.join("\n");
    assert!(notes.contains("\"scrape_configs[0].relabel_configs[0]\" gets the sender's"), "{notes}");
    let file = Some(("short.yaml".into(), print_short(&settings).unwrap()));
    let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
    assert_eq!(again, settings);
    refuses(
        "scrape_configs:\n- syslog: {listen_address: ':1', syslog_format: cef, idle_timeout: soon, listen_protocol: x}\n",
        &["syslog_format\" is refused", "idle_timeout\" is refused", "listen_protocol\" is refused"],
    );
}

#[test]
fn other_receivers_and_journals_are_taken_over() {
    let text = "positions: {filename: /tmp/positions.yaml}\nscrape_configs:\n- job_name: journal\n  journal: {max_age: 12h, json: true, path: /j, matches: _A=b _C=d, labels: {job: j}}\n- job_name: gelf\n  gelf: {use_incoming_timestamp: true}\n- job_name: push\n  loki_push_api:\n    server: {http_listen_address: '::1', http_listen_port: 3500, grpc_listen_port: 0}\n    labels: {pushserver: a}\n    max_send_msg_size: 4096\n";
    let (settings, taken) = taken(text, How::default()).unwrap();
    let agent = &settings.agent;
    let want = JournalSettings {
        path: "/j".to_owned(),
        matches: vec!["_A=b".to_owned(), "_C=d".to_owned()],
        max_age_secs: 43_200,
        json: true,
        labels: [("job".to_owned(), "j".to_owned())].into(),
        default_labels: false,
        ..JournalSettings::default()
    };
    assert_eq!(agent.journal, [want]);
    assert_eq!(taken.positions.journals, [(0, "s=ab;i=1".to_owned())].into());
    let gelf = &agent.gelf[0];
    assert_eq!((&*gelf.listen, gelf.keep_json, gelf.use_incoming_timestamp), ("0.0.0.0:12201", true, true));
    let push = &agent.loki_push[0];
    assert_eq!(
        (&*push.listen, push.body_bytes_max, push.use_incoming_timestamp),
        ("[::1]:3500", 4_096, false)
    );
    assert!(
        taken
            .notes
            .join("\n")
            .contains("\"scrape_configs[2].loki_push_api.server.grpc_listen_port\" has no effect")
    );
    let file = Some(("short.yaml".into(), print_short(&settings).unwrap()));
    let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
    assert_eq!(again, settings);
    refuses("scrape_configs:\n- loki_push_api: {labels: {a: b}}\n", &["it has no server.http_listen_port"]);
    refuses("scrape_configs:\n- journal: {max_age: long}\n", &["line 2", "max_age\" is refused"]);
}

#[test]
fn lists_of_targets_are_taken_over() {
    let job = "scrape_configs:\n- job_name: lists\n  pipeline_stages: [{decolorize: }]\n  file_sd_configs:\n";
    let lists =
        "  - {files: [/etc/sd/*.json, /etc/sd/web.yml], refresh_interval: 1m}\n  - files: [/etc/more.yaml]\n";
    let (settings, taken) = taken(&format!("{job}{lists}"), How::default()).unwrap();
    let [first, second] = &settings.agent.files[..] else { panic!("two") };
    assert_eq!(first.target_lists, ["/etc/sd/*.json", "/etc/sd/web.yml"]);
    assert_eq!((first.default_labels, first.stages.len(), first.path.len()), (false, 1, 0));
    assert_eq!(second.target_lists, ["/etc/more.yaml"]);
    assert!(
        taken.notes[0].contains("line 5: \"scrape_configs[0].file_sd_configs[0].refresh_interval\" has no")
    );
    let file = Some(("short.yaml".into(), print_short(&settings).unwrap()));
    let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
    assert_eq!(again, settings);
    refuses(
        &format!("{job}  - files: [/etc/sd.yml, sd/*.yml]\n  - files: ['/etc/*/sd.txt']\n  - files: []\n"),
        &[
            "line 5: \"scrape_configs[0].file_sd_configs[0].files[1]\" is refused: \"sd/*.yml\" is no absolute",
            "line 6: \"scrape_configs[0].file_sd_configs[1].files[0]\" is refused: \"/etc/*/sd.txt\" names no lists",
            "line 7: \"scrape_configs[0].file_sd_configs[2].files\" is refused: it is empty",
        ],
    );
}

#[test]
fn encodings_and_packed_files_are_taken_over() {
    let text = format!("{FILES}  encoding: UTF-16LE\n  decompression: {{enabled: true, format: gz}}\n");
    let (settings, taken) = taken(&text, How::default()).unwrap();
    let job = &settings.agent.files[0];
    assert_eq!((job.decompress, &*job.encoding), (true, "UTF-16LE"));
    assert!(taken.notes.join("\n").contains("line 5: \"scrape_configs[0].decompression\" takes each file"));
    refuses(&format!("{FILES}  encoding: klingon\n"), &["line 4: \"scrape_configs[0].encoding\" is refused"]);
}

#[test]
fn the_standard_input_goes_through_the_first_job() {
    let text = format!("{FILES}  pipeline_stages: [{{decolorize: {{}}}}]\ntarget_config: {{stdin: true}}\n");
    let agent = taken(&text, How::default()).unwrap().0.agent;
    assert!(agent.stdin.enabled && agent.files.is_empty() && !agent.docker.enabled);
    assert_eq!(
        (agent.stdin.stages.len(), agent.stdin.labels.get("job").map(|job| &**job)),
        (1, Some("stdin"))
    );
}

#[test]
fn what_was_given_otherwise_wins_over_the_file() {
    let disk = SimDisk::new();
    disk.write_atomic(Path::new("/promtail.yaml"), WHOLE.as_bytes()).unwrap();
    let mut given = Settings::default();
    given.log.level = "debug".to_owned();
    given.log.format = crate::config::LogFormat::Json;
    given.push.url = "http://other:3100".to_owned();
    given.push.delivery.timeout_secs = 7;
    given.push.delivery.token_file = "/run/token".to_owned();
    given.agent.line_bytes_max = 4_096;
    let text = WHOLE.replace("log_level: warn", "log_level: warn\n  log_format: logfmt");
    disk.write_atomic(Path::new("/promtail.yaml"), text.as_bytes()).unwrap();
    let (settings, _) = take(Path::new("/promtail.yaml"), How::default(), given.clone(), &disk).unwrap();
    assert_eq!((&settings.log, settings.agent.line_bytes_max), (&given.log, 4_096));
    let mut want = given.push;
    want.delivery.tenant = "team".to_owned();
    assert_eq!(settings.push, want);
}

#[test]
fn each_key_without_effect_is_told_of() {
    let client =
        "clients:\n- url: http://logs:3100/loki/api/v1/push\n  timeout: 10s\n  follow_redirects: true\n";
    let docker = "scrape_configs:\n- docker_sd_configs:\n  - host: unix:///var/run/docker.sock\n    follow_redirects: true\n    enable_http2: true\n";
    let notes = taken(&format!("{client}{docker}"), How::default()).unwrap().1.notes.join("\n");
    for want in [
        "line 3: \"clients[0].timeout\" is raised to 30 s",
        "line 4: \"clients[0].follow_redirects\" has no effect",
        "line 8: \"scrape_configs[0].docker_sd_configs[0].follow_redirects\" has no effect",
        "line 9: \"scrape_configs[0].docker_sd_configs[0].enable_http2\" has no effect",
    ] {
        assert!(notes.contains(want), "{want:?} in\n{notes}");
    }
}

#[test]
fn what_is_refused_can_be_left_out() {
    let how = How { skip_unsupported: true, ..How::default() };
    let (settings, taken) = taken(&format!("{FILES}- job_name: j\n  http_sd_configs: []\n"), how).unwrap();
    assert_eq!((taken.refused.len(), settings.agent.files.len()), (1, 1));
    assert!(!settings.agent.docker.enabled);
}

#[test]
fn a_job_with_a_stage_that_cannot_be_used_is_left_out_whole() {
    let how = How { skip_unsupported: true, ..How::default() };
    let bad = "- job_name: j\n  static_configs: [{labels: {__path__: /b}}]\n  pipeline_stages: [{replace: {expression: '('}}]\n";
    let (settings, taken) = taken(&format!("{FILES}{bad}"), how).unwrap();
    assert!(taken.refused[0].contains("line 6: \"scrape_configs[1].pipeline_stages[0].replace.expression\""));
    let paths: Vec<String> = settings.agent.files.into_iter().flat_map(|files| files.path).collect();
    assert_eq!((paths.join(" "), taken.refused.len()), ("/a".to_owned(), 2), "the stage and the job");
}

#[test]
fn a_job_whose_lines_would_be_others_is_left_out_whole() {
    let files = "  static_configs: [{labels: {__path__: /b}}]\n";
    let docker = "  docker_sd_configs:\n  - host: unix:///var/run/docker.sock\n";
    for (job, key) in [
        (format!("{files}  pipeline_stages: [{{tenant: {{source: t}}}}]\n"), "pipeline_stages[0].tenant"),
        (
            format!(
                "{files}  pipeline_stages: [{{match: {{selector: '{{a=\"b\"}}', stages: [{{tenant: {{value: t}}}}]}}}}]\n"
            ),
            "pipeline_stages[0].match.stages[0].tenant",
        ),
        (
            format!("{files}{docker}    filters: [{{name: network, values: [web]}}]\n"),
            "docker_sd_configs[0].filters[0].name",
        ),
        (format!("{docker}    bearer_token: a\n"), "docker_sd_configs[0].bearer_token"),
        (format!("{files}  syslog: {{listen_address: ':1', syslog_format: cef}}\n"), "syslog.syslog_format"),
    ] {
        let how = How { skip_unsupported: true, ..How::default() };
        let (settings, taken) = taken(&format!("{FILES}- job_name: j\n{job}"), how).unwrap();
        let agent = settings.agent;
        assert_eq!((agent.files.len(), agent.syslog.len(), agent.docker.enabled), (1, 0, false), "{job}");
        assert!(agent.docker.filters.is_empty(), "{job}");
        assert!(taken.refused[0].contains(&format!("\"scrape_configs[1].{key}\" is refused")), "{taken:?}");
        let said = "line 4: \"scrape_configs[1].job_name\" \"j\" is left out whole: ";
        assert!(taken.refused.last().is_some_and(|last| last.contains(said)), "{taken:?}");
    }
}

#[test]
fn sources_that_are_refused_leave_a_jobs_others() {
    let how = How { skip_unsupported: true, ..How::default() };
    let groups = "  static_configs: [{labels: {__path__: /b}}, {labels: {__path__: c}}]\n";
    let job = format!("{groups}  kafka: {{brokers: []}}\n  file_sd_configs: [{{files: [a.yml]}}]\n");
    let (settings, taken) = taken(&format!("{FILES}- job_name: j\n{job}"), how).unwrap();
    assert_eq!((settings.agent.files.len(), taken.refused.len()), (2, 3), "{taken:?}");
}

#[test]
fn the_standard_input_does_not_go_around_a_first_job_that_cannot_be_used() {
    let how = How { skip_unsupported: true, ..How::default() };
    let stages = "  pipeline_stages: [{replace: {expression: '('}}]\ntarget_config: {stdin: true}\n";
    let (settings, taken) = taken(&format!("{FILES}{stages}"), how).unwrap();
    assert!(taken.refused[1].contains("\"target_config.stdin\" is refused"), "{:?}", taken.refused);
    assert!(
        !settings.agent.stdin.enabled && settings.agent.files.is_empty() && !settings.agent.docker.enabled
    );
}

#[test]
fn variables_are_expanded_when_asked_for() {
    let text = FILES.replace("/a}", "'/${LOGYARD_TEST_NONE:-b}'}");
    let path = |how| taken(&text, how).unwrap().0.agent.files.remove(0).path;
    assert_eq!(path(How { expand_env: true, ..How::default() }), ["/b"]);
    assert_eq!(path(How::default()), ["/${LOGYARD_TEST_NONE:-b}"]);
}

#[test]
fn several_clients_become_several_destinations() {
    let text = format!(
        "clients:\n- url: http://logs:3100/loki/api/v1/push\n  basic_auth: {{username: a, password_file: /p}}\n\
         - url: https://logs.example/loki/api/v1/push\n  name: grafana\n  tenant_id: '7'\n  headers: {{X-Key: sesame}}\n  \
         proxy_url: http://proxy:3128\n\
         - url: http://more:3100/loki/api/v1/push\n  proxy_from_environment: true\n  bearer_token: b\n{FILES}"
    );
    let push = taken(&text, How::default()).unwrap().0.push;
    let names: Vec<String> = push.all().into_iter().map(|all| format!("{} {}", all.name, all.url)).collect();
    assert_eq!(names, ["push http://logs:3100", "grafana https://logs.example", "client-3 http://more:3100"]);
    assert_eq!((&*push.delivery.username, &*push.delivery.password_file), ("a", "/p"));
    let [second, third] = &push.also[..] else { panic!("two more") };
    let (second, third) = (&second.delivery, &third.delivery);
    assert_eq!((&*second.tenant, &*second.proxy, second.headers.len()), ("7", "http://proxy:3128", 1));
    assert_eq!((&*third.proxy, third.token.expose()), ("environment", "b"));
    assert!(push.all().iter().all(|all| all.delivery.kind == logyard_agent::DestinationKind::Auto));
    // They are printed with what lets the agent in, or say what is missing.
    let settings = taken(&text.replace("password_file: /p", "password: /p"), How::default()).unwrap().0;
    let file = Some(("short.yaml".into(), print_short(&settings).unwrap()));
    let again = crate::config::load(&crate::Sources { file, ..crate::Sources::default() }).unwrap();
    assert_eq!(again, settings);
    let hidden = print_hiding(&settings).unwrap();
    let want = "# Not shown: push.password, push.also[0].headers.X-Key, push.also[1].token. Fill in where *** stands";
    assert!(hidden.starts_with(want) && !hidden.contains("sesame"), "{hidden}");
    // An address may hold a password, too.
    let text =
        text.replace("http://logs:", "http://me:one@logs:").replace("http://proxy:", "http://me:two@proxy:");
    let settings = taken(&text, How::default()).unwrap().0;
    let shown = print_short(&settings).unwrap();
    assert!(
        shown.contains("http://me:one@logs:3100") && shown.contains("http://me:two@proxy:3128"),
        "{shown}"
    );
    for hidden in [print_hiding(&settings).unwrap(), crate::config::print(&settings).unwrap()] {
        assert!(!hidden.contains("one@") && !hidden.contains("two@"), "{hidden}");
        assert!(
            hidden.contains("http://me:***@logs:3100") && hidden.contains("http://me:***@proxy:3128"),
            "{hidden}"
        );
    }
    let want =
        "# Not shown: push.url, push.also[0].proxy, push.also[0].headers.X-Key, push.also[1].token. Fill";
    let hidden = print_hiding(&settings).unwrap();
    assert!(hidden.starts_with(want), "{hidden}");
    let other = text.replace("  tenant_id: '7'\n", "  external_labels: {a: b}\n");
    refuses(&other, &["line 6: \"clients[1].external_labels\" is refused"]);
}
