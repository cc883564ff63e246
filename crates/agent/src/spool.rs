//! Batches on disk that wait for their ack, and the positions that go with them.
//!
//! A batch is synced together with the positions behind its entries before it is pushed. What the last
//! synced record says is therefore the whole truth about how far each target was read; what was read
//! after it is read again, and nobody saw it. Acks are records too, but not synced: a lost one costs a
//! push that the store recognises by its id.
//!
//! Files are trimmed whole, so each file begins with a checkpoint of all that came before it.
//! Each destination has a mark of its own (`spool_mark.rs`), and the bytes of its next batches in memory up to a bound; what
//! lies beyond it is read back. Page: `schemas/spool.md`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use logyard_codec::BatchId;
use logyard_sys::{Clock, Disk, Random};
use logyard_wal::{Log, LogSettings, Recovery, log_files, scan_file};

use crate::agent_id::AgentId;
use crate::batch::SealedBatch;
use crate::error::Error;
use crate::position::Position;
use crate::spool_mark::{Backlog, Mark, MarkSettings, Size};
use crate::spool_record::{Positions, Record, StoredPosition, decode, encode};
use crate::spool_replay::{FORGOTTEN, Replay};

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
    /// At least one.
    pub(crate) destinations: Vec<MarkSettings>,
}

/// Bounds of the spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpoolBounds {
    /// Bytes on disk at which reading stops.
    pub(crate) bytes_max: u64,
    /// Bytes after which a new file is begun.
    pub(crate) file_bytes: u64,
    /// Bytes of waiting batches kept in memory, for all destinations together.
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
    /// How far each destination has come, in the order of the settings.
    marks: Vec<Mark>,
    /// Record of the newest durable checkpoint; everything before it may be trimmed once acked.
    checkpoint_record: u64,
    file_bytes: u64,
    /// Batches that some destination has not acknowledged.
    waiting: VecDeque<Waiting>,
    positions: Positions,
}

/// A batch without all its acks.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Sequence of its record in the log.
    pub(crate) record: u64,
    pub(crate) id: BatchId,
    pub(crate) entries: u32,
    /// It was found when the spool was opened, so it may have been pushed before.
    pub(crate) is_replayed: bool,
    /// Bytes of the batch.
    pub(crate) bytes: u64,
}

