//! The files of the engine's log driver `json-file`, read past the engine: generation after generation.
//!
//! The engine renames `<id>-json.log` to `.1`, that to `.2` and so on, and begins a new file; the oldest is removed. A
//! file is known by its number on the disk, so whatever its name became, the next one is the one named before it. What
//! is packed is left to the engine: then there is no reading here.
//!
//! A log of one file is cut to nothing instead, before the first row that comes once it has its full size. So a cut that
//! finds a full file read to its end took nothing with it, unless a whole further file came and went between two looks.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use logyard_sys::{Clock, Disk, FileMeta, ReadFile};

use crate::log_decoder::json_row;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// First bytes of a file that tell whether it was cut and written anew: a row or more, with its time.
const HEAD_BYTES: usize = 512;
/// Generations that the engine may keep; more are not looked for.
const GENERATIONS_MAX: usize = 1_000;
/// Attempts to see all generations without one being renamed meanwhile.
const OPEN_TRIES: usize = 5;
/// Looks at a log with a name missing among its generations, after which they are taken as they are: the engine is
/// busy with renaming them, or somebody removed one.
const HOLES_MAX: u32 = 25;
/// Rows of the two outputs are not in the order of their times, by so much at most.
const DISORDER_NS: i64 = 2_000_000_000;
/// A search by time ends when so few bytes are left: they are read through.
const SEARCH_BYTES_MIN: u64 = 256 << 10;

#[cfg(test)]
mod tests;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JsonRead {
    Bytes(Bytes),
    /// The end, for now.
    End,
    /// Generations went before they were read; what is there is read on.
    Lost(&'static str),
}

/// An open log and how far it was read.
#[derive(Debug)]
pub(crate) struct JsonLog {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    /// Device and number of it; of none if the disk does not say.
    identity: (u64, u64),
    offset: u64,
    /// Size at which the engine rotates or cuts a file, if it does.
    rotation_bytes: Option<u64>,
    /// What was read last ends inside a row.
    is_inside_row: bool,
    /// A row was left half written by a file that ended.
    owes_end: bool,
    /// Where and when reading this file began, and when it was looked at last.
    begun: (u64, u64),
    looked_ns: u64,
    /// Looks in a row that met a name missing.
    holes: u32,
    /// First bytes of the file, as far as they were seen.
    head: Vec<u8>,
    /// Younger generations, in order.
    next: VecDeque<Arc<dyn ReadFile>>,
}

/// Returns where the engine keeps the log of a container.
pub(crate) fn json_log_path(root: &Path, id: &str) -> PathBuf {
    root.join("containers").join(id).join(format!("{id}-json.log"))
}

impl JsonLog {
    /// Opens a log where entries up to `since_ns` come first, or at its beginning.
    ///
    /// `None`: there is no such log here, or not all of it can be read.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        path: &Path,
        since_ns: Option<i64>,
    ) -> io::Result<Option<Self>> {
        let since_ns = since_ns.map(|since_ns| since_ns.saturating_sub(DISORDER_NS));
        for _ in 0..OPEN_TRIES {
            let Some(Generations { mut files, has_hole }) = generations(&*disk, path)? else {
                return Ok(None);
            };
            if has_hole {
                continue;
            }
            let Some(newest) = files.back() else { return Ok(None) };
            let is_named = disk.metadata(path)?.is_some_and(|meta| is_same(&meta, &**newest));
            if !is_named {
                continue;
            }
            // The newest one that begins before what is looked for; the ones before it were read.
            let begins_before = |file: &Arc<dyn ReadFile>| {
                first_time(&**file).is_some_and(|ns| since_ns.is_some_and(|since_ns| ns <= since_ns))
            };
            let skipped = files.iter().rposition(begins_before).unwrap_or(0);
            files.drain(..skipped);
            let Some(file) = files.pop_front() else { return Ok(None) };
            let offset = match since_ns {
                Some(since_ns) => offset_before(&*file, since_ns)?,
                None => 0,
            };
            let now_ns = clock.monotonic_ns();
            return Ok(Some(Self {
                disk,
                clock,
                path: path.to_owned(),
                identity: identity_of(&*file),
                file,
                offset,
                rotation_bytes: None,
                is_inside_row: false,
                owes_end: false,
                begun: (offset, now_ns),
                looked_ns: now_ns,
                holes: 0,
                head: Vec::new(),
                next: files,
            }));
        }
        Ok(None)
    }

