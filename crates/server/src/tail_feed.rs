//! What a live tail sends: entries of the past first, then those that arrive, as frames.
//!
//! The tail follows before it asks for the past, so that no entry falls between; what is in both is sent once. A
//! reader who is slow for longer than [`ROOM_WAIT_MAX`] loses entries until there is room again, and is told which.
//! What waits for a reader is bounded in bytes: frames ([`LINE_BYTES_MAX`]), the past and what is held back for
//! `delay_for` ([`crate::tails`]), and what the store keeps for a follower.

use crate::answer::folded;
use crate::query::engine_error;
use crate::select_local::evaluate;
use crate::state::State;
use crate::tail_shared::SharedFollow;
use crate::tails::HeldBytes;
use axum::extract::ws::Utf8Bytes;
use logyard_codec::BlockView;
use logyard_engine::{LogEntry, QueryKind, QueryRequest, QueryResult};
use logyard_logql::Expr;
use logyard_model::{Direction, LabelSet, Tenant};
use logyard_store::{Arrivals, Arrived, Missed};
use logyard_wire::loki_tail::{TailForm, TailFrame};
use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// What is sent to the reader, or why nothing more is.
pub(crate) type Frame = Result<Sent, String>;

/// A frame, and its bytes in the line of those that wait.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) text: Utf8Bytes,
    _room: OwnedSemaphorePermit,
}

/// Most bytes of frames that wait for one reader; a larger frame waits alone.
const LINE_BYTES_MAX: u32 = 128 << 10;

/// Most entries of a frame (Loki v3.7.6).
const FRAME_ENTRIES_MAX: usize = 100;

/// Bytes from which a frame takes no further entry, so that those that wait are bounded.
const FRAME_BYTES_FULL: usize = 16 << 10;

/// Pause after a look at what has arrived: with many lines a second, they are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// Most bytes of lines that are looked at on the runtime: well below a millisecond, and hundreds of tails of some lines
/// a second each need no threads.
const INLINE_BYTES_MAX: u64 = 16 << 10;

/// Most bytes of lines whose entries are in memory at once: they take several times as much as in the store.
const PORTION_BYTES: u64 = 256 << 10;

/// Longest wait for room before entries are dropped, so that a burst is not taken for a slow reader.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pause before a reader is told what was dropped if no entry comes to tell it with.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Most dropped entries that a frame names (Loki v3.7.6).
const DROPPED_NAMED_MAX: usize = 1000;

/// Bytes of an entry beside its texts.
const ENTRY_BYTES: usize = 128;

