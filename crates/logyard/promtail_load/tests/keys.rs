//! Every key that Promtail documents: taken as it is, taken with a remark, or refused by file, line and name.

use super::*;

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It means the same here.
    Taken,
    /// It means something else, or nothing; a note with its line says what.
    Noted,
    /// It cannot be honoured; the start is refused, with its line and what to do.
    Refused,
}

use Fate::{Noted, Refused, Taken};

const CLIENT: &str = "clients:\n- url: http://logs:3100/loki/api/v1/push\n  ";

fn files_with(more: &str) -> String {
    format!("{FILES}{more}")
}

/// Reads a file; returns what becomes of the key at `path` on `line`.
#[track_caller]
fn fate(text: &str, path: &str) -> Fate {
    let how = How { skip_unsupported: true, ..How::default() };
    let (_, taken) = taken(text, how).unwrap_or_else(|error| panic!("{path}: {error:#}\n{text}"));
    let names = |remark: &&String| remark.contains(&format!("\"{path}\"")) && remark.contains(" line ");
    match (taken.refused.iter().find(names), taken.notes.iter().find(names)) {
        (Some(refusal), _) => {
            // It says what to do besides what is wrong.
            assert!(refusal.contains("refused: ") && refusal.len() > 60, "{refusal}");
            Refused
        }
        (None, Some(_)) => Noted,
        (None, None) => {
            assert_eq!(taken.refused, [""; 0], "{path}");
            Taken
        }
    }
}

#[track_caller]
fn check(context: &str, before: &str, after: &str, keys: &[(&str, &str, Fate)]) {
    for (key, value, want) in keys {
        let text = format!("{before}{key}: {value}\n{after}");
        let path = format!("{context}{key}");
        assert_eq!(fate(&text, &path), *want, "{path}\n{text}");
    }
    // One that Promtail does not have either is not passed over.
    let text = format!("{before}nonsense: 1\n{after}");
    let error = format!("{:#}", taken(&text, How::default()).unwrap_err());
    assert!(error.contains(&format!("{context}nonsense")) && error.contains(" line "), "{context}: {error}");
}

#[test]
fn b40_keys_of_the_program_are_all_known() {
    check(
        "server.",
        "server:\n  ",
        FILES,
        &[
            ("http_listen_address", "127.0.0.1", Noted),
            ("http_listen_port", "9080", Noted),
            ("http_path_prefix", "/logs", Noted),
            ("log_level", "info", Taken),
            ("log_format", "json", Taken),
            ("external_url", "http://a", Noted),
            ("disable", "true", Taken),
            ("enable_runtime_reload", "true", Noted),
            ("health_check_target", "false", Noted),
            ("profiling_enabled", "true", Noted),
            ("register_instrumentation", "true", Noted),
            ("graceful_shutdown_timeout", "30s", Noted),
            ("http_server_read_timeout", "30s", Noted),
            ("http_server_write_timeout", "30s", Noted),
            ("http_server_idle_timeout", "120s", Noted),
            ("http_listen_network", "tcp", Noted),
            ("http_listen_conn_limit", "0", Noted),
            ("http_tls_config", "{cert_file: a}", Noted),
            ("grpc_listen_address", "a", Noted),
            ("grpc_listen_port", "0", Noted),
            ("grpc_server_max_recv_msg_size", "4194304", Noted),
            ("grpc_server_max_send_msg_size", "4194304", Noted),
            ("grpc_server_max_concurrent_streams", "100", Noted),
            ("log_source_ips_enabled", "false", Noted),
        ],
    );
    check(
        "positions.",
        "positions:\n  ",
        FILES,
        &[
            ("filename", "/none/positions.yaml", Noted),
            ("sync_period", "10s", Noted),
            ("ignore_invalid_yaml", "true", Noted),
        ],
    );
    check(
        "target_config.",
        "target_config:\n  ",
        FILES,
        &[("sync_period", "10s", Noted), ("stdin", "true", Taken)],
    );
    check(
        "limits_config.",
        "limits_config:\n  ",
        FILES,
        &[
            ("readline_rate_enabled", "true", Noted),
            ("readline_rate", "100", Taken),
            ("readline_burst", "100", Taken),
            ("readline_rate_drop", "false", Taken),
            ("max_streams", "10", Noted),
            ("max_line_size", "256KB", Noted),
            ("max_line_size_truncate", "true", Taken),
        ],
    );
    check(
        "",
        "",
        FILES,
        &[
            ("global", "{file_watch_config: {min_poll_frequency: 250ms, max_poll_frequency: 1s}}", Noted),
            ("tracing", "{enabled: true}", Noted),
            ("options", "{stream_lag_labels: a}", Noted),
            (
                "wal",
                "{enabled: true, dir: /wal, cleanSegmentsOlderThan: 1h, watchConfig: {minReadFrequency: 1s}}",
                Noted,
            ),
        ],
    );
}

