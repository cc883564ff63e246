//! The pause between attempts.
//!
//! Doubling pauses keep a store that restarts from being stormed; the random half keeps many agents
//! that failed together from coming back together.

use std::sync::Arc;
use std::time::Duration;

use logyard_sys::Random;

/// Bounds of the pause between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Pause after the first failure.
    pub min: Duration,
    /// Longest pause, whatever the number of failures.
    pub max: Duration,
}

/// Hands out growing pauses: the n-th lies between half and the whole of `min × 2ⁿ`, at most `max`.
///
/// Counts attempts but never gives up: that is the caller's decision.
#[derive(Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    random: Arc<Random>,
    attempts: u32,
}

impl Backoff {
    /// Starts at the shortest pause.
    pub fn new(settings: BackoffSettings, random: Arc<Random>) -> Self {
        Self { settings, random, attempts: 0 }
    }

    /// Returns how long to wait before the next attempt.
    ///
    /// `retry_after` is what the store asked for: the pause is never shorter than it, but never longer
    /// than an hour because of it, so that a nonsense header cannot stop shipping for good.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
        let doublings = self.attempts.min(31);
        self.attempts = self.attempts.saturating_add(1);
        let whole = self.settings.min.saturating_mul(1 << doublings).min(self.settings.max);
        let half = whole / 2;
        let jitter_ns_max = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(match jitter_ns_max {
            0 => 0,
            bound => self.random.next_u64() % bound.saturating_add(1).max(1),
        });
        (half + jitter).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// Returns the failures since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        let settings = BackoffSettings { min: Duration::from_millis(100), max: Duration::from_secs(1) };
        Backoff::new(settings, Arc::new(Random::seeded(seed)))
    }

    #[test]
    fn pauses_double_up_to_the_bound() {
        for seed in 0..50 {
            let mut backoff = backoff(seed);
            for whole_ms in [100, 200, 400, 800, 1000, 1000] {
                let delay = backoff.next_delay(None);
                assert!(delay >= Duration::from_millis(whole_ms / 2), "{delay:?}");
                assert!(delay <= Duration::from_millis(whole_ms), "{delay:?}");
            }
        }
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = backoff(1);
        for _ in 0..100 {
            assert!(backoff.next_delay(None) <= Duration::from_secs(1));
        }
        assert_eq!(backoff.attempts(), 100);
        backoff.reset();
        assert!(backoff.next_delay(None) <= Duration::from_millis(100));
    }

    #[test]
    fn the_store_may_ask_for_more_but_not_for_ever() {
        assert_eq!(backoff(1).next_delay(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff(1).next_delay(Some(Duration::from_secs(1 << 40))), Duration::from_secs(3600));
    }

    #[test]
    fn same_seed_same_pauses() {
        let (mut a, mut b) = (backoff(9), backoff(9));
        for _ in 0..10 {
            assert_eq!(a.next_delay(None), b.next_delay(None));
        }
    }
}
