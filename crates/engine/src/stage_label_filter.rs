//! Label filters: tests on the visible value of a label.
//!
//! A value that cannot be converted passes and gains an error; a label that is absent fails every
//! test but those on text, where it reads as empty (Loki v3.7.6).

use crate::labels::{ERROR, Labels};
use crate::stage_line_filter::AddressTest;
use logyard_logql::{
    CompareOp, FilterValue, LabelFilter, parse_go_duration, parse_go_float, parse_size, quoted,
};
use logyard_model::{MatchOp, Matcher, compile_anchored};
use regex::Regex;

const LABEL_FILTER_ERROR: &str = "LabelFilterErr";

/// A compiled label filter.
#[derive(Debug)]
pub(crate) enum LabelTest {
    Text(Matcher),
    /// In label filters `.` does not match a newline, unlike in selectors.
    Regex {
        name: String,
        regex: Regex,
        negated: bool,
    },
    Compare {
        name: String,
        op: CompareOp,
        value: FilterValue,
    },
    CompareLabels {
        left: String,
        op: CompareOp,
        right: String,
    },
    Address {
        name: String,
        test: AddressTest,
        negated: bool,
    },
    And(Box<LabelTest>, Box<LabelTest>),
    Or(Box<LabelTest>, Box<LabelTest>),
}

impl LabelTest {
    pub(crate) fn compile(filter: &LabelFilter) -> Result<Self, String> {
        Ok(match filter {
            LabelFilter::Text(matcher) => match matcher.op() {
                MatchOp::Equal | MatchOp::NotEqual => Self::Text(matcher.clone()),
                op @ (MatchOp::Regex | MatchOp::NotRegex) => Self::Regex {
                    name: matcher.name().to_owned(),
                    regex: compile_anchored(matcher.value()).map_err(|error| error.to_string())?,
                    negated: op == MatchOp::NotRegex,
                },
            },
            LabelFilter::Compare { name, op, value } => {
                Self::Compare { name: name.clone(), op: *op, value: *value }
            }
            LabelFilter::CompareLabels { left, op, right } => {
                Self::CompareLabels { left: left.clone(), op: *op, right: right.clone() }
            }
            LabelFilter::Ip { name, negated, pattern } => {
                Self::Address { name: name.clone(), test: AddressTest::compile(pattern)?, negated: *negated }
            }
            LabelFilter::And(left, right) => {
                Self::And(Box::new(Self::compile(left)?), Box::new(Self::compile(right)?))
            }
            LabelFilter::Or(left, right) => {
                Self::Or(Box::new(Self::compile(left)?), Box::new(Self::compile(right)?))
            }
        })
    }

    /// Tests the labels; may note an error on them.
    pub(crate) fn passes(&self, labels: &mut Labels<'_>) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(labels.get(matcher.name()).unwrap_or("")),
            Self::Regex { name, regex, negated } => {
                regex.is_match(labels.get(name).unwrap_or("")) != *negated
            }
            // The error is no number, duration or size: only tests on text see it (Loki v3.7.6).
            Self::Compare { name, .. } if name == ERROR => false,
            Self::Compare { name, op, value } => {
                // The error is seen by texts only, here it is absent (Loki v3.7.6).
                let Some(text) = labels.get(name).filter(|_| name != ERROR) else { return false };
                passes_or_notes(compare(text, *op, *value), labels)
            }
            Self::CompareLabels { left, op, right } => {
                let (Some(left), Some(right)) = (labels.get(left), labels.get(right)) else { return false };
                passes_or_notes(compare_texts(left, *op, right), labels)
            }
            Self::Address { name, test, negated } => {
                // An entry that already has an error passes (Loki v3.7.6).
                if labels.error.is_some() {
                    return true;
                }
                labels.get(name).is_some_and(|text| test.found_in(text.as_bytes()) != *negated)
            }
            // Both sides are evaluated: either may note an error.
            Self::And(left, right) => left.passes(labels) & right.passes(labels),
            Self::Or(left, right) => left.passes(labels) || right.passes(labels),
        }
    }

    /// Returns whether an entry may pass if the label that the test reads has the value: false only if it is
    /// dropped for certain.
    pub(crate) fn may_pass(&self, value: &str) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(value),
            Self::Regex { regex, negated, .. } => regex.is_match(value) != *negated,
            // A value that cannot be converted passes and gains an error.
            Self::Compare { op, value: wanted, .. } => compare(value, *op, *wanted).unwrap_or(true),
            Self::CompareLabels { .. } | Self::Address { .. } | Self::And(..) | Self::Or(..) => true,
        }
    }

    /// Returns whether the test may note an error.
    pub(crate) fn may_fail(&self) -> bool {
        match self {
            Self::Text(_) | Self::Regex { .. } | Self::Address { .. } => false,
            Self::Compare { .. } | Self::CompareLabels { .. } => true,
            Self::And(left, right) | Self::Or(left, right) => left.may_fail() || right.may_fail(),
        }
    }

    /// Appends the names of the labels that are read.
    pub(crate) fn names<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Self::Text(matcher) => out.push(matcher.name()),
            Self::CompareLabels { left, right, .. } => out.extend([&**left, &**right]),
            Self::Regex { name, .. } | Self::Compare { name, .. } | Self::Address { name, .. } => {
                out.push(name)
            }
            Self::And(left, right) | Self::Or(left, right) => {
                left.names(out);
                right.names(out);
            }
        }
    }
}

