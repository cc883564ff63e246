//! Tests of the agent: real parts on a simulated disk and clock, and a store that answers as told.

use super::*;
use crate::settings::{DockerSettings, FileSettings};
use logyard_client::{Client, ClientSettings};
use logyard_codec::decode_batch;
use logyard_sys::{RealDisk, SimClock, SimDisk};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::timeout;

mod destinations;
mod dry_run;
mod engine;
mod reload;

/// A store that counts: ids and lines of all pushes, in order. It refuses the first few pushes.
#[derive(Debug, Default)]
struct Store {
    pushes: Mutex<Vec<(String, Vec<String>)>>,
    refusals: Mutex<u32>,
    /// Pushes of a batch with this line are answered with this status.
    bad: Mutex<Option<(&'static str, u16)>>,
    /// So many pushes are said to be known already.
    duplicates: Mutex<u32>,
    /// Answers bear no mark of a store.
    is_proxied: bool,
    pushed: Notify,
}

impl Store {
    async fn listen(refusals: u32) -> (Arc<Self>, String) {
        Self { refusals: Mutex::new(refusals), ..Self::default() }.serve().await
    }

    async fn serve(self) -> (Arc<Self>, String) {
        let store = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let answering = Arc::clone(&store);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&answering).answer(connection));
            }
        });
        (store, base)
    }

    async fn answer(self: Arc<Self>, mut connection: TcpStream) {
        let mut bytes = Vec::new();
        while let Some((id, body)) = request(&mut connection, &mut bytes).await {
            let (status, json) = self.take(id, &body);
            let mark = if self.is_proxied { "" } else { "x-logyard-version: 1\r\n" };
            let length = json.len();
            let answer = format!("HTTP/1.1 {status} Status\r\n{mark}content-length: {length}\r\n\r\n{json}");
            connection.write_all(answer.as_bytes()).await.unwrap();
            self.pushed.notify_one();
        }
    }

    /// Returns the status and the body of the answer.
    fn take(&self, id: String, body: &[u8]) -> (u16, String) {
        let batch = decode_batch(body, 1 << 20).unwrap();
        let line =
            |entries: &logyard_codec::Entries, row| String::from_utf8_lossy(entries.line(row)).into_owned();
        let lines = batch
            .chunks
            .iter()
            .flat_map(|chunk| (0..chunk.entries.len()).map(|row| line(&chunk.entries, row)));
        let lines: Vec<String> = lines.collect();
        let is_bad = |text: &str| lines.iter().any(|line| line == text);
        let refused = self.bad.lock().unwrap().filter(|(text, _)| is_bad(text)).map(|(_, status)| status);
        self.pushes.lock().unwrap().push((id, lines.clone()));
        if let Some(status) = refused {
            return (status, "bad".to_owned());
        }
        if counted_down(&self.refusals) {
            return (503, String::new());
        }
        let duplicate = counted_down(&self.duplicates);
        (200, format!(r#"{{"duplicate":{duplicate},"accepted":{},"rejected":0}}"#, lines.len()))
    }

    async fn wait_for_pushes(&self, count: usize) -> Vec<(String, Vec<String>)> {
        loop {
            let pushed = self.pushed.notified();
            let pushes = self.pushes.lock().unwrap().clone();
            if pushes.len() >= count {
                return pushes;
            }
            timeout(Duration::from_secs(20), pushed).await.expect("a push within 20 s");
        }
    }
}

fn counted_down(left: &Mutex<u32>) -> bool {
    let mut left = left.lock().unwrap();
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

/// Reads one request; returns its batch id and body.
async fn request(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let header =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let length: usize = header("content-length: ").unwrap().parse().unwrap();
            if bytes.len() >= head + length {
                let body = bytes[head..head + length].to_vec();
                bytes.drain(..head + length);
                return Some((header("x-logyard-batch: ").unwrap(), body));
            }
        }
        if connection.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn start(disk: &SimDisk, base: &str) -> (Agent, Registry) {
    start_at(Arc::new(disk.clone()), base, Path::new("/")).await
}

/// Starts an agent that reads `log/*.log` and keeps its folder in `data`, both below `root`.
async fn start_at(disk: Arc<dyn Disk>, base: &str, root: &Path) -> (Agent, Registry) {
    start_with(disk, base, root, ImportedPositions::default()).await
}

/// A client of a store that shows nothing and waits so many seconds.
fn client_of(base: &str, timeout_secs: u64) -> Client {
    let settings = ClientSettings {
        timeout: Duration::from_secs(timeout_secs),
        org_id: None,
        token: None,
        tls: None,
        user_agent: "test".into(),
    };
    Client::new(base, settings).unwrap()
}

async fn start_with(
    disk: Arc<dyn Disk>,
    base: &str,
    root: &Path,
    imported: ImportedPositions,
) -> (Agent, Registry) {
    let pattern = root.join("log/*.log").display().to_string();
    let settings = AgentSettings {
        docker: DockerSettings { enabled: false, ..DockerSettings::default() },
        files: vec![FileSettings { path: vec![pattern], ..FileSettings::default() }],
        ..AgentSettings::default()
    };
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk,
        // The simulated disk's times begin at 0, and a file unchanged for a week is read from its end.
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        destinations: vec![Destination::store(client_of(base, 10))],
        data_dir: root.join("data"),
        imported,
    };
    (Agent::start(settings, parts).await.unwrap(), registry)
}

fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

fn value(registry: &Registry, name: &str) -> i64 {
    let text = text_of(registry);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("logyard_agent_{name} ")));
    line.unwrap().parse().unwrap()
}

