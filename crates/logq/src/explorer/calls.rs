//! Calls to the store, each a future that tells what came of it. They run in the explorer's own loop: nothing is spawned,
//! and a call that is ended is dropped.
//!
//! A store that is away is asked again and again, so a question survives a restart of it. What has come by then stays;
//! following goes on behind the newest entry, as `logq tail` does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use logyard_client::{Client, InstantQuery, Kind, RangeQuery, TailQuery, Tailing};
use logyard_model::{Direction, TimeRange};
use logyard_wire::loki_query::{QueryAnswer, QueryData};
use tokio::sync::mpsc::Sender;

use super::event::{Effect, Event, Slot};
use super::labels::Counted;
use super::state::PAGE_ENTRIES;
use crate::chart::histogram::Steps;
use crate::entry::{Entry, merge};
use crate::pages::Pages;
use crate::series::flatten;
use crate::tail::Tail;

/// Pause before a store that is away is asked again.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Pause before a live connection that ended is opened anew, or between polls where there is none.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Most entries that are caught up with after the store was away; they must all be in memory at once.
const CAUGHT_UP_MAX: usize = 20_000;

/// Entries of a stream before and behind an instant.
const CONTEXT_ENTRIES: usize = 100;

/// How far around an instant its context is looked for: a day.
const CONTEXT_NS: i64 = 86_400_000_000_000;

/// Points of the bars of a series.
const SERIES_POINTS: usize = 60;

/// What a call needs.
#[derive(Clone)]
pub(crate) struct Asker<'a> {
    /// The store.
    pub(crate) client: Client,
    /// The time of day.
    pub(crate) now_ns: &'a dyn Fn() -> i64,
    /// Where it is told what came of it; bounded, so a tail faster than the screen waits.
    pub(crate) events: Sender<Event>,
}

type Call<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The calls under way, at most one of a kind.
pub(crate) struct Calls<'a> {
    asker: Asker<'a>,
    running: FuturesUnordered<Abortable<Call<'a>>>,
    handles: BTreeMap<Slot, AbortHandle>,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(asker: Asker<'a>) -> Self {
        Self { asker, running: FuturesUnordered::new(), handles: BTreeMap::new() }
    }

    /// Lets the calls go on until one ends; never returns while there is none.
    pub(crate) async fn proceed(&mut self) {
        if self.running.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Starts or ends a call; other effects are not its own and are left alone.
    pub(crate) fn start(&mut self, effect: Effect) {
        let asker = self.asker.clone();
        match effect {
            Effect::Stop(slot) => {
                if let Some(handle) = self.handles.remove(&slot) {
                    handle.abort();
                }
            }
            Effect::AskEntries { question, query, range, limit, is_older } => {
                self.run(Slot::Ask, async move {
                    let answered = asker.newest(Slot::Ask, question, &query, range, limit).await;
                    if let Some(entries) = answered {
                        asker.tell(Event::Entries(question, entries, is_older)).await;
                    }
                });
            }
            Effect::AskSamples { question, query, range } => self.run(Slot::Ask, async move {
                let step_ns = u64::try_from(Steps::cut(range, SERIES_POINTS).step_ns).unwrap_or(1);
                let call = range_query(&query, range, PAGE_ENTRIES, Some(Duration::from_nanos(step_ns)));
                if let Some(answer) =
                    asker.persist(Slot::Ask, question, || asker.client.query_range(&call)).await
                {
                    asker.remark(&answer).await;
                    asker.tell(Event::Samples(question, flatten(answer.data))).await;
                }
            }),
            Effect::AskVolume { question, query, steps } => self.run(Slot::Volume, async move {
                let (query, range, step) = steps.query(&query);
                let call = range_query(&query, range, PAGE_ENTRIES, Some(step));
                if let Some(answer) =
                    asker.persist(Slot::Volume, question, || asker.client.query_range(&call)).await
                {
                    asker.tell(Event::Volume(question, flatten(answer.data))).await;
                }
            }),
            Effect::Follow { question, query, seen } => {
                self.run(Slot::Follow, async move { asker.follow(question, &query, &seen).await });
            }
            Effect::AskNames(range) => self.run(Slot::Names, async move {
                if let Some(names) = asker.persist(Slot::Names, 0, || asker.client.labels(range)).await {
                    asker.tell(Event::Names(names)).await;
                }
            }),
            Effect::AskValues(name, range) => self.run(Slot::Values, async move {
                if let Some(values) =
                    asker.persist(Slot::Values, 0, || asker.client.label_values(&name, range)).await
                {
                    asker.tell(Event::Values(name, values)).await;
                }
            }),
            Effect::AskCounts { name, selector, range } => self.run(Slot::Counts, async move {
                if let Some(values) = asker.counts(&name, &selector, range).await {
                    asker.tell(Event::Counts(name, values)).await;
                }
            }),
            Effect::AskContext { question, selector, ts_ns } => {
                self.run(Slot::Context, async move { asker.context(question, &selector, ts_ns).await });
            }
            Effect::Copy(_) | Effect::Redraw | Effect::Quit => {}
        }
    }

    fn run(&mut self, slot: Slot, call: impl Future<Output = ()> + 'a) {
        let (handle, registration) = AbortHandle::new_pair();
        let call: Call<'a> = Box::pin(call);
        self.running.push(Abortable::new(call, registration));
        if let Some(before) = self.handles.insert(slot, handle) {
            before.abort();
        }
    }
}

