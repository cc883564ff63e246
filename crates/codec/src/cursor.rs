//! Reading and writing the primitives of the formats: LEB128 varints, zigzag, length-prefixed texts.
//!
//! The reader trusts nothing: every length is checked against the bytes that are left, so whatever is
//! allocated from a length read here is bounded by the size of the input.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::error::Error;
use logyard_model::{Label, LabelSet};

/// Appends `value` in LEB128, 1 to 10 bytes.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a count or length.
pub(crate) fn put_len(out: &mut Vec<u8>, value: usize) {
    put_varint(out, value as u64);
}

/// Appends a signed value, zigzag in LEB128.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a label set: count, then names and values in order.
pub(crate) fn put_label_set(out: &mut Vec<u8>, labels: &LabelSet) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Reads primitives from the front of a byte slice.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads `bytes` from their start; errors name `what`.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Makes the error of damaged bytes.
    pub(crate) fn corrupt(&self, why: impl Into<String>) -> Error {
        Error::corrupt(self.what, why)
    }

    /// Fails if bytes are left.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.corrupt(format!("{left} bytes too many"))),
        }
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        match self.rest.split_at_checked(bytes) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.corrupt(format!("want {bytes} more bytes, got {}", self.rest.len()))),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.corrupt(format!("want {N} more bytes, got {}", self.rest.len()))),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        self.varint_long()
    }

    fn varint_long(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            let shift = index * 7;
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.corrupt("a varint does not end or is too large"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, Error> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.corrupt(format!("want a number of 32 bits, got {value}")))
    }

    pub(crate) fn zigzag(&mut self) -> Result<i64, Error> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads a count of things that take at least one byte each, so no more than bytes left.
    pub(crate) fn count(&mut self) -> Result<usize, Error> {
        let value = self.varint()?;
        match usize::try_from(value) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            _ => {
                Err(self.corrupt(format!("count {value} is larger than the {} bytes left", self.rest.len())))
            }
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = self.count()?;
        let text = self.take(bytes)?;
        std::str::from_utf8(text).map_err(|_| self.corrupt("a text is not UTF-8"))
    }

    pub(crate) fn label_set(&mut self) -> Result<LabelSet, Error> {
        let count = self.count()?;
        // A label takes two bytes at least; the vector grows with labels that are really there.
        let mut labels: Vec<Label> = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let name = self.text()?;
            let value = self.text()?;
            labels.push((name.into(), value.into()));
        }
        LabelSet::new(labels).map_err(|error| self.corrupt(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_zigzag(&mut out, value.cast_signed());
            let mut cursor = Cursor::new("numbers", &out);
            assert_eq!(cursor.varint().unwrap(), value);
            assert_eq!(cursor.zigzag().unwrap(), value.cast_signed());
            cursor.finish().unwrap();
        }
    }

    #[test]
    fn bad_numbers_and_lengths_are_refused() {
        let endless = [0xff; 11];
        assert!(Cursor::new("x", &endless).varint().is_err());
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(Cursor::new("x", &too_large).varint().is_err());
        assert!(Cursor::new("x", &[0x80]).varint().is_err());
        assert!(Cursor::new("x", &[3, b'a']).text().is_err());
        assert!(Cursor::new("x", &[1, 0xff]).text().is_err());
        assert!(Cursor::new("x", &[2, 1, b'a', 0, 1, b'a', 0]).label_set().is_err());
    }
}
