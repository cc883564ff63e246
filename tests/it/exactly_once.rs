//! The promise of the whole path: every line once, whatever is killed on the way.

use crate::engine::{Engine, numbered};
use crate::process::Logyard;
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

const CONTAINERS: usize = 10;
const LINES: usize = 20_000;

/// Long enough that the engine needs seconds for all of it, so that the kills fall into the writing.
const PADDING: &str = "................................................................................";

#[test]
fn every_line_is_stored_once_through_five_kills_and_a_daemon_restart() {
    let mut engine = Engine::start();
    let mut logyard = Logyard::new(&engine.host(), &[]);
    logyard.start();

    // Both outputs, as fast as the engine takes them.
    let half = LINES / 2;
    let script = format!("{} & {} >&2; wait", numbered("out", half, PADDING), numbered("err", half, PADDING));
    let names: Vec<String> = (0..CONTAINERS).map(|index| format!("writer-{index}")).collect();
    let mut kills_on_the_way = 0;
    for (index, name) in names.iter().enumerate() {
        engine.run(name, &["--label", "com.docker.compose.project=flood"], &script);
        // Kills after containers 1, 3, 5, 7 and 9 have been started, the daemon's restart after 6.
        if index % 2 == 1 {
            thread::sleep(Duration::from_millis(150));
            kills_on_the_way += usize::from(total(&logyard) < (index + 1) * LINES);
            logyard.kill();
            logyard.start();
        }
        if index == 6 {
            // A container that has only just been made may not live through it.
            let until = Instant::now() + Duration::from_secs(60);
            while engine.logged_lines(name)[0] == 0 {
                assert!(Instant::now() < until, "{name} prints nothing");
                thread::sleep(Duration::from_millis(20));
            }
            engine.restart();
        }
    }
    assert!(kills_on_the_way >= 4, "{kills_on_the_way} of 5 kills hit while lines were on their way");
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    engine.wait_for(&all);
    for name in &names {
        // What the engine itself lost at its restart nobody could read.
        let [out, err] = engine.logged_lines(name);
        assert_eq!((out, err), (half, half), "lines that the engine keeps of {name}");
    }

    wait_until_counted(&logyard, CONTAINERS * LINES);
    // What arrives too often arrives now, not later: the agent has caught up with every container.
    thread::sleep(Duration::from_secs(3));
    check_counts(&logyard);
    check_every_number(&logyard, &names);

    // The same after a clean restart, from segments instead of memory.
    assert!(logyard.stop().success());
    logyard.start();
    check_counts(&logyard);
    check_every_number(&logyard, &names);
    logyard.assert_quiet_but_for(&["engine"]);
}

fn wait_until_counted(logyard: &Logyard, expected: usize) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let counted = total(logyard);
        if counted >= expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{counted} of {expected} lines: {:?}\n{}",
            logyard.instant(r#"sum by (container, stream) (count_over_time({compose_project="flood"}[1h]))"#),
            logyard.log()
        );
        thread::sleep(Duration::from_millis(250));
    }
}

fn total(logyard: &Logyard) -> usize {
    let samples = logyard.instant(r#"sum(count_over_time({compose_project="flood"}[1h]))"#);
    samples.first().map_or(0, |(_, value)| *value as usize)
}

fn check_counts(logyard: &Logyard) {
    let samples =
        logyard.instant(r#"sum by (container, stream) (count_over_time({compose_project="flood"}[1h]))"#);
    assert_eq!(samples.len(), CONTAINERS * 2, "{samples:?}");
    for (labels, value) in samples {
        assert_eq!(value as usize, LINES / 2, "{labels}");
    }
}

fn check_every_number(logyard: &Logyard, names: &[String]) {
    for name in names {
        for (output, word) in [("stdout", "out"), ("stderr", "err")] {
            let lines = logyard.lines(&format!(r#"{{container="{name}", stream="{output}"}}"#));
            let expected: Vec<String> =
                (1..=LINES / 2).map(|number| format!("{word} {number:06}{PADDING}")).collect();
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for line in &lines {
                *seen.entry(line).or_default() += 1;
            }
            let wrong: Vec<String> = expected
                .iter()
                .filter(|line| seen.get(line.as_str()) != Some(&1))
                .map(|line| format!("{} × {line}", seen.get(line.as_str()).unwrap_or(&0)))
                .take(5)
                .collect();
            assert!(wrong.is_empty(), "{name} {output}: {wrong:?}");
            assert!(lines == expected, "{name} {output}: the order is not that of writing");
        }
    }
}

#[test]
fn an_agent_of_its_own_waits_for_its_store() {
    let engine = Engine::start();
    let mut store = Logyard::new("unix:///nonexistent/docker.sock", &["store"]);
    store.start();
    let address = store.url("");
    let mut agent = Logyard::new(&engine.host(), &["agent", "--push-url", &address]);
    agent.spawn();
    engine.run("early", &[], &numbered("early", 5_000, PADDING));
    store.wait_for_lines(r#"{container="early"}"#, 5_000, Duration::from_secs(30));

    store.kill();
    engine.run("away", &[], &numbered("away", 20_000, PADDING));
    engine.wait_for(&["away"]);
    // What was read meanwhile waits in the spool, over a kill of the agent too.
    thread::sleep(Duration::from_secs(3));
    agent.kill();
    agent.spawn();
    store.start();
    let lines = store.wait_for_lines(r#"{container="away"}"#, 20_000, Duration::from_secs(60));
    let expected: Vec<String> = (1..=20_000).map(|number| format!("away {number:06}{PADDING}")).collect();
    assert!(lines == expected, "{} lines", lines.len());
    thread::sleep(Duration::from_secs(2));
    let counted = store.instant(r#"sum by (container) (count_over_time({container=~".+"}[1h]))"#);
    let counts: Vec<f64> = counted.iter().map(|(_, value)| *value).collect();
    assert_eq!(counts, [20_000.0, 5_000.0], "{counted:?}");
    agent.assert_quiet_but_for(&["store"]);
    store.assert_quiet_but_for(&[]);
    assert!(agent.stop().success());
    assert!(store.stop().success());
}
