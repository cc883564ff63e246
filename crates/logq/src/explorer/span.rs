//! Which span of time is looked at, and how it is moved.

use jiff::tz::TimeZone;
use logyard_model::TimeRange;

use crate::chart::clock_text;
use crate::time_text::{parse_duration_ns, parse_time_ns};

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;

/// No span is shorter: a histogram of it has steps of a millisecond.
const SHORTEST_NS: i64 = 100_000_000;

/// No span is longer: ten years.
const LONGEST_NS: i64 = 10 * 365 * 24 * HOUR_NS;

/// What the picker offers.
pub(crate) const PRESETS: [(&str, i64); 10] = [
    ("5m", 5 * MINUTE_NS),
    ("15m", 15 * MINUTE_NS),
    ("30m", 30 * MINUTE_NS),
    ("1h", HOUR_NS),
    ("3h", 3 * HOUR_NS),
    ("6h", 6 * HOUR_NS),
    ("12h", 12 * HOUR_NS),
    ("1d", 24 * HOUR_NS),
    ("7d", 7 * 24 * HOUR_NS),
    ("30d", 30 * 24 * HOUR_NS),
];

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// So many nanoseconds until now.
    Last(i64),
    /// From here to there.
    Between(TimeRange),
}

impl Span {
    /// Returns the range that is meant at `now_ns`.
    pub(crate) fn range(self, now_ns: i64) -> TimeRange {
        match self {
            Self::Last(ns) => TimeRange { start_ns: now_ns.saturating_sub(ns), end_ns: now_ns },
            Self::Between(range) => range,
        }
    }

    /// Returns the words for it.
    pub(crate) fn text(self, zone: &TimeZone) -> String {
        match self {
            Self::Last(ns) => match PRESETS.iter().find(|(_, preset_ns)| *preset_ns == ns) {
                Some((name, _)) => format!("last {name}"),
                None => format!("last {}s", ns / SECOND_NS),
            },
            Self::Between(range) => {
                let from = clock_text::full(range.start_ns, zone);
                format!("{from} – {}", clock_text::full(range.end_ns, zone))
            }
        }
    }

    /// Returns the flags of the command that ask for it.
    pub(crate) fn flags(self) -> String {
        match self {
            Self::Last(ns) => match PRESETS.iter().find(|(_, preset_ns)| *preset_ns == ns) {
                Some((name, _)) => format!("--since {name}"),
                None => format!("--since {}ms", ns / 1_000_000),
            },
            Self::Between(range) => format!("--from {} --to {}", range.start_ns, range.end_ns),
        }
    }

    /// Reads what was typed into the picker: a duration, or `FROM` or `FROM to TO` in the forms of `--from`.
    pub(crate) fn parse(text: &str, now_ns: i64, zone: &TimeZone) -> Result<Self, String> {
        if let Ok(ns) = parse_duration_ns(text) {
            return match ns >= SHORTEST_NS {
                true => Ok(Self::Last(ns.min(LONGEST_NS))),
                false => Err("cannot use a span of less than 100ms".to_owned()),
            };
        }
        let (from, to) = text.split_once(" to ").unwrap_or((text, "now"));
        let start_ns = parse_time_ns(from, now_ns, zone)?;
        let end_ns = parse_time_ns(to, now_ns, zone)?;
        if end_ns.saturating_sub(start_ns) < SHORTEST_NS {
            return Err("cannot use this span: want its end after its beginning".to_owned());
        }
        Ok(Self::Between(TimeRange { start_ns, end_ns }))
    }

    /// Returns the span twice as long, around the same middle; one until now reaches back further.
    pub(crate) fn wider(self) -> Self {
        match self {
            Self::Last(ns) => Self::Last(ns.saturating_mul(2).min(LONGEST_NS)),
            Self::Between(range) => {
                let length_ns = range.end_ns.saturating_sub(range.start_ns);
                let half_ns = (length_ns.saturating_mul(2).min(LONGEST_NS) - length_ns).max(0) / 2;
                Self::Between(TimeRange {
                    start_ns: range.start_ns.saturating_sub(half_ns),
                    end_ns: range.end_ns.saturating_add(half_ns),
                })
            }
        }
    }

