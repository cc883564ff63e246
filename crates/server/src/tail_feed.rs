//! What a live tail sends: entries of the past first, then those that arrive, as frames.
//!
//! The tail follows before it asks for the past, so that no entry falls between; what is in both is sent once. A
//! reader who is slow for longer than [`ROOM_WAIT_MAX`] loses entries until there is room again, and is told which.
//! Waiting are at most ten frames, what is held back for `delay_for`, and what the store keeps for a follower.

use crate::answer::folded;
use crate::query::engine_error;
use crate::select_local::evaluate;
use crate::state::State;
use logyard_codec::BlockView;
use logyard_engine::{Follow, LogEntry, QueryKind, QueryRequest, QueryResult};
use logyard_logql::Expr;
use logyard_model::{Direction, LabelSet, Tenant};
use logyard_store::{Arrivals, Missed};
use logyard_wire::loki_tail::{TailForm, TailFrame};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What is sent to the reader, or why nothing more is.
pub(crate) type Frame = Result<String, String>;

/// Most entries of a frame (Loki v3.7.6).
const FRAME_ENTRIES_MAX: usize = 100;

/// Bytes from which a frame takes no further entry, so that those that wait are bounded.
const FRAME_BYTES_FULL: usize = 64 << 10;

/// Pause after a look at what has arrived: with many lines a second, they are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// Longest wait for room before entries are dropped, so that a burst is not taken for a slow reader.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pause before a reader is told what was dropped if no entry comes to tell it with.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Most dropped entries that a frame names (Loki v3.7.6).
const DROPPED_NAMED_MAX: usize = 1000;

/// Most entries held back for `delay_for`, and their bytes.
const HELD_ENTRIES_MAX: usize = 10_000;
const HELD_BYTES_MAX: usize = 8 << 20;

/// A tail, ready to run.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) state: Arc<State>,
    pub(crate) tenant: Tenant,
    pub(crate) expr: Arc<Expr>,
    pub(crate) follow: Arc<Follow>,
    pub(crate) form: TailForm,
    /// Where the past begins.
    pub(crate) start_ns: i64,
    /// Most entries of the past.
    pub(crate) limit: usize,
    pub(crate) delay: Duration,
}

/// Sends frames until nobody takes them any more, or a reason why there are no more.
pub(crate) async fn run(feed: Feed, frames: mpsc::Sender<Frame>) {
    if let Err(reason) = feed.run(&frames).await {
        // Nobody is there to be told.
        drop(frames.send(Err(reason)).await);
    }
}

impl Feed {
    async fn run(&self, frames: &mpsc::Sender<Frame>) -> Result<(), String> {
        let arrivals = self.state.store.arrivals(&self.tenant, self.follow.matchers());
        let mut out = Outbox { feed: self, frames, dropped: Dropped::default(), is_slow: false };
        let mut found = self.send_past(&arrivals, &mut out).await?;
        let mut held = Held { entries: Vec::new(), bytes: 0, delay: self.delay };
        loop {
            held.add(found, self.state.ingest.now_ns(), &mut out);
            out.send(&held.due()).await?;
            tokio::time::sleep(GATHER).await;
            let due = held.next().unwrap_or_else(|| Instant::now() + TELL_AFTER);
            tokio::select! {
                () = arrivals.wait() => {}
                () = tokio::time::sleep_until(due), if held.next().is_some() => {}
                () = tokio::time::sleep(TELL_AFTER), if out.dropped.entries > 0 => out.tell()?,
            }
            let (views, missed) = arrivals.take();
            out.note(missed);
            found = self.find(views).await?;
        }
    }

    /// Sends the past as far as it is not held back; returns the rest, and what has arrived meanwhile.
    async fn send_past(&self, arrivals: &Arrivals, out: &mut Outbox<'_>) -> Result<Vec<LogEntry>, String> {
        let mut past = self.past().await?;
        let (views, missed) = arrivals.take();
        out.note(missed);
        let mut found = self.find(views).await?;
        let known = Known::new(&past);
        found.retain(|entry| !known.holds(entry));
        let delay_ns = i64::try_from(self.delay.as_nanos()).unwrap_or(i64::MAX);
        let due_ns = self.state.ingest.now_ns().saturating_sub(delay_ns);
        let held = past.split_off(past.partition_point(|entry| entry.ts_ns <= due_ns));
        out.send_all(&past).await?;
        found.extend(held);
        Ok(found)
    }

