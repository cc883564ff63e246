//! Reads Loki's protobuf push (package `logproto`, proto3).
//!
//! ```text
//! PushRequest  1 streams (StreamAdapter)*      StreamAdapter  1 labels, 2 entries (EntryAdapter)*, 3 hash
//! EntryAdapter 1 timestamp {1 seconds, 2 nanos}, 2 line, 3 structuredMetadata (Pair)*, 4 parsed
//! Pair         1 name, 2 value
//! ```
//!
//! Unknown fields and `hash`, `format`, `parsed` are skipped. Of a field repeated against the schema
//! the last wins. Nesting is fixed by the schema, so no recursion.

use crate::Error;
use crate::go_time::GoTime;
use crate::json_text::lossy;
use crate::loki_push::{NO_TIME, Pair, PushEntry, PushLabels, PushRequest, PushStream};
use crate::protobuf::{Fields, Value};
use std::borrow::Cow;

pub(crate) fn decode(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    let mut request = PushRequest::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        if let (1, Value::Bytes(stream)) = field {
            request.streams.push(decode_stream(stream)?);
        }
    }
    Ok(request)
}

fn decode_stream(bytes: &[u8]) -> Result<PushStream<'_>, Error> {
    let mut labels: &[u8] = b"";
    let mut entries = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => labels = text,
            (2, Value::Bytes(entry)) => entries.push(decode_entry(entry)?),
            _ => {}
        }
    }
    Ok(PushStream { labels: PushLabels::Text(Cow::Borrowed(labels)), entries })
}

fn decode_entry(bytes: &[u8]) -> Result<PushEntry<'_>, Error> {
    let mut entry = PushEntry { time: NO_TIME, line: Cow::Borrowed(b""), metadata: Vec::new() };
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(time)) => entry.time = decode_time(time)?,
            (2, Value::Bytes(line)) => entry.line = Cow::Borrowed(line),
            (3, Value::Bytes(pair)) => entry.metadata.push(decode_pair(pair)?),
            _ => {}
        }
    }
    Ok(entry)
}

fn decode_time(bytes: &[u8]) -> Result<GoTime, Error> {
    let (mut secs, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(number)) => secs = number.cast_signed(),
            (2, Value::Number(number)) => nanos = number,
            _ => {}
        }
    }
    // A Timestamp holds 0 to 999,999,999 nanoseconds by definition; Loki refuses others too.
    let nanos = u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Error::invalid("proto: timestamp: nanos not in range [0, 1e9)"))?;
    Ok(GoTime { secs, nanos })
}

fn decode_pair(bytes: &[u8]) -> Result<Pair<'_>, Error> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => name = text,
            (2, Value::Bytes(text)) => value = text,
            _ => {}
        }
    }
    Ok((lossy(name), lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut message = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap());
        message.extend_from_slice(bytes);
        message
    }

    #[test]
    fn every_field_and_some_unknown_ones() {
        let pair = [field(1, b"k"), field(2, b"v")].concat();
        let time = [0x08, 0x05, 0x10, 0x07];
        let entry = [field(3, &pair), field(2, b"caf\xe9"), field(4, &pair), field(1, &time), field(9, b"?")]
            .concat();
        let stream = [field(2, &entry), field(2, b""), field(1, b"{a=\"b\"}"), vec![0x18, 0x2a]].concat();
        let request = [field(2, b"format"), field(1, &stream)].concat();
        let decoded = decode(&request).unwrap();
        let stream = &decoded.streams[0];
        assert_eq!(stream.labels, PushLabels::Text(Cow::Borrowed(b"{a=\"b\"}")));
        assert_eq!(stream.entries[0].time, GoTime { secs: 5, nanos: 7 });
        assert_eq!(&*stream.entries[0].line, b"caf\xe9");
        assert_eq!(stream.entries[0].metadata, [("k".into(), "v".into())]);
        assert_eq!(stream.entries[1].time, NO_TIME);
    }

    #[test]
    fn nanos_out_of_range_are_refused() {
        let entry = field(1, &[0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03]);
        assert!(decode(&field(1, &field(2, &entry))).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            drop(decode(&bytes));
            drop(decode(&field(1, &bytes)));
            drop(decode(&field(1, &field(2, &bytes))));
        }
    }
}
