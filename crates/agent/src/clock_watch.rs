//! Whether the time of day was set back.
//!
//! Engines stamp entries by the time of day, so after a step back new entries look older than accepted ones. The
//! monotonic clock does not step: the difference of the two falls at a step back, and only then by this much.

use std::sync::Arc;

use logyard_sys::Clock;

/// Smaller falls are the two clocks being read one after the other, or not worth following.
const STEP_NS_MIN: i64 = 50_000_000;

/// Compares the clocks again and again.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    clock: Arc<dyn Clock>,
    /// Time of day less monotonic time, at the last look.
    difference_ns: i64,
    /// Monotonic time of the last look.
    looked_ns: i64,
}

/// The time of day was set back at some moment between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockStep {
    /// Entries written after the step bear this time or a later one.
    pub(crate) bottom_ns: i64,
    /// Entries written before the step bear this time or an earlier one.
    pub(crate) top_ns: i64,
}

impl ClockWatch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (difference_ns, looked_ns) = read(&*clock);
        Self { clock, difference_ns, looked_ns }
    }

    /// Returns the step back since the last look, if there was one.
    pub(crate) fn look(&mut self) -> Option<ClockStep> {
        let (difference_ns, now_ns) = read(&*self.clock);
        let before_ns = std::mem::replace(&mut self.difference_ns, difference_ns);
        let looked_ns = std::mem::replace(&mut self.looked_ns, now_ns);
        (before_ns.saturating_sub(difference_ns) > STEP_NS_MIN).then(|| ClockStep {
            bottom_ns: looked_ns.saturating_add(difference_ns).saturating_sub(STEP_NS_MIN),
            top_ns: now_ns.saturating_add(before_ns).saturating_add(STEP_NS_MIN),
        })
    }
}

/// Returns the difference of the clocks, and the monotonic one.
fn read(clock: &dyn Clock) -> (i64, i64) {
    let monotonic_ns = i64::try_from(clock.monotonic_ns()).unwrap_or(i64::MAX);
    (clock.now_ns().saturating_sub(monotonic_ns), monotonic_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimClock;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn only_a_step_back_is_told_and_only_once() {
        let clock = Arc::new(SimClock::new(100 * SECOND));
        let mut watch = ClockWatch::new(Arc::<SimClock>::clone(&clock));
        clock.advance(Duration::from_secs(5));
        assert_eq!(watch.look(), None);
        clock.set(200 * SECOND);
        assert_eq!(watch.look(), None, "a step ahead");
        clock.advance(Duration::from_secs(4));
        clock.set(194 * SECOND);
        let slack = STEP_NS_MIN;
        // Without the step it would be 204 s; had it been set back right after the last look, it was 190 s then.
        let want = ClockStep { bottom_ns: 190 * SECOND - slack, top_ns: 204 * SECOND + slack };
        assert_eq!(watch.look(), Some(want));
        assert_eq!(watch.look(), None);
        clock.set(194 * SECOND - slack / 2);
        assert_eq!(watch.look(), None, "a little is no step");
    }
}
