//! The outline of a line: its words with the variable ones masked; and patterns made of similar outlines.
//!
//! A line is words and the gaps between them, blanks and punctuation. Words with a digit, very long ones and
//! whatever could be read as a capture are masked. The outline is a function of the line alone, so outlines
//! can be counted in any order and anywhere; what depends on the whole, which outlines are one pattern, is
//! decided once, over all of them, the frequent ones first (as Drain does, line after line: He et al.,
//! ICWS 2017).
//!
//! A pattern finds its lines again with `|>`: a wildcard stands for one word, words hold no byte that
//! begins a gap, so the literal behind a wildcard is first met where the word ends.

use std::collections::BTreeMap;

/// Stands for a masked word in an outline; a control character, hence rare in lines, where it is masked.
const MASK: char = '\0';
/// What a pattern has in the place of a masked word.
const WILDCARD: &str = "<_>";
/// Most words of an outline; what follows is one wildcard.
const WORDS_MAX: usize = 96;
/// Most bytes of a line that are looked at; what follows is one wildcard.
const LINE_BYTES_MAX: usize = 4096;
/// Longest word that is no id.
const WORD_BYTES_MAX: usize = 64;
/// Most patterns of outlines with the same gaps: bounds comparisons.
const PATTERNS_PER_GAPS_MAX: usize = 64;

/// Makes the outline of a line in `out`.
pub(crate) fn outline(line: &str, out: &mut String) {
    out.clear();
    let mut words = 0;
    let start = start_of(line);
    for piece in Pieces::new(start) {
        match piece {
            Piece::Gap(gap) => out.push_str(gap),
            Piece::Word(_) if words == WORDS_MAX => {
                out.push(MASK);
                return;
            }
            Piece::Word(word) => {
                words += 1;
                let in_brackets = out.ends_with('<');
                if in_brackets || is_variable(word) { out.push(MASK) } else { out.push_str(word) }
            }
        }
    }
    if start.len() < line.len() {
        out.push(MASK);
    }
}

/// Returns as much of a line as is looked at: it ends with a byte that no word holds.
fn start_of(line: &str) -> &str {
    let bytes = line.as_bytes();
    let Some(bytes) = bytes.get(..LINE_BYTES_MAX).filter(|start| start.len() < bytes.len()) else {
        return line;
    };
    let end = bytes.iter().rposition(|byte| is_hard(*byte)).map_or(0, |last| last + 1);
    line.get(..end).unwrap_or_default()
}

fn is_variable(word: &str) -> bool {
    word.len() > WORD_BYTES_MAX || word.bytes().any(|byte| byte.is_ascii_digit() || byte == MASK as u8)
}

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Gap(&'a str),
    Word(&'a str),
}

/// Cuts a line into gaps and words, in turns.
struct Pieces<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Pieces<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Whether the byte at a place belongs to a gap. A colon does if it touches a gap, so that times and addresses
    /// are words; one at the end of the line does not.
    fn is_gap(&self, at: usize) -> bool {
        let bytes = self.text.as_bytes();
        let has_hard = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| is_hard(*byte));
        match bytes.get(at) {
            Some(b':') => has_hard(at.checked_sub(1)) && at + 1 < bytes.len() || has_hard(Some(at + 1)),
            Some(byte) => is_hard(*byte),
            None => false,
        }
    }
}

/// Bytes that no word holds; all ASCII, so that cutting there leaves text.
fn is_hard(byte: u8) -> bool {
    byte != MASK as u8 && byte <= b' ' || b",;=()[]{}\"'|<>".contains(&byte)
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let is_gap = self.is_gap(start);
        while self.at < self.text.len() && self.is_gap(self.at) == is_gap {
            self.at += 1;
        }
        let piece = self.text.get(start..self.at).unwrap_or_default();
        Some(if is_gap { Piece::Gap(piece) } else { Piece::Word(piece) })
    }
}

/// Outlines that are one pattern: words by place, nothing where they differ.
struct Pattern<'a> {
    words: Vec<Option<&'a str>>,
    members: Vec<usize>,
}

