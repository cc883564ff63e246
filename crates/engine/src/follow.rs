//! Following live: a log query over entries as they arrive.
//!
//! The pipeline is compiled once and the same as that of a query, so that what a follower sees is what a query
//! finds later. Stages that look at several entries are refused: there is no last entry.

use crate::error::Error;
use crate::limits;
use crate::log_query::{RunTest, build_entry};
use crate::plan::{Columns, Pipeline, PushDown};
use crate::request::{LogEntry, QueryStats};
use crate::scan::{LabelColumns, rows_of};
use crate::settings::EngineSettings;
use logyard_codec::BlockView;
use logyard_logql::{Expr, LogExpr, StageKind};
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
        for stage in &log.stages {
            let name = match stage.kind {
                StageKind::Distinct(_) => "distinct",
                StageKind::Context { .. } => "context",
                _ => continue,
            };
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
            let stream = Arc::new(run.stream.labels.clone());
            let mut test = RunTest::new(&self.pipeline, block, run, Arc::clone(&stream))?;
            let columns = LabelColumns::new(block, Columns::ALL)?;
            let times = block.timestamps()?;
            for row in rows.iter() {
                let Some(ts_ns) = times.get(row as usize) else { continue };
                if test.combination(row, *ts_ns)?.is_some() {
                    found.push(build_entry(&self.pipeline, block, &columns, &stream, (*ts_ns, row))?);
                }
            }
        }
        Ok(())
    }
}
