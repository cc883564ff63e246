//! Functions of templates that change how a text is written: base64, URL escapes, JSON.

use crate::call::{Function, Param, function, text};
use crate::json_string::{string_end, unescape};
use crate::value::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

const ONE: &[Param] = &[Param::Text];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("b64enc", ONE, |_, args| Ok(Value::text(base64(text(args, 0))))),
    // What cannot be decoded gives the reason as its text.
    function("b64dec", ONE, |_, args| Ok(from_base64(text(args, 0)).map_or_else(Value::text, Value::Text))),
    function("urlencode", ONE, |_, args| Ok(Value::Text(query_escape(text(args, 0))))),
    function("urldecode", ONE, |_, args| query_unescape(text(args, 0)).map(Value::Text)),
    function("fromJson", ONE, |_, args| Ok(json(text(args, 0)).unwrap_or(Value::Nil))),
];

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let code = (bits >> (18 - 6 * place)) & 63;
            let c = ALPHABET.get(code as usize).copied().unwrap_or(b'=');
            out.push(if place <= chunk.len() { char::from(c) } else { '=' });
        }
    }
    out
}

/// Decodes in quads of signs, between which newlines do not count. A fault is placed as Go places it: at
/// the sign that is wrong, or where a quad starts that is too short.
fn from_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let fault = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let mut signs =
        text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\n' | b'\r')).peekable();
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    while signs.peek().is_some() {
        let (mut bits, mut count) = (0_u32, 0);
        while count < 4 {
            // Go steps back by the signs of the quad, newlines left out.
            let Some((at, byte)) = signs.next() else { return fault(text.len() - count) };
            match ALPHABET.iter().position(|known| *known == byte) {
                Some(code) => (bits, count) = (bits << 6 | code as u32, count + 1),
                None if byte != b'=' || count < 2 => return fault(at),
                None => {
                    if count == 2 {
                        match signs.next() {
                            None => return fault(text.len()),
                            Some((next, other)) if other != b'=' => return fault(next - 1),
                            Some(_) => {}
                        }
                    }
                    if let Some((at, _)) = signs.peek() {
                        return fault(*at);
                    }
                    break;
                }
            }
        }
        let bytes = (bits << (6 * (4 - count))).to_be_bytes();
        out.extend_from_slice(bytes.get(1..count).unwrap_or_default());
    }
    Ok(out)
}

/// Escapes as in the query of an address; a blank becomes `+`.
pub(crate) fn query_escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) => out.push(*byte),
            byte => out.extend(format!("%{byte:02X}").into_bytes()),
        }
    }
    out
}

fn query_unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(code) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) else {
                    let shown = after.get(..after.len().min(2)).unwrap_or_default();
                    let escape = format!("%{}", String::from_utf8_lossy(shown));
                    return Err(format!("invalid URL escape {}", crate::print::quoted(escape.as_bytes())));
                };
                out.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            byte => out.push(*byte),
        }
    }
    Ok(out)
}

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// Reads a document; `None` if it is not well-formed.
fn json(text: &[u8]) -> Option<Value> {
    let mut rest = text;
    let value = json_value(&mut rest, 0)?;
    skip_blanks(&mut rest);
    rest.is_empty().then_some(value)
}

fn skip_blanks(rest: &mut &[u8]) {
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    *rest = rest.get(blanks..).unwrap_or_default();
}

/// Passes over the byte, blanks around it.
fn accept(rest: &mut &[u8], byte: u8) -> bool {
    skip_blanks(rest);
    let after = rest.strip_prefix(&[byte]);
    *rest = after.unwrap_or(rest);
    skip_blanks(rest);
    after.is_some()
}

