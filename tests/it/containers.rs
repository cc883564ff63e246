//! What a container printed is what a query returns: labels, order, both outputs, long lines, TTY.

use crate::engine::{Engine, numbered};
use crate::process::Logyard;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

const PROJECT: &[&str] =
    &["--label", "com.docker.compose.project=demo", "--label", "com.docker.compose.service=web"];

#[test]
fn a_project_is_read_whole_and_labelled() {
    let engine = Engine::start();
    engine.run(
        "before",
        PROJECT,
        &format!("{}; {} >&2; sleep 600", numbered("early", 50, ""), numbered("early err", 50, "")),
    );
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    engine.run("after", PROJECT, &format!("{}; sleep 600", numbered("late", 50, "")));
    for turn in 0..20 {
        // A busy machine may need a moment to open the log before it is removed.
        let word = format!("echo hi {turn}; sleep 0.3");
        let gone = ["run", "--rm", "--network", "none", "--label", "com.docker.compose.project=demo"];
        let arguments: Vec<&str> =
            gone.into_iter().chain([crate::engine::IMAGE, "/bin/sh", "-c", &word]).collect();
        engine.docker(&arguments);
    }

    logyard.wait_for_lines(r#"{compose_project="demo"}"#, 170, WITHIN);
    let lines_of =
        |word: &str| -> Vec<String> { (1..=50).map(|number| format!("{word} {number:06}")).collect() };
    let host = r#"host=~".+""#;
    let before = format!(
        r#"{{container="before", compose_service="web", image="logyard-test:1", stream="stdout", {host}}}"#
    );
    assert_eq!(logyard.lines(&before), lines_of("early"));
    assert_eq!(logyard.lines(r#"{container="before", stream="stderr"}"#), lines_of("early err"));
    assert_eq!(logyard.lines(r#"{container="after"}"#), lines_of("late"));
    let gone = logyard.lines(r#"{compose_project="demo", compose_service=""}"#);
    let expected: Vec<String> = (0..20).map(|turn| format!("hi {turn}")).collect();
    assert_eq!(gone, expected, "containers that ran and were removed at once");

    let (code, names, _) = logyard.logq(&["labels"]);
    assert_eq!(code, 0);
    for name in ["compose_project", "compose_service", "container", "host", "image", "stream"] {
        assert!(names.lines().any(|line| line.trim() == name), "{name} in {names:?}");
    }
    logyard.assert_quiet_but_for(&[]);
    assert!(logyard.stop().success());
}

#[test]
fn long_lines_terminals_and_odd_bytes_come_out_whole() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    let letters = |count: usize| format!("head -c {count} /dev/zero | tr '\\0' x; echo");
    let sizes = [16_383, 16_384, 16_385, 32_768, 50_000, 200_000];
    let script: Vec<String> = sizes.iter().map(|&size| letters(size)).collect();
    engine.run("long", &[], &format!("{}; echo tail", script.join("; ")));
    engine.run("terminal", &["-t"], &format!("echo one; {}; echo two", letters(50_000)));
    engine.run(
        "local",
        &["--log-driver", "local"],
        &format!("{}; echo next; printf unfinished", letters(50_000)),
    );
    engine.run("odd", &[], r"printf 'a\tb\n\n  \n\033[31mred\033[0m\nx\ry\n'");

    let lengths = |lines: &[String]| -> Vec<usize> { lines.iter().map(String::len).collect() };
    let long = logyard.wait_for_lines(r#"{container="long"}"#, sizes.len() + 1, WITHIN);
    let expected: Vec<usize> = sizes.into_iter().chain([4]).collect();
    assert_eq!(lengths(&long), expected);
    assert!(long[4].bytes().all(|byte| byte == b'x'));

    let terminal = logyard.wait_for_lines(r#"{container="terminal", stream="stdout"}"#, 3, WITHIN);
    assert_eq!(lengths(&terminal), [3, 50_000, 3]);
    assert!(terminal[1].bytes().all(|byte| byte == b'x'), "no timestamp inside the line");

    let local = logyard.wait_for_lines(r#"{container="local"}"#, 3, WITHIN);
    assert_eq!(lengths(&local), [50_000, 4, 10]);

    let odd = logyard.wait_for_lines(r#"{container="odd"}"#, 5, WITHIN);
    assert_eq!(odd, ["a\tb", "", "  ", "\u{1b}[31mred\u{1b}[0m", "x\ry"]);
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn a_container_that_stops_and_starts_is_read_once() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    engine.run("again", &[], "echo run; echo more");
    for _ in 0..4 {
        engine.wait_for(&["again"]);
        engine.docker(&["start", "again"]);
    }
    engine.wait_for(&["again"]);
    let query = r#"{container="again"}"#;
    logyard.wait_for_lines(query, 10, WITHIN);
    logyard.stop();
    // Written and ended while nobody watched.
    engine.docker(&["start", "again"]);
    engine.wait_for(&["again"]);
    logyard.start();
    let lines = logyard.wait_for_lines(query, 12, WITHIN);
    assert_eq!(lines, ["run", "more"].repeat(6));
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn the_engine_may_be_absent_and_come_later() {
    let mut engine = Engine::start();
    engine.run("patient", &[], "echo before; sleep 3; echo after; sleep 600");
    engine.stop_daemon();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    std::thread::sleep(Duration::from_secs(2));
    let said = logyard.log().lines().filter(|line| line.contains("level=warn")).count();
    assert_eq!(said, 1, "says once that the engine is away:\n{}", logyard.log());
    engine.start_daemon();
    let lines = logyard.wait_for_lines(r#"{container="patient"}"#, 2, WITHIN);
    assert_eq!(lines, ["before", "after"]);
    logyard.assert_quiet_but_for(&["engine"]);
}
