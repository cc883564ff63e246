//! One compaction: a planned job becomes a segment, and takes the place of its inputs.
//!
//! Order: the output's file durable under its name → one catalog edit, durable → readers switch in one step →
//! the inputs' files are removed once their last reader has left. A crash in between leaves an output that the
//! catalog does not list, or inputs that it lists no more; the next start tells them apart by the lineage that
//! the output holds (`recovery_lineage`). A job that fails removes its output and changes nothing.

use crate::catalog_record::{DeletedRecord, SegmentRecord};
use crate::compaction_merge::{Input, Merge, Merged};
use crate::compaction_plan::Job;
use crate::delete_work::LeaveOut;
use crate::error::{Error, Result};
use crate::lineage::Lineage;
use crate::maintenance::Pace;
use crate::segment::{IndexError, Segment, SegmentIndex};
use crate::segment_content::WORDS_RAW_BYTES_MIN;
use crate::segment_write::{SegmentPlace, SegmentWriter};
use crate::shared::Shared;
use logyard_codec::LineCodec;
use logyard_model::Tenant;
use std::collections::HashSet;
use std::sync::Arc;

/// Memory of one job, by what its inputs say they need decoded.
const MEMORY_BYTES_MAX: u64 = 96 << 20;

/// Of that, for the block that is written, its forms, the columns of one block that is read, and the tables of the
/// output: a block's columns take about four times its text, while they are made and while lines are made of them.
const OUTPUT_MEMORY_BYTES: u64 = 24 << 20;

/// How a job writes its output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Of the lines.
    pub(crate) line_codec: LineCodec,
    /// Raw bytes of the inputs from which on there is a dictionary of words.
    pub(crate) words_raw_bytes_min: u64,
}

impl Form {
    /// The smallest that is quick to read.
    pub(crate) const BEST: Self =
        Self { line_codec: LineCodec::BEST, words_raw_bytes_min: WORDS_RAW_BYTES_MIN };
}

/// An input with its tables.
type Opened = (Arc<Segment>, Arc<SegmentIndex>);

/// What one job did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compacted {
    /// Segments that were read.
    pub(crate) inputs: usize,
    /// Their bytes.
    pub(crate) read_bytes: u64,
    /// Bytes of the segment that was written; 0 if nothing was left to write.
    pub(crate) written_bytes: u64,
    /// Blocks written plain since their shredded lines came back different.
    pub(crate) line_mismatches: u64,
    pub(crate) merged: Merged,
    /// Of the entries left out, those that delete requests mean; the others were too old.
    pub(crate) deleted: u64,
}

