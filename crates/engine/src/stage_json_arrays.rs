//! `json --arrays`: every leaf of a line, those in arrays included, becomes a label.
//!
//! Reads as `json` does: in document order, leniently, keeping what was found before a fault. An element
//! is named after its array and its place in it, from 0; the line itself may be an array. Elements are
//! bounded for each line, since a label costs more than its text.

use crate::labels::Labels;
use crate::stage_json::{
    JSON_ERROR, MALFORMED, NO_ARRAY_END, NO_OBJECT, NO_STRING_END, NO_VALUE_END, UNKNOWN_VALUE, string_end,
    unescape,
};
use crate::stage_parse::{Hints, label_value, sanitise};

/// Deepest nesting; deeper lines are malformed.
const DEPTH_MAX: usize = 128;

/// Most elements of all arrays of a line.
const ELEMENTS_MAX: usize = 256;
const TOO_MANY: &str = "more than 256 elements in arrays: the rest of the line is left out";

/// Why reading ended before the end of the line.
enum Stop {
    Fault(&'static str),
    Satisfied,
}

/// The stage.
#[derive(Debug)]
pub(crate) struct JsonArrays {
    hints: Hints,
}

impl JsonArrays {
    pub(crate) fn new(hints: Hints) -> Self {
        Self { hints }
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        if self.hints.nothing_needed() {
            return;
        }
        let path = String::new();
        let mut reader = Reader { bytes: line, at: 0, hints: &self.hints, labels, path, elements: 0 };
        if let Err(Stop::Fault(details)) = reader.document() {
            labels.set_parser_error(JSON_ERROR, details, self.hints.preserves_errors());
        }
    }
}

struct Reader<'a, 'b, 'c> {
    bytes: &'a [u8],
    at: usize,
    hints: &'b Hints,
    labels: &'b mut Labels<'c>,
    /// The names and places around the present one, joined by `_`.
    path: String,
    elements: usize,
}

impl<'a> Reader<'a, '_, '_> {
    fn document(&mut self) -> Result<(), Stop> {
        match self.token(NO_OBJECT)? {
            b'{' => self.object(0),
            b'[' => self.array(0),
            _ => Err(Stop::Fault(NO_OBJECT)),
        }
    }

