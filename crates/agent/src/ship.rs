//! Pushes spooled batches in order, each until it is acknowledged.
//!
//! One batch is in flight at a time: order is kept, and at 1 MiB raw per batch a round trip is short
//! against the time it takes to fill one. A store that cannot or will not take any batch keeps all of them
//! waiting, and is complained of. One that refuses this very batch gets it in parts; what it refuses still is put
//! aside, durably, since it would hold up everything behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logyard_client::{Backoff, BackoffSettings, Client, Error as PushError};
use logyard_codec::BatchId;
use logyard_sys::Random;
use logyard_wire::native_push::PushAnswer;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::batch_part::BatchPart;
use crate::metrics::Metrics;
use crate::refused::RefusedFolder;
use crate::report::Board;
use crate::ship_complaint::{Complaints, Trouble};
use crate::spool::Waiting;
use crate::spool_shared::{Chain, SharedSpool};

const BACKOFF: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(5) };
/// Parts of one batch that are pushed at most; the rest is then put aside undivided.
const PARTS_MAX: u32 = 2_000;
/// Refusals after which a batch of which nothing was taken is put aside whole.
const HOPELESS_AFTER: u32 = 64;

/// When the shipper shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShipUntil {
    /// Goes on.
    Never,
    /// As soon as nothing waits.
    Empty,
    /// Now.
    Now,
}

/// What the shipper needs.
#[derive(Debug)]
pub(crate) struct ShipParts {
    pub(crate) client: Client,
    pub(crate) spool: SharedSpool,
    pub(crate) random: Arc<Random>,
    pub(crate) metrics: Metrics,
    /// Told why nothing is delivered.
    pub(crate) board: Board,
    pub(crate) refused: RefusedFolder,
}

/// Runs until told to end.
pub(crate) async fn run(parts: ShipParts, mut until: watch::Receiver<ShipUntil>) {
    let ShipParts { client, spool, random, metrics, board, refused } = parts;
    let mut shipper = Shipper {
        client,
        spool: spool.clone(),
        metrics,
        board,
        refused,
        backoff: Backoff::new(BACKOFF, random),
        complaints: Complaints::default(),
        tried_record: None,
    };
    loop {
        let wish = *until.borrow_and_update();
        if wish == ShipUntil::Now {
            return;
        }
        let batch = match spool.front().await {
            Ok(Some(batch)) => batch,
            Ok(None) if wish == ShipUntil::Empty => return,
            Ok(None) => {
                tokio::select! {
                    () = spool.added() => {}
                    changed = until.changed() => if changed.is_err() { return },
                }
                continue;
            }
            Err(error) => {
                // Not the same as empty: batches wait, and only opening the spool again may free them.
                let reason = Chain(&error);
                tokio::select! {
                    () = shipper.wait(Trouble::Spool, &reason, None) => {}
                    () = told_to_end(&mut until) => return,
                }
                spool.reopen().await;
                continue;
            }
        };
        let record = batch.record;
        tokio::select! {
            is_acked = shipper.deliver(batch) => if is_acked { spool.ack(record).await },
            () = told_to_end(&mut until) => return,
        }
    }
}

async fn told_to_end(until: &mut watch::Receiver<ShipUntil>) {
    // An error means that the handle is gone, which is the same.
    drop(until.wait_for(|wish| *wish == ShipUntil::Now).await);
}

#[derive(Debug)]
struct Shipper {
    client: Client,
    spool: SharedSpool,
    metrics: Metrics,
    board: Board,
    refused: RefusedFolder,
    backoff: Backoff,
    complaints: Complaints,
    /// Record of the batch whose push failed last: the store may hold it all the same.
    tried_record: Option<u64>,
}

/// What became of the parts of one batch.
#[derive(Debug, Default)]
struct Divided {
    answer: PushAnswer,
    refused: BatchPart,
    is_hopeless: bool,
}

impl Shipper {
    /// Pushes a batch once; pauses after a failure. Returns whether it is done with.
    async fn deliver(&mut self, batch: Waiting) -> bool {
        let Some(encoded) = batch.encoded.clone() else {
            return false;
        };
        if batch.entries == 0 {
            // It only says how far discarded entries were read.
            return true;
        }
        let is_first_try = !batch.is_replayed && self.tried_record != Some(batch.record);
        match self.client.push_native(&batch.id, encoded.clone()).await {
            Ok(answer) if answer.duplicate && is_first_try => {
                self.renew_id(batch.id).await;
                false
            }
            Ok(answer) => {
                self.works();
                self.count(batch.entries, &answer, 0);
                true
            }
            Err(error) => {
                self.tried_record = Some(batch.record);
                match Trouble::of(&error) {
                    Trouble::Batch => self.deliver_in_parts(&batch, encoded, &error).await,
                    trouble => {
                        self.wait(trouble, &error, error.retry_after()).await;
                        false
                    }
                }
            }
        }
    }

    /// The store knows an id that was never used: another agent has the same one, or this one's folder is an
    /// old copy. Without a new id the store would take new batches for known ones and lose them.
    async fn renew_id(&mut self, used: BatchId) {
        match self.spool.renew_id().await {
            Ok(()) => tracing::warn!(
                batch = %used,
                "this agent's id is used twice, so it took a new one; do not copy or restore the agent's data folder, or remove the file id in each copy"
            ),
            Err(error) => self.wait(Trouble::Spool, &Chain(&error), None).await,
        }
    }

