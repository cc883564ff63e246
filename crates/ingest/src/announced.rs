//! How large a body says it is once unpacked, told from its first bytes.
//!
//! Decides where a body is unpacked, so what it says need not be true: it only has to bound the work, which it
//! does because the decoders refuse a body that unpacks to more.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use logyard_wire::body::Encoding;

/// Longest varint of 32 bits, as snappy writes the length in front of a block.
const VARINT_BYTES_MAX: usize = 5;

/// Where a batch says its raw bytes: `schemas/chunk.md`, version 1.
const BATCH_RAW_BYTES_AT: usize = 6;

/// Returns the bytes that unpacking a Loki push makes at most; `None` if the body does not say.
///
/// Covers both forms: the first byte of JSON, read as the length of a snappy block, is below 128.
pub(crate) fn of_loki(body: &[u8], content_encoding: &str) -> Option<usize> {
    is_plain(content_encoding).then(|| body.len().max(varint(body).unwrap_or(0)))
}

/// Returns the bytes of a body that is not packed; `None` for one that is.
pub(crate) fn of_plain(body: &[u8], content_encoding: &str) -> Option<usize> {
    is_plain(content_encoding).then_some(body.len())
}

/// Returns whether a body is decoded as it came. One of an encoding that is not known is refused when it is unpacked.
fn is_plain(content_encoding: &str) -> bool {
    matches!(Encoding::from_header(content_encoding), Ok(Encoding::Plain))
}

/// Returns the bytes that unpacking a batch makes at most; one too short to say is refused at once.
pub(crate) fn of_batch(body: &[u8]) -> usize {
    let raw_bytes = body.get(BATCH_RAW_BYTES_AT..).and_then(|rest| rest.first_chunk::<4>());
    let raw_bytes = raw_bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    body.len().max(usize::try_from(raw_bytes).unwrap_or(usize::MAX))
}

fn varint(bytes: &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_codec::{Entries, encode_batch};
    use logyard_model::LabelSet;

    #[test]
    fn json_is_as_long_as_it_is() {
        for start in [r#"{"streams":[]}"#, "  {}", "[]", "\n["] {
            let text = format!("{start:<200}");
            assert_eq!(of_loki(text.as_bytes(), ""), Some(200));
            assert!(of_loki(start.as_bytes(), "").unwrap() < 128);
        }
        assert_eq!(of_loki(b"", ""), Some(0));
    }

    #[test]
    fn a_snappy_block_says_its_length() {
        // 1 MiB of one byte, in front of what need not be there.
        let block = [0x80, 0x80, 0x40, 0x00];
        for encoding in ["", "snappy", " Identity "] {
            assert_eq!(of_loki(&block, encoding), Some(1 << 20));
        }
        assert_eq!(of_loki(&[0xff; 9], ""), Some(9), "no length: refused when it is decoded");
    }

    #[test]
    fn other_encodings_do_not_say() {
        for encoding in ["gzip", "deflate", "br"] {
            assert_eq!(of_loki(b"x", encoding), None);
        }
    }

    #[test]
    fn a_batch_says_its_raw_bytes() {
        let mut entries = Entries::default();
        entries.push(1, &[b'x'; 100_000], "", &LabelSet::default());
        let encoded = encode_batch(&[(&LabelSet::default(), &entries)]);
        assert!(encoded.len() < 10_000, "{}", encoded.len());
        assert!((100_000..110_000).contains(&of_batch(&encoded)), "{}", of_batch(&encoded));
        assert_eq!(of_batch(b"short"), 5);
    }
}
