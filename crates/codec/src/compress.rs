//! zstd with its contexts kept per thread.
//!
//! Level 1: on log text it beats level 3 in ratio and speed (`schemas/block.md`).
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// The level for what is not told another one.
pub(crate) const LEVEL: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
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
}
