//! Reads the timestamps that engines put before each part of a line.
//!
//! Docker writes RFC 3339 with up to nine fraction digits and `Z`; Podman writes nine digits and the
//! engine's UTC offset. Parsed by hand: this runs once per entry, and no allocation is needed.

/// Reads a timestamp at the start of `text`.
///
/// Returns ns since the Unix epoch and the number of bytes read; `None` if there is no timestamp.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<(i64, usize)> {
    let year = digits(text, 0, 4)?;
    let month = after(text, 4, b'-', 2)?;
    let day = after(text, 7, b'-', 2)?;
    let hour = after(text, 10, b'T', 2)?;
    let minute = after(text, 13, b':', 2)?;
    let second = after(text, 16, b':', 2)?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour <= 23
        && minute <= 59
        // A leap second is written as 60 and counted into the next minute.
        && second <= 60;
    if !in_range {
        return None;
    }
    let (fraction_ns, at) = fraction(text, 19)?;
    let (offset_secs, end) = zone(text, at)?;
    let secs = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_secs;
    let ns = secs.checked_mul(1_000_000_000)?.checked_add(fraction_ns)?;
    Some((ns, end))
}

/// Reads `.123456789` at `at`, if there is a fraction; returns ns and the next index.
fn fraction(text: &[u8], at: usize) -> Option<(i64, usize)> {
    if text.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let mut ns = 0_i64;
    let mut count = 0_usize;
    while let Some(digit) = text.get(at + 1 + count).filter(|b| b.is_ascii_digit()) {
        if count == 9 {
            return None;
        }
        ns = ns * 10 + i64::from(digit - b'0');
        count += 1;
    }
    if count == 0 {
        return None;
    }
    for _ in count..9 {
        ns *= 10;
    }
    Some((ns, at + 1 + count))
}

/// Reads `Z` or `+01:00` at `at`; returns the offset in seconds and the next index.
fn zone(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let sign = match text.get(at)? {
        b'Z' => return Some((0, at + 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(text, at + 1, 2)?;
    let minutes = after(text, at + 3, b':', 2)?;
    Some((sign * (hours * 3_600 + minutes * 60), at + 6))
}

fn after(text: &[u8], at: usize, mark: u8, count: usize) -> Option<i64> {
    if text.get(at) != Some(&mark) {
        return None;
    }
    digits(text, at + 1, count)
}

fn digits(text: &[u8], at: usize, count: usize) -> Option<i64> {
    let mut value = 0_i64;
    for byte in text.get(at..at + count)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, counted in eras of 400 years
/// that begin in March, so that the leap day is the last day of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<(i64, usize)>) {
        assert_eq!(parse_timestamp(text.as_bytes()), want, "{text}");
    }

    #[test]
    fn docker_and_podman_forms() {
        check("1970-01-01T00:00:00Z x", Some((0, 20)));
        check("2026-01-02T03:04:05.123456789Z line", Some((1_767_323_045_123_456_789, 30)));
        check("2026-01-02T03:04:05.5Z line", Some((1_767_323_045_500_000_000, 22)));
        check("2026-01-02T04:04:05.000000000+01:00 x", Some((1_767_323_045_000_000_000, 35)));
        check("2026-01-01T22:34:05-04:30", Some((1_767_323_045_000_000_000, 25)));
        check("2024-02-29T00:00:00Z", Some((1_709_164_800_000_000_000, 20)));
        check("1969-12-31T23:59:59.999999999Z", Some((-1, 30)));
    }

    #[test]
    fn anything_else_is_no_timestamp() {
        for text in [
            "",
            "hello",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-01-02T24:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05+0100",
        ] {
            check(text, None);
        }
    }
}
