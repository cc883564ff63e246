//! Finds the level in the text of a line.
//!
//! A JSON object is searched for a level field two objects deep, a line with `=` is read as logfmt,
//! and where that gives no known word the earliest standalone level word counts (Loki v3.7.6).
//!
//! This runs once for every line that has no level of its own: one or two passes over it, no allocation. A level may
//! stand behind a stack trace of many KiB in a JSON line whose keys are sorted, so there is no shorter bound than that of
//! lines themselves.

use crate::level::{UNKNOWN, known};

/// Deepest object in which a level field counts, the outermost being 1.
const JSON_DEPTH_MAX: usize = 2;

/// Returns the level of a line, `unknown` if it tells none.
pub(crate) fn detect(line: &[u8]) -> &'static str {
    let field = if is_object(line) {
        json_field(line)
    } else if has_level_key(line) {
        logfmt_field(line)
    } else {
        None
    };
    field.and_then(known).or_else(|| word(line)).unwrap_or(UNKNOWN)
}

fn is_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.first() == Some(&b'{') && line.last() == Some(&b'}')
}

/// Level fields without regard to case, for logfmt, in order of preference.
const FOLDED_FIELDS: [&str; 6] = ["level", "log.level", "severity", "severitytext", "lvl", "severity_text"];

/// Returns whether there is a level field's name with `=` behind it: without one, a line need not be read as logfmt.
fn has_level_key(line: &[u8]) -> bool {
    memchr::memchr_iter(b'=', line).any(|at| {
        let front = line.get(..at).unwrap_or_default();
        // The last letters of all names, which few other keys share.
        let is_likely = matches!(front.last(), Some(b'l' | b'L' | b'y' | b'Y' | b't' | b'T'));
        is_likely
            && FOLDED_FIELDS.iter().any(|field| {
                let name = front.len().checked_sub(field.len()).and_then(|start| front.get(start..));
                name.is_some_and(|name| name.eq_ignore_ascii_case(field.as_bytes()))
            })
    })
}

fn is_json_field(name: &[u8]) -> bool {
    // Of each spelling the forms that Loki lists: lower, upper, capitalised.
    matches!(
        name,
        b"level"
            | b"LEVEL"
            | b"Level"
            | b"log.level"
            | b"severity"
            | b"SEVERITY"
            | b"Severity"
            | b"SeverityText"
            | b"lvl"
            | b"LVL"
            | b"Lvl"
            | b"severity_text"
            | b"Severity_Text"
            | b"SEVERITY_TEXT"
    )
}

/// Returns the value of the first text member with a level field's name.
fn json_field(text: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut arrays) = (0_usize, 0_usize);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'[' => arrays += 1,
            b']' => arrays = arrays.saturating_sub(1),
            b'"' => {
                let end = string_end(text, at)?;
                let name = text.get(at..end)?;
                at = end + 1;
                if arrays > 0 || depth > JSON_DEPTH_MAX || !is_json_field(name) {
                    continue;
                }
                let Some(colon) = skip_space(text, at).filter(|&at| text.get(at) == Some(&b':')) else {
                    continue;
                };
                let Some(value) = skip_space(text, colon + 1).filter(|&at| text.get(at) == Some(&b'"'))
                else {
                    continue;
                };
                return text.get(value + 1..string_end(text, value + 1)?);
            }
            _ => {}
        }
    }
    None
}

