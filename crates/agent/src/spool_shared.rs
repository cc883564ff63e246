//! The spool as the agent's tasks share it: blocking work off the async threads, waiting without polls.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::batch::SealedBatch;
use crate::error::Error;
use crate::metrics::{DestinationMetrics, Metrics};
use crate::spool::{Spool, Waiting};
use crate::spool_record::Positions;

/// Pause between attempts to write to a disk that refuses.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Dropped entries are told of this often.
const DROPPED_EVERY: Duration = Duration::from_secs(60);

/// Cheap handle of the spool.
#[derive(Clone, Debug)]
pub(crate) struct SharedSpool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    spool: Mutex<Spool>,
    /// A batch was added; one for each destination.
    added: Vec<Notify>,
    /// Space was freed.
    freed: Notify,
    metrics: Metrics,
    /// In the order of the destinations.
    destinations: Vec<DestinationMetrics>,
    /// When it was last told that entries were dropped.
    told_dropped: Mutex<Option<Instant>>,
}

impl SharedSpool {
    /// `destinations` has the counts of each, in the order of the spool's settings.
    pub(crate) fn new(spool: Spool, metrics: Metrics, destinations: Vec<DestinationMetrics>) -> Self {
        let added = destinations.iter().map(|_| Notify::new()).collect();
        let shared = Shared {
            spool: Mutex::new(spool),
            added,
            freed: Notify::new(),
            metrics,
            destinations,
            told_dropped: Mutex::new(None),
        };
        let shared = Self(Arc::new(shared));
        shared.with(|_| ());
        shared
    }

    /// Spools a batch, waiting while the spool is full or the disk refuses.
    ///
    /// When `stop` turns true while waiting, the batch is let go and false returned: no position has
    /// moved over it, so no later batch may be spooled either.
    pub(crate) async fn append(&self, batch: SealedBatch, stop: &mut watch::Receiver<bool>) -> bool {
        let entries = i64::from(batch.entries);
        let is_spooled = self.wait_for_space(stop).await && self.append_until_done(batch, stop).await;
        if !is_spooled {
            self.0.metrics.entries_waiting.dec_by(entries);
        }
        is_spooled
    }

    async fn append_until_done(&self, batch: SealedBatch, stop: &mut watch::Receiver<bool>) -> bool {
        let sequence = self.blocking(|spool| spool.next_sequence()).await.unwrap_or_default();
        let batch = Arc::new(batch);
        let mut is_failing = false;
        loop {
            let attempt = Arc::clone(&batch);
            let reopens = is_failing;
            let done = self
                .blocking(move |spool| {
                    if reopens {
                        spool.reopen()?;
                    }
                    spool.append(sequence, &attempt)
                })
                .await;
            match done {
                Some(Ok(())) => break,
                None => return false,
                Some(Err(error)) if !is_failing => {
                    tracing::error!(error = %Chain(&error), "cannot write the spool, so reading waits; free or repair the disk");
                    is_failing = true;
                }
                Some(Err(_)) => {}
            }
            if stopped_within(stop, RETRY_PAUSE).await {
                return false;
            }
        }
        if is_failing {
            tracing::info!("the spool can be written again");
        }
        self.0.added.iter().for_each(Notify::notify_one);
        true
    }

    async fn wait_for_space(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let mut is_told = false;
        loop {
            let freed = self.0.freed.notified();
            // What cannot be written is met by the append that follows, which reports it.
            let room = self.blocking(|spool| (spool.make_room().unwrap_or_default(), spool.is_full())).await;
            let Some((dropped, true)) = room else {
                self.note_dropped(&room.map(|(dropped, _)| dropped).unwrap_or_default());
                return true;
            };
            self.note_dropped(&dropped);
            if !is_told {
                tracing::warn!(
                    "the spool is full, so reading waits for the store; logs stay in the engine and in their files. \
                     Raise agent.spool.bytes_max to keep more here"
                );
                is_told = true;
            }
            tokio::select! {
                () = freed => {}
                () = stopped(stop) => return false,
            }
        }
    }

