//! A line of a shell, as far as the cursor: its words without their quotes.

use super::write::Shell;

/// A line as far as the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// The assignments in front of the program, such as `A=b`.
    pub(crate) assignments: Vec<String>,
    /// The words before the one at the cursor; the first is the program.
    pub(crate) words: Vec<String>,
    /// The word at the cursor; empty if a new one begins there.
    pub(crate) current: Current,
}

/// The word at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Current {
    /// What is meant: without quotes and escapes.
    pub(crate) text: String,
    /// The quote that is open at the cursor.
    pub(crate) quote: Option<char>,
    /// Bytes of `text` that bash leaves alone: those before the open quote, or before the last character that
    /// breaks words.
    pub(crate) kept: usize,
}

/// Reads a line. `breaks` are the characters at which bash begins what it replaces. Never fails: what is open is open.
///
/// Assignments in front of the program are kept apart from its words. Cost: linear in the line.
pub(crate) fn read(line: &str, shell: Shell, breaks: &str) -> Line {
    let (mut words, mut current, mut is_begun) = (Vec::new(), Current::default(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (current.quote, c) {
            (None, c) if c.is_whitespace() => {
                if is_begun {
                    words.push(std::mem::take(&mut current).text);
                }
                (current, is_begun) = (Current::default(), false);
                continue;
            }
            (None, '\'' | '"') => {
                current.quote = Some(c);
                current.kept = current.text.len();
            }
            (Some(quote), c) if c == quote => {
                current.quote = None;
                current.kept = current.text.len();
            }
            (quote, '\\') if is_escape(quote, chars.peek().copied(), shell) => {
                // A backslash at the end escapes what is not written yet.
                current.text.extend(chars.next());
            }
            (quote, c) => {
                current.text.push(c);
                if quote.is_none() && breaks.contains(c) {
                    current.kept = current.text.len();
                }
            }
        }
        is_begun = true;
    }
    let is_assignment = |word: &String| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let assignments = words.iter().take_while(|word| is_assignment(word)).count();
    let behind = words.split_off(assignments);
    Line { assignments: words, words: behind, current }
}

/// Returns whether a backslash takes the meaning from what follows.
fn is_escape(quote: Option<char>, next: Option<char>, shell: Shell) -> bool {
    match (quote, shell) {
        (None, _) => true,
        (Some('"'), _) => matches!(next, Some('"' | '\\' | '$' | '`')),
        (Some(_), Shell::Fish) => matches!(next, Some('\'' | '\\')),
        (Some(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    fn check(line: &str, words: &[&str], text: &str, quote: Option<char>, kept: usize) {
        let read = read(line, Shell::Bash, BREAKS);
        assert_eq!(read.words, words, "{line}");
        assert_eq!(
            (&*read.current.text, read.current.quote, read.current.kept),
            (text, quote, kept),
            "{line}"
        );
    }

    #[test]
    fn words_lose_their_quotes() {
        check("logq ", &["logq"], "", None, 0);
        check("logq lab", &["logq"], "lab", None, 0);
        check("A=b _C2='d e' logq x ", &["logq", "x"], "", None, 0);
        assert_eq!(read("A=b _C2='d e' logq x ", Shell::Bash, "").assignments, ["A=b", "_C2=d e"]);
        check("logq '{a=\"b\"}' --si", &["logq", "{a=\"b\"}"], "--si", None, 0);
        check("logq '' x", &["logq", ""], "x", None, 0);
        check(r#"logq a\ b "c \" d" 'e\"#, &["logq", "a b", "c \" d"], "e\\", Some('\''), 0);
    }

    #[test]
    fn what_is_open_is_known() {
        check("logq '{con", &["logq"], "{con", Some('\''), 0);
        check(r#"logq "{a=\"b"#, &["logq"], "{a=\"b", Some('"'), 0);
        check("logq --output=ra", &["logq"], "--output=ra", None, 9);
        check("logq --x='é b", &["logq"], "--x=é b", Some('\''), 4);
        check("logq 'a'b", &["logq"], "ab", None, 1);
        check(r"logq a\=b", &["logq"], "a=b", None, 0);
    }

    #[test]
    fn fish_escapes_within_single_quotes() {
        assert_eq!(read(r"logq 'a\'b", Shell::Fish, "").current.text, "a'b");
        assert_eq!(read(r"logq 'a\'b", Shell::Zsh, "").current.text, "a\\b");
    }
}