impl Waiting {
    fn size(&self) -> Size {
        Size { record: self.record, entries: self.entries, bytes: self.bytes }
    }
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
    ///
    /// A destination that was not known before begins with the oldest batch that still waits for one that is; one that
    /// is no longer among the settings is forgotten. Both are durable on return.
    pub(crate) fn open(parts: SpoolParts) -> Result<(Self, SpoolFound), Error> {
        let mut id = AgentId::load(&*parts.disk, &parts.dir, &parts.random)?;
        let mut replay = Replay::default();
        let (log, recovery) =
            open_log(&parts, 0, &mut |record, payload| replay.take(record, payload, id.source))?;
        let is_damaged = recovery.torn_bytes > 0 || !recovery.quarantined.is_empty();
        let is_new = recovery.records == 0;
        id.epoch = id.epoch.max(replay.epoch);
        if is_damaged || is_new {
            id.raise_epoch(&*parts.disk, &parts.dir)?;
        }
        let others = parts.destinations.get(1..).unwrap_or_default();
        let known = |settings: &MarkSettings| replay.other_marks.get(&settings.name).copied();
        let oldest = others.iter().filter_map(known).fold(replay.acked_record, u64::min);
        let mut marks: Vec<Mark> = parts
            .destinations
            .iter()
            .take(1)
            .map(|first| Mark::new(first.clone(), replay.acked_record))
            .collect();
        marks.extend(others.iter().map(|other| Mark::new(other.clone(), known(other).unwrap_or(oldest))));
        let new: Vec<(String, u64)> = others
            .iter()
            .filter(|other| known(other).is_none())
            .map(|other| (other.name.clone(), oldest))
            .collect();
        let is_named = |name: &String| others.iter().any(|other| other.name == *name);
        let gone = replay.other_marks.keys().filter(|name| !is_named(name)).cloned();
        let changes: Vec<(String, u64)> = gone.map(|name| (name, FORGOTTEN)).chain(new).collect();
        for waiting in &replay.waiting {
            for mark in marks.iter_mut().filter(|mark| mark.acked_record < waiting.record) {
                mark.count(waiting.size());
            }
        }
        let mut spool = Self {
            file_bytes: log.bytes(),
            log,
            id,
            next_sequence: replay.next_sequence.max(1),
            marks,
            checkpoint_record: replay.checkpoint_record,
            waiting: std::mem::take(&mut replay.waiting),
            positions: replay.into_positions(),
            parts,
        };
        if !changes.is_empty() {
            for (destination, record) in &changes {
                let payload =
                    encode(&Record::DestinationAck { destination: destination.clone(), record: *record });
                spool.log.append(&payload).map_err(spool.failed("write"))?;
            }
            spool.sync()?;
        }
        spool.drop_done();
        let found = SpoolFound {
            batches: spool.waiting.len(),
            entries: spool.waiting.iter().map(|waiting| u64::from(waiting.entries)).sum(),
            is_damaged,
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
        let waiting = Waiting {
            record,
            id: BatchId { source: self.id.source, epoch: self.id.epoch, sequence },
            entries: batch.entries,
            is_replayed: false,
            bytes: batch.encoded.len() as u64,
        };
        let window_bytes_max = self.window_bytes_max();
        for mark in &mut self.marks {
            mark.count(waiting.size());
            mark.keep(record, &batch.encoded, window_bytes_max);
        }
        self.waiting.push_back(waiting);
        self.trim()
    }

    /// Returns the oldest batch without ack of a destination (its number in the settings), with its bytes.
    pub(crate) fn front(&mut self, destination: usize) -> Result<Option<(Waiting, Bytes)>, Error> {
        let Some(at) = self.front_index(destination) else { return Ok(None) };
        if self.marks.get(destination).is_some_and(|mark| mark.front().is_none()) {
            self.read_back(destination, at)?;
        }
        let encoded = self.marks.get(destination).and_then(Mark::front);
        Ok(self.waiting.get(at).cloned().zip(encoded))
    }

    /// Notes the ack of the oldest batch of a destination. Not synced: a lost ack costs one push that is recognised.
    ///
    /// Returns whether it was that batch: it may have been dropped meanwhile.
    pub(crate) fn ack(&mut self, destination: usize, record: u64) -> Result<bool, Error> {
        let front = self.front_index(destination).and_then(|at| self.waiting.get(at));
        let Some(size) = front.map(Waiting::size).filter(|size| size.record == record) else {
            return Ok(false);
        };
        if let Some(mark) = self.marks.get_mut(destination) {
            mark.pass(size);
        }
        self.drop_done();
        self.write_mark(destination)?;
        self.trim().map(|()| true)
    }

    /// Drops the oldest batches of destinations that may not hold up the others, until there is room. Returns the
    /// destinations that lost some, and how many entries.
    pub(crate) fn make_room(&mut self) -> Result<Vec<(usize, u64)>, Error> {
        let mut dropped = vec![0; self.marks.len()];
        for destination in 0..self.marks.len() {
            while self.marks.get(destination).is_some_and(|mark| mark.settings.drops && mark.is_beyond()) {
                self.drop_front(destination, &mut dropped);
            }
        }
        self.drop_done();
        self.trim()?;
        while self.is_disk_full() {
            // Only who alone holds the oldest batches can free anything.
            let oldest = self.waiting.front().map_or(0, |waiting| waiting.record);
            let holders = self.marks.iter().enumerate().filter(|(_, mark)| mark.acked_record < oldest);
            let holders: Vec<usize> = holders.map(|(number, _)| number).collect();
            let may_drop = |number: &usize| self.marks.get(*number).is_some_and(|mark| mark.settings.drops);
            if !holders.iter().all(may_drop) {
                break;
            }
            holders.into_iter().for_each(|holder| self.drop_front(holder, &mut dropped));
            self.drop_done();
            self.trim()?;
        }
        let lost: Vec<(usize, u64)> =
            dropped.into_iter().enumerate().filter(|(_, entries)| *entries > 0).collect();
        for (destination, _) in &lost {
            self.write_mark(*destination)?;
        }
        Ok(lost)
    }

    fn drop_front(&mut self, destination: usize, dropped: &mut [u64]) {
        let front = self.front_index(destination).and_then(|at| self.waiting.get(at)).map(Waiting::size);
        if let (Some(size), Some(mark)) = (front, self.marks.get_mut(destination)) {
            mark.pass(size);
            if let Some(count) = dropped.get_mut(destination) {
                *count += u64::from(size.entries);
            }
        }
    }

    /// Place of the oldest batch without ack of a destination.
    fn front_index(&self, destination: usize) -> Option<usize> {
        let acked_record = self.marks.get(destination)?.acked_record;
        let at = self.waiting.partition_point(|waiting| waiting.record <= acked_record);
        (at < self.waiting.len()).then_some(at)
    }

    /// Lets go of batches that all destinations are done with.
    fn drop_done(&mut self) {
        let done = self.marks.iter().map(|mark| mark.acked_record).min().unwrap_or_default();
        while self.waiting.pop_front_if(|waiting| waiting.record <= done).is_some() {}
    }

    fn write_mark(&mut self, destination: usize) -> Result<(), Error> {
        let Some(mark) = self.marks.get(destination) else { return Ok(()) };
        let record = mark.acked_record;
        let payload = encode(&match destination {
            0 => Record::Ack { record },
            _ => Record::DestinationAck { destination: mark.settings.name.clone(), record },
        });
        self.log.append(&payload).map_err(self.failed("write"))?;
        self.file_bytes += payload.len() as u64;
        Ok(())
    }

    /// Makes acks durable; at the end of the agent only.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.log.sync().map_err(self.failed("sync"))
    }

