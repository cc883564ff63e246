//! Events of Fluent's forward protocol: one message of a connection, in each of its modes.
//!
//! Source: the Fluentd forward protocol specification, v1: `[tag, time, record, option]`, `[tag, entries, option]` with
//! a list of entries, with them packed in bytes, or packed and compressed. A record is read field by field: one entry is
//! in memory at a time, besides the bytes of the message.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use crate::msgpack::{Item, PackFault, Reader, write_json};

/// Most fields that are read of a record; the others are left out.
const FIELDS_MAX: usize = 128;

/// A message as it is divided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event<'a> {
    pub(crate) tag: Cow<'a, str>,
    entries: Entries<'a>,
    /// Id to acknowledge, if that is wanted.
    pub(crate) chunk: Option<&'a [u8]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entries<'a> {
    /// Time and record.
    One(&'a [u8]),
    /// So many pairs of them.
    List(usize, &'a [u8]),
    /// As many as there are.
    Packed(Cow<'a, [u8]>),
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) sent_ns: Option<i64>,
    pub(crate) fields: Vec<(Cow<'a, str>, Field<'a>)>,
    /// The record in MessagePack.
    packed: &'a [u8],
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    /// A text, or bytes.
    Bytes(&'a [u8]),
    /// Anything else, as JSON.
    Json(String),
}

impl Field<'_> {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes),
            Self::Json(text) => Cow::Borrowed(text),
        }
    }
}

/// Divides a whole message; `None`: a heartbeat. `bytes_max` bounds what packed entries unpack to.
pub(crate) fn parse(bytes: &[u8], bytes_max: usize) -> Result<Option<Event<'_>>, PackFault> {
    let mut reader = Reader(bytes);
    let count = match reader.item()? {
        Item::Nil => return Ok(None),
        Item::Array(count @ 2..=4) => count,
        _ => return Err(PackFault::NoEvent),
    };
    let Item::Bytes(tag) = reader.item()? else { return Err(PackFault::NoEvent) };
    let tag = String::from_utf8_lossy(tag);
    let rest = reader.0;
    let mut options = Options::default();
    let entries = match reader.item()? {
        Item::Array(entries) if count < 4 => {
            let list = reader.0;
            for _ in 0..entries {
                reader.skip()?;
            }
            options.read(&mut reader, count == 3)?;
            Entries::List(entries, list)
        }
        Item::Bytes(packed) if count < 4 => {
            options.read(&mut reader, count == 3)?;
            Entries::Packed(if options.is_gzip { unpack(packed, bytes_max)?.into() } else { packed.into() })
        }
        Item::Unsigned(_) | Item::Signed(_) | Item::Float(_) | Item::Extension(..) if count > 2 => {
            reader.skip()?;
            let one = rest.get(..rest.len() - reader.0.len()).unwrap_or_default();
            options.read(&mut reader, count == 4)?;
            Entries::One(one)
        }
        _ => return Err(PackFault::NoEvent),
    };
    Ok(Some(Event { tag, entries, chunk: options.chunk }))
}

#[derive(Debug, Default)]
struct Options<'a> {
    chunk: Option<&'a [u8]>,
    is_gzip: bool,
}

impl<'a> Options<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, is_there: bool) -> Result<(), PackFault> {
        if !is_there {
            return Ok(());
        }
        let pairs = match reader.item()? {
            Item::Map(pairs) => pairs,
            Item::Nil => 0,
            _ => return Err(PackFault::NoEvent),
        };
        for _ in 0..pairs {
            let key = reader.item()?;
            let mut value = Reader(reader.skip()?);
            match (key, value.item()?) {
                (Item::Bytes(b"chunk"), Item::Bytes(id)) => self.chunk = Some(id),
                (Item::Bytes(b"compressed"), Item::Bytes(form)) => self.is_gzip = form == b"gzip",
                _ => {}
            }
        }
        Ok(())
    }
}

fn unpack(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, PackFault> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(bytes_max as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Ok(count) if count <= bytes_max => Ok(unpacked),
        _ => Err(PackFault::Packing),
    }
}

impl Event<'_> {
    /// Hands over the entries one by one. Errors: the first that cannot be read; those before it were handed over.
    pub(crate) fn each(
        &self,
        json_bytes_max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), PackFault> {
        match &self.entries {
            Entries::One(bytes) => visit(record(&mut Reader(bytes), json_bytes_max)?),
            Entries::List(count, bytes) => {
                let mut reader = Reader(bytes);
                for _ in 0..*count {
                    visit(entry(&mut reader, json_bytes_max)?);
                }
            }
            Entries::Packed(bytes) => {
                let mut reader = Reader(bytes);
                while !reader.0.is_empty() {
                    visit(entry(&mut reader, json_bytes_max)?);
                }
            }
        }
        Ok(())
    }
}

fn entry<'a>(reader: &mut Reader<'a>, json_bytes_max: usize) -> Result<Record<'a>, PackFault> {
    match reader.item()? {
        Item::Array(2) => record(reader, json_bytes_max),
        _ => Err(PackFault::NoEvent),
    }
}

