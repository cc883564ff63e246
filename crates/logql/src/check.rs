//! Checks that need no data: every selector is usable, parsers have something to extract.

use crate::error::{ParseError, Span};
use crate::tree::{Expr, LogExpr, Stage, StageKind};
use crate::tree_metric::MetricExpr;
use logyard_model::{Matcher, compile_unanchored};

const EMPTY_COMPATIBLE: &str = "queries require at least one regexp or equality matcher that does not have an \
    empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// Checks a whole query.
pub(crate) fn check(expr: &Expr) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => check_log(log),
        Expr::Metric(metric) => check_metric(metric),
        Expr::Variants(variants) => {
            variants.exprs.iter().try_for_each(check_metric)?;
            check_log(&variants.of.log)
        }
    }
}

fn check_metric(expr: &MetricExpr) -> Result<(), ParseError> {
    match expr {
        MetricExpr::Range(aggregation) => {
            check_counted(&aggregation.range.log)?;
            check_log(&aggregation.range.log)
        }
        MetricExpr::Vector(aggregation) => check_metric(&aggregation.inner),
        MetricExpr::LabelReplace(replace) => check_metric(&replace.inner),
        MetricExpr::Binary(binary) => {
            check_metric(&binary.left)?;
            check_metric(&binary.right)
        }
        MetricExpr::Function(function) => function.inner().map_or(Ok(()), check_metric),
        MetricExpr::VectorOf(_) | MetricExpr::Literal(_) => Ok(()),
    }
}

fn check_log(log: &LogExpr) -> Result<(), ParseError> {
    log.stages.iter().try_for_each(check_stage)?;
    check_order(log)?;
    if log.matchers.iter().all(Matcher::matches_empty) {
        return Err(ParseError::unplaced(EMPTY_COMPATIBLE, Some(log.span)));
    }
    Ok(())
}

/// Refuses stages on several entries where entries are counted.
fn check_counted(log: &LogExpr) -> Result<(), ParseError> {
    for stage in &log.stages {
        let reason = match stage.kind {
            StageKind::Distinct(_) => {
                "distinct has no meaning in a metric query; use count_distinct_over_time"
            }
            StageKind::Context { .. } => "context has no meaning in a metric query; leave it out",
            _ => continue,
        };
        return Err(ParseError::unplaced(reason, Some(stage.span)));
    }
    Ok(())
}

/// Refuses what cannot follow `distinct` or `context`: they look at what passed all filters.
fn check_order(log: &LogExpr) -> Result<(), ParseError> {
    let (mut is_distinct, mut is_last) = (false, false);
    for stage in &log.stages {
        let reason = match stage.kind {
            _ if is_last => "context must be the last stage",
            StageKind::Distinct(_) if is_distinct => "distinct may stand once",
            StageKind::LineFilter(_) | StageKind::LabelFilter(_) if is_distinct => {
                "filters must come before distinct"
            }
            _ => {
                is_distinct |= matches!(stage.kind, StageKind::Distinct(_));
                is_last |= matches!(stage.kind, StageKind::Context { .. });
                continue;
            }
        };
        return Err(ParseError::unplaced(reason, Some(stage.span)));
    }
    Ok(())
}

fn check_stage(stage: &Stage) -> Result<(), ParseError> {
    let refuse = |parser: &str, reason: String, span: Span| {
        Err(ParseError::unplaced(format!("invalid {parser} parser: {reason}"), Some(span)))
    };
    match &stage.kind {
        StageKind::Regexp(pattern) => match capture_names(pattern) {
            Ok(_) => Ok(()),
            Err(reason) => refuse("regexp", reason, stage.span),
        },
        StageKind::Pattern(pattern) => match check_pattern(pattern) {
            Ok(()) => Ok(()),
            Err(reason) => refuse("pattern", reason, stage.span),
        },
        _ => Ok(()),
    }
}

/// Returns the names of the groups of a `regexp` stage, in order.
///
/// Errors: the pattern does not compile, no group has a name, or two have the same.
pub fn capture_names(pattern: &str) -> Result<Vec<String>, String> {
    compile_unanchored(pattern).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = Vec::new();
    for name in names_in(pattern) {
        if names.contains(&name) {
            return Err(format!("duplicate extracted label name '{name}'"));
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("invalid extracted label name '{name}'"));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err("at least one named capture must be supplied".to_owned());
    }
    Ok(names)
}

/// Finds names of groups in a pattern that compiles; knows escapes, quotes and classes.
fn names_in(pattern: &str) -> Vec<String> {
    let (mut names, mut rest, mut in_class) = (Vec::new(), pattern, false);
    while let Some(c) = rest.chars().next() {
        let after = rest.strip_prefix(c).unwrap_or_default();
        rest = after;
        match c {
            '\\' if after.starts_with('Q') && !in_class => {
                rest = after.split_once("\\E").map_or("", |parts| parts.1)
            }
            '\\' => rest = after.strip_prefix(|_| true).unwrap_or_default(),
            '[' if !in_class => {
                in_class = true;
                let after = after.strip_prefix('^').unwrap_or(after);
                // A bracket that comes first is a member.
                rest = after.strip_prefix(']').unwrap_or(after);
            }
            '[' if after.starts_with(':') => rest = after.split_once(":]").map_or(after, |parts| parts.1),
            ']' => in_class = false,
            '(' if !in_class => {
                let named = after.strip_prefix("?P<").or_else(|| after.strip_prefix("?<"));
                if let Some((name, _)) = named.and_then(|named| named.split_once('>')) {
                    names.push(name.to_owned());
                }
            }
            _ => {}
        }
    }
    names
}

/// One part of a pattern with captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPart {
    /// Text that must stand there.
    Literal(String),
    /// `<name>`.
    Capture(String),
    /// `<_>`.
    Wildcard,
}

/// Splits a pattern into literals and captures.
///
/// Shape: no two literals are neighbours; what looks like `<…>` without being a name is literal.
/// Errors: two captures are neighbours.
pub fn pattern_parts(pattern: &str) -> Result<Vec<PatternPart>, String> {
    let mut parts: Vec<PatternPart> = Vec::new();
    let mut literal = String::new();
    let mut rest = pattern;
    let mut before = String::new();
    while let Some(c) = rest.chars().next() {
        let Some((name, after)) = capture(rest) else {
            literal.push(c);
            rest = rest.strip_prefix(c).unwrap_or_default();
            continue;
        };
        if !literal.is_empty() {
            parts.push(PatternPart::Literal(std::mem::take(&mut literal)));
        } else if matches!(parts.last(), Some(PatternPart::Capture(_) | PatternPart::Wildcard)) {
            return Err(format!("found consecutive capture '<{before}><{name}>': invalid expression"));
        }
        name.clone_into(&mut before);
        parts.push(if name == "_" { PatternPart::Wildcard } else { PatternPart::Capture(name.to_owned()) });
        rest = after;
    }
    if !literal.is_empty() {
        parts.push(PatternPart::Literal(literal));
    }
    Ok(parts)
}

/// Reads `<name>` at the start of a text.
fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('<')?.split_once('>')?;
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (first && plain).then_some((name, after))
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let parts = pattern_parts(pattern)?;
    let mut names: Vec<&str> = Vec::new();
    for part in &parts {
        let PatternPart::Capture(name) = part else { continue };
        if names.contains(&&**name) {
            return Err(format!("duplicate capture name ({name}): invalid expression"));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err("at least one capture is required".to_owned());
    }
    Ok(())
}
