//! The bytes of the spool's records; page: `schemas/spool.md`, version 1.
//!
//! Framing and checksums are the record log's; here only the payload. Integers are little endian.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::position::{FilePosition, OutputPosition, Position, StepBack};

const VERSION: u8 = 1;
const KIND_BATCH: u8 = 1;
const KIND_ACK: u8 = 2;
const KIND_CHECKPOINT: u8 = 3;
const KIND_DESTINATION_ACK: u8 = 4;
const POSITION_CONTAINER: u8 = 1;
const POSITION_FILE: u8 = 2;
const POSITION_JOURNAL: u8 = 3;
const OUTPUT_ABSENT: u8 = 0;
const OUTPUT_PLAIN: u8 = 1;
const OUTPUT_STEPPED: u8 = 2;

/// Positions by target, in order of their keys.
pub(crate) type Positions = BTreeMap<String, StoredPosition>;

/// A position and since when its target is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPosition {
    pub(crate) position: Position,
    /// When the target was seen to be gone; 0 while it is there.
    pub(crate) gone_ns: i64,
}

/// A record as it is read; the batch's bytes are borrowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A sealed batch and the positions that it reaches.
    Batch { epoch: u64, sequence: u64, entries: u32, positions: Positions, encoded: &'a [u8] },
    /// All batches in records up to this one (its sequence in the record log) are acknowledged by the first destination.
    Ack { record: u64 },
    /// The same of another destination; 2^64-1: it is forgotten.
    DestinationAck { destination: String, record: u64 },
    /// All that earlier records say, so that they can be trimmed.
    Checkpoint { epoch: u64, next_sequence: u64, acked_record: u64, positions: Positions },
}

/// Encodes a record.
pub(crate) fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match record {
        Record::Batch { epoch, sequence, entries, positions, encoded } => {
            bytes.reserve(encoded.len() + 128);
            bytes.push(KIND_BATCH);
            bytes.extend_from_slice(&epoch.to_le_bytes());
            bytes.extend_from_slice(&sequence.to_le_bytes());
            bytes.extend_from_slice(&entries.to_le_bytes());
            write_positions(&mut bytes, positions);
            bytes.extend_from_slice(encoded);
        }
        Record::Ack { record } => {
            bytes.push(KIND_ACK);
            bytes.extend_from_slice(&record.to_le_bytes());
        }
        Record::DestinationAck { destination, record } => {
            bytes.push(KIND_DESTINATION_ACK);
            bytes.extend_from_slice(&record.to_le_bytes());
            write_text(&mut bytes, destination);
        }
        Record::Checkpoint { epoch, next_sequence, acked_record, positions } => {
            bytes.push(KIND_CHECKPOINT);
            bytes.extend_from_slice(&epoch.to_le_bytes());
            bytes.extend_from_slice(&next_sequence.to_le_bytes());
            bytes.extend_from_slice(&acked_record.to_le_bytes());
            write_positions(&mut bytes, positions);
        }
    }
    bytes
}

/// Decodes a record. Errors: bytes that do not follow the page.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record<'_>, Error> {
    let mut reader = Reader(bytes);
    if reader.u8()? != VERSION {
        return Err(Error::Record("unknown version"));
    }
    match reader.u8()? {
        KIND_BATCH => {
            let epoch = reader.u64()?;
            let sequence = reader.u64()?;
            let entries = reader.u32()?;
            let positions = reader.positions()?;
            Ok(Record::Batch { epoch, sequence, entries, positions, encoded: reader.0 })
        }
        KIND_ACK => {
            let record = reader.u64()?;
            reader.finish()?;
            Ok(Record::Ack { record })
        }
        KIND_DESTINATION_ACK => {
            let record = reader.u64()?;
            let destination = reader.text()?;
            reader.finish()?;
            Ok(Record::DestinationAck { destination, record })
        }
        KIND_CHECKPOINT => {
            let epoch = reader.u64()?;
            let next_sequence = reader.u64()?;
            let acked_record = reader.u64()?;
            let positions = reader.positions()?;
            reader.finish()?;
            Ok(Record::Checkpoint { epoch, next_sequence, acked_record, positions })
        }
        _ => Err(Error::Record("unknown kind")),
    }
}

