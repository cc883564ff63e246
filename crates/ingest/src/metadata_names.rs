//! Names of structured metadata, brought into the form of label names.

use std::borrow::Cow;

/// Normalises a name as Loki v3.7.6 does: every run of characters outside `[A-Za-z0-9]` becomes one
/// `_`, a leading digit gets the prefix `key_`, names of the form `__x__` keep their frame.
///
/// `None` for a name without letter or digit, which Loki answers with a 500 that is retried for ever.
pub(crate) fn normalise(name: &str) -> Option<Cow<'_, str>> {
    if is_normal(name) {
        return Some(Cow::Borrowed(name));
    }
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let inner = inner.filter(|inner| !inner.is_empty());
    let mut text = squeeze(inner.unwrap_or(name));
    if !text.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    if inner.is_some() {
        text = format!("__{text}__");
    } else if text.starts_with(|first: char| first.is_ascii_digit()) {
        text.insert_str(0, "key_");
    }
    Some(Cow::Owned(text))
}

fn is_normal(name: &str) -> bool {
    let bytes = name.as_bytes();
    let first = bytes.first().is_some_and(u8::is_ascii_alphabetic);
    let plain = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    first && plain && !bytes.windows(2).any(|pair| pair == b"__")
}

fn squeeze(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            text.push(character);
        } else if !text.ends_with('_') {
            text.push('_');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: Option<&str>) {
        assert_eq!(normalise(name).as_deref(), expect, "{name:?}");
    }

    #[test]
    fn names_become_label_names() {
        check("trace_id", Some("trace_id"));
        check("Trace.Id", Some("Trace_Id"));
        check("k.with-dash/9", Some("k_with_dash_9"));
        check("a b", Some("a_b"));
        check("a__b", Some("a_b"));
        check("9k", Some("key_9k"));
        check("naïve", Some("na_ve"));
        check("__internal-x__", Some("__internal_x__"));
        check("_a", Some("_a"));
    }

    #[test]
    fn names_without_letter_or_digit_are_none() {
        for name in ["", "_", "____", "-", "ключ"] {
            check(name, None);
        }
    }
}
