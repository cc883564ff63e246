//! Docker's log drivers that send instead of keeping: `gelf`, `fluentd` and `syslog` point at the agent's receivers, on a
//! real engine. Everything runs in the engine's network namespace, where the drivers connect from.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::{Engine, signal};
use crate::process::Logyard;

const WITHIN: Duration = Duration::from_secs(60);

/// A process in the network namespace of an engine.
struct Inside<'e> {
    engine: &'e Engine,
    process: Child,
}

impl<'e> Inside<'e> {
    fn start(engine: &'e Engine, folder: &Path, config: &str) -> Self {
        let path = folder.join("logyard.yaml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = command(engine, env!("CARGO_BIN_EXE_logyard"))
            .arg("--config")
            .arg(&path)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .stderr(log)
            .spawn()
            .unwrap();
        let inside = Self { engine, process };
        inside.wait("is not ready", |inside| inside.logq(&["labels"]).is_some());
        inside
    }

    /// Returns what `logq` prints; `None` if nobody answers.
    fn logq(&self, arguments: &[&str]) -> Option<String> {
        let output = command(self.engine, env!("CARGO_BIN_EXE_logq")).args(arguments).output().unwrap();
        // 1 means that there is nothing.
        matches!(output.status.code(), Some(0 | 1)).then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// Returns the lines of a query, once there are so many.
    fn lines(&self, query: &str, count: usize) -> Vec<String> {
        let ask = || {
            let text = self
                .logq(&[query, "--since", "1h", "--limit", "0", "--forward", "-o", "raw"])
                .unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        self.wait(&format!("has not {count} lines of {query}: {:?}", ask()), |_| ask().len() >= count);
        ask()
    }

    fn wait(&self, what: &str, mut is_done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !is_done(self) {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        signal(self.process.id(), "TERM");
        self.process.wait().unwrap();
    }
}

fn command(engine: &Engine, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", engine.network())).arg("--").arg(program).stdin(Stdio::null());
    command
}

#[test]
fn drivers_that_send_are_received_with_the_labels_of_containers() {
    let engine = Engine::start();
    let folder = tempfile::tempdir().unwrap();
    let config = "agent:\n  docker: {enabled: false}\n  gelf:\n  - {listen: 127.0.0.1:12201}\n  - {listen: 127.0.0.1:12201, protocol: tcp}\n  forward:\n  - {listen: 127.0.0.1:24224}\n";
    let logyard = Inside::start(&engine, folder.path(), config);
    // A line beyond what the engine keeps in one piece, many lines of one millisecond, and both outputs.
    let script = "awk 'BEGIN { for (i = 1; i <= 500; i++) print \"same line\" }'; echo oops >&2; head -c 20000 /dev/zero | tr '\\0' x; echo";
    let drivers: [(&str, &[&str]); 3] = [
        ("udp", &["--log-driver", "gelf", "--log-opt", "gelf-address=udp://127.0.0.1:12201"]),
        ("tcp", &["--log-driver", "gelf", "--log-opt", "gelf-address=tcp://127.0.0.1:12201"]),
        ("fluent", &["--log-driver", "fluentd", "--log-opt", "fluentd-address=127.0.0.1:24224"]),
    ];
    for (name, options) in drivers {
        engine.run(name, options, script);
    }
    for (name, _) in drivers {
        let query = format!(r#"{{container="{name}", stream="stdout"}}"#);
        let same = logyard.lines(&format!("{query} |= `same`"), 500);
        assert_eq!(same.len(), 500, "{name}: equal lines of one time stay apart");
        assert_eq!(logyard.lines(&format!(r#"{{container="{name}", stream="stderr"}}"#), 1), ["oops"]);
        let long = logyard.lines(&format!("{query} |= `xxx`"), 1);
        let bytes: usize = long.iter().map(String::len).sum();
        assert_eq!(bytes, 20_000, "{name}: {} pieces", long.len());
    }
    let joined = logyard.lines(r#"{container="fluent"} |= `xxx`"#, 1);
    assert_eq!(joined.len(), 1, "parts of a line are joined");
    // The driver waits for the acknowledgement of each part before it sends the next.
    let script = "head -c 50000 /dev/zero | tr '\\0' y; echo; echo done";
    let options = ["fluentd-address=127.0.0.1:24224", "fluentd-request-ack=true"];
    let options = ["--log-driver", "fluentd", "--log-opt", options[0], "--log-opt", options[1]];
    engine.run("acked", &options, script);
    let lines = logyard.lines(r#"{container="acked"}"#, 2);
    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
    assert_eq!(lengths, [50_000, 4], "parts that are acknowledged one by one are joined");
    let parts = folder.path().join("data/agent/forward-parts");
    assert!(!parts.exists(), "what is joined is not kept");
}

#[test]
fn b22_what_the_driver_syslog_sends_is_received_and_its_copy_is_read() {
    let engine = Engine::start();
    let folder = tempfile::tempdir().unwrap();
    let config = "agent:\n  docker: {enabled: false}\n  syslog:\n  - {listen: 127.0.0.1:1514}\n  - {listen: 127.0.0.1:1515, protocol: udp}\n";
    let receiver = Inside::start(&engine, folder.path(), config);
    let mut copies = Logyard::new(&engine.host(), &[]);
    copies.start();
    let script = "i=1; while [ $i -le 300 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; sleep 600";
    let drivers =
        [("tcp", "tcp://127.0.0.1:1514", "rfc5424micro"), ("udp", "udp://127.0.0.1:1515", "rfc3164")];
    for (name, address, format) in drivers {
        let options = [format!("syslog-address={address}"), format!("syslog-format={format}")];
        let options = [&*options[0], &options[1], "tag={{.Name}}"];
        let options: Vec<&str> = options.into_iter().flat_map(|option| ["--log-opt", option]).collect();
        engine.run(name, &[&["--log-driver", "syslog"], &options[..]].concat(), script);
    }
    let want: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
    for (name, ..) in drivers {
        let sent = format!(r#"{{app="{name}"}}"#);
        assert_eq!(receiver.lines(&format!("{sent} |= `line`"), 300), want, "{name}: sent");
        assert_eq!(receiver.lines(&format!("{sent} | severity=`error`"), 1), ["oops"], "{name}: sent");
        let copy = format!(r#"{{container="{name}", stream="stdout"}}"#);
        assert_eq!(copies.wait_for_lines(&copy, 300, WITHIN), want, "{name}: the engine's own copy");
        let copy = format!(r#"{{container="{name}", stream="stderr"}}"#);
        assert_eq!(copies.wait_for_lines(&copy, 1, WITHIN), ["oops"], "{name}: the engine's own copy");
    }
    copies.assert_quiet_but_for(&[]);
}
