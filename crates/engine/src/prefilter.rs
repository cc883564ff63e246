//! Literals that every wanted line holds, for the store to skip blocks by.

use logyard_logql::{LineFilter, LineFilterArg, LineFilterOp, PatternPart, pattern_parts};
use logyard_model::translate;
use regex_syntax::hir::{Hir, HirKind};

/// Appends the literals that a line must hold to pass the filter.
///
/// Alternatives and negated filters give none; of a regular expression the longest literal counts.
pub(crate) fn required_literals(filter: &LineFilter, out: &mut Vec<Vec<u8>>) {
    let [LineFilterArg::Text(text)] = &*filter.args else { return };
    match filter.op {
        LineFilterOp::Contains => push(out, text.as_bytes()),
        LineFilterOp::Regex => {
            if let Some(literal) = regex_literal(text) {
                push(out, &literal);
            }
        }
        LineFilterOp::Pattern => {
            for part in pattern_parts(text).unwrap_or_default() {
                if let PatternPart::Literal(literal) = part {
                    push(out, literal.as_bytes());
                }
            }
        }
        LineFilterOp::NotContains | LineFilterOp::NotRegex | LineFilterOp::NotPattern => {}
    }
}

fn push(out: &mut Vec<Vec<u8>>, literal: &[u8]) {
    if !literal.is_empty() && !out.iter().any(|known| known == literal) {
        out.push(literal.to_vec());
    }
}

/// Returns the longest literal that every match of the pattern holds.
pub(crate) fn regex_literal(pattern: &str) -> Option<Vec<u8>> {
    let translated = translate(pattern).ok()?;
    let hir = regex_syntax::parse(&translated).ok()?;
    longest(&hir).filter(|literal| !literal.is_empty())
}

fn longest(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_vec()),
        HirKind::Capture(capture) => longest(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => longest(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(longest).max_by_key(Vec::len),
        HirKind::Repetition(_)
        | HirKind::Alternation(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Empty => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_logql::{Expr, StageKind, parse};

    fn check(filters: &str, expect: &[&str]) {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} {filters}")).unwrap() else { panic!("{filters}") };
        let mut literals = Vec::new();
        for stage in &log.stages {
            let StageKind::LineFilter(filter) = &stage.kind else { continue };
            required_literals(filter, &mut literals);
        }
        let texts: Vec<_> = literals.iter().map(|literal| String::from_utf8_lossy(literal)).collect();
        assert_eq!(texts, expect, "{filters}");
    }

    #[test]
    fn only_what_every_line_must_hold() {
        check(r#"|= "a" |= "b" |= "a" |= """#, &["a", "b"]);
        check(r#"|= "a" or "b""#, &[]);
        check(r#"!= "a" !~ "b" !> "c""#, &[]);
        check(r#"|~ "err.*timeout x""#, &["timeout x"]);
        check(r#"|~ "(abc)+d?""#, &["abc"]);
        check(r#"|~ "(?i)abc""#, &[]);
        check(r#"|~ "abc|def""#, &[]);
        check(r#"|~ "^a\\.b$""#, &["a.b"]);
        check(r#"|~ "(abc)*x""#, &["x"]);
        check(r#"|> "a <_> bc""#, &["a ", " bc"]);
        check(r#"|= ip("1.2.3.4")"#, &[]);
    }
}