#[test]
fn b40_keys_of_clients_are_all_known() {
    let keys = [
        ("name", "a", Noted),
        ("batchwait", "1s", Noted),
        ("batchsize", "1048576", Noted),
        ("timeout", "45s", Taken),
        ("backoff_config", "{min_period: 500ms, max_period: 5m, max_retries: 10}", Noted),
        ("drop_rate_limited_batches", "true", Noted),
        ("tenant_id", "a", Taken),
        ("external_labels", "{a: b}", Taken),
        ("headers", "{a: b}", Taken),
        ("basic_auth", "{username: a, password_file: b}", Taken),
        ("authorization", "{type: Bearer, credentials_file: /a}", Taken),
        ("bearer_token", "a", Taken),
        ("bearer_token_file", "/a", Taken),
        (
            "oauth2",
            "{client_id: a, client_secret_file: b, token_url: c, scopes: [d], endpoint_params: {e: f}}",
            Refused,
        ),
        ("tls_config", "{ca_file: /a, cert_file: /b, key_file: /c, server_name: d}", Taken),
        ("proxy_url", "http://a", Taken),
        ("no_proxy", "a", Noted),
        ("proxy_from_environment", "true", Taken),
        ("follow_redirects", "true", Noted),
        ("enable_http2", "true", Noted),
    ];
    check("clients[0].", CLIENT, FILES, &keys);
    check("client.", "client:\n  url: http://logs:3100/loki/api/v1/push\n  ", FILES, &keys);
    let inner = format!("{CLIENT}tls_config:\n    ");
    check("clients[0].tls_config.", &inner, FILES, &[("insecure_skip_verify", "true", Refused)]);
    check(
        "clients[0].authorization.",
        &format!("{CLIENT}authorization:\n    "),
        FILES,
        &[("type", "Basic", Refused)],
    );
}

