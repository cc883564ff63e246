//! The calls of the write path: unpack, decode, validate, append, count.
//!
//! Requests that say they are small once unpacked are prepared where they arrive, all others on a bounded
//! number of blocking threads, so that no runtime thread is held for long. Preparing ends with the encoded
//! batch: the store has nothing left to compress on the caller's thread. Once a request is decoded it runs to its end even if
//! the sender goes away: the store would finish anyway, and the counters stay in balance.

use crate::announced;
use crate::error::{Error, Kind};
use crate::metrics::{Form, Metrics, Received};
use crate::prepare::{self, Context, Prepared};
use crate::prepare_documents::{self, DocumentVerdict, Item};
use crate::prepare_native;
use crate::rate::Rates;
use crate::reason::Reason;
use crate::settings::IngestSettings;
use crate::verdict::Verdict;
use bytes::Bytes;
use logyard_codec::{BatchId, Entries, TextChunk, encode_batch, encode_text_table};
use logyard_model::{LabelSet, Tenant};
use logyard_store::{Encoded, Store, StoreBatch};
use logyard_sys::Clock;
use logyard_wire::body::{Encoding, unpack};
use logyard_wire::documents::{self, FieldNames};
use logyard_wire::loki_push::{Format, unpack_push};
use logyard_wire::otlp;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this size, unpacked, are prepared on the runtime's own threads: at most about half a millisecond.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Quarters of the bytes of its lines that a body and the table beside it may take to be kept as it came. What packs
/// badly, or was rejected, or is said twice in the table, takes more; then packing the lines anew pays.
const PACKED_QUARTERS_MAX: usize = 3;

/// Wait that is suggested when the store cannot take a batch.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(1);

/// The front of the write path. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

