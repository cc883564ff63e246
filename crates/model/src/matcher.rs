//! One test on a label.

use crate::{GoRegexError, LabelSet, compile_anchored_dotall, label_set::write_quoted};
use regex::Regex;
use std::fmt;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// Returns the operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One test on a label: name, operator, value. An absent label reads as the empty text.
///
/// Regular expressions match the whole value, and `.` matches a newline (Loki v3.7.6).
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Box<str>,
    op: MatchOp,
    value: Box<str>,
    /// Of the operators of regular expressions.
    pattern: Option<Pattern>,
}

/// What a regular expression means. The expressions that dashboards ask for most are not compiled: that takes longer than
/// to test all streams of a homelab.
#[derive(Clone, Debug)]
enum Pattern {
    /// `.*`
    Any,
    /// `.+`
    NotEmpty,
    /// `a|b|c`, sorted.
    OneOf(Box<[Box<str>]>),
    Regex(Regex),
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, GoRegexError> {
        // Each of these has a meaning of its own; any other character stands for itself.
        const SPECIAL: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'];
        Ok(match text {
            ".*" => Self::Any,
            ".+" => Self::NotEmpty,
            _ if !text.contains(SPECIAL) => {
                let mut texts: Vec<Box<str>> = text.split('|').map(Box::from).collect();
                texts.sort_unstable();
                Self::OneOf(texts.into())
            }
            _ => Self::Regex(compile_anchored_dotall(text)?),
        })
    }

    fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::NotEmpty => !value.is_empty(),
            Self::OneOf(texts) => texts.binary_search_by(|text| (**text).cmp(value)).is_ok(),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Matcher {
    /// Builds a matcher. Errors: the value of a regular expression operator does not compile.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, GoRegexError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::compile(value)?),
        };
        Ok(Self { name: name.into(), op, value: value.into(), pattern })
    }

    /// Returns the name of the tested label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// Returns the value as written: a literal or a regular expression in LogQL's dialect.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether a label of this value passes.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => *self.value == *value,
            MatchOp::NotEqual => *self.value != *value,
            MatchOp::Regex => self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value)),
            MatchOp::NotRegex => !self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value)),
        }
    }

    /// Returns whether a label set passes.
    pub fn matches_set(&self, labels: &LabelSet) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// Returns whether streams without the label pass.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(self.op.as_str())?;
        write_quoted(f, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, value: &str, expect: &[(&str, bool)]) {
        let matcher = Matcher::new("a", op, value).unwrap();
        for (text, passes) in expect {
            assert_eq!(matcher.matches(text), *passes, "a{}{value:?} on {text:?}", op.as_str());
        }
    }

    #[test]
    fn operators() {
        check(MatchOp::Equal, "x", &[("x", true), ("", false)]);
        check(MatchOp::NotEqual, "x", &[("x", false), ("", true)]);
        check(MatchOp::Regex, "x|y.", &[("x", true), ("y\n", true), ("xy", false)]);
        check(MatchOp::NotRegex, "x+", &[("xx", false), ("xxy", true), ("", true)]);
    }

    #[test]
    fn expressions_that_are_not_compiled_mean_the_same() {
        let texts = ["", "a", "b", "ab", "a|b", "\n", "é", "|", "a b", "#"];
        for pattern in ["", "|", ".*", ".+", "a", "a|b", "b|a|b", "a|", "é|a b", "#|\n", "a-b|,"] {
            let regex = compile_anchored_dotall(pattern).unwrap();
            let matcher = Matcher::new("a", MatchOp::Regex, pattern).unwrap();
            assert!(!matches!(matcher.pattern, Some(Pattern::Regex(_))));
            for text in texts {
                assert_eq!(matcher.matches(text), regex.is_match(text), "{pattern:?} on {text:?}");
            }
        }
        assert!(Matcher::new("a", MatchOp::Regex, "a|(").is_err());
    }
}
