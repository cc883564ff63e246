//! Whole transfers against stores in memory that fail, lose answers and end the command at any instant.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use logyard_codec::decode_batch;
use logyard_sys::{Disk as _, Random, RealDisk};

use crate::tests::NOW_NS;
use crate::{FOUND, Surroundings, TROUBLE, run};

/// An entry as it is told from others: time, stream, metadata and level, line.
type Key = (i64, String, String, String);

/// A store in memory; clones are one.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, usize>,
    /// Pushes and queries answered.
    calls: usize,
    /// What goes wrong, if anything.
    random: Option<Random>,
    /// After so many more calls the sender is told of it.
    kill: Option<(usize, mpsc::SyncSender<()>)>,
    /// Whether it is a Loki, which knows no native push.
    is_loki: bool,
}

impl Store {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = format!("http://{}", listener.local_addr().unwrap());
        let store = self.clone();
        // A caller that was killed leaves a connection behind that ends anywhere.
        std::thread::spawn(move || listener.incoming().for_each(|socket| drop(store.serve(socket.unwrap()))));
        addr
    }

    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, text) = self.answer(&request, &body);
        let head =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
        socket.write_all((head + &text).as_bytes())
    }

    fn answer(&self, request: &str, body: &[u8]) -> (u16, String) {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        if let Some((left, due)) = &mut state.kill {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    // Whoever waits for it may have seen the end already.
                    due.send(()).unwrap_or_default();
                    state.kill = None;
                }
            }
        }
        let (path, params) = request.split(' ').nth(1).unwrap().split_once('?').unwrap_or_default();
        let path = if path.is_empty() { request.split(' ').nth(1).unwrap() } else { path };
        let mischief = state.random.as_ref().map_or(9, |random| random.next_u64() % 8);
        if mischief == 0 {
            // An answer that ends the command, as it might be ended from outside.
            return (400, "ended".to_owned());
        }
        let answer = match path {
            "/logyard/v1/push" if state.is_loki => return (404, "404 page not found".to_owned()),
            "/logyard/v1/push" => state.push_native(body),
            "/loki/api/v1/push" => state.push_loki(body),
            "/loki/api/v1/query_range" => state.query(params),
            other => panic!("{other}"),
        };
        match mischief {
            // Stored, and nobody is told.
            1 => (503, "try again".to_owned()),
            2 => (400, "ended".to_owned()),
            _ => (200, answer),
        }
    }

    fn entries(&self) -> Vec<Key> {
        self.0.lock().unwrap().entries.keys().cloned().collect()
    }
}

impl State {
    fn push_native(&mut self, body: &[u8]) -> String {
        let mut count = 0;
        for chunk in decode_batch(body, 64 << 20).unwrap().chunks {
            for row in 0..chunk.entries.len() {
                let (level, metadata) = (chunk.entries.level(row), chunk.entries.metadata(row));
                let line = String::from_utf8_lossy(chunk.entries.line(row)).into_owned();
                let ts_ns = chunk.entries.ts_ns()[row];
                let key = (ts_ns, chunk.labels.to_string(), format!("{level}{metadata}"), line);
                *self.entries.entry(key).or_default() += 1;
                count += 1;
            }
        }
        format!(r#"{{"duplicate":false,"accepted":{count},"rejected":0}}"#)
    }

    fn push_loki(&mut self, body: &[u8]) -> String {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        for stream in body["streams"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                let ts_ns = value[0].as_str().unwrap().parse().unwrap();
                let line = value[1].as_str().unwrap().to_owned();
                *self
                    .entries
                    .entry((ts_ns, stream["stream"].to_string(), String::new(), line))
                    .or_default() += 1;
            }
        }
        String::new()
    }

