//! What can go wrong in the store, by what the caller should do next.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fix the request, the settings or the data folder.
    Invalid,
    /// Slow down, or raise the limit that the text names.
    Limited,
    /// Try again later; the text says what stands in the way.
    Unavailable,
    /// Inspect, repair or restore; the text names file and offset.
    Corrupt,
    /// Report it: a bug of ours.
    Internal,
}

/// Why the store refuses or fails. Cheap to clone: one failed sync answers a whole group.
#[derive(Clone)]
pub struct Error {
    kind: Kind,
    message: Box<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Result of the store's calls.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into().into_boxed_str(), source: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn limited(message: impl Into<String>) -> Self {
        Self::new(Kind::Limited, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Names the file and what was being done with it; what to do follows from the operating system's error.
    pub(crate) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": disk full, free space",
            io::ErrorKind::PermissionDenied => {
                ": permission denied, give the folder to the user that runs logyard"
            }
            io::ErrorKind::NotFound => ": it is gone",
            _ => "",
        };
        Self::unavailable(format!("cannot {doing} {}{hint}", path.display())).with_source(error)
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
