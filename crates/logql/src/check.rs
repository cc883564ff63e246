//! Checks that need no data: every selector is usable, parsers have something to extract.

use crate::error::{ParseError, Span};
use crate::tree::{Expr, LogExpr, Stage, StageKind};
use crate::tree_metric::MetricExpr;
use logyard_model::{Matcher, compile_unanchored};

const EMPTY_COMPATIBLE: &str = "queries require at least one regexp or equality matcher that does not have an \
    empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// Checks a whole query.
pub(crate) fn check(expr: &Expr) -> Result<(), ParseError> {
    for_each_log(expr, &mut |log, place| {
        if place == Place::Range {
            check_counted(log)?;
        }
        check_log(log)
    })
}

/// Refuses a query that selects streams by a label with letters beyond ASCII.
///
/// The grammar knows such names, but no stream can have one, so the query could only ever come back
/// empty. Errors: Loki's frame and place; the text is that `expr` was parsed from.
/// Source: Loki v3.7.6 parses the query, prints it with such a name in quotes and fails to parse that.
pub fn check_stream_names(text: &str, expr: &Expr) -> Result<(), ParseError> {
    for_each_log(expr, &mut |log, _| {
        let Some(matcher) = log.matchers.iter().find(|matcher| !matcher.name().is_ascii()) else {
            return Ok(());
        };
        let name = matcher.name();
        let found = text.get(log.span.start..).and_then(|rest| rest.find(name)).unwrap_or(0);
        let start = log.span.start + found;
        let message = format!(
            "syntax error: unexpected {name}, labels of streams have ASCII letters, digits and _ in their names"
        );
        Err(ParseError::at(text, Span { start, end: start + name.len() }, message))
    })
}

/// Where a selector and its pipeline stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// They are the query, or what variants share.
    Whole,
    /// A range aggregation counts what they yield.
    Range,
}

/// Calls `visit` with every selector and its pipeline, from left to right, until one is refused.
fn for_each_log(
    expr: &Expr,
    visit: &mut impl FnMut(&LogExpr, Place) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => visit(log, Place::Whole),
        Expr::Metric(metric) => for_each_log_of(metric, visit),
        Expr::Variants(variants) => {
            variants.exprs.iter().try_for_each(|expr| for_each_log_of(expr, visit))?;
            visit(&variants.of.log, Place::Whole)
        }
    }
}

fn for_each_log_of(
    expr: &MetricExpr,
    visit: &mut impl FnMut(&LogExpr, Place) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    match expr {
        MetricExpr::Range(aggregation) => visit(&aggregation.range.log, Place::Range),
        MetricExpr::Vector(aggregation) => for_each_log_of(&aggregation.inner, visit),
        MetricExpr::LabelReplace(replace) => for_each_log_of(&replace.inner, visit),
        MetricExpr::Binary(binary) => {
            for_each_log_of(&binary.left, visit)?;
            for_each_log_of(&binary.right, visit)
        }
        MetricExpr::Function(function) => {
            function.inner().map_or(Ok(()), |inner| for_each_log_of(inner, visit))
        }
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
