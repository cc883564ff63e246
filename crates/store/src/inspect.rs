//! Checks one stored thing by itself, without a data folder: a segment file, a record of the WAL or of the
//! catalog. For whole data folders see [`crate::fsck`].
//!
//! Each check decodes all there is and holds it against the rest of the same bytes, so that what passes can
//! be opened, replayed and queried. The bytes may be anything: a check answers or refuses, never panics, and
//! takes memory in proportion to them, or to the caps named in `codec` where they are compressed. The fuzz
//! targets `segment`, `wal_record` and `catalog_record` are these functions.

use crate::batch_window::BatchWindows;
use crate::catalog_record::{self, Edit};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::lineage::Lineage;
use crate::segment_format::{HEADER_BYTES, Header, SECTION_LINEAGE, SECTION_STREAM_INDEX, Toc};
use crate::segment_tables::{BlockRow, RunRow, SegmentTables};
use crate::wal_record;
use bytes::Bytes;
use logyard_codec::{BatchId, Block, SectionSource};
use logyard_index::StreamIndex;
use logyard_model::Tenant;
use std::path::Path;
use std::sync::Arc;

pub use crate::inspect_segment::{
    BlockReport, BlockSectionReport, SectionReport, SegmentFault, SegmentReport, Severity, inspect_segment,
};
pub use logyard_wal::{FileScan, ScannedRecord, scan_file};

/// What a segment file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The segment's name, as in the name of its file.
    pub ulid: String,
    /// UTC day, in days since 1970-01-01.
    pub day: i32,
    /// Retention class.
    pub class: String,
    /// 0 after a flush.
    pub level: u16,
    /// Version of the program that wrote the file.
    pub writer: String,
    /// Number of segments that it was compacted from; 0 after a flush.
    pub sources: usize,
    /// Number of streams.
    pub streams: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of all lines.
    pub raw_bytes: u64,
    /// Time of the earliest entry.
    pub min_ns: i64,
    /// Time of the latest entry.
    pub max_ns: i64,
    /// Bytes of the blocks as stored.
    pub block_bytes: u64,
    /// Bytes of tables, stream index and footer.
    pub tail_bytes: u64,
    /// Why the stream index cannot be used, if so; queries go on without it, slower.
    pub stream_index_fault: Option<String>,
}

/// What a record of the WAL holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecordSummary {
    /// Whose entries.
    pub tenant: Tenant,
    /// The batch's id, if it came with one.
    pub id: Option<BatchId>,
    /// Number of chunks; more than one may be of the same stream.
    pub chunks: usize,
    /// Number of entries.
    pub entries: usize,
    /// Bytes of lines and metadata.
    pub raw_bytes: u64,
}

/// What a record of the catalog does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogRecordSummary {
    /// States everything; the first record of each file.
    Snapshot {
        /// Live segments.
        segments: usize,
        /// Segments that are missing or damaged.
        lost: usize,
        /// Sources whose batches are known.
        sources: usize,
    },
    /// Adds the segments of a flush.
    Flush {
        /// New segments.
        segments: usize,
        /// Sources whose batches are known.
        sources: usize,
    },
    /// Puts segments in place of others.
    Replace {
        /// Segments that go.
        removed: usize,
        /// Segments that come.
        segments: usize,
    },
    /// Takes a segment out of service.
    Lost {
        /// The segment's name.
        ulid: String,
        /// What was found.
        reason: String,
    },
    /// Asks for entries to be deleted.
    AddDelete {
        /// The request's name.
        id: String,
        /// What it means.
        query: String,
    },
    /// Cancels a delete request.
    DropDelete {
        /// The request's name.
        id: String,
    },
    /// Tells that nothing is left of what a delete request means.
    EndDelete {
        /// The request's name.
        id: String,
    },
    /// Tells which policies of retention were and are in force.
    Epochs {
        /// How many times they are from.
        epochs: usize,
    },
}

