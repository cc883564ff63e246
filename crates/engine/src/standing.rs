//! Metric queries that are asked again and again, as rules are: what they count is folded as entries arrive, once, and
//! not read again for each answer.
//!
//! Of a query each range aggregation that counts entries or bytes has a *fold*: sums by series for short spans of time,
//! the *buckets*, on whose borders its windows begin and end. From some time on, `from_ns`, a fold knows every entry that
//! was stored; what is older is read as ever. So the answer is that of any query from the first time on, and costs less
//! with each second that the query stands. What is not folded is read: offsets, values that are unwrapped, windows over
//! an hour, templates, and queries that are answered from tables without reading lines.
//!
//! - Equal entries of a stream count once, also if they come again later: a fold remembers what it has counted.
//! - Bounded: a fold that counts more than [`ENTRIES_MAX`] in its window rests for a while, and is read.
//! - Entries must be shown to a fold before or when queries see them, and `from_ns` lies behind all those before.
//!
//! Which folds an entry may concern is found by one search for all texts that any of them asks for.

use crate::error::Error;
use crate::hash::{Hash128, hash_of};
use crate::labels::{Base, Buffers, Labels};
use crate::limits;
use crate::line_source::LineSource;
use crate::plan::{Columns, Pipeline, PushDown};
use crate::request::{QueryKind, QueryStats};
use crate::scan::{Bases, LabelColumns, rows_of};
use crate::series_index::{SeriesIndex, SeriesLabels};
use crate::settings::EngineSettings;
use crate::stage::Entry;
use crate::{grid::Grid, metric_query};
use aho_corasick::AhoCorasick;
use logyard_codec::{Block, BlockView, RunView};
use logyard_logql::{Expr, Grouping, MetricExpr, RangeAggregation, RangeOp, Span, StageKind, VectorOp};
use logyard_model::{LabelSet, Matcher, Prefilter, StreamId, TimeRange};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Widest window that is folded.
const RANGE_NS_MAX: i64 = 3600 * 1_000_000_000;

/// Most buckets of a window: beyond, borders lie too close for anything to be gained.
const BUCKETS_MAX: i64 = 1000;

/// Shortest bucket that is not needed for the windows, and of how many each is made that is.
const BUCKET_NS_MIN: i64 = 5_000_000_000;
const BUCKET_PARTS_MAX: i64 = 12;

/// Most entries that a fold remembers. One that counts more would take more memory than reading takes time.
const ENTRIES_MAX: usize = 10_000;

/// How long a fold rests that had too many entries.
const REST_NS: i64 = 600 * 1_000_000_000;

/// Streams whose folds are remembered; beyond, all are forgotten.
const KNOWN_STREAMS_MAX: usize = 10_000;

/// A query that stands: its folds. Share it between those who ask and those who show it entries.
#[derive(Debug)]
pub struct Standing {
    folds: Vec<Fold>,
}

/// What one range aggregation counts.
#[derive(Debug)]
struct Fold {
    /// Which one it is in the text of the query.
    span: Span,
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
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
    /// By their ends.
    buckets: BTreeMap<i64, Bucket>,
    /// Entries in all of them.
    entries: usize,
    /// Since when it rests, and the latest time of an entry that it was shown since.
    rests: Option<(i64, i64)>,
}

/// Sums of one span of time.
#[derive(Debug, Default)]
struct Bucket {
    index: SeriesIndex,
    /// Entries and bytes, by the numbers of the index.
    sums: Vec<(i64, i64)>,
    counted: HashSet<Hash128>,
}

/// What a fold knows of a window.
#[derive(Debug)]
pub(crate) struct Known {
    /// What is not after this is to be read.
    pub(crate) from_ns: i64,
    /// Entries and bytes after it, by labels of series; these may repeat.
    pub(crate) sums: Vec<(LabelSet, i64, i64)>,
}