/// Runs a job to its end.
///
/// Errors: `Kind::Unavailable` if the disk fails, an input is live no more or `pace` says to stop; `Kind::Invalid`
/// for an input of a newer version; `Kind::Corrupt` for an input that was found lost, which is out of service then.
pub(crate) fn run(shared: &Shared, job: &Job, form: Form, pace: &mut Pace<'_>) -> Result<Compacted> {
    let segments = find(shared, job)?;
    let (segments, indexes): (Vec<_>, Vec<_>) = open(shared, segments)?.into_iter().unzip();
    let lineage = Lineage::of(segments.iter().zip(&indexes).map(|(segment, index)| {
        let ulid = segment.record.ulid.parse::<ulid::Ulid>().unwrap_or_default();
        (ulid.to_bytes(), &index.lineage)
    }));
    let (tenant, day, class) = job.partition.clone();
    let tenant = Tenant::new(&tenant)
        .map_err(|error| Error::corrupt("catalog holds a bad tenant").with_source(error))?;
    let place = SegmentPlace {
        tenant,
        day,
        class,
        level: job.level,
        ulid: shared.new_ulid(),
        // Neighbours become one: any place among them keeps their place among the others.
        order: segments.iter().map(|segment| segment.record.order).max().unwrap_or(0),
        wal_done: indexes.iter().map(|index| index.wal_done).max().unwrap_or(0),
        line_codec: form.line_codec,
    };
    let inputs = segments.iter().zip(indexes).map(|(segment, index)| Input::new(Arc::clone(segment), index));
    let mut merge = Merge {
        disk: &*shared.disk,
        reads: &shared.reads,
        quarantine: &shared.folder.quarantine(),
        inputs: inputs.collect(),
        may_copy: segments.iter().all(|segment| segment.record.level > 0),
        merged: Merged::default(),
        seen: HashSet::new(),
        leave_out: LeaveOut::new(shared, &segments),
    };
    let mut writer = SegmentWriter::create(&*shared.disk, &shared.folder, place)?;
    let raw_bytes: u64 = segments.iter().map(|segment| segment.record.raw_bytes).sum();
    writer.index_lines(raw_bytes >= form.words_raw_bytes_min);
    let written = write(&mut merge, &mut writer, &lineage, &segments, pace);
    let line_mismatches = writer.line_mismatches();
    let record = match written {
        Ok(Some(record)) => Some(record),
        Ok(None) => {
            writer.abandon();
            None
        }
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    let compacted = Compacted {
        inputs: segments.len(),
        read_bytes: segments.iter().map(|segment| segment.record.bytes).sum(),
        written_bytes: record.as_ref().map_or(0, |record| record.bytes),
        line_mismatches,
        merged: merge.merged,
        deleted: merge.leave_out.deleted_entries(),
    };
    let leave_out = merge.leave_out;
    let fresh = swap(shared, &segments, record, leave_out.deleted())?;
    fresh.iter().for_each(|segment| leave_out.clear(segment));
    Ok(compacted)
}

/// Returns the live segments of a job, in order of arrival.
fn find(shared: &Shared, job: &Job) -> Result<Vec<Arc<Segment>>> {
    let live = Arc::clone(&shared.view.read().segments);
    let find = |name: &String| {
        let found = live.iter().find(|segment| segment.record.ulid == *name).map(Arc::clone);
        found.ok_or_else(|| Error::unavailable(format!("cannot compact segment {name}: it is live no more")))
    };
    job.inputs.iter().map(find).collect()
}

/// Reads the tables of as many of the first segments as there is memory for.
fn open(shared: &Shared, segments: Vec<Arc<Segment>>) -> Result<Vec<Opened>> {
    let (mut taken, mut bytes): (Vec<Opened>, _) = (Vec::new(), OUTPUT_MEMORY_BYTES);
    let is_single = segments.len() == 1;
    for segment in segments {
        let index = match shared.reads.index(&segment) {
            Ok(index) => index,
            Err(IndexError::Failed(error)) => return Err(error),
            Err(IndexError::Lost(error)) => {
                shared.lose(&segment, &error);
                return Err(error);
            }
        };
        bytes += Input::new(Arc::clone(&segment), Arc::clone(&index)).memory_bytes();
        if bytes > MEMORY_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push((segment, index));
    }
    if taken.len() < 2 && !is_single {
        return Err(Error::invalid(format!(
            "cannot compact segments from {}: two of them need more than {MEMORY_BYTES_MAX} bytes of memory, \
             because of very long lines; they stay as they are",
            taken.first().map(|(segment, _)| segment.path.display().to_string()).unwrap_or_default()
        )));
    }
    Ok(taken)
}

/// Merges, checks that no entry is unaccounted for, and makes the output durable; `None` if it would be empty.
fn write(
    merge: &mut Merge<'_>,
    writer: &mut SegmentWriter<'_>,
    lineage: &Lineage,
    segments: &[Arc<Segment>],
    pace: &mut Pace<'_>,
) -> Result<Option<SegmentRecord>> {
    let streams = merge.run(writer, pace)?;
    writer.end_block()?;
    let merged = merge.merged;
    let (want, rows) =
        (segments.iter().map(|segment| segment.record.rows).sum::<u64>(), writer.written_rows());
    if merged.rows != want || rows + merged.duplicates + merged.damaged_rows + merged.left_out != want {
        return Err(Error::internal(format!(
            "a compaction of {want} entries read {}, wrote {rows} and left out {} equal, {} damaged and {} deleted \
             or expired ones: its inputs stay as they are; report this",
            merged.rows, merged.duplicates, merged.damaged_rows, merged.left_out
        )));
    }
    if rows == 0 {
        return Ok(None);
    }
    writer.finish(&streams, lineage).map(Some)
}

/// Puts the output in place of its inputs. Returns it.
fn swap(
    shared: &Shared,
    segments: &[Arc<Segment>],
    record: Option<SegmentRecord>,
    deleted: Vec<DeletedRecord>,
) -> Result<Vec<Arc<Segment>>> {
    let path = record.as_ref().map(|record| record.path(&shared.folder)).transpose()?;
    let error = match shared.replace_segments(segments, record.into_iter().collect(), deleted) {
        Ok(fresh) => return Ok(fresh),
        Err(error) => error,
    };
    if shared.catalog.lock().is_poisoned() {
        // The edit may be found at the next start, and then the output is all there is.
        shared.turn_read_only(&error);
    } else if let Some(path) = path
        && let Err(error) = shared.disk.remove_file(&path)
    {
        tracing::debug!(%error, path = %path.display(), "cannot remove an unused segment yet");
    }
    Err(error)
}
