//! Metric queries that are asked again and again, as rules are: what they count is folded as entries arrive, once, and
//! not read again for each answer.
//!
//! Of a query each range aggregation that counts entries or bytes has a *fold*: sums by series for spans of time,
//! the *buckets*, on whose borders its windows begin and end. After some time, `from_ns`, a fold knows every entry that
//! was stored; what is older is read as ever. So the answer is that of any query from the first time on. What is not folded is
//! read: offsets, values that are unwrapped, windows over an hour, templates, and queries that are answered from tables
//! without reading lines.
//!
//! - A new fold knows nothing until all that is stored of its window has been shown to it, or as much as was affordable, and
//!   what is stored meanwhile, too: [`Standing::knows_after`] says so. Those of many queries are shown it in one pass.
//! - Equal entries of a stream count once, also if they come again later: a fold remembers what it has counted.
//! - Bounded: a fold rests for a while, and is read, that counts more than [`ENTRIES_MAX`] in its window, or when all
//!   that share a [`Room`] remember more than [`ROOM_ENTRIES_MAX`].
//!
//! Which folds an entry may concern is found by one search for all texts that any of them asks for.

use crate::error::Error;
use crate::hash::{Hash128, hash_of};
use crate::labels::{Base, Buffers, Labels};
use crate::limits;
use crate::line_source::LineSource;
use crate::plan::{Columns, Pipeline, PushDown};
use crate::request::QueryKind;
use crate::scan::{Bases, LabelColumns, Rows, rows_among};
use crate::series_index::{SeriesIndex, SeriesLabels};
use crate::settings::EngineSettings;
use crate::stage::Entry;
use crate::{grid::Grid, metric_query};
use logyard_codec::{Block, RunView};
use logyard_logql::{Expr, Grouping, MetricExpr, RangeAggregation, RangeOp, Span, StageKind, VectorOp};
use logyard_model::{LabelSet, Matcher, StreamId, TimeRange};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Widest window that is folded.
const RANGE_NS_MAX: i64 = 3600 * 1_000_000_000;

/// Most buckets of a window: beyond, borders lie too close for anything to be gained.
const BUCKETS_MAX: i64 = 1000;

/// Most entries that a fold remembers, each some 25 bytes: a rule about the errors of a store that takes 10,000 lines a
/// second looks at 30,000 of them.
const ENTRIES_MAX: usize = 50_000;

/// Most entries that all folds remember which share a room, some 25 MB: a thousand rules over windows of five minutes of
/// 10,000 lines a second want more than half of it.
const ROOM_ENTRIES_MAX: usize = 1_000_000;

/// How long a fold rests that had too many entries.
const REST_NS: i64 = 600 * 1_000_000_000;

/// Series that are no more and may stay among those of a fold, besides as many as there are.
const SERIES_UNUSED_MAX: usize = 64;

/// A query that stands: its folds. Share it between those who ask and those who show it entries.
#[derive(Debug)]
pub struct Standing {
    folds: Vec<Fold>,
}

/// How many entries folds remember together; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<AtomicUsize>);

/// What one range aggregation counts.
#[derive(Debug)]
struct Fold {
    /// Which one it is in the text of the query.
    span: Span,
    matchers: Vec<Matcher>,
    pipeline: Arc<Pipeline>,
    which: SeriesLabels,
    range_ns: i64,
    /// Buckets end at this, plus multiples of `bucket_ns`.
    phase_ns: i64,
    bucket_ns: i64,
    kept: Mutex<Kept>,
}

/// What a fold knows.
#[derive(Debug)]
struct Kept {
    /// Every entry after this that was shown is in a bucket; the end of one.
    from_ns: i64,
    /// Whether all of those were shown.
    is_whole: bool,
    /// By their ends.
    buckets: BTreeMap<i64, Bucket>,
    /// Those of all buckets, and some that were.
    series: SeriesIndex,
    /// Entries in all buckets; counted in the room, too.
    entries: usize,
    room: Room,
    /// Since when it rests, and the latest time of an entry that it was shown since.
    rests: Option<(i64, i64)>,
}

/// Sums of one span of time.
#[derive(Debug, Default)]
struct Bucket {
    /// Number of a series, its entries and bytes; ascending.
    sums: Vec<(usize, i64, i64)>,
    counted: HashSet<Hash128>,
}

