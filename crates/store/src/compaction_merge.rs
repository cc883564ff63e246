//! Merging segments into one, stream by stream, in bounded memory.
//!
//! The output holds the streams of all inputs in locality order, each in order of time, then of arrival. Equal
//! times keep their order: inputs are neighbours in order of arrival, and of a time that several inputs hold,
//! the earlier input's entries come first, each input's in their own order. Of equal entries the first stays.
//!
//! Memory: of each input one decoded block, and of the output the block that is being filled. An input's blocks
//! are walked from front to back once, as all inputs hold their streams in the same order.
//!
//! A block of one stream that no other input has to be merged into is copied as it is, if the caller allows it
//! and the block's segment was written with shredded lines.
//! Entries that due delete requests mean, and those that are too old for good, are left out.
//! A damaged block goes to quarantine and its entries are left out: they were lost when it was damaged.

use crate::delete_work::{LeaveOut, stream_of};
use crate::deletes::unreadable;
use crate::error::{Error, Result};
use crate::locality;
use crate::maintenance::Pace;
use crate::segment::{Segment, SegmentIndex, SegmentReads};
use crate::segment_tables::{BlockRow, RunRow};
use crate::segment_write::{BLOCK_BYTES, SegmentWriter};
use logyard_codec::{Block, RunMeta};
use logyard_model::{Stream, StreamId};
use logyard_sys::Disk;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Entries of one time and stream that are compared with each other; of more, equal ones stay, and queries
/// answer them once. Bounds the memory for sources whose clock stands still.
const TIES_MAX: usize = 1 << 19;

/// Raw bytes from which on a block is worth copying: smaller ones are better merged with their neighbours.
const COPY_BYTES_MIN: u64 = BLOCK_BYTES / 2;

/// One segment that is read.
#[derive(Debug)]
pub(crate) struct Input {
    segment: Arc<Segment>,
    index: Arc<SegmentIndex>,
    refs: HashMap<StreamId, u32>,
    /// Lines were shredded when the segment was written: those of its blocks that are plain gain nothing by it.
    is_shredded: bool,
    /// The last block that was decoded, which the next runs may lie in too; `None` for a damaged one.
    block: Option<(u32, Option<Arc<Block>>)>,
    /// Of the last run that was looked through, by its index: the rows that stay, in order.
    left: Option<(usize, Arc<[Range<u32>]>)>,
}

/// What came of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Entries dropped as equal to another.
    pub(crate) duplicates: u64,
    /// Entries in damaged blocks.
    pub(crate) damaged_rows: u64,
    /// Rows that were read or copied.
    pub(crate) rows: u64,
    /// Blocks copied as they were.
    pub(crate) copied_blocks: u64,
    /// Entries left out because delete requests mean them, or as too old.
    pub(crate) left_out: u64,
}

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) reads: &'a Arc<SegmentReads>,
    pub(crate) quarantine: &'a Path,
    /// In order of arrival.
    pub(crate) inputs: Vec<Input>,
    /// Blocks may be copied as they are, if their lines are of the codec that is wanted.
    pub(crate) may_copy: bool,
    pub(crate) merged: Merged,
    /// Content of the entries of one time.
    pub(crate) seen: HashSet<u128>,
    pub(crate) leave_out: LeaveOut<'a>,
}

/// The entries of one stream in one input that are still to come.
#[derive(Debug)]
struct Source {
    /// Index of the input.
    input: usize,
    /// Runs of the stream.
    runs: Range<usize>,
    /// First row to come of the first run, counted in the block; `None` while nothing of it is taken.
    row: Option<u32>,
    /// Time of the next entry.
    next_ns: i64,
}

impl Merged {
    /// Returns how many entries the output got.
    fn written(&self) -> u64 {
        self.rows - self.duplicates - self.damaged_rows - self.left_out
    }
}

impl Input {
    pub(crate) fn new(segment: Arc<Segment>, index: Arc<SegmentIndex>) -> Self {
        let refs = (0..).zip(&index.streams).map(|(stream_ref, stream)| (stream.id, stream_ref)).collect();
        let is_shredded = index.blocks.iter().any(|row| row.meta.is_shredded());
        Self { segment, index, refs, is_shredded, block: None, left: None }
    }

