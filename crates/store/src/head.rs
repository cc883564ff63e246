//! The head: entries in memory since the last flush, per tenant and UTC day, per stream.
//!
//! - Only the writer thread appends, and only entries whose WAL record is synced: what readers see is durable.
//! - A stream holds *frozen* blocks (compressed, each sorted) and one *open* buffer in order of arrival.
//!   Entries may come in any order.
//! - Readers copy handles of frozen blocks and the open buffer under the stream's lock, then work without it.
//! - A sealed head gets no more entries and answers until its segments are in the catalog.
//!
//! Accounting counts raw bytes plus [`ENTRY_BYTES`] per entry, so that empty lines are not free.

use crate::Stats;
use crate::error::{Error, Result};
use crate::folder::{day_last_ns, day_of, day_start_ns};
use crate::retention::Window;
use bytes::Bytes;
use logyard_codec::{
    BLOCK_ROWS_MAX, Block, BlockBuilder, BlockMeta, BlockView, Entries, RunMeta, RunView, SectionSource,
};
use logyard_model::{Matcher, Stream, StreamId, Tenant, TimeRange};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an entry costs beside its text: timestamp, offsets, codes.
const ENTRY_BYTES: u64 = 24;

/// Raw bytes of an open buffer at which it is frozen: small enough to copy for a reader, large enough to
/// compress about as well as the blocks of a segment.
const FREEZE_BYTES: u64 = 256 << 10;

/// Raw bytes of a frozen block at most: what a batch brings at once is not cut into smaller ones.
const FROZEN_BYTES_MAX: u64 = 4 * FREEZE_BYTES;

/// Rows of an open buffer at which it is frozen.
const FREEZE_ROWS: usize = 16_384;

/// Returns what entries count for every bound on memory.
pub(crate) fn weight(entries: &Entries) -> u64 {
    entries.raw_bytes() + ENTRY_BYTES * entries.len() as u64
}

/// Entries in memory. See the module doc.
#[derive(Debug)]
pub(crate) struct Head {
    /// Place among segments and heads in order of arrival.
    order: AtomicU64,
    days: RwLock<BTreeMap<(Tenant, i32), Arc<HeadDay>>>,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// Monotonic time of the first append; `u64::MAX` while empty.
    first_ns: AtomicU64,
}

/// One tenant's day in a head.
#[derive(Debug, Default)]
pub(crate) struct HeadDay {
    streams: RwLock<HashMap<StreamId, Arc<HeadStream>>>,
}

/// One stream's entries of one day in a head.
#[derive(Debug)]
pub(crate) struct HeadStream {
    pub(crate) stream: Arc<Stream>,
    buffer: Mutex<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    frozen: Vec<Frozen>,
    open: Entries,
}

/// A compressed, sorted block of one stream in memory.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    meta: Arc<BlockMeta>,
    bytes: Bytes,
    run: RunMeta,
}

