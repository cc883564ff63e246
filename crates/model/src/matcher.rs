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
    regex: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher. Errors: the value of a regular expression operator does not compile.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, GoRegexError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(compile_anchored_dotall(value)?),
        };
        Ok(Self { name: name.into(), op, value: value.into(), regex })
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
            MatchOp::Regex => self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            MatchOp::NotRegex => !self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
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
}
