//! A log query as a test of stored entries, for whoever holds them: which rows of a run does it mean?

use crate::error::Error;
use crate::log_query::{RunTest, stage_of_several};
use crate::plan::{Pipeline, PushDown};
use crate::request::QueryStats;
use crate::scan::rows_of;
use logyard_codec::{Block, RunView};
use logyard_logql::LogExpr;
use logyard_model::{Matcher, Prefilter, TimeRange};
use std::sync::Arc;

/// A log query, compiled once, that finds the entries it would answer.
///
/// The same entry passes here and in a query; what a stage makes of lines and labels is left out.
#[derive(Debug)]
pub struct EntryFilter {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
    passes_all: bool,
}

impl EntryFilter {
    /// Compiles a log query; `now_ns` is the present for its templates, so that equal arguments find equal rows.
    ///
    /// Errors: `Kind::Invalid` for a stage that cannot be compiled, and for `distinct` and `context`, by which an
    /// entry passes or not because of others.
    pub fn compile(log: &LogExpr, now_ns: i64) -> Result<Self, Error> {
        if let Some(name) = stage_of_several(log) {
            return Err(Error::invalid(format!("{name} cannot tell whether one entry is meant")));
        }
        Ok(Self {
            matchers: log.matchers.clone(),
            pipeline: Pipeline::compile(log, now_ns, PushDown::On)?,
            passes_all: log.stages.is_empty(),
        })
    }

    /// Returns what the labels of a stream have to meet.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Returns a necessary condition on the lines.
    pub fn prefilter(&self) -> &Prefilter {
        &self.pipeline.prefilter
    }

    /// Returns whether every entry of a matching stream passes.
    pub fn passes_all(&self) -> bool {
        self.passes_all
    }

    /// Returns the rows of a run in the range that pass, ascending; the stream of the run has to match.
    ///
    /// Errors: those of the block's bytes. Cost: decodes what the query looks at.
    pub fn rows(
        &self,
        block: &Block,
        run: &RunView,
        range: TimeRange,
    ) -> Result<Vec<u32>, logyard_codec::Error> {
        self.find(block, run, range).map_err(Error::into_codec)
    }

    fn find(&self, block: &Block, run: &RunView, range: TimeRange) -> Result<Vec<u32>, Error> {
        let rows = rows_of(block, run, range, &[], &self.pipeline, &mut QueryStats::default())?;
        if self.passes_all || rows.len() == 0 {
            return Ok(rows.iter().collect());
        }
        let ts_ns = block.timestamps()?;
        let stream = Arc::clone(&run.stream.labels);
        let mut test = RunTest::new(&self.pipeline, block, run, stream)?;
        let mut passing = Vec::new();
        for row in rows.iter() {
            let Some(ts_ns) = ts_ns.get(row as usize) else { continue };
            if test.combination(row, *ts_ns)?.is_some() {
                passing.push(row);
            }
        }
        Ok(passing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::Entries;
    use logyard_logql::{Expr, parse};
    use logyard_model::{LabelSet, Stream, Tenant};

    fn log(query: &str) -> LogExpr {
        let Expr::Log(log) = parse(query).unwrap() else { panic!("{query}") };
        log
    }

    #[test]
    fn rows_are_those_that_a_query_would_answer() {
        let mut entries = Entries::default();
        for (ts_ns, line, level) in
            [(1, r#"{"user":"ann"}"#, "info"), (2, r#"{"user":"bob"}"#, "warn"), (3, "plain", "")]
        {
            entries.push(
                ts_ns,
                line.as_bytes(),
                level,
                &LabelSet::from_pairs([("trace", line.len().to_string())]),
            );
        }
        let stream = Arc::new(Stream::new(&Tenant::single(), LabelSet::from_pairs([("app", "web")])));
        let raw_bytes = entries.line_bytes();
        let run = RunView { stream, rows: 0..3, min_ns: 1, max_ns: 3, raw_bytes };
        let block = Block::from_entries(entries);
        let all = TimeRange { start_ns: 0, end_ns: 9 };
        let check = |query: &str, range: TimeRange, expect: &[u32]| {
            let filter = EntryFilter::compile(&log(query), 0).unwrap();
            assert_eq!(filter.rows(&block, &run, range).unwrap(), expect, "{query}");
        };
        check(r#"{app="web"}"#, all, &[0, 1, 2]);
        check(r#"{app="web"}"#, TimeRange { start_ns: 2, end_ns: 3 }, &[1]);
        check(r#"{app="web"} |= "user""#, all, &[0, 1]);
        check(r#"{app="web"} | json | user="bob""#, all, &[1]);
        check(r#"{app="web"} | trace="5""#, all, &[2]);
        check(r#"{app="web"} | detected_level="info" != "bob""#, all, &[0]);
        check(r#"{app="web"} |= "nobody""#, all, &[]);
        assert!(EntryFilter::compile(&log(r#"{app="web"}"#), 0).unwrap().passes_all());
        assert!(!EntryFilter::compile(&log(r#"{app="web"} |= "x""#), 0).unwrap().passes_all());
    }

    #[test]
    fn stages_that_look_at_other_entries_are_refused() {
        for stages in ["| distinct app", "| context 3", r#"|~ "(""#] {
            let filter = EntryFilter::compile(&log(&format!(r#"{{app="web"}} {stages}"#)), 0);
            assert!(filter.is_err(), "{stages}");
        }
    }
}
