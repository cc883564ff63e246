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
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&text) {
            Ok(tree) => {
                let printed = tree.to_string();
                let again = parse(&printed).unwrap();
                assert_eq!(again.to_string(), printed, "{text}");
                // A tree with NaN in it equals nothing.
                assert!(again == tree || path.ends_with("not_a_number"), "{text}");
                parsed += 1;
            }
            Err(_) => refused.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
        }
    }
    refused.sort();
    assert_eq!(refused, ["bad", "deep"]);
    assert!(parsed > 10, "{parsed} parsed");
}
