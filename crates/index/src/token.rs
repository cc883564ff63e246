//! Tokens: what the indexes of lines know of a line.
//!
//! A token is a maximal run of ASCII letters, digits and bytes from 0x80 on; all else separates. `_` does too,
//! so `blk_123` is `blk` and `123`, and a needle that leaves out the prefix still finds the number.

/// Longest word that is indexed, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 64;

/// Decimal numbers shorter than this are not indexed: nearly every block holds nearly all of them.
pub(crate) const NUMBER_BYTES_MIN: usize = 6;

/// Ids shorter than this are not in the filter, only their lengths are noted: where there are many of them in a
/// block, as the middle parts of UUIDs, it holds most of the possible ones.
pub(crate) const ID_BYTES_MIN: usize = 6;

/// Of ids from this length on, the parts are in the filter, too: a shorter id that is searched for would otherwise find
/// every block with a longer one that could hold it, as containers' ids and traces' are in most.
pub(crate) const CUT_BYTES_MIN: usize = 17;

/// Ids are cut to this length: few are longer, and they would fill the filter.
pub(crate) const CUT_BYTES_MAX: usize = 256;

/// Bytes of a part. Eight hexadecimal digits tell four thousand million apart.
pub(crate) const PART_BYTES: usize = 8;

/// A text within an id covers a whole part of it from this length on, wherever it lies.
pub(crate) const PART_COVER_BYTES: usize = 2 * PART_BYTES - 1;

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No digit, up to [`WORD_BYTES_MAX`] bytes: in the dictionary.
    Word,
    /// No digit and longer: not indexed.
    LongWord,
    /// A short decimal number: not indexed.
    ShortNumber,
    /// Has a digit: in the filter of its block if it is long enough, or in the dictionary if its kind is rare there.
    Id(Class),
}

/// The alphabet of an id; a later one contains the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Digits.
    Decimal,
    /// Digits and `a` to `f`.
    LowerHex,
    /// Anything.
    Other,
}

/// All classes, in the order of their masks.
pub(crate) const CLASSES: [Class; 3] = [Class::Decimal, Class::LowerHex, Class::Other];

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Returns the least class that all bytes belong to.
pub(crate) fn class(token: &[u8]) -> Class {
    let class_of = |byte: &u8| match byte {
        b'0'..=b'9' => Class::Decimal,
        b'a'..=b'f' => Class::LowerHex,
        _ => Class::Other,
    };
    token.iter().map(class_of).max().unwrap_or(Class::Decimal)
}

/// Returns what a token is made of.
pub(crate) fn shape(token: &[u8]) -> Shape {
    let class = class(token);
    if !token.iter().any(u8::is_ascii_digit) {
        return if token.len() > WORD_BYTES_MAX { Shape::LongWord } else { Shape::Word };
    }
    if class == Class::Decimal && token.len() < NUMBER_BYTES_MIN {
        return Shape::ShortNumber;
    }
    Shape::Id(class)
}

/// A token found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token<'a> {
    pub(crate) bytes: &'a [u8],
    /// It begins where the text does: in a literal it may be the end of a longer token.
    pub(crate) is_open_left: bool,
    /// It ends where the text does.
    pub(crate) is_open_right: bool,
}

/// Returns the tokens of a text, in order.
pub(crate) fn tokens(text: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let start = at + rest.iter().position(|byte| is_token_byte(*byte))?;
        let tail = text.get(start..)?;
        let bytes = tail.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(tail.len());
        at = start + bytes;
        Some(Token { bytes: tail.get(..bytes)?, is_open_left: start == 0, is_open_right: at == text.len() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_tokens() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<String> = tokens(text.as_bytes())
                .map(|token| {
                    let mark = |is_open| if is_open { "~" } else { "" };
                    let text = String::from_utf8_lossy(token.bytes);
                    format!("{}{text}{}", mark(token.is_open_left), mark(token.is_open_right))
                })
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check("", &[]);
        check(" - ", &[]);
        check("blk_123", &["~blk", "123~"]);
        check("=error ", &["error"]);
        check("error", &["~error~"]);
        check("née x\n", &["~née", "x"]);
    }

    #[test]
    fn tokens_have_shapes() {
        let check = |token: &str, expect| assert_eq!(shape(token.as_bytes()), expect, "{token}");
        check("error", Shape::Word);
        check("é", Shape::Word);
        check(&"x".repeat(65), Shape::LongWord);
        check("12345", Shape::ShortNumber);
        check("123456", Shape::Id(Class::Decimal));
        check("a1", Shape::Id(Class::LowerHex));
        check("A1", Shape::Id(Class::Other));
        check("i32", Shape::Id(Class::Other));
    }
}
