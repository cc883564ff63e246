//! `printf` of templates: Go's formats, with its argument indexes, flags and faults.

use crate::call::TEXT_BYTES_MAX;
use crate::print::{append, exponent_text, float, join, plain, quoted, special};
use crate::value::Value;

/// Widest padding and longest precision; Go has the same bound.
const WIDTH_MAX: i64 = 1_000_000;
/// Decimals after which every number has but zeros; the standard library refuses more than 65,535.
const DECIMALS_MAX: usize = 1_100;

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
///
/// Stops where the text is too long to be used.
pub(crate) fn printf(format: &[u8], values: &[Value]) -> Vec<u8> {
    let mut printer =
        Printer { rest: format, values, next: 0, out: Vec::new(), reordered: false, good_index: true };
    printer.run();
    printer.out
}

struct Printer<'a> {
    rest: &'a [u8],
    values: &'a [Value],
    /// The operand that comes next.
    next: usize,
    out: Vec<u8>,
    /// An index was used: operands left over are no fault.
    reordered: bool,
    good_index: bool,
}

impl Printer<'_> {
    fn run(&mut self) {
        while let Some(found) = memchr::memchr(b'%', self.rest) {
            if self.out.len() > TEXT_BYTES_MAX {
                return;
            }
            let (before, after) = self.rest.split_at(found);
            self.out.extend_from_slice(before);
            self.rest = after.get(1..).unwrap_or_default();
            self.good_index = true;
            let flags = self.flags();
            let text = String::from_utf8_lossy(self.rest.get(..4.min(self.rest.len())).unwrap_or_default());
            let Some(verb) = text.chars().next() else {
                self.out.extend_from_slice(b"%!(NOVERB)");
                self.rest = &[];
                break;
            };
            let bytes = if verb == char::REPLACEMENT_CHARACTER { 1 } else { verb.len_utf8() };
            self.rest = self.rest.get(bytes..).unwrap_or_default();
            self.verb(verb, flags);
        }
        self.out.extend_from_slice(self.rest);
        if !self.reordered {
            self.extra();
        }
    }

    fn verb(&mut self, verb: char, flags: Flags) {
        if verb == '%' {
            self.out.push(b'%');
            return;
        }
        let fault = match self.values.get(self.next) {
            _ if !self.good_index => "BADINDEX",
            None => "MISSING",
            Some(value) => {
                self.next += 1;
                // With `%v` a plus would ask for names of fields, which no value here has.
                let flags = Flags { plus: flags.plus && verb != 'v', ..flags };
                self.out.extend(formatted(value, verb, flags));
                return;
            }
        };
        self.out.extend_from_slice(format!("%!{verb}({fault})").as_bytes());
    }

    /// Tells of operands that nothing has asked for.
    fn extra(&mut self) {
        let extra = self.values.get(self.next..).unwrap_or_default();
        for (index, value) in extra.iter().enumerate() {
            self.out.extend_from_slice(if index == 0 { b"%!(EXTRA " } else { b", " });
            self.out.extend(shown(value, Flags::default()));
        }
        if !extra.is_empty() {
            self.out.push(b')');
        }
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some((byte, after)) = self.rest.split_first() {
            match byte {
                b'-' => flags.minus = true,
                b'+' => flags.plus = true,
                b'#' => flags.sharp = true,
                b' ' => flags.space = true,
                b'0' => flags.zero = true,
                _ => break,
            }
            self.rest = after;
        }
        let mut after_index = self.index();
        if self.accept(b'*') {
            let width = self.number_operand();
            match width {
                Some(width) => {
                    flags.minus |= width < 0;
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.out.extend_from_slice(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            flags.width = self.number();
            // An index belongs right before what it is for.
            self.good_index &= !(after_index && flags.width.is_some());
        }
        if self.accept(b'.') {
            self.good_index &= !after_index;
            after_index = self.index();
            if self.accept(b'*') {
                // A negative precision is none.
                flags.precision = self.number_operand().and_then(|number| usize::try_from(number).ok());
                if flags.precision.is_none() {
                    self.out.extend_from_slice(b"%!(BADPREC)");
                }
                after_index = false;
            } else {
                flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        flags.zero &= !flags.minus;
        flags
    }

    fn accept(&mut self, byte: u8) -> bool {
        let Some(after) = self.rest.strip_prefix(&[byte]) else { return false };
        self.rest = after;
        true
    }

    /// Reads digits; a number that is too large takes the rest of the format with it.
    fn number(&mut self) -> Option<usize> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, after) = self.rest.split_at(count);
        let number = std::str::from_utf8(digits).ok()?.parse::<i64>();
        let too_large = count > 0 && !matches!(number, Ok(..=WIDTH_MAX));
        self.rest = if too_large { &[] } else { after };
        number.ok().filter(|_| !too_large).and_then(|number| usize::try_from(number).ok())
    }

    /// Takes an operand for `*`.
    fn number_operand(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value {
            Value::Int(number, _) if (-WIDTH_MAX..=WIDTH_MAX).contains(number) => Some(*number),
            _ => None,
        }
    }

    /// Reads `[n]`, the operand that comes next, counted from 1; returns whether it was one.
    fn index(&mut self) -> bool {
        let Some(inside) = self.rest.strip_prefix(b"[") else { return false };
        self.reordered = true;
        let Some(close) = memchr::memchr(b']', inside).filter(|_| inside.len() > 1) else {
            self.good_index = false;
            self.rest = inside;
            return false;
        };
        let (number, after) = inside.split_at(close);
        self.rest = after.get(1..).unwrap_or_default();
        let number = std::str::from_utf8(number).ok().filter(|text| !text.starts_with('+'));
        let Some(number) = number.and_then(|text| text.parse::<usize>().ok()) else {
            self.good_index = false;
            return false;
        };
        match number.checked_sub(1).filter(|index| *index < self.values.len()) {
            Some(index) => self.next = index,
            None => self.good_index = false,
        }
        true
    }
}

/// Prints `type=value`, for faults.
fn shown(value: &Value, flags: Flags) -> Vec<u8> {
    match value {
        Value::Nil => b"<nil>".to_vec(),
        value => [value.type_name().as_bytes(), b"=", &*formatted(value, 'v', flags)].concat(),
    }
}

fn formatted(value: &Value, verb: char, flags: Flags) -> Vec<u8> {
    let bad = || [format!("%!{verb}(").as_bytes(), &*shown(value, flags), b")"].concat();
    if verb == 'T' {
        let name = if matches!(value, Value::Nil) { "<nil>" } else { value.type_name() };
        return pad(name.as_bytes().to_vec(), flags, false);
    }
    let in_go = flags.sharp && verb == 'v';
    match (value, verb) {
        (Value::Nil, 'v') => pad(plain(value), flags, false),
        (Value::Nil, _) => bad(),
        (Value::Bool(_), 't' | 'v') => pad(plain(value), flags, false),
        (Value::Int(number, _), _) => {
            integer(*number, verb, flags).map_or_else(bad, |text| pad(text.into_bytes(), flags, true))
        }
        (Value::Float(number), 'v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'b' | 'x' | 'X') => {
            pad(float_by(*number, verb, flags).into_bytes(), flags, number.is_finite())
        }
        (Value::Text(text), _) => text_by(text, verb, flags).map_or_else(bad, |text| pad(text, flags, false)),
        (Value::Time(_) | Value::Named(..), 's' | 'v' | 'q' | 'x' | 'X') => {
            let text = plain(value);
            pad(
                text_by(&text, verb, Flags { sharp: flags.sharp && !in_go, ..flags }).unwrap_or_default(),
                flags,
                false,
            )
        }
        (Value::Named(_, _, number), _) => {
            integer(*number, verb, flags).map_or_else(bad, |text| pad(text.into_bytes(), flags, true))
        }
        (Value::List(items), _) => {
            let items = items.iter().map(|item| inside(item, verb, flags));
            if in_go { enclosed(value, items) } else { bracketed(b"[", items) }
        }
        (Value::Map(map), _) => {
            let items = map.iter().map(|(key, item)| pair(key, &inside(item, verb, flags), verb, flags));
            if in_go { enclosed(value, items) } else { bracketed(b"map[", items) }
        }
        (Value::Labels(set), _) => {
            let items = set
                .iter()
                .map(|(key, item)| pair(key, &formatted(&Value::text(item), verb, flags), verb, flags));
            if in_go { enclosed(value, items) } else { bracketed(b"map[", items) }
        }
        _ => bad(),
    }
}

/// A value that is part of another.
fn inside(value: &Value, verb: char, flags: Flags) -> Vec<u8> {
    match value {
        Value::Nil if flags.sharp && verb == 'v' => b"interface {}(nil)".to_vec(),
        value => formatted(value, verb, flags),
    }
}

fn pair(key: &str, value: &[u8], verb: char, flags: Flags) -> Vec<u8> {
    [&*formatted(&Value::text(key), verb, flags), b":", value].concat()
}

fn bracketed(open: &[u8], items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = open.to_vec();
    join(&mut out, b" ", items);
    out.push(b']');
    out
}

/// Prints as Go would have it in a program.
fn enclosed(value: &Value, items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = value.type_name().as_bytes().to_vec();
    out.push(b'{');
    join(&mut out, b", ", items);
    out.push(b'}');
    out
}

fn text_by(text: &[u8], verb: char, flags: Flags) -> Option<Vec<u8>> {
    let mut text = text;
    match flags.precision {
        // Digits count bytes, letters count letters.
        Some(most) if matches!(verb, 'x' | 'X') => text = text.get(..most).unwrap_or(text),
        Some(most) => {
            let valid = String::from_utf8_lossy(text);
            let bytes: usize = valid.chars().take(most).map(char::len_utf8).sum();
            text = text.get(..bytes).unwrap_or(text);
        }
        None => {}
    }
    match verb {
        's' | 'v' if !(flags.sharp && verb == 'v') => Some(text.to_vec()),
        'q' if flags.sharp && is_raw(text) => Some([b"`", text, b"`"].concat()),
        'q' if flags.plus => Some(ascii(&quoted(text)).into_bytes()),
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

/// Whether a text can stand between backticks.
fn is_raw(text: &[u8]) -> bool {
    let printable = |c: char| c == '\t' || c != '`' && c != '\u{feff}' && c >= ' ' && c != '\u{7f}';
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(printable))
}

/// Escapes what is not ASCII in a quoted text.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match u32::from(c) {
            ..0x80 => out.push(c),
            code @ 0x80..0x10000 => append(&mut out, format_args!("\\u{code:04x}")),
            code => append(&mut out, format_args!("\\U{code:08x}")),
        }
    }
    out
}

