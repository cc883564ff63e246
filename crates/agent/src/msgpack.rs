//! MessagePack as far as Fluent's forward protocol needs it: where a value ends, and reading values one by one.
//!
//! Nothing is built: a value of a few bytes can announce millions of others, so [`Ends`] only counts what is still to
//! come, and [`Reader`] hands out borrowed parts. Source: the MessagePack specification.

use std::fmt::Write as _;

/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// Bytes that are no MessagePack, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PackFault {
    #[error("byte 0xc1 begins no value of MessagePack")]
    NeverUsed,
    #[error("values are nested deeper than 32 levels")]
    TooDeep,
    #[error("a value ends too early")]
    Short,
    #[error("it is no event of Fluent's forward protocol")]
    NoEvent,
    #[error("a packed event is not valid gzip, or unpacks to more than chunk_bytes_max")]
    Packing,
}

/// What begins a value: all of one that has no parts, else what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A text or bytes, so many.
    Bytes(usize),
    /// Bytes of an extension: type and number.
    Extension(i8, usize),
    Array(usize),
    Map(usize),
}

/// Reads the beginning of a value; returns it and its length, or `None` if more bytes are needed.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, PackFault> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let number = |size: usize| -> Option<u64> {
        Some(rest.get(..size)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let count = |size: usize| number(size).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let small = |mask: u8| usize::from(first & mask);
    let signed = |size: u32| {
        let shift = 64 - 8 * size;
        number(size as usize).map(|bits| (bits << shift).cast_signed() >> shift)
    };
    let extension = |size: usize| {
        let length = if size == 0 { None } else { Some(count(size)?) };
        let kind = rest.get(size)?.cast_signed();
        Some((kind, length))
    };
    let found = match first {
        0x00..=0x7f => Some((Head::Unsigned(u64::from(*first)), 1)),
        0x80..=0x8f => Some((Head::Map(small(0x0f)), 1)),
        0x90..=0x9f => Some((Head::Array(small(0x0f)), 1)),
        0xa0..=0xbf => Some((Head::Bytes(small(0x1f)), 1)),
        0xc0 => Some((Head::Nil, 1)),
        0xc1 => return Err(PackFault::NeverUsed),
        0xc2 => Some((Head::Bool(false), 1)),
        0xc3 => Some((Head::Bool(true), 1)),
        0xc4 | 0xd9 => count(1).map(|count| (Head::Bytes(count), 2)),
        0xc5 | 0xda => count(2).map(|count| (Head::Bytes(count), 3)),
        0xc6 | 0xdb => count(4).map(|count| (Head::Bytes(count), 5)),
        0xc7 => extension(1).map(|(kind, length)| (Head::Extension(kind, length.unwrap_or(0)), 3)),
        0xc8 => extension(2).map(|(kind, length)| (Head::Extension(kind, length.unwrap_or(0)), 4)),
        0xc9 => extension(4).map(|(kind, length)| (Head::Extension(kind, length.unwrap_or(0)), 6)),
        0xca => number(4).map(|bits| {
            let bits = u32::try_from(bits).unwrap_or_default();
            (Head::Float(f64::from(f32::from_bits(bits))), 5)
        }),
        0xcb => number(8).map(|bits| (Head::Float(f64::from_bits(bits)), 9)),
        0xcc => number(1).map(|value| (Head::Unsigned(value), 2)),
        0xcd => number(2).map(|value| (Head::Unsigned(value), 3)),
        0xce => number(4).map(|value| (Head::Unsigned(value), 5)),
        0xcf => number(8).map(|value| (Head::Unsigned(value), 9)),
        0xd0 => signed(1).map(|value| (Head::Signed(value), 2)),
        0xd1 => signed(2).map(|value| (Head::Signed(value), 3)),
        0xd2 => signed(4).map(|value| (Head::Signed(value), 5)),
        0xd3 => signed(8).map(|value| (Head::Signed(value), 9)),
        0xd4..=0xd8 => {
            let length = 1_usize << (first - 0xd4);
            extension(0).map(|(kind, _)| (Head::Extension(kind, length), 2))
        }
        0xdc => count(2).map(|count| (Head::Array(count), 3)),
        0xdd => count(4).map(|count| (Head::Array(count), 5)),
        0xde => count(2).map(|count| (Head::Map(count), 3)),
        0xdf => count(4).map(|count| (Head::Map(count), 5)),
        0xe0..=0xff => Some((Head::Signed(i64::from(first.cast_signed())), 1)),
    };
    Ok(found)
}

