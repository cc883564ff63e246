//! `distinct`: notes which combination of values an entry has. That only the first entry of each stays
//! is decided where entries of all streams have been merged.

use crate::hash::{Hash128, hash_of};
use crate::labels::Labels;

/// The stage.
#[derive(Debug)]
pub(crate) struct Distinct {
    names: Vec<String>,
}

impl Distinct {
    pub(crate) fn new(names: &[String]) -> Self {
        Self { names: names.to_vec() }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Notes the hash that stands for the values; an absent label reads as empty.
    pub(crate) fn apply(&self, labels: &mut Labels<'_>) {
        let values: Vec<&str> = self.names().map(|name| labels.get(name).unwrap_or("")).collect();
        labels.combination = hash_of(&values);
    }
}

/// Stands for all entries of a query without `distinct`.
pub(crate) const NO_COMBINATION: Hash128 = (0, 0);
