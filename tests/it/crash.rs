//! kill -9 at random instants under push load: every acknowledged entry is there once, none is doubled, and
//! every start succeeds.
//!
//! `LOGYARD_CRASH_RUNS` sets the number of kills (200), `LOGYARD_CRASH_SEED` the instants. Time on a real
//! machine does not replay, so a seed gives the same plan, not the same interleaving.

use crate::http;
use crate::process::Logyard;
use logyard_codec::{BatchId, Entries, encode_batch};
use logyard_model::LabelSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// Kills of one data folder: enough for logs, segments and windows of many lives to pile up in it.
const LIVES: usize = 20;

/// Half of them push as Loki's clients do, half with batch ids as the agent does.
const WRITERS: usize = 4;

const ENTRIES_PER_BATCH: usize = 40;

#[test]
fn no_kill_loses_or_doubles_an_acknowledged_entry() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
    };
    let (runs, seed) = (number("LOGYARD_CRASH_RUNS", 200), number("LOGYARD_CRASH_SEED", 1));
    let mut totals = Totals::default();
    for folder in 0..runs.div_ceil(LIVES as u64) {
        let lives = (runs - folder * LIVES as u64).min(LIVES as u64);
        one_folder(&mut Dice(seed.wrapping_mul(1_000_003).wrapping_add(folder)), lives, &mut totals);
    }
    eprintln!("{runs} kills: {totals:?}");
    assert!(totals.acked > runs * 100, "the kills fell into load: {totals:?}");
    assert!(totals.in_doubt > runs / 4, "the kills fell into pushes under way: {totals:?}");
}

/// What the runs met, to show that they met something.
#[derive(Debug, Default)]
struct Totals {
    acked: u64,
    in_doubt: u64,
    in_doubt_stored: u64,
}

fn one_folder(dice: &mut Dice, lives: u64, totals: &mut Totals) {
    let mut logyard = Logyard::new(NO_ENGINE, &["store"]);
    let base_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(index, base_ns)).collect();
    for _ in 0..lives {
        logyard.start();
        check_counts(&logyard, &writers);
        let life = Life { url: logyard.url(""), is_over: Arc::new(AtomicBool::new(false)) };
        let flushes = [(); 4].map(|()| dice.below(120));
        let resend = dice.below(2) == 0;
        let kill_after = Duration::from_micros(dice.below(250_000));
        thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(|| writer.push_until_killed(&life, resend));
            }
            scope.spawn(|| {
                for pause in flushes {
                    thread::sleep(Duration::from_millis(pause));
                    // Ends with an error at the kill.
                    drop(http::post(&format!("{}/flush", life.url), "text/plain", b""));
                }
            });
            thread::sleep(kill_after);
            logyard.kill();
            life.is_over.store(true, Ordering::Relaxed);
        });
    }
    logyard.start();
    check_lines(&logyard, &writers, totals);
    // From segments alone.
    assert!(logyard.stop().success());
    logyard.start();
    check_lines(&logyard, &writers, &mut Totals::default());
    logyard.assert_quiet_but_for(&["torn", "cut"]);
}

/// One life of the process.
struct Life {
    url: String,
    is_over: Arc<AtomicBool>,
}

/// A client with a stream of its own, and what it knows of each batch.
struct Writer {
    index: usize,
    base_ns: i64,
    batches: Vec<Fate>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acked,
    /// Sent, no answer.
    InDoubt,
}

impl Writer {
    fn new(index: usize, base_ns: i64) -> Self {
        Self { index, base_ns, batches: Vec::new() }
    }

    fn push_until_killed(&mut self, life: &Life, resend: bool) {
        // What a client with no answer does: send the same again. The other half stays in doubt.
        if resend && self.batches.last() == Some(&Fate::InDoubt) {
            let last = self.batches.len() - 1;
            match self.push(life, last) {
                Some(204 | 200) => self.batches[last] = Fate::Acked,
                _ => return,
            }
        }
        while !life.is_over.load(Ordering::Relaxed) {
            match self.push(life, self.batches.len()) {
                Some(200 | 204) => self.batches.push(Fate::Acked),
                Some(429 | 503) => thread::sleep(Duration::from_millis(2)),
                Some(status) => panic!("push answered {status}"),
                None => return self.batches.push(Fate::InDoubt),
            }
        }
    }

