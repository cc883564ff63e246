//! Without an engine there are files: read once, over rotations by a real logrotate and over kills.

use crate::process::{self, Logyard};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";
const WITHIN: Duration = Duration::from_secs(20);

fn append(path: &Path, lines: std::ops::RangeInclusive<usize>) {
    let text: String = lines
        .map(|number| {
            format!(
                "line {number:05}
"
            )
        })
        .collect();
    process::append(path, &text);
}

fn watching(folder: &Path, logyard: Logyard) -> Logyard {
    let config = folder.join("logyard.yaml");
    let glob = folder.join("logs/**/*.log");
    std::fs::write(&config, format!("agent:\n  files:\n  - path: [\"{}\"]\n", glob.display())).unwrap();
    logyard.with_arguments(&["--config", config.to_str().unwrap()])
}

fn expected(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("line {number:05}")).collect()
}

#[test]
fn a_file_is_read_once_through_rotation_and_kills() {
    let logyard = Logyard::new(NO_ENGINE, &[]);
    let folder = logyard.folder().to_owned();
    let path = folder.join("logs/deep/app.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(&path, 1..=1_000);
    let mut logyard = watching(&folder, logyard);
    logyard.start();
    let query = format!(r#"{{filename="{}"}}"#, path.display());
    logyard.wait_for_lines(&query, 1_000, WITHIN);

    append(&path, 1_001..=2_000);
    logyard.kill();
    append(&path, 2_001..=3_000);
    logyard.start();
    logyard.wait_for_lines(&query, 3_000, WITHIN);

    append(&path, 3_001..=3_500);
    rotate(&folder, &path);
    append(&path, 3_501..=4_000);
    let lines = logyard.wait_for_lines(&query, 4_000, WITHIN);
    assert_eq!(lines, expected(4_000));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(logyard.lines(&query).len(), 4_000, "nothing comes twice after the rotation");
    logyard.assert_quiet_but_for(&["engine"]);
}

fn rotate(folder: &Path, path: &Path) {
    let config = folder.join("rotate.conf");
    let text = format!("{} {{\n  rotate 3\n  create\n  nocompress\n  missingok\n}}\n", path.display());
    std::fs::write(&config, text).unwrap();
    let state = folder.join("rotate.state");
    let status = Command::new("logrotate")
        .arg("--force")
        .arg("--state")
        .arg(&state)
        .arg(&config)
        .status()
        .expect("logrotate is installed");
    assert!(status.success());
}

#[test]
fn without_an_engine_its_own_log_is_there() {
    let mut logyard = Logyard::new(NO_ENGINE, &[]);
    logyard.start();
    // Whether the store says that it is ready before or after the file is opened: the line is there.
    let lines = logyard.wait_for_lines(r#"{job="logyard"} |= "store is ready""#, 1, WITHIN);
    assert_eq!(lines.len(), 1, "{lines:?}");
    logyard.assert_quiet_but_for(&["engine"]);
}

#[test]
fn its_own_log_does_not_feed_itself() {
    let logyard = Logyard::new(NO_ENGINE, &[]);
    let (folder, own) = (logyard.folder().to_owned(), logyard.log_path());
    let config = folder.join("logyard.yaml");
    std::fs::write(&config, format!("agent:\n  files:\n  - path: ['{}']\n", own.display())).unwrap();
    let mut logyard = logyard.with_arguments(&["--config", config.to_str().unwrap()]);
    logyard.start();
    let query = format!(r#"{{filename="{}"}}"#, own.display());
    logyard.wait_for_lines(&format!(r#"{query} |= "store is ready""#), 1, WITHIN);
    // Lines of a kind that it might have something to say about.
    for number in 0..500 {
        process::append(&own, &format!("level=error msg=\"not its own\" number={number}\n"));
    }
    logyard.wait_for_lines(&format!(r#"{query} |= "not its own""#), 500, WITHIN);
    // Read, pushed and stored several times over, should any of that be told.
    thread::sleep(Duration::from_secs(5));
    let log = logyard.log();
    let said = log.lines().filter(|line| !line.contains("not its own")).count();
    assert!(said < 40, "{said} lines:\n{log}");
    let read = logyard.lines(&query).len();
    assert_eq!(read, log.lines().count(), "and each is read once");
}
