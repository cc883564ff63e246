//! What has just been stored, handed to those who follow live.
//!
//! A follower names a tenant and matchers and gets every entry from then on, once it is durable, in order of
//! arrival. Whoever is slow misses entries and is told which: the writer never waits, and what waits for a
//! follower is bounded. The entries of one append are shared by all followers.
//!
//! The writer hands entries over, then shows them to queries, and nobody can begin to follow in between. So whoever
//! begins to follow, then queries, then takes what has arrived, has every entry: each that the query found and that
//! was not there before is among those taken, equal, and every other one comes later.

use crate::deletes::Deletes;
use crate::head::weight;
use logyard_codec::{Block, BlockView, Entries, RunView};
use logyard_model::{Matcher, Stream, StreamId, Tenant, TimeRange};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// Most bytes of entries that wait for one follower, as the head counts them.
const WAITING_BYTES_MAX: u64 = 4 << 20;

/// Most bytes that wait for all, those shared counted once. Beyond, a follower has its share of as much again, so that
/// those who are slow take nothing from the others.
const WAITING_ALL_BYTES_MAX: u64 = 32 << 20;

/// Most entries that a follower is told by name to have missed; the others are counted.
const MISSED_NAMED_MAX: usize = 1000;

/// Streams whose test against the matchers is remembered; beyond, all are forgotten.
const KNOWN_STREAMS_MAX: usize = 10_000;

/// Entries that a follower was too slow for.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// Timestamps and streams of the first of them, a thousand at most.
    pub named: Vec<(i64, Arc<Stream>)>,
    /// How many there are, those named included.
    pub entries: u64,
}

/// The entries of a tenant's matching streams from now on. Dropped, it costs nothing any more.
#[derive(Debug)]
pub struct Arrivals {
    followers: Arc<Followers>,
    deletes: Arc<Deletes>,
    follower: Arc<Follower>,
}

/// Entries that have arrived. Until it is dropped they count among those that wait.
#[derive(Debug)]
pub struct Arrived {
    view: BlockView,
    handed: Arc<Handed>,
    /// A delete request was looked at for it.
    is_own: bool,
}

/// Names an append that followers got; equal for all of them, and for no other append as long as it is kept. Holds
/// none of its entries.
#[derive(Clone, Debug)]
pub struct Append(Weak<Handed>);

impl PartialEq for Append {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for Append {}

impl Hash for Append {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.as_ptr().hash(hasher);
    }
}

impl Arrived {
    /// Returns by which append the entries came: it names them for all who follow. `None` if a delete request may have
    /// taken some of them since.
    pub fn append(&self) -> Option<Append> {
        (!self.is_own).then(|| Append(Arc::downgrade(&self.handed)))
    }
}

impl Deref for Arrived {
    type Target = BlockView;

    fn deref(&self) -> &BlockView {
        &self.view
    }
}

/// All who follow.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    list: RwLock<Vec<Arc<Follower>>>,
    /// Bytes that wait for anybody.
    bytes: Arc<AtomicU64>,
}

/// The entries of one append, for as long as they wait for anybody or are looked at.
#[derive(Debug)]
struct Handed {
    view: BlockView,
    bytes: u64,
    all_bytes: Arc<AtomicU64>,
}

/// All who follow at this moment: nobody comes or goes while it lives.
#[derive(Debug)]
pub(crate) struct Following<'a> {
    list: RwLockReadGuard<'a, Vec<Arc<Follower>>>,
    bytes: &'a Arc<AtomicU64>,
}

#[derive(Debug)]
struct Follower {
    tenant: Tenant,
    matchers: Vec<Matcher>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    handed: Vec<Arc<Handed>>,
    bytes: u64,
    missed: Missed,
    known: HashMap<StreamId, bool>,
}

impl Arrivals {
    pub(crate) fn new(
        followers: &Arc<Followers>,
        deletes: &Arc<Deletes>,
        tenant: Tenant,
        matchers: Vec<Matcher>,
    ) -> Self {
        let follower = Follower { tenant, matchers, waiting: Mutex::default(), news: Notify::new() };
        let follower = Arc::new(follower);
        followers.list.write().push(Arc::clone(&follower));
        Self { followers: Arc::clone(followers), deletes: Arc::clone(deletes), follower }
    }

    /// Waits until there may be something to take. Safe to drop.
    pub async fn wait(&self) {
        self.follower.news.notified().await;
    }

    /// Takes what has arrived, and what was missed since the last time.
    ///
    /// Shape: views in order of arrival, of one stream each, which may hold equal entries, and ones stored before.
    /// Entries that a pending delete request means are left out. Never blocks on a disk.
    pub fn take(&self) -> (Vec<Arrived>, Missed) {
        let mut waiting = self.follower.waiting.lock();
        waiting.bytes = 0;
        let handed = mem::take(&mut waiting.handed);
        let missed = mem::take(&mut waiting.missed);
        drop(waiting);
        let arrived = |handed: Arc<Handed>| Arrived { view: handed.view.clone(), handed, is_own: false };
        let mut all: Vec<Arrived> = handed.into_iter().map(arrived).collect();
        self.hide(&mut all);
        (all, missed)
    }

