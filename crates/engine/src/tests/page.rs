//! The examples of `schemas/logql-extensions.md`, run.
//!
//! A block marked `example` holds lines `key: value`, then `entries:` and `answer:` with one item a
//! line. Keys: `query`, and if need be `limit`, `direction`, `range` (start, end, step) and `instant`, all
//! in seconds; `error` and `warning` stand among the answers.

use super::*;
use crate::{LogEntry, QueryOutcome};
use logyard_logql::Expr;
use logyard_model::Matcher;

const PAGE: &str = include_str!("../../../../schemas/logql-extensions.md");

#[derive(Debug, Default)]
struct Example {
    query: String,
    limit: Option<usize>,
    backward: bool,
    kind: Option<QueryKind>,
    entries: Vec<Line>,
    answer: Vec<String>,
}

fn seconds(text: &str) -> i64 {
    text.trim().parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Splits `{…} rest`; braces inside quotes do not count.
fn split_labels(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '}' if !quoted => return (&text[..=at], text[at + 1..].trim_start()),
            _ => {}
        }
    }
    panic!("no labels in {text:?}")
}

fn labels(text: &str) -> LabelSet {
    let Ok(Expr::Log(log)) = parse(text) else { panic!("no labels: {text}") };
    LabelSet::from_pairs(log.matchers.iter().map(|matcher: &Matcher| (matcher.name(), matcher.value())))
}

/// Prints labels so that they can be read again.
fn label_text(set: &LabelSet) -> String {
    let matchers: Vec<_> = set
        .iter()
        .map(|(name, value)| Matcher::new(name, logyard_model::MatchOp::Equal, value).unwrap())
        .collect();
    let log = logyard_logql::LogExpr { matchers, stages: Vec::new(), span: Default::default() };
    log.to_string()
}

fn read(block: &str) -> Example {
    let mut example = Example::default();
    let mut part = "";
    for text in block.lines() {
        match (part, text.split_once(':')) {
            ("", Some(("entries" | "answer", ""))) | ("entries", Some(("answer", ""))) => {
                part = if text == "entries:" { "entries" } else { "answer" };
            }
            ("entries", _) => {
                let (at, rest) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?}"));
                let (stream, words) = split_labels(rest);
                let stream = labels(stream);
                example.entries.push(Line { stream, ..line(&[], seconds(at), words) });
            }
            ("answer", _) => example.answer.push(text.to_owned()),
            (_, Some(("query", value))) => example.query = value.trim().to_owned(),
            (_, Some(("limit", value))) => example.limit = Some(seconds(value) as usize),
            (_, Some(("direction", value))) => example.backward = value.trim() == "backward",
            (_, Some(("instant", value))) => {
                example.kind = Some(QueryKind::Instant { time_ns: seconds(value) * SECOND });
            }
            (_, Some(("range", value))) => {
                let times: Vec<i64> = value.split_whitespace().map(seconds).collect();
                let [start, end, step] = times[..] else { panic!("{text:?}") };
                example.kind = Some(range(start, end, step));
            }
            _ => panic!("no such key: {text:?}"),
        }
    }
    example
}

fn entry_text(entry: &LogEntry) -> String {
    let mut all = entry.stream.as_ref().clone();
    for (name, value) in entry.metadata.iter().chain(entry.parsed.iter()) {
        all.insert(name, value);
    }
    format!("{} {} {}", entry.ts_ns / SECOND, label_text(&all), String::from_utf8_lossy(&entry.line))
        .trim_end()
        .to_owned()
}

fn answer_texts(outcome: QueryOutcome) -> Vec<String> {
    let at = |ts_ns: i64, value: f64| format!(" {value}@{}", ts_ns / SECOND);
    let mut texts: Vec<String> = match outcome.result {
        QueryResult::Entries(entries) => entries.iter().map(entry_text).collect(),
        QueryResult::Matrix(series) => series
            .iter()
            .map(|one| {
                let values: String =
                    one.samples.iter().map(|sample| at(sample.ts_ns, sample.value)).collect();
                label_text(&one.labels) + &values
            })
            .collect(),
        QueryResult::Vector(samples) => {
            samples.iter().map(|one| label_text(&one.labels) + &at(one.ts_ns, one.value)).collect()
        }
        QueryResult::Scalar { ts_ns, value } => vec![format!("scalar{}", at(ts_ns, value))],
    };
    texts.extend(outcome.warnings.iter().map(|warning| format!("warning: {warning}")));
    texts
}

fn run_example(example: &Example) -> Vec<String> {
    let expr = match parse(&example.query) {
        Ok(expr) => expr,
        Err(error) => return vec![format!("error: {error}")],
    };
    assert_eq!(parse(&expr.to_string()).as_ref(), Ok(&expr), "{} is printed as {expr}", example.query);
    assert_eq!(
        parse(&logyard_logql::pretty(&expr)).map(|again| again.to_string()),
        Ok(expr.to_string()),
        "{}",
        example.query
    );
    let default = match expr {
        Expr::Log(_) => range(0, 100, 1),
        _ => QueryKind::Instant { time_ns: 60 * SECOND },
    };
    let mut wanted = request(&example.query, example.kind.unwrap_or(default));
    wanted.limit = example.limit.unwrap_or(100);
    wanted.direction = if example.backward { Direction::Backward } else { Direction::Forward };
    let settings = EngineSettings { threads: 2, ..EngineSettings::default() };
    // However entries are spread, the answer is the same.
    let (odd, even): (Vec<_>, Vec<_>) =
        example.entries.iter().cloned().enumerate().partition(|(i, _)| i % 2 > 0);
    let strip = |part: Vec<(usize, Line)>| part.into_iter().map(|(_, line)| line).collect::<Vec<_>>();
    let memories = [
        Memory { views: vec![example.entries.clone()] },
        Memory { views: vec![strip(even), strip(odd), example.entries.clone()] },
    ];
    let answers: Vec<Vec<String>> = memories
        .iter()
        .map(|memory| match Engine::new(settings.clone()).run(memory, &wanted) {
            Ok(outcome) => answer_texts(outcome),
            Err(error) => vec![format!("error: {error}")],
        })
        .collect();
    assert_eq!(answers[0], answers[1], "{} depends on where entries lie", example.query);
    answers.into_iter().next().unwrap()
}

#[test]
fn every_example_of_the_page_holds() {
    let blocks = PAGE.split("```example\n").skip(1);
    let mut count = 0;
    for block in blocks {
        let (block, _) = block.split_once("```").unwrap();
        let example = read(block);
        assert_eq!(run_example(&example), example.answer, "{}", example.query);
        count += 1;
    }
    assert!(count >= 16, "{count} examples");
}
