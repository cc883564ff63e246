//! What lies behind a damaged place of a log.
//!
//! Zeros that a loss of power left in a file of the driver `json-file` end what the engine shows: of a read that begins
//! before them nothing behind them is seen, though the log goes on. What begins behind them is shown. So the engine is
//! asked for fewer and fewer of the newest parts, until it shows as many as it was asked for.

use std::time::Duration;

use super::{DockerTarget, Gap, IfNoSeam, Next, ReadEnd, Wish};
use crate::docker_engine::Tail;
use crate::log_decoder::LogDecoder;
use crate::settings::Initial;

/// Time that a response has to show what the engine says is there.
pub(super) const SHOW_WITHIN: Duration = Duration::from_secs(5);
/// Most parts asked for behind a damaged place; each attempt asks for eight times as many as the one before it.
const PARTS_MAX: u32 = 1 << 18;

impl DockerTarget {
    /// Whether the log goes on behind what was accepted, or what a response has shown. An engine that gives no answer is
    /// not asked for more.
    pub(super) async fn is_more_kept(&self, wish: &Wish, shown: Option<&LogDecoder>) -> bool {
        // Who reads from now on is not shown what was there before.
        let is_from_now = !self.is_known && self.initial == Initial::Now;
        if is_from_now {
            return false;
        }
        let Some(newest) = self.newest_parts(wish, 1).await else { return false };
        let Some((output, ts_ns)) = newest.first_part() else { return false };
        let shown_ns = shown.and_then(|decoder| decoder.newest_ns(output));
        let position = self.filter.positions().get(output.index()).copied().flatten();
        let known_ns = shown_ns.max(position.map(|position| position.peak_ns()));
        known_ns.is_none_or(|known_ns| ts_ns > known_ns)
    }

    /// Reads as many of the newest parts as the engine shows to their end. `None`: nothing was new.
    pub(super) async fn read_behind_damage(&mut self, wish: &Wish) -> Option<Next> {
        let count = self.parts_behind_damage(wish).await?;
        let before = *self.filter.positions();
        let end = self.read_tail(wish, Tail::Newest(count), false, IfNoSeam::Gap(Gap::Damaged)).await;
        match end {
            ReadEnd::Ended(_) => (*self.filter.positions() != before).then_some(Next::Attach),
            ReadEnd::Stop => Some(Next::End),
            // What is wrong with it, the next attach meets as well.
            _ => None,
        }
    }

    /// Returns how many of the newest parts the engine shows all of; `None`: not even one.
    async fn parts_behind_damage(&self, wish: &Wish) -> Option<u32> {
        let (mut shown, mut refused) = (0, 1);
        while refused <= PARTS_MAX && self.shows_all(wish, refused).await {
            (shown, refused) = (refused, refused * 8);
        }
        while refused - shown > 1 {
            let count = shown + (refused - shown) / 2;
            if self.shows_all(wish, count).await { shown = count } else { refused = count }
        }
        (shown > 0).then_some(shown)
    }

    async fn shows_all(&self, wish: &Wish, count: u32) -> bool {
        self.newest_parts(wish, count).await.is_some_and(|decoder| decoder.parts() >= u64::from(count))
    }

    /// Decodes what the engine shows of the newest parts; `None`: it gives no good answer.
    async fn newest_parts(&self, wish: &Wish, count: u32) -> Option<LogDecoder> {
        let mut decoder = self.decoder(wish)?;
        let mut response = wish.engine.open_log(&self.id, Tail::Newest(count), false).await.ok()?;
        loop {
            match tokio::time::timeout(SHOW_WITHIN, response.next()).await {
                Ok(Some(Ok(bytes))) => decoder.feed(&bytes, &mut |_| ()).ok()?,
                // What came before stays good.
                Ok(Some(Err(_)) | None) | Err(_) => return Some(decoder),
            }
            if count == 1 && decoder.first_part().is_some() {
                return Some(decoder);
            }
        }
    }
}
