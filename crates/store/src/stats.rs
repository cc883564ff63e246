//! Counts over a range, from run tables alone.

use logyard_model::TimeRange;

/// Counts over matching streams and a range of time.
///
/// Runs that lie partly inside the range count in proportion to time, as in Loki v3.7.6; hence exact for whole
/// runs, close for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Distinct streams.
    pub streams: u64,
    /// Runs (Loki's clients call them chunks).
    pub chunks: u64,
    /// Bytes of lines.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Stats {
    /// Adds a run with entries in `min_ns..=max_ns`. Returns whether any of it may lie in `range`.
    pub(crate) fn add_run(
        &mut self,
        range: TimeRange,
        min_ns: i64,
        max_ns: i64,
        rows: u64,
        bytes: u64,
    ) -> bool {
        if !range.overlaps(min_ns, max_ns) {
            return false;
        }
        self.chunks += 1;
        let (start, end) = (range.start_ns.max(min_ns), range.end_ns.saturating_sub(1).min(max_ns));
        if start == min_ns && end == max_ns {
            self.entries += rows;
            self.bytes += bytes;
            return true;
        }
        let span = |from: i64, to: i64| i128::from(to) - i128::from(from) + 1;
        let share = |whole: u64| {
            let part = i128::from(whole) * span(start, end) / span(min_ns, max_ns);
            u64::try_from(part).unwrap_or(whole)
        };
        self.entries += share(rows);
        self.bytes += share(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_the_border_count_in_proportion() {
        let mut stats = Stats::default();
        let range = TimeRange { start_ns: 100, end_ns: 200 };
        assert!(stats.add_run(range, 100, 199, 10, 1000));
        assert!(!stats.add_run(range, 200, 299, 10, 1000));
        assert!(!stats.add_run(range, 0, 99, 10, 1000));
        assert_eq!((stats.chunks, stats.entries, stats.bytes), (1, 10, 1000));
        assert!(stats.add_run(range, 50, 149, 10, 1000));
        assert_eq!((stats.chunks, stats.entries, stats.bytes), (2, 15, 1500));
        assert!(stats.add_run(TimeRange::ALL, i64::MIN, i64::MAX - 1, 8, 80));
        assert_eq!((stats.entries, stats.bytes), (23, 1580));
    }
}