fn json_value(rest: &mut &[u8], depth: usize) -> Option<Value> {
    skip_blanks(rest);
    if depth > DEPTH_MAX {
        return None;
    }
    match rest.first()? {
        b'"' => json_text(rest).map(Value::Text),
        b'{' => {
            accept(rest, b'{');
            let mut map = BTreeMap::new();
            if accept(rest, b'}') {
                return Some(Value::Map(Rc::new(map)));
            }
            loop {
                let key = String::from_utf8_lossy(&json_text(rest)?).into_owned();
                if !accept(rest, b':') {
                    return None;
                }
                map.insert(key, json_value(rest, depth + 1)?);
                if accept(rest, b'}') {
                    return Some(Value::Map(Rc::new(map)));
                }
                if !accept(rest, b',') {
                    return None;
                }
            }
        }
        b'[' => {
            accept(rest, b'[');
            let mut items = Vec::new();
            if accept(rest, b']') {
                return Some(Value::List(Rc::new(items)));
            }
            loop {
                items.push(json_value(rest, depth + 1)?);
                if accept(rest, b']') {
                    return Some(Value::List(Rc::new(items)));
                }
                if !accept(rest, b',') {
                    return None;
                }
            }
        }
        _ => json_plain(rest),
    }
}

fn json_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let inside = rest.strip_prefix(b"\"")?;
    let length = string_end(inside)?;
    let raw = inside.get(..length)?;
    *rest = inside.get(length + 1..)?;
    if raw.iter().any(|byte| *byte < 0x20) {
        return None;
    }
    let text = unescape(raw)?;
    Some(String::from_utf8_lossy(&text).into_owned().into_bytes())
}

fn json_plain(rest: &mut &[u8]) -> Option<Value> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    let (word, after) = rest.split_at(length);
    *rest = after;
    match word {
        b"true" => Some(Value::Bool(true)),
        b"false" => Some(Value::Bool(false)),
        b"null" => Some(Value::Nil),
        _ => {
            let text = std::str::from_utf8(word).ok()?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            let starts = digits.starts_with(|c: char| c.is_ascii_digit());
            let zero_first = digits.len() > 1
                && digits.starts_with('0')
                && !digits.starts_with("0.")
                && !digits.starts_with(['e', 'E']);
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
            if !starts
                || zero_first && !digits.starts_with("0e") && !digits.starts_with("0E")
                || !plain
                || digits.ends_with('.')
            {
                return None;
            }
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::print;

    #[test]
    fn base64_both_ways() {
        for (plain, encoded) in
            [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("a\u{ff}~?", "YcO/fj8=")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
            assert_eq!(from_base64(encoded.as_bytes()).unwrap(), plain.as_bytes());
        }
        for (text, at) in [
            ("a", 0),
            ("YQ", 0),
            ("Zm9vZg", 4),
            ("Zm9vZ", 4),
            ("YQ=", 3),
            ("YQ=x", 2),
            ("Y!==", 1),
            ("Y=", 1),
            ("====", 0),
            ("YQ==YQ==", 4),
            ("YWI=\nYQ==", 5),
        ] {
            assert_eq!(
                from_base64(text.as_bytes()).unwrap_err(),
                format!("illegal base64 data at input byte {at}"),
                "{text}"
            );
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(query_escape("a b&é".as_bytes()), b"a+b%26%C3%A9");
        assert_eq!(query_unescape(b"a%20b%2Bc+d").unwrap(), b"a b+c d");
        assert_eq!(query_unescape(b"%zz").unwrap_err(), "invalid URL escape \"%zz\"");
        assert_eq!(query_unescape(b"%4").unwrap_err(), "invalid URL escape \"%4\"");
    }

    #[test]
    fn documents() {
        let check = |text: &str, expect: &str| {
            let value = json(text.as_bytes()).unwrap_or(Value::Nil);
            assert_eq!(String::from_utf8(print(&value)).unwrap(), expect, "{text}");
        };
        check(r#" {"b":[1,2.5,null,true], "a":{"x":"y\n"}} "#, "map[a:map[x:y\n] b:[1 2.5 <nil> true]]");
        check("1e6", "1e+06");
        check("0.5", "0.5");
        for text in ["broken", "{\"a\":1,}", "[1 2]", "{} x", "01", "1.", "+1", "\"a"] {
            check(text, "<no value>");
        }
        check(&"[".repeat(5000), "<no value>");
    }
}
