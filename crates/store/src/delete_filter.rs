//! What a delete request means, as far as the store has to know: the language of queries is not its own.

use logyard_codec::{Block, Error, RunView};
use logyard_model::{Matcher, Prefilter, TimeRange};
use std::fmt::Debug;
use std::sync::Arc;

/// Tells which entries a delete request means, but for their times.
///
/// Asked about the same entry it says the same for ever: what it says of immutable blocks is remembered.
pub trait DeleteFilter: Debug + Send + Sync {
    /// Returns what the labels of a stream have to meet, all of it.
    fn matchers(&self) -> &[Matcher];

    /// Returns a necessary condition on the lines.
    fn prefilter(&self) -> &Prefilter;

    /// Returns whether every entry of a matching stream is meant.
    fn takes_all(&self) -> bool;

    /// Returns the rows of a run in `range` that are meant, ascending. The run's stream meets the matchers.
    ///
    /// Errors: those of the block's bytes. Cost: decodes what it looks at.
    fn rows(&self, block: &Block, run: &RunView, range: TimeRange) -> Result<Vec<u32>, Error>;
}

/// Makes a filter of the text of a request and the time at which it was made, in ns.
///
/// Errors: the text is none that can be a request; what is told to whoever sent it.
pub type ParseDelete = fn(&str, i64) -> Result<Arc<dyn DeleteFilter>, String>;