/// What a fold knows of a window.
#[derive(Debug)]
pub(crate) struct Known {
    /// What is not after this is to be read.
    pub(crate) from_ns: i64,
    /// Entries and bytes after it, by labels of series.
    pub(crate) sums: Vec<(LabelSet, i64, i64)>,
    /// The stages of the aggregation, ready to run over what is to be read.
    pub(crate) pipeline: Arc<Pipeline>,
}

impl Standing {
    /// Returns the folds of a query that will be asked at `at_ns` and then every `every_ns`, which know nothing yet; none if
    /// nothing of it can be folded.
    ///
    /// Errors: as [`crate::Engine::run`].
    pub fn new(
        settings: &EngineSettings,
        expr: &Expr,
        (at_ns, every_ns): (i64, i64),
        room: &Room,
    ) -> Result<Option<Self>, Error> {
        limits::check(settings, expr)?;
        let Expr::Metric(metric) = expr else { return Ok(None) };
        let at_ns = Grid::new(QueryKind::Instant { time_ns: at_ns })?.start_ns;
        let mut folds = Vec::new();
        let mut fault = None;
        each_range(metric, None, &mut |aggregation, grouping| match Fold::new(
            aggregation,
            grouping,
            (at_ns, every_ns),
            room,
        ) {
            Ok(fold) => folds.extend(fold),
            Err(error) => fault = Some(error),
        });
        match fault {
            Some(error) => Err(error),
            None => Ok((!folds.is_empty()).then_some(Self { folds })),
        }
    }

    /// Returns the time after which it is to be shown what is stored, so that it knows its first windows.
    pub fn since_ns(&self) -> i64 {
        self.folds.iter().map(|fold| fold.kept().from_ns).min().unwrap_or(i64::MAX)
    }

    /// Returns whether nobody has said yet what it knows.
    pub fn is_new(&self) -> bool {
        self.folds.iter().any(|fold| !fold.kept().is_whole)
    }

    /// Says that it was shown every entry after some time, and each that was stored since.
    pub fn knows_after(&self, time_ns: i64) {
        for fold in &self.folds {
            let mut kept = fold.kept();
            if !kept.is_whole {
                kept.is_whole = true;
                kept.forget(fold.edge(time_ns));
            }
        }
    }

    /// Returns what is known of the window of an aggregation that ends at an instant.
    pub(crate) fn known(&self, aggregation: &RangeAggregation, at_ns: i64) -> Option<Known> {
        // Spans that are compared are always equal.
        let is_it =
            |fold: &&Fold| (fold.span.start, fold.span.end) == (aggregation.span.start, aggregation.span.end);
        self.folds.iter().find(is_it)?.known(at_ns)
    }
}

/// Calls for each range aggregation, with the grouping of the sum around it.
fn each_range<'e>(
    expr: &'e MetricExpr,
    around: Option<&'e Grouping>,
    call: &mut impl FnMut(&'e RangeAggregation, Option<&'e Grouping>),
) {
    match expr {
        MetricExpr::Range(aggregation) => call(aggregation, aggregation.grouping.as_ref().or(around)),
        MetricExpr::Vector(outer) => {
            let is_sum = matches!(&*outer.inner, MetricExpr::Range(inner) if metric_query::sums_up(inner.op));
            let around = (outer.op == VectorOp::Sum && is_sum).then_some(&outer.grouping);
            each_range(&outer.inner, around, call);
        }
        MetricExpr::LabelReplace(replace) => each_range(&replace.inner, None, call),
        MetricExpr::Binary(binary) => {
            each_range(&binary.left, None, call);
            each_range(&binary.right, None, call);
        }
        MetricExpr::Function(_) | MetricExpr::VectorOf(_) | MetricExpr::Literal(_) => {}
    }
}

/// Whether a fold of the aggregation gives what reading gives, and saves anything.
fn is_worth_it(aggregation: &RangeAggregation) -> bool {
    let counts = matches!(
        aggregation.op,
        RangeOp::CountOverTime
            | RangeOp::Rate
            | RangeOp::BytesOverTime
            | RangeOp::BytesRate
            | RangeOp::PresentOverTime
            | RangeOp::AbsentOverTime
    );
    let range = &aggregation.range;
    let is_plain = range.unwrap.is_none() && range.offset_ns == 0 && aggregation.label.is_none();
    // Templates may ask for the present, and `distinct` and `context` for other entries.
    let may_fold = |kind: &StageKind| {
        !matches!(
            kind,
            StageKind::LineFormat(_)
                | StageKind::LabelFormat(_)
                | StageKind::Distinct(_)
                | StageKind::Context { .. }
        )
    };
    let stages = &range.log.stages;
    counts && is_plain && !stages.is_empty() && stages.iter().all(|stage| may_fold(&stage.kind))
}

