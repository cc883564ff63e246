//! Finds the time that a program wrote into its line.
//!
//! Known are, in the first [`LOOKED_AT_BYTES`]: `2026-11-20T08:30:15.123Z` in its many variants (blank or `T`, dot or
//! comma, slashes, with or without an offset), `20/Nov/2026:08:30:15 +0000` of web servers, `Nov 20 08:30:15` of
//! syslog, klog's `I1120 08:30:15.123456`, and Unix times at the start of the line or behind `ts=` and the like; of
//! a JSON object the usual fields, wherever they stand. The first that is found counts.
//!
//! Times without an offset are those of the zone that is given; times without a year lie in the last year
//! before the reference, which is when the file was last written.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use logyard_wire::documents::time_ns as time_of_value;
use serde_json::{Map, Value};

/// How far into a line a time is looked for.
const LOOKED_AT_BYTES: usize = 512;

/// Members of JSON objects and keys of `key=value` that hold a time.
const KEYS: [&str; 8] = ["@timestamp", "_time", "timestamp", "time", "ts", "date", "datetime", "t"];

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// How far a time without a year may lie behind the reference, so that it is not taken for one of the year before.
const AHEAD_NS_MAX: i64 = 86_400 * 1_000_000_000;

/// What times in lines leave open.
#[derive(Clone, Debug)]
pub(crate) struct TimeContext {
    /// Zone of times without an offset.
    pub(crate) zone: TimeZone,
    /// No time without a year lies more than a day behind it.
    pub(crate) reference_ns: i64,
}

/// Returns the time in a line, in ns since the Unix epoch.
pub(crate) fn time_in_line(line: &[u8], ctx: &TimeContext) -> Option<i64> {
    let trimmed = line.trim_ascii_start();
    if trimmed.first() == Some(&b'{')
        && let Ok(object) = serde_json::from_slice::<Map<String, Value>>(trimmed)
    {
        return time_in_object(&object, ctx);
    }
    time_in_text(line.get(..LOOKED_AT_BYTES).unwrap_or(line), ctx)
}

/// Returns the time of a JSON object: that of the first of the usual members that holds one.
pub(crate) fn time_in_object(object: &Map<String, Value>, ctx: &TimeContext) -> Option<i64> {
    KEYS.iter().filter_map(|key| object.get(*key)).find_map(|value| match value {
        Value::String(text) => time_of_value(value).or_else(|| time_in_text(text.as_bytes(), ctx)),
        _ => time_of_value(value),
    })
}

fn time_in_text(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    if let Some(ns) = at_start(text, ctx) {
        return Some(ns);
    }
    (0..text.len()).find_map(|at| {
        let begins = at == 0 || !text.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        let rest = text.get(at..).filter(|_| begins)?;
        match rest.first()? {
            b'0'..=b'9' => iso(rest, ctx).or_else(|| web_server(rest, ctx)),
            _ => after_key(rest),
        }
    })
}

/// Reads what only the start of a line can hold: Unix times, syslog's and klog's forms.
fn at_start(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    let text = match text.strip_prefix(b"<") {
        Some(rest) => rest.splitn(2, |byte| *byte == b'>').nth(1).unwrap_or_default(),
        None => text,
    };
    unix(text.strip_prefix(b"[").unwrap_or(text)).or_else(|| syslog(text, ctx)).or_else(|| klog(text, ctx))
}

/// Reads `2026-11-20T08:30:15.123456789+01:00`, with its variants.
fn iso(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    let mut reader = Reader(text);
    let year = reader.digits(4)?;
    let dash = reader.one_of(b"-/")?;
    let month = reader.digits(2)?;
    reader.one_of(&[dash])?;
    let day = reader.digits(2)?;
    reader.one_of(b"T t_")?;
    let (hour, minute, second, nanos) = reader.clock()?;
    to_ns([year, month, day, hour, minute, second], nanos, reader.offset(), ctx)
}

/// Reads `20/Nov/2026:08:30:15 +0000`.
fn web_server(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    let mut reader = Reader(text);
    let day = reader.digits(2)?;
    reader.one_of(b"/")?;
    let month = reader.month()?;
    reader.one_of(b"/")?;
    let year = reader.digits(4)?;
    reader.one_of(b":")?;
    let (hour, minute, second, nanos) = reader.clock()?;
    to_ns([year, month, day, hour, minute, second], nanos, reader.offset(), ctx)
}

