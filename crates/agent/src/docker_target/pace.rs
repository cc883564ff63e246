//! How fast a log that is rotated comes, and whether a pause is long enough for a file to have been skipped.
//!
//! Under load engines before 23 lose sight of a log at its rotation, mostly with the driver `local`: the response is
//! silent until the next rotation, and goes on with the file after it. What is skipped is a whole file, so it took as
//! long as a file takes. A pause in which far less than a file can have come is none of these.

use std::time::Duration;

/// Time over which the pace is taken.
const WINDOW_NS: i64 = 10_000_000_000;
/// The least time that so many bytes are taken to have come in.
const SPAN_NS_MIN: i64 = 100_000_000;
/// How soon a silent response is looked at, and how late.
const ASK_AFTER_MIN: Duration = Duration::from_millis(500);

/// The pace of one response that follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes that may have gone unseen in a pause before it is looked into: half a file.
    doubtful_bytes: u64,
    bytes: u64,
    span_ns: i64,
    newest_ns: Option<i64>,
}

impl Pace {
    pub(super) fn new(rotation_bytes: u64) -> Self {
        Self { doubtful_bytes: rotation_bytes / 2, bytes: 0, span_ns: 0, newest_ns: None }
    }

    /// Notes an entry. Returns whether a file may have been skipped before it.
    pub(super) fn step(&mut self, ts_ns: i64, line_bytes: usize) -> bool {
        let pause_ns = self.newest_ns.map_or(0, |newest_ns| ts_ns.saturating_sub(newest_ns)).max(0);
        let is_doubtful = self.bytes_within(pause_ns) >= self.doubtful_bytes && pause_ns > 0;
        self.newest_ns = self.newest_ns.max(Some(ts_ns));
        self.bytes += line_bytes as u64;
        self.span_ns = self.span_ns.saturating_add(pause_ns);
        if self.span_ns > WINDOW_NS {
            // The older half counts half.
            let over = self.span_ns / WINDOW_NS + 1;
            self.bytes /= u64::try_from(over).unwrap_or(u64::MAX);
            self.span_ns /= over;
        }
        is_doubtful
    }

    /// Returns after which silence a file may have been skipped; at most `most`.
    pub(super) fn doubtful_silence(&self, most: Duration) -> Duration {
        let span_ns = u128::from(self.span_ns.max(SPAN_NS_MIN).unsigned_abs());
        let nanos = span_ns * u128::from(self.doubtful_bytes) / u128::from(self.bytes.max(1));
        let silence = u64::try_from(nanos).map_or(most, Duration::from_nanos);
        silence.clamp(ASK_AFTER_MIN.min(most), most)
    }

    /// Returns the bytes that come in so long a time at this pace.
    fn bytes_within(&self, pause_ns: i64) -> u64 {
        let span_ns = u128::from(self.span_ns.max(SPAN_NS_MIN).unsigned_abs());
        let bytes = u128::from(self.bytes) * u128::from(pause_ns.unsigned_abs()) / span_ns;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const FILE: u64 = 1 << 20;
    const MOST: Duration = Duration::from_secs(10);

    /// Lines of 300 bytes, so many milliseconds apart.
    fn run(pace: &mut Pace, from_ms: i64, count: i64, apart_ms: i64) -> i64 {
        for number in 0..count {
            assert!(!pace.step((from_ms + number * apart_ms) * MS, 300), "line {number}");
        }
        from_ms + count * apart_ms
    }

    #[test]
    fn a_pause_as_long_as_a_file_takes_is_doubtful() {
        let mut pace = Pace::new(FILE);
        // 300 kB a second: a file takes three and a half.
        let now_ms = run(&mut pace, 0, 5_000, 1);
        assert!(!pace.clone().step((now_ms + 1_500) * MS, 300));
        assert!(pace.clone().step((now_ms + 2_000) * MS, 300));
        assert!(!pace.step((now_ms - 3_000) * MS, 300), "shown again");
        let silence = pace.doubtful_silence(MOST).as_millis();
        assert!((1_600..1_900).contains(&silence), "{silence}");
    }

    #[test]
    fn slow_logs_may_pause() {
        let mut pace = Pace::new(FILE);
        run(&mut pace, 0, 1_000, 1_000);
        assert_eq!(pace.doubtful_silence(MOST), MOST);
        run(&mut pace, 1_500_000, 100, 60_000);
        // A few lines at the start tell little.
        let mut pace = Pace::new(FILE);
        run(&mut pace, 0, 20, 1);
        run(&mut pace, 5_000, 20, 1);
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let mut pace = Pace::new(FILE);
        let now_ms = run(&mut pace, 0, 1_000, 1_000);
        let now_ms = run(&mut pace, now_ms, 30_000, 1);
        assert!(pace.step((now_ms + 4_000) * MS, 300));
    }
}
