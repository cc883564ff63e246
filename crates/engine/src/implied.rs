//! What a line must hold for a later label filter to pass: found before any line is parsed.
//!
//! A filter such as `| json | status="500"` drops every entry without that label, and if neither
//! stream nor metadata bring the label along, only a parser can: from the line, as it stands there or,
//! escaped, behind `\u`. So lines with neither need no look. That such a line may be faulty does not
//! matter: its entry is dropped either way.

use crate::error::Error;
use crate::labels::{DETECTED_LEVEL, is_reserved};
use crate::prefilter::regex_groups;
use logyard_codec::{Block, Lines};
use logyard_logql::{LabelFilter, LogExpr, StageKind, Unwrap};
use logyard_model::{LabelSet, MatchOp, Matcher, compile_anchored};
use memchr::memmem;
use std::ops::Range;

/// A text that the line holds, unless the label comes from elsewhere.
#[derive(Debug)]
pub(crate) struct Implied {
    label: String,
    text: memmem::Finder<'static>,
    escape: memmem::Finder<'static>,
}

impl Implied {
    /// Finds what the label filters of a pipeline, and the label that is unwrapped, ask of lines.
    pub(crate) fn of(log: &LogExpr, unwrap: Option<&Unwrap>) -> Vec<Self> {
        let mut found = Vec::new();
        // Whether names of labels are taken from lines, too; `None` as long as there is no parser.
        let mut named_by_line: Option<bool> = None;
        for stage in &log.stages {
            match &stage.kind {
                StageKind::LineFilter(_) | StageKind::Drop(_) | StageKind::Keep(_) => {}
                StageKind::Json(paths) => {
                    named_by_line = Some(paths.is_empty() && named_by_line != Some(false));
                }
                StageKind::Logfmt { extractions, .. } => {
                    named_by_line = Some(extractions.is_empty() && named_by_line != Some(false));
                }
                StageKind::Regexp(_) | StageKind::Pattern(_) => named_by_line = Some(false),
                StageKind::LabelFilter(filter) => {
                    if let Some(named_by_line) = named_by_line {
                        of_filter(filter, named_by_line, &mut found);
                    }
                }
                // From here on labels may come from other texts than the line.
                _ => return found,
            }
        }
        if let (Some(unwrap), Some(true)) = (unwrap, named_by_line) {
            push(&unwrap.label, name_text(&unwrap.label), &mut found);
        }
        found
    }

    /// Returns whether no entry of the stream in the block brings the label along.
    pub(crate) fn holds_for(&self, stream: &LabelSet, block: &Block) -> Result<bool, Error> {
        if stream.get(&self.label).is_some() {
            return Ok(false);
        }
        let metadata = block.metadata()?;
        // Metadata may be renamed to have the suffix.
        let is_renamed = self.label.ends_with(SUFFIX);
        let brings = |set: &LabelSet| set.get(&self.label).is_some() || is_renamed && !set.is_empty();
        Ok(!metadata.dictionary().iter().any(|set| brings(set)))
    }

    /// Returns whether an entry with the line may pass.
    pub(crate) fn may_pass(&self, line: &[u8]) -> bool {
        self.text.find(line).is_some() || self.escape.find(line).is_some()
    }

    /// Appends the rows that may pass, ascending.
    pub(crate) fn rows(&self, lines: &Lines, rows: Range<u32>, out: &mut Vec<u32>) {
        let before = out.len();
        lines.rows_with(&self.escape, rows.clone(), out);
        let escaped = out.len() > before;
        lines.rows_with(&self.text, rows, out);
        if escaped {
            out.sort_unstable();
            out.dedup();
        }
    }
}

const SUFFIX: &str = "_extracted";

fn of_filter(filter: &LabelFilter, named_by_line: bool, found: &mut Vec<Implied>) {
    match filter {
        LabelFilter::And(left, right) => {
            of_filter(left, named_by_line, found);
            of_filter(right, named_by_line, found);
        }
        LabelFilter::Text(matcher) => {
            if let Some(value) = needed_value(matcher) {
                let name = name_text(matcher.name()).filter(|_| named_by_line);
                push(matcher.name(), value_text(&value).or(name), found);
            }
        }
        LabelFilter::Compare { name, .. } if named_by_line => push(name, name_text(name), found),
        // Either side may pass, and an address filter passes entries with an error.
        _ => {}
    }
}

