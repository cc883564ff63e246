//! Reading a log back: replay of what is whole, a cut where it is torn, quarantine of what is damaged.

use crate::error::Error;
use crate::reader::{Next, Reader};
use crate::record::{FILE_HEADER_BYTES, FileHeader, VERSION, file_header};
use logyard_sys::{Disk, ReadFile, WriteFile};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Folder, inside the log's own, of bytes that could not be read.
const QUARANTINE: &str = "quarantine";
/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records in the log, also those below the first one replayed.
    pub records: u64,
    /// Bytes of an unfinished last write that were cut off.
    pub torn_bytes: u64,
    /// Sequences that are missing between records that are there: lost to damage.
    pub missing: u64,
    /// Files that now hold the damaged parts, for inspection. Good records behind them were replayed.
    pub quarantined: Vec<PathBuf>,
    /// The last of these is the end of the log: as long as a record, and damaged.
    pub is_end_damaged: bool,
    /// Log files that hold records or wait for them.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
}

/// A log file that has been read.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) first_sequence: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

/// The state of a log that has been read.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: Vec<LogFile>,
    pub(crate) next_sequence: u64,
    /// The last file may take more records: it ends with the record before `next_sequence`.
    pub(crate) is_last_file_open: bool,
    pub(crate) recovery: Recovery,
}

pub(crate) type Replay<'a> = &'a mut dyn FnMut(u64, &Path, &[u8]) -> Result<(), Error>;

/// Returns the path of the file whose first record has this sequence.
pub(crate) fn file_path(dir: &Path, first_sequence: u64) -> PathBuf {
    dir.join(format!("{first_sequence:020}.log"))
}

/// Reads all files in order, hands records with sequence >= `from` to `replay`, repairs what is not whole.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    from: u64,
    replay: Replay<'_>,
) -> Result<Recovered, Error> {
    let (out, files) = (Recovery::default(), Vec::new());
    let mut state = Recovering { disk, dir, next_sequence: 1, has_begun: false, out, files };
    let named = log_files(disk, dir).map_err(|source| io_error("list", dir, source))?;
    // Sequences that a name speaks of count as used, even if nothing in the file can be read.
    let named_max = named.last().map_or(0, |(first_sequence, _)| *first_sequence);
    let count = named.len();
    let mut is_last_file_open = false;
    for (index, (first_sequence, path)) in named.into_iter().enumerate() {
        let is_last = index + 1 == count;
        is_last_file_open = state.read_file(from, replay, first_sequence, &path, is_last)?;
    }
    let next_sequence = state.next_sequence.max(named_max).max(from).max(1);
    is_last_file_open &= next_sequence == state.next_sequence;
    state.out.files = state.files.len();
    state.out.bytes = state.files.iter().map(|file| file.bytes).sum();
    Ok(Recovered { files: state.files, next_sequence, is_last_file_open, recovery: state.out })
}

/// Returns first sequence and path of the files of a log, in order. Other names are left alone.
///
/// Errors: the folder cannot be listed.
pub fn log_files(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut named = Vec::new();
    for item in disk.list(dir)? {
        let digits = item.name.strip_suffix(".log").filter(|digits| digits.len() == 20);
        let sequence = digits.and_then(|digits| digits.parse::<u64>().ok());
        if let (Some(sequence), false) = (sequence, item.is_dir) {
            named.push((sequence, dir.join(&item.name)));
        }
    }
    Ok(named)
}

struct Recovering<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// One above the highest sequence seen.
    next_sequence: u64,
    /// A file was seen, so a gap before the next one is a loss and not the work of a trim.
    has_begun: bool,
    out: Recovery,
    files: Vec<LogFile>,
}

