//! `decolorize`: removes the escape sequences of terminals from the line.

use regex::bytes::Regex;
use std::borrow::Cow;

/// What Loki v3.7.6 takes for a sequence; the introducers are characters, so `\u{9b}` is two bytes.
const SEQUENCE: &str = r"[\x1B\x{9B}][\[\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\x07)|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";

/// The stage.
#[derive(Debug)]
pub(crate) struct Decolorize(Regex);

impl Decolorize {
    pub(crate) fn compile() -> Result<Self, String> {
        Regex::new(SEQUENCE).map(Self).map_err(|error| error.to_string())
    }

    /// Returns the line without sequences; most lines have none and are not copied.
    pub(crate) fn apply<'a>(&self, line: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        if memchr::memchr2(0x1b, 0xc2, &line).is_none() {
            return line;
        }
        match self.0.replace_all(&line, &b""[..]) {
            Cow::Borrowed(_) => line,
            Cow::Owned(changed) => Cow::Owned(changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_disappear() {
        let stage = Decolorize::compile().unwrap();
        for (line, plain) in [
            ("\x1b[31mred\x1b[0m x", "red x"),
            ("\x1b[1;32;40mgreen", "green"),
            ("\u{9b}31mred é", "red é"),
            ("plain é", "plain é"),
            ("", ""),
        ] {
            assert_eq!(stage.apply(Cow::Borrowed(line.as_bytes())), plain.as_bytes());
        }
    }
}