impl<'a> Pattern<'a> {
    /// Returns how alike an outline is: common words, and words that either has.
    fn likeness(&self, words: &[Option<&'a str>]) -> (usize, usize) {
        let pairs = self.words.iter().zip(words);
        let (mut common, mut either) = (0, 0);
        for (own, other) in pairs {
            either += usize::from(own.is_some() || other.is_some());
            common += usize::from(own.is_some() && own == other);
        }
        (common, either)
    }

    fn take(&mut self, words: &[Option<&'a str>], member: usize) {
        for (own, other) in self.words.iter_mut().zip(words) {
            if own != other {
                *own = None;
            }
        }
        self.members.push(member);
    }
}

/// Joins similar outlines; returns patterns with the numbers of their outlines, in the order of their texts.
///
/// Outlines are joined in the order given, the first ones decide: at least half of the words must agree. Those
/// without a word that is not masked have no pattern.
pub(crate) fn join(outlines: &[&str]) -> BTreeMap<String, Vec<usize>> {
    let mut by_gaps: BTreeMap<Vec<&str>, Vec<Pattern<'_>>> = BTreeMap::new();
    for (member, outline) in outlines.iter().enumerate() {
        let (gaps, words) = cut(outline);
        let has_word = |words: &[Option<&str>]| {
            words.iter().flatten().any(|word| word.contains(|c: char| c.is_alphanumeric()))
        };
        if !has_word(&words) {
            continue;
        }
        let patterns = by_gaps.entry(gaps).or_default();
        let likeness = |pattern: &Pattern<'_>| {
            let (common, either) = pattern.likeness(&words);
            // In thousandths, to be compared as whole numbers.
            (common * 2 >= either).then(|| common * 1000 / either.max(1))
        };
        let best = (0..).zip(patterns.iter()).filter_map(|(at, pattern)| Some((likeness(pattern)?, at)));
        // Of equals the earlier one.
        let best = best.max_by_key(|(likeness, at): &(usize, usize)| (*likeness, usize::MAX - *at));
        let best = best.map(|(_, at)| at);
        if let Some(pattern) = best.and_then(|at| patterns.get_mut(at)) {
            pattern.take(&words, member);
        } else if patterns.len() < PATTERNS_PER_GAPS_MAX {
            patterns.push(Pattern { words, members: vec![member] });
        }
    }
    let mut joined: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (gaps, patterns) in by_gaps {
        for pattern in patterns {
            let text = text_of(&gaps, &pattern.words);
            joined.entry(text).or_default().extend(pattern.members);
        }
    }
    joined
}

/// Cuts an outline into gaps and words; a gap, maybe empty, stands before each word and behind the last.
fn cut(outline: &str) -> (Vec<&str>, Vec<Option<&str>>) {
    let (mut gaps, mut words, mut gap) = (Vec::new(), Vec::new(), "");
    for piece in Pieces::new(outline) {
        match piece {
            Piece::Gap(text) => gap = text,
            Piece::Word(word) => {
                gaps.push(std::mem::take(&mut gap));
                words.push((!word.contains(MASK)).then_some(word));
            }
        }
    }
    gaps.push(gap);
    (gaps, words)
}

fn text_of(gaps: &[&str], words: &[Option<&str>]) -> String {
    let mut text = String::new();
    for (index, gap) in gaps.iter().enumerate() {
        text.push_str(gap);
        if let Some(word) = words.get(index) {
            text.push_str(word.unwrap_or(WILDCARD));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage_line_filter::LineTest;
    use logyard_logql::{Expr, StageKind, parse, quoted};
    use proptest::prelude::*;

    /// Returns the patterns of lines with the numbers of their lines.
    fn patterns(lines: &[&str]) -> Vec<(String, Vec<usize>)> {
        let outlines: Vec<String> = lines
            .iter()
            .map(|line| {
                let mut out = String::new();
                outline(line, &mut out);
                out
            })
            .collect();
        join(&outlines.iter().map(String::as_str).collect::<Vec<_>>()).into_iter().collect()
    }

    fn check(lines: &[&str], expect: &[&str]) {
        let found: Vec<String> = patterns(lines).into_iter().map(|(text, _)| text).collect();
        assert_eq!(found, expect, "{lines:?}");
    }

    #[test]
    fn variable_words_are_masked() {
        check(&["user 12 logged in from 10.0.0.1:22"], &["user <_> logged in from <_>"]);
        check(&["2026-11-21T03:00:00Z INFO [main] up: ok"], &["<_> INFO [main] up: ok"]);
        check(
            &["level=info dur=5ms path=/a/b msg=\"all good\""],
            &["level=info dur=<_> path=/a/b msg=\"all good\""],
        );
        check(&[r#"{"n":15,"ok":true,"at":"12:03"}"#], &[r#"{"n":<_>,"ok":true,"at":"<_>"}"#]);
        check(&["<b>bold</b> end:"], &["<<_>>bold<<_>> end:"]);
        check(&["12 34", "", " ", "--"], &[]);
        let long = "x ".repeat(WORDS_MAX + 5);
        let expect = format!("{}<_>", "x ".repeat(WORDS_MAX));
        check(&[&long], &[&expect]);
        let long = format!("begin {}", "é".repeat(LINE_BYTES_MAX));
        check(&[&long, "begin"], &["begin", "begin <_>"]);
    }

    #[test]
    fn similar_lines_are_one_pattern() {
        check(
            &["user ann logged in", "user bob logged in", "user bob went away"],
            &["user <_> logged in", "user bob went away"],
        );
        check(&["a b c d", "e f g h"], &["a b c d", "e f g h"]);
        check(&["a=1 b", "a:1 b"], &["<_> b", "a=<_> b"]);
        assert_eq!(
            patterns(&["x y 1", "x z 2", "q"]),
            [("q".into(), vec![2]), ("x <_> <_>".into(), vec![0, 1])]
        );
    }

    /// Returns the line filter of a query that looks for a pattern.
    fn filter(pattern: &str) -> LineTest {
        let query = format!("{{a=\"b\"}} |> {}", quoted(pattern));
        let Ok(Expr::Log(log)) = parse(&query) else { panic!("{query}") };
        let Some(StageKind::LineFilter(filter)) = log.stages.into_iter().map(|stage| stage.kind).next()
        else {
            panic!("{query}")
        };
        LineTest::compile(&filter).unwrap()
    }

    proptest! {
        #[test]
        fn a_pattern_finds_its_lines(
            lines in proptest::collection::vec("([ab:=<>_\"é/.-]|[0-9]|a1|foo| |, |\\PC){1,24}", 1..8)
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            for (pattern, members) in patterns(&lines) {
                let filter = filter(&pattern);
                for member in members {
                    prop_assert!(filter.passes(lines[member].as_bytes()), "{pattern:?} {:?}", lines[member]);
                }
            }
        }
    }
}
