//! What is pushed: streams of made-up lines, spread over time by their timestamps, the same in every run.

use crate::client::Client;
use crate::corpus::Maker;
use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_wire::loki_push_encode::{CONTENT_TYPE, encode_push};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries of one push, as an agent gathers them.
pub(crate) const PUSH_ENTRIES: u64 = 1000;

/// Most streams of one push.
const PUSH_STREAMS_MAX: u64 = 100;

/// Connections that push what is to be stored.
const CONNECTIONS: u64 = 4;

/// What one line of the first push of new lines holds, and no other.
pub(crate) const NEEDLE: &str = "5be1c0ffee7d4f10a9d2e8b6";

/// Kinds of lines; streams take turns with them.
const KINDS: [&str; 3] = ["text", "json", "logfmt"];

/// Lines of each kind that are made once for pushes that cannot wait for theirs.
const POOL_LINES: usize = 20_000;

/// A hundredth of a second, which the lines tell, and a day, after which they begin anew.
const CENTI_NS: i64 = 10_000_000;
const DAY_NS: i64 = 86_400_000_000_000;

/// Streams, and the time over which their entries spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) streams: u64,
    /// Time of the first push, and from one to the next.
    pub(crate) start_ns: i64,
    pub(crate) step_ns: i64,
}

/// Where lines come from.
pub(crate) enum Lines<'a> {
    /// Each is new.
    New([Maker; 3]),
    /// They come again.
    Pool(&'a Pool, usize),
}

/// Lines of each kind.
pub(crate) struct Pool([Vec<String>; 3]);

impl Pool {
    pub(crate) fn new() -> Self {
        let lines = |kind| {
            let mut maker = Maker::new(kind, 1);
            (0..POOL_LINES).map(|number| maker.line(number)).collect()
        };
        Self(KINDS.map(lines))
    }
}

impl Lines<'_> {
    fn new(push: u64) -> Self {
        Self::New(KINDS.map(|kind| Maker::new(kind, (push + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    fn next(&mut self, kind: usize, ts_ns: i64) -> Cow<'_, str> {
        match self {
            Self::New(makers) => Cow::Owned(makers[kind].line((ts_ns % DAY_NS / CENTI_NS) as usize)),
            Self::Pool(pool, place) => {
                *place += 1;
                Cow::Borrowed(&pool.0[kind][*place % POOL_LINES])
            }
        }
    }
}

impl Traffic {
    /// Returns the streams of one push.
    fn push_streams(self) -> u64 {
        self.streams.min(PUSH_STREAMS_MAX)
    }

    /// Returns the body of a push by its number.
    pub(crate) fn body(self, push: u64, lines: &mut Lines<'_>) -> Vec<u8> {
        let streams = self.push_streams();
        let of_stream = PUSH_ENTRIES / streams;
        let begin_ns = self.start_ns + push as i64 * self.step_ns;
        let with_needle = push == 0 && matches!(lines, Lines::New(_));
        let mut chunks = Vec::new();
        for place in 0..streams {
            let stream = (push * streams + place) % self.streams;
            let mut entries = Entries::new();
            // The first streams take what does not divide.
            for entry in 0..of_stream + u64::from(place < PUSH_ENTRIES % streams) {
                let ts_ns = begin_ns + (entry * streams + place) as i64 * self.step_ns / PUSH_ENTRIES as i64;
                let line = lines.next(kind(stream), ts_ns);
                if with_needle && place == 0 && entry == 0 {
                    entries.push(ts_ns, format!("{line} {NEEDLE}").as_bytes(), "", &LabelSet::default());
                } else {
                    entries.push(ts_ns, line.as_bytes(), "", &LabelSet::default());
                }
            }
            chunks.push((labels(stream), entries));
        }
        let chunks: Vec<(&LabelSet, &Entries)> =
            chunks.iter().map(|(labels, entries)| (labels, entries)).collect();
        encode_push(&chunks)
    }

    /// Sends pushes by their numbers, each with new lines, over several connections.
    pub(crate) fn send(self, client: &Client, pushes: Range<u64>) {
        let next = AtomicU64::new(pushes.start);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    loop {
                        let push = next.fetch_add(1, Ordering::Relaxed);
                        if push >= pushes.end {
                            return;
                        }
                        client.push(CONTENT_TYPE, &self.body(push, &mut Lines::new(push)));
                    }
                });
            }
        });
    }

    /// Returns the time behind a number of pushes.
    pub(crate) fn end_ns(self, pushes: u64) -> i64 {
        self.start_ns + pushes as i64 * self.step_ns
    }
}

/// Returns the present.
pub(crate) fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn kind(stream: u64) -> usize {
    (stream % KINDS.len() as u64) as usize
}

/// Returns the labels of a stream.
fn labels(stream: u64) -> LabelSet {
    LabelSet::from_pairs([
        ("app", format!("a{}", stream % 50)),
        ("container", format!("c{stream}")),
        ("host", format!("h{}", stream % 20)),
        ("job", "bench".to_owned()),
        ("kind", KINDS[kind(stream)].to_owned()),
    ])
}
