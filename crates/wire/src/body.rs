//! Content encodings of request bodies, undone in bounded memory.

use crate::Error;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use logyard_codec::unpack_zstd;
use std::io::Read;

/// How a body is packed, from the `Content-Encoding` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is: no header, `identity`, or `snappy` (which names the format, not the packing).
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 as HTTP means it, or RFC 1951 as Loki v3.7.6 reads it.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// Reads the value of the header; the empty text means that there is none.
    pub fn from_header(value: &str) -> Result<Self, Error> {
        match value.trim().to_ascii_lowercase().as_str() {
            "" | "identity" | "snappy" => Ok(Self::Plain),
            "gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Error::invalid(format!("Content-Encoding {value:?} not supported"))),
        }
    }
}

/// Undoes the encoding of a body.
///
/// Errors: `Invalid` for corrupt data; `Limited` once more than `bytes_max` bytes come out, without
/// ever holding more than that. Cost: none for `Plain`; blocks for the time of decompression.
pub fn unpack(body: Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, Error> {
    match encoding {
        Encoding::Plain => Ok(body),
        Encoding::Zstd => match unpack_zstd(&body, bytes_max) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == logyard_codec::Kind::Limited => Err(too_large(bytes_max)),
            Err(error) => Err(Error::invalid(format!("cannot decompress request body: {error}"))),
        },
        Encoding::Gzip => read_bounded(MultiGzDecoder::new(&*body), body.len(), bytes_max).map(Bytes::from),
        Encoding::Deflate => {
            // A raw stream can look like a zlib header by chance, so a failed zlib reading is tried raw.
            if looks_like_zlib(&body) {
                match read_bounded(ZlibDecoder::new(&*body), body.len(), bytes_max) {
                    Ok(bytes) => return Ok(bytes.into()),
                    Err(error) if error.kind() == crate::Kind::Limited => return Err(error),
                    Err(_) => {}
                }
            }
            read_bounded(DeflateDecoder::new(&*body), body.len(), bytes_max).map(Bytes::from)
        }
    }
}

/// Undoes snappy's block format (not the framed one).
///
/// Errors: `Invalid` for corrupt data, `Limited` when the announced size is above `bytes_max`; the
/// announced size is checked before memory is taken for it.
pub fn unpack_snappy(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::new();
    unpack_snappy_into(bytes, bytes_max, &mut raw)?;
    Ok(raw)
}

/// Undoes snappy's block format as [`unpack_snappy`] does, to the front of a buffer, which grows if it has to. Returns
/// how many bytes there are.
pub(crate) fn unpack_snappy_into(
    bytes: &[u8],
    bytes_max: usize,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    logyard_codec::unpack_snappy_into(bytes, bytes_max, buffer).map_err(|error| match error.kind() {
        logyard_codec::Kind::Limited => too_large(bytes_max),
        _ => Error::invalid("snappy: corrupt input"),
    })
}

fn looks_like_zlib(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0,
        _ => false,
    }
}

fn read_bounded(reader: impl Read, packed_bytes: usize, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(packed_bytes.saturating_mul(4).min(bytes_max));
    let cap = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = reader.take(cap).read_to_end(&mut bytes);
    if bytes.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    read.map_err(|error| Error::invalid(format!("cannot decompress request body: {error}")))?;
    Ok(bytes)
}

fn too_large(bytes_max: usize) -> Error {
    Error::limited(format!("request body too large: more than {bytes_max} bytes after decompression"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use flate2::Compression;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn headers_are_read_as_in_the_table() {
        for (header, encoding) in [
            ("", Encoding::Plain),
            ("identity", Encoding::Plain),
            ("snappy", Encoding::Plain),
            ("gzip", Encoding::Gzip),
            ("GZIP", Encoding::Gzip),
            ("deflate", Encoding::Deflate),
            ("zstd", Encoding::Zstd),
        ] {
            assert_eq!(Encoding::from_header(header), Ok(encoding));
        }
        assert_eq!(
            Encoding::from_header("br").unwrap_err().to_string(),
            "Content-Encoding \"br\" not supported"
        );
    }

    #[test]
    fn both_kinds_of_deflate() {
        let text = b"some text, some text".repeat(10);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        for body in [zlib.finish().unwrap(), raw.finish().unwrap()] {
            assert_eq!(unpack(body.into(), Encoding::Deflate, 1000).unwrap(), text);
        }
    }

    #[test]
    fn output_is_bounded() {
        let bomb = gzip(&vec![0; 1_000_000]);
        assert_eq!(unpack(bomb.clone(), Encoding::Gzip, 999_999).unwrap_err().kind(), Kind::Limited);
        assert_eq!(unpack(bomb, Encoding::Gzip, 1_000_000).unwrap().len(), 1_000_000);
        assert_eq!(
            unpack(Bytes::from_static(b"junk"), Encoding::Gzip, 10).unwrap_err().kind(),
            Kind::Invalid
        );
    }

    #[test]
    fn zstd_is_bounded() {
        // One frame with a block of 40 times the letter a.
        let frame: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 40, 0x43, 0x01, 0x00, b'a'];
        assert_eq!(unpack(Bytes::from_static(frame), Encoding::Zstd, 40).unwrap(), vec![b'a'; 40]);
        let error = unpack(Bytes::from_static(frame), Encoding::Zstd, 39).unwrap_err();
        assert_eq!(error.kind(), Kind::Limited);
        let error = unpack(Bytes::from_static(b"junk"), Encoding::Zstd, 39).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }

    #[test]
    fn snappy_is_checked_before_memory_is_taken() {
        let packed = snap::raw::Encoder::new().compress_vec(&[7; 5000]).unwrap();
        assert_eq!(unpack_snappy(&packed, 5000).unwrap(), [7; 5000]);
        assert_eq!(unpack_snappy(&packed, 4999).unwrap_err().kind(), Kind::Limited);
        // Announces 4 GiB in five bytes.
        let lie = unpack_snappy(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], usize::MAX).unwrap_err();
        assert_eq!(lie, Error::invalid("snappy: corrupt input"));
        assert_eq!(unpack_snappy(b"", 10).unwrap_err().to_string(), "snappy: corrupt input");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack_snappy(&bytes, 1000));
            drop(unpack(bytes.clone().into(), Encoding::Gzip, 1000));
            drop(unpack(bytes.clone().into(), Encoding::Zstd, 1000));
            drop(unpack(bytes.into(), Encoding::Deflate, 1000));
        }
    }
}