#[test]
fn b40_keys_of_jobs_are_all_known() {
    let job = files_with("  ");
    check(
        "scrape_configs[0].",
        &job,
        "",
        &[
            ("pipeline_stages", "[]", Taken),
            ("relabel_configs", "[]", Taken),
            ("docker_sd_configs", "[{host: 'unix:///a'}]", Taken),
            ("file_sd_configs", "[{files: [/a/*.json]}]", Taken),
            ("journal", "{}", Taken),
            ("syslog", "{listen_address: ':1514'}", Taken),
            ("loki_push_api", "{server: {http_listen_port: 3500}}", Taken),
            ("gelf", "{}", Taken),
            ("encoding", "utf-16le", Taken),
            ("decompression", "{enabled: true, initial_delay: 10s, format: gz}", Noted),
        ],
    );
    for kind in crate::promtail::REFUSED_KINDS {
        assert_eq!(
            fate(&files_with(&format!("  {}: []\n", kind.0)), &format!("scrape_configs[0].{}", kind.0)),
            Refused
        );
    }
    check(
        "scrape_configs[0].file_sd_configs[0].",
        "scrape_configs:\n- file_sd_configs:\n  - files: [/a.yml]\n    ",
        "",
        &[("refresh_interval", "5m", Noted)],
    );
    let docker = "scrape_configs:\n- docker_sd_configs:\n  - host: unix:///a\n    ";
    check(
        "scrape_configs[0].docker_sd_configs[0].",
        docker,
        "",
        &[
            (
                "filters",
                "[{name: name, values: [a]}, {name: id, values: [b]}, {name: ancestor, values: [c]}]",
                Taken,
            ),
            ("refresh_interval", "60s", Noted),
            ("port", "80", Noted),
            ("host_networking_host", "localhost", Noted),
            ("match_first_network", "true", Noted),
            ("follow_redirects", "true", Noted),
            ("enable_http2", "true", Noted),
            ("basic_auth", "{username: a}", Refused),
            ("authorization", "{credentials: a}", Refused),
            ("bearer_token", "a", Refused),
            ("bearer_token_file", "a", Refused),
            ("oauth2", "{client_id: a}", Refused),
            ("proxy_url", "http://a", Refused),
            ("tls_config", "{ca_file: a}", Refused),
        ],
    );
    let network = "scrape_configs:\n- docker_sd_configs: [{host: 'unix:///a', filters: [{name: network, values: [a]}]}]\n";
    assert_eq!(fate(network, "scrape_configs[0].docker_sd_configs[0].filters[0].name"), Refused);
    check(
        "scrape_configs[0].journal.",
        "scrape_configs:\n- journal:\n    ",
        "",
        &[
            ("max_age", "12h", Noted),
            ("json", "true", Taken),
            ("labels", "{a: b}", Taken),
            ("path", "/var/log/journal", Taken),
            ("matches", "_TRANSPORT=kernel", Taken),
        ],
    );
    check(
        "scrape_configs[0].syslog.",
        "scrape_configs:\n- syslog:\n    listen_address: 127.0.0.1:1514\n    ",
        "",
        &[
            ("listen_protocol", "udp", Taken),
            ("idle_timeout", "120s", Taken),
            ("label_structured_data", "true", Taken),
            ("labels", "{a: b}", Taken),
            ("use_incoming_timestamp", "true", Taken),
            ("use_rfc5424_message", "true", Taken),
            ("syslog_format", "rfc3164", Taken),
            ("max_message_length", "8192", Taken),
            ("tls_config", "{cert_file: /a, key_file: /b, ca_file: /c}", Taken),
        ],
    );
    let push = "scrape_configs:\n- loki_push_api:\n    server:\n      http_listen_port: 3500\n      ";
    check(
        "scrape_configs[0].loki_push_api.server.",
        push,
        "",
        &[
            ("http_listen_address", "127.0.0.1", Taken),
            ("grpc_listen_port", "0", Noted),
            ("http_tls_config", "{cert_file: /a, key_file: /b, client_ca_file: /c}", Taken),
            ("http_path_prefix", "/a", Refused),
            ("log_level", "info", Noted),
        ],
    );
    check(
        "scrape_configs[0].loki_push_api.",
        "scrape_configs:\n- loki_push_api:\n    server: {http_listen_port: 3500}\n    ",
        "",
        &[
            ("labels", "{a: b}", Taken),
            ("use_incoming_timestamp", "true", Taken),
            ("max_send_msg_size", "4096", Taken),
        ],
    );
    check(
        "scrape_configs[0].gelf.",
        "scrape_configs:\n- gelf:\n    ",
        "",
        &[
            ("listen_address", "0.0.0.0:12201", Taken),
            ("labels", "{a: b}", Taken),
            ("use_incoming_timestamp", "true", Taken),
        ],
    );
    check(
        "scrape_configs[0].static_configs[0].",
        "scrape_configs:\n- static_configs:\n  - labels: {__path__: /a}\n    ",
        "",
        &[("targets", "[localhost]", Taken)],
    );
    for (label, want) in [("__path_exclude__", Taken), ("__host__", Noted), ("job", Taken)] {
        let text = format!(
            "scrape_configs:\n- static_configs:\n  - labels:\n      __path__: /a\n      {label}: b\n"
        );
        assert_eq!(
            fate(&text, &format!("scrape_configs[0].static_configs[0].labels.{label}")),
            want,
            "{label}"
        );
    }
}

/// Every stage with every option; what is refused is not among them.
pub(super) const STAGES: [(&str, &[&str]); 23] = [
    ("docker", &[]),
    (
        "cri",
        &["max_partial_lines: 100", "max_partial_line_size: 1024", "max_partial_line_size_truncate: true"],
    ),
    ("json", &["expressions: {a: b.c, d: }", "source: e", "drop_malformed: true"]),
    ("logfmt", &["mapping: {a: b, c: }", "source: d"]),
    ("regex", &["expression: '(?P<a>.)'", "source: b"]),
    ("replace", &["expression: '(a)'", "source: b", "replace: '{{ .Value | ToUpper }}'"]),
    ("template", &["source: a", "template: '{{ .Value | ToUpper }}'"]),
    ("labels", &["a: b", "c: "]),
    ("static_labels", &["a: b"]),
    ("labeldrop", &["[a, b]"]),
    ("labelallow", &["[a, b]"]),
    ("structured_metadata", &["a: b", "c: "]),
    ("non_indexed_labels", &["a: "]),
    (
        "timestamp",
        &[
            "source: a",
            "format: RFC3339",
            "fallback_formats: [Unix, '2006-01-02']",
            "location: Europe/Berlin",
            "action_on_failure: skip",
        ],
    ),
    ("output", &["source: a"]),
    (
        "match",
        &[
            "selector: '{a=\"b\"} |= `c`'",
            "stages: [{decolorize: }]",
            "action: keep",
            "pipeline_name: d",
            "drop_counter_reason: e",
        ],
    ),
    (
        "drop",
        &[
            "source: [a, b]",
            "separator: ','",
            "expression: c",
            "older_than: 1h",
            "longer_than: 8kb",
            "drop_counter_reason: d",
        ],
    ),
    ("limit", &["rate: 1", "burst: 2", "drop: true", "by_label_name: a", "max_distinct_labels: 10000"]),
    ("sampling", &["rate: 0.5", "drop_counter_reason: a"]),
    ("multiline", &["firstline: '^a'", "max_wait_time: 3s", "max_lines: 128"]),
    ("pack", &["labels: [a]", "ingest_timestamp: false"]),
    (
        "metrics",
        &[
            "a: {type: Counter, description: b, source: c, prefix: d_, max_idle_duration: 5m, config: {action: add, value: e}}",
            "f: {type: Gauge, config: {action: set}}",
            "g: {type: Histogram, source: h, config: {buckets: [1, 2]}}",
            "i: {type: Counter, config: {action: inc, match_all: true}}",
            "j: {type: Counter, config: {action: add, match_all: true, count_entry_bytes: true}}",
        ],
    ),
    ("decolorize", &[]),
];

