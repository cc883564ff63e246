//! Why a query has no answer.

use crate::select::SelectError;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fix the query; limits on queries belong here too, as Loki answers 400 for them.
    Invalid,
    /// Slow down, or raise the limit that is named.
    Limited,
    /// The query was withdrawn.
    Cancelled,
    /// Shorten the query or raise the timeout.
    Deadline,
    /// Retry.
    Unavailable,
    /// Stored bytes are damaged: inspect, repair, restore.
    Corrupt,
    /// Our bug.
    Internal,
}

/// Why a query has no answer; prints Loki's text where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    #[source]
    source: Option<logyard_codec::Error>,
}

impl Error {
    /// Builds an error.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Builds an error that a change of the query avoids.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Returns what the caller can do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the error of the bytes behind this one.
    pub(crate) fn into_codec(self) -> logyard_codec::Error {
        let Self { message, source, .. } = self;
        source.unwrap_or(logyard_codec::Error::Invalid { what: "an entry".into(), why: message })
    }
}

impl From<SelectError> for Error {
    fn from(error: SelectError) -> Self {
        Self::new(error.kind, error.message)
    }
}

impl From<logyard_codec::Error> for Error {
    fn from(source: logyard_codec::Error) -> Self {
        let kind = match source.kind() {
            logyard_codec::Kind::Unavailable => Kind::Unavailable,
            _ => Kind::Corrupt,
        };
        Self { kind, message: "cannot read a block of entries".to_owned(), source: Some(source) }
    }
}