/// Finds where a value ends while its bytes arrive, each looked at once.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    at: usize,
    /// Values still to come, on each level.
    open: Vec<usize>,
    /// Bytes to pass over.
    skip: usize,
}

impl Ends {
    pub(crate) fn new() -> Self {
        Self { at: 0, open: vec![1], skip: 0 }
    }

    /// Looks on; `bytes` begin with the value and grow from call to call. Returns its length once it is whole.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, PackFault> {
        loop {
            let there = bytes.len().saturating_sub(self.at).min(self.skip);
            self.at += there;
            self.skip -= there;
            if self.skip > 0 {
                return Ok(None);
            }
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
            let Some(left) = self.open.last_mut() else { return Ok(Some(self.at)) };
            let Some((head, length)) = head(bytes.get(self.at..).unwrap_or_default())? else {
                return Ok(None);
            };
            *left -= 1;
            self.at += length;
            match head {
                Head::Bytes(count) | Head::Extension(_, count) => self.skip = count,
                Head::Array(count) => self.open.push(count),
                Head::Map(count) => self.open.push(count.saturating_mul(2)),
                _ => {}
            }
            if self.open.len() > DEPTH_MAX {
                return Err(PackFault::TooDeep);
            }
        }
    }
}

/// A value without parts, or the beginning of one that has some.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bytes(&'a [u8]),
    Extension(i8, &'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs follow.
    Map(usize),
}

/// Reads values from whole bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the next value, or the beginning of it.
    pub(crate) fn item(&mut self) -> Result<Item<'a>, PackFault> {
        let (head, length) = head(self.0)?.ok_or(PackFault::Short)?;
        self.0 = self.0.get(length..).unwrap_or_default();
        let mut bytes = |count: usize| -> Result<&'a [u8], PackFault> {
            let (bytes, rest) = self.0.split_at_checked(count).ok_or(PackFault::Short)?;
            self.0 = rest;
            Ok(bytes)
        };
        Ok(match head {
            Head::Nil => Item::Nil,
            Head::Bool(value) => Item::Bool(value),
            Head::Unsigned(value) => Item::Unsigned(value),
            Head::Signed(value) => Item::Signed(value),
            Head::Float(value) => Item::Float(value),
            Head::Bytes(count) => Item::Bytes(bytes(count)?),
            Head::Extension(kind, count) => Item::Extension(kind, bytes(count)?),
            Head::Array(count) => Item::Array(count),
            Head::Map(count) => Item::Map(count),
        })
    }

    /// Passes over the next value; returns its bytes.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], PackFault> {
        let length = Ends::new().find(self.0)?.ok_or(PackFault::Short)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(PackFault::Short)?;
        self.0 = rest;
        Ok(value)
    }
}

