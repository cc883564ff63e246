//! Every source file: documented, short, finished, and in the words of the glossary.

use std::path::Path;

use crate::tree;

/// Longest source file, in lines: past it, it is more than one thing.
const LINES_MAX: usize = 800;

/// Names of files that say nothing about what is in them.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helpers", "misc", "manager"];

/// Words that mark unfinished work or a test that does not count. Written in two parts, since this file
/// is searched as well.
const UNFINISHED: [&str; 7] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO:"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
    concat!("#[should", "_panic"),
];

/// Words with a better one in the glossary, and that one.
const WORDS: [(&str, &str); 8] = [
    (concat!("mem", "table"), "head"),
    (concat!("head", " block"), "head"),
    (concat!("ss", "table"), "segment"),
    (concat!("commit", " log"), "WAL"),
    (concat!("scra", "per"), "source"),
    (concat!("book", "mark"), "position"),
    (concat!("structured_", "meta_data"), "structured metadata"),
    (concat!("inverted", " index"), "stream index"),
];

/// Runs a check over every source file and fails with all findings.
fn check(find: impl Fn(&Path, &str) -> Vec<String>) {
    let mut findings = Vec::new();
    for path in tree::files("rs") {
        let text = tree::read(&path);
        findings
            .extend(find(&path, &text).into_iter().map(|finding| format!("{}: {finding}", path.display())));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Returns a finding per line that holds one of the words, upper and lower case alike if asked.
fn lines_with(text: &str, word: &str, any_case: bool, say: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let found = line.contains(word) || any_case && line.to_lowercase().contains(&word.to_lowercase());
        if found {
            findings.push(format!("line {}: {word:?} {say}", index + 1));
        }
    }
    findings
}

#[test]
fn every_file_opens_with_its_doc() {
    check(|_, text| {
        // A fuzz target must begin with an attribute.
        let doc =
            text.lines().take(3).find(|line| line.starts_with("//! ") && line.len() > "//! Word.".len());
        match doc {
            Some(_) => Vec::new(),
            None => vec!["want a module doc (//! …) at the top".to_owned()],
        }
    });
}

#[test]
fn no_file_is_too_long() {
    check(|_, text| match text.lines().count() {
        lines if lines > LINES_MAX => {
            vec![format!("{lines} lines, limit is {LINES_MAX}; split it by concept")]
        }
        _ => Vec::new(),
    });
}

#[test]
fn nothing_is_left_unfinished() {
    check(|_, text| {
        UNFINISHED.iter().flat_map(|word| lines_with(text, word, false, "is left over; finish it")).collect()
    });
}

#[test]
fn words_are_those_of_the_glossary() {
    check(|_, text| {
        let find = |(word, better): &(&str, &str)| {
            lines_with(text, word, true, &format!("is called {better:?} here"))
        };
        WORDS.iter().flat_map(find).collect()
    });
}

#[test]
fn names_say_what_is_inside() {
    check(|path, _| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match EMPTY_NAMES.contains(&stem.as_str()) {
            true => vec![format!("{stem:?} says nothing; name the one thing it holds")],
            false => Vec::new(),
        }
    });
}

#[test]
fn no_file_of_a_suite_is_forgotten() {
    let all = tree::files("rs");
    let mut forgotten = Vec::new();
    for path in all.iter().filter(|path| path.starts_with("tests")) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let suite = path.components().nth(1).unwrap();
        let declared = all
            .iter()
            .filter(|other| other.components().nth(1) == Some(suite) && other.starts_with("tests"))
            .any(|other| {
                tree::read(other).lines().any(|line| line.trim().ends_with(&format!("mod {stem};")))
            });
        if stem != "main" && stem != "mod" && !declared {
            forgotten.push(path.display().to_string());
        }
    }
    assert!(forgotten.is_empty(), "not part of any suite: {forgotten:?}");
}

#[test]
fn every_suite_is_in_the_manifest() {
    let manifest = tree::read(Path::new("Cargo.toml"));
    for path in tree::files("rs").iter().filter(|path| path.starts_with("tests") && path.ends_with("main.rs"))
    {
        let entry = format!("path = \"{}\"", path.display());
        assert!(manifest.contains(&entry), "Cargo.toml has no [[test]] with {entry}");
    }
}
