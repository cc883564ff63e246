//! Forms of files other than plain UTF-8: packed ones, which are unpacked while they are read, and other encodings.
//!
//! A packed file is shown as the bytes that it unpacks to, so offsets count those. Its end is the end of its last line:
//! nobody adds to it. Reading forward costs each byte once; reading back further than [`WINDOW_BYTES`] begins anew. What
//! unpacking takes of memory is given back at the end of the file.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bzip2::read::MultiBzDecoder;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use logyard_codec::zstd_reader;
use logyard_sys::{FileMeta, ReadFile};
use lzma_rust2::XzReader;

/// Unpacked bytes that are kept for reading them again: more than a turn of reading goes back.
const WINDOW_BYTES: usize = 256 << 10;
const CHUNK_BYTES: usize = 64 << 10;
/// Memory that a file packed with xz may ask for, in KiB: `xz -9` does for 65 MiB. One that asks for more is refused.
const XZ_KIB_MAX: u32 = 72 << 10;

/// How the bytes of a file become lines.
#[derive(Clone, Debug)]
pub(crate) struct FileForm {
    /// The unpacked file, of a packed one.
    unpacked: Option<Arc<UnpackedFile>>,
    encoding: &'static Encoding,
}

/// How a file is packed, as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zlib,
    Bzip2,
    Zstd,
    Xz,
}

impl Packing {
    fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Self::Zlib),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', ..] => Some(Self::Xz),
            _ => None,
        }
    }
}

/// Finds an encoding by its IANA name; the empty one is UTF-8.
pub(crate) fn encoding_of(name: &str) -> Option<&'static Encoding> {
    match name.trim() {
        "" => Some(UTF_8),
        // Without an order a mark at the beginning tells; without a mark the RFC says big-endian, and practice little.
        name => Encoding::for_label(name.as_bytes()),
    }
}

impl FileForm {
    /// Plain UTF-8, or whatever bytes there are.
    pub(crate) fn plain() -> Self {
        Self { unpacked: None, encoding: UTF_8 }
    }

    /// Looks at the first bytes of a file.
    pub(crate) fn of(
        file: &Arc<dyn ReadFile>,
        unpacks: bool,
        encoding: &'static Encoding,
    ) -> io::Result<Self> {
        if !unpacks {
            return Ok(Self { unpacked: None, encoding });
        }
        let mut first = [0; 4];
        let read = file.read_at(&mut first, 0)?;
        let packing = Packing::of(first.get(..read).unwrap_or_default());
        let unpacked = packing.map(|packing| {
            let reading = Mutex::new(Reading::new());
            Arc::new(UnpackedFile { packed: Arc::clone(file), packing, reading })
        });
        Ok(Self { unpacked, encoding })
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.unpacked.is_some()
    }

    /// Returns the file to read lines from.
    pub(crate) fn text(&self, file: &Arc<dyn ReadFile>) -> Arc<dyn ReadFile> {
        match &self.unpacked {
            Some(unpacked) => Arc::clone(unpacked) as Arc<dyn ReadFile>,
            None => Arc::clone(file),
        }
    }

    /// Returns whether zeros are part of text.
    pub(crate) fn is_wide(&self) -> bool {
        self.encoding == UTF_16LE || self.encoding == UTF_16BE
    }

    /// Returns where the last line in bytes that begin with a line ends, behind its newline.
    pub(crate) fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.is_wide() {
            false => memchr::memrchr(b'\n', bytes).map(|at| at + 1),
            true => self.wide_ends(bytes).last(),
        }
    }

    /// Returns where the first line ends.
    pub(crate) fn first_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.is_wide() {
            false => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            true => self.wide_ends(bytes).next(),
        }
    }

    fn wide_ends<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = usize> + use<'b> {
        let newline = if self.encoding == UTF_16LE { [b'\n', 0] } else { [0, b'\n'] };
        bytes.chunks_exact(2).enumerate().filter(move |(_, pair)| *pair == newline).map(|(at, _)| at * 2 + 2)
    }

    /// Returns a line as UTF-8 and whether some of it could not be read; plain lines stay as they are.
    pub(crate) fn decode<'l>(&self, line: &'l [u8], is_first: bool) -> (Cow<'l, [u8]>, bool) {
        if self.encoding == UTF_8 {
            return (Cow::Borrowed(line), false);
        }
        let (text, has_errors) = match is_first {
            true => self.encoding.decode_with_bom_removal(line),
            false => self.encoding.decode_without_bom_handling(line),
        };
        let bytes = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        (bytes, has_errors)
    }
}