/// A tail, ready to run.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) state: Arc<State>,
    pub(crate) tenant: Tenant,
    pub(crate) expr: Arc<Expr>,
    pub(crate) follow: Arc<SharedFollow>,
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
        let arrivals = self.state.store.arrivals(&self.tenant, self.follow.follow.matchers());
        let line = Arc::new(Semaphore::new(LINE_BYTES_MAX as usize));
        let mut out = Outbox { feed: self, frames, line, dropped: Dropped::default(), is_slow: false };
        let mut held = Held { entries: Vec::new(), bytes: self.state.tails.held(), delay: self.delay };
        self.begin(&arrivals, &mut held, &mut out).await?;
        loop {
            out.send(&held.due()).await?;
            tokio::time::sleep(GATHER).await;
            let due = held.next().unwrap_or_else(|| Instant::now() + TELL_AFTER);
            tokio::select! {
                () = arrivals.wait() => {}
                () = tokio::time::sleep_until(due), if held.next().is_some() => {}
                () = tokio::time::sleep(TELL_AFTER), if out.dropped.entries > 0 => out.tell().await?,
            }
            self.take(&arrivals, &Known::new(&[]), &mut held, &mut out).await?;
        }
    }

    /// Sends the past as far as it is not held back, then what has arrived meanwhile and is not of it.
    async fn begin(&self, arrivals: &Arrivals, held: &mut Held, out: &mut Outbox<'_>) -> Result<(), String> {
        let mut past = self.past().await?;
        let mut bytes = self.state.tails.held();
        let fit = past.iter().rev().take_while(|entry| bytes.take(entry_bytes(entry))).count();
        let unfit: Vec<Arc<LogEntry>> = past.drain(..past.len() - fit).collect();
        out.drop_entries(&unfit);
        drop(unfit);
        let delay_ns = i64::try_from(self.delay.as_nanos()).unwrap_or(i64::MAX);
        let due_ns = self.state.ingest.now_ns().saturating_sub(delay_ns);
        let due = past.partition_point(|entry| entry.ts_ns <= due_ns);
        out.send_all(past.get(..due).unwrap_or_default()).await?;
        self.take(arrivals, &Known::new(&past), held, out).await?;
        let not_due = past.split_off(due);
        // What is held from here on counts as such.
        drop((past, bytes));
        held.add(not_due, self.state.ingest.now_ns(), out);
        Ok(())
    }

    /// Takes what has arrived and sends what of it passes and is not known, or holds it back, a portion at a time.
    async fn take(
        &self,
        arrivals: &Arrivals,
        known: &Known<'_>,
        held: &mut Held,
        out: &mut Outbox<'_>,
    ) -> Result<(), String> {
        let (views, missed) = arrivals.take();
        out.note(missed);
        let mut views = views.into_iter().peekable();
        while views.peek().is_some() {
            let mut found = self.find(portion(&mut views)).await?;
            found.retain(|entry| !known.holds(entry));
            held.add(found, self.state.ingest.now_ns(), out);
            out.send(&held.due()).await?;
        }
        Ok(())
    }

    /// Returns the newest entries until now, the oldest first.
    async fn past(&self) -> Result<Vec<Arc<LogEntry>>, String> {
        let (shared, now_ns) = (Arc::clone(&self.state), self.state.ingest.now_ns());
        let (start_ns, limit) = (self.start_ns.min(now_ns), self.limit);
        let (tenant, expr) = (self.tenant.clone(), Arc::clone(&self.expr));
        let job = move |cancel: &Arc<_>, _| {
            let request = QueryRequest {
                tenants: tenant.into(),
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
            let QueryResult::Entries(entries) = outcome.result else { return Ok(Vec::new()) };
            Ok(entries.into_iter().rev().map(Arc::new).collect())
        };
        self.state.run_read(job).await.map_err(|error| error.text().to_owned())
    }

    /// Returns the entries that pass, in order of time: those that an equal tail has found, and what a look at the others
    /// yields. Many lines are looked at on few threads, so that pushes and queries find theirs.
    async fn find(&self, mut views: Vec<Arrived>) -> Result<Vec<Arc<LogEntry>>, String> {
        let _turn = self.follow.turn().await;
        let mut found = Vec::new();
        views.retain(|view| match view.append().and_then(|append| self.follow.take(&append)) {
            Some(entries) => {
                found.extend(entries.iter().map(Arc::clone));
                false
            }
            None => true,
        });
        found.append(&mut self.look(views).await?);
        found.sort_by_key(|entry| entry.ts_ns);
        Ok(found)
    }

    async fn look(&self, views: Vec<Arrived>) -> Result<Vec<Arc<LogEntry>>, String> {
        let follow = Arc::clone(&self.follow);
        let bytes: u64 = views.iter().map(|view| raw_bytes(view)).sum();
        let job = move || {
            let mut found = Vec::new();
            for view in &views {
                found.extend(follow.find(view)?.iter().map(Arc::clone));
            }
            Ok(found)
        };
        let failed = |error: logyard_engine::Error| engine_error(error).text().to_owned();
        if bytes <= INLINE_BYTES_MAX {
            return job().map_err(failed);
        }
        let internal = || "the tail ended: internal error, see the log of logyard".to_owned();
        let slot = self.state.tails.slot().await.ok_or_else(internal)?;
        let work = tokio::task::spawn_blocking(move || {
            let found = job();
            drop(slot);
            found
        });
        work.await.map_err(|_| internal())?.map_err(failed)
    }
}

/// Takes views up to [`PORTION_BYTES`], one at least.
fn portion(views: &mut Peekable<impl Iterator<Item = Arrived>>) -> Vec<Arrived> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(view) = views.next_if(|view| bytes == 0 || bytes + raw_bytes(view) <= PORTION_BYTES) {
        bytes += raw_bytes(&view).max(1);
        taken.push(view);
    }
    taken
}

fn raw_bytes(view: &BlockView) -> u64 {
    view.runs.iter().map(|run| run.raw_bytes).sum()
}

/// Entries of the past, to be recognised.
struct Known<'a>(HashMap<i64, Vec<&'a LogEntry>>);

impl<'a> Known<'a> {
    fn new(entries: &'a [Arc<LogEntry>]) -> Self {
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
    entries: Vec<(Instant, Arc<LogEntry>)>,
    bytes: HeldBytes,
    delay: Duration,
}

impl Held {
    /// Adds entries in order of time. Those of the future wait as long as those of now.
    fn add(&mut self, entries: Vec<Arc<LogEntry>>, now_ns: i64, out: &mut Outbox<'_>) {
        let now = Instant::now();
        for entry in entries {
            // Without a delay nothing is held.
            if !self.delay.is_zero() && !self.bytes.take(entry_bytes(&entry)) {
                out.drop_entries(std::slice::from_ref(&entry));
                continue;
            }
            let age = u64::try_from(now_ns.saturating_sub(entry.ts_ns)).unwrap_or(0);
            let due = now + self.delay.saturating_sub(Duration::from_nanos(age));
            self.entries.push((due, entry));
        }
        self.entries.sort_by_key(|(due, entry)| (*due, entry.ts_ns));
    }

    fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(due, _)| *due)
    }

    fn due(&mut self) -> Vec<Arc<LogEntry>> {
        let now = Instant::now();
        let count = self.entries.partition_point(|(due, _)| *due <= now);
        let due: Vec<Arc<LogEntry>> = self.entries.drain(..count).map(|(_, entry)| entry).collect();
        if !self.delay.is_zero() {
            self.bytes.give_back(due.iter().map(|entry| entry_bytes(entry)).sum());
        }
        due
    }
}

pub(crate) fn entry_bytes(entry: &LogEntry) -> usize {
    ENTRY_BYTES + entry.line.len() + entry.metadata.text_bytes() + entry.parsed.text_bytes()
}

/// Entries that were dropped since the last frame.
#[derive(Debug, Default)]
struct Dropped {
    named: Vec<(i64, Arc<LabelSet>)>,
    entries: u64,
}

/// A place in the line of frames, and bytes in it.
type Room<'a> = (mpsc::Permit<'a, Frame>, OwnedSemaphorePermit);

/// The way to the reader.
struct Outbox<'a> {
    feed: &'a Feed,
    frames: &'a mpsc::Sender<Frame>,
    /// Bytes that may still wait for the reader.
    line: Arc<Semaphore>,
    dropped: Dropped,
    /// The reader has let entries be dropped, and is not waited for until it takes a frame.
    is_slow: bool,
}

impl Outbox<'_> {
    /// Sends all entries, however long the reader takes. Errors: it is gone.
    async fn send_all(&mut self, entries: &[Arc<LogEntry>]) -> Result<(), String> {
        let mut rest = entries;
        while !rest.is_empty() {
            let (text, count) = self.frame(rest);
            let room = room(self.frames, Arc::clone(&self.line), text.len()).await?;
            self.put(text, room);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends entries, or drops those that find no room. Errors: the reader is gone.
    async fn send(&mut self, entries: &[Arc<LogEntry>]) -> Result<(), String> {
        let mut rest = entries;
        while !rest.is_empty() {
            if self.is_slow && !self.has_room() {
                self.drop_entries(rest);
                return Ok(());
            }
            let wait = if self.is_slow { Duration::ZERO } else { ROOM_WAIT_MAX };
            let (text, count) = self.frame(rest);
            match tokio::time::timeout(wait, room(self.frames, Arc::clone(&self.line), text.len())).await {
                Ok(room) => self.put(text, room?),
                Err(_) => {
                    self.is_slow = true;
                    self.drop_entries(rest);
                    return Ok(());
                }
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns whether a full frame finds room: one that would be dropped need not be written first.
    fn has_room(&self) -> bool {
        self.frames.is_closed()
            || (self.frames.capacity() > 0 && self.line.available_permits() >= FRAME_BYTES_FULL)
    }

    /// Sends a frame without entries if there is room, to tell what was dropped. Errors: the reader is gone.
    async fn tell(&mut self) -> Result<(), String> {
        let (text, _) = self.frame(&[]);
        if let Ok(room) =
            tokio::time::timeout(Duration::ZERO, room(self.frames, Arc::clone(&self.line), text.len())).await
        {
            self.put(text, room?);
        }
        Ok(())
    }

    fn put(&mut self, text: Utf8Bytes, (place, bytes): Room<'_>) {
        place.send(Ok(Sent { text, _room: bytes }));
        self.dropped = Dropped::default();
        self.is_slow = false;
    }

    /// Returns a frame with the first of the entries, and how many they are; and what was dropped.
    fn frame(&self, entries: &[Arc<LogEntry>]) -> (Utf8Bytes, usize) {
        let (form, follow) = (&self.feed.form, &self.feed.follow);
        let is_plain = self.dropped.entries == 0;
        if is_plain && let Some(made) = follow.frame(form, entries) {
            return made;
        }
        let mut frame = TailFrame::new(form);
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
        let dropped = self.dropped.named.iter().map(|(ts_ns, labels)| (*ts_ns, &**labels));
        let text = Utf8Bytes::from(frame.finish(dropped));
        if is_plain {
            follow.keep_frame(form, entries.get(..count).unwrap_or_default(), &text);
        }
        (text, count)
    }

    fn drop_entries(&mut self, entries: &[Arc<LogEntry>]) {
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
        self.dropped.named.extend(named.map(|(ts_ns, stream)| (ts_ns, Arc::clone(&stream.labels))));
    }
}

/// Waits for room in the line. Errors: the reader is gone.
async fn room(frames: &mpsc::Sender<Frame>, line: Arc<Semaphore>, bytes: usize) -> Result<Room<'_>, String> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(LINE_BYTES_MAX);
    let place = frames.reserve().await.map_err(|_| gone())?;
    tokio::select! {
        bytes = line.acquire_many_owned(bytes) => Ok((place, bytes.map_err(|_| gone())?)),
        () = frames.closed() => Err(gone()),
    }
}

fn gone() -> String {
    "the reader is gone".to_owned()
}
