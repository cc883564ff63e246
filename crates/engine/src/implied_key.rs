//! Label filters on keys of JSON and logfmt lines, tested on the columns of shredded lines, or on the text of JSON lines.
//!
//! Answers "no entry of these rows passes" where that is certain, and nothing else: rows that stay are parsed and
//! tested as ever. Certain is what the codec claims of keys (see `Block::key_groups`); a value is left to the
//! parser if it holds what one may read in another way. That a parser may note an error and set no label does
//! not matter: the filters here drop an entry without the label.
//!
//! In the text of a JSON line without `\u`, a label whose name has no `_` comes from a key that is its name, but for blanks
//! around it: any other character of a key stays one, or becomes a `_`, and so does the step into an object. So each place
//! where the line holds the name is looked at, whether the parser will find a key there or not, and the line is left to
//! the parser unless each of them is no such key for certain, or has a value that fails.

use crate::error::Error;
use crate::stage_label_filter::LabelTest;
use logyard_codec::{Block, KeyFormat, KeyValue, KeyValues};
use memchr::memmem::Finder;
use std::ops::Range;

/// A label filter that an absent label fails, on a label that one parser of whole lines gives.
#[derive(Debug)]
pub(crate) struct KeyTest {
    pub(crate) format: KeyFormat,
    pub(crate) key: String,
    pub(crate) test: LabelTest,
    /// The key as it is looked for in the text of lines; absent if other texts may stand for it.
    in_text: Option<Finder<'static>>,
}

impl KeyTest {
    pub(crate) fn new(format: KeyFormat, key: &str, test: LabelTest) -> Self {
        let is_plain = format == KeyFormat::Json && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let in_text = is_plain.then(|| Finder::new(key.as_bytes()).into_owned());
        Self { format, key: key.to_owned(), test, in_text }
    }

    /// Returns whether an entry may pass whose line holds no `\u`.
    pub(crate) fn may_pass_in(&self, line: &[u8]) -> bool {
        let Some(key) = &self.in_text else { return true };
        key.find_iter(line).any(|at| self.may_pass_at(line, at))
    }

    /// Returns whether a place that holds the key may give the label a value that passes.
    fn may_pass_at(&self, line: &[u8], at: usize) -> bool {
        let (before, rest) = line.split_at(at);
        let behind = rest.get(self.key.len()..).unwrap_or_default();
        match (before, behind) {
            // A blank may be written as an escape, whose letter may look like the first one of the key.
            ([.., b'\\'] | [.., b'\\', b'a'..=b'z'], _) => true,
            // The name of another key goes on.
            (_, [b'!' | b'#'..=b'[' | b']'..=b'~', ..]) => false,
            ([.., b'"'], [b'"', value @ ..]) => self.may_pass_behind(value),
            ([.., b'"'], _) => true,
            ([.., b'!'..=b'~'], _) => false,
            _ => true,
        }
    }

    /// Returns whether the value that follows a key may pass.
    ///
    /// Cost: looks at the value, and never beyond the next quote, so that a line which repeats the key is read once.
    fn may_pass_behind(&self, behind: &[u8]) -> bool {
        let [b':', after_colon @ ..] = without_blanks(behind) else { return false };
        match without_blanks(after_colon) {
            [b'"', text @ ..] => {
                let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                match end.and_then(|end| text.split_at_checked(end)) {
                    Some((value, [b'"', ..])) => self.may_pass(value),
                    _ => true,
                }
            }
            bare @ [b'-' | b'0'..=b'9', ..] => {
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = bare.iter().position(|byte| !is_of_number(byte));
                match end.and_then(|end| bare.split_at_checked(end)) {
                    Some((number, [b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']', ..])) => {
                        self.may_pass(number)
                    }
                    _ => true,
                }
            }
            _ => true,
        }
    }

    /// Appends to `out` the rows that may pass, and to `unknown` those that the text has to tell of; neither in
    /// order. Returns whether there was anything to tell by: not where lines are plain.
    pub(crate) fn rows(
        &self,
        block: &Block,
        rows: Range<u32>,
        out: &mut Vec<u32>,
        unknown: &mut Vec<u32>,
    ) -> Result<bool, Error> {
        let Some(groups) = block.key_groups(self.format, self.key.as_bytes(), rows)? else {
            return Ok(false);
        };
        for group in groups {
            match group.value {
                KeyValue::Unknown => unknown.extend_from_slice(group.rows),
                KeyValue::Absent => {}
                KeyValue::Values(values) => self.values(values, group.rows, out),
            }
        }
        Ok(true)
    }