    /// Delivers what the store takes of a batch that it refuses, and puts the rest aside.
    async fn deliver_in_parts(&mut self, batch: &Waiting, encoded: Bytes, error: &PushError) -> bool {
        match self.on_folder(|folder| folder.is_full()).await {
            Ok(false) => {}
            Ok(true) => {
                self.wait(Trouble::FolderFull, error, None).await;
                return false;
            }
            Err(error) => {
                self.wait(Trouble::Folder, &error, None).await;
                return false;
            }
        }
        let whole = encoded.clone();
        let part = blocking(move || BatchPart::decode(&whole)).await.flatten();
        let divided = match part {
            Some(part) => self.push_in_parts(part).await,
            None => Divided { is_hopeless: true, ..Divided::default() },
        };
        let Divided { answer, refused, is_hopeless } = divided;
        let refused_entries = if is_hopeless { batch.entries as usize } else { refused.len() };
        let refused_entries = u32::try_from(refused_entries).unwrap_or(u32::MAX);
        if refused_entries > 0 {
            let put = move |folder: RefusedFolder| match is_hopeless {
                true => folder.put(&encoded),
                false => folder.put(&refused.encode().1),
            };
            match self.on_folder(put).await {
                Ok(path) => self.complaints.put_aside(&path, refused_entries, error, self.client.base()),
                Err(error) => {
                    self.wait(Trouble::Folder, &error, None).await;
                    return false;
                }
            }
        }
        self.works();
        self.count(batch.entries, &answer, refused_entries);
        true
    }

    /// Pushes halves, and halves of refused ones, in order.
    async fn push_in_parts(&mut self, whole: BatchPart) -> Divided {
        let mut divided = Divided::default();
        let (mut pushes, mut refusals, mut is_any_taken) = (0, 0, false);
        // Refused parts, and parts behind them not pushed yet; the first one is the batch itself.
        let mut parts = vec![(Arc::new(whole), true)];
        while let Some((part, is_refused)) = parts.pop() {
            if !is_refused {
                pushes += 1;
                match self.push_part(&part).await {
                    Some(answer) => {
                        is_any_taken = true;
                        add_answer(&mut divided.answer, answer);
                    }
                    None => parts.push((part, true)),
                }
                continue;
            }
            refusals += 1;
            if !is_any_taken && refusals > HOPELESS_AFTER {
                divided.is_hopeless = true;
                return divided;
            }
            if pushes >= PARTS_MAX {
                divided.refused.append(&part);
                continue;
            }
            let undivided = Arc::clone(&part);
            match blocking(move || undivided.split()).await.flatten() {
                Some((first, second)) => {
                    parts.extend([(Arc::new(second), false), (Arc::new(first), false)]);
                }
                None => divided.refused.append(&part),
            }
        }
        divided.is_hopeless = !is_any_taken;
        divided
    }

    /// Pushes a part until the store takes it or refuses it for what it holds: then there is no answer.
    async fn push_part(&mut self, part: &Arc<BatchPart>) -> Option<PushAnswer> {
        let encoding = Arc::clone(part);
        let (id, encoded) = blocking(move || encoding.encode()).await?;
        loop {
            match self.client.push_native(&id, encoded.clone()).await {
                Ok(answer) => return Some(answer),
                Err(error) => match Trouble::of(&error) {
                    Trouble::Batch => return None,
                    trouble => self.wait(trouble, &error, error.retry_after()).await,
                },
            }
        }
    }

    /// Says what is wrong, if that is news, and pauses.
    async fn wait(
        &mut self,
        trouble: Trouble,
        error: &impl std::fmt::Display,
        retry_after: Option<Duration>,
    ) {
        self.metrics.push_failures.inc();
        self.board.set_push_problem(Some(error.to_string()));
        self.complaints.say(trouble, error, self.refused.dir());
        sleep(self.backoff.next_delay(retry_after)).await;
    }

    fn works(&mut self) {
        self.board.set_push_problem(None);
        self.complaints.over();
        self.backoff.reset();
    }

    async fn on_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(RefusedFolder) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let folder = self.refused.clone();
        blocking(move || work(folder)).await.unwrap_or_else(|| Err(io::Error::other("a thread failed")))
    }

    /// Counts a batch that is done with, of which `refused` entries were put aside.
    fn count(&mut self, entries: u32, answer: &PushAnswer, refused: u32) {
        let metrics = &self.metrics;
        metrics.batches_pushed.inc();
        metrics.entries_waiting.dec_by(i64::from(entries));
        let refused = u64::from(refused.min(entries));
        if refused > 0 {
            metrics.rejected("refused_batch", refused);
        }
        let pushed = u64::from(entries) - refused;
        let rejected = answer.rejected.min(pushed);
        metrics.entries_acked.inc_by(pushed - rejected);
        if rejected == 0 {
            return;
        }
        for (reason, count) in &answer.reasons {
            metrics.rejected(reason, *count);
        }
        let explained: u64 = answer.reasons.values().sum();
        if explained < rejected {
            metrics.rejected("other", rejected - explained);
        }
        self.complaints.rejected(answer);
    }
}

fn add_answer(sum: &mut PushAnswer, answer: PushAnswer) {
    sum.accepted += answer.accepted;
    sum.rejected += answer.rejected;
    for (reason, count) in answer.reasons {
        *sum.reasons.entry(reason).or_default() += count;
    }
    if sum.message.is_empty() {
        sum.message = answer.message;
    }
}

/// Runs work that computes or waits for the disk; `None` if it panicked or the runtime ends.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
