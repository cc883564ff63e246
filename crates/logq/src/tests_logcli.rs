//! The page about logcli, held to the declaration; and a real Loki's answers, read by the commands.

use std::collections::HashMap;

use clap::CommandFactory as _;

use crate::args::Arguments;
use crate::check::{Yields, check};
use crate::tests::{command, serve};
use crate::{FOUND, TROUBLE};

const PAGE: &str = include_str!("../docs/logcli.md");

/// Returns the texts between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns whether a command takes a flag, by any of its names; those of every command are taken by each.
fn takes(command: &clap::Command, flag: &str) -> bool {
    let is_named = |arg: &clap::Arg| {
        let longs = arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten());
        let shorts = arg.get_short().into_iter().chain(arg.get_all_short_aliases().into_iter().flatten());
        match flag.strip_prefix("--") {
            Some(name) => longs.into_iter().any(|long| long == name),
            None => {
                flag.strip_prefix('-').is_some_and(|name| shorts.into_iter().any(|c| c.to_string() == name))
            }
        }
    };
    command.get_arguments().any(is_named)
}

#[test]
fn the_page_says_what_is_declared() {
    let mut root = Arguments::command();
    root.build();
    let (mut command, mut heading, mut counts) = (&root, "", [0, 0, 0]);
    for line in PAGE.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            heading = name;
            command = match name {
                "Of every command" => &root,
                name => name.split(' ').fold(&root, |command, word| {
                    command.find_subcommand(word).unwrap_or_else(|| panic!("{name} is no command"))
                }),
            };
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, theirs, ours, verdict, remark, _] = cells[..] else { continue };
        match verdict {
            "same" | "better" => {
                let ours = quoted(ours);
                assert_eq!(ours, quoted(theirs), "{line}");
                for name in ours {
                    let is_command = name == heading;
                    assert!(is_command || takes(command, name), "{heading}: {name} is not taken");
                }
                assert!(verdict == "same" || !remark.is_empty(), "{line}: say how");
                counts[usize::from(verdict == "better")] += 1;
            }
            "left out" => {
                assert!(!remark.is_empty() && ours.is_empty(), "{line}: say why");
                for name in quoted(theirs) {
                    assert!(!takes(command, name), "{heading}: {name} is taken after all");
                }
                counts[2] += 1;
            }
            _ => assert!(matches!(verdict, "Verdict" | "---" | ""), "{line}"),
        }
    }
    assert!(counts[0] > 40 && counts[1] > 25 && counts[2] > 8, "{counts:?}");
}

/// Reads a file of the recorded answers of Loki v3.7.6.
#[allow(clippy::disallowed_methods, reason = "files of a test")]
fn recorded(folder: &str) -> Vec<serde_json::Value> {
    let folder = format!("{}/../../tests/compat/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        match serde_json::from_str(&text) {
            Ok(serde_json::Value::Array(cases)) => found.extend(cases),
            _ => found.extend(text.lines().map(|line| serde_json::from_str(line).unwrap())),
        }
    }
    found
}

/// Returns the command that asks what a recorded call asked; `None` for calls that no command makes.
fn command_for(path: &str, query: &str) -> Option<Vec<String>> {
    let own = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
    let yields = check(query);
    match path.strip_prefix("/loki/api/v1/")? {
        "query_range" if yields.is_ok() => own(&["query", query, "--limit", "0"]),
        "query" if yields == Ok(Yields::Samples) => own(&["instant-query", query]),
        "labels" | "label" => own(&["labels"]),
        "series" => own(&["series"]),
        "index/stats" => own(&["stats", query]),
        "index/volume" => own(&["volume", query]),
        "index/volume_range" => own(&["volume_range", query]),
        "detected_fields" => own(&["detected-fields", query]),
        "delete" => own(&["delete", "list"]),
        path => match path.split('/').collect::<Vec<_>>()[..] {
            ["label", name, "values"] => own(&["labels", name]),
            ["detected_field", name, "values"] => own(&["detected-fields", query, name]),
            _ => None,
        },
    }
}

#[test]
fn answers_of_a_real_loki_are_read_and_printed() {
    let answers: HashMap<String, serde_json::Value> = recorded("answers")
        .into_iter()
        .filter(|answer| answer["status"] == 200 && !answer["body"].is_null())
        .map(|mut answer| (answer["id"].as_str().unwrap_or_default().to_owned(), answer["body"].take()))
        .collect();
    let (mut ran, mut queries) = (HashMap::<String, usize>::new(), 0);
    for case in recorded("cases") {
        let Some(body) = case["id"].as_str().and_then(|id| answers.get(id)) else { continue };
        let path = case["path"].as_str().unwrap_or_default();
        let Some(line) = command_for(path, case["params"]["query"].as_str().unwrap_or_default()) else {
            continue;
        };
        // Of queries there are more than a thousand, of few shapes; one that begins with a minus reads as a flag.
        let is_query = line[0].ends_with("query");
        queries += usize::from(is_query);
        let is_flag = line.get(1).is_some_and(|word| word.starts_with('-'));
        if case["method"] != "GET" || is_flag || is_query && queries % 8 != 0 {
            continue;
        }
        let (addr, _requests) = serve(vec![format!("200 {body}"); 2]);
        for form in ["default", "jsonl"] {
            let words: Vec<&str> =
                line.iter().map(String::as_str).chain(["--addr", &addr, "-o", form]).collect();
            let done = command(&words, &[]);
            assert!(done.status != TROUBLE, "{}: {words:?}\n{}\n{body}", case["id"], done.err);
            // Streams of which there are none are told as a table of noughts.
            let is_found = done.status == FOUND;
            assert!(line[0] == "stats" || is_found != done.out.is_empty(), "{words:?}\n{}", done.out);
        }
        *ran.entry(line[0].clone()).or_default() += 1;
    }
    for name in
        ["query", "instant-query", "labels", "series", "stats", "volume", "volume_range", "detected-fields"]
    {
        assert!(ran.get(name).is_some_and(|count| *count > 3), "{name}: {ran:?}");
    }
}
