//! The payload of one WAL record: a batch with its tenant and id. Format: `schemas/wal.md`.
//!
//! A record says everything needed to apply it, so replay needs no settings and no other record.

use crate::error::{Error, Result};
use logyard_codec::{Batch, BatchId, decode_batch};
use logyard_model::Tenant;

const VERSION: u8 = 1;
const FLAG_ID: u8 = 1;

/// A decoded record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WalRecord<'a> {
    pub(crate) tenant: Tenant,
    pub(crate) id: Option<BatchId>,
    /// A codec batch.
    pub(crate) batch: &'a [u8],
}

/// Encodes a record.
pub(crate) fn encode(tenant: &Tenant, id: Option<&BatchId>, batch: &[u8]) -> Vec<u8> {
    let name = tenant.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(3 + name.len() + 32 + batch.len());
    bytes.push(VERSION);
    bytes.push(if id.is_some() { FLAG_ID } else { 0 });
    bytes.push(u8::try_from(name.len()).expect("tenant names have at most 150 bytes"));
    bytes.extend_from_slice(name);
    if let Some(id) = id {
        bytes.extend_from_slice(&id.source);
        bytes.extend_from_slice(&id.epoch.to_le_bytes());
        bytes.extend_from_slice(&id.sequence.to_le_bytes());
    }
    bytes.extend_from_slice(batch);
    bytes
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
    if flags & !FLAG_ID != 0 {
        return Err(Error::invalid(format!(
            "WAL record has unknown flags {flags:#x}; run the version that wrote it"
        )));
    }
    let (name, rest) = rest.split_at_checked(usize::from(name_bytes)).ok_or_else(short)?;
    let name =
        std::str::from_utf8(name).map_err(|_| Error::corrupt("WAL record has a tenant that is no text"))?;
    let tenant = Tenant::new(name)
        .map_err(|error| Error::corrupt("WAL record has no valid tenant").with_source(error))?;
    if flags & FLAG_ID == 0 {
        return Ok(WalRecord { tenant, id: None, batch: rest });
    }
    let (source, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (epoch, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (sequence, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let id = BatchId {
        source: *source,
        epoch: u64::from_le_bytes(*epoch),
        sequence: u64::from_le_bytes(*sequence),
    };
    Ok(WalRecord { tenant, id: Some(id), batch: rest })
}

/// Decodes the batch of a record. Errors: `Kind::Invalid` for a newer version, `Kind::Corrupt` for anything else.
pub(crate) fn batch(record: &WalRecord<'_>, raw_bytes_max: usize) -> Result<Batch> {
    decode_batch(record.batch, raw_bytes_max).map_err(|error| {
        let kind = if error.kind() == logyard_codec::Kind::Invalid { Error::invalid } else { Error::corrupt };
        kind("cannot decode a batch of the WAL").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn records_come_back() {
        let tenant = Tenant::new("team-a").unwrap();
        let id = BatchId { source: [7; 16], epoch: 3, sequence: u64::MAX };
        for id in [None, Some(id)] {
            let bytes = encode(&tenant, id.as_ref(), b"batch");
            let record = decode(&bytes).unwrap();
            assert_eq!(record, WalRecord { tenant: tenant.clone(), id, batch: b"batch" });
        }
    }

    #[test]
    fn bad_bytes_are_refused() {
        let bytes = encode(&Tenant::single(), Some(&BatchId { source: [7; 16], epoch: 3, sequence: 9 }), b"");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).unwrap_err().kind(), Kind::Corrupt, "cut at {end}");
        }
        let newer = [&[9], &bytes[1..]].concat();
        assert_eq!(decode(&newer).unwrap_err().kind(), Kind::Invalid);
    }
}
