//! What can be wrong with bytes from the network.

/// What the sender should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mend the bytes: they do not follow the format.
    Invalid,
    /// Send less at once: a cap was reached.
    Limited,
}

/// Why bytes were not decoded. Nothing of the input was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: Kind,
    text: String,
}

impl Error {
    /// Builds an error of kind [`Kind::Invalid`].
    pub fn invalid(text: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, text: text.into() }
    }

    /// Builds an error of kind [`Kind::Limited`].
    pub fn limited(text: impl Into<String>) -> Self {
        Self { kind: Kind::Limited, text: text.into() }
    }

    /// Returns what the sender should do.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}
