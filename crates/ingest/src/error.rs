//! Why a whole push was refused. Nothing of it was stored.

use std::time::Duration;

/// What the sender should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mend the request: it does not follow the format.
    Invalid,
    /// Send at least one stream.
    Empty,
    /// Send smaller requests, or raise the named setting.
    TooLarge,
    /// Send later or less, or raise the named setting.
    Limited,
    /// Send the same again later.
    Unavailable,
    /// Report it: our bug.
    Internal,
}

/// Why a whole push was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: Kind,
    text: String,
    retry_after: Option<Duration>,
}

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None }
    }

    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Returns what the sender should do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns how long the sender should wait before it sends again, if waiting helps.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<logyard_wire::Error> for Error {
    fn from(error: logyard_wire::Error) -> Self {
        match error.kind() {
            logyard_wire::Kind::Invalid => Self::new(Kind::Invalid, error.to_string()),
            logyard_wire::Kind::Limited => Self::new(
                Kind::TooLarge,
                format!("{error}; send smaller batches or raise limits.push_unpacked_bytes_max"),
            ),
        }
    }
}
