//! `json` without paths: every leaf of an object becomes a label.
//!
//! Read in document order, leniently: what was found before a fault stays, and what follows the
//! closing brace is ignored (Loki v3.7.6). Nesting is bounded.

use crate::bytes_scan::{find_any, find_quote, is_name, is_name_byte};
use crate::labels::Labels;
use crate::stage_parse::{Hints, label_value, sanitise};
pub(crate) use logyard_template::{unescape, unicode_escape};
use std::borrow::Cow;

pub(crate) const JSON_ERROR: &str = "JSONParserErr";
pub(crate) const NO_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
pub(crate) const MALFORMED: &str = "Malformed JSON error";
pub(crate) const NO_ARRAY_END: &str = "Value is array, but can't find closing ']' symbol";
pub(crate) const NO_STRING_END: &str = "Value is string, but can't find closing '\"' symbol";
pub(crate) const NO_VALUE_END: &str =
    "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
pub(crate) const UNKNOWN_VALUE: &str = "Unknown value type";

/// Deepest nesting; deeper lines are malformed.
const DEPTH_MAX: usize = 128;

/// Why reading ended before the end of the object.
enum Stop {
    Fault(&'static str),
    Satisfied,
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Json {
    hints: Hints,
}

impl Json {
    pub(crate) fn new(hints: Hints) -> Self {
        Self { hints }
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        self.read(line, labels, None);
    }

    /// Parses, and adds for each label that is set its name and the keys that lead to its value.
    pub(crate) fn parse_with_paths(&self, line: &[u8], labels: &mut Labels<'_>, paths: &mut Vec<LabelPath>) {
        self.read(line, labels, Some(Trail { keys: Vec::new(), paths }));
    }

    fn read(&self, line: &[u8], labels: &mut Labels<'_>, trail: Option<Trail<'_>>) {
        if self.hints.nothing_needed() {
            return;
        }
        let mut reader = Reader {
            bytes: line,
            at: 0,
            hints: &self.hints,
            labels,
            path: String::new(),
            whole_until: 0,
            odd: false,
            trail,
        };
        if let Err(Stop::Fault(details)) = reader.object(0, true) {
            labels.set_parser_error(JSON_ERROR, details, self.hints.preserves_errors());
        }
    }
}

/// The name of a label, and the keys that lead to its value.
pub(crate) type LabelPath = (String, Vec<String>);

/// The keys around the present one as they are in the line, and what has been found.
struct Trail<'b> {
    keys: Vec<String>,
    paths: &'b mut Vec<LabelPath>,
}

struct Reader<'a, 'b, 'c> {
    bytes: &'a [u8],
    at: usize,
    hints: &'b Hints,
    labels: &'b mut Labels<'c>,
    /// The names around the present one, joined by `_`.
    path: String,
    /// Objects that begin before here are known to have an end.
    whole_until: usize,
    /// Whether a number was seen that holds a bracket or quote: a search for the end of an object takes
    /// those for real ones.
    odd: bool,
    trail: Option<Trail<'b>>,
}

