//! Clocks: the time of day, and a time that never runs backwards.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is where clocks are read")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + Debug {
    /// Returns the time of day, nanoseconds since the Unix epoch. It may jump in both directions.
    fn now_ns(&self) -> i64;

    /// Returns nanoseconds since some fixed instant of this run; never decreases. For spans only.
    fn monotonic_ns(&self) -> u64;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// Returns the machine's clock; its monotonic time starts at 0 now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(error) => i64::try_from(error.duration().as_nanos()).map_or(i64::MIN, |before| -before),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves when told to.
#[derive(Debug)]
pub struct SimClock {
    now_ns: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    /// Returns a clock that stands at `now_ns`; its monotonic time stands at 0.
    pub fn new(now_ns: i64) -> Self {
        Self { now_ns: AtomicI64::new(now_ns), monotonic_ns: AtomicU64::new(0) }
    }

    /// Sets the time of day, in any direction; monotonic time stands still.
    pub fn set(&self, now_ns: i64) {
        self.now_ns.store(now_ns, Ordering::SeqCst);
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_ns.fetch_add(nanos, Ordering::SeqCst);
        self.now_ns.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_moves_when_told() {
        let clock = SimClock::new(100);
        clock.advance(Duration::from_nanos(5));
        assert_eq!((clock.now_ns(), clock.monotonic_ns()), (105, 5));
        clock.set(50);
        assert_eq!((clock.now_ns(), clock.monotonic_ns()), (50, 5));
    }

    #[test]
    fn real_time_is_after_2020_and_monotonic() {
        let clock = RealClock::new();
        assert!(clock.now_ns() > 1_577_836_800_000_000_000);
        let first = clock.monotonic_ns();
        assert!(clock.monotonic_ns() >= first);
    }
}
