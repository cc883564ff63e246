//! Where the engine gets entries from.

use crate::error::Kind;
use logyard_codec::BlockView;
use logyard_model::{Direction, Matcher, Prefilter, Tenants, TimeRange};

/// Yields the blocks that may hold entries of a query.
pub trait Select: Send + Sync {
    /// Returns views that together hold every entry of the streams, the range and the prefilter.
    ///
    /// Shape: a superset by time and by prefilter, exact by tenants and matchers; any order. Runs of
    /// one stream in different views may overlap and may hold equal entries. May block.
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<BlockView>, SelectError>;

    /// Returns names and numbers that say how the views of a request are chosen, for the person who asks
    /// why a query is slow. Cost: none to speak of.
    fn describe(&self, _request: &SelectRequest<'_>) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Which entries are asked for.
#[derive(Clone, Copy, Debug)]
pub struct SelectRequest<'a> {
    /// Whose.
    pub tenants: &'a Tenants,
    /// Of which streams; all must hold.
    pub matchers: &'a [Matcher],
    /// From when.
    pub range: TimeRange,
    /// A necessary condition on the lines.
    pub prefilter: &'a Prefilter,
    /// Which end is read first.
    pub direction: Direction,
}

/// Why entries cannot be selected.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    /// What the caller can do.
    pub kind: Kind,
    /// What, why and what to do.
    pub message: String,
}
