//! A text that is never shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use subtle::ConstantTimeEq as _;

/// Longest secret; what is longer is equal to nothing.
pub const SECRET_BYTES_MAX: usize = 512;

/// A password or token. Printed, logged and serialised as `***`, or as nothing if it is empty.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether `given` is this secret, in a time that depends on neither of them.
    ///
    /// The empty secret is equal to nothing.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let (own, lengths) = (self.0.as_bytes(), self.0.len().ct_eq(&given.len()));
        let fits = (1..=SECRET_BYTES_MAX).contains(&own.len());
        bool::from(padded(own).ct_eq(&padded(given)) & lengths) && fits
    }
}

/// Makes texts equally long: comparing stops early at other lengths.
fn padded(bytes: &[u8]) -> [u8; SECRET_BYTES_MAX] {
    let mut padded = [0; SECRET_BYTES_MAX];
    padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    padded
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "***" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_what_is_equal() {
        let secret = Secret::new("open sesame");
        assert!(secret.is(b"open sesame"));
        for other in [&b""[..], b"open", b"open sesame\0", b"open sesamf", b"Open sesame", &[b'x'; 2000]] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert!(!Secret::default().is(b""));
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        assert!(!Secret::new(long.clone()).is(long.as_bytes()));
    }

    #[test]
    fn it_is_never_shown() {
        let secret = Secret::new("open sesame");
        assert_eq!(
            (format!("{secret:?}"), serde_json::to_string(&secret).unwrap()),
            ("***".into(), "\"***\"".into())
        );
    }
}
