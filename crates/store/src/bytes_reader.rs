//! Reading and writing the store's binary tables: little endian numbers and LEB128 varints.
//!
//! The reader never panics and never takes more memory than the bytes it is given justify.

use crate::error::{Error, Result};

/// Reads a table front to back. Every error is `Kind::Corrupt` and names the table.
#[derive(Debug)]
pub(crate) struct BytesReader<'a> {
    rest: &'a [u8],
    table: &'static str,
}

impl<'a> BytesReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], table: &'static str) -> Self {
        Self { rest: bytes, table }
    }

    /// Returns an error about this table.
    pub(crate) fn bad(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("{}: {what}", self.table))
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.bad("ends too early"))?;
        self.rest = rest;
        Ok(part)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (part, rest) = self.rest.split_first_chunk().ok_or_else(|| self.bad("ends too early"))?;
        self.rest = rest;
        Ok(*part)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.bad("a number is too big"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.bad("a number is too big"))
    }

    /// Reads a count of items that take at least `item_bytes` each, so that it can size a table.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize> {
        let count = self.varint()?;
        let fits = usize::try_from(count).ok().filter(|count| *count <= self.rest.len() / item_bytes.max(1));
        fits.ok_or_else(|| self.bad(format!("{count} items do not fit")))
    }

    /// Reads a text behind its length.
    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let count = self.count(1)?;
        let bytes = self.take(count)?;
        std::str::from_utf8(bytes).map_err(|_| self.bad("a text is not UTF-8"))
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.bad(format!("{} bytes too many", self.rest.len())))
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends a text behind its length.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = BytesReader::new(&bytes, "test");
            assert_eq!(reader.varint().unwrap(), value);
            reader.finish().unwrap();
            assert!(BytesReader::new(&bytes[..bytes.len() - 1], "test").varint().is_err());
        }
        assert!(BytesReader::new(&[0xff; 11], "test").varint().is_err());
    }

    #[test]
    fn counts_are_bounded_by_what_is_there() {
        let mut reader = BytesReader::new(&[200, 1, 0, 0], "test");
        assert!(reader.count(1).unwrap_err().to_string().contains("test: 200 items do not fit"));
    }
}
