//! The files of the engine's log driver `json-file`, read past the engine: generation after generation.
//!
//! The engine renames `<id>-json.log` to `.1`, that to `.2` and so on, and begins a new file; the oldest is removed. A
//! file is known by its number on the disk, so whatever its name became, the next one is the one named before it. What
//! is packed is left to the engine: then there is no reading here.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use logyard_sys::{Disk, FileMeta, ReadFile};

use crate::log_decoder::json_row;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// First bytes of a file that tell whether it was cut and written anew: a row or more, with its time.
const HEAD_BYTES: usize = 512;
/// Generations that the engine may keep; more are not looked for.
const GENERATIONS_MAX: usize = 1_000;
/// Attempts to see all generations without one being renamed meanwhile.
const OPEN_TRIES: usize = 5;
/// Rows of the two outputs are not in the order of their times, by so much at most.
const DISORDER_NS: i64 = 2_000_000_000;
/// A search by time ends when so few bytes are left: they are read through.
const SEARCH_BYTES_MIN: u64 = 256 << 10;

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
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    offset: u64,
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
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path, since_ns: Option<i64>) -> io::Result<Option<Self>> {
        let since_ns = since_ns.map(|since_ns| since_ns.saturating_sub(DISORDER_NS));
        for _ in 0..OPEN_TRIES {
            let Some(mut files) = generations(&*disk, path)? else { return Ok(None) };
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
            return Ok(Some(Self {
                disk,
                path: path.to_owned(),
                file,
                offset,
                head: Vec::new(),
                next: files,
            }));
        }
        Ok(None)
    }

    /// Reads on. Errors: the disk's, or a log that is packed now; both mean to ask the engine.
    pub(crate) fn read(&mut self) -> io::Result<JsonRead> {
        loop {
            if let Some(bytes) = self.read_file()? {
                // A log of one file is cut where others are renamed, and may have grown past the place since.
                if self.is_written_anew()? {
                    return Ok(self.begin_again());
                }
                return Ok(JsonRead::Bytes(bytes));
            }
            if let Some(file) = self.next.pop_front() {
                (self.file, self.offset) = (file, 0);
                self.head.clear();
                continue;
            }
            let named = self.disk.metadata(&self.path)?;
            match named {
                None => return Ok(JsonRead::End),
                Some(meta) if is_same(&meta, &*self.file) => {
                    if meta.bytes >= self.offset {
                        return Ok(JsonRead::End);
                    }
                    return Ok(self.begin_again());
                }
                Some(_) => {}
            }
            // It was renamed: what was written to it before is all there now.
            if let Some(bytes) = self.read_file()? {
                return Ok(JsonRead::Bytes(bytes));
            }
            let Some(mut files) = generations(&*self.disk, &self.path)? else {
                return Err(io::Error::other("the log is packed"));
            };
            let own = files.iter().position(|file| is_same_file(&**file, &*self.file));
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

    /// Looks whether the file still begins as it did.
    fn is_written_anew(&mut self) -> io::Result<bool> {
        let mut head = vec![0; HEAD_BYTES];
        let read = self.file.read_at(&mut head, 0)?;
        head.truncate(read);
        let is_same = head.starts_with(&self.head);
        self.head = head;
        Ok(!is_same)
    }

    fn begin_again(&mut self) -> JsonRead {
        self.offset = 0;
        self.head.clear();
        JsonRead::Lost("truncated")
    }

    fn read_file(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; READ_BYTES];
        let read = self.file.read_at(&mut buffer, self.offset)?;
        buffer.truncate(read);
        self.offset += read as u64;
        Ok((read > 0).then(|| Bytes::from(buffer)))
    }
}