impl Head {
    pub(crate) fn new(order: u64) -> Self {
        Self {
            order: AtomicU64::new(order),
            days: RwLock::default(),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            first_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Returns the place among segments and heads in order of arrival.
    pub(crate) fn order(&self) -> u64 {
        self.order.load(Ordering::Relaxed)
    }

    /// Moves the head `count` places back, and returns the first place that is free now. Not for a sealed head.
    pub(crate) fn give_places(&self, count: u64) -> u64 {
        self.order.fetch_add(count, Ordering::Relaxed)
    }

    /// Returns what the entries count: raw bytes and a fixed part per entry.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Returns the monotonic time of the first append, if there was one.
    pub(crate) fn first_ns(&self) -> Option<u64> {
        Some(self.first_ns.load(Ordering::Relaxed)).filter(|ns| *ns != u64::MAX)
    }

    /// Adds entries of one stream; streams whose buffer is full are added to `full`, for [`HeadStream::freeze`].
    pub(crate) fn append(
        &self,
        tenant: &Tenant,
        stream: &Arc<Stream>,
        entries: Entries,
        now_ns: u64,
        full: &mut Vec<Arc<HeadStream>>,
    ) {
        if entries.is_empty() {
            return;
        }
        self.bytes.fetch_add(weight(&entries), Ordering::Relaxed);
        self.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.first_ns.fetch_min(now_ns, Ordering::Relaxed);
        let (first, last) = (day_of(entries.min_ns()), day_of(entries.max_ns()));
        if first == last {
            self.append_day(tenant, first, stream, entries, full);
            return;
        }
        let mut days: BTreeMap<i32, Entries> = BTreeMap::new();
        for (row, ts_ns) in entries.ts_ns().iter().enumerate() {
            days.entry(day_of(*ts_ns)).or_default().push_from(&entries, row);
        }
        for (day, part) in days {
            self.append_day(tenant, day, stream, part, full);
        }
    }

    fn append_day(
        &self,
        tenant: &Tenant,
        day: i32,
        stream: &Arc<Stream>,
        entries: Entries,
        full: &mut Vec<Arc<HeadStream>>,
    ) {
        let key = (tenant.clone(), day);
        let known = self.days.read().get(&key).map(Arc::clone);
        let head_day = known.unwrap_or_else(|| Arc::clone(self.days.write().entry(key).or_default()));
        let known = head_day.streams.read().get(&stream.id).map(Arc::clone);
        let head_stream = known.unwrap_or_else(|| {
            let fresh = HeadStream { stream: Arc::clone(stream), buffer: Mutex::default() };
            Arc::clone(head_day.streams.write().entry(stream.id).or_insert_with(|| Arc::new(fresh)))
        });
        let mut buffer = head_stream.buffer.lock();
        if buffer.open.is_empty() {
            buffer.open = entries;
        } else {
            buffer.open.append(&entries);
        }
        let is_full = buffer.is_full();
        drop(buffer);
        if is_full {
            full.push(head_stream);
        }
    }

    /// Returns the tenants' days with their streams, for a flush.
    pub(crate) fn days(&self) -> Vec<(Tenant, i32, Arc<HeadDay>)> {
        let days = self.days.read();
        days.iter().map(|((tenant, day), head_day)| (tenant.clone(), *day, Arc::clone(head_day))).collect()
    }

    /// Adds the tenants' days that have entries here.
    pub(crate) fn add_days(&self, days: &mut HashSet<(String, i32)>) {
        days.extend(self.days.read().keys().map(|(tenant, day)| (tenant.as_str().to_owned(), *day)));
    }

    /// Adds views of the tenant's matching streams that may hold entries in the window.
    pub(crate) fn views(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        window: &Window<'_>,
        views: &mut Vec<BlockView>,
    ) {
        let order = self.order();
        self.each_matching(tenant, matchers, window, |head_stream, range| {
            head_stream.views(range, order, views);
        });
    }

    /// Adds the tenant's matching streams with entries in the window.
    pub(crate) fn streams(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        window: &Window<'_>,
        streams: &mut BTreeMap<StreamId, Arc<Stream>>,
    ) {
        self.each_stream(tenant, matchers, window, |stream| {
            streams.entry(stream.id).or_insert_with(|| Arc::clone(stream));
        });
    }

    /// Calls `visit` for the tenant's matching streams with entries in the window, a day after the other.
    pub(crate) fn each_stream(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        window: &Window<'_>,
        mut visit: impl FnMut(&Arc<Stream>),
    ) {
        self.each_matching(tenant, matchers, window, |head_stream, range| {
            if head_stream.overlaps(range) {
                visit(&head_stream.stream);
            }
        });
    }

    /// Adds counts of the tenant's matching streams over the window; runs at its borders count in proportion.
    pub(crate) fn stats(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        window: &Window<'_>,
        streams: &mut BTreeMap<StreamId, Arc<Stream>>,
        stats: &mut Stats,
    ) {
        self.each_matching(tenant, matchers, window, |head_stream, range| {
            let buffer = head_stream.buffer.lock();
            let mut found = false;
            let frozen = buffer.frozen.iter().map(|frozen| {
                let run = &frozen.run;
                (run.min_ns, run.max_ns, u64::from(run.rows), run.raw_bytes)
            });
            let open = (!buffer.open.is_empty()).then(|| {
                let open = &buffer.open;
                (open.min_ns(), open.max_ns(), open.len() as u64, open.line_bytes())
            });
            for (min_ns, max_ns, rows, raw_bytes) in frozen.chain(open) {
                found |= stats.add_run(range, min_ns, max_ns, rows, raw_bytes);
            }
            if found {
                streams.entry(head_stream.stream.id).or_insert_with(|| Arc::clone(&head_stream.stream));
            }
        });
    }

    /// Returns how many entries there are of a tenant, or of all, on some days, and the bytes of their lines.
    pub(crate) fn sums(&self, tenant: Option<&Tenant>, days: &RangeInclusive<i32>) -> (u64, u64) {
        let is_asked =
            |whose: &Tenant, day: i32| tenant.is_none_or(|tenant| tenant == whose) && days.contains(&day);
        let (mut entries, mut raw_bytes) = (0, 0);
        for (_, _, head_day) in self.days().into_iter().filter(|(whose, day, _)| is_asked(whose, *day)) {
            for head_stream in head_day.matching(&[]) {
                let buffer = head_stream.buffer.lock();
                let frozen = |of: fn(&RunMeta) -> u64| -> u64 {
                    buffer.frozen.iter().map(|frozen| of(&frozen.run)).sum()
                };
                entries += frozen(|run| u64::from(run.rows)) + buffer.open.len() as u64;
                raw_bytes += frozen(|run| run.raw_bytes) + buffer.open.line_bytes();
            }
        }
        (entries, raw_bytes)
    }

    /// Returns whether there may be entries of matching streams of a tenant in a range.
    pub(crate) fn may_hold(&self, tenant: &Tenant, matchers: &[Matcher], range: TimeRange) -> bool {
        let of_tenant = (tenant.clone(), i32::MIN)..=(tenant.clone(), i32::MAX);
        let days = self.days.read();
        let in_range = |day: i32| range.overlaps(day_start_ns(day), day_last_ns(day));
        let mut days = days.range(of_tenant).filter(|((_, day), _)| in_range(*day));
        days.any(|(_, day)| day.matching(matchers).iter().any(|one| one.overlaps(range)))
    }

    /// Returns the newest timestamp of a stream in this head.
    pub(crate) fn newest_ns(&self, tenant: &Tenant, id: StreamId) -> Option<i64> {
        let days = self.days.read();
        let of_tenant = (tenant.clone(), i32::MIN)..=(tenant.clone(), i32::MAX);
        let found =
            days.range(of_tenant).rev().find_map(|(_, day)| day.streams.read().get(&id).map(Arc::clone));
        drop(days);
        found.and_then(|head_stream| head_stream.newest_ns())
    }

    fn each_matching(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        window: &Window<'_>,
        mut visit: impl FnMut(&HeadStream, TimeRange),
    ) {
        let of_tenant = (tenant.clone(), i32::MIN)..=(tenant.clone(), i32::MAX);
        let days: Vec<Arc<HeadDay>> = self
            .days
            .read()
            .range(of_tenant)
            .filter(|((_, day), _)| window.range.overlaps(day_start_ns(*day), day_last_ns(*day)))
            .map(|(_, head_day)| Arc::clone(head_day))
            .collect();
        for head_day in days {
            for head_stream in head_day.matching(matchers) {
                if let Some(range) = window.of(self.order(), &head_stream.stream) {
                    visit(&head_stream, range);
                }
            }
        }
    }
}

impl HeadDay {
    /// Returns the streams that pass all matchers, in order of their ids.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> Vec<Arc<HeadStream>> {
        let streams = self.streams.read();
        let passes = |head_stream: &&Arc<HeadStream>| {
            matchers.iter().all(|matcher| matcher.matches_set(&head_stream.stream.labels))
        };
        let mut matching: Vec<_> = streams.values().filter(passes).map(Arc::clone).collect();
        drop(streams);
        matching.sort_unstable_by_key(|head_stream| head_stream.stream.id);
        matching
    }
}

impl HeadStream {
    /// Keeps the stream as it is until the guard is dropped: who appends to it or reads it waits.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.buffer.lock()
    }

