//! Why a call failed, sorted by what the caller should do next.

use std::time::Duration;

/// What the caller of a failed call should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request or the address is at fault: fix it, repeating it is useless.
    Invalid,
    /// A limit of the store was met: slow down, then send the same again.
    Limited,
    /// Nobody answered, or the store cannot work just now: send the same again after a pause.
    Unavailable,
}

/// A failed call: one line of text, a kind, and the pause the store asked for.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: Kind,
    text: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    is_from_store: bool,
}

impl Error {
    /// Makes an error about a request that must not be repeated.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, text: text.into(), status: None, retry_after: None, is_from_store: false }
    }

    /// Makes an error about a store that did not answer as it should.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unavailable,
            text: text.into(),
            status: None,
            retry_after: None,
            is_from_store: false,
        }
    }

    /// Makes an error about a limit that the store told of in words.
    pub(crate) fn limited(text: impl Into<String>) -> Self {
        Self { kind: Kind::Limited, text: text.into(), status: None, retry_after: None, is_from_store: false }
    }

    /// Makes an error from an HTTP status other than 2xx; `message` is the body's text.
    pub(crate) fn from_status(status: u16, message: &str, retry_after: Option<Duration>) -> Self {
        // 408 and 5xx say nothing about the request itself; 413 and other 4xx say it is at fault.
        let kind = match status {
            429 => Kind::Limited,
            408 | 500.. => Kind::Unavailable,
            _ => Kind::Invalid,
        };
        let message = message.trim();
        let text = match message.is_empty() {
            true => format!("the store answered {status} without a reason"),
            false => message.to_owned(),
        };
        Self { kind, text, status: Some(status), retry_after, is_from_store: false }
    }

    /// Notes whether the answer bears the mark of a Logyard store.
    pub(crate) fn with_mark(mut self, is_from_store: bool) -> Self {
        self.is_from_store = is_from_store;
        self
    }

    /// Returns whether a Logyard store gave this answer: false for one of a proxy, of another program, or none.
    pub fn is_from_store(&self) -> bool {
        self.is_from_store
    }

    /// Returns what to do next.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Returns the pause the store asked for (`Retry-After`), if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_kinds() {
        let kind = |status| Error::from_status(status, "x", None).kind();
        assert_eq!(kind(400), Kind::Invalid);
        assert_eq!(kind(413), Kind::Invalid);
        assert_eq!(kind(302), Kind::Invalid);
        assert_eq!(kind(408), Kind::Unavailable);
        assert_eq!(kind(429), Kind::Limited);
        assert_eq!(kind(500), Kind::Unavailable);
        assert_eq!(kind(503), Kind::Unavailable);
    }

    #[test]
    fn text_is_the_reason_the_store_gave() {
        assert_eq!(Error::from_status(400, "bad query\n", None).to_string(), "bad query");
        assert!(Error::from_status(502, " ", None).to_string().contains("502"));
    }
}
