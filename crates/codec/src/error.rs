//! Why bytes could not be decoded.

use std::borrow::Cow;
use std::io;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bytes are damaged: inspect, repair, restore.
    Corrupt,
    /// A named limit was passed: send less or raise it.
    Limited,
    /// The bytes are of a format or version unknown here: fix what wrote them, or upgrade.
    Invalid,
    /// The bytes could not be read: retry.
    Unavailable,
}

/// Why bytes could not be decoded. The text names what, why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are damaged.
    #[error("cannot decode {what}: {why}")]
    Corrupt {
        /// What was being decoded.
        what: Cow<'static, str>,
        /// What was found, with want and got where there are such.
        why: String,
    },
    /// A limit was passed.
    #[error("cannot decode {what}: {got} {unit}, limit is {limit}")]
    Limited {
        /// What was being decoded.
        what: Cow<'static, str>,
        /// What is limited.
        unit: &'static str,
        /// How much there is.
        got: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The format or its version is unknown.
    #[error("cannot decode {what}: {why}")]
    Invalid {
        /// What was being decoded.
        what: Cow<'static, str>,
        /// What is unknown.
        why: String,
    },
    /// The source of the bytes failed.
    #[error("cannot read {what}")]
    Read {
        /// What was being read.
        what: Cow<'static, str>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::Limited { .. } => Kind::Limited,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Read { .. } => Kind::Unavailable,
        }
    }

    pub(crate) fn corrupt(what: &'static str, why: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), why: why.into() }
    }

    /// Adds where the bytes lie, and what to do about them if they are damaged.
    ///
    /// An error that says it already, since decoding one section asked for another, stays.
    pub(crate) fn located(mut self, place: &str) -> Self {
        match &mut self {
            Self::Corrupt { what: Cow::Owned(_), .. }
            | Self::Limited { what: Cow::Owned(_), .. }
            | Self::Invalid { what: Cow::Owned(_), .. }
            | Self::Read { what: Cow::Owned(_), .. } => {}
            Self::Corrupt { what, why } => {
                *what = format!("{what} of {place}").into();
                why.push_str("; restore the file from a backup");
            }
            Self::Limited { what, .. } | Self::Invalid { what, .. } | Self::Read { what, .. } => {
                *what = format!("{what} of {place}").into();
            }
        }
        self
    }
}
