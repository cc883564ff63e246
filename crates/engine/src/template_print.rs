//! How Go prints values: `%v`, `%q`, numbers, and `printf`.

use crate::template_call::TEXT_BYTES_MAX;
use crate::template_time;
use crate::template_value::Value;
use std::fmt::Write as _;

/// Widest padding and longest precision; Go has the same bound.
const WIDTH_MAX: usize = 1_000_000;

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
        Value::Time(time) => template_time::default_text(time).into_bytes(),
        Value::Named(_, name, _) => name.as_bytes().to_vec(),
        Value::List(items) => {
            let mut out = vec![b'['];
            join(&mut out, items.iter().map(plain));
            out.push(b']');
            out
        }
        Value::Map(map) => pairs(map.iter().map(|(key, value)| (key.as_str(), plain(value)))),
        Value::Labels(set) => pairs(set.iter().map(|(name, value)| (name, value.as_bytes().to_vec()))),
    }
}

/// Joins items by blanks; stops where the text is too long to be used.
fn join(out: &mut Vec<u8>, items: impl Iterator<Item = Vec<u8>>) {
    for (index, item) in items.enumerate() {
        if out.len() > TEXT_BYTES_MAX {
            return;
        }
        if index > 0 {
            out.push(b' ');
        }
        out.extend(item);
    }
}

fn pairs<'a>(items: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut out = b"map[".to_vec();
    join(&mut out, items.map(|(key, value)| [key.as_bytes(), b":", &*value].concat()));
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

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        return Some("NaN".to_owned());
    }
    value.is_infinite().then(|| if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
}

fn exponent_text(exponent: i32) -> String {
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
    join(&mut out, values.iter().map(plain));
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

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
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

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats operands by a format in Go's syntax.
pub(crate) fn printf(format: &[u8], values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(found) = memchr::memchr(b'%', rest) {
        if out.len() > TEXT_BYTES_MAX {
            return out;
        }
        let (before, after) = rest.split_at(found);
        out.extend_from_slice(before);
        rest = after.get(1..).unwrap_or_default();
        let flags = read_flags(&mut rest, &mut values, &mut out);
        let text = String::from_utf8_lossy(rest);
        let Some(verb) = text.chars().next() else {
            out.extend_from_slice(b"%!(NOVERB)");
            break;
        };
        rest = rest.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.push(b'%');
            continue;
        }
        match values.next() {
            Some(value) => out.extend(formatted(value, verb, flags)),
            None => out.extend(format!("%!{verb}(MISSING)").into_bytes()),
        }
    }
    out.extend_from_slice(rest);
    let extra: Vec<&Value> = values.collect();
    if !extra.is_empty() {
        out.extend_from_slice(b"%!(EXTRA ");
        for (index, value) in extra.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend(shown(value));
        }
        out.push(b')');
    }
    out
}

/// Prints `type=value`, for faults.
fn shown(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil => b"<nil>".to_vec(),
        value => [value.type_name().as_bytes(), b"=", &*plain(value)].concat(),
    }
}

fn read_flags(rest: &mut &[u8], values: &mut std::slice::Iter<'_, Value>, out: &mut Vec<u8>) -> Flags {
    let mut flags = Flags::default();
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'-' => flags.minus = true,
            b'+' => flags.plus = true,
            b'#' => flags.sharp = true,
            b' ' => flags.space = true,
            b'0' => flags.zero = true,
            _ => break,
        }
        *rest = after;
    }
    let mut number = |rest: &mut &[u8], fault: &str| {
        if let Some(after) = rest.strip_prefix(b"*") {
            *rest = after;
            let Some(Value::Int(number, _)) = values.next() else {
                out.extend_from_slice(fault.as_bytes());
                return None;
            };
            return Some(*number);
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, after) = rest.split_at(digits);
        *rest = after;
        std::str::from_utf8(text).ok()?.parse::<i64>().ok()
    };
    if let Some(width) = number(rest, "%!(BADWIDTH)") {
        flags.minus |= width < 0;
        flags.width = usize::try_from(width.unsigned_abs()).ok().map(|width| width.min(WIDTH_MAX));
    }
    if let Some(after) = rest.strip_prefix(b".") {
        *rest = after;
        let precision = number(rest, "%!(BADPREC)").unwrap_or(0);
        flags.precision = usize::try_from(precision).ok().map(|precision| precision.min(WIDTH_MAX));
    }
    flags.zero &= !flags.minus;
    flags
}

