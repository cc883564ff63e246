//! The frame of a segment file: header, table of contents, footer. Format: `schemas/segment.md`.
//!
//! A segment is read from its end: the footer leads to the table of contents, that to the sections of the
//! index area, those to the blocks. The header repeats who the file is, for a person or a repair tool.

use crate::bytes_reader::{BytesReader, put_text};
use crate::error::{Error, Result};
use crate::lineage::Lineage;
use crc32c::crc32c;
use std::ops::Range;

/// Version of the segment format that is written.
pub(crate) const VERSION: u16 = 1;
const HEADER_MAGIC: &[u8; 4] = b"LYSG";
const FOOTER_MAGIC: &[u8; 4] = b"LYS1";
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of the footer: checksum and length of the table of contents, start of the index area, magic.
const FOOTER_BYTES: usize = 20;
/// Set for a section that a reader must understand.
const FLAG_REQUIRED: u16 = 1;

/// Sections of the index area.
pub(crate) const SECTION_STREAMS: u16 = 1;
pub(crate) const SECTION_RUNS: u16 = 2;
pub(crate) const SECTION_BLOCKS: u16 = 3;
pub(crate) const SECTION_STREAM_INDEX: u16 = 4;
pub(crate) const SECTION_LINEAGE: u16 = 16;
/// Dictionary of words, and filters of ids: in front of the others, and read on their own.
pub(crate) const SECTION_WORDS: u16 = 5;
pub(crate) const SECTION_IDS: u16 = 6;

/// Who a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) ulid: [u8; 16],
    /// xxh3-64 of the tenant's name.
    pub(crate) tenant_hash: u64,
    /// UTC day, in days since 1970-01-01.
    pub(crate) day: i32,
    /// Retention class, at most 8 bytes.
    pub(crate) class: String,
    pub(crate) level: u16,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(HEADER_MAGIC);
        put(&VERSION.to_le_bytes());
        put(&self.level.to_le_bytes());
        // Required, then optional features: none yet.
        put(&[0; 8]);
        put(&self.ulid);
        put(&self.tenant_hash.to_le_bytes());
        put(&self.day.to_le_bytes());
        let mut class = [0; 8];
        class[..self.class.len()].copy_from_slice(self.class.as_bytes());
        put(&class);
        let crc = crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header from the front of a file.
    ///
    /// Errors: `Kind::Corrupt`; `Kind::Invalid` for a version or a required feature unknown here.
    pub(crate) fn decode(file: &[u8]) -> Result<Self> {
        let mut reader = BytesReader::new(file, "segment header");
        let bytes: [u8; HEADER_BYTES] = reader.array()?;
        let mut reader = BytesReader::new(&bytes, "segment header");
        if reader.take(4)? != HEADER_MAGIC {
            return Err(reader.bad("has no magic LYSG"));
        }
        let (version, level) = (reader.u16()?, reader.u16()?);
        let (required, _optional) = (reader.u32()?, reader.u32()?);
        let (ulid, tenant_hash, day) = (reader.array()?, reader.u64()?, i32::from_le_bytes(reader.array()?));
        let class: [u8; 8] = reader.array()?;
        let _reserved = reader.u64()?;
        let (want, got) = (reader.u32()?, crc32c(bytes.split_last_chunk::<4>().map_or(&[], |parts| parts.0)));
        if want != got {
            return Err(reader.bad(format!("checksum mismatch (want {want:08x}, got {got:08x})")));
        }
        // After the checksum: a damaged version is no other version.
        if version != VERSION || required != 0 {
            return Err(Error::invalid(format!(
                "segment has version {version} with features {required:#x}, known is {VERSION} with none; \
                 run the version that wrote it"
            )));
        }
        let class = class.split(|byte| *byte == 0).next().unwrap_or_default();
        let class = std::str::from_utf8(class).map_err(|_| reader.bad("the class is not UTF-8"))?.to_owned();
        Ok(Self { ulid, tenant_hash, day, class, level })
    }
}

/// Where a section lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TocSection {
    pub(crate) kind: u16,
    pub(crate) is_required: bool,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

/// The table of contents: sections and totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toc {
    pub(crate) sections: Vec<TocSection>,
    pub(crate) totals: Totals,
    /// Place among segments in order of arrival.
    pub(crate) order: u64,
    /// Every WAL record up to this one that belongs here is in this or an earlier segment.
    pub(crate) wal_done: u64,
    /// Version of the program that wrote the file.
    pub(crate) writer: String,
}

/// Sums over a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    /// Bytes of all lines.
    pub(crate) raw_bytes: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) streams: u64,
    pub(crate) blocks: u64,
}

