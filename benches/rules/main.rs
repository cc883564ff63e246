//! What rules cost a store that takes lines at a steady rate.
//!
//! Starts two stores of its own and pushes the same lines to both all the time; one of them has rules after a while. Prints
//! processor time and memory of each, while the windows of the rules still begin before them and later, and what the rules
//! add; fails if that is more than promised, if an evaluation failed or was missed, or if an alert that must fire does not.
//! See `README.md`.

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

use client::Client;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;

/// What is promised: share of one core, and memory.
const CORE_SHARE_MAX: f64 = 0.10;
const MEMORY_MIB_MAX: f64 = 50.0;

/// Pushes a second, as some agents make that send what they have read.
const PUSHES_PER_SEC: u64 = 10;

/// Most rules of a group, as the store has it.
const GROUP_RULES: u64 = 200;

/// What to do; each is a word `name=number` on the command line.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Rules, evaluated once a minute.
    rules: u64,
    /// How many of ten rules are about all streams; the others name one.
    wide: u64,
    /// Lines pushed a second, over all streams.
    lines: u64,
    streams: u64,
    /// Width of the windows in minutes.
    minutes: u64,
    /// How long each part lasts at least.
    seconds: u64,
}

fn main() {
    let load = Load::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let is_good = runtime.block_on(run(load));
    std::process::exit(i32::from(!is_good));
}

impl Load {
    fn from_args() -> Self {
        let mut load = Self { rules: 1000, wide: 2, lines: 10_000, streams: 100, minutes: 5, seconds: 180 };
        words::read(
            &[],
            &mut [
                ("rules", &mut load.rules),
                ("wide", &mut load.wide),
                ("lines", &mut load.lines),
                ("streams", &mut load.streams),
                ("minutes", &mut load.minutes),
                ("seconds", &mut load.seconds),
            ],
        );
        load
    }