    /// Counts entries that destinations lose, and tells of it once a minute.
    fn note_dropped(&self, dropped: &[(usize, u64)]) {
        for (number, entries) in dropped {
            let Some(destination) = self.0.destinations.get(*number) else { continue };
            destination.dropped(*entries);
            let mut told = self.0.told_dropped.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|told| told.elapsed() >= DROPPED_EVERY) {
                *told = Some(Instant::now());
                tracing::warn!(
                    destination = destination.name(),
                    entries,
                    "too much waits for a destination, so its oldest entries were dropped; told once a minute, all are counted"
                );
            }
        }
    }

    /// Returns whether nothing more fits.
    pub(crate) async fn is_full(&self) -> bool {
        self.blocking(|spool| spool.is_full()).await == Some(true)
    }

    /// Returns the oldest batch without ack of a destination, with its bytes; `None` if there is none.
    ///
    /// Errors: it cannot be read. [`SharedSpool::reopen`], then ask again.
    pub(crate) async fn front(&self, destination: usize) -> Result<Option<(Waiting, Bytes)>, Error> {
        // No answer: the runtime ends.
        self.blocking(move |spool| spool.front(destination)).await.unwrap_or(Ok(None))
    }

    /// Opens the spool again after it could not be read.
    pub(crate) async fn reopen(&self) {
        if let Some(Err(error)) = self.blocking(Spool::reopen).await {
            tracing::debug!(error = %Chain(&error), "cannot open the spool again");
        }
    }

    /// Takes a new agent id; see [`Spool::renew_id`].
    pub(crate) async fn renew_id(&self) -> Result<(), Error> {
        self.blocking(Spool::renew_id).await.unwrap_or(Ok(()))
    }

    /// Waits until a batch may have been added since the last call.
    pub(crate) async fn added(&self, destination: usize) {
        match self.0.added.get(destination) {
            Some(added) => added.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Notes that a destination is done with a batch. Returns false if that was dropped for it meanwhile.
    pub(crate) async fn ack(&self, destination: usize, record: u64) -> bool {
        let noted = self.blocking(move |spool| spool.ack(destination, record)).await;
        self.0.freed.notify_one();
        match noted {
            Some(Ok(was_waiting)) => was_waiting,
            // A failed write of an ack is met by the next append, which reports it and opens the log anew.
            Some(Err(error)) => {
                tracing::debug!(error = %Chain(&error), "cannot note an ack in the spool; the batch may be pushed again");
                true
            }
            None => true,
        }
    }

    /// Makes everything durable; for the end.
    pub(crate) async fn sync(&self) {
        if let Some(Err(error)) = self.blocking(Spool::sync).await {
            tracing::warn!(error = %Chain(&error), "cannot sync the spool at the end; some batches may be pushed again");
        }
    }

    /// Notes which targets of one kind are there: keys that begin with `prefix` and are not `present`
    /// vanished. May wait for the disk.
    pub(crate) fn set_present(&self, prefix: &str, present: &HashSet<String>) {
        self.with(|spool| {
            let keys: Vec<String> =
                spool.positions().keys().filter(|key| key.starts_with(prefix)).cloned().collect();
            for key in keys {
                spool.set_present(&key, present.contains(&key));
            }
        });
    }

    /// As [`SharedSpool::set_present`], for async callers.
    pub(crate) async fn note_present(&self, prefix: &'static str, present: HashSet<String>) {
        let shared = self.clone();
        // It fails only at the end of the runtime.
        drop(tokio::task::spawn_blocking(move || shared.set_present(prefix, &present)).await);
    }

    /// Copies all positions; for the start of a source.
    pub(crate) fn positions(&self) -> Positions {
        self.with(|spool| spool.positions().clone())
    }

    /// Returns the agent's id in hexadecimal, the bytes on disk and the batches waiting.
    pub(crate) fn summary(&self) -> (String, u64) {
        self.with(|spool| (spool.id().hex(), spool.bytes()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || shared.with(work)).await.ok()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Spool) -> T) -> T {
        // A panic inside leaves the log poisoned at worst, which the next write reports.
        let mut spool = self.0.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut spool);
        self.0.metrics.spool_bytes.set(i64::try_from(spool.bytes()).unwrap_or(i64::MAX));
        for (destination, backlog) in self.0.destinations.iter().zip(spool.backlogs()) {
            destination.waiting(backlog);
        }
        result
    }
}

/// Resolves when the agent is told to stop, or its handle is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    drop(stop.wait_for(|is_stopped| *is_stopped).await);
}

/// Pauses; returns true at once when the agent is told to stop.
pub(crate) async fn stopped_within(stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        () = sleep(pause) => false,
        () = stopped(stop) => true,
    }
}

/// Shows an error with its sources on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
