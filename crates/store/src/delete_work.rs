//! Carries delete requests out, once the time to cancel them is over.
//!
//! One request after the other: what is in memory of its streams and times is flushed; segments that may hold its
//! entries are looked through, block by block, as far as no index shows that there are none; one that does hold
//! some is written anew without them, as a compaction of itself. When none is left the request is done. The catalog
//! edit that swaps a segment also counts what went, so that a crash at any point leaves a file with all of its entries
//! or with none of those, and the count right; what was looked through is looked through again after a restart.
//!
//! Every compaction leaves out what due requests mean ([`LeaveOut`]), so a merge meanwhile does their work, too.

use crate::catalog_record::{DeletedRecord, Edit};
use crate::compaction_plan::{Job, Partition};
use crate::delete_requests::{edit, is_due};
use crate::deletes::{PendingDelete, matching, taken_rows, unreadable};
use crate::error::{Error, Result};
use crate::maintenance::Pace;
use crate::run_part::without;
use crate::segment::{IndexError, Segment, SegmentIndex};
use crate::segment_content;
use crate::segment_tables::RunRow;
use crate::shared::{Shared, View};
use logyard_codec::{Block, Kind, RunView};
use logyard_model::{Stream, StreamId, Tenant};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What comes next for the requests that are due.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing, or nothing now.
    None,
    /// Something was done, and there may be more.
    Done,
    /// A segment has to be written anew.
    Rewrite(Job),
    /// A segment could not be looked through.
    Failed(Partition, Error),
}

/// Does what can be done without writing a segment, up to the first that has to be written.
///
/// `is_free` tells whether a job may run now. Cost: reads blocks, at the pace of compaction.
pub(crate) fn step(shared: &Shared, is_free: impl Fn(&Job) -> bool) -> Step {
    for request in due(shared, |_| true) {
        if may_be_in_memory(shared, &request)
            && let Err(error) = flush(shared)
        {
            tracing::debug!(?error, id = request.id, "a delete request waits for a flush");
            continue;
        }
        let segments = Arc::clone(&shared.view.read().segments);
        let live: std::collections::HashSet<u64> = segments.iter().map(|segment| segment.key()).collect();
        request.cleared.lock().retain(|key| live.contains(key));
        let mut is_waiting = false;
        for segment in segments.iter().filter(|segment| concerns(&request, segment)) {
            if request.cleared.lock().contains(&segment.key()) {
                continue;
            }
            let job = Job::rewrite(&segment.record);
            if !is_free(&job) {
                is_waiting = true;
                continue;
            }
            match holds_some(shared, &request, segment) {
                Ok(true) => return Step::Rewrite(job),
                Ok(false) => drop(request.cleared.lock().insert(segment.key())),
                Err(error) => return Step::Failed(job.partition, error),
            }
        }
        if is_waiting || !is_all_gone(shared, &request) {
            continue;
        }
        return match finish(shared, &request) {
            Ok(()) => Step::Done,
            Err(error) => {
                tracing::warn!(
                    ?error,
                    id = request.id,
                    "cannot note that a delete request is done, try again later"
                );
                Step::None
            }
        };
    }
    Step::None
}

/// Returns the due requests that pass, in order of their creation.
fn due(shared: &Shared, passes: impl Fn(&PendingDelete) -> bool) -> Vec<Arc<PendingDelete>> {
    let is_wanted = |request: &&Arc<PendingDelete>| is_due(shared, request.created_ns) && passes(request);
    shared.deletes.all().iter().filter(is_wanted).map(Arc::clone).collect()
}

fn concerns(request: &PendingDelete, segment: &Segment) -> bool {
    let record = &segment.record;
    record.tenant == request.tenant && request.range.overlaps(record.min_ns, record.max_ns)
}

/// Returns whether there may be entries of a request that no segment holds yet.
fn may_be_in_memory(shared: &Shared, request: &PendingDelete) -> bool {
    may_heads_hold(&shared.view(), request)
}

