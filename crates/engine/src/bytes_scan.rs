//! Finding the few bytes that matter to a parser, eight at a time.
//!
//! Fields of log lines are mostly shorter than what a vectorised search needs to pay for its start, so
//! words of eight bytes are looked at in line, and only long texts are left to `memchr`.

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Words looked at before a vectorised search takes over.
const WORDS: usize = 4;

/// Marks the bytes of a word that are zero by their highest bit.
fn zeros(word: u64) -> u64 {
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS)
}

fn is_any<const N: usize>(word: u64, wanted: [u8; N]) -> u64 {
    wanted.iter().fold(0, |marks, byte| marks | zeros(word ^ (ONES * u64::from(*byte))))
}

/// Returns the place of the first `"` or `\`.
pub(crate) fn find_quote(text: &[u8]) -> Option<usize> {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().take(WORDS).enumerate() {
        let marks = is_any(u64::from_le_bytes(*word), [b'"', b'\\']);
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let seen = words.len().min(WORDS) * 8;
    if words.len() <= WORDS {
        return tail.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|at| seen + at);
    }
    memchr::memchr2(b'"', b'\\', text.get(seen..)?).map(|at| seen + at)
}

/// Returns the place of the first of three bytes.
pub(crate) fn find_any(text: &[u8], wanted: [u8; 3]) -> Option<usize> {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().take(WORDS).enumerate() {
        let marks = is_any(u64::from_le_bytes(*word), wanted);
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let seen = words.len().min(WORDS) * 8;
    if words.len() <= WORDS {
        return tail.iter().position(|byte| wanted.contains(byte)).map(|at| seen + at);
    }
    let [a, b, c] = wanted;
    memchr::memchr3(a, b, c, text.get(seen..)?).map(|at| seen + at)
}

/// Returns whether a text is a name as labels have them: letters, digits and `_`, no digit first.
pub(crate) fn is_name(text: &[u8]) -> bool {
    !text.first().is_none_or(u8::is_ascii_digit) && text.iter().all(|byte| is_name_byte(*byte))
}

/// Returns whether a byte may stand in a name.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES.get(byte as usize).is_some_and(|allowed| *allowed)
}

const NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    allowed
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (text, expect) in
            [("a", true), ("_9", true), ("9a", false), ("", false), ("a-b", false), ("é", false)]
        {
            assert_eq!(is_name(text.as_bytes()), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn searches_equal_a_look_at_every_byte(text in proptest::collection::vec(
            prop_oneof![8 => any::<u8>(), 30 => Just(b'x'), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(b'}')], 0..90,
        )) {
            let position = |wanted: &[u8]| text.iter().position(|byte| wanted.contains(byte));
            prop_assert_eq!(find_quote(&text), position(b"\"\\"));
            prop_assert_eq!(find_any(&text, *b"\"{}"), position(b"\"{}"));
        }
    }
}
