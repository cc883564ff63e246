//! What lies behind a damaged place of a log.
//!
//! Zeros that a loss of power left in a file of the driver `json-file` end what the engine shows: of a read that begins
//! before them nothing behind them is seen, though the log goes on. What begins behind them is shown. So the engine is
//! asked for fewer and fewer of the newest parts, until it shows them to the very last. Parts are not counted in what it
//! shows: those of a terminal's line cannot be told apart.

use std::time::Duration;

use super::{DockerTarget, Gap, IfNoSeam, Next, ReadEnd, Wish};
use crate::docker_engine::Tail;
use crate::log_decoder::LogDecoder;
use crate::log_entry::Output;
use crate::settings::Initial;
use crate::spool_shared::stopped;

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
        let mut stop = self.stop.clone();
        let count = tokio::select! {
            () = stopped(&mut stop) => return Some(Next::End),
            count = self.parts_behind_damage(wish) => count?,
        };
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
        let (output, newest_ns) = self.newest_parts(wish, 1).await?.first_part()?;
        let mut search = Search { shown: 1, refused: None };
        while let Some(count) = search.next() {
            search.note(count, self.shows(wish, count, (output, newest_ns)).await);
        }
        Some(search.shown)
    }

    /// Whether the engine shows so many of the newest parts to the newest one.
    async fn shows(&self, wish: &Wish, count: u32, (output, newest_ns): (Output, i64)) -> bool {
        let Some(decoder) = self.newest_parts(wish, count).await else { return false };
        decoder.newest_ns(output).is_some_and(|ns| ns >= newest_ns)
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

/// Looks for how many of the newest parts can be shown.
#[derive(Debug)]
struct Search {
    /// As many can be.
    shown: u32,
    /// The fewest that cannot, once some could not.
    refused: Option<u32>,
}

impl Search {
    /// Returns how many to ask for; `None`: it is known.
    fn next(&self) -> Option<u32> {
        match self.refused {
            None => Some(self.shown.saturating_mul(8).min(PARTS_MAX)).filter(|count| *count > self.shown),
            Some(refused) => {
                Some(self.shown + (refused - self.shown) / 2).filter(|count| *count > self.shown)
            }
        }
    }

    fn note(&mut self, count: u32, is_shown: bool) {
        if is_shown {
            self.shown = count;
        } else {
            self.refused = Some(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_the_bound() {
        for most in [1, 2, 7, 8, 9, 500, PARTS_MAX - 1, PARTS_MAX, PARTS_MAX + 1, u32::MAX] {
            let mut search = Search { shown: 1, refused: None };
            let mut asked = 0;
            while let Some(count) = search.next() {
                assert!(count <= PARTS_MAX, "{count} of {most}");
                search.note(count, count <= most);
                asked += 1;
            }
            assert_eq!(search.shown, most.min(PARTS_MAX));
            assert!(asked <= 24, "{asked} for {most}");
        }
    }
}
