//! The id by which a batch is stored once however often it is pushed.

use std::fmt;
use std::str::FromStr;

/// Names a batch for ever: who sends, which life of it, which batch of that life.
///
/// Text form, as in the header `X-Logyard-Batch`: `<32 lower hex digits>/<epoch>/<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// Chosen at random once per sender.
    pub source: [u8; 16],
    /// Grows whenever the sender may have forgotten which sequences it used.
    pub epoch: u64,
    /// Grows by one per batch within an epoch.
    pub sequence: u64,
}

/// A text that is no batch id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read batch id {got:?}: want <32 hex digits>/<epoch>/<sequence>")]
pub struct BatchIdError {
    got: String,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}/{}", u128::from_be_bytes(self.source), self.epoch, self.sequence)
    }
}

impl FromStr for BatchId {
    type Err = BatchIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| BatchIdError { got: text.chars().take(128).collect() })
    }
}

fn parse(text: &str) -> Option<BatchId> {
    let mut parts = text.split('/');
    let (source, epoch, sequence) = (parts.next()?, parts.next()?, parts.next()?);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_source = source.len() == 32 && source.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.next().is_some() || !is_source || !is_digits(epoch) || !is_digits(sequence) {
        return None;
    }
    Some(BatchId {
        source: u128::from_str_radix(source, 16).ok()?.to_be_bytes(),
        epoch: epoch.parse().ok()?,
        sequence: sequence.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = BatchId {
            source: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255],
            epoch: 7,
            sequence: u64::MAX,
        };
        let text = "000102030405060708090a0b0c0d0eff/7/18446744073709551615";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        let hex = "000102030405060708090a0b0c0d0eff";
        for text in [
            "",
            "1/2/3",
            hex,
            &format!("{hex}/1"),
            &format!("{hex}/1/2/3"),
            &format!("{hex}/+1/2"),
            &format!("{hex}/1/18446744073709551616"),
            &format!("+{}/1/2", "0".repeat(31)),
        ] {
            assert!(text.parse::<BatchId>().is_err(), "{text}");
        }
    }
}
