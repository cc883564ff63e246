//! Changes to a query by key: filters in and out, another selector. The rest of its text stays as it was written.

use std::collections::{BTreeMap, BTreeSet};

use logyard_logql::{Expr, LogExpr, StageKind, parse, quoted};
use logyard_model::MatchOp;
use logyard_wire::loki_query::Labels;

/// Where a field of an entry comes from, which decides how it can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A label of the stream.
    Stream,
    /// Structured metadata, or what the query's pipeline made.
    Pipeline,
    /// A member of a line that is JSON, as `| json` would name it.
    Json,
    /// A pair of a line that is logfmt.
    Logfmt,
}

/// Returns the query narrowed to entries whose field has this value, or to those where it has another.
///
/// Errors: the query is no log query.
pub(crate) fn filter(
    query: &str,
    origin: Origin,
    (name, value): (&str, &str),
    is_in: bool,
) -> Result<String, String> {
    let log = log_query(query)?;
    let op = if is_in { MatchOp::Equal } else { MatchOp::NotEqual };
    if origin == Origin::Stream {
        return Ok(match_stream(query, &log, (name, value), op));
    }
    let parser = match origin {
        Origin::Json
            if !log
                .stages
                .iter()
                .any(|stage| matches!(stage.kind, StageKind::Json(_) | StageKind::JsonArrays)) =>
        {
            " | json"
        }
        Origin::Logfmt if !log.stages.iter().any(|stage| matches!(stage.kind, StageKind::Logfmt { .. })) => {
            " | logfmt"
        }
        _ => "",
    };
    let test = format!("{parser} | {}", test(name, op, value));
    let at = end_of_filters(&log);
    Ok(spliced(query, at..at, &test))
}

/// Puts another selector in the place of a query's; what is no log query is replaced whole.
pub(crate) fn with_selector(query: &str, selector: &str) -> String {
    match log_query(query) {
        Ok(log) => spliced(query, log.span.start..log.span.end, selector),
        Err(_) => selector.to_owned(),
    }
}

/// Returns the selector for chosen values by label; none chosen matches every stream with the label `fallback`.
pub(crate) fn selector(chosen: &BTreeMap<String, BTreeSet<String>>, fallback: &str) -> String {
    let tests: Vec<String> = chosen
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| match values.iter().next() {
            Some(value) if values.len() == 1 => test(name, MatchOp::Equal, value),
            _ => {
                let escaped: Vec<String> = values.iter().map(|value| escape_regex(value)).collect();
                test(name, MatchOp::Regex, &escaped.join("|"))
            }
        })
        .collect();
    match tests.is_empty() {
        true => format!("{{{}}}", test(fallback, MatchOp::Regex, ".+")),
        false => format!("{{{}}}", tests.join(", ")),
    }
}

/// Returns the selector of exactly one stream.
pub(crate) fn selector_of_stream(labels: &Labels) -> String {
    let tests: Vec<String> = labels.iter().map(|(name, value)| test(name, MatchOp::Equal, value)).collect();
    format!("{{{}}}", tests.join(", "))
}

/// Returns the command that asks the same.
pub(crate) fn command(query: &str, flags: &str) -> String {
    format!("logq query {} {flags}", shell_quoted(query))
}

fn log_query(query: &str) -> Result<LogExpr, String> {
    match parse(query) {
        Ok(Expr::Log(log)) => Ok(log),
        Ok(_) => Err("only a log query can be filtered".to_owned()),
        Err(error) => Err(error.message().to_owned()),
    }
}

fn match_stream(query: &str, log: &LogExpr, (name, value): (&str, &str), op: MatchOp) -> String {
    let is_same = |matcher: &&logyard_model::Matcher| {
        matcher.name() == name && matcher.value() == value && matcher.op() == op
    };
    if log.matchers.iter().any(|matcher| is_same(&matcher)) {
        return query.to_owned();
    }
    // Before the closing brace; a selector has a matcher before it, and no comma at its end.
    let end = log.span.end.saturating_sub(1);
    let inside = query.get(log.span.start..end).unwrap_or_default().trim_end();
    let at = log.span.start + inside.len();
    spliced(query, at..end, &format!(", {}", test(name, op, value)))
}

