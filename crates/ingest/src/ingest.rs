//! The calls of the write path: unpack, decode, validate, append, count.
//!
//! Small requests are decoded where they arrive, large ones on a bounded number of blocking threads,
//! so that no runtime thread is held for long. Once a request is decoded it runs to its end even if
//! the sender goes away: the store would finish anyway, and the counters stay in balance.

use crate::error::{Error, Kind};
use crate::metrics::{Form, Metrics, Received};
use crate::prepare::{self, Context, Prepared};
use crate::prepare_native;
use crate::rate::Rates;
use crate::reason::Reason;
use crate::settings::IngestSettings;
use crate::verdict::Verdict;
use bytes::Bytes;
use logyard_codec::BatchId;
use logyard_model::Tenant;
use logyard_store::{Store, StoreBatch};
use logyard_sys::Clock;
use logyard_wire::loki_push::{Format, unpack_push};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bodies up to this size are decoded on the runtime's own threads: at most about half a millisecond.
const INLINE_BYTES_MAX: usize = 16 << 10;

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

/// A push in one of Loki's forms, as it arrived.
#[derive(Clone, Debug)]
pub struct LokiPush {
    /// Whose entries they are.
    pub tenant: Tenant,
    /// The body.
    pub body: Bytes,
    /// Header `Content-Type`.
    pub content_type: Option<String>,
    /// Header `Content-Encoding`, empty if there was none.
    pub content_encoding: String,
}

/// A push of encoded chunks, as it arrived.
#[derive(Clone, Debug)]
pub struct NativePush {
    /// Whose entries they are.
    pub tenant: Tenant,
    /// Identifies the batch; one without an id is stored again if it is sent again.
    pub id: Option<BatchId>,
    /// The encoded batch.
    pub body: Bytes,
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

    /// Takes a batch of encoded chunks; a batch whose id is known is acknowledged and not stored again.
    ///
    /// Errors and cost as for [`Ingest::push_loki`].
    pub async fn push_native(&self, push: NativePush) -> Result<Verdict, Error> {
        let ingest = self.clone();
        finished(tokio::spawn(async move { ingest.run_native(push).await }).await)
    }

    async fn run_loki(&self, push: LokiPush) -> Result<Verdict, Error> {
        let inner = Arc::clone(&self.inner);
        let tenant = push.tenant.clone();
        let prepared = self.work(push.body.len(), move || inner.prepare_loki(push)).await?;
        self.append(tenant, None, prepared).await
    }

    async fn run_native(&self, push: NativePush) -> Result<Verdict, Error> {
        let inner = Arc::clone(&self.inner);
        let (tenant, id) = (push.tenant.clone(), push.id);
        let prepared = self.work(push.body.len(), move || inner.prepare_native(push)).await?;
        self.append(tenant, id, prepared).await
    }

    /// Runs `job` here if the body is small, else on one of the workers.
    async fn work<T: Send + 'static>(
        &self,
        body_bytes: usize,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if body_bytes <= INLINE_BYTES_MAX {
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
        let Prepared { chunks, encoded, mut verdict, received, entries, bytes } = prepared;
        let inner = &self.inner;
        let taken = inner.rates.take(&inner.settings, &tenant, entries, bytes, inner.clock.monotonic_ns());
        if let Err(error) = taken {
            inner.give_up(&received, verdict, Reason::RateLimited, (entries, bytes));
            return Err(error);
        }
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
        let prepared = self.with_context(&push.tenant, |ctx| prepare::prepare(ctx, form, &request));
        Ok(prepared.inspect_err(|_| self.metrics.refused(form))?)
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
