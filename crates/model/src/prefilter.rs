//! What the store may use to skip blocks.

/// A necessary condition on the lines a query wants: a block that cannot meet it may be skipped.
///
/// Never sufficient: the engine filters exactly, as a regular expression engine does with required
/// literals. The empty prefilter skips nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefilter {
    /// Bytes that every wanted line, as stored, holds; all of them. No empty literals.
    pub literals: Vec<Vec<u8>>,
}
