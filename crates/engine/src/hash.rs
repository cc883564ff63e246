//! Hashes that stand for what was hashed.

use logyard_model::StreamId;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

/// Two hashes of 64 bits, begun differently: equal ones mean equal contents.
pub(crate) type Hash128 = (u64, u64);

/// The key of this process.
static KEY: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let state = RandomState::new();
    (state.hash_one(0_u8), state.hash_one(1_u8))
});

/// A map by stream.
pub(crate) type ByStream<T> = HashMap<StreamId, T, BuildHasherDefault<OfStream>>;

/// A set of streams.
pub(crate) type Streams = HashSet<StreamId, BuildHasherDefault<OfStream>>;

/// Makes an id, which is a hash, its own hash but for a key: every run of a query is looked up by its stream, and who pushes
/// may choose labels whose ids are alike, but not for the key of this process.
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
        let (low, high) = *KEY;
        let product = u128::from(id as u64 ^ low) * u128::from((id >> 64) as u64 ^ high);
        self.0 = product as u64 ^ (product >> 64) as u64;
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
