//! Entries that are not to be seen any more, because somebody asked for it.
//!
//! A delete request means the entries of some streams, in a range of time, whose lines pass a filter. From the
//! request on they are left out of every view: of the runs that may hold such entries, the rows are looked up and the
//! run is split around them. What was found for a block of a segment, which never changes, is kept in bounded memory.
//! Queries over other streams or times pay a look at the list of requests.
//!
//! That begins at once, as in Loki v3.7.6, so that a secret is out of sight within the time to cancel too. Once that
//! time is over, [`crate::delete_work`] has the files written anew.

use crate::catalog_record::DeleteRecord;
use crate::delete_filter::{DeleteFilter, ParseDelete};
use crate::error::{Error, Result};
use crate::head::block_of;
use crate::run_part::{part, without};
use crate::segment::{Segment, SegmentIndex, SegmentReads};
use crate::segment_content;
use logyard_codec::{Block, BlockView, Kind, RunView};
use logyard_index::NumberSet;
use logyard_model::{Stream, StreamId, Tenant, TimeRange};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Bytes of memory for what is left of runs: the parts of some ten thousand.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A request whose entries are not all gone yet.
#[derive(Debug)]
pub(crate) struct PendingDelete {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) range: TimeRange,
    pub(crate) created_ns: i64,
    pub(crate) filter: Arc<dyn DeleteFilter>,
    /// Keys of segments that hold none of its entries, as far as they were looked through.
    pub(crate) cleared: Mutex<HashSet<u64>>,
}

impl PendingDelete {
    pub(crate) fn matches(&self, stream: &Stream) -> bool {
        self.filter.matchers().iter().all(|matcher| matcher.matches_set(&stream.labels))
    }

    /// Returns whether the request means all of a run of a stream that matches.
    fn takes_whole(&self, run: &RunView) -> bool {
        self.filter.takes_all() && self.range.contains(run.min_ns) && self.range.contains(run.max_ns)
    }
}

/// The requests that are not done.
#[derive(Debug)]
pub(crate) struct Deletes {
    parse: Option<ParseDelete>,
    pending: RwLock<Pending>,
    kept: Mutex<KeptRuns>,
}

#[derive(Clone, Debug, Default)]
struct Pending {
    /// In order of their creation.
    requests: Arc<Vec<Arc<PendingDelete>>>,
    /// Another for each list of requests.
    generation: u64,
}

impl Deletes {
    /// Takes in the requests of the catalog. Without a way to read them nothing is hidden, and nothing goes: tools
    /// that neither ask nor compact do without.
    pub(crate) fn new(parse: Option<ParseDelete>, records: &[DeleteRecord]) -> Self {
        let deletes = Self { parse, pending: RwLock::default(), kept: Mutex::default() };
        for record in records.iter().filter(|record| record.done_ns.is_none()) {
            match deletes.compile(record) {
                Ok(pending) => deletes.add(pending),
                Err(error) if parse.is_some() => tracing::error!(
                    id = record.id, tenant = record.tenant, query = record.query, %error,
                    "a delete request cannot be read: what it means is answered again; cancel it and send another"
                ),
                Err(_) => {}
            }
        }
        deletes
    }

    /// Makes a request ready. Errors: `Kind::Invalid` for a query that cannot be one.
    pub(crate) fn compile(&self, record: &DeleteRecord) -> Result<PendingDelete> {
        let parse =
            self.parse.ok_or_else(|| Error::invalid("cannot delete: the store was opened without LogQL"))?;
        let filter = parse(&record.query, record.created_ns).map_err(Error::invalid)?;
        Ok(PendingDelete {
            id: record.id.clone(),
            tenant: record.tenant.clone(),
            range: TimeRange { start_ns: record.start_ns, end_ns: record.end_ns },
            created_ns: record.created_ns,
            filter,
            cleared: Mutex::default(),
        })
    }

    /// Returns whether requests can be read at all.
    pub(crate) fn is_able(&self) -> bool {
        self.parse.is_some()
    }