    fn query(&self, params: &str) -> String {
        let number = |name: &str| -> i64 {
            let value = params.split('&').find_map(|param| param.strip_prefix(&format!("{name}=")));
            let value = value.unwrap();
            if value.len() <= 10 {
                value.parse::<i64>().unwrap() * 1_000_000_000
            } else {
                value.parse().unwrap()
            }
        };
        let limit =
            params.split('&').find_map(|param| param.strip_prefix("limit=")).unwrap().parse().unwrap();
        assert!(params.contains("direction=forward"), "{params}");
        let first = (number("start"), String::new(), String::new(), String::new());
        let end = (number("end"), String::new(), String::new(), String::new());
        let mut streams: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (ts_ns, labels, _, line) in self.entries.range(first..end).map(|(key, _)| key).take(limit) {
            let value = format!(
                r#"["{ts_ns}",{},{{"structuredMetadata":{{"detected_level":"warn"}}}}]"#,
                serde_json::to_string(line).unwrap()
            );
            streams.entry(labels).or_default().push(value);
        }
        let streams = streams.into_iter().map(|(labels, values)| {
            // `{a="b"}` as an object of JSON.
            let labels = labels.replace("=\"", "\":\"").replace(", ", ",\"").replacen('{', "{\"", 1);
            format!(r#"{{"stream":{labels},"values":[{}]}}"#, values.join(","))
        });
        let streams: Vec<String> = streams.collect();
        format!(r#"{{"data":{{"resultType":"streams","result":[{}]}}}}"#, streams.join(","))
    }
}

/// Runs a command whose state lies in a folder; returns its status, what it printed, and what it said besides.
///
/// A process that another test starts at this moment holds the locks of this one until it has become a program of its
/// own: nothing else can hold them here.
fn command(line: &[&str], folder: &std::path::Path, input: &str) -> (u8, String, String) {
    loop {
        let ended = command_once(line, folder, input);
        if !ended.2.contains("another logq carries the same already") {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn command_once(line: &[&str], folder: &std::path::Path, input: &str) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["logq", "--utc"].iter().chain(line).map(OsString::from);
    let state = folder.display().to_string();
    let surroundings = Surroundings {
        now_ns: &|| NOW_NS,
        env: &|name| (name == "XDG_STATE_HOME").then(|| state.clone()),
        input: &mut io::Cursor::new(input.to_owned()),
        out: &mut out,
        err: &mut err,
        out_is_terminal: false,
        err_is_terminal: false,
    };
    let status = run(args, surroundings);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn write(path: &std::path::Path, text: impl AsRef<[u8]>) {
    RealDisk.write_atomic(path, text.as_ref()).unwrap();
}

/// Runs a command again and again until it comes to its end; returns how often it was started.
fn insist(line: &[&str], folder: &std::path::Path) -> usize {
    for starts in 1..1000 {
        let (status, _, err) = command(line, folder, "");
        if status == FOUND {
            return starts;
        }
        assert!(status == TROUBLE && err.contains("ended"), "{err}");
    }
    panic!("it does not come to its end")
}

#[test]
fn lines_are_pushed_with_labels_and_times() {
    let (store, folder) = (Store::default(), tempfile::tempdir().unwrap());
    let addr = store.start();
    let line = ["push", "--addr", &addr, "--label", "job=backup", "--label", "host=nas"];
    assert_eq!(command(&line, folder.path(), "one\ntwo").0, FOUND);
    let labels = r#"{host="nas", job="backup"}"#.to_owned();
    let key = |ts_ns: i64, line: &str| (ts_ns, labels.clone(), "{}".to_owned(), line.to_owned());
    assert_eq!(store.entries(), [key(NOW_NS, "one"), key(NOW_NS + 1, "two")]);
    let file = folder.path().join("f");
    write(&file, "2026-11-20T08:30:15Z three\n");
    let line = ["push", "--addr", &addr, "--label=job=b", "--find-times", &file.display().to_string()];
    assert_eq!(command(&line, folder.path(), "").0, FOUND);
    assert_eq!(store.entries()[0].0, 1_795_163_415_000_000_000);
    assert_eq!(command(&["push", "--addr", &addr], folder.path(), "").0, crate::NOTHING);
}

#[test]
fn a_loki_is_pushed_to_in_its_own_way() {
    let (store, folder) = (Store::default(), tempfile::tempdir().unwrap());
    store.0.lock().unwrap().is_loki = true;
    let addr = store.start();
    assert_eq!(command(&["push", "--addr", &addr], folder.path(), "one\n").0, FOUND);
    let want = (NOW_NS, r#"{"job":"logq"}"#.to_owned(), String::new(), "one".to_owned());
    assert_eq!(store.entries(), [want]);
}

#[test]
fn files_are_imported_whole_whatever_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = 0;
    let mut paths = Vec::new();
    for file in 0..3 {
        // Times of whole seconds, equal lines among them; large enough for several batches.
        let text: String = (0..2_000)
            .map(|n| {
                format!("2026-11-20 08:{:02}:{:02} file {file} line {}\n", n / 400 % 60, n / 20 % 60, n % 7)
            })
            .collect();
        wanted += 2_000;
        let path = folder.path().join(format!("{file}.log"));
        write(&path, text);
        paths.push(path.display().to_string());
    }
    let sure = Store::default();
    let line = |addr: &str| -> Vec<String> {
        ["import", "--addr", addr, "--label", "app=shop"]
            .iter()
            .map(ToString::to_string)
            .chain(paths.clone())
            .collect()
    };
    let addr = sure.start();
    let args = line(&addr);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(insist(&args, folder.path()), 1);
    assert_eq!(sure.entries().len(), wanted);
    for seed in 0..4 {
        let store = Store::default();
        store.0.lock().unwrap().random = Some(Random::seeded(seed));
        let addr = store.start();
        let args = line(&addr);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let starts = insist(&args, folder.path());
        assert_eq!(store.entries(), sure.entries(), "seed {seed}, {starts} starts");
    }
}

#[test]
fn a_history_is_imported_whole_whatever_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::default();
    {
        let mut state = source.0.lock().unwrap();
        for n in 0..3000_i64 {
            // Several entries of one time, over three days, in two streams.
            let ts_ns = NOW_NS - 3 * 86_400_000_000_000 + n / 5 * 400_000_000_000;
            let labels = format!("{{app=\"a{}\", job=\"j\"}}", n % 2);
            state.entries.insert((ts_ns, labels, "warn{}".to_owned(), format!("line {n}")), 1);
        }
    }
    let wanted: Vec<Key> = source.entries().into_iter().filter(|key| key.0 < NOW_NS).collect();
    assert!(wanted.len() > 2000);
    let from = source.start();
    for seed in 0..4 {
        let target = Store::default();
        let to = target.start();
        source.0.lock().unwrap().random = (seed > 0).then(|| Random::seeded(seed));
        target.0.lock().unwrap().random = (seed > 0).then(|| Random::seeded(seed + 100));
        let line = [
            "import",
            "--addr",
            &to,
            "--history-of",
            &from,
            "{job=\"j\"}",
            "--since",
            "4d",
            "--batch",
            "300",
        ];
        let starts = insist(&line, folder.path());
        assert_eq!(target.entries(), wanted, "seed {seed}, {starts} starts");
        assert_eq!(starts == 1, seed == 0);
    }
}

#[test]
fn an_export_is_whole_whatever_ends_the_command_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::default();
    for n in 0..3000_i64 {
        let ts_ns = NOW_NS - 3 * 86_400_000_000_000 + n / 5 * 400_000_000_000;
        let labels = format!("{{app=\"a{}\", job=\"j\"}}", n % 2);
        source.0.lock().unwrap().entries.insert((ts_ns, labels, "warn{}".to_owned(), format!("line {n}")), 1);
    }
    let wanted: Vec<Key> = source.entries().into_iter().filter(|key| key.0 < NOW_NS).collect();
    let from = source.start();
    let export = |random: Option<Random>, name: &str| {
        source.0.lock().unwrap().random = random;
        let file = folder.path().join(name);
        let path = file.display().to_string();
        let line = ["export", "--addr", &from, "{job=\"j\"}", "--since", "4d", "--batch", "300", "-f", &path];
        let starts = insist(&line, folder.path());
        (starts, RealDisk.read(&file).unwrap())
    };
    let (_, sure) = export(None, "sure.jsonl");
    assert_eq!(sure.split(|byte| *byte == b'\n').count(), wanted.len() + 1);
    for seed in 0..4 {
        let (starts, plain) = export(Some(Random::seeded(seed)), &format!("{seed}.jsonl"));
        assert!(plain == sure, "seed {seed}, {starts} starts");
        let (_, packed) = export(Some(Random::seeded(seed + 50)), &format!("{seed}.jsonl.zst"));
        assert!(logyard_codec::unpack_zstd(&packed, 64 << 20).unwrap() == sure, "seed {seed}");
    }
    let target = Store::default();
    let to = target.start();
    let path = folder.path().join("0.jsonl.zst").display().to_string();
    assert_eq!(insist(&["import", "--addr", &to, &path], folder.path()), 1);
    assert_eq!(target.entries(), wanted);
    source.0.lock().unwrap().random = None;
    let (status, out, _) =
        command(&["export", "--addr", &from, "{job=\"j\"}", "--since", "4d"], folder.path(), "");
    assert!(status == FOUND && out.as_bytes() == sure);
    let again = ["export", "--addr", &from, "{job=\"j\"}", "-f", &path];
    let (status, _, err) = command(&again, folder.path(), "");
    assert!(status == TROUBLE && err.contains("--restart"), "{err}");
}

/// Variable that makes [`the_command_of_a_process`] one: its arguments, a line each.
const LINES: &str = "LOGQ_TEST_ARGUMENTS";

/// Not a test but the process that the next one kills; nothing without its arguments.
#[test]
fn the_command_of_a_process() {
    let Ok(lines) = std::env::var(LINES) else { return };
    let args: Vec<OsString> = lines.lines().map(OsString::from).collect();
    let surroundings = Surroundings {
        now_ns: &|| NOW_NS,
        env: &|name| std::env::var(name).ok(),
        input: &mut io::empty(),
        out: &mut io::sink(),
        err: &mut io::sink(),
        out_is_terminal: false,
        err_is_terminal: false,
    };
    std::process::exit(run(args, surroundings).into());
}

/// Starts a command as a process of its own.
fn process(line: &[&str], folder: &std::path::Path) -> Child {
    let lines = ["logq", "--utc"].iter().chain(line).copied().collect::<Vec<_>>().join("\n");
    Command::new(std::env::current_exe().unwrap())
        .args(["tests_transfer::the_command_of_a_process", "--exact", "--quiet"])
        .env(LINES, lines)
        .env("XDG_STATE_HOME", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a command as a process, killing it after random numbers of calls; returns how often it was killed.
fn insist_killing(line: &[&str], folder: &std::path::Path, stores: &[&Store], random: &Random) -> usize {
    for kills in 0..1000 {
        let (due, waiting) = mpsc::sync_channel(stores.len());
        for store in stores {
            store.0.lock().unwrap().kill = Some(((random.next_u64() % 12) as usize, due.clone()));
        }
        drop(due);
        let mut child = process(line, folder);
        let status = loop {
            if waiting.recv_timeout(Duration::from_millis(10)).is_ok() {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
        };
        if let Some(status) = status {
            assert_eq!(status.code(), Some(i32::from(FOUND)));
            return kills;
        }
    }
    panic!("it does not come to its end")
}

#[test]
fn processes_that_are_killed_lose_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::default();
    for n in 0..6000_i64 {
        let ts_ns = NOW_NS - 3_600_000_000_000 + n / 3 * 1_000_000_000;
        let key = (ts_ns, "{app=\"a\", job=\"j\"}".to_owned(), "warn{}".to_owned(), format!("line {n}"));
        source.0.lock().unwrap().entries.insert(key, 1);
    }
    let wanted = source.entries();
    let from = source.start();
    let random = Random::seeded(7);
    let target = Store::default();
    let to = target.start();
    let line =
        ["import", "--addr", &to, "--history-of", &from, "{job=\"j\"}", "--since", "2h", "--batch", "100"];
    let kills = insist_killing(&line, folder.path(), &[&source, &target], &random);
    assert!(target.entries() == wanted, "{} of {} after {kills} kills", target.entries().len(), wanted.len());
    assert!(kills > 3, "{kills}");
    let file = folder.path().join("out.jsonl");
    let path = file.display().to_string();
    let line = ["export", "--addr", &from, "{job=\"j\"}", "--since", "2h", "--batch", "100", "-f", &path];
    let kills = insist_killing(&line, folder.path(), &[&source], &random);
    assert_eq!(RealDisk.read(&file).unwrap().split(|byte| *byte == b'\n').count(), wanted.len() + 1);
    assert!(kills > 3, "{kills}");
    let back = Store::default();
    let to = back.start();
    let kills = insist_killing(&["import", "--addr", &to, &path], folder.path(), &[&back], &random);
    assert!(back.entries() == wanted, "{} of {} after {kills} kills", back.entries().len(), wanted.len());
}

#[test]
fn what_the_store_refuses_ends_an_import_unless_it_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let refusing = Store::default();
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let text = r#"{"duplicate":false,"accepted":1,"rejected":1,"reasons":{"too_old":1},"message":"entry is too old"}"#;
            let head =
                format!("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            drop(socket.write_all((head + text).as_bytes()));
            // The body is read, or the answer might be lost with the connection.
            drop(reader.read_to_end(&mut Vec::new()));
            assert!(refusing.entries().is_empty());
        }
    });
    let file = folder.path().join("f");
    write(&file, "2026-11-20T08:30:15Z a\n2016-11-20T08:30:15Z b\n");
    let path = file.display().to_string();
    let (status, _, err) = command(&["import", "--addr", &addr, &path], folder.path(), "");
    assert_eq!(status, TROUBLE);
    assert!(
        err.contains("refused 1 entries: entry is too old (too_old 1)") && err.contains("--skip-refused"),
        "{err}"
    );
    let (status, _, err) = command(&["import", "--addr", &addr, "--skip-refused", &path], folder.path(), "");
    assert_eq!(status, FOUND, "{err}");
    assert!(err.contains("refused 1 of them"), "{err}");
}
