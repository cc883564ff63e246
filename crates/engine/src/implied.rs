//! What a line must hold for a later label filter to pass: found before any line is parsed.
//!
//! A filter such as `| json | status="500"` drops every entry without that label, and if neither
//! stream nor metadata bring the label along, only a parser can: from the line, as it stands there or,
//! escaped, behind `\u`. So lines with neither need no look. That such a line may be faulty does not
//! matter: its entry is dropped either way.
//!
//! Where the label is a key of lines, its value tells more: its column if they are shredded, else what follows the key
//! (`implied_key`).

use crate::error::Error;
use crate::implied_key::KeyTest;
use crate::labels::{DETECTED_LEVEL, is_reserved};
use crate::prefilter::regex_groups;
use crate::stage_label_filter::LabelTest;
use logyard_codec::{Block, KeyFormat, Needles};
use logyard_logql::{LabelFilter, LogExpr, StageKind, Unwrap};
use logyard_model::{LabelSet, MatchOp, Matcher, compile_anchored};
use memchr::memmem;
use std::ops::Range;

/// A text that the line holds, unless the label comes from elsewhere.
#[derive(Debug)]
pub(crate) struct Implied {
    label: String,
    text: Needles<'static>,
    escape: Needles<'static>,
    /// What shredded lines are asked instead, and plain ones then.
    key: Option<KeyTest>,
}

impl Implied {
    /// Finds what the label filters of a pipeline, and the label that is unwrapped, ask of lines.
    pub(crate) fn of(log: &LogExpr, unwrap: Option<&Unwrap>) -> Vec<Self> {
        let mut found = Vec::new();
        // Whether names of labels are taken from lines, too; `None` as long as there is no parser.
        let mut named_by_line: Option<bool> = None;
        // The format of whole lines, if there is one parser so far and it reads all their keys.
        let mut format: Option<KeyFormat> = None;
        for stage in &log.stages {
            match &stage.kind {
                StageKind::LineFilter(_) | StageKind::Drop(_) | StageKind::Keep(_) => {}
                StageKind::Json(paths) => {
                    let is_only = named_by_line.is_none() && paths.is_empty();
                    format = is_only.then_some(KeyFormat::Json);
                    named_by_line = Some(paths.is_empty() && named_by_line != Some(false));
                }
                StageKind::Logfmt { extractions, .. } => {
                    let is_only = named_by_line.is_none() && extractions.is_empty();
                    format = is_only.then_some(KeyFormat::Logfmt);
                    named_by_line = Some(extractions.is_empty() && named_by_line != Some(false));
                }
                StageKind::Regexp(_) | StageKind::Pattern(_) => (named_by_line, format) = (Some(false), None),
                StageKind::LabelFilter(filter) => {
                    if let Some(named_by_line) = named_by_line {
                        of_filter(filter, (named_by_line, format), &mut found);
                    }
                }
                // From here on labels may come from other texts than the line.
                _ => return found,
            }
        }
        if let (Some(unwrap), Some(true)) = (unwrap, named_by_line) {
            push(&unwrap.label, name_text(&unwrap.label), None, &mut found);
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
        self.escape.are_in(line)
            || self.text.are_in(line) && self.key.as_ref().is_none_or(|key| key.may_pass_in(line))
    }

    /// Appends the rows that may pass, ascending.
    pub(crate) fn rows(&self, block: &Block, rows: Range<u32>, out: &mut Vec<u32>) -> Result<(), Error> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        let is_by_key = match &self.key {
            Some(key) => key.rows(block, rows.clone(), &mut known, &mut unknown)?,
            None => false,
        };
        if !is_by_key {
            return self.rows_by_text(block, rows, out);
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            let mut found = Vec::new();
            self.rows_by_text(block, rows, &mut found)?;
            known.extend(found.into_iter().filter(|row| unknown.binary_search(row).is_ok()));
        }
        known.sort_unstable();
        out.append(&mut known);
        Ok(())
    }

    fn rows_by_text(&self, block: &Block, rows: Range<u32>, out: &mut Vec<u32>) -> Result<(), Error> {
        let mut found = Vec::new();
        block.rows_with(&self.escape, rows.clone(), &mut found)?;
        let escaped = !found.is_empty();
        let mut with_text = Vec::new();
        block.rows_with(&self.text, rows, &mut with_text)?;
        if let Some(key) = self.key.as_ref().filter(|_| !block.is_shredded()) {
            let lines = block.lines()?;
            with_text.retain(|row| key.may_pass_in(lines.line(*row)));
        }
        found.append(&mut with_text);
        if escaped {
            found.sort_unstable();
            found.dedup();
        }
        out.append(&mut found);
        Ok(())
    }
}

const SUFFIX: &str = "_extracted";

fn of_filter(filter: &LabelFilter, lines: (bool, Option<KeyFormat>), found: &mut Vec<Implied>) {
    let (named_by_line, format) = lines;
    let key_test = |name: &str| {
        let format = format.filter(|_| !name.ends_with(SUFFIX))?;
        Some(KeyTest::new(format, name, LabelTest::compile(filter).ok()?))
    };
    match filter {
        LabelFilter::And(left, right) => {
            of_filter(left, lines, found);
            of_filter(right, lines, found);
        }
        LabelFilter::Text(matcher) => {
            if let Some(value) = needed_value(matcher) {
                let name = name_text(matcher.name()).filter(|_| named_by_line);
                push(matcher.name(), value_text(&value).or(name), key_test(matcher.name()), found);
            }
        }
        LabelFilter::Compare { name, .. } if named_by_line => {
            push(name, name_text(name), key_test(name), found);
        }
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

fn push(label: &str, text: Option<&str>, key: Option<KeyTest>, found: &mut Vec<Implied>) {
    let Some(text) = text else { return };
    if is_reserved(label) || label.starts_with(DETECTED_LEVEL) {
        return;
    }
    let needle = |text: &str| Needles::one(memmem::Finder::new(text.as_bytes()).into_owned());
    found.push(Implied { label: label.to_owned(), text: needle(text), escape: needle("\\u"), key });
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
        let pairs: Vec<_> = found
            .iter()
            .map(|one| (&*one.label, std::str::from_utf8(&one.text.texts()[0]).unwrap()))
            .collect();
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
        for line in
            [r#"{"a":"v1"}"#, r#"{"a":"v2"}"#, r#"{"a":"\u0076\u0031"}"#, "", r#"{"a":{"":"v1"}}"#, "v1"]
        {
            entries.push(1, line.as_bytes(), "", &LabelSet::default());
        }
        let implied = of(r#"| json | a="v1""#).remove(0);
        let mut rows = Vec::new();
        let block = Block::from_entries(entries);
        implied.rows(&block, 0..6, &mut rows).unwrap();
        assert_eq!(rows, [0, 2, 4]);
        let lines = block.lines().unwrap();
        assert!((0..6).all(|row| implied.may_pass(lines.line(row)) == rows.contains(&row)));
    }
}