/// Returns where a filter can be added: behind everything but the stage that must come last.
fn end_of_filters(log: &LogExpr) -> usize {
    let mut stages = log.stages.iter().filter(|stage| !matches!(stage.kind, StageKind::Context { .. }));
    stages.next_back().map_or(log.span.end, |stage| stage.span.end)
}

/// Writes a test on a label; a name that would read as anything else stands in quotes.
fn test(name: &str, op: MatchOp, value: &str) -> String {
    let bare = format!("{name}{}{}", op.as_str(), quoted(value));
    match parse(&format!("{{{name}=\"x\"}} | {name}=\"x\"")) {
        Ok(_) => bare,
        Err(_) => format!("{}{}{}", quoted(name), op.as_str(), quoted(value)),
    }
}

fn spliced(text: &str, range: std::ops::Range<usize>, with: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let behind = text.get(range.end..).unwrap_or_default();
    format!("{before}{with}{behind}")
}

fn escape_regex(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Writes a text as one word of a shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, origin: Origin, is_in: bool, want: &str) {
        let got = filter(query, origin, ("app", "x\"y"), is_in).unwrap();
        assert_eq!(got, want);
        assert!(parse(&got).is_ok(), "{got}");
    }

    #[test]
    fn labels_of_the_stream_go_into_the_selector() {
        check("{a=\"b\"} |= \"z\"", Origin::Stream, true, "{a=\"b\", app=\"x\\\"y\"} |= \"z\"");
        check("{ a=\"b\" } # note", Origin::Stream, false, "{ a=\"b\", app!=\"x\\\"y\"} # note");
        check("{app=\"x\\\"y\"}", Origin::Stream, true, "{app=\"x\\\"y\"}");
    }

    #[test]
    fn other_fields_go_behind_the_pipeline() {
        check("{a=\"b\"}", Origin::Pipeline, true, "{a=\"b\"} | app=\"x\\\"y\"");
        check(
            "{a=\"b\"} |= \"z\" # note",
            Origin::Json,
            true,
            "{a=\"b\"} |= \"z\" | json | app=\"x\\\"y\" # note",
        );
        check("{a=\"b\"} | json", Origin::Json, false, "{a=\"b\"} | json | app!=\"x\\\"y\"");
        check("{a=\"b\"}", Origin::Logfmt, true, "{a=\"b\"} | logfmt | app=\"x\\\"y\"");
        check("{a=\"b\"} | context 2", Origin::Pipeline, true, "{a=\"b\"} | app=\"x\\\"y\" | context 2");
        assert!(filter("rate({a=\"b\"}[5m])", Origin::Stream, ("a", "b"), true).is_err());
    }

    #[test]
    fn odd_names_stand_in_quotes() {
        let got = filter("{a=\"b\"}", Origin::Stream, ("x.y", "z"), true).unwrap();
        assert_eq!(got, "{a=\"b\", \"x.y\"=\"z\"}");
        assert!(parse(&got).is_ok());
        assert!(parse(&filter("{a=\"b\"}", Origin::Pipeline, ("by", "z"), true).unwrap()).is_ok());
    }

    #[test]
    fn chosen_values_make_a_selector() {
        let values = |all: &[&str]| all.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let mut chosen =
            BTreeMap::from([("a".to_owned(), values(&["x.y", "z"])), ("b".to_owned(), values(&["1"]))]);
        chosen.insert("c".to_owned(), BTreeSet::new());
        let got = selector(&chosen, "a");
        assert_eq!(got, "{a=~\"x\\\\.y|z\", b=\"1\"}");
        assert!(parse(&got).is_ok());
        assert_eq!(selector(&BTreeMap::new(), "a"), "{a=~\".+\"}");
        assert_eq!(with_selector("{q=\"r\"} |= \"z\"", "{a=\"b\"}"), "{a=\"b\"} |= \"z\"");
        assert_eq!(with_selector("{q=", "{a=\"b\"}"), "{a=\"b\"}");
    }

    #[test]
    fn a_stream_is_selected_exactly() {
        let labels = Labels::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "\n".to_owned())]);
        assert_eq!(selector_of_stream(&labels), "{a=\"1\", b=\"\\n\"}");
    }

    #[test]
    fn commands_survive_a_shell() {
        assert_eq!(command("{a=\"it's\"}", "--since 1h"), "logq query '{a=\"it'\\''s\"}' --since 1h");
    }
}