/// An entry whose values cannot be converted passes and gains an error.
fn passes_or_notes(result: Result<bool, String>, labels: &mut Labels<'_>) -> bool {
    result.unwrap_or_else(|details| {
        labels.set_error(LABEL_FILTER_ERROR, details);
        true
    })
}

/// Compares two values as what both of them are: numbers, else durations, else sizes; other texts are
/// equal or not, and have no order.
fn compare_texts(left: &str, op: CompareOp, right: &str) -> Result<bool, String> {
    if let (Ok(left), Ok(right)) = (parse_go_float(left), parse_go_float(right)) {
        return Ok(ordered(op, left.partial_cmp(&right)));
    }
    if let (Ok(left), Ok(right)) = (parse_go_duration(left), parse_go_duration(right)) {
        return Ok(ordered(op, Some(left.cmp(&right))));
    }
    if let (Ok(left), Ok(right)) = (parse_size(left), parse_size(right)) {
        return Ok(ordered(op, Some(left.cmp(&right))));
    }
    match op {
        CompareOp::Equal => Ok(left == right),
        CompareOp::NotEqual => Ok(left != right),
        _ => Err(format!(
            "cannot order {} and {}: neither numbers, durations nor sizes",
            quoted(left),
            quoted(right)
        )),
    }
}

fn compare(text: &str, op: CompareOp, value: FilterValue) -> Result<bool, String> {
    Ok(match value {
        FilterValue::Number(wanted) => ordered(op, parse_go_float(text)?.partial_cmp(&wanted)),
        FilterValue::DurationNs(wanted) => ordered(op, Some(parse_go_duration(text)?.cmp(&wanted))),
        FilterValue::Bytes(wanted) => ordered(op, Some(parse_size(text)?.cmp(&wanted))),
    })
}

