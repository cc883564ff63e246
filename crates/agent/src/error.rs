//! Why the agent could not start, and why reading a log stopped.

use std::io;
use std::path::{Path, PathBuf};

/// What the caller of a failed agent call should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fix the settings.
    Invalid,
    /// Free or repair the disk, then start again.
    Unavailable,
}

/// Why the agent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("cannot use setting agent.{setting}: {reason}")]
    Setting {
        /// Path of the setting below `agent`.
        setting: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A file of the agent's folder cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// Verb phrase.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The spool cannot be opened or written.
    #[error("cannot {action} the spool in {}", path.display())]
    Spool {
        /// Verb phrase.
        action: &'static str,
        /// Folder of the spool.
        path: PathBuf,
        /// What the record log said.
        #[source]
        source: logyard_wal::Error,
    },
    /// A record of the spool does not follow its page, though its checksum is right.
    #[error("cannot read a record of the spool: {0}; it was written by another version of logyard")]
    Record(&'static str),
}

impl Error {
    /// Returns what to do next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. } => Kind::Invalid,
            Self::File { .. } | Self::Spool { .. } | Self::Record(_) => Kind::Unavailable,
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Why the bytes of a log response cannot be read further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogStreamError {
    #[error("the engine stopped the log: {0}")]
    Daemon(String),
    #[error("the engine's log bytes are no frames")]
    NoFrame,
}
