//! Random numbers: from the system, or replayed from a seed.

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _, TryRng as _};
use std::fmt;

/// A shared source of random numbers. Cost: a short lock per call.
pub struct Random {
    rng: Mutex<StdRng>,
}

impl Random {
    /// Returns a source seeded by the operating system.
    ///
    /// Panics: if the system has no randomness to give, without which no id would be safe.
    pub fn os() -> Self {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).expect("the operating system gives randomness");
        Self { rng: Mutex::new(StdRng::from_seed(seed)) }
    }

    /// Returns a source that gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        self.rng.lock().fill_bytes(buffer);
    }

    /// Returns a random number of all 64 bits.
    pub fn next_u64(&self) -> u64 {
        self.rng.lock().next_u64()
    }
}

/// Shows nothing of the state: ids are guessed from it.
impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let numbers = |random: &Random| [random.next_u64(), random.next_u64()];
        assert_eq!(numbers(&Random::seeded(1)), numbers(&Random::seeded(1)));
        assert_ne!(numbers(&Random::seeded(1)), numbers(&Random::seeded(2)));
        assert_ne!(numbers(&Random::os()), numbers(&Random::os()));
    }
}