fn write_positions(bytes: &mut Vec<u8>, positions: &Positions) {
    write_count(bytes, positions.len());
    for (target, stored) in positions {
        write_text(bytes, target);
        bytes.extend_from_slice(&stored.gone_ns.to_le_bytes());
        match &stored.position {
            Position::Container(outputs) => {
                bytes.push(POSITION_CONTAINER);
                for output in outputs {
                    bytes.push(match output {
                        None => OUTPUT_ABSENT,
                        Some(OutputPosition { step: None, .. }) => OUTPUT_PLAIN,
                        Some(OutputPosition { step: Some(_), .. }) => OUTPUT_STEPPED,
                    });
                    if let Some(output) = output {
                        bytes.extend_from_slice(&output.ns.to_le_bytes());
                        bytes.extend_from_slice(&output.ordinal.to_le_bytes());
                        bytes.extend_from_slice(&output.proof_ns.to_le_bytes());
                        if let Some(step) = output.step {
                            bytes.extend_from_slice(&step.peak_ns.to_le_bytes());
                            bytes.extend_from_slice(&step.line_hash.to_le_bytes());
                        }
                    }
                }
            }
            Position::File(file) => {
                bytes.push(POSITION_FILE);
                write_text(bytes, &file.path);
                bytes.extend_from_slice(&file.device.to_le_bytes());
                bytes.extend_from_slice(&file.inode.to_le_bytes());
                bytes.extend_from_slice(&file.fingerprint_bytes.to_le_bytes());
                bytes.extend_from_slice(&file.fingerprint.to_le_bytes());
                bytes.extend_from_slice(&file.offset.to_le_bytes());
            }
            Position::Journal(cursor) => {
                bytes.push(POSITION_JOURNAL);
                write_text(bytes, cursor);
            }
        }
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_count(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn write_count(bytes: &mut Vec<u8>, count: usize) {
    // Targets and paths number in the thousands at most.
    let count = u32::try_from(count).expect("counts of a record fit 32 bits");
    bytes.extend_from_slice(&count.to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Error::Record("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn finish(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Record("it is too long")) }
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Error::Record("it ends within a text"))?;
        self.0 = rest;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| Error::Record("a text is not UTF-8"))
    }

    fn positions(&mut self) -> Result<Positions, Error> {
        let count = self.u32()?;
        let mut positions = Positions::new();
        for _ in 0..count {
            let target = self.text()?;
            let gone_ns = self.i64()?;
            let position = match self.u8()? {
                POSITION_CONTAINER => Position::Container([self.output()?, self.output()?]),
                POSITION_JOURNAL => Position::Journal(self.text()?),
                POSITION_FILE => Position::File(FilePosition {
                    path: self.text()?,
                    device: self.u64()?,
                    inode: self.u64()?,
                    fingerprint_bytes: self.u32()?,
                    fingerprint: self.u64()?,
                    offset: self.u64()?,
                }),
                _ => return Err(Error::Record("unknown kind of position")),
            };
            positions.insert(target, StoredPosition { position, gone_ns });
        }
        Ok(positions)
    }

    fn output(&mut self) -> Result<Option<OutputPosition>, Error> {
        match self.u8()? {
            OUTPUT_ABSENT => Ok(None),
            OUTPUT_PLAIN => Ok(Some(self.plain_output()?)),
            OUTPUT_STEPPED => {
                let output = self.plain_output()?;
                let step = StepBack { peak_ns: self.i64()?, line_hash: self.u64()? };
                Ok(Some(OutputPosition { step: Some(step), ..output }))
            }
            _ => Err(Error::Record("an output is neither there nor absent")),
        }
    }

    fn plain_output(&mut self) -> Result<OutputPosition, Error> {
        let (ns, ordinal, proof_ns) = (self.i64()?, self.u32()?, self.i64()?);
        Ok(OutputPosition { ns, ordinal, proof_ns, step: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Positions {
        let output = OutputPosition { ns: 7, ordinal: 2, proof_ns: -1, step: None };
        let step = StepBack { peak_ns: 9, line_hash: 11 };
        let stepped = OutputPosition { step: Some(step), ..output };
        let file = FilePosition {
            path: "/var/log/a.log".into(),
            device: 1,
            inode: 2,
            fingerprint_bytes: 3,
            fingerprint: 4,
            offset: 5,
        };
        Positions::from([
            (
                "docker:a".into(),
                StoredPosition { position: Position::Container([Some(output), Some(stepped)]), gone_ns: 0 },
            ),
            (
                "docker:b".into(),
                StoredPosition { position: Position::Container([Some(output), None]), gone_ns: 0 },
            ),
            ("file:1:2".into(), StoredPosition { position: Position::File(file), gone_ns: 9 }),
            (
                "journal:the machine's".into(),
                StoredPosition { position: Position::Journal("s=a;i=1".into()), gone_ns: 0 },
            ),
        ])
    }

    #[test]
    fn records_survive_their_bytes() {
        for record in [
            Record::Batch { epoch: 1, sequence: 2, entries: 3, positions: positions(), encoded: b"LYBA" },
            Record::Ack { record: 4 },
            Record::DestinationAck { destination: "loki".to_owned(), record: 4 },
            Record::Checkpoint { epoch: 1, next_sequence: 3, acked_record: 2, positions: positions() },
        ] {
            let bytes = encode(&record);
            assert_eq!(decode(&bytes).unwrap(), record);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_without_panic() {
        let record =
            Record::Checkpoint { epoch: 1, next_sequence: 3, acked_record: 2, positions: positions() };
        let bytes = encode(&record);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err(), "a byte too many");
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0xff;
            // The record log's checksum refuses these; here nothing may panic or allocate wildly.
            assert!(decode(&damaged).map_or(true, |other| other != record));
        }
    }
}
