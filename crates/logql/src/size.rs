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

/// Prints a size the short way if that tells it exactly, else in bytes.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        let prefix = PREFIXES.iter().rev().find(|prefix| bytes >= prefix.1 && prefix.0 != 'e');
        if let Some((letter, decimal, _)) = prefix {
            let value = (bytes / decimal * 10.0 + 0.5).floor() / 10.0;
            let unit = if *letter == 'k' { 'k' } else { letter.to_ascii_uppercase() };
            let text = if value < 10.0 { format!("{value:.1}{unit}B") } else { format!("{value:.0}{unit}B") };
            if parse_size(&text) == Ok(self.0) {
                return f.write_str(&text);
            }
        }
        write!(f, "{}B", self.0)
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
    fn prints() {
        for (bytes, text) in [(5, "5B"), (1000, "1.0kB"), (1234, "1234B"), (20_000, "20kB"), (999, "999B")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