impl Fold {
    fn new(
        aggregation: &RangeAggregation,
        grouping: Option<&Grouping>,
        (at_ns, every_ns): (i64, i64),
        room: &Room,
    ) -> Result<Option<Self>, Error> {
        let range_ns = aggregation.range.range_ns;
        // The longest on whose borders all windows begin and end.
        let bucket_ns = common_divisor(range_ns, every_ns);
        if !is_worth_it(aggregation)
            || !(1..=RANGE_NS_MAX).contains(&range_ns)
            || bucket_ns <= 0
            || range_ns / bucket_ns > BUCKETS_MAX
        {
            return Ok(None);
        }
        let nothing = Grouping::default();
        let grouping = if aggregation.op == RangeOp::AbsentOverTime { Some(&nothing) } else { grouping };
        let pipeline = Pipeline::for_samples(aggregation, grouping, at_ns, PushDown::On)?;
        Ok(Some(Self {
            span: aggregation.span,
            matchers: aggregation.range.log.matchers.clone(),
            pipeline: Arc::new(pipeline),
            which: SeriesLabels::new(grouping, None),
            range_ns,
            phase_ns: at_ns.rem_euclid(bucket_ns),
            bucket_ns,
            kept: Mutex::new(Kept {
                from_ns: at_ns.saturating_sub(range_ns),
                is_whole: false,
                buckets: BTreeMap::new(),
                series: SeriesIndex::default(),
                entries: 0,
                room: room.clone(),
                rests: None,
            }),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the end of the bucket that a time belongs to.
    fn edge(&self, ts_ns: i64) -> i64 {
        let beyond_ns = ts_ns.saturating_sub(self.phase_ns).rem_euclid(self.bucket_ns);
        match beyond_ns {
            0 => ts_ns,
            _ => ts_ns.saturating_add(self.bucket_ns - beyond_ns),
        }
    }

    fn matches(&self, run: &RunView) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_set(&run.stream.labels))
    }

    fn known(&self, at_ns: i64) -> Option<Known> {
        let mut kept = self.kept();
        if let Some((since_ns, newest_ns)) = kept.rests {
            if at_ns.saturating_sub(since_ns) >= REST_NS {
                kept.begin(self.edge(newest_ns.max(at_ns)));
            }
            return None;
        }
        // Asked at another instant than was said: no bucket ends there.
        if !kept.is_whole || self.edge(at_ns) != at_ns {
            return None;
        }
        kept.forget(at_ns.saturating_sub(self.range_ns));
        if kept.from_ns >= at_ns {
            return None;
        }
        let mut by_number: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        for (number, entries, bytes) in kept.buckets.range(..=at_ns).flat_map(|(_, bucket)| &bucket.sums) {
            let sum = by_number.entry(*number).or_default();
            *sum = (sum.0 + entries, sum.1 + bytes);
        }
        let labelled =
            |(number, (entries, bytes))| Some((kept.series.labels(number)?.clone(), entries, bytes));
        let sums = by_number.into_iter().filter_map(labelled).collect();
        Some(Known { from_ns: kept.from_ns, sums, pipeline: Arc::clone(&self.pipeline) })
    }

    /// Counts the entries of some rows of a run: those that may hold what the fold asks for.
    fn take(&self, block: &Block, run: &RunView, rows: Rows) -> Result<(), Error> {
        let mut kept = self.kept();
        if let Some((_, newest_ns)) = &mut kept.rests {
            *newest_ns = run.max_ns.max(*newest_ns);
            return Ok(());
        }
        let range = TimeRange { start_ns: kept.from_ns.saturating_add(1), end_ns: i64::MAX };
        if !range.overlaps(run.min_ns, run.max_ns) {
            return Ok(());
        }
        let rows = rows_among(block, run, range, rows, &self.pipeline)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let stream = Arc::clone(&run.stream.labels);
        let columns = LabelColumns::new(block, Columns::ALL)?;
        let (mut bases, mut buffers) = (Bases::new(&columns, &stream), Buffers::default());
        let mut lines = LineSource::new(block, rows.len())?;
        let times = block.timestamps()?;
        for row in rows.iter() {
            let (line, Some(ts_ns)) = (lines.line(row)?, times.get(row as usize)) else { continue };
            let base = bases.of(row);
            let labels = Labels::reusing(base, std::mem::take(&mut buffers));
            let mut entry = Entry { line: Cow::Borrowed(line), ts_ns: *ts_ns, labels };
            if self.pipeline.apply(&mut entry) {
                let entry_is = Identity { stream: run.stream.id, ts_ns: *ts_ns, line, base };
                self.count(&mut kept, &entry, &entry_is);
            }
            buffers = entry.labels.into_buffers();
            if kept.entries > ENTRIES_MAX || kept.room.0.load(Ordering::Relaxed) > ROOM_ENTRIES_MAX {
                kept.rest(run.max_ns);
                return Ok(());
            }
        }
        Ok(())
    }

    fn count(&self, kept: &mut Kept, entry: &Entry<'_>, entry_is: &Identity<'_>) {
        let bucket = kept.buckets.entry(self.edge(entry.ts_ns)).or_default();
        let Identity { stream, ts_ns, line, base } = entry_is;
        if !bucket.counted.insert(hash_of(&(stream, ts_ns, line, &base.metadata))) {
            return;
        }
        let number = kept.series.of(&entry.labels, &self.which);
        let place = bucket.sums.binary_search_by_key(&number, |(number, ..)| *number);
        let place = place.unwrap_or_else(|place| {
            bucket.sums.insert(place, (number, 0, 0));
            place
        });
        if let Some((_, entries, bytes)) = bucket.sums.get_mut(place) {
            *entries += 1;
            *bytes += i64::try_from(entry.line.len()).unwrap_or(i64::MAX);
        }
        kept.entries += 1;
        kept.room.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        self.kept().begin(i64::MAX);
    }
}

/// What makes entries equal.
struct Identity<'a> {
    stream: StreamId,
    ts_ns: i64,
    line: &'a [u8],
    base: &'a Base,
}

impl Kept {
    /// Knows nothing up to some time, and everything after it.
    fn begin(&mut self, from_ns: i64) {
        self.room.0.fetch_sub(self.entries, Ordering::Relaxed);
        (self.from_ns, self.is_whole, self.entries, self.rests) = (from_ns, true, 0, None);
        (self.buckets, self.series) = (BTreeMap::new(), SeriesIndex::default());
    }

