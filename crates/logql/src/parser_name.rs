//! Names of labels: bare, in double quotes, or a reserved word where the grammar leaves no doubt.
//!
//! Loki v3.7.6 knows bare names only and refuses reserved words everywhere, so none of this changes
//! what a text means that Loki accepts. A raw text is never a name, only one in double quotes; and a
//! name that can stand bare must, so that what Loki refuses there stays the slip that it most often is.

use crate::error::ParseError;
use crate::lexer::is_bare_name;
use crate::parser::Parser;
use crate::token::Kind;

/// Stages without arguments: a negated filter behind them tests the line.
const COMPLETE_STAGES: [&str; 4] = ["json", "logfmt", "unpack", "decolorize"];

impl Parser<'_> {
    /// Returns the name that a word stands for where only a name can stand.
    pub(crate) fn name_at(&self, ahead: usize) -> Option<String> {
        match self.peek_at(ahead) {
            Kind::Identifier(name) => Some(name.clone()),
            // As written: words are known in any case, names are not.
            Kind::Word(_) => Some(self.text_at(ahead).to_owned()),
            Kind::Text(name) if self.text_at(ahead).starts_with('"') && !is_bare_name(name) => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// Reads a name.
    pub(crate) fn expect_name(&mut self, expecting: &[&str]) -> Result<String, ParseError> {
        let Some(name) = self.name_at(0) else { return Err(self.unexpected(expecting)) };
        let start = self.start();
        self.advance();
        if name.is_empty() {
            return Err(self.refuse_here("syntax error: a label name cannot be empty", start));
        }
        Ok(name)
    }

    /// Returns whether a reserved word or a text in quotes is the name of a label that is tested.
    pub(crate) fn is_named_test(&self, ahead: usize) -> bool {
        let Kind::Sign(sign) = self.peek_at(ahead + 1) else { return false };
        let negates = matches!(*sign, "!=" | "!~");
        let compares = negates || matches!(*sign, "=" | "==" | "=~" | ">" | ">=" | "<" | "<=");
        match self.peek_at(ahead) {
            Kind::Word(word) => compares && !(negates && COMPLETE_STAGES.contains(word)),
            Kind::Text(_) => compares && self.name_at(ahead).is_some(),
            _ => false,
        }
    }

    /// Returns whether a list of labels to extract follows.
    pub(crate) fn starts_extractions(&self) -> bool {
        match self.peek() {
            Kind::Identifier(_) => true,
            // A text alone would look like a path.
            Kind::Word(_) | Kind::Text(_) => self.name_at(0).is_some() && *self.peek_at(1) == Kind::Sign("="),
            _ => false,
        }
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

    fn same(text: &str) {
        check(text, text);
    }

    #[test]
    fn quoted_names() {
        same(r#"{"k8s.io/name"="x", a=~"b"}"#);
        same(r#"{a="b"} | "k8s.io/x"="1" | ( "on">5 or "é-"!=ip("::1") )"#);
        check(r#"{a="b"} | x="1" "y.z"="2""#, r#"{a="b"} | ( x="1" , "y.z"="2" )"#);
        same(r#"{a="b"} | json "a.b"="c[0]",x="y" | logfmt "a.b"="c""#);
        same(r#"{a="b"} | label_format "a.b"=c,"d.e"="{{.f}}" | drop "a.b",x="y" | keep "a.b"=~"y",x"#);
        same(r#"sum by ("a.b", c)(rate({a="b"}[5m]))"#);
        same(r#"max_over_time({a="b"} | unwrap duration("a.b")[5m]) without ("c d")"#);
        same(r#"(vector(1.000000) + on ("a.b") group_left ("c.d") vector(2.000000))"#);
        same(r#"{"\"\\\n"="x"}"#);
    }

    #[test]
    fn reserved_words() {
        check(r#"{on="x", By="y"}"#, r#"{"on"="x", "By"="y"}"#);
        check(r#"{a="b"} | json | pattern="x" | of!="y""#, r#"{a="b"} | json | "pattern"="x" | "of"!="y""#);
        check(r#"{a="b"} | keep != "x" | keep != "x""#, r#"{a="b"} | "keep"!="x" | "keep"!="x""#);
        check(r#"{a="b"} | x="1" or or="2" and on>5"#, r#"{a="b"} | ( x="1" or ( "or"="2" , "on">5 ) )"#);
        check(r#"{a="b"} | unwrap="x""#, r#"{a="b"} | "unwrap"="x""#);
        check(r#"{a="b"} | drop on, by="x""#, r#"{a="b"} | drop "on","by"="x""#);
        check(r#"{a="b"} | json on="x", by"#, r#"{a="b"} | json "on"="x","by"="by""#);
        check(r#"{a="b"} | label_format on=by, x=of"#, r#"{a="b"} | label_format "on"=by,x=of"#);
        check(r#"sum by (on, "by") (rate({a="b"}[5m]))"#, r#"sum by ("on", "by")(rate({a="b"}[5m]))"#);
        check(
            r#"sum_over_time({a="b"} | unwrap on | by="x" [5m])"#,
            r#"sum_over_time({a="b"} | unwrap "on" | "by"="x"[5m])"#,
        );
    }

    #[test]
    fn what_loki_accepts_keeps_its_meaning() {
        same(r#"{a="b"} | json != "x" | logfmt !~ "y" | unpack != "z" | decolorize != "w""#);
        same(r#"{a="b"} | json x="y" | label_format a="b.c""#);
        same(r#"{a="b"} |= "x" or "y" | a="b" != "c""#);
        check(r#"{a="b"} | a="1" or b="2""#, r#"{a="b"} | ( a="1" or b="2" )"#);
    }

    #[test]
    fn refused() {
        for text in [
            r#"{`a`="b"}"#,
            r#"{""="b"}"#,
            r#"{"a"="b"}"#,
            r#"sum by ("x") (rate({a="b"}[5m]))"#,
            r#"{"a"}"#,
            r#"{a.b="c"}"#,
            r#"{a="b"} | json "x""#,
            r#"{a="b"} | label_format `m`="x""#,
            r#"{a="b"} | and x>5"#,
            r#"{a="b"} | json != 5"#,
            r#"{a="b"} | x>5 or or y>6"#,
            r#"sum_over_time({a="b"} | unwrap x | unwrap y [5m])"#,
            r#"sum_over_time({a="b"} | unwrap x | json [5m])"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
