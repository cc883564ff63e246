//! How times are printed: the forms that Loki's client offers, and ours.

use clap::ValueEnum;
use jiff::tz::TimeZone;

use crate::output_text::time_text;

/// Form of a printed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum TimeForm {
    /// RFC 3339 with milliseconds
    Default,
    /// RFC 3339 with seconds
    Rfc3339,
    /// RFC 3339 with as many decimals as there are, up to nine
    Rfc3339Nano,
    /// 21 Nov 26 02:59 +0000
    Rfc822z,
    /// Sat, 21 Nov 2026 02:59:06 +0000
    Rfc1123z,
    /// Nov 21 02:59:06.000
    StampMilli,
    /// Nov 21 02:59:06.000000
    StampMicro,
    /// Nov 21 02:59:06.000000000
    StampNano,
    /// Sat Nov 21 02:59:06 UTC 2026
    UnixDate,
}

impl TimeForm {
    /// Writes a time in a zone.
    pub(crate) fn text(self, ts_ns: i64, zone: &TimeZone) -> String {
        let is_utc = zone == &TimeZone::UTC;
        let pattern = match self {
            Self::Default => return time_text(ts_ns, zone),
            Self::Rfc3339 if is_utc => "%Y-%m-%dT%H:%M:%SZ",
            Self::Rfc3339 => "%Y-%m-%dT%H:%M:%S%:z",
            Self::Rfc3339Nano if is_utc => "%Y-%m-%dT%H:%M:%S%.fZ",
            Self::Rfc3339Nano => "%Y-%m-%dT%H:%M:%S%.f%:z",
            Self::Rfc822z => "%d %b %y %H:%M %z",
            Self::Rfc1123z => "%a, %d %b %Y %H:%M:%S %z",
            Self::StampMilli => "%b %e %H:%M:%S%.3f",
            Self::StampMicro => "%b %e %H:%M:%S%.6f",
            Self::StampNano => "%b %e %H:%M:%S%.9f",
            Self::UnixDate => "%a %b %e %H:%M:%S %Z %Y",
        };
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or_default();
        timestamp.to_zoned(zone.clone()).strftime(pattern).to_string()
    }
}

/// Reads the name of a zone: `Local`, `UTC`, or one such as `Europe/Berlin`.
pub(crate) fn parse_zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("local") {
        return Ok(TimeZone::system());
    }
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        format!("cannot use time zone {name:?}: want Local, UTC or a name such as Europe/Berlin")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_that_of_its_name() {
        const TS_NS: i64 = 1_795_229_946_120_000_000;
        for (form, want) in [
            ("default", "2026-11-21T02:59:06.120Z"),
            ("rfc3339", "2026-11-21T02:59:06Z"),
            ("rfc3339nano", "2026-11-21T02:59:06.12Z"),
            ("rfc822z", "21 Nov 26 02:59 +0000"),
            ("rfc1123z", "Sat, 21 Nov 2026 02:59:06 +0000"),
            ("stampmilli", "Nov 21 02:59:06.120"),
            ("stampmicro", "Nov 21 02:59:06.120000"),
            ("stampnano", "Nov 21 02:59:06.120000000"),
            ("unixdate", "Sat Nov 21 02:59:06 UTC 2026"),
        ] {
            assert_eq!(TimeForm::from_str(form, false).unwrap().text(TS_NS, &TimeZone::UTC), want, "{form}");
        }
        assert_eq!(TimeForm::value_variants().len(), 9);
        let berlin = parse_zone("Europe/Berlin").unwrap();
        assert_eq!(TimeForm::Rfc3339.text(TS_NS, &berlin), "2026-11-21T03:59:06+01:00");
        assert!(parse_zone("Nowhere").unwrap_err().contains("Europe/Berlin"));
        assert_eq!(parse_zone("utc").unwrap(), TimeZone::UTC);
    }
}
