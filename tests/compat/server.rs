//! The store under test: the real binary on a free port of loopback, with a folder of its own.

use crate::case::Dataset;
use crate::request::{Reply, Sender};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take before the test gives up; far above what it takes.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The settings that the recorded answers depend on: entries of any age, kept for ever, and queries of any
/// length; a window of one hour for late entries.
const CONFIG: &str = "\
limits: {entry_age_max: \"0\", out_of_order_window: 1h}
server: {query_length_max: \"0\"}
store: {retention: {period_secs: 0}}
";

/// A server and how to reach it.
pub(crate) struct Server {
    sender: Sender,
    process: Option<Process>,
}

struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a store with nothing in it and waits until it is ready.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ly-compat-").tempdir().unwrap();
        let config = folder.path().join("logyard.yaml");
        std::fs::write(&config, CONFIG).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_logyard"))
            .arg("store")
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            // How full the disk of the machine is does not matter here.
            .env("LOGYARD_STORE__DISK__FREE_BYTES_MIN", "100000000")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log_path(&folder)).unwrap())
            .spawn()
            .unwrap();
        let mut process = Process { child, folder };
        let sender = Sender::new(format!("http://127.0.0.1:{port}"));
        let deadline = Instant::now() + READY_WITHIN;
        while !sender.send("GET", "/ready", &[], Vec::new()).is_ok_and(|reply| reply.status == 200) {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("the store ended with {status}; its log:\n{}", process.log());
            }
            assert!(Instant::now() < deadline, "the store is not ready; its log:\n{}", process.log());
            thread::sleep(Duration::from_millis(20));
        }
        Self { sender, process: Some(process) }
    }

    /// Names a server that runs already.
    pub(crate) fn at(url: String) -> Self {
        Self { sender: Sender::new(url), process: None }
    }

    /// Returns what sends requests.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Pushes a share of every data set, from one fraction of its pushes to another, in order.
    pub(crate) fn push(&self, datasets: &[Dataset], from: f64, to: f64) {
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        for dataset in datasets {
            let place = |fraction: f64| (dataset.pushes.len() as f64 * fraction).ceil() as usize;
            for payload in &dataset.pushes[place(from)..place(to)] {
                let body = payload.to_string().into_bytes();
                let reply = self.sender.send("POST", "/loki/api/v1/push", &headers, body).unwrap();
                assert_eq!(reply.status, 204, "push of {}: {}", dataset.name, text(&reply));
            }
        }
    }

    /// Moves everything from memory into segments.
    pub(crate) fn flush(&self) {
        let reply = self.sender.send("POST", "/flush", &[], Vec::new()).unwrap();
        assert_eq!(reply.status, 204, "flush: {}", text(&reply));
    }

    /// Fails if the store complained about anything.
    pub(crate) fn assert_quiet(&self) {
        let log = self.process.as_ref().map(Process::log).unwrap_or_default();
        let loud = |line: &&str| line.contains("level=warn") || line.contains("level=error");
        let complaints: Vec<&str> = log.lines().filter(loud).collect();
        assert!(complaints.is_empty(), "the store complained:\n{}", complaints.join("\n"));
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn log_path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("stderr.log")
}

impl Process {
    fn log(&self) -> String {
        std::fs::read_to_string(log_path(&self.folder)).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
