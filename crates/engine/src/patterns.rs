//! Patterns of lines with counts over time: what kinds of lines streams write, and when.
//!
//! Made when they are asked for, from the lines themselves. Nothing is mined while entries arrive and nothing
//! is kept, so an entry costs nothing more, idle stores hold nothing, and the answer is the same before and
//! after a flush, a compaction or a restart, over all the time that entries are kept. The alternatives:
//! miners in memory forget at a restart and know the last hours only; their counts written beside the
//! segments would be a format of their own; the templates of shredded blocks say nothing about lines that
//! are not compacted yet, and hold no value of JSON or `key=value` lines, whose levels and messages are what
//! one looks for.
//!
//! Each thread counts outlines of lines (see `patterns_text`) by level and step, which can be done in any
//! order; at the end similar outlines are joined, the frequent ones first. Beyond [`LINE_BYTES_MAX`] bytes
//! of lines only every n-th row is looked at and counts n times, so that the time of an answer is bounded.

use crate::cancel::Cancel;
use crate::dedupe::{Copies, find_copies, rows_between};
use crate::error::Error;
use crate::limits;
use crate::line_source::LineSource;
use crate::memory::Memory;
use crate::patterns_text::{join, outline};
use crate::select::{Select, SelectRequest};
use crate::settings::EngineSettings;
use crate::shared_blocks::SharedBlocks;
use crate::turns::{Turns, Work};
use logyard_codec::{Block, BlockView, RunView};
use logyard_model::{Direction, Matcher, Prefilter, Tenants, TimeRange};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of lines from which on rows are sampled: about a second of one core.
const LINE_BYTES_MAX: u64 = 128 << 20;
/// Most outlines that one thread tells apart; lines with further ones are not counted.
const OUTLINES_MAX: usize = 20_000;
/// Most patterns in an answer; those with the most lines stay.
const PATTERNS_MAX: usize = 300;
/// Bytes that an outline takes besides its text, and a count, roughly.
const COUNT_BYTES: u64 = 64;

/// A question for patterns.
#[derive(Clone, Debug)]
pub struct PatternsRequest {
    /// Whose.
    pub tenants: Tenants,
    /// Of which streams; all must hold.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub range: TimeRange,
    /// Width of the steps, which begin at multiples of it. Positive.
    pub step_ns: i64,
    /// The time of the request.
    pub now_ns: i64,
    /// Ends the work early.
    pub cancel: Arc<Cancel>,
}

/// A pattern among the lines of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternCounts {
    /// Words with `<_>` in the place of those that vary; finds its lines with `|>`.
    pub pattern: String,
    /// The detected level of the lines; empty if there is none.
    pub level: String,
    /// First time of a step and the lines in it, in order of time; steps without lines are left out.
    pub counts: Vec<(i64, u64)>,
}

/// Lines by level and first time of the step.
type Counts = HashMap<(Arc<str>, i64), u64>;

/// What one worker has counted.
#[derive(Default)]
struct Outlines {
    counts: HashMap<Box<str>, Counts>,
    buffer: String,
    held_bytes: u64,
    counted_bytes: u64,
}

struct Counting<'a> {
    request: &'a PatternsRequest,
    range: TimeRange,
    memory: &'a Memory<'a>,
    blocks: &'a SharedBlocks,
    /// Of how many rows one is looked at.
    stride: u32,
}

/// Counts; rows with the most lines first. Errors: what selecting and reading fail with.
pub(crate) fn run(
    source: &dyn Select,
    request: &PatternsRequest,
    settings: &EngineSettings,
    turns: &Turns<'_>,
    memory: &Memory<'_>,
) -> Result<Vec<PatternCounts>, Error> {
    let range = limits::cut(settings, request.range, request.now_ns);
    let PatternsRequest { tenants, matchers, .. } = request;
    let prefilter = Prefilter::default();
    let direction = Direction::Backward;
    let views =
        source.select(&SelectRequest { tenants, matchers, range, prefilter: &prefilter, direction })?;
    limits::check_bytes(settings, &views, range)?;
    let blocks = SharedBlocks::default();
    let copies = find_copies(turns, &blocks, &views, range)?;
    let line_bytes: u64 = views.iter().flat_map(|view| &view.runs).map(|run| run.raw_bytes).sum();
    let stride = u32::try_from(line_bytes.div_ceil(LINE_BYTES_MAX)).unwrap_or(u32::MAX).max(1);
    let counting = Counting { request, range, memory, blocks: &blocks, stride };
    let parts = turns.fold(views.len(), Work::Unknown, |outlines: &mut Outlines, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        counting.count_view(outlines, (index, view), &copies)
    })?;
    let mut all: BTreeMap<Box<str>, Counts> = BTreeMap::new();
    for (text, counts) in parts.into_iter().flat_map(|part| part.counts) {
        let into = all.entry(text).or_default();
        for (key, count) in counts {
            *into.entry(key).or_default() += count;
        }
    }
    Ok(patterns_of(&all))
}

