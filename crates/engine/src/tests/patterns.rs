//! Patterns over blocks, with counts by level and step.

use super::*;
use crate::PatternsRequest;
use logyard_model::TimeRange;

#[test]
fn lines_are_counted_by_pattern_level_and_step() {
    let a = [("app", "a")];
    let at = |seconds, text: &str, level| Line { level, ..line(&a, seconds, text) };
    let first = [
        at(1, "user ann logged in after 3 tries", "info"),
        at(4, "user bob logged in after 1 tries", "info"),
        at(5, "disk full", "error"),
    ];
    // The first one is a copy.
    let second = [
        at(5, "disk full", "error"),
        at(12, "user ann logged in after 9 tries", "warn"),
        at(13, "user eve logged in after 9 tries", "info"),
        at(25, "outside of the range", "info"),
    ];
    let request = PatternsRequest {
        tenants: Tenant::single().into(),
        matchers: Vec::new(),
        range: TimeRange { start_ns: 0, end_ns: 20 * SECOND },
        step_ns: 10 * SECOND,
        now_ns: 0,
        cancel: Arc::new(Cancel::new()),
    };
    let engine = Engine::new(EngineSettings { threads: 2, ..EngineSettings::default() });
    let found = engine.patterns(&Memory::new(&[&first, &second]), &request).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|row| {
            let counts = row.counts.iter().map(|(step, lines)| format!(" {}={lines}", step / SECOND));
            format!("{} {}:{}", row.level, row.pattern, counts.collect::<String>())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "info user <_> logged in after <_> tries: 0=2 10=1",
            "error disk full: 0=1",
            "warn user <_> logged in after <_> tries: 10=1",
        ]
    );
}