/// Applies an operator to an order; NaN has none and passes `!=` only.
fn ordered(op: CompareOp, order: Option<std::cmp::Ordering>) -> bool {
    let Some(order) = order else { return op == CompareOp::NotEqual };
    match op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::GreaterOrEqual => order.is_ge(),
        CompareOp::Less => order.is_lt(),
        CompareOp::LessOrEqual => order.is_le(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Base;
    use logyard_logql::{Expr, StageKind, parse};
    use logyard_model::LabelSet;
    use std::sync::Arc;

    /// Checks a filter on one label `n`, absent for `None`; `error` starts the details.
    fn check(filter: &str, value: Option<&str>, passes: bool, error: &str) {
        let Expr::Log(log) = parse(&format!("{{a=\"1\"}} | {filter}")).unwrap() else { panic!("{filter}") };
        let StageKind::LabelFilter(filter) = &log.stages[0].kind else { panic!("{filter}") };
        let test = LabelTest::compile(filter).unwrap();
        let stream = Arc::new(LabelSet::from_pairs(value.map(|value| ("n", value))));
        let base = Base::new(&stream, "", &Arc::new(LabelSet::default()));
        let mut labels = Labels::new(&base);
        assert_eq!(test.passes(&mut labels), passes, "{filter} on {value:?}");
        assert_eq!(labels.error_details.unwrap_or_default(), error, "{filter} on {value:?}");
    }

    #[test]
    fn texts() {
        check(r#"n="""#, None, true, "");
        check(r#"n!="v""#, None, true, "");
        check(r#"n=~"abc.*""#, Some("xabc"), false, "");
        check(r#"n=~"f(oo|ar)""#, Some("xfoo"), false, "");
        check(r#"n=~"a.b""#, Some("a\nb"), false, "");
        check(r#"n!~"a|b""#, Some("b"), false, "");
        check(r#"n="5""#, Some("5.0"), false, "");
    }

    #[test]
    fn numbers() {
        let syntax = |text: &str| format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax");
        check("n=5", Some("5.0"), true, "");
        check("n>5", Some("abc"), true, &syntax("abc"));
        check("n>5", Some("3"), false, "");
        check("n!=5", None, false, "");
        check("n!=5", Some("NaN"), true, "");
        check("n>=5", Some("Inf"), true, "");
        check("n=50", Some("5_0"), true, "");
        check("n=6", Some("+6"), true, "");
        for text in ["0x10", " 10 ", "6s", "", "_5", "5_", "5__0", "5_.0", "1_e5"] {
            check("n>5", Some(text), true, &syntax(text));
        }
        check("n>5 and n<3", Some("4"), false, "");
        check("n<3 or n>5", Some("6"), true, "");
        // The error that the first test notes is absent for the second.
        check("n>5 and __error__>5", Some("abc"), false, &syntax("abc"));
    }

    #[test]
    fn durations_and_sizes() {
        check("n>1s", Some("1.5s"), true, "");
        check("n>1s", Some("0"), false, "");
        check("n>1s", Some("2"), true, r#"time: missing unit in duration "2""#);
        check("n>1s", Some("1d"), true, r#"time: unknown unit "d" in duration "1d""#);
        check("n>1KB", Some("2000"), true, "");
        check("n>1KB", Some("1 kib"), true, "");
        check("n>=2KB", Some("1,500"), false, "");
    }

    #[test]
    fn two_labels() {
        for (left, op, right, passes) in [
            ("5", "==", "5.0", true),
            ("10", ">", "9", true),
            ("NaN", "==", "NaN", false),
            ("1.5s", ">=", "1500ms", true),
            ("2000", ">", "1KB", true),
            ("0", "<", "1ms", true),
            ("x", "==", "x", true),
            ("x", "!=", "X", true),
            ("", "==", "", true),
        ] {
            let op = [("==", CompareOp::Equal), ("!=", CompareOp::NotEqual), (">", CompareOp::Greater)]
                .into_iter()
                .chain([(">=", CompareOp::GreaterOrEqual), ("<", CompareOp::Less)])
                .find(|known| known.0 == op)
                .unwrap();
            assert_eq!(compare_texts(left, op.1, right), Ok(passes), "{left} {} {right}", op.0);
        }
        let error = compare_texts("x", CompareOp::Less, "1").unwrap_err();
        assert_eq!(error, r#"cannot order "x" and "1": neither numbers, durations nor sizes"#);
        check("n==m", Some("x"), false, "");
        check("n!=m", Some("x"), false, "");
        check("n<=n", Some("x"), true, r#"cannot order "x" and "x": neither numbers, durations nor sizes"#);
    }

    #[test]
    fn addresses() {
        check(r#"n=ip("192.168.4.5/16")"#, Some("192.168.9.9"), true, "");
        check(r#"n!=ip("192.168.4.5/16")"#, Some("192.168.9.9"), false, "");
        check(r#"n!=ip("1.2.3.4")"#, None, false, "");
    }
}
