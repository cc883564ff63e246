//! How much memory a decoded request may take, counted before it is taken.
//!
//! A byte of a body can ask for far more than a byte: the two bytes of an empty protobuf entry become
//! a whole row. So a cap on the body alone bounds nothing; what the body is turned into is counted too:
//! every list by its real capacity, every text by its length, wherever it lies. Text that still lies in
//! the body counts as well, since whoever takes the request will copy it.

use crate::Error;
use crate::json_text::{lossy, lossy_bytes};
use std::borrow::Cow;

/// What a separate allocation costs beyond its bytes: the allocator's header, and the rounding up to
/// its smallest block, which is 32 bytes in glibc.
pub(crate) const ALLOCATION_BYTES: usize = 32;

/// What an item counts for that is read and leaves nothing behind, in bytes of the body.
///
/// A field or stream of two bytes costs no memory but some nanoseconds, and packs a thousandfold. No sender in earnest
/// sends one for every 64 bytes that a request may have, which are 4 million of 256 MiB.
const IDLE_BYTES: usize = 64;

/// Bytes that may still be taken.
///
/// After the first refusal [`Budget::exceeded`] gives the error, for decoders whose own errors are
/// texts only.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    left: usize,
    idle_left: usize,
    exceeded: bool,
}

/// A state of a [`Budget`] that it can return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    left: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, left: bytes_max, idle_left: bytes_max / IDLE_BYTES, exceeded: false }
    }

    /// Counts `bytes`. Errors: `Limited`, and nothing must be allocated.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.exceeded = true;
                Err(self.error())
            }
        }
    }

    /// Counts an item that is read and leaves nothing behind. Not given back. Errors: `Limited` after too many.
    pub(crate) fn idle(&mut self) -> Result<(), Error> {
        let Some(left) = self.idle_left.checked_sub(1) else {
            self.exceeded = true;
            return Err(self.error());
        };
        self.idle_left = left;
        Ok(())
    }

    /// Sets a field of a message; one that is given again, or says nothing, is idle.
    pub(crate) fn set<T: PartialEq + Default>(&mut self, slot: &mut T, value: T) -> Result<(), Error> {
        if *slot != T::default() || value == T::default() {
            self.idle()?;
        }
        *slot = value;
        Ok(())
    }

    /// Counts an allocation of `bytes`.
    pub(crate) fn take_allocation(&mut self, bytes: usize) -> Result<(), Error> {
        self.take(bytes.saturating_add(ALLOCATION_BYTES))
    }

    /// Makes room for exactly `count` more items.
    pub(crate) fn reserve<T>(&mut self, list: &mut Vec<T>, count: usize) -> Result<(), Error> {
        let bytes = count.saturating_mul(size_of::<T>());
        if list.capacity() == 0 {
            self.take_allocation(bytes)?;
        } else {
            self.take(bytes)?;
        }
        list.reserve_exact(count);
        Ok(())
    }

    /// Adds an item; a full list doubles, from one item on, since most lists of a bomb are short.
    pub(crate) fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), Error> {
        if list.len() == list.capacity() {
            self.reserve(list, list.len().max(1))?;
        }
        list.push(item);
        Ok(())
    }

    /// Makes text valid; `bytes` were counted before.
    pub(crate) fn valid<'a>(&mut self, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, str>, Error> {
        match bytes {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(_) => self.repaired(bytes).map(Cow::Owned),
            },
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(error) => self.repaired(error.as_bytes()).map(Cow::Owned),
            },
        }
    }

    /// Returns the present state, to come [`Budget::back_to`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { left: self.left }
    }

    /// Gives back what was taken since `mark`: all of it was dropped.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.left = mark.left;
    }

    /// Returns the error of the request once something was refused.
    pub(crate) fn exceeded(&self) -> Option<Error> {
        self.exceeded.then(|| self.error())
    }

    fn repaired(&mut self, bytes: &[u8]) -> Result<String, Error> {
        self.take_allocation(lossy_bytes(bytes))?;
        Ok(lossy(bytes).into_owned())
    }

    /// The caller of the decoder names the setting behind the number.
    fn error(&self) -> Error {
        Error::limited(format!(
            "push request too large: its streams and entries take more than {} bytes of memory",
            self.bytes_max
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn lists_count_their_capacity() {
        let mut budget = Budget::new(ALLOCATION_BYTES + 4 * 8);
        let mut list = Vec::new();
        for item in 0..4_u64 {
            budget.push(&mut list, item).unwrap();
        }
        assert_eq!((list.capacity(), budget.left), (4, 0));
        assert_eq!(budget.exceeded(), None);
        assert_eq!(budget.push(&mut list, 4).unwrap_err().kind(), Kind::Limited);
        assert_eq!((list.len(), list.capacity()), (4, 4));
        assert!(budget.exceeded().unwrap().to_string().contains("more than 64 bytes"));
    }

    #[test]
    fn idle_items_are_counted_for_good() {
        let mut budget = Budget::new(2 * IDLE_BYTES);
        let mark = budget.mark();
        budget.idle().unwrap();
        budget.idle().unwrap();
        budget.back_to(mark);
        assert_eq!(budget.idle().unwrap_err().kind(), Kind::Limited);
        assert!(budget.exceeded().is_some());
    }

    #[test]
    fn a_refused_reservation_takes_nothing() {
        let mut budget = Budget::new(1000);
        let mut list: Vec<u64> = Vec::new();
        assert!(budget.reserve(&mut list, usize::MAX).is_err());
        assert_eq!((list.capacity(), budget.left), (0, 1000));
    }

    #[test]
    fn repaired_text_counts_what_it_becomes() {
        let mut budget = Budget::new(ALLOCATION_BYTES + 7);
        assert_eq!(budget.valid(Cow::Borrowed(b"a\xff\xff")).unwrap(), "a\u{fffd}\u{fffd}");
        assert_eq!(budget.left, 0);
        assert_eq!(budget.valid(Cow::Owned(b"plain".to_vec())).unwrap(), "plain");
        assert!(budget.valid(Cow::Owned(b"\xff".to_vec())).is_err());
    }

    #[test]
    fn what_was_dropped_is_given_back() {
        let mut budget = Budget::new(10);
        let mark = budget.mark();
        budget.take(10).unwrap();
        budget.back_to(mark);
        budget.take(10).unwrap();
    }
}