    fn rest(&mut self, newest_ns: i64) {
        let last_ns = self.buckets.last_key_value().map_or(newest_ns, |(end_ns, _)| newest_ns.max(*end_ns));
        self.begin(i64::MAX);
        self.rests = Some((newest_ns, last_ns));
    }

    /// Forgets what is not after some time.
    fn forget(&mut self, until_ns: i64) {
        let before = self.entries;
        while let Some(first) = self.buckets.first_entry().filter(|first| *first.key() <= until_ns) {
            self.entries = self.entries.saturating_sub(first.remove().counted.len());
        }
        self.from_ns = self.from_ns.max(until_ns);
        if self.entries < before {
            self.room.0.fetch_sub(before - self.entries, Ordering::Relaxed);
            self.forget_series();
        }
    }

    /// Numbers the series anew where most of them are no more.
    fn forget_series(&mut self) {
        let numbers = self.buckets.values().flat_map(|bucket| &bucket.sums).map(|(number, ..)| *number);
        let used: BTreeSet<usize> = numbers.collect();
        if self.series.len() <= 2 * used.len() + SERIES_UNUSED_MAX {
            return;
        }
        let before = std::mem::take(&mut self.series);
        let labels = |number: &usize| before.labels(*number).map(|labels| (*number, labels));
        let new: BTreeMap<usize, usize> = used
            .iter()
            .filter_map(labels)
            .map(|(number, labels)| (number, self.series.of_set(labels)))
            .collect();
        for bucket in self.buckets.values_mut() {
            // Ascending numbers stay ascending.
            for (number, ..) in &mut bucket.sums {
                *number = new.get(number).copied().unwrap_or(*number);
            }
        }
    }
}

fn common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a.rem_euclid(b.max(1)));
    }
    a
}

mod search;

pub use search::Standings;

#[cfg(test)]
mod tests;
