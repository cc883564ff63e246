//! Times as the explorer writes them.

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
        assert_eq!(exact(ts_ns, &TimeZone::UTC), "1970-01-01T00:00:01.500000001+00:00");
    }
}