/// A packed file as what it unpacks to.
#[derive(Debug)]
struct UnpackedFile {
    packed: Arc<dyn ReadFile>,
    packing: Packing,
    reading: Mutex<Reading>,
}

struct Reading {
    reader: Option<Box<dyn Read + Send>>,
    /// The newest unpacked bytes.
    window: Vec<u8>,
    /// Offset behind them.
    end: u64,
    /// The end of the file was reached there.
    last: Option<u64>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("end", &self.end).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Reading {
    fn new() -> Self {
        Self { reader: None, window: Vec::new(), end: 0, last: None }
    }
}

impl UnpackedFile {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let packed = BufReader::new(InOrder { file: Arc::clone(&self.packed), offset: 0 });
        Ok(match self.packing {
            Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Packing::Zlib => Box::new(ZlibDecoder::new(packed)),
            Packing::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
            Packing::Zstd => Box::new(zstd_reader(packed).map_err(io::Error::other)?),
            Packing::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_KIB_MAX)),
        })
    }

    /// Unpacks the next bytes; returns false at the end.
    fn advance(&self, reading: &mut Reading) -> io::Result<bool> {
        let reader = match &mut reading.reader {
            Some(reader) => reader,
            None => reading.reader.insert(self.open()?),
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = reader.read(&mut chunk)?;
        reading.window.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let beyond = reading.window.len().saturating_sub(WINDOW_BYTES);
        reading.window.drain(..beyond);
        reading.end += count as u64;
        if count == 0 {
            *reading = Reading { last: Some(reading.end), end: reading.end, ..Reading::new() };
        }
        Ok(count > 0)
    }
}

impl ReadFile for UnpackedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.last.is_some_and(|last| offset >= last) {
            return Ok(0);
        }
        if offset < reading.end - reading.window.len() as u64 {
            *reading = Reading::new();
        }
        while reading.end <= offset {
            if !self.advance(&mut reading)? {
                return Ok(0);
            }
        }
        let from =
            usize::try_from(offset - (reading.end - reading.window.len() as u64)).unwrap_or(usize::MAX);
        let there = reading.window.get(from..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.packed.meta()
    }
}

/// A file read from its beginning.
struct InOrder {
    file: Arc<dyn ReadFile>,
    offset: u64,
}

