//! What bounds a query: memory above all.

use super::*;
use crate::QueryOutcome;
use std::sync::Mutex;

/// Entries in encoded blocks of their own; keeps the handles that it gives out.
#[derive(Default)]
struct Handles {
    memory: Memory,
    given: Mutex<Vec<Arc<Block>>>,
}

impl Select for Handles {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError> {
        let views = self.memory.select(request)?;
        let encoded = views.iter().filter(|view| view.block.heap_bytes() == 0);
        self.given.lock().unwrap().extend(encoded.map(|view| Arc::clone(&view.block)));
        Ok(views)
    }
}

/// Entries of five minutes in ten views that overlap and hold copies.
fn sample() -> Memory {
    let view = |first: i64| {
        let line = |second: i64| Line { level: "info", ..line(&[("app", "a")], second, "a=1 word") };
        (first..first + 40).map(line).collect()
    };
    Memory { views: (0..10).map(|view_index| view(view_index * 30)).collect() }
}

fn run_with(settings: EngineSettings, query: &str, limit: usize) -> Result<QueryOutcome, Error> {
    let request = QueryRequest { limit, ..request(query, range(0, 300, 10)) };
    Engine::new(EngineSettings { threads: 2, ..settings }).run(&sample(), &request)
}

const QUERIES: [&str; 4] = [
    r#"{app="a"} |= "word" | logfmt"#,
    r#"{app="a"}"#,
    r#"count_over_time({app="a"} |= "word" [1m])"#,
    r#"sum_over_time({app="a"} | logfmt | unwrap a [1m])"#,
];

#[test]
fn no_block_stays_decoded() {
    for query in QUERIES {
        let handles = Handles { memory: sample(), ..Handles::default() };
        let engine = Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() });
        let request = request(query, range(0, 300, 10));
        engine.run(&handles, &request).unwrap_or_else(|error| panic!("{query}: {error}"));
        let given = handles.given.lock().unwrap();
        assert!(!given.is_empty());
        assert!(given.iter().all(|block| block.heap_bytes() == 0), "{query}");
    }
}

#[test]
fn what_is_held_is_bounded() {
    for query in QUERIES {
        let settings = EngineSettings { query_memory_bytes_max: 500, ..EngineSettings::default() };
        let error = run_with(settings, query, 100).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{query}");
        assert!(error.to_string().contains("engine.query_memory_bytes_max"), "{error}");
        let settings = EngineSettings { memory_bytes_max: 500, ..EngineSettings::default() };
        let error = run_with(settings, query, 100).unwrap_err();
        assert_eq!(error.kind(), Kind::Limited, "{query}");
        assert!(error.to_string().contains("engine.memory_bytes_max"), "{error}");
        run_with(EngineSettings::default(), query, 100).unwrap();
    }
}

#[test]
fn what_was_held_is_given_back() {
    let settings = EngineSettings { threads: 2, memory_bytes_max: 60_000, ..EngineSettings::default() };
    let engine = Engine::new(settings);
    for round in 0..20 {
        for query in QUERIES {
            let outcome = engine.run(&sample(), &request(query, range(0, 300, 10)));
            assert!(outcome.is_ok(), "round {round}: {:?}", outcome.err());
        }
    }
}
