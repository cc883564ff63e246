//! Hashes that stand for what was hashed.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Two hashes of 64 bits, begun differently: equal ones mean equal contents.
pub(crate) type Hash128 = (u64, u64);

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
