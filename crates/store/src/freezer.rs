//! The freezer: a thread that compresses full buffers of the head, so that the writer goes on to its next sync.
//!
//! Few buffers wait, [`WAITING_MAX`] at most: beyond that the writer compresses itself, and pushes wait for it. A buffer
//! that waits answers queries as every open one, and whoever comes to it first compresses it, this thread or a flush.

use crate::head::HeadStream;
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

/// Most buffers that wait. Each holds about 256 KiB, or what a batch brought at once.
const WAITING_MAX: usize = 2;

/// The writer's side of the thread.
#[derive(Debug)]
pub(crate) struct Freezer {
    shared: Arc<Shared>,
    /// `None` if no thread could be started: the writer does all itself.
    thread: Option<(SyncSender<Arc<HeadStream>>, JoinHandle<()>)>,
}

impl Freezer {
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let (sender, full) = mpsc::sync_channel(WAITING_MAX);
        let for_thread = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("store-freeze".to_owned());
        let thread = match thread.spawn(move || run(&for_thread, &full)) {
            Ok(thread) => Some((sender, thread)),
            Err(error) => {
                tracing::warn!(%error, "cannot start the thread that compresses the head, the writer does it");
                None
            }
        };
        Self { shared: Arc::clone(shared), thread }
    }

    /// Has full buffers compressed: soon, or on return if too many wait.
    pub(crate) fn freeze(&self, full: Vec<Arc<HeadStream>>) {
        for head_stream in full {
            let refused = match &self.thread {
                Some((sender, _)) => sender.try_send(head_stream).err(),
                None => Some(TrySendError::Full(head_stream)),
            };
            // Nobody takes from a thread that has panicked.
            if let Some(TrySendError::Full(head_stream) | TrySendError::Disconnected(head_stream)) = refused {
                freeze(&self.shared, &head_stream);
            }
        }
    }

    /// Waits until all that was handed over is compressed.
    pub(crate) fn stop(&mut self) {
        let Some((sender, thread)) = self.thread.take() else { return };
        drop(sender);
        if thread.join().is_err() {
            tracing::error!("the thread that compresses the head panicked");
        }
    }
}

fn run(shared: &Shared, full: &Receiver<Arc<HeadStream>>) {
    for head_stream in full {
        freeze(shared, &head_stream);
    }
}

/// Compresses a buffer if it is full; a failure leaves it as it is, to be tried again when it grows.
pub(crate) fn freeze(shared: &Shared, head_stream: &HeadStream) {
    match head_stream.freeze_if_full() {
        Ok(removed) => {
            shared.metrics.duplicate_entries.inc_by(removed as u64);
        }
        Err(error) => tracing::error!(?error, "cannot compress a buffer of the head"),
    }
}
