//! What waits for the writer thread: batches, wishes to flush or stop, news of the flush thread.
//!
//! Batches are bounded by bytes. All the rest is a handful of slots.

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::{Appended, BatchId};
use bytes::Bytes;
use logyard_codec::Entries;
use logyard_model::{Stream, Tenant};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where an answer goes. The asker may have gone away.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// Most bytes of batches that one sync covers: bounds what an error undoes and what readers wait for.
const GROUP_BYTES_MAX: u64 = 8 << 20;

/// A batch that waits to be written.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    pub(crate) tenant: Tenant,
    pub(crate) id: Option<BatchId>,
    pub(crate) chunks: Vec<(Arc<Stream>, Entries)>,
    /// The WAL record, in parts.
    pub(crate) record: [Bytes; 2],
    /// What it counts for the queue's bound.
    pub(crate) bytes: u64,
    pub(crate) reply: Reply<Appended>,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Finish what was accepted, flush if the settings say so.
    Clean,
    /// As soon as the current step is done.
    Now,
}

/// How a flush ended.
#[derive(Debug)]
pub(crate) enum FlushNews {
    /// An attempt failed; the flush thread tries again.
    Failed(Error),
    /// The head is in segments up to this WAL record.
    Done(u64),
    /// The flush thread gave up: the store stops or is read-only.
    GaveUp(Error),
}

/// What the writer has to do next.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) batches: Vec<PendingBatch>,
    pub(crate) flushes: Vec<Reply<()>>,
    pub(crate) news: Vec<FlushNews>,
    pub(crate) stop: Option<Stop>,
}

/// The writer's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Apart from `wake`, so that a flush thread between attempts sleeps through new batches.
    patience: Condvar,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<PendingBatch>,
    bytes: u64,
    flushes: Vec<Reply<()>>,
    news: Vec<FlushNews>,
    stop: Option<Stop>,
    /// What the writer was told of `stop`: told once, so that it sleeps while it cannot stop yet.
    told_stop: Option<Stop>,
    /// Somebody asked for a flush since the flush thread last waited.
    is_impatient: bool,
    /// Set once nothing more is accepted.
    refusal: Option<Error>,
}

impl Queue {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), patience: Condvar::new(), bytes_max }
    }

    /// Adds a batch. Errors: `Kind::Limited` when full, `Kind::Unavailable` once stopped or read-only.
    pub(crate) fn push(&self, batch: PendingBatch, metrics: &Metrics) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        // A batch larger than the bound passes when it is alone, or it never would.
        if !state.batches.is_empty() && state.bytes + batch.bytes > self.bytes_max {
            metrics.refused_batches.inc();
            return Err(Error::limited(format!(
                "cannot queue batch of {} bytes: {} of {} bytes wait for the disk already; \
                 send again later, or raise store.wal.queue_bytes_max",
                batch.bytes, state.bytes, self.bytes_max
            )));
        }
        state.bytes += batch.bytes;
        metrics.queue_bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        state.batches.push_back(batch);
        drop(state);
        self.wake.notify_all();
        Ok(())
    }

    /// Asks for a flush of everything acknowledged before.
    pub(crate) fn flush(&self, reply: Reply<()>) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.flushes.push(reply);
        state.is_impatient = true;
        drop(state);
        self.wake.notify_all();
        // A flush that failed is tried again at once, also if it has not begun to wait yet.
        self.patience.notify_all();
        Ok(())
    }

    /// Notes that a flush begins: those who asked for it before are no reason to try twice without a wait.
    pub(crate) fn begin_flush(&self) {
        self.state.lock().is_impatient = false;
    }

    /// Reports on a flush.
    pub(crate) fn report(&self, news: FlushNews) {
        self.state.lock().news.push(news);
        self.wake.notify_all();
    }

    /// Drops the news of flushes that are over, before there is a writer to hear them.
    pub(crate) fn forget_news(&self) {
        self.state.lock().news.clear();
    }

    /// Asks the writer to stop; `Now` overrides `Clean`. What was accepted before is still answered.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut state = self.state.lock();
        if state.stop != Some(Stop::Now) {
            state.stop = Some(stop);
        }
        state.refusal.get_or_insert_with(|| {
            Error::unavailable("cannot store: the store is stopping; send again later")
        });
        drop(state);
        self.wake.notify_all();
        self.patience.notify_all();
    }

    /// Accepts nothing more.
    pub(crate) fn refuse(&self, refusal: Error) {
        self.state.lock().refusal = Some(refusal);
    }

    /// Takes what is there to do; waits until there is something, at most for `wait`.
    ///
    /// Batches, as many as one group may hold, are taken only if the caller can place them (`is_open`). Each way
    /// to stop is told once.
    pub(crate) fn take(&self, is_open: bool, wait: Option<Duration>, metrics: &Metrics) -> Work {
        let mut state = self.state.lock();
        while !state.has_work(is_open) {
            match wait {
                Some(wait) => {
                    if self.wake.wait_for(&mut state, wait).timed_out() {
                        break;
                    }
                }
                None => self.wake.wait(&mut state),
            }
        }
        let mut batches = Vec::new();
        let mut group_bytes = 0;
        while is_open && group_bytes < GROUP_BYTES_MAX {
            let Some(batch) = state.batches.pop_front() else { break };
            group_bytes += batch.bytes;
            batches.push(batch);
        }
        state.bytes -= group_bytes;
        metrics.queue_bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        let stop = state.untold_stop();
        state.told_stop = stop.or(state.told_stop);
        Work {
            batches,
            flushes: std::mem::take(&mut state.flushes),
            news: std::mem::take(&mut state.news),
            stop,
        }
    }

    /// Waits until asked to stop or to flush, at most for `wait`. Returns whether to stop.
    pub(crate) fn wait_for_stop(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        if state.stop.is_none() && !state.is_impatient {
            self.patience.wait_for(&mut state, wait);
        }
        state.is_impatient = false;
        state.stop.is_some()
    }

    /// Empties the queue for good; dropped replies tell the askers.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.batches.clear();
        state.flushes.clear();
        state.bytes = 0;
    }
}

