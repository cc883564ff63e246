//! JSON written straight into a byte buffer, with the escapes Go writes.
//!
//! `<`, `>`, `&`, U+2028 and U+2029 become `\u…` as in Go; every invalid UTF-8 byte becomes U+FFFD,
//! one per byte as in Go. Runs that need no escape are copied whole.

/// Appends a quoted JSON string.
pub fn push_string(buffer: &mut Vec<u8>, text: &str) {
    push_bytes(buffer, text.as_bytes());
}

/// Appends a quoted JSON string made of bytes that need not be UTF-8.
pub fn push_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.reserve(bytes.len() + 2);
    buffer.push(b'"');
    match std::str::from_utf8(bytes) {
        Ok(text) => push_valid(buffer, text),
        Err(_) => {
            for chunk in bytes.utf8_chunks() {
                push_valid(buffer, chunk.valid());
                for _ in chunk.invalid() {
                    buffer.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        }
    }
    buffer.push(b'"');
}

/// Appends items with commas between; `push` writes one.
pub fn push_joined<T>(
    buffer: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        push(buffer, item);
    }
}

/// Appends an array of strings.
pub fn push_list<'a>(buffer: &mut Vec<u8>, items: impl IntoIterator<Item = &'a str>) {
    buffer.push(b'[');
    push_joined(buffer, items, push_string);
    buffer.push(b']');
}

/// Returns text in which every invalid byte is U+FFFD; borrows when there is none.
pub fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let mut text = String::with_capacity(lossy_bytes(bytes));
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
            }
            text.into()
        }
    }
}

/// Returns the length of the text that [`lossy`] makes of `bytes`.
pub(crate) fn lossy_bytes(bytes: &[u8]) -> usize {
    bytes.utf8_chunks().map(|chunk| chunk.valid().len() + chunk.invalid().len() * '\u{fffd}'.len_utf8()).sum()
}

fn push_valid(buffer: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if PLAIN[usize::from(byte)] {
            continue;
        }
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9; other characters of that first byte are plain.
        let (escape, width) = match byte {
            0xe2 => match bytes.get(at + 1..at + 3) {
                Some([0x80, 0xa8]) => (b"\\u2028" as &[u8], 3),
                Some([0x80, 0xa9]) => (b"\\u2029" as &[u8], 3),
                _ => continue,
            },
            b'"' => (b"\\\"" as &[u8], 1),
            b'\\' => (b"\\\\" as &[u8], 1),
            b'\n' => (b"\\n" as &[u8], 1),
            b'\r' => (b"\\r" as &[u8], 1),
            b'\t' => (b"\\t" as &[u8], 1),
            b'<' => (b"\\u003c" as &[u8], 1),
            b'>' => (b"\\u003e" as &[u8], 1),
            b'&' => (b"\\u0026" as &[u8], 1),
            _ => {
                buffer.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
                buffer.extend_from_slice(b"\\u00");
                buffer.push(HEX[usize::from(byte >> 4)]);
                buffer.push(HEX[usize::from(byte & 15)]);
                copied = at + 1;
                continue;
            }
        };
        buffer.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
        buffer.extend_from_slice(escape);
        copied = at + width;
    }
    buffer.extend_from_slice(bytes.get(copied..).unwrap_or_default());
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that are copied without a look at their neighbours.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'<' as usize] = false;
    plain[b'>' as usize] = false;
    plain[b'&' as usize] = false;
    plain[0xe2] = false;
    plain
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], expect: &str) {
        let mut buffer = Vec::new();
        push_bytes(&mut buffer, bytes);
        assert_eq!(String::from_utf8(buffer).unwrap(), expect);
    }

    #[test]
    fn escapes_are_those_of_go() {
        check(b"plain", r#""plain""#);
        check("a\"b\\c\nd\te\u{1}f".as_bytes(), r#""a\"b\\c\nd\te\u0001f""#);
        check(b"<a href='x'>&</a>", r#""\u003ca href='x'\u003e\u0026\u003c/a\u003e""#);
        check("x\u{2028}y\u{2029}z\u{2030}€".as_bytes(), "\"x\\u2028y\\u2029z\u{2030}€\"");
        check(b"caf\xe9 \xff\xfe end", "\"caf\u{fffd} \u{fffd}\u{fffd} end\"");
        check(b"cut \xe6\x97", "\"cut \u{fffd}\u{fffd}\"");
    }

    #[test]
    fn commas_stand_between() {
        let list = |items: &[&'static str]| {
            let mut buffer = Vec::new();
            push_list(&mut buffer, items.iter().copied());
            String::from_utf8(buffer).unwrap()
        };
        assert_eq!(
            (list(&[]), list(&["a"]), list(&["a", "\""])),
            ("[]".into(), r#"["a"]"#.into(), r#"["a","\""]"#.into())
        );
    }

    proptest! {
        #[test]
        fn any_bytes_become_json_that_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = Vec::new();
            push_bytes(&mut buffer, &bytes);
            let text: String = serde_json::from_slice(&buffer).unwrap();
            prop_assert_eq!(text.len(), lossy_bytes(&bytes));
            prop_assert_eq!(text, lossy(&bytes).into_owned());
        }
    }
}
