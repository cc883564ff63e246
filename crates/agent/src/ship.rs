//! Pushes spooled batches to one destination in order, each until it is acknowledged. Each destination has a task of its
//! own, with its own place in the spool, pauses and complaints: none waits for another.
//!
//! One batch is in flight at a time: order is kept, and at 1 MiB raw per batch a round trip is short
//! against the time it takes to fill one. A store that cannot or will not take any batch keeps all of them
//! waiting, and is complained of. One that refuses this very batch gets it in parts; what it refuses still is put
//! aside, durably, since it would hold up everything behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logyard_client::{Backoff, BackoffSettings};
use logyard_codec::BatchId;
use logyard_sys::Random;
use logyard_wire::native_push::PushAnswer;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::batch_part::BatchPart;
use crate::metrics::DestinationMetrics;
use crate::refused::RefusedFolder;
use crate::report::Board;
use crate::ship_complaint::{Complaints, Trouble};
use crate::ship_send::{Body, Failure, Sender};
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

/// What the shipper of one destination needs.
#[derive(Debug)]
pub(crate) struct ShipParts {
    /// Its number in the spool.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) sender: Sender,
    pub(crate) spool: SharedSpool,
    pub(crate) random: Arc<Random>,
    pub(crate) metrics: DestinationMetrics,
    /// Told why nothing is delivered; of the first destination only.
    pub(crate) board: Option<Board>,
    pub(crate) refused: RefusedFolder,
}

/// Runs until told to end.
pub(crate) async fn run(parts: ShipParts, mut until: watch::Receiver<ShipUntil>) {
    let ShipParts { number, name, sender, spool, random, metrics, board, refused } = parts;
    let mut shipper = Shipper {
        sender,
        spool: spool.clone(),
        metrics,
        board,
        refused,
        backoff: Backoff::new(BACKOFF, random),
        complaints: Complaints::new(&name),
        tried_record: None,
    };
    loop {
        let wish = *until.borrow_and_update();
        if wish == ShipUntil::Now {
            return;
        }
        let (batch, encoded) = match spool.front(number).await {
            Ok(Some(batch)) => batch,
            Ok(None) if wish == ShipUntil::Empty => return,
            Ok(None) => {
                tokio::select! {
                    () = spool.added(number) => {}
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
        let (record, entries) = (batch.record, batch.entries);
        let delivered = tokio::select! {
            delivered = shipper.deliver(batch, encoded) => delivered,
            () = told_to_end(&mut until) => return,
        };
        if let Some(delivered) = delivered
            && spool.ack(number, record).await
        {
            shipper.count(entries, &delivered);
        }
    }
}

async fn told_to_end(until: &mut watch::Receiver<ShipUntil>) {
    // An error means that the handle is gone, which is the same.
    drop(until.wait_for(|wish| *wish == ShipUntil::Now).await);
}

#[derive(Debug)]
struct Shipper {
    sender: Sender,
    spool: SharedSpool,
    metrics: DestinationMetrics,
    board: Option<Board>,
    refused: RefusedFolder,
    backoff: Backoff,
    complaints: Complaints,
    /// Record of the batch whose push failed last: the store may hold it all the same.
    tried_record: Option<u64>,
}

/// What became of a batch that is done with.
#[derive(Debug, Default)]
struct Delivered {
    answer: PushAnswer,
    /// Entries that were put aside.
    refused: u32,
}

/// What became of the parts of one batch.
#[derive(Debug, Default)]
struct Divided {
    answer: PushAnswer,
    refused: BatchPart,
    is_hopeless: bool,
}

impl Shipper {
    /// Pushes a batch once; pauses after a failure. Returns what became of it once it is done with.
    async fn deliver(&mut self, batch: Waiting, encoded: Bytes) -> Option<Delivered> {
        if batch.entries == 0 {
            // It only says how far discarded entries were read.
            return Some(Delivered::default());
        }
        let is_first_try = !batch.is_replayed && self.tried_record != Some(batch.record);
        match self.sender.push(&batch.id, encoded.clone(), u64::from(batch.entries)).await {
            Ok(answer) if answer.duplicate && is_first_try && self.sender.knows_ids() => {
                self.renew_id(batch.id).await;
                None
            }
            Ok(answer) => {
                self.works();
                Some(Delivered { answer, refused: 0 })
            }
            Err(failure) => {
                self.tried_record = Some(batch.record);
                match failure.trouble {
                    Trouble::Batch => self.deliver_in_parts(&batch, encoded, &failure).await,
                    trouble => {
                        self.wait(trouble, &failure, failure.retry_after).await;
                        None
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
    async fn deliver_in_parts(
        &mut self,
        batch: &Waiting,
        encoded: Bytes,
        failure: &Failure,
    ) -> Option<Delivered> {
        match self.on_folder(|folder| folder.is_full()).await {
            Ok(false) => {}
            Ok(true) => {
                self.wait(Trouble::FolderFull, failure, None).await;
                return None;
            }
            Err(error) => {
                self.wait(Trouble::Folder, &error, None).await;
                return None;
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
            let left = if is_hopeless { encoded } else { blocking(move || refused.encode().1).await? };
            let body = self.sender.body(left.clone()).await.unwrap_or_else(|| Body::native(left));
            let (bytes, ending, reason) = (body.bytes.clone(), body.ending, failure.to_string());
            match self.on_folder(move |folder| folder.put(&bytes, ending, &reason)).await {
                Ok(path) => {
                    let to = (self.sender.base(), &body);
                    self.complaints.put_aside(&path, refused_entries, failure, to);
                }
                Err(error) => {
                    self.wait(Trouble::Folder, &error, None).await;
                    return None;
                }
            }
        }
        self.works();
        Some(Delivered { answer, refused: refused_entries })
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
            match self.sender.push(&id, encoded.clone(), part.len() as u64).await {
                Ok(answer) => return Some(answer),
                Err(failure) => match failure.trouble {
                    Trouble::Batch => return None,
                    trouble => self.wait(trouble, &failure, failure.retry_after).await,
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
        self.metrics.failed();
        self.tell(Some(error.to_string()));
        self.complaints.say(trouble, error, self.refused.dir());
        sleep(self.backoff.next_delay(retry_after)).await;
    }

    fn works(&mut self) {
        self.tell(None);
        self.complaints.over();
        self.backoff.reset();
    }

    /// Tells the agent's pages what is wrong with the first destination; of others the log and the counts tell.
    fn tell(&self, problem: Option<String>) {
        if let Some(board) = &self.board {
            board.set_push_problem(problem);
        }
    }

    async fn on_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(RefusedFolder) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let folder = self.refused.clone();
        blocking(move || work(folder)).await.unwrap_or_else(|| Err(io::Error::other("a thread failed")))
    }

    /// Counts a batch that is done with.
    fn count(&mut self, entries: u32, delivered: &Delivered) {
        let Delivered { answer, refused } = delivered;
        let entries = u64::from(entries);
        let refused = u64::from(*refused).min(entries);
        let pushed = entries - refused;
        let rejected = answer.rejected.min(pushed);
        let mut reasons: Vec<(&str, u64)> = Vec::new();
        reasons.extend((refused > 0).then_some(("refused_batch", refused)));
        // What a store says of its reasons need not add up.
        let mut left = rejected;
        for (reason, count) in &answer.reasons {
            let count = (*count).min(left);
            left -= count;
            reasons.extend((count > 0).then_some((&**reason, count)));
        }
        reasons.extend((left > 0).then_some(("other", left)));
        self.metrics.delivered(pushed - rejected, &reasons);
        if rejected > 0 {
            self.complaints.rejected(answer);
        }
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