    /// Returns whether reading must stop until an ack frees space.
    pub(crate) fn is_full(&self) -> bool {
        self.is_disk_full() || self.marks.iter().any(|mark| !mark.settings.drops && mark.is_beyond())
    }

    fn is_disk_full(&self) -> bool {
        !self.waiting.is_empty() && self.log.bytes() >= self.parts.bounds.bytes_max
    }

    /// Returns what waits for each destination.
    pub(crate) fn backlogs(&self) -> impl Iterator<Item = Backlog> {
        self.marks.iter().map(|mark| mark.backlog)
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
            acked_record: self.marks.first().map_or(0, |mark| mark.acked_record),
            positions: self.positions.clone(),
        });
        self.log.rotate().map_err(self.failed("write"))?;
        let record = self.log.append(&payload).map_err(self.failed("write"))?;
        self.file_bytes = payload.len() as u64;
        for destination in 1..self.marks.len() {
            self.write_mark(destination)?;
        }
        Ok(Some(record))
    }

    /// Removes files that hold neither a waiting batch nor the newest checkpoint.
    fn trim(&mut self) -> Result<(), Error> {
        let oldest_waiting = self.waiting.front().map_or(u64::MAX, |front| front.record);
        let below = oldest_waiting.min(self.checkpoint_record);
        self.log.trim(below).map_err(self.failed("trim"))?;
        Ok(())
    }

    /// Bytes of batches that one destination may hold in memory.
    fn window_bytes_max(&self) -> usize {
        self.parts.bounds.cached_bytes_max / self.marks.len().max(1)
    }

    /// Loads the next batches of a destination into memory, from the one at `at`, as many as the bound allows.
    ///
    /// The log goes on as it is: batches are synced when they are appended, so they are in the files.
    fn read_back(&mut self, destination: usize, at: usize) -> Result<(), Error> {
        let bytes_max = self.window_bytes_max();
        let mut wanted = self.waiting.iter().skip(at).map(|waiting| waiting.record).peekable();
        let Some(mark) = self.marks.get_mut(destination) else { return Ok(()) };
        let dir = spool_dir(&self.parts.dir);
        let disk = &*self.parts.disk;
        let files = log_files(disk, &dir).map_err(Error::file("list", &dir))?;
        let from = wanted.peek().copied().unwrap_or_default();
        let begin = files.partition_point(|(first_record, _)| *first_record <= from).saturating_sub(1);
        let mut is_enough = false;
        for (_, path) in files.iter().skip(begin) {
            if is_enough || wanted.peek().is_none() {
                break;
            }
            let mut visit = |record: u64, payload: &[u8]| {
                if is_enough || wanted.peek() != Some(&record) {
                    // One beyond the wanted means that it is missing, and that no later one may be taken.
                    is_enough |= wanted.peek().is_some_and(|wanted| record > *wanted);
                    return;
                }
                match decode(payload) {
                    Ok(Record::Batch { encoded, .. }) if mark.has_room(encoded.len(), bytes_max) => {
                        mark.push(record, Bytes::copy_from_slice(encoded));
                        wanted.next();
                    }
                    _ => is_enough = true,
                }
            };
            scan_file(disk, path, &mut |record| visit(record.sequence, record.payload))
                .map_err(|source| Error::Spool { action: "read", path: dir.clone(), source })?;
        }
        match mark.front() {
            Some(_) => Ok(()),
            None => Err(Error::Record("a waiting batch is missing")),
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(logyard_wal::Error) -> Error + use<> {
        let path = spool_dir(&self.parts.dir);
        move |source| Error::Spool { action, path, source }
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
