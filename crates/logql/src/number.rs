//! Numbers as Go prints and reads them.

use std::fmt;

use crate::print::quoted;

/// A number with the shortest digits, and with an exponent below 1e-4 and from 1e21 on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoFloat(pub f64);

/// A number that prints as Go's `%v` does: the same, but with an exponent from 1e6 on (Loki's literals).
pub(crate) struct GoLiteral(pub(crate) f64);

impl fmt::Display for GoLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() >= 1e6 { write_exponent(f, self.0) } else { GoFloat(self.0).fmt(f) }
    }
}

/// Writes `1.5e+07`. The number is finite.
fn write_exponent(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = match exponent.strip_prefix('-') {
        Some(power) => ('-', power),
        None => ('+', exponent),
    };
    write!(f, "{digits}e{sign}{power:0>2}")
}

impl fmt::Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let magnitude = value.abs();
        if value != 0.0 && !(1e-4..1e21).contains(&magnitude) {
            return write_exponent(f, value);
        }
        write!(f, "{value}")
    }
}

/// Prints as Go's `%f`, or with all digits if six decimals do not tell the number.
pub(crate) struct SixDecimals(pub(crate) f64);

impl fmt::Display for SixDecimals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.6}", self.0);
        if text.parse() == Ok(self.0) { f.write_str(&text) } else { write!(f, "{}", GoFloat(self.0)) }
    }
}

/// Reads a number in Go's syntax, decimal only. Errors: the text of Go's `strconv.ParseFloat`.
pub fn parse_go_float(text: &str) -> Result<f64, String> {
    let invalid = || format!("strconv.ParseFloat: parsing {}: invalid syntax", quoted(text));
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
    let digits = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let after_digit = |part: &str| part.ends_with(|c: char| c.is_ascii_digit());
    let separates = |(at, mark): (usize, &str)| {
        let (before, after) = (text.get(..at), text.get(at + mark.len()..));
        before.is_some_and(after_digit) && after.is_some_and(digits)
    };
    if !plain || !text.match_indices('_').all(separates) {
        return Err(invalid());
    }
    let value: f64 = text.replace('_', "").parse().map_err(|_| invalid())?;
    let has_digit = text.bytes().any(|b| b.is_ascii_digit());
    if value.is_infinite() && has_digit {
        return Err(format!("strconv.ParseFloat: parsing {}: value out of range", quoted(text)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_go() {
        for (value, text) in [
            (5.0, "5"),
            (-0.5, "-0.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e-5, "1.25e-05"),
            (1e-4, "0.0001"),
            (0.0, "0"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(GoFloat(value).to_string(), text);
        }
        for (value, text) in [
            (5.0, "5"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (-12_345_678.0, "-1.2345678e+07"),
            (1e-5, "1e-05"),
        ] {
            assert_eq!(GoLiteral(value).to_string(), text);
        }
        assert_eq!(SixDecimals(5.0).to_string(), "5.000000");
        assert_eq!(SixDecimals(1e-9).to_string(), "1e-09");
    }
}