fn may_heads_hold(view: &View, request: &PendingDelete) -> bool {
    let Ok(tenant) = Tenant::new(&request.tenant) else { return false };
    view.heads().any(|head| head.may_hold(&tenant, request.filter.matchers(), request.range))
}

/// Returns whether one view shows that nothing of a request is left: what arrived late may have been flushed since the
/// segments were looked through.
fn is_all_gone(shared: &Shared, request: &PendingDelete) -> bool {
    let view = shared.view();
    let cleared = request.cleared.lock();
    let mut concerned = view.segments.iter().filter(|segment| concerns(request, segment));
    concerned.all(|segment| cleared.contains(&segment.key())) && !may_heads_hold(&view, request)
}

/// Has everything in memory written as segments.
fn flush(shared: &Shared) -> Result<()> {
    let (reply, answer) = oneshot::channel();
    shared.queue.flush(reply)?;
    answer.blocking_recv().unwrap_or_else(|_| Err(Error::unavailable("cannot flush: the store is closing")))
}

/// Returns whether a segment holds an entry that a request means; blocks that are damaged hold none.
fn holds_some(shared: &Shared, request: &PendingDelete, segment: &Arc<Segment>) -> Result<bool> {
    let index = match shared.reads.index(segment) {
        Ok(index) => index,
        Err(IndexError::Failed(error)) => return Err(error),
        Err(IndexError::Lost(error)) => {
            shared.lose(segment, &error);
            return Ok(false);
        }
    };
    let streams: Vec<bool> = index.streams.iter().map(|stream| request.matches(stream)).collect();
    let is_wanted = |row: &&RunRow| {
        streams.get(row.run.stream_ref as usize) == Some(&true)
            && request.range.overlaps(row.run.min_ns, row.run.max_ns)
            && !segment.damage.contains(row.block)
    };
    let rows: Vec<&RunRow> = index.runs.iter().filter(is_wanted).collect();
    if rows.is_empty() {
        return Ok(false);
    }
    let (candidates, mut pace) = (
        segment_content::candidates(&shared.reads, segment, &index, request.filter.prefilter()),
        Pace::new(shared),
    );
    for rows in rows.chunk_by(|left, right| left.block == right.block) {
        let Some(number) = rows.first().map(|row| row.block) else { continue };
        if candidates.as_ref().is_some_and(|blocks| !blocks.contains(number as usize)) {
            continue;
        }
        let Some(block_row) = index.blocks.get(number as usize) else { continue };
        pace.step()?;
        let block = shared.reads.block(segment, number, block_row);
        for row in rows {
            let Some(stream) = index.streams.get(row.run.stream_ref as usize) else { continue };
            match request.filter.rows(&block, &run_view(row, stream), request.range) {
                Ok(rows) if rows.is_empty() => {}
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == Kind::Corrupt => break,
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
    Ok(false)
}

fn run_view(row: &RunRow, stream: &Arc<Stream>) -> RunView {
    let run = &row.run;
    RunView {
        stream: Arc::clone(stream),
        rows: run.first_row..run.first_row + run.rows,
        min_ns: run.min_ns,
        max_ns: run.max_ns,
        raw_bytes: run.raw_bytes,
    }
}

/// Notes that none of a request's entries is left.
fn finish(shared: &Shared, request: &PendingDelete) -> Result<()> {
    let mut catalog = shared.catalog.lock();
    let done_ns = shared.clock.now_ns();
    edit(shared, &mut catalog, Edit::EndDelete { id: request.id.clone(), done_ns })?;
    let found = catalog.state().deletes.iter().find(|record| record.id == request.id);
    let entries = found.map_or(0, |record| record.entries);
    shared.deletes.remove(&request.id);
    drop(catalog);
    shared.count_deletes();
    tracing::info!(tenant = request.tenant, id = request.id, entries, "delete request done");
    Ok(())
}

/// What a compaction leaves out because due requests mean it, or because it is too old for good.
#[derive(Debug)]
pub(crate) struct LeaveOut<'a> {
    shared: &'a Shared,
    tenant: String,
    requests: Vec<Arc<PendingDelete>>,
    /// Entries left out, by request.
    counts: Vec<u64>,
    matching: HashMap<StreamId, Vec<usize>>,
    /// The instant before which entries are too old for good, by place in order of arrival and stream.
    gone_before: HashMap<(u64, StreamId), i64>,
}

impl<'a> LeaveOut<'a> {
    /// Returns what is to be left out of some segments of a tenant.
    pub(crate) fn new(shared: &'a Shared, segments: &[Arc<Segment>]) -> Self {
        let requests = due(shared, |request| segments.iter().any(|segment| concerns(request, segment)));
        Self {
            shared,
            tenant: segments.first().map(|segment| segment.record.tenant.clone()).unwrap_or_default(),
            counts: vec![0; requests.len()],
            requests,
            matching: HashMap::new(),
            gone_before: HashMap::new(),
        }
    }

    /// Returns whether there may be something to leave out of a run of a segment of place `order`.
    pub(crate) fn concerns(&mut self, order: u64, row: &RunRow, stream: &Arc<Stream>) -> bool {
        let (min_ns, max_ns) = (row.run.min_ns, row.run.max_ns);
        min_ns < self.gone_before_ns(order, stream)
            || self.of_stream(stream).iter().any(|index| {
                self.requests.get(*index).is_some_and(|request| request.range.overlaps(min_ns, max_ns))
            })
    }

    fn gone_before_ns(&mut self, order: u64, stream: &Stream) -> i64 {
        let Self { shared, tenant, gone_before, .. } = self;
        *gone_before
            .entry((order, stream.id))
            .or_insert_with(|| shared.epochs.gone_before_ns(&shared.periods, order, tenant, &stream.labels))
    }

    /// Returns the rows of a run that stay, in stretches, and counts the others. To be called once for each run.
    ///
    /// Errors: those of the block. Cost: decodes what the requests look at.
    pub(crate) fn rows_left(
        &mut self,
        order: u64,
        block: &Block,
        row: &RunRow,
        stream: &Arc<Stream>,
    ) -> std::result::Result<Vec<Range<u32>>, logyard_codec::Error> {
        let mut run = run_view(row, stream);
        let gone_before_ns = self.gone_before_ns(order, stream);
        if run.min_ns < gone_before_ns {
            let ts_ns = block.timestamps()?.get(run.rows.start as usize..run.rows.end as usize);
            // Rows are counted in 32 bits.
            let gone = ts_ns.unwrap_or_default().partition_point(|ts_ns| *ts_ns < gone_before_ns) as u32;
            run.rows.start += gone;
            run.min_ns = gone_before_ns;
        }
        let matching = self.of_stream(stream);
        if run.rows.is_empty() {
            return Ok(Vec::new());
        }
        let taken = taken_rows(&self.requests, &matching, block, &run)?;
        for (_, index) in &taken {
            if let Some(count) = self.counts.get_mut(*index) {
                *count += 1;
            }
        }
        Ok(without(run.rows, taken.into_iter().map(|(row, _)| row)))
    }

    /// Returns how many entries all requests took.
    pub(crate) fn deleted_entries(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns how many entries each request took.
    pub(crate) fn deleted(&self) -> Vec<DeletedRecord> {
        let counted = self.requests.iter().zip(&self.counts);
        counted
            .map(|(request, entries)| DeletedRecord { id: request.id.clone(), entries: *entries })
            .collect()
    }

    /// Notes that a segment holds nothing of the requests.
    pub(crate) fn clear(&self, segment: &Segment) {
        for request in &self.requests {
            request.cleared.lock().insert(segment.key());
        }
    }

    fn of_stream(&mut self, stream: &Arc<Stream>) -> Vec<usize> {
        let requests = &self.requests;
        self.matching.entry(stream.id).or_insert_with(|| matching(requests, stream)).clone()
    }
}

/// Lets a merge ask what to leave out of a run of an input.
pub(crate) fn stream_of<'a>(index: &'a SegmentIndex, run: &RunRow) -> Option<&'a Arc<Stream>> {
    index.streams.get(run.run.stream_ref as usize)
}
