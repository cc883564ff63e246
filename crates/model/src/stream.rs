//! Streams and their ids.

use crate::{LabelSet, Tenant};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Identifies a stream everywhere: xxh3-128 of the tenant's name and the label set.
///
/// The hash runs over length-prefixed texts, so no two different sets collide by concatenation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u128);

impl StreamId {
    /// Returns the id of the stream that `labels` name in `tenant`.
    pub fn of(tenant: &Tenant, labels: &LabelSet) -> Self {
        let mut hash = Xxh3::new();
        let mut text = |part: &str| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        text(tenant.as_str());
        for (name, value) in labels.iter() {
            text(name);
            text(value);
        }
        Self(hash.digest128())
    }
}

/// All entries of one tenant with one label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Hash of tenant and labels.
    pub id: StreamId,
    /// The labels that identify the stream; shared, since answers and pipelines hold them, too.
    pub labels: Arc<LabelSet>,
}

impl Stream {
    /// Names a stream.
    pub fn new(tenant: &Tenant, labels: impl Into<Arc<LabelSet>>) -> Self {
        let labels = labels.into();
        Self { id: StreamId::of(tenant, &labels), labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_and_borders_between_texts_count() {
        let labels = LabelSet::from_pairs([("ab", "c")]);
        let shifted = LabelSet::from_pairs([("a", "bc")]);
        let tenant = Tenant::single();
        assert_ne!(StreamId::of(&tenant, &labels), StreamId::of(&tenant, &shifted));
        let other = Tenant::new("other").unwrap();
        assert_ne!(StreamId::of(&tenant, &labels), StreamId::of(&other, &labels));
    }
}