    /// Compresses the open buffer if it is full. Returns how many entries were dropped as equal to another.
    pub(crate) fn freeze_if_full(&self) -> Result<usize> {
        let mut buffer = self.buffer.lock();
        if buffer.is_full() { buffer.freeze() } else { Ok(0) }
    }

    /// Compresses the open buffer, however little it holds.
    #[cfg(test)]
    pub(crate) fn freeze(&self) -> Result<usize> {
        self.buffer.lock().freeze()
    }

    /// Returns the frozen blocks and a copy of the open buffer, in order of arrival.
    pub(crate) fn pieces(&self) -> (Vec<Frozen>, Entries) {
        let buffer = self.buffer.lock();
        (buffer.frozen.clone(), buffer.open.clone())
    }

    /// Returns the bytes of all lines.
    pub(crate) fn line_bytes(&self) -> u64 {
        let buffer = self.buffer.lock();
        buffer.frozen.iter().map(|frozen| frozen.run.raw_bytes).sum::<u64>() + buffer.open.line_bytes()
    }

    fn newest_ns(&self) -> Option<i64> {
        let buffer = self.buffer.lock();
        let frozen = buffer.frozen.iter().map(|frozen| frozen.run.max_ns);
        frozen.chain((!buffer.open.is_empty()).then(|| buffer.open.max_ns())).max()
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        let buffer = self.buffer.lock();
        let open = &buffer.open;
        buffer.frozen.iter().any(|frozen| range.overlaps(frozen.run.min_ns, frozen.run.max_ns))
            || (!open.is_empty() && range.overlaps(open.min_ns(), open.max_ns()))
    }

