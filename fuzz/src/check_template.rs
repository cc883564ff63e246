//! Any text as a template over any labels and line: refused, or one entry, the same each time.
//!
//! The input is parts between bytes 0xff: the template, the labels `a`, `b` and `n`, the line.

use crate::one_stream::OneStream;
use logyard_engine::{Kind, QueryResult};
use logyard_logql::{parse, quoted};
use logyard_model::{Direction, LabelSet};

/// Runs one input.
pub fn check(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == 0xff);
    let Ok(template) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let mut metadata = LabelSet::default();
    for name in ["a", "b", "n"] {
        if let Some(value) = parts.next().filter(|value| !value.is_empty()) {
            metadata.insert(name, String::from_utf8_lossy(value).into_owned());
        }
    }
    let entries = OneStream { lines: vec![parts.next().unwrap_or_default().to_vec()], metadata };
    for stage in ["line_format ", "label_format x=", "label_format a=b, app="] {
        let query = format!(r#"{{app="a"}} | {stage}{}"#, quoted(template));
        // Too long, or a NUL.
        let Ok(expr) = parse(&query) else { continue };
        let ask = || entries.ask(&expr, false, Direction::Forward);
        match (ask(), ask()) {
            (Ok(QueryResult::Entries(found)), Ok(again)) => {
                assert_eq!(found.len(), 1, "{query} lost an entry");
                assert_eq!(again, QueryResult::Entries(found), "{query} differs");
            }
            (Err(error), Err(_)) => assert_eq!(error.kind(), Kind::Invalid, "{query}: {error}"),
            (one, other) => panic!("{query} gives {one:?}, then {other:?}"),
        }
    }
}
