//! What the line filters of a query look for, found again in a line to be shown.
//!
//! Literals and regular expressions of filters that keep lines count; what is to be absent is nowhere to be seen. Filters work on the line as it is at their place in the pipeline, and shown is the last form of it: where a stage
//! between changed the line, some of it may be found no more, which costs nothing.

use std::ops::Range;

use logyard_logql::{Expr, LineFilter, LineFilterArg, LineFilterOp, StageKind};
use logyard_model::compile_unanchored;
use regex::Regex;

/// Most places of a line that are marked.
const PLACES_MAX: usize = 1000;

/// What is looked for in lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    literals: Vec<String>,
    regexes: Vec<Regex>,
}

impl Marks {
    /// Takes what a log query looks for; of anything else there is nothing.
    pub(crate) fn of(query: &str) -> Self {
        let mut marks = Self::default();
        if let Ok(Expr::Log(log)) = logyard_logql::parse(query) {
            for stage in log.stages {
                if let StageKind::LineFilter(filter) = stage.kind {
                    marks.add(&filter);
                }
            }
        }
        marks
    }

    fn add(&mut self, filter: &LineFilter) {
        let texts = filter.args.iter().filter_map(|arg| match arg {
            LineFilterArg::Text(text) if !text.is_empty() => Some(text),
            LineFilterArg::Text(_) | LineFilterArg::Ip(_) => None,
        });
        for text in texts {
            match filter.op {
                LineFilterOp::Contains => self.literals.push(text.clone()),
                // What does not compile the store refuses.
                LineFilterOp::Regex => self.regexes.extend(compile_unanchored(text)),
                // A pattern tells the whole line.
                LineFilterOp::Pattern
                | LineFilterOp::NotContains
                | LineFilterOp::NotRegex
                | LineFilterOp::NotPattern => {}
            }
        }
    }

    /// Returns where a line holds what is looked for: in order, apart from each other, none empty.
    ///
    /// Cost: a search of the line for each text and expression.
    pub(crate) fn find(&self, line: &str) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for literal in &self.literals {
            let found = line.match_indices(&**literal).take(PLACES_MAX);
            places.extend(found.map(|(at, text)| at..at + text.len()));
        }
        for regex in &self.regexes {
            places.extend(regex.find_iter(line).take(PLACES_MAX).map(|found| found.range()));
        }
        places.retain(|place| !place.is_empty());
        places.sort_by_key(|place| (place.start, place.end));
        let mut apart: Vec<Range<usize>> = Vec::new();
        for place in places {
            match apart.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => apart.push(place),
            }
        }
        apart.truncate(PLACES_MAX);
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str, line: &str) -> Vec<String> {
        let texts = Marks::of(query).find(line).into_iter();
        texts.map(|place| line.get(place).unwrap().to_owned()).collect()
    }

    #[test]
    fn what_filters_keep_is_found() {
        let line = "GET /one 200, get /two 500: upstream é lost";
        assert_eq!(found(r#"{a="b"} |= "one" |= "é""#, line), ["one", "é"]);
        assert_eq!(found(r#"{a="b"} |~ "(?i)get""#, line), ["GET", "get"]);
        assert_eq!(found(r#"{a="b"} |= "one" or "two""#, line), ["one", "two"]);
        assert_eq!(found(r#"{a="b"} | json |= "200" | x="y" |~ "[0-9]+""#, line), ["200", "500"]);
    }

    #[test]
    fn what_is_to_be_absent_or_is_no_text_is_not() {
        for query in [
            r#"{a="b"} != "GET" !~ "one""#,
            r#"{a="b"} |= """#,
            r#"{a="b"} |~ "x*""#,
            r#"{a="b"} |= ip("10.0.0.0/8")"#,
            r#"sum(count_over_time({a="b"} |= "GET" [5m]))"#,
            "{",
        ] {
            assert!(found(query, "GET /one 10.0.0.1").is_empty(), "{query}");
        }
    }

    #[test]
    fn places_that_touch_are_one() {
        assert_eq!(Marks::of(r#"{a="b"} |= "ab" |= "bc" |~ "cd?""#).find("xabcd ab"), [1..5, 6..8]);
    }
}