    fn views(&self, range: TimeRange, order: u64, views: &mut Vec<BlockView>) {
        let buffer = self.buffer.lock();
        let frozen: Vec<(usize, Frozen)> = buffer
            .frozen
            .iter()
            .enumerate()
            .filter(|(_, frozen)| range.overlaps(frozen.run.min_ns, frozen.run.max_ns))
            .map(|(index, frozen)| (index, frozen.clone()))
            .collect();
        let open = &buffer.open;
        let in_range = !open.is_empty() && range.overlaps(open.min_ns(), open.max_ns());
        let (open_index, open) = (buffer.frozen.len(), in_range.then(|| open.clone()));
        drop(buffer);
        for (index, frozen) in frozen {
            let run = RunView {
                stream: Arc::clone(&self.stream),
                rows: 0..frozen.run.rows,
                min_ns: frozen.run.min_ns,
                max_ns: frozen.run.max_ns,
                raw_bytes: frozen.run.raw_bytes,
            };
            views.push(BlockView {
                block: Arc::new(frozen.block()),
                runs: vec![run],
                arrival: arrival(order, index),
            });
        }
        if let Some(mut entries) = open {
            entries.sort_and_dedupe();
            let run = RunView {
                stream: Arc::clone(&self.stream),
                rows: 0..u32::try_from(entries.len()).expect("open buffers are frozen long before 2^32 rows"),
                min_ns: entries.min_ns(),
                max_ns: entries.max_ns(),
                raw_bytes: entries.line_bytes(),
            };
            let block = Arc::new(Block::from_entries(entries));
            views.push(BlockView { block, runs: vec![run], arrival: arrival(order, open_index) });
        }
    }
}

impl Buffer {
    fn is_full(&self) -> bool {
        self.open.raw_bytes() >= FREEZE_BYTES || self.open.len() >= FREEZE_ROWS
    }

