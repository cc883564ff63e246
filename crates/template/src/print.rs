//! How Go prints values: `%v`, `%q` and numbers.

use crate::call::TEXT_BYTES_MAX;
use crate::time;
use crate::value::Value;
use std::fmt::Write as _;

/// Prints a value as an action does.
pub(crate) fn print(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil => b"<no value>".to_vec(),
        value => plain(value),
    }
}

/// Prints a value as `%v`.
pub(crate) fn plain(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil => b"<nil>".to_vec(),
        Value::Bool(value) => value.to_string().into_bytes(),
        Value::Int(value, _) => value.to_string().into_bytes(),
        Value::Float(value) => float(*value).into_bytes(),
        Value::Text(text) => text.clone(),
        Value::Time(time) => time::default_text(time).into_bytes(),
        Value::Named(_, name, _) => name.as_bytes().to_vec(),
        Value::List(items) => {
            let mut out = vec![b'['];
            join(&mut out, b" ", items.iter().map(plain));
            out.push(b']');
            out
        }
        Value::Map(map) => pairs(map.iter().map(|(key, value)| (key.as_str(), plain(value)))),
        Value::Labels(set) => pairs(set.iter().map(|(name, value)| (name, value.as_bytes().to_vec()))),
    }
}

/// Joins items; stops where the text is too long to be used.
pub(crate) fn join(out: &mut Vec<u8>, between: &[u8], items: impl Iterator<Item = Vec<u8>>) {
    for (index, item) in items.enumerate() {
        if out.len() > TEXT_BYTES_MAX {
            return;
        }
        if index > 0 {
            out.extend_from_slice(between);
        }
        out.extend(item);
    }
}

fn pairs<'a>(items: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut out = b"map[".to_vec();
    join(&mut out, b" ", items.map(|(key, value)| [key.as_bytes(), b":", &*value].concat()));
    out.push(b']');
    out
}

/// Prints a float with the fewest digits, and with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn float(value: f64) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..FLOAT_EXPONENT_MIN).contains(&exponent) {
        return format!("{digits}{}", exponent_text(exponent));
    }
    format!("{value}")
}

/// Exponents from here on are printed as such.
const FLOAT_EXPONENT_MIN: i32 = 6;

pub(crate) fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        return Some("NaN".to_owned());
    }
    value.is_infinite().then(|| if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
}

pub(crate) fn exponent_text(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Prints operands one after the other, a blank between two of which neither is a text.
pub(crate) fn print_all(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut text_before = true;
    for value in values {
        if out.len() > TEXT_BYTES_MAX {
            return out;
        }
        let is_text = matches!(value, Value::Text(_));
        if !text_before && !is_text {
            out.push(b' ');
        }
        out.extend(plain(value));
        text_before = is_text;
    }
    out
}

/// Prints operands with blanks between, and a newline.
pub(crate) fn print_line(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    join(&mut out, b" ", values.iter().map(plain));
    out.push(b'\n');
    out
}

/// Prints a text between double quotes, as `%q`.
pub(crate) fn quoted(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{b}' => out.push_str("\\v"),
                c if is_printable(c) => out.push(c),
                c => append(&mut out, format_args!("{}", escape(c))),
            }
        }
        for byte in chunk.invalid() {
            append(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

pub(crate) fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    out.write_fmt(text).unwrap_or_default();
}

fn escape(c: char) -> String {
    match u32::from(c) {
        code @ ..0x80 => format!("\\x{code:02x}"),
        code @ 0x80..0x10000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// Whether Go prints the character as it is; near enough outside ASCII: what Rust would escape, and
/// all blanks but the ASCII one, are not printable.
fn is_printable(c: char) -> bool {
    c == ' '
        || c == '\''
        || !c.is_control() && !c.is_whitespace() && {
            let mut escaped = c.escape_debug();
            escaped.len() == 1 || c == '"' || c == '\\' || is_combining(c) && escaped.next() == Some('\\')
        }
}

/// Combining marks are printable, though Rust escapes them.
fn is_combining(c: char) -> bool {
    matches!(u32::from(c), 0x300..0x370 | 0x483..0x488 | 0x591..0x5be | 0x1ab0..0x1b00 | 0x1dc0..0x1e00 | 0x20d0..0x2100 | 0xfe20..0xfe30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats() {
        for (value, text) in [
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (999_999.0, "999999"),
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (0.5, "0.5"),
            (0.0, "0"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn operands_in_a_row() {
        let values = [Value::int(1), Value::int(2), Value::text("a"), Value::int(3)];
        assert_eq!(print_all(&values), b"1 2a3");
        assert_eq!(print_line(&values), b"1 2 a 3\n");
    }

    #[test]
    fn quotes() {
        assert_eq!(
            quoted("raw é 中 😀\u{200b}\u{7f}e\u{301}'".as_bytes()),
            "\"raw é 中 😀\\u200b\\x7fe\u{301}'\""
        );
        assert_eq!(quoted(b"a\xff"), "\"a\\xff\"");
    }
}