    /// Says at which size the engine rotates or cuts a file; without it every cut counts as a loss.
    pub(crate) fn set_rotation(&mut self, rotation_bytes: Option<u64>) {
        self.rotation_bytes = rotation_bytes;
    }

    /// Reads on. Errors: the disk's, or a log that is packed now; both mean to ask the engine.
    pub(crate) fn read(&mut self) -> io::Result<JsonRead> {
        loop {
            let before = self.offset;
            if let Some(bytes) = self.read_file()? {
                // A log of one file is cut where others are renamed, and may have grown past the place since.
                if self.is_written_anew()? {
                    self.offset = before;
                    if self.begin_cut() {
                        return Ok(JsonRead::Lost("truncated"));
                    }
                    continue;
                }
                return Ok(self.hand_out(bytes));
            }
            if let Some(file) = self.next.pop_front() {
                self.begin(file);
                continue;
            }
            let named = self.disk.metadata(&self.path)?;
            match named {
                None => return Ok(JsonRead::End),
                Some(meta) if is_same(&meta, &*self.file) => {
                    if meta.bytes >= self.offset {
                        self.looked_ns = self.clock.monotonic_ns();
                        return Ok(JsonRead::End);
                    }
                    if self.begin_cut() {
                        return Ok(JsonRead::Lost("truncated"));
                    }
                    continue;
                }
                Some(_) => {}
            }
            // It was renamed: what was written to it before is all there now.
            if let Some(bytes) = self.read_file()? {
                return Ok(self.hand_out(bytes));
            }
            let Some(Generations { mut files, has_hole }) = generations(&*self.disk, &self.path)? else {
                return Err(io::Error::other("the log is packed"));
            };
            let own = files.iter().position(|file| is_same_file(&**file, &*self.file));
            if own.is_none() && has_hole && self.holes < HOLES_MAX {
                self.holes += 1;
                return Ok(JsonRead::End);
            }
            self.holes = 0;
            files.drain(..own.map_or(0, |own| own + 1));
            self.next = files;
            if own.is_none() {
                return Ok(JsonRead::Lost("rotated"));
            }
            if self.next.is_empty() {
                return Ok(JsonRead::End);
            }
        }
    }

    /// Looks whether there may be more than what was read, with one question to the disk where there is not.
    pub(crate) fn has_news(&mut self) -> bool {
        let is_quiet = self.next.is_empty()
            && self.disk.metadata(&self.path).is_ok_and(|named| {
                named.is_some_and(|meta| {
                    (meta.device, meta.inode, meta.bytes) == (self.identity.0, self.identity.1, self.offset)
                })
            });
        if is_quiet {
            self.looked_ns = self.clock.monotonic_ns();
        }
        !is_quiet
    }

    /// Looks whether the file still begins as it did.
    fn is_written_anew(&mut self) -> io::Result<bool> {
        let mut head = vec![0; HEAD_BYTES];
        let read = self.file.read_at(&mut head, 0)?;
        head.truncate(read);
        let is_same = head.starts_with(&self.head);
        self.head = head;
        Ok(!is_same)
    }

    fn hand_out(&mut self, mut bytes: Bytes) -> JsonRead {
        self.looked_ns = self.clock.monotonic_ns();
        // A row that was left half written gets an end, or it would spoil the first one of the next file.
        if std::mem::take(&mut self.owes_end) {
            bytes = Bytes::from([b"\n", &*bytes].concat());
        }
        self.is_inside_row = bytes.last().is_some_and(|byte| *byte != b'\n');
        JsonRead::Bytes(bytes)
    }

    /// Goes over to another file, or to the beginning of this one.
    fn begin(&mut self, file: Arc<dyn ReadFile>) {
        self.identity = identity_of(&*file);
        self.file = file;
        self.offset = 0;
        self.head.clear();
        self.looked_ns = self.clock.monotonic_ns();
        self.begun = (0, self.looked_ns);
        self.owes_end |= std::mem::take(&mut self.is_inside_row);
    }

    /// Begins again after a cut. Returns whether rows may have gone unread.
    fn begin_cut(&mut self) -> bool {
        let has_lost = !self.took_nothing();
        self.begin(Arc::clone(&self.file));
        has_lost
    }

