//! `logyard inspect`: what one file of a data folder holds, for people and, with `--json`, for programs.

use std::path::Path;

use anyhow::Context as _;
use logyard_agent::inspect::{SpoolRecordSummary, check_spool_record};
use logyard_store::inspect::{
    BlockReport, CatalogRecordSummary, FileScan, SegmentReport, check_catalog_record, check_wal_record,
    inspect_segment, scan_file,
};
use logyard_sys::Disk;
use serde_json::{Value, json};

use crate::args::InspectArguments;
use crate::output;

/// Most records of a log that are listed; the rest is counted.
const RECORDS_MAX: usize = 100_000;

/// Most raw bytes of a batch of the write-ahead log, as at replay.
const BATCH_RAW_BYTES_MAX: usize = 1 << 30;

/// First bytes of a segment and of a record log.
const SEGMENT_MAGIC: &[u8] = b"LYSG";
const LOG_MAGIC: &[u8] = b"LYWL";

/// Prints what a file holds. Returns whether it is undamaged.
pub(crate) fn run(arguments: &InspectArguments, disk: &dyn Disk) -> anyhow::Result<bool> {
    let path = &arguments.file;
    let mut magic = [0; 4];
    let file = disk.open_file(path).with_context(|| format!("cannot open {}", path.display()))?;
    let got = file.read_at(&mut magic, 0).with_context(|| format!("cannot read {}", path.display()))?;
    drop(file);
    let magic = magic.get(..got).unwrap_or_default();
    let is_named = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
    if magic == SEGMENT_MAGIC || (magic != LOG_MAGIC && is_named("seg")) {
        return segment(arguments, disk);
    }
    if magic == LOG_MAGIC || is_named("log") {
        return log(arguments, disk);
    }
    if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".block-")) {
        anyhow::bail!(
            "cannot inspect {}: a block alone does not say how it is stored; inspect the segment that it was taken from",
            path.display()
        );
    }
    anyhow::bail!(
        "cannot inspect {}: neither a segment (.seg) nor a file of the write-ahead log, catalog or spool (.log)",
        path.display()
    )
}

fn segment(arguments: &InspectArguments, disk: &dyn Disk) -> anyhow::Result<bool> {
    let report = inspect_segment(disk, &arguments.file, true, &mut |_| {})?;
    let block = match arguments.block {
        Some(number) => Some(report.blocks.get(number).with_context(|| {
            let count = report.blocks.len();
            format!(
                "cannot show block {number}: {} has {count} blocks, counted from 0",
                arguments.file.display()
            )
        })?),
        None => None,
    };
    let text = match (arguments.json, block) {
        (true, None) => output::json(&json!({ "kind": "segment", "segment": report }))?,
        (true, Some(block)) => output::json(&json!({ "kind": "block", "block": block }))?,
        (false, None) => segment_text(&arguments.file, &report),
        (false, Some(block)) => block_text(block),
    };
    output::print(&text)?;
    Ok(report.faults.is_empty())
}

fn segment_text(path: &Path, report: &SegmentReport) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a text cannot fail.
        output::line(&mut text, format_args!("{name:<12} {value}"));
    };
    row("segment", path.display().to_string());
    row(
        "name",
        format!("{} (level {}, class {}, day {})", report.ulid, report.level, report.class, report.day),
    );
    row("written by", format!("logyard {}", report.writer));
    row("entries", format!("{} of {} streams", report.entries, report.streams));
    row("time", format!("{} to {}", output::time(report.min_ns), output::time(report.max_ns)));
    let ratio = report.bytes as f64 * 100.0 / report.raw_bytes.max(1) as f64;
    row("bytes", format!("{}, {ratio:.1} % of the lines' {}", report.bytes, report.raw_bytes));
    row("order", format!("{}, batches up to {}", report.order, report.wal_done));
    if !report.sources.is_empty() {
        row("made of", report.sources.join(" "));
    }
    for section in &report.sections {
        row("section", format!("{:<14} {:>12} bytes at {}", section.name, section.bytes, section.offset));
    }
    for (number, block) in report.blocks.iter().enumerate() {
        row(
            "block",
            format!(
                "{number:<4} {:>8} entries, {:>3} streams, {:>8} of {:>8} bytes at {}, {} to {}",
                block.entries,
                block.runs,
                block.bytes,
                block.raw_bytes,
                block.offset,
                output::time(block.min_ns),
                output::time(block.max_ns)
            ),
        );
    }
    for fault in &report.faults {
        row("DAMAGED", format!("{} at {}: {}", fault.part, fault.offset, fault.why));
    }
    if report.faults.is_empty() {
        row("checked", "all checksums hold, all blocks can be read".to_owned());
    } else {
        row("to do", "stop logyard, then run logyard repair; or restore the file from a backup".to_owned());
    }
    text
}

