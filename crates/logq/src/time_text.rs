//! Times and durations as people write them.
//!
//! Durations are those of Prometheus (`1h30m`, units `ms s m h d w y`), so that what works inside `[5m]` works in a
//! flag, with fractions (`1.5h`) as Loki's client takes them. Times without a zone are local; `time_words` reads those
//! in words.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::time_words::parse_words_ns;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Units of a duration and their nanoseconds; a year has 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("ms", NS_PER_MS),
    ("s", NS_PER_S),
    ("m", 60 * NS_PER_S),
    ("h", 3600 * NS_PER_S),
    ("d", 86_400 * NS_PER_S),
    ("w", 7 * 86_400 * NS_PER_S),
    ("y", 365 * 86_400 * NS_PER_S),
];

/// Reads a duration and returns it in nanoseconds.
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("cannot read duration {text:?}: want numbers with units such as 30s, 15m, 1h30m, 7d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = tail.chars().take_while(char::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(wrong)?;
        let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part_ns = whole.checked_mul(*unit_ns).ok_or_else(wrong)?;
        let part_ns =
            part_ns.checked_add(fraction_ns(fraction, *unit_ns).ok_or_else(wrong)?).ok_or_else(wrong)?;
        total_ns = total_ns.checked_add(part_ns).ok_or_else(wrong)?;
        rest = tail;
    }
    i64::try_from(total_ns).map_err(|_| format!("cannot use duration {text:?}: it is longer than 292 years"))
}

/// Returns so many decimals of a unit, nothing for none.
fn fraction_ns(decimals: &str, unit_ns: u64) -> Option<u64> {
    // A year has fewer than 10^17 ns, so that further decimals are less than one.
    let (mut total, mut weight) = (0_u64, unit_ns);
    for digit in decimals.chars() {
        weight /= 10;
        total += u64::from(digit.to_digit(10)?) * weight;
    }
    Some(total)
}

/// Reads a point in time and returns nanoseconds since the Unix epoch.
///
/// Forms: `now`, `now-2h`, RFC 3339, `2026-11-20`, `2026-11-20T08:30[:15[.5]]` (with a blank instead of
/// `T` as well), Unix seconds with or without a fraction, Unix nanoseconds (more than ten digits), and words such as
/// `yesterday 14:00`.
pub(crate) fn parse_time_ns(text: &str, now_ns: i64, zone: &TimeZone) -> Result<i64, String> {
    let trimmed = text.trim();
    let wrong = || {
        format!(
            "cannot read time {text:?}: want 2026-11-20, 2026-11-20T08:30:00Z, 2h, yesterday 14:00, last friday or \
             Unix time"
        )
    };
    if trimmed == "now" {
        return Ok(now_ns);
    }
    if let Some(ago) = trimmed.strip_prefix("now-") {
        return Ok(now_ns.saturating_sub(parse_duration_ns(ago)?));
    }
    if let Some(ns) = parse_unix_ns(trimmed) {
        return Ok(ns);
    }
    if let Ok(timestamp) = trimmed.parse::<Timestamp>() {
        return i64::try_from(timestamp.as_nanosecond()).map_err(|_| wrong());
    }
    if let Some(ns) = parse_words_ns(trimmed, now_ns, zone) {
        return Ok(ns);
    }
    let civil = match trimmed.parse::<Date>() {
        Ok(date) if trimmed.len() == "2026-11-20".len() => date.to_datetime(jiff::civil::Time::midnight()),
        _ => trimmed.parse::<DateTime>().map_err(|_| wrong())?,
    };
    let zoned = civil.to_zoned(zone.clone()).map_err(|_| wrong())?;
    i64::try_from(zoned.timestamp().as_nanosecond()).map_err(|_| wrong())
}

fn parse_unix_ns(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return match text.len() {
            0..=10 => number.checked_mul(1_000_000_000),
            _ => Some(number),
        };
    }
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let seconds: f64 = if numeric { text.parse().ok()? } else { return None };
    let span = SignedDuration::try_from_secs_f64(seconds).ok()?;
    i64::try_from(span.as_nanos()).ok()
}

/// Chooses a step that gives about 30 samples in a range, out of round values people expect.
pub(crate) fn round_step_ns(range_ns: i64) -> i64 {
    const SAMPLES: i64 = 30;
    const ROUND_SECS: [i64; 18] =
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
    let wanted_secs = range_ns / 1_000_000_000 / SAMPLES;
    let secs = ROUND_SECS.iter().copied().find(|&secs| secs >= wanted_secs);
    secs.unwrap_or_else(|| (wanted_secs / 86_400 + 1) * 86_400) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 1_795_229_946_000_000_000;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, want) in [
            ("0s", Some(0)),
            ("500ms", Some(500_000_000)),
            ("15m", Some(900_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1w", Some(604_800_000_000_000)),
            ("", None),
            ("5", None),
            ("1.5s", Some(1_500_000_000)),
            ("0.25h", Some(900_000_000_000)),
            ("1.123456789s", Some(1_123_456_789)),
            (".5s", None),
            ("1..5s", None),
            ("-1h", None),
            ("h", None),
            ("1µs", None),
            ("9999999999y", None),
            ("300y", None),
        ] {
            assert_eq!(parse_duration_ns(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn times_have_many_forms() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let read = |text: &str| parse_time_ns(text, NOW_NS, &zone).ok();
        assert_eq!(read("now"), Some(NOW_NS));
        assert_eq!(read("now-1m"), Some(NOW_NS - 60_000_000_000));
        assert_eq!(read("1795229946"), Some(NOW_NS));
        assert_eq!(read("1795229946000000001"), Some(NOW_NS + 1));
        assert_eq!(read("1795229946.5"), Some(NOW_NS + 500_000_000));
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(read("1970-01-02"), Some((86_400 - 3600) * 1_000_000_000));
        assert_eq!(read("1970-01-01T01:00"), Some(0));
        assert_eq!(read("1970-01-01 01:00:02"), Some(2_000_000_000));
        assert_eq!(read("yesterday 3:59:06"), Some(NOW_NS - 86_400_000_000_000));
        assert_eq!(read("2h"), Some(NOW_NS - 7_200_000_000_000));
        for wrong in ["", "soon", "now+1h", "2026-13-01", "now-", "1.2.3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn steps_are_round() {
        let step_secs = |range_secs: i64| round_step_ns(range_secs * 1_000_000_000) / 1_000_000_000;
        assert_eq!(step_secs(10), 1);
        assert_eq!(step_secs(3600), 120);
        assert_eq!(step_secs(86_400), 3600);
        assert_eq!(step_secs(30 * 86_400), 86_400);
        assert_eq!(step_secs(365 * 86_400), 13 * 86_400);
    }
}