struct Inner {
    settings: IngestSettings,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    rates: Rates,
    workers: Semaphore,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// A push in one of Loki's forms, or of OpenTelemetry's, as it arrived.
#[derive(Debug)]
pub struct LokiPush {
    /// Whose entries they are.
    pub tenant: Tenant,
    /// The body.
    pub body: Bytes,
    /// Header `Content-Type`.
    pub content_type: Option<String>,
    /// Header `Content-Encoding`, empty if there was none.
    pub content_encoding: String,
    /// What the body counts for in a budget of the caller's. Given back when the request has ended, which may be
    /// after its sender has gone away.
    pub room: Option<OwnedSemaphorePermit>,
}

/// A push of JSON documents, as it arrived.
#[derive(Debug)]
pub struct DocumentPush {
    /// The request; its media type is not looked at.
    pub push: LokiPush,
    /// The form of the body.
    pub form: documents::Form,
    /// What the fields of a document mean.
    pub names: FieldNames,
}

/// A push of encoded chunks, as it arrived.
#[derive(Debug)]
pub struct NativePush {
    /// Whose entries they are.
    pub tenant: Tenant,
    /// Identifies the batch; one without an id is stored again if it is sent again.
    pub id: Option<BatchId>,
    /// The encoded batch.
    pub body: Bytes,
    /// What the body counts for in a budget of the caller's. Given back when the request has ended, which may be
    /// after its sender has gone away.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Ingest {
    /// Puts the write path together. Registers metrics under `logyard_ingest_`.
    pub fn new(
        settings: IngestSettings,
        store: Store,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let metrics = Metrics::register(registry);
        let inner = Inner {
            settings,
            store,
            clock,
            metrics,
            rates: Rates::default(),
            workers: Semaphore::new(workers),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> &IngestSettings {
        &self.inner.settings
    }

    /// Returns the time of day by the clock of the write path, ns since the Unix epoch.
    pub fn now_ns(&self) -> i64 {
        self.inner.clock.now_ns()
    }

    /// Returns nanoseconds since some fixed instant, for spans.
    pub fn monotonic_ns(&self) -> u64 {
        self.inner.clock.monotonic_ns()
    }

    /// Takes a push in one of Loki's forms. What the verdict accepts is durable and visible.
    ///
    /// Errors: nothing of the request was stored; see [`Error::kind`].
    /// Cost: needs a tokio runtime; safe to drop, the request then ends in the background.
    pub async fn push_loki(&self, push: LokiPush) -> Result<Verdict, Error> {
        let ingest = self.clone();
        finished(tokio::spawn(async move { ingest.run_loki(push).await }).await)
    }

    /// Takes an export of OpenTelemetry's, JSON or protobuf. One without records is accepted, and changes nothing.
    ///
    /// Errors and cost as for [`Ingest::push_loki`].
    pub async fn push_otlp(&self, push: LokiPush) -> Result<Verdict, Error> {
        let ingest = self.clone();
        finished(tokio::spawn(async move { ingest.run_otlp(push).await }).await)
    }

    /// Takes JSON documents, as Elasticsearch's `_bulk` has them or one a line.
    ///
    /// Errors and cost as for [`Ingest::push_loki`]; what becomes of each document is in the verdict.
    pub async fn push_documents(&self, push: DocumentPush) -> Result<DocumentVerdict, Error> {
        let ingest = self.clone();
        finished(tokio::spawn(async move { ingest.run_documents(push).await }).await)
    }

    /// Takes a batch of encoded chunks; a batch whose id is known is acknowledged and not stored again.
    ///
    /// Errors and cost as for [`Ingest::push_loki`].
    pub async fn push_native(&self, push: NativePush) -> Result<Verdict, Error> {
        let ingest = self.clone();
        finished(tokio::spawn(async move { ingest.run_native(push).await }).await)
    }

    async fn run_loki(&self, mut push: LokiPush) -> Result<Verdict, Error> {
        let _room = push.room.take();
        let inner = Arc::clone(&self.inner);
        let tenant = push.tenant.clone();
        let raw_bytes = announced::of_loki(&push.body, &push.content_encoding);
        let job = move || {
            let tenant = push.tenant.clone();
            inner.prepare_loki(push).and_then(|prepared| inner.admit(&tenant, prepared))
        };
        let prepared = self.work(raw_bytes, job).await?;
        self.append(tenant, None, prepared).await
    }

    async fn run_otlp(&self, mut push: LokiPush) -> Result<Verdict, Error> {
        let _room = push.room.take();
        let inner = Arc::clone(&self.inner);
        let tenant = push.tenant.clone();
        let raw_bytes = announced::of_plain(&push.body, &push.content_encoding);
        let job = move || {
            let tenant = push.tenant.clone();
            inner.prepare_otlp(push).and_then(|prepared| inner.admit(&tenant, prepared))
        };
        let prepared = self.work(raw_bytes, job).await?;
        self.append(tenant, None, prepared).await
    }

    async fn run_documents(&self, mut push: DocumentPush) -> Result<DocumentVerdict, Error> {
        let _room = push.push.room.take();
        let inner = Arc::clone(&self.inner);
        let tenant = push.push.tenant.clone();
        let raw_bytes = announced::of_plain(&push.push.body, &push.push.content_encoding);
        let job = move || {
            let tenant = push.push.tenant.clone();
            let (prepared, items) = inner.prepare_documents(push)?;
            Ok((inner.admit(&tenant, prepared)?, items))
        };
        let (prepared, items) = self.work(raw_bytes, job).await?;
        let verdict = self.append(tenant, None, prepared).await?;
        Ok(DocumentVerdict { verdict, items })
    }

    async fn run_native(&self, mut push: NativePush) -> Result<Verdict, Error> {
        let _room = push.room.take();
        let inner = Arc::clone(&self.inner);
        let (tenant, id) = (push.tenant.clone(), push.id);
        let raw_bytes = announced::of_batch(&push.body);
        let job = move || {
            let tenant = push.tenant.clone();
            inner.prepare_native(push).and_then(|prepared| inner.admit(&tenant, prepared))
        };
        let prepared = self.work(Some(raw_bytes), job).await?;
        self.append(tenant, id, prepared).await
    }

    /// Runs `job` here if its body is known to be small once unpacked, else on one of the workers.
    async fn work<T: Send + 'static>(
        &self,
        raw_bytes: Option<usize>,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if raw_bytes.is_some_and(|bytes| bytes <= INLINE_BYTES_MAX) {
            return job();
        }
        let _worker = self
            .inner
            .workers
            .acquire()
            .await
            .map_err(|_| Error::new(Kind::Unavailable, "cannot decode push: shutting down"))?;
        finished(tokio::task::spawn_blocking(job).await)
    }

    async fn append(
        &self,
        tenant: Tenant,
        id: Option<BatchId>,
        prepared: Prepared,
    ) -> Result<Verdict, Error> {
        let Prepared { chunks, encoded, mut verdict, received, entries, bytes, .. } = prepared;
        let inner = &self.inner;
        if !chunks.is_empty() {
            let batch = StoreBatch { tenant, id, chunks, encoded };
            match inner.store.append(batch).await {
                Ok(appended) => verdict.duplicate = appended.duplicate,
                Err(error) => {
                    inner.give_up(&received, verdict, Reason::StoreUnavailable, (entries, bytes));
                    return Err(store_error(&error));
                }
            }
        }
        verdict.accepted = entries;
        inner.metrics.count(&received, &verdict);
        Ok(verdict)
    }
}

impl Inner {
    fn prepare_loki(&self, push: LokiPush) -> Result<Prepared, Error> {
        let unpacked = unpack_push(
            push.body,
            push.content_type.as_deref(),
            &push.content_encoding,
            self.settings.push_unpacked_bytes_max,
        );
        let unpacked = unpacked.inspect_err(|_| self.metrics.refused(Form::LokiProtobuf))?;
        let form = match unpacked.format() {
            Format::Json => Form::LokiJson,
            Format::Protobuf => Form::LokiProtobuf,
        };
        let request = unpacked.decode().inspect_err(|_| self.metrics.refused(form))?;
        if request.streams.is_empty() {
            self.metrics.refused(form);
            return Err(Error::new(Kind::Empty, "error at least one valid stream is required for ingestion"));
        }
        let prepared = self.with_context(&push.tenant, |ctx| match unpacked.snappy() {
            Some(_) => prepare::prepare_with_places(ctx, form, &request, unpacked.bytes()),
            None => prepare::prepare(ctx, form, &request),
        });
        let mut prepared = prepared.inspect_err(|_| self.metrics.refused(form))?;
        prepared.encoded = unpacked.snappy().and_then(|snappy| keep_packed(&prepared, snappy));
        Ok(prepared)
    }