    /// Returns about how much memory the input takes while it is merged.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let block_bytes = |row: &BlockRow| {
            let raw: u64 = row.meta.sections.iter().map(|section| u64::from(section.raw_bytes)).sum();
            let rows = u64::from(row.meta.rows);
            let rebuilt = if row.meta.is_shredded() { row.meta.raw_bytes + rows } else { 0 };
            // Timestamps and codes beside the text, and what is stored while it is decompressed.
            raw + rebuilt + rows * 24 + u64::from(row.bytes)
        };
        let block = self.index.blocks.iter().map(block_bytes).max().unwrap_or(0);
        block + self.segment.record.tail_bytes + self.index.streams.len() as u64 * 48
    }

    fn runs_of(&self, id: StreamId) -> Range<usize> {
        let Some(stream_ref) = self.refs.get(&id) else { return 0..0 };
        let runs = &self.index.runs;
        let start = runs.partition_point(|row| row.run.stream_ref < *stream_ref);
        let rest = runs.get(start..).unwrap_or_default();
        start..start + rest.partition_point(|row| row.run.stream_ref == *stream_ref)
    }

    fn run(&self, index: usize) -> Result<&RunRow> {
        self.index.runs.get(index).ok_or_else(|| Error::internal("a run is not where it was"))
    }

    fn block_row(&self, number: u32) -> Result<&BlockRow> {
        let row = self.index.blocks.get(number as usize);
        row.ok_or_else(|| Error::internal("a block is not where it was"))
    }
}