impl State {
    fn has_work(&self, is_open: bool) -> bool {
        (is_open && !self.batches.is_empty())
            || !self.flushes.is_empty()
            || !self.news.is_empty()
            || self.untold_stop().is_some()
    }

    /// Returns how to stop, if that is news. It comes after the batches that were accepted before it.
    fn untold_stop(&self) -> Option<Stop> {
        let can_stop = self.batches.is_empty() || self.stop == Some(Stop::Now);
        self.stop.filter(|_| can_stop && self.stop != self.told_stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use prometheus_client::registry::Registry;

    fn batch(bytes: u64) -> (PendingBatch, oneshot::Receiver<Result<Appended>>) {
        let (reply, answer) = oneshot::channel();
        let tenant = Tenant::single();
        (
            PendingBatch { tenant, id: None, chunks: Vec::new(), record: Default::default(), bytes, reply },
            answer,
        )
    }

    #[test]
    fn a_full_queue_names_the_setting_and_takes_again_when_emptied() {
        let (queue, metrics) = (Queue::new(100), Metrics::new(&mut Registry::default()));
        assert!(queue.push(batch(150).0, &metrics).is_ok(), "alone, a large batch passes");
        let error = queue.push(batch(1).0, &metrics).unwrap_err();
        assert_eq!(error.kind(), Kind::Limited);
        assert!(error.to_string().contains("store.wal.queue_bytes_max"), "{error}");
        assert_eq!(queue.take(true, None, &metrics).batches.len(), 1);
        assert!(queue.push(batch(60).0, &metrics).is_ok());
        assert!(queue.push(batch(60).0, &metrics).is_err());
        assert_eq!(metrics.refused_batches.get(), 2);
    }

    #[test]
    fn batches_wait_while_the_head_is_full_and_a_stop_waits_for_them() {
        let (queue, metrics) = (Queue::new(100), Metrics::new(&mut Registry::default()));
        queue.push(batch(1).0, &metrics).unwrap();
        queue.report(FlushNews::Done(7));
        let work = queue.take(false, None, &metrics);
        assert_eq!((work.batches.len(), work.news.len(), work.stop), (0, 1, None));
        queue.stop(Stop::Clean);
        assert_eq!(queue.push(batch(1).0, &metrics).unwrap_err().kind(), Kind::Unavailable);
        assert!(!queue.state.lock().has_work(false));
        queue.report(FlushNews::Done(8));
        let work = queue.take(false, None, &metrics);
        assert_eq!((work.batches.len(), work.stop), (0, None));
        let work = queue.take(true, None, &metrics);
        assert_eq!((work.batches.len(), work.stop), (1, Some(Stop::Clean)));
    }

    #[test]
    fn a_stop_is_told_once_so_that_waiting_for_a_flush_does_not_spin() {
        let (queue, metrics) = (Queue::new(100), Metrics::new(&mut Registry::default()));
        queue.stop(Stop::Clean);
        assert_eq!(queue.take(true, None, &metrics).stop, Some(Stop::Clean));
        assert!(!queue.state.lock().has_work(true));
        queue.stop(Stop::Clean);
        assert!(!queue.state.lock().has_work(true));
        queue.stop(Stop::Now);
        assert_eq!(queue.take(true, None, &metrics).stop, Some(Stop::Now));
    }

    #[test]
    fn closing_answers_whoever_waits() {
        let (queue, metrics) = (Queue::new(100), Metrics::new(&mut Registry::default()));
        let (pending, mut answer) = batch(1);
        queue.push(pending, &metrics).unwrap();
        queue.stop(Stop::Now);
        queue.close();
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
