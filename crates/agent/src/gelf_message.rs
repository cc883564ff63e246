//! Messages of GELF: chunks put together, unpacked, and read.
//!
//! Source: the GELF 1.1 payload specification of Graylog; Docker's log driver `gelf`. Everything is bounded: chunks of a
//! message come in any order, but within [`CHUNKS_WAIT_NS`] and up to [`HELD_BYTES_MAX`] for all messages, and a packed
//! message unpacks to the bound of a message only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::{GzDecoder, ZlibDecoder};
use serde::Deserialize as _;
use serde_json::{Map, Value};

const CHUNK_MAGIC: [u8; 2] = [0x1e, 0x0f];
/// Bytes before the data of a chunk: magic, id, number, count.
const CHUNK_HEAD: usize = 12;
/// Most chunks of a message, by the specification.
const CHUNKS_MAX: u8 = 128;
/// How long chunks wait for their message to be complete, by the specification.
pub(crate) const CHUNKS_WAIT_NS: u64 = 5_000_000_000;
/// Most bytes that wait in chunks.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Most messages that wait for chunks.
const HELD_MESSAGES_MAX: usize = 4_096;

/// Why a message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GelfFault {
    BadChunk,
    /// Chunks that never became a message, or that there was no room for.
    Incomplete,
    TooLong,
    NotPacked,
    NotJson,
}

impl GelfFault {
    /// Value of the label `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadChunk => "gelf_bad_chunk",
            Self::Incomplete => "gelf_incomplete",
            Self::TooLong => "gelf_too_long",
            Self::NotPacked => "gelf_not_packed",
            Self::NotJson => "gelf_not_json",
        }
    }
}

/// Messages of which not all chunks have come. `P` names the sender: ids are its own.
#[derive(Debug)]
pub(crate) struct Chunks<P> {
    held: HashMap<(P, [u8; 8]), Parts>,
    held_bytes: usize,
    message_bytes_max: usize,
}

#[derive(Debug)]
struct Parts {
    parts: Vec<Option<Vec<u8>>>,
    bytes: usize,
    since_ns: u64,
}

impl<P: Clone + Eq + std::hash::Hash> Chunks<P> {
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { held: HashMap::new(), held_bytes: 0, message_bytes_max }
    }

    /// Takes a datagram; returns the message that it is or completes, still packed.
    pub(crate) fn take<'d>(
        &mut self,
        datagram: &'d [u8],
        from: P,
        now_ns: u64,
    ) -> Result<Option<Cow<'d, [u8]>>, GelfFault> {
        if !datagram.starts_with(&CHUNK_MAGIC) {
            return Ok(Some(Cow::Borrowed(datagram)));
        }
        let (head, data) = datagram.split_at_checked(CHUNK_HEAD).ok_or(GelfFault::BadChunk)?;
        let [_, _, id @ .., number, count] = head else { return Err(GelfFault::BadChunk) };
        let id: [u8; 8] = id.try_into().map_err(|_| GelfFault::BadChunk)?;
        if *count == 0 || *count > CHUNKS_MAX || number >= count {
            return Err(GelfFault::BadChunk);
        }
        let key = (from, id);
        let is_new = !self.held.contains_key(&key);
        if self.held_bytes + data.len() > HELD_BYTES_MAX || is_new && self.held.len() >= HELD_MESSAGES_MAX {
            self.remove(&key);
            return Err(GelfFault::Incomplete);
        }
        let parts = self.held.entry(key.clone()).or_insert_with(|| Parts {
            parts: vec![None; usize::from(*count)],
            bytes: 0,
            since_ns: now_ns,
        });
        if parts.parts.len() != usize::from(*count) {
            self.remove(&key);
            return Err(GelfFault::BadChunk);
        }
        // A network may deliver twice.
        if let Some(slot) = parts.parts.get_mut(usize::from(*number)).filter(|slot| slot.is_none()) {
            *slot = Some(data.to_vec());
            parts.bytes += data.len();
            self.held_bytes += data.len();
        }
        if parts.bytes > self.message_bytes_max {
            self.remove(&key);
            return Err(GelfFault::TooLong);
        }
        if parts.parts.iter().any(Option::is_none) {
            return Ok(None);
        }
        let message =
            self.remove(&key).into_iter().flat_map(|parts| parts.parts).flatten().flatten().collect();
        Ok(Some(Cow::Owned(message)))
    }

    /// Forgets messages whose chunks did not come in time; returns how many.
    pub(crate) fn expire(&mut self, now_ns: u64) -> u64 {
        let is_late = |parts: &Parts| now_ns.saturating_sub(parts.since_ns) > CHUNKS_WAIT_NS;
        let late: Vec<_> =
            self.held.iter().filter(|(_, parts)| is_late(parts)).map(|(key, _)| key.clone()).collect();
        late.iter().for_each(|key| drop(self.remove(key)));
        late.len() as u64
    }

    fn remove(&mut self, key: &(P, [u8; 8])) -> Option<Parts> {
        let parts = self.held.remove(key)?;
        self.held_bytes -= parts.bytes;
        Some(parts)
    }
}

