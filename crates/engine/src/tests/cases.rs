//! Queries in text files, `tests/cases/*.txt`, against the entries that stand before them.
//!
//! One statement per line:
//!
//! ```text
//! ## title          a new case: no entries, the stream is {app="a"}, metadata none
//! stream {…}        labels of the entries that follow
//! metadata {…}      their structured metadata
//! entry TEXT        an entry one second later than the one before, the first at second 1
//! entry "TEXT"      the same, with Go's escapes
//! entries N TEXT    so many entries; %d in the text is the second
//! query TEXT        evaluates: entries as a log query, samples at second 10
//! stage TEXT        the same, with {app="a"} in front
//! range A B S TEXT  evaluates from second A to B in steps of S
//! interval N TEXT   as a log query, entries at least so many seconds apart
//! = TEXT            one line of the answer: `second line`, then the labels that the entry's stream
//!                   did not have, metadata before parsed; `|{…}` is a stream with other labels
//! ! TEXT            the answer is an error that starts so
//! ```
//!
//! A statement without answer lines yields nothing. Blank lines are skipped, and so is `# text`.

#![allow(clippy::disallowed_methods)]

use super::*;
use logyard_logql::Expr;
use std::path::Path;

/// What a query is asked over, and where it stands.
#[derive(Debug, Default)]
struct Case {
    place: String,
    stream: LabelSet,
    metadata: LabelSet,
    lines: Vec<Line>,
    question: Option<Question>,
    differences: Vec<String>,
}

#[derive(Debug)]
struct Question {
    query: String,
    kind: Option<QueryKind>,
    interval_ns: i64,
    answer: Vec<String>,
}

/// Reads `{a="b"}`, any text as value.
fn labels(text: &str) -> LabelSet {
    if text == "{}" {
        return LabelSet::default();
    }
    let Ok(Expr::Log(log)) = parse(text) else { panic!("no labels: {text}") };
    LabelSet::from_pairs(log.matchers.iter().map(|matcher| (matcher.name(), matcher.value())))
}

