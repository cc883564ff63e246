//! Which batches are already stored: one window of ids per source.
//!
//! A source numbers its batches and sends them about in order, so the highest sequence and a bit for each of the
//! 1,024 below it tell all. Anything further below is known. A higher epoch starts a fresh window; a batch of
//! a lower epoch is *not* known: storing it again is harmless, since equal entries are one, while refusing it
//! could lose entries.
//!
//! Windows are a function of the WAL: recovery starts from the checkpoint in the catalog, taken at the record
//! up to which the head was flushed, and marks the id of every later record.

use logyard_codec::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Ids remembered below the highest one.
const WINDOW_IDS: u64 = 1024;
const WINDOW_WORDS: usize = 16;

/// Sources remembered; beyond it the one that was silent longest is forgotten, and a repeat of its last
/// batches is then caught by equality of entries. 350 bytes each.
const SOURCES_MAX: usize = 4096;

/// The windows of all sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchWindows {
    sources: HashMap<[u8; 16], Window>,
    marks: u64,
}

#[derive(Clone, Debug)]
struct Window {
    epoch: u64,
    highest: u64,
    /// Bit `i` of the whole: `highest - i` is known.
    words: [u64; WINDOW_WORDS],
    /// Value of `marks` when last marked.
    marked: u64,
}

/// One window as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowRecord {
    /// The source, 32 hexadecimal digits.
    source: String,
    epoch: u64,
    highest: u64,
    /// Bit `i` of the whole says that `highest - i` is known; word 0 first.
    words: [u64; WINDOW_WORDS],
}

impl BatchWindows {
    /// Returns whether a batch was stored before.
    pub(crate) fn is_known(&self, id: &BatchId) -> bool {
        let Some(window) = self.sources.get(&id.source) else { return false };
        if id.epoch != window.epoch || id.sequence > window.highest {
            return false;
        }
        let below = window.highest - id.sequence;
        if below >= WINDOW_IDS {
            return true;
        }
        let (word, bit) = place(below);
        window.words[word] & (1 << bit) != 0
    }

    /// Remembers a batch.
    pub(crate) fn mark(&mut self, id: &BatchId) {
        self.marks += 1;
        if !self.sources.contains_key(&id.source) {
            self.make_room();
        }
        let fresh = Window { epoch: id.epoch, highest: id.sequence, words: [0; WINDOW_WORDS], marked: 0 };
        let window = self.sources.entry(id.source).or_insert_with(|| fresh.clone());
        if id.epoch < window.epoch {
            return;
        }
        if id.epoch > window.epoch {
            *window = fresh;
        }
        window.marked = self.marks;
        if id.sequence > window.highest {
            window.move_up(id.sequence - window.highest);
            window.highest = id.sequence;
        }
        let below = window.highest - id.sequence;
        if below < WINDOW_IDS {
            let (word, bit) = place(below);
            window.words[word] |= 1 << bit;
        }
    }

    fn make_room(&mut self) {
        if self.sources.len() < SOURCES_MAX {
            return;
        }
        let oldest = self.sources.iter().min_by_key(|(_, window)| window.marked).map(|(source, _)| *source);
        if let Some(oldest) = oldest {
            self.sources.remove(&oldest);
        }
    }

    /// Returns all windows for the catalog, those marked last at the end.
    pub(crate) fn records(&self) -> Vec<WindowRecord> {
        let mut windows: Vec<_> = self.sources.iter().collect();
        windows.sort_by_key(|(source, window)| (window.marked, **source));
        let record = |(source, window): (&[u8; 16], &Window)| WindowRecord {
            source: format!("{:032x}", u128::from_be_bytes(*source)),
            epoch: window.epoch,
            highest: window.highest,
            words: window.words,
        };
        windows.into_iter().map(record).collect()
    }

    /// Returns the windows of a checkpoint; `None` if a source is no 32 hexadecimal digits.
    pub(crate) fn from_records(records: &[WindowRecord]) -> Option<Self> {
        let mut windows = Self::default();
        for record in records {
            let source = u128::from_str_radix(&record.source, 16).ok()?.to_be_bytes();
            windows.marks += 1;
            windows.make_room();
            let window = Window {
                epoch: record.epoch,
                highest: record.highest,
                words: record.words,
                marked: windows.marks,
            };
            windows.sources.insert(source, window);
        }
        Some(windows)
    }
}

impl Window {
    /// Moves every bit `by` places away from bit 0.
    fn move_up(&mut self, by: u64) {
        if by >= WINDOW_IDS {
            self.words = [0; WINDOW_WORDS];
            return;
        }
        let (words, bits) = place(by);
        for index in (0..WINDOW_WORDS).rev() {
            let word = |back: usize| index.checked_sub(back).map_or(0, |index| self.words[index]);
            let carried = if bits == 0 { 0 } else { word(words + 1) >> (64 - bits) };
            self.words[index] = (word(words) << bits) | carried;
        }
    }
}

/// Returns word and bit of a distance below `WINDOW_IDS`.
fn place(below: u64) -> (usize, u32) {
    let below = u32::try_from(below).expect("distances inside a window are below 1,024");
    ((below / 64) as usize, below % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(source: u8, epoch: u64, sequence: u64) -> BatchId {
        BatchId { source: [source; 16], epoch, sequence }
    }

    #[test]
    fn epochs_start_afresh_and_old_ones_are_unknown() {
        let mut windows = BatchWindows::default();
        windows.mark(&id(1, 5, 10));
        assert!(windows.is_known(&id(1, 5, 10)));
        assert!(!windows.is_known(&id(1, 5, 9)) && !windows.is_known(&id(2, 5, 10)));
        windows.mark(&id(1, 6, 1));
        assert!(windows.is_known(&id(1, 6, 1)) && !windows.is_known(&id(1, 5, 10)));
        windows.mark(&id(1, 5, 11));
        assert!(windows.is_known(&id(1, 6, 1)));
    }

    #[test]
    fn the_silent_source_is_forgotten_first() {
        let mut windows = BatchWindows::default();
        let source =
            |number: u64| BatchId { source: u128::from(number).to_be_bytes(), epoch: 0, sequence: 1 };
        for number in 0..=SOURCES_MAX as u64 {
            windows.mark(&source(number));
            windows.mark(&source(0));
        }
        assert_eq!(windows.sources.len(), SOURCES_MAX);
        assert!(windows.is_known(&source(0)) && !windows.is_known(&source(1)));
    }

    proptest! {
        #[test]
        fn windows_equal_a_set(sequences in prop::collection::vec(0_u64..4000, 1..200), reload in any::<bool>()) {
            let mut windows = BatchWindows::default();
            let mut seen = BTreeSet::new();
            for sequence in sequences {
                let highest = seen.last().copied().unwrap_or(0);
                let below_window = !seen.is_empty() && sequence + WINDOW_IDS <= highest;
                prop_assert_eq!(windows.is_known(&id(1, 0, sequence)), seen.contains(&sequence) || below_window);
                windows.mark(&id(1, 0, sequence));
                seen.insert(sequence);
                if reload {
                    windows = BatchWindows::from_records(&windows.records()).unwrap();
                }
            }
        }
    }
}
