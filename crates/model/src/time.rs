//! Ranges of time and the direction in which they are read.

/// A half-open range of time, `[start_ns, end_ns)`, in nanoseconds since the Unix epoch.
///
/// A range whose start is not before its end is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside the range.
    pub start_ns: i64,
    /// First instant after the range.
    pub end_ns: i64,
}

impl TimeRange {
    /// Everything that can be stored.
    pub const ALL: Self = Self { start_ns: i64::MIN, end_ns: i64::MAX };

    /// Returns whether no instant lies in the range.
    pub fn is_empty(self) -> bool {
        self.start_ns >= self.end_ns
    }

    /// Returns whether `ts_ns` lies in the range.
    pub fn contains(self, ts_ns: i64) -> bool {
        self.start_ns <= ts_ns && ts_ns < self.end_ns
    }

    /// Returns whether any instant of the closed range `min_ns..=max_ns` lies in this range.
    pub fn overlaps(self, min_ns: i64, max_ns: i64) -> bool {
        !self.is_empty() && min_ns < self.end_ns && max_ns >= self.start_ns
    }
}

/// The order in which a log query returns entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}
