//! Reads Loki's JSON push, both shapes.
//!
//! ```text
//! {"streams":[{"stream":{name:value},"values":[["<ns>","line",{name:value}?, …ignored]]}]}
//! {"streams":[{"labels":"{name=\"value\"}","entries":[{"ts":"<RFC 3339>","line":"…","structuredMetadata":{}}]}]}
//! ```
//!
//! Strict as Loki v3.7.6: times are strings of integer ns, lines and metadata values are strings.
//! `null` stands for an absent list. Unknown members are skipped. Strings are read as bytes, since
//! senders put lines into JSON that are not UTF-8. No tree is built: visitors fill the request, and
//! count what they add. Names of members and times are looked at in place.

use crate::Error;
use crate::budget::Budget;
use crate::go_time::{GoTime, parse_rfc3339};
use crate::loki_push::{Collector, NO_TIME, Pair, PushEntries, PushLabels, PushRequest, PushStream};
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

pub(crate) fn decode(bytes: &[u8], bytes_max: usize) -> Result<PushRequest<'_>, Error> {
    let mut collector = Collector::new(bytes_max);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Request(&mut collector).deserialize(&mut deserializer);
    match read.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(collector.finish()),
        // An error that passes through serde is left with its text alone, without its kind.
        Err(error) => Err(collector
            .budget
            .exceeded()
            .unwrap_or_else(|| Error::invalid(format!("cannot decode push request: {error}")))),
    }
}

/// A JSON string as the bytes between its quotes, escapes decoded; counted.
struct Text<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Cow<'de, [u8]>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = Cow<'de, [u8]>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        self.0.take(bytes.len()).map_err(E::custom)?;
        Ok(Cow::Borrowed(bytes))
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        self.0.take_allocation(bytes.len()).map_err(E::custom)?;
        Ok(Cow::Owned(bytes.to_vec()))
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.visit_borrowed_bytes(text.as_bytes())
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }
}

/// A JSON string that a function reads in place; it says what is wrong with it.
#[derive(Clone, Copy)]
struct Parsed<T>(fn(&[u8]) -> Result<T, &'static str>);

impl<'de, T> DeserializeSeed<'de> for Parsed<T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<T> Visitor<'_> for Parsed<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        (self.0)(bytes).map_err(E::custom)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }
}

/// The members that are read, of all kinds of objects.
enum Member {
    Streams,
    Labels,
    LabelText,
    EntryArrays,
    EntryObjects,
    Time,
    Line,
    Metadata,
    Unknown,
}

const MEMBER: Parsed<Member> = Parsed(|name| {
    Ok(match name {
        b"streams" => Member::Streams,
        b"stream" => Member::Labels,
        b"labels" => Member::LabelText,
        b"values" => Member::EntryArrays,
        b"entries" => Member::EntryObjects,
        b"ts" => Member::Time,
        b"line" => Member::Line,
        b"structuredMetadata" => Member::Metadata,
        _ => Member::Unknown,
    })
});

const TIME_NS: Parsed<GoTime> = Parsed(|text| {
    let ts_ns: Option<i64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    ts_ns.map(GoTime::from_ns).ok_or("entry time is not a string of integer nanoseconds")
});

const TIME_RFC3339: Parsed<GoTime> =
    Parsed(|text| std::str::from_utf8(text).ok().and_then(parse_rfc3339).ok_or("entry ts is not RFC 3339"));

/// An object of strings, added to `list` from `start` on, where it ends; of a repeated name the last
/// value wins.
struct Pairs<'p, 'de> {
    list: &'p mut Vec<Pair<'de>>,
    start: usize,
    budget: &'p mut Budget,
}

impl<'de> DeserializeSeed<'de> for Pairs<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Above this many names a repeated one is looked for by sorting, so that hostile input stays linear.
const PAIRS_SCAN_MAX: usize = 32;

impl<'de> Visitor<'de> for Pairs<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { list, start, budget } = self;
        while let Some(name) = map.next_key_seed(Text(budget))? {
            let name = budget.valid(name).map_err(A::Error::custom)?;
            let value = map.next_value_seed(Text(budget))?;
            let value = budget.valid(value).map_err(A::Error::custom)?;
            let own = list.get_mut(start..).unwrap_or_default();
            let known =
                if own.len() < PAIRS_SCAN_MAX { own.iter_mut().find(|pair| pair.0 == name) } else { None };
            match known {
                Some(pair) => pair.1 = value,
                None => budget.push(list, (name, value)).map_err(A::Error::custom)?,
            }
        }
        if list.len().saturating_sub(start) > PAIRS_SCAN_MAX {
            keep_last_of_each_name(list, start);
        }
        Ok(())
    }
}

