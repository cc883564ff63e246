//! `logfmt` without keys: every pair of a line becomes a label.
//!
//! Any byte up to the blank separates. Of a faulty pair nothing is taken, up to the next separator;
//! `--strict` stops there and notes the error (Loki v3.7.6).

use crate::labels::Labels;
use crate::stage_json::{string_end, unescape, unicode_escape};
use crate::stage_parse::{Hints, label_name, label_value};
use std::borrow::Cow;

pub(crate) const LOGFMT_ERROR: &str = "LogfmtParserErr";
const UNTERMINATED: &str = "unterminated quoted value";
const INVALID_QUOTED: &str = "invalid quoted value";
const INVALID_KEY: &str = "invalid key";
const UNEXPECTED_EQUAL: &str = "unexpected '='";
const UNEXPECTED_QUOTE: &str = "unexpected '\"'";

/// The stage.
#[derive(Debug)]
pub(crate) struct Logfmt {
    strict: bool,
    keep_empty: bool,
    hints: Hints,
}

impl Logfmt {
    pub(crate) fn new(strict: bool, keep_empty: bool, hints: Hints) -> Self {
        Self { strict, keep_empty, hints }
    }

    /// Returns whether a faulty pair ends reading.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        if self.hints.nothing_needed() {
            return;
        }
        let mut reader = Reader::new(line);
        while let Some(pair) = reader.pair() {
            match pair {
                Ok(pair) => {
                    if pair.value.is_empty() && !self.keep_empty {
                        continue;
                    }
                    let key = String::from_utf8_lossy(pair.key);
                    let name = label_name(&key);
                    if name.is_empty() || !self.hints.wants(&name) {
                        continue;
                    }
                    labels.extract(&name, &label_value(&pair.value()));
                    if self.hints.is_satisfied(labels) {
                        return;
                    }
                }
                Err(fault) if self.strict => {
                    let details = reader.details(fault);
                    labels.set_parser_error(LOGFMT_ERROR, &details, self.hints.preserves_errors());
                    return;
                }
                Err(_) => reader.skip_pair(),
            }
        }
    }
}

/// A key and its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) key: &'a [u8],
    /// Without quotes; escapes, which are valid, are left in.
    value: &'a [u8],
    has_escapes: bool,
}

impl<'a> Pair<'a> {
    /// Returns the value, escapes resolved.
    pub(crate) fn value(&self) -> Cow<'a, [u8]> {
        if self.has_escapes { resolve(self.value).unwrap_or_default() } else { Cow::Borrowed(self.value) }
    }
}

/// Reads the pairs of a line.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Describes a fault at the present place.
    pub(crate) fn details(&self, fault: &str) -> String {
        format!("logfmt syntax error at pos {} : {fault}", self.at + 1)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over bytes and returns them.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Passes over the rest of a faulty pair.
    pub(crate) fn skip_pair(&mut self) {
        self.take_while(|byte| byte > b' ');
    }

    /// Reads the next pair; a fault leaves the reader at the byte to blame.
    pub(crate) fn pair(&mut self) -> Option<Result<Pair<'a>, &'static str>> {
        while self.peek()? <= b' ' {
            self.at += 1;
        }
        Some(self.key_and_value())
    }

    fn key_and_value(&mut self) -> Result<Pair<'a>, &'static str> {
        let key = self.take_while(is_plain);
        match self.peek() {
            Some(b'"') => return Err(UNEXPECTED_QUOTE),
            Some(b'=') if key.is_empty() => return Err(UNEXPECTED_EQUAL),
            _ => {}
        }
        if !key.is_ascii() && String::from_utf8_lossy(key).contains('\u{fffd}') {
            return Err(INVALID_KEY);
        }
        if self.peek() != Some(b'=') {
            return Ok(Pair { key, value: &[], has_escapes: false });
        }
        self.at += 1;
        if self.peek() == Some(b'"') {
            return self.quoted(key);
        }
        let value = self.take_while(is_plain);
        match self.peek() {
            Some(b'=') => Err(UNEXPECTED_EQUAL),
            Some(b'"') => Err(UNEXPECTED_QUOTE),
            _ => Ok(Pair { key, value, has_escapes: false }),
        }
    }

    /// Reads a value at its opening quote; text may follow the closing one at once.
    fn quoted(&mut self, key: &'a [u8]) -> Result<Pair<'a>, &'static str> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let Some(length) = string_end(rest) else {
            self.at = self.bytes.len();
            return Err(UNTERMINATED);
        };
        let value = rest.get(..length).unwrap_or_default();
        self.at += length + 2;
        let has_escapes = value.contains(&b'\\');
        if has_escapes && !escapes_are_valid(value) {
            return Err(INVALID_QUOTED);
        }
        Ok(Pair { key, value, has_escapes })
    }
}

