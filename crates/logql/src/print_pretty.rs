//! A query over several lines, as `format_query` answers: what is longer than a line is split at its
//! parts, which stand one level deeper (Loki v3.7.6).

use crate::duration::PrometheusDuration;
use crate::print::quoted;
use crate::tree::{Expr, LogExpr, StageKind};
use crate::tree_function::FunctionExpr;
use crate::tree_metric::{
    BinaryExpr, LabelReplace, LogRange, MetricExpr, RangeAggregation, Unwrap, VectorAggregation,
};
use std::fmt::Display;

/// Longest text that stays on one line, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// Prints a query over as many lines as it needs; parsing the text gives an equal tree.
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => log_expr(log, 0),
        Expr::Metric(metric) => metric_expr(metric, 0),
        Expr::Variants(variants) => variants.to_string(),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// Prints on one line if that is short enough.
fn short(part: &impl Display, level: usize) -> Option<String> {
    let text = part.to_string();
    (text.len() <= LINE_BYTES_MAX).then(|| indent(level) + &text)
}

fn log_expr(log: &LogExpr, level: usize) -> String {
    if let Some(text) = short(log, level) {
        return text;
    }
    let selector = LogExpr { matchers: log.matchers.clone(), stages: Vec::new(), span: log.span };
    let mut lines = vec![indent(level) + &selector.to_string()];
    let is_line_filter = |kind: &StageKind| matches!(kind, StageKind::LineFilter(_));
    // Neighbouring line filters share a line while it is short enough.
    for group in log.stages.chunk_by(|a, b| is_line_filter(&a.kind) && is_line_filter(&b.kind)) {
        let texts: Vec<String> = group.iter().map(ToString::to_string).collect();
        let joined = texts.join(" ");
        if joined.len() <= LINE_BYTES_MAX {
            lines.push(indent(level + 1) + &joined);
        } else {
            lines.extend(texts.iter().map(|text| indent(level + 1) + text));
        }
    }
    lines.join("\n")
}

fn metric_expr(expr: &MetricExpr, level: usize) -> String {
    match expr {
        MetricExpr::Range(aggregation) => range_aggregation(aggregation, level),
        MetricExpr::Vector(aggregation) => vector_aggregation(aggregation, level),
        MetricExpr::LabelReplace(replace) => label_replace(expr, replace, level),
        MetricExpr::Function(function) => function_expr(function, level),
        MetricExpr::Binary(binary) => binary_expr(binary, level),
        MetricExpr::VectorOf(_) | MetricExpr::Literal(_) => indent(level) + &expr.to_string(),
    }
}

fn range_aggregation(aggregation: &RangeAggregation, level: usize) -> String {
    if let Some(text) = short(aggregation, level) {
        return text;
    }
    let mut text = format!("{}{}(\n", indent(level), aggregation.op.as_str());
    if let Some(parameter) = aggregation.parameter() {
        text.push_str(&format!("{}{parameter},\n", indent(level + 1)));
    }
    text.push_str(&log_range(&aggregation.range, level + 1));
    text.push_str(&format!("\n{})", indent(level)));
    if let Some(grouping) = &aggregation.grouping {
        text.push_str(&format!(" {grouping}"));
    }
    text
}

fn log_range(range: &LogRange, level: usize) -> String {
    let mut text = log_expr(&range.log, level);
    if let Some(unwrap) = &range.unwrap {
        text.push_str(&unwrap_lines(unwrap, level + 1));
    }
    text.push_str(&format!(" [{}]", PrometheusDuration(range.range_ns)));
    if range.offset_ns < 0 {
        text.push_str(&format!(" offset -{}", PrometheusDuration(range.offset_ns.saturating_neg())));
    } else if range.offset_ns > 0 {
        text.push_str(&format!(" offset {}", PrometheusDuration(range.offset_ns)));
    }
    text
}

/// Prints `unwrap` and each filter behind it on a line of its own.
fn unwrap_lines(unwrap: &Unwrap, level: usize) -> String {
    let bare = Unwrap { filters: Vec::new(), ..unwrap.clone() };
    let mut text = format!("\n{}{bare}", indent(level));
    for filter in &unwrap.filters {
        text.push_str(&format!("\n{}| {filter}", indent(level)));
    }
    text
}

