//! What a line holds if it is JSON or logfmt: its fields under the names that the stages give them, and its text in lines.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::refine::Origin;

/// Most fields of one line: more than a screen lists for anybody.
const FIELDS_MAX: usize = 500;

/// Longest line that is looked into.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A field found in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The stage that would find it.
    pub(crate) origin: Origin,
    /// Its name as that stage gives it.
    pub(crate) name: String,
    /// Its value as that stage gives it.
    pub(crate) value: String,
}

/// Returns the fields of a line, in its order; none of a line that is neither JSON nor logfmt.
pub(crate) fn fields(line: &str) -> Vec<Field> {
    if line.len() > LINE_BYTES_MAX {
        return Vec::new();
    }
    if line.trim_start().starts_with('{') {
        let mut found = Vec::new();
        if let Ok(Value::Object(members)) = serde_json::from_str(line) {
            for (name, value) in &members {
                flatten(&sanitized(name), value, &mut found);
            }
        }
        return found;
    }
    logfmt(line)
}

/// Returns a line that is one JSON object or list with its members on lines of their own; the text of names and
/// numbers stays as it is. Nothing if the line is none.
pub(crate) fn pretty_json(line: &str) -> Option<String> {
    let text = line.trim();
    if !text.starts_with(['{', '[']) || text.len() > LINE_BYTES_MAX {
        return None;
    }
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut is_in_string, mut is_escaped) = (0_usize, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_in_string {
            out.push(c);
            (is_in_string, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
            continue;
        }
        match c {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                is_in_string = c == '"';
                out.push(c);
            }
        }
    }
    Some(out)
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

fn flatten(name: &str, value: &Value, found: &mut Vec<Field>) {
    if found.len() >= FIELDS_MAX {
        return;
    }
    let value = match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}_{}", sanitized(member)), value, found);
            }
            return;
        }
        // The stage leaves these out, so nothing could be filtered by them.
        Value::Array(_) | Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    found.push(Field { origin: Origin::Json, name: name.to_owned(), value });
}

/// Returns the name that a stage gives to a member: other characters than letters, digits and `_` become `_`.
fn sanitized(name: &str) -> String {
    let mut sane: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if sane.starts_with(|c: char| c.is_ascii_digit()) {
        sane.insert(0, '_');
    }
    sane
}

/// Reads `key=value key="value"`; a line with fewer than two pairs is taken for prose.
fn logfmt(line: &str) -> Vec<Field> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && found.len() < FIELDS_MAX {
        let end = rest.find([' ', '=', '"']).unwrap_or(rest.len());
        let (key, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let Some(value) = behind.strip_prefix('=') else {
            rest = behind.strip_prefix('"').unwrap_or(behind).trim_start();
            continue;
        };
        let (value, behind) = logfmt_value(value);
        if !key.is_empty() {
            found.push(Field { origin: Origin::Logfmt, name: sanitized(key), value });
        }
        rest = behind.trim_start();
    }
    if found.len() < 2 { Vec::new() } else { found }
}

fn logfmt_value(text: &str) -> (String, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        if c == '"' && !is_escaped {
            let (value, rest) = inside.split_at_checked(at).unwrap_or((inside, ""));
            let quoted = format!("\"{value}\"");
            let value = serde_json::from_str(&quoted).unwrap_or_else(|_| value.to_owned());
            return (value, rest.strip_prefix('"').unwrap_or(rest));
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    (inside.to_owned(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Vec<(Origin, String, String)> {
        fields(line).into_iter().map(|field| (field.origin, field.name, field.value)).collect()
    }

    fn want(origin: Origin, all: &[(&str, &str)]) -> Vec<(Origin, String, String)> {
        all.iter().map(|(name, value)| (origin, (*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn json_members_have_the_names_of_the_stage() {
        let line = r#"{"a":"x","b":{"c-d":1.50,"e":[1]},"f":null,"1g":true}"#;
        let mut got = pairs(line);
        got.sort_by(|left, right| left.1.cmp(&right.1));
        assert_eq!(got, want(Origin::Json, &[("_1g", "true"), ("a", "x"), ("b_c_d", "1.5")]));
        assert_eq!(pairs("{not json"), []);
    }

    #[test]
    fn logfmt_pairs_are_read() {
        let line = r#"ts=1 msg="a \"b\" c" bare key.x= end=z"#;
        let all = [("ts", "1"), ("msg", "a \"b\" c"), ("key_x", ""), ("end", "z")];
        assert_eq!(pairs(line), want(Origin::Logfmt, &all));
        assert_eq!(pairs("only one=pair here"), []);
        assert_eq!(pairs("a=\"open b=1 ="), []);
        assert_eq!(pairs("\"\"\"=== ="), []);
    }

    #[test]
    fn json_is_broken_into_lines_without_changing_its_text() {
        let line = r#" {"b":1.0,"a":[{"x":"y,{\"}"}, [ ],{}],"c":"\\"} "#;
        let pretty = pretty_json(line).unwrap();
        let text = "{\n  \"b\": 1.0,\n  \"a\": [\n    {\n      \"x\": \"y,{\\\"}\"\n    },\n    [],\n    {}\n  ],\n  \"c\": \"\\\\\"\n}";
        assert_eq!(pretty, text);
        assert_eq!(pretty_json("[1,2"), None);
        assert_eq!(pretty_json("1"), None);
    }
}