/// Returns whether a byte may stand in a key or in a value without quotes.
fn is_plain(byte: u8) -> bool {
    PLAIN.get(byte as usize).is_some_and(|plain| *plain)
}

const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'=' as usize] = false;
    plain[b'"' as usize] = false;
    plain
};

/// Returns whether [`resolve`] gives something.
fn escapes_are_valid(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(found) = memchr::memchr(b'\\', rest) {
        let Some((escape, after)) = rest.get(found + 1..).and_then(<[u8]>::split_first) else { return false };
        rest = match escape {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'\'' => after,
            b'u' => match unicode_escape(after) {
                Some((_, after)) => after,
                None => return false,
            },
            _ => return false,
        };
    }
    true
}

/// Resolves the escapes of JSON and `\'`.
fn resolve(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memmem::find(text, b"\\'").is_none() {
        return unescape(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, byte == b'\\') {
            (_, false) => plain.push(byte),
            (_, true) => match bytes.next()? {
                b'\'' => plain.push(b'\''),
                other => plain.extend([b'\\', other]),
            },
        }
    }
    unescape(&plain).map(|value| Cow::Owned(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn check_with(strict: bool, keep_empty: bool, line: &[u8], expect: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "x")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        Logfmt::new(strict, keep_empty, Hints::everything()).parse(line, &mut labels);
        let (_, _, parsed) = labels.split(&base);
        assert_eq!(parsed.to_string(), expect, "{}", String::from_utf8_lossy(line));
    }

    fn check(line: &str, expect: &str) {
        check_with(false, false, line.as_bytes(), expect);
    }

    #[test]
    fn pairs() {
        check(r#"a=b c="d e" f g= a=z"#, r#"{a="b", c="d e"}"#);
        check("a=b=c d=e", r#"{d="e"}"#);
        check("msg=hello world", r#"{msg="hello"}"#);
        check("a=b,c=d", "{}");
        check("a='x y'", r#"{a="'x"}"#);
        check(r#"a="x"y=1"#, r#"{a="x", y="1"}"#);
        check(r#"a="x\n\"\'\u00e9" b="\q" c=1"#, r#"{a="x\n\"'é", c="1"}"#);
        check(r#"a=1 b="open c=2"#, r#"{a="1"}"#);
        check("app=2 a.b=3 9=4", r#"{_9="4", a_b="3", app_extracted="2"}"#);
        check_with(false, false, b"\xff=1 b=x\xff", r#"{b="x "}"#);
        check_with(false, true, b"a= b", r#"{a="", b=""}"#);
    }

    #[test]
    fn escapes_are_valid_if_they_can_be_resolved() {
        for text in [
            r"a",
            r"\n\\x",
            r"\'",
            r"\\'",
            r"\q",
            r"\u00e9",
            r"\ud83d\ude00",
            r"\ud83d",
            r"\u00",
            r"\",
            r"\'\ud83d\'",
            r"a\\\'",
        ] {
            assert_eq!(escapes_are_valid(text.as_bytes()), resolve(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn strict_stops_at_the_fault() {
        let fault = |labels: &str, at: usize, text: &str| {
            let text = logyard_logql::quoted(&format!("logfmt syntax error at pos {at} : {text}"));
            format!("{{__error__=\"LogfmtParserErr\", __error_details__={text}{labels}}}")
        };
        check_with(true, false, b"a=1 b=c=d e=f", &fault(r#", a="1""#, 8, "unexpected '='"));
        check_with(true, false, b"=x", &fault("", 1, "unexpected '='"));
        check_with(true, false, b"a\"b", &fault("", 2, "unexpected '\"'"));
        check_with(true, false, b"a=1", r#"{a="1"}"#);
    }
}
