//! What queries hold in memory while they run: places and entries of log queries, series and samples of
//! metric queries.
//!
//! Counted, not measured: each holder says what it takes, roughly and rather too much. Blocks that are
//! being evaluated are not counted here: `turns` bounds them.

use crate::error::{Error, Kind};
use crate::settings::EngineSettings;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that one query holds, given back when it ends.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    settings: &'a EngineSettings,
    of_all: &'a AtomicU64,
    held: AtomicU64,
}

impl<'a> Memory<'a> {
    /// Opens an account; `of_all` counts the bytes of all queries.
    pub(crate) fn new(settings: &'a EngineSettings, of_all: &'a AtomicU64) -> Self {
        Self { settings, of_all, held: AtomicU64::new(0) }
    }

    /// Notes that the query holds more. Errors: the query, or all queries together, hold too much.
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), Error> {
        let own = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let all = self.of_all.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let EngineSettings { query_memory_bytes_max: own_max, memory_bytes_max: all_max, .. } =
            *self.settings;
        if own_max > 0 && own > own_max {
            return Err(Error::invalid(format!(
                "cannot evaluate the query: its entries, series and samples take more than {own_max} bytes of \
                 memory; ask for fewer entries or series, shorten the range, or raise \
                 engine.query_memory_bytes_max"
            )));
        }
        if all_max > 0 && all > all_max {
            let text = format!(
                "cannot evaluate the query now: all queries together take more than {all_max} bytes of memory; \
                 try again later or raise engine.memory_bytes_max"
            );
            return Err(Error::new(Kind::Limited, text));
        }
        Ok(())
    }

    /// Notes that the query holds less.
    pub(crate) fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.of_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.held.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_all_is_given_back() {
        let settings = EngineSettings {
            query_memory_bytes_max: 100,
            memory_bytes_max: 150,
            ..EngineSettings::default()
        };
        let of_all = AtomicU64::new(0);
        let first = Memory::new(&settings, &of_all);
        first.hold(90).unwrap();
        let second = Memory::new(&settings, &of_all);
        second.hold(60).unwrap();
        let error = second.hold(1).unwrap_err();
        assert_eq!(error.kind(), Kind::Limited);
        assert!(error.to_string().contains("raise engine.memory_bytes_max"), "{error}");
        second.release(61);
        let error = first.hold(11).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("raise engine.query_memory_bytes_max"), "{error}");
        drop(first);
        assert_eq!(of_all.load(Ordering::Relaxed), 0);
    }
}
