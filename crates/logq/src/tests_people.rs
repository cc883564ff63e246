//! What people type first, against a stand-in for a store.

use crate::tests::command;
use crate::tests_examples::stand_in;
use crate::{FOUND, NOTHING, TROUBLE};

#[test]
fn nothing_typed_shows_what_writes() {
    let addr = stand_in();
    let done = command(&["--addr", &addr], &[]);
    assert_eq!(done.status, FOUND, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines[0], "container  ERRORS  ENTRIES  RATE  SIZE  TREND");
    assert!(lines[1].starts_with("web             7        7   7/h   7 B  "), "{}", lines[1]);
    assert!(done.err.contains("logq NAME"), "{}", done.err);
    let done = command(&["--addr", &addr, "-o", "jsonl"], &[]);
    assert_eq!(
        done.out,
        "{\"bytes\":7.0,\"entries\":7.0,\"errors\":7.0,\"label\":\"container\",\"name\":\"web\"}\n"
    );
}

#[test]
fn a_name_is_asked_for_and_a_command_wins() {
    let addr = stand_in();
    let done = command(&["WE", "-o", "raw", "--addr", &addr], &[]);
    assert_eq!((done.status, &*done.out, &*done.err), (FOUND, "ERROR x\n", "container: web\n"));
    let done = command(&["web", "-o", "raw", "--addr", &addr], &[]);
    assert_eq!((&*done.out, &*done.err), ("ERROR x\n", ""));
    let done = command(&["errors", "--addr", &addr], &[]);
    assert!(done.out.starts_with("COUNT  LAST"), "{}", done.out);
    // Other labels than that of containers are not known to this store.
    let done = command(&["--addr", &addr, "--", "errors"], &[]);
    assert_eq!(done.status, TROUBLE, "{}", done.err);
    let done = command(&["{}", "--addr", &addr], &[]);
    assert!(done.status == TROUBLE && done.err.contains("parse error"), "{}", done.err);
}

#[test]
fn tables_of_errors_sizes_and_patterns() {
    let addr = stand_in();
    let done = command(&["errors", "web", "--addr", &addr], &[]);
    assert_eq!(
        done.out,
        "COUNT  LAST                      NAME  LAST LINE\n    1  2026-11-21T02:59:06.000Z  web   ERROR x\n"
    );
    let done = command(&["top", "--by", "container", "--addr", &addr], &[]);
    assert_eq!(
        done.out,
        format!("container  SIZE    SHARE  ENTRIES\nweb         7 B  100.0 %        7  {}\n", "█".repeat(20))
    );
    let done = command(&["patterns", "--addr", &addr], &[]);
    let counts: Vec<&str> = done.out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(counts, ["COUNT", "4", "3"], "{}", done.out);
}

#[test]
fn context_marks_the_entry_that_is_meant() {
    let addr = stand_in();
    let line = ["context", "2026-11-21T02:59:06.000Z", "web", "-B", "1", "-A", "0", "--addr", &addr];
    let done = command(&line, &[]);
    assert_eq!(done.status, FOUND, "{}", done.err);
    // The stand-in gives the same entry for any range.
    assert_eq!(done.out, "> 2026-11-21T02:59:06.000Z ERROR x\n".repeat(2));
    assert_eq!(done.err, "stream: {container=\"web\"}\n");
    let done = command(&["context", "2026-11-21T02:59:06.000Z", "--addr", &addr], &[]);
    assert!(done.status == TROUBLE && done.err.contains("logq context TIME web"), "{}", done.err);
    assert_eq!(command(&["context", "now", "nobody", "--addr", &addr], &[]).status, TROUBLE);
    assert_ne!(NOTHING, TROUBLE);
}

#[test]
fn a_histogram_stands_above_the_entries() {
    let addr = stand_in();
    let line = ["{container=\"web\"}", "--histogram", "--addr", &addr];
    let done = command(&line, &[]);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!((done.status, lines.len()), (FOUND, 8), "{}{}", done.out, done.err);
    assert!(lines[0].starts_with("8 entries  most "), "{}", done.out);
    assert!(
        lines[6].starts_with("2026-11-21 01:59:06") && lines[6].ends_with("2026-11-21 02:59:06"),
        "{}",
        lines[6]
    );
    assert_eq!(lines[7], "2026-11-21T02:59:06.000Z ERROR x");
    let done = command(&[&line[..], &["-o", "raw"]].concat(), &[]);
    assert_eq!(done.out, "ERROR x\n");
    assert!(done.err.starts_with("8 entries"), "{}", done.err);
    for more in [&["--stdin"][..], &["-t"]] {
        let done = command(&[&line[..], more].concat(), &[]);
        assert!(done.status == TROUBLE && done.err.contains("cannot draw a histogram"), "{}", done.err);
    }
    let done = command(&["rate({a=\"b\"}[5m])", "--histogram", "--addr", &addr], &[]);
    assert!(done.status == TROUBLE && done.err.contains("--chart"), "{}", done.err);
}

#[test]
fn what_the_query_looks_for_is_marked() {
    let addr = stand_in();
    let ask = |more: &[&str]| {
        let line = ["{container=\"web\"} |= \"ERROR\"", "--addr", &addr, "--color"];
        command(&[&line[..], more].concat(), &[]).out
    };
    assert!(
        ask(&["always"]).ends_with(" \u{1b}[31m\u{1b}[7mERROR\u{1b}[27m x\u{1b}[0m\n"),
        "{:?}",
        ask(&["always"])
    );
    for form in ["raw", "jsonl", "csv"] {
        assert!(!ask(&["always", "-o", form]).contains('\u{1b}'), "{form}");
    }
    assert_eq!(ask(&["never"]), "2026-11-21T02:59:06.000Z ERROR x\n");
}

#[test]
fn tables_have_forms_for_programs() {
    let addr = stand_in();
    let ask = |words: &[&str], form: &str| {
        let done = command(&[words, &["-o", form, "--addr", &addr]].concat(), &[]);
        assert_eq!(done.status, FOUND, "{words:?}: {}", done.err);
        done.out
    };
    let by = ["top", "--by", "container"];
    assert_eq!(ask(&by, "csv"), "bytes,container,entries\n7,web,7\n");
    assert_eq!((ask(&by, "raw"), ask(&[], "raw")), ("web\n".to_owned(), "web\n".to_owned()));
    assert_eq!(ask(&["errors"], "csv"), "count,last,line,name\n1,2026-11-21T02:59:06.000Z,ERROR x,web\n");
    assert_eq!(ask(&["errors"], "raw"), "ERROR x\n");
    assert_eq!(ask(&["patterns"], "raw"), "lost <_>\nGET <_>\n");
    assert!(ask(&["patterns"], "csv").starts_with("count,level,pattern\n4,error,lost <_>\n"));
}

#[test]
fn a_fault_in_a_selector_is_shown_in_what_was_written() {
    let nobody = ["--addr", "http://127.0.0.1:1"];
    for name in ["errors", "top", "patterns"] {
        let done = command(&[&[name, "{container="], &nobody[..]].concat(), &[]);
        assert!(done.status == TROUBLE && done.err.contains("\n  {container=\n"), "{}", done.err);
        let done = command(&[&[name, "rate({a=\"b\"}[5m])"], &nobody[..]].concat(), &[]);
        assert!(done.status == TROUBLE && done.err.contains("want a name or a selector"), "{}", done.err);
    }
}
