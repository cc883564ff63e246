//! Regular expressions that are only an alternation of literals.
//!
//! Grafana's variables write `a|b|c`, with `\.` for dots; those need a few terms instead of a walk over all values.

/// Most literals worth looking up one by one; above it the dictionary is walked.
const LITERALS_MAX: usize = 256;

/// Returns the literals that `pattern` means, or `None` when it is more than an alternation of them.
pub(crate) fn alternation(pattern: &str) -> Option<Vec<String>> {
    let mut literals = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '|' => {
                if literals.len() == LITERALS_MAX {
                    return None;
                }
                literals.push(String::new());
                continue;
            }
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => return None,
            },
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            plain => plain,
        };
        literals.last_mut()?.push(literal);
    }
    Some(literals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expect: Option<&[&str]>) {
        let found = alternation(pattern);
        let found: Option<Vec<&str>> = found.as_ref().map(|list| list.iter().map(String::as_str).collect());
        assert_eq!(found.as_deref(), expect, "{pattern:?}");
    }

    #[test]
    fn patterns() {
        check("sonarr|radarr", Some(&["sonarr", "radarr"]));
        check("a", Some(&["a"]));
        check("", Some(&[""]));
        check("a|", Some(&["a", ""]));
        check(r"ghcr\.io/x\-y", Some(&["ghcr.io/x-y"]));
        check(r"a\d", None);
        check("a.b", None);
        check("(a|b)", None);
        check("a\\", None);
    }
}
