//! Why the log refused.

use std::io;
use std::path::PathBuf;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The log cannot be read by this version: upgrade, or give it another folder.
    Invalid,
    /// The record is larger than the settings allow.
    Limited,
    /// The disk failed or is full. See [`Log::is_poisoned`](crate::Log::is_poisoned) for whether to retry.
    Unavailable,
    /// A record is whole and yet its reader refused it.
    Corrupt,
}

/// Why the log refused. The text names what, why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A sync failed before, or a failed write could not be undone.
    #[error(
        "cannot use record log {}: an earlier write to it failed and what the disk holds is unknown; check the disk, then restart",
        dir.display()
    )]
    Poisoned {
        /// The folder of the log.
        dir: PathBuf,
    },
    /// A record is too large.
    #[error("cannot append record of {got} bytes: limit is {limit} bytes; split it")]
    TooLarge {
        /// Bytes of the payload.
        got: usize,
        /// Most bytes of a payload.
        limit: u32,
    },
    /// A file was written by another version.
    #[error("cannot read {}: it is of version {got}, this program reads version {want}; run the program that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u16,
        /// The version known here.
        want: u16,
    },
    /// The caller's replay refused a record.
    #[error("cannot replay record {sequence} of {}", path.display())]
    Replay {
        /// Sequence of the record.
        sequence: u64,
        /// The file that holds it.
        path: PathBuf,
        /// What the caller's replay returned.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } => Kind::Unavailable,
            Self::TooLarge { .. } => Kind::Limited,
            Self::Version { .. } => Kind::Invalid,
            Self::Replay { .. } => Kind::Corrupt,
        }
    }

    /// Returns whether the disk was full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}
