//! Tests of the agent: real parts on a simulated disk and clock, and a store that answers as told.

use super::*;
use crate::settings::{DockerSettings, FileSettings};
use logyard_client::ClientSettings;
use logyard_codec::decode_batch;
use logyard_sys::{SimClock, SimDisk};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A store that counts: ids and lines of all pushes, in order. It refuses the first few pushes.
#[derive(Debug, Default)]
struct Store {
    pushes: Mutex<Vec<(String, Vec<String>)>>,
    refusals: Mutex<u32>,
    pushed: Notify,
}

impl Store {
    async fn listen(refusals: u32) -> (Arc<Self>, String) {
        let store = Arc::new(Self { refusals: Mutex::new(refusals), ..Self::default() });
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
            let answer = match self.take(id, &body) {
                true => {
                    "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n{\"duplicate\":false,\"accepted\":1,\"rejected\":0}"
                }
                false => "HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n",
            };
            connection.write_all(answer.as_bytes()).await.unwrap();
            self.pushed.notify_one();
        }
    }

    fn take(&self, id: String, body: &[u8]) -> bool {
        let batch = decode_batch(body, 1 << 20).unwrap();
        let line =
            |entries: &logyard_codec::Entries, row| String::from_utf8_lossy(entries.line(row)).into_owned();
        let lines = batch
            .chunks
            .iter()
            .flat_map(|chunk| (0..chunk.entries.len()).map(|row| line(&chunk.entries, row)));
        self.pushes.lock().unwrap().push((id, lines.collect()));
        let mut refusals = self.refusals.lock().unwrap();
        let is_taken = *refusals == 0;
        *refusals = refusals.saturating_sub(1);
        is_taken
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
    let settings = AgentSettings {
        docker: DockerSettings { enabled: false, ..DockerSettings::default() },
        files: vec![FileSettings { path: vec!["/log/*.log".into()], ..FileSettings::default() }],
        ..AgentSettings::default()
    };
    let client = ClientSettings { timeout: Duration::from_secs(10), org_id: None, user_agent: "test".into() };
    let mut registry = Registry::default();
    let parts = AgentParts {
        disk: Arc::new(disk.clone()),
        // The simulated disk's times begin at 0, and a file unchanged for a week is read from its end.
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        client: Client::new(base, client).unwrap(),
        data_dir: "/data".into(),
    };
    (Agent::start(settings, parts).await.unwrap(), registry)
}

fn value(registry: &Registry, name: &str) -> i64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
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
async fn two_agents_do_not_share_a_folder() {
    let disk = SimDisk::new();
    let (_store, base) = Store::listen(0).await;
    let (agent, _registry) = start(&disk, &base).await;
    let mut registry = Registry::default();
    let client = ClientSettings { timeout: Duration::from_secs(1), org_id: None, user_agent: "test".into() };
    let parts = AgentParts {
        disk: Arc::new(disk.clone()),
        // The simulated disk's times begin at 0, and a file unchanged for a week is read from its end.
        clock: Arc::new(SimClock::new(1)),
        random: Arc::new(Random::seeded(1)),
        registry: &mut registry,
        client: Client::new(&base, client).unwrap(),
        data_dir: "/data".into(),
    };
    let error = Agent::start(AgentSettings::default(), parts).await.unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Unavailable);
    agent.stop().await;
}
