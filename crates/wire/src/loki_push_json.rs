//! Reads Loki's JSON push, both shapes.
//!
//! ```text
//! {"streams":[{"stream":{name:value},"values":[["<ns>","line",{name:value}?, …ignored]]}]}
//! {"streams":[{"labels":"{name=\"value\"}","entries":[{"ts":"<RFC 3339>","line":"…","structuredMetadata":{}}]}]}
//! ```
//!
//! Strict as Loki v3.7.6: times are strings of integer ns, lines and metadata values are strings.
//! `null` stands for an absent list. Unknown members are skipped. Strings are read as bytes, since
//! senders put lines into JSON that are not UTF-8. No tree is built: visitors fill the request.

use crate::Error;
use crate::go_time::{GoTime, parse_rfc3339};
use crate::json_text::lossy;
use crate::loki_push::{NO_TIME, Pair, PushEntry, PushLabels, PushRequest, PushStream};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

pub(crate) fn decode(bytes: &[u8]) -> Result<PushRequest<'_>, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let request = Request.deserialize(&mut deserializer).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    Ok(request)
}

fn wrong(error: serde_json::Error) -> Error {
    Error::invalid(format!("cannot decode push request: {error}"))
}

/// A JSON string as the bytes between its quotes, escapes decoded.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, [u8]>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, [u8]>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.as_bytes().to_vec()))
    }
}

fn lossy_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => lossy(bytes),
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(lossy(error.as_bytes()).into_owned()),
        },
    }
}

/// An object of strings; of a repeated name the last value wins.
struct Pairs;

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Vec<Pair<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Above this many names a repeated one is looked for by sorting, so that hostile input stays linear.
const PAIRS_SCAN_MAX: usize = 32;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<Pair<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Vec<Pair<'de>> = Vec::new();
        while let Some(name) = map.next_key_seed(Text)? {
            let name = lossy_text(name);
            let value = lossy_text(map.next_value_seed(Text)?);
            let known = if pairs.len() < PAIRS_SCAN_MAX {
                pairs.iter_mut().find(|pair| pair.0 == name)
            } else {
                None
            };
            match known {
                Some(pair) => pair.1 = value,
                None => pairs.push((name, value)),
            }
        }
        if pairs.len() > PAIRS_SCAN_MAX {
            keep_last_of_each_name(&mut pairs);
        }
        Ok(pairs)
    }
}

fn keep_last_of_each_name(pairs: &mut Vec<Pair<'_>>) {
    pairs.reverse();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, earlier| later.0 == earlier.0);
}

/// A list of values read with a seed; `null` is the empty list.
struct ListOf<S, T>(S, PhantomData<T>);

impl<'de, S: DeserializeSeed<'de, Value = T> + Copy, T> DeserializeSeed<'de> for ListOf<S, T> {
    type Value = Vec<T>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = T> + Copy, T> Visitor<'de> for ListOf<S, T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(self.0)? {
            list.push(item);
        }
        Ok(list)
    }
}

struct Request;

impl<'de> DeserializeSeed<'de> for Request {
    type Value = PushRequest<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request {
    type Value = PushRequest<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut request = PushRequest::default();
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                b"streams" => request.streams = map.next_value_seed(ListOf(Stream, PhantomData))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(request)
    }
}

#[derive(Clone, Copy)]
struct Stream;

