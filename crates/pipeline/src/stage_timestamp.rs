//! The stage `timestamp`: reads the time of an entry, by Go's layouts.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use logyard_model::LabelSet;
use logyard_template::Layout;

use crate::entry::Entry;
use crate::error::Error;
use crate::settings::{TimestampFailure, TimestampSettings};

/// Layouts with a name.
const NAMED: [(&str, &str); 8] = [
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
];
/// Names of the form that has a reader of its own. Go reads a fraction whether the layout shows one or not.
const RFC3339: [&str; 4] =
    ["RFC3339", "RFC3339Nano", "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.999999999Z07:00"];
/// Label sets of which the last good time is remembered.
const LABEL_SETS_MAX: usize = 10_000;
/// Times further ahead of the present are not believed.
const FUTURE_NS_MAX: i64 = 3_600 * 1_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// How a text becomes a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    /// A count since the epoch, of so many ns each; seconds may have a fraction.
    Count(i64),
    Rfc3339,
    Layout(Layout),
    /// A layout that does not show the year.
    Yearless(Layout),
}

/// `timestamp`.
#[derive(Clone, Debug)]
pub(crate) struct TimestampStage {
    source: String,
    formats: Vec<Format>,
    zone: TimeZone,
    on_failure: TimestampFailure,
    last_ns: HashMap<Arc<LabelSet>, i64>,
}

impl TimestampStage {
    pub(crate) fn compile(settings: &TimestampSettings) -> Result<Self, Error> {
        let empty = |key: &str| Err(Error::new("empty; it is required").inside(key));
        if settings.source.is_empty() {
            return empty("source");
        }
        if settings.format.is_empty() {
            return empty("format");
        }
        let zone = match settings.location.as_deref().filter(|name| !name.is_empty()) {
            None => TimeZone::UTC,
            // Go's name for the machine's own.
            Some("Local") => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                Error::new(format!("{name:?} is no time zone; use a name such as Europe/Berlin"))
                    .inside("location")
            })?,
        };
        let formats = std::iter::once(&settings.format).chain(&settings.fallback_formats);
        Ok(Self {
            source: settings.source.clone(),
            formats: formats.map(|text| format_of(text)).collect(),
            zone,
            on_failure: settings.action_on_failure,
            last_ns: HashMap::new(),
        })
    }

    /// Returns whether a time was read and not believed.
    pub(crate) fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> bool {
        let read = entry
            .extracted
            .text(&self.source)
            .and_then(|text| self.formats.iter().find_map(|format| format.read(&text, &self.zone, now_ns)));
        match read {
            Some(ts_ns) if ts_ns > now_ns.saturating_add(FUTURE_NS_MAX) => return true,
            Some(ts_ns) => {
                entry.ts_ns = ts_ns;
                self.remember(entry);
            }
            None if self.on_failure == TimestampFailure::Fudge => {
                if let Some(last_ns) = self.last_ns.get(&entry.labels) {
                    entry.ts_ns = last_ns.saturating_add(1);
                    self.remember(entry);
                }
            }
            None => {}
        }
        false
    }

    fn remember(&mut self, entry: &Entry) {
        if self.on_failure != TimestampFailure::Fudge {
            return;
        }
        if self.last_ns.len() >= LABEL_SETS_MAX && !self.last_ns.contains_key(&entry.labels) {
            self.last_ns.clear();
        }
        self.last_ns.insert(Arc::clone(&entry.labels), entry.ts_ns);
    }
}

fn format_of(text: &str) -> Format {
    match text {
        "Unix" => Format::Count(SECOND_NS),
        "UnixMs" => Format::Count(1_000_000),
        "UnixUs" => Format::Count(1_000),
        "UnixNs" => Format::Count(1),
        _ if RFC3339.contains(&text) => Format::Rfc3339,
        _ => {
            let text = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, layout)| layout);
            let layout = Layout::new(text);
            match layout.has_year() {
                true => Format::Layout(layout),
                false => Format::Yearless(layout),
            }
        }
    }
}

impl Format {
    fn read(&self, text: &str, zone: &TimeZone, now_ns: i64) -> Option<i64> {
        match self {
            Self::Count(SECOND_NS) if text.contains('.') => {
                let (whole, fraction) = text.split_once('.')?;
                let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
                let whole: i64 = whole.parse().ok().filter(|_| is_number)?;
                let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
                whole.checked_mul(SECOND_NS)?.checked_add(digits.parse().ok()?)
            }
            Self::Count(unit_ns) => text.parse::<i64>().ok()?.checked_mul(*unit_ns),
            Self::Rfc3339 => read_rfc3339(text),
            Self::Layout(layout) => ns_of(layout.read(text, zone)?.timestamp()),
            Self::Yearless(layout) => {
                let read = layout.read(text, zone)?;
                let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone.clone());
                let year = match (read.month(), now.month()) {
                    (12, 1) => now.year() - 1,
                    (1, 12) => now.year() + 1,
                    _ => now.year(),
                };
                let date = read.datetime().with().year(year).build().ok()?;
                let zoned = match layout.has_offset() {
                    true => read.offset().to_timestamp(date).ok()?,
                    false => date.to_zoned(zone.clone()).ok()?.timestamp(),
                };
                ns_of(zoned)
            }
        }
    }
}

/// Reads a time in the form of RFC 3339, in the one spelling that Go's layout of that name takes.
pub(crate) fn read_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let at = |place: usize| bytes.get(place).copied();
    let has_offset = matches!(bytes, [.., b'Z'] | [.., b'+' | b'-', _, _, b':', _, _]);
    // jiff reads other separators, shorter times and leap seconds as well.
    let is_strict = at(10) == Some(b'T') && at(16) == Some(b':') && at(17) != Some(b'6') && has_offset;
    let is_plain = !bytes.contains(&b'[');
    (is_strict && is_plain).then(|| text.parse().ok().and_then(ns_of)).flatten()
}

fn ns_of(timestamp: Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_as_go_reads_it() {
        let layout = Layout::new("2006-01-02T15:04:05.999999999Z07:00");
        for text in [
            "1970-01-01T00:00:01Z",
            "2026-07-15T12:30:59.123456789Z",
            "2026-07-15T12:30:59.5+02:00",
            "2026-07-15T12:30:59,25-11:30",
            "0999-01-01T00:00:00Z",
            "2026-07-15 12:30:59Z",
            "2026-07-15t12:30:59z",
            "2026-07-15T12:30Z",
            "2026-07-15T12:30:59",
            "2026-07-15T12:30:59+0200",
            "2026-07-15T12:30:59+02",
            "2026-07-15T12:30:60Z",
            "2026-02-30T12:30:59Z",
            "2026-07-15T12:30:59Z[UTC]",
            "2026-07-15T12:30:59.Z",
            "",
        ] {
            let want = layout.read(text, &TimeZone::UTC).and_then(|time| ns_of(time.timestamp()));
            assert_eq!(read_rfc3339(text), want, "{text}");
        }
    }
}