impl Toc {
    /// Encodes table and footer: the end of the file.
    pub(crate) fn encode(&self, index_start: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.sections.len() as u16).to_le_bytes());
        for section in &self.sections {
            bytes.extend_from_slice(&section.kind.to_le_bytes());
            bytes.extend_from_slice(&(if section.is_required { FLAG_REQUIRED } else { 0 }).to_le_bytes());
            bytes.extend_from_slice(&section.offset.to_le_bytes());
            bytes.extend_from_slice(&section.bytes.to_le_bytes());
            bytes.extend_from_slice(&section.crc32c.to_le_bytes());
        }
        let totals = &self.totals;
        for number in
            [totals.rows, totals.raw_bytes, totals.streams, totals.blocks, self.order, self.wal_done]
        {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&totals.min_ns.to_le_bytes());
        bytes.extend_from_slice(&totals.max_ns.to_le_bytes());
        put_text(&mut bytes, &self.writer);
        let (crc, toc_bytes) = (crc32c(&bytes), bytes.len() as u32);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&toc_bytes.to_le_bytes());
        bytes.extend_from_slice(&index_start.to_le_bytes());
        bytes.extend_from_slice(FOOTER_MAGIC);
        bytes
    }

    /// Reads the table from the end of `tail`, the last bytes of a file of `file_bytes`.
    ///
    /// Errors: `Kind::Corrupt`; `Kind::Invalid` for a required section or a version unknown here.
    pub(crate) fn decode(tail: &[u8], file_bytes: u64) -> Result<Self> {
        let footer_at = tail.len().checked_sub(FOOTER_BYTES);
        let (front, footer) = footer_at
            .and_then(|at| tail.split_at_checked(at))
            .ok_or_else(|| Error::corrupt("segment footer: ends too early"))?;
        let mut reader = BytesReader::new(footer, "segment footer");
        let (crc, toc_bytes, index_start) = (reader.u32()?, reader.u32()? as usize, reader.u64()?);
        if reader.take(4)? != FOOTER_MAGIC {
            return Err(reader.bad("has no magic LYS1"));
        }
        let toc = front.len().checked_sub(toc_bytes).and_then(|at| front.get(at..));
        let toc =
            toc.ok_or_else(|| reader.bad(format!("table of contents of {toc_bytes} bytes does not fit")))?;
        let got = crc32c(toc);
        if got != crc {
            return Err(reader.bad(format!("checksum mismatch (want {crc:08x}, got {got:08x})")));
        }
        let toc = Self::decode_table(toc)?;
        let index_end = file_bytes.saturating_sub((toc_bytes + FOOTER_BYTES) as u64);
        for section in &toc.sections {
            let end = section.offset.checked_add(section.bytes);
            if section.offset < index_start || end.is_none_or(|end| end > index_end) {
                return Err(reader.bad(format!("section {} lies outside of the index area", section.kind)));
            }
        }
        Ok(toc)
    }

    fn decode_table(bytes: &[u8]) -> Result<Self> {
        let mut reader = BytesReader::new(bytes, "segment table of contents");
        let version = reader.u16()?;
        if version != VERSION {
            let text =
                format!("segment has version {version}, known is {VERSION}; run the version that wrote it");
            return Err(Error::invalid(text));
        }
        let mut sections = Vec::new();
        for _ in 0..reader.u16()? {
            let (kind, flags) = (reader.u16()?, reader.u16()?);
            let section = TocSection {
                kind,
                is_required: flags & FLAG_REQUIRED != 0,
                offset: reader.u64()?,
                bytes: reader.u64()?,
                crc32c: reader.u32()?,
            };
            if section.is_required && !(SECTION_STREAMS..=SECTION_STREAM_INDEX).contains(&kind) {
                let text =
                    format!("segment needs section {kind}, unknown here; run the version that wrote it");
                return Err(Error::invalid(text));
            }
            sections.push(section);
        }
        let (rows, raw_bytes, streams, blocks) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
        let (order, wal_done) = (reader.u64()?, reader.u64()?);
        let totals =
            Totals { rows, raw_bytes, min_ns: reader.i64()?, max_ns: reader.i64()?, streams, blocks };
        let writer = reader.text()?.to_owned();
        reader.finish()?;
        Ok(Self { sections, totals, order, wal_done, writer })
    }

    /// Returns which segments this one was made of; nothing if it was flushed, or if that cannot be read.
    pub(crate) fn lineage(&self, tail: &[u8], file_bytes: u64) -> Lineage {
        if !self.sections.iter().any(|section| section.kind == SECTION_LINEAGE) {
            return Lineage::default();
        }
        let lineage = self.section(SECTION_LINEAGE, tail, file_bytes).and_then(Lineage::decode);
        lineage.unwrap_or_else(|error| {
            tracing::warn!(%error, "lineage of a segment is unreadable, go on without");
            Lineage::default()
        })
    }

    /// Returns where the index area starts, which is where the blocks end.
    pub(crate) fn index_start(&self) -> u64 {
        self.sections.iter().map(|section| section.offset).min().unwrap_or(0)
    }

    /// Returns where the part of the index area starts that every reader needs; see `segment_content`.
    pub(crate) fn tail_start(&self) -> u64 {
        let is_needed = |section: &&TocSection| !matches!(section.kind, SECTION_WORDS | SECTION_IDS);
        self.sections.iter().filter(is_needed).map(|section| section.offset).min().unwrap_or(0)
    }

    /// Returns whether there is a section of a kind.
    pub(crate) fn has_section(&self, kind: u16) -> bool {
        self.sections.iter().any(|section| section.kind == kind)
    }

    /// Cuts a section out of `tail` and checks it.
    pub(crate) fn section<'a>(&self, kind: u16, tail: &'a [u8], file_bytes: u64) -> Result<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.kind == kind);
        let section = section.ok_or_else(|| Error::corrupt(format!("segment has no section {kind}")))?;
        let bytes = section.range_in(tail.len(), file_bytes).and_then(|range| tail.get(range));
        let bytes = bytes.ok_or_else(|| {
            Error::corrupt(format!("section {kind} at offset {} lies outside of the tail", section.offset))
        })?;
        let (want, got) = (section.crc32c, crc32c(bytes));
        if want != got {
            return Err(Error::corrupt(format!(
                "checksum mismatch in section {kind} at offset {} (want {want:08x}, got {got:08x})",
                section.offset
            )));
        }
        Ok(bytes)
    }
}

