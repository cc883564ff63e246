//! Queries of absurd size: each is refused with the bound's name, or read, walked and printed, on a stack
//! of half of the two MiB that Rust gives a thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

use logyard_logql::{parse, pretty};
use std::time::Instant;

/// Half of the stack that threads have by default.
const STACK_BYTES: usize = 1 << 20;

enum Outcome {
    Accepted,
    RefusedWith(&'static str),
}

use Outcome::{Accepted, RefusedWith};

fn check(name: &'static str, text: String, expect: Outcome) {
    let bytes = text.len();
    let read = move || {
        let start = Instant::now();
        let read = parse(&text);
        let took = start.elapsed();
        let error = match read {
            Ok(tree) => {
                let again = parse(&tree.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(again == tree, "{name}");
                assert!(!pretty(&tree).is_empty(), "{name}");
                assert!(!format!("{:?}", tree.clone()).is_empty());
                None
            }
            Err(error) => Some(error.to_string()),
        };
        (took, error)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let (took, error) = thread.spawn(read).unwrap().join().unwrap();
    println!("{name:<34} {bytes:>9} B {took:>12?} {}", error.as_deref().unwrap_or("accepted"));
    match (expect, error) {
        (Accepted, None) => {}
        (RefusedWith(bound), Some(error)) => assert!(error.contains(bound), "{name}: {error}"),
        (_, error) => panic!("{name}: {error:?}"),
    }
}

fn wrapped(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

fn log(rest: &str) -> String {
    format!(r#"{{a="b"}} {rest}"#)
}

const LONG: &str = "input size too long";
const DEEP: &str = "nests too deeply, limit is 100 levels";

#[test]
fn what_is_too_long_is_refused_unread() {
    check("10 MB of text", log(&format!("|= `{}`", "x".repeat(10 << 20))), RefusedWith(LONG));
    check("100,000 parentheses", wrapped("(", "1", ")", 100_000), RefusedWith(LONG));
    check("100,000 stages", log(&"|json".repeat(100_000)), RefusedWith(LONG));
    check("100,000 alternatives", log(&format!("|=`a`{}", " or `b`".repeat(100_000))), RefusedWith(LONG));
}

#[test]
fn what_is_too_deep_is_refused() {
    check("60,000 parentheses", wrapped("(", "1", ")", 60_000), RefusedWith(DEEP));
    check("100,000 open parentheses", "(".repeat(100_000), RefusedWith(DEEP));
    check("10,000 sums", wrapped("sum(", "vector(1)", ")", 10_000), RefusedWith(DEEP));
    check("10,000 functions", wrapped("abs(", "vector(1)", ")", 10_000), RefusedWith(DEEP));
    check("60,000 powers", wrapped("2^", "2", "", 60_000), RefusedWith(DEEP));
    check("10,000 additions", wrapped("vector(1)+", "vector(1)", "", 10_000), RefusedWith(DEEP));
    check("10,000 ors of vectors", wrapped("vector(1) or ", "vector(1)", "", 8_000), RefusedWith(DEEP));
    check(
        "50,000 parentheses in a filter",
        log(&format!("| {}", wrapped("(", "x>1", ")", 50_000))),
        RefusedWith(DEEP),
    );
    check(
        "15,000 label filters with or",
        log(&format!("| {}", wrapped("x>1 or ", "x>1", "", 15_000))),
        RefusedWith(DEEP),
    );
    check(
        "30,000 label filters with comma",
        log(&format!("| {}", wrapped("x>1,", "x>1", "", 30_000))),
        RefusedWith(DEEP),
    );
}

#[test]
fn what_is_long_and_flat_is_read() {
    check("18,000 stages", log(&"|json".repeat(18_000)), Accepted);
    check("18,000 alternatives", log(&format!("|=`a`{}", " or `b`".repeat(18_000))), Accepted);
    check("60,000 numbers added", wrapped("1+", "1", "", 60_000), Accepted);
    check("30,000 labels kept", log(&format!("| keep a{}", ",b".repeat(30_000))), Accepted);
    check("10,000 matchers", format!(r#"{{a="b"{}}}"#, r#",c!="d""#.repeat(10_000)), Accepted);
}

#[test]
fn what_is_at_the_bound_is_read() {
    check("99 parentheses", wrapped("(", "vector(1)", ")", 99), Accepted);
    check("99 sums", wrapped("sum(", "vector(1)", ")", 99), Accepted);
    check("99 functions", wrapped("clamp(", "vector(1)", ",1,2)", 99), Accepted);
    check("99 additions", wrapped("vector(1)+", "vector(1)", "", 99), Accepted);
    check("99 powers", wrapped("vector(1)^", "vector(1)", "", 99), Accepted);
    check("49 sums of sums", wrapped("sum(vector(1)+", "vector(1)", ")", 49), Accepted);
    check("100 ors in a filter", log(&format!("| {}", wrapped("x>1 or ", "x>1", "", 100))), Accepted);
    check("100 commas in a filter", log(&format!("| {}", wrapped("x>1,", "x>1", "", 100))), Accepted);
    check("100 parentheses in a filter", log(&format!("| {}", wrapped("(", "x>1", ")", 100))), Accepted);
    check("99 parentheses in a range", format!("rate{}", wrapped("(", r#"{a="b"}[5m]"#, ")", 100)), Accepted);
}

/// A number too large for a float is refused wherever it stands, as in Loki: it has no text to be read again.
#[test]
fn numbers_beyond_floats_are_refused() {
    for text in [
        "vector(1e999)",
        r#"quantile_over_time(1e999, {a="b"} | unwrap x [5m])"#,
        r#"{a="b"} | x > 1e999"#,
        "1e999",
        "-1e999 + vector(1)",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("value out of range"), "{text}: {error}");
    }
    let print = parse("vector(1e308)").unwrap().to_string();
    assert_eq!(parse(&print).unwrap().to_string(), print);
}
