//! How a running query learns that it should stop.

use crate::error::{Error, Kind};
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const WITHDRAWN: u8 = 1;
const EXPIRED: u8 = 2;

/// Stops a query from outside. The engine looks at it between blocks, so a stop takes milliseconds.
#[derive(Debug, Default)]
pub struct Cancel(AtomicU8);

impl Cancel {
    /// Returns a token that stops nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Withdraws the query: nobody waits for the answer.
    pub fn withdraw(&self) {
        self.stop(WITHDRAWN);
    }

    /// Ends the query since its time is over.
    pub fn expire(&self) {
        self.stop(EXPIRED);
    }

    /// Remembers the first reason only.
    fn stop(&self, reason: u8) {
        // The result says which reason came first, which nobody needs.
        let _first = self.0.compare_exchange(RUNNING, reason, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Fails once the query was stopped.
    pub fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            WITHDRAWN => Err(Error::new(Kind::Cancelled, "the request was cancelled by the client")),
            _ => Err(Error::new(
                Kind::Deadline,
                "request timed out, decrease the duration of the request or add more label matchers (prefer \
                 exact match over regex match) to reduce the amount of data processed",
            )),
        }
    }
}
