//! Stages that look at several entries: `distinct` and `context`.
//!
//! Their words are ordinary names in Loki v3.7.6, and stay so where a comparison follows: only a name or
//! a number behind them, which Loki refuses, makes them stages.

use crate::error::ParseError;
use crate::parser::Parser;
use crate::token::Kind;
use crate::tree::StageKind;

/// Most entries on either side of a match: a screen shows less.
const CONTEXT_MAX: usize = 1000;

impl Parser<'_> {
    /// Reads `distinct` or `context` behind a bar; nothing if neither follows.
    pub(crate) fn parse_entry_stage(&mut self) -> Option<Result<StageKind, ParseError>> {
        let Kind::Identifier(name) = self.peek() else { return None };
        if name.eq_ignore_ascii_case("distinct") && self.name_at(1).is_some() {
            self.advance();
            return Some(self.parse_distinct());
        }
        let is_context = name.eq_ignore_ascii_case("context");
        if is_context && matches!(self.peek_at(1), Kind::Number { .. }) {
            self.advance();
            return Some(self.parse_context());
        }
        None
    }

    fn parse_distinct(&mut self) -> Result<StageKind, ParseError> {
        let mut names = vec![self.expect_name(&["IDENTIFIER"])?];
        while self.accept_sign(",") {
            names.push(self.expect_name(&["IDENTIFIER"])?);
        }
        Ok(StageKind::Distinct(names))
    }

    fn parse_context(&mut self) -> Result<StageKind, ParseError> {
        let before = self.parse_context_count()?;
        let after = if self.accept_sign(",") { self.parse_context_count()? } else { before };
        Ok(StageKind::Context { before, after })
    }

    fn parse_context_count(&mut self) -> Result<usize, ParseError> {
        let Kind::Number { text, .. } = self.peek() else { return Err(self.unexpected(&["NUMBER"])) };
        let count = text.parse().ok().filter(|count| *count <= CONTEXT_MAX);
        let start = self.start();
        self.advance();
        let reason = || format!("syntax error: context takes whole numbers up to {CONTEXT_MAX}");
        count.ok_or_else(|| self.refuse_here(reason(), start))
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn check(text: &str, expect: &str) {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), expect, "{text}");
        assert_eq!(parse(expect).as_ref(), Ok(&expr), "{text}");
    }

    fn check_error(text: &str, expect: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{text}: {error}");
    }

    #[test]
    fn stages() {
        check(r#"{a="b"} | Distinct x, "y.z", on"#, r#"{a="b"} | distinct x,"y.z","on""#);
        check(r#"{a="b"} |= "x" | context 2"#, r#"{a="b"} |= "x" | context 2,2"#);
        check(
            r#"{a="b"} | distinct x | line_format "y" | context 0, 1000"#,
            r#"{a="b"} | distinct x | line_format "y" | context 0,1000"#,
        );
    }

    #[test]
    fn names_stay_names() {
        check(r#"{context="b"} | distinct="x" | context>5"#, r#"{context="b"} | distinct="x" | context>5"#);
        check(r#"{a="b"} | drop distinct | context!="x""#, r#"{a="b"} | drop distinct | context!="x""#);
    }

    #[test]
    fn refused() {
        check_error(r#"{a="b"} | distinct"#, "unexpected $end");
        check_error(r#"{a="b"} | distinct x,"#, "expecting IDENTIFIER");
        check_error(r#"{a="b"} | context 1.5"#, "whole numbers up to 1000");
        check_error(r#"{a="b"} | context 1, 1001"#, "whole numbers up to 1000");
        check_error(r#"{a="b"} | distinct x |= "y""#, "filters must come before distinct");
        check_error(r#"{a="b"} | distinct x | y="z""#, "filters must come before distinct");
        check_error(r#"{a="b"} | distinct x | distinct y"#, "distinct may stand once");
        check_error(r#"{a="b"} | context 1 | json"#, "context must be the last stage");
        check_error(r#"rate({a="b"} | context 1 [5m])"#, "context has no meaning in a metric query");
        check_error(r#"sum(rate({a="b"} | distinct x [5m]))"#, "use count_distinct_over_time");
    }
}