    fn hide(&self, all: &mut Vec<Arrived>) {
        let runs = || all.iter().flat_map(|one| &one.view.runs);
        let (Some(min_ns), Some(max_ns)) =
            (runs().map(|run| run.min_ns).min(), runs().map(|run| run.max_ns).max())
        else {
            return;
        };
        let range = TimeRange { start_ns: min_ns, end_ns: max_ns.saturating_add(1) };
        let Some(mut hiding) = self.deletes.hiding(&self.follower.tenant, range) else { return };
        for one in all.iter_mut() {
            one.is_own = true;
            let runs = mem::take(&mut one.view.runs);
            let mut left = vec![BlockView { runs, ..one.view.clone() }];
            if let Err(error) = hiding.hide_in_head(&mut left, 0) {
                tracing::error!(
                    ?error,
                    "cannot look entries in memory through for a delete request; report this"
                );
                left.clear();
            }
            one.view.runs = left.pop().map(|view| view.runs).unwrap_or_default();
        }
        all.retain(|one| !one.view.runs.is_empty());
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.followers.list.write().retain(|other| !Arc::ptr_eq(other, &self.follower));
    }
}

impl Followers {
    /// Keeps those who follow until the guard is dropped: after queries see what was handed over.
    pub(crate) fn hold(&self) -> Following<'_> {
        Following { list: self.list.read(), bytes: &self.bytes }
    }
}

impl Following<'_> {
    /// Hands the entries of one append to whoever follows their stream. Cost: one copy of them if anybody does.
    pub(crate) fn hand_over(&self, tenant: &Tenant, stream: &Arc<Stream>, entries: &Entries) {
        if entries.is_empty() {
            return;
        }
        let share = WAITING_ALL_BYTES_MAX / self.list.len().max(1) as u64;
        let mut shared: Option<Arc<Handed>> = None;
        for follower in self.list.iter().filter(|follower| follower.tenant == *tenant) {
            let mut waiting = follower.waiting.lock();
            if !waiting.knows(stream, &follower.matchers) {
                continue;
            }
            let bytes = weight(entries);
            let has_room = waiting.bytes + bytes <= share
                || shared.is_some()
                || self.bytes.load(Ordering::Relaxed) + bytes <= WAITING_ALL_BYTES_MAX;
            // One append that is larger passes if nothing else waits.
            if waiting.bytes > 0 && (waiting.bytes + bytes > WAITING_BYTES_MAX || !has_room) {
                waiting.missed.add(stream, entries);
            } else {
                let handed = shared.get_or_insert_with(|| self.handed(stream, entries, bytes));
                waiting.handed.push(Arc::clone(handed));
                waiting.bytes += bytes;
            }
            drop(waiting);
            follower.news.notify_one();
        }
    }
}

impl Following<'_> {
    fn handed(&self, stream: &Arc<Stream>, entries: &Entries, bytes: u64) -> Arc<Handed> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Handed { view: view_of(stream, entries), bytes, all_bytes: Arc::clone(self.bytes) })
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Waiting {
    fn knows(&mut self, stream: &Stream, matchers: &[Matcher]) -> bool {
        if let Some(known) = self.known.get(&stream.id) {
            return *known;
        }
        if self.known.len() >= KNOWN_STREAMS_MAX {
            self.known.clear();
        }
        let passes = matchers.iter().all(|matcher| matcher.matches_set(&stream.labels));
        self.known.insert(stream.id, passes);
        passes
    }
}

impl Missed {
    fn add(&mut self, stream: &Arc<Stream>, entries: &Entries) {
        self.entries += entries.len() as u64;
        let room = MISSED_NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(entries.ts_ns().iter().take(room).map(|ts_ns| (*ts_ns, Arc::clone(stream))));
    }
}

