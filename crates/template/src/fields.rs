//! What `.` is at the start of a template.

use crate::value::Value;

/// The names that a template may read, and their values.
///
/// Implemented by the labels of a query's entry, where an absent name is an empty text, and by what the agent
/// extracted of a line, where it is no value at all.
pub trait Fields {
    /// Returns the value of a name.
    fn field(&self, name: &str) -> Value;

    /// Returns the value of a name if it is a text, without a copy.
    fn text(&self, name: &str) -> Option<&[u8]>;

    /// Returns all of them as one value, a map.
    fn all(&self) -> Value;
}
