//! What the engine evaluates: a block and the runs of it that a query wants.

use crate::block::Block;
use logyard_model::Stream;
use std::ops::Range;
use std::sync::Arc;

/// A block and those of its runs that a query wants.
#[derive(Clone, Debug)]
pub struct BlockView {
    /// The block.
    pub block: Arc<Block>,
    /// The wanted runs.
    pub runs: Vec<RunView>,
    /// Orders entries of equal time across blocks: higher arrived later.
    pub arrival: u64,
}

/// The wanted entries of one stream in a block; in order of time, then of arrival.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Rows of the block.
    pub rows: Range<u32>,
    /// Earliest timestamp of the rows.
    pub min_ns: i64,
    /// Latest timestamp of the rows.
    pub max_ns: i64,
    /// Bytes of the lines, without what separates them.
    pub raw_bytes: u64,
}