fn view_of(stream: &Arc<Stream>, entries: &Entries) -> BlockView {
    let mut entries = entries.clone();
    entries.sort_and_dedupe();
    let run = RunView {
        stream: Arc::clone(stream),
        rows: 0..u32::try_from(entries.len()).expect("batches are bounded far below 2^32 rows"),
        min_ns: entries.min_ns(),
        max_ns: entries.max_ns(),
        raw_bytes: entries.line_bytes(),
    };
    BlockView { block: Arc::new(Block::from_entries(entries)), runs: vec![run], arrival: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_model::{LabelSet, MatchOp};

    fn stream(app: &str) -> Arc<Stream> {
        Arc::new(Stream::new(&Tenant::single(), LabelSet::from_pairs([("app", app)])))
    }

    fn entries(count: i64, line: &[u8]) -> Entries {
        let mut entries = Entries::new();
        for ts_ns in (0..count).rev() {
            entries.push(ts_ns, line, "", &LabelSet::default());
        }
        entries
    }

    fn follow(followers: &Arc<Followers>, app: &str) -> Arrivals {
        let matcher = Matcher::new("app", MatchOp::Equal, app).unwrap();
        let deletes = Arc::new(Deletes::new(None, &[]));
        Arrivals::new(followers, &deletes, Tenant::single(), vec![matcher])
    }

    fn taken(arrivals: &Arrivals) -> Vec<(String, Vec<i64>)> {
        let (views, missed) = arrivals.take();
        assert_eq!(missed.entries, 0);
        let shown = |view: &Arrived| {
            let [run] = view.runs.as_slice() else { panic!("not one run") };
            (run.stream.labels.get("app").unwrap().to_owned(), view.block.timestamps().unwrap().to_vec())
        };
        views.iter().map(shown).collect()
    }

    #[test]
    fn who_follows_a_stream_gets_its_entries() {
        let followers = Arc::new(Followers::default());
        let (a, b) = (follow(&followers, "a"), follow(&followers, "b"));
        let other = Tenant::new("other").unwrap();
        followers.hold().hand_over(&Tenant::single(), &stream("a"), &entries(3, b"x"));
        followers.hold().hand_over(&Tenant::single(), &stream("b"), &entries(1, b"x"));
        followers.hold().hand_over(&Tenant::single(), &stream("c"), &entries(1, b"x"));
        followers.hold().hand_over(&other, &stream("a"), &entries(1, b"x"));
        assert_eq!(taken(&a), [("a".to_owned(), vec![0, 1, 2])]);
        assert_eq!(taken(&a), []);
        assert_eq!(taken(&b), [("b".to_owned(), vec![0])]);
        drop(a);
        assert_eq!(followers.list.read().len(), 1);
    }

    #[test]
    fn who_is_slow_misses_entries_and_is_told() {
        let followers = Arc::new(Followers::default());
        let (slow, quick) = (follow(&followers, "a"), follow(&followers, "a"));
        let large = entries(700, &[b'x'; 2000]);
        let mut got = 0;
        for _ in 0..5 {
            followers.hold().hand_over(&Tenant::single(), &stream("a"), &large);
            got += quick.take().0.len();
        }
        assert_eq!(got, 5);
        let (views, missed) = slow.take();
        assert_eq!((views.len(), missed.entries, missed.named.len()), (2, 2100, 1000));
        assert_eq!(missed.named[0].0, 699);
        // With room again, it goes on.
        followers.hold().hand_over(&Tenant::single(), &stream("a"), &large);
        assert_eq!((slow.take().0.len(), slow.take().1.entries), (1, 0));
    }

    #[test]
    fn what_waits_for_all_is_bounded_and_each_has_its_share() {
        let followers = Arc::new(Followers::default());
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let slow: Vec<Arrivals> = names.iter().map(|name| follow(&followers, name)).collect();
        let (some, last) = (entries(500, &[b'x'; 1000]), follow(&followers, "last"));
        for name in names.iter().cycle().take(20 * 10) {
            followers.hold().hand_over(&Tenant::single(), &stream(name), &some);
        }
        let waiting = followers.bytes.load(Ordering::Relaxed);
        assert!((WAITING_ALL_BYTES_MAX / 2..2 * WAITING_ALL_BYTES_MAX).contains(&waiting), "{waiting}");
        assert!(slow.iter().all(|arrivals| arrivals.follower.waiting.lock().missed.entries > 0));
        followers.hold().hand_over(&Tenant::single(), &stream("last"), &entries(500, &[b'x'; 1000]));
        followers.hold().hand_over(&Tenant::single(), &stream("last"), &entries(500, &[b'x'; 1000]));
        let (taken, _) = last.take();
        assert_eq!(taken.len(), 2);
        drop(slow);
        let bytes = 2 * weight(&entries(500, &[b'x'; 1000]));
        assert_eq!(
            followers.bytes.load(Ordering::Relaxed),
            bytes,
            "what is taken counts until it is dropped"
        );
        drop(taken);
        assert_eq!(followers.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn followers_name_appends_alike() {
        let followers = Arc::new(Followers::default());
        let (one, other) = (follow(&followers, "a"), follow(&followers, "a"));
        for count in [1, 1, 2] {
            followers.hold().hand_over(&Tenant::single(), &stream("a"), &entries(count, b"x"));
        }
        let names = |arrivals: &Arrivals| -> Vec<Append> {
            arrivals.take().0.iter().filter_map(Arrived::append).collect()
        };
        let (of_one, of_other) = (names(&one), names(&other));
        assert_eq!(of_one, of_other);
        let distinct: std::collections::HashSet<Append> = of_one.into_iter().collect();
        assert_eq!(distinct.len(), 3);
        // A name that is kept is not given again, though nobody has the entries any more.
        assert_eq!(followers.bytes.load(Ordering::Relaxed), 0);
        followers.hold().hand_over(&Tenant::single(), &stream("a"), &entries(1, b"x"));
        assert!(!distinct.contains(&names(&one)[0]));
    }

    #[tokio::test]
    async fn news_are_waited_for() {
        let followers = Arc::new(Followers::default());
        let arrivals = follow(&followers, "a");
        followers.hold().hand_over(&Tenant::single(), &stream("a"), &entries(1, b"x"));
        arrivals.wait().await;
        assert_eq!(taken(&arrivals).len(), 1);
    }
}
