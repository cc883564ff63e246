//! `context`: the entries of the same stream around each match.
//!
//! Matches are taken in the direction of the query, each with all of its context, as long as the answer
//! stays within the limit. The stream's entries around a match are looked for near its time only, in a
//! selection of their own, since what rules out blocks for the matches says nothing about neighbours.
//! A match is recognised among its neighbours by its content. Neighbours are shown as stored.

use crate::dedupe::fingerprint;
use crate::error::Error;
use crate::kept_blocks::KeptBlocks;
use crate::limits;
use crate::log_query::{LogQuery, Place, rank_streams};
use crate::plan::Pipeline;
use crate::request::{LogEntry, QueryStats};
use crate::select::SelectRequest;
use logyard_codec::Block;
use logyard_logql::LogExpr;
use logyard_model::{Direction, Prefilter, StreamId, TimeRange};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How many entries around a match are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// What tells an entry from all others.
type Identity = (i64, StreamId, (u64, u64));

/// The block opened last: neighbours mostly lie in one.
#[derive(Default)]
struct Open(Option<(u32, Arc<Block>)>);

impl Open {
    fn identity(&mut self, query: &LogQuery<'_>, place: &Place) -> Result<Option<Identity>, Error> {
        if self.0.as_ref().is_none_or(|(view, _)| *view != place.view) {
            self.0 = query.block(place.view).map(|block| (place.view, block));
        }
        let (Some((_, block)), Some(stream)) = (&self.0, query.stream_of(place)) else { return Ok(None) };
        Ok(Some((place.ts_ns, stream, fingerprint(block, place.row)?)))
    }
}

/// Refuses a limit that has no room for a match with its context.
pub(crate) fn check_limit(around: Around, limit: usize) -> Result<(), Error> {
    let Around { before, after } = around;
    let least = before + after + 1;
    if limit >= least {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot show {before} entries before and {after} behind a match: the limit is {limit}; ask for at least \
         {least} entries"
    )))
}

/// Returns the matches with their context, in the direction of the query.
pub(crate) fn with_context(
    query: &LogQuery<'_>,
    log: &LogExpr,
    around: Around,
    matches: &[Place],
    stats: &mut QueryStats,
) -> Result<Vec<LogEntry>, Error> {
    let mut open = Open::default();
    let mut identities: Vec<Identity> = Vec::with_capacity(matches.len());
    for place in matches {
        identities.extend(open.identity(query, place)?);
    }
    let mut finder = Finder::new(query, log, &identities)?;
    let mut chosen: BTreeSet<Place> = BTreeSet::new();
    for identity in &identities {
        let Some(group) = finder.group(identity, around, stats)? else { continue };
        let more = group.iter().filter(|place| !chosen.contains(place)).count();
        if chosen.len() + more > query.limit {
            break;
        }
        query.context.memory.hold(2 * (more * size_of::<Place>()) as u64)?;
        chosen.extend(group);
    }
    let match_of: HashMap<Identity, usize> =
        identities.iter().enumerate().map(|(index, identity)| (*identity, index)).collect();
    let (mut shown_matches, mut neighbours, mut is_match) = (Vec::new(), Vec::new(), Vec::new());
    for place in &chosen {
        let identity = finder.open.identity(&finder.query, place)?;
        let found =
            identity.and_then(|identity| match_of.get(&identity)).and_then(|index| matches.get(*index));
        is_match.push(found.is_some());
        match found {
            Some(found) => shown_matches.push(*found),
            None => neighbours.push(*place),
        }
    }
    let mut shown_matches = query.build(&shown_matches)?.into_iter();
    let mut neighbours = finder.query.build(&neighbours)?.into_iter();
    let mut entries: Vec<LogEntry> = is_match
        .into_iter()
        .filter_map(|is_match| if is_match { shown_matches.next() } else { neighbours.next() })
        .collect();
    if query.is_backward {
        entries.reverse();
    }
    Ok(entries)
}

/// Finds the neighbours of entries.
struct Finder<'a> {
    /// Over all entries of the streams that have matches.
    query: LogQuery<'a>,
    range: TimeRange,
    views_of: HashMap<StreamId, Vec<usize>>,
    open: Open,
}

impl<'a> Finder<'a> {
    fn new(query: &LogQuery<'a>, log: &LogExpr, matches: &[Identity]) -> Result<Self, Error> {
        let context = query.context;
        let views = context.source.select(&SelectRequest {
            tenants: &context.request.tenants,
            matchers: &log.matchers,
            range: query.range,
            prefilter: &Prefilter::default(),
            direction: Direction::Forward,
        })?;
        limits::check_bytes(context.settings, &views, query.range)?;
        let mut views_of: HashMap<StreamId, Vec<usize>> =
            matches.iter().map(|(_, stream, _)| (*stream, Vec::new())).collect();
        for (index, view) in views.iter().enumerate() {
            for run in &view.runs {
                if let Some(of) = views_of.get_mut(&run.stream.id).filter(|of| of.last() != Some(&index)) {
                    of.push(index);
                }
            }
        }
        let (ranks, streams) = rank_streams(&views);
        let query = LogQuery {
            pipeline: Pipeline::nothing(),
            views,
            ranks,
            streams,
            kept: KeptBlocks::default(),
            interval_ns: 0,
            ..*query
        };
        Ok(Self { range: query.range, query, views_of, open: Open::default() })
    }

    /// Returns an entry and its neighbours, in order of time; nothing if the entry has gone meanwhile.
    fn group(
        &mut self,
        identity: &Identity,
        around: Around,
        stats: &mut QueryStats,
    ) -> Result<Option<Vec<Place>>, Error> {
        let (ts_ns, stream, _) = *identity;
        let next_ns = ts_ns.saturating_add(1);
        let same_time = self.find(stream, (ts_ns, next_ns), usize::MAX, false, stats)?;
        let mut found = None;
        for (index, place) in same_time.iter().enumerate() {
            if self.open.identity(&self.query, place)?.as_ref() == Some(identity) {
                found = Some(index);
                break;
            }
        }
        let Some(found) = found else { return Ok(None) };
        let before = same_time.get(found.saturating_sub(around.before)..found).unwrap_or_default();
        let after: Vec<Place> = same_time.iter().skip(found).take(around.after + 1).copied().collect();
        let mut group = Vec::with_capacity(around.before + around.after + 1);
        if around.before > before.len() {
            let wanted = around.before - before.len();
            group.extend(self.find(stream, (self.range.start_ns, ts_ns), wanted, true, stats)?);
        }
        group.extend_from_slice(before);
        let missing = around.after + 1 - after.len();
        group.extend(after);
        if missing > 0 {
            group.extend(self.find(stream, (next_ns, self.range.end_ns), missing, false, stats)?);
        }
        Ok(Some(group))
    }

    /// Returns the first or last entries of a stream in `[start_ns, end_ns)`.
    fn find(
        &mut self,
        stream: StreamId,
        (start_ns, end_ns): (i64, i64),
        wanted: usize,
        is_backward: bool,
        stats: &mut QueryStats,
    ) -> Result<Vec<Place>, Error> {
        if start_ns >= end_ns {
            return Ok(Vec::new());
        }
        self.query.range = TimeRange { start_ns, end_ns };
        self.query.limit = wanted;
        self.query.is_backward = is_backward;
        self.query.only = Some(stream);
        let views = self.views_of.get(&stream).map(Vec::as_slice).unwrap_or_default();
        self.query.find_among(views, stats)
    }
}
