//! Secrets in lines, hidden before the lines go anywhere.
//!
//! Patterns are searched in time linear in the line. Where a pattern has groups, what they match is hidden, else all of
//! the match. Too much hidden is a smaller fault than too little.

use regex::Regex;

/// What is hidden by default.
const COMMON: [&str; 8] = [
    // password=…, "api_key": "…", DB_PASSWORD='…', ?token=…
    r#"(?i)(?:passw(?:or)?d|passphrase|pwd|secret|token|(?:api|access|auth|private|secret|client)[_-]?key|credentials?)\\*["']?\s*[:=]\s*(?:\\*"([^"]+)"|\\*'([^']+)'|([^\s"'&,;}\])]+))"#,
    // The header, whatever its scheme.
    r#"(?i)\b(?:proxy-)?authorization\\*["']?\s*[:=]\s*\\*["']?([^"'\r\n]+)"#,
    r#"(?i)\b(?:set-)?cookie\\*["']?\s*:\s*\\*["']?([^"'\r\n]+)"#,
    r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{8,})",
    // Keys of AWS, tokens of GitHub, GitLab and Slack, JSON web tokens.
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{10,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
    // User and password of an address.
    r"://([^\s/]+)@",
];

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Most patterns of the settings.
const PATTERNS_MAX: usize = 100;

/// Patterns of secrets.
#[derive(Debug)]
pub(crate) struct Masks(Vec<Regex>);

impl Masks {
    /// Compiles patterns, with those that are common or without. Errors: which one is none, and why.
    pub(crate) fn new(common: bool, own: &[String]) -> Result<Self, String> {
        if own.len() > PATTERNS_MAX {
            return Err(format!("{} patterns, at most {PATTERNS_MAX} are allowed", own.len()));
        }
        let common = COMMON.iter().filter(|_| common).copied();
        let compile = |text: &str| {
            Regex::new(text).map_err(|error| {
                let why = error.to_string();
                format!("cannot read pattern {text:?}: {}", why.lines().last().unwrap_or_default())
            })
        };
        common.chain(own.iter().map(String::as_str)).map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Hides what the patterns match.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.0 {
            if pattern.is_match(&text) {
                text = hide_one(pattern, &text);
            }
        }
        text
    }
}

fn hide_one(pattern: &Regex, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for found in pattern.captures_iter(text) {
        let groups = found.iter().skip(1).flatten().map(|group| group.range());
        let whole = found.get(0).filter(|_| found.len() == 1).map(|whole| whole.range());
        for range in groups.chain(whole) {
            // Groups may lie within each other.
            if range.start >= done && !range.is_empty() {
                out.push_str(text.get(done..range.start).unwrap_or_default());
                out.push_str(HIDDEN);
                done = range.end;
            }
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let masks = Masks::new(true, &[]).unwrap();
        for (line, want) in [
            ("login password=sesame user=me", "login password=*** user=me"),
            (r#"{"user":"me","api_key":"k-1","n":1}"#, r#"{"user":"me","api_key":"***","n":1}"#),
            (r#"msg="{\"token\":\"abc\"}""#, r#"msg="{\"token\":\"***"}""#),
            ("DB_PASSWORD='two words' x", "DB_PASSWORD='***' x"),
            ("GET /hook?token=abc&x=1 200", "GET /hook?token=***&x=1 200"),
            ("Authorization: Basic bWU6c2VzYW1l", "Authorization: ***"),
            (r#"{"authorization":"Bearer x.y","b":1}"#, r#"{"authorization":"***","b":1}"#),
            ("with bearer abcdef123456 sent", "with bearer *** sent"),
            ("Set-Cookie: sid=1; Path=/", "Set-Cookie: ***"),
            ("key AKIAIOSFODNN7EXAMPLE used", "key *** used"),
            ("aws_secret_access_key = wJalr/x", "aws_secret_access_key = ***"),
            ("token ghp_0123456789abcdef refused", "token *** refused"),
            ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.c2ln end", "jwt *** end"),
            ("dial postgres://me:se@same@db:5432/x failed", "dial postgres://***@db:5432/x failed"),
            (
                "see https://lan/a b@c: the token expired, passwords differ",
                "see https://lan/a b@c: the token expired, passwords differ",
            ),
        ] {
            assert_eq!(masks.hide(line), want);
        }
    }

    #[test]
    fn own_patterns_come_besides_or_alone() {
        let own = ["card ([0-9]+)".to_owned(), "PIN[0-9]+".to_owned()];
        let line = "card 42 PIN7 password=x";
        assert_eq!(Masks::new(true, &own).unwrap().hide(line), "card *** *** password=***");
        assert_eq!(Masks::new(false, &own).unwrap().hide(line), "card *** *** password=x");
        let error = Masks::new(false, &["(".to_owned()]).unwrap_err();
        assert!(error.starts_with("cannot read pattern \"(\": "), "{error}");
    }
}