/// Checks a whole segment file: header, tables, every block, and that they agree.
///
/// Errors: `Kind::Corrupt` for the first fault, with its place; `Kind::Invalid` for a newer version. A faulty
/// stream index is no error, since it can be done without.
/// Cost: decodes every block, one in memory at a time.
/// Source: `schemas/segment.md`, version 1.
///
/// ```
/// use logyard_store::inspect::check_segment;
/// let error = check_segment(&b"no segment".as_slice().into()).unwrap_err();
/// assert_eq!(error.to_string(), "segment header: ends too early");
/// ```
pub fn check_segment(file: &Bytes) -> Result<SegmentSummary> {
    let header = Header::decode(file)?;
    let file_bytes = file.len() as u64;
    let toc = Toc::decode(file, file_bytes)?;
    let tables = SegmentTables::decode(&toc, file, file_bytes)?;
    let mut runs = tables.runs.as_slice();
    let mut end = HEADER_BYTES as u64;
    for (number, row) in (0..).zip(&tables.blocks) {
        let own = runs.partition_point(|run| run.block == number);
        let (own, rest) = runs.split_at_checked(own).unwrap_or_default();
        runs = rest;
        if row.offset != end {
            let text = format!("block {number} starts at offset {}, want {end}", row.offset);
            return Err(Error::corrupt(text));
        }
        end = row.offset.saturating_add(u64::from(row.bytes));
        check_block(Arc::new(file.clone()), row, own).map_err(|error| {
            Error::corrupt(format!("block {number} at offset {}: {error}", row.offset)).with_source(error)
        })?;
    }
    check_totals(&toc, &tables)?;
    let lineage = check_lineage(&toc, file, file_bytes)?;
    Ok(SegmentSummary {
        sources: lineage.sources.len(),
        ulid: ulid::Ulid::from_bytes(header.ulid).to_string(),
        day: header.day,
        class: header.class,
        level: header.level,
        writer: toc.writer.clone(),
        streams: toc.totals.streams,
        blocks: toc.totals.blocks,
        entries: toc.totals.rows,
        raw_bytes: toc.totals.raw_bytes,
        min_ns: toc.totals.min_ns,
        max_ns: toc.totals.max_ns,
        block_bytes: tables.blocks.iter().map(|row| u64::from(row.bytes)).sum(),
        tail_bytes: file_bytes.saturating_sub(toc.index_start()),
        stream_index_fault: check_stream_index(&toc, file, file_bytes, tables.streams.len()).err(),
    })
}

/// Checks a record of the WAL.
///
/// Errors: `Kind::Corrupt`, also for a batch beyond `raw_bytes_max`; `Kind::Invalid` for a newer version.
/// Units: `raw_bytes_max` bounds the batch once decompressed; replay allows 1 GiB.
/// Source: `schemas/wal.md`, version 1.
pub fn check_wal_record(payload: &[u8], raw_bytes_max: usize) -> Result<WalRecordSummary> {
    let record = wal_record::decode(payload)?;
    let batch = wal_record::batch(&record, raw_bytes_max)?;
    Ok(WalRecordSummary {
        tenant: record.tenant,
        id: record.id,
        chunks: batch.chunks.len(),
        entries: batch.chunks.iter().map(|chunk| chunk.entries.len()).sum(),
        raw_bytes: batch.chunks.iter().map(|chunk| chunk.entries.raw_bytes()).sum(),
    })
}

/// Checks a record of the catalog.
///
/// Errors: `Kind::Corrupt`, also for a segment or source whose name cannot be one; `Kind::Invalid` for a newer
/// version.
/// Source: `schemas/catalog.md`, version 1.
pub fn check_catalog_record(payload: &[u8]) -> Result<CatalogRecordSummary> {
    let edit = catalog_record::decode(payload)?;
    let (segments, windows): (&[_], &[_]) = match &edit {
        Edit::Snapshot(snapshot) => (&snapshot.segments, &snapshot.windows),
        Edit::Flush { add, windows, .. } => (add, windows),
        Edit::Replace { add, .. } => (add, &[]),
        Edit::Lost { .. }
        | Edit::AddDelete { .. }
        | Edit::DropDelete { .. }
        | Edit::EndDelete { .. }
        | Edit::Epochs { .. } => (&[], &[]),
    };
    let folder = Folder::at(Path::new(""));
    for segment in segments {
        segment.path(&folder)?;
    }
    if BatchWindows::from_records(windows).is_none() {
        return Err(Error::corrupt("catalog holds a batch window whose source is no number"));
    }
    let (segments, sources) = (segments.len(), windows.len());
    Ok(match edit {
        Edit::Snapshot(snapshot) => {
            CatalogRecordSummary::Snapshot { segments, lost: snapshot.lost.len(), sources }
        }
        Edit::Flush { .. } => CatalogRecordSummary::Flush { segments, sources },
        Edit::Replace { remove, .. } => CatalogRecordSummary::Replace { removed: remove.len(), segments },
        Edit::Lost { ulid, reason } => CatalogRecordSummary::Lost { ulid, reason },
        Edit::AddDelete { request } => {
            CatalogRecordSummary::AddDelete { id: request.id, query: request.query }
        }
        Edit::DropDelete { id } => CatalogRecordSummary::DropDelete { id },
        Edit::EndDelete { id, .. } => CatalogRecordSummary::EndDelete { id },
        Edit::Epochs { epochs } => CatalogRecordSummary::Epochs { epochs: epochs.len() },
    })
}

