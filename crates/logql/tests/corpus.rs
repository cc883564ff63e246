//! Replays the corpus of the fuzz target `logql`, so that what was once found stays found.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use logyard_logql::parse;
use std::path::Path;

#[test]
fn the_corpus_parses_and_prints_or_is_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/logql");
    let mut refused = Vec::new();
    let mut parsed = 0;
    for item in std::fs::read_dir(corpus).unwrap() {
        let path = item.unwrap().path();
        // What the fuzzer has found bears its hash as name, and is any bytes.
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_found = name.len() == 40;
        let text = match String::from_utf8(std::fs::read(&path).unwrap()) {
            Ok(text) => text,
            Err(error) => {
                assert!(is_found, "{name}: {error}");
                continue;
            }
        };
        match parse(&text) {
            Ok(tree) => {
                let printed = tree.to_string();
                let again = parse(&printed).unwrap();
                assert_eq!(again.to_string(), printed, "{text}");
                // A tree with NaN in it equals nothing.
                let has_nan = is_found || name == "not_a_number";
                assert!(again == tree || has_nan && parse(&text).unwrap() != tree, "{text}");
                parsed += 1;
            }
            Err(_) if is_found => {}
            Err(_) => refused.push(name),
        }
    }
    refused.sort();
    assert_eq!(refused, ["bad", "deep", "vector_beyond_floats"]);
    assert!(parsed > 10, "{parsed} parsed");
}
