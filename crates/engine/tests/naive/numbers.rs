//! Texts of labels as numbers, durations and sizes.

/// Go's syntax of floating point numbers, as far as random values use it: no hexadecimal ones.
pub(crate) fn float(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = rest.to_ascii_lowercase();
    if lower == "inf" || lower == "infinity" {
        return Some(sign * f64::INFINITY);
    }
    if lower == "nan" && rest.len() == text.len() {
        return Some(f64::NAN);
    }
    let chars: Vec<char> = rest.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let digit = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_digit);
        if *c == '_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1))) {
            return None;
        }
    }
    let plain = rest.replace('_', "");
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !plain.chars().all(allowed) {
        return None;
    }
    Some(sign * plain.parse::<f64>().ok()?)
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go's syntax of durations, in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).count();
        let (whole, tail) = rest.split_at(digits(rest));
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(digits(tail)),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
        total += number(whole)? * scale + number(fraction)? * scale / 10_i128.pow(fraction.len() as u32);
        rest = tail;
    }
    i64::try_from(sign * total).ok()
}

/// The syntax of sizes in bytes: any case, a blank before the unit, commas between thousands.
pub(crate) fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let letters = ["", "k", "m", "g", "t", "p", "e"];
    let power = |suffixes: &[&str], base: f64| {
        let found = letters
            .iter()
            .position(|letter| suffixes.iter().any(|suffix| unit == format!("{letter}{suffix}")))?;
        Some(base.powi(found as i32))
    };
    let scale = if unit.contains('i') { power(&["i", "ib"], 1024.0) } else { power(&["", "b"], 1000.0) }?;
    let bytes = number * scale;
    (bytes < 18_446_744_073_709_551_616.0).then_some(bytes as u64)
}