    /// Returns the newest entries until now, the oldest first.
    async fn past(&self) -> Result<Vec<LogEntry>, String> {
        let (shared, now_ns) = (Arc::clone(&self.state), self.state.ingest.now_ns());
        let (start_ns, limit) = (self.start_ns.min(now_ns), self.limit);
        let (tenant, expr) = (self.tenant.clone(), Arc::clone(&self.expr));
        let job = move |cancel: &Arc<_>, _| {
            let request = QueryRequest {
                tenant,
                expr,
                kind: QueryKind::Range { start_ns, end_ns: now_ns.saturating_add(1), step_ns: 1 },
                limit,
                direction: Direction::Backward,
                interval_ns: 0,
                partial_series: false,
                now_ns,
                cancel: Arc::clone(cancel),
            };
            let outcome = evaluate(&shared.engine, &shared.store, &request).map_err(engine_error)?;
            let QueryResult::Entries(mut entries) = outcome.result else { return Ok(Vec::new()) };
            entries.reverse();
            Ok(entries)
        };
        self.state.run_read(job).await.map_err(|error| error.text().to_owned())
    }

    /// Returns the entries that pass, in order of time. Not on the runtime: a pipeline may take its time.
    async fn find(&self, views: Vec<BlockView>) -> Result<Vec<LogEntry>, String> {
        if views.is_empty() {
            return Ok(Vec::new());
        }
        let follow = Arc::clone(&self.follow);
        let job = move || {
            let mut found = Vec::new();
            views.iter().try_for_each(|view| follow.find(view, &mut found))?;
            found.sort_by_key(|entry| entry.ts_ns);
            Ok(found)
        };
        let failed = |error: logyard_engine::Error| engine_error(error).text().to_owned();
        match tokio::task::spawn_blocking(job).await {
            Ok(found) => found.map_err(failed),
            Err(_) => Err("the tail ended: internal error, see the log of logyard".to_owned()),
        }
    }
}

/// Entries of the past, to be recognised.
struct Known<'a>(HashMap<i64, Vec<&'a LogEntry>>);

impl<'a> Known<'a> {
    fn new(entries: &'a [LogEntry]) -> Self {
        let mut known: HashMap<i64, Vec<&LogEntry>> = HashMap::new();
        for entry in entries {
            known.entry(entry.ts_ns).or_default().push(entry);
        }
        Self(known)
    }

    fn holds(&self, entry: &LogEntry) -> bool {
        self.0.get(&entry.ts_ns).is_some_and(|known| known.contains(&entry))
    }
}

/// Entries that wait until `delay_for` has passed since their time, in order of their time.
struct Held {
    entries: Vec<(Instant, LogEntry)>,
    bytes: usize,
    delay: Duration,
}

impl Held {
    /// Adds entries in order of time. Those of the future wait as long as those of now.
    fn add(&mut self, entries: Vec<LogEntry>, now_ns: i64, out: &mut Outbox<'_>) {
        let now = Instant::now();
        for entry in entries {
            let bytes = entry.line.len() + entry.metadata.text_bytes() + entry.parsed.text_bytes();
            let is_full = self.entries.len() >= HELD_ENTRIES_MAX || self.bytes + bytes > HELD_BYTES_MAX;
            if is_full && !self.delay.is_zero() {
                out.drop_entries(std::slice::from_ref(&entry));
                continue;
            }
            let age = u64::try_from(now_ns.saturating_sub(entry.ts_ns)).unwrap_or(0);
            let due = now + self.delay.saturating_sub(Duration::from_nanos(age));
            self.bytes += bytes;
            self.entries.push((due, entry));
        }
        self.entries.sort_by_key(|(due, entry)| (*due, entry.ts_ns));
    }

    fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(due, _)| *due)
    }

    fn due(&mut self) -> Vec<LogEntry> {
        let now = Instant::now();
        let count = self.entries.partition_point(|(due, _)| *due <= now);
        let due: Vec<LogEntry> = self.entries.drain(..count).map(|(_, entry)| entry).collect();
        let bytes =
            |entry: &LogEntry| entry.line.len() + entry.metadata.text_bytes() + entry.parsed.text_bytes();
        self.bytes -= due.iter().map(bytes).sum::<usize>();
        due
    }
}

/// Entries that were dropped since the last frame.
#[derive(Debug, Default)]
struct Dropped {
    named: Vec<(i64, Arc<LabelSet>)>,
    entries: u64,
}

/// The way to the reader.
struct Outbox<'a> {
    feed: &'a Feed,
    frames: &'a mpsc::Sender<Frame>,
    dropped: Dropped,
    /// The reader has let entries be dropped, and is not waited for until it takes a frame.
    is_slow: bool,
}

impl Outbox<'_> {
    /// Sends all entries, however long the reader takes. Errors: it is gone.
    async fn send_all(&mut self, entries: &[LogEntry]) -> Result<(), String> {
        let mut rest = entries;
        while !rest.is_empty() {
            let room = self.frames.reserve().await.map_err(|_| gone())?;
            rest = self.fill(room, rest);
        }
        Ok(())
    }

    /// Sends entries, or drops those that find no room. Errors: the reader is gone.
    async fn send(&mut self, entries: &[LogEntry]) -> Result<(), String> {
        let mut rest = entries;
        while !rest.is_empty() {
            let wait = if self.is_slow { Duration::ZERO } else { ROOM_WAIT_MAX };
            match tokio::time::timeout(wait, self.frames.reserve()).await {
                Ok(room) => rest = self.fill(room.map_err(|_| gone())?, rest),
                Err(_) => {
                    self.is_slow = true;
                    self.drop_entries(rest);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sends a frame without entries if there is room, to tell what was dropped. Errors: the reader is gone.
    fn tell(&mut self) -> Result<(), String> {
        match self.frames.try_reserve() {
            Ok(room) => {
                self.fill(room, &[]);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(())) => Err(gone()),
        }
    }

    /// Sends a frame with the first of the entries; returns the others.
    fn fill<'e>(&mut self, room: mpsc::Permit<'_, Frame>, entries: &'e [LogEntry]) -> &'e [LogEntry] {
        let mut frame = TailFrame::new(&self.feed.form);
        let is_folded = !matches!(self.feed.form, TailForm::Current { categorize: true, .. });
        for entry in entries {
            if frame.entries() >= FRAME_ENTRIES_MAX || frame.bytes() >= FRAME_BYTES_FULL {
                break;
            }
            let categories = (&*entry.metadata, &*entry.parsed);
            if is_folded {
                frame.entry(&folded(entry), entry.ts_ns, &entry.line, categories);
            } else {
                frame.entry(&entry.stream, entry.ts_ns, &entry.line, categories);
            }
        }
        let count = frame.entries();
        let dropped = std::mem::take(&mut self.dropped);
        room.send(Ok(frame.finish(dropped.named.iter().map(|(ts_ns, labels)| (*ts_ns, &**labels)))));
        self.is_slow = false;
        entries.get(count..).unwrap_or_default()
    }

    fn drop_entries(&mut self, entries: &[LogEntry]) {
        self.dropped.entries += entries.len() as u64;
        self.feed.state.metrics.tail_dropped.inc_by(entries.len() as u64);
        let room = DROPPED_NAMED_MAX.saturating_sub(self.dropped.named.len());
        let named = entries.iter().take(room).map(|entry| (entry.ts_ns, Arc::clone(&entry.stream)));
        self.dropped.named.extend(named);
    }

    /// Notes what the store could not keep until it was looked at.
    fn note(&mut self, missed: Missed) {
        self.dropped.entries += missed.entries;
        self.feed.state.metrics.tail_dropped.inc_by(missed.entries);
        let room = DROPPED_NAMED_MAX.saturating_sub(self.dropped.named.len());
        let named = missed.named.into_iter().take(room);
        self.dropped.named.extend(named.map(|(ts_ns, stream)| (ts_ns, Arc::new(stream.labels.clone()))));
    }
}

fn gone() -> String {
    "the reader is gone".to_owned()
}
