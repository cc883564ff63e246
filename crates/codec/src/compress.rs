//! zstd with its contexts kept per thread.
//!
//! Level 1: on log text it beats level 3 in ratio and speed (`schemas/block.md`).
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;
use std::cell::RefCell;
use std::io::{self, Read};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// The level for what is not told another one.
pub(crate) const LEVEL: i32 = 1;

/// Text from which on [`compress_lines`] has parameters of its own; for less, the level itself has a smaller table.
const LINES_BYTES_MIN: usize = 128 << 10;
/// Slots of the table of places, as a power of two: 16 KiB, which stay in the nearest cache beside the text. The level
/// has four times as many, and works a fifth slower for 2.4 % fewer bytes.
const LINES_HASH_LOG: u32 = 12;
/// Shortest repetition that is looked for: shorter ones cost as many bytes as they save in lines.
const LINES_MATCH_MIN: u32 = 7;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static LINES_COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `raw` into one frame. Returns `None` if that does not make it smaller.
///
/// Cost: one scratch buffer of about the raw size.
pub(crate) fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    compress_at(LEVEL, raw)
}

/// Compresses as [`compress`] at a level of zstd's.
pub(crate) fn compress_at(level: i32, raw: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(level).ok()?),
        };
        compressor.set_compression_level(level).ok()?;
        let frame = compressor.compress(raw).ok()?;
        (frame.len() < raw.len()).then_some(frame)
    })
}

/// Compresses the text of plain lines as [`compress`] does, faster: most of it is written anew by a compaction.
pub(crate) fn compress_lines(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() < LINES_BYTES_MIN {
        return compress(text);
    }
    LINES_COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(lines_compressor().ok()?),
        };
        let frame = compressor.compress(text).ok()?;
        (frame.len() < text.len()).then_some(frame)
    })
}

fn lines_compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::HashLog(LINES_HASH_LOG))?;
    compressor.set_parameter(CParameter::MinMatch(LINES_MATCH_MIN))?;
    Ok(compressor)
}

/// Compresses bytes into one frame, as files hold them; frames one after the other are one file.
///
/// Errors: there is no memory. Cost: one buffer of about the raw size.
pub fn pack_zstd(raw: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| Error::Read { what: "zstd frame".into(), source };
    zstd::bulk::compress(raw, LEVEL).map_err(failed)
}

/// Decompresses one frame that must hold exactly `raw_bytes`, which the caller has bounded.
pub(crate) fn decompress(what: &'static str, frame: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Error> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => {
                slot.insert(Decompressor::new().map_err(|source| Error::Read { what: what.into(), source })?)
            }
        };
        let mut raw = Vec::with_capacity(raw_bytes);
        match decompressor.decompress_to_buffer(frame, &mut raw) {
            Ok(_) if raw.len() == raw_bytes => Ok(raw),
            Ok(_) => Err(Error::corrupt(what, format!("want {raw_bytes} raw bytes, got {}", raw.len()))),
            Err(error) => Err(Error::corrupt(what, format!("bad zstd frame: {error}"))),
        }
    })
}

/// Widest window of frames from outside, as a power of two: what zstd makes unless it is told otherwise.
const WINDOW_LOG_MAX: u32 = 23;

/// Decompresses frames that came from outside, one after the other, of any size up to `bytes_max` together.
///
/// Errors: `Corrupt` for bytes that are no such frames, or whose window is above 8 MiB; `Limited` once more than
/// `bytes_max` bytes come out, without ever holding more. Cost: a window besides what comes out; blocks meanwhile.
pub fn unpack_zstd(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    const WHAT: &str = "zstd body";
    let corrupt = |error: io::Error| Error::corrupt(WHAT, format!("bad zstd frame: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(corrupt)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(corrupt)?;
    let mut raw = Vec::with_capacity(body.len().saturating_mul(4).min(bytes_max));
    let cap = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(cap).read_to_end(&mut raw);
    if raw.len() > bytes_max {
        let (got, limit) = (raw.len() as u64, bytes_max as u64);
        return Err(Error::Limited { what: WHAT.into(), unit: "raw bytes", got, limit });
    }
    read.map_err(corrupt)?;
    Ok(raw)
}

/// Returns what unpacks frames that came from outside, one after the other, as they are read.
///
/// Errors: there is no memory. Reading fails for bytes that are no such frames, or whose window is above 8 MiB. Cost: a
/// window; the caller bounds what comes out.
pub fn zstd_reader<R: io::BufRead>(packed: R) -> Result<impl Read + use<R>, Error> {
    let failed = |source: io::Error| Error::Read { what: "zstd file".into(), source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(failed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_wrong_sizes_are_refused() {
        let raw = b"the same words, the same words, the same words, the same words".repeat(9);
        let frame = compress(&raw).unwrap();
        assert_eq!(decompress("x", &frame, raw.len()).unwrap(), raw);
        assert!(decompress("x", &frame, raw.len() - 1).is_err());
        assert!(decompress("x", &frame, raw.len() + 1).is_err());
        assert!(decompress("x", b"no frame", 8).is_err());
        assert_eq!(compress(b"short"), None);
    }

    #[test]
    fn texts_of_lines_round_trip_small_and_large() {
        for bytes in [90, LINES_BYTES_MIN - 1, LINES_BYTES_MIN, 3 * LINES_BYTES_MIN] {
            let text: Vec<u8> =
                (0..).flat_map(|row| format!("line {row}\n").into_bytes()).take(bytes).collect();
            let frame = compress_lines(&text).unwrap();
            assert!(frame.len() < bytes * 9 / 10, "{bytes} bytes became {}", frame.len());
            assert_eq!(decompress("x", &frame, bytes).unwrap(), text);
        }
        assert_eq!(compress_lines(b"short"), None);
    }

    #[test]
    fn frames_are_unpacked_as_they_are_read() {
        let raw = b"the same words, the same words".repeat(9_000);
        let frame = compress(&raw).unwrap();
        let two = [frame.clone(), frame].concat();
        let mut read = Vec::new();
        zstd_reader(&two[..]).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, [&raw[..], &raw].concat());
        let packed = [pack_zstd(&raw).unwrap(), pack_zstd(b"x").unwrap(), pack_zstd(b"").unwrap()].concat();
        read.clear();
        zstd_reader(&packed[..]).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, [&raw[..], b"x"].concat());
        assert!(zstd_reader(&b"no frame"[..]).unwrap().read_to_end(&mut read).is_err());
    }

    #[test]
    fn frames_from_outside_are_bounded() {
        let raw = vec![7; 1_000_000];
        let frame = compress(&raw).unwrap();
        let two = [frame.clone(), frame.clone()].concat();
        assert_eq!(unpack_zstd(&two, 2_000_000).unwrap().len(), 2_000_000);
        assert_eq!(unpack_zstd(&two, 1_999_999).unwrap_err().kind(), crate::Kind::Limited);
        assert!(unpack_zstd(frame.split_last().unwrap().1, 2_000_000).is_err());
        assert!(unpack_zstd(b"no frame", 10).is_err());
        assert!(unpack_zstd(b"", 10).is_err());
    }
}
