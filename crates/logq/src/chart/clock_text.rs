//! Times as histograms and the explorer write them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes the time of day with milliseconds.
pub(crate) fn short(ts_ns: i64, zone: &TimeZone) -> String {
    format(ts_ns, zone, "%H:%M:%S%.3f")
}

/// Writes day and time with milliseconds.
pub(crate) fn dated(ts_ns: i64, zone: &TimeZone) -> String {
    format(ts_ns, zone, "%m-%d %H:%M:%S%.3f")
}

/// Writes date and time to the second.
pub(crate) fn full(ts_ns: i64, zone: &TimeZone) -> String {
    format(ts_ns, zone, "%Y-%m-%d %H:%M:%S")
}

/// Writes date and time as far as they are known, with the distance to UTC.
pub(crate) fn exact(ts_ns: i64, zone: &TimeZone) -> String {
    format(ts_ns, zone, "%Y-%m-%dT%H:%M:%S%.f%:z")
}

/// Writes the length of a step: 250ms, 30s, 5m, 2h, 1d.
pub(crate) fn length(ns: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400_000_000_000, "d"), (3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s")];
    match UNITS.iter().find(|(unit_ns, _)| ns >= *unit_ns && ns % unit_ns == 0) {
        Some((unit_ns, name)) => format!("{}{name}", ns / unit_ns),
        None => format!("{}ms", ns / 1_000_000),
    }
}

fn format(ts_ns: i64, zone: &TimeZone, form: &str) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or_default();
    timestamp.to_zoned(zone.clone()).strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_forms() {
        let ts_ns = 1_500_000_001;
        assert_eq!(short(ts_ns, &TimeZone::UTC), "00:00:01.500");
        assert_eq!(short(0, &TimeZone::UTC), "00:00:00.000");
        assert_eq!(dated(ts_ns, &TimeZone::UTC), "01-01 00:00:01.500");
        assert_eq!([250_000_000, 90_000_000_000, 7_200_000_000_000].map(length), ["250ms", "90s", "2h"]);
        assert_eq!(exact(ts_ns, &TimeZone::UTC), "1970-01-01T00:00:01.500000001+00:00");
    }
}
