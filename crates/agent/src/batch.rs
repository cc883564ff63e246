//! Gathers pieces of many targets into batches and spools them.
//!
//! A piece holds what one turn of a target read, of all its outputs, with the position behind it: it
//! goes into one batch whole, so every batch border is one place in each target's log. Senders wait in
//! line for the bounded channel, one piece each: a flooding target cannot starve the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logyard_codec::{Entries, encode_batch};
use logyard_model::LabelSet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::pieces::Handed;
use crate::position::Position;
use crate::spool_shared::{SharedSpool, stopped};

/// Raw bytes at which a batch is sealed at once.
const BATCH_RAW_BYTES: u64 = 1 << 20;
/// Raw bytes after which a target ends its turn.
pub(crate) const PIECE_RAW_BYTES: u64 = 64 << 10;
/// Pieces that may wait for the batch: with the piece size, a bound of about 1 MiB.
pub(crate) const PIECES_WAITING_MAX: usize = 16;
/// Under load a batch is sealed this long after the one before it: one sync per second.
const SEAL_INTERVAL: Duration = Duration::from_secs(1);
/// Positions that move over discarded entries alone wait this long for company: to lose them costs no entry.
const QUIET_LINGER: Duration = Duration::from_secs(10);
/// After a quiet time entries wait only this long for companions.
const LINGER: Duration = Duration::from_millis(200);

/// What one turn of a target yielded.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) chunks: Vec<(Arc<LabelSet>, Entries)>,
    /// Key of the target's position, and the position after these entries, and after those that were discarded: there
    /// may be no others. `None` of what comes by itself, which nobody can read again.
    pub(crate) place: Option<(Arc<str>, Position)>,
    /// Told once the piece, and all before it from the same sender, is in the spool; dropped if it never will be.
    pub(crate) spooled: Option<oneshot::Sender<()>>,
}

impl Piece {
    /// What a target was read for.
    pub(crate) fn of_target(
        target: Arc<str>,
        chunks: Vec<(Arc<LabelSet>, Entries)>,
        position: Position,
    ) -> Self {
        Self { chunks, place: Some((target, position)), spooled: None }
    }
}

/// A batch being filled.
#[derive(Debug, Default)]
struct BatchBuilder {
    chunks: HashMap<Arc<LabelSet>, Entries>,
    positions: BTreeMap<String, Position>,
    raw_bytes: u64,
    entries: usize,
    /// Told once the batch is in the spool.
    waiting: Vec<oneshot::Sender<()>>,
}

/// A batch ready for the spool.
#[derive(Clone, Debug)]
pub(crate) struct SealedBatch {
    pub(crate) encoded: Bytes,
    pub(crate) entries: u32,
    pub(crate) positions: BTreeMap<String, Position>,
}

impl BatchBuilder {
    fn add(&mut self, piece: Piece) {
        for (labels, entries) in piece.chunks {
            self.raw_bytes += entries.raw_bytes();
            self.entries += entries.len();
            match self.chunks.get_mut(&labels) {
                Some(held) => held.append(&entries),
                None => drop(self.chunks.insert(labels, entries)),
            }
        }
        if let Some((target, position)) = piece.place {
            self.positions.insert(target.to_string(), position);
        }
        self.waiting.extend(piece.spooled);
    }

    /// Returns whether there is nothing to spool.
    fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.entries == 0
    }

    /// Encodes the batch. Cost: compresses up to a little more than 1 MiB; not for async threads.
    fn seal(self) -> SealedBatch {
        let mut chunks: Vec<(&LabelSet, &Entries)> =
            self.chunks.iter().filter(|(_, entries)| !entries.is_empty()).map(|(l, e)| (&**l, e)).collect();
        // A fixed order: the same entries give the same bytes.
        chunks.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let encoded = Bytes::from(encode_batch(&chunks));
        // A batch holds about 1 MiB, so its entries are far fewer than 2^32.
        let entries = u32::try_from(self.entries).unwrap_or(u32::MAX);
        SealedBatch { encoded, entries, positions: self.positions }
    }
}

/// What tells the batcher to end.
#[derive(Debug)]
pub(crate) struct BatchEnd {
    /// Only ends the wait for a full spool: then the last batch is let go, unread as far as any position says.
    pub(crate) stop: watch::Receiver<bool>,
    /// No sender counts any more, though it may still be there.
    pub(crate) last_call: watch::Receiver<bool>,
    /// Forgets what is spooled.
    pub(crate) handed: Handed,
}