/// Writes a value as JSON, up to about `bytes_max`; what is beyond is left out.
pub(crate) fn write_json(
    reader: &mut Reader<'_>,
    out: &mut String,
    bytes_max: usize,
) -> Result<(), PackFault> {
    let item = reader.item()?;
    let text =
        |bytes: &[u8]| serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned()).to_string();
    match item {
        Item::Nil => out.push_str("null"),
        Item::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Item::Unsigned(value) => write!(out, "{value}").unwrap_or_default(),
        Item::Signed(value) => write!(out, "{value}").unwrap_or_default(),
        Item::Float(value) if value.is_finite() => out.push_str(&serde_json::Value::from(value).to_string()),
        Item::Float(_) => out.push_str("null"),
        Item::Bytes(bytes) | Item::Extension(_, bytes) => out.push_str(&text(bytes)),
        Item::Array(count) => {
            out.push('[');
            for index in 0..count {
                if out.len() > bytes_max {
                    reader.skip()?;
                    continue;
                }
                out.push_str(if index > 0 { "," } else { "" });
                write_json(reader, out, bytes_max)?;
            }
            out.push(']');
        }
        Item::Map(count) => {
            out.push('{');
            for index in 0..count {
                if out.len() > bytes_max {
                    reader.skip()?;
                    reader.skip()?;
                    continue;
                }
                out.push_str(if index > 0 { "," } else { "" });
                // A key of JSON is a text.
                let key = match reader.clone().item()? {
                    Item::Bytes(bytes) => {
                        reader.skip()?;
                        text(bytes)
                    }
                    // Written as a text within a text, each level would double its escapes.
                    Item::Array(_) | Item::Map(_) => {
                        reader.skip()?;
                        r#""?""#.to_owned()
                    }
                    _ => {
                        let mut key = String::new();
                        write_json(reader, &mut key, bytes_max)?;
                        text(key.as_bytes())
                    }
                };
                out.push_str(&key);
                out.push(':');
                write_json(reader, out, bytes_max)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": [1, -1, 70000, -300, 1.5, nil, true], "b": {"c": "x"}, 7: ext}`, each in another form.
    const VALUE: &[u8] = &[
        0x83, 0xa1, b'a', 0x97, 0x01, 0xff, 0xce, 0, 1, 0x11, 0x70, 0xd1, 0xfe, 0xd4, 0xcb, 0x3f, 0xf8, 0, 0,
        0, 0, 0, 0, 0xc0, 0xc3, 0xd9, 1, b'b', 0x81, 0xc4, 1, b'c', 0xda, 0, 1, b'x', 0x07, 0xd6, 5, b'e',
        b'x', b't', b'.',
    ];

    #[test]
    fn ends_are_found_at_each_byte() {
        let mut ends = Ends::new();
        for count in 0..VALUE.len() {
            assert_eq!(ends.find(&VALUE[..count]), Ok(None), "{count}");
        }
        assert_eq!(ends.find(&[VALUE, VALUE].concat()), Ok(Some(VALUE.len())));
        assert_eq!(Ends::new().find(&[0x91; 64]), Err(PackFault::TooDeep));
        assert_eq!(Ends::new().find(&[0xc1]), Err(PackFault::NeverUsed));
        // Four billion values announced in five bytes cost nothing.
        assert_eq!(Ends::new().find(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Ok(None));
    }

    #[test]
    fn values_become_json() {
        let mut text = String::new();
        write_json(&mut Reader(VALUE), &mut text, 1_000).unwrap();
        assert_eq!(text, r#"{"a":[1,-1,70000,-300,1.5,null,true],"b":{"c":"x"},"7":"ext."}"#);
        let mut short = String::new();
        let mut reader = Reader(VALUE);
        write_json(&mut reader, &mut short, 9).unwrap();
        assert_eq!((&*short, reader.0.len()), (r#"{"a":[1,-1]}"#, 0));
        let mut nested = String::new();
        let maps = [&[0x81; 30][..], &[0x80], &[0x07; 30]].concat();
        write_json(&mut Reader(&maps), &mut nested, 1_000).unwrap();
        assert_eq!(nested, r#"{"?":7}"#, "maps as keys of maps");
        assert_eq!(Reader(&VALUE[..20]).skip(), Err(PackFault::Short));
        assert_eq!(write_json(&mut Reader(&VALUE[..20]), &mut text, 1_000), Err(PackFault::Short));
    }
}
