//! Queries in text files, `tests/cases/*.txt`: their canonical text, or why they are refused.
//!
//! A case is a query of one or more lines and what becomes of it; blank lines end cases, `## text` is
//! a comment:
//!
//! ```text
//! = TEXT   the canonical text, which parses to the same tree
//! ~ TEXT   another query that means the same
//! ! TEXT   the first line of the error
//! ? TEXT   its hint; without this line there must be none
//! ^ TEXT   the part of the query that is to blame
//! ```

#![allow(clippy::disallowed_methods)]

use super::*;
use std::path::Path;

fn check_case(place: &str, lines: &[&str], differences: &mut Vec<String>) {
    let is_answer = |line: &&&str| ["= ", "~ ", "! ", "? ", "^ "].iter().any(|mark| line.starts_with(mark));
    let count = lines.iter().take_while(|line| !is_answer(line)).count();
    let (query, answers) = lines.split_at(count);
    let query = query.join("\n");
    let mut expect: Vec<String> = answers.iter().map(|line| (*line).to_owned()).collect();
    assert!(!query.is_empty() && !expect.is_empty(), "{place}: no query or no answer");
    let found = match parse(&query) {
        Ok(expr) => {
            for other in answers.iter().filter_map(|line| line.strip_prefix("~ ")) {
                assert_eq!(parse(other).as_ref(), Ok(&expr), "{place}: {query} and {other}");
            }
            let text = expr.to_string();
            assert_eq!(parse(&text).as_ref(), Ok(&expr), "{place}: {query}");
            expect.retain(|line| !line.starts_with("~ "));
            if expect.is_empty() { Vec::new() } else { vec![format!("= {text}")] }
        }
        Err(error) => {
            let text = error.to_string();
            let mut found = vec![format!("! {}", text.lines().next().unwrap_or_default())];
            found.extend(error.hint().map(|hint| format!("? {hint}")));
            assert_eq!(text.lines().count(), found.len(), "{place}: {text}");
            if expect.iter().any(|line| line.starts_with("^ ")) {
                let span = error.span().unwrap_or_default();
                found.push(format!("^ {}", query.get(span.start..span.end).unwrap_or("?")));
            }
            found
        }
    };
    if found != expect {
        let (found, expect) = (found.join("\n"), expect.join("\n"));
        differences.push(format!("{place}: {query}\n  found\n{found}\n  expected\n{expect}"));
    }
}

fn check_file(path: &Path, differences: &mut Vec<String>) -> usize {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let (mut lines, mut count) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.lines().chain([""])) {
        if !line.is_empty() {
            if !line.starts_with("## ") {
                lines.push(line);
            }
        } else if !lines.is_empty() {
            check_case(&format!("{name}, above {number}"), &lines, differences);
            lines.clear();
            count += 1;
        }
    }
    count
}

#[test]
fn answers_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (mut files, mut differences) = (Vec::new(), Vec::new());
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        assert!(check_file(&path, &mut differences) > 0, "{}", path.display());
        files.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    files.sort();
    assert_eq!(files, ["hints", "lexing", "precedence", "static_checks"]);
}
