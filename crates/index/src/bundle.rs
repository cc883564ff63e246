//! The bytes of an index: named parts laid end to end behind a small table.
//!
//! Format, little endian, version 1:
//!
//! ```text
//! magic "LYSI"   version u16   parts u16
//! per part:      name bytes u8, name, bytes u32
//! the parts' bytes in the same order
//! ```
//!
//! No checksum of its own: a bundle lies in a section that has one.

use crate::Error;
use std::ops::Range;

const MAGIC: &[u8; 4] = b"LYSI";
const VERSION: u16 = 1;

/// Lays parts end to end.
pub(crate) fn encode(parts: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let too_big = |what: &str| Error::invalid(format!("cannot build stream index: {what} too big"));
    let mut bytes = Vec::with_capacity(64 + parts.iter().map(|part| part.1.len() + 32).sum::<usize>());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u16::try_from(parts.len()).map_err(|_| too_big("table"))?.to_le_bytes());
    for (name, part) in parts {
        bytes.push(u8::try_from(name.len()).map_err(|_| too_big("name"))?);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&u32::try_from(part.len()).map_err(|_| too_big("part"))?.to_le_bytes());
    }
    for (_, part) in parts {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Reads the table: each part's name and where its bytes lie. Never panics.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(String, Range<usize>)>, Error> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4)? != MAGIC {
        return Err(Error::corrupt("stream index has no magic LYSI"));
    }
    let version = reader.u16()?;
    if version != VERSION {
        return Err(Error::corrupt(format!("stream index has version {version}, known is {VERSION}")));
    }
    let count = reader.u16()?;
    let mut table = Vec::new();
    for _ in 0..count {
        let name_bytes = usize::from(reader.u8()?);
        let name = String::from_utf8(reader.take(name_bytes)?.to_vec())
            .map_err(|_| Error::corrupt("stream index has a part whose name is no text"))?;
        table.push((name, reader.u32()? as usize));
    }
    let mut parts = Vec::with_capacity(table.len());
    for (name, part_bytes) in table {
        let start = reader.at;
        reader.take(part_bytes)?;
        parts.push((name, start..reader.at));
    }
    Ok(parts)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or_else(|| Error::corrupt("stream index ends too early"))?;
        self.at += count;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let parts =
            vec![("a".to_owned(), vec![1, 2, 3]), ("b.x".to_owned(), vec![]), ("c".to_owned(), vec![9])];
        let bytes = encode(&parts).unwrap();
        let back: Vec<_> =
            decode(&bytes).unwrap().into_iter().map(|(name, at)| (name, bytes[at].to_vec())).collect();
        assert_eq!(back, parts);
    }

    #[test]
    fn cut_bundles_are_refused() {
        let bytes = encode(&[("a".to_owned(), vec![1, 2, 3])]).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).unwrap_err().kind(), crate::Kind::Corrupt, "cut at {end}");
        }
    }
}
