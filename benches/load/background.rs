//! What goes on while others ask: pushes, dashboards, a heavy query, a live tail. Each ends when it is told.
//!
//! What has a time at which it is due counts its delay from then on, whether or not it could begin.

use crate::ask;
use crate::client::{Client, tail};
use crate::traffic::{Lines, PUSH_ENTRIES, Pool, Traffic, now_ns};
use futures_util::StreamExt as _;
use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_wire::loki_push_encode::{CONTENT_TYPE, encode_push};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// Connections that push, and that ask for panels: as many as browsers open for two dashboards.
const PUSHERS: usize = 4;
const PANEL_CONNECTIONS: usize = 12;

/// Dashboards, panels of each, and the time from one refresh to the next.
pub(crate) const DASHBOARDS: u64 = 50;
pub(crate) const PANELS: u64 = 6;
pub(crate) const REFRESH: Duration = Duration::from_secs(10);

/// What dashboards look back over, in turns, and how many points their panels have.
const WINDOWS_SECS: [u64; 3] = [3600, 6 * 3600, 24 * 3600];
const POINTS: u64 = 240;

/// Entries a second of the stream that is tailed, each in a push of its own, and what stands before their moment.
const TAILED_PER_SEC: u32 = 20;
const MARK: &str = "pushed=";

/// Longest wait for the last of them.
const TAIL_WAIT: Duration = Duration::from_secs(20);

/// Time after which those that wait see whether they are to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A gap that flat-out pushes put between their entries: less than they need for them.
const FLAT_OUT_GAP_NS: i64 = 2_000;

/// Times, and how many things they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) sorted: Vec<Duration>,
    /// Entries that were acknowledged, or received.
    pub(crate) entries: u64,
    /// From the first to the last.
    pub(crate) took: Duration,
}

/// Pushes so many entries a second, or as many as are taken, until told to end.
pub(crate) fn push(
    client: &Client,
    pool: &Pool,
    streams: u64,
    rate: Option<u64>,
    end: &AtomicBool,
) -> Delays {
    let gap_ns = rate.map_or(FLAT_OUT_GAP_NS, |rate| 1_000_000_000 / rate.max(1) as i64);
    let traffic = Traffic { streams, start_ns: now_ns(), step_ns: gap_ns * PUSH_ENTRIES as i64 };
    let due = |job| rate.map(|_| Duration::from_nanos(job * PUSH_ENTRIES * gap_ns as u64));
    let times = jobs(PUSHERS, end, due, |job| {
        let mut lines = Lines::Pool(pool, (job * PUSH_ENTRIES) as usize);
        client.push(CONTENT_TYPE, &traffic.body(job, &mut lines));
    });
    Delays { entries: times.entries * PUSH_ENTRIES, ..times }
}

/// Refreshes dashboards, one after the other so that all have had their turn when the first is due again.
pub(crate) fn dashboards(client: &Client, end: &AtomicBool) -> Delays {
    let due = |job| Some(REFRESH / DASHBOARDS as u32 * (job / PANELS) as u32);
    jobs(PANEL_CONNECTIONS, end, due, |job| {
        client.get(&panel(job / PANELS % DASHBOARDS, job % PANELS));
    })
}

/// Asks something that reads every line of all days, again and again, each time a little different.
pub(crate) fn heavy(client: &Client, range: &Range<i64>, end: &AtomicBool) -> Delays {
    let query = |job| {
        format!(
            r#"sum by (container) (count_over_time({{job="bench"}} |~ `[0-9]{{3}}[a-f][0-9][a-f]{{3}}` != `~{job}~` [all]))"#
        )
    };
    jobs(
        1,
        end,
        |_| None,
        |job| {
            client.get(&ask::value("heavy", &query(job), range).path);
        },
    )
}