impl Counting<'_> {
    fn count_view(
        &self,
        outlines: &mut Outlines,
        (index, view): (usize, &BlockView),
        copies: &Copies,
    ) -> Result<u64, Error> {
        let block = self.blocks.open(&view.block);
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                self.count_run(outlines, (&block, run), copies.of(index, run_index))?;
            }
        }
        if outlines.counted_bytes > outlines.held_bytes {
            self.memory.hold(outlines.counted_bytes - outlines.held_bytes)?;
            outlines.held_bytes = outlines.counted_bytes;
        }
        self.blocks.count(&block);
        Ok(block.new_bytes() as u64)
    }

    fn count_run(
        &self,
        outlines: &mut Outlines,
        (block, run): (&Block, &RunView),
        copies: &[u32],
    ) -> Result<(), Error> {
        let (ts_ns, levels) = (block.timestamps()?, block.levels()?);
        let last_ns = self.range.end_ns.saturating_sub(1);
        let rows = rows_between(ts_ns, &run.rows, self.range.start_ns, last_ns);
        let wanted = |row: &u32| row.is_multiple_of(self.stride) && copies.binary_search(row).is_err();
        let rows: Vec<u32> = rows.filter(wanted).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut lines = LineSource::new(block, rows.len())?;
        for row in rows {
            self.request.cancel.check()?;
            let Some(ts_ns) = ts_ns.get(row as usize) else { continue };
            outline(&String::from_utf8_lossy(lines.line(row)?), &mut outlines.buffer);
            let step_ns = self.request.step_ns.max(1);
            let step = ts_ns.div_euclid(step_ns).saturating_mul(step_ns);
            outlines.add((levels.shared_value(row as usize), step), u64::from(self.stride));
        }
        Ok(())
    }
}

impl Outlines {
    /// Counts the outline in the buffer.
    fn add(&mut self, (level, step): (&Arc<str>, i64), lines: u64) {
        let text = self.buffer.as_str();
        if !self.counts.contains_key(text) {
            if self.counts.len() >= OUTLINES_MAX {
                return;
            }
            self.counted_bytes += text.len() as u64 + COUNT_BYTES;
            self.counts.insert(text.into(), Counts::new());
        }
        let Some(counts) = self.counts.get_mut(text) else { return };
        let before = counts.len();
        *counts.entry((Arc::clone(level), step)).or_default() += lines;
        self.counted_bytes += (counts.len() - before) as u64 * COUNT_BYTES;
    }
}

fn patterns_of(outlines: &BTreeMap<Box<str>, Counts>) -> Vec<PatternCounts> {
    let lines = |counts: &Counts| counts.values().sum::<u64>();
    let mut sorted: Vec<(&str, &Counts)> = outlines.iter().map(|(text, counts)| (&**text, counts)).collect();
    // They come in the order of their texts, and the sort keeps it among equals.
    sorted.sort_by_key(|(_, counts)| std::cmp::Reverse(lines(counts)));
    let texts: Vec<&str> = sorted.iter().map(|(text, _)| *text).collect();
    let mut found = Vec::new();
    for (pattern, members) in join(&texts) {
        let mut by_level: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
        for (_, counts) in members.into_iter().filter_map(|member| sorted.get(member)) {
            for ((level, step), lines) in *counts {
                *by_level.entry(level).or_default().entry(*step).or_default() += lines;
            }
        }
        found.extend(by_level.into_iter().map(|(level, counts)| PatternCounts {
            pattern: pattern.clone(),
            level: level.to_owned(),
            counts: counts.into_iter().collect(),
        }));
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.counts.iter().map(|(_, lines)| *lines).sum::<u64>()));
    found.truncate(PATTERNS_MAX);
    found
}
