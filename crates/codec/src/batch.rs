//! The batch: chunks on the wire, in the WAL and in the agent's spool. Bytes: `schemas/chunk.md`.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::column::Column;
use crate::compress::{compress, decompress};
use crate::cursor::{Cursor, put_label_set, put_len, put_zigzag};
use crate::entries::Entries;
use crate::error::Error;
use crate::lines::Lines;
use logyard_model::LabelSet;

const MAGIC: [u8; 4] = *b"LYBA";
const VERSION: u8 = 1;
const FLAG_ZSTD: u8 = 1;
/// Below this a frame saves less than it costs.
const ZSTD_FROM_BYTES: usize = 4096;
const WHAT: &str = "batch";

/// The chunks of one push request.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they were encoded; streams may repeat.
    pub chunks: Vec<Chunk>,
}

/// The entries of one stream in a batch.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The labels of the stream.
    pub labels: LabelSet,
    /// The entries, in the order in which they were encoded.
    pub entries: Entries,
}

/// Encodes chunks into the bytes of one batch.
///
/// Cost: two buffers of about the raw size; no allocation per entry. Panics: if the raw bytes pass 4 GiB,
/// which the limits on batches keep far away. Source: `schemas/chunk.md`, version 1.
pub fn encode_batch(chunks: &[(&LabelSet, &Entries)]) -> Vec<u8> {
    let raw_guess: usize = chunks.iter().map(|(_, entries)| entries.lines().text().len() + 64).sum();
    let mut raw = Vec::with_capacity(raw_guess + raw_guess / 8);
    put_len(&mut raw, chunks.len());
    for (labels, entries) in chunks {
        put_label_set(&mut raw, labels);
        put_entries(&mut raw, entries);
    }
    let frame = if raw.len() < ZSTD_FROM_BYTES { None } else { compress(&raw) };
    let (flags, body) = match &frame {
        Some(frame) => (FLAG_ZSTD, frame),
        None => (0, &raw),
    };
    let raw_bytes = u32::try_from(raw.len()).expect("a batch takes less than 4 GiB");
    let mut out = Vec::with_capacity(body.len() + 14);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, flags]);
    out.extend_from_slice(&raw_bytes.to_le_bytes());
    out.extend_from_slice(body);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Decodes the bytes of one batch, which may be hostile.
///
/// `raw_bytes_max` bounds the decompressed size; memory stays within a small multiple of it (some twenty
/// times for bytes made to cost, once or twice for logs). Errors: `Limited` beyond it, `Invalid` for another magic or version,
/// `Corrupt` for the rest. Panics: never. Source: `schemas/chunk.md`, version 1.
pub fn decode_batch(bytes: &[u8], raw_bytes_max: usize) -> Result<Batch, Error> {
    let mut header = Cursor::new(WHAT, bytes);
    let magic: [u8; 4] = header.array()?;
    if magic != MAGIC {
        let why = format!("want magic LYBA, got {}; is this a batch at all?", magic.escape_ascii());
        return Err(Error::Invalid { what: WHAT.into(), why });
    }
    let (version, flags) = (header.u8()?, header.u8()?);
    if version != VERSION || flags & !FLAG_ZSTD != 0 {
        let why = format!(
            "want version {VERSION} and flags 0 or 1, got version {version} and flags {flags}; upgrade the reader"
        );
        return Err(Error::Invalid { what: WHAT.into(), why });
    }
    let raw_bytes = header.u32()? as usize;
    let body_bytes =
        header.left().checked_sub(4).ok_or_else(|| header.corrupt("it ends before its checksum"))?;
    let body = header.take(body_bytes)?;
    let want = header.u32()?;
    let got = crc32c::crc32c(bytes.get(..bytes.len() - 4).unwrap_or_default());
    if want != got {
        return Err(Error::corrupt(WHAT, format!("checksum mismatch (want {want:08x}, got {got:08x})")));
    }
    if raw_bytes > raw_bytes_max {
        let (got, limit) = (raw_bytes as u64, raw_bytes_max as u64);
        return Err(Error::Limited { what: WHAT.into(), unit: "raw bytes", got, limit });
    }
    if flags & FLAG_ZSTD != 0 {
        return decode_chunks(&decompress(WHAT, body, raw_bytes)?);
    }
    if body.len() != raw_bytes {
        return Err(Error::corrupt(WHAT, format!("want {raw_bytes} raw bytes, got {}", body.len())));
    }
    decode_chunks(body)
}

fn decode_chunks(raw: &[u8]) -> Result<Batch, Error> {
    let mut cursor = Cursor::new(WHAT, raw);
    let count = cursor.count()?;
    let mut chunks = Vec::new();
    for _ in 0..count {
        let labels = cursor.label_set()?;
        let entries = get_entries(&mut cursor)?;
        chunks.push(Chunk { labels, entries });
    }
    cursor.finish()?;
    Ok(Batch { chunks })
}

fn put_entries(out: &mut Vec<u8>, entries: &Entries) {
    put_times(out, entries.ts_ns());
    entries.lines().encode_lengths(out);
    out.extend_from_slice(entries.lines().text());
    entries.levels().encode(out);
    entries.metadata_column().encode(out);
}

fn get_entries(cursor: &mut Cursor<'_>) -> Result<Entries, Error> {
    let ts_ns = get_times(cursor)?;
    let rows = ts_ns.len();
    let ends = Lines::decode_ends(cursor, rows)?;
    let text_bytes = ends.last().map_or(0, |&end| end as usize + 1);
    let text = cursor.take(text_bytes)?.to_vec();
    let lines = Lines::from_parts(text, ends)?;
    let levels = Column::decode(cursor, rows)?.make_canonical();
    let metadata = Column::decode(cursor, rows)?.make_canonical();
    Ok(Entries::from_columns(ts_ns, lines, levels, metadata))
}

/// Appends the count of timestamps, and what each adds to the one before.
pub(crate) fn put_times(out: &mut Vec<u8>, ts_ns: &[i64]) {
    put_len(out, ts_ns.len());
    let mut before = 0i64;
    for &ts_ns in ts_ns {
        put_zigzag(out, ts_ns.wrapping_sub(before));
        before = ts_ns;
    }
}

/// Reads what [`put_times`] writes.
pub(crate) fn get_times(cursor: &mut Cursor<'_>) -> Result<Vec<i64>, Error> {
    let rows = cursor.count()?;
    let mut ts_ns = Vec::with_capacity(rows);
    let mut before = 0i64;
    for _ in 0..rows {
        before = before.wrapping_add(cursor.zigzag()?);
        ts_ns.push(before);
    }
    Ok(ts_ns)
}
