//! The log: appending, syncing, rotating, trimming.
//!
//! Records gather in memory until a sync, or until there are many bytes of them, so a sync of a group is
//! one write and one `fdatasync`. A write that fails (a full disk) is undone: the file is cut to what was
//! synced and the log can be used again. A sync that fails is final: what the disk holds is unknown, and
//! the system may report a success next time without having written anything.

use crate::error::Error;
use crate::record::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES, file_header, put_record};
use crate::recovery::{LogFile, Recovered, Recovery, file_path, holds_records, io_error, recover};
use logyard_sys::{Disk, WriteFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes gathered in memory before they are written without a sync.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Bounds of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A file that is this long takes no more records; it is longer by at most one record.
    pub file_bytes_max: u64,
    /// Most bytes of a payload that is appended; larger ones in the log are still read.
    pub record_bytes_max: u32,
}

impl Default for LogSettings {
    /// 64 MiB for both.
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20, record_bytes_max: 64 << 20 }
    }
}

/// Receives the sequence and payload of a record that is replayed.
pub type Replay<'a, E> = dyn FnMut(u64, &[u8]) -> Result<(), E> + 'a;

/// A record log with one writer. All calls block.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: LogSettings,
    /// All files, oldest first; the last one is open. Never empty.
    files: Vec<LogFile>,
    open: Box<dyn WriteFile>,
    /// The name of the open file is durable.
    is_name_durable: bool,
    next_sequence: u64,
    /// Records not written yet.
    buffer: Vec<u8>,
    /// What holds now that the last sync succeeded; a failed write goes back to it.
    synced: Synced,
    is_poisoned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Synced {
    /// Length of the open file; 0 if not even its header is durable.
    bytes: u64,
    records: u64,
    next_sequence: u64,
}