fn vector_aggregation(aggregation: &VectorAggregation, level: usize) -> String {
    if let Some(text) = short(aggregation, level) {
        return text;
    }
    let mut text = indent(level) + aggregation.op.as_str();
    if aggregation.grouping.without || !aggregation.grouping.labels.is_empty() {
        text.push_str(&format!(" {}", aggregation.grouping));
    }
    text.push_str("(\n");
    if let Some(parameter) = aggregation.parameter() {
        text.push_str(&format!("{}{parameter},\n", indent(level + 1)));
    }
    text.push_str(&metric_expr(&aggregation.inner, level + 1));
    text.push_str(&format!("\n{})", indent(level)));
    text
}

fn label_replace(expr: &MetricExpr, replace: &LabelReplace, level: usize) -> String {
    if let Some(text) = short(expr, level) {
        return text;
    }
    let mut text = format!("{}label_replace(\n{}", indent(level), metric_expr(&replace.inner, level + 1));
    for argument in [&replace.label, &replace.replacement, &replace.source, &replace.regex] {
        text.push_str(&format!(",\n{}{}", indent(level + 1), quoted(argument)));
    }
    text.push_str(&format!("\n{})", indent(level)));
    text
}

fn function_expr(function: &FunctionExpr, level: usize) -> String {
    if let Some(text) = short(function, level) {
        return text;
    }
    let mut parts: Vec<String> =
        function.inner().map(|inner| metric_expr(inner, level + 1)).into_iter().collect();
    parts.extend(function.arguments().into_iter().map(|argument| indent(level + 1) + &argument));
    format!("{0}{1}(\n{2}\n{0})", indent(level), function.name(), parts.join(",\n"))
}

fn binary_expr(binary: &BinaryExpr, level: usize) -> String {
    if let Some(text) = short(binary, level) {
        return text;
    }
    // An operand that is split itself keeps the parentheses it would have on one line: without them
    // the text would mean another tree.
    let operand = |expr: &MetricExpr| {
        let text = metric_expr(expr, level + 1);
        match expr {
            MetricExpr::Binary(inner) if inner.to_string().len() > LINE_BYTES_MAX => {
                format!("{0}(\n{text}\n{0})", indent(level + 1))
            }
            _ => text,
        }
    };
    let (left, right) = (operand(&binary.left), operand(&binary.right));
    format!("{left}\n{}{}\n{right}", indent(level), binary.operator())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn check(query: &str, expect: &[&str]) {
        let expr = parse(query).unwrap();
        let text = pretty(&expr);
        assert_eq!(text.lines().collect::<Vec<_>>(), expect);
        assert_eq!(parse(&text).unwrap().to_string(), expr.to_string());
    }

    const LONG: &str = r#"{namespace="production", container="very-long-container-name"} |= "first filter text" |= "second filter text" | json | level="error""#;

    #[test]
    fn short_queries_stay_on_one_line() {
        check(r#"sum(rate({a="b"}[5m]))by(c)"#, &[r#"sum by (c)(rate({a="b"}[5m]))"#]);
    }

    #[test]
    fn long_queries_are_split() {
        let pipeline = [
            r#"{namespace="production", container="very-long-container-name"}"#,
            r#"  |= "first filter text" |= "second filter text""#,
            "  | json",
            r#"  | level="error""#,
        ];
        check(LONG, &pipeline);
        let [selector, filters, json, level] = pipeline;
        check(
            &format!("sum(rate({LONG} [5m])) by (container, namespace)"),
            &[
                "sum by (container, namespace)(",
                "  rate(",
                &format!("    {selector}"),
                &format!("    {filters}"),
                &format!("    {json}"),
                &format!("    {level} [5m]"),
                "  )",
                ")",
            ],
        );
        check(
            &format!("quantile_over_time(0.9, {LONG} | unwrap x | y > 1 [5m] offset 1h) by (z) > 5"),
            &[
                "  quantile_over_time(",
                "    0.9,",
                &format!("    {selector}"),
                &format!("    {filters}"),
                &format!("    {json}"),
                &format!("    {level}"),
                "      | unwrap x",
                "      | y>1 [5m] offset 1h",
                "  ) by (z)",
                ">",
                "  5",
            ],
        );
        check(
            &format!("topk(2, rate({LONG} [5m]))"),
            &[
                "topk(",
                "  2,",
                "  rate(",
                &format!("    {selector}"),
                &format!("    {filters}"),
                &format!("    {json}"),
                &format!("    {level} [5m]"),
                "  )",
                ")",
            ],
        );
    }
}
