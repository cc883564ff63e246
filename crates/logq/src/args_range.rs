//! Which span of time is asked for: the flags that every command over a range takes.

use clap::Args;
use jiff::tz::TimeZone;
use logyard_model::TimeRange;

use crate::time_text::{parse_duration_ns, parse_time_ns};
use crate::time_words::span_ns;

/// Which span of time is asked for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Range")]
pub(crate) struct RangeFlags {
    /// How far back to look: 15m, 1h30m, 7d, '2 hours'; or since when, as for --from: yesterday, 'monday 9am'
    #[arg(long, global = true, default_value = "1h", value_name = "DURATION", hide_short_help = true)]
    pub(crate) since: String,

    /// First instant: 2026-11-20, 2026-11-20T08:30, RFC 3339, Unix time, 2h, yesterday, 'last friday', 'monday 9am',
    /// '2 hours ago', 'nov 20 14:00 utc'
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub(crate) from: Option<String>,

    /// First instant that is not asked for any more, same forms [default: now]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub(crate) to: Option<String>,
}

impl RangeFlags {
    /// Returns the range; without `--from` it begins `--since` before `--to`, or before now if that is earlier.
    pub(crate) fn range(&self, now_ns: i64, zone: &TimeZone) -> Result<TimeRange, String> {
        let read = |text: &String| parse_time_ns(text, now_ns, zone);
        let end_ns = self.to.as_ref().map_or(Ok(now_ns), read)?;
        let start_ns = match &self.from {
            Some(from) => read(from)?,
            None => match parse_duration_ns(&self.since).ok().or_else(|| words_ns(&self.since)) {
                Some(since_ns) => end_ns.min(now_ns).saturating_sub(since_ns),
                None => read(&self.since)?,
            },
        };
        if start_ns > end_ns {
            return Err(
                "cannot use this range: its first instant lies after its last; mind --from, --since and --to"
                    .to_owned(),
            );
        }
        Ok(TimeRange { start_ns, end_ns })
    }
}

/// Reads `2 hours`.
fn words_ns(text: &str) -> Option<i64> {
    span_ns(&text.split_whitespace().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 1_795_229_946_000_000_000;
    const HOUR_NS: i64 = 3_600_000_000_000;

    fn range(since: &str, from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), String> {
        let flags =
            RangeFlags { since: since.to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) };
        flags.range(NOW_NS, &TimeZone::UTC).map(|range| (range.start_ns, range.end_ns))
    }

    #[test]
    fn since_is_a_span_or_an_instant() {
        assert_eq!(range("2h", None, None), Ok((NOW_NS - 2 * HOUR_NS, NOW_NS)));
        assert_eq!(range("2 hours", None, Some("1h")), Ok((NOW_NS - 3 * HOUR_NS, NOW_NS - HOUR_NS)));
        let midnight_ns = NOW_NS - NOW_NS % (24 * HOUR_NS);
        assert_eq!(range("today", None, None), Ok((midnight_ns, NOW_NS)));
        assert_eq!(
            range("1h", Some("yesterday"), Some("today")),
            Ok((midnight_ns - 24 * HOUR_NS, midnight_ns))
        );
        assert!(range("soon", None, None).unwrap_err().contains("\"soon\""));
        assert!(range("1h", Some("today"), Some("yesterday")).unwrap_err().contains("--from"));
    }
}
