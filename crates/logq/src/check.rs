//! Reads the query before the store is asked, so that a mistake is shown where it stands.

use std::ops::Range;

use logyard_logql::Expr;

/// What a query yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yields {
    /// Entries.
    Entries,
    /// Samples.
    Samples,
}

/// Parses a query. Errors: the parser's message, then the query with a caret under the fault.
pub(crate) fn check(query: &str) -> Result<Yields, String> {
    match logyard_logql::parse(query) {
        Ok(Expr::Log(_)) => Ok(Yields::Entries),
        Ok(_) => Ok(Yields::Samples),
        Err(error) => {
            // A fault without a place is one of the query as a whole.
            let span = error.span().map_or(0..query.len(), |span| span.start..span.end);
            Err(with_caret(&error.to_string(), query, span))
        }
    }
}

/// Adds the query with a caret to a store's complaint, as far as it says where the fault is: by line and
/// column, or by quoting the stage. Some faults only the store finds, such as those of expressions.
pub(crate) fn explain(complaint: &str, query: &str) -> String {
    let complaint = complaint.trim_end();
    match place_in(complaint, query) {
        Some(span) => with_caret(complaint, query, span),
        None => complaint.to_owned(),
    }
}

/// Reads `parse error at line 1, col 6: …` or `parse error : stage '|~ "("' : …`.
fn place_in(complaint: &str, query: &str) -> Option<Range<usize>> {
    if let Some(place) = complaint.strip_prefix("parse error at line ") {
        let (place, _) = place.split_once(':')?;
        let (line, column) = place.split_once(", col ")?;
        let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
        let before: usize = query.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
        let (_, rest) = query.split_at_checked(before)?;
        let inside: usize = rest.chars().take(column.checked_sub(1)?).map(char::len_utf8).sum();
        return Some(before + inside..before + inside + 1);
    }
    let (_, quoted) = complaint.strip_prefix("parse error")?.split_once("stage '")?;
    let (stage, _) = quoted.split_once("' : ")?;
    let start = query.find(stage)?;
    Some(start..start + stage.len())
}

/// Writes the first line of a message, the line of the query that holds the fault, carets under its
/// bytes, and then what else the message says.
fn with_caret(message: &str, query: &str, span: Range<usize>) -> String {
    let at = floor_char_boundary(query, span.start);
    let (before, after) = query.split_at_checked(at).unwrap_or((query, ""));
    let line_start = before.rsplit('\n').next().unwrap_or_default();
    let line_end = after.split('\n').next().unwrap_or_default();
    let faulty_bytes = span.end.saturating_sub(span.start).min(line_end.len());
    let faulty = line_end.split_at_checked(floor_char_boundary(line_end, faulty_bytes));
    let carets = faulty.map_or(1, |(faulty, _)| faulty.chars().count()).max(1);
    // Tabs stay tabs, so that the caret stands under its character however wide they are drawn.
    let indent: String = line_start.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let (message, more) = message.split_once('\n').unwrap_or((message, ""));
    let carets = "^".repeat(carets);
    let shown = format!("{message}\n  {line_start}{line_end}\n  {indent}{carets}");
    if more.is_empty() { shown } else { format!("{shown}\n{more}") }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_fault() {
        assert_eq!(with_caret("bad", "{app=}", 5..6), "bad\n  {app=}\n       ^");
        assert_eq!(with_caret("bad", "{é=~1}", 5..6), "bad\n  {é=~1}\n      ^");
        assert_eq!(with_caret("bad", "{a=\"b\"}\n\t| jsom | x", 11..15), "bad\n  \t| jsom | x\n  \t  ^^^^");
    }

    #[test]
    fn a_fault_at_or_past_the_end_still_has_a_caret() {
        assert_eq!(with_caret("bad", "{a", 2..2), "bad\n  {a\n    ^");
        assert_eq!(with_caret("bad", "{a", 9..12), "bad\n  {a\n    ^");
        assert_eq!(with_caret("bad", "", 0..0), "bad\n  \n  ^");
    }

    #[test]
    fn complaints_of_the_store_are_placed() {
        let query = "{a=\"b\"}\n  |~ \"(\" | x";
        let want = "\n    |~ \"(\" | x\n    ^^^^^^";
        let by_stage = "parse error : stage '|~ \"(\"' : error parsing regexp: missing closing ): `(`";
        assert_eq!(explain(by_stage, query), format!("{by_stage}{want}"));
        let by_place = "parse error at line 2, col 3: syntax error";
        assert_eq!(explain(by_place, query), format!("{by_place}\n    |~ \"(\" | x\n    ^"));
        for placeless in
            ["too many outstanding requests", "parse error : nothing", "parse error at line x, col 1: y"]
        {
            assert_eq!(explain(placeless, query), placeless);
        }
    }

    #[test]
    fn kinds_of_queries_are_told_apart() {
        assert_eq!(check("{a=\"b\"} |= \"x\""), Ok(Yields::Entries));
        assert_eq!(check("sum(count_over_time({a=\"b\"}[5m]))"), Ok(Yields::Samples));
        assert_eq!(
            check("{a=\"b\"} |= err").unwrap_err(),
            "parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip\n  \
             {a=\"b\"} |= err\n             ^^^\nhint: put quotes around the text: \"err\""
        );
    }
}
