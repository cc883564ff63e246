//! How many bytes of lines there are: by groups of streams, and by buckets of time.
//!
//! Only labels of streams count, so a run that lies inside one bucket is answered from the run table; a
//! run across a border costs the timestamps and line ends of its block, and runs of one stream that
//! overlap what [`find_copies`] reads. The answer is exact, hence the same wherever entries lie. Bytes of
//! structured metadata are left out: run tables do not have them.

use crate::cancel::Cancel;
use crate::dedupe::{Copies, find_copies, rows_between};
use crate::error::Error;
use crate::hash::ByStream;
use crate::limits;
use crate::memory::Memory;
use crate::range_count::line_bytes;
use crate::request::QueryStats;
use crate::select::{Select, SelectRequest};
use crate::settings::EngineSettings;
use crate::shared_blocks::SharedBlocks;
use crate::turns::{Turns, Work};
use logyard_codec::{Block, BlockView, RunView};
use logyard_model::{Direction, LabelSet, Matcher, Prefilter, Stream, Tenants, TimeRange};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes that a group takes besides its labels, roughly.
const GROUP_BYTES: u64 = 256;
/// Bytes that a bucket takes, roughly.
const BUCKET_BYTES: u64 = 48;

/// Most runs that are counted in a fraction of a millisecond.
const LITTLE_RUNS_MAX: usize = 4096;

/// A question for bytes.
#[derive(Clone, Debug)]
pub struct VolumeRequest {
    /// Whose.
    pub tenants: Tenants,
    /// Of which streams; all must hold, none means all streams.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub range: TimeRange,
    /// Width of the buckets, which begin at multiples of it; `None` for one bucket.
    pub bucket_ns: Option<i64>,
    /// Labels without which a stream does not count.
    pub required: Vec<String>,
    /// What makes a group.
    pub groups: VolumeGroups,
    /// Most groups.
    pub groups_max: usize,
    /// The time of the request.
    pub now_ns: i64,
    /// Ends the work early.
    pub cancel: Arc<Cancel>,
}

/// What makes a group: streams with equal labels, or streams that have a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeGroups {
    /// Streams with equal values of these labels; of all labels for `None`.
    Values(Option<Vec<String>>),
    /// Streams with a label of that name, whatever its value; those of all names for `None`. A stream counts for each
    /// of its names, and the group's labels are the name with an empty value.
    Names(Option<Vec<String>>),
}

/// The bytes of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What the group's streams have in common.
    pub labels: LabelSet,
    /// Bytes of all buckets.
    pub bytes: u64,
    /// First time of a bucket and its bytes, in order of time; those without an entry are left out. With one bucket the
    /// time is the start of the range.
    pub buckets: Vec<(i64, u64)>,
}

/// The bytes of all groups, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOutcome {
    /// In the order of their labels.
    pub groups: Vec<Volume>,
    /// What it took.
    pub stats: QueryStats,
}

/// What one worker has counted.
#[derive(Debug, Default)]
struct Sums {
    index: HashMap<LabelSet, usize>,
    of_stream: ByStream<Arc<[usize]>>,
    /// By group; bucket → bytes.
    buckets: Vec<BTreeMap<i64, u64>>,
    held_bytes: u64,
    counted_bytes: u64,
    stats: QueryStats,
}

struct Counting<'a> {
    request: &'a VolumeRequest,
    range: TimeRange,
    memory: &'a Memory<'a>,
    blocks: &'a SharedBlocks,
}

/// Counts. Errors: too many groups, or what selecting and reading fail with.
pub(crate) fn run(
    source: &dyn Select,
    request: &VolumeRequest,
    settings: &EngineSettings,
    turns: &Turns<'_>,
    memory: &Memory<'_>,
) -> Result<VolumeOutcome, Error> {
    let range = limits::cut(settings, request.range, request.now_ns);
    let VolumeRequest { tenants, matchers, .. } = request;
    let prefilter = Prefilter::default();
    let direction = Direction::Backward;
    let views =
        source.select(&SelectRequest { tenants, matchers, range, prefilter: &prefilter, direction })?;
    let blocks = SharedBlocks::default();
    let copies = find_copies(turns, &blocks, &views, range)?;
    let counting = Counting { request, range, memory, blocks: &blocks };
    let parts = turns.fold(views.len(), counting.work(&views), |sums: &mut Sums, index| {
        let Some(view) = views.get(index) else { return Ok(0) };
        counting.count_view(sums, (index, view), &copies)
    })?;
    let mut all = Sums::default();
    for part in parts {
        all.stats.add(&part.stats);
        for (labels, group) in part.index {
            let into = counting.group(&mut all, labels)?;
            let Some(buckets) = part.buckets.get(group) else { continue };
            for (&bucket, &bytes) in buckets {
                all.add(into, bucket, bytes);
            }
        }
        counting.check(&mut all)?;
    }
    Ok(counting.outcome(all))
}

