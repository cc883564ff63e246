//! Framing: the header of a file and of each record.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// First bytes of a log file.
const MAGIC: [u8; 4] = *b"LYWL";
/// Version of the format.
pub(crate) const VERSION: u16 = 1;
/// Bytes of a file's header: magic, version, reserved, first sequence, checksum.
pub(crate) const FILE_HEADER_BYTES: usize = 20;
/// Bytes before a payload: its length, checksum, sequence.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileHeader {
    /// A file of this version.
    Known { first_sequence: u64 },
    /// A whole header of another version.
    OtherVersion { version: u16 },
    /// No whole header.
    Damaged,
}

/// Makes the header of a file.
pub(crate) fn file_header(first_sequence: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(FILE_HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0, 0]);
    header.extend_from_slice(&first_sequence.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Reads the header at the start of a file.
pub(crate) fn read_file_header(bytes: &[u8]) -> FileHeader {
    let Some((header, _)) = bytes.split_first_chunk::<FILE_HEADER_BYTES>() else {
        return FileHeader::Damaged;
    };
    let [m0, m1, m2, m3, v0, v1, _, _, sequence @ .., c0, c1, c2, c3] = *header;
    let content = header.get(..FILE_HEADER_BYTES - 4).unwrap_or_default();
    if [m0, m1, m2, m3] != MAGIC || u32::from_le_bytes([c0, c1, c2, c3]) != crc32c::crc32c(content) {
        return FileHeader::Damaged;
    }
    match u16::from_le_bytes([v0, v1]) {
        VERSION => FileHeader::Known { first_sequence: u64::from_le_bytes(sequence) },
        version => FileHeader::OtherVersion { version },
    }
}

/// Appends a record to `out`, whose payload is the parts joined.
pub(crate) fn put_record(out: &mut Vec<u8>, sequence: u64, parts: &[&[u8]]) {
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let bytes = u32::try_from(bytes).expect("the caller has checked the limit, which has 32 bits");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&record_crc(sequence, parts).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The header of a record, not yet believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) crc32c: u32,
    pub(crate) sequence: u64,
}

impl RecordHeader {
    /// Reads a header at the start of `bytes`, if there are enough.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let [l0, l1, l2, l3, c0, c1, c2, c3, sequence @ ..] = *header;
        Some(Self {
            payload_bytes: u32::from_le_bytes([l0, l1, l2, l3]),
            crc32c: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: u64::from_le_bytes(sequence),
        })
    }

    /// Returns the bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES.saturating_add(self.payload_bytes as usize)
    }

    /// Returns whether `payload` is what was written.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && record_crc(self.sequence, &[payload]) == self.crc32c
    }
}

/// The checksum runs over sequence and payload; a wrong length fails it by cutting elsewhere. Zeros, which
/// a file system may leave for lost data, are no record: sequences start at 1.
fn record_crc(sequence: u64, parts: &[&[u8]]) -> u32 {
    let of_sequence = crc32c::crc32c(&sequence.to_le_bytes());
    parts.iter().fold(of_sequence, |crc, part| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_other_versions_are_told_apart() {
        let header = file_header(7);
        assert_eq!(read_file_header(&header), FileHeader::Known { first_sequence: 7 });
        assert_eq!(read_file_header(header.get(1..).unwrap()), FileHeader::Damaged);
        let mut other = header.get(..16).unwrap().to_vec();
        *other.get_mut(4).unwrap() = 9;
        let crc = crc32c::crc32c(&other);
        other.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(read_file_header(&other), FileHeader::OtherVersion { version: 9 });
    }
}
