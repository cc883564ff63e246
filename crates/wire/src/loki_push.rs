//! Loki's push request: what it holds and how its bytes are read.
//!
//! Both forms, JSON and snappy-compressed protobuf, become one [`PushRequest`] that borrows from the
//! unpacked body. Reading is all or nothing; limits per stream and entry are the business of `ingest`.
//!
//! Memory: the caller's bound holds twice, for the unpacked body and for what is decoded from it (see
//! `budget`). Streams without entries are dropped as they are read, and counted.

use crate::body::{Encoding, unpack, unpack_snappy_into};
use crate::budget::{Budget, Mark};
use crate::go_time::{GoTime, YEAR_ONE_SECS};
pub use crate::loki_push_entries::{EntryIter, PushEntries, PushEntry};
use crate::{Error, loki_push_json, loki_push_protobuf};
use bytes::Bytes;
use std::borrow::Cow;
use std::cell::Cell;

/// A decoded push request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushRequest<'a> {
    /// Streams with entries in the order sent; one label set may occur several times. If all that was
    /// sent are streams without entries, one without labels stands for them: the list is empty only if
    /// no stream was sent.
    pub streams: Vec<PushStream<'a>>,
}

/// Entries under one label set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushStream<'a> {
    /// The labels, not yet checked.
    pub labels: PushLabels<'a>,
    /// Entries in the order sent.
    pub entries: PushEntries<'a>,
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

/// The time of an entry that has none.
pub(crate) const NO_TIME: GoTime = GoTime { secs: YEAR_ONE_SECS, nanos: 0 };

impl Default for PushLabels<'_> {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

/// Collects the streams of a request while it is decoded.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    pub(crate) budget: Budget,
    streams: Vec<PushStream<'a>>,
    without_entries: bool,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { budget: Budget::new(bytes_max), streams: Vec::new(), without_entries: false }
    }

    /// Adds a stream that was read since `mark`, or drops it if it has no entries.
    pub(crate) fn add(&mut self, stream: PushStream<'a>, mark: Mark) -> Result<(), Error> {
        if stream.entries.is_empty() {
            self.without_entries = true;
            self.budget.back_to(mark);
            return self.budget.idle();
        }
        self.budget.push(&mut self.streams, stream)
    }

    /// Drops all streams and gives back what was taken since `mark`.
    pub(crate) fn clear(&mut self, mark: Mark) {
        self.streams = Vec::new();
        self.without_entries = false;
        self.budget.back_to(mark);
    }

    pub(crate) fn finish(mut self) -> PushRequest<'a> {
        if self.streams.is_empty() && self.without_entries {
            self.streams.push(PushStream::default());
        }
        PushRequest { streams: self.streams }
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
    text: Text,
    snappy: Option<Bytes>,
    decoded_bytes_max: usize,
}

/// An unpacked body.
#[derive(Debug)]
enum Text {
    Shared(Bytes),
    /// The front of a buffer of this thread's, which gets it back.
    Own {
        buffer: Vec<u8>,
        bytes: usize,
    },
}

/// Largest buffer that a thread keeps for the next body: agents send bodies of about a megabyte of text. Asked for anew
/// each time, its pages would often have gone back to the system, and fetching them takes longer than filling them.
const KEPT_BYTES_MAX: usize = 2 << 20;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Text {
    fn unpack(snappy: &[u8], bytes_max: usize) -> Result<Self, Error> {
        let mut text = Self::Own { buffer: KEPT.take(), bytes: 0 };
        if let Self::Own { buffer, bytes } = &mut text {
            *bytes = unpack_snappy_into(snappy, bytes_max, buffer)?;
        }
        Ok(text)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Self::Own { buffer, .. } = self
            && (1..=KEPT_BYTES_MAX).contains(&buffer.capacity())
        {
            KEPT.set(std::mem::take(buffer));
        }
    }
}

/// Undoes packing and compression of a push body.
///
/// Errors: `Invalid` for a corrupt body or an unknown encoding, `Limited` above `bytes_max`.
/// Cost: decompression, at most `bytes_max` bytes per layer. The same bound holds for decoding.
pub fn unpack_push(
    body: Bytes,
    content_type: Option<&str>,
    content_encoding: &str,
    bytes_max: usize,
) -> Result<UnpackedPush, Error> {
    let encoding = Encoding::from_header(content_encoding)?;
    let bytes = unpack(body, encoding, bytes_max)?;
    let format = Format::of(content_type, &bytes);
    let (text, snappy) = match format {
        Format::Json => (Text::Shared(bytes), None),
        Format::Protobuf => (Text::unpack(&bytes, bytes_max)?, Some(bytes)),
    };
    Ok(UnpackedPush { format, text, snappy, decoded_bytes_max: bytes_max })
}

impl UnpackedPush {
    /// Returns the form of the body.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the unpacked body.
    pub fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Shared(bytes) => bytes,
            Text::Own { buffer, bytes } => buffer.get(..*bytes).unwrap_or_default(),
        }
    }

    /// Returns the block of snappy that the body was unpacked from, if there was one.
    pub fn snappy(&self) -> Option<&Bytes> {
        self.snappy.as_ref()
    }

    /// Decodes the whole request, or nothing of it.
    ///
    /// Errors: `Invalid` for bytes that do not follow the format, `Limited` if streams and entries would
    /// take more memory than the bound given to [`unpack_push`], text included.
    /// Cost: linear; at most that memory on top of the body, and one string of the body for JSON's escapes.
    pub fn decode(&self) -> Result<PushRequest<'_>, Error> {
        match self.format {
            Format::Json => loki_push_json::decode(self.bytes(), self.decoded_bytes_max),
            Format::Protobuf => loki_push_protobuf::decode(self.bytes(), self.decoded_bytes_max),
        }
    }
}

/// Bound on what is decoded from bytes that came without one: the default of the server's setting.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// Decodes Loki's JSON, either of its shapes: `values` (current) or `entries` (older).
///
/// For tests and tools; errors and cost as for [`UnpackedPush::decode`] with a bound of 256 MiB.
pub fn decode_json(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    loki_push_json::decode(bytes, DECODED_BYTES_MAX)
}

/// Decodes a protobuf `PushRequest` that is no longer compressed.
///
/// For tests and tools; errors and cost as for [`UnpackedPush::decode`] with a bound of 256 MiB.
pub fn decode_protobuf(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    loki_push_protobuf::decode(bytes, DECODED_BYTES_MAX)
}

#[cfg(test)]
pub(crate) mod tests;
