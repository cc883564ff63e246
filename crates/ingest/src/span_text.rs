//! Spans of time as settings write them: `30d`, `1h30m`, `500ms`, or `0` for none.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time in a setting.
///
/// Text: numbers with units `w d h m s ms`, joined, largest first, as in `1d12h`; or `0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanText(pub Duration);

/// Why a text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span of time; write for example 30d, 1h30m, 10s or 0")]
pub struct SpanTextError(String);

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl SpanText {
    /// Returns the span in ns, `None` for zero, which settings read as "no limit".
    pub(crate) fn limit_ns(self) -> Option<i64> {
        let ns = i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX);
        (ns > 0).then_some(ns)
    }
}

impl FromStr for SpanText {
    type Err = SpanTextError;

    fn from_str(text: &str) -> Result<Self, SpanTextError> {
        let wrong = || SpanTextError(text.to_owned());
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut total_ms = 0_u64;
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
            let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, after) = after.split_at_checked(letters).ok_or_else(wrong)?;
            // Units come in falling order, each once: the search goes on where it stopped.
            let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            total_ms =
                number.checked_mul(*unit_ms).and_then(|ms| ms.checked_add(total_ms)).ok_or_else(wrong)?;
            rest = after;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(Duration::from_millis(total_ms))) }
    }
}

impl fmt::Display for SpanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest_ms == 0 {
            return f.write_str("0");
        }
        // Weeks are read but not written: 30d says more than 4w2d.
        for (name, unit_ms) in UNITS.iter().skip(1) {
            let count = rest_ms / unit_ms;
            rest_ms %= unit_ms;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for SpanText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpanText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // YAML reads a bare 0 as a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SpanText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "description": "Span of time: numbers with units w d h m s ms, as in 1h30m; 0 for none.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for (text, secs, printed) in [
            ("0", 0, "0"),
            ("30d", 2_592_000, "30d"),
            ("1h30m", 5400, "1h30m"),
            ("1w", 604_800, "7d"),
            ("90s", 90, "1m30s"),
        ] {
            let span: SpanText = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_secs(secs), "{text}");
            assert_eq!(span.to_string(), printed);
        }
        for text in ["", "5", "x", "1.5h", "-1h", "1m1h", "1h1h", "99999999999999999999d", "é"] {
            assert!(text.parse::<SpanText>().is_err(), "{text}");
        }
    }
}