/// Reads `Nov 20 08:30:15`, where a day of one digit has two blanks before it.
fn syslog(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    let mut reader = Reader(text);
    let month = reader.month()?;
    reader.one_of(b" ")?;
    let day = match reader.one_of(b" ") {
        Some(_) => reader.digits(1)?,
        None => reader.digits(2)?,
    };
    reader.one_of(b" ")?;
    let (hour, minute, second, nanos) = reader.clock()?;
    in_last_year([month, day, hour, minute, second], nanos, ctx)
}

/// Reads `I1120 08:30:15.123456`.
fn klog(text: &[u8], ctx: &TimeContext) -> Option<i64> {
    let mut reader = Reader(text);
    reader.one_of(b"IWEFD")?;
    let (month, day) = (reader.digits(2)?, reader.digits(2)?);
    reader.one_of(b" ")?;
    let (hour, minute, second, nanos) = reader.clock()?;
    in_last_year([month, day, hour, minute, second], nanos, ctx)
}

/// Reads `1795229946.123` at the start of a line, if nothing but a blank or a bracket follows it.
fn unix(text: &[u8]) -> Option<i64> {
    let bytes = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let (number, rest) = text.split_at_checked(bytes)?;
    let ends = matches!(rest.first(), Some(b' ' | b'\t' | b']' | b',' | b';'));
    // Shorter ones are rarely a time.
    let whole = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !ends || !(10..=19).contains(&whole) {
        return None;
    }
    time_of_value(&Value::String(std::str::from_utf8(number).ok()?.to_owned()))
}