/// Opens all generations, the oldest first; `None` if one is packed or there is none.
fn generations(disk: &dyn Disk, path: &Path) -> io::Result<Option<VecDeque<Arc<dyn ReadFile>>>> {
    let mut files = VecDeque::new();
    let named = |number: usize, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.push(ending);
        PathBuf::from(name)
    };
    for number in 0..GENERATIONS_MAX {
        match disk.open_file(&named(number, "")) {
            Ok(file) => files.push_front(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_packed = number > 0 && disk.metadata(&named(number, ".gz"))?.is_some();
                return Ok((!is_packed && !files.is_empty()).then_some(files));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_sys::SimDisk;

    const PATH: &str = "/d/c-json.log";

    fn row(number: usize) -> String {
        format!(
            "{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T{:02}:{:02}:{:02}Z\"}}\n",
            number / 3_600,
            number / 60 % 60,
            number % 60
        )
    }

    fn write(disk: &SimDisk, rows: std::ops::Range<usize>) {
        disk.create_dir_all(Path::new("/d")).unwrap();
        let text: String = rows.map(row).collect();
        disk.append_file(Path::new(PATH)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(disk: &SimDisk, keep: usize) {
        let name = |number: usize| {
            PathBuf::from(if number == 0 { PATH.to_owned() } else { format!("{PATH}.{number}") })
        };
        for number in (0..keep - 1).rev() {
            if disk.metadata(&name(number)).unwrap().is_some() {
                disk.rename(&name(number), &name(number + 1)).unwrap();
            }
        }
        disk.create_file(Path::new(PATH)).unwrap();
    }

    fn open(disk: &SimDisk, since_ns: Option<i64>) -> Option<JsonLog> {
        JsonLog::open(Arc::new(disk.clone()), Path::new(PATH), since_ns).unwrap()
    }

    /// Reads to the end; returns the numbers of the rows, and what was lost.
    fn rest(log: &mut JsonLog) -> (Vec<usize>, Vec<&'static str>) {
        let (mut bytes, mut lost) = (Vec::new(), Vec::new());
        loop {
            match log.read().unwrap() {
                JsonRead::Bytes(more) => bytes.extend_from_slice(&more),
                JsonRead::Lost(how) => lost.push(how),
                JsonRead::End => break,
            }
        }
        let rows = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(json_row);
        (rows.map(|row| row.log.trim().parse().unwrap()).collect(), lost)
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
        range.collect()
    }

    #[test]
    fn generations_are_read_one_after_the_other_whatever_their_names_become() {
        let disk = SimDisk::new();
        write(&disk, 0..10);
        rotate(&disk, 5);
        write(&disk, 10..20);
        let mut log = open(&disk, None).unwrap();
        assert_eq!(rest(&mut log), (numbers(0..20), vec![]));
        write(&disk, 20..30);
        rotate(&disk, 5);
        write(&disk, 30..40);
        rotate(&disk, 5);
        rotate(&disk, 5);
        write(&disk, 40..50);
        assert_eq!(rest(&mut log), (numbers(20..50), vec![]));
        assert_eq!(rest(&mut log), (vec![], vec![]));
    }

    #[test]
    fn what_went_unread_is_told_of() {
        let disk = SimDisk::new();
        write(&disk, 0..10);
        let mut log = open(&disk, None).unwrap();
        assert_eq!(rest(&mut log).0, numbers(0..10));
        for start in [10, 20, 30] {
            rotate(&disk, 2);
            write(&disk, start..start + 10);
        }
        assert_eq!(rest(&mut log), (numbers(20..40), vec!["rotated"]));
        disk.truncate(Path::new(PATH), 0).unwrap();
        write(&disk, 40..45);
        assert_eq!(rest(&mut log), (numbers(40..45), vec!["truncated"]));
        // The container was removed.
        disk.remove_file(Path::new(PATH)).unwrap();
        assert_eq!(rest(&mut log), (vec![], vec![]));
    }

    #[test]
    fn a_log_of_one_file_that_grew_past_the_place_again_is_read_from_its_start() {
        let disk = SimDisk::new();
        write(&disk, 0..10);
        let mut log = open(&disk, None).unwrap();
        assert_eq!(rest(&mut log).0, numbers(0..10));
        write(&disk, 10..12);
        assert_eq!(rest(&mut log), (numbers(10..12), vec![]));
        disk.truncate(Path::new(PATH), 0).unwrap();
        write(&disk, 100..150);
        assert_eq!(rest(&mut log), (numbers(100..150), vec!["truncated"]));
        write(&disk, 150..151);
        assert_eq!(rest(&mut log), (numbers(150..151), vec![]));
    }

    #[test]
    fn reading_begins_a_little_before_a_time() {
        let disk = SimDisk::new();
        for start in [0, 10_000, 20_000] {
            write(&disk, start..start + 10_000);
            if start < 20_000 {
                rotate(&disk, 5);
            }
        }
        let day_ns = 1_699_920_000_000_000_000;
        for second in [0, 5, 9_999, 10_001, 15_000, 29_999] {
            let mut log = open(&disk, Some(day_ns + second * 1_000_000_000)).unwrap();
            let (rows, _) = rest(&mut log);
            let first = rows[0] as i64;
            assert!(first <= (second - 2).max(0), "{second}: {first}");
            assert!(second - first < 5_000, "{second}: {first}");
            assert_eq!(rows.last(), Some(&29_999));
        }
    }

    #[test]
    fn a_place_before_all_times_is_the_beginning() {
        let disk = SimDisk::new();
        write(&disk, 0..5_000);
        rotate(&disk, 3);
        write(&disk, 5_000..10_000);
        let mut log = open(&disk, Some(i64::MIN)).unwrap();
        assert_eq!(rest(&mut log), (numbers(0..10_000), vec![]));
    }

    #[test]
    fn packed_logs_are_the_engines_business() {
        let disk = SimDisk::new();
        assert!(open(&disk, None).is_none());
        write(&disk, 0..3);
        disk.append_file(Path::new("/d/c-json.log.1.gz")).unwrap();
        assert!(open(&disk, None).is_none());
    }
}