impl Log {
    /// Opens the log in `dir`, or creates it, and replays its records with sequence >= `from` in order.
    ///
    /// A torn tail is cut. A damaged record goes to `<dir>/quarantine/`; good ones behind it are replayed. New records get sequences above every one seen and not below
    /// `from`. What was replayed is durable on return, also what a killed process had not synced.
    ///
    /// Errors: `Unavailable` if the disk fails, `Invalid` for files of another version, `Corrupt` if
    /// `replay` refuses a record. A full disk is none, if only the header of a new file cannot be written. Opening again after an error repeats the replay. Cost: reads every file,
    /// within a megabyte of memory or the largest record.
    pub fn open<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: LogSettings,
        from: u64,
        replay: &mut Replay<'_, E>,
    ) -> Result<(Self, Recovery), Error> {
        disk.create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let mut hand_over = |sequence: u64, path: &Path, payload: &[u8]| {
            replay(sequence, payload).map_err(|error| Error::Replay {
                sequence,
                path: path.to_owned(),
                source: error.into(),
            })
        };
        let recovered = recover(&*disk, dir, from, &mut hand_over)?;
        Self::continue_from(disk, dir, settings, recovered)
    }

    /// Returns the sequence that the next record gets. Dense, from 1, except for gaps that damage left.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Returns the bytes of all files, unwritten records counted in.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Returns whether a failure has made the log refuse everything until it is opened again.
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Adds a record and returns its sequence. It is durable after the next successful [`Log::sync`].
    ///
    /// Errors: `Limited` for a payload beyond `record_bytes_max`, which changes nothing; `Unavailable` as
    /// [`Log::sync`]. Cost: mostly a copy; a sync of the full file when a new one begins.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, Error> {
        self.append_parts(&[payload])
    }

    /// Adds a record whose payload is the parts joined, as [`Log::append`] does: saves joining them before.
    pub fn append_parts(&mut self, parts: &[&[u8]]) -> Result<u64, Error> {
        self.check_usable()?;
        let limit = self.settings.record_bytes_max;
        let payload_bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        if payload_bytes > limit as usize {
            return Err(Error::TooLarge { got: payload_bytes, limit });
        }
        if self.open_file().bytes >= self.settings.file_bytes_max {
            self.rotate()?;
        }
        let sequence = self.next_sequence;
        put_record(&mut self.buffer, sequence, parts);
        self.next_sequence += 1;
        let file = self.open_file_mut();
        file.bytes += (RECORD_HEADER_BYTES + payload_bytes) as u64;
        file.records += 1;
        if self.buffer.len() >= BUFFER_BYTES_MAX {
            self.write_buffer()?;
        }
        Ok(sequence)
    }

    /// Makes all appended records durable.
    ///
    /// Errors: `Unavailable`. If writing failed (the disk is full), all records since the last success are
    /// void: their sequences will be given again, except those in a file completed meanwhile, and the log
    /// can be used. Whoever has noted such a sequence goes back below [`Log::next_sequence`]. If syncing failed, the log is poisoned, and records may be found at the next opening
    /// or not.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        if self.next_sequence == self.synced.next_sequence && self.synced.bytes > 0 {
            return Ok(());
        }
        self.write_buffer()?;
        let path = self.open_file().path.clone();
        self.open.sync().map_err(|source| self.poison("sync", &path, source))?;
        if !self.is_name_durable {
            let dir = self.dir.clone();
            self.disk.sync_dir(&dir).map_err(|source| self.poison("sync", &dir, source))?;
            self.is_name_durable = true;
        }
        self.mark_synced();
        Ok(())
    }

    /// Hands all appended records to the system without a sync: they outlive this process, not a power cut.
    ///
    /// Errors: `Unavailable`; the records since the last sync are void, as when [`Log::sync`] cannot write.
    pub fn write(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        self.write_buffer()
    }

    /// Syncs, and lets the next record start a new file. Does nothing if the open file has no record.
    ///
    /// Errors: `Unavailable`, as [`Log::sync`]; if the new file cannot be created, the old one stays open.
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.sync()?;
        if self.open_file().records == 0 {
            return Ok(());
        }
        let (file, open) = new_file(&*self.disk, &self.dir, self.next_sequence)?;
        self.files.push(file);
        self.open = open;
        self.is_name_durable = false;
        self.buffer.clear();
        self.buffer.extend_from_slice(&file_header(self.next_sequence));
        self.synced = Synced { bytes: 0, records: 0, next_sequence: self.next_sequence };
        Ok(())
    }

    /// Removes files whose records are all below `below`, never the open one. Returns the bytes freed.
    ///
    /// Errors: `Unavailable`; files not removed yet are tried again by the next call.
    pub fn trim(&mut self, below: u64) -> Result<u64, Error> {
        self.check_usable()?;
        let removable = |files: &[LogFile]| matches!(files, [_, next, ..] if next.first_sequence <= below);
        if !removable(&self.files) {
            return Ok(0);
        }
        // The open file keeps the sequences from starting anew: it must be durable before others go.
        self.sync()?;
        let mut freed = 0;
        while removable(&self.files) {
            let path = &self.files[0].path;
            match self.disk.remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(io_error("remove", path, source)),
            }
            freed += self.files.remove(0).bytes;
        }
        self.disk.sync_dir(&self.dir).map_err(|source| io_error("sync", &self.dir, source))?;
        Ok(freed)
    }

    fn continue_from(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: LogSettings,
        recovered: Recovered,
    ) -> Result<(Self, Recovery), Error> {
        let Recovered { mut files, next_sequence, is_last_file_open, recovery } = recovered;
        let mut buffer = Vec::new();
        let open = match files.last() {
            Some(last) if is_last_file_open => {
                disk.append_file(&last.path).map_err(|source| io_error("open", &last.path, source))?
            }
            last => {
                if let Some(last) = last {
                    // A killed process may have left records that were replayed and are not durable yet.
                    let synced = disk.append_file(&last.path).and_then(|mut file| file.sync());
                    synced.map_err(|source| io_error("sync", &last.path, source))?;
                }
                // A file without records in the way of the new one is replaced by it.
                files.retain(|file| file.first_sequence < next_sequence || holds_records(file.bytes));
                let (file, open) = new_file(&*disk, dir, next_sequence)?;
                files.push(file);
                buffer.extend_from_slice(&file_header(next_sequence));
                open
            }
        };
        let synced = Synced { bytes: 0, records: 0, next_sequence };
        let dir = dir.to_owned();
        let mut log = Self {
            disk,
            dir,
            settings,
            files,
            open,
            is_name_durable: false,
            next_sequence,
            buffer,
            synced,
            is_poisoned: false,
        };
        match log.sync() {
            // What is there can be read, and the header of the new file waits for the first record: a full disk
            // must not keep a log from being opened.
            Err(error) if error.is_disk_full() && !log.is_poisoned() => {}
            result => result?,
        }
        Ok((log, recovery))
    }

    fn open_file(&self) -> &LogFile {
        self.files.last().expect("a log has an open file")
    }

    fn open_file_mut(&mut self) -> &mut LogFile {
        self.files.last_mut().expect("a log has an open file")
    }

    fn check_usable(&self) -> Result<(), Error> {
        if self.is_poisoned { Err(Error::Poisoned { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn mark_synced(&mut self) {
        let file = self.open_file();
        assert!(file.bytes == self.open.bytes(), "the file is as long as its records");
        self.synced = Synced { bytes: file.bytes, records: file.records, next_sequence: self.next_sequence };
    }

    /// Writes the gathered records; after a failure, goes back to what was synced.
    fn write_buffer(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(source) = self.open.write_all(&self.buffer) {
            let path = self.open_file().path.clone();
            if let Err(undo) = self.undo_writes() {
                return Err(self.poison("write", &path, undo));
            }
            return Err(io_error("write", &path, source));
        }
        self.buffer.clear();
        if self.buffer.capacity() > 4 * BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn undo_writes(&mut self) -> std::io::Result<()> {
        let Synced { bytes, records, next_sequence } = self.synced;
        let path = self.open_file().path.clone();
        self.disk.truncate(&path, bytes)?;
        self.open = self.disk.append_file(&path)?;
        self.buffer.clear();
        let mut file_bytes = bytes;
        if bytes == 0 {
            self.buffer.extend_from_slice(&file_header(next_sequence));
            file_bytes = FILE_HEADER_BYTES as u64;
        }
        self.next_sequence = next_sequence;
        let file = self.open_file_mut();
        file.bytes = file_bytes;
        file.records = records;
        Ok(())
    }

    fn poison(&mut self, action: &'static str, path: &Path, source: std::io::Error) -> Error {
        self.is_poisoned = true;
        io_error(action, path, source)
    }
}

fn new_file(
    disk: &dyn Disk,
    dir: &Path,
    first_sequence: u64,
) -> Result<(LogFile, Box<dyn WriteFile>), Error> {
    let path = file_path(dir, first_sequence);
    let open = disk.create_file(&path).map_err(|source| io_error("create", &path, source))?;
    Ok((LogFile { first_sequence, path, bytes: FILE_HEADER_BYTES as u64, records: 0 }, open))
}
