//! Batches on disk that wait for their ack, and the positions that go with them.
//!
//! A batch is synced together with the positions behind its entries before it is pushed. What the last
//! synced record says is therefore the whole truth about how far each target was read; what was read
//! after it is read again, and nobody saw it. Acks are records too, but not synced: a lost one costs a
//! push that the store recognises by its id.
//!
//! Files are trimmed whole, so each file begins with a checkpoint of all that came before it.
//! The bytes of waiting batches are kept in memory up to a bound; what lies beyond it is read back.
//! Page: `schemas/spool.md`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use logyard_codec::BatchId;
use logyard_sys::{Clock, Disk, Random};
use logyard_wal::{Log, LogSettings, Recovery};

use crate::agent_id::AgentId;
use crate::batch::SealedBatch;
use crate::error::Error;
use crate::position::Position;
use crate::spool_record::{Positions, Record, StoredPosition, decode, encode};

/// Bytes after which a new file is begun: small, since only whole files can be trimmed.
const FILE_BYTES: u64 = 8 << 20;
/// A batch is sealed at 1 MiB raw plus one piece, which may hold one line of the longest kind.
const RECORD_BYTES_MAX: u32 = 64 << 20;
/// Encoded batches kept in memory for the push: about ten times this is raw text.
const CACHED_BYTES_MAX: usize = 8 << 20;
/// Positions of targets that vanished are forgotten after this time.
const FORGET_AFTER_NS: i64 = 7 * 86_400 * 1_000_000_000;

/// What the spool needs from outside.
#[derive(Clone, Debug)]
pub(crate) struct SpoolParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    /// The agent's folder.
    pub(crate) dir: PathBuf,
    pub(crate) bounds: SpoolBounds,
}

/// Bounds of the spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpoolBounds {
    /// Bytes on disk at which reading stops.
    pub(crate) bytes_max: u64,
    /// Bytes after which a new file is begun.
    pub(crate) file_bytes: u64,
    /// Bytes of waiting batches kept in memory.
    pub(crate) cached_bytes_max: usize,
}

impl SpoolBounds {
    /// The bounds that are not the user's to set.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, file_bytes: FILE_BYTES, cached_bytes_max: CACHED_BYTES_MAX }
    }
}

/// The open spool; single writer.
#[derive(Debug)]
pub(crate) struct Spool {
    parts: SpoolParts,
    log: Log,
    id: AgentId,
    next_sequence: u64,
    /// All batches in records up to this one are acknowledged.
    acked_record: u64,
    /// Record of the newest durable checkpoint; everything before it may be trimmed once acked.
    checkpoint_record: u64,
    file_bytes: u64,
    waiting: VecDeque<Waiting>,
    cached_bytes: usize,
    positions: Positions,
}

/// A batch without its ack.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Sequence of its record in the log.
    pub(crate) record: u64,
    pub(crate) id: BatchId,
    pub(crate) entries: u32,
    /// It was found when the spool was opened, so it may have been pushed before.
    pub(crate) is_replayed: bool,
    /// `None`: on disk only.
    pub(crate) encoded: Option<Bytes>,
}

/// What was found at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolFound {
    pub(crate) batches: usize,
    pub(crate) entries: u64,
    pub(crate) is_damaged: bool,
}

impl Spool {
    /// Opens the spool in `<dir>/spool` and replays it.
    pub(crate) fn open(parts: SpoolParts) -> Result<(Self, SpoolFound), Error> {
        let mut id = AgentId::load(&*parts.disk, &parts.dir, &parts.random)?;
        let mut replay = Replay { cached_bytes_max: parts.bounds.cached_bytes_max, ..Replay::default() };
        let (log, recovery) =
            open_log(&parts, 0, &mut |record, payload| replay.take(record, payload, id.source))?;
        let is_damaged = recovery.torn_bytes > 0 || !recovery.quarantined.is_empty();
        let is_new = recovery.records == 0;
        id.epoch = id.epoch.max(replay.epoch);
        if is_damaged || is_new {
            id.raise_epoch(&*parts.disk, &parts.dir)?;
        }
        replay.drop_acked();
        let found = SpoolFound {
            batches: replay.waiting.len(),
            entries: replay.waiting.iter().map(|waiting| u64::from(waiting.entries)).sum(),
            is_damaged,
        };
        let spool = Self {
            file_bytes: log.bytes(),
            log,
            id,
            next_sequence: replay.next_sequence.max(1),
            acked_record: replay.acked_record,
            checkpoint_record: replay.checkpoint_record,
            waiting: std::mem::take(&mut replay.waiting),
            cached_bytes: replay.cached_bytes,
            positions: replay.into_positions(),
            parts,
        };
        Ok((spool, found))
    }