    /// Returns the status; `None` if the connection broke before one came.
    fn push(&self, life: &Life, batch: usize) -> Option<u16> {
        let answer = if self.index.is_multiple_of(2) {
            self.push_json(life, batch)
        } else {
            self.push_native(life, batch)
        };
        answer.ok().map(|answer| answer.status)
    }

    fn push_json(&self, life: &Life, batch: usize) -> Result<http::Answer, ureq::Error> {
        let values: Vec<_> = (0..ENTRIES_PER_BATCH)
            .map(|entry| serde_json::json!([self.ts_ns(batch, entry).to_string(), self.line(batch, entry)]))
            .collect();
        let body = serde_json::json!({"streams": [{"stream": {"writer": self.name()}, "values": values}]});
        http::post(&format!("{}/loki/api/v1/push", life.url), "application/json", body.to_string().as_bytes())
    }

    fn push_native(&self, life: &Life, batch: usize) -> Result<http::Answer, ureq::Error> {
        let mut entries = Entries::default();
        for entry in 0..ENTRIES_PER_BATCH {
            let line = self.line(batch, entry);
            entries.push(self.ts_ns(batch, entry), line.as_bytes(), "", &LabelSet::default());
        }
        let labels = LabelSet::from_pairs([("writer", self.name())]);
        let id = BatchId { source: [self.index as u8; 16], epoch: 1, sequence: batch as u64 + 1 };
        http::post_with(
            &format!("{}/logyard/v1/push", life.url),
            &[("Content-Type", "application/x-logyard-batch"), ("X-Logyard-Batch", &id.to_string())],
            &encode_batch(&[(&labels, &entries)]),
        )
    }

    fn name(&self) -> String {
        format!("w{}", self.index)
    }

    fn ts_ns(&self, batch: usize, entry: usize) -> i64 {
        self.base_ns + (batch * ENTRIES_PER_BATCH + entry) as i64 * 1_000
    }

    fn line(&self, batch: usize, entry: usize) -> String {
        format!("batch={batch} entry={entry} the quick brown fox jumps over the lazy dog")
    }
}

/// The cheap check at every start: each batch is there whole or not at all, and all acknowledged ones are.
fn check_counts(logyard: &Logyard, writers: &[Writer]) {
    let counted = logyard.instant(r#"sum by (writer) (count_over_time({writer=~".+"}[2h]))"#);
    for writer in writers {
        let found = counted.iter().find(|(labels, _)| labels["writer"] == writer.name().as_str());
        let count = found.map_or(0, |(_, value)| *value as usize);
        let acked = writer.batches.iter().filter(|fate| **fate == Fate::Acked).count();
        let possible = acked * ENTRIES_PER_BATCH..=writer.batches.len() * ENTRIES_PER_BATCH;
        assert!(
            possible.contains(&count) && count % ENTRIES_PER_BATCH == 0,
            "{}: {count} entries, want {possible:?} by {ENTRIES_PER_BATCH}; log:\n{}",
            writer.name(),
            logyard.log()
        );
    }
}

/// The whole check: line by line.
fn check_lines(logyard: &Logyard, writers: &[Writer], totals: &mut Totals) {
    for writer in writers {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for line in logyard.lines(&format!(r#"{{writer="{}"}}"#, writer.name())) {
            *seen.entry(line).or_default() += 1;
        }
        for (batch, fate) in writer.batches.iter().enumerate() {
            let counts: Vec<usize> = (0..ENTRIES_PER_BATCH)
                .map(|entry| seen.remove(&writer.line(batch, entry)).unwrap_or(0))
                .collect();
            let is_there = counts.iter().all(|count| *count == 1);
            let is_absent = counts.iter().all(|count| *count == 0);
            let place = format!("{} batch {batch}: {counts:?}; log:\n{}", writer.name(), logyard.log());
            match fate {
                Fate::Acked => assert!(is_there, "acknowledged, want each entry once: {place}"),
                Fate::InDoubt => assert!(is_there || is_absent, "want all or nothing: {place}"),
            }
            totals.acked += u64::from(*fate == Fate::Acked) * ENTRIES_PER_BATCH as u64;
            totals.in_doubt += u64::from(*fate == Fate::InDoubt);
            totals.in_doubt_stored += u64::from(*fate == Fate::InDoubt && is_there);
        }
        assert!(seen.is_empty(), "lines that nobody pushed: {seen:?}");
    }
}

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