fn write(disk: &SimDisk, text: &str) {
    disk.create_dir_all(Path::new("/log")).unwrap();
    disk.append_file(Path::new("/log/a.log")).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn refused_batches_are_pushed_again_as_they_were_and_a_restart_repeats_nothing() {
    let disk = SimDisk::new();
    write(&disk, "one\ntwo\n");
    let (store, base) = Store::listen(2).await;
    let (agent, registry) = start(&disk, &base).await;
    let pushes = store.wait_for_pushes(3).await;
    assert_eq!(pushes[0].1, ["one", "two"]);
    assert_eq!((&pushes[0], &pushes[1]), (&pushes[1], &pushes[2]));
    assert_eq!(agent.report().targets.len(), 1);
    agent.stop().await;
    assert_eq!(value(&registry, "entries_read_total"), 2);
    assert_eq!(value(&registry, "entries_acked_total"), 2);
    assert_eq!(value(&registry, "entries_waiting"), 0);

    write(&disk, "three\n");
    let (agent, _registry) = start(&disk, &base).await;
    let pushes = store.wait_for_pushes(4).await;
    assert_eq!(pushes[3].1, ["three"]);
    assert_ne!(pushes[3].0, pushes[2].0);
    agent.stop().await;
}

#[tokio::test]
async fn what_waits_at_a_power_cut_is_pushed_after_it_under_the_same_id() {
    let disk = SimDisk::new();
    write(&disk, "one\n");
    disk.append_file(Path::new("/log/a.log")).unwrap().sync().unwrap();
    disk.sync_dir(Path::new("/log")).unwrap();
    let (store, base) = Store::listen(1_000).await;
    let (agent, _registry) = start(&disk, &base).await;
    let refused = store.wait_for_pushes(1).await;
    let after = disk.crash();
    drop(agent);
    *store.refusals.lock().unwrap() = 0;
    let before = store.pushes.lock().unwrap().len();
    let (agent, registry) = start(&after, &base).await;
    let pushes = store.wait_for_pushes(before + 1).await;
    assert_eq!(pushes.last(), refused.first());
    agent.stop().await;
    let read_or_replayed =
        value(&registry, "entries_read_total") + value(&registry, "entries_replayed_total");
    assert_eq!((read_or_replayed, value(&registry, "entries_acked_total")), (1, 1));
}

#[tokio::test]
async fn positions_of_another_agent_are_taken_over_once() {
    let disk = SimDisk::new();
    write(&disk, "one\ntwo\n");
    disk.append_file(Path::new("/log/cut.log")).unwrap().write_all(b"new\n").unwrap();
    let (store, base) = Store::listen(0).await;
    let imported = ImportedPositions {
        files: [("/log/a.log".to_owned(), 4), ("/log/cut.log".to_owned(), 9), ("/log/gone".to_owned(), 1)]
            .into(),
        containers: [("c".to_owned(), 7)].into(),
        journals: [(0, "of no journal".to_owned())].into(),
    };
    let start = |imported: &ImportedPositions| {
        let (disk, base, imported) = (Arc::new(disk.clone()), base.clone(), imported.clone());
        async move { start_with(disk, &base, Path::new("/"), imported).await.0 }
    };
    let agent = start(&imported).await;
    let pushes = store.wait_for_pushes(1).await;
    let mut lines: Vec<String> = pushes.into_iter().flat_map(|(_, lines)| lines).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["new", "two"]);
    agent.stop().await;
    // Positions of its own are there now: the others do not count any more.
    write(&disk, "three\n");
    let agent = start(&ImportedPositions { files: [("/log/a.log".to_owned(), 0)].into(), ..imported }).await;
    assert_eq!(store.wait_for_pushes(2).await[1].1, ["three"]);
    agent.stop().await;
}

#[tokio::test]
async fn two_agents_do_not_share_a_folder() {
    let disk = SimDisk::new();
    let (_store, base) = Store::listen(0).await;
    let (agent, _registry) = start(&disk, &base).await;
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk: Arc::new(disk.clone()),
        // The simulated disk's times begin at 0, and a file unchanged for a week is read from its end.
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        destinations: vec![Destination::store(client_of(&base, 1))],
        data_dir: "/data".into(),
        imported: ImportedPositions::default(),
    };
    let error = Agent::start(AgentSettings::default(), parts).await.unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Unavailable);
    agent.stop().await;
}

