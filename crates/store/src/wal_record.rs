//! The payload of one WAL record: a batch with its tenant and id. Format: `schemas/wal.md`.
//!
//! A record says everything needed to apply it, so replay needs no settings and no other record.

use crate::error::{Error, Result};
use crate::store::Encoded;
use bytes::Bytes;
use logyard_codec::{Batch, BatchId, decode_batch, decode_text_table, unpack_snappy};
use logyard_model::Tenant;

const VERSION: u8 = 1;
const FLAG_ID: u8 = 1;
/// The lines lie in a packed text.
const FLAG_TEXT: u8 = 2;

/// A decoded record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WalRecord<'a> {
    pub(crate) tenant: Tenant,
    pub(crate) id: Option<BatchId>,
    pub(crate) chunks: Chunks<'a>,
}

/// The chunks of a record, encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks<'a> {
    /// A codec batch.
    Batch(&'a [u8]),
    /// The table of a text, and the text as a block of snappy.
    Text { table: &'a [u8], snappy: &'a [u8] },
}

/// Encodes a record, in two parts: the large one is shared, not copied.
pub(crate) fn encode(tenant: &Tenant, id: Option<&BatchId>, encoded: &Encoded) -> [Bytes; 2] {
    let name = tenant.as_str().as_bytes();
    let (flag, table, rest): (u8, &[u8], &Bytes) = match encoded {
        Encoded::Batch(batch) => (0, &[], batch),
        Encoded::Text { table, snappy } => (FLAG_TEXT, table, snappy),
    };
    let mut bytes = Vec::with_capacity(3 + name.len() + 32 + 4 + table.len());
    bytes.push(VERSION);
    bytes.push(flag | if id.is_some() { FLAG_ID } else { 0 });
    bytes.push(u8::try_from(name.len()).expect("tenant names have at most 150 bytes"));
    bytes.extend_from_slice(name);
    if let Some(id) = id {
        bytes.extend_from_slice(&id.source);
        bytes.extend_from_slice(&id.epoch.to_le_bytes());
        bytes.extend_from_slice(&id.sequence.to_le_bytes());
    }
    if flag == FLAG_TEXT {
        let table_bytes = u32::try_from(table.len()).expect("the bound on a batch is far below 4 GiB");
        bytes.extend_from_slice(&table_bytes.to_le_bytes());
        bytes.extend_from_slice(table);
    }
    [Bytes::from(bytes), rest.clone()]
}

/// Decodes a record. Errors: `Kind::Invalid` for a newer version, `Kind::Corrupt` for anything else.
pub(crate) fn decode(bytes: &[u8]) -> Result<WalRecord<'_>> {
    let short = || Error::corrupt("WAL record ends too early");
    let (&[version, flags, name_bytes], rest) = bytes.split_first_chunk().ok_or_else(short)?;
    if version != VERSION {
        let text =
            format!("WAL record has version {version}, known is {VERSION}; run the version that wrote it");
        return Err(Error::invalid(text));
    }
    if flags & !(FLAG_ID | FLAG_TEXT) != 0 {
        return Err(Error::invalid(format!(
            "WAL record has unknown flags {flags:#x}; run the version that wrote it"
        )));
    }
    let (name, rest) = rest.split_at_checked(usize::from(name_bytes)).ok_or_else(short)?;
    let name =
        std::str::from_utf8(name).map_err(|_| Error::corrupt("WAL record has a tenant that is no text"))?;
    let tenant = Tenant::new(name)
        .map_err(|error| Error::corrupt("WAL record has no valid tenant").with_source(error))?;
    let mut id = None;
    let mut rest = rest;
    if flags & FLAG_ID != 0 {
        let (source, behind) = rest.split_first_chunk().ok_or_else(short)?;
        let (epoch, behind) = behind.split_first_chunk().ok_or_else(short)?;
        let (sequence, behind) = behind.split_first_chunk().ok_or_else(short)?;
        let (epoch, sequence) = (u64::from_le_bytes(*epoch), u64::from_le_bytes(*sequence));
        id = Some(BatchId { source: *source, epoch, sequence });
        rest = behind;
    }
    if flags & FLAG_TEXT == 0 {
        return Ok(WalRecord { tenant, id, chunks: Chunks::Batch(rest) });
    }
    let (table_bytes, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let table_bytes = u32::from_le_bytes(*table_bytes) as usize;
    let (table, snappy) = rest.split_at_checked(table_bytes).ok_or_else(short)?;
    Ok(WalRecord { tenant, id, chunks: Chunks::Text { table, snappy } })
}

