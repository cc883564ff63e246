//! A line of JSON over several lines, its members in their order and its numbers as they are written.

use serde::de::IgnoredAny;

/// Deepest nesting that is indented; deeper text stays in one line.
const DEPTH_MAX: usize = 32;

/// Returns an object or a list over several lines; none for anything else.
pub(crate) fn pretty_json(line: &str) -> Option<String> {
    let text = line.trim();
    if !text.starts_with(['{', '[']) || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut pretty = String::with_capacity(text.len() * 2);
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut rest = text.chars().peekable();
    let new_line = |pretty: &mut String, depth: usize| {
        pretty.push('\n');
        pretty.push_str(&"  ".repeat(depth.min(DEPTH_MAX)));
    };
    while let Some(c) = rest.next() {
        if is_text {
            pretty.push(c);
            is_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        match c {
            c if c.is_whitespace() => {}
            '{' | '[' => {
                pretty.push(c);
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
                match rest.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => pretty.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut pretty, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut pretty, depth);
                pretty.push(c);
            }
            ',' => {
                pretty.push(c);
                new_line(&mut pretty, depth);
            }
            ':' => pretty.push_str(": "),
            c => {
                is_text = c == '"';
                pretty.push(c);
            }
        }
    }
    Some(pretty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_numbers_their_digits() {
        let text = r#"{"b":1.10,"a":[1, 12345678901234567890123,{}],"t":"x\"{,:\\","e":[ ]}"#;
        let want = "{\n  \"b\": 1.10,\n  \"a\": [\n    1,\n    12345678901234567890123,\n    {}\n  ],\n  \
                    \"t\": \"x\\\"{,:\\\\\",\n  \"e\": []\n}";
        assert_eq!(pretty_json(text).as_deref(), Some(want));
        assert_eq!(pretty_json(want).as_deref(), Some(want), "what is pretty stays");
        for other in ["", "x", "7", "\"x\"", "{", "{\"a\":1} x", "[1,]"] {
            assert_eq!(pretty_json(other), None, "{other}");
        }
    }
}