impl TocSection {
    /// Returns where the section lies in the last `tail_bytes` of a file.
    fn range_in(&self, tail_bytes: usize, file_bytes: u64) -> Option<Range<usize>> {
        let tail_start = file_bytes.checked_sub(tail_bytes as u64)?;
        let start = usize::try_from(self.offset.checked_sub(tail_start)?).ok()?;
        Some(start..start.checked_add(usize::try_from(self.bytes).ok()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toc() -> Toc {
        let section = |kind, offset, bytes: &[u8]| TocSection {
            kind,
            is_required: kind < 4,
            offset,
            bytes: bytes.len() as u64,
            crc32c: crc32c(bytes),
        };
        let totals = Totals { rows: 5, raw_bytes: 99, min_ns: -3, max_ns: 7, streams: 2, blocks: 1 };
        Toc {
            sections: vec![section(1, 100, b"abc"), section(4, 103, b"de")],
            totals,
            order: 8,
            wal_done: 17,
            writer: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn headers_come_back_and_any_flipped_bit_is_found() {
        let header = Header { ulid: [7; 16], tenant_hash: 9, day: -3, class: "30d".to_owned(), level: 2 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes).unwrap(), header);
        for at in 0..bytes.len() {
            let mut bad = bytes;
            bad[at] ^= 0x10;
            assert!(Header::decode(&bad).is_err(), "flip at {at}");
            assert!(Header::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn tables_come_back_with_their_sections() {
        let mut file = vec![0; 100];
        file.extend_from_slice(b"abcde");
        file.extend(toc().encode(100));
        let file_bytes = file.len() as u64;
        let tail = &file[90..];
        let back = Toc::decode(tail, file_bytes).unwrap();
        assert_eq!(back, toc());
        assert_eq!(back.section(1, tail, file_bytes).unwrap(), b"abc");
        assert_eq!(back.section(4, tail, file_bytes).unwrap(), b"de");
        assert!(back.section(2, tail, file_bytes).is_err());
        assert!(back.section(1, &file[101..], file_bytes).is_err());
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let mut file = b"abcde".to_vec();
        let mut toc = toc();
        toc.sections[0].offset = 0;
        toc.sections[1].offset = 3;
        file.extend(toc.encode(0));
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            let read = Toc::decode(&bad, bad.len() as u64).and_then(|toc| {
                toc.section(1, &bad, bad.len() as u64)?;
                toc.section(4, &bad, bad.len() as u64)?;
                Ok(toc)
            });
            // A bit of the index area's start moves its lower bound only.
            assert!(read.is_err() || read.unwrap() == toc, "flip at {at}");
        }
        for end in 0..file.len() {
            assert!(Toc::decode(&file[..end], end as u64).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn unknown_required_sections_are_refused() {
        let mut toc = toc();
        toc.sections[1].kind = 9;
        toc.sections[1].is_required = true;
        let mut file = vec![0; 105];
        file.extend(toc.encode(100));
        let error = Toc::decode(&file, file.len() as u64).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Invalid);
    }
}