impl Counting<'_> {
    /// Returns what it takes to count the runs of some views, of which few lie across a border if there is one bucket.
    fn work(&self, views: &[BlockView]) -> Work {
        let runs: usize = views.iter().map(|view| view.runs.len()).sum();
        match self.request.bucket_ns {
            None if runs <= LITTLE_RUNS_MAX => Work::Little,
            _ => Work::Unknown,
        }
    }

    fn count_view(
        &self,
        sums: &mut Sums,
        (index, view): (usize, &BlockView),
        copies: &Copies,
    ) -> Result<u64, Error> {
        let block = self.blocks.open(&view.block);
        for (run_index, run) in view.runs.iter().enumerate() {
            if self.range.overlaps(run.min_ns, run.max_ns) {
                let groups = self.groups_of(sums, &run.stream)?;
                if !groups.is_empty() {
                    self.count_run(sums, (&block, run), copies.of(index, run_index), &groups)?;
                }
            }
        }
        self.check(sums)?;
        Ok(self.blocks.note(&block, &mut sums.stats))
    }

    fn count_run(
        &self,
        sums: &mut Sums,
        (block, run): (&Block, &RunView),
        copies: &[u32],
        groups: &[usize],
    ) -> Result<(), Error> {
        let inside = self.range.contains(run.min_ns) && self.range.contains(run.max_ns);
        let bucket = self.bucket_of(run.min_ns);
        if inside && copies.is_empty() && bucket == self.bucket_of(run.max_ns) {
            sums.stats.entries += run.rows.len() as u64;
            sums.stats.line_bytes += run.raw_bytes;
            groups.iter().for_each(|group| sums.add(*group, bucket, run.raw_bytes));
            return Ok(());
        }
        let (ts_ns, ends) = (block.timestamps()?, block.line_ends()?);
        let last_ns = self.range.end_ns.saturating_sub(1);
        for row in rows_between(ts_ns, &run.rows, self.range.start_ns, last_ns) {
            if copies.binary_search(&row).is_ok() {
                continue;
            }
            let Some(ts_ns) = ts_ns.get(row as usize) else { continue };
            let (bucket, bytes) = (self.bucket_of(*ts_ns), line_bytes(ends, row).unsigned_abs());
            sums.stats.entries += 1;
            sums.stats.line_bytes += bytes;
            groups.iter().for_each(|group| sums.add(*group, bucket, bytes));
        }
        Ok(())
    }

    /// Returns the first time of the bucket of an entry.
    fn bucket_of(&self, ts_ns: i64) -> i64 {
        match self.request.bucket_ns {
            Some(width_ns) if width_ns > 0 => ts_ns.div_euclid(width_ns).saturating_mul(width_ns),
            _ => self.request.range.start_ns,
        }
    }

    /// Returns the groups that a stream counts for.
    fn groups_of(&self, sums: &mut Sums, stream: &Stream) -> Result<Arc<[usize]>, Error> {
        if let Some(known) = sums.of_stream.get(&stream.id) {
            return Ok(Arc::clone(known));
        }
        let labels = &stream.labels;
        let mut groups = Vec::new();
        if self.request.required.iter().all(|name| labels.get(name).is_some()) {
            for group in self.request.groups.of(labels) {
                groups.push(self.group(sums, group)?);
            }
        }
        sums.counted_bytes += GROUP_BYTES;
        let groups: Arc<[usize]> = groups.into();
        sums.of_stream.insert(stream.id, Arc::clone(&groups));
        Ok(groups)
    }

    fn group(&self, sums: &mut Sums, labels: LabelSet) -> Result<usize, Error> {
        if let Some(group) = sums.index.get(&labels) {
            return Ok(*group);
        }
        let groups_max = self.request.groups_max;
        if sums.buckets.len() >= groups_max {
            return Err(Error::invalid(format!(
                "the query hit the max number of series limit (limit: {groups_max} series)"
            )));
        }
        sums.counted_bytes += GROUP_BYTES + labels.text_bytes() as u64;
        sums.index.insert(labels, sums.buckets.len());
        sums.buckets.push(BTreeMap::new());
        Ok(sums.buckets.len() - 1)
    }

    /// Notes what has been taken since the last time.
    fn check(&self, sums: &mut Sums) -> Result<(), Error> {
        if sums.counted_bytes > sums.held_bytes {
            self.memory.hold(sums.counted_bytes - sums.held_bytes)?;
            sums.held_bytes = sums.counted_bytes;
        }
        Ok(())
    }

    fn outcome(&self, sums: Sums) -> VolumeOutcome {
        let mut buckets = sums.buckets;
        let groups = sums.index.into_iter().map(|(labels, group)| {
            let buckets: Vec<(i64, u64)> =
                buckets.get_mut(group).map(std::mem::take).unwrap_or_default().into_iter().collect();
            Volume { labels, bytes: buckets.iter().map(|(_, bytes)| bytes).sum(), buckets }
        });
        let mut groups: Vec<Volume> = groups.filter(|group| !group.buckets.is_empty()).collect();
        groups.sort_by(|a, b| a.labels.cmp(&b.labels));
        VolumeOutcome { groups, stats: sums.stats }
    }
}

impl VolumeGroups {
    fn of(&self, labels: &LabelSet) -> Vec<LabelSet> {
        let chosen = |names: &Option<Vec<String>>| -> Vec<(String, String)> {
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            match names {
                None => labels.iter().map(owned).collect(),
                Some(names) => names
                    .iter()
                    .filter_map(|name| labels.get(name).map(|value| owned((name, value))))
                    .collect(),
            }
        };
        match self {
            Self::Values(names) => vec![LabelSet::from_pairs(chosen(names))],
            Self::Names(names) => {
                chosen(names).into_iter().map(|(name, _)| LabelSet::from_pairs([(name, "")])).collect()
            }
        }
    }
}

impl Sums {
    fn add(&mut self, group: usize, bucket: i64, bytes: u64) {
        let Some(buckets) = self.buckets.get_mut(group) else { return };
        let before = buckets.len();
        *buckets.entry(bucket).or_default() += bytes;
        self.counted_bytes += (buckets.len() - before) as u64 * BUCKET_BYTES;
    }
}
