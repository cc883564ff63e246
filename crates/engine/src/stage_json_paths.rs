//! `json` with paths: the listed places of a document become labels.
//!
//! The document is walked once, along the listed paths only, and leniently: where it is garbled,
//! walking ends, and what was found stays; only a value that is itself wanted gives an error. Of equal
//! keys the first counts. What no label has afterwards is set to the empty text (Loki v3.7.6).

use crate::labels::Labels;
use crate::stage_json::{
    JSON_ERROR, NO_ARRAY_END, NO_OBJECT, NO_STRING_END, UNKNOWN_VALUE, block_end, string_end, unescape,
};
use crate::stage_parse::{Hints, label_value};
use logyard_logql::Extraction;
use std::borrow::Cow;

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

/// The stage.
#[derive(Debug)]
pub(crate) struct JsonPaths {
    labels: Vec<String>,
    paths: Vec<Vec<Segment>>,
    hints: Hints,
}

impl JsonPaths {
    pub(crate) fn compile(extractions: &[Extraction], hints: Hints) -> Result<Self, String> {
        let paths = extractions.iter().map(|one| parse_path(&one.source)).collect::<Result<_, _>>()?;
        Ok(Self { labels: extractions.iter().map(|one| one.label.clone()).collect(), paths, hints })
    }

    pub(crate) fn parse(&self, line: &[u8], labels: &mut Labels<'_>) {
        let Some(first) = line.first() else { return };
        if self.hints.nothing_needed() {
            return;
        }
        if !matches!(first, b'"' | b'{' | b'[') {
            labels.set_parser_error(JSON_ERROR, "", self.hints.preserves_errors());
            return;
        }
        let mut walk = Walk { bytes: line, at: 0, found: vec![None; self.paths.len()], fault: None };
        let wanted: Vec<_> = self.paths.iter().map(Vec::as_slice).enumerate().collect();
        // `None` says that the rest is garbled: nothing more to be found.
        let _: Option<()> = walk.value(&wanted);
        if let Some(fault) = walk.fault {
            labels.set_parser_error(JSON_ERROR, fault, self.hints.preserves_errors());
        }
        for (label, value) in self.labels.iter().zip(&walk.found) {
            if let Some(value) = value {
                let name = labels.free_name(label);
                labels.overwrite(&name, &label_value(value));
            }
        }
        for (label, value) in self.labels.iter().zip(&walk.found) {
            if value.is_none() && labels.get(label).is_none() {
                labels.overwrite(label, "");
            }
        }
    }
}

