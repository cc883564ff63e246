//! Durations, in the two syntaxes of the language, and how they print.

use crate::print::quoted;
use std::fmt;
use std::fmt::Write as _;

const MILLISECOND_NS: i64 = 1_000_000;
const SECOND_NS: i64 = 1000 * MILLISECOND_NS;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const DAY_NS: i64 = 24 * HOUR_NS;

/// Units of the Prometheus syntax, largest first; the flag says whether printing uses the unit only
/// if it divides the rest.
const PROMETHEUS_UNITS: [(&str, i64, bool); 7] = [
    ("y", 365 * DAY_NS, true),
    ("w", 7 * DAY_NS, true),
    ("d", DAY_NS, true),
    ("h", HOUR_NS, false),
    ("m", MINUTE_NS, false),
    ("s", SECOND_NS, false),
    ("ms", MILLISECOND_NS, false),
];

/// Units of Go's syntax; micro has two spellings beside `us`.
const GO_UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ms", MILLISECOND_NS),
    ("s", SECOND_NS),
    ("m", MINUTE_NS),
    ("h", HOUR_NS),
];

/// Splits leading ASCII digits off.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads `1h30m`: whole numbers, each unit at most once, largest first; `0` needs no unit.
///
/// Returns nanoseconds. Errors: Prometheus' text.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {}", quoted(text));
    let (mut rest, mut total_ns, mut units) = (text, 0_i64, PROMETHEUS_UNITS.iter());
    while !rest.is_empty() {
        let (digits, after) = split_digits(rest);
        let value: i64 = digits.parse().map_err(|_| invalid())?;
        let end = after.bytes().position(|b| b.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(invalid());
        }
        if !PROMETHEUS_UNITS.iter().any(|known| known.0 == unit) {
            return Err(format!("unknown unit {} in duration {}", quoted(unit), quoted(text)));
        }
        let Some((_, unit_ns, _)) = units.find(|known| known.0 == unit) else { return Err(invalid()) };
        total_ns = value
            .checked_mul(*unit_ns)
            .and_then(|ns| ns.checked_add(total_ns))
            .ok_or_else(|| "duration out of range".to_owned())?;
        rest = after;
    }
    Ok(total_ns)
}

/// Reads `1.5h` or `-30m1h`: Go's `time.ParseDuration`.
///
/// Returns nanoseconds. Errors: Go's text.
pub fn parse_go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.bytes().position(|b| b == b'.' || b.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted(text)));
        }
        let Some((_, unit_ns)) = GO_UNITS.iter().find(|known| known.0 == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(text)));
        };
        let value: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let fraction_ns = format!("0.{fraction}0").parse::<f64>().unwrap_or(0.0) * *unit_ns as f64;
        total_ns = value
            .checked_mul(unit_ns.unsigned_abs())
            .and_then(|ns| ns.checked_add(fraction_ns as u64))
            .and_then(|ns| ns.checked_add(total_ns))
            .filter(|ns| *ns <= 1 << 63)
            .ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        return Ok(0_i64.wrapping_sub_unsigned(total_ns));
    }
    i64::try_from(total_ns).map_err(|_| invalid())
}

/// Reads either syntax, the first with a sign too.
pub(crate) fn parse_any(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix('-');
    let prometheus = parse_prometheus_duration(unsigned.unwrap_or(text)).ok();
    let signed = prometheus.map(|ns| if unsigned.is_some() { -ns } else { ns });
    signed.or_else(|| parse_go_duration(text).ok())
}

/// Prints nanoseconds as the width of a window: `1d`, `1h30m`; smaller than a millisecond is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrometheusDuration(
    /// The nanoseconds.
    pub i64,
);

impl fmt::Display for PrometheusDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ns = self.0 / MILLISECOND_NS * MILLISECOND_NS;
        if rest_ns == 0 {
            return f.write_str("0s");
        }
        for (unit, unit_ns, exact) in PROMETHEUS_UNITS {
            if exact && rest_ns % unit_ns != 0 {
                continue;
            }
            let value = rest_ns / unit_ns;
            if value > 0 {
                write!(f, "{value}{unit}")?;
                rest_ns -= value * unit_ns;
            }
        }
        Ok(())
    }
}

