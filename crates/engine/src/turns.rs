//! The work of a query, cut into turns on threads that all queries share.
//!
//! The thread that asks hands out turns and waits; at most one turn per thread of the pool is handed out
//! at a time. Turns from outside of the pool are taken in the order in which they came, so queries
//! alternate: a light one waits for a turn of each of the others, never for their end. A turn ends once
//! it has decoded some bytes, hence takes milliseconds however long the query is.
//!
//! Milliseconds are long for a query that takes one. So while others are under way the thread that asks takes the first
//! turns by itself, beside the pool, and the system shares the processors out: a light query has ended by then. What is
//! known to be little is left to that thread altogether: to wake others and to wait for them takes longer.
//!
//! Each thread evaluates one block at a time and lets go of it: the threads of the pool, and as many that ask, bound what
//! all queries together have decoded.

use crate::cancel::Cancel;
use crate::error::Error;
use rayon::ThreadPool;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decoded bytes after which a turn ends: about a block.
const TURN_BYTES: u64 = 1 << 20;

/// Pieces after which a turn ends: some need nothing decoded.
const TURN_PIECES: usize = 256;

/// Turns that the thread that asks takes by itself while other queries are under way.
const OWN_TURNS: usize = 8;

/// What a fold takes, as far as is known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A fraction of a millisecond, if nothing has to be read.
    Little,
    Unknown,
}

/// The threads that all queries share, and what is known of their load.
#[derive(Debug)]
pub(crate) struct Lanes {
    pool: ThreadPool,
    /// Folds under way.
    folds: AtomicUsize,
    /// Threads beside the pool that take turns by themselves.
    own: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new(pool: ThreadPool) -> Self {
        Self { pool, folds: AtomicUsize::new(0), own: AtomicUsize::new(0) }
    }

    fn count(&self) -> usize {
        self.pool.current_num_threads().max(1)
    }

    /// Lets a thread take turns beside the pool if not too many threads do, and says how many; for work that is not
    /// known to be little only if other folds are under way.
    fn admit(&self, work: Work) -> Option<(Counted<'_>, usize)> {
        let turns = match work {
            Work::Little => usize::MAX,
            Work::Unknown if self.folds.load(Ordering::Relaxed) < 2 => return None,
            Work::Unknown => OWN_TURNS,
        };
        let more = |own: usize| (own < self.count()).then_some(own + 1);
        self.own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some((Counted(&self.own), turns))
    }
}

/// Counts down when it is dropped, also by a panic.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands out the turns of one query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns<'a> {
    lanes: &'a Lanes,
    cancel: &'a Cancel,
}

/// Reports the end of a turn, also when it panicked.
struct TurnEnd(SyncSender<()>);

impl Drop for TurnEnd {
    fn drop(&mut self) {
        // The channel has room for all turns under way; without a receiver nobody waits.
        let _is_sent = self.0.try_send(()).is_ok();
    }
}

impl<'a> Turns<'a> {
    pub(crate) fn new(lanes: &'a Lanes, cancel: &'a Cancel) -> Self {
        Self { lanes, cancel }
    }

