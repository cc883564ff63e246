//! Files to read entries from: plain or packed with gzip or zstd, or standard input.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use logyard_sys::{Disk, FileMeta, ReadFile};
use serde::{Deserialize, Serialize};

use super::fnv::fnv64;

/// Bytes read at once; few in tests, which want many blocks.
pub(crate) const BLOCK_BYTES: usize = if cfg!(test) { 4 << 10 } else { 256 << 10 };
/// Bytes at the beginning of a file by which it is known again.
const HEAD_BYTES: u64 = 4096;

/// What tells whether a file is still the one that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Its first bytes that count.
    bytes: u64,
    /// A sum over them.
    sum: u64,
    /// When it was last written at that time: it dates lines that do not say their year, and those without a time.
    pub(crate) modified_ns: i64,
}

/// A file that is open.
pub(crate) struct Input {
    file: Arc<dyn ReadFile>,
    path: String,
    meta: FileMeta,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file. Errors: there is none, or it is a folder, a pipe or a device.
    pub(crate) fn open(disk: &dyn Disk, path: &str) -> Result<Self, String> {
        let fault = |text: String| format!("cannot read {path}: {text}");
        let meta = disk.metadata(Path::new(path)).map_err(|error| fault(error.to_string()))?;
        let meta = meta.ok_or_else(|| fault("no such file".to_owned()))?;
        if !meta.is_file {
            return Err(fault("not a file; name files, or `-` for standard input".to_owned()));
        }
        let file = disk.open_file(Path::new(path)).map_err(|error| fault(error.to_string()))?;
        Ok(Self { file, path: path.to_owned(), meta })
    }

    /// Returns its size in bytes, packed if it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.meta.bytes
    }

    /// Returns by what it is known again.
    pub(crate) fn head(&self) -> Result<Head, String> {
        let bytes = self.meta.bytes.min(HEAD_BYTES);
        Ok(Head { bytes, sum: self.sum(bytes)?, modified_ns: self.meta.modified_ns })
    }

    /// Refuses a file that is not the one that was begun.
    pub(crate) fn check(&self, head: &Head) -> Result<(), String> {
        if self.meta.bytes >= head.bytes && self.sum(head.bytes)? == head.sum {
            return Ok(());
        }
        Err(format!(
            "cannot go on with {}: it is another file than before; name the one it has become, or remove what was \
             reached with --restart",
            self.path
        ))
    }

    fn sum(&self, bytes: u64) -> Result<u64, String> {
        let mut head = vec![0; usize::try_from(bytes).unwrap_or_default()];
        self.file
            .read_exact_at(&mut head, 0)
            .map_err(|error| format!("cannot read {}: {error}", self.path))?;
        Ok(fnv64(&head))
    }

    /// Returns its bytes, unpacked. What is added to it from now on is not read.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read>, String> {
        let mut magic = [0; 4];
        let read = self
            .file
            .read_at(&mut magic, 0)
            .map_err(|error| format!("cannot read {}: {error}", self.path))?;
        let bytes = Bytes { file: Arc::clone(&self.file), at: 0, end: self.meta.bytes };
        let buffered = BufReader::with_capacity(BLOCK_BYTES, bytes);
        Ok(match magic.get(..read).unwrap_or_default() {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(buffered)),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                Box::new(logyard_codec::zstd_reader(buffered).map_err(|error| error.to_string())?)
            }
            _ => Box::new(buffered),
        })
    }
}

/// The bytes of a file, from the front.
struct Bytes {
    file: Arc<dyn ReadFile>,
    at: u64,
    end: u64,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..room).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use logyard_sys::SimDisk;

    use super::*;

    fn disk(content: &[u8]) -> Arc<dyn Disk> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.write_atomic(Path::new("/d/f"), content).unwrap();
        disk
    }

    fn read(content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Input::open(&*disk(content), "/d/f").unwrap().reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn packed_files_are_unpacked() {
        let text = b"line\n".repeat(100_000);
        assert_eq!(read(&text), text);
        assert_eq!(read(b""), b"");
        let half = text.len() / 2;
        let gzip = |part: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read(&[gzip(&text[..half]), gzip(&text[half..])].concat()), text);
        let zstd = |part: &[u8]| logyard_codec::pack_zstd(part).unwrap();
        assert_eq!(read(&[zstd(&text[..half]), zstd(&text[half..])].concat()), text);
    }

    #[test]
    fn another_file_of_the_name_is_noticed() {
        let head = Input::open(&*disk(b"one\n"), "/d/f").unwrap().head().unwrap();
        Input::open(&*disk(b"one\ntwo\n"), "/d/f").unwrap().check(&head).unwrap();
        for other in [&b"on"[..], b"two\none\n"] {
            let error = Input::open(&*disk(other), "/d/f").unwrap().check(&head).unwrap_err();
            assert!(error.contains("another file") && error.contains("--restart"), "{error}");
        }
        assert!(Input::open(&*disk(b""), "/d/g").unwrap_err().contains("no such file"));
        assert!(Input::open(&*disk(b""), "/d").unwrap_err().contains("not a file"));
    }
}
