//! A pipeline at work on the lines of one target: what comes out, and how far that may be acknowledged.
//!
//! Stages that join lines hold some back. Until they let go, nothing behind the oldest held line may count as read,
//! or a crash would lose it; and what came out behind it must wait too, or a crash would double it. So each line
//! brings a *mark*, the position before it, and [`Run::take`] hands over only what lies wholly before the oldest
//! open line, together with the mark of that line. Everything held is bounded: beyond the bound all is let go.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use logyard_model::LabelSet;
use logyard_sys::Random;

use crate::entry::{Entry, Extracted};
use crate::error::Error;
use crate::settings::StageSettings;
use crate::stage::{self, Around, LinesFrom, Setting, Stage};
use crate::stage_fields::FieldsOf;
use crate::stage_metrics::MetricFamily;

/// Lines behind the oldest held one; more, and all are let go.
const LINES_MAX: usize = 16_384;
/// Their bytes.
const BYTES_MAX: usize = 4 << 20;

/// Stages, compiled; shared by all targets of a job.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    stages: Vec<Stage>,
}

/// A line as it was read.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Labels of its stream.
    pub labels: &'a Arc<LabelSet>,
    /// Its time, in ns since the Unix epoch.
    pub ts_ns: i64,
    /// Without its end of line; any bytes. What is owned is not copied.
    pub text: Cow<'a, [u8]>,
    /// Structured metadata.
    pub metadata: &'a LabelSet,
    /// Which of the target's outputs it came from: lines of different ones are never joined.
    pub output: u8,
}

/// An entry that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Labels of its stream. Stages may have removed all.
    pub labels: Arc<LabelSet>,
    /// Labels that it, or its first line, was read under.
    pub read_under: Arc<LabelSet>,
    /// Its time, in ns since the Unix epoch.
    pub ts_ns: i64,
    /// Its line.
    pub line: Vec<u8>,
    /// Structured metadata.
    pub metadata: LabelSet,
}

/// What stages counted since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines discarded, by reason.
    pub discarded: BTreeMap<Arc<str>, u64>,
    /// Lines that became part of another's entry.
    pub joined: u64,
    /// Entries of several lines cut where they got too long.
    pub cut: u64,
    /// Times read by `timestamp` and not believed, since they lie too far ahead.
    pub times_refused: u64,
    /// How long the target is to wait before it reads on, in ns.
    pub wait_ns: i64,
}

impl Tally {
    /// Counts an entry as one line: the others of a joined one are counted as joined.
    pub(crate) fn discard(&mut self, reason: &Arc<str>) {
        *self.discarded.entry(Arc::clone(reason)).or_default() += 1;
    }
}

/// The present, and chance.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The present, in ns since the Unix epoch.
    pub ns: i64,
    /// For `sampling`.
    pub random: &'a Random,
}

impl Pipeline {
    /// Compiles stages; entries of several lines get no longer than `line_bytes_max`, the rest makes another.
    ///
    /// Errors: the first stage that cannot be used; its path begins with the stage's number.
    pub fn compile(
        settings: &[StageSettings],
        from: LinesFrom,
        line_bytes_max: usize,
    ) -> Result<Self, Error> {
        Ok(Self { stages: stage::compile_all(settings, Setting { from, line_bytes_max, depth: 0 })? })
    }

    /// Makes the fields of lines structured metadata, as the first stage if `self` is empty, or behind its stages.
    pub fn and_fields(mut self, form: FieldsOf) -> Self {
        self.stages.push(Stage::Fields(form));
        self
    }

    /// Returns this pipeline with the stages of another one behind. Limits and metrics stay shared with it.
    pub fn before(mut self, other: &Self) -> Self {
        self.stages.extend(other.stages.iter().cloned());
        self
    }

    /// Returns the metrics that its stages keep.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let mut found = Vec::new();
        stage::metrics(&self.stages, &mut found);
        found
    }

    /// Returns whether entries pass unchanged.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }
}