/// Reads a text that may stand between quotes.
fn unquoted(text: &str) -> String {
    if !text.starts_with('"') {
        return text.to_owned();
    }
    match parse(&format!(r#"{{a="b"}} |= {text}"#)) {
        Ok(Expr::Log(log)) => match &log.stages[0].kind {
            logyard_logql::StageKind::LineFilter(filter) => match &filter.args[..] {
                [logyard_logql::LineFilterArg::Text(text)] => text.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    }
}

impl Case {
    fn add(&mut self, text: &str) {
        let mut entry = line(&[], self.lines.len() as i64 + 1, text);
        (entry.stream, entry.metadata) = (self.stream.clone(), self.metadata.clone());
        self.lines.push(entry);
    }

    fn ask(&mut self, query: &str, kind: Option<QueryKind>) {
        self.finish();
        self.question = Some(Question { query: query.to_owned(), kind, interval_ns: 0, answer: Vec::new() });
    }

    /// Evaluates what was asked last.
    fn finish(&mut self) {
        let Some(question) = self.question.take() else { return };
        let found = self.answer(&question);
        let agrees = match &*question.answer {
            [error] if error.starts_with("! ") => found.len() == 1 && found[0].starts_with(error),
            expect => found == expect,
        };
        if !agrees {
            let (found, expect) = (found.join("\n"), question.answer.join("\n"));
            let difference =
                format!("{}: {}\n  found\n{found}\n  expected\n{expect}", self.place, question.query);
            self.differences.push(difference);
        }
    }

    fn answer(&self, question: &Question) -> Vec<String> {
        let expr = match parse(&question.query) {
            Ok(expr) => expr,
            Err(error) => return vec![format!("! {}", error.to_string().lines().next().unwrap())],
        };
        let is_log = matches!(expr, Expr::Log(_));
        let kind = match question.kind {
            Some(kind) => kind,
            None if is_log => range(0, 100, 1),
            None => QueryKind::Instant { time_ns: 10 * SECOND },
        };
        let memory = Memory::new(&[&self.lines]);
        let wanted = QueryRequest {
            expr: Arc::new(expr),
            interval_ns: question.interval_ns,
            ..request("vector(1)", kind)
        };
        match run(&memory, &wanted) {
            Ok(result) => self.texts(&result),
            Err(error) => vec![format!("! {error}")],
        }
    }

    fn texts(&self, result: &QueryResult) -> Vec<String> {
        match result {
            QueryResult::Entries(entries) => entries.iter().map(|entry| self.entry(entry)).collect(),
            QueryResult::Matrix(series) => series
                .iter()
                .map(|series| {
                    let samples = series.samples.iter();
                    let samples =
                        samples.map(|sample| format!(" {}={}", sample.ts_ns / SECOND, sample.value));
                    format!("= {}{}", series.labels, samples.collect::<String>())
                })
                .collect(),
            QueryResult::Vector(samples) => {
                samples.iter().map(|sample| format!("= {} {}", sample.labels, sample.value)).collect()
            }
            QueryResult::Scalar { value, .. } => vec![format!("= {value}")],
        }
    }

    fn entry(&self, entry: &crate::LogEntry) -> String {
        let second = entry.ts_ns / SECOND;
        let mut text = format!("= {second} {}", String::from_utf8_lossy(&entry.line).escape_debug());
        text = text.replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\");
        for set in [&entry.metadata, &entry.parsed] {
            if !set.is_empty() {
                text = format!("{text} {set}");
            }
        }
        let known = self.lines.iter().any(|line| line.stream == *entry.stream);
        if known { text } else { format!("{text} |{}", entry.stream) }
    }
}

fn check_file(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let mut titles = Vec::new();
    let mut case = Case::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "##" => {
                case.finish();
                let stream = LabelSet::from_pairs([("app", "a")]);
                case = Case { stream, differences: case.differences, ..Case::default() };
                titles.push(rest.to_owned());
            }
            "stream" => case.stream = labels(rest),
            "metadata" => case.metadata = labels(rest),
            "entry" => case.add(&unquoted(rest)),
            "entries" => {
                let (count, text) = rest.split_once(' ').unwrap();
                for _ in 0..count.parse::<usize>().unwrap() {
                    let second = (case.lines.len() + 1).to_string();
                    case.add(&text.replace("%d", &second));
                }
            }
            "query" => case.ask(rest, None),
            "stage" => case.ask(&format!(r#"{{app="a"}} {rest}"#), None),
            "range" => {
                let mut words = rest.splitn(4, ' ');
                let mut second = || words.next().unwrap().parse::<i64>().unwrap();
                let kind = range(second(), second(), second());
                case.ask(words.next().unwrap(), Some(kind));
            }
            "interval" => {
                let (seconds, query) = rest.split_once(' ').unwrap();
                case.ask(query, None);
                case.question.as_mut().unwrap().interval_ns = seconds.parse::<i64>().unwrap() * SECOND;
            }
            "=" | "!" => {
                let question = case.question.as_mut().unwrap_or_else(|| panic!("{name}:{number}: no query"));
                question.answer.push(line.to_owned());
                continue;
            }
            other => panic!("{name}:{number}: what is {other}?"),
        }
        case.place = format!("{name}:{number}");
    }
    case.finish();
    assert!(case.differences.is_empty(), "{}", case.differences.join("\n"));
    titles
}

fn cases() -> impl Iterator<Item = std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
}

#[test]
fn answers_are_as_written() {
    let mut names = Vec::new();
    for path in cases() {
        let titles = check_file(&path);
        assert!(!titles.is_empty(), "{}", path.display());
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(names, ["binary", "label_filters", "range_functions", "worked_examples"]);
}

/// The worked examples of the reference are numbered, and none is left out.
#[test]
fn worked_examples_are_complete() {
    let path = cases().find(|path| path.ends_with("worked_examples.txt")).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let numbers: Vec<usize> =
        text.lines().filter_map(|line| line.strip_prefix("## ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(numbers, (1..=108).collect::<Vec<_>>());
}