    /// Returns how many turns run at once in the pool.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.count()
    }

    /// Folds the pieces `0..count`, in any order, into at most one state per thread.
    ///
    /// `step` adds a piece to a state and returns how many bytes it decoded. The first error ends all;
    /// so does the end of the query's time. Blocks; not to be called from within a step.
    pub(crate) fn fold<S: Default + Send>(
        &self,
        count: usize,
        work: Work,
        step: impl Fn(&mut S, usize) -> Result<u64, Error> + Sync,
    ) -> Result<Vec<S>, Error> {
        let lanes = self.lanes().min(count);
        // A single piece cannot be shared out.
        let work = if count == 1 { Work::Little } else { work };
        self.lanes.folds.fetch_add(1, Ordering::Relaxed);
        let _fold = Counted(&self.lanes.folds);
        let (next, is_stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (idle, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
        let turn = || {
            let mut state: S = lock(&idle).pop().unwrap_or_default();
            let (mut decoded, mut pieces) = (0, 0);
            while decoded < TURN_BYTES && pieces < TURN_PIECES {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                pieces += 1;
                match self.cancel.check().and_then(|()| step(&mut state, index)) {
                    Ok(bytes) => decoded += bytes,
                    Err(error) => {
                        is_stopped.store(true, Ordering::Relaxed);
                        lock(&failure).get_or_insert(error);
                        break;
                    }
                }
            }
            lock(&idle).push(state);
            decoded
        };
        let is_more = || next.load(Ordering::Relaxed) < count && !is_stopped.load(Ordering::Relaxed);
        if let Some((_own, mut turns)) = self.lanes.admit(work) {
            while turns > 0 && is_more() {
                let decoded = turn();
                // Little that has to be read first is not little.
                turns = if work == Work::Little && decoded >= TURN_BYTES { 0 } else { turns - 1 };
            }
        }
        if is_more() {
            self.share_out(lanes, &is_more, &|| {
                turn();
            });
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(idle.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Hands turns out to the pool, `lanes` at a time, while there is more to do, and waits for their ends.
    fn share_out(&self, lanes: usize, is_more: &dyn Fn() -> bool, turn: &(dyn Fn() + Sync)) {
        let (ended, ends) = sync_channel(lanes + 1);
        self.lanes.pool.in_place_scope(|scope| {
            let mut under_way = 0;
            loop {
                if is_more() && under_way < lanes {
                    let end = TurnEnd(ended.clone());
                    scope.spawn(move |_| {
                        let _end = end;
                        turn();
                    });
                    under_way += 1;
                } else if under_way > 0 && ends.recv().is_ok() {
                    under_way -= 1;
                } else {
                    break;
                }
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use rayon::ThreadPoolBuilder;
    use std::time::Duration;

    fn pool(threads: usize) -> Lanes {
        Lanes::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    #[test]
    fn every_piece_is_folded_once() {
        let (pool, cancel) = (pool(3), Cancel::new());
        let counts = [(0, 0), (1, 0), (2, TURN_BYTES), (1000, 1), (1000, TURN_BYTES)];
        let works = [Work::Unknown, Work::Little];
        for ((count, bytes), work) in counts.into_iter().flat_map(|one| works.map(|work| (one, work))) {
            let sums = Turns::new(&pool, &cancel)
                .fold(count, work, |sum: &mut (usize, usize), index| {
                    *sum = (sum.0 + 1, sum.1 + index);
                    Ok(bytes)
                })
                .unwrap();
            assert!(sums.len() <= 3);
            let sum = sums.iter().fold((0, 0), |all, sum| (all.0 + sum.0, all.1 + sum.1));
            assert_eq!(sum, (count, (0..count).sum()));
        }
    }

    #[test]
    fn the_first_error_ends_all() {
        let (pool, cancel) = (pool(2), Cancel::new());
        let steps = AtomicUsize::new(0);
        let step = |_: &mut (), index| {
            steps.fetch_add(1, Ordering::Relaxed);
            if index == 3 { Err(Error::invalid("three")) } else { Ok(TURN_BYTES) }
        };
        let error = Turns::new(&pool, &cancel).fold(100_000, Work::Unknown, step).unwrap_err();
        assert_eq!(error.to_string(), "three");
        assert!(steps.load(Ordering::Relaxed) < 50_000);
        cancel.withdraw();
        let error = Turns::new(&pool, &cancel).fold(1, Work::Unknown, |_: &mut (), _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
    }

    #[test]
    fn little_work_stays_on_the_thread_that_asks() {
        let (pool, cancel) = (pool(2), Cancel::new());
        let asks = std::thread::current().id();
        let step = |states: &mut usize, _| {
            assert_eq!(std::thread::current().id(), asks);
            *states += 1;
            Ok(1)
        };
        assert_eq!(Turns::new(&pool, &cancel).fold(500, Work::Little, step).unwrap(), [500]);
        assert_eq!(Turns::new(&pool, &cancel).fold(1, Work::Unknown, step).unwrap(), [1]);
        // As many as there are threads of the pool may do so; what others ask is handed out.
        pool.own.store(2, Ordering::Relaxed);
        let step = |_: &mut (), _| {
            assert_ne!(std::thread::current().id(), asks);
            Ok(0)
        };
        Turns::new(&pool, &cancel).fold(1, Work::Little, step).unwrap();
    }

    #[test]
    fn a_light_query_does_not_wait_for_a_turn_of_a_heavy_one() {
        let (pool, cancel) = (pool(1), Cancel::new());
        let (begun, has_begun) = sync_channel(1);
        let (done, is_done) = sync_channel(1);
        let is_done = Mutex::new(is_done);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                // One turn, which keeps the only thread of the pool until the light query has ended.
                let step = |_: &mut (), _| {
                    begun.send(()).unwrap();
                    lock(&is_done).recv_timeout(Duration::from_secs(60)).unwrap();
                    Ok(TURN_BYTES)
                };
                Turns::new(&pool, &cancel).fold(1, Work::Unknown, step).unwrap();
            });
            has_begun.recv().unwrap();
            let sums = Turns::new(&pool, &cancel).fold(3, Work::Unknown, |sum: &mut usize, index| {
                *sum += index;
                Ok(TURN_BYTES)
            });
            assert_eq!(sums.unwrap(), [3]);
            done.send(()).unwrap();
        });
        assert_eq!((pool.folds.into_inner(), pool.own.into_inner()), (0, 0));
    }

    #[test]
    fn a_light_query_does_not_wait_for_the_end_of_a_heavy_one() {
        let (pool, cancel) = (pool(1), Cancel::new());
        let (begun, has_begun) = sync_channel(1);
        let light_is_done = AtomicBool::new(false);
        let heavy_steps = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                // Goes on until the light query has ended: without turns it never would.
                let step = |_: &mut (), _| {
                    let _is_first = begun.try_send(()).is_ok();
                    heavy_steps.fetch_add(1, Ordering::Relaxed);
                    match light_is_done.load(Ordering::Relaxed) {
                        true => Err(Error::invalid("the light query has ended")),
                        false => Ok(TURN_BYTES),
                    }
                };
                Turns::new(&pool, &cancel).fold(usize::MAX / 2, Work::Unknown, step).unwrap_err();
            });
            has_begun.recv().unwrap();
            let before = heavy_steps.load(Ordering::Relaxed);
            // Some may be taken one after the other before the heavy query is on again, but not so many.
            let light = OWN_TURNS + 50;
            Turns::new(&pool, &cancel).fold(light, Work::Unknown, |_: &mut (), _| Ok(TURN_BYTES)).unwrap();
            let between = heavy_steps.load(Ordering::Relaxed) - before;
            light_is_done.store(true, Ordering::Relaxed);
            assert!(between > 0, "the heavy query goes on between the turns of the light one");
        });
    }
}