/// What is still wanted at a place: the number of a path and its remaining segments.
type Wanted<'p> = [(usize, &'p [Segment])];

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Vec<Option<Cow<'a, [u8]>>>,
    /// What is wrong with a value that is wanted.
    fault: Option<&'static str>,
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks and returns the next byte.
    fn token(&mut self) -> Option<u8> {
        let blanks = self.rest().iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += blanks;
        self.rest().first().copied()
    }

    /// Reads a value and finds in it what is wanted; recursion is as deep as the longest path.
    fn value(&mut self, wanted: &Wanted<'_>) -> Option<()> {
        let first = self.token()?;
        let (here, deeper): (Vec<_>, Vec<_>) = wanted.iter().partition(|(_, path)| path.is_empty());
        let start = self.at;
        if !deeper.is_empty() && here.is_empty() {
            match first {
                b'{' => return self.object(&deeper),
                b'[' => return self.array(&deeper),
                _ => {}
            }
        }
        let raw = self.raw(first);
        if here.is_empty() {
            return raw.map(|_| ());
        }
        let Some(raw) = raw else {
            self.fault = Some(match first {
                b'"' => NO_STRING_END,
                b'{' => NO_OBJECT,
                b'[' => NO_ARRAY_END,
                _ => UNKNOWN_VALUE,
            });
            // What is wanted inside may lie before the place where the line is cut off.
            if matches!(first, b'{' | b'[') && !deeper.is_empty() {
                self.at = start;
                return self.value(&deeper);
            }
            return None;
        };
        let value = match first {
            b'"' => {
                let text = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
                unescape(text).unwrap_or_default()
            }
            _ if raw == b"null" => Cow::Borrowed(&[][..]),
            _ => Cow::Borrowed(raw),
        };
        for (index, _) in &here {
            if let Some(found @ None) = self.found.get_mut(*index) {
                *found = Some(value.clone());
            }
        }
        if matches!(first, b'{' | b'[') && !deeper.is_empty() {
            self.at = start;
            return self.value(&deeper);
        }
        Some(())
    }

    /// Passes over a value at its first byte and returns its text.
    fn raw(&mut self, first: u8) -> Option<&'a [u8]> {
        let rest = self.rest();
        let length = match first {
            b'"' => string_end(rest.get(1..)?)? + 2,
            b'{' => block_end(rest, b'{', b'}')?,
            b'[' => block_end(rest, b'[', b']')?,
            _ => {
                let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
                let length = rest.iter().position(is_end)?;
                let text = rest.get(..length)?;
                let known = matches!(text, b"true" | b"false" | b"null")
                    || matches!(first, b'-' | b'0'..=b'9') && !text.is_empty();
                known.then_some(length)?
            }
        };
        self.at += length;
        rest.get(..length)
    }

    fn object(&mut self, wanted: &Wanted<'_>) -> Option<()> {
        self.at += 1;
        let mut seen: Vec<usize> = Vec::new();
        loop {
            match self.token()? {
                b'"' => {}
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
            let raw = self.raw(b'"')?;
            let key = unescape(raw.get(1..raw.len().saturating_sub(1))?)?;
            if self.token()? != b':' {
                return None;
            }
            self.at += 1;
            let mut inner = Vec::new();
            for (index, path) in wanted {
                if let Some((Segment::Key(name), rest)) = path.split_first()
                    && name.as_bytes() == &*key
                    && !seen.contains(index)
                {
                    seen.push(*index);
                    inner.push((*index, rest));
                }
            }
            self.value(&inner)?;
            if self.token()? == b',' {
                self.at += 1;
            }
        }
    }

    fn array(&mut self, wanted: &Wanted<'_>) -> Option<()> {
        self.at += 1;
        for position in 0.. {
            if self.token()? == b']' {
                break;
            }
            let element = wanted.iter().filter_map(|(index, path)| match path.split_first() {
                Some((Segment::Index(place), rest)) if *place == position => Some((*index, rest)),
                _ => None,
            });
            let inner: Vec<_> = element.collect();
            self.value(&inner)?;
            match self.token()? {
                b',' => self.at += 1,
                b']' => {}
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }
}

/// Reads a path such as `a.b["any key"][0]`.
fn parse_path(path: &str) -> Result<Vec<Segment>, String> {
    let fault = |found: &str, expecting: &str| {
        Err(format!(
            "cannot parse expression [{path}]: syntax error: unexpected {found}, expecting {expecting}"
        ))
    };
    let mut rest = path.trim_start_matches(BLANKS);
    let mut segments = Vec::new();
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            let inside = inside.trim_start_matches(BLANKS);
            let (segment, after) = if let Some(quoted) = inside.strip_prefix('"') {
                match quoted.split_once('"') {
                    Some((key, after)) if !key.contains(']') => (Segment::Key(key.to_owned()), after),
                    _ => return fault(&next_word(inside), "STRING or INDEX"),
                }
            } else {
                let digits = inside.len() - inside.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let (number, after) = inside.split_at(digits);
                match number.parse() {
                    Ok(index) => (Segment::Index(index), after),
                    Err(_) => return fault(&next_word(inside), "STRING or INDEX"),
                }
            };
            let after = after.trim_start_matches(BLANKS);
            let Some(after) = after.strip_prefix(']') else { return fault(&next_word(after), "RSB") };
            segments.push(segment);
            rest = after;
        } else {
            let (name, after) = rest.split_at(name_length(rest));
            if name.is_empty() {
                let first = segments.is_empty();
                return fault(&next_word(rest), if first { "LSB or FIELD" } else { "FIELD" });
            }
            segments.push(Segment::Key(name.to_owned()));
            rest = after;
        }
        rest = rest.trim_start_matches(BLANKS);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after.trim_start_matches(BLANKS);
            if rest.starts_with('[') {
                return fault("LSB", "FIELD");
            }
        } else if rest.is_empty() {
            return Ok(segments);
        } else if !rest.starts_with('[') {
            return fault(&next_word(rest), "$end or LSB or DOT");
        }
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

fn name_length(text: &str) -> usize {
    let is_start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let length = text.len() - text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
    if is_start { length } else { 0 }
}

/// Names the next word of a path as its grammar does.
fn next_word(text: &str) -> String {
    let name = match text.chars().next() {
        None => "$end",
        Some('.') => "DOT",
        Some('[') => "LSB",
        Some(']') => "RSB",
        Some('"') => "STRING",
        Some(c) if c.is_ascii_digit() => "INDEX",
        Some(_) if name_length(text) > 0 => "FIELD",
        // What no path can hold ends it.
        Some(_) => "$end",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    fn compile(paths: &str) -> Result<JsonPaths, String> {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | json {paths}")).unwrap() else {
            panic!("{paths}")
        };
        let StageKind::Json(extractions) = &log.stages[0].kind else { panic!("{paths}") };
        JsonPaths::compile(extractions, Hints::everything())
    }

    /// Checks the labels beside those of the stream, `app="a"`, and of metadata, `sm="m"`.
    fn check(paths: &str, line: &str, expect: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::from_pairs([("sm", "m")])));
        let mut labels = Labels::new(&base);
        compile(paths).unwrap().parse(line.as_bytes(), &mut labels);
        let (_, _, parsed) = labels.split(&base);
        assert_eq!(parsed.to_string(), expect, "{paths} on {line}");
    }

    #[test]
    fn places() {
        let line = r#"{"o":{"p":1,"q":null,"r r":true},"arr":["v",[2,"w"]],"e":"x\ny"}"#;
        check(r#"x="o.p", y="arr[0]", z="nope""#, line, r#"{x="1", y="v", z=""}"#);
        check(r#"x="o.q", y="arr[1][1]", z="[\"o\"][\"r r\"]""#, line, r#"{x="", y="w", z="true"}"#);
        check(
            r#"o, arr, e"#,
            line,
            r#"{arr="[\"v\",[2,\"w\"]]", e="x\ny", o="{\"p\":1,\"q\":null,\"r r\":true}"}"#,
        );
        check(r#"o, p="o.p""#, r#"{"o":{"p":1}}"#, r#"{o="{\"p\":1}", p="1"}"#);
        check(r#"x="[1].a""#, r#"[0,{"a":5}]"#, r#"{x="5"}"#);
        check(r#"a, b="a""#, r#"{"a":1,"a":2}"#, r#"{a="1", b="1"}"#);
        check(r#"x="a", x="b""#, r#"{"b":2,"a":1}"#, r#"{x="2"}"#);
    }

    #[test]
    fn names_that_are_taken() {
        check("app, sm", r#"{"app":"x","sm":"y"}"#, r#"{app_extracted="x", sm_extracted="y"}"#);
        check("app, sm", "{}", "{}");
    }

    #[test]
    fn arrays_and_objects_stay_as_they_are() {
        check("x=\"arr\"", r#"{"arr":["a\nb"]}"#, r#"{x="[\"a\\nb\"]"}"#);
    }

    #[test]
    fn lenient() {
        let error = r#"{__error__="JSONParserErr"}"#;
        check(r#"x="a""#, r#"  {"a":1}"#, error);
        check(r#"x="a""#, "bad", error);
        check(r#"x="a""#, "", "{}");
        check(r#"x="a""#, r#"{"a":"b""#, r#"{x="b"}"#);
        check(r#"x="a", y="c""#, r#"{"a":"b", "b":oops, "c":1}"#, r#"{x="b", y=""}"#);
        let fault = |details: &str| {
            let details = logyard_logql::quoted(details);
            format!("{{__error__=\"JSONParserErr\", __error_details__={details}, x=\"\"}}")
        };
        check(r#"x="a""#, r#"{"a":"unterminated"#, &fault(NO_STRING_END));
        check(r#"x="a""#, r#"{"a":bad}"#, &fault(UNKNOWN_VALUE));
        let inside = fault(NO_OBJECT).replace(r#"x="""#, r#"x="", y="1""#);
        check(r#"x="a", y="a.b""#, r#"{"a":{"b":1,"#, &inside);
        check(r#"x="a.b""#, r#"{"a":"b"}"#, r#"{x=""}"#);
        check(r#"x="a""#, "\"s\"", r#"{x=""}"#);
    }

    #[test]
    fn refused() {
        for (path, fault) in [
            ("y..z", "unexpected DOT, expecting FIELD"),
            ("a[b]", "unexpected FIELD, expecting STRING or INDEX"),
            ("a b", "unexpected FIELD, expecting $end or LSB or DOT"),
            ("a.[0]", "unexpected LSB, expecting FIELD"),
            ("", "unexpected $end, expecting LSB or FIELD"),
            ("$", "unexpected $end, expecting LSB or FIELD"),
            ("a[-1]", "unexpected $end, expecting STRING or INDEX"),
        ] {
            let error = compile(&format!("x={}", logyard_logql::quoted(path))).unwrap_err();
            assert_eq!(error, format!("cannot parse expression [{path}]: syntax error: {fault}"));
        }
    }
}
