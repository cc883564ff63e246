//! Times as Go writes and reads them: RFC 3339 with nanoseconds, and `time.Time`'s default text.
//!
//! Loki's parameters and error texts use these forms. Seconds are `i64` over the whole range of Go's
//! years, since a missing timestamp reads as year 1, which nanoseconds in an `i64` cannot hold.

use std::fmt::Write as _;

/// Seconds of Go's zero time, `0001-01-01T00:00:00Z`.
pub const YEAR_ONE_SECS: i64 = -62_135_596_800;

const SECS_PER_DAY: i64 = 86_400;
const NS_PER_SEC: i64 = 1_000_000_000;

/// A point in time, wider than nanoseconds in an `i64` reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoTime {
    /// Seconds since the Unix epoch, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`, `0..1_000_000_000`.
    pub nanos: u32,
}

impl GoTime {
    /// Converts from ns since the Unix epoch.
    pub fn from_ns(ts_ns: i64) -> Self {
        let nanos = u32::try_from(ts_ns.rem_euclid(NS_PER_SEC)).unwrap_or(0);
        Self { secs: ts_ns.div_euclid(NS_PER_SEC), nanos }
    }

    /// Converts to ns since the Unix epoch; `None` outside the years 1677 to 2262.
    pub fn to_ns(self) -> Option<i64> {
        let ns = i128::from(self.secs) * i128::from(NS_PER_SEC) + i128::from(self.nanos);
        i64::try_from(ns).ok()
    }

    /// Writes RFC 3339 in UTC with whole seconds, as Go's `time.RFC3339`.
    pub fn rfc3339(self) -> String {
        let (date, clock) = self.parts();
        format!("{date}T{clock}Z")
    }

    /// Writes RFC 3339 in UTC with the fraction that is needed, as Go's `time.RFC3339Nano`.
    pub fn rfc3339_nano(self) -> String {
        let (date, clock) = self.parts();
        format!("{date}T{clock}{}Z", self.fraction())
    }

    /// Writes the default text of a UTC time in Go, `2026-02-09 00:00:00 +0000 UTC`.
    pub fn go_text(self) -> String {
        let (date, clock) = self.parts();
        format!("{date} {clock}{} +0000 UTC", self.fraction())
    }

    fn parts(self) -> (String, String) {
        let (year, month, day) = civil_from_days(self.secs.div_euclid(SECS_PER_DAY));
        let second = self.secs.rem_euclid(SECS_PER_DAY);
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        (format!("{year:04}-{month:02}-{day:02}"), clock)
    }

    fn fraction(self) -> String {
        let mut text = String::new();
        if self.nanos > 0 {
            // Writing into a String cannot fail.
            write!(text, ".{:09}", self.nanos).unwrap_or_default();
            text.truncate(text.trim_end_matches('0').len());
        }
        text
    }
}

/// Reads RFC 3339 with an optional fraction (up to nine digits count) and an offset or `Z`.
pub fn parse_rfc3339(text: &str) -> Option<GoTime> {
    let mut bytes = text.as_bytes();
    let year = digits(&mut bytes, 4)?;
    literal(&mut bytes, b'-')?;
    let month = digits(&mut bytes, 2)?;
    literal(&mut bytes, b'-')?;
    let day = digits(&mut bytes, 2)?;
    literal(&mut bytes, b'T')?;
    let hour = digits(&mut bytes, 2)?;
    literal(&mut bytes, b':')?;
    let minute = digits(&mut bytes, 2)?;
    literal(&mut bytes, b':')?;
    let second = digits(&mut bytes, 2)?;
    let nanos = fraction(&mut bytes)?;
    let offset = offset(&mut bytes)?;
    let days_max = days_in_month(year, month)?;
    let valid = (1..=days_max).contains(&day) && hour < 24 && minute < 60 && second < 60 && bytes.is_empty();
    if !valid {
        return None;
    }
    let secs = days_from_civil(year, month, day) * SECS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    Some(GoTime { secs, nanos })
}

fn literal(bytes: &mut &[u8], want: u8) -> Option<()> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    (*first == want).then_some(())
}

fn digits(bytes: &mut &[u8], count: usize) -> Option<i64> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    head.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn fraction(bytes: &mut &[u8]) -> Option<u32> {
    if !matches!(bytes.first(), Some(b'.' | b',')) {
        return Some(0);
    }
    let rest = bytes.get(1..)?;
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, after) = rest.split_at_checked(count)?;
    *bytes = after;
    if digits.is_empty() {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

fn offset(bytes: &mut &[u8]) -> Option<i64> {
    let (sign, rest) = bytes.split_first()?;
    *bytes = rest;
    let sign = match sign {
        b'Z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(bytes, 2)?;
    literal(bytes, b':')?;
    let minutes = digits(bytes, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Counts days since the Unix epoch in the proleptic Gregorian calendar.
///
/// Years are counted from March, so the leap day is the last of its year, in eras of 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_known_times() {
        let time = GoTime::from_ns(1_795_230_326_123_000_000);
        assert_eq!(time.rfc3339(), "2026-11-21T03:05:26Z");
        assert_eq!(time.rfc3339_nano(), "2026-11-21T03:05:26.123Z");
        assert_eq!(GoTime::from_ns(1_770_595_200_000_000_000).go_text(), "2026-02-09 00:00:00 +0000 UTC");
        assert_eq!(GoTime { secs: YEAR_ONE_SECS, nanos: 0 }.rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(GoTime::from_ns(-1).rfc3339_nano(), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn reading_is_the_inverse_of_writing() {
        for days in (-800_000..200_000).step_by(97) {
            let time = GoTime { secs: days * 86_400 + 12_345, nanos: 120_000_000 };
            if time.secs >= YEAR_ONE_SECS {
                assert_eq!(parse_rfc3339(&time.rfc3339_nano()), Some(time), "day {days}");
            }
        }
    }

    #[test]
    fn offsets_fractions_and_faults() {
        let secs = |text: &str| parse_rfc3339(text).map(|time| time.secs);
        assert_eq!(secs("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(secs("1969-12-31T23:30:00-00:30"), Some(0));
        assert_eq!(
            parse_rfc3339("1970-01-01T00:00:00.1234567899Z").map(|time| time.nanos),
            Some(123_456_789)
        );
        for fault in [
            "",
            "2026-01-10",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-13-01T00:00:00Z",
            "é026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(fault), None, "{fault}");
        }
    }
}
