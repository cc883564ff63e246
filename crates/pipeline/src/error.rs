//! Why rules or stages cannot be used.

/// A rule or stage that cannot be used; the text says what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place(.at))]
pub struct Error {
    /// Way to the culprit: names of keys and numbers of list items, outermost first.
    at: Vec<String>,
    reason: String,
}

impl Error {
    /// Makes an error of one stage or rule.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { at: Vec::new(), reason: reason.into() }
    }

    /// Adds where it is, from the inside to the outside.
    #[must_use]
    pub fn inside(mut self, step: impl Into<String>) -> Self {
        self.at.insert(0, step.into());
        self
    }

    /// Returns the way to the culprit: names of keys and numbers of list items, outermost first.
    pub fn path(&self) -> &[String] {
        &self.at
    }

    /// Returns what is wrong, without the place.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn place(at: &[String]) -> String {
    if at.is_empty() { String::new() } else { format!("{}: ", at.join(".")) }
}
