//! A file system that fills up under a running store: pushes are refused, queries go on, room brings it back.

use crate::http;
use crate::process::Logyard;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// What the log may say, since it is so.
const ANNOUNCED: [&str; 8] = [
    "the disk is full: pushes are answered 503",
    "little of the disk is free",
    "gave up the ballast",
    "cannot write to the WAL",
    "cannot flush",
    "compaction waits",
    "push failed",
    "the WAL",
];

/// A small file system of its own, unmounted at the end.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, mebibytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(status.unwrap().success(), "mounting a tmpfs takes root");
        Self { path: path.to_owned() }
    }

    /// Fills it to the last byte, as another program would.
    fn fill(&self) {
        let mut file = File::create(self.path.join("filler")).unwrap();
        for bytes in [64 << 10, 1] {
            while file.write_all(&vec![7; bytes]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.path.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "unmounted");
    }
}

fn push(logyard: &Logyard, line: &str) -> http::Answer {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let body = format!(r#"{{"streams":[{{"stream":{{"job":"a"}},"values":[["{now}","{line}"]]}}]}}"#);
    http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.as_bytes()).unwrap()
}

/// Asserts that the store is full, says so, and answers all the same.
fn assert_full(logyard: &Logyard, lines: &[&str]) {
    let begun = Instant::now();
    let refused = push(logyard, "refused");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("is full") && refused.text.contains("wanted"), "{}", refused.text);
    assert!(refused.text.contains("store.disk.free_bytes_min"), "{}", refused.text);
    let ready = http::get(&logyard.url("/ready")).unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text.starts_with("disk full: "), "{}", ready.text);
    assert_eq!(logyard.lines(r#"{job="a"}"#), lines);
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing waits for room");
}

#[test]
fn a_full_disk_refuses_pushes_with_the_figure_and_comes_back_by_itself() {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let small = SmallDisk::mount(&logyard.folder().join("small"), 24);
    let data_dir = small.path.join("data").display().to_string();
    logyard = logyard.with_arguments(&["--data-dir", &data_dir]);
    logyard.spawn_in_place();
    logyard.wait_ready();
    assert_eq!(push(&logyard, "one").status, 204);

    small.fill();
    thread::sleep(Duration::from_millis(1100));
    assert_full(&logyard, &["one"]);
    let flushed = http::post(&logyard.url("/flush"), "text/plain", b"").unwrap();
    assert_eq!(flushed.status, 204, "the ballast made room: {}", flushed.text);
    assert_full(&logyard, &["one"]);

    small.empty();
    assert_eq!(push(&logyard, "two").status, 204);
    assert_eq!(http::get(&logyard.url("/ready")).unwrap().status, 200);

    logyard.kill();
    small.fill();
    logyard.spawn_in_place();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !http::get(&logyard.url("/ready")).is_ok_and(|ready| ready.text.starts_with("disk full: ")) {
        assert!(Instant::now() < deadline, "a full disk keeps no store from starting:\n{}", logyard.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert_full(&logyard, &["one", "two"]);
    small.empty();
    assert_eq!(push(&logyard, "three").status, 204);
    logyard.wait_ready();
    assert_eq!(logyard.lines(r#"{job="a"}"#), ["one", "two", "three"]);
    logyard.kill();
    logyard.assert_quiet_but_for(&ANNOUNCED);
}