/// A pipeline at work on the lines of one target. `M` is the position before a line.
#[derive(Clone, Debug)]
pub struct Run<M> {
    stages: Vec<Stage>,
    can_hold: bool,
    /// Number of the next line.
    next: u64,
    /// Came out and not handed over.
    retained: Vec<Entry>,
    /// Marks and bytes of the lines from `next - marks.len()` on.
    marks: VecDeque<(M, usize)>,
    bytes: usize,
    /// Lines handed over, discarded or joined, for the count of the last.
    tally: Tally,
}

impl<M: Clone> Run<M> {
    /// Starts work on a target.
    pub fn new(pipeline: &Pipeline) -> Self {
        Self {
            stages: stage::emptied(&pipeline.stages),
            can_hold: pipeline.stages.iter().any(Stage::can_hold),
            next: 0,
            retained: Vec::new(),
            marks: VecDeque::new(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Returns whether lines may be held back, so that marks matter.
    pub fn can_hold(&self) -> bool {
        self.can_hold
    }

    /// Returns whether entries pass unchanged, so that they need not be pushed.
    pub fn is_idle(&self) -> bool {
        self.stages.is_empty()
    }

    /// Sends a line through the stages. `mark` is the position before it.
    pub fn push(&mut self, line: Line<'_>, mark: M, now: Now<'_>) {
        let number = self.next;
        self.next += 1;
        if self.can_hold {
            self.marks.push_back((mark, line.text.len()));
            self.bytes += line.text.len();
        }
        let entry = Entry {
            labels: Arc::clone(line.labels),
            ts_ns: line.ts_ns,
            line: line.text.into_owned(),
            metadata: line.metadata.clone(),
            extracted: Extracted::new(line.labels),
            output: line.output,
            lines: (number, number),
        };
        let mut around = Around { now_ns: now.ns, random: now.random, tally: &mut self.tally };
        stage::pass(&mut self.stages, entry, &mut around, &mut self.retained);
        if self.marks.len() > LINES_MAX || self.bytes > BYTES_MAX {
            self.settle();
            // Still too much behind the oldest: what is open is let go, or it would grow for ever.
            if self.marks.len() > LINES_MAX || self.bytes > BYTES_MAX {
                self.flush(true, now);
            }
        }
    }

    /// Lets go what is due by now, or everything.
    pub fn flush(&mut self, everything: bool, now: Now<'_>) {
        let mut around = Around { now_ns: now.ns, random: now.random, tally: &mut self.tally };
        stage::flush(&mut self.stages, everything, &mut around, &mut self.retained);
    }

    /// Returns when something is due, in ns since the Unix epoch; `None`: nothing is held.
    pub fn due_ns(&self) -> Option<i64> {
        stage::held(&self.stages).map(|(_, due_ns)| due_ns)
    }

    /// Hands over what may be acknowledged, in order, and returns the mark up to which it may: `None` means that
    /// everything pushed so far is done with.
    pub fn take(&mut self, out: &mut Vec<Finished>) -> Option<M> {
        let open = self.settle();
        let mut kept = Vec::new();
        for entry in self.retained.drain(..) {
            if entry.lines.1 >= open {
                kept.push(entry);
                continue;
            }
            let Entry { labels, ts_ns, line, metadata, extracted, .. } = entry;
            out.push(Finished { labels, read_under: extracted.into_base(), ts_ns, line, metadata });
        }
        self.retained = kept;
        self.marks.front().map(|(mark, _)| mark.clone())
    }

    /// Returns what stages counted, and forgets it.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Finds the first line that is not done with, and forgets the marks before it.
    fn settle(&mut self) -> u64 {
        if !self.can_hold {
            return self.next;
        }
        let mut open = stage::held(&self.stages).map_or(self.next, |(line, _)| line);
        // An entry on both sides of it would be lost in part or doubled in part: then it begins there.
        while let Some(entry) =
            self.retained.iter().find(|entry| entry.lines.0 < open && entry.lines.1 >= open)
        {
            open = entry.lines.0;
        }
        let first = self.next - self.marks.len() as u64;
        for _ in first..open {
            if let Some((_, bytes)) = self.marks.pop_front() {
                self.bytes -= bytes;
            }
        }
        open
    }
}

#[cfg(test)]
mod tests;
