//! A small bounded cache: what was used longest ago goes first.
//!
//! For hundreds of entries, not thousands: making room looks at all of them.
//!
//! What is too much for a cache and asked for again and again in the same order would never be there when it is asked
//! for. So a value may be offered only: it gets in if what has to go for it was used longer ago than it was last missed.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Shared values by number, bounded by the sum of their weights.
#[derive(Debug)]
pub(crate) struct Cache<T: ?Sized> {
    weight_max: u64,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T: ?Sized> {
    entries: HashMap<u64, Entry<T>>,
    weight: u64,
    uses: u64,
    /// When keys were last missed; the latest [`MISSES_MAX`] of them.
    misses: HashMap<u64, Missed>,
}

/// When a key was missed the last time, and the time before.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    last: u64,
    before: u64,
}

/// Missed keys that are remembered.
const MISSES_MAX: usize = 1024;

#[derive(Debug)]
struct Entry<T: ?Sized> {
    value: Arc<T>,
    weight: u64,
    used: u64,
}

impl<T: ?Sized> Cache<T> {
    pub(crate) fn new(weight_max: u64) -> Self {
        let state = State { entries: HashMap::new(), weight: 0, uses: 0, misses: HashMap::new() };
        Self { weight_max, state: Mutex::new(state) }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        state.uses += 1;
        let used = state.uses;
        let Some(entry) = state.entries.get_mut(&key) else {
            state.miss(key);
            return None;
        };
        entry.used = used;
        Some(Arc::clone(&entry.value))
    }

    /// Keeps a value that was just missed, unless something would have to go for it that was used since it was missed
    /// the time before.
    pub(crate) fn offer(&self, key: u64, value: Arc<T>, weight: u64) {
        let state = self.state.lock();
        let before = state.misses.get(&key).map_or(0, |missed| missed.before);
        let used_since = state.entries.values().filter(|entry| entry.used >= before);
        let stays: u64 = used_since.map(|entry| entry.weight).sum();
        drop(state);
        if stays.saturating_add(weight) <= self.weight_max {
            self.insert(key, value, weight);
        }
    }

    /// Keeps a value, unless it alone is heavier than everything may be.
    pub(crate) fn insert(&self, key: u64, value: Arc<T>, weight: u64) {
        if weight > self.weight_max {
            return;
        }
        let mut state = self.state.lock();
        state.remove(key);
        while state.weight + weight > self.weight_max {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            state.remove(oldest);
        }
        state.uses += 1;
        let used = state.uses;
        state.weight += weight;
        state.entries.insert(key, Entry { value, weight, used });
    }

    pub(crate) fn remove(&self, key: u64) {
        self.state.lock().remove(key);
    }
}

impl<T: ?Sized> State<T> {
    fn miss(&mut self, key: u64) {
        if self.misses.len() >= MISSES_MAX && !self.misses.contains_key(&key) {
            let oldest = self.misses.iter().min_by_key(|(_, missed)| missed.last).map(|(key, _)| *key);
            oldest.and_then(|oldest| self.misses.remove(&oldest));
        }
        let missed = self.misses.entry(key).or_default();
        *missed = Missed { last: self.uses, before: missed.last };
    }

    fn remove(&mut self, key: u64) {
        if let Some(entry) = self.entries.remove(&key) {
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for keys in order, each of weight 4, and returns how many were there.
    fn ask(cache: &Cache<u64>, keys: impl IntoIterator<Item = u64>) -> usize {
        let mut found = 0;
        for key in keys {
            match cache.get(key) {
                Some(_) => found += 1,
                None => cache.offer(key, Arc::new(key), 4),
            }
        }
        found
    }

    #[test]
    fn what_is_asked_in_turn_is_found_as_far_as_there_is_room() {
        let cache = Cache::new(14);
        assert_eq!(ask(&cache, 0..6), 0);
        for _ in 0..5 {
            assert_eq!(ask(&cache, 0..6), 3);
        }
        // What is asked for more often takes the place of what is not.
        assert_eq!(ask(&cache, [9, 9, 9, 9]), 2);
        assert_eq!(ask(&cache, [8, 9, 8, 9, 8, 9]), 4);
        // Many keys that are asked for once neither get in nor are remembered for ever.
        assert_eq!(ask(&cache, 10_000..12_000), 0);
        assert_eq!((ask(&cache, [8, 9]), cache.state.lock().misses.len()), (2, MISSES_MAX));
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let cache = Cache::new(10);
        cache.insert(1, Arc::new("a"), 4);
        cache.insert(2, Arc::new("b"), 4);
        assert!(cache.get(1).is_some());
        cache.insert(3, Arc::new("c"), 4);
        assert_eq!(
            (cache.get(1).is_some(), cache.get(2).is_some(), cache.get(3).is_some()),
            (true, false, true)
        );
        cache.insert(4, Arc::new("too heavy"), 11);
        assert!(cache.get(4).is_none() && cache.get(1).is_some());
        cache.insert(5, Arc::new("all"), 10);
        assert_eq!((cache.get(1).is_some(), cache.get(5).is_some()), (false, true));
    }
}