    fn prepare_otlp(&self, push: LokiPush) -> Result<Prepared, Error> {
        let LokiPush { tenant, body, content_type, content_encoding, .. } = push;
        let bytes_max = self.settings.push_unpacked_bytes_max;
        let refused = |_: &logyard_wire::Error| self.metrics.refused(Form::Otlp);
        let export = otlp::unpack_export(body, content_type.as_deref(), &content_encoding, bytes_max)
            .inspect_err(refused)?;
        let request = export.decode(self.clock.now_ns()).inspect_err(refused)?;
        let prepared = self.with_context(&tenant, |ctx| prepare::prepare(ctx, Form::Otlp, &request));
        Ok(prepared.inspect_err(refused)?)
    }

    fn prepare_documents(&self, push: DocumentPush) -> Result<(Prepared, Vec<Item>), Error> {
        let DocumentPush { push: LokiPush { tenant, body, content_encoding, .. }, form, names } = push;
        let bytes_max = self.settings.push_unpacked_bytes_max;
        let counted = match form {
            documents::Form::Bulk => Form::Bulk,
            documents::Form::Lines => Form::JsonLines,
        };
        let refused = |_: &logyard_wire::Error| self.metrics.refused(counted);
        let encoding = Encoding::from_header(&content_encoding).inspect_err(refused)?;
        let body = unpack(body, encoding, bytes_max).inspect_err(refused)?;
        let documents = documents::decode(form, &body, &names, self.clock.now_ns(), bytes_max);
        let documents = documents.inspect_err(refused)?;
        let prepared = self.with_context(&tenant, |ctx| prepare_documents::prepare(ctx, counted, &documents));
        Ok(prepared.inspect_err(refused)?)
    }

