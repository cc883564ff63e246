//! Telling targets of alerts: one task for each, which tries again until it is told.
//!
//! A turn reads off the states what the target does not know ([`untold`](crate::untold)), puts it into messages by
//! `group_by`, sends them, and takes down what was told. So a message may come twice only if the process dies between
//! the answer and the disk. After a failure it waits, longer each time. A message that a target refuses as such keeps no
//! other back: it is tried a few times, then told to the log, counted, and left.

use crate::notify_text::letter;
use crate::ruler::{NEWS_MAX, Ruler};
use crate::target::{Message, Refusal, Target};
use crate::tasks::{PAUSES, keep};
use crate::untold::{Due, News};
use logyard_client::Backoff;
use logyard_sys::Random;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait between two looks, for what is to be repeated.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Attempts after which a message that is refused as such is left.
const REFUSED_MAX: u32 = 5;

/// Messages that may fail before a turn ends: one that its target cannot digest keeps no other back.
const FAILED_MAX: usize = 3;

/// Tells targets what they do not know yet.
#[derive(Debug)]
pub struct Notifier {
    ruler: Ruler,
    targets: Vec<Target>,
    random: Arc<Random>,
    sent: Family<[(&'static str, String); 2], Counter>,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    /// There was nothing, or all of it was told.
    Done,
    /// All of it was told, and there is more.
    More,
    /// Some messages were refused as such; the others were told.
    Refused(Refusal),
    /// Somebody is to wait.
    Failed(Refusal),
}

/// How often messages were refused in a row, by their keys.
type Refusals = BTreeMap<String, u32>;

impl Notifier {
    /// Puts a notifier together. Registers `logyard_rules_notifications`.
    pub fn new(ruler: Ruler, targets: Vec<Target>, random: Arc<Random>, registry: &mut Registry) -> Self {
        let sent = Family::default();
        registry.sub_registry_with_prefix("logyard_rules").register(
            "notifications",
            "Messages to targets by result: sent, failed (tried again) or refused (left)",
            sent.clone(),
        );
        Self { ruler, targets, random, sent }
    }

    /// Tells all targets until `stop` is ready; a message under way is let go of then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let this = Arc::new(self);
        let names: Vec<&str> = this.targets.iter().map(Target::name).collect();
        keep(&names, &this.random, |number, pause| Arc::clone(&this).run_target(number, pause), stop).await;
    }

    async fn run_target(self: Arc<Self>, number: usize, pause: Duration) {
        tokio::time::sleep(pause).await;
        let Some(target) = self.targets.get(number) else { return };
        let mut backoff = Backoff::new(PAUSES, Arc::clone(&self.random));
        let mut moves = self.ruler.moves();
        let mut refusals = Refusals::new();
        loop {
            match self.turn(target, &mut refusals).await {
                Turn::More => backoff.reset(),
                Turn::Done => {
                    if backoff.attempts() > 0 {
                        tracing::info!(target = target.name(), "is told of alerts again");
                    }
                    backoff.reset();
                    // A closed channel, or a change, or the time: all mean to look.
                    drop(tokio::time::timeout(LOOK_EVERY, moves.changed()).await);
                }
                Turn::Refused(refusal) => {
                    warn_once(target, &backoff, &refusal);
                    // What is new is told meanwhile.
                    let pause = backoff.next_delay(refusal.retry_after);
                    drop(tokio::time::timeout(pause, moves.changed()).await);
                }
                Turn::Failed(refusal) => {
                    warn_once(target, &backoff, &refusal);
                    let pause = backoff.next_delay(refusal.retry_after);
                    let first = pause.min(LOOK_EVERY);
                    tokio::time::sleep(if refusal.is_answer { first } else { pause }).await;
                    if refusal.is_answer {
                        // It may be one message that it cannot digest: what is new is told meanwhile.
                        drop(tokio::time::timeout(pause.saturating_sub(first), moves.changed()).await);
                    }
                }
            }
        }
    }

    /// Tells a target everything it does not know.
    async fn turn(&self, target: &Target, refusals: &mut Refusals) -> Turn {
        let mut news = self.ruler.news(&target.wishes());
        let has_more = news.len() >= NEWS_MAX;
        let skipped: Vec<News> = news.extract_if(.., |one| one.due == Due::Skip).collect();
        if !skipped.is_empty() {
            self.ruler.told(target.name(), &skipped).await;
        }
        let messages = target.messages(news);
        refusals.retain(|key, _| messages.iter().any(|message| message.key == *key));
        let (mut failed, mut refused) = (Vec::new(), None);
        for message in messages {
            let Err(refusal) = self.send(target, &message).await else {
                refusals.remove(&message.key);
                continue;
            };
            if !refusal.is_final {
                let ends = !refusal.is_answer;
                failed.push(refusal);
                if ends || failed.len() >= FAILED_MAX {
                    break;
                }
                continue;
            }
            let attempts = refusals.entry(message.key.clone()).or_default();
            *attempts += 1;
            if *attempts > REFUSED_MAX {
                refusals.remove(&message.key);
                self.leave(target, &message, &refusal).await;
            } else {
                self.count(target, "failed");
                refused = Some(refusal);
            }
        }
        match (failed.pop(), refused) {
            (Some(refusal), _) => Turn::Failed(refusal),
            (None, Some(refusal)) => Turn::Refused(refusal),
            (None, None) if has_more => Turn::More,
            (None, None) => Turn::Done,
        }
    }

    async fn send(&self, target: &Target, message: &Message) -> Result<(), Refusal> {
        let sender = target.sender(self.ruler.external_url(), self.ruler.now_ns());
        let sent = target.carrier.send(letter(sender, &message.group, &message.news)).await;
        match &sent {
            Ok(()) => {
                self.ruler.told(target.name(), &message.news).await;
                self.count(target, "sent");
            }
            Err(refusal) if !refusal.is_final => self.count(target, "failed"),
            Err(_) => {}
        }
        sent
    }

    /// Gives a message up.
    async fn leave(&self, target: &Target, message: &Message, refusal: &Refusal) {
        tracing::error!(
            target = target.name(),
            alerts = message.news.len(),
            error = refusal.text,
            "a message about alerts is refused again and again, and left"
        );
        self.ruler.told(target.name(), &message.news).await;
        self.count(target, "refused");
    }

    fn count(&self, target: &Target, result: &'static str) {
        let labels = [("target", target.name().to_owned()), ("result", result.to_owned())];
        self.sent.get_or_create(&labels).inc();
    }
}

fn warn_once(target: &Target, backoff: &Backoff, refusal: &Refusal) {
    if backoff.attempts() == 0 {
        tracing::warn!(
            target = target.name(),
            error = refusal.text,
            "cannot tell of alerts; trying again until it works"
        );
    }
}

#[cfg(test)]
mod tests;
