//! Bad input is refused plainly, wholly, and harms nobody else.

use crate::http;
use crate::process::Logyard;

/// An address where no engine answers: these tests need none.
const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

const PUSH: &str = "/loki/api/v1/push";

fn store() -> Logyard {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    logyard.start();
    logyard
}

fn now_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

fn push_json(logyard: &Logyard, body: &str) -> http::Answer {
    http::post(&logyard.url(PUSH), "application/json", body.as_bytes()).unwrap()
}

#[test]
fn a_malformed_push_changes_nothing() {
    let logyard = store();
    let now = now_ns();
    let good = format!(r#"{{"streams":[{{"stream":{{"job":"good"}},"values":[["{now}","kept"]]}}]}}"#);
    assert_eq!(push_json(&logyard, &good).status, 204);

    let valid_stream = format!(r#"{{"stream":{{"job":"half"}},"values":[["{now}","not kept"]]}}"#);
    let malformed = [
        "not json".to_owned(),
        format!(
            r#"{{"streams":[{valid_stream},{{"stream":{{"job":"half"}},"values":[[{now},"number"]]}}]}}"#
        ),
        format!(r#"{{"streams":[{valid_stream},{{"stream":7}}]}}"#),
        format!(r#"{{"streams":[{valid_stream}"#),
    ];
    for body in &malformed {
        let answer = push_json(&logyard, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(!answer.text.trim().is_empty(), "says why");
    }
    let answer = http::post(&logyard.url(PUSH), "application/x-protobuf", b"\xff\xff\xffnot snappy").unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text);

    assert_eq!(logyard.lines(r#"{job="half"}"#), Vec::<String>::new());
    assert_eq!(logyard.lines(r#"{job="good"}"#), ["kept"]);
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn a_limit_is_named_when_it_refuses() {
    let logyard = store();
    let now = now_ns();
    let long = "x".repeat(256 * 1024 + 1);
    let body = format!(
        r#"{{"streams":[{{"stream":{{"job":"lines"}},"values":[["{now}","{long}"],["{now}","short"]]}}]}}"#
    );
    let answer = push_json(&logyard, &body);
    assert_eq!(answer.status, 400, "a line over the bound, as in Loki");
    assert!(answer.text.contains("262144"), "{}", answer.text);
    assert_eq!(logyard.lines(r#"{job="lines"}"#), ["short"], "the good entry is kept");
}

#[test]
fn a_body_over_the_limit_names_the_setting() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let config = logyard.folder().join("logyard.yaml");
    std::fs::write(&config, "limits:\n  push_body_bytes_max: 1KiB\n").unwrap();
    logyard = with_config(logyard, &config);
    logyard.start();
    let body =
        format!(r#"{{"streams":[{{"stream":{{"job":"x"}},"values":[["1","{}"]]}}]}}"#, "y".repeat(4096));
    let answer = push_json(&logyard, &body);
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.text.contains("push_body_bytes_max"), "{}", answer.text);
}

fn with_config(logyard: Logyard, config: &std::path::Path) -> Logyard {
    logyard.with_arguments(&["--config", config.to_str().unwrap()])
}

#[test]
fn an_unknown_key_is_refused_with_line_and_suggestion() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let config = logyard.folder().join("logyard.yaml");
    std::fs::write(&config, "# a comment\nlimits:\n  push_body_bytes_maxx: 1MiB\n").unwrap();
    logyard = with_config(logyard, &config);
    logyard.spawn();
    assert!(!logyard.wait_for_end().success());
    let log = logyard.log();
    for part in ["logyard.yaml line 3", "push_body_bytes_maxx", "push_body_bytes_max\""] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let first = store();
    let mut second = Logyard::new(NO_ENGINE, &["store"]);
    let taken = first.data_dir();
    second = second.with_arguments(&["--data-dir", taken.to_str().unwrap()]);
    second.spawn_in_place();
    assert_eq!(second.wait_for_end().code(), Some(1));
    let log = second.log();
    assert!(log.contains("uses it; stop that one") && log.contains(taken.to_str().unwrap()), "{log}");
    assert_eq!(http::get(&first.url("/ready")).unwrap().status, 200, "the first is unharmed");
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{}","a line"]]}}]}}"#, now_ns());
    assert_eq!(push_json(&first, &body).status, 204, "and takes entries");
    assert_eq!(first.lines(r#"{app="a"}"#).len(), 1, "and answers");
}

#[test]
fn a_folder_of_a_newer_format_is_refused() {
    let mut logyard = store();
    assert!(logyard.stop().success());
    let format = logyard.data_dir().join("FORMAT");
    let written = std::fs::read_to_string(&format).expect("the data folder names its format");
    std::fs::write(&format, written.replace('1', "99")).unwrap();
    logyard.spawn();
    assert!(!logyard.wait_for_end().success());
    assert!(logyard.log().contains("it has format 99, this version reads 1"), "{}", logyard.log());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let logyard = Logyard::new(NO_ENGINE, &["store"]);
    let blocked = logyard.folder().join("file");
    std::fs::write(&blocked, "not a folder").unwrap();
    let inside = blocked.join("data");
    let mut logyard = logyard.with_arguments(&["--data-dir", inside.to_str().unwrap()]);
    logyard.spawn_in_place();
    assert!(!logyard.wait_for_end().success());
    assert!(logyard.log().contains(inside.to_str().unwrap()), "{}", logyard.log());
}

#[test]
fn a_malformed_query_shows_where() {
    let logyard = store();
    let (code, _, stderr) = logyard.logq(&[r#"{job="x} |= "y""#]);
    assert_eq!(code, 2);
    assert!(stderr.contains('^'), "a caret under the fault: {stderr}");
    let answer = http::get_with(&logyard.url("/loki/api/v1/query_range"), &[("query", "{job=}")]).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text.starts_with("parse error at line 1, col 6: "), "{}", answer.text);
}
