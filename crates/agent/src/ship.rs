//! Pushes spooled batches in order, each until it is acknowledged.
//!
//! One batch is in flight at a time: order is kept, and at 1 MiB raw per batch a round trip is short
//! against the time it takes to fill one. A batch is never given up: a store that refuses it keeps the
//! later ones waiting too, which is loud, while dropping would be silent.

use std::sync::Arc;
use std::time::Duration;

use logyard_client::{Backoff, BackoffSettings, Client, Kind};
use logyard_sys::Random;
use logyard_wire::native_push::PushAnswer;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::spool::Waiting;
use crate::spool_shared::SharedSpool;

const BACKOFF: BackoffSettings =
    BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(5) };

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

/// Runs until told to end.
pub(crate) async fn run(
    client: Client,
    spool: SharedSpool,
    random: Arc<Random>,
    metrics: Metrics,
    mut until: watch::Receiver<ShipUntil>,
) {
    let mut shipper = Shipper { client, metrics, backoff: Backoff::new(BACKOFF, random), is_failing: false };
    loop {
        let wish = *until.borrow_and_update();
        if wish == ShipUntil::Now {
            return;
        }
        let Some(batch) = spool.front().await else {
            if wish == ShipUntil::Empty {
                return;
            }
            tokio::select! {
                () = spool.added() => {}
                changed = until.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let record = batch.record;
        tokio::select! {
            is_acked = shipper.push(batch) => if is_acked { spool.ack(record).await },
            () = told_to_end(&mut until) => return,
        }
    }
}

async fn told_to_end(until: &mut watch::Receiver<ShipUntil>) {
    // An error means that the handle is gone, which is the same.
    drop(until.wait_for(|wish| *wish == ShipUntil::Now).await);
}

struct Shipper {
    client: Client,
    metrics: Metrics,
    backoff: Backoff,
    is_failing: bool,
}

impl Shipper {
    /// Pushes a batch once; pauses after a failure. Returns whether it is acknowledged.
    async fn push(&mut self, batch: Waiting) -> bool {
        let Some(encoded) = batch.encoded else {
            return false;
        };
        match self.client.push_native(&batch.id, encoded).await {
            Ok(answer) => {
                self.count(batch.entries, &answer);
                if self.is_failing {
                    tracing::info!("the store takes batches again");
                }
                self.is_failing = false;
                self.backoff.reset();
                true
            }
            Err(error) => {
                self.metrics.push_failures.inc();
                if !self.is_failing {
                    self.is_failing = true;
                    match error.kind() {
                        Kind::Invalid => tracing::error!(
                            %error, batch = %batch.id,
                            "the store refuses a batch; it stays in the spool and is tried again. Check the address and the version of the store"
                        ),
                        Kind::Limited | Kind::Unavailable => tracing::warn!(
                            %error,
                            "cannot push to the store; trying again until it answers, entries wait in the spool"
                        ),
                    }
                }
                tokio::time::sleep(self.backoff.next_delay(error.retry_after())).await;
                false
            }
        }
    }

    fn count(&self, entries: u32, answer: &PushAnswer) {
        let metrics = &self.metrics;
        metrics.batches_pushed.inc();
        metrics.entries_waiting.dec_by(i64::from(entries));
        let rejected = answer.rejected.min(u64::from(entries));
        metrics.entries_acked.inc_by(u64::from(entries) - rejected);
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
        tracing::warn!(rejected, message = %answer.message, "the store refused entries for good");
    }
}