/// Runs jobs by their numbers over some threads until told to end, each when it is due or at once. Returns the times from
/// then until they were done.
fn jobs(
    threads: usize,
    end: &AtomicBool,
    due: impl Fn(u64) -> Option<Duration> + Sync,
    run: impl Fn(u64) + Sync,
) -> Delays {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let work = || {
        let mut delays = Vec::new();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let due = due(job).unwrap_or_else(|| begun.elapsed());
            while begun.elapsed() < due && !end.load(Ordering::Relaxed) {
                std::thread::sleep((due.saturating_sub(begun.elapsed())).min(LOOK_EVERY));
            }
            if end.load(Ordering::Relaxed) {
                return delays;
            }
            run(job);
            delays.push(begun.elapsed() - due);
        }
    };
    let mut sorted: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    sorted.sort_unstable();
    Delays { entries: sorted.len() as u64, sorted, took: begun.elapsed() }
}

/// Returns the address of a panel: of one container, one host, or all, as dashboards have them.
fn panel(dashboard: u64, panel: u64) -> String {
    let end = now_ns();
    let window_secs = WINDOWS_SECS[dashboard as usize % WINDOWS_SECS.len()];
    let range = end - window_secs as i64 * 1_000_000_000..end;
    let step = window_secs / POINTS;
    let query = match panel {
        0 => return ask::entries("panel", &format!(r#"{{container="c{dashboard}"}}"#), &range).path,
        1 => format!(
            r#"sum by (level, detected_level) (count_over_time({{container="c{dashboard}"}} [{step}s]))"#
        ),
        2 => r#"sum by (container) (rate({job="bench"} [5m]))"#.to_owned(),
        3 => format!(r#"sum(count_over_time({{host="h{}"}} |= "error" [{step}s]))"#, dashboard % 20),
        4 => format!(
            r#"sum by (status) (count_over_time({{kind="json", app="a{dashboard}"}} | json status="status" [{step}s]))"#
        ),
        _ => format!(
            r#"quantile_over_time(0.95, {{kind="json", host="h{}"}} | json duration="duration" | unwrap duration [5m]) by (app)"#,
            dashboard % 20
        ),
    };
    ask::steps("panel", &query, &range, step).path
}

/// Pushes entries to a stream of its own and reads them from a live tail, until told to end; returns the times between.
/// Panics if one is missing in the end.
pub(crate) fn follow(address: SocketAddr, end: &AtomicBool) -> Delays {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A name of its own: a tail begins with what is there already.
    let app = format!("tailed-{}", now_ns());
    let mut socket = runtime.block_on(tail(address, &format!(r#"{{app="{app}"}}"#)));
    let client = Client::new(address);
    let begun = Instant::now();
    let pushed = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let mut delays = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                push_mark(&client, &app, begun.elapsed());
                pushed.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(1) / TAILED_PER_SEC);
            }
            is_over.store(true, Ordering::Release);
        });
        let mut waited = Instant::now();
        while !is_over.load(Ordering::Acquire) || (delays.len() as u64) < pushed.load(Ordering::Relaxed) {
            assert!(
                waited.elapsed() < TAIL_WAIT,
                "{} of {pushed:?} entries came from the tail",
                delays.len()
            );
            let frame = async { tokio::time::timeout(Duration::from_secs(1), socket.next()).await };
            let Ok(Some(Ok(Message::Text(text)))) = runtime.block_on(frame) else { continue };
            let now = begun.elapsed();
            for (_, rest) in text.match_indices(MARK).map(|(at, mark)| text.split_at(at + mark.len())) {
                let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
                let nanos = digits.unwrap_or_default().parse().unwrap();
                delays.push(now.saturating_sub(Duration::from_nanos(nanos)));
            }
            waited = Instant::now();
        }
    });
    delays.sort_unstable();
    Delays { entries: delays.len() as u64, sorted: delays, took: begun.elapsed() }
}

fn push_mark(client: &Client, app: &str, at: Duration) {
    let labels = LabelSet::from_pairs([("app", app), ("job", "tail")]);
    let mut entries = Entries::new();
    let line = format!("level=info msg=\"request done\" {MARK}{}", at.as_nanos());
    entries.push(now_ns(), line.as_bytes(), "", &LabelSet::default());
    client.push(CONTENT_TYPE, &encode_push(&[(&labels, &entries)]));
}