    /// Opens the spool again after a failed write.
    ///
    /// The epoch is raised: whether the last record is durable is not known, so its sequence could be
    /// given out a second time after a crash.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        let (mut spool, _) = Self::open(self.parts.clone())?;
        spool.id.raise_epoch(&*spool.parts.disk, &spool.parts.dir)?;
        *self = spool;
        Ok(())
    }

    /// Takes a new agent id; durable on return. Waiting batches go under it.
    ///
    /// For an agent that learns that another one uses its id. Acks are synced first: an acknowledged batch found
    /// again after a crash would be another one under the new id.
    pub(crate) fn renew_id(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.id.renew(&*self.parts.disk, &self.parts.dir, &self.parts.random)?;
        for waiting in &mut self.waiting {
            waiting.id.source = self.id.source;
        }
        Ok(())
    }

    /// Returns the sequence that the next batch will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Adds a batch; it is durable on return. Does nothing if a batch of this sequence is there.
    ///
    /// Errors: the disk failed. [`Spool::reopen`], then call again with the same sequence.
    pub(crate) fn append(&mut self, sequence: u64, batch: &SealedBatch) -> Result<(), Error> {
        if sequence < self.next_sequence {
            return Ok(());
        }
        let checkpoint = self.checkpoint_if_due()?;
        let now: Positions = with_presence(&batch.positions);
        let payload = encode(&Record::Batch {
            epoch: self.id.epoch,
            sequence,
            entries: batch.entries,
            positions: now.clone(),
            encoded: &batch.encoded,
        });
        let record = self.log.append(&payload).map_err(self.failed("write"))?;
        self.log.sync().map_err(self.failed("sync"))?;
        if let Some(checkpoint) = checkpoint {
            self.checkpoint_record = checkpoint;
        }
        self.file_bytes += payload.len() as u64;
        self.next_sequence = sequence + 1;
        self.positions.extend(now);
        let is_cached = self.cached_bytes + batch.encoded.len() <= self.parts.bounds.cached_bytes_max;
        if is_cached {
            self.cached_bytes += batch.encoded.len();
        }
        self.waiting.push_back(Waiting {
            record,
            id: BatchId { source: self.id.source, epoch: self.id.epoch, sequence },
            entries: batch.entries,
            is_replayed: false,
            encoded: is_cached.then(|| batch.encoded.clone()),
        });
        self.trim()
    }

    /// Returns the oldest batch without ack, with its bytes.
    pub(crate) fn front(&mut self) -> Result<Option<Waiting>, Error> {
        let Some(front) = self.waiting.front() else {
            return Ok(None);
        };
        if front.encoded.is_none() {
            self.read_back()?;
        }
        Ok(self.waiting.front().cloned())
    }

    /// Notes the ack of the oldest batch. Not synced: a lost ack costs one push that is recognised.
    pub(crate) fn ack(&mut self, record: u64) -> Result<(), Error> {
        let is_front = self.waiting.front().is_some_and(|front| front.record == record);
        if !is_front {
            return Ok(());
        }
        if let Some(encoded) = self.waiting.pop_front().and_then(|front| front.encoded) {
            self.cached_bytes -= encoded.len();
        }
        self.acked_record = record;
        let payload = encode(&Record::Ack { record });
        self.log.append(&payload).map_err(self.failed("write"))?;
        self.file_bytes += payload.len() as u64;
        self.trim()
    }

    /// Makes acks durable; at the end of the agent only.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.log.sync().map_err(self.failed("sync"))
    }

    /// Returns whether reading must stop until an ack frees space.
    pub(crate) fn is_full(&self) -> bool {
        !self.waiting.is_empty() && self.log.bytes() >= self.parts.bounds.bytes_max
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub(crate) fn id(&self) -> &AgentId {
        &self.id
    }

    pub(crate) fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Notes whether a target is there. Kept in memory until the next checkpoint: an idle agent writes
    /// nothing, and the mark only dates the forgetting.
    pub(crate) fn set_present(&mut self, target: &str, is_present: bool) {
        let now_ns = self.parts.clock.now_ns();
        if let Some(stored) = self.positions.get_mut(target) {
            match is_present {
                true => stored.gone_ns = 0,
                false if stored.gone_ns == 0 => stored.gone_ns = now_ns,
                false => {}
            }
        }
    }

    /// Begins a new file with a checkpoint when the present one is long enough.
    fn checkpoint_if_due(&mut self) -> Result<Option<u64>, Error> {
        if self.file_bytes < self.parts.bounds.file_bytes {
            return Ok(None);
        }
        let forget_before_ns = self.parts.clock.now_ns().saturating_sub(FORGET_AFTER_NS);
        self.positions.retain(|_, stored| stored.gone_ns == 0 || stored.gone_ns > forget_before_ns);
        let payload = encode(&Record::Checkpoint {
            epoch: self.id.epoch,
            next_sequence: self.next_sequence,
            acked_record: self.acked_record,
            positions: self.positions.clone(),
        });
        self.log.rotate().map_err(self.failed("write"))?;
        let record = self.log.append(&payload).map_err(self.failed("write"))?;
        self.file_bytes = payload.len() as u64;
        Ok(Some(record))
    }

    /// Removes files that hold neither a waiting batch nor the newest checkpoint.
    fn trim(&mut self) -> Result<(), Error> {
        let oldest_waiting = self.waiting.front().map_or(u64::MAX, |front| front.record);
        let below = oldest_waiting.min(self.checkpoint_record);
        self.log.trim(below).map_err(self.failed("trim"))?;
        Ok(())
    }

    /// Loads the bytes of the oldest waiting batches into memory, as many as the bound allows.
    fn read_back(&mut self) -> Result<(), Error> {
        // The log reads at open only. Its unsynced acks are made durable first, so nothing is torn.
        self.sync()?;
        let from = self.waiting.front().map_or(0, |front| front.record);
        let cached_bytes_max = self.parts.bounds.cached_bytes_max;
        let mut cached_bytes = 0;
        let waiting = &mut self.waiting;
        for batch in waiting.iter_mut() {
            batch.encoded = None;
        }
        let first_record = waiting.iter().map(|batch| batch.record).collect::<Vec<_>>();
        let mut is_enough = false;
        let opened = open_log(&self.parts, from, &mut |record, payload| {
            let Ok(index) = first_record.binary_search(&record) else {
                return Ok(());
            };
            let Record::Batch { encoded, .. } = decode(payload)? else {
                return Err(Error::Record("a waiting batch is none"));
            };
            if cached_bytes > 0 && cached_bytes + encoded.len() > cached_bytes_max {
                // The only way to end the replay: the rest of a large spool is not read for nothing.
                is_enough = true;
                return Err(Error::Record("enough of it was read"));
            }
            if let Some(batch) = waiting.get_mut(index) {
                cached_bytes += encoded.len();
                batch.encoded = Some(Bytes::copy_from_slice(encoded));
            }
            Ok(())
        });
        self.cached_bytes = cached_bytes;
        match opened {
            Ok((log, _)) => self.log = log,
            // The log that is open goes on: it is synced, and nothing was written meanwhile.
            Err(_) if is_enough => {}
            Err(error) => return Err(error),
        }
        match self.waiting.front() {
            Some(front) if front.encoded.is_none() => Err(Error::Record("a waiting batch is missing")),
            _ => Ok(()),
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(logyard_wal::Error) -> Error + use<> {
        let path = spool_dir(&self.parts.dir);
        move |source| Error::Spool { action, path, source }
    }
}

/// What replaying the records yields.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    epoch: u64,
    next_sequence: u64,
    acked_record: u64,
    checkpoint_record: u64,
    waiting: VecDeque<Waiting>,
    cached_bytes: usize,
    cached_bytes_max: usize,
    positions: Positions,
    last_record: u64,
    /// First record behind a hole, and the positions before it: batches in the hole are lost, so their
    /// entries must be read again unless all of them were acknowledged.
    hole: Option<(u64, Positions)>,
}

impl Replay {
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
                let is_cached = self.cached_bytes + encoded.len() <= self.cached_bytes_max;
                if is_cached {
                    self.cached_bytes += encoded.len();
                }
                self.waiting.push_back(Waiting {
                    record,
                    id: BatchId { source, epoch, sequence },
                    entries,
                    is_replayed: true,
                    encoded: is_cached.then(|| Bytes::copy_from_slice(encoded)),
                });
            }
            Record::Ack { record } => {
                self.acked_record = record;
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

    pub(crate) fn waiting(&self) -> &VecDeque<Waiting> {
        &self.waiting
    }

    pub(crate) fn into_positions(self) -> Positions {
        match self.hole {
            Some((behind, positions)) if self.acked_record + 1 < behind => positions,
            _ => self.positions,
        }
    }

    pub(crate) fn drop_acked(&mut self) {
        while self.waiting.front().is_some_and(|front| front.record <= self.acked_record) {
            if let Some(encoded) = self.waiting.pop_front().and_then(|front| front.encoded) {
                self.cached_bytes -= encoded.len();
            }
        }
    }
}

fn with_presence(positions: &BTreeMap<String, Position>) -> Positions {
    let present = |position: &Position| StoredPosition { position: position.clone(), gone_ns: 0 };
    positions.iter().map(|(target, position)| (target.clone(), present(position))).collect()
}

/// Takes one record of the log: its sequence and payload.
type TakeRecord<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Error>;

fn open_log(parts: &SpoolParts, from: u64, take: TakeRecord<'_>) -> Result<(Log, Recovery), Error> {
    let dir = spool_dir(&parts.dir);
    let settings =
        LogSettings { file_bytes_max: 8 * parts.bounds.file_bytes, record_bytes_max: RECORD_BYTES_MAX };
    Log::open(Arc::clone(&parts.disk), &dir, settings, from, take).map_err(|source| Error::Spool {
        action: "open",
        path: dir,
        source,
    })
}

pub(crate) fn spool_dir(dir: &Path) -> PathBuf {
    dir.join("spool")
}