/// Returns a part of the value that passes; nothing if an absent label may pass.
fn needed_value(matcher: &Matcher) -> Option<String> {
    match matcher.op() {
        MatchOp::Equal if !matcher.value().is_empty() => Some(matcher.value().to_owned()),
        MatchOp::NotEqual if matcher.value().is_empty() => Some(String::new()),
        MatchOp::Regex if compile_anchored(matcher.value()).is_ok_and(|regex| !regex.is_match("")) => {
            let groups = regex_groups(matcher.value());
            let literals = groups.iter().filter_map(|group| match &**group {
                [literal] => std::str::from_utf8(literal).ok(),
                _ => None,
            });
            Some(literals.max_by_key(|literal| literal.len()).unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

/// Returns the longest part of a value that stands in the line as it is, unless behind `\u`.
fn value_text(value: &str) -> Option<&str> {
    // Other escapes stand for these, and spaces for what is no text.
    let is_border = |c: char| {
        matches!(c, '"' | '\\' | '/' | '\'' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' | ' ' | '\u{fffd}')
    };
    value.split(is_border).max_by_key(|part| part.len()).filter(|part| !part.is_empty())
}

/// Returns the longest part of a name that stands in the line as it is: any `_` may stand for another
/// character, or for the step into an object.
fn name_text(name: &str) -> Option<&str> {
    let name = name.strip_suffix(SUFFIX).unwrap_or(name);
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .max_by_key(|part| part.len())
        .filter(|part| !part.is_empty())
}

fn push(label: &str, text: Option<&str>, found: &mut Vec<Implied>) {
    let Some(text) = text else { return };
    if is_reserved(label) || label.starts_with(DETECTED_LEVEL) {
        return;
    }
    let finder = |text: &str| memmem::Finder::new(text.as_bytes()).into_owned();
    found.push(Implied { label: label.to_owned(), text: finder(text), escape: finder("\\u") });
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::Entries;
    use logyard_logql::{Expr, parse};

    fn of(query: &str) -> Vec<Implied> {
        let Expr::Log(log) = parse(&format!("{{app=\"a\"}} {query}")).unwrap() else { panic!("{query}") };
        Implied::of(&log, None)
    }

    fn check(query: &str, expect: &[(&str, &str)]) {
        let found = of(query);
        let pairs: Vec<_> =
            found.iter().map(|one| (&*one.label, std::str::from_utf8(one.text.needle()).unwrap())).collect();
        assert_eq!(pairs, expect, "{query}");
    }

    #[test]
    fn only_what_every_passing_line_holds() {
        check(r#"| json | status="500""#, &[("status", "500")]);
        check(r#"| json | x="a/b\"longer c""#, &[("x", "longer")]);
        check(r#"| json | status>=500 and b!="""#, &[("status", "status"), ("b", "b")]);
        check(r#"| json | request_method=~"G.*|P.*""#, &[("request_method", "request")]);
        check(r#"| json | a=~"x.*abc.*""#, &[("a", "abc")]);
        check(r#"| logfmt | a_longer_extracted>1"#, &[("a_longer_extracted", "longer")]);
        check(r#"| pattern "<a> <_>" | a>1 | a="v1""#, &[("a", "v1")]);
        check(r#"| json x="y" | json | x!="" | x="v""#, &[("x", "v")]);
        for none in [
            r#"| status="500" | json"#,
            r#"| json | status="""#,
            r#"| json | status!="500""#,
            r#"| json | status=~".*""#,
            r#"| json | status!~"5..""#,
            r#"| json | status="500" or a="b""#,
            r#"| json | a=ip("1.2.3.4")"#,
            r#"| json | __error__="JSONParserErr""#,
            r#"| json | detected_level="error""#,
            r#"| json | label_format a="{{.b}}" | a="500""#,
            r#"| unpack | a="500""#,
            r#"| json | _="/""#,
        ] {
            check(none, &[]);
        }
    }

    #[test]
    fn labels_from_elsewhere() {
        let mut entries = Entries::new();
        entries.push(1, b"x", "", &LabelSet::from_pairs([("trace", "1")]));
        let block = Block::from_entries(entries);
        let stream = LabelSet::from_pairs([("app", "a")]);
        let holds = |query: &str| of(query).first().unwrap().holds_for(&stream, &block).unwrap();
        assert!(holds(r#"| json | status="500""#));
        assert!(!holds(r#"| json | app="500""#));
        assert!(!holds(r#"| json | trace="500""#));
        assert!(!holds(r#"| json | b_extracted="500""#));
    }

    #[test]
    fn escaped_lines_may_pass() {
        let mut entries = Entries::new();
        for line in [r#"{"a":"v1"}"#, r#"{"a":"v2"}"#, r#"{"a":"\u0076\u0031"}"#, "", "v1"] {
            entries.push(1, line.as_bytes(), "", &LabelSet::default());
        }
        let implied = of(r#"| json | a="v1""#).remove(0);
        let mut rows = Vec::new();
        implied.rows(entries.lines(), 0..5, &mut rows);
        assert_eq!(rows, [0, 2, 4]);
        assert!((0..5).all(|row| implied.may_pass(entries.line(row)) == rows.contains(&(row as u32))));
    }
}
