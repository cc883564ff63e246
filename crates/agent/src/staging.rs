//! Lines of one target on their way through the stages of its job.
//!
//! Stages may hold lines back, discard them and change the labels they go under. What comes out is grouped to
//! chunks, with the mark up to which it may be acknowledged: see `logyard_pipeline::Run`. What stages counted goes
//! to the metrics each time something is taken out.

use std::sync::Arc;
use std::time::Duration;

use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_pipeline::{Finished, LinesFrom, Now, Pipeline, Run, settings::StageSettings};
use logyard_sys::Random;

use crate::error::Error;
use crate::log_join::bounded;
use crate::metrics::Metrics;

pub(crate) use logyard_pipeline::Line;

/// Longest time until stages are looked at that hold something: the clock may be set back meanwhile. More than the
/// silence after which the response of an ended container is left, which a look begins anew.
const DUE_MAX: Duration = Duration::from_secs(10);

/// What the stages of all targets share.
#[derive(Clone, Debug)]
pub(crate) struct StageParts {
    /// Entries get no longer, whatever stages make of them.
    pub(crate) line_bytes_max: usize,
    pub(crate) random: Arc<Random>,
    pub(crate) metrics: Metrics,
}

/// The stages of one target. `M` is the position before a line.
#[derive(Clone, Debug)]
pub(crate) struct Staging<M> {
    run: Run<M>,
    parts: StageParts,
    finished: Vec<Finished>,
}

/// What came out of the stages.
#[derive(Debug)]
pub(crate) struct Staged<M> {
    /// Chunks of streams, each in the order of its lines.
    pub(crate) chunks: Vec<(Arc<LabelSet>, Entries)>,
    /// Position up to which the target is done with; `None`: everything pushed so far.
    pub(crate) mark: Option<M>,
    /// How long the target is to wait before it reads on.
    pub(crate) pause: Duration,
}

/// Compiles the stages of a setting. Errors: the first that cannot be used.
pub(crate) fn compile_stages(
    setting: &'static str,
    stages: &[StageSettings],
    from: LinesFrom,
    line_bytes_max: usize,
) -> Result<Pipeline, Error> {
    Pipeline::compile(stages, from, line_bytes_max)
        .map_err(|error| Error::Setting { setting, reason: error.to_string() })
}

impl<M: Clone> Staging<M> {
    /// Starts work on a target.
    pub(crate) fn new(pipeline: &Pipeline, parts: StageParts) -> Self {
        Self { run: Run::new(pipeline), parts, finished: Vec::new() }
    }

    /// Returns whether lines pass unchanged, so that they need not be pushed.
    pub(crate) fn is_idle(&self) -> bool {
        self.run.is_idle()
    }

    /// Sends a line through the stages. `mark` is the position before it.
    pub(crate) fn push(&mut self, line: Line<'_>, mark: M, now_ns: i64) {
        self.run.push(line, mark, Now { ns: now_ns, random: &self.parts.random });
    }

    /// Returns how long until something that is held is due; `None`: nothing is held.
    pub(crate) fn due_in(&self, now_ns: i64) -> Option<Duration> {
        let wait_ns = self.run.due_ns()?.saturating_sub(now_ns).max(0);
        Some(Duration::from_nanos(wait_ns.unsigned_abs()).min(DUE_MAX))
    }

    /// Takes out what is done, after letting go what is due by now, or everything.
    pub(crate) fn take(&mut self, everything: bool, now_ns: i64) -> Staged<M> {
        self.run.flush(everything, Now { ns: now_ns, random: &self.parts.random });
        let mark = self.run.take(&mut self.finished);
        let tally = self.run.take_tally();
        for (reason, count) in &tally.discarded {
            self.parts.metrics.discarded(reason, *count);
        }
        self.parts.metrics.lines_joined.inc_by(tally.joined);
        self.parts.metrics.lines_cut.inc_by(tally.cut);
        self.parts.metrics.times_refused.inc_by(tally.times_refused);
        let mut chunks: Vec<(Arc<LabelSet>, Entries)> = Vec::new();
        for entry in self.finished.drain(..) {
            // No store takes a stream without labels: those it was read under are better than none.
            let labels = if entry.labels.is_empty() { entry.read_under } else { entry.labels };
            let line = bounded(entry.ts_ns, &entry.line, 0, self.parts.line_bytes_max);
            self.parts.metrics.lines_cut.inc_by(u64::from(line.cut_bytes > 0));
            let place = chunks.iter().rposition(|(own, _)| Arc::ptr_eq(own, &labels) || *own == labels);
            match place.and_then(|place| chunks.get_mut(place)) {
                Some((_, entries)) => entries.push(line.ts_ns, line.text, "", &entry.metadata),
                None => {
                    let mut entries = Entries::new();
                    entries.push(line.ts_ns, line.text, "", &entry.metadata);
                    chunks.push((labels, entries));
                }
            }
        }
        let pause = Duration::from_nanos(tally.wait_ns.max(0).unsigned_abs());
        Staged { chunks, mark, pause }
    }

    /// Lets everything go: what comes next has nothing to do with it. The next [`Self::take`] hands it over.
    pub(crate) fn cut(&mut self, now_ns: i64) {
        self.run.flush(true, Now { ns: now_ns, random: &self.parts.random });
        let mark = self.run.take(&mut self.finished);
        debug_assert!(mark.is_none(), "nothing is held after everything was let go");
    }
}