impl<'a> Reader<'a, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks; returns the next byte, or the fault if there is none.
    fn token(&mut self, fault: &'static str) -> Result<u8, Stop> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(byte),
                None => return Err(Stop::Fault(fault)),
            }
        }
    }

    /// Reads an object; `wanted` says whether anything in it may be looked at, otherwise it is read for
    /// its faults alone.
    fn object(&mut self, depth: usize, wanted: bool) -> Result<(), Stop> {
        if self.token(NO_OBJECT)? != b'{' {
            return Err(Stop::Fault(NO_OBJECT));
        }
        if depth >= DEPTH_MAX {
            return Err(Stop::Fault(MALFORMED));
        }
        self.at += 1;
        self.token(MALFORMED)?;
        loop {
            match self.peek() {
                Some(b'"') => {}
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Fault(NO_OBJECT)),
            }
            let key = self.key()?;
            if self.token(MALFORMED)? != b':' {
                return Err(Stop::Fault(MALFORMED));
            }
            self.at += 1;
            if wanted {
                self.member(&key, depth)?;
            } else {
                self.value(depth, false)?;
            }
            match self.token(NO_ARRAY_END)? {
                b'}' => {}
                b',' => {
                    self.at += 1;
                    self.token(NO_ARRAY_END)?;
                }
                _ => return Err(Stop::Fault(NO_OBJECT)),
            }
        }
    }

    /// Reads a key at its opening quote.
    fn key(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        // Most keys are names: one look at each byte finds both that and the end.
        let length = rest.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(rest.len());
        if rest.get(length) == Some(&b'"') {
            self.at += length + 2;
            return Ok(Cow::Borrowed(rest.get(..length).unwrap_or_default()));
        }
        let key = self.string(MALFORMED)?;
        unescape(key).ok_or(Stop::Fault(MALFORMED))
    }

    /// Reads the value behind a key.
    fn member(&mut self, key: &[u8], depth: usize) -> Result<(), Stop> {
        // At the top a name that nobody looks at, nor at anything below it, need not become a path.
        if self.path.is_empty() && is_name(key) && !self.hints.wants_below(key) {
            return self.value(depth, false);
        }
        let before = self.path.len();
        self.enter(key);
        if let Some(trail) = &mut self.trail {
            trail.keys.push(String::from_utf8_lossy(key).into_owned());
        }
        let wanted = self.hints.wants_below(self.path.as_bytes());
        self.value(depth, wanted)?;
        if let Some(trail) = &mut self.trail {
            trail.keys.pop();
        }
        self.path.truncate(before);
        Ok(())
    }

    /// Adds a name to the path; blank ones leave it as it is.
    fn enter(&mut self, key: &[u8]) {
        let key = String::from_utf8_lossy(key);
        let part = sanitise(&key);
        if part.is_empty() {
            return;
        }
        if !self.path.is_empty() || part.starts_with(|c: char| c.is_ascii_digit()) {
            self.path.push('_');
        }
        self.path.push_str(&part);
    }

    fn value(&mut self, depth: usize, wanted: bool) -> Result<(), Stop> {
        match self.token(MALFORMED)? {
            b'"' => {
                let text = self.string(NO_STRING_END)?;
                if !wanted || self.path.is_empty() {
                    return Ok(());
                }
                // What cannot be unescaped is empty.
                let text = unescape(text).unwrap_or_default();
                self.leaf(&text)
            }
            b'{' => self.inner_object(depth + 1, wanted),
            b'[' => {
                self.at += block_end(self.rest(), b'[', b']').ok_or(Stop::Fault(NO_ARRAY_END))?;
                Ok(())
            }
            first => self.plain(first, wanted),
        }
    }

    /// Reads an object inside another; one without an end gives nothing.
    fn inner_object(&mut self, depth: usize, wanted: bool) -> Result<(), Stop> {
        let (start, text) = (self.at, self.rest());
        let whole = || block_end(text, b'{', b'}').ok_or(Stop::Fault(NO_OBJECT));
        if wanted {
            if start >= self.whole_until || self.odd {
                self.whole_until = start + whole()?;
            }
            return self.object(depth, true);
        }
        // Nothing is taken from it, so that its end matters only to tell what is wrong.
        match self.object(depth, false) {
            Err(Stop::Fault(fault)) => whole().and(Err(Stop::Fault(fault))),
            Ok(()) if self.odd => whole().map(|_| ()),
            read => read,
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn plain(&mut self, first: u8, wanted: bool) -> Result<(), Stop> {
        let rest = self.rest();
        let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
        let length = rest.iter().position(is_end).ok_or(Stop::Fault(NO_VALUE_END))?;
        let text = rest.get(..length).unwrap_or_default();
        self.at += length;
        self.odd |= text.iter().any(|b| matches!(b, b'"' | b'{' | b'['));
        match (first, text) {
            (_, b"null") => Ok(()),
            (_, b"true" | b"false") | (b'-' | b'0'..=b'9', _) if !wanted => Ok(()),
            (_, b"true" | b"false") | (b'-' | b'0'..=b'9', _) => self.leaf(text),
            _ => Err(Stop::Fault(UNKNOWN_VALUE)),
        }
    }

    fn leaf(&mut self, value: &[u8]) -> Result<(), Stop> {
        if self.path.is_empty() || !self.hints.wants(&self.path) {
            return Ok(());
        }
        if let Some(trail) = &mut self.trail {
            let name = self.labels.free_name(&self.path).into_owned();
            trail.paths.push((name, trail.keys.clone()));
        }
        self.labels.extract(&self.path, &label_value(value));
        if self.hints.is_satisfied(self.labels) { Err(Stop::Satisfied) } else { Ok(()) }
    }

    /// Reads a string at its opening quote; returns what is between the quotes.
    fn string(&mut self, fault: &'static str) -> Result<&'a [u8], Stop> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let length = string_end(rest).ok_or(Stop::Fault(fault))?;
        self.at += length + 2;
        Ok(rest.get(..length).unwrap_or_default())
    }
}

/// Returns the length of a string until its closing quote.
pub(crate) fn string_end(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + find_quote(text.get(from..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found);
        }
        from = found + 2;
    }
}

