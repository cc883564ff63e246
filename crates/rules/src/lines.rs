//! The lines that made an alert fire: where they are found, and what is kept of them.
//!
//! Looked for once, when the alert begins to fire: the entries of the first range of its expression, within that range,
//! whose labels are those of the sample. What is kept is bounded, and masked before anybody sees it.

use crate::mask::Masks;
use logyard_logql::{
    Expr, FunctionExpr, LabelFilter, LogExpr, MetricExpr, RangeAggregation, RangeOp, Span, Stage, StageKind,
};
use logyard_model::{LabelSet, MatchOp, Matcher};
use std::sync::Arc;

/// Most bytes of a line that are looked at; what is masked may be longer than what is shown.
const LOOKED_BYTES_MAX: usize = 16 << 10;

/// The entries to look for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// A log query.
    pub(crate) query: Arc<Expr>,
    /// The first instant, in ns.
    pub(crate) start_ns: i64,
    /// The first one behind, in ns.
    pub(crate) end_ns: i64,
}

/// Returns which entries made a sample of an expression, evaluated at `time_ns`; `None` where no entries did, as of
/// `absent_over_time` or of a number.
pub(crate) fn wanted(query: &Expr, labels: &LabelSet, time_ns: i64) -> Option<Wanted> {
    let Expr::Metric(metric) = query else { return None };
    let mut made = Vec::new();
    let range = first_range(metric, &mut made)?;
    let at_ns = time_ns.saturating_sub(range.range.offset_ns);
    let query = Expr::Log(restricted(&range.range.log, labels, &made));
    // A window holds its last instant and not its first; a range of a log query is the other way round.
    let (start_ns, end_ns) =
        (at_ns.saturating_sub(range.range.range_ns).saturating_add(1), at_ns.saturating_add(1));
    Some(Wanted { query: Arc::new(query), start_ns, end_ns })
}

/// Finds the first range of entries, and the labels that are made on the way from it.
fn first_range<'e>(metric: &'e MetricExpr, made: &mut Vec<&'e str>) -> Option<&'e RangeAggregation> {
    match metric {
        MetricExpr::Range(range) => (range.op != RangeOp::AbsentOverTime).then_some(range),
        MetricExpr::Vector(vector) => first_range(&vector.inner, made),
        MetricExpr::LabelReplace(replace) => {
            made.push(&replace.label);
            first_range(&replace.inner, made)
        }
        MetricExpr::Function(function) => {
            if let FunctionExpr::LabelJoin(join) = function {
                made.push(&join.label);
            }
            first_range(function.inner()?, made)
        }
        MetricExpr::Binary(binary) => {
            let before = made.len();
            let left = first_range(&binary.left, made);
            left.or_else(|| {
                made.truncate(before);
                first_range(&binary.right, made)
            })
        }
        MetricExpr::VectorOf(_) | MetricExpr::Literal(_) => None,
    }
}

/// Adds label filters for the labels of a sample to a pipeline.
fn restricted(log: &LogExpr, labels: &LabelSet, made: &[&str]) -> LogExpr {
    let mut log = log.clone();
    log.stages.retain(|stage| !matches!(stage.kind, StageKind::Context { .. }));
    for (name, value) in labels.iter() {
        if made.contains(&name) || name.starts_with("__") {
            continue;
        }
        if let Ok(matcher) = Matcher::new(name, MatchOp::Equal, value) {
            let kind = StageKind::LabelFilter(LabelFilter::Text(matcher));
            log.stages.push(Stage { kind, span: Span { start: 0, end: 0 } });
        }
    }
    log
}

/// Returns what is kept of lines: masked, without control characters, each of at most `bytes_max` bytes.
pub(crate) fn shown(lines: &[Vec<u8>], masks: &Masks, bytes_max: usize) -> Arc<[String]> {
    lines.iter().map(|line| one(line, masks, bytes_max)).collect()
}

fn one(line: &[u8], masks: &Masks, bytes_max: usize) -> String {
    let looked = line.get(..LOOKED_BYTES_MAX).unwrap_or(line);
    let text = String::from_utf8_lossy(looked);
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let text = masks.hide(text.trim_end()).chars().filter(is_shown).collect::<String>();
    let end = text.floor_char_boundary(bytes_max);
    match text.get(..end) {
        Some(start) if end < text.len() => format!("{start}…"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, labels: &[(&str, &str)], want: Option<(&str, i64, i64)>) {
        let labels = LabelSet::from_pairs(labels.iter().copied());
        let found = wanted(&logyard_logql::parse(query).unwrap(), &labels, 1_000_000_000);
        let found = found.map(|wanted| (wanted.query.to_string(), wanted.start_ns, wanted.end_ns));
        assert_eq!(found, want.map(|(query, start, end)| (query.to_owned(), start, end)), "{query}");
    }

    #[test]
    fn the_entries_of_a_sample_are_found() {
        check(
            r#"sum by (app) (count_over_time({job="j"} |= "ERROR" | json [100ms] offset 10ms)) > 5"#,
            &[("app", "web")],
            Some((r#"{job="j"} |= "ERROR" | json | app="web""#, 890_000_001, 990_000_001)),
        );
        check(
            r#"1 < label_replace(rate({a="b"}[10ms]), "x", "$1", "a", "(.*)")"#,
            &[("a", "b"), ("x", "b"), ("__error__", "")],
            Some((r#"{a="b"} | a="b""#, 990_000_001, 1_000_000_001)),
        );
        check(
            r#"label_join(rate({a="b"}[10ms]), "x", "-", "a")"#,
            &[("x", "b")],
            Some((r#"{a="b"}"#, 990_000_001, 1_000_000_001)),
        );
        check(
            r#"absent_over_time({a="b"}[10ms]) or sum(rate({c="d"}[10ms]))"#,
            &[],
            Some((r#"{c="d"}"#, 990_000_001, 1_000_000_001)),
        );
        check(r#"absent_over_time({a="b"}[10ms])"#, &[("a", "b")], None);
        check("vector(1)", &[], None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_masked() {
        let masks = Masks::new(true, &[]).unwrap();
        let lines = [b"\x1b[31mlogin password=sesame \xff\n".to_vec(), "ü".repeat(20_000).into_bytes()];
        let kept = shown(&lines, &masks, 9);
        assert_eq!(kept.iter().collect::<Vec<_>>(), ["[31mlogin…", "üüüü…"]);
        assert_eq!(shown(&lines, &masks, 40)[0], "[31mlogin password=*** \u{fffd}");
    }
}