    /// Hides what a request means from now on.
    pub(crate) fn add(&self, request: PendingDelete) {
        self.change(|requests| requests.push(Arc::new(request)));
    }

    /// Shows again what a request means, as far as it is there.
    pub(crate) fn remove(&self, id: &str) {
        self.change(|requests| requests.retain(|request| request.id != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<PendingDelete>>)) {
        let mut pending = self.pending.write();
        let mut requests = Vec::clone(&pending.requests);
        change(&mut requests);
        *pending = Pending { requests: Arc::new(requests), generation: pending.generation + 1 };
        drop(pending);
        // What was found for another list is of no use.
        *self.kept.lock() = KeptRuns::default();
    }

    /// Returns all requests, in order of their creation.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<PendingDelete>>> {
        Arc::clone(&self.pending.read().requests)
    }

    /// Returns what hides entries of a tenant; `None` if nothing does in a range.
    ///
    /// Shape: all requests of the tenant, also those over other times: what is found for a run is kept for queries over
    /// any range, and a run may reach beyond the range of this one.
    pub(crate) fn hiding(&self, tenant: &Tenant, range: TimeRange) -> Option<Hiding<'_>> {
        let Pending { requests, generation } = self.pending.read().clone();
        let of_tenant = |request: &&Arc<PendingDelete>| request.tenant == tenant.as_str();
        let requests: Vec<_> = requests.iter().filter(of_tenant).map(Arc::clone).collect();
        let last_ns = range.end_ns.saturating_sub(1);
        let is_concerned = requests.iter().any(|request| request.range.overlaps(range.start_ns, last_ns));
        is_concerned.then(|| Hiding { deletes: self, generation, requests, matching: HashMap::new() })
    }
}

/// The requests of one tenant.
#[derive(Debug)]
pub(crate) struct Hiding<'a> {
    deletes: &'a Deletes,
    generation: u64,
    requests: Vec<Arc<PendingDelete>>,
    /// Which of the requests match a stream.
    matching: HashMap<StreamId, Vec<usize>>,
}

/// Where views come from.
struct Place<'a> {
    segment: &'a Segment,
    index: &'a SegmentIndex,
    reads: &'a SegmentReads,
    /// By request, once asked: the blocks that may hold its entries, if that is known.
    candidates: HashMap<usize, Option<NumberSet>>,
}

impl Place<'_> {
    /// Returns whether a block may hold entries that a request means.
    fn may_hold(&mut self, requests: &[Arc<PendingDelete>], request: usize, block: u32) -> bool {
        let Self { segment, index, reads, candidates } = self;
        let Some(filter) = requests.get(request).map(|request| &request.filter) else { return false };
        let known = candidates
            .entry(request)
            .or_insert_with(|| segment_content::candidates(reads, segment, index, filter.prefilter()));
        known.as_ref().is_none_or(|blocks| blocks.contains(block as usize))
    }
}