impl Read for InOrder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use logyard_sys::{Disk as _, SimDisk};
    use std::path::Path;

    /// The same bytes, packed in each way.
    pub(crate) fn packed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        for writer in [&mut gzip as &mut dyn io::Write, &mut zlib, &mut bzip2] {
            writer.write_all(bytes).unwrap();
        }
        // A frame of raw blocks of at most 64 KiB, each behind its length and kind.
        let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        let blocks: Vec<&[u8]> = bytes.chunks(64 << 10).collect();
        for (index, block) in blocks.iter().enumerate() {
            let head = u32::try_from(block.len()).unwrap() << 3 | u32::from(index + 1 == blocks.len());
            zstd.extend_from_slice(&head.to_le_bytes()[..3]);
            zstd.extend_from_slice(block);
        }
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        io::Write::write_all(&mut xz, bytes).unwrap();
        vec![
            ("gz", gzip.finish().unwrap()),
            ("z", zlib.finish().unwrap()),
            ("bz2", bzip2.finish().unwrap()),
            ("zst", zstd),
            ("xz", xz.finish().unwrap()),
        ]
    }

    fn file(bytes: &[u8]) -> Arc<dyn ReadFile> {
        let disk = SimDisk::new();
        disk.append_file(Path::new("/f")).unwrap().write_all(bytes).unwrap();
        disk.open_file(Path::new("/f")).unwrap()
    }

    #[test]
    fn packed_files_are_read_anywhere() {
        let text: Vec<u8> = (0..200_000).flat_map(|number: u32| number.to_string().into_bytes()).collect();
        for (name, bytes) in packed(&text) {
            let file = file(&bytes);
            let form = FileForm::of(&file, true, UTF_8).unwrap();
            assert!(form.is_packed() && !FileForm::of(&file, false, UTF_8).unwrap().is_packed());
            let shown = form.text(&file);
            let mut part = vec![0; 1_000];
            for offset in [0, 900_000, 10, 1_000_000, 999_000] {
                shown.read_exact_at(&mut part, offset as u64).unwrap();
                assert_eq!(part, text[offset..offset + 1_000], "{name} at {offset}");
            }
            assert_eq!(shown.read_at(&mut part, text.len() as u64).unwrap(), 0);
            assert_eq!(shown.read_at(&mut part, text.len() as u64 - 7).unwrap(), 7);
            assert!(shown.read_exact_at(&mut part, text.len() as u64 - 7).is_err());
        }
        // Two files of xz one behind the other are one, as `cat` makes it.
        let (name, xz) = packed(b"one\n").pop().unwrap();
        let both = file(&xz.repeat(2));
        let shown = FileForm::of(&both, true, UTF_8).unwrap().text(&both);
        let mut text = [0; 9];
        assert_eq!((shown.read_at(&mut text, 0).unwrap(), name), (4, "xz"));
        assert_eq!(shown.read_at(&mut text, 4).unwrap(), 4);
        // One that asks for 256 MiB.
        let options = lzma_rust2::XzOptions::with_preset(1);
        let large = lzma_rust2::LzmaOptions { dict_size: 256 << 20, ..options.lzma_options.clone() };
        let options = lzma_rust2::XzOptions { lzma_options: large, ..options };
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        io::Write::write_all(&mut writer, b"one\n").unwrap();
        let greedy = file(&writer.finish().unwrap());
        let shown = FileForm::of(&greedy, true, UTF_8).unwrap().text(&greedy);
        assert!(shown.read_at(&mut text, 0).is_err());
        assert!(!FileForm::of(&file(b"text"), true, UTF_8).unwrap().is_packed());
        let broken = file(&[0x1f, 0x8b, 1, 2, 3]);
        assert!(FileForm::of(&broken, true, UTF_8).unwrap().text(&broken).read_at(&mut [0], 0).is_err());
    }

    #[test]
    fn lines_of_other_encodings() {
        let form = |name: &str| FileForm { unpacked: None, encoding: encoding_of(name).unwrap() };
        let wide = form("utf-16le");
        // The second unit ends in the byte of a newline, and is none.
        let text = b"\xff\xfea\0\x0a\x0a\n\0b\0\n\0";
        assert_eq!((wide.first_end(text), wide.last_end(text)), (Some(8), Some(12)));
        assert_eq!(wide.decode(&text[..6], true), ("a\u{a0a}".as_bytes().into(), false));
        assert!(wide.decode(b"\x00\xd8a\0", false).1);
        assert_eq!(form("UTF-16BE").first_end(b"\0a\n\0\0\n"), Some(6));
        assert_eq!(form("iso-8859-1").decode(b"caf\xe9", false).0, "café".as_bytes());
        assert_eq!(form("windows-1252").last_end(b"a\nb"), Some(2));
        assert_eq!(form("").decode(b"\xff", true), (b"\xff"[..].into(), false));
        assert!(encoding_of("klingon").is_none());
    }
}
