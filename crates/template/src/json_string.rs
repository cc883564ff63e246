//! Texts of JSON: where they end, and what their escapes stand for.

use std::borrow::Cow;

/// Returns the length of a string until its closing quote.
pub(crate) fn string_end(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found);
        }
        from = found + 2;
    }
}

/// Resolves escapes; a bad escape or half a surrogate pair gives nothing.
pub fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = memchr::memchr(b'\\', text) else { return Some(Cow::Borrowed(text)) };
    let mut out = text.get(..first)?.to_vec();
    let mut rest = text.get(first..)?;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' => out.push(*escape),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (c, after) = unicode_escape(rest)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            _ => return None,
        }
    }
    Some(Cow::Owned(out))
}

/// Reads what follows `\u`, and the second half of a surrogate pair; returns what is left.
pub fn unicode_escape(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = hex_digits(text)?;
    if !(0xd800..0xe000).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let (low, rest) = hex_digits(rest.strip_prefix(b"\\u")?)?;
    let is_pair = high < 0xdc00 && (0xdc00..0xe000).contains(&low);
    let code = 0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff);
    is_pair.then(|| char::from_u32(code)).flatten().map(|c| (c, rest))
}

fn hex_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}