fn integer(number: i64, verb: char, flags: Flags) -> Option<String> {
    let size = number.unsigned_abs();
    let (mut digits, prefix) = match verb {
        'd' | 'v' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), "0b"),
        'o' => (format!("{size:o}"), "0"),
        'O' => (format!("{size:o}"), "0o"),
        'x' => (format!("{size:x}"), "0x"),
        'X' => (format!("{size:X}"), "0X"),
        'c' | 'q' | 'U' => return Some(character(number, verb, flags)),
        _ => return None,
    };
    if flags.precision == Some(0) && number == 0 {
        return Some(String::new());
    }
    if let Some(least) = flags.precision {
        digits.insert_str(0, &"0".repeat(least.saturating_sub(digits.len())));
    }
    let prefix = match verb {
        'O' => prefix,
        'o' if digits.starts_with('0') => "",
        'v' => "",
        _ if flags.sharp => prefix,
        _ => "",
    };
    Some(format!("{}{prefix}{digits}", sign(number < 0, flags)))
}

/// A number as the character of that code.
fn character(number: i64, verb: char, flags: Flags) -> String {
    let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match verb {
        'c' => c.to_string(),
        'q' if c == '\'' => "'\\''".to_owned(),
        'q' if c == '"' => "'\"'".to_owned(),
        'q' => {
            let text = quoted(c.to_string().as_bytes()).replace('"', "'");
            if flags.plus { ascii(&text) } else { text }
        }
        _ => {
            let digits = format!("{number:X}");
            let missing = flags.precision.unwrap_or(4).max(4).saturating_sub(digits.len());
            let shown = if flags.sharp && !c.is_control() { format!(" '{c}'") } else { String::new() };
            format!("U+{}{digits}{shown}", "0".repeat(missing))
        }
    }
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
        (None, 'f' | 'F') => fixed(size, flags.precision.unwrap_or(6)),
        (None, 'e' | 'E') => scientific(&exponential(size, flags.precision.unwrap_or(6))),
        (None, 'b' | 'x' | 'X') => binary(size, verb == 'b'),
        (None, _) => match flags.precision {
            None => float(size),
            Some(precision) => significant(size, precision.max(1)),
        },
    };
    let text = if verb.is_ascii_uppercase() && number.is_finite() { text.to_uppercase() } else { text };
    let infinite = number.is_infinite() && number > 0.0;
    let sign = if infinite { "+" } else { sign(number.is_sign_negative() && !number.is_nan(), flags) };
    format!("{sign}{text}")
}