#[test]
fn b40_stages_and_their_options_are_all_known() {
    let stage = |name: &str, options: &[&str]| match options {
        [] => format!("  - {name}:\n"),
        [list] if list.starts_with('[') => format!("  - {name}: {list}\n"),
        _ => format!(
            "  - {name}:\n{}",
            options.iter().map(|option| format!("      {option}\n")).collect::<String>()
        ),
    };
    for (name, options) in STAGES {
        let text = files_with(&format!("  pipeline_stages:\n{}", stage(name, options)));
        let (settings, taken) =
            taken(&text, How::default()).unwrap_or_else(|error| panic!("{name}: {error:#}\n{text}"));
        assert_eq!(settings.agent.files[0].stages.len(), 1, "{name}");
        assert_eq!(taken.notes, [""; 0], "{name}");
        // A map of names has no unknown keys.
        let is_map =
            matches!(name, "labels" | "static_labels" | "structured_metadata" | "non_indexed_labels");
        if is_map || options.first().is_some_and(|option| option.starts_with('[')) {
            continue;
        }
        let odd = [options, &["nonsense: 1"]].concat();
        refuses(&files_with(&format!("  pipeline_stages:\n{}", stage(name, &odd))), &["nonsense", " line "]);
    }
    for (name, options) in [
        ("tenant", "{label: a, source: b, value: c}"),
        ("geoip", "{db: a, source: b, db_type: city}"),
        ("eventlogmessage", "{source: a}"),
    ] {
        let text = files_with(&format!("  pipeline_stages:\n  - {name}: {options}\n"));
        assert_eq!(fate(&text, &format!("scrape_configs[0].pipeline_stages[0].{name}")), Refused);
    }
}

#[test]
fn b40_rules_and_their_actions_are_all_known() {
    let rules = [
        "{source_labels: [a, b], separator: ',', regex: '(.*)', replacement: '$1', target_label: c, action: replace}",
        "{source_labels: [a], regex: b, action: keep}",
        "{source_labels: [a], regex: b, action: drop}",
        "{source_labels: [a], target_label: b, action: keepequal}",
        "{source_labels: [a], target_label: b, action: dropequal}",
        "{source_labels: [a], modulus: 8, target_label: b, action: hashmod}",
        "{source_labels: [a], target_label: b, action: lowercase}",
        "{source_labels: [a], target_label: b, action: UPPERCASE}",
        "{regex: 'a_(.*)', replacement: 'b_$1', action: labelmap}",
        "{regex: a, action: labeldrop}",
        "{regex: '.*', action: labelkeep}",
    ];
    for rule in rules {
        let text = files_with(&format!("  relabel_configs:\n  - {rule}\n"));
        let (settings, taken) =
            taken(&text, How::default()).unwrap_or_else(|error| panic!("{rule}: {error:#}"));
        assert_eq!((settings.agent.files[0].relabel.len(), taken.notes.len()), (1, 0), "{rule}");
        let odd = rule.replacen('{', "{nonsense: 1, ", 1);
        refuses(&files_with(&format!("  relabel_configs:\n  - {odd}\n")), &["nonsense", " line "]);
    }
    refuses(&files_with("  relabel_configs:\n  - {action: shuffle}\n"), &["line 5: ", "shuffle"]);
}