    fn prepare_native(&self, push: NativePush) -> Result<Prepared, Error> {
        let batch = logyard_codec::decode_batch(&push.body, self.settings.push_unpacked_bytes_max).map_err(
            |error| {
                self.metrics.refused(Form::Native);
                match error.kind() {
                    logyard_codec::Kind::Limited => Error::new(
                        Kind::TooLarge,
                        format!("{error}; send smaller batches or raise limits.push_unpacked_bytes_max"),
                    ),
                    _ => Error::new(Kind::Invalid, error.to_string()),
                }
            },
        )?;
        let prepared = self.with_context(&push.tenant, |ctx| prepare_native::prepare(ctx, batch, push.body));
        Ok(prepared.inspect_err(|_| self.metrics.refused(Form::Native))?)
    }

    /// Takes the batch out of the tenant's rate, and sees to it that the store need not encode it.
    fn admit(&self, tenant: &Tenant, mut prepared: Prepared) -> Result<Prepared, Error> {
        let (entries, bytes) = (prepared.entries, prepared.bytes);
        let taken = self.rates.take(&self.settings, tenant, entries, bytes, self.clock.monotonic_ns());
        if let Err(error) = taken {
            self.give_up(&prepared.received, prepared.verdict, Reason::RateLimited, (entries, bytes));
            return Err(error);
        }
        if prepared.encoded.is_none() && !prepared.chunks.is_empty() {
            let chunks: Vec<(&LabelSet, &Entries)> =
                prepared.chunks.iter().map(|(stream, entries)| (&*stream.labels, entries)).collect();
            prepared.encoded = Some(Encoded::Batch(Bytes::from(encode_batch(&chunks))));
        }
        Ok(prepared)
    }

