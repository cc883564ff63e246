//! Behaviours of the agent on a real engine: names and numbers are those of the list that the agent is held to.

use crate::clients::outside;
use crate::engine::{Engine, IMAGE, numbered};
use crate::http;
use crate::process::Logyard;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(90);

/// Returns the names of the labels of all streams that match.
fn label_names(logyard: &Logyard, selector: &str) -> BTreeSet<BTreeSet<String>> {
    let answer = http::get_with(&logyard.url("/loki/api/v1/series"), &[("match[]", selector)]).unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    let streams = body["data"].as_array().unwrap();
    streams.iter().map(|labels| labels.as_object().unwrap().keys().cloned().collect()).collect()
}

fn configured(engine: &Engine, text: &str) -> Logyard {
    let logyard = Logyard::new(&engine.host(), &[]);
    let config = logyard.folder().join("logyard.yaml");
    fs::write(&config, text).unwrap();
    logyard.with_arguments(&["--config", config.to_str().unwrap()])
}

fn numbers(word: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{word} {number:06}")).collect()
}

#[test]
fn b01_b23_b24_b25_labels_are_those_of_the_container() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    let project = ["--label", "com.docker.compose.project=demo", "--label", "com.docker.compose.service=web"];
    engine.run("web", &project, "echo one; echo two >&2; sleep 600");
    logyard.wait_for_lines(r#"{container="web"}"#, 2, WITHIN);
    // The last one is the store's, as with Loki.
    let names =
        ["compose_project", "compose_service", "container", "host", "image", "stream", "service_name"];
    let names: BTreeSet<String> = names.map(str::to_owned).into();
    assert_eq!(label_names(&logyard, r#"{container="web"}"#), BTreeSet::from([names]));

    // Whatever its network, a container is one target.
    engine.docker(&["run", "-d", "--name", "host", "--network", "host", IMAGE, "/bin/sh", "-c", "echo n"]);
    let shared =
        ["run", "-d", "--name", "shared", "--network", "container:web", IMAGE, "/bin/sh", "-c", "echo n"];
    engine.docker(&shared);
    engine.run("none", &[], "echo n");
    for name in ["front", "back"] {
        engine.docker(&["network", "create", name]);
    }
    engine.docker(&["create", "--name", "several", "--network", "front", IMAGE, "/bin/sh", "-c", "echo n"]);
    engine.docker(&["network", "connect", "back", "several"]);
    engine.docker(&["start", "several"]);
    let networks = r#"{container=~"host|shared|none|several"}"#;
    logyard.wait_for_lines(networks, 4, WITHIN);

    engine.run("early", &[], "echo before; while [ ! -e /go ]; do sleep 0.1; done; echo after; sleep 600");
    logyard.wait_for_lines(r#"{container="early"}"#, 1, WITHIN);
    engine.docker(&["rename", "early", "late"]);
    // The event of the name may come after that of the line: the line waits until the agent has been told.
    thread::sleep(Duration::from_secs(2));
    engine.docker(&["exec", "late", "/bin/sh", "-c", "echo > /go"]);
    assert_eq!(logyard.wait_for_lines(r#"{container="late"}"#, 1, WITHIN), ["after"]);
    assert_eq!(logyard.lines(r#"{container="early"}"#), ["before"]);

    // The list shows a bare id once the tag has moved.
    engine.docker(&["tag", IMAGE, "moving:1"]);
    let script = "echo before; while [ ! -e /go ]; do sleep 0.1; done; echo after; sleep 600";
    engine.docker(&[
        "run",
        "-d",
        "--name",
        "moved",
        "--network",
        "none",
        "moving:1",
        "/bin/sh",
        "-c",
        script,
    ]);
    logyard.wait_for_lines(r#"{container="moved"}"#, 1, WITHIN);
    let commit = engine.docker(&["commit", "web"]);
    engine.docker(&["tag", &commit, "moving:1"]);
    logyard.kill();
    logyard.start();
    engine.docker(&["exec", "moved", "/bin/sh", "-c", "echo > /go"]);
    let lines = logyard.wait_for_lines(r#"{container="moved", image="moving:1"}"#, 2, WITHIN);
    assert_eq!(lines, ["before", "after"]);
    assert_eq!(logyard.lines(networks).len(), 4);
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b04_b05_b06_each_run_is_read_once() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    thread::scope(|scope| {
        for part in 0..5 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..10 {
                    // Long enough for a busy machine to open the log before it is removed.
                    let script = format!("for l in a b c; do echo {part}{number} $l; done; sleep 2");
                    engine.docker(&["run", "--rm", "--network", "none", IMAGE, "/bin/sh", "-c", &script]);
                }
            });
        }
    });
    let mut lines = logyard.wait_for_lines(r#"{container=~".+"}"#, 150, WITHIN);
    lines.sort_unstable();
    let want: Vec<String> =
        (0..50).flat_map(|number| ["a", "b", "c"].map(|letter| format!("{number:02} {letter}"))).collect();
    assert_eq!(lines, want);

    let last = "trap 'echo bye; exit 0' TERM; echo run; while true; do sleep 0.1; done";
    engine.run("polite", &[], last);
    logyard.wait_for_lines(r#"{container="polite"}"#, 1, WITHIN);
    engine.docker(&["stop", "polite"]);
    engine.docker(&["start", "polite"]);
    logyard.wait_for_lines(r#"{container="polite"}"#, 3, WITHIN);
    engine.docker(&["restart", "polite"]);
    logyard.wait_for_lines(r#"{container="polite"}"#, 5, WITHIN);
    engine.run("crashing", &["--restart", "on-failure:3"], "echo run; echo last; exit 3");
    logyard.wait_for_lines(r#"{container="crashing"}"#, 8, WITHIN);
    logyard.stop();
    engine.run("unseen", &[], "echo one; echo two");
    engine.wait_for(&["unseen"]);
    engine.docker(&["stop", "polite"]);
    logyard.start();
    assert_eq!(logyard.wait_for_lines(r#"{container="unseen"}"#, 2, WITHIN), ["one", "two"]);
    let polite = logyard.wait_for_lines(r#"{container="polite"}"#, 6, WITHIN);
    assert_eq!(polite, ["run", "bye"].repeat(3));
    assert_eq!(logyard.lines(r#"{container="crashing"}"#), ["run", "last"].repeat(4));
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b04_containers_that_end_at_once_are_read_whole_or_not_at_all() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    for number in 0..50 {
        let script = format!("for l in a b c; do echo {number:02} $l; done");
        engine.docker(&["run", "--rm", "--network", "none", IMAGE, "/bin/sh", "-c", &script]);
    }
    engine.run("last", &[], "echo last");
    logyard.wait_for_lines(r#"{container="last"}"#, 1, WITHIN);
    let lines = logyard.lines(r#"{container=~".+", container!="last"}"#);
    let read: BTreeSet<&str> = lines.iter().filter_map(|line| line.split_once(' ')).map(|of| of.0).collect();
    let want: Vec<String> =
        read.iter().flat_map(|number| ["a", "b", "c"].map(|letter| format!("{number} {letter}"))).collect();
    assert_eq!(lines, want);
    println!("{} of 50 containers were there long enough", read.len());
    assert!(!read.is_empty());
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b29_a_clock_set_back_suppresses_nothing() {
    let engine = Engine::start();
    let library =
        format!("libfaketime/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    let library = outside(&library);
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0\n").unwrap();
    let mut logyard = Logyard::new(&engine.host(), &[]).with_variables(&[
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    logyard.start();
    let wait = "while [ ! -e /go ]; do sleep 0.1; done";
    engine.run("stepped", &[], &format!("echo before; {wait}; echo after; sleep 600"));
    let query = r#"{container="stepped"}"#;
    logyard.wait_for_lines(query, 1, WITHIN);
    // The engine's own clock is the machine's, which other programs need: what it would write is written for it.
    fs::write(&clock, "-10\n").unwrap();
    for number in 1..=5 {
        let format = "--date=10 seconds ago";
        let time = Command::new("date").args(["--utc", format, "+%Y-%m-%dT%H:%M:%S.%NZ"]).output().unwrap();
        let time = String::from_utf8(time.stdout).unwrap();
        let row =
            format!("{{\"log\":\"line {number}\\n\",\"stream\":\"stdout\",\"time\":\"{}\"}}\n", time.trim());
        engine.append_to_log("stepped", row.as_bytes());
        thread::sleep(Duration::from_millis(50));
    }
    let want: Vec<String> = (1..=5).map(|number| format!("line {number}")).collect();
    let want = [&want[..], &["before".to_owned()]].concat();
    assert_eq!(logyard.wait_for_lines(query, 6, WITHIN), want, "in the order of their times");
    assert!(logyard.metric("logyard_agent_clock_steps_total") >= 1.0);
    engine.docker(&["exec", "stepped", "/bin/sh", "-c", ": > /go"]);
    let want = [&want[..], &["after".to_owned()]].concat();
    assert_eq!(logyard.wait_for_lines(query, 7, WITHIN), want);
    logyard.assert_quiet_but_for(&["clock"]);
}

#[test]
fn b07_b08_b09_b10_lines_are_whole_whatever_they_hold() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    let letters = |count: usize| format!("head -c {count} /dev/zero | tr '\\0' x");
    let sizes = [16_383, 16_384, 16_385, 32_768, 50_000, 1_000_000];
    let script: Vec<String> = sizes.iter().map(|&size| format!("{}; echo", letters(size))).collect();
    let script = format!("{}; echo tail; {}", script.join("; "), letters(40_000));
    let both = format!(
        "({}; echo; echo next) & ({}; echo; echo next) >&2; wait",
        letters(300_000),
        letters(300_000).replace('x', "e")
    );
    for driver in ["json-file", "local"] {
        engine.run(&format!("sizes-{driver}"), &["--log-driver", driver], &script);
        engine.run(&format!("both-{driver}"), &["--log-driver", driver], &both);
    }
    let odd = r"printf 'nul\0in\n\n   \n\033[1mbold\033[0m\nx\ry\n'";
    engine.run("odd", &[], odd);
    engine.run("bytes", &["--log-driver", "local"], r"printf 'a\377\376b\n'");
    engine.run("terminal", &["-t"], &format!("echo one; {}; echo; echo two", letters(70_000)));

    let lengths = |lines: &[String]| -> Vec<usize> { lines.iter().map(String::len).collect() };
    for driver in ["json-file", "local"] {
        let lines = logyard.wait_for_lines(&format!(r#"{{container="sizes-{driver}"}}"#), 8, WITHIN);
        let kept = [16_383, 16_384, 16_385, 32_768, 50_000, 256 << 10, 4, 40_000];
        assert_eq!(lengths(&lines), kept, "{driver}");
        for (stream, letter) in [("stdout", 'x'), ("stderr", 'e')] {
            let query = format!(r#"{{container="both-{driver}", stream="{stream}"}}"#);
            let lines = logyard.wait_for_lines(&query, 2, WITHIN);
            assert_eq!(lengths(&lines), [256 << 10, 4], "{driver} {stream}");
            assert!(lines[0].chars().all(|c| c == letter), "{driver} {stream}: outputs do not mix");
        }
    }
    let odd = logyard.wait_for_lines(r#"{container="odd"}"#, 5, WITHIN);
    assert_eq!(odd, ["nul\0in", "", "   ", "\u{1b}[1mbold\u{1b}[0m", "x\ry"]);
    assert_eq!(logyard.wait_for_lines(r#"{container="bytes"}"#, 1, WITHIN), ["a\u{fffd}\u{fffd}b"]);
    let terminal = logyard.wait_for_lines(r#"{container="terminal", stream="stdout"}"#, 3, WITHIN);
    assert_eq!(lengths(&terminal), [3, 70_000, 3]);
    assert!(terminal[1].bytes().all(|byte| byte == b'x'), "no timestamp and no end of line inside");
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b11_rotation_at_a_steady_rate_loses_and_repeats_nothing() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    // 2,000 lines a second; ten rotations of json-file, a few of local.
    let script = r#"awk 'BEGIN { for (i = 1; i <= 20000; i++) { printf "line %06d ....................................................................................................................................................................................................................................................................................\n", i; if (i % 100 == 0) { fflush(); system("sleep 0.05") } } }'"#;
    for driver in ["json-file", "local"] {
        let options = ["--log-driver", driver, "--log-opt", "max-size=1m", "--log-opt", "max-file=3"];
        engine.run(driver, &options, script);
    }
    for driver in ["json-file", "local"] {
        let lines = logyard.wait_for_lines(&format!(r#"{{container="{driver}"}}"#), 20_000, WITHIN);
        let got: Vec<&str> = lines.iter().map(|line| line.split(" .").next().unwrap()).collect();
        assert!(got == numbers("line", 20_000), "{driver}: {} lines", lines.len());
    }
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b11_rotation_of_large_files_at_a_high_rate_loses_and_repeats_nothing() {
    const LINES: usize = 60_000;
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    // 20,000 lines a second, and two rotations. All files together hold all of it, however slow this machine is.
    let script = format!(
        r#"awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) {{ printf "line %06d {}\n", i; if (i % 1000 == 0) {{ fflush(); system("sleep 0.05") }} }} }}'"#,
        ".".repeat(280)
    );
    engine.run("large", &["--log-opt", "max-size=10m", "--log-opt", "max-file=5"], &script);
    let lines = logyard.wait_for_lines(r#"{container="large"}"#, LINES, WITHIN);
    let got: Vec<&str> = lines.iter().map(|line| line.split(" .").next().unwrap()).collect();
    assert!(got == numbers("line", LINES), "{} lines", lines.len());
    assert!(engine.log_path("large").with_extension("log.2").exists(), "it was rotated twice");
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b12_b15_a_burst_through_small_logs_of_the_local_driver_is_complete() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    let local = ["--log-driver", "local"];
    engine.run("burst", &local, &numbered("line", 300_000, &".".repeat(80)));
    // Rotated and packed twice while nobody reads.
    let small = [&local[..], &["--log-opt", "max-size=1m", "--log-opt", "max-file=5"]].concat();
    let script = format!(
        "{}; while [ ! -e /go ]; do sleep 0.1; done; {}; sleep 600",
        numbered("early", 100, ""),
        numbered("line", 22_000, &".".repeat(80))
    );
    engine.run("away", &small, &script);
    logyard.wait_for_lines(r#"{container="away"}"#, 100, WITHIN);
    engine.wait_for(&["burst"]);
    let counted = |logyard: &Logyard| logyard.instant(r#"sum(count_over_time({container="burst"}[1h]))"#);
    let until = std::time::Instant::now() + 2 * WITHIN;
    while counted(&logyard).first().is_none_or(|(_, value)| *value < 300_000.0) {
        assert!(std::time::Instant::now() < until, "{:?}\n{}", counted(&logyard), logyard.log());
        thread::sleep(Duration::from_millis(250));
    }
    logyard.kill();
    engine.docker(&["exec", "away", "/bin/sh", "-c", "echo > /go"]);
    let until = std::time::Instant::now() + WITHIN;
    while engine.logged_lines("away")[0] < 22_100 {
        assert!(std::time::Instant::now() < until, "{:?} lines are kept", engine.logged_lines("away"));
        thread::sleep(Duration::from_millis(250));
    }
    logyard.start();
    let lines = logyard.wait_for_lines(r#"{container="away"} |= "line""#, 22_000, WITHIN);
    let got: Vec<&str> = lines.iter().map(|line| line.trim_end_matches('.')).collect();
    assert!(got == numbers("line", 22_000), "{} lines", lines.len());
    let burst = logyard.lines(r#"{container="burst"}"#);
    let got: Vec<&str> = burst.iter().map(|line| line.trim_end_matches('.')).collect();
    assert!(got == numbers("line", 300_000), "{} lines", burst.len());
    logyard.assert_quiet_but_for(&[]);
}

/// Returns the CPU time that the daemon of an engine has used, in hundredths of a second.
fn daemon_ticks(engine: &Engine) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", engine.daemon_pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn b16_b17_b18_damaged_cut_and_long_logs_cost_and_repeat_nothing() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    // Containers that print their next line when they are told to.
    let told = "n=1; while true; do while [ ! -e /go$n ]; do sleep 0.1; done; echo line $n; n=$((n+1)); done";
    for name in ["damaged", "hollow", "cut"] {
        engine.run(name, &[], told);
    }
    // The third line has several parts.
    engine.run(
        "typed",
        &["-t"],
        &told.replace(
            "echo line $n;",
            r#"if [ $n = 3 ]; then head -c 40000 /dev/zero | tr '\0' x; echo; else echo line $n; fi;"#,
        ),
    );
    let tell = |name: &str, number: usize| {
        engine.docker(&["exec", name, "/bin/sh", "-c", &format!(": > /go{number}")]);
    };
    let wait = |logyard: &Logyard, name: &str, count: usize| {
        let want: Vec<String> = (1..=count).map(|number| format!("line {number}")).collect();
        assert_eq!(logyard.wait_for_lines(&format!(r#"{{container="{name}"}}"#), count, WITHIN), want);
    };
    for name in ["damaged", "hollow", "typed", "cut"] {
        tell(name, 1);
        wait(&logyard, name, 1);
    }
    // Cut while it is followed, then while nobody looks; zeros as after a power cut.
    engine.cut_log("cut");
    tell("cut", 2);
    wait(&logyard, "cut", 2);
    logyard.kill();
    engine.append_to_log("damaged", &[0; 4096]);
    for name in ["hollow", "typed"] {
        engine.append_to_log(name, &[0; 4_000]);
    }
    engine.cut_log("cut");
    tell("cut", 3);
    for name in ["hollow", "typed"] {
        for number in 2..=4 {
            tell(name, number);
        }
        let until = std::time::Instant::now() + WITHIN;
        while !String::from_utf8_lossy(&fs::read(engine.log_path(name)).unwrap()).contains("line 4") {
            assert!(std::time::Instant::now() < until, "lines are written while the agent is away");
            thread::sleep(Duration::from_millis(100));
        }
    }
    logyard.start();
    wait(&logyard, "cut", 3);
    tell("damaged", 2);
    wait(&logyard, "damaged", 2);

    // A long log that was read to its end is not read again.
    engine.run("long", &[], &numbered("line", 200_000, &".".repeat(120)));
    engine.wait_for(&["long"]);
    let counted = |logyard: &Logyard| {
        let samples = logyard.instant(r#"sum(count_over_time({container="long"}[1h]))"#);
        samples.first().map_or(0, |(_, value)| *value as usize)
    };
    let until = std::time::Instant::now() + WITHIN;
    while counted(&logyard) < 200_000 {
        assert!(std::time::Instant::now() < until, "{} lines", counted(&logyard));
        thread::sleep(Duration::from_millis(250));
    }
    logyard.stop();
    let before = daemon_ticks(&engine);
    logyard.start();
    // Long enough to open all logs again; a reading of the whole one would take seconds of the daemon's time.
    thread::sleep(Duration::from_secs(4));
    let used = daemon_ticks(&engine) - before;
    assert!(used < 60, "{used} hundredths of a second");
    assert_eq!(counted(&logyard), 200_000);

    // What the agent was away for comes by itself, but for the line in whose row the zeros stand, if the engine shows
    // that to nobody.
    for (name, third) in [("hollow", "line 3"), ("typed", &*"x".repeat(40_000))] {
        let mut lines = logyard.wait_for_lines(&format!(r#"{{container="{name}"}}"#), 3, WITHIN);
        let is_told =
            logyard.log().lines().any(|line| line.contains("a damaged place") && line.contains(name));
        assert!(is_told || lines.contains(&"line 2".to_owned()), "{name}: what is left out is told");
        lines.retain(|line| line != "line 2");
        assert_eq!(lines, ["line 1", third, "line 4"], "{name}");
    }
    logyard.assert_quiet_but_for(&["rotated away", "a damaged place"]);
}

#[test]
fn b19_daemons_that_end_or_are_killed_are_followed_on() {
    let mut engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();
    let script = r#"i=1; while true; do echo "line $i"; i=$((i+1)); sleep 0.1; done"#;
    engine.run("steady", &[], script);
    let query = r#"{container="steady"}"#;
    logyard.wait_for_lines(query, 5, WITHIN);
    engine.restart();
    let seen = logyard.lines(query).len();
    logyard.wait_for_lines(query, seen + 10, WITHIN);
    engine.kill_daemon();
    engine.start_daemon();
    let seen = logyard.lines(query).len();
    let lines = logyard.wait_for_lines(query, seen + 10, WITHIN);
    let want: Vec<String> = (1..=lines.len()).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, want);
    logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn b26_containers_say_whether_they_are_read() {
    let engine = Engine::start();
    let mut opted_in = configured(&engine, "agent: {docker: {default_on: false}}\n");
    let mut filtered =
        configured(&engine, "agent: {docker: {filters: [{name: label, values: [logging=promtail]}]}}\n");
    opted_in.start();
    filtered.start();
    for (name, label) in [
        ("in", "logyard.enable=true"),
        ("out", "logyard.enable=false"),
        ("old", "logging=promtail"),
        ("plain", "x=y"),
    ] {
        engine.run(name, &["--label", label], &format!("echo {name}"));
    }
    opted_in.wait_for_lines(r#"{container="in"}"#, 1, WITHIN);
    filtered.wait_for_lines(r#"{container="old"}"#, 1, WITHIN);
    engine.run("last", &["--label", "logyard.enable=true", "--label", "logging=promtail"], "echo last");
    opted_in.wait_for_lines(r#"{container="last"}"#, 1, WITHIN);
    filtered.wait_for_lines(r#"{container="last"}"#, 1, WITHIN);
    assert_eq!(opted_in.lines(r#"{container=~".+"}"#), ["in", "last"]);
    assert_eq!(filtered.lines(r#"{container=~".+"}"#), ["old", "last"]);
    opted_in.assert_quiet_but_for(&[]);
}

#[test]
fn what_happens_to_containers_is_told_once_through_kills() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]).with_lifecycle();
    logyard.start();
    let query = |name: &str| format!(r#"{{container="{name}", stream="lifecycle"}}"#);
    engine.run("short", &[], "exit 3");
    engine.run(
        "sick",
        &["--health-cmd", "exit 1", "--health-interval", "1s", "--health-retries", "1"],
        "sleep 600",
    );
    logyard.wait_for_lines(&query("short"), 2, WITHIN);
    logyard.wait_for_lines(&query("sick"), 2, WITHIN);
    logyard.kill();
    engine.docker(&["kill", "sick"]);
    engine.docker(&["start", "short"]);
    engine.wait_for_codes(&["short"], "3");
    logyard.start();
    engine.run("last", &[], "exit 0");
    logyard.wait_for_lines(&query("last"), 2, WITHIN);
    let timeless = |name: &str, count: usize| -> Vec<String> {
        let lines = logyard.wait_for_lines(&query(name), count, WITHIN);
        lines.iter().map(|line| line.split(" after ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(timeless("short", 4), ["container started", "container exited code=3"].repeat(2));
    let sick = ["container started", "container is unhealthy", "container exited code=137"];
    assert_eq!(timeless("sick", 3), sick);
    assert_eq!(timeless("last", 2), ["container started", "container exited code=0"]);
    let failed = r#"sum(count_over_time({stream="lifecycle"} | detected_level="error" [1h]))"#;
    assert_eq!(logyard.instant(failed)[0].1, 3.0, "two exits with a code, and the illness");
    logyard.assert_quiet_but_for(&[]);
}

#[test]
fn b26_labels_of_containers_rule_their_lines_and_the_list_says_why() {
    let engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    let run = |name: &str, labels: &[&str], script: &str| {
        let options: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
        engine.run(name, &options, script);
    };
    run(
        "joined",
        &[
            r"logyard.multiline=^\S",
            "logyard.exclude=health",
            "logyard.parser=logfmt",
            "logyard.labels.team=a",
        ],
        "echo user=joe; echo ' at x'; echo GET /health; echo user=ann; sleep 600",
    );
    run("named-7f3a", &["logyard.name=named", "logyard.multiline=("], "echo one; sleep 600");
    run("out", &["logyard.enable=false"], "echo never; sleep 600");
    engine.run("mute", &["--log-driver", "none"], "echo never; sleep 600");
    // Nobody runs yet: what one would read.
    let targets = |logyard: &Logyard| -> Vec<[String; 3]> {
        let page = logyard.targets();
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = page["targets"].as_array().unwrap().iter();
        rows.map(|row| ["name", "state", "why"].map(|key| text(row, key))).collect()
    };
    let states = |rows: &[[String; 3]]| -> Vec<String> {
        rows.iter().map(|[name, state, _]| format!("{name} {state}")).collect()
    };
    let want = ["joined following", "mute unreadable", "named-7f3a following", "out excluded"];
    let rows = targets(&logyard);
    assert_eq!(states(&rows), want);
    assert_eq!(rows[3][2], "its label logyard.enable says false");
    assert!(rows[2][2].starts_with("label logyard.multiline cannot be used"), "{rows:?}");

    logyard.start();
    let joined = logyard.wait_for_lines(r#"{container="joined", team="a"} | user="joe""#, 1, WITHIN);
    assert_eq!(joined, ["user=joe", " at x"], "one entry of two lines");
    logyard.wait_for_lines(r#"{container="joined"} | user="ann""#, 1, WITHIN);
    assert_eq!(logyard.lines(r#"{container="joined"} |= "health""#), Vec::<String>::new());
    logyard.wait_for_lines(r#"{container="named"}"#, 1, WITHIN);
    let until = std::time::Instant::now() + WITHIN;
    while states(&targets(&logyard)) != want {
        assert!(std::time::Instant::now() < until, "{:?}", targets(&logyard));
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(logyard.targets()["is_running"], true);
    logyard.assert_quiet_but_for(&["a container's own label", "cannot read a container's log"]);
}

#[test]
fn b13_what_a_burst_leaves_in_small_logs_is_complete_and_the_rest_is_counted() {
    let engine = Engine::start();
    let logyard = Logyard::new(&engine.host(), &[]);
    burst_through_small_logs(&engine, logyard, 0);
}

#[test]
fn b14_the_same_burst_read_from_files() {
    let engine = Engine::start();
    let logyard = configured(&engine, "agent: {docker: {read: files}}\n");
    burst_through_small_logs(&engine, logyard, 3);
}

/// Kills the agent on the way so many times.
fn burst_through_small_logs(engine: &Engine, mut logyard: Logyard, kills: usize) {
    logyard.start();
    let small = ["--log-opt", "max-size=10m", "--log-opt", "max-file=3"];
    let script = numbered("line", 300_000, &".".repeat(80));
    engine.run("burst", &small, &format!("sleep 1; {script}"));
    // A gap that one life of the agent met is counted there.
    let mut gaps = 0.0;
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(700));
        gaps += logyard.metric("logyard_agent_gaps_total{");
        logyard.kill();
        logyard.start();
    }
    engine.wait_for(&["burst"]);
    logyard.wait_for_lines(r#"{container="burst"} |= "line 300000""#, 1, 2 * WITHIN);
    let number =
        |line: &str| -> usize { line.split_whitespace().nth(1).unwrap().get(..6).unwrap().parse().unwrap() };
    let stored: Vec<usize> =
        logyard.lines(r#"{container="burst"}"#).iter().map(|line| number(line)).collect();
    assert!(stored.is_sorted_by(|a, b| a < b), "each once, in order");
    let kept: Vec<usize> = engine.docker(&["logs", "burst"]).lines().map(number).collect();
    let stored: BTreeSet<usize> = stored.into_iter().collect();
    let missing = kept.iter().filter(|number| !stored.contains(number)).count();
    assert_eq!(missing, 0, "{} kept, {} stored", kept.len(), stored.len());
    let holes = stored.iter().zip(stored.iter().skip(1)).filter(|(a, b)| *a + 1 != **b).count();
    let holes = holes + usize::from(!stored.contains(&1));
    gaps += logyard.metric("logyard_agent_gaps_total{");
    assert!(kills > 0 || gaps >= holes as f64, "{holes} holes, of which {gaps} are counted");
    logyard.assert_quiet_but_for(&["rotated away", "went before they could be read"]);
}

#[test]
fn b04_b07_b09_b17_logs_read_from_files_are_whole() {
    let engine = Engine::start();
    let mut logyard = configured(&engine, "agent: {docker: {read: files}}\n");
    logyard.start();
    for number in 0..10 {
        let script = format!("echo {number} a; echo {number} b >&2; sleep 1");
        engine.docker(&["run", "--rm", "--network", "none", IMAGE, "/bin/sh", "-c", &script]);
    }
    let letters = |count: usize| format!("head -c {count} /dev/zero | tr '\\0' x; echo");
    engine.run("long", &[], &format!("{}; {}; printf open", letters(50_000), letters(16_384)));
    engine.run("terminal", &["-t"], &format!("echo one; {}", letters(40_000)));
    engine.run("packed", &["--log-driver", "local"], "echo local");
    let told = "n=1; while true; do while [ ! -e /go$n ]; do sleep 0.1; done; echo line $n; n=$((n+1)); done";
    engine.run("damaged", &[], told);
    let tell = |number: usize| {
        engine.docker(&["exec", "damaged", "/bin/sh", "-c", &format!(": > /go{number}")]);
    };
    let lengths = |lines: &[String]| -> Vec<usize> { lines.iter().map(String::len).collect() };
    let lines = |name: &str, count: usize| {
        logyard.wait_for_lines(&format!(r#"{{container="{name}"}}"#), count, WITHIN)
    };
    assert_eq!(lengths(&lines("long", 3)), [50_000, 16_384, 4]);
    assert_eq!(lengths(&lines("terminal", 2)), [3, 40_000]);
    assert_eq!(lines("packed", 1), ["local"]);
    tell(1);
    assert_eq!(lines("damaged", 1), ["line 1"]);
    let short = logyard.wait_for_lines(r#"{container=~".+"} |~ "^[0-9] [ab]$""#, 20, WITHIN);
    assert_eq!(short.len(), 20);
    let page = logyard.targets();
    let row =
        |name: &str| page["targets"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    assert_eq!(row("damaged").unwrap()["why"], "read from its files");
    // The engine shows nothing behind zeros; the file does.
    logyard.kill();
    engine.append_to_log("damaged", &[0; 4_096]);
    tell(2);
    thread::sleep(Duration::from_secs(1));
    logyard.start();
    tell(3);
    let damaged = logyard.wait_for_lines(r#"{container="damaged"}"#, 3, WITHIN);
    assert_eq!(damaged, ["line 1", "line 2", "line 3"]);
    assert_eq!(logyard.lines(r#"{container=~".+"} |~ "^[0-9] [ab]$""#).len(), 20);
    logyard.assert_quiet_but_for(&[]);
}
