//! What equal live tails share: the look at what has arrived, and the frames that are made of it.
//!
//! Tails of one tenant with one query find the same entries, whatever they do with them then. Each asks for itself; the
//! first that asks about an append looks at it, and leaves what it found to those that were open at that moment. So a
//! hundred readers of one query cost one look at each line, also those that read nothing and only have to be told what they missed.
//!
//! What was left is gone once all have asked, or when [`LEFT_BYTES_MAX`] are exceeded; it counts among what tails hold
//! (see `tails`). Whoever comes late looks again. Of frames the last [`FRAMES_KEPT`] are kept: tails that send the same
//! entries in the same form send the same bytes, which also wait once for all who are slow.

use crate::tail_feed::entry_bytes;
use crate::tails::{HeldBytes, Tails};
use axum::extract::ws::Utf8Bytes;
use logyard_engine::{Error, Follow, LogEntry};
use logyard_store::{Append, Arrived};
use logyard_wire::loki_tail::TailForm;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};

/// Most bytes of entries that wait for equal tails: some pushes of the largest agents.
const LEFT_BYTES_MAX: usize = 1 << 20;

/// Frames that are kept for equal tails: those of one push of many lines.
const FRAMES_KEPT: usize = 4;

/// A followed query, of one tail or of equal ones.
#[derive(Debug)]
pub(crate) struct SharedFollow {
    pub(crate) follow: Follow,
    /// Held while somebody looks: the others would look at the same.
    turn: AsyncMutex<()>,
    left: Mutex<Left>,
    frames: Mutex<VecDeque<KeptFrame>>,
}

/// A frame that tells nothing but its entries.
#[derive(Debug)]
struct KeptFrame {
    form: TailForm,
    /// They keep their addresses, and nothing else of the entries.
    entries: Vec<Weak<LogEntry>>,
    text: Utf8Bytes,
}

/// What was found and not yet asked for by all.
#[derive(Debug)]
struct Left {
    appends: HashMap<Append, Found>,
    /// The oldest first; those that are gone from `appends` among them.
    order: VecDeque<Append>,
    bytes: HeldBytes,
    own_bytes: usize,
}

/// Entries of one append.
#[derive(Debug)]
struct Found {
    entries: Arc<[Arc<LogEntry>]>,
    bytes: usize,
    /// Tails that have not asked.
    waits_for: usize,
}

impl SharedFollow {
    pub(crate) fn new(follow: Follow, tails: &Arc<Tails>) -> Self {
        let (appends, order) = (HashMap::new(), VecDeque::new());
        let left = Left { appends, order, bytes: tails.held(), own_bytes: 0 };
        Self { follow, turn: AsyncMutex::default(), left: Mutex::new(left), frames: Mutex::default() }
    }

    /// Waits until no equal tail looks.
    pub(crate) async fn turn(&self) -> AsyncMutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Returns what an equal tail has left of an append.
    pub(crate) fn take(&self, append: &Append) -> Option<Arc<[Arc<LogEntry>]>> {
        let mut left = self.left();
        let found = left.appends.get_mut(append)?;
        found.waits_for = found.waits_for.saturating_sub(1);
        let entries = Arc::clone(&found.entries);
        if found.waits_for == 0 {
            left.remove(append);
        }
        Some(entries)
    }

    /// Looks at a view, and leaves what passes to equal tails. Errors and cost: those of [`Follow::find`].
    pub(crate) fn find(self: &Arc<Self>, view: &Arrived) -> Result<Arc<[Arc<LogEntry>]>, Error> {
        let mut found = Vec::new();
        self.follow.find(view, &mut found)?;
        let entries: Arc<[Arc<LogEntry>]> = found.into_iter().map(Arc::new).collect();
        // Each tail has one, and the caller a clone of one of them.
        let waits_for = Arc::strong_count(self).saturating_sub(2);
        if let Some(append) = view.append().filter(|_| waits_for > 0) {
            let bytes = entries.iter().map(|entry| entry_bytes(entry)).sum();
            self.left().add(append, Found { entries: Arc::clone(&entries), bytes, waits_for });
        }
        Ok(entries)
    }

