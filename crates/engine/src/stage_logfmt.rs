//! `logfmt` without keys: every pair of a line becomes a label.
//!
//! Any byte up to the blank separates. Of a faulty pair nothing is taken, up to the next separator;
//! `--strict` stops there and notes the error (Loki v3.7.6).

use crate::labels::Labels;
use crate::stage_json::unescape;
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

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        if self.hints.nothing_needed() {
            return;
        }
        let mut reader = Reader::new(line);
        while let Some(pair) = reader.pair() {
            match pair {
                Ok((key, value)) => {
                    if value.is_empty() && !self.keep_empty {
                        continue;
                    }
                    let key = String::from_utf8_lossy(key);
                    let name = label_name(&key);
                    if name.is_empty() || !self.hints.wants(&name) {
                        continue;
                    }
                    labels.extract(&name, &label_value(&value));
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

/// A key and its value, quotes and escapes resolved.
pub(crate) type Pair<'a> = (&'a [u8], Cow<'a, [u8]>);

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

    fn skip_while(&mut self, wanted: fn(u8) -> bool) {
        while self.peek().is_some_and(wanted) {
            self.at += 1;
        }
    }

    /// Passes over the rest of a faulty pair.
    pub(crate) fn skip_pair(&mut self) {
        self.skip_while(|byte| byte > b' ');
    }

    /// Reads the next pair; a fault leaves the reader at the byte to blame.
    pub(crate) fn pair(&mut self) -> Option<Result<Pair<'a>, &'static str>> {
        self.skip_while(|byte| byte <= b' ');
        self.peek()?;
        Some(self.key_and_value())
    }

    fn key_and_value(&mut self) -> Result<Pair<'a>, &'static str> {
        let start = self.at;
        self.skip_while(|byte| byte > b' ' && byte != b'=' && byte != b'"');
        let key = self.bytes.get(start..self.at).unwrap_or_default();
        match self.peek() {
            Some(b'"') => return Err(UNEXPECTED_QUOTE),
            Some(b'=') if key.is_empty() => return Err(UNEXPECTED_EQUAL),
            _ => {}
        }
        if String::from_utf8_lossy(key).contains('\u{fffd}') {
            return Err(INVALID_KEY);
        }
        if self.peek() != Some(b'=') {
            return Ok((key, Cow::Borrowed(&[])));
        }
        self.at += 1;
        if self.peek() == Some(b'"') {
            return self.quoted().map(|value| (key, value));
        }
        let start = self.at;
        self.skip_while(|byte| byte > b' ' && byte != b'=' && byte != b'"');
        match self.peek() {
            Some(b'=') => Err(UNEXPECTED_EQUAL),
            Some(b'"') => Err(UNEXPECTED_QUOTE),
            _ => Ok((key, Cow::Borrowed(self.bytes.get(start..self.at).unwrap_or_default()))),
        }
    }

    /// Reads a value at its opening quote; text may follow the closing one at once.
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, &'static str> {
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            match self.bytes.get(at) {
                None => {
                    self.at = self.bytes.len();
                    return Err(UNTERMINATED);
                }
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        let text = self.bytes.get(start..at).unwrap_or_default();
        self.at = at + 1;
        if !escaped {
            return Ok(Cow::Borrowed(text));
        }
        resolve(text).ok_or(INVALID_QUOTED)
    }
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
