//! What can go wrong with an index.

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The given labels cannot be indexed; search the label sets themselves.
    Invalid,
    /// The bundle's bytes cannot be read; build it anew from the label sets.
    Corrupt,
    /// A bug of ours or of the search library; report it.
    Internal,
}

/// Why an index cannot be built, opened or asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, message: message.into() }
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self { kind: Kind::Corrupt, message: message.into() }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { kind: Kind::Internal, message: message.into() }
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}