impl Asker<'_> {
    async fn tell(&self, event: Event) {
        // Nobody listens any more once the explorer is left.
        drop(self.events.send(event).await);
    }

    async fn remark(&self, answer: &QueryAnswer) {
        if let Some(warning) = answer.warnings.first() {
            self.tell(Event::Remark(warning.clone())).await;
        }
    }

    /// Makes a call until it is answered or refused; what refused it is told.
    async fn persist<T, F: Future<Output = Result<T, logyard_client::Error>>>(
        &self,
        slot: Slot,
        question: u64,
        call: impl Fn() -> F,
    ) -> Option<T> {
        let mut away = false;
        loop {
            match call().await {
                Ok(answer) => {
                    if away {
                        self.tell(Event::Back(slot)).await;
                    }
                    return Some(answer);
                }
                Err(error) if error.kind() == Kind::Invalid => {
                    self.tell(Event::Refused(slot, question, error.to_string())).await;
                    return None;
                }
                Err(error) => {
                    self.away(slot, &error).await;
                    away = true;
                }
            }
        }
    }

    /// Tells that the store is away, and waits.
    async fn away(&self, slot: Slot, error: &logyard_client::Error) {
        self.tell(Event::Away(slot, error.to_string())).await;
        // A certificate may have ended meanwhile; why another cannot be used, the next attempt says.
        drop(self.client.renew_certificates());
        tokio::time::sleep(AWAY_PAUSE.max(error.retry_after().unwrap_or_default())).await;
    }

    /// Returns the newest entries of a range, oldest first.
    async fn newest(
        &self,
        slot: Slot,
        question: u64,
        query: &str,
        range: TimeRange,
        limit: usize,
    ) -> Option<Vec<Entry>> {
        let mut pages = Pages::new(query, range, Direction::Backward, limit, PAGE_ENTRIES * 5);
        let mut all = Vec::new();
        while let Some(call) = pages.next() {
            let answer = self.persist(slot, question, || self.client.query_range(&call)).await?;
            self.remark(&answer).await;
            let taken = match answer.data {
                QueryData::Streams(streams) => Ok(pages.take(merge(streams, Direction::Backward))),
                _ => Err("the store answered a log query with samples; check the address".to_owned()),
            };
            match taken {
                Ok(page) => all.extend(page),
                Err(text) => {
                    self.tell(Event::Refused(slot, question, text)).await;
                    return None;
                }
            }
        }
        all.reverse();
        Some(all)
    }

    async fn follow(&self, question: u64, query: &str, seen: &[Entry]) {
        let mut tail = Tail::new(seen, (self.now_ns)());
        let mut is_live = true;
        loop {
            // Opened before the rest is read, so that nothing falls between.
            let mut tailing = None;
            if is_live {
                let live = TailQuery { query: query.to_owned(), start_ns: (self.now_ns)(), limit: 1 };
                match self.client.tail(&live).await {
                    Ok(opened) => tailing = Some(opened),
                    // A store or a proxy without websockets; or the query, which reading tells as well.
                    Err(error) => is_live = error.kind() != Kind::Invalid,
                }
            }
            let range = tail.range((self.now_ns)());
            let Some(read) = self.newest(Slot::Follow, question, query, range, CAUGHT_UP_MAX).await else {
                return;
            };
            if read.len() >= CAUGHT_UP_MAX {
                let text =
                    format!("more than {CAUGHT_UP_MAX} entries came meanwhile; r shows the newest alone");
                self.tell(Event::Remark(text)).await;
            }
            self.arrived(question, tail.take(read, (self.now_ns)())).await;
            if let Some(tailing) = tailing
                && let Err(error) = self.live(question, tailing, &mut tail).await
            {
                self.tell(Event::Remark(format!("{error}; asking again and again instead"))).await;
                is_live = false;
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    async fn arrived(&self, question: u64, fresh: Vec<Entry>) {
        if !fresh.is_empty() {
            self.tell(Event::Arrived(question, fresh)).await;
        }
    }

    /// Tells what arrives until the connection ends, or returns why the store ended it.
    async fn live(
        &self,
        question: u64,
        mut tailing: Tailing,
        tail: &mut Tail,
    ) -> Result<(), logyard_client::Error> {
        while let Some(frame) = tailing.next().await? {
            if !frame.dropped_entries.is_empty() {
                let count = frame.dropped_entries.len();
                self.tell(Event::Remark(format!(
                    "too slow: the store left out {count} entries or more; r asks for them"
                )))
                .await;
            }
            let fresh = tail.arrived(merge(frame.streams, Direction::Forward), (self.now_ns)());
            self.arrived(question, fresh).await;
        }
        Ok(())
    }

    /// Returns the values of a label with counts; without them where they cannot be counted.
    async fn counts(&self, name: &str, selector: &str, range: TimeRange) -> Option<Vec<Counted>> {
        let length_ms = range.end_ns.saturating_sub(range.start_ns) / 1_000_000;
        let query = format!("sum by ({name}) (count_over_time({selector} [{length_ms}ms]))");
        if logyard_logql::parse(&query).is_ok() {
            let call = InstantQuery { query, time_ns: range.end_ns };
            let counted = || async {
                match self.client.query(&call).await {
                    // Such as a span longer than the store counts at once: the values alone will do.
                    Err(error) if error.kind() == Kind::Invalid => Ok(None),
                    answer => answer.map(Some),
                }
            };
            if let Some(answer) = self.persist(Slot::Counts, 0, counted).await? {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "casts of floats saturate"
                )]
                let values = flatten(answer.data).into_iter().filter_map(|sample| {
                    sample.labels.get(name).map(|value| (value.clone(), Some(sample.value as u64)))
                });
                return Some(values.collect());
            }
        }
        let values = self.persist(Slot::Counts, 0, || self.client.label_values(name, range)).await?;
        Some(values.into_iter().map(|value| (value, None)).collect())
    }

    async fn context(&self, question: u64, selector: &str, ts_ns: i64) {
        let before = TimeRange { start_ns: ts_ns.saturating_sub(CONTEXT_NS), end_ns: ts_ns };
        let Some(mut entries) = self.newest(Slot::Context, question, selector, before, CONTEXT_ENTRIES).await
        else {
            return;
        };
        let call = RangeQuery {
            query: selector.to_owned(),
            range: TimeRange { start_ns: ts_ns, end_ns: ts_ns.saturating_add(CONTEXT_NS) },
            limit: CONTEXT_ENTRIES + 1,
            direction: Direction::Forward,
            step: None,
        };
        let answer = self.persist(Slot::Context, question, || self.client.query_range(&call)).await;
        if let Some(QueryData::Streams(streams)) = answer.map(|answer| answer.data) {
            entries.extend(merge(streams, Direction::Forward));
            self.tell(Event::Context(question, entries)).await;
        }
    }
}

fn range_query(query: &str, range: TimeRange, limit: usize, step: Option<Duration>) -> RangeQuery {
    RangeQuery { query: query.to_owned(), range, limit, direction: Direction::Backward, step }
}