    /// Whether a cut that is seen now came when everything was read.
    fn took_nothing(&self) -> bool {
        let is_full = self.rotation_bytes.is_some_and(|bytes| self.offset >= bytes);
        if !is_full || self.is_inside_row {
            return false;
        }
        // How long a file as large took to come, at the pace of this one.
        let (from, begun_ns) = self.begun;
        let pace_ns = u128::from(self.looked_ns.saturating_sub(begun_ns));
        let bytes = u128::from(self.offset.saturating_sub(from)).max(1);
        let filled_ns = pace_ns * u128::from(self.rotation_bytes.unwrap_or_default()) / bytes;
        let unseen_ns = self.clock.monotonic_ns().saturating_sub(self.looked_ns);
        u128::from(unseen_ns) < filled_ns / 2
    }

    fn read_file(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; READ_BYTES];
        let read = self.file.read_at(&mut buffer, self.offset)?;
        buffer.truncate(read);
        self.offset += read as u64;
        Ok((read > 0).then(|| Bytes::from(buffer)))
    }
}

/// The files of a log.
#[derive(Debug)]
struct Generations {
    /// The oldest first.
    files: VecDeque<Arc<dyn ReadFile>>,
    /// A name is missing before the last.
    has_hole: bool,
}

/// Opens all generations; `None` if one is packed or there is none.
fn generations(disk: &dyn Disk, path: &Path) -> io::Result<Option<Generations>> {
    generations_by(disk, path, &mut |path| disk.open_file(path))
}

/// The engine renames from the oldest to the newest, and may do so meanwhile: a file that was opened is met again under
/// the next name, or a name is missing for a moment while the next one is there.
fn generations_by(
    disk: &dyn Disk,
    path: &Path,
    open: &mut dyn FnMut(&Path) -> io::Result<Arc<dyn ReadFile>>,
) -> io::Result<Option<Generations>> {
    let mut files: VecDeque<Arc<dyn ReadFile>> = VecDeque::new();
    let named = |number: usize, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.push(ending);
        PathBuf::from(name)
    };
    for number in 0..GENERATIONS_MAX {
        match open(&named(number, "")) {
            Ok(file) => {
                let is_met_again = files.front().is_some_and(|oldest| is_same_file(&**oldest, &*file));
                if !is_met_again {
                    files.push_front(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_packed = number > 0 && disk.metadata(&named(number, ".gz"))?.is_some();
                let has_hole = disk.metadata(&named(number + 1, ""))?.is_some();
                let is_there = has_hole || !files.is_empty();
                return Ok((!is_packed && is_there).then_some(Generations { files, has_hole }));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn identity_of(file: &dyn ReadFile) -> (u64, u64) {
    file.meta().map_or((u64::MAX, u64::MAX), |meta| (meta.device, meta.inode))
}

fn is_same(meta: &FileMeta, file: &dyn ReadFile) -> bool {
    file.meta().is_ok_and(|own| (own.device, own.inode) == (meta.device, meta.inode))
}

fn is_same_file(a: &dyn ReadFile, b: &dyn ReadFile) -> bool {
    a.meta().is_ok_and(|meta| is_same(&meta, b))
}

fn first_time(file: &dyn ReadFile) -> Option<i64> {
    time_behind(file, 0).ok().flatten().map(|(ns, _)| ns)
}

/// Returns the time of the first whole row at or behind an offset, and where it begins. At the offset 0 a row begins.
fn time_behind(file: &dyn ReadFile, offset: u64) -> io::Result<Option<(i64, u64)>> {
    let mut buffer = vec![0; READ_BYTES * 4];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, offset + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    let bytes = buffer.get(..filled).unwrap_or_default();
    let mut start = 0;
    for (number, row) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let begins_here = offset == 0 || number > 0;
        if let Some(row) = json_row(row).filter(|_| begins_here && row.ends_with(b"\n")) {
            return Ok(Some((row.ts_ns, offset + start)));
        }
        start += row.len() as u64;
    }
    Ok(None)
}

/// Returns a place where a row begins, before which no row is younger than `ns`, and as far back as need be.
fn offset_before(file: &dyn ReadFile, ns: i64) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.meta()?.bytes);
    while high - low > SEARCH_BYTES_MIN {
        let middle = low + (high - low) / 2;
        match time_behind(file, middle)? {
            Some((found_ns, start)) if found_ns <= ns && start < high => low = start,
            _ => high = middle,
        }
    }
    Ok(low)
}