/// Decodes the chunks of a record. Errors: `Kind::Invalid` for a newer version, `Kind::Corrupt` for anything else.
///
/// Units: `raw_bytes_max` bounds the batch, or the text with the lines, once decompressed.
pub(crate) fn batch(record: &WalRecord<'_>, raw_bytes_max: usize) -> Result<Batch> {
    let batch = match record.chunks {
        Chunks::Batch(batch) => decode_batch(batch, raw_bytes_max),
        Chunks::Text { table, snappy } => {
            unpack_snappy(snappy, raw_bytes_max).and_then(|text| decode_text_table(table, &text))
        }
    };
    batch.map_err(|error| {
        let kind = if error.kind() == logyard_codec::Kind::Invalid { Error::invalid } else { Error::corrupt };
        kind("cannot decode a batch of the WAL").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use logyard_codec::{Entries, TextChunk, encode_text_table, pack_snappy};
    use logyard_model::LabelSet;

    #[test]
    fn records_come_back() {
        let tenant = Tenant::new("team-a").unwrap();
        let id = BatchId { source: [7; 16], epoch: 3, sequence: u64::MAX };
        let text =
            Encoded::Text { table: Bytes::from_static(b"table"), snappy: Bytes::from_static(b"snappy") };
        for (encoded, chunks) in [
            (Encoded::Batch(Bytes::from_static(b"batch")), Chunks::Batch(b"batch")),
            (text, Chunks::Text { table: b"table", snappy: b"snappy" }),
        ] {
            for id in [None, Some(id)] {
                let bytes = encode(&tenant, id.as_ref(), &encoded).concat();
                let record = decode(&bytes).unwrap();
                assert_eq!(record, WalRecord { tenant: tenant.clone(), id, chunks });
            }
        }
    }

    #[test]
    fn entries_come_back_out_of_the_text_they_lie_in() {
        let labels = LabelSet::from_pairs([("app", "a")]);
        let mut entries = Entries::new();
        entries.push(7, b"second", "info", &LabelSet::default());
        entries.push(8, b"first", "", &LabelSet::default());
        let chunk = TextChunk { labels: &labels, entries: &entries, starts: &[8, 2] };
        let snappy = Bytes::from(pack_snappy(b"..first.second..").unwrap());
        let encoded = Encoded::Text { table: encode_text_table(&[chunk]).into(), snappy };
        let bytes = encode(&Tenant::single(), None, &encoded).concat();
        let found = batch(&decode(&bytes).unwrap(), 16).unwrap();
        assert_eq!(found.chunks.len(), 1);
        assert_eq!(found.chunks[0].labels, labels);
        let found = &found.chunks[0].entries;
        assert_eq!((found.ts_ns(), found.line(0), found.level(0)), (&[7, 8][..], &b"second"[..], "info"));
        assert_eq!((found.line(1), found.level(1)), (&b"first"[..], ""));
        let error = batch(&decode(&bytes).unwrap(), 15).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "more than is allowed");
    }

    #[test]
    fn bad_bytes_are_refused() {
        let id = BatchId { source: [7; 16], epoch: 3, sequence: 9 };
        let (table, snappy) = (Bytes::from_static(b"table"), Bytes::new());
        let mut bytes = Vec::new();
        for encoded in [Encoded::Batch(Bytes::new()), Encoded::Text { table, snappy }] {
            bytes = encode(&Tenant::single(), Some(&id), &encoded).concat();
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]).unwrap_err().kind(), Kind::Corrupt, "cut at {end}");
            }
        }
        let unknown = [&[bytes[0], bytes[1] | 4], &bytes[2..]].concat();
        assert_eq!(decode(&unknown).unwrap_err().kind(), Kind::Invalid);
        let newer = [&[9], &bytes[1..]].concat();
        assert_eq!(decode(&newer).unwrap_err().kind(), Kind::Invalid);
    }
}