/// Decodes a block and compares it with what the tables say of it and of its runs.
pub(crate) fn check_block(source: Arc<dyn SectionSource>, row: &BlockRow, runs: &[RunRow]) -> Result<()> {
    let bad = |error: logyard_codec::Error| {
        let kind = if error.kind() == logyard_codec::Kind::Invalid { Error::invalid } else { Error::corrupt };
        kind(error.to_string())
    };
    let block = Block::open(Arc::clone(&row.meta), source, row.offset);
    let (ts_ns, ends) = (block.timestamps().map_err(bad)?, block.lines().map_err(bad)?.ends());
    block.levels().map_err(bad)?;
    block.metadata().map_err(bad)?;
    let line_bytes = |rows: &[u32], start: u64| match rows.last() {
        // Every line has a `\n` behind it, which is not its own.
        Some(&end) => (u64::from(end) + 1).saturating_sub(start).saturating_sub(rows.len() as u64),
        None => 0,
    };
    let (mut first_row, mut text_start) = (0, 0);
    for RunRow { run, .. } in runs {
        let rows = run.first_row as usize..(run.first_row + run.rows) as usize;
        let (Some(times), Some(lines)) = (ts_ns.get(rows.clone()), ends.get(rows.clone())) else {
            return Err(Error::corrupt(format!("has no rows {} to {}", rows.start, rows.end)));
        };
        let agrees = rows.start == first_row
            && times.is_sorted()
            && times.first() == Some(&run.min_ns)
            && times.last() == Some(&run.max_ns)
            && line_bytes(lines, text_start) == run.raw_bytes;
        if !agrees {
            return Err(Error::corrupt(format!("rows from {} are not what the run says", rows.start)));
        }
        first_row = rows.end;
        text_start = lines.last().map_or(text_start, |&end| u64::from(end) + 1);
    }
    let meta = &row.meta;
    let agrees = first_row == ts_ns.len()
        && line_bytes(ends, 0) == meta.raw_bytes
        && ts_ns.iter().min() == Some(&meta.min_ns)
        && ts_ns.iter().max() == Some(&meta.max_ns);
    if agrees { Ok(()) } else { Err(Error::corrupt("is not what its description says")) }
}

/// Compares the totals with the tables they sum up.
pub(crate) fn check_totals(toc: &Toc, tables: &SegmentTables) -> Result<()> {
    let (totals, metas) = (&toc.totals, || tables.blocks.iter().map(|row| &row.meta));
    let agrees = totals.streams == tables.streams.len() as u64
        && totals.blocks == tables.blocks.len() as u64
        && totals.raw_bytes == metas().map(|meta| meta.raw_bytes).sum::<u64>()
        && metas().map(|meta| meta.min_ns).min().is_none_or(|min_ns| totals.min_ns == min_ns)
        && metas().map(|meta| meta.max_ns).max().is_none_or(|max_ns| totals.max_ns == max_ns);
    if agrees { Ok(()) } else { Err(Error::corrupt("totals are not those of the tables")) }
}

/// Decodes the lineage; one that is absent is empty.
pub(crate) fn check_lineage(toc: &Toc, tail: &[u8], file_bytes: u64) -> Result<Lineage> {
    match toc.has_section(SECTION_LINEAGE) {
        true => Lineage::decode(toc.section(SECTION_LINEAGE, tail, file_bytes)?),
        false => Ok(Lineage::default()),
    }
}