    /// Returns a frame that an equal tail has made of the first of these entries, and how many they are.
    pub(crate) fn frame(&self, form: &TailForm, entries: &[Arc<LogEntry>]) -> Option<(Utf8Bytes, usize)> {
        let is_of = |frame: &&KeptFrame| {
            let same = |(kept, entry): (&Weak<LogEntry>, &Arc<LogEntry>)| kept.as_ptr() == Arc::as_ptr(entry);
            frame.entries.len() <= entries.len()
                && frame.entries.iter().zip(entries).all(same)
                && frame.form == *form
        };
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.iter().find(is_of).map(|frame| (frame.text.clone(), frame.entries.len()))
    }

    /// Keeps a frame of these entries for equal tails, if there are any.
    pub(crate) fn keep_frame(self: &Arc<Self>, form: &TailForm, entries: &[Arc<LogEntry>], text: &Utf8Bytes) {
        if Arc::strong_count(self) < 2 || entries.is_empty() {
            return;
        }
        let entries = entries.iter().map(Arc::downgrade).collect();
        let kept = KeptFrame { form: form.clone(), entries, text: text.clone() };
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() >= FRAMES_KEPT {
            frames.pop_front();
        }
        frames.push_back(kept);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Left {
    fn add(&mut self, append: Append, found: Found) {
        while self.own_bytes + found.bytes > LEFT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(&oldest);
        }
        if !self.bytes.take(found.bytes) {
            return;
        }
        self.own_bytes += found.bytes;
        self.order.push_back(append.clone());
        self.appends.insert(append, found);
    }

    fn remove(&mut self, append: &Append) {
        let Some(found) = self.appends.remove(append) else { return };
        self.bytes.give_back(found.bytes);
        self.own_bytes -= found.bytes;
        while self.order.front().is_some_and(|oldest| !self.appends.contains_key(oldest)) {
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ServerSettings;
    use logyard_codec::Entries;
    use logyard_engine::EngineSettings;
    use logyard_model::{LabelSet, MatchOp, Matcher, Stream, Tenant};
    use logyard_store::{Arrivals, Store, StoreBatch, StoreParts, StoreSettings};
    use logyard_sys::{Random, SimClock, SimDisk};
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Registry;
    use std::path::Path;

    const NOW_NS: i64 = 1_795_230_000_000_000_000;

    struct World {
        store: Store,
        tails: Arc<Tails>,
    }

    impl World {
        fn new() -> Self {
            let parts = StoreParts {
                disk: Arc::new(SimDisk::new()),
                clock: Arc::new(SimClock::new(NOW_NS)),
                random: Arc::new(Random::seeded(1)),
                registry: &mut Registry::default(),
            };
            let store = Store::open(Path::new("/data"), StoreSettings::default(), parts).unwrap();
            Self { store, tails: Tails::new(&ServerSettings::default(), Gauge::default()) }
        }

        fn share(&self, tenant: &str, query: &str) -> Arc<SharedFollow> {
            let expr = logyard_logql::parse(query).unwrap();
            let make = || Follow::new(&EngineSettings::default(), &expr, NOW_NS);
            self.tails.share(&Tenant::new(tenant).unwrap(), &expr, make).unwrap()
        }

        fn arrivals(&self) -> Arrivals {
            let matcher = Matcher::new("app", MatchOp::Equal, "a").unwrap();
            self.store.arrivals(&Tenant::single(), &[matcher])
        }

        async fn append(&self, lines: usize, line: &str) {
            let labels = LabelSet::from_pairs([("app", "a")]);
            let mut entries = Entries::default();
            for number in 0..lines {
                let ts_ns = NOW_NS + i64::try_from(number).unwrap();
                entries.push(ts_ns, line.as_bytes(), "", &LabelSet::default());
            }
            let stream = Arc::new(Stream::new(&Tenant::single(), labels));
            let chunks = vec![(stream, entries)];
            let batch = StoreBatch { tenant: Tenant::single(), id: None, chunks, encoded: None };
            self.store.append(batch).await.unwrap();
        }
    }

    fn look(follow: &Arc<SharedFollow>, view: &Arrived) -> usize {
        // As a tail does.
        let of_tail = Arc::clone(follow);
        of_tail.find(view).unwrap().len()
    }

    #[tokio::test]
    async fn what_one_finds_is_left_to_the_others_once() {
        let world = World::new();
        world.store.recovered().await.unwrap();
        let query = r#"{app="a"} |= "x""#;
        let first = world.share("fake", query);
        let alone = world.arrivals();
        world.append(3, "x").await;
        // Nobody else is there to take it.
        let (views, _) = alone.take();
        assert_eq!(look(&first, &views[0]), 3);
        assert!(first.take(&views[0].append().unwrap()).is_none());
        let (second, third) = (world.share("fake", query), world.share("fake", query));
        assert!(Arc::ptr_eq(&first, &second));
        for (tenant, other) in [("other", query), ("fake", r#"{app="a"}"#)] {
            assert!(!Arc::ptr_eq(&first, &world.share(tenant, other)));
        }
        let now = r#"{app="a"} | line_format "{{ now }}""#;
        assert!(!Arc::ptr_eq(&world.share("fake", now), &world.share("fake", now)));
        world.append(2, "x").await;
        let (views, _) = alone.take();
        assert_eq!(look(&first, &views[0]), 2);
        let append = views[0].append().unwrap();
        for follow in [&second, &third] {
            assert_eq!(follow.take(&append).unwrap().len(), 2);
        }
        assert!(third.take(&append).is_none());
        let left = first.left();
        assert_eq!((left.own_bytes, left.order.len()), (0, 0));
    }

    #[tokio::test]
    async fn frames_of_the_same_entries_are_made_once() {
        let world = World::new();
        let (first, second) = (world.share("fake", r#"{app="a"}"#), world.share("fake", r#"{app="a"}"#));
        let entry = |ts_ns| {
            let none = || Arc::new(LabelSet::default());
            Arc::new(LogEntry { ts_ns, line: Vec::new(), stream: none(), metadata: none(), parsed: none() })
        };
        let entries: Vec<_> = (0..4).map(entry).collect();
        first.keep_frame(&TailForm::Old, &entries[..2], &"two".into());
        assert_eq!(second.frame(&TailForm::Old, &entries), Some(("two".into(), 2)));
        assert_eq!(second.frame(&TailForm::Old, &entries[..2]), Some(("two".into(), 2)));
        let current = TailForm::Current { flags: Vec::new(), categorize: false };
        assert_eq!(second.frame(&current, &entries), None);
        // Fewer, others, and equal ones that are not the same.
        let equal: Vec<_> = (0..4).map(entry).collect();
        for others in [&entries[..1], &entries[1..], &equal] {
            assert_eq!(second.frame(&TailForm::Old, others), None);
        }
        for at in 0..FRAMES_KEPT {
            first.keep_frame(&TailForm::Old, &equal[at..], &"new".into());
        }
        assert_eq!(second.frame(&TailForm::Old, &entries), None);
        assert_eq!(second.frame(&TailForm::Old, &equal), Some(("new".into(), 4)));
        // For one tail nothing is kept.
        drop(second);
        first.keep_frame(&TailForm::Old, &entries, &"alone".into());
        assert_eq!(first.frame(&TailForm::Old, &entries), None);
    }

    #[tokio::test]
    async fn what_is_left_is_bounded() {
        let world = World::new();
        world.store.recovered().await.unwrap();
        let (first, _second) = (world.share("fake", r#"{app="a"}"#), world.share("fake", r#"{app="a"}"#));
        let arrivals = world.arrivals();
        let mut appends = Vec::new();
        for _ in 0..5 {
            world.append(10, &"x".repeat(40_000)).await;
            let (views, _) = arrivals.take();
            assert_eq!(look(&first, &views[0]), 10);
            appends.push(views[0].append().unwrap());
        }
        let bytes = first.left().own_bytes;
        assert!((1..=LEFT_BYTES_MAX).contains(&bytes), "{bytes}");
        let left: Vec<bool> = appends.iter().map(|append| first.take(append).is_some()).collect();
        assert_eq!(left, [false, false, false, true, true]);
        assert_eq!(first.left().own_bytes, 0);
    }
}
