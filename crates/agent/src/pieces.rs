//! The way of pieces to the batcher, which remembers what is under way.
//!
//! A target that ends and begins again in the same process goes on behind what it handed over, which may not be in the
//! spool yet. What is remembered is forgotten once it is spooled, so it takes no more room than the pieces on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::batch::Piece;
use crate::position::Position;
use crate::received::Closed;
use crate::report::Board;
use crate::spool_shared::SharedSpool;

/// Hands pieces to the batcher. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    sender: mpsc::Sender<Piece>,
    handed: Handed,
    /// Counts what is handed over, by target.
    board: Board,
}

/// Positions handed over and not yet spooled, by target. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handed(Arc<Mutex<BTreeMap<Arc<str>, Position>>>);

/// Room for one piece.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    permit: mpsc::Permit<'a, Piece>,
    pieces: &'a Pieces,
}

impl Pieces {
    pub(crate) fn new(sender: mpsc::Sender<Piece>, handed: Handed, board: Board) -> Self {
        Self { sender, handed, board }
    }

    /// Waits for room. Safe to cancel.
    pub(crate) async fn reserve(&self) -> Result<Room<'_>, Closed> {
        let permit = self.sender.reserve().await.map_err(|_| Closed)?;
        Ok(Room { permit, pieces: self })
    }

    /// Waits for room, and hands a piece over. Cancelled, it has not.
    pub(crate) async fn send(&self, piece: Piece) -> Result<(), Closed> {
        self.reserve().await?.send(piece);
        Ok(())
    }

    /// As [`Self::send`], for a thread that may wait. What it hands over is not remembered: the thread goes on for as long
    /// as the agent does, and knows it.
    pub(crate) fn blocking_send(&self, piece: Piece) -> Result<(), Closed> {
        self.count(&piece);
        self.sender.blocking_send(piece).map_err(|_| Closed)
    }

    fn count(&self, piece: &Piece) {
        if let Some((target, _)) = &piece.place {
            self.board.count(target, &piece.chunks);
        }
    }

    /// Notes where a target goes on that has handed nothing over.
    pub(crate) fn note(&self, target: &Arc<str>, position: Position) {
        self.handed.note(target, position);
    }

    /// Returns how far each target was read by this process or one before it.
    pub(crate) fn positions(&self, spool: &SharedSpool) -> BTreeMap<String, Position> {
        // Asked first: what is spooled in between is found in one of them.
        let handed = self.handed.with(|handed| handed.clone());
        let mut positions: BTreeMap<String, Position> =
            spool.positions().into_iter().map(|(key, stored)| (key, stored.position)).collect();
        positions.extend(handed.into_iter().map(|(key, position)| (key.to_string(), position)));
        positions
    }
}

impl Room<'_> {
    pub(crate) fn send(self, piece: Piece) {
        // Noted before it is on its way: the batcher may be faster.
        if let Some((target, position)) = &piece.place {
            self.pieces.handed.note(target, position.clone());
        }
        self.pieces.count(&piece);
        self.permit.send(piece);
    }
}

impl Handed {
    fn note(&self, target: &Arc<str>, position: Position) {
        self.with(|handed| drop(handed.insert(Arc::clone(target), position)));
    }

    /// Forgets what is spooled now; what was handed over since stays.
    pub(crate) fn settle(&self, spooled: &BTreeMap<String, Position>) {
        self.with(|handed| {
            for (target, position) in spooled {
                if handed.get(target.as_str()) == Some(position) {
                    handed.remove(target.as_str());
                }
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Arc<str>, Position>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
impl From<mpsc::Sender<Piece>> for Pieces {
    fn from(sender: mpsc::Sender<Piece>) -> Self {
        Self::new(sender, Handed::default(), Board::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::shared_spool;

    fn journal(cursor: &str) -> Position {
        Position::Journal(cursor.to_owned())
    }

    #[tokio::test]
    async fn what_is_handed_over_counts_until_it_is_spooled() {
        let (sender, mut taken) = mpsc::channel(4);
        let (pieces, spool) = (Pieces::from(sender), shared_spool());
        let piece = |cursor: &str| Piece::of_target("journal:a".into(), Vec::new(), journal(cursor));
        assert!(pieces.positions(&spool).is_empty());
        for cursor in ["c1", "c2"] {
            pieces.send(piece(cursor)).await.unwrap();
        }
        let at = || pieces.positions(&spool).get("journal:a").cloned();
        assert_eq!(at(), Some(journal("c2")));
        pieces.handed.settle(&[("journal:a".to_owned(), journal("c1"))].into());
        assert_eq!(at(), Some(journal("c2")), "it went on since");
        pieces.handed.settle(&[("journal:a".to_owned(), journal("c2"))].into());
        assert_eq!(at(), None, "the spool knows it by now");
        taken.close();
        assert_eq!(pieces.send(piece("c3")).await, Err(Closed));
        assert_eq!(at(), None, "what was not taken does not count");
    }
}
