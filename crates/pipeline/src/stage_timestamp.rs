//! The stage `timestamp`: reads the time of an entry, by Go's layouts.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use logyard_model::LabelSet;
use logyard_template::parse_time;

use crate::entry::Entry;
use crate::error::Error;
use crate::settings::{TimestampFailure, TimestampSettings};

/// Layouts with a name.
const NAMED: [(&str, &str); 10] = [
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339Nano", "2006-01-02T15:04:05.999999999Z07:00"),
];
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
    Layout(String),
    /// A layout that does not show the year.
    Yearless(String),
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
        _ => {
            let layout = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, layout)| layout);
            match layout.contains("06") {
                true => Format::Layout(layout.to_owned()),
                false => Format::Yearless(layout.to_owned()),
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
            Self::Layout(layout) => ns_of(parse_time(layout, text, zone)?.timestamp()),
            Self::Yearless(layout) => {
                let read = parse_time(layout, text, zone)?;
                let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone.clone());
                let year = match (read.month(), now.month()) {
                    (12, 1) => now.year() - 1,
                    (1, 12) => now.year() + 1,
                    _ => now.year(),
                };
                let date = read.datetime().with().year(year).build().ok()?;
                let zoned = match layout_has_zone(layout) {
                    true => read.offset().to_timestamp(date).ok()?,
                    false => date.to_zoned(zone.clone()).ok()?.timestamp(),
                };
                ns_of(zoned)
            }
        }
    }
}

/// Whether a layout shows an offset: its times are not in the stage's zone.
fn layout_has_zone(layout: &str) -> bool {
    ["-07", "Z07"].iter().any(|offset| layout.contains(offset))
}

/// Reads a time in the form of RFC 3339.
pub(crate) fn read_rfc3339(text: &str) -> Option<i64> {
    let layout = "2006-01-02T15:04:05.999999999Z07:00";
    ns_of(parse_time(layout, text, &TimeZone::UTC)?.timestamp())
}

fn ns_of(timestamp: Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond()).ok()
}