/// Prints with so many decimals.
fn fixed(size: f64, decimals: usize) -> String {
    let exact = decimals.min(DECIMALS_MAX);
    format!("{size:.exact$}{}", "0".repeat(decimals - exact))
}

/// Prints as `1.5e3`, with so many decimals.
fn exponential(size: f64, decimals: usize) -> String {
    let exact = decimals.min(DECIMALS_MAX);
    let text = format!("{size:.exact$e}");
    match text.split_once('e') {
        Some((digits, exponent)) if decimals > exact => {
            format!("{digits}{}e{exponent}", "0".repeat(decimals - exact))
        }
        _ => text,
    }
}

fn scientific(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    format!("{digits}{}", exponent_text(exponent.parse().unwrap_or(0)))
}

/// Prints so many significant digits, zeros at the end dropped.
fn significant(size: f64, precision: usize) -> String {
    let text = exponential(size, precision - 1);
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
    trim(&fixed(size, decimals))
}

/// Prints fraction and exponent to base 2: `4503599627370496p-52`, or `0x1.8p+00`.
fn binary(size: f64, whole: bool) -> String {
    let bits = size.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as i64);
    if whole {
        let (mantissa, power) =
            if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        return format!("{mantissa}p{power:+}");
    }
    if size == 0.0 {
        return "0x0p+00".to_owned();
    }
    // Numbers too small for a leading one are shifted until they have it.
    let shift = if exponent == 0 { i64::from(fraction.leading_zeros()) - 11 } else { 0 };
    let (digits, power) = if exponent == 0 {
        ((fraction << shift) & ((1 << 52) - 1), -1022 - shift)
    } else {
        (fraction, exponent - 1023)
    };
    let digits = format!("{digits:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if power < 0 { '-' } else { '+' };
    format!("0x1{point}{digits}p{sign}{:02}", power.abs())
}