impl Standing {
    /// Returns the folds of a query that will be asked at `at_ns` and then every `every_ns`; none if nothing of it can be
    /// folded. Every entry that is stored later is shown to it, and none of the others is younger than `newest_ns`.
    ///
    /// Errors: as [`crate::Engine::run`].
    pub fn new(
        settings: &EngineSettings,
        expr: &Expr,
        (at_ns, every_ns): (i64, i64),
        newest_ns: i64,
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
            newest_ns,
        ) {
            Ok(fold) => folds.extend(fold),
            Err(error) => fault = Some(error),
        });
        match fault {
            Some(error) => Err(error),
            None => Ok((!folds.is_empty()).then_some(Self { folds })),
        }
    }

    /// Returns what is known of the window of an aggregation that ends at an instant.
    pub(crate) fn known(&self, aggregation: &RangeAggregation, at_ns: i64) -> Option<Known> {
        // Spans that are compared are always equal.
        let is_it =
            |fold: &&Fold| (fold.span.start, fold.span.end) == (aggregation.span.start, aggregation.span.end);
        self.folds.iter().find(is_it)?.known(at_ns)
    }

    /// Forgets everything: entries up to some time may be stored that were not shown, or shown ones be gone.
    pub fn reset(&self, newest_ns: i64) {
        for fold in &self.folds {
            fold.kept().begin(fold.edge(newest_ns));
        }
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
        newest_ns: i64,
    ) -> Result<Option<Self>, Error> {
        let range_ns = aggregation.range.range_ns;
        let bucket_ns = bucket_of(range_ns, every_ns);
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
        let fold = Self {
            span: aggregation.span,
            matchers: aggregation.range.log.matchers.clone(),
            pipeline,
            which: SeriesLabels::new(grouping, None),
            range_ns,
            phase_ns: at_ns.rem_euclid(bucket_ns),
            bucket_ns,
            kept: Mutex::new(Kept { from_ns: 0, buckets: BTreeMap::new(), entries: 0, rests: None }),
        };
        fold.kept().begin(fold.edge(newest_ns));
        Ok(Some(fold))
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
        if self.edge(at_ns) != at_ns {
            return None;
        }
        kept.forget(at_ns.saturating_sub(self.range_ns));
        if kept.from_ns >= at_ns {
            return None;
        }
        let mut sums = Vec::new();
        for bucket in kept.buckets.range(..=at_ns).map(|(_, bucket)| bucket) {
            for (number, (entries, bytes)) in bucket.sums.iter().enumerate() {
                sums.extend(bucket.index.labels(number).map(|labels| (labels.clone(), *entries, *bytes)));
            }
        }
        Some(Known { from_ns: kept.from_ns, sums })
    }

    /// Counts the entries of a run.
    fn take(&self, block: &Block, run: &RunView) -> Result<(), Error> {
        let mut kept = self.kept();
        if let Some((_, newest_ns)) = &mut kept.rests {
            *newest_ns = run.max_ns.max(*newest_ns);
            return Ok(());
        }
        let range = TimeRange { start_ns: kept.from_ns.saturating_add(1), end_ns: i64::MAX };
        if !range.overlaps(run.min_ns, run.max_ns) {
            return Ok(());
        }
        let rows = rows_of(block, run, range, &[], &self.pipeline, &mut QueryStats::default())?;
        if rows.len() == 0 {
            return Ok(());
        }
        let stream = Arc::new(run.stream.labels.clone());
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
            if kept.entries > ENTRIES_MAX {
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
        let number = bucket.index.of(&entry.labels, &self.which);
        if bucket.sums.len() <= number {
            bucket.sums.resize(number + 1, (0, 0));
        }
        if let Some((entries, bytes)) = bucket.sums.get_mut(number) {
            *entries += 1;
            *bytes += i64::try_from(entry.line.len()).unwrap_or(i64::MAX);
        }
        kept.entries += 1;
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
        *self = Self { from_ns, buckets: BTreeMap::new(), entries: 0, rests: None };
    }

    fn rest(&mut self, newest_ns: i64) {
        let last_ns = self.buckets.last_key_value().map_or(newest_ns, |(end_ns, _)| newest_ns.max(*end_ns));
        self.begin(i64::MAX);
        self.rests = Some((newest_ns, last_ns));
    }

    /// Forgets what is not after some time.
    fn forget(&mut self, until_ns: i64) {
        while let Some(first) = self.buckets.first_entry().filter(|first| *first.key() <= until_ns) {
            self.entries = self.entries.saturating_sub(first.remove().counted.len());
        }
        self.from_ns = self.from_ns.max(until_ns);
    }
}

/// Returns the length of buckets on whose borders all windows begin and end; short, so that a fold soon knows something.
fn bucket_of(range_ns: i64, every_ns: i64) -> i64 {
    let longest_ns = common_divisor(range_ns, every_ns);
    let parts = (2..=BUCKET_PARTS_MAX).rev().find(|parts| {
        let bucket_ns = longest_ns / parts;
        let is_short_enough = bucket_ns >= BUCKET_NS_MIN && range_ns / bucket_ns <= BUCKETS_MAX;
        longest_ns % parts == 0 && is_short_enough
    });
    longest_ns / parts.unwrap_or(1)
}

fn common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a.rem_euclid(b.max(1)));
    }
    a
}

/// All queries that stand over the same entries.
#[derive(Debug, Default)]
pub struct Standings {
    list: Vec<Arc<Standing>>,
    /// For the first of the list; the others, which are few, try all entries of their streams until it is made anew.
    search: Option<Search>,
}

/// Of so many queries there may be one without a search: a thousand that come one by one are not a thousand searches.
const UNSEARCHED_SHARE: usize = 8;

/// Finds the folds that an entry may concern.
#[derive(Debug)]
struct Search {
    /// How many queries it is for.
    count: usize,
    /// Query and fold, by their number here.
    places: Vec<(usize, usize)>,
    texts: Option<AhoCorasick>,
    /// Folds by the number of the text.
    by_text: Vec<Vec<usize>>,
    /// Whether a fold is tried on all entries of its streams.
    always: Vec<bool>,
    by_stream: HashMap<StreamId, Arc<[usize]>>,
}

