//! Whole logs pushed through Loki's API come back whole: lines and bytes per source equal the files'.
//!
//! The test makes logs of the usual shapes itself. `LOGYARD_LOG_FOLDER` names a folder of real ones
//! to push as well (every `*.log` and `*.jsonl` file in it, at any depth).

use crate::http;
use crate::process::Logyard;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Lines in one push.
const BATCH_LINES: usize = 1_000;

struct Source {
    name: String,
    lines: Vec<String>,
}

#[test]
fn every_source_comes_back_whole() {
    let mut sources = made_up();
    if let Ok(folder) = std::env::var("LOGYARD_LOG_FOLDER") {
        let mut paths = Vec::new();
        log_files(Path::new(&folder), &mut paths);
        assert!(!paths.is_empty(), "no *.log or *.jsonl file in {folder}");
        sources.extend(paths.iter().map(|path| from_file(path)));
    }
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    logyard.start();
    for source in &sources {
        push(&logyard, source);
    }
    check(&logyard, &sources);
    let flushed = http::post(&logyard.url("/flush"), "text/plain", b"").unwrap();
    assert_eq!(flushed.status, 204);
    check(&logyard, &sources);
    logyard.kill();
    logyard.start();
    check(&logyard, &sources);
    logyard.assert_quiet_but_for(&[]);
}

fn check(logyard: &Logyard, sources: &[Source]) {
    let by_source =
        |function: &str| logyard.instant(&format!(r#"sum by (source) ({function}({{source=~".+"}}[2h]))"#));
    let (counts, bytes) = (by_source("count_over_time"), by_source("bytes_over_time"));
    for source in sources {
        let of = |samples: &[(serde_json::Value, f64)]| {
            let found = samples.iter().find(|(labels, _)| labels["source"] == source.name.as_str());
            found.map_or(0, |(_, value)| *value as usize)
        };
        assert_eq!(of(&counts), source.lines.len(), "lines of {}", source.name);
        let expected: usize = source.lines.iter().map(String::len).sum();
        assert_eq!(of(&bytes), expected, "bytes of {}", source.name);
        let lines = logyard.lines(&format!(r#"{{source="{}"}}"#, source.name));
        assert!(lines.iter().eq(&source.lines), "text of {}", source.name);
    }
}

fn push(logyard: &Logyard, source: &Source) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let start = now - source.lines.len() as u64 * 1_000_000;
    for (batch, lines) in source.lines.chunks(BATCH_LINES).enumerate() {
        let stamp = |index: usize| start + ((batch * BATCH_LINES + index) as u64) * 1_000_000;
        let values: Vec<_> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| serde_json::json!([stamp(index).to_string(), line]))
            .collect();
        let body = serde_json::json!({"streams": [{"stream": {"source": source.name}, "values": values}]});
        let answer =
            http::post(&logyard.url("/loki/api/v1/push"), "application/json", body.to_string().as_bytes());
        let answer = answer.unwrap();
        assert_eq!(answer.status, 204, "{}: {}", source.name, answer.text);
    }
}

/// Logs of the shapes that homelabs write.
fn made_up() -> Vec<Source> {
    let source = |name: &str, line: &dyn Fn(usize) -> String| Source {
        name: name.to_owned(),
        lines: (0..2_500).map(line).collect(),
    };
    vec![
        source("sshd", &|n| {
            format!(
                "Dec 10 06:55:{:02} LabSZ sshd[{}]: Failed password for invalid user u{n} from 10.0.{}.{} port {} ssh2",
                n % 60,
                24_200 + n,
                n % 256,
                n % 200,
                1_024 + n
            )
        }),
        source("traefik", &|n| {
            format!(
                r#"{{"ClientAddr":"10.1.1.{}:5{n}","DownstreamStatus":{},"Duration":{},"RequestPath":"/api/v3/queue?page={n}","level":"info"}}"#,
                n % 256,
                if n % 17 == 0 { 502 } else { 200 },
                n * 7_919
            )
        }),
        source("authelia", &|n| {
            format!(
                r#"time="2026-01-10T10:00:{:02}Z" level={} msg="Check authorization of subject username=user{n} ip=192.168.1.{}""#,
                n % 60,
                ["debug", "info", "error"][n % 3],
                n % 250
            )
        }),
        source("java", &|n| {
            if n % 10 == 9 {
                format!("\tat org.example.Worker.run(Worker.java:{n}) ~[app.jar:1.{}]", n % 9)
            } else {
                format!(
                    "2026-01-10 10:00:00,{:03} INFO  [main] org.example.Main: attempt_{n:016x} → ok",
                    n % 1_000
                )
            }
        }),
    ]
}

fn log_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut items: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    items.sort();
    for path in items {
        if path.is_dir() {
            log_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "log" || extension == "jsonl") {
            found.push(path);
        }
    }
}

fn from_file(path: &Path) -> Source {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let whole = text.strip_suffix('\n').unwrap_or(&text);
    // What `lines()` would do, but for carriage returns, which are part of a pushed line.
    Source { name, lines: whole.split('\n').map(str::to_owned).collect() }
}
