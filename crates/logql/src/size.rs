//! Sizes in bytes: `1KB`, `1.5GiB`.

use crate::print::quoted;
use std::fmt;

/// Unit letters and their decimal and binary values.
const PREFIXES: [(char, f64, f64); 6] = [
    ('k', 1e3, 1_024.0),
    ('m', 1e6, 1_048_576.0),
    ('g', 1e9, 1_073_741_824.0),
    ('t', 1e12, 1_099_511_627_776.0),
    ('p', 1e15, 1_125_899_906_842_624.0),
    ('e', 1e18, 1_152_921_504_606_846_976.0),
];

/// Reads a size: a number, commas allowed, then a unit in any case, blanks between allowed.
///
/// Returns bytes, fractions cut off. Errors: the text of Loki v3.7.6.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.replace(',', "");
    let value: f64 = number
        .parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quoted(&number)))?;
    let unit = unit.trim().to_lowercase();
    let factor = factor(&unit).ok_or_else(|| format!("unhandled size name: {unit}"))?;
    let bytes = value * factor;
    if bytes >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

fn factor(unit: &str) -> Option<f64> {
    if unit.is_empty() || unit == "b" {
        return Some(1.0);
    }
    let letter = unit.chars().next()?;
    let (_, decimal, binary) = PREFIXES.iter().find(|prefix| prefix.0 == letter)?;
    match unit.strip_prefix(letter)? {
        "" | "b" => Some(*decimal),
        "i" | "ib" => Some(*binary),
        _ => None,
    }
}

/// Returns the size that a query means when it names one: what is left of it in print.
///
/// Loki v3.7.6 prints a query before it runs it, and a size with two digits, or as many as stand before
/// the point: `3GiB` is compared as `3.2GB`, `1KiB` as `1.0kB`, `1234B` as `1.2kB`. A formatted query
/// thus means what it meant before, and a dashboard gets the lines that it got from Loki.
pub(crate) fn in_print(bytes: u64) -> u64 {
    shortened(bytes).and_then(|text| parse_size(&text).ok()).unwrap_or(bytes)
}

/// Prints a size of a thousand bytes or more in its unit.
fn shortened(bytes: u64) -> Option<String> {
    let bytes = bytes as f64;
    let (letter, decimal, _) = PREFIXES.iter().rev().find(|prefix| bytes >= prefix.1 && prefix.0 != 'e')?;
    let value = (bytes / decimal * 10.0 + 0.5).floor() / 10.0;
    let unit = if *letter == 'k' { 'k' } else { letter.to_ascii_uppercase() };
    Some(if value < 10.0 { format!("{value:.1}{unit}B") } else { format!("{value:.0}{unit}B") })
}

/// Prints a size the short way if that tells it exactly, as for all that [`in_print`] returns, else in
/// bytes.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match shortened(self.0).filter(|text| parse_size(text) == Ok(self.0)) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads() {
        for (text, bytes) in [
            ("1KB", 1000),
            ("1kib", 1024),
            ("20B", 20),
            ("1.5GiB", 1_610_612_736),
            ("1,500", 1500),
            ("2 kb", 2000),
            ("2000", 2000),
            ("1E", 1_000_000_000_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("20EB"), Err("too large: 20EB".to_owned()));
        assert_eq!(parse_size("5x"), Err("unhandled size name: x".to_owned()));
        assert_eq!(parse_size("-5"), Err(r#"strconv.ParseFloat: parsing "": invalid syntax"#.to_owned()));
    }

    #[test]
    fn a_query_means_what_it_prints() {
        for (bytes, meant) in [
            (5, 5),
            (999, 999),
            (1024, 1000),
            (1234, 1200),
            (10 << 20, 10_000_000),
            (3 << 30, 3_200_000_000),
            (999_950, 1_000_000),
            (20_000_000, 20_000_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(in_print(bytes), meant, "{bytes}");
            assert_eq!(in_print(meant), meant, "{bytes} twice");
        }
    }

    #[test]
    fn prints() {
        for (bytes, text) in [(5, "5B"), (1000, "1.0kB"), (1234, "1234B"), (20_000, "20kB"), (999, "999B")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