/// Opens the stream index, if there is one, and asks it for everything. The error is a text: nothing depends on its kind.
pub(crate) fn check_stream_index(
    toc: &Toc,
    tail: &Bytes,
    file_bytes: u64,
    streams: usize,
) -> std::result::Result<(), String> {
    if !toc.has_section(SECTION_STREAM_INDEX) {
        return Ok(());
    }
    let section = toc.section(SECTION_STREAM_INDEX, tail, file_bytes);
    let section = section.map_err(|error| error.to_string())?;
    let check = || {
        let index = StreamIndex::open(tail.slice_ref(section))?;
        for name in index.names()? {
            index.values(&name)?;
        }
        index.matching(&[])
    };
    let refs = check().map_err(|error| error.to_string())?;
    if refs.iter().map(|stream_ref| *stream_ref as usize).eq(0..streams) {
        Ok(())
    } else {
        Err(format!("stream index holds {} streams that are not the segment's {streams}", refs.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use logyard_sys::{Disk, RealDisk};
    use std::path::PathBuf;

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
    }

    fn sample(target: &str, name: &str) -> Bytes {
        RealDisk.read(&corpus(target).join(name)).unwrap().into()
    }

    /// Returns the names of the samples that pass.
    fn replay(target: &str, passes: impl Fn(&Bytes) -> bool) -> Vec<String> {
        let items = RealDisk.list(&corpus(target)).unwrap();
        let names = items.into_iter().map(|item| item.name);
        names.filter(|name| passes(&sample(target, name))).collect()
    }

    #[test]
    fn the_fuzz_corpora_are_read_or_refused() {
        let segments = replay("segment", |bytes| check_segment(bytes).is_ok());
        assert_eq!(segments, ["version_1_day_1", "version_1_day_2"]);
        let records = replay("wal_record", |bytes| check_wal_record(bytes, 1 << 20).is_ok());
        assert_eq!(records, ["version_1_1", "version_1_text", "version_1_without_id"]);
        let edits = replay("catalog_record", |bytes| check_catalog_record(bytes).is_ok());
        let known = [
            "version_1_1",
            "version_1_2",
            "version_1_lost",
            "version_2_add_delete",
            "version_2_drop_delete",
            "version_2_end_delete",
            "version_2_epochs",
            "version_2_replace",
            "version_2_snapshot",
        ];
        assert_eq!(edits, known);
    }

    #[test]
    fn a_whole_segment_is_summed_up() {
        let file = sample("segment", "version_1_day_1");
        let summary = check_segment(&file).unwrap();
        assert_eq!(summary.ulid, "01KT1GW6G031GV1X6H4Q60TTAA");
        assert_eq!((summary.streams, summary.blocks, summary.entries), (2, 1, 2));
        assert_eq!((summary.class.as_str(), summary.level), ("30d", 0));
        assert_eq!(summary.block_bytes + summary.tail_bytes + 64, file.len() as u64);
        assert_eq!(summary.stream_index_fault, None);
    }

    #[test]
    fn every_damaged_byte_of_a_segment_is_found() {
        let file = sample("segment", "version_1_day_1");
        let good = check_segment(&file).unwrap();
        for at in 0..file.len() {
            let mut bad = file.to_vec();
            bad[at] ^= 0x20;
            let is_found = match check_segment(&bad.into()) {
                Ok(summary) if summary.stream_index_fault.is_some() => true,
                // The start of the index area in the footer is a lower bound only.
                Ok(summary) => at >= file.len() - 12 && summary == good,
                Err(error) => matches!(error.kind(), Kind::Corrupt | Kind::Invalid),
            };
            assert!(is_found, "byte {at}");
        }
    }

    #[test]
    fn a_damaged_block_is_named_with_its_place() {
        let error = check_segment(&sample("segment", "version_1_bad_block")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("block 0 at offset 64: cannot decode timestamps: checksum mismatch"),
            "{text}"
        );
        assert_eq!(error.kind(), Kind::Corrupt);
    }

    #[test]
    fn records_are_summed_up() {
        let record = check_wal_record(&sample("wal_record", "version_1_1"), 1 << 20).unwrap();
        assert_eq!((record.tenant, record.entries), (Tenant::single(), 1));
        assert_eq!(record.id.map(|id| id.sequence), Some(3));
        let text = check_wal_record(&sample("wal_record", "version_1_text"), 1 << 20).unwrap();
        assert_eq!((text.chunks, text.entries, text.raw_bytes), (1, 2, 11));
        let error = check_wal_record(&sample("wal_record", "version_1_1"), 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        let edit = check_catalog_record(&sample("catalog_record", "version_1_2")).unwrap();
        assert_eq!(edit, CatalogRecordSummary::Flush { segments: 2, sources: 1 });
        let asked = check_catalog_record(&sample("catalog_record", "version_2_add_delete")).unwrap();
        let (id, query) = ("73ddcc01".to_owned(), r#"{app="web"}"#.to_owned());
        assert_eq!(asked, CatalogRecordSummary::AddDelete { id, query });
        let newer = check_catalog_record(&sample("catalog_record", "version_3_snapshot")).unwrap_err();
        assert_eq!(newer.kind(), Kind::Invalid);
    }
}
