//! What the store may use to skip blocks.

/// A necessary condition on the lines a query wants: a block that cannot meet it may be skipped.
///
/// Never sufficient: the engine filters exactly, as a regular expression engine does with required
/// literals. The empty prefilter skips nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefilter {
    /// Bytes that every wanted line, as stored, holds; all of them. No empty literals.
    pub literals: Vec<Vec<u8>>,
    /// Groups of literals: every wanted line holds at least one of each group. A group has two literals
    /// or more, none of them empty; a reader that cannot use groups may leave them out.
    pub any_of: Vec<Vec<Vec<u8>>>,
}