impl Standings {
    /// Adds a query; entries that are shown from now on are its.
    pub fn add(&mut self, standing: Arc<Standing>) {
        self.list.push(standing);
        let count = self.search.as_ref().map_or(0, |search| search.count);
        if self.list.len() - count > count / UNSEARCHED_SHARE {
            self.search = None;
        }
    }

    /// Removes a query.
    pub fn remove(&mut self, standing: &Arc<Standing>) {
        self.list.retain(|other| !Arc::ptr_eq(other, standing));
        self.search = None;
    }

    /// Shows entries that are stored now to all queries. Errors: the block cannot be read, or a pipeline fails.
    ///
    /// Cost: one search over the lines, and what the query takes over those runs that hold what it asks for.
    pub fn take(&mut self, view: &BlockView) -> Result<(), Error> {
        let Self { list, search } = self;
        let search = match search {
            Some(search) => search,
            None => search.insert(Search::new(list)?),
        };
        let unsearched = list.get(search.count..).unwrap_or_default();
        for run in &view.runs {
            for fold in unsearched.iter().flat_map(|standing| &standing.folds) {
                if fold.matches(run) {
                    fold.take(&view.block, run)?;
                }
            }
            for number in search.folds_of(list, &view.block, run)? {
                let Some((standing, fold)) = search.places.get(number) else { continue };
                if let Some(fold) = list.get(*standing).and_then(|standing| standing.folds.get(*fold)) {
                    fold.take(&view.block, run)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets everything, as [`Standing::reset`] does.
    pub fn reset(&self, newest_ns: i64) {
        self.list.iter().for_each(|standing| standing.reset(newest_ns));
    }
}

impl Search {
    fn new(list: &[Arc<Standing>]) -> Result<Self, Error> {
        let (mut places, mut always, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_text: Vec<Vec<usize>> = Vec::new();
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        for (standing_number, standing) in list.iter().enumerate() {
            for (fold_number, fold) in standing.folds.iter().enumerate() {
                let wanted = texts_of(&fold.pipeline.prefilter);
                always.push(wanted.is_empty());
                for text in wanted {
                    let number = *numbers.entry(text).or_insert_with(|| {
                        texts.push(text);
                        by_text.push(Vec::new());
                        by_text.len() - 1
                    });
                    by_text[number].push(places.len());
                }
                places.push((standing_number, fold_number));
            }
        }
        let texts = match texts.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(&texts).map_err(|error| {
                Error::new(
                    crate::error::Kind::Internal,
                    format!("cannot search for the texts of rules: {error}"),
                )
            })?),
        };
        Ok(Self { count: list.len(), places, texts, by_text, always, by_stream: HashMap::new() })
    }

    /// Returns the folds that entries of a run may concern.
    fn folds_of(
        &mut self,
        list: &[Arc<Standing>],
        block: &Block,
        run: &RunView,
    ) -> Result<Vec<usize>, Error> {
        let of_stream = self.of_stream(list, run);
        let mut is_wanted = self.always.clone();
        let searches = of_stream.iter().any(|number| self.always.get(*number) == Some(&false));
        if let (true, Some(texts)) = (searches, &self.texts) {
            let mut lines = LineSource::new(block, run.rows.len())?;
            for row in run.rows.clone() {
                for found in texts.find_overlapping_iter(lines.line(row)?) {
                    for number in self.by_text.get(found.pattern().as_usize()).into_iter().flatten() {
                        if let Some(is_wanted) = is_wanted.get_mut(*number) {
                            *is_wanted = true;
                        }
                    }
                }
            }
        }
        Ok(of_stream.iter().copied().filter(|number| is_wanted.get(*number) == Some(&true)).collect())
    }

    fn of_stream(&mut self, list: &[Arc<Standing>], run: &RunView) -> Arc<[usize]> {
        if let Some(known) = self.by_stream.get(&run.stream.id) {
            return Arc::clone(known);
        }
        if self.by_stream.len() >= KNOWN_STREAMS_MAX {
            self.by_stream.clear();
        }
        let matches = |number: &usize| {
            let fold =
                self.places.get(*number).and_then(|(standing, fold)| list.get(*standing)?.folds.get(*fold));
            fold.is_some_and(|fold| fold.matches(run))
        };
        let folds: Arc<[usize]> = (0..self.places.len()).filter(matches).collect();
        self.by_stream.insert(run.stream.id, Arc::clone(&folds));
        folds
    }
}

/// Returns texts of which every wanted line holds at least one; none if no such are known.
fn texts_of(prefilter: &Prefilter) -> Vec<&[u8]> {
    if let Some(longest) = prefilter.literals.iter().max_by_key(|literal| literal.len()) {
        return vec![longest];
    }
    let shortest = |group: &&Vec<Vec<u8>>| group.iter().map(Vec::len).min().unwrap_or_default();
    let best = prefilter.any_of.iter().max_by_key(shortest);
    best.into_iter().flatten().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests;
