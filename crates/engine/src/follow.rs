//! Following live: a log query over entries as they arrive.
//!
//! The pipeline is compiled once and the same as that of a query, so that what a follower sees is what a query
//! finds later. Stages that look at several entries are refused: there is no last entry.

use crate::error::Error;
use crate::limits;
use crate::log_query::{RunTest, passing_entry, stage_of_several};
use crate::plan::{Columns, Pipeline, PushDown};
use crate::request::{LogEntry, QueryStats};
use crate::scan::{LabelColumns, rows_of};
use crate::settings::EngineSettings;
use logyard_codec::BlockView;
use logyard_logql::{Expr, LogExpr};
use logyard_model::{Matcher, TimeRange};
use std::sync::Arc;

/// A log query that is followed. Share it between threads.
#[derive(Debug)]
pub struct Follow {
    log: LogExpr,
    pipeline: Pipeline,
}

impl Follow {
    /// Compiles a log query; `now_ns` is the present for templates that ask for it, for as long as it is followed.
    ///
    /// Errors: `Invalid` with Loki's text for what is no log query, and as [`crate::Engine::run`].
    pub fn new(settings: &EngineSettings, expr: &Expr, now_ns: i64) -> Result<Self, Error> {
        let Expr::Log(log) = expr else {
            return Err(Error::invalid("only log selector is supported"));
        };
        limits::check(settings, expr)?;
        if let Some(name) = stage_of_several(log) {
            return Err(Error::invalid(format!("{name} has no meaning in a live tail; leave it out")));
        }
        let pipeline = Pipeline::compile(log, now_ns, PushDown::On)?;
        Ok(Self { log: log.clone(), pipeline })
    }

    /// Returns what streams must match.
    pub fn matchers(&self) -> &[Matcher] {
        &self.log.matchers
    }

    /// Adds the entries of a view that pass, in its order. Errors: the block cannot be read.
    ///
    /// Cost: as a query over the view; blocks the thread for as long.
    pub fn find(&self, view: &BlockView, found: &mut Vec<LogEntry>) -> Result<(), Error> {
        let block = &view.block;
        for run in &view.runs {
            let rows = rows_of(block, run, TimeRange::ALL, &[], &self.pipeline, &mut QueryStats::default())?;
            if rows.len() == 0 {
                continue;
            }
            let stream = Arc::clone(&run.stream.labels);
            let mut test = RunTest::new(&self.pipeline, block, run, Arc::clone(&stream))?;
            let columns = LabelColumns::new(block, Columns::ALL)?;
            let times = block.timestamps()?;
            for row in rows.iter() {
                let Some(ts_ns) = times.get(row as usize) else { continue };
                // Labels alone are tested once for all entries that have them; anything else while the entry is built.
                if self.pipeline.labels_only() && test.combination(row, *ts_ns)?.is_none() {
                    continue;
                }
                found.extend(passing_entry(&self.pipeline, block, &columns, &stream, (*ts_ns, row))?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::{Block, Entries, RunView};
    use logyard_model::{LabelSet, Stream, Tenant};

    fn view() -> BlockView {
        let mut entries = Entries::default();
        for (ts_ns, line, level) in [(1, "n=1 x", "info"), (2, "n=2 x", "warn"), (3, "n=3 y", "warn")] {
            entries.push(
                ts_ns,
                line.as_bytes(),
                level,
                &LabelSet::from_pairs([("trace", ts_ns.to_string())]),
            );
        }
        let stream = Arc::new(Stream::new(&Tenant::single(), LabelSet::from_pairs([("app", "web")])));
        let raw_bytes = entries.line_bytes();
        let run = RunView { stream, rows: 0..3, min_ns: 1, max_ns: 3, raw_bytes };
        BlockView { block: Arc::new(Block::from_entries(entries)), runs: vec![run], arrival: 0 }
    }

    #[test]
    fn entries_that_pass_are_found_as_a_query_would_answer_them() {
        let check = |query: &str, expect: &[(i64, &str)]| {
            let expr = logyard_logql::parse(query).unwrap();
            let follow = Follow::new(&EngineSettings::default(), &expr, 0).unwrap();
            let mut found = Vec::new();
            follow.find(&view(), &mut found).unwrap();
            let found: Vec<(i64, String)> = found
                .iter()
                .map(|entry| (entry.ts_ns, String::from_utf8_lossy(&entry.line).into_owned()))
                .collect();
            let expect: Vec<(i64, String)> =
                expect.iter().map(|(ts_ns, line)| (*ts_ns, (*line).to_owned())).collect();
            assert_eq!(found, expect, "{query}");
        };
        check(r#"{app="web"}"#, &[(1, "n=1 x"), (2, "n=2 x"), (3, "n=3 y")]);
        check(r#"{app="web"} |= "x""#, &[(1, "n=1 x"), (2, "n=2 x")]);
        check(r#"{app="web"} | detected_level="warn""#, &[(2, "n=2 x"), (3, "n=3 y")]);
        check(r#"{app="web"} | trace="3""#, &[(3, "n=3 y")]);
        check(r#"{app="web"} | logfmt | n="2" | line_format "{{.trace}}!""#, &[(2, "2!")]);
        check(r#"{app="web"} | logfmt | n > 1 != "x""#, &[(3, "n=3 y")]);
        check(r#"{app="web"} | logfmt | n="9""#, &[]);
    }

    #[test]
    fn stages_that_look_at_other_entries_are_refused() {
        for (stage, name) in [("distinct app", "distinct"), ("context 3", "context")] {
            let Ok(expr) = logyard_logql::parse(&format!(r#"{{app="web"}} | {stage}"#)) else { continue };
            let error = Follow::new(&EngineSettings::default(), &expr, 0).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