fn formatted(value: &Value, verb: char, flags: Flags) -> Vec<u8> {
    let bad = || [format!("%!{verb}(").as_bytes(), &*shown(value), b")"].concat();
    if verb == 'T' {
        let name = if matches!(value, Value::Nil) { "<nil>" } else { value.type_name() };
        return pad(name.as_bytes().to_vec(), flags, false);
    }
    match (value, verb) {
        (Value::Nil, 'v') => pad(plain(value), flags, false),
        (Value::Nil, _) => bad(),
        (Value::Bool(_), 't' | 'v') => pad(plain(value), flags, false),
        (Value::Int(number, _), _) => match integer(*number, verb, flags) {
            Some(text) => pad(text.into_bytes(), flags, true),
            None => bad(),
        },
        (Value::Float(number), 'v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => {
            pad(float_by(*number, verb, flags).into_bytes(), flags, number.is_finite())
        }
        (Value::Text(text), _) => match text_by(text, verb, flags) {
            Some(text) => pad(text, flags, false),
            None => bad(),
        },
        (Value::Time(_) | Value::Named(..), 's' | 'v' | 'q' | 'x' | 'X') => {
            let text = plain(value);
            pad(text_by(&text, verb, flags).unwrap_or_default(), flags, false)
        }
        (Value::Named(_, _, number), 'd') => pad(number.to_string().into_bytes(), flags, true),
        (Value::List(items), _) => {
            let mut out = vec![b'['];
            join(&mut out, items.iter().map(|item| formatted(item, verb, flags)));
            out.push(b']');
            out
        }
        (Value::Map(map), _) => {
            pairs(map.iter().map(|(key, value)| (key.as_str(), formatted(value, verb, flags))))
        }
        (Value::Labels(set), _) => {
            pairs(set.iter().map(|(name, value)| (name, formatted(&Value::text(value), verb, flags))))
        }
        _ => bad(),
    }
}

fn text_by(text: &[u8], verb: char, flags: Flags) -> Option<Vec<u8>> {
    let mut text = text;
    if let Some(most) = flags.precision {
        let valid = String::from_utf8_lossy(text);
        let bytes: usize = valid.chars().take(most).map(char::len_utf8).sum();
        text = text.get(..bytes).unwrap_or(text);
    }
    match verb {
        's' | 'v' if !(flags.sharp && verb == 'v') => Some(text.to_vec()),
        'q' | 'v' => Some(quoted(text).into_bytes()),
        'x' | 'X' => {
            let mut out = String::new();
            for (index, byte) in text.iter().enumerate() {
                if flags.space && index > 0 {
                    out.push(' ');
                }
                if flags.sharp && (index == 0 || flags.space) {
                    out.push_str("0x");
                }
                append(&mut out, format_args!("{byte:02x}"));
            }
            Some(if verb == 'X' { out.to_uppercase() } else { out }.into_bytes())
        }
        _ => None,
    }
}

fn integer(number: i64, verb: char, flags: Flags) -> Option<String> {
    let size = number.unsigned_abs();
    let (mut digits, prefix) = match verb {
        'd' | 'v' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), "0b"),
        'o' => (format!("{size:o}"), "0"),
        'O' => (format!("0o{size:o}"), ""),
        'x' => (format!("{size:x}"), "0x"),
        'X' => (format!("{size:X}"), "0X"),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return Some(match verb {
                'c' => c.to_string(),
                'q' if c == '\'' => "'\\''".to_owned(),
                'q' if c == '"' => "'\"'".to_owned(),
                'q' => quoted(c.to_string().as_bytes()).replace('"', "'"),
                _ => format!("U+{number:04X}"),
            });
        }
        _ => return None,
    };
    if let Some(least) = flags.precision {
        digits = format!("{digits:0>least$}");
    }
    let prefix = if flags.sharp { prefix } else { "" };
    Some(format!("{}{prefix}{digits}", sign(number < 0, flags)))
}