    /// The rules of one group, in the forms that people write; the first of each group fires, for every stream.
    fn group(self, number: u64) -> String {
        let mut text = format!("name: g{number}\ninterval: 1m\nrules:\n");
        let first = number * GROUP_RULES;
        for rule in first..self.rules.min(first + GROUP_RULES) {
            let selector = match rule % 10 < self.wide {
                true => r#"{app=~".+"}"#.to_owned(),
                false => format!(r#"{{app="a{}"}}"#, rule % self.streams),
            };
            // The word of one hundredth of the lines, and words that are in few or none.
            let filter = match rule % 7 {
                _ if rule == first => r#"|= "level=error""#.to_owned(),
                0 => format!(r#"|= "code={rule}""#),
                1 => format!(r#"|~ "code={rule}|refused by {rule}""#),
                2 => format!(r#"|= "session=s{rule}" | logfmt | status >= 500"#),
                3 => format!(r#"|= "cannot reach host{rule}""#),
                4 => r#"| detected_level="fatal""#.to_owned(),
                5 => format!(r#"|~ "(?i)panic {rule}""#),
                _ => format!(r#"|= "level=error" |= "code={rule}""#),
            };
            writeln!(
                text,
                "- alert: A{rule}\n  expr: 'sum by (app) (count_over_time({selector} {filter} [{}m])) > 50'",
                self.minutes
            )
            .unwrap();
        }
        text
    }
}

async fn run(load: Load) -> bool {
    let (store, bare) = (Store::start(&[]), Store::start(&[]));
    println!("{load:?}");
    // A window's length, so that there is something to read.
    part("neither has rules", [&store, &bare], load, load.minutes * 60).await;
    for group in 0..load.rules.div_ceil(GROUP_RULES) {
        let body = load.group(group);
        let address = format!("http://{}/loki/api/v1/rules/bench", store.address());
        let set = move || ureq::post(address).send(body.as_bytes()).unwrap().status();
        assert_eq!(tokio::task::spawn_blocking(set).await.unwrap(), 202);
    }
    let minute = part("one has, first minute", [&store, &bare], load, 60).await;
    part("first window", [&store, &bare], load, load.minutes * 60).await;
    let later = part("later", [&store, &bare], load, load.seconds).await;
    let client = Client::new(store.address());
    let metrics = tokio::task::spawn_blocking(move || client.get("/metrics").1).await.unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    let count = |name: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let evaluations = count("logyard_rules_evaluations_total{result=\"ok\"}");
    let failed = count("logyard_rules_evaluations_total{result=\"err\"}");
    let missed = count("logyard_rules_missed_evaluations_total");
    let alerts = count("logyard_rules_alerts{");
    println!("{evaluations} evaluations, {failed} failed, {missed} of groups missed; {alerts} alerts");
    println!("rules take {} in the first minute, {} later", minute, later);
    later.cores <= CORE_SHARE_MAX && later.mib <= MEMORY_MIB_MAX && failed + missed == 0.0 && alerts >= 1.0
}

/// What one store took more than the other.
struct More {
    cores: f64,
    mib: f64,
}

impl fmt::Display for More {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.1} % of a core and {:.0} MiB", self.cores * 100.0, self.mib)
    }
}

/// Pushes the same to both for some time, and returns what the first took more.
async fn part(name: &str, stores: [&Store; 2], load: Load, seconds: u64) -> More {
    let before = stores.map(|store| store.use_of_system().cpu);
    let mut peaks_kib = [0, 0];
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PUSHES_PER_SEC as u32);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let begun = tokio::time::Instant::now();
    let mut slowest = Duration::ZERO;
    let clients = stores.map(|store| Client::new(store.address()));
    for number in 0..PUSHES_PER_SEC * seconds {
        ticks.tick().await;
        let body = Arc::new(body(load, number));
        for ((store, client), peak_kib) in stores.iter().zip(&clients).zip(&mut peaks_kib) {
            let (client, body) = (client.clone(), Arc::clone(&body));
            let push = tokio::task::spawn_blocking(move || client.push("application/json", &body));
            let (took, refusals) = push.await.unwrap();
            assert_eq!(refusals, 0);
            slowest = slowest.max(took);
            *peak_kib = store.use_of_system().resident_kib.max(*peak_kib);
        }
    }
    let passed = begun.elapsed();
    let cores = [0, 1]
        .map(|one| (stores[one].use_of_system().cpu - before[one]).as_secs_f64() / passed.as_secs_f64());
    let mib = peaks_kib.map(|kib| kib as f64 / 1024.0);
    println!(
        "{name}: {:.1} and {:.1} % of a core, {:.0} and {:.0} MiB at most, slowest push {slowest:.0?}, {passed:.0?}",
        cores[0] * 100.0,
        cores[1] * 100.0,
        mib[0],
        mib[1]
    );
    More { cores: cores[0] - cores[1], mib: mib[0] - mib[1] }
}

/// Makes the body of one push; lines are as long as those of most programs, and one in a hundred is an error.
fn body(load: Load, number: u64) -> Vec<u8> {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let lines = load.lines / PUSHES_PER_SEC / load.streams;
    assert!(lines > 0, "too few lines for so many streams");
    let mut text = String::from("{\"streams\":[");
    for stream in 0..load.streams {
        let comma = if stream == 0 { "" } else { "," };
        write!(text, "{comma}{{\"stream\":{{\"app\":\"a{stream}\"}},\"values\":[").unwrap();
        for line in 0..lines {
            let comma = if line == 0 { "" } else { "," };
            let ts_ns = now_ns + u128::from(line);
            let which = number * lines + line + stream * 7;
            let (level, status) = if which.is_multiple_of(100) { ("error", 500) } else { ("info", 200) };
            // Spread evenly: what a rule looks for does not come in one moment.
            let code = which * 48_271 % 100_003;
            write!(
                text,
                "{comma}[\"{ts_ns}\",\"level={level} msg=\\\"request done\\\" method=GET path=/api/v1/items/{number} \
                 status={status} bytes=5120 duration=12ms code={code} session=s{stream}\"]"
            )
            .unwrap();
        }
        text.push_str("]}");
    }
    text.push_str("]}");
    text.into_bytes()
}