    fn values(&self, values: KeyValues<'_>, rows: &[u32], out: &mut Vec<u32>) {
        if let Some(value) = values.constant() {
            if self.may_pass(value) {
                out.extend_from_slice(rows);
            }
            return;
        }
        let places = (0_u32..).zip(rows);
        if let Some(dictionary) = values.dictionary() {
            // Found out at the first use: a dictionary may have more values than the group has rows.
            let mut known: Vec<Option<bool>> = vec![None; dictionary.rows()];
            for (place, row) in places {
                let code = values.code(place);
                let test = || self.may_pass(dictionary.line(code));
                if known.get_mut(code as usize).is_none_or(|known| *known.get_or_insert_with(test)) {
                    out.push(*row);
                }
            }
            return;
        }
        let mut value = Vec::new();
        for (place, row) in places {
            value.clear();
            values.value_into(place, &mut value);
            if self.may_pass(&value) {
                out.push(*row);
            }
        }
    }

    fn may_pass(&self, value: &[u8]) -> bool {
        let is_clear = value.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
        match std::str::from_utf8(value) {
            Ok(text) if is_clear => self.test.may_pass(text),
            _ => true,
        }
    }
}

/// Returns what follows the blanks that JSON allows between tokens.
fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    text.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{Base, Labels};
    use crate::stage_json::Json;
    use crate::stage_parse::Hints;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn test_of(filter: &str) -> KeyTest {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | {filter}")).unwrap() else { panic!("{filter}") };
        let StageKind::LabelFilter(filter) = &log.stages[0].kind else { panic!("{filter}") };
        KeyTest::new(KeyFormat::Json, "S", LabelTest::compile(filter).unwrap())
    }

    /// Returns whether the entry passes once its line is parsed.
    fn passes(key: &KeyTest, line: &[u8]) -> bool {
        let base = Base::new(&Arc::new(LabelSet::default()), "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        Json::new(Hints::everything()).parse(line, &mut labels);
        key.test.passes(&mut labels)
    }

    #[test]
    fn lines_whose_key_fails_are_not_parsed() {
        let key = test_of("S >= 500");
        for (line, expect) in [
            (r#"{"S":499}"#, false),
            (r#"{"S" : 4.99e2 ,"b":500}"#, false),
            (r#"{"S":"499"}"#, false),
            (r#"{"S":200,"b":{"S":500}}"#, true),
            (r#"{"S":200,"b":{"S":100}}"#, false),
            (r#"{"AS":500,"SA":500,"a_S":500,"S ":200}"#, true),
            (r#"{"AS":500,"SA":500,"a_S":500}"#, false),
            (r#"{"m":"S, \"AS\":5"}"#, false),
            (r#"{"m":"a \"S\":500"}"#, true),
            (r#"{"m":"the S:500"}"#, false),
            (r#"{"m":"the S :500"}"#, true),
            (r#"{"m":"xS:500"}"#, false),
            (r#"{"S":500}"#, true),
            (r#"{"S":"x"}"#, true),
            (r#"{"S":"4\u0039"}"#, true),
            (r#"{"S":""}"#, true),
            (r#"{"S":{"":500}}"#, true),
            (r#"{"S":[500]}"#, true),
            (r#"{"S":true}"#, true),
            (r#"{"S":4"#, true),
            (r#"{"S":4"S":4"S":4}"#, true),
            (r#"{"S":4x}"#, true),
            (r#"{"S":"4"x}"#, false),
            (r#"{"\tS":500}"#, true),
            (r#"{"S\t":500}"#, true),
            (r#"{"S"#, true),
            ("", false),
        ] {
            assert_eq!(key.may_pass_in(line.as_bytes()), expect, "{line}");
            assert!(expect || !passes(&key, line.as_bytes()), "{line}");
        }
        let logfmt = KeyTest::new(KeyFormat::Logfmt, "S", test_of("S >= 500").test);
        assert!(logfmt.may_pass_in(br#"{"S":1}"#));
        let escape = KeyTest::new(KeyFormat::Json, "tt", test_of("S >= 500").test);
        assert!(escape.may_pass_in(br#"{"\ttt":500}"#));
        let with_step = KeyTest::new(KeyFormat::Json, "a_S", test_of("S >= 500").test);
        assert!(with_step.may_pass_in(br#"{"a":{"S":1}}"#));
    }

    proptest! {
        #[test]
        fn no_line_that_passes_is_left_out(
            parts in proptest::collection::vec(prop_oneof![
                8 => proptest::sample::select(vec![
                    r#"{"S":"#, r#""S":"#, r#""a":"#, r#""":"#, r#"" S":"#, r#""S\t":"#, r#""\tS":"#, "\"\u{a0}S\":",
                    "5", "50", "\"5\"", "\"50\"", "\"a\"", "-5", "5e1", "true", "null", "{", "}", "[", "]",
                ]),
                8 => Just(","),
                3 => proptest::sample::select(vec!["\"", "S", ":", "\\", " ", "\n", "x", "_", "\\\"", "\\\\"]),
            ], 0..16),
        ) {
            let line = format!("{{{}}}", parts.concat());
            for filter in ["S >= 50", "S < 50", "S = \"5\"", "S != \"\"", "S =~ \"5.*\""] {
                let key = test_of(filter);
                prop_assert!(key.may_pass_in(line.as_bytes()) || !passes(&key, line.as_bytes()), "{}", line);
            }
        }
    }
}
