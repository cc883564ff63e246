//! What may be written next at a place of a query that is not finished yet.
//!
//! Reads only what stands before the place, from left to right and in one pass: strings, brackets and the last words.
//! A query under the hands of its writer is no query yet, so the parser has no say here; what is proposed is a
//! guess by the grammar's shape, and what is refused in the end the parser tells.

use std::ops::Range;

use crate::token::{FUNCTIONS, STAGES, WORDS};
use crate::tree_metric::{RangeOp, VectorOp};

/// Stages beyond Loki, which the lexer knows as plain names.
const STAGES_BEYOND: [&str; 2] = ["distinct", "context"];

/// What may stand at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A name of a label.
    LabelName,
    /// A value of the label `name`; `quote` is the one already open, if any.
    LabelValue {
        /// The label.
        name: String,
        /// `"` or a back quote, if the text is already inside of it.
        quote: Option<char>,
    },
    /// A stage, or a name of a label to filter by.
    Stage,
    /// A function of a metric query, or the brace that begins a selector.
    Function,
    /// Nothing that could be listed.
    Nothing,
}

/// What may stand at a place, and which part of the text it takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is wanted.
    pub wanted: Wanted,
    /// Bytes of the text that are the beginning of it; ends at the place.
    pub replace: Range<usize>,
}

/// Returns what may stand at byte `at` of `text`; a place inside a character counts as the one before it.
///
/// Cost: linear in the text before the place. Never panics, whatever the text.
pub fn complete(text: &str, at: usize) -> Completion {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or_default();
    let mut reader = Reader::default();
    reader.read(before);
    reader.wanted(at)
}

/// Returns the stages of a pipeline, in the order in which the language lists them.
pub fn stages() -> impl Iterator<Item = &'static str> {
    STAGES.into_iter().chain(STAGES_BEYOND)
}

/// Returns the functions of metric queries: over ranges, over series, and of samples.
pub fn functions() -> impl Iterator<Item = &'static str> {
    // Conversions and addresses stand where no function of samples does.
    let elsewhere = ["bytes", "duration", "duration_seconds", "ip"];
    let others = FUNCTIONS.into_iter().filter(move |name| !elsewhere.contains(name));
    RangeOp::ALL
        .into_iter()
        .map(RangeOp::as_str)
        .chain(VectorOp::ALL.into_iter().map(VectorOp::as_str))
        .chain(others)
}

/// A bracket that is open, and the word before it.
#[derive(Debug)]
struct Open {
    sign: char,
    word: String,
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    open: Vec<Open>,
    /// The quote that is open and the byte behind it.
    string: Option<(char, usize)>,
    /// The name that ends here, and its first byte.
    name: Option<(String, usize)>,
    /// The name before the last sign, and the sign.
    tested: String,
    sign: String,
    /// Whether a string or a number has just ended.
    is_value_done: bool,
    /// Whether everything up to the end of the line is a remark.
    in_comment: bool,
}

impl Reader {
    fn read(&mut self, text: &str) {
        let mut is_escaped = false;
        for (index, c) in text.char_indices() {
            if self.in_comment {
                self.in_comment = c != '\n';
                continue;
            }
            if let Some((quote, _)) = self.string {
                match c {
                    _ if is_escaped => is_escaped = false,
                    '\\' if quote == '"' => is_escaped = true,
                    c if c == quote => {
                        self.string = None;
                        self.is_value_done = true;
                        self.sign.clear();
                    }
                    _ => {}
                }
                continue;
            }
            self.take(c, index);
        }
    }

    fn take(&mut self, c: char, index: usize) {
        match c {
            '#' => self.in_comment = true,
            '"' | '`' => {
                self.end_name();
                self.string = Some((c, index + 1));
            }
            c if c.is_alphanumeric() || matches!(c, '_' | ':' | '.') => {
                let (name, _) = self.name.get_or_insert_with(|| (String::new(), index));
                name.push(c);
            }
            c if c.is_whitespace() => self.end_name(),
            '{' | '(' | '[' => {
                self.end_name();
                let word = match self.sign.is_empty() {
                    true => std::mem::take(&mut self.tested),
                    false => String::new(),
                };
                self.open.push(Open { sign: c, word });
                self.begin();
            }
            '}' | ')' | ']' => {
                self.end_name();
                self.open.pop();
                self.begin();
                self.is_value_done = true;
            }
            ',' => {
                self.end_name();
                self.begin();
            }
            c => {
                self.end_name();
                if self.is_value_done {
                    self.tested.clear();
                }
                self.is_value_done = false;
                self.sign.push(c);
            }
        }
    }

    /// Nothing has been said yet behind a bracket or a comma.
    fn begin(&mut self) {
        self.tested.clear();
        self.sign.clear();
        self.is_value_done = false;
    }

    fn end_name(&mut self) {
        if let Some((name, _)) = self.name.take() {
            // What stands behind a sign that compares is a value; behind `|` it is a stage or a label.
            self.is_value_done = name.starts_with(|c: char| c.is_ascii_digit());
            self.tested = name;
            self.sign.clear();
        }
    }

