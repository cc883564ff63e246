//! Writes Loki's protobuf push, for a store that is a Loki: the schema is that of `loki_push_protobuf`.
//!
//! Lines and metadata become UTF-8, as protobuf demands of texts: what is none is U+FFFD. A level that an entry bears
//! goes along as the structured metadata `detected_level`, which is where Loki keeps it.

use std::fmt::Write as _;

use logyard_codec::{Entries, pack_snappy};
use logyard_model::LabelSet;

use crate::protobuf_write as put;

/// Path of the endpoint behind the address of a Loki.
pub const PATH: &str = "/loki/api/v1/push";
/// Media type of the body.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Name of the metadata that tells an entry's level.
const LEVEL: &str = "detected_level";

/// Encodes streams as the body of a push: a protobuf `PushRequest`, compressed as one block of snappy.
///
/// Entries keep their order. Cost: a few buffers of about the raw size. Source: Loki v3.7.6, `push.proto`.
pub fn encode_push(chunks: &[(&LabelSet, &Entries)]) -> Vec<u8> {
    let (mut request, mut stream, mut entry, mut inner) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut labels = String::new();
    for (set, entries) in chunks {
        stream.clear();
        labels.clear();
        // Writing to a text cannot fail.
        write!(labels, "{set}").unwrap_or_default();
        put::bytes(&mut stream, 1, labels.as_bytes());
        for row in 0..entries.len() {
            entry.clear();
            write_entry(&mut entry, &mut inner, entries, row);
            put::bytes(&mut stream, 2, &entry);
        }
        put::bytes(&mut request, 1, &stream);
    }
    // It fails beyond 4 GiB only, which bounds on batches keep far away; an empty body is refused by every store.
    pack_snappy(&request).unwrap_or_default()
}

fn write_entry(out: &mut Vec<u8>, inner: &mut Vec<u8>, entries: &Entries, row: usize) {
    let ts_ns = entries.ts_ns().get(row).copied().unwrap_or_default();
    inner.clear();
    put::number(inner, 1, ts_ns.div_euclid(1_000_000_000).cast_unsigned());
    put::number(inner, 2, ts_ns.rem_euclid(1_000_000_000).cast_unsigned());
    put::bytes(out, 1, inner);
    put::bytes(out, 2, String::from_utf8_lossy(entries.line(row)).as_bytes());
    let metadata = entries.metadata(row);
    for (name, value) in metadata.iter() {
        write_pair(out, inner, name, value);
    }
    let level = entries.level(row);
    if !level.is_empty() && metadata.get(LEVEL).is_none() {
        write_pair(out, inner, LEVEL, level);
    }
}

fn write_pair(out: &mut Vec<u8>, inner: &mut Vec<u8>, name: &str, value: &str) {
    inner.clear();
    put::bytes(inner, 1, name.as_bytes());
    put::bytes(inner, 2, value.as_bytes());
    put::bytes(out, 3, inner);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_push::{PushLabels, unpack_push};
    use bytes::Bytes;
    use prost::Message;

    // Loki's schema, as another implementation of protobuf has it.
    #[derive(Message)]
    struct Request {
        #[prost(message, repeated, tag = "1")]
        streams: Vec<Stream>,
    }
    #[derive(Message)]
    struct Stream {
        #[prost(string, tag = "1")]
        labels: String,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<Entry>,
    }
    #[derive(Message)]
    struct Entry {
        #[prost(message, optional, tag = "1")]
        time: Option<Time>,
        #[prost(string, tag = "2")]
        line: String,
        #[prost(message, repeated, tag = "3")]
        metadata: Vec<Pair>,
    }
    #[derive(Message)]
    struct Time {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    #[derive(Message)]
    struct Pair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    fn encoded() -> Vec<u8> {
        let metadata = LabelSet::from_pairs([("trace", "7\"")]);
        let mut first = Entries::new();
        first.push(1_700_000_000_000_000_007, b"one", "warn", &metadata);
        first.push(-1, b"caf\xe9", "", &LabelSet::default());
        let mut second = Entries::new();
        second.push(0, b"", "", &LabelSet::default());
        let labels =
            [LabelSet::from_pairs([("a", "b\"c"), ("host", "nas")]), LabelSet::from_pairs([("a", "d")])];
        encode_push(&[(&labels[0], &first), (&labels[1], &second)])
    }

    #[test]
    fn another_reader_of_protobuf_finds_every_entry() {
        let raw = snap::raw::Decoder::new().decompress_vec(&encoded()).unwrap();
        let request = Request::decode(&raw[..]).unwrap();
        assert_eq!(request.streams[0].labels, r#"{a="b\"c", host="nas"}"#);
        let [first, second] = &request.streams[0].entries[..] else { panic!("two entries") };
        let time = |entry: &Entry| entry.time.as_ref().map(|time| (time.seconds, time.nanos)).unwrap();
        assert_eq!((time(first), &*first.line), ((1_700_000_000, 7), "one"));
        let pairs: Vec<(&str, &str)> =
            first.metadata.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
        assert_eq!(pairs, [("trace", "7\""), ("detected_level", "warn")]);
        assert_eq!((time(second), &*second.line), ((-1, 999_999_999), "caf\u{fffd}"));
        assert!(second.metadata.is_empty());
        assert_eq!((request.streams.len(), &*request.streams[1].entries[0].line), (2, ""));
    }

    #[test]
    fn our_own_reader_finds_them_too() {
        let push = unpack_push(Bytes::from(encoded()), Some(CONTENT_TYPE), "", 1 << 20).unwrap();
        let request = push.decode().unwrap();
        let labels: Vec<&PushLabels<'_>> = request.streams.iter().map(|stream| &stream.labels).collect();
        assert!(matches!(labels[..], [PushLabels::Text(_), PushLabels::Text(_)]));
        assert_eq!(request.streams[0].entries.iter().count(), 2);
    }
}