fn block_text(block: &BlockReport) -> String {
    let mut text = format!(
        "entries      {} of {} streams\ntime         {} to {}\nbytes        {} at {}, of {} of lines\n",
        block.entries,
        block.runs,
        output::time(block.min_ns),
        output::time(block.max_ns),
        block.bytes,
        block.offset,
        block.raw_bytes
    );
    for section in &block.sections {
        output::line(
            &mut text,
            format_args!(
                "section      {:<14} {:>9} of {:>9} bytes",
                section.name, section.bytes, section.raw_bytes
            ),
        );
    }
    text
}

/// Whose log a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogKind {
    Wal,
    Catalog,
    Spool,
}

impl LogKind {
    /// Tells by the folder that the file lies in, else by its first record.
    fn of(path: &Path, payload: &[u8]) -> Self {
        let dir = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        match dir.as_deref() {
            Some("wal") => Self::Wal,
            Some("catalog") => Self::Catalog,
            Some("spool") => Self::Spool,
            _ if payload.first() == Some(&b'{') => Self::Catalog,
            _ if check_wal_record(payload, BATCH_RAW_BYTES_MAX).is_ok() => Self::Wal,
            _ => Self::Spool,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wal => "write-ahead log",
            Self::Catalog => "catalog",
            Self::Spool => "spool",
        }
    }

    /// Says what a record holds, or why it cannot be read.
    fn describe(self, payload: &[u8]) -> Result<Value, String> {
        match self {
            Self::Wal => check_wal_record(payload, BATCH_RAW_BYTES_MAX)
                .map(|record| {
                    json!({
                        "tenant": record.tenant.as_str(),
                        "batch": record.id.map(|id| id.to_string()),
                        "chunks": record.chunks,
                        "entries": record.entries,
                        "raw_bytes": record.raw_bytes,
                    })
                })
                .map_err(|error| error.to_string()),
            Self::Catalog => check_catalog_record(payload)
                .map(|record| catalog_value(&record))
                .map_err(|error| error.to_string()),
            Self::Spool => check_spool_record(payload)
                .map(|record| spool_value(&record))
                .map_err(|error| error.to_string()),
        }
    }
}

fn catalog_value(record: &CatalogRecordSummary) -> Value {
    match record {
        CatalogRecordSummary::Snapshot { segments, lost, sources } => {
            json!({ "edit": "snapshot", "segments": segments, "lost": lost, "sources": sources })
        }
        CatalogRecordSummary::Flush { segments, sources } => {
            json!({ "edit": "flush", "segments": segments, "sources": sources })
        }
        CatalogRecordSummary::Replace { removed, segments } => {
            json!({ "edit": "replace", "removed": removed, "segments": segments })
        }
        CatalogRecordSummary::Lost { ulid, reason } => {
            json!({ "edit": "lost", "ulid": ulid, "reason": reason })
        }
        CatalogRecordSummary::AddDelete { id, query } => {
            json!({ "edit": "add_delete", "id": id, "query": query })
        }
        CatalogRecordSummary::DropDelete { id } => json!({ "edit": "drop_delete", "id": id }),
        CatalogRecordSummary::EndDelete { id } => json!({ "edit": "end_delete", "id": id }),
        CatalogRecordSummary::Epochs { epochs } => json!({ "edit": "epochs", "epochs": epochs }),
    }
}

fn spool_value(record: &SpoolRecordSummary) -> Value {
    match record {
        SpoolRecordSummary::Batch { epoch, sequence, entries, targets, batch_bytes } => json!({
            "record": "batch", "epoch": epoch, "sequence": sequence, "entries": entries,
            "targets": targets.len(), "batch_bytes": batch_bytes,
        }),
        SpoolRecordSummary::Ack { record } => json!({ "record": "ack", "up_to": record }),
        SpoolRecordSummary::DestinationAck { destination, record } => {
            json!({ "record": "ack", "up_to": record, "destination": destination })
        }
        SpoolRecordSummary::Checkpoint { epoch, next_sequence, acked_record, targets } => json!({
            "record": "checkpoint", "epoch": epoch, "next_sequence": next_sequence,
            "acked_record": acked_record, "targets": targets.len(),
        }),
    }
}

fn log(arguments: &InspectArguments, disk: &dyn Disk) -> anyhow::Result<bool> {
    let (mut kind, mut records, mut bad) = (None, Vec::new(), 0_u64);
    let scan = scan_file(disk, &arguments.file, &mut |record| {
        let kind = *kind.get_or_insert_with(|| LogKind::of(&arguments.file, record.payload));
        let described = kind.describe(record.payload);
        bad += u64::from(described.is_err());
        if records.len() < RECORDS_MAX {
            records.push((record.sequence, record.offset, record.payload.len(), described));
        }
    })?;
    let kind = kind.unwrap_or_else(|| LogKind::of(&arguments.file, &[]));
    let text = match arguments.json {
        true => output::json(&log_value(kind, &scan, &records))?,
        false => log_text(&arguments.file, kind, &scan, &records),
    };
    output::print(&text)?;
    Ok(scan.holes.is_empty() && scan.missing == 0 && !scan.is_torn_whole && bad == 0)
}