/// Reads `ts=1795229946.123` and its like.
fn after_key(text: &[u8]) -> Option<i64> {
    let key = KEYS
        .iter()
        .find(|key| text.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')))?;
    let value = text.get(key.len() + 1..)?;
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let bytes = value.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let (number, rest) = value.split_at_checked(bytes)?;
    let ends = rest.first().is_none_or(|byte| matches!(byte, b' ' | b'"' | b','));
    (ends && number.len() >= 10)
        .then(|| time_of_value(&Value::String(std::str::from_utf8(number).ok()?.to_owned())))?
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn one_of(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        wanted.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(count)?;
        let value = head
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))?;
        self.0 = rest;
        Some(value)
    }

    fn month(&mut self) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(3)?;
        let index = MONTHS.iter().position(|month| month.as_slice() == head)?;
        self.0 = rest;
        i64::try_from(index + 1).ok()
    }

    /// Reads `08:30:15` with a fraction, of which nine digits count.
    fn clock(&mut self) -> Option<(i64, i64, i64, i64)> {
        let hour = self.digits(2)?;
        self.one_of(b":")?;
        let minute = self.digits(2)?;
        self.one_of(b":")?;
        let second = self.digits(2)?;
        let is_fraction =
            matches!(self.0.first(), Some(b'.' | b',')) && self.0.get(1).is_some_and(u8::is_ascii_digit);
        if !is_fraction {
            return Some((hour, minute, second, 0));
        }
        self.0 = self.0.get(1..)?;
        let (mut nanos, mut scale) = (0, 100_000_000);
        while let Some((digit, rest)) = self.0.split_first().filter(|(digit, _)| digit.is_ascii_digit()) {
            nanos += i64::from(digit - b'0') * scale;
            scale /= 10;
            self.0 = rest;
        }
        Some((hour, minute, second, nanos))
    }

    /// Reads `Z`, `UTC`, `+01:00` or `+0100`, with or without a blank before it, as seconds.
    fn offset(&mut self) -> Option<i64> {
        let rest = self.0.strip_prefix(b" ").unwrap_or(self.0);
        if rest.starts_with(b"UTC")
            || rest.starts_with(b"GMT")
            || (rest.starts_with(b"Z") && rest.len() == self.0.len())
        {
            return Some(0);
        }
        let mut reader = Reader(rest);
        let sign = if reader.one_of(b"+-")? == b'+' { 1 } else { -1 };
        let hours = reader.digits(2)?;
        // Whether there is a colon does not matter.
        reader.one_of(b":");
        let minutes = reader.digits(2)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

/// Makes a time of year, month, day, hour, minute and second.
fn to_ns(parts: [i64; 6], nanos: i64, offset_secs: Option<i64>, ctx: &TimeContext) -> Option<i64> {
    let small = |index: usize| i8::try_from(parts[index]).ok();
    let year = i16::try_from(parts[0]).ok()?;
    // A leap second is written as 60 and counted as the last of its minute.
    let second = small(5)?.min(59);
    let nanos = i32::try_from(nanos).ok()?;
    let civil = DateTime::new(year, small(1)?, small(2)?, small(3)?, small(4)?, second, nanos).ok()?;
    let ns = match offset_secs {
        Some(offset_secs) => {
            let utc = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond();
            utc - i128::from(offset_secs) * 1_000_000_000
        }
        None => civil.to_zoned(ctx.zone.clone()).ok()?.timestamp().as_nanosecond(),
    };
    i64::try_from(ns).ok()
}

/// Makes a time of month, day, hour, minute and second, in the last year that fits.
fn in_last_year(parts: [i64; 5], nanos: i64, ctx: &TimeContext) -> Option<i64> {
    let reference = jiff::Timestamp::from_nanosecond(i128::from(ctx.reference_ns)).ok()?;
    let last = i64::from(reference.to_zoned(ctx.zone.clone()).year());
    let [month, day, hour, minute, second] = parts;
    // Eight years reach back to a 29th of February.
    (0..=8)
        .map(|back| last + 1 - back)
        .filter_map(|year| to_ns([year, month, day, hour, minute, second], nanos, None, ctx))
        .find(|ns| *ns <= ctx.reference_ns.saturating_add(AHEAD_NS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T02:59:06Z.
    const NOW_NS: i64 = 1_795_229_946_000_000_000;

    fn found(line: &str) -> Option<String> {
        let ctx = TimeContext { zone: TimeZone::fixed(jiff::tz::offset(1)), reference_ns: NOW_NS };
        let ns = time_in_line(line.as_bytes(), &ctx)?;
        Some(jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_string())
    }

    #[track_caller]
    fn check(line: &str, want: &str) {
        assert_eq!(found(line).as_deref(), Some(want), "{line}");
    }

    #[test]
    fn dates_in_their_many_forms() {
        check("2026-11-20T08:30:15.123456789Z x", "2026-11-20T08:30:15.123456789Z");
        check("[2026-11-20 08:30:15,123] INFO x", "2026-11-20T07:30:15.123Z");
        check("2026/11/20 08:30:15 [error] 7#7: x", "2026-11-20T07:30:15Z");
        check("level=info ts=2026-11-20T08:30:15+02:00 msg=x", "2026-11-20T06:30:15Z");
        check("2026-11-20 08:30:15.5 +0000 UTC x", "2026-11-20T08:30:15.5Z");
        check("2026-11-20 08:30:15 UTC [7] LOG:  x", "2026-11-20T08:30:15Z");
        check("2026-11-20 08:30:15 -0130 x", "2026-11-20T10:00:15Z");
        check("2026-11-20 08:30:15 Zebra", "2026-11-20T07:30:15Z");
        check("10.0.0.1 - - [20/Nov/2026:08:30:15 +0100] \"GET /\"", "2026-11-20T07:30:15Z");
    }

    #[test]
    fn dates_without_a_year_are_the_last_ones() {
        check("Nov 20 08:30:15 nas sshd[7]: x", "2026-11-20T07:30:15Z");
        check("<13>Nov  1 08:30:15 nas x", "2026-11-01T07:30:15Z");
        check("Dec 24 18:00:00 nas x", "2025-12-24T17:00:00Z");
        check("Feb 29 18:00:00 nas x", "2024-02-29T17:00:00Z");
        check("I1120 08:30:15.123456       7 x.go:1] y", "2026-11-20T07:30:15.123456Z");
    }

    #[test]
    fn numbers_and_members() {
        check("1795229946 x", "2026-11-21T02:59:06Z");
        check("[1795229946.250] x", "2026-11-21T02:59:06.25Z");
        check("1795229946123 x", "2026-11-21T02:59:06.123Z");
        check("msg=x ts=1795229946.5", "2026-11-21T02:59:06.5Z");
        check(r#"{"msg":"at 2020-01-01T00:00:00Z","time":1795229946}"#, "2026-11-21T02:59:06Z");
        check(r#"{"a":{},"@timestamp":"2026-11-20T08:30:15Z","ts":1}"#, "2026-11-20T08:30:15Z");
        check(r#"{"ts":"2026-11-20 08:30:15"}"#, "2026-11-20T07:30:15Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "hello",
            "1795229946",
            "12345 x",
            "2026-11-20",
            "2026-13-20T08:30:15Z",
            "2026-11-20T25:30:15Z",
            "id=20261120083015",
            "x2026-11-20T08:30:15Z",
            "weekts=1795229946",
            "{\"time\":\"soon\"}",
            "Nov 31 08:30:15",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let ctx = TimeContext { zone: TimeZone::UTC, reference_ns: i64::MAX };
        let full = b"<13>[{2026-11-20T08:30:15.123456789+01:00 20/Nov/2026:08:30:15 ts=1795229946.5";
        for start in 0..full.len() {
            for end in start..full.len() {
                time_in_line(&full[start..end], &ctx);
            }
        }
        time_in_line(&[0xff; 2000], &ctx);
    }
}
