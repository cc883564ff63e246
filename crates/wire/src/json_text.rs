//! JSON written straight into a byte buffer, with the escapes Go writes.
//!
//! `<`, `>`, `&`, U+2028 and U+2029 become `\u…` as in Go; every invalid UTF-8 byte becomes U+FFFD,
//! one per byte as in Go. Words of eight bytes that need no escape are copied whole.

/// Appends a quoted JSON string.
pub fn push_string(buffer: &mut Vec<u8>, text: &str) {
    push_bytes(buffer, text.as_bytes());
}

/// Appends a quoted JSON string made of bytes that need not be UTF-8.
pub fn push_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // A line of JSON grows by about an eighth.
    buffer.reserve(bytes.len() + bytes.len() / 8 + 16);
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
    let mut rest = text.as_bytes();
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        if is_plain(u64::from_le_bytes(*word)) {
            buffer.extend_from_slice(word);
            rest = behind;
        } else if push_word(buffer, word) {
            rest = behind;
        } else {
            let is_long = |byte: u8| FORMS[usize::from(byte)].is_long;
            let until = word.iter().position(|byte| is_long(*byte)).unwrap_or(word.len() - 1);
            let behind = rest.len() - until;
            while rest.len() >= behind {
                rest = push_first(buffer, rest);
            }
        }
    }
    while !rest.is_empty() {
        rest = push_first(buffer, rest);
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Returns whether all bytes of a word are written as they are.
fn is_plain(word: u64) -> bool {
    // Marks by its highest bit each byte that is equal, and maybe some behind it.
    let is = |word: u64, byte: u8| {
        let differs = word ^ (ONES * u64::from(byte));
        differs.wrapping_sub(ONES) & !differs
    };
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    // `"` and `&` differ in one bit, as do `<` and `>`.
    let is_escaped = is(word | (ONES * 4), b'&') | is(word | (ONES * 2), b'>') | is(word, b'\\');
    (is_control | is_escaped | is(word, 0xe2)) & (ONES * 0x80) == 0
}

/// Appends a word, unless it holds a byte that is written in more than two. Without a branch for each byte: lines of JSON
/// have a quote every few bytes, and nobody can tell where.
fn push_word(buffer: &mut Vec<u8>, word: &[u8; 8]) -> bool {
    let (mut out, mut count, mut is_long) = ([0_u8; 16], 0, false);
    for byte in word {
        let form = &FORMS[usize::from(*byte)];
        // Written over unless the byte is escaped.
        out[count & 15] = b'\\';
        count += usize::from(form.is_escaped);
        out[count & 15] = form.shown;
        count += 1;
        is_long |= form.is_long;
    }
    if !is_long {
        buffer.extend_from_slice(&out);
        buffer.truncate(buffer.len() - (out.len() - count));
    }
    !is_long
}

/// Appends the first byte, or what is written for it and those that belong to it; returns what follows.
fn push_first<'a>(buffer: &mut Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
    let Some((&byte, rest)) = bytes.split_first() else { return bytes };
    let form = &FORMS[usize::from(byte)];
    match (byte, rest) {
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9; other characters of that first byte are plain.
        (0xe2, [0x80, 0xa8, rest @ ..]) => {
            buffer.extend_from_slice(b"\\u2028");
            return rest;
        }
        (0xe2, [0x80, 0xa9, rest @ ..]) => {
            buffer.extend_from_slice(b"\\u2029");
            return rest;
        }
        (0xe2, _) => buffer.push(byte),
        _ if form.is_long => {
            buffer.extend_from_slice(b"\\u00");
            buffer.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        _ if form.is_escaped => buffer.extend_from_slice(&[b'\\', form.shown]),
        _ => buffer.push(byte),
    }
    rest
}

/// How a byte is written.
#[derive(Clone, Copy)]
struct Form {
    /// The byte, or the one behind a backslash that stands for it.
    shown: u8,
    /// There is a backslash before.
    is_escaped: bool,
    /// It may be written in another way than that.
    is_long: bool,
}

static FORMS: [Form; 256] = {
    let mut forms = [Form { shown: 0, is_escaped: false, is_long: false }; 256];
    let mut index = 0;
    while index < forms.len() {
        let byte = index as u8;
        let shown = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => other,
        };
        let is_escaped = matches!(byte, b'\n' | b'\r' | b'\t' | b'"' | b'\\');
        let is_long = !is_escaped && matches!(byte, 0..0x20 | b'<' | b'>' | b'&' | 0xe2);
        forms[index] = Form { shown, is_escaped, is_long };
        index += 1;
    }
    forms
};

const HEX: &[u8; 16] = b"0123456789abcdef";

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
        fn words_are_written_as_single_bytes_are(
            text in "([a-z]{0,9}[\"&<>\\\\\n\r\t\u{0}-\u{1f}\u{7f}\u{80}\u{2028}\u{2029}\u{2030}\u{20ac} !#%\\[\\]=?'é]){0,12}",
        ) {
            let (mut buffer, mut expect) = (Vec::new(), Vec::new());
            push_valid(&mut buffer, &text);
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                rest = push_first(&mut expect, rest);
            }
            prop_assert_eq!(&buffer, &expect);
            let read: String = serde_json::from_slice(&[b"\"" as &[u8], &buffer, b"\""].concat()).unwrap();
            prop_assert_eq!(read, text);
        }

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