impl Merge<'_> {
    /// Writes all streams; returns them by their new refs. Errors: also when `pace` says to stop.
    pub(crate) fn run(
        &mut self,
        writer: &mut SegmentWriter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Arc<Stream>>> {
        let mut streams = Vec::new();
        for stream in self.streams() {
            // A stream of which nothing stays has no ref.
            let stream_ref = u32::try_from(streams.len()).unwrap_or(u32::MAX);
            let (mut sources, before) = (Vec::new(), self.merged.written());
            for (number, input) in self.inputs.iter().enumerate() {
                let runs = input.runs_of(stream.id);
                if !runs.is_empty() {
                    let next_ns = input.run(runs.start)?.run.min_ns;
                    sources.push(Source { input: number, runs, row: None, next_ns });
                }
            }
            self.merge_stream(stream_ref, sources, writer, pace)?;
            if self.merged.written() > before {
                streams.push(stream);
            }
        }
        Ok(streams)
    }

    /// Returns the distinct streams of all inputs in locality order.
    fn streams(&self) -> Vec<Arc<Stream>> {
        let mut known = HashSet::new();
        let all = self.inputs.iter().flat_map(|input| &input.index.streams);
        let mut streams: Vec<Arc<Stream>> =
            all.filter(|stream| known.insert(stream.id)).map(Arc::clone).collect();
        streams.sort_by(|left, right| locality::compare(&left.labels, &right.labels));
        streams
    }

    fn merge_stream(
        &mut self,
        stream_ref: u32,
        mut sources: Vec<Source>,
        writer: &mut SegmentWriter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        // Each turn takes an entry at least.
        while let Some(first) = (0..sources.len()).min_by_key(|index| sources[*index].next_ns) {
            let now_ns = sources[first].next_ns;
            let others = sources.iter().enumerate().filter(|(index, _)| *index != first);
            let until_ns = others.map(|(_, other)| other.next_ns).min();
            if self.copy_block(stream_ref, &mut sources[first], until_ns, writer, pace)? {
                // Taken whole.
            } else if until_ns.is_none_or(|until_ns| now_ns < until_ns) {
                self.take(&mut sources[first], |ts_ns| until_ns.is_none_or(|end| ts_ns < end), pace, {
                    |_, block, rows| writer.push_block_rows(stream_ref, block, rows)
                })?;
            } else {
                self.merge_ties(stream_ref, now_ns, &mut sources, writer, pace)?;
            }
            sources.retain(|source| !source.runs.is_empty());
        }
        Ok(())
    }

    /// Takes all entries of one time, the earlier input's first, equal ones once.
    fn merge_ties(
        &mut self,
        stream_ref: u32,
        now_ns: i64,
        sources: &mut [Source],
        writer: &mut SegmentWriter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear();
        let (mut duplicates, mut scratch) = (0, Vec::new());
        for source in sources {
            // The time may go on in the next block.
            while !source.runs.is_empty() && source.next_ns == now_ns {
                self.take(
                    source,
                    |ts_ns| ts_ns <= now_ns,
                    pace,
                    |_, block, rows| {
                        for row in rows {
                            let is_new =
                                seen.len() >= TIES_MAX || seen.insert(content(block, row, &mut scratch)?);
                            if is_new {
                                writer.push_block_rows(stream_ref, block, row..row + 1)?;
                            } else {
                                duplicates += 1;
                            }
                        }
                        Ok(())
                    },
                )?;
            }
        }
        self.merged.duplicates += duplicates;
        self.seen = seen;
        Ok(())
    }

    /// Hands the next entries of a source's first run to `emit`, as long as their times pass, and steps behind them.
    fn take(
        &mut self,
        source: &mut Source,
        passes: impl Fn(i64) -> bool,
        pace: &mut Pace<'_>,
        mut emit: impl FnMut(&Self, &Block, Range<u32>) -> Result<()>,
    ) -> Result<()> {
        let RunRow { block: number, run } = self.inputs[source.input].run(source.runs.start)?.clone();
        let Some(block) = self.block(source.input, number, pace)? else {
            let row = source.row.unwrap_or(run.first_row);
            self.merged.damaged_rows += u64::from(run.first_row + run.rows - row);
            self.merged.rows += u64::from(run.first_row + run.rows - row);
            return self.next_run(source);
        };
        let ts_ns = block.timestamps().map_err(damaged)?;
        let (start, end) = (source.row.unwrap_or(run.first_row), run.first_row + run.rows);
        let rows = ts_ns.get(start as usize..end as usize).unwrap_or_default();
        // Rows are counted in 32 bits.
        let taken = rows.partition_point(|ts_ns| passes(*ts_ns)) as u32;
        if taken == 0 {
            return Err(Error::corrupt("a run does not hold the times that its table says"));
        }
        let mut left_out = u64::from(taken);
        let left = self.rows_left(source.input, source.runs.start, &block)?;
        // A run whose entries meet those of other inputs one by one is taken in as many parts.
        let first = left.partition_point(|rows| rows.end <= start);
        for rows in left.iter().skip(first).take_while(|rows| rows.start < start + taken) {
            let rows = rows.start.max(start)..rows.end.min(start + taken);
            left_out -= rows.len() as u64;
            emit(self, &block, rows)?;
        }
        self.merged.left_out += left_out;
        self.merged.rows += u64::from(taken);
        match rows.get(taken as usize) {
            Some(next_ns) => (source.row, source.next_ns) = (Some(start + taken), *next_ns),
            None => self.next_run(source)?,
        }
        Ok(())
    }

    /// Returns the rows of a run that the output gets, in stretches, none of them empty.
    fn rows_left(&mut self, input: usize, run_index: usize, block: &Block) -> Result<Arc<[Range<u32>]>> {
        let source = &mut self.inputs[input];
        if let Some((known, rows)) = &source.left
            && *known == run_index
        {
            return Ok(Arc::clone(rows));
        }
        let row = source.run(run_index)?.clone();
        let whole = row.run.first_row..row.run.first_row + row.run.rows;
        let order = source.segment.record.order;
        let rows: Arc<[Range<u32>]> = match stream_of(&source.index, &row) {
            Some(stream) if self.leave_out.concerns(order, &row, stream) => {
                self.leave_out.rows_left(order, block, &row, stream).map_err(unreadable)?.into()
            }
            _ => Arc::new([whole]),
        };
        source.left = Some((run_index, Arc::clone(&rows)));
        Ok(rows)
    }

    fn next_run(&self, source: &mut Source) -> Result<()> {
        source.runs.start += 1;
        source.row = None;
        if !source.runs.is_empty() {
            source.next_ns = self.inputs[source.input].run(source.runs.start)?.run.min_ns;
        }
        Ok(())
    }

    /// Copies the block of a source's first run as it is, if that is allowed, worth it and right: it holds nothing
    /// else, and everything in it comes before the other sources' next entry. Returns whether it did.
    fn copy_block(
        &mut self,
        stream_ref: u32,
        source: &mut Source,
        until_ns: Option<i64>,
        writer: &mut SegmentWriter<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<bool> {
        let input = &self.inputs[source.input];
        let RunRow { block: number, run } = input.run(source.runs.start)?.clone();
        let row = input.block_row(number)?;
        let is_alone = source.row.is_none() && run.rows == row.meta.rows;
        let is_before = until_ns.is_none_or(|until_ns| run.max_ns < until_ns);
        let may_copy = self.may_copy && input.is_shredded;
        if !may_copy || !is_alone || !is_before || row.meta.raw_bytes < COPY_BYTES_MIN {
            return Ok(false);
        }
        let concerned = stream_of(&input.index, &RunRow { block: number, run }).map(Arc::clone);
        let (order, row_of_run) = (input.segment.record.order, RunRow { block: number, run });
        if concerned.is_some_and(|stream| self.leave_out.concerns(order, &row_of_run, &stream)) {
            let Some(block) = self.block(source.input, number, pace)? else { return Ok(false) };
            let whole = run.first_row..run.first_row + run.rows;
            if *self.rows_left(source.input, source.runs.start, &block)? != [whole] {
                return Ok(false);
            }
        }
        let input = &self.inputs[source.input];
        let row = input.block_row(number)?;
        pace.step()?;
        let bytes = self.reads.read_block(&input.segment, row);
        let bytes = bytes.map_err(|error| Error::io("read segment", &input.segment.path, error))?;
        let is_good = row.meta.sections.iter().all(|section| {
            let start = section.offset as usize;
            let stored = bytes.get(start..start.saturating_add(section.bytes as usize));
            stored.is_some_and(|stored| crc32c::crc32c(stored) == section.crc32c)
        });
        if !is_good {
            // Taking its entries finds the damage and deals with it.
            return Ok(false);
        }
        writer.push_block(&bytes, &row.meta, RunMeta { stream_ref, ..run })?;
        self.merged.rows += u64::from(run.rows);
        self.merged.copied_blocks += 1;
        self.next_run(source)?;
        Ok(true)
    }

    /// Returns a block with all its sections decoded; `None` if it is damaged, which is then in quarantine.
    fn block(&mut self, input: usize, number: u32, pace: &mut Pace<'_>) -> Result<Option<Arc<Block>>> {
        if let Some((known, block)) = &self.inputs[input].block
            && *known == number
        {
            return Ok(block.clone());
        }
        pace.step()?;
        // The old block first: two at once would double the memory.
        self.inputs[input].block = None;
        let Input { segment, index, .. } = &self.inputs[input];
        let row = self.inputs[input].block_row(number)?;
        let block = self.reads.block(segment, number, row);
        let decoded = decode(&block, &index.runs, number);
        let block = match decoded {
            Ok(()) => Some(Arc::new(block)),
            Err(error) if error.kind() == logyard_codec::Kind::Corrupt => {
                self.quarantine(segment, row, &error)?;
                None
            }
            // Bytes that cannot be read now may be later, and those of a newer codec by the version that wrote them.
            Err(error) if error.kind() == logyard_codec::Kind::Unavailable => {
                return Err(Error::unavailable("cannot read a block to compact").with_source(error));
            }
            Err(error) => return Err(Error::invalid("cannot compact a block").with_source(error)),
        };
        self.inputs[input].block = Some((number, block.clone()));
        Ok(block)
    }

    /// Keeps the bytes of a damaged block for a person to look at.
    fn quarantine(&self, segment: &Segment, row: &BlockRow, error: &logyard_codec::Error) -> Result<()> {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let path = self.quarantine.join(format!("{name}.block-{}", row.offset));
        tracing::error!(
            %error,
            path = %segment.path.display(),
            offset = row.offset,
            entries = row.meta.rows,
            kept = %path.display(),
            "block lost: a compaction leaves its entries out; restore the segment's file from a backup if there is one"
        );
        let bytes = self.reads.read_block(segment, row);
        let bytes = bytes.map_err(|error| Error::io("read segment", &segment.path, error))?;
        self.disk.write_atomic(&path, &bytes).map_err(|error| Error::io("write quarantine", &path, error))
    }
}

/// Decodes what merging needs of a block, and checks it against the runs that it is to hold.
fn decode(block: &Block, runs: &[RunRow], number: u32) -> std::result::Result<(), logyard_codec::Error> {
    let (ts_ns, lines) = (block.timestamps()?, block.lines()?);
    block.levels()?;
    block.metadata()?;
    debug_assert_eq!(lines.rows(), ts_ns.len());
    let start = runs.partition_point(|row| row.block < number);
    for RunRow { run, .. } in runs.iter().skip(start).take_while(|row| row.block == number) {
        let rows = ts_ns.get(run.first_row as usize..(run.first_row + run.rows) as usize).unwrap_or_default();
        let agrees =
            rows.first() == Some(&run.min_ns) && rows.last() == Some(&run.max_ns) && rows.is_sorted();
        if !agrees {
            let why = format!("rows from {} are not what the run says", run.first_row);
            return Err(logyard_codec::Error::Corrupt { what: "block".into(), why });
        }
    }
    Ok(())
}

/// Returns what makes an entry equal to another of its stream and time.
fn content(block: &Block, row: u32, scratch: &mut Vec<u8>) -> Result<u128> {
    let index = row as usize;
    let level = block.levels().map_err(damaged)?.value(index);
    let metadata = block.metadata().map_err(damaged)?.value(index);
    scratch.clear();
    let texts = [level].into_iter().chain(metadata.iter().flat_map(|(name, value)| [name, value]));
    for text in texts {
        // With lengths, so that no two lists of texts read alike.
        scratch.extend_from_slice(&(text.len() as u64).to_le_bytes());
        scratch.extend_from_slice(text.as_bytes());
    }
    scratch.extend_from_slice(&u64::MAX.to_le_bytes());
    scratch.extend_from_slice(block.lines().map_err(damaged)?.line(row));
    Ok(xxh3_128(scratch))
}

/// Words an error of a block that was decoded before, so it cannot come.
fn damaged(error: logyard_codec::Error) -> Error {
    Error::corrupt("cannot decode a block again").with_source(error)
}