impl Hiding<'_> {
    /// Returns whether anything may be hidden among entries of some times.
    pub(crate) fn concerns(&self, min_ns: i64, max_ns: i64) -> bool {
        self.requests.iter().any(|request| request.range.overlaps(min_ns, max_ns))
    }

    /// Takes hidden rows out of the views of a segment, of which `views` has those from `first` on.
    ///
    /// The runs have to be whole. Errors: `Kind::Unavailable` if a block cannot be read; `Kind::Invalid` for one of a
    /// newer version. What is damaged is left out. Cost: reads the blocks that may hold something hidden, unless
    /// that is known.
    pub(crate) fn hide_in_segment(
        &mut self,
        segment: &Segment,
        index: &SegmentIndex,
        reads: &SegmentReads,
        views: &mut Vec<BlockView>,
        first: usize,
    ) -> Result<()> {
        if !self.concerns(segment.record.min_ns, segment.record.max_ns) {
            return Ok(());
        }
        let place = Place { segment, index, reads, candidates: HashMap::new() };
        self.hide(Some(place), views, first)
    }

    /// Takes hidden rows out of the views of a head. Errors and cost: as [`Hiding::hide_in_segment`].
    pub(crate) fn hide_in_head(&mut self, views: &mut Vec<BlockView>, first: usize) -> Result<()> {
        self.hide(None, views, first)
    }

    fn hide(&mut self, mut place: Option<Place<'_>>, views: &mut Vec<BlockView>, first: usize) -> Result<()> {
        for view in views.iter_mut().skip(first) {
            if !view.runs.iter().any(|run| self.concerns(run.min_ns, run.max_ns)) {
                continue;
            }
            // Decoded at the first need, for all runs, and gone with the view.
            let (block, arrival) = (view.block.fresh(), view.arrival);
            let mut kept = Vec::with_capacity(view.runs.len());
            for run in view.runs.drain(..) {
                match self.hide_in_run(place.as_mut(), &block, arrival, run, &mut kept) {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::Corrupt => {}
                    Err(error) => return Err(unreadable(error)),
                }
            }
            view.runs = kept;
        }
        // Those before have runs, too.
        views.retain(|view| !view.runs.is_empty());
        Ok(())
    }

    fn hide_in_run(
        &mut self,
        mut place: Option<&mut Place<'_>>,
        block: &Block,
        arrival: u64,
        run: RunView,
        kept: &mut Vec<RunView>,
    ) -> std::result::Result<(), logyard_codec::Error> {
        let number = block_of(arrival);
        let requests = &self.requests;
        let matching = self.matching.entry(run.stream.id).or_insert_with(|| matching(requests, &run.stream));
        let concerned = |index: &&usize| requests[**index].range.overlaps(run.min_ns, run.max_ns);
        let mut which: Vec<usize> = matching.iter().filter(concerned).copied().collect();
        if which.iter().any(|index| requests[*index].takes_whole(&run)) {
            return Ok(());
        }
        if let Some(place) = &mut place {
            which.retain(|index| place.may_hold(requests, *index, number));
        }
        if which.is_empty() {
            kept.push(run);
            return Ok(());
        }
        let key = place.map(|place| (self.generation, place.segment.key(), number, run.rows.start));
        if let Some(parts) = key.and_then(|key| self.deletes.kept.lock().get(&key)) {
            parts.add_to(&run, kept);
            return Ok(());
        }
        let taken = taken_rows(requests, &which, block, &run)?;
        let parts = if taken.is_empty() {
            Parts::Whole
        } else {
            let rows = without(run.rows.clone(), taken.iter().map(|(row, _)| *row));
            let parts = rows.into_iter().map(|rows| part(block, &run, rows));
            let parts = parts.collect::<std::result::Result<Vec<_>, _>>()?;
            Parts::Some(parts.into_iter().flatten().map(|run| Part::of(&run)).collect())
        };
        parts.add_to(&run, kept);
        if let Some(key) = key {
            self.deletes.kept.lock().insert(key, parts);
        }
        Ok(())
    }
}

/// Returns which of the requests mean entries of a stream.
pub(crate) fn matching(requests: &[Arc<PendingDelete>], stream: &Stream) -> Vec<usize> {
    let matches = |(index, request): (usize, &Arc<PendingDelete>)| request.matches(stream).then_some(index);
    requests.iter().enumerate().filter_map(matches).collect()
}

/// Returns the rows of a run that some of the requests mean, ascending, each with the first that does.
///
/// Errors: those of the block. Cost: decodes what the filters look at.
pub(crate) fn taken_rows(
    requests: &[Arc<PendingDelete>],
    which: &[usize],
    block: &Block,
    run: &RunView,
) -> std::result::Result<Vec<(u32, usize)>, logyard_codec::Error> {
    let mut taken = Vec::new();
    for index in which {
        let Some(request) = requests.get(*index) else { continue };
        let rows = request.filter.rows(block, run, request.range)?;
        taken.extend(rows.into_iter().map(|row| (row, *index)));
    }
    taken.sort_unstable();
    taken.dedup_by_key(|(row, _)| *row);
    Ok(taken)
}