fn sign(negative: bool, flags: Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn float_by(number: f64, verb: char, flags: Flags) -> String {
    let size = number.abs();
    let text = match (special(size), verb) {
        (Some(text), _) => text.trim_start_matches('+').to_owned(),
        (None, 'f' | 'F') => format!("{size:.*}", flags.precision.unwrap_or(6)),
        (None, 'e' | 'E') => scientific(&format!("{size:.*e}", flags.precision.unwrap_or(6))),
        (None, _) => match flags.precision {
            None => float(size),
            Some(precision) => significant(size, precision.max(1)),
        },
    };
    let text = if verb.is_ascii_uppercase() { text.to_uppercase() } else { text };
    let infinite = number.is_infinite() && number > 0.0;
    let sign = if infinite { "+" } else { sign(number.is_sign_negative() && !number.is_nan(), flags) };
    format!("{sign}{text}")
}

fn scientific(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    format!("{digits}{}", exponent_text(exponent.parse().unwrap_or(0)))
}

/// Prints so many significant digits, zeros at the end dropped.
fn significant(size: f64, precision: usize) -> String {
    let text = format!("{size:.*e}", precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || i64::from(power) >= precision as i64 {
        return format!("{}{}", trim(digits), exponent_text(power));
    }
    let decimals = usize::try_from(precision as i64 - 1 - i64::from(power)).unwrap_or(0);
    trim(&format!("{size:.decimals$}"))
}

fn pad(text: Vec<u8>, flags: Flags, is_number: bool) -> Vec<u8> {
    let width = flags.width.unwrap_or(0);
    let length = String::from_utf8_lossy(&text).chars().count();
    let Some(missing) = width.checked_sub(length).filter(|missing| *missing > 0) else { return text };
    if flags.minus {
        return [text, vec![b' '; missing]].concat();
    }
    if !flags.zero {
        return [vec![b' '; missing], text].concat();
    }
    let signed = is_number && matches!(text.first(), Some(b'-' | b'+' | b' '));
    let (sign, digits) = text.split_at(usize::from(signed));
    [sign, &vec![b'0'; missing], digits].concat()
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
    fn formats() {
        let check = |format: &str, values: &[Value], expect: &str| {
            assert_eq!(String::from_utf8(printf(format.as_bytes(), values)).unwrap(), expect, "{format}");
        };
        let text = |text: &str| Value::text(text);
        check("%s|%5s|%-5s|%.2s", &[text("abc"), text("ab"), text("ab"), text("éab")], "abc|   ab|ab   |éa");
        check("%d|%05d|%+d|%x|%c|%q", &[5, -5, 5, 255, 65, 65].map(Value::int), "5|-0005|+5|ff|A|'A'");
        check(
            "%f|%.2f|%8.3f|%e|%g|%v",
            &[1.5; 6].map(Value::Float),
            "1.500000|1.50|   1.500|1.500000e+00|1.5|1.5",
        );
        check("%.3g|%.3g", &[Value::Float(1234.5), Value::Float(0.012)], "1.23e+03|0.012");
        check("%d|%s", &[text("a"), Value::int(5)], "%!d(string=a)|%!s(int=5)");
        check("%d %%", &[], "%!d(MISSING) %");
        check("x", &[Value::int(1)], "x%!(EXTRA int=1)");
        check("%", &[], "%!(NOVERB)");
        check(
            "%x|%X|%q|%t|%v",
            &[text("hi"), text("hi"), text("a\"\n\u{1}"), Value::Bool(true), Value::Nil],
            "6869|6869|\"a\\\"\\n\\x01\"|true|<nil>",
        );
        check("%*d|%T", &[Value::int(4), Value::int(7), Value::int64(1)], "   7|int64");
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
