//! Label sets as text, `{job="api", env="prod"}`: PromQL's label set with Go's quoting.
//!
//! Names are `[A-Za-z_][A-Za-z0-9_]*`; values stand between double quotes, single quotes or
//! backticks; white space and a trailing comma are free. Loki v3.7.6 accepts quoted names here and
//! then fails every query on such streams; they are refused.

use crate::Error;
use crate::json_text::lossy;
use logyard_model::Label;
use std::fmt::Display;

/// Returns whether `name` may name a label.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && bytes.all(is_name_byte)
}

/// Reads a label set: pairs in the order written, names possibly repeated, values possibly empty.
///
/// Errors: kind `Invalid`, the text begins with `couldn't parse labels: 1:<column>: parse error: `.
pub fn parse(text: &[u8]) -> Result<Vec<Label>, Error> {
    let mut reader = Reader { text, at: 0 };
    let mut labels = Vec::new();
    reader.skip_space();
    match reader.next() {
        Some(b'{') => {}
        Some(_) => return Err(reader.fault_before("unexpected character, expected \"{\"")),
        None => return Err(reader.fault("unexpected end of input, expected \"{\"")),
    }
    loop {
        reader.skip_space();
        match reader.peek() {
            Some(b'}') => break,
            Some(b'"' | b'\'' | b'`') => return Err(reader.fault("quoted label names are not supported")),
            _ => {}
        }
        let name = reader.name()?;
        reader.skip_space();
        match reader.next() {
            Some(b'=') => {}
            Some(_) => return Err(reader.fault_before("unexpected character in label set, expected \"=\"")),
            None => return Err(reader.fault("unexpected end of input in label set, expected \"=\"")),
        }
        reader.skip_space();
        let value = reader.value()?;
        labels.push((name, value));
        reader.skip_space();
        match reader.next() {
            Some(b',') => {}
            Some(b'}') => {
                reader.at -= 1;
                break;
            }
            Some(_) => {
                return Err(reader.fault_before("unexpected character in label set, expected \",\" or \"}\""));
            }
            None => return Err(reader.fault("unexpected end of input inside braces")),
        }
    }
    reader.at += 1;
    reader.skip_space();
    match reader.peek() {
        None => Ok(labels),
        Some(_) => Err(reader.fault("unexpected text after the label set")),
    }
}

/// Builds the error for a name that is no label name, as [`parse`] words it.
pub fn bad_name(name: &str) -> Error {
    fault(1, format_args!("unexpected label name {name:?}, want letters, digits and _, not a digit first"))
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn name(&mut self) -> Result<Box<str>, Error> {
        let start = self.at;
        while self.peek().is_some_and(is_name_byte) {
            self.at += 1;
        }
        let name = lossy(self.text.get(start..self.at).unwrap_or_default());
        if is_name(&name) {
            return Ok(name.into_owned().into_boxed_str());
        }
        self.at = start;
        match self.peek() {
            Some(byte) => Err(self.fault(format_args!(
                "unexpected character inside braces: '{}'",
                char::from(byte).escape_default()
            ))),
            None => Err(self.fault("unexpected end of input inside braces")),
        }
    }

    fn value(&mut self) -> Result<Box<str>, Error> {
        let quote = match self.next() {
            Some(quote @ (b'"' | b'\'' | b'`')) => quote,
            Some(_) => return Err(self.fault_before("unexpected character in label set, expected string")),
            None => return Err(self.fault("unexpected end of input in label set, expected string")),
        };
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == quote || (byte == b'\\' && quote != b'`'))
        else {
            return Err(self.fault("unterminated quoted string"));
        };
        let plain = rest.get(..length).unwrap_or_default();
        self.at += length;
        if self.peek() == Some(quote) {
            self.at += 1;
            return Ok(lossy(plain).into_owned().into_boxed_str());
        }
        let mut value = plain.to_vec();
        loop {
            match self.next() {
                Some(byte) if byte == quote => return Ok(lossy(&value).into_owned().into_boxed_str()),
                Some(b'\\') => self.escape(&mut value)?,
                Some(b'\n') | None => return Err(self.fault("unterminated quoted string")),
                Some(byte) => value.push(byte),
            }
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), Error> {
        let byte = match self.next() {
            Some(b'a') => 7,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(plain @ (b'\\' | b'"' | b'\'')) => plain,
            Some(b'x') => self.number(16, 2)? as u8,
            Some(b'u') => return self.character(4, value),
            Some(b'U') => return self.character(8, value),
            Some(b'0'..=b'7') => {
                self.at -= 1;
                let number = self.number(8, 3)?;
                u8::try_from(number).map_err(|_| self.fault("octal escape above 255"))?
            }
            _ => return Err(self.fault_before("unknown escape sequence")),
        };
        value.push(byte);
        Ok(())
    }

    fn character(&mut self, digits: u32, value: &mut Vec<u8>) -> Result<(), Error> {
        let number = self.number(16, digits)?;
        let character =
            char::from_u32(number).ok_or_else(|| self.fault("escape sequence is no Unicode character"))?;
        value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn number(&mut self, radix: u32, digits: u32) -> Result<u32, Error> {
        let mut number = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(radix));
            let digit = digit.ok_or_else(|| self.fault_before("illegal character in escape sequence"))?;
            number = number * radix + digit;
        }
        Ok(number)
    }

    fn fault(&self, text: impl Display) -> Error {
        fault(self.at + 1, text)
    }

    fn fault_before(&self, text: impl Display) -> Error {
        fault(self.at, text)
    }
}

fn fault(column: usize, text: impl Display) -> Error {
    Error::invalid(format!("couldn't parse labels: 1:{column}: parse error: {text}"))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_model::LabelSet;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let labels = parse(text.as_bytes()).unwrap();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(labels, expect, "{text}");
    }

    #[test]
    fn forms_that_are_accepted() {
        check("{}", &[]);
        check(" { } ", &[]);
        check(r#"{job="api", env="prod"}"#, &[("job", "api"), ("env", "prod")]);
        check(r#"{ job = "api" ,env='p',}"#, &[("job", "api"), ("env", "p")]);
        check(r#"{a="x\"y\\z\n\x41\101\u00e9\U0001F600"}"#, &[("a", "x\"y\\z\nAAé😀")]);
        check("{a=`raw\\n`}", &[("a", "raw\\n")]);
        check(r#"{a="1",a="2"}"#, &[("a", "1"), ("a", "2")]);
        check(r#"{a=""}"#, &[("a", "")]);
    }

    #[test]
    fn forms_that_are_refused() {
        for text in [
            "",
            "x",
            "{",
            "{a",
            "{a=",
            "{a=x}",
            "{a=\"",
            "{a=\"x\" b=\"y\"}",
            "{foo.bar=\"v\"}",
            "{1foo=\"v\"}",
            "{=\"v\"}",
            "{\"a.b\"=\"1\"}",
            "{a=\"\\q\"}",
            "{a=\"\\xg0\"}",
            "{a=\"\\777\"}",
            "{a=\"\\ud800\"}",
            "{a=\"x\"}}",
            "foo{a=\"x\"}",
            "{,}",
            "{a=~\"x\"}",
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("couldn't parse labels: 1:"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn printed_sets_read_back(pairs in proptest::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,6}", any::<String>(), 0..5)) {
            let set = LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let read = LabelSet::new(parse(set.to_string().as_bytes()).unwrap()).unwrap();
            prop_assert_eq!(read, set);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            drop(parse(&bytes));
        }
    }
}
