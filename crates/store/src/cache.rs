//! A small bounded cache: what was used longest ago goes first.
//!
//! For hundreds of entries, not thousands: making room looks at all of them.

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
}

#[derive(Debug)]
struct Entry<T: ?Sized> {
    value: Arc<T>,
    weight: u64,
    used: u64,
}

impl<T: ?Sized> Cache<T> {
    pub(crate) fn new(weight_max: u64) -> Self {
        Self { weight_max, state: Mutex::new(State { entries: HashMap::new(), weight: 0, uses: 0 }) }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        state.uses += 1;
        let used = state.uses;
        let entry = state.entries.get_mut(&key)?;
        entry.used = used;
        Some(Arc::clone(&entry.value))
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
    fn remove(&mut self, key: u64) {
        if let Some(entry) = self.entries.remove(&key) {
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
