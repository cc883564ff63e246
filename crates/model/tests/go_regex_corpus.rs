//! Replays the corpus of the fuzz target `go_regex`, so that what was once found stays found.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../../../fuzz/src/check_go_regex.rs"]
mod check_go_regex;

use std::path::Path;

#[test]
fn patterns_are_refused_or_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/go_regex");
    let mut count = 0;
    for item in std::fs::read_dir(folder).unwrap() {
        check_go_regex::check(&std::fs::read(item.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{count} inputs");
}
