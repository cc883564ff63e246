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
use crate::budget::Budget;
use crate::go_time::GoTime;
use crate::loki_push::{Collector, NO_TIME, Pair, PushEntries, PushLabels, PushRequest, PushStream};
use crate::protobuf::{Fields, Value};
use std::borrow::Cow;

pub(crate) fn decode(bytes: &[u8], bytes_max: usize) -> Result<PushRequest<'_>, Error> {
    let mut collector = Collector::new(bytes_max);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        let (1, Value::Bytes(stream)) = field else {
            collector.budget.idle()?;
            continue;
        };
        let mark = collector.budget.mark();
        let stream = decode_stream(stream, &mut collector.budget)?;
        collector.add(stream, mark)?;
    }
    Ok(collector.finish())
}

/// Walks over the stream twice: once its entries are counted, too many cost no memory at all.
fn decode_stream<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<PushStream<'a>, Error> {
    let mut labels: &[u8] = b"";
    let mut count = 0;
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => budget.set(&mut labels, text)?,
            (2, Value::Bytes(_)) => count += 1,
            _ => budget.idle()?,
        }
    }
    let mut stream = PushStream { labels: PushLabels::Text(Cow::Borrowed(labels)), ..PushStream::default() };
    if count == 0 {
        return Ok(stream);
    }
    budget.take(labels.len())?;
    stream.entries.reserve(count, budget)?;
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        if let (2, Value::Bytes(entry)) = field {
            decode_entry(entry, &mut stream.entries, budget)?;
        }
    }
    Ok(stream)
}

fn decode_entry<'a>(
    bytes: &'a [u8],
    entries: &mut PushEntries<'a>,
    budget: &mut Budget,
) -> Result<(), Error> {
    let (mut time, mut line): (GoTime, &[u8]) = (NO_TIME, b"");
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => {
                if time != NO_TIME {
                    budget.idle()?;
                }
                time = decode_time(text, budget)?;
            }
            (2, Value::Bytes(text)) => budget.set(&mut line, text)?,
            (3, Value::Bytes(text)) => {
                let pair = decode_pair(text, budget)?;
                budget.push(entries.next_pairs().0, pair)?;
            }
            _ => budget.idle()?,
        }
    }
    budget.take(line.len())?;
    entries.push(time, Cow::Borrowed(line), budget)
}

fn decode_time(bytes: &[u8], budget: &mut Budget) -> Result<GoTime, Error> {
    let (mut secs, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(number)) => budget.set(&mut secs, number.cast_signed())?,
            (2, Value::Number(number)) => budget.set(&mut nanos, number)?,
            _ => budget.idle()?,
        }
    }
    // A Timestamp holds 0 to 999,999,999 nanoseconds by definition; Loki refuses others too.
    let nanos = u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Error::invalid("proto: timestamp: nanos not in range [0, 1e9)"))?;
    Ok(GoTime { secs, nanos })
}

fn decode_pair<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Pair<'a>, Error> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => budget.set(&mut name, text)?,
            (2, Value::Bytes(text)) => budget.set(&mut value, text)?,
            _ => budget.idle()?,
        }
    }
    budget.take(name.len().saturating_add(value.len()))?;
    Ok((budget.valid(Cow::Borrowed(name))?, budget.valid(Cow::Borrowed(value))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_push::decode_protobuf;
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
        let decoded = decode_protobuf(&request).unwrap();
        let stream = &decoded.streams[0];
        let entries: Vec<_> = stream.entries.iter().collect();
        assert_eq!(stream.labels, PushLabels::Text(Cow::Borrowed(b"{a=\"b\"}")));
        assert_eq!(entries[0].time, GoTime { secs: 5, nanos: 7 });
        assert_eq!(entries[0].line, b"caf\xe9");
        assert_eq!(entries[0].metadata, [("k".into(), "v".into())]);
        assert_eq!(entries[1].time, NO_TIME);
    }

    #[test]
    fn nanos_out_of_range_are_refused() {
        let entry = field(1, &[0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03]);
        assert!(decode_protobuf(&field(1, &field(2, &entry))).is_err());
    }

    #[test]
    fn what_holds_nothing_is_counted() {
        let stream = field(1, &[field(1, b"{a=\"b\"}"), field(2, &field(2, b"line"))].concat());
        for idle in [
            field(1, b""),
            field(9, b""),
            field(1, &field(9, b"")),
            field(1, &field(2, &field(9, b""))),
            field(1, &field(2, &[field(1, b""), field(1, b""), field(1, b"")].concat())),
            field(1, &[field(2, b""), field(1, b"x").repeat(3)].concat()),
        ] {
            let mut request = stream.clone();
            for _ in 0..100 {
                request.extend_from_slice(&idle);
            }
            let error = decode(&request, 64 * 99).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Limited, "{idle:x?}");
        }
        assert_eq!(decode(&stream, 64 * 99).unwrap().streams.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            drop(decode_protobuf(&bytes));
            drop(decode_protobuf(&field(1, &bytes)));
            drop(decode_protobuf(&field(1, &field(2, &bytes))));
        }
    }
}