/// Reads a time and a record.
fn record<'a>(reader: &mut Reader<'a>, json_bytes_max: usize) -> Result<Record<'a>, PackFault> {
    let time = match reader.item()? {
        // Newer senders put the time in a list with metadata of the entry.
        Item::Array(2) => {
            let time = reader.item()?;
            reader.skip()?;
            time
        }
        time => time,
    };
    let start = reader.0;
    let Item::Map(count) = reader.item()? else { return Err(PackFault::NoEvent) };
    let mut fields = Vec::new();
    for _ in 0..count {
        let key = Reader(reader.skip()?).item()?;
        let value = reader.skip()?;
        let Item::Bytes(name) = key else { continue };
        if fields.len() == FIELDS_MAX {
            continue;
        }
        let field = match Reader(value).item()? {
            Item::Nil => continue,
            Item::Bytes(bytes) => Field::Bytes(bytes),
            _ => {
                let mut json = String::new();
                write_json(&mut Reader(value), &mut json, json_bytes_max)?;
                Field::Json(json)
            }
        };
        fields.push((String::from_utf8_lossy(name), field));
    }
    let packed = start.get(..start.len() - reader.0.len()).unwrap_or_default();
    Ok(Record { sent_ns: time_of(time), fields, packed })
}

fn time_of(item: Item<'_>) -> Option<i64> {
    let of = |seconds: i64, nanos: u32| seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos));
    let ns = match item {
        Item::Unsigned(seconds) => of(i64::try_from(seconds).ok()?, 0),
        Item::Signed(seconds) => of(seconds, 0),
        Item::Extension(0, bytes) => {
            let (seconds, rest) = bytes.split_first_chunk::<4>()?;
            let nanos = u32::from_be_bytes(rest.try_into().ok()?);
            of(i64::from(u32::from_be_bytes(*seconds)), nanos)
        }
        Item::Float(seconds) if (0.0..=9.2e9).contains(&seconds) =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
            Some((seconds * 1e6).round() as i64 * 1_000)
        }
        _ => None,
    };
    // A sender without a clock says 0.
    ns.filter(|ns| *ns > 0)
}

impl Record<'_> {
    /// Returns a field that is there.
    pub(crate) fn get(&self, name: &str) -> Option<&Field<'_>> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, field)| field)
    }

    /// Writes the record as JSON.
    pub(crate) fn json(&self, bytes_max: usize) -> String {
        let mut json = String::new();
        // It was read before, so it is whole.
        write_json(&mut Reader(self.packed), &mut json, bytes_max).unwrap_or_default();
        json
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    pub(crate) fn text(text: &str) -> Vec<u8> {
        [&[0xd9, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    pub(crate) fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0x80 | u8::try_from(pairs.len()).unwrap()];
        pairs.iter().for_each(|(name, value)| bytes.extend([text(name), text(value)].concat()));
        bytes
    }

    fn list(items: &[Vec<u8>]) -> Vec<u8> {
        [vec![0x90 | u8::try_from(items.len()).unwrap()], items.concat()].concat()
    }

    /// 1,700,000,000 s and 5 ns.
    const TIME: &[u8] = &[0xd7, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 5];

    pub(crate) fn message(tag: &str, record: &[(&str, &str)], chunk: Option<&str>) -> Vec<u8> {
        let mut items = vec![text(tag), TIME.to_vec(), map(record)];
        items.extend(chunk.map(|chunk| map(&[("chunk", chunk)])));
        list(&items)
    }

    /// Tag, chunk, and time and JSON of each record.
    type Shown = (String, Option<Vec<u8>>, Vec<(Option<i64>, String)>);

    fn read(bytes: &[u8]) -> Result<Shown, PackFault> {
        let event = parse(bytes, 1_000)?.ok_or(PackFault::NoEvent)?;
        let mut records = Vec::new();
        event.each(1_000, &mut |record| records.push((record.sent_ns, record.json(1_000))))?;
        Ok((event.tag.into_owned(), event.chunk.map(<[u8]>::to_vec), records))
    }

    #[test]
    fn all_modes_give_the_same_entries() {
        let record = map(&[("log", "hello")]);
        let entry = list(&[TIME.to_vec(), record.clone()]);
        let old = list(&[vec![0xce, 0x65, 0x53, 0xf1, 0], record]);
        let both = [entry.clone(), old.clone()].concat();
        let binary = |bytes: &[u8]| [&[0xc4, u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&both).unwrap();
        let gzip = gzip.finish().unwrap();
        let chunk = map(&[("chunk", "id"), ("compressed", "gzip")]);
        let json = r#"{"log":"hello"}"#.to_owned();
        let want = [(Some(1_700_000_000_000_000_005), json.clone()), (Some(1_700_000_000_000_000_000), json)];
        let whole = Ok(("app".to_owned(), None, want.to_vec()));
        assert_eq!(read(&list(&[text("app"), list(&[entry.clone(), old])])), whole);
        assert_eq!(read(&list(&[text("app"), binary(&both), vec![0xc0]])), whole);
        let packed = list(&[text("app"), binary(&gzip), chunk]);
        assert_eq!(read(&packed), Ok(("app".to_owned(), Some(b"id".to_vec()), want.to_vec())));
        assert_eq!(parse(&packed, 10), Err(PackFault::Packing));
        let one = message("app", &[("log", "hello")], Some("7"));
        assert_eq!(read(&one), Ok(("app".to_owned(), Some(b"7".to_vec()), want[..1].to_vec())));
        assert_eq!(parse(&[0xc0], 10), Ok(None));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for bytes in [&[0x01][..], &[0x91, 0xa1, b'a'], &[0x93, 0x01, 0x01, 0x80], &[0x92, 0xa1, b'a', 0x01]]
        {
            assert_eq!(read(bytes), Err(PackFault::NoEvent), "{bytes:?}");
        }
        let bad_record = list(&[text("app"), TIME.to_vec(), vec![0x01]]);
        assert_eq!(read(&bad_record), Err(PackFault::NoEvent));
        let whole = message("app", &[("log", "hello")], Some("7"));
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
    }
}