    /// Skips blanks; returns the next byte, or the fault if there is none.
    fn token(&mut self, fault: &'static str) -> Result<u8, Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let blank = rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t'));
        self.at += blank.ok_or(Stop::Fault(fault))?;
        self.bytes.get(self.at).copied().ok_or(Stop::Fault(fault))
    }

    /// Reads what stands at a bracket until the other one; `read` reads an item.
    fn items(
        &mut self,
        (depth, close, fault): (usize, u8, &'static str),
        mut read: impl FnMut(&mut Self, u8) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if depth >= DEPTH_MAX {
            return Err(Stop::Fault(MALFORMED));
        }
        self.at += 1;
        loop {
            let first = self.token(fault)?;
            // A comma may come last.
            if first == close {
                self.at += 1;
                return Ok(());
            }
            let before = self.path.len();
            read(self, first)?;
            self.path.truncate(before);
            match self.token(fault)? {
                b',' => self.at += 1,
                byte if byte == close => {}
                _ => return Err(Stop::Fault(fault)),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Stop> {
        self.items((depth, b'}', NO_OBJECT), |reader, first| {
            if first != b'"' {
                return Err(Stop::Fault(NO_OBJECT));
            }
            let key = unescape(reader.string(MALFORMED)?).ok_or(Stop::Fault(MALFORMED))?;
            if reader.token(MALFORMED)? != b':' {
                return Err(Stop::Fault(MALFORMED));
            }
            reader.at += 1;
            reader.enter(&sanitise(&String::from_utf8_lossy(&key)));
            reader.value(depth)
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), Stop> {
        let mut place = 0_usize;
        self.items((depth, b']', NO_ARRAY_END), |reader, _| {
            reader.elements += 1;
            if reader.elements > ELEMENTS_MAX {
                return Err(Stop::Fault(TOO_MANY));
            }
            reader.enter(&place.to_string());
            place += 1;
            reader.value(depth)
        })
    }

    /// Adds a name or a place to the path; blank ones leave it as it is.
    fn enter(&mut self, part: &str) {
        if part.is_empty() {
            return;
        }
        if !self.path.is_empty() || part.starts_with(|c: char| c.is_ascii_digit()) {
            self.path.push('_');
        }
        self.path.push_str(part);
    }

    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        match self.token(MALFORMED)? {
            b'"' => {
                let text = self.string(NO_STRING_END)?;
                // What cannot be unescaped is empty.
                let text = unescape(text).unwrap_or_default();
                self.leaf(&text)
            }
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            first => self.plain(first),
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn plain(&mut self, first: u8) -> Result<(), Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
        let length = rest.iter().position(is_end).ok_or(Stop::Fault(NO_VALUE_END))?;
        let text = rest.get(..length).unwrap_or_default();
        self.at += length;
        match (first, text) {
            (_, b"null") => Ok(()),
            (_, b"true" | b"false") | (b'-' | b'0'..=b'9', _) => self.leaf(text),
            _ => Err(Stop::Fault(UNKNOWN_VALUE)),
        }
    }

    fn leaf(&mut self, value: &[u8]) -> Result<(), Stop> {
        if self.path.is_empty() || !self.hints.wants(&self.path) {
            return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use crate::stage_json::Json;
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn labels_of(line: &str, parse: impl Fn(&[u8], &mut Labels<'_>)) -> String {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        parse(line.as_bytes(), &mut labels);
        labels.remove("app");
        labels.union().to_string()
    }

    fn check(line: &str, expect: &str) {
        let found = labels_of(line, |line, labels| JsonArrays::new(Hints::everything()).parse(line, labels));
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn elements_by_place() {
        check(
            r#"{"a":["x",1,null,true,{"b":"y"},[2,[3]]]}"#,
            r#"{a_0="x", a_1="1", a_3="true", a_4_b="y", a_5_0="2", a_5_1_0="3"}"#,
        );
        check(r#"[{"a":"x"},"y"]"#, r#"{_0_a="x", _1="y"}"#);
        check(r#"{"app":["x"],"9":[1], "" : [ 2 , ] }"#, r#"{_0="2", _9_0="1", app_0="x"}"#);
        check("[]", "{}");
    }

    #[test]
    fn without_arrays_it_is_json() {
        for line in [
            r#"{"n":1.50,"t":true,"z":null,"o":{"p":{"q":"r"}},"9x":"d","a-b":"1","a_b":"2","e":""}"#,
            r#"{"app":"dup"}"#,
            r#"{"a":"b",}"#,
            r#"{"a":"b"} tail"#,
            r#"{"a":"b","c":bad}"#,
            r#"{"o":{"":"x"," ":"z","1":"y"}}"#,
            r#"{"a":"b" "c":"d"}"#,
        ] {
            let plain = labels_of(line, |line, labels| Json::new(Hints::everything()).parse(line, labels));
            check(line, &plain);
        }
    }

    #[test]
    fn faults() {
        let fault = |labels: &str, details: &str| {
            format!(r#"{{{labels}__error__="JSONParserErr", __error_details__="{details}"}}"#)
        };
        check("12", &fault("", NO_OBJECT));
        check(r#"["x""#, &fault(r#"_0="x", "#, NO_ARRAY_END));
        check(r#"["x" "y"]"#, &fault(r#"_0="x", "#, NO_ARRAY_END));
        check(&"[".repeat(5000), &fault("", MALFORMED));
        let many = format!("[{}]", vec!["null"; 300].join(","));
        check(&many, &fault("", TOO_MANY));
        check(&format!("[{}]", vec!["null"; 256].join(",")), "{}");
    }
}