fn pad(text: Vec<u8>, flags: Flags, is_number: bool) -> Vec<u8> {
    let width = flags.width.unwrap_or(0);
    let length = String::from_utf8_lossy(&text).chars().count();
    let Some(missing) = width.checked_sub(length).filter(|missing| *missing > 0) else { return text };
    if flags.minus {
        return [text, vec![b' '; missing]].concat();
    }
    // Zeros do not fill up a number of given digits.
    let fills = flags.zero && !(is_number && flags.precision.is_some() && !text.contains(&b'.'));
    if !fills {
        return [vec![b' '; missing], text].concat();
    }
    let signed = is_number && matches!(text.first(), Some(b'-' | b'+' | b' '));
    let (sign, digits) = text.split_at(usize::from(signed));
    [sign, &vec![b'0'; missing], digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, values: &[Value], expect: &str) {
        assert_eq!(String::from_utf8(printf(format.as_bytes(), values)).unwrap(), expect, "{format}");
    }

    fn text(text: &str) -> Value {
        Value::text(text)
    }

    #[test]
    fn texts() {
        check("%s|%5s|%-5s|%.2s", &[text("abc"), text("ab"), text("ab"), text("éab")], "abc|   ab|ab   |éa");
        check(
            "%x|%X|%q|%t|%v",
            &[text("hi"), text("hi"), text("a\"\n\u{1}"), Value::Bool(true), Value::Nil],
            "6869|6869|\"a\\\"\\n\\x01\"|true|<nil>",
        );
        check(
            "%#q|%#q|%+q|%#v",
            &["a\"b", "a`b", "é😀", "a\n"].map(text),
            "`a\"b`|\"a`b\"|\"\\u00e9\\U0001f600\"|\"a\\n\"",
        );
        check("% x|%#x|% #X|%.1x", &["hi", "hi", "hi", "hi"].map(text), "68 69|0x6869|0X68 0X69|68");
        check("%05s|%-05s|", &["ab", "ab"].map(text), "000ab|ab   |");
    }

    #[test]
    fn integers() {
        check("%d|%05d|%+d|%x|%c|%q", &[5, -5, 5, 255, 65, 65].map(Value::int), "5|-0005|+5|ff|A|'A'");
        check(
            "%b|%o|%O|%#x|%#o|%#b|%X",
            &[5, 8, 8, 255, 8, 5, 255].map(Value::int),
            "101|10|0o10|0xff|010|0b101|FF",
        );
        check(
            "%U|%#U|%.3d|%6.3d|%06.3d|% d",
            &[233, 233, 7, 7, 7, 7].map(Value::int),
            "U+00E9|U+00E9 'é'|007|   007|   007| 7",
        );
        check("%.0d|%-5d|%x", &[0, 7, -255].map(Value::int), "|7    |-ff");
    }

    #[test]
    fn floats() {
        check(
            "%f|%.2f|%8.3f|%e|%g|%v",
            &[1.5; 6].map(Value::Float),
            "1.500000|1.50|   1.500|1.500000e+00|1.5|1.5",
        );
        check(
            "%.3g|%.3g|%G|%E",
            &[1234.5, 0.012, 1e-7, 12.0].map(Value::Float),
            "1.23e+03|0.012|1E-07|1.200000E+01",
        );
        check(
            "%08.2f|%+.1f|%6.0f|%F",
            &[-3.14551, 2.0, 2.5, 1.0].map(Value::Float),
            "-0003.15|+2.0|     2|1.000000",
        );
        check(
            "%v|%5v|%+v|%f|%05d",
            &[f64::INFINITY, f64::NAN, f64::NAN, f64::NEG_INFINITY, 1.0].map(Value::Float),
            "+Inf|  NaN|NaN|-Inf|%!d(float64=00001)",
        );
        check(
            "%x|%b|%X|%x",
            &[1.5, 1.0, 0.1, 0.0].map(Value::Float),
            "0x1.8p+00|4503599627370496p-52|0X1.999999999999AP-04|0x0p+00",
        );
    }

    #[test]
    fn digits_by_the_hundred_thousand() {
        let zeros = |count: usize| "0".repeat(count);
        check("%.70000f", &[Value::Float(1.5)], &format!("1.5{}", zeros(69_999)));
        check("%.70000e", &[Value::Float(15.0)], &format!("1.5{}e+01", zeros(69_999)));
        check(
            "%.200005v|%.65536g",
            &[Value::Float(1.5), Value::Float(0.0001220703125)],
            "1.5|0.0001220703125",
        );
        check("%.70000d", &[Value::int(-7)], &format!("-{}7", zeros(69_999)));
        check("%.70000U", &[Value::int(233)], &format!("U+{}E9", zeros(69_998)));
        check("%070000d", &[Value::int(-7)], &format!("-{}7", zeros(69_998)));
        // The smallest number, to its last digit.
        let tiny = String::from_utf8(printf(b"%.1200f", &[Value::Float(5e-324)])).unwrap();
        assert!(tiny.ends_with(&format!("447265625{}", zeros(126))), "{tiny}");
    }

    #[test]
    fn indexes() {
        let three = [text("a"), text("b"), text("c")];
        check("%[1]s %[1]s", &three, "a a");
        check("%[3]s %[1]s %s", &three, "c a b");
        check("%[2]*[1]d|", &[Value::int(7), Value::int(4)], "   7|");
        check("%[3]*.[2]*[1]f|", &[Value::Float(12.0), Value::int(2), Value::int(6)], " 12.00|");
        check("%[5]s %[0]s %[x]s %[1]2d", &three, "%!s(BADINDEX) %!s(BADINDEX) %!s(BADINDEX) %!d(BADINDEX)");
        check("%[1", &three, "%!(NOVERB)");
        check("%.[]", &[], "%!](BADINDEX)");
        check("%.-3d", &[Value::int(42)], "%!-(int=42)3d");
        check("%d %[3]d %d", &[1, 2].map(Value::int), "1 %!d(BADINDEX) 2");
        check(
            "%d %d %d %#[1]o %#o %#o %#o",
            &[11, 12, 13].map(Value::int),
            "11 12 13 013 014 015 %!o(MISSING)",
        );
        check("%[1]", &three, "%!(NOVERB)");
        check("%[].2d", &three, "%!d(BADINDEX)");
    }

    #[test]
    fn faults() {
        check("%d|%s", &[text("a"), Value::int(5)], "%!d(string=a)|%!s(int=5)");
        check("%d %%", &[], "%!d(MISSING) %");
        check("x", &[Value::int(1), Value::Nil], "x%!(EXTRA int=1, <nil>)");
        check("%", &[], "%!(NOVERB)");
        check("%!", &[Value::int(1)], "%!!(int=1)");
        check(
            "%p|%z|%é",
            &[text("a"), Value::Bool(true), Value::int(1)],
            "%!p(string=a)|%!z(bool=true)|%!é(int=1)",
        );
        check("%s|%d", &[Value::Nil, Value::Nil], "%!s(<nil>)|%!d(<nil>)");
        check("%*d|%T", &[Value::int(4), Value::int(7), Value::int64(1)], "   7|int64");
        check("%*d", &[text("x"), Value::int(7)], "%!(BADWIDTH)7");
        check(
            "%.*d|%-*d|",
            &[Value::int(-1), Value::int(7), Value::int(-3), Value::int(1)],
            "%!(BADPREC)7|1  |",
        );
        check("%99999999d|", &[Value::int(1)], "%!(NOVERB)%!(EXTRA int=1)");
    }

    #[test]
    fn lists_and_maps() {
        use std::collections::BTreeMap;
        use std::rc::Rc;
        let list = Value::List(Rc::new(vec![Value::Float(1.0), text("a"), Value::Nil]));
        let map = Value::Map(Rc::new(BTreeMap::from([("k".to_owned(), text("v"))])));
        check(
            "%v %q %d",
            &[list.clone(), map.clone(), map.clone()],
            "[1 a <nil>] map[\"k\":\"v\"] map[%!d(string=k):%!d(string=v)]",
        );
        check("%#v", &[list], "[]interface {}{1, \"a\", interface {}(nil)}");
        check("%#v %T", &[map.clone(), map], "map[string]interface {}{\"k\":\"v\"} map[string]interface {}");
    }
}
