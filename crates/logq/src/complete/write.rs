//! Proposals as the shells read them, one a line.
//!
//! - bash: `=TEXT`, where TEXT takes the place of what readline replaces, with the quotes that it needs; or `files`.
//! - zsh: `whole` or `open`, TEXT and what it means, with tabs between; or `files`. The shell quotes.
//! - fish: TEXT and what it means, with a tab between; or `files`. The shell quotes.

use clap::ValueEnum;

use super::line::Current;

/// Characters that are written as they are in a word without quotes.
const PLAIN: &str = "-_./:@%+,=~";

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// The usual one of Linux, from version 4 on
    Bash,
    /// The usual one of macOS
    Zsh,
    /// The friendly one, from version 3.4 on
    Fish,
}

/// What may stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// The whole word, without quotes; it begins with what is written.
    pub(crate) text: String,
    /// What it means, in a few words; may be empty.
    pub(crate) about: String,
    /// Whether the word goes on behind it.
    pub(crate) is_open: bool,
}

/// What may stand at the cursor, in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proposals {
    /// Words, in the order in which they are shown.
    pub(crate) words: Vec<Proposal>,
    /// Whether the names of files may stand there.
    pub(crate) has_files: bool,
}

/// Writes proposals for a shell.
pub(crate) fn write(proposals: &Proposals, current: &Current, shell: Shell) -> String {
    let mut lines = Vec::new();
    // A line is one proposal: what would break it is left out.
    let words = proposals.words.iter().filter(|word| !word.text.chars().any(char::is_control));
    let words: Vec<&Proposal> = words.collect();
    for word in &words {
        let Proposal { text, about, is_open } = word;
        lines.push(match shell {
            Shell::Bash => format!("={}", bash(word, current)),
            Shell::Zsh => format!("{}\t{text}\t{about}", if *is_open { "open" } else { "whole" }),
            Shell::Fish => format!("{text}\t{about}"),
        });
    }
    if let ([only], Shell::Bash, Some(_)) = (&words[..], shell, current.quote)
        && only.is_open
    {
        // Behind a single proposal readline closes the quote; of two it writes what they have in common, and leaves it open.
        lines.push(format!("={} ", bash(only, current)));
    }
    if proposals.has_files {
        lines.push("files".to_owned());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Writes what takes the place of the part of the word that bash replaces.
fn bash(word: &Proposal, current: &Current) -> String {
    let Proposal { text, is_open, .. } = word;
    let rest = text.get(current.kept..).unwrap_or_default();
    let is_plain = rest.chars().all(|c| c.is_alphanumeric() || PLAIN.contains(c));
    let blank = if *is_open { "" } else { " " };
    match current.quote {
        Some('\'') => rest.replace('\'', "'\\''"),
        Some(_) => escaped(rest, |c| "\"\\$`".contains(c)),
        None if is_plain => format!("{rest}{blank}"),
        // A quote is opened, so that what follows needs no thought.
        None if current.kept == 0 => {
            let close = if *is_open { "" } else { "' " };
            format!("'{}{close}", rest.replace('\'', "'\\''"))
        }
        None => escaped(rest, |c| !c.is_alphanumeric() && !PLAIN.contains(c)) + blank,
    }
}

fn escaped(text: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if is_special(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::line::read;

    fn written(shell: Shell, line: &str, words: &[(&str, bool)]) -> String {
        let words = words.iter().map(|(text, is_open)| Proposal {
            text: (*text).to_owned(),
            about: "about".to_owned(),
            is_open: *is_open,
        });
        let proposals = Proposals { words: words.collect(), has_files: false };
        write(&proposals, &read(line, shell, " \"'=:").current, shell)
    }

    #[test]
    fn bash_gets_what_it_replaces() {
        let bash = |line: &str, words: &[(&str, bool)]| written(Shell::Bash, line, words);
        assert_eq!(bash("logq l", &[("labels", false)]), "=labels \n");
        assert_eq!(bash("logq --output=r", &[("--output=raw", false)]), "=raw \n");
        assert_eq!(bash("logq {c", &[("{c=", true), ("{d=", true)]), "='{c=\n='{d=\n");
        assert_eq!(bash("logq x", &[("x y", false)]), "='x y' \n");
        assert_eq!(bash("logq a=x", &[("a=x y", false)]), "=x\\ y \n");
        assert_eq!(bash("logq \"{a=", &[("{a=\"b\"", true), ("{c", true)]), "={a=\\\"b\\\"\n={c\n");
        assert_eq!(bash("logq '{a=", &[("{a=\"it's\"", true), ("{c", true)]), "={a=\"it'\\''s\"\n={c\n");
    }

    #[test]
    fn a_quote_stays_open_behind_a_single_proposal() {
        assert_eq!(written(Shell::Bash, "logq '{c", &[("{c=", true)]), "={c=\n={c= \n");
        assert_eq!(written(Shell::Bash, "logq 'la", &[("labels", false)]), "=labels\n");
    }

    #[test]
    fn the_others_quote_themselves() {
        assert_eq!(written(Shell::Zsh, "logq '{c", &[("{c=", true)]), "open\t{c=\tabout\n");
        assert_eq!(written(Shell::Fish, "logq l", &[("labels", false)]), "labels\tabout\n");
        assert_eq!(written(Shell::Fish, "logq l", &[("l\nx", false)]), "");
    }
}