/// Returns the length of an object or array, its brackets included; strings may hold any bracket.
pub(crate) fn block_end(text: &[u8], open: u8, close: u8) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        at += find_any(text.get(at..)?, [b'"', open, close])?;
        let byte = *text.get(at)?;
        at += 1;
        if byte == b'"' {
            at += string_end(text.get(at..)?)? + 1;
        } else if byte == open {
            depth += 1;
        } else {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::Grouping;
    use logyard_model::LabelSet;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Checks the labels beside those of the stream, `app="a"`.
    fn check(line: &str, expect: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::from_pairs([("foo", "m")])));
        let mut labels = Labels::new(&base);
        Json::new(Hints::everything()).parse(line.as_bytes(), &mut labels);
        let (_, _, parsed) = labels.split(&base);
        assert_eq!(parsed.to_string(), expect, "{line}");
    }

    fn fault(labels: &str, details: &str) -> String {
        let mut set =
            format!("{{__error__=\"JSONParserErr\", __error_details__={}", logyard_logql::quoted(details));
        if !labels.is_empty() {
            set = format!("{set}, {labels}");
        }
        set + "}"
    }

    #[test]
    fn leaves() {
        check(
            r#"{"n":1.50,"t":true,"z":null,"r":[1],"o":{"p":{"q":"r"}},"9x":"d","a-b":"1","a_b":"2","e":""}"#,
            r#"{_9x="d", a_b="1", e="", n="1.50", o_p_q="r", t="true"}"#,
        );
        check(r#"{"app":"dup","foo":"p"}"#, r#"{app_extracted="dup", foo_extracted="p"}"#);
        check(r#"{"o":{"":"x"," ":"z","1":"y"},"":"w"}"#, r#"{o="x", o_1="y"}"#);
        check(r#"{"o":{"a":"x"},"o_a":"y"}"#, r#"{o_a="x"}"#);
        check(r#"{"__error__":"mine"}"#, r#"{__error___extracted="mine"}"#);
        check(r#"  {"a":"b",} tail"#, r#"{a="b"}"#);
        check("{}", "{}");
        check(r#"{"a":[{"b":"]"}],"c":"d"}"#, r#"{c="d"}"#);
    }

    #[test]
    fn strings() {
        check(r#"{"a":"x\n\u00e9\ud83d\ude00\/\"","b":"\ud83d","c":"\q"}"#, r#"{a="x\né😀/\"", b="", c=""}"#);
        check("{\"a\":\"x\u{fffd}y\"}", r#"{a="x y"}"#);
    }

    #[test]
    fn faults() {
        for line in ["[1]", "\"s\"", "123", "", "bad"] {
            check(line, &fault("", NO_OBJECT));
        }
        check(r#"{"a":"b","c":bad}"#, &fault(r#"a="b""#, UNKNOWN_VALUE));
        check(r#"{"a":"b" "c":"d"}"#, &fault(r#"a="b""#, NO_OBJECT));
        check(r#"{"a":"b""#, &fault(r#"a="b""#, NO_ARRAY_END));
        check(r#"{"a":"b","c":{"d":"e""#, &fault(r#"a="b""#, NO_OBJECT));
        check(r#"{"a":"b","c":"d"#, &fault(r#"a="b""#, NO_STRING_END));
        check(r#"{"a":1"#, &fault("", NO_VALUE_END));
        check(r#"{"a" 1}"#, &fault("", MALFORMED));
        check(r#"{"c":{"d":{"e":oops}},"a":"b""#, &fault("", UNKNOWN_VALUE));
        check(r#"{"c":{"d":1"2},"a":"b"}"#, &fault("", NO_OBJECT));
        check(&format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000)), &fault("", MALFORMED));
    }

    /// Pieces of lines, right and wrong.
    fn line() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\""),
            Just("\\"),
            Just(" "),
            Just("\"a\":"),
            Just("\"b-c\":{"),
            Just("\"b\":{"),
            Just("\"\":{"),
            Just("},"),
            Just("\"x\","),
            Just("1,"),
            Just("true,"),
            Just("null"),
            Just("1\"2"),
            Just("oops"),
            Just("\\u0061"),
            Just("\"9\":\"v\""),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| format!("{{{}", pieces.concat()))
    }

    proptest! {
        /// What is looked at decides which labels are set, not what is wrong with the line.
        #[test]
        fn faults_do_not_depend_on_what_is_looked_at(line in line()) {
            let base = Base::new(&Arc::default(), "", &Arc::default());
            let parse = |hints: Hints| {
                let mut labels = Labels::new(&base);
                Json::new(hints).parse(line.as_bytes(), &mut labels);
                labels
            };
            let by = Grouping { without: false, labels: vec!["b_c_a".to_owned(), "nowhere".to_owned()] };
            let some = parse(Hints::new(std::iter::empty(), (None, None), Some(&by)));
            let all = parse(Hints::everything());
            prop_assert_eq!((some.error, &some.error_details), (all.error, &all.error_details));
            prop_assert_eq!(some.get("b_c_a"), all.get("b_c_a"));
        }
    }
}
