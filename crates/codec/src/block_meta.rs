//! What a segment keeps of a block outside of it: sizes, bounds, where its sections lie.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::cursor::{Cursor, put_len, put_varint, put_zigzag};
use crate::error::Error;

/// Section of the timestamps.
pub const SECTION_TS: u8 = 1;
/// Section of the lengths of lines.
pub const SECTION_LENGTHS: u8 = 2;
/// Section of the lines' text.
pub const SECTION_LINES: u8 = 3;
/// Section of the levels; absent if no row has one.
pub const SECTION_LEVEL: u8 = 4;
/// Section of the structured metadata; absent if no row has any.
pub const SECTION_METADATA: u8 = 5;
/// Section of the templates of shredded lines, and of the tables of their columns.
pub const SECTION_TEMPLATES: u8 = 6;
/// Section of the template of each row of shredded lines.
pub const SECTION_TEMPLATE_ROWS: u8 = 7;
/// Section of the values of shredded lines: frames, each with its own checksum.
pub const SECTION_VALUES: u8 = 8;
/// Section of what the texts of columns cannot hold; absent if that is told of none, and in blocks of before.
pub const SECTION_TRIGRAMS: u8 = 9;

/// A section stored as it is.
pub const CODEC_PLAIN: u8 = 0;
/// A section stored as one zstd frame.
pub const CODEC_ZSTD: u8 = 1;
/// Timestamps in the form of numbers: `schemas/block.md` tells the bytes.
pub const CODEC_NUMBERS: u8 = 2;

/// Most rows in a block, for writers and readers. Writers are to stay far below.
pub const BLOCK_ROWS_MAX: u32 = 1 << 20;
/// Most raw bytes in a section, for writers and readers: bounds the memory that a block can ask for.
pub const SECTION_RAW_BYTES_MAX: u32 = 256 << 20;
/// Most sections in a block: known ones, and room for later ones that readers skip.
const SECTIONS_MAX: usize = 32;
const WHAT: &str = "block table";

/// The description of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMeta {
    /// Number of entries.
    pub rows: u32,
    /// Bytes of all lines, without what separates them.
    pub raw_bytes: u64,
    /// Earliest timestamp.
    pub min_ns: i64,
    /// Latest timestamp.
    pub max_ns: i64,
    /// The parts of the block, each with its own checksum.
    pub sections: Vec<SectionMeta>,
}

/// Where a section lies in its block, and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionMeta {
    /// One of the `SECTION_` constants; others are skipped.
    pub kind: u8,
    /// One of the `CODEC_` constants.
    pub codec: u8,
    /// Offset from the start of the block.
    pub offset: u32,
    /// Stored bytes.
    pub bytes: u32,
    /// Bytes once decompressed.
    pub raw_bytes: u32,
    /// Checksum of the stored bytes.
    pub crc32c: u32,
}

/// The entries of one stream inside one block, in time order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMeta {
    /// The stream, by its number in the segment.
    pub stream_ref: u32,
    /// First row in the block.
    pub first_row: u32,
    /// Number of entries.
    pub rows: u32,
    /// Earliest timestamp.
    pub min_ns: i64,
    /// Latest timestamp.
    pub max_ns: i64,
    /// Bytes of the lines, without what separates them.
    pub raw_bytes: u64,
}

impl BlockMeta {
    /// Appends the bytes of the description, for a table that carries its own checksum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.rows));
        put_varint(out, self.raw_bytes);
        put_zigzag(out, self.min_ns);
        put_zigzag(out, self.max_ns);
        put_len(out, self.sections.len());
        for section in &self.sections {
            out.extend_from_slice(&[section.kind, section.codec]);
            put_varint(out, u64::from(section.offset));
            put_varint(out, u64::from(section.bytes));
            put_varint(out, u64::from(section.raw_bytes));
            out.extend_from_slice(&section.crc32c.to_le_bytes());
        }
    }

    /// Reads a description from the front of `bytes`; returns how many bytes it took.
    ///
    /// Errors: `Corrupt` for bytes that are none, `Limited` for a block beyond the `_MAX` constants.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), Error> {
        let mut cursor = Cursor::new(WHAT, bytes);
        let rows = cursor.varint_u32()?;
        check_limit("rows", rows, BLOCK_ROWS_MAX)?;
        let (raw_bytes, min_ns, max_ns) = (cursor.varint()?, cursor.zigzag()?, cursor.zigzag()?);
        let count = cursor.count()?;
        if count > SECTIONS_MAX {
            return Err(cursor.corrupt(format!("{count} sections are more than {SECTIONS_MAX}")));
        }
        let mut sections = Vec::with_capacity(count);
        for _ in 0..count {
            let section = SectionMeta {
                kind: cursor.u8()?,
                codec: cursor.u8()?,
                offset: cursor.varint_u32()?,
                bytes: cursor.varint_u32()?,
                raw_bytes: cursor.varint_u32()?,
                crc32c: cursor.u32()?,
            };
            check_limit("raw bytes in a section", section.raw_bytes, SECTION_RAW_BYTES_MAX)?;
            check_limit("bytes in a section", section.bytes, SECTION_RAW_BYTES_MAX)?;
            sections.push(section);
        }
        Ok((Self { rows, raw_bytes, min_ns, max_ns, sections }, bytes.len() - cursor.left()))
    }

    /// Returns the description of the section of a kind.
    pub fn section(&self, kind: u8) -> Option<&SectionMeta> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    /// Returns whether the lines are kept as templates and columns.
    pub fn is_shredded(&self) -> bool {
        self.section(SECTION_TEMPLATES).is_some()
    }
}

fn check_limit(unit: &'static str, got: u32, limit: u32) -> Result<(), Error> {
    if got > limit {
        return Err(Error::Limited { what: WHAT.into(), unit, got: got.into(), limit: limit.into() });
    }
    Ok(())
}
