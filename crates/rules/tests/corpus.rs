//! Replays the corpora of the fuzz targets, so that what was once found stays found.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use logyard_rules::inspect::{check_file, check_state};
use std::path::Path;

/// Checks all files of a corpus. Returns how many were taken, and how many there are.
fn replay(target: &str, check: impl Fn(&[u8]) -> Option<usize>) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    let taken = files.iter().filter(|path| check(&std::fs::read(path).unwrap()).is_some()).count();
    (taken, files.len())
}

#[test]
fn rule_files_are_taken_or_refused() {
    let (taken, all) = replay("rule_file", check_file);
    assert!(taken >= 3 && all > taken, "{taken} of {all}");
}

#[test]
fn states_are_taken_or_refused() {
    let (taken, all) = replay("rule_state", check_state);
    assert!(taken >= 2 && all > taken, "{taken} of {all}");
}