    /// Returns the span half as long around an instant.
    pub(crate) fn closer(self, around_ns: i64, now_ns: i64) -> Self {
        let range = self.range(now_ns);
        let quarter_ns = (range.end_ns.saturating_sub(range.start_ns) / 4).max(SHORTEST_NS / 2);
        Self::Between(TimeRange {
            start_ns: around_ns.saturating_sub(quarter_ns),
            end_ns: around_ns.saturating_add(quarter_ns),
        })
    }

    /// Returns the span half its length earlier or later.
    pub(crate) fn moved(self, is_later: bool, now_ns: i64) -> Self {
        let range = self.range(now_ns);
        let half_ns = range.end_ns.saturating_sub(range.start_ns) / 2;
        let by_ns = if is_later { half_ns } else { -half_ns };
        Self::Between(TimeRange {
            start_ns: range.start_ns.saturating_add(by_ns),
            end_ns: range.end_ns.saturating_add(by_ns),
        })
    }

    /// Returns the span of an exact range, at least of the shortest length.
    pub(crate) fn between(start_ns: i64, end_ns: i64) -> Self {
        Self::Between(TimeRange { start_ns, end_ns: end_ns.max(start_ns.saturating_add(SHORTEST_NS)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_spans_are_read() {
        let read = |text| Span::parse(text, 1_000 * HOUR_NS, &TimeZone::UTC);
        assert_eq!(read("90m"), Ok(Span::Last(90 * MINUTE_NS)));
        let hours = |start, end| Span::between(start * HOUR_NS, end * HOUR_NS);
        assert_eq!(read("now-2h"), Ok(hours(998, 1000)));
        assert_eq!(read("1970-01-01 to 1970-01-02"), Ok(hours(0, 24)));
        assert_eq!(read("1970-01-01T05:00 to now-1h"), Ok(hours(5, 999)));
        assert!(read("1970-01-02 to 1970-01-01").is_err());
        assert!(read("soon").unwrap_err().contains("soon"));
        assert!(read("1ms").is_err());
    }

    #[test]
    fn spans_zoom_and_move() {
        let span = Span::between(100 * HOUR_NS, 104 * HOUR_NS);
        assert_eq!(span.wider(), Span::between(98 * HOUR_NS, 106 * HOUR_NS));
        assert_eq!(span.closer(101 * HOUR_NS, 0), Span::between(100 * HOUR_NS, 102 * HOUR_NS));
        assert_eq!(span.moved(true, 0), Span::between(102 * HOUR_NS, 106 * HOUR_NS));
        assert_eq!(Span::Last(HOUR_NS).wider(), Span::Last(2 * HOUR_NS));
        assert_eq!(Span::Last(2 * HOUR_NS).moved(false, 4 * HOUR_NS), Span::between(HOUR_NS, 3 * HOUR_NS));
    }

    #[test]
    fn no_zoom_leaves_the_numbers() {
        let mut span = Span::between(i64::MAX - 5, i64::MAX);
        for _ in 0..100 {
            span = span.wider();
        }
        let mut near = Span::between(0, HOUR_NS);
        for _ in 0..100 {
            near = near.closer(HOUR_NS / 2, 0);
        }
        let range = near.range(0);
        assert!(range.end_ns - range.start_ns >= SHORTEST_NS);
        assert!(span.range(0).start_ns < span.range(0).end_ns);
    }

    #[test]
    fn words_and_flags_are_those_of_the_command() {
        assert_eq!(Span::Last(HOUR_NS).text(&TimeZone::UTC), "last 1h");
        assert_eq!(Span::Last(HOUR_NS).flags(), "--since 1h");
        assert_eq!(
            Span::between(0, HOUR_NS).text(&TimeZone::UTC),
            "1970-01-01 00:00:00 – 1970-01-01 01:00:00"
        );
        assert_eq!(
            Span::between(11 * HOUR_NS, 12 * HOUR_NS).flags(),
            "--from 39600000000000 --to 43200000000000"
        );
    }
}
