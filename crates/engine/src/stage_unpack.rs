//! `unpack`: labels and line of an entry that was packed into JSON.
//!
//! Only texts at the top of the object count, and only if one of them is `_entry`, which becomes the
//! line; otherwise the entry stays as it is (Loki v3.7.6).

use crate::labels::Labels;
use crate::stage_json::{
    JSON_ERROR, MALFORMED, NO_ARRAY_END, NO_OBJECT, NO_STRING_END, NO_VALUE_END, UNKNOWN_VALUE, block_end,
    string_end, unescape,
};
use crate::stage_parse::{Hints, label_name, label_value};
use std::borrow::Cow;

const EXPECTING_OBJECT: &str = "expecting json object(6), but it is not";
const ENTRY: &str = "_entry";

/// The stage.
#[derive(Debug)]
pub(crate) struct Unpack {
    hints: Hints,
}

impl Unpack {
    pub(crate) fn new(hints: Hints) -> Self {
        Self { hints }
    }

    /// Sets the labels; returns the line.
    pub(crate) fn apply<'a>(&self, line: Cow<'a, [u8]>, labels: &mut Labels<'_>) -> Cow<'a, [u8]> {
        if line.is_empty() || self.hints.nothing_needed() {
            return line;
        }
        let fault = |labels: &mut Labels<'_>, details: &str| {
            labels.set_parser_error(JSON_ERROR, details, self.hints.preserves_errors());
        };
        if line.first() != Some(&b'{') {
            fault(labels, EXPECTING_OBJECT);
            return line;
        }
        let texts = match texts(&line) {
            Ok(texts) => texts,
            Err(details) => {
                fault(labels, details);
                return line;
            }
        };
        let Some(entry) = texts.iter().rev().find(|(key, _)| *key == ENTRY) else { return line };
        let entry = entry.1.clone().into_owned();
        // Of equal keys the last counts, and parsers keep what they set first.
        for (key, value) in texts.iter().rev().filter(|(key, _)| *key != ENTRY) {
            // Whether a name is taken is decided by the key as it is, not as a label.
            let free = labels.free_name(key);
            let name = label_name(&free);
            if !name.is_empty() && self.hints.wants(&name) && !labels.is_extracted(&name) {
                labels.overwrite(&name, &label_value(value));
            }
        }
        Cow::Owned(entry)
    }
}

type Text<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// Returns the members of an object that are texts, escapes resolved; the faults are those of `json`.
fn texts(line: &[u8]) -> Result<Vec<Text<'_>>, &'static str> {
    let mut texts = Vec::new();
    let mut rest = skip_blanks(line.get(1..).unwrap_or_default());
    if rest.is_empty() {
        return Err(MALFORMED);
    }
    loop {
        // A comma before the brace is tolerated.
        if rest.first() == Some(&b'}') {
            return Ok(texts);
        }
        let key = rest.strip_prefix(b"\"").ok_or(NO_OBJECT)?;
        let length = string_end(key).ok_or(MALFORMED)?;
        let name = key.get(..length).and_then(unescape).ok_or(MALFORMED)?;
        let after = skip_blanks(key.get(length + 1..).unwrap_or_default());
        rest = skip_blanks(after.strip_prefix(b":").ok_or(MALFORMED)?);
        let length = value_length(rest)?;
        if let Some(text) = rest.strip_prefix(b"\"").and_then(|text| text.get(..length - 2)) {
            let name = String::from_utf8_lossy(&name).into_owned();
            // A label that cannot be unescaped is empty, as in `json`; a line that cannot is not lost.
            let value = match unescape(text) {
                None if name == ENTRY => return Err(MALFORMED),
                value => value.unwrap_or_default(),
            };
            texts.push((Cow::Owned(name), value));
        }
        rest = skip_blanks(rest.get(length..).unwrap_or_default());
        match rest.first().ok_or(NO_ARRAY_END)? {
            b'}' => return Ok(texts),
            b',' => rest = skip_blanks(rest.get(1..).unwrap_or_default()),
            _ => return Err(NO_OBJECT),
        }
        if rest.is_empty() {
            return Err(NO_ARRAY_END);
        }
    }
}

/// Returns the length of the value that starts here.
fn value_length(rest: &[u8]) -> Result<usize, &'static str> {
    let first = rest.first().ok_or(MALFORMED)?;
    match first {
        b'"' => {
            let length = string_end(rest.get(1..).unwrap_or_default()).ok_or(NO_STRING_END)?;
            Ok(length + 2)
        }
        b'{' => block_end(rest, b'{', b'}').ok_or(NO_OBJECT),
        b'[' => block_end(rest, b'[', b']').ok_or(NO_ARRAY_END),
        first => {
            let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
            let length = rest.iter().position(is_end).ok_or(NO_VALUE_END)?;
            let text = rest.get(..length).unwrap_or_default();
            let known = matches!(text, b"true" | b"false" | b"null") || matches!(first, b'-' | b'0'..=b'9');
            if known { Ok(length) } else { Err(UNKNOWN_VALUE) }
        }
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count();
    text.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_model::LabelSet;
    use std::sync::Arc;

    /// Checks line and labels behind the stage; the stream is `app="a"`.
    fn check(line: &str, expect: &str, expect_labels: &str) {
        let stream = Arc::new(LabelSet::from_pairs([("app", "a")]));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        let found = Unpack::new(Hints::everything()).apply(Cow::Borrowed(line.as_bytes()), &mut labels);
        assert_eq!(String::from_utf8_lossy(&found), expect);
        let (_, _, parsed) = labels.split(&base);
        assert_eq!(parsed.to_string(), expect_labels, "{line}");
    }

    #[test]
    fn packed_entries() {
        check(r#"{"a":"b","_entry":"line","n":1}"#, "line", r#"{a="b"}"#);
        check(
            r#"{"a":"x", "a":"y", "_entry":"q \"q\"\n", "o":{"a":"z"}, "app":"c"}"#,
            "q \"q\"\n",
            r#"{a="y", app_extracted="c"}"#,
        );
        check(r#"{"_entry":"","a-b":"c"} tail"#, "", r#"{a_b="c"}"#);
        check(r#"{"_entry":"x","a":"\q"}"#, "x", r#"{a=""}"#);
    }

    #[test]
    fn other_lines_stay() {
        for line in [r#"{"a":"b"}"#, r#"{"a":"b",}"#, r#"{"_entry":5,"a":"b"}"#, "", "{}"] {
            check(line, line, "{}");
        }
    }

    #[test]
    fn faults() {
        for (line, details) in [
            ("bad", EXPECTING_OBJECT),
            ("[1]", EXPECTING_OBJECT),
            (r#"{"_entry":"x""#, NO_ARRAY_END),
            (r#"{"_entry":oops}"#, UNKNOWN_VALUE),
            (r#"{"_entry":"x" "a":1}"#, NO_OBJECT),
            (r#"{"_entry":"x"#, NO_STRING_END),
            (r#"{"a":"b","_entry":"\q"}"#, MALFORMED),
            (r#"{"a":"b","_entry":"#, MALFORMED),
        ] {
            let labels = format!(
                "{{__error__=\"JSONParserErr\", __error_details__={}}}",
                logyard_logql::quoted(details)
            );
            check(line, line, &labels);
        }
    }
}