impl Recovering<'_> {
    /// Reads one file. Returns whether it is kept and whole, so that it may grow.
    fn read_file(
        &mut self,
        from: u64,
        replay: Replay<'_>,
        first_sequence: u64,
        path: &Path,
        is_last: bool,
    ) -> Result<bool, Error> {
        let failed = |source| io_error("read", path, source);
        let file = self.disk.open_file(path).map_err(failed)?;
        let mut reader = Reader::new(file).map_err(failed)?;
        let is_header_good = match reader.header().map_err(failed)? {
            FileHeader::Known { first_sequence: told } => told == first_sequence,
            FileHeader::OtherVersion { version } => {
                return Err(Error::Version { path: path.to_owned(), got: version, want: VERSION });
            }
            FileHeader::Damaged => false,
        };
        if first_sequence < self.next_sequence {
            // Overlaps what was read: no writer of ours makes such files.
            return self
                .quarantine(path, 0, reader.file_bytes())
                .and_then(|()| self.remove(path))
                .map(|()| false);
        }
        self.begin_at(first_sequence);
        // The bytes that are no whole records, in front of good ones.
        let mut holes: Vec<Range<u64>> = Vec::new();
        if !is_header_good {
            if !reader.resync(first_sequence).map_err(failed)? {
                return self.drop_file(&reader, path, is_last).map(|()| false);
            }
            holes.push(0..reader.offset());
        }
        let is_whole = loop {
            let want = self.next_sequence;
            match reader.next(want).map_err(failed)? {
                Next::Record { sequence, payload } => {
                    if sequence >= from {
                        replay(sequence, path, payload)?;
                    }
                    self.out.missing += sequence - want;
                    self.next_sequence = sequence.saturating_add(1);
                    self.out.records += 1;
                }
                Next::End => break true,
                Next::Bad => {
                    let start = reader.offset();
                    if !reader.resync(want).map_err(failed)? {
                        break false;
                    }
                    holes.push(start..reader.offset());
                }
            }
        };
        let records = self.next_sequence - first_sequence;
        // A record of full length with a wrong checksum is no unfinished write of a killed process: it was
        // acknowledged, unless the power failed while it was written.
        let is_torn = !is_whole && is_last && !reader.has_record_bytes().map_err(failed)?;
        self.out.is_end_damaged = is_last && !is_whole && !is_torn;
        let bytes = self.cut(&reader, path, first_sequence, is_torn, holes)?;
        let may_grow = bytes == reader.offset() && (is_whole || is_last);
        self.files.push(LogFile { first_sequence, path: path.to_owned(), bytes, records });
        Ok(may_grow)
    }

    fn begin_at(&mut self, first_sequence: u64) {
        if self.has_begun {
            self.out.missing += first_sequence.saturating_sub(self.next_sequence);
        }
        self.has_begun = true;
        self.next_sequence = self.next_sequence.max(first_sequence);
    }

    /// Takes out of a file what is no whole record: `holes`, and all behind the last record. Returns the bytes left.
    fn cut(
        &mut self,
        reader: &Reader,
        path: &Path,
        first_sequence: u64,
        is_torn: bool,
        holes: Vec<Range<u64>>,
    ) -> Result<u64, Error> {
        let (good_end, file_bytes) = (reader.offset(), reader.file_bytes());
        // Only the end of the last file can be unfinished: files are synced before the next one begins.
        if is_torn {
            self.out.torn_bytes += file_bytes - good_end;
        }
        for hole in &holes {
            self.quarantine(path, hole.start, hole.end - hole.start)?;
        }
        if !is_torn && good_end < file_bytes {
            self.quarantine(path, good_end, file_bytes - good_end)?;
        }
        if !holes.is_empty() {
            return self.rewrite(path, first_sequence, good_end, &holes);
        }
        if good_end < file_bytes {
            let cut = self.disk.truncate(path, good_end);
            cut.map_err(|source| io_error("truncate", path, source))?;
        }
        Ok(good_end)
    }

    /// Replaces a file by its good records, so that after any crash it is the old one or the new one.
    fn rewrite(
        &self,
        path: &Path,
        first_sequence: u64,
        good_end: u64,
        holes: &[Range<u64>],
    ) -> Result<u64, Error> {
        let tmp = path.with_extension("log.tmp");
        let written = || -> io::Result<u64> {
            let from = self.disk.open_file(path)?;
            let mut copy = self.disk.create_file(&tmp)?;
            copy.write_all(&file_header(first_sequence))?;
            let mut start = FILE_HEADER_BYTES as u64;
            for hole in holes {
                copy_range(&*from, &mut *copy, start..hole.start)?;
                start = hole.end;
            }
            copy_range(&*from, &mut *copy, start..good_end)?;
            copy.sync()?;
            let bytes = copy.bytes();
            drop(copy);
            self.disk.rename(&tmp, path)?;
            self.disk.sync_dir(self.dir)?;
            Ok(bytes)
        };
        written().map_err(|source| io_error("write", &tmp, source))
    }

    /// Takes a file that holds no record out of the log.
    fn drop_file(&mut self, reader: &Reader, path: &Path, is_last: bool) -> Result<(), Error> {
        if is_last {
            self.out.torn_bytes += reader.file_bytes();
        } else {
            self.quarantine(path, 0, reader.file_bytes())?;
        }
        self.remove(path)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.disk.remove_file(path).map_err(|source| io_error("remove", path, source))
    }

    /// Copies a part of a file to the quarantine, durably: the original is cut afterwards.
    fn quarantine(&mut self, path: &Path, offset: u64, bytes: u64) -> Result<(), Error> {
        let dir = self.dir.join(QUARANTINE);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let to = dir.join(format!("{name}.{offset}"));
        let copied = || -> io::Result<()> {
            self.disk.create_dir_all(&dir)?;
            let from = self.disk.open_file(path)?;
            let mut copy = self.disk.create_file(&to)?;
            copy_range(&*from, &mut *copy, offset..offset + bytes)?;
            copy.sync()?;
            self.disk.sync_dir(&dir)
        };
        copied().map_err(|source| io_error("write", &to, source))?;
        self.out.quarantined.push(to);
        Ok(())
    }
}

/// Appends a part of a file to another; nothing if the part ends before it starts.
fn copy_range(from: &dyn ReadFile, to: &mut dyn WriteFile, part: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = part.start;
    while at < part.end {
        let want = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        let some = &mut buffer[..want];
        from.read_exact_at(some, at)?;
        to.write_all(some)?;
        at += want as u64;
    }
    Ok(())
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}

/// Returns whether a file this long holds more than its header.
pub(crate) fn holds_records(bytes: u64) -> bool {
    bytes > FILE_HEADER_BYTES as u64
}
