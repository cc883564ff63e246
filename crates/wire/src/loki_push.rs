//! Loki's push request: what it holds and how its bytes are read.
//!
//! Both forms, JSON and snappy-compressed protobuf, become one [`PushRequest`] that borrows from the
//! unpacked body. Reading is all or nothing; limits per stream and entry are the business of `ingest`.

use crate::body::{Encoding, unpack, unpack_snappy};
use crate::go_time::{GoTime, YEAR_ONE_SECS};
use crate::{Error, loki_push_json, loki_push_protobuf};
use bytes::Bytes;
use std::borrow::Cow;

/// A decoded push request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushRequest<'a> {
    /// Streams in the order sent; one label set may occur several times.
    pub streams: Vec<PushStream<'a>>,
}

/// Entries under one label set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushStream<'a> {
    /// The labels, not yet checked.
    pub labels: PushLabels<'a>,
    /// Entries in the order sent.
    pub entries: Vec<PushEntry<'a>>,
}

/// Labels as they were sent.
#[derive(Clone, Debug, PartialEq)]
pub enum PushLabels<'a> {
    /// Text for [`crate::label_text::parse`].
    Text(Cow<'a, [u8]>),
    /// Pairs of a JSON object: names unique, neither names nor values checked.
    Pairs(Vec<Pair<'a>>),
}

/// A name and its value, invalid UTF-8 already replaced.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One entry as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PushEntry<'a> {
    /// The time; year 1 if none was given, as Go reads it.
    pub time: GoTime,
    /// The line, not necessarily UTF-8.
    pub line: Cow<'a, [u8]>,
    /// Structured metadata in the order sent, names possibly repeated.
    pub metadata: Vec<Pair<'a>>,
}

/// The time of an entry that has none.
pub(crate) const NO_TIME: GoTime = GoTime { secs: YEAR_ONE_SECS, nanos: 0 };

impl Default for PushLabels<'_> {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

/// The form of a push body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Loki's JSON, either of its shapes.
    Json,
    /// `PushRequest` of Loki's protobuf in a snappy block.
    Protobuf,
}

impl Format {
    /// Reads the `Content-Type` header; without one, the first bytes of the unpacked body decide.
    ///
    /// Any type but JSON means protobuf, as in Loki v3.7.6, which refuses a missing type.
    pub fn of(content_type: Option<&str>, unpacked: &[u8]) -> Self {
        match content_type {
            Some(value) => {
                let media_type = value.split(';').next().unwrap_or_default().trim();
                if media_type.eq_ignore_ascii_case("application/json") { Self::Json } else { Self::Protobuf }
            }
            None => match unpacked.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[') => Self::Json,
                _ => Self::Protobuf,
            },
        }
    }
}

/// A push body after unpacking; [`UnpackedPush::decode`] borrows from it.
#[derive(Debug)]
pub struct UnpackedPush {
    format: Format,
    bytes: Bytes,
}

/// Undoes packing and compression of a push body.
///
/// Errors: `Invalid` for a corrupt body or an unknown encoding, `Limited` above `bytes_max`.
/// Cost: decompression, at most `bytes_max` bytes per layer.
pub fn unpack_push(
    body: Bytes,
    content_type: Option<&str>,
    content_encoding: &str,
    bytes_max: usize,
) -> Result<UnpackedPush, Error> {
    let encoding = Encoding::from_header(content_encoding)?;
    let bytes = unpack(body, encoding, bytes_max)?;
    let format = Format::of(content_type, &bytes);
    let bytes = match format {
        Format::Json => bytes,
        Format::Protobuf => unpack_snappy(&bytes, bytes_max)?.into(),
    };
    Ok(UnpackedPush { format, bytes })
}

impl UnpackedPush {
    /// Returns the form of the body.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the size of the unpacked body in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Decodes the whole request, or nothing of it.
    pub fn decode(&self) -> Result<PushRequest<'_>, Error> {
        match self.format {
            Format::Json => decode_json(&self.bytes),
            Format::Protobuf => decode_protobuf(&self.bytes),
        }
    }
}

/// Decodes Loki's JSON, either of its shapes: `values` (current) or `entries` (older).
pub fn decode_json(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    loki_push_json::decode(bytes)
}

/// Decodes a protobuf `PushRequest` that is no longer compressed.
pub fn decode_protobuf(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    loki_push_protobuf::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#" {"streams":[{"stream":{"a":"b"},"values":[["5","x"]]}]}"#;

    fn packed() -> Vec<u8> {
        // labels {a="b"}, one entry: seconds 1, line x
        let message = b"\x0a\x12\x0a\x07{a=\"b\"}\x12\x07\x0a\x02\x08\x01\x12\x01x";
        snap::raw::Encoder::new().compress_vec(message).unwrap()
    }

    fn check(body: &[u8], content_type: Option<&str>, encoding: &str, expect: Result<Format, &str>) {
        let unpacked = unpack_push(Bytes::copy_from_slice(body), content_type, encoding, 10_000);
        let format =
            unpacked.and_then(|push| push.decode().map(|request| (request.streams.len(), push.format())));
        match expect {
            Ok(format_expected) => {
                assert_eq!(format, Ok((1, format_expected)), "{content_type:?} {encoding}")
            }
            Err(text) => assert_eq!(format.unwrap_err().to_string(), text, "{content_type:?} {encoding}"),
        }
    }

    #[test]
    fn types_and_encodings_of_the_table() {
        let protobuf = packed();
        for content_type in ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"] {
            check(JSON, Some(content_type), "", Ok(Format::Json));
            check(JSON, Some(content_type), "snappy", Ok(Format::Json));
        }
        check(&protobuf, Some("application/x-protobuf"), "", Ok(Format::Protobuf));
        check(&protobuf, Some("application/x-protobuf"), "snappy", Ok(Format::Protobuf));
        check(&protobuf, Some("text/plain"), "identity", Ok(Format::Protobuf));
        check(JSON, Some("text/plain"), "", Err("snappy: corrupt input"));
        check(JSON, None, "", Ok(Format::Json));
        check(&protobuf, None, "", Ok(Format::Protobuf));
        check(JSON, Some("application/json"), "br", Err("Content-Encoding \"br\" not supported"));
    }
}