#[tokio::test]
async fn a_pipe_among_the_files_is_left_out_and_holds_up_nothing() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    RealDisk.create_dir_all(&log).unwrap();
    let made = std::process::Command::new("mkfifo").arg(log.join("a.log")).status().unwrap();
    assert!(made.success());
    RealDisk.append_file(&log.join("b.log")).unwrap().write_all(b"one\n").unwrap();
    let (store, base) = Store::listen(0).await;
    let (agent, _registry) = start_at(Arc::new(RealDisk), &base, root.path()).await;
    assert_eq!(store.wait_for_pushes(1).await[0].1, ["one"]);
    timeout(Duration::from_secs(20), agent.stop()).await.expect("the stop waits for nobody");
}

/// Waits until the store was sent something twice that it refuses: nothing else happens then.
async fn wait_for_repeats(store: &Store, line: &str) {
    let mut count = 1;
    while store
        .wait_for_pushes(count)
        .await
        .iter()
        .filter(|(_, lines)| lines.contains(&line.to_owned()))
        .count()
        < 3
    {
        count += 1;
    }
}

fn refused_files(disk: &dyn Disk) -> Vec<String> {
    let dir = Path::new("/data/agent/refused");
    let items = disk.list(dir).unwrap_or_default();
    let text = |name: &str| {
        let batch = decode_batch(&disk.read(&dir.join(name)).unwrap(), 1 << 20).unwrap();
        let lines = batch
            .chunks
            .iter()
            .flat_map(|chunk| (0..chunk.entries.len()).map(|row| chunk.entries.line(row).to_vec()));
        lines.map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>().join(" ")
    };
    let batches = items.iter().filter(|item| item.name.ends_with(".batch"));
    assert_eq!(batches.clone().count() * 2, items.len(), "a reason beside each");
    batches.map(|item| text(&item.name)).collect()
}

#[tokio::test]
async fn what_the_store_refuses_for_good_is_put_aside_and_the_rest_goes_on() {
    for status in [400, 413, 422] {
        let disk = SimDisk::new();
        write(&disk, "one\ntwo\nbad\nfour\nfive\n");
        let (store, base) = Store::listen(0).await;
        *store.bad.lock().unwrap() = Some(("bad", status));
        let (agent, registry) = start(&disk, &base).await;
        // Whole; one two; bad four five; bad; four five.
        let pushes = store.wait_for_pushes(5).await;
        let lines: Vec<String> = pushes.iter().map(|(_, lines)| lines.join(" ")).collect();
        assert_eq!(lines, ["one two bad four five", "one two", "bad four five", "bad", "four five"]);
        let mut ids: Vec<&String> = pushes.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5, "no id names two batches");
        write(&disk, "six\n");
        assert_eq!(store.wait_for_pushes(6).await[5].1, ["six"]);
        agent.stop().await;
        assert_eq!(refused_files(&disk), ["bad"]);
        assert_eq!(value(&registry, "entries_acked_total"), 5);
        assert_eq!(value(&registry, "entries_rejected_total{reason=\"refused_batch\"}"), 1);
        assert_eq!(value(&registry, "entries_waiting"), 0);
    }
}

#[tokio::test]
async fn a_store_that_lets_nobody_in_keeps_everything_waiting() {
    // A proxy in front of nothing answers 400 to everything.
    for status in [301, 401, 403, 404, 405, 400] {
        let disk = SimDisk::new();
        write(&disk, "one\nbad\n");
        let (store, base) = Store { is_proxied: status == 400, ..Store::default() }.serve().await;
        *store.bad.lock().unwrap() = Some(("bad", status));
        let (agent, registry) = start(&disk, &base).await;
        wait_for_repeats(&store, "bad").await;
        assert!(refused_files(&disk).is_empty());
        *store.bad.lock().unwrap() = None;
        agent.stop().await;
        let pushes = store.pushes.lock().unwrap().clone();
        assert!(pushes.iter().all(|push| *push == pushes[0]), "{status}: the same batch under the same id");
        assert_eq!(value(&registry, "entries_acked_total"), 2);
    }
}

#[tokio::test]
async fn an_id_used_twice_is_given_up() {
    let disk = SimDisk::new();
    write(&disk, "one\n");
    let (store, base) = Store::listen(0).await;
    *store.duplicates.lock().unwrap() = 1;
    let (agent, registry) = start(&disk, &base).await;
    let pushes = store.wait_for_pushes(2).await;
    assert_eq!(pushes[0].1, pushes[1].1);
    let source = |push: &(String, Vec<String>)| push.0.split('/').next().unwrap().to_owned();
    assert_ne!(source(&pushes[0]), source(&pushes[1]));
    assert_eq!(agent.report().agent_id, source(&pushes[1]));
    agent.stop().await;
    assert_eq!(value(&registry, "entries_acked_total"), 1);
    // The new id stays, and a known batch that was sent before is nothing to wonder at.
    *store.refusals.lock().unwrap() = 1;
    *store.duplicates.lock().unwrap() = 1;
    write(&disk, "two\n");
    let (agent, _registry) = start(&disk, &base).await;
    let pushes = store.wait_for_pushes(4).await;
    agent.stop().await;
    assert_eq!((&pushes[2], source(&pushes[2])), (&pushes[3], source(&pushes[1])));
    assert_eq!(store.pushes.lock().unwrap().len(), 4);
}
