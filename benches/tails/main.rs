//! How long a line takes from its push to the frames of live tails, with many tails and lines at once.
//!
//! Starts a store of its own, opens tails, pushes lines at a steady rate, and measures what arrives: each line
//! carries the moment at which its push began. Prints delays, lines that were missed, and what the store took of
//! memory and processor; fails if a line was missed or p99 is [`DELAY_P99_MAX`] or more. See `README.md`.

#![allow(clippy::disallowed_methods, reason = "a load tool reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a bench fails, a line what it says"
)]

#[path = "../harness/client.rs"]
#[allow(dead_code, reason = "some of it is for other tools only")]
mod client;
#[path = "../harness/store.rs"]
#[allow(dead_code, reason = "some of it is for other tools only")]
mod store;
#[path = "../harness/words.rs"]
mod words;

use client::{Client, tail};
use futures_util::StreamExt as _;
use logyard_wire::loki_query::decode;
use logyard_wire::loki_tail::TailAnswer;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// What is promised, from the push to the frame.
const DELAY_P99_MAX: Duration = Duration::from_millis(100);

/// Pushes a second, as some agents make that send what they have read.
const PUSHES_PER_SEC: u64 = 20;

/// Time for the last lines to arrive, and for an idle store to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// Stands before the moment of its push in each line.
const MARK: &str = "pushed=";

/// What to do; each is a word `name=number` on the command line.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Tails that read.
    tails: u64,
    /// Tails of everything that never read.
    stalled: u64,
    /// Lines pushed a second, over all streams.
    lines: u64,
    /// Streams; tails take turns with them.
    streams: u64,
    /// How long.
    seconds: u64,
}

/// What one tail saw.
#[derive(Debug, Default)]
struct Seen {
    delays: Vec<Duration>,
    dropped: usize,
}

fn main() {
    let load = Load::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let is_good = runtime.block_on(run(load));
    std::process::exit(i32::from(!is_good));
}

impl Load {
    fn from_args() -> Self {
        let mut load = Self { tails: 500, stalled: 0, lines: 5000, streams: 50, seconds: 20 };
        words::read(
            &[],
            &mut [
                ("tails", &mut load.tails),
                ("stalled", &mut load.stalled),
                ("lines", &mut load.lines),
                ("streams", &mut load.streams),
                ("seconds", &mut load.seconds),
            ],
        );
        load
    }

    /// Lines of one stream in one push, and over all.
    fn lines_of_stream(self) -> (u64, u64) {
        let lines = self.lines / PUSHES_PER_SEC / self.streams;
        assert!(lines > 0, "too few lines for so many streams");
        (lines, lines * PUSHES_PER_SEC * self.seconds)
    }
}

async fn run(load: Load) -> bool {
    let store = Store::start(&[("server.tails_max", "100000"), ("server.connections_max", "100000")]);
    tokio::time::sleep(SETTLE).await;
    let before = store.use_of_system();
    println!("{load:?}\nidle store: {before}");
    let begun = Instant::now();
    let (end, ended) = watch::channel(false);
    let mut readers = Vec::new();
    for index in 0..load.tails {
        let query = format!("{{app=\"a{}\"}}", index % load.streams);
        readers.push(tokio::spawn(read(tail(store.address(), &query).await, begun, ended.clone())));
    }
    let mut stalled = Vec::new();
    for _ in 0..load.stalled {
        stalled.push(tail(store.address(), "{app=~\".+\"}").await);
    }
    let opened = store.use_of_system();
    println!("tails open after {:?}: {opened}", begun.elapsed());
    let slowest = push(&store, load, begun).await;
    tokio::time::sleep(SETTLE).await;
    let after = store.use_of_system();
    end.send_replace(true);
    let mut all = Seen::default();
    for reader in readers {
        let seen = reader.await.unwrap();
        all.delays.extend(seen.delays);
        all.dropped += seen.dropped;
    }
    drop(stalled);
    let expected = load.lines_of_stream().1 * load.tails;
    println!("after the lines: {after}");
    println!("cpu while lines flowed: {:?} in {} s", after.cpu - opened.cpu, load.seconds);
    all.delays.sort_unstable();
    let at = |permille: usize| all.delays.get((all.delays.len() * permille / 1000).min(all.delays.len() - 1));
    println!(
        "slowest push: {slowest:?}; lines received {} of {expected}, told as missed {}",
        all.delays.len(),
        all.dropped
    );
    println!(
        "push to frame: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        at(500).unwrap(),
        at(990).unwrap(),
        at(999).unwrap(),
        at(1000).unwrap()
    );
    all.delays.len() as u64 == expected && at(990).is_some_and(|delay| *delay < DELAY_P99_MAX)
}

/// Reads a tail until the end is told.
async fn read(
    mut socket: WebSocketStream<TcpStream>,
    begun: Instant,
    mut ended: watch::Receiver<bool>,
) -> Seen {
    let mut seen = Seen::default();
    loop {
        let message = tokio::select! {
            message = socket.next() => message.expect("the tail goes on").unwrap(),
            _ = ended.wait_for(|ended| *ended) => return seen,
        };
        let Message::Text(text) = message else { continue };
        let now = begun.elapsed();
        // Decoding each frame would take more of the machine than the store does.
        for (_, rest) in text.match_indices(MARK).map(|(at, mark)| text.split_at(at + mark.len())) {
            let nanos = rest.split(' ').next().unwrap().parse().unwrap();
            seen.delays.push(now.saturating_sub(Duration::from_nanos(nanos)));
        }
        if text.contains("\"dropped_entries\"") {
            let frame: TailAnswer = decode(text.as_bytes()).unwrap();
            seen.dropped += frame.dropped_entries.len();
        }
    }
}

/// Pushes the lines at a steady rate; returns the longest time that a push took.
async fn push(store: &Store, load: Load, begun: Instant) -> Duration {
    let (lines, _) = load.lines_of_stream();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PUSHES_PER_SEC as u32);
    let client = Client::new(store.address());
    let mut pushes = Vec::new();
    for number in 0..PUSHES_PER_SEC * load.seconds {
        ticks.tick().await;
        let at = begun.elapsed().as_nanos();
        let body = body(load.streams, lines, number, at);
        let client = client.clone();
        pushes.push(tokio::task::spawn_blocking(move || client.push("application/json", &body)));
    }
    let mut slowest = Duration::ZERO;
    for push in pushes {
        let (took, refusals) = push.await.unwrap();
        assert_eq!(refusals, 0);
        slowest = slowest.max(took);
    }
    slowest
}

/// Makes the body of one push; lines begin with the moment `at` and are as long as those of most programs.
fn body(streams: u64, lines: u64, number: u64, at: u128) -> Vec<u8> {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut text = String::from("{\"streams\":[");
    for stream in 0..streams {
        let comma = if stream == 0 { "" } else { "," };
        write!(text, "{comma}{{\"stream\":{{\"app\":\"a{stream}\"}},\"values\":[").unwrap();
        for line in 0..lines {
            let comma = if line == 0 { "" } else { "," };
            let ts_ns = now_ns + u128::from(line);
            write!(
                text,
                "{comma}[\"{ts_ns}\",\"{MARK}{at} level=info msg=\\\"request done\\\" method=GET path=/api/v1/items/{number} \
                 status=200 bytes=5120 duration=12ms user=u{line} session=6f1a\"]"
            )
            .unwrap();
        }
        text.push_str("]}");
    }
    text.push_str("]}");
    text.into_bytes()
}
