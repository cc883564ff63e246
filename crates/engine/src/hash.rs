//! Hashes that stand for what was hashed.

use logyard_model::StreamId;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// Two hashes of 64 bits, begun differently: equal ones mean equal contents.
pub(crate) type Hash128 = (u64, u64);

/// A map by stream.
pub(crate) type ByStream<T> = HashMap<StreamId, T, BuildHasherDefault<OfStream>>;

/// A set of streams.
pub(crate) type Streams = HashSet<StreamId, BuildHasherDefault<OfStream>>;

/// Takes an id, which is a hash, for its own hash: every run of a query is looked up by its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfStream(u64);

impl Hasher for OfStream {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, id: u128) {
        // Both halves of it.
        self.0 = id as u64 ^ (id >> 64) as u64;
    }
}

/// Returns a hash that is the same in every run of the program.
pub(crate) fn hash_of(content: &(impl Hash + ?Sized)) -> Hash128 {
    let hash = |begin: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(begin);
        content.hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}
