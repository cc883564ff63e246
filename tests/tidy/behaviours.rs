//! The list of behaviours in `tests/it/README.md` names tests that exist, and all that are named after a behaviour.

use crate::tree;
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = "tests/it/README.md";
const BEHAVIOURS: usize = 40;

/// Returns the tests of each row.
fn rows() -> Vec<(usize, BTreeSet<String>)> {
    let page = tree::read(Path::new(PAGE));
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let names = cells.get(2)?.split('`').skip(1).step_by(2);
        Some((number, names.map(str::to_owned).collect()))
    };
    page.lines().filter_map(row).collect()
}

/// Returns the names of all functions.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in tree::files("rs") {
        for line in tree::read(&path).lines() {
            let rest = line.split_once("fn ").map(|(_, rest)| rest);
            let name = rest.and_then(|rest| rest.split(['(', '<']).next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// Returns the behaviours that a test is named after.
fn named(function: &str) -> impl Iterator<Item = usize> {
    let number = |word: &str| word.strip_prefix('b').filter(|digits| digits.len() == 2)?.parse().ok();
    let numbers: Vec<Option<usize>> = function.split('_').map(number).collect();
    // Only those before the words: a name may speak of others.
    numbers.into_iter().map_while(|number| number)
}

#[test]
fn every_behaviour_has_its_tests() {
    let (rows, functions) = (rows(), functions());
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=BEHAVIOURS).collect::<Vec<_>>(), "rows of {PAGE}");
    let mut wrong = Vec::new();
    for (number, tests) in &rows {
        if tests.is_empty() {
            wrong.push(format!("{number} has no test"));
        }
        let missing = tests.difference(&functions);
        wrong.extend(missing.map(|name| format!("{number} names {name}, which is not there")));
    }
    for function in &functions {
        for number in named(function) {
            let is_there = rows.iter().any(|(row, tests)| *row == number && tests.contains(function));
            if !is_there {
                wrong.push(format!("{function} is not in row {number}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn names_tell_behaviours() {
    let all = |name: &str| -> Vec<usize> { named(name).collect() };
    assert_eq!(all("b02_b03_many_lines_of_b04"), [2, 3]);
    assert_eq!(all("bytes_b10"), [0; 0]);
}