/// Undoes the packing of a message: gzip, zlib, or none.
pub(crate) fn unpack(bytes: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, GelfFault> {
    let cap = bytes_max as u64 + 1;
    let mut unpacked = Vec::new();
    let read = match bytes {
        [0x1f, 0x8b, ..] => GzDecoder::new(bytes).take(cap).read_to_end(&mut unpacked),
        [first, second, ..]
            if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31) =>
        {
            ZlibDecoder::new(bytes).take(cap).read_to_end(&mut unpacked)
        }
        _ if bytes.len() > bytes_max => return Err(GelfFault::TooLong),
        _ => return Ok(Cow::Borrowed(bytes)),
    };
    if unpacked.len() > bytes_max {
        return Err(GelfFault::TooLong);
    }
    read.map_err(|_| GelfFault::NotPacked)?;
    Ok(Cow::Owned(unpacked))
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GelfMessage {
    /// All its fields.
    pub(crate) fields: Map<String, Value>,
}

impl GelfMessage {
    /// Reads an unpacked message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, GelfFault> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let fields = Map::deserialize(&mut reader).map_err(|_| GelfFault::NotJson)?;
        // Some senders end datagrams with a zero, as connections need it.
        let rest = bytes.get(reader.into_iter::<Value>().byte_offset()..).unwrap_or_default();
        match rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            true => Ok(Self { fields }),
            false => Err(GelfFault::NotJson),
        }
    }

    /// Returns a field as text: a text as it is, numbers and the like as JSON.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        text_of(self.fields.get(name)?)
    }

    /// Returns its time in ns since the Unix epoch.
    pub(crate) fn sent_ns(&self) -> Option<i64> {
        let seconds = match self.fields.get("timestamp")? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        // Clocks of senders count milliseconds, a few microseconds; a float of today's seconds holds the latter.
        let micros = (seconds * 1e6).round();
        let is_time = (1.0..=9.2e15).contains(&micros);
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        is_time.then(|| micros as i64 * 1_000)
    }

    /// Returns its line: the full message if it has one, else the short one.
    pub(crate) fn line(&self) -> Cow<'_, str> {
        let full = self.text("full_message").filter(|text| !text.is_empty());
        full.or_else(|| self.text("short_message")).unwrap_or_default()
    }

    /// Returns its severity, a number of syslog.
    pub(crate) fn level(&self) -> Option<u64> {
        match self.fields.get("level")? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// Returns a value as text; null is none.
pub(crate) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &[u8] = br#"{"version":"1.1","host":"nas","short_message":"hello","timestamp":1700000000.123,"level":3,"_n":7}"#;

    fn chunk(id: u8, number: u8, count: u8, data: &[u8]) -> Vec<u8> {
        [&CHUNK_MAGIC[..], &[id; 8], &[number, count], data].concat()
    }

    #[test]
    fn fields_of_a_message() {
        let message = GelfMessage::parse(&[TEXT, b"\0"].concat()).unwrap();
        assert_eq!((&*message.line(), message.sent_ns()), ("hello", Some(1_700_000_000_123_000_000)));
        assert_eq!((message.level(), message.text("_n").as_deref()), (Some(3), Some("7")));
        let full =
            GelfMessage::parse(br#"{"short_message":"a","full_message":"a\nb","timestamp":"x"}"#).unwrap();
        assert_eq!((&*full.line(), full.sent_ns()), ("a\nb", None));
        for bad in [&b"[]"[..], b"{} x", b"\"text\"", b""] {
            assert_eq!(GelfMessage::parse(bad), Err(GelfFault::NotJson), "{bad:?}");
        }
        let time = |text: &str| {
            GelfMessage::parse(format!(r#"{{"timestamp":{text}}}"#).as_bytes()).unwrap().sent_ns()
        };
        assert_eq!([time("1e300"), time("-5"), time("null"), time("0")], [None; 4]);
    }

    #[test]
    fn packed_messages_are_bounded() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(TEXT).unwrap();
        for packed in [gzip.finish().unwrap(), zlib.finish().unwrap(), TEXT.to_vec()] {
            assert_eq!(unpack(&packed, TEXT.len()).unwrap(), TEXT);
            assert_eq!(unpack(&packed, TEXT.len() - 1), Err(GelfFault::TooLong));
        }
        assert_eq!(unpack(b"\x1f\x8bnothing", 100), Err(GelfFault::NotPacked));
    }

    #[test]
    fn chunks_come_in_any_order() {
        let mut chunks = Chunks::new(100);
        let mut take = |bytes: &[u8], from: u8| {
            chunks.take(bytes, from, 0).map(|done| done.map(|message| message.into_owned()))
        };
        assert_eq!(take(b"whole", 1), Ok(Some(b"whole".to_vec())));
        assert_eq!(take(&chunk(7, 1, 2, b"cd"), 1), Ok(None));
        assert_eq!(take(&chunk(7, 1, 2, b"cd"), 1), Ok(None));
        assert_eq!(take(&chunk(7, 0, 2, b"xy"), 2), Ok(None), "another sender's");
        assert_eq!(take(&chunk(7, 0, 2, b"ab"), 1), Ok(Some(b"abcd".to_vec())));
        assert_eq!(take(&chunk(8, 2, 2, b""), 1), Err(GelfFault::BadChunk));
        assert_eq!(take(&chunk(8, 0, 129, b""), 1), Err(GelfFault::BadChunk));
        assert_eq!(take(&chunk(8, 0, 0, b"")[..5], 1), Err(GelfFault::BadChunk));
        assert_eq!(take(&chunk(9, 0, 2, &[b'x'; 60]), 1), Ok(None));
        assert_eq!(take(&chunk(9, 1, 2, &[b'x'; 60]), 1), Err(GelfFault::TooLong));
        assert_eq!(chunks.expire(CHUNKS_WAIT_NS), 0);
        assert_eq!((chunks.expire(CHUNKS_WAIT_NS + 1), chunks.held_bytes, chunks.held.len()), (1, 0, 0));
    }
}