    fn wanted(self, at: usize) -> Completion {
        let compares = matches!(self.sign.as_str(), "=" | "==" | "!=" | "=~" | "!~");
        if let Some((quote, start)) = self.string {
            let wanted = match compares && !self.tested.is_empty() {
                true => Wanted::LabelValue { name: self.tested, quote: Some(quote) },
                false => Wanted::Nothing,
            };
            return Completion { wanted, replace: start..at };
        }
        let start = self.name.as_ref().map_or(at, |(_, start)| *start);
        let replace = start..at;
        let is_number =
            self.name.as_ref().is_some_and(|(name, _)| name.starts_with(|c: char| c.is_ascii_digit()));
        if self.in_comment || is_number {
            return Completion { wanted: Wanted::Nothing, replace };
        }
        let wanted = match self.open.last() {
            Some(Open { sign: '{', .. }) => self.in_selector(compares),
            Some(Open { sign: '[', .. }) => Wanted::Nothing,
            Some(Open { sign: '(', word }) if is_grouping(word) => match self.tested.is_empty() {
                true => Wanted::LabelName,
                false => Wanted::Nothing,
            },
            _ => self.in_pipeline(),
        };
        Completion { wanted, replace }
    }

    fn in_selector(&self, compares: bool) -> Wanted {
        match (self.tested.is_empty(), self.sign.is_empty()) {
            (true, true) if !self.is_value_done => Wanted::LabelName,
            (false, false) if compares => Wanted::LabelValue { name: self.tested.clone(), quote: None },
            _ => Wanted::Nothing,
        }
    }

    fn in_pipeline(&self) -> Wanted {
        let is_joined = matches!(self.tested.as_str(), "and" | "or" | "unless");
        match self.sign.as_str() {
            "|" => Wanted::Stage,
            "" if is_picking(&self.tested) => Wanted::LabelName,
            "" if self.is_value_done => Wanted::Nothing,
            "" if self.tested.is_empty() || is_joined => Wanted::Function,
            "+" | "-" | "*" | "/" | "%" | "^" => Wanted::Function,
            _ => Wanted::Nothing,
        }
    }
}

/// Words before a parenthesis that lists labels.
fn is_grouping(word: &str) -> bool {
    WORDS.contains(&word)
        && matches!(word, "by" | "without" | "on" | "ignoring" | "group_left" | "group_right")
}

/// Stages behind which names of labels are listed.
fn is_picking(word: &str) -> bool {
    matches!(word, "drop" | "keep" | "distinct" | "unwrap" | "label_format")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place is that of the bar `¦`; the other part is what would be replaced.
    fn check(marked: &str, want: &Wanted, replaced: &str) {
        let at = marked.find('¦').unwrap();
        let text = marked.replace('¦', "");
        let found = complete(&text, at);
        assert_eq!((&found.wanted, &text[found.replace]), (want, replaced), "{marked}");
    }

    fn value(name: &str, quote: Option<char>) -> Wanted {
        Wanted::LabelValue { name: name.to_owned(), quote }
    }

    #[test]
    fn selectors_want_names_and_values() {
        check("{¦", &Wanted::LabelName, "");
        check("{con¦", &Wanted::LabelName, "con");
        check("{con¦tainer=\"x\"}", &Wanted::LabelName, "con");
        check("{a=\"b\", con¦", &Wanted::LabelName, "con");
        check("{a=\"b\" ¦", &Wanted::Nothing, "");
        check("{a ¦", &Wanted::Nothing, "");
        check("{a=¦", &value("a", None), "");
        check("{a=~ \"we¦", &value("a", Some('"')), "we");
        check("{x=\"1\", a!=`we¦`}", &value("a", Some('`')), "we");
        check("{a=\"b\\\"¦", &value("a", Some('"')), "b\\\"");
    }

    #[test]
    fn pipelines_want_stages_labels_and_values() {
        check("{a=\"b\"} ¦", &Wanted::Nothing, "");
        check("{a=\"b\"} | ¦", &Wanted::Stage, "");
        check("{a=\"b\"} |= \"x\" | js¦", &Wanted::Stage, "js");
        check("{a=\"b\"} |= \"x¦", &Wanted::Nothing, "x");
        check("{a=\"b\"} | json | level=\"er¦", &value("level", Some('"')), "er");
        check("{a=\"b\"} | json | x > 5¦", &Wanted::Nothing, "5");
        check("{a=\"b\"} | drop ¦", &Wanted::LabelName, "");
        check("{a=\"b\"} | keep a¦", &Wanted::LabelName, "a");
        check("{a=\"b\"} | json # a ¦", &Wanted::Nothing, "");
    }

    #[test]
    fn metric_queries_want_functions_and_groups() {
        check("¦", &Wanted::Function, "");
        check("su¦", &Wanted::Function, "su");
        check("sum by (con¦", &Wanted::LabelName, "con");
        check("sum by (container) (cou¦", &Wanted::Function, "cou");
        check("rate({a=¦", &value("a", None), "");
        check("rate({a=\"b\"}[5¦", &Wanted::Nothing, "5");
        check("rate({a=\"b\"}[5m]) / ra¦", &Wanted::Function, "ra");
    }

    #[test]
    fn what_is_proposed_is_in_the_language() {
        for stage in stages() {
            let with = |rest: &str| crate::parse(&format!("{{a=\"b\"}} | {stage}{rest}"));
            let rests = ["", " \"(?P<x>.)\"", " \"<x> \"", " x=\"1\"", " x", " 1"];
            assert!(rests.iter().any(|rest| with(rest).is_ok()), "{stage}");
        }
        assert!(functions().any(|name| name == "count_over_time"));
        assert!(functions().all(|name| name != "ip"));
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in
            ["}}})))", "{{{((([[[", "\"", "`\\", "{é=\"ü", "\u{0}{,,,=\"", "|||", "{a=\"b\"}|=\"", "#"]
        {
            for at in 0..=text.len() + 1 {
                let found = complete(text, at);
                assert!(text.get(found.replace.clone()).is_some(), "{text:?} {at} {found:?}");
            }
        }
    }
}