/// Prints nanoseconds as Go's `time.Duration` does: `1h30m0s`, `1.5s`, `-5ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        if ns == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_char('-')?;
        }
        let (second, minute, hour) = (1_000_000_000_u64, 60_000_000_000_u64, 3_600_000_000_000_u64);
        if ns < second {
            let (unit, unit_ns) = match ns {
                0..1000 => ("ns", 1),
                1000..1_000_000 => ("\u{b5}s", 1000),
                _ => ("ms", 1_000_000),
            };
            return write_fraction(f, ns, unit_ns).and_then(|()| f.write_str(unit));
        }
        if ns >= hour {
            write!(f, "{}h", ns / hour)?;
        }
        if ns >= minute {
            write!(f, "{}m", ns % hour / minute)?;
        }
        write_fraction(f, ns % minute, second)?;
        f.write_char('s')
    }
}

/// Writes `value / unit` with as many decimals as it needs.
fn write_fraction(f: &mut fmt::Formatter<'_>, value: u64, unit: u64) -> fmt::Result {
    write!(f, "{}", value / unit)?;
    if value.is_multiple_of(unit) {
        return Ok(());
    }
    let digits = unit.ilog10() as usize;
    let text = format!("{:0digits$}", value % unit);
    write!(f, ".{}", text.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_syntax() {
        assert_eq!(parse_prometheus_duration("1h30m"), Ok(90 * MINUTE_NS));
        assert_eq!(parse_prometheus_duration("1w2d"), Ok(9 * DAY_NS));
        assert_eq!(parse_prometheus_duration("1m5ms"), Ok(MINUTE_NS + 5 * MILLISECOND_NS));
        for (text, error) in [
            ("", "empty duration string"),
            ("-5m", r#"not a valid duration string: "-5m""#),
            ("30m1h", r#"not a valid duration string: "30m1h""#),
            ("1m1m", r#"not a valid duration string: "1m1m""#),
            ("5", r#"not a valid duration string: "5""#),
            ("1us", r#"unknown unit "us" in duration "1us""#),
            ("1.5h", r#"unknown unit "." in duration "1.5h""#),
            ("5m:1m", r#"unknown unit "m:" in duration "5m:1m""#),
            ("300y", "duration out of range"),
        ] {
            assert_eq!(parse_prometheus_duration(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn go_syntax() {
        assert_eq!(parse_go_duration("1.5h"), Ok(90 * MINUTE_NS));
        assert_eq!(parse_go_duration("30m1h"), Ok(90 * MINUTE_NS));
        assert_eq!(parse_go_duration("-5\u{b5}s"), Ok(-5000));
        assert_eq!(parse_go_duration("+.5s"), Ok(SECOND_NS / 2));
        assert_eq!(parse_go_duration("0"), Ok(0));
        for (text, error) in [
            ("", r#"time: invalid duration """#),
            ("2", r#"time: missing unit in duration "2""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("abc", r#"time: invalid duration "abc""#),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
        ] {
            assert_eq!(parse_go_duration(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn prints() {
        for (ns, prometheus, go) in [
            (0, "0s", "0s"),
            (300 * SECOND_NS, "5m", "5m0s"),
            (90 * MINUTE_NS, "1h30m", "1h30m0s"),
            (DAY_NS, "1d", "24h0m0s"),
            (8 * DAY_NS, "8d", "192h0m0s"),
            (1_500_000_000, "1s500ms", "1.5s"),
            (MILLISECOND_NS, "1ms", "1ms"),
            (25 * HOUR_NS, "25h", "25h0m0s"),
        ] {
            assert_eq!(PrometheusDuration(ns).to_string(), prometheus);
            assert_eq!(GoDuration(ns).to_string(), go);
        }
        assert_eq!(GoDuration(-1500).to_string(), "-1.5\u{b5}s");
    }
}
