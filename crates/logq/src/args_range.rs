//! Which span of time is asked for: the flags that every command over a range takes.

use clap::Args;
use jiff::tz::TimeZone;
use logyard_model::TimeRange;

use crate::time_text::{parse_duration_ns, parse_time_ns};

/// Which span of time is asked for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Range")]
pub(crate) struct RangeFlags {
    /// How far back to look, such as 30s, 15m, 1h30m, 7d
    #[arg(long, global = true, default_value = "1h", value_name = "DURATION", hide_short_help = true)]
    pub(crate) since: String,

    /// First instant: 2026-11-20, 2026-11-20T08:30, RFC 3339, Unix time, now-2h
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
        let since_ns = parse_duration_ns(&self.since)?;
        let start_ns = self.from.as_ref().map_or(Ok(end_ns.min(now_ns).saturating_sub(since_ns)), read)?;
        if start_ns > end_ns {
            return Err("cannot use --from and --to: the first lies after the second".to_owned());
        }
        Ok(TimeRange { start_ns, end_ns })
    }
}