/// Sequence, offset, bytes, and what the record holds or why it cannot be read.
type ListedRecord = (u64, u64, usize, Result<Value, String>);

fn log_value(kind: LogKind, scan: &FileScan, records: &[ListedRecord]) -> Value {
    let describe = |(sequence, offset, bytes, described): &ListedRecord| {
        let (holds, error) = match described {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(error)),
        };
        json!({ "sequence": sequence, "offset": offset, "bytes": bytes, "holds": holds, "error": error })
    };
    let holes: Vec<Value> = scan
        .holes
        .iter()
        .map(|hole| json!({ "offset": hole.start, "bytes": hole.end - hole.start }))
        .collect();
    json!({
        "kind": kind.name(),
        "bytes": scan.bytes,
        "first_sequence": scan.first_sequence,
        "records_count": scan.records,
        "missing": scan.missing,
        "holes": holes,
        "torn_at": scan.torn_at,
        "records": records.iter().map(describe).collect::<Vec<_>>(),
    })
}

fn log_text(path: &Path, kind: LogKind, scan: &FileScan, records: &[ListedRecord]) -> String {
    let mut text = format!(
        "{:<12} {}\nbytes        {}\nrecords      {} from {} on\n",
        kind.name(),
        path.display(),
        scan.bytes,
        scan.records,
        scan.first_sequence
    );
    for (sequence, offset, bytes, described) in records {
        let line = match described {
            Ok(value) => {
                format!("record       {sequence} at {offset}, {bytes} bytes: {}", output::fields(value))
            }
            Err(error) => format!("UNREADABLE   {sequence} at {offset}, {bytes} bytes: {error}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let unlisted = scan.records.saturating_sub(records.len() as u64);
    if unlisted > 0 {
        output::line(&mut text, format_args!("and          {unlisted} more"));
    }
    for hole in &scan.holes {
        output::line(
            &mut text,
            format_args!("DAMAGED      {} bytes at {} are no record", hole.end - hole.start, hole.start),
        );
    }
    if let Some(torn_at) = scan.torn_at {
        let what = if scan.is_torn_whole { "DAMAGED" } else { "unfinished" };
        output::line(
            &mut text,
            format_args!("{what:<12} {} bytes at {torn_at}, the end", scan.bytes - torn_at),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use logyard_sys::{RealDisk, SimDisk};

    use super::*;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/store/tests/data/format-1")
    }

    fn arguments(file: PathBuf) -> InspectArguments {
        InspectArguments { file, json: false, block: None }
    }

    #[test]
    fn a_segment_is_told_part_by_part() {
        let dir = sample().join("tenants/fake/20260601/30d");
        let path = dir.join(&RealDisk.list(&dir).unwrap()[0].name);
        let report = inspect_segment(&RealDisk, &path, true, &mut |_| {}).unwrap();
        let text = segment_text(&path, &report);
        for part in
            ["class 30d, day 20260601", "2026-06-01T12:00:00Z", "section      runs", "all checksums hold"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(block_text(&report.blocks[0]).contains("timestamps"));
    }

    #[test]
    fn logs_are_told_record_by_record() {
        for (dir, kind, part) in
            [("wal", "write-ahead log", "tenant=fake"), ("catalog", "catalog", "edit=flush segments=2")]
        {
            let dir = sample().join(dir);
            let path = dir.join(&RealDisk.list(&dir).unwrap()[0].name);
            let mut records: Vec<ListedRecord> = Vec::new();
            let mut told = None;
            let scan = scan_file(&RealDisk, &path, &mut |record| {
                let kind = LogKind::of(&path, record.payload);
                // The same kind without the name of the folder.
                assert_eq!(LogKind::of(Path::new("x.log"), record.payload), kind);
                told = Some(kind);
                let described = kind.describe(record.payload);
                records.push((record.sequence, record.offset, record.payload.len(), described));
            })
            .unwrap();
            let text = log_text(&path, told.unwrap(), &scan, &records);
            assert!(text.starts_with(kind) && text.contains(part), "{text}");
            assert_eq!(log_value(told.unwrap(), &scan, &records)["records"][0]["error"], Value::Null);
        }
    }

    #[test]
    fn other_files_are_refused_with_what_to_do() {
        let disk = SimDisk::new();
        for (name, part) in [("x.seg.block-64", "inspect the segment"), ("readme", "neither a segment")] {
            let path = Path::new("/").join(name);
            disk.write_atomic(&path, b"what").unwrap();
            let error = run(&arguments(path), &disk).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(run(&arguments(PathBuf::from("/absent")), &disk).is_err());
    }
}