/// Words an error of a block that has to be looked through.
pub(crate) fn unreadable(error: logyard_codec::Error) -> Error {
    let text = "cannot look a block through for entries that are to be deleted";
    match error.kind() {
        Kind::Unavailable => Error::unavailable(text).with_source(error),
        Kind::Corrupt => Error::corrupt(text).with_source(error),
        Kind::Invalid | Kind::Limited => Error::invalid(text).with_source(error),
    }
}

/// Generation, segment, block, first row: a run.
type RunKey = (u64, u64, u32, u32);

/// What is left of a run.
#[derive(Clone, Debug)]
enum Parts {
    Whole,
    Some(Arc<[Part]>),
}

#[derive(Clone, Copy, Debug)]
struct Part {
    first_row: u32,
    end_row: u32,
    min_ns: i64,
    max_ns: i64,
    raw_bytes: u64,
}

impl Part {
    fn of(run: &RunView) -> Self {
        let RunView { rows, min_ns, max_ns, raw_bytes, .. } = run;
        Self {
            first_row: rows.start,
            end_row: rows.end,
            min_ns: *min_ns,
            max_ns: *max_ns,
            raw_bytes: *raw_bytes,
        }
    }
}

impl Parts {
    fn bytes(&self) -> usize {
        let parts = if let Self::Some(parts) = self { parts.len() } else { 0 };
        size_of::<(RunKey, Self)>() * 2 + parts * size_of::<Part>()
    }

    fn add_to(&self, run: &RunView, kept: &mut Vec<RunView>) {
        match self {
            Self::Whole => kept.push(run.clone()),
            Self::Some(parts) => kept.extend(parts.iter().map(|part| RunView {
                stream: Arc::clone(&run.stream),
                rows: part.first_row..part.end_row,
                min_ns: part.min_ns,
                max_ns: part.max_ns,
                raw_bytes: part.raw_bytes,
            })),
        }
    }
}

/// What is left of runs, in two halves: what was not asked for while one filled up goes with the other.
#[derive(Debug, Default)]
struct KeptRuns {
    young: HashMap<RunKey, Parts>,
    young_bytes: usize,
    old: HashMap<RunKey, Parts>,
}

impl KeptRuns {
    fn get(&mut self, key: &RunKey) -> Option<Parts> {
        if let Some(parts) = self.young.get(key) {
            return Some(parts.clone());
        }
        let parts = self.old.remove(key)?;
        self.insert(*key, parts.clone());
        Some(parts)
    }

    fn insert(&mut self, key: RunKey, parts: Parts) {
        let bytes = parts.bytes();
        if bytes > KEPT_BYTES_MAX / 4 {
            return;
        }
        if self.young_bytes + bytes > KEPT_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, parts).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_runs_is_bounded_and_what_is_asked_for_stays() {
        let part = Part { first_row: 0, end_row: 1, min_ns: 2, max_ns: 3, raw_bytes: 4 };
        let parts = Parts::Some(vec![part; 1000].into());
        let most = KEPT_BYTES_MAX / parts.bytes();
        let mut kept = KeptRuns::default();
        kept.insert((0, 0, 0, 0), parts.clone());
        for number in 1..most as u64 * 3 {
            kept.insert((0, number, 0, 0), parts.clone());
            assert!(kept.young.len() + kept.old.len() <= most, "{number}");
            assert!(kept.get(&(0, 0, 0, 0)).is_some(), "{number}");
        }
        assert!(kept.get(&(0, 1, 0, 0)).is_none());
        kept.insert((1, 0, 0, 0), Parts::Some(vec![part; KEPT_BYTES_MAX].into()));
        assert!(kept.get(&(1, 0, 0, 0)).is_none(), "too large to keep");
    }
}
