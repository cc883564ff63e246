//! Looking at one file of a log without opening the log: nothing is cut, moved or written.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;
use crate::reader::{Next, Reader};
use crate::record::{FileHeader, VERSION};
use crate::recovery::io_error;
use logyard_sys::Disk;
use std::ops::Range;
use std::path::Path;

/// One whole record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedRecord<'a> {
    /// Its place in the log.
    pub sequence: u64,
    /// Where its header starts in the file.
    pub offset: u64,
    /// What it holds.
    pub payload: &'a [u8],
}

/// What a file of a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileScan {
    /// Sequence of the first record that the file is to hold.
    pub first_sequence: u64,
    /// One above the last sequence that was read.
    pub next_sequence: u64,
    /// Whole records.
    pub records: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes that are no whole records, with good records behind them: damage.
    pub holes: Vec<Range<u64>>,
    /// Where bytes start that no good record follows: an unfinished write in the last file of a log, else damage.
    pub torn_at: Option<u64>,
    /// Whether a record of full length lies there that does not match its checksum: a killed process leaves none.
    pub is_torn_whole: bool,
    /// Sequences that are missing between records that are there.
    pub missing: u64,
}

/// Reads a file of a log and hands over its whole records in order, damaged ones left out.
///
/// Errors: `Unavailable` if the disk fails, `Invalid` for a file of another version; a damaged file is no error.
/// Cost: reads the file within a megabyte of memory or the largest record; more behind damage.
/// Source: `schemas/record-log.md`.
pub fn scan_file(
    disk: &dyn Disk,
    path: &Path,
    visit: &mut dyn FnMut(ScannedRecord<'_>),
) -> Result<FileScan, Error> {
    let failed = |source| io_error("read", path, source);
    let mut reader = Reader::new(disk.open_file(path).map_err(failed)?).map_err(failed)?;
    let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
    let mut out = FileScan { bytes: reader.file_bytes(), ..FileScan::default() };
    let header = reader.header().map_err(failed)?;
    let is_good = match header {
        FileHeader::Known { first_sequence } => {
            out.first_sequence = first_sequence;
            named.is_none_or(|named| named == first_sequence)
        }
        FileHeader::OtherVersion { version } => {
            return Err(Error::Version { path: path.to_owned(), got: version, want: VERSION });
        }
        FileHeader::Damaged => {
            out.first_sequence = named.unwrap_or(1);
            false
        }
    };
    out.next_sequence = out.first_sequence;
    if !is_good {
        if !reader.resync(out.first_sequence).map_err(failed)? {
            out.torn_at = Some(0);
            return Ok(out);
        }
        out.holes.push(0..reader.offset());
    }
    loop {
        let (want, offset) = (out.next_sequence, reader.offset());
        match reader.next(want).map_err(failed)? {
            Next::Record { sequence, payload } => {
                visit(ScannedRecord { sequence, offset, payload });
                out.missing += sequence - want;
                out.next_sequence = sequence.saturating_add(1);
                out.records += 1;
            }
            Next::End => return Ok(out),
            Next::Bad => {
                if !reader.resync(want).map_err(failed)? {
                    out.torn_at = Some(offset);
                    out.is_torn_whole = reader.has_record_bytes().map_err(failed)?;
                    return Ok(out);
                }
                out.holes.push(offset..reader.offset());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Log, LogSettings};
    use logyard_sys::SimDisk;
    use std::path::PathBuf;
    use std::sync::Arc;

    const SETTINGS: LogSettings = LogSettings { file_bytes_max: 1 << 20, record_bytes_max: 1 << 10 };

    fn log_file() -> (SimDisk, PathBuf) {
        let disk = SimDisk::new();
        let dir = Path::new("/log");
        let mut replay = |_: u64, _: &[u8]| Ok::<_, Error>(());
        let (mut log, _) = Log::open(Arc::new(disk.clone()), dir, SETTINGS, 1, &mut replay).unwrap();
        for text in ["one", "two", "three"] {
            log.append(text.as_bytes()).unwrap();
        }
        log.sync().unwrap();
        (disk, dir.join("00000000000000000001.log"))
    }

    fn scan(disk: &SimDisk, path: &Path) -> (Vec<(u64, u64, String)>, FileScan) {
        let mut records = Vec::new();
        let out = scan_file(disk, path, &mut |record| {
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            records.push((record.sequence, record.offset, text));
        });
        (records, out.unwrap())
    }

    #[test]
    fn whole_records_are_told_and_nothing_is_changed() {
        let (disk, path) = log_file();
        let (records, out) = scan(&disk, &path);
        let told: Vec<_> = records.iter().map(|(number, at, text)| (*number, *at, text.as_str())).collect();
        assert_eq!(told, [(1, 20, "one"), (2, 39, "two"), (3, 58, "three")]);
        assert_eq!((out.records, out.next_sequence, out.torn_at, out.missing), (3, 4, None, 0));
        disk.damage(&path, 56, 1).unwrap();
        let before = (disk.operations(), disk.read(&path).unwrap());
        let (records, out) = scan(&disk, &path);
        assert_eq!(records.len(), 2);
        assert_eq!((out.holes.first(), out.missing, out.torn_at), (Some(&(39..58)), 1, None));
        assert_eq!((disk.operations(), disk.read(&path).unwrap()), before);
    }

    #[test]
    fn a_torn_end_and_a_bad_header_are_told() {
        let (disk, path) = log_file();
        let bytes = disk.metadata(&path).unwrap().unwrap().bytes;
        disk.truncate(&path, bytes - 1).unwrap();
        let out = scan(&disk, &path).1;
        assert_eq!((out.torn_at, out.is_torn_whole), (Some(58), false));
        disk.truncate(&path, bytes).unwrap();
        let out = scan(&disk, &path).1;
        assert_eq!((out.torn_at, out.is_torn_whole), (Some(58), true), "a zero in place of its last byte");
        disk.damage(&path, 0, 1).unwrap();
        let (records, out) = scan(&disk, &path);
        assert_eq!((records.len(), out.holes.first()), (2, Some(&(0..20))));
    }
}