/// Returns the place of the closing quote of a JSON string that begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    loop {
        // Eight bytes at a time. The lowest of the zero bytes is found exactly, which is the first one in the text.
        while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            let (quote, escape) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
            let zeros = (quote.wrapping_sub(ONES) & !quote | escape.wrapping_sub(ONES) & !escape) & HIGH;
            if zeros != 0 {
                at += zeros.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn skip_space(text: &[u8], at: usize) -> Option<usize> {
    let spaces = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    Some(at + spaces)
}

/// Returns the value of the most preferred level field of a logfmt line.
fn logfmt_field(text: &[u8]) -> Option<&[u8]> {
    let mut best: Option<(usize, &[u8])> = None;
    let mut at = 0;
    while at < text.len() {
        at += text.get(at..)?.iter().take_while(|byte| **byte <= b' ').count();
        let rest = text.get(at..)?;
        let key_bytes = rest.iter().take_while(|byte| !matches!(**byte, 0..=b' ' | b'=' | b'"')).count();
        let key = rest.get(..key_bytes)?;
        at += key_bytes;
        match text.get(at) {
            Some(b'=') => at += 1,
            // A quote where a key should be: read on behind it.
            Some(b'"') => {
                at += 1;
                continue;
            }
            _ => continue,
        }
        let value = match text.get(at) {
            Some(b'"') => {
                let Some(end) = string_end(text, at + 1) else { break };
                let value = text.get(at + 1..end)?;
                at = end + 1;
                value
            }
            _ => {
                let rest = text.get(at..)?;
                let bytes = rest.iter().take_while(|byte| **byte > b' ').count();
                at += bytes;
                rest.get(..bytes)?
            }
        };
        let rank = FOLDED_FIELDS.iter().position(|field| key.eq_ignore_ascii_case(field.as_bytes()));
        if let Some(rank) = rank.filter(|rank| best.is_none_or(|(best, _)| *rank < best)) {
            best = Some((rank, value));
            if rank == 0 {
                break;
            }
        }
    }
    best.map(|(_, value)| value)
}

/// Level words by length, longest first where one begins another.
const WORDS: [(&[u8], &str); 9] = [
    (b"info", "info"),
    (b"error", "error"),
    (b"err", "error"),
    (b"warning", "warn"),
    (b"warn", "warn"),
    (b"debug", "debug"),
    (b"trace", "trace"),
    (b"fatal", "fatal"),
    (b"critical", "critical"),
];

/// Finds the earliest standalone level word.
fn word(text: &[u8]) -> Option<&'static str> {
    let mut before = BEFORE_WORD;
    for (at, &byte) in text.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        // One test for both: what was in front, and what this is.
        if (before << 2) & class & FIRST_LETTER != 0 {
            let rest = text.get(at..).unwrap_or_default();
            if let Some(level) = word_at(rest, byte | 0x20) {
                return Some(level);
            }
        }
        before = class;
    }
    None
}

/// Finds the level word at the front of `rest`, whose first byte is `first` in lower case.
fn word_at(rest: &[u8], first: u8) -> Option<&'static str> {
    WORDS.iter().filter(|(word, _)| word.first() == Some(&first)).find_map(|(word, level)| {
        let (head, after) = rest.split_at_checked(word.len())?;
        let ends = after.first().is_none_or(|next| CLASS[usize::from(*next)] & AFTER_WORD != 0);
        (ends && head.eq_ignore_ascii_case(word)).then_some(*level)
    })
}

const BEFORE_WORD: u8 = 1;
const AFTER_WORD: u8 = 2;
/// `BEFORE_WORD << 2`, see [`word`].
const FIRST_LETTER: u8 = 4;

/// What a byte may be: left neighbour, right neighbour or first letter of a word.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[b' ' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'\t' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'\n' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'\r' as usize] = AFTER_WORD;
    class[0x0b] = AFTER_WORD;
    class[0x0c] = AFTER_WORD;
    class[b'[' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'(' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'{' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'"' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b'=' as usize] = BEFORE_WORD | AFTER_WORD;
    class[b']' as usize] = AFTER_WORD;
    class[b')' as usize] = AFTER_WORD;
    class[b'}' as usize] = AFTER_WORD;
    class[b':' as usize] = AFTER_WORD;
    class[b',' as usize] = AFTER_WORD;
    class[b'!' as usize] = AFTER_WORD;
    let letters = b"tdfcewiTDFCEWI";
    let mut index = 0;
    while index < letters.len() {
        class[letters[index] as usize] |= FIRST_LETTER;
        index += 1;
    }
    class
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_lines() {
        let table = include_str!("../tests/cases/levels.txt");
        let mut count = 0;
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            let (level, line) = row.split_once(' ').unwrap();
            let line = line.replace("\\t", "\t").replace("\\n", "\n");
            assert_eq!(detect(line.as_bytes()), level, "{line:?}");
            count += 1;
        }
        assert!(count > 60);
    }

    #[test]
    fn a_level_counts_wherever_it_stands() {
        let trace = "at one.of.many.Frames (Warnings.java:7), ".repeat(2000);
        assert_eq!(detect(format!("{{\"exception\":\"{trace}\",\"level\":\"fatal\"}}").as_bytes()), "fatal");
        assert_eq!(detect(format!("msg=\"{trace}\" level=debug").as_bytes()), "debug");
        assert_eq!(detect(format!("{trace}error").as_bytes()), "error");
        assert_eq!(detect(format!("{trace}errors").as_bytes()), "unknown");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[{}\\[\\]\":,= levrno\\\\]{0,60}") {
            detect(&bytes);
            detect(text.as_bytes());
            detect(format!("{{{text}}}").as_bytes());
        }
    }
}