/// Runs until all senders are gone or cut off, then spools what is left.
pub(crate) async fn run(
    mut pieces: mpsc::Receiver<Piece>,
    spool: SharedSpool,
    metrics: Metrics,
    end: BatchEnd,
) {
    let BatchEnd { mut stop, mut last_call, handed } = end;
    let mut is_closed = false;
    let mut batch = BatchBuilder::default();
    let mut seal_at = None;
    let mut not_before = Instant::now();
    loop {
        let piece = tokio::select! {
            biased;
            () = at(seal_at) => None,
            () = stopped(&mut last_call), if !is_closed => {
                // What is in the channel still comes, then the end.
                pieces.close();
                is_closed = true;
                continue;
            }
            piece = pieces.recv() => match piece {
                Some(piece) => Some(piece),
                None => break,
            },
        };
        if let Some(piece) = piece {
            let count: usize = piece.chunks.iter().map(|(_, entries)| entries.len()).sum();
            metrics.entries_read.inc_by(count as u64);
            metrics.entries_waiting.inc_by(count as i64);
            let is_urgent = count > 0 || piece.spooled.is_some();
            batch.add(piece);
            let linger = if is_urgent { LINGER } else { QUIET_LINGER };
            let wanted = not_before.max(Instant::now() + linger);
            seal_at = Some(seal_at.map_or(wanted, |at: Instant| at.min(wanted)));
            if batch.raw_bytes < BATCH_RAW_BYTES {
                continue;
            }
        }
        seal_at = None;
        if !spool_batch(std::mem::take(&mut batch), &spool, &handed, &mut stop).await {
            return;
        }
        not_before = Instant::now() + SEAL_INTERVAL;
    }
    spool_batch(batch, &spool, &handed, &mut stop).await;
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn spool_batch(
    mut batch: BatchBuilder,
    spool: &SharedSpool,
    handed: &Handed,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let waiting = std::mem::take(&mut batch.waiting);
    let positions = batch.positions.clone();
    let is_spooled = batch.is_empty() || seal_and_append(batch, spool, stop).await;
    if is_spooled {
        handed.settle(&positions);
        for sender in waiting {
            // Whoever does not wait any more needs no answer.
            sender.send(()).unwrap_or_default();
        }
    }
    is_spooled
}

async fn seal_and_append(batch: BatchBuilder, spool: &SharedSpool, stop: &mut watch::Receiver<bool>) -> bool {
    let Ok(sealed) = tokio::task::spawn_blocking(move || batch.seal()).await else {
        // Only a panic or the end of the runtime gets here; the positions stay where they were.
        return false;
    };
    spool.append(sealed, stop).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::OutputPosition;
    use logyard_codec::decode_batch;

    fn piece(target: &str, container: &str, times: &[i64]) -> Piece {
        let mut entries = Entries::new();
        for ts_ns in times {
            entries.push(*ts_ns, b"line", "", &LabelSet::default());
        }
        let ns = times.last().copied().unwrap_or_default();
        let output = OutputPosition { ns, ordinal: 1, proof_ns: ns, step: None };
        let chunks = vec![(Arc::new(LabelSet::from_pairs([("container", container)])), entries)];
        Piece::of_target(target.into(), chunks, Position::Container([Some(output), None]))
    }

    #[test]
    fn pieces_of_one_stream_become_one_chunk_and_the_last_position_counts() {
        let mut batch = BatchBuilder::default();
        for piece in [piece("a", "one", &[1, 2]), piece("b", "two", &[5]), piece("a", "one", &[3])] {
            batch.add(piece);
        }
        let sealed = batch.seal();
        assert_eq!(sealed.entries, 4);
        assert!(
            matches!(sealed.positions.get("a"), Some(Position::Container([Some(at), None])) if at.ns == 3)
        );
        let decoded = decode_batch(&sealed.encoded, 1 << 20).unwrap();
        let chunks: Vec<(String, usize)> =
            decoded.chunks.iter().map(|chunk| (chunk.labels.to_string(), chunk.entries.len())).collect();
        assert_eq!(chunks, [(r#"{container="one"}"#.to_owned(), 3), (r#"{container="two"}"#.to_owned(), 1)]);
    }
}