/// Sorts the pairs from `start` on by name, where they lie: a copy of them is not counted.
fn keep_last_of_each_name(list: &mut Vec<Pair<'_>>, start: usize) {
    let own = list.get_mut(start..).unwrap_or_default();
    own.reverse();
    own.sort_by(|a, b| a.0.cmp(&b.0));
    let mut kept = 0;
    for at in 1..own.len() {
        if own[at].0 != own[kept].0 {
            kept += 1;
            own.swap(kept, at);
        }
    }
    list.truncate(start + kept + 1);
}

/// Reads one item of a list; false at its end.
trait Items<'de> {
    fn next<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error>;
}

/// A list, read item by item; `null` is the empty list.
struct ListOf<I>(I);

impl<'de, I: Items<'de>> DeserializeSeed<'de> for ListOf<I> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, I: Items<'de>> Visitor<'de> for ListOf<I> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        while self.0.next(&mut seq)? {}
        Ok(())
    }
}

struct Request<'c, 'de>(&'c mut Collector<'de>);

impl<'de> DeserializeSeed<'de> for Request<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let nothing_taken = self.0.budget.mark();
        while let Some(member) = map.next_key_seed(MEMBER)? {
            match member {
                Member::Streams => {
                    self.0.clear(nothing_taken);
                    map.next_value_seed(ListOf(Streams(self.0)))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Streams<'c, 'de>(&'c mut Collector<'de>);

impl<'de> Items<'de> for Streams<'_, 'de> {
    fn next<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let mark = self.0.budget.mark();
        let Some(stream) = seq.next_element_seed(Stream(&mut self.0.budget))? else { return Ok(false) };
        self.0.add(stream, mark).map_err(A::Error::custom)?;
        Ok(true)
    }
}

struct Stream<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Stream<'_> {
    type Value = PushStream<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_> {
    type Value = PushStream<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let budget = self.0;
        let mut stream = PushStream::default();
        while let Some(member) = map.next_key_seed(MEMBER)? {
            let entries = &mut stream.entries;
            match member {
                Member::Labels => {
                    let mut list = Vec::new();
                    map.next_value_seed(Pairs { list: &mut list, start: 0, budget })?;
                    stream.labels = PushLabels::Pairs(list);
                }
                Member::LabelText => stream.labels = PushLabels::Text(map.next_value_seed(Text(budget))?),
                Member::EntryArrays => map.next_value_seed(ListOf(EntryArrays { entries, budget }))?,
                Member::EntryObjects => map.next_value_seed(ListOf(EntryObjects { entries, budget }))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(stream)
    }
}

struct EntryArrays<'e, 'de> {
    entries: &'e mut PushEntries<'de>,
    budget: &'e mut Budget,
}

impl<'de> Items<'de> for EntryArrays<'_, 'de> {
    fn next<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let entry = EntryArray { entries: self.entries, budget: self.budget };
        Ok(seq.next_element_seed(entry)?.is_some())
    }
}

/// `["<ns>", "line", {…}]`
struct EntryArray<'e, 'de> {
    entries: &'e mut PushEntries<'de>,
    budget: &'e mut Budget,
}

impl<'de> DeserializeSeed<'de> for EntryArray<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EntryArray<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry: [\"nanoseconds\", \"line\", {metadata}?]")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let time = seq.next_element_seed(TIME_NS)?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let Self { entries, budget } = self;
        let line = seq.next_element_seed(Text(budget))?.unwrap_or_default();
        let (list, start) = entries.next_pairs();
        seq.next_element_seed(Pairs { list, start, budget })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        entries.push(time, line, budget).map_err(A::Error::custom)
    }
}

struct EntryObjects<'e, 'de> {
    entries: &'e mut PushEntries<'de>,
    budget: &'e mut Budget,
}

impl<'de> Items<'de> for EntryObjects<'_, 'de> {
    fn next<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let entry = EntryObject { entries: self.entries, budget: self.budget };
        Ok(seq.next_element_seed(entry)?.is_some())
    }
}

/// `{"ts": …, "line": …, "structuredMetadata": {…}}`
struct EntryObject<'e, 'de> {
    entries: &'e mut PushEntries<'de>,
    budget: &'e mut Budget,
}

impl<'de> DeserializeSeed<'de> for EntryObject<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryObject<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry object with ts and line")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { entries, budget } = self;
        let (mut time, mut line) = (NO_TIME, Cow::default());
        while let Some(member) = map.next_key_seed(MEMBER)? {
            match member {
                Member::Time => time = map.next_value_seed(TIME_RFC3339)?,
                Member::Line => line = map.next_value_seed(Text(budget))?,
                Member::Metadata => {
                    let (list, start) = entries.next_pairs();
                    list.truncate(start);
                    map.next_value_seed(Pairs { list, start, budget })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        entries.push(time, line, budget).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests;