    fn with_context<T>(&self, tenant: &Tenant, job: impl FnOnce(&Context<'_>) -> T) -> T {
        let newest_ns = |id| self.store.stream_newest_ns(tenant, id);
        job(&Context { settings: &self.settings, tenant, now_ns: self.clock.now_ns(), newest_ns: &newest_ns })
    }

    /// Counts a request of which nothing is stored.
    fn give_up(
        &self,
        received: &Received,
        mut verdict: Verdict,
        reason: Reason,
        (entries, bytes): (u64, u64),
    ) {
        if entries > 0 {
            verdict.count(reason, entries, bytes);
        }
        self.metrics.count(received, &verdict);
    }
}

/// Keeps a body as it came, with a table of where its lines lie, if that takes little beside the lines that are kept:
/// packing them anew takes longer than all the rest of a push.
fn keep_packed(prepared: &Prepared, snappy: &Bytes) -> Option<Encoded> {
    let starts = prepared.starts.as_ref()?;
    let worth_bytes = usize::try_from(prepared.bytes).unwrap_or(usize::MAX) / 4 * PACKED_QUARTERS_MAX;
    // Before the table is made: much of the body may have been rejected.
    if snappy.len() > worth_bytes {
        return None;
    }
    let chunks = prepared.chunks.iter().zip(starts);
    let chunks: Vec<TextChunk<'_>> = chunks
        .map(|((stream, entries), starts)| TextChunk { labels: &stream.labels, entries, starts })
        .collect();
    let table = encode_text_table(&chunks);
    let is_worth = table.len() + snappy.len() <= worth_bytes;
    is_worth.then(|| Encoded::Text { table: Bytes::from(table), snappy: snappy.clone() })
}

fn finished<T>(joined: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    joined.unwrap_or_else(|_| {
        Err(Error::new(Kind::Internal, "push failed: internal error, see the log of logyard"))
    })
}

fn store_error(error: &logyard_store::Error) -> Error {
    match error.kind() {
        logyard_store::Kind::Invalid => Error::new(Kind::Invalid, error.to_string()),
        logyard_store::Kind::Limited => {
            Error::new(Kind::Limited, error.to_string()).retry_after(UNAVAILABLE_WAIT)
        }
        logyard_store::Kind::Unavailable => {
            Error::new(Kind::Unavailable, error.to_string()).retry_after(UNAVAILABLE_WAIT)
        }
        logyard_store::Kind::Corrupt | logyard_store::Kind::Internal => {
            Error::new(Kind::Internal, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::decode_batch;
    use logyard_model::{Prefilter, TimeRange};
    use logyard_store::{StoreParts, StoreSettings};
    use logyard_sys::{Random, SimClock, SimDisk};
    use logyard_wire::loki_push_encode::encode_push;
    use std::path::Path;
    use std::pin::pin;
    use std::task::{Context as TaskContext, Poll, Waker};

    const NOW_NS: i64 = 1_780_315_200_000_000_000;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn ingest() -> Ingest {
        ingest_at(&SimDisk::new())
    }

    fn ingest_at(disk: &SimDisk) -> Ingest {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(NOW_NS));
        let mut registry = Registry::default();
        let parts = StoreParts {
            disk: Arc::new(disk.clone()),
            clock: Arc::clone(&clock),
            random: Arc::new(Random::seeded(1)),
            registry: &mut registry,
        };
        let store = Store::open(Path::new("/data"), StoreSettings::default(), parts).unwrap();
        run(store.recovered()).unwrap();
        Ingest::new(IngestSettings::default(), store, clock, &mut registry)
    }

    fn push(room: Option<OwnedSemaphorePermit>) -> LokiPush {
        let body = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{NOW_NS}","line"]]}}]}}"#);
        LokiPush {
            tenant: Tenant::single(),
            body: body.into(),
            content_type: Some("application/json".to_owned()),
            content_encoding: String::new(),
            room,
        }
    }

    #[test]
    fn what_is_prepared_is_encoded() {
        let inner = &ingest().inner;
        let prepared = inner.prepare_loki(push(None)).unwrap();
        assert!(prepared.encoded.is_none());
        let prepared = inner.admit(&Tenant::single(), prepared).unwrap();
        let Some(Encoded::Batch(encoded)) = prepared.encoded else { panic!("no batch") };
        let batch = decode_batch(&encoded, 1 << 20).unwrap();
        assert_eq!(batch.chunks.len(), 1);
        assert_eq!(batch.chunks[0].labels, *prepared.chunks[0].0.labels);
        assert_eq!(batch.chunks[0].entries.line(0), b"line");
    }

    /// Everything that a store holds, in order.
    fn all_lines(store: &Store) -> Vec<String> {
        let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
        let of_view = |view: logyard_codec::BlockView| {
            let (ts_ns, lines) =
                (view.block.timestamps().unwrap().to_vec(), view.block.lines().unwrap().clone());
            let levels = view.block.levels().unwrap().clone();
            let labels = view.runs[0].stream.labels.to_string();
            let line = move |row: u32| {
                let text = String::from_utf8(lines.line(row).to_vec()).unwrap();
                format!("{labels} {} {text} {}", ts_ns[row as usize], levels.value(row as usize))
            };
            (0..view.block.rows()).map(line).collect::<Vec<_>>()
        };
        let mut all: Vec<String> = views.into_iter().flat_map(of_view).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_push_that_is_logged_as_it_came_is_replayed_as_it_was() {
        let disk = SimDisk::new();
        let ingest = ingest_at(&disk);
        let labels = ["web", "db"].map(|app| LabelSet::from_pairs([("app", app)]));
        let mut entries = Entries::new();
        for number in 0..200 {
            let line =
                format!("level=warn request {number} took {} ms on the way to the database", number * 7);
            entries.push(NOW_NS + number, line.as_bytes(), "", &LabelSet::default());
        }
        // Too old: the body holds it, and nothing else does.
        entries.push(1, b"level=error rejected", "", &LabelSet::default());
        let body = encode_push(&[(&labels[0], &entries), (&labels[1], &entries)]);
        let push = || LokiPush {
            body: body.clone().into(),
            content_type: Some("application/x-protobuf".to_owned()),
            ..push(None)
        };
        let prepared = ingest.inner.prepare_loki(push()).unwrap();
        assert!(matches!(prepared.encoded, Some(Encoded::Text { .. })));
        let verdict = run(ingest.push_loki(push())).unwrap();
        assert_eq!((verdict.accepted(), verdict.rejected()), (400, 2));
        let before = all_lines(&ingest.inner.store);
        assert_eq!(before.len(), 400);
        assert!(
            before[0]
                .starts_with(&format!("{{app=\"db\", service_name=\"db\"}} {NOW_NS} level=warn request 0 "))
        );
        assert!(before.iter().all(|line| line.ends_with("database warn")));
        drop(ingest);
        assert_eq!(all_lines(&ingest_at(&disk.crash()).inner.store), before);
    }

    #[test]
    fn a_push_of_which_little_is_kept_is_packed_anew() {
        let ingest = ingest();
        let labels = LabelSet::from_pairs([("app", "web")]);
        let mut entries = Entries::new();
        entries.push(NOW_NS, b"kept", "", &LabelSet::default());
        (0..500).for_each(|number| {
            entries.push(number, b"0123456789 too old", "", &LabelSet::default());
        });
        let body = encode_push(&[(&labels, &entries)]).into();
        let prepared = ingest.inner.prepare_loki(LokiPush {
            body,
            content_type: Some("application/x-protobuf".to_owned()),
            ..push(None)
        });
        let prepared = prepared.unwrap();
        assert_eq!(prepared.entries, 1);
        assert!(prepared.encoded.is_none());
        let prepared = ingest.inner.admit(&Tenant::single(), prepared).unwrap();
        assert!(matches!(prepared.encoded, Some(Encoded::Batch(_))));
    }

    #[test]
    fn only_bodies_that_say_they_are_small_are_prepared_on_the_runtime() {
        let ingest = ingest();
        let here = std::thread::current().id();
        for (raw_bytes, is_here) in [
            (Some(0), true),
            (Some(INLINE_BYTES_MAX), true),
            (Some(INLINE_BYTES_MAX + 1), false),
            (None, false),
        ] {
            let there = run(ingest.work(raw_bytes, || Ok(std::thread::current().id()))).unwrap();
            assert_eq!(there == here, is_here, "{raw_bytes:?}");
        }
    }

    #[test]
    fn the_room_of_a_body_is_taken_until_its_request_has_ended() {
        let ingest = ingest();
        run(async {
            let budget = Arc::new(Semaphore::new(1));
            let room = Arc::clone(&budget).try_acquire_owned().unwrap();
            {
                let mut pushing = pin!(ingest.push_loki(push(Some(room))));
                let started = pushing.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
                assert!(matches!(started, Poll::Pending));
            }
            assert_eq!(budget.available_permits(), 0, "the sender has gone away, the request goes on");
            drop(budget.acquire().await.unwrap());
            let store = &ingest.inner.store;
            let views = store.select(&Tenant::single(), &[], TimeRange::ALL, &Prefilter::default()).unwrap();
            assert_eq!(views.len(), 1);
        });
    }
}
