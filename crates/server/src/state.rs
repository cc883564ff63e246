//! What every handler needs, and the two gates in front of the costly ones.

use crate::access::TokenSettings;
use crate::error::HttpError;
use crate::metrics::Metrics;
use crate::reload::Reloads;
use crate::server::ServerParts;
use crate::settings::ServerSettings;
use crate::tails::Tails;
use axum::http::StatusCode;
use logyard_engine::{Cancel, Engine};
use logyard_ingest::Ingest;
use logyard_rules::Ruler;
use logyard_store::Store;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Wait that is suggested to a sender who found a queue full.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Longest wait of a push for room in memory before it is answered 429.
const PUSH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Unit of the push budget: a semaphore counts 32 bits.
const BUDGET_UNIT_BYTES: usize = 1024;

/// Parts and limits shared by all handlers.
pub(crate) struct State {
    pub(crate) settings: ServerSettings,
    /// Who may come through the door of the agent of the same process.
    pub(crate) own_tokens: Vec<TokenSettings>,
    pub(crate) store: Store,
    pub(crate) ingest: Ingest,
    pub(crate) engine: Arc<Engine>,
    pub(crate) ruler: Ruler,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    /// Asks for the settings to be read anew, if somebody can.
    pub(crate) reloads: OnceLock<Reloads>,
    pub(crate) tails: Arc<Tails>,
    push_budget: Arc<Semaphore>,
    query_slots: Arc<Semaphore>,
    queries_waiting: AtomicUsize,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Sets the flag of a running query when dropped, which happens when the client goes away.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    pub(crate) fn new(parts: ServerParts, own_tokens: Vec<TokenSettings>) -> Self {
        let ServerParts { settings, store, ingest, engine, ruler, mut registry, tls: _, own_door: _ } = parts;
        let metrics = Arc::new(Metrics::register(&mut registry));
        let push_budget = Arc::new(Semaphore::new(budget_units(settings.push_inflight_bytes_max)));
        let query_slots = Arc::new(Semaphore::new(settings.queries_running_max.max(1)));
        let queries_waiting = AtomicUsize::new(0);
        let tails = Tails::new(&settings, metrics.tails.clone());
        Self {
            settings,
            own_tokens,
            store,
            ingest,
            engine,
            ruler,
            registry,
            metrics,
            reloads: OnceLock::new(),
            tails,
            push_budget,
            query_slots,
            queries_waiting,
        }
    }

    /// Waits for room for `bytes` of push bodies. Errors: none within [`PUSH_WAIT_MAX`].
    pub(crate) async fn push_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, HttpError> {
        let units = budget_units(bytes).min(budget_units(self.settings.push_inflight_bytes_max));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let wait = Arc::clone(&self.push_budget).acquire_many_owned(units);
        match tokio::time::timeout(PUSH_WAIT_MAX, wait).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let text =
                    "too many bytes of pushes at once; send later or raise server.push_inflight_bytes_max\n";
                Err(HttpError::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(Some(BUSY_WAIT)))
            }
        }
    }

    /// Runs a read on a blocking thread, at most `queries_running_max` at once.
    ///
    /// The job gets a flag that is set when the time is over or this future is dropped, which the
    /// HTTP layer does when the client goes away. The slot is held until the job really ends.
    pub(crate) async fn run_read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Cancel>, u64) -> Result<T, HttpError> + Send + 'static,
    ) -> Result<T, HttpError> {
        let timeout = Duration::from_secs(self.engine.settings().timeout_secs);
        let run = async {
            let (slot, waited_ns) = self.query_slot().await?;
            let cancel = Arc::new(Cancel::default());
            let _guard = CancelOnDrop(Arc::clone(&cancel));
            let store = self.store.clone();
            let work = tokio::task::spawn_blocking(move || {
                let _running = store.begin_query();
                let result = job(&cancel, waited_ns);
                drop(slot);
                result
            });
            work.await.unwrap_or_else(|_| {
                Err(HttpError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "query failed: internal error, see the log of logyard",
                ))
            })
        };
        tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| Err(HttpError::timed_out()))
    }

    async fn query_slot(&self) -> Result<(OwnedSemaphorePermit, u64), HttpError> {
        if let Ok(slot) = Arc::clone(&self.query_slots).try_acquire_owned() {
            return Ok((slot, 0));
        }
        let busy = || {
            HttpError::new(StatusCode::TOO_MANY_REQUESTS, "too many outstanding requests")
                .retry_after(Some(BUSY_WAIT))
        };
        let since_ns = self.ingest.monotonic_ns();
        let ahead = self.queries_waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.queries_waiting);
        if ahead >= self.settings.queries_waiting_max {
            return Err(busy());
        }
        let slot = Arc::clone(&self.query_slots).acquire_owned().await.map_err(|_| busy())?;
        Ok((slot, self.ingest.monotonic_ns().saturating_sub(since_ns)))
    }
}

fn budget_units(bytes: usize) -> usize {
    bytes.div_ceil(BUDGET_UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)
}
