//! Tasks that tell others: kept running until the end.

use logyard_client::{Backoff, BackoffSettings};
use logyard_sys::Random;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Pauses after failures: an hour's outage costs five minutes at most.
pub(crate) const PAUSES: BackoffSettings =
    BackoffSettings { min: Duration::from_secs(2), max: Duration::from_secs(300) };

/// Runs a task for each name until `stop` is ready. One that a fault of ours ended is begun anew, after a pause; the number
/// of its name and the pause are what it gets.
pub(crate) async fn keep<T>(
    names: &[&str],
    random: &Arc<Random>,
    task: impl Fn(usize, Duration) -> T,
    stop: impl Future<Output = ()>,
) where
    T: Future<Output = ()> + Send + 'static,
{
    let mut stop = std::pin::pin!(stop);
    let mut restarts = Backoff::new(PAUSES, Arc::clone(random));
    let mut running = JoinSet::new();
    let mut numbers = HashMap::new();
    for number in 0..names.len() {
        numbers.insert(running.spawn(task(number, Duration::ZERO)).id(), number);
    }
    loop {
        let ended = tokio::select! {
            () = &mut stop => break,
            Some(ended) = running.join_next_with_id() => ended,
        };
        let Err(error) = ended else { continue };
        let Some(number) = numbers.remove(&error.id()) else { continue };
        let target = names.get(number);
        tracing::error!(target, %error, "telling a target failed: internal error; beginning anew");
        numbers.insert(running.spawn(task(number, restarts.next_delay(None))).id(), number);
    }
    running.shutdown().await;
}