    /// Compresses the open entries. Returns how many were dropped as equal to another.
    fn freeze(&mut self) -> Result<usize> {
        let removed = self.open.sort_and_dedupe();
        // Made whole before anything is changed: an error leaves the entries where they are.
        let mut frozen = Vec::new();
        for rows in split_rows(&self.open, FROZEN_BYTES_MAX, BLOCK_ROWS_MAX as usize) {
            frozen.push(Frozen::new(&self.open, rows)?);
        }
        self.frozen.append(&mut frozen);
        self.open.clear();
        Ok(removed)
    }
}

/// Returns the arrival of a block: by head or segment, then by its place in there.
pub(crate) fn arrival(order: u64, index: usize) -> u64 {
    (order << 24) | (index as u64).min((1 << 24) - 1)
}

/// Returns the place of a head or segment in order of arrival.
pub(crate) fn order_of(arrival: u64) -> u64 {
    arrival >> 24
}

/// Returns the place of a block in its head or segment.
pub(crate) fn block_of(arrival: u64) -> u32 {
    (arrival & ((1 << 24) - 1)) as u32
}

impl Frozen {
    fn new(entries: &Entries, rows: Range<usize>) -> Result<Self> {
        let block = if rows == (0..entries.len()) {
            BlockBuilder::encode_run(0, entries)
        } else {
            let mut builder = BlockBuilder::new();
            builder.push_run(0, entries, rows);
            builder.finish()
        };
        let [run] = block.runs.as_slice() else {
            return Err(Error::internal(format!("a block of one run came back with {}", block.runs.len())));
        };
        let run = *run;
        let mut bytes = block.bytes;
        bytes.shrink_to_fit();
        Ok(Self { meta: Arc::new(block.meta), bytes: Bytes::from(bytes), run })
    }

    /// Returns the block, not yet decoded; each call makes a new one, so that nothing decoded stays in memory.
    fn block(&self) -> Block {
        let source: Arc<dyn SectionSource> = Arc::new(self.bytes.clone());
        Block::open(Arc::clone(&self.meta), source, 0)
    }

    pub(crate) fn min_ns(&self) -> i64 {
        self.run.min_ns
    }

    pub(crate) fn max_ns(&self) -> i64 {
        self.run.max_ns
    }

    /// Returns the sections of the block, what describes them, and the one run in it.
    pub(crate) fn parts(&self) -> (&[u8], &Arc<BlockMeta>, RunMeta) {
        (&self.bytes, &self.meta, self.run)
    }

    /// Rebuilds the entries.
    pub(crate) fn entries(&self) -> Result<Entries> {
        entries_of(&self.block(), 0..self.run.rows)
            .map_err(|error| Error::internal("cannot decode a block of the head").with_source(error))
    }
}

/// Rebuilds entries from rows of a block.
pub(crate) fn entries_of(
    block: &Block,
    rows: Range<u32>,
) -> std::result::Result<Entries, logyard_codec::Error> {
    let (timestamps, lines) = (block.timestamps()?, block.lines()?);
    let (levels, metadata) = (block.levels()?, block.metadata()?);
    let mut entries = Entries::default();
    for row in rows {
        let index = row as usize;
        let Some(ts_ns) = timestamps.get(index) else { break };
        entries.push(*ts_ns, lines.line(row), levels.value(index), metadata.value(index));
    }
    Ok(entries)
}

/// Cuts rows into ranges of at most `bytes_max` raw bytes and `rows_max` rows, one row at least.
fn split_rows(entries: &Entries, bytes_max: u64, rows_max: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for row in 0..entries.len() {
        let row_bytes = row_bytes(entries, row);
        if row > start && (bytes + row_bytes > bytes_max || row - start >= rows_max) {
            ranges.push(start..row);
            (start, bytes) = (row, 0);
        }
        bytes += row_bytes;
    }
    if start < entries.len() {
        ranges.push(start..entries.len());
    }
    ranges
}

/// Returns the raw bytes of one entry.
pub(crate) fn row_bytes(entries: &Entries, row: usize) -> u64 {
    (entries.line(row).len() + entries.metadata(row).text_bytes()) as u64
}
