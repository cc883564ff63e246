//! What the records of a spool say when they are read again, one after the other.
//!
//! Damage costs records: what they held is missing without a word, but their numbers tell that it is. Positions behind such a
//! hole count only if every batch in it was acknowledged; else what was in it is read again.

use std::collections::{BTreeMap, VecDeque};

use logyard_codec::BatchId;

use crate::error::Error;
use crate::spool::Waiting;
use crate::spool_record::{Positions, Record, decode};

/// In the place of a record: the destination counts no more.
pub(crate) const FORGOTTEN: u64 = u64::MAX;

/// What replaying the records yields.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) epoch: u64,
    pub(crate) next_sequence: u64,
    /// What the first destination acknowledged.
    pub(crate) acked_record: u64,
    /// What the others did, by their names.
    pub(crate) other_marks: BTreeMap<String, u64>,
    pub(crate) checkpoint_record: u64,
    /// Batches that some destination has not acknowledged.
    pub(crate) waiting: VecDeque<Waiting>,
    positions: Positions,
    last_record: u64,
    /// First record behind a hole, and the positions before it: batches in the hole are lost, so their
    /// entries must be read again unless all of them were acknowledged.
    hole: Option<(u64, Positions)>,
}

impl Replay {
    /// Takes the next record: its number in the log, its payload. `source` is the agent's id.
    pub(crate) fn take(&mut self, record: u64, payload: &[u8], source: [u8; 16]) -> Result<(), Error> {
        if self.last_record != 0 && record != self.last_record + 1 && self.hole.is_none() {
            self.hole = Some((record, self.positions.clone()));
        }
        self.last_record = record;
        match decode(payload)? {
            Record::Batch { epoch, sequence, entries, positions, encoded } => {
                self.epoch = epoch;
                self.next_sequence = sequence + 1;
                self.positions.extend(positions);
                self.waiting.push_back(Waiting {
                    record,
                    id: BatchId { source, epoch, sequence },
                    entries,
                    is_replayed: true,
                    bytes: encoded.len() as u64,
                });
            }
            Record::Ack { record } => {
                self.acked_record = record;
                self.drop_acked();
            }
            Record::DestinationAck { destination, record: FORGOTTEN } => {
                self.other_marks.remove(&destination);
            }
            Record::DestinationAck { destination, record } => {
                self.other_marks.insert(destination, record);
                self.drop_acked();
            }
            Record::Checkpoint { epoch, next_sequence, acked_record, positions } => {
                self.epoch = epoch;
                self.next_sequence = next_sequence;
                self.acked_record = self.acked_record.max(acked_record);
                self.checkpoint_record = record;
                self.positions = positions;
                self.drop_acked();
            }
        }
        Ok(())
    }

    /// Returns how far each target was read.
    pub(crate) fn into_positions(self) -> Positions {
        let acked_record = self.acked_by_all();
        match self.hole {
            Some((behind, positions)) if acked_record + 1 < behind => positions,
            _ => self.positions,
        }
    }

    /// Memory stays in proportion to what waits.
    fn drop_acked(&mut self) {
        let done = self.acked_by_all();
        while self.waiting.pop_front_if(|waiting| waiting.record <= done).is_some() {}
    }

    fn acked_by_all(&self) -> u64 {
        self.other_marks.values().copied().fold(self.acked_record, u64::min)
    }
}