impl<'de> DeserializeSeed<'de> for Stream {
    type Value = PushStream<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream {
    type Value = PushStream<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut stream = PushStream::default();
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                b"stream" => stream.labels = PushLabels::Pairs(map.next_value_seed(Pairs)?),
                b"labels" => stream.labels = PushLabels::Text(map.next_value_seed(Text)?),
                b"values" => {
                    stream.entries.append(&mut map.next_value_seed(ListOf(EntryArray, PhantomData))?)
                }
                b"entries" => {
                    stream.entries.append(&mut map.next_value_seed(ListOf(EntryObject, PhantomData))?)
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(stream)
    }
}

/// `["<ns>", "line", {…}]`
#[derive(Clone, Copy)]
struct EntryArray;

impl<'de> DeserializeSeed<'de> for EntryArray {
    type Value = PushEntry<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EntryArray {
    type Value = PushEntry<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry: [\"nanoseconds\", \"line\", {metadata}?]")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let ts = seq.next_element_seed(Text)?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let ts_ns: Option<i64> = std::str::from_utf8(&ts).ok().and_then(|text| text.parse().ok());
        let ts_ns =
            ts_ns.ok_or_else(|| A::Error::custom("entry time is not a string of integer nanoseconds"))?;
        let line = seq.next_element_seed(Text)?.unwrap_or_default();
        let metadata = seq.next_element_seed(Pairs)?.unwrap_or_default();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(PushEntry { time: GoTime::from_ns(ts_ns), line, metadata })
    }
}

/// `{"ts": …, "line": …, "structuredMetadata": {…}}`
#[derive(Clone, Copy)]
struct EntryObject;

impl<'de> DeserializeSeed<'de> for EntryObject {
    type Value = PushEntry<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryObject {
    type Value = PushEntry<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry object with ts and line")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = PushEntry { time: NO_TIME, line: Cow::Borrowed(b""), metadata: Vec::new() };
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                b"ts" => {
                    let text = lossy_text(map.next_value_seed(Text)?);
                    entry.time =
                        parse_rfc3339(&text).ok_or_else(|| A::Error::custom("entry ts is not RFC 3339"))?;
                }
                b"line" => entry.line = map.next_value_seed(Text)?,
                b"structuredMetadata" => entry.metadata = map.next_value_seed(Pairs)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(entry: &str) -> String {
        format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{entry}]}}]}}"#)
    }

    #[test]
    fn the_current_shape() {
        let text = r#"{"more":[1],"streams":[{"values":[["7","l\n\"q\"",{"k":"v","k":"w"}]],"x":null,"stream":{"a":"1","a":"2","é":"\u00e9"}}]}"#;
        let request = decode(text.as_bytes()).unwrap();
        let stream = &request.streams[0];
        assert_eq!(
            stream.labels,
            PushLabels::Pairs(vec![("a".into(), "2".into()), ("é".into(), "é".into())])
        );
        let expect = PushEntry {
            time: GoTime { secs: 0, nanos: 7 },
            line: b"l\n\"q\"".to_vec().into(),
            metadata: vec![("k".into(), "w".into())],
        };
        assert_eq!(stream.entries, [expect]);
    }

    #[test]
    fn the_older_shape() {
        let text = r#"{"streams":[{"labels":"{x=\"y\"}","entries":[{"ts":"1970-01-01T00:00:05.5Z","line":"a","structuredMetadata":{"k":"v"}}]}]}"#;
        let request = decode(text.as_bytes()).unwrap();
        assert_eq!(request.streams[0].labels, PushLabels::Text(b"{x=\"y\"}".to_vec().into()));
        assert_eq!(request.streams[0].entries[0].time, GoTime { secs: 5, nanos: 500_000_000 });
        assert_eq!(request.streams[0].entries[0].metadata.len(), 1);
    }

    #[test]
    fn lenient_where_loki_is() {
        for text in ["{}", r#"{"streams":null}"#, r#"{"streams":[]}"#] {
            assert!(decode(text.as_bytes()).unwrap().streams.is_empty(), "{text}");
        }
        for text in [r#"{"streams":[{}]}"#, r#"{"streams":[{"stream":{"a":"b"},"values":null}]}"#] {
            assert!(decode(text.as_bytes()).unwrap().streams[0].entries.is_empty(), "{text}");
        }
        for entry in [r#"["1"]"#, r#"["1","x"]"#, r#"["1","x",{},"more",5]"#] {
            assert_eq!(decode(value(entry).as_bytes()).unwrap().streams[0].entries.len(), 1, "{entry}");
        }
    }

    #[test]
    fn strict_where_loki_is() {
        for entry in [
            "[]",
            "[1,\"x\"]",
            r#"["2026-01-01T00:00:00Z","x"]"#,
            r#"["1.5","x"]"#,
            r#"["1",5]"#,
            r#"["1",null]"#,
            r#"["1","x",{"a":1}]"#,
            r#"["1","x",{"a":{"b":"c"}}]"#,
            r#"["1","x","y"]"#,
            r#"["1","x",[]]"#,
            "5",
        ] {
            assert!(decode(value(entry).as_bytes()).is_err(), "{entry}");
        }
        for text in [
            "",
            "[]",
            "not json",
            r#"{"streams":[{"stream":{"a":"b"},"values":"x"}]}"#,
            r#"{"streams":[]"#,
            "{}x",
            r#"{"streams":[{"stream":"x"}]}"#,
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_need_not_be_utf8() {
        let mut body = value(r#"["1","caf@"]"#).into_bytes();
        let at = body.iter().position(|&byte| byte == b'@').unwrap();
        body[at] = 0xe9;
        assert_eq!(&*decode(&body).unwrap().streams[0].entries[0].line, b"caf\xe9");
    }

    #[test]
    fn many_names_keep_the_last_value() {
        let members: Vec<String> =
            (0..200).map(|index| format!("\"k{:02}\":\"{index}\"", index % 100)).collect();
        let text = value(&format!(r#"["1","x",{{{}}}]"#, members.join(",")));
        let request = decode(text.as_bytes()).unwrap();
        let metadata = &request.streams[0].entries[0].metadata;
        assert_eq!(metadata.len(), 100);
        assert_eq!(metadata[7], ("k07".into(), "107".into()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[\\[\\]{},:\"a-z0-9 ]{0,60}") {
            drop(decode(&bytes));
            drop(decode(text.as_bytes()));
            drop(decode(value(&text).as_bytes()));
        }
    }
}
