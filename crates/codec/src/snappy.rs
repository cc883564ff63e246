//! Snappy's block format, as senders of Loki's protobuf and of Prometheus' pack their bodies.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;

const WHAT: &str = "snappy block";

/// Packs bytes into one block. Errors: `Limited` beyond 4 GiB.
pub fn pack_snappy(raw: &[u8]) -> Result<Vec<u8>, Error> {
    let (got, limit) = (raw.len() as u64, u64::from(u32::MAX));
    let packed = snap::raw::Encoder::new().compress_vec(raw);
    packed.map_err(|_| Error::Limited { what: WHAT.into(), unit: "raw bytes", got, limit })
}

/// Returns how many bytes a block says that it is unpacked. Errors: `Corrupt` for bytes that say nothing.
pub fn unpacked_snappy_bytes(packed: &[u8]) -> Result<u64, Error> {
    let announced = snap::raw::decompress_len(packed).map_err(|_| Error::corrupt(WHAT, "corrupt input"))?;
    Ok(announced as u64)
}

/// Unpacks one block that came from outside.
///
/// Errors: `Corrupt` for bytes that are no block, or are nothing at all; `Limited` if it says that it is more than
/// `bytes_max` bytes. What it says is checked before memory is taken for it.
pub fn unpack_snappy(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::new();
    unpack_snappy_into(packed, bytes_max, &mut raw)?;
    Ok(raw)
}

/// Unpacks one block as [`unpack_snappy`] does, to the front of a buffer, which grows if it has to and is not
/// cut if it is longer. Returns how many bytes there are.
pub fn unpack_snappy_into(packed: &[u8], bytes_max: usize, buffer: &mut Vec<u8>) -> Result<usize, Error> {
    let corrupt = || Error::corrupt(WHAT, "corrupt input");
    if packed.is_empty() {
        return Err(corrupt());
    }
    let announced = snap::raw::decompress_len(packed).map_err(|_| corrupt())?;
    // The densest element makes 64 bytes out of 3, so a larger announcement is a lie.
    if announced > packed.len().saturating_mul(22).saturating_add(64) {
        return Err(corrupt());
    }
    if announced > bytes_max {
        let (got, limit) = (announced as u64, bytes_max as u64);
        return Err(Error::Limited { what: WHAT.into(), unit: "raw bytes", got, limit });
    }
    if buffer.len() < announced {
        // Nothing of it is worth being copied to a larger place.
        *buffer = vec![0; announced];
    }
    let front = buffer.get_mut(..announced).unwrap_or_default();
    snap::raw::Decoder::new().decompress(packed, front).map_err(|_| corrupt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use proptest::prelude::*;

    #[test]
    fn blocks_round_trip_within_their_bound() {
        let packed = pack_snappy(&[7; 5000]).unwrap();
        assert_eq!(unpack_snappy(&packed, 5000).unwrap(), [7; 5000]);
        assert_eq!(unpacked_snappy_bytes(&packed).unwrap(), 5000);
        assert_eq!(unpack_snappy(&packed, 4999).unwrap_err().kind(), Kind::Limited);
        // Announces 4 GiB in five bytes.
        let lie = unpack_snappy(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], usize::MAX).unwrap_err();
        assert_eq!(lie.kind(), Kind::Corrupt);
        assert_eq!(unpack_snappy(b"", 10).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(unpack_snappy(&pack_snappy(b"").unwrap(), 0).unwrap(), b"");
    }

    #[test]
    fn a_buffer_is_used_again() {
        let mut buffer = Vec::new();
        for text in [
            &b"some text, some text"[..],
            b"less",
            b"",
            b"more text than there was, more text than there was",
        ] {
            let bytes = unpack_snappy_into(&pack_snappy(text).unwrap(), 100, &mut buffer).unwrap();
            assert_eq!(buffer.get(..bytes), Some(text));
        }
        assert!(unpack_snappy_into(b"junk", 100, &mut buffer).is_err());
        assert_eq!(buffer.len(), 50);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack_snappy(&bytes, 1000));
        }
    }
}
