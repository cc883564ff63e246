//! LogQL's regular expressions (Go's dialect) as patterns of the `regex` crate.
//!
//! The pattern is read by Go's rules and written out anew, never passed through: escapes become
//! code points, class items are escaped one by one, so no construct of the other dialect can slip
//! in. What Go refuses is refused with Go's text. One pass over the pattern, no recursion.
//!
//! Groups keep their names, except that a name starting with a digit gains a `_` in front and a
//! name used twice is dropped the second time; both are refused by the other dialect.

mod class;

use regex::{Regex, RegexBuilder};
use std::collections::HashSet;

/// Deepest nesting of groups (Go refuses at the same depth).
const DEPTH_MAX: usize = 1000;
/// Largest count of a repetition, also of nested ones multiplied (Go's bound).
const REPEAT_MAX: u64 = 1000;

/// Why a regular expression does not compile; its text is the one Go gives.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("error parsing regexp: {reason}: `{fragment}`")]
pub struct GoRegexError {
    reason: &'static str,
    fragment: String,
}

/// Rewrites a pattern of Go's dialect into one of the `regex` crate.
///
/// Shape: the result means the same under default flags, both for `regex` and `regex::bytes`.
/// Errors: the pattern is not valid in Go; the text is Go's.
/// Cost: one pass, memory linear in the pattern.
pub fn translate(pattern: &str) -> Result<String, GoRegexError> {
    let mut reader = Reader::new(pattern);
    reader.read_all()?;
    Ok(reader.out)
}

/// Compiles a pattern that must match the whole text; `.` does not match a newline.
pub fn compile_anchored(pattern: &str) -> Result<Regex, GoRegexError> {
    build(&format!("^(?:{})$", translate(pattern)?), pattern)
}

/// Compiles a pattern that must match the whole text; `.` matches a newline.
pub fn compile_anchored_dotall(pattern: &str) -> Result<Regex, GoRegexError> {
    build(&format!("^(?s:{})$", translate(pattern)?), pattern)
}

/// Compiles a pattern that may match anywhere.
pub fn compile_unanchored(pattern: &str) -> Result<Regex, GoRegexError> {
    build(&translate(pattern)?, pattern)
}

fn build(translated: &str, pattern: &str) -> Result<Regex, GoRegexError> {
    let nest_limit = 2 * DEPTH_MAX as u32 + 10;
    RegexBuilder::new(translated)
        .nest_limit(nest_limit)
        .build()
        .map_err(|_| GoRegexError { reason: "expression too large", fragment: pattern.to_owned() })
}

/// What the reader knows of one open group.
struct Frame {
    /// The last thing a repetition would apply to.
    atom: Option<Atom>,
    /// Largest product of repetition counts inside the group so far.
    weight: u64,
    /// Where the group starts in the output.
    start: usize,
    /// Repetitions are lazy where they stand now: the flag `U`.
    ungreedy: bool,
}

#[derive(Clone, Copy)]
struct Atom {
    start: usize,
    /// Where it ends in the output: flags or empty quotes may follow it there.
    end: usize,
    weight: u64,
    /// It ends with a repetition, which a further one must not run into: `a*(?i)?` is not `a*?`.
    repeated: bool,
    /// The flag `U` where it ends.
    ungreedy: bool,
}

/// Reads the pattern and writes the translation.
struct Reader {
    chars: Vec<char>,
    position: usize,
    out: String,
    frames: Vec<Frame>,
    names: HashSet<String>,
    /// Where the repetition that was read just before starts.
    repeat_before: Option<usize>,
}

impl Reader {
    fn new(pattern: &str) -> Self {
        Self {
            chars: pattern.chars().collect(),
            position: 0,
            out: String::with_capacity(pattern.len() + 16),
            frames: vec![Frame { atom: None, weight: 1, start: 0, ungreedy: false }],
            names: HashSet::new(),
            repeat_before: None,
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.position + ahead).copied()
    }

    fn fragment(&self, start: usize, end: usize) -> String {
        self.chars.get(start..end).unwrap_or_default().iter().collect()
    }

    fn error<T>(&self, reason: &'static str, start: usize, end: usize) -> Result<T, GoRegexError> {
        Err(GoRegexError { reason, fragment: self.fragment(start, end) })
    }

    /// Refuses with the whole pattern as the fragment.
    fn error_whole<T>(&self, reason: &'static str) -> Result<T, GoRegexError> {
        self.error(reason, 0, self.chars.len())
    }

    fn read_all(&mut self) -> Result<(), GoRegexError> {
        while let Some(c) = self.peek(0) {
            let repeat_before = self.repeat_before.take();
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.position += 1;
                    self.out.push('|');
                    self.frame().atom = None;
                }
                '*' | '+' | '?' => {
                    let start = self.position;
                    self.position += 1;
                    self.repeat(start, repeat_before, &c.to_string(), None)?;
                }
                '{' => self.brace(repeat_before)?,
                '^' | '$' | '.' => {
                    self.position += 1;
                    self.atom(&c.to_string());
                }
                '[' => {
                    let text = self.read_class()?;
                    self.atom(&text);
                }
                '\\' => self.backslash()?,
                c => {
                    self.position += 1;
                    self.literal(c as u32);
                }
            }
        }
        if self.frames.len() > 1 { self.error_whole("missing closing )") } else { Ok(()) }
    }

    /// The innermost open group.
    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame { atom: None, weight: 1, start: 0, ungreedy: false });
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn atom(&mut self, text: &str) {
        let start = self.out.len();
        self.out.push_str(text);
        let end = self.out.len();
        let frame = self.frame();
        let ungreedy = frame.ungreedy;
        frame.atom = Some(Atom { start, end, weight: 1, repeated: false, ungreedy });
    }

    fn literal(&mut self, code: u32) {
        let text = class::code_point(code);
        self.atom(&text);
    }

    fn open(&mut self) -> Result<(), GoRegexError> {
        if self.frames.len() > DEPTH_MAX {
            return self.error_whole("expression nests too deeply");
        }
        let start = self.position;
        if self.peek(1) != Some('?') {
            self.position += 1;
            self.push_group("(");
            return Ok(());
        }
        let skip = match (self.peek(2), self.peek(3)) {
            (Some('P'), Some('<')) if self.peek(4).is_some() => 4,
            (Some('<'), Some(_)) => 3,
            _ => return self.open_flags(),
        };
        let rest = self.chars.get(start..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&c| c == '>') else {
            return self.error("invalid named capture", start, self.chars.len());
        };
        let name = self.fragment(start + skip, start + length);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return self.error("invalid named capture", start, start + length + 1);
        }
        self.position = start + length + 1;
        let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
        let name = if digit_first { format!("_{name}") } else { name };
        if self.names.insert(name.clone()) {
            self.push_group(&format!("(?P<{name}>"));
        } else {
            self.push_group("(");
        }
        Ok(())
    }

    fn push_group(&mut self, text: &str) {
        let (start, ungreedy) = (self.out.len(), self.frame().ungreedy);
        self.out.push_str(text);
        self.frames.push(Frame { atom: None, weight: 1, start, ungreedy });
    }

    /// Reads `(?flags)` and `(?flags:`.
    fn open_flags(&mut self) -> Result<(), GoRegexError> {
        let start = self.position;
        self.position += 2;
        let (mut flags, mut negative, mut seen) = (String::from("(?"), false, false);
        while let Some(c) = self.peek(0) {
            self.position += 1;
            match c {
                'i' | 'm' | 's' | 'U' => {
                    // A flag given twice is refused by the other dialect and means nothing more.
                    let part = if negative { flags.split('-').next_back() } else { Some(&*flags) };
                    if !part.is_some_and(|part| part.contains(c)) {
                        flags.push(c);
                    }
                    seen = true;
                }
                '-' if !negative => {
                    (negative, seen) = (true, false);
                    flags.push('-');
                }
                ':' | ')' if !negative || seen => {
                    let flags = without_contradictions(&flags);
                    let (set, cleared) = flags.split_once('-').unwrap_or((&flags, ""));
                    let ungreedy = (set.contains('U') || self.frame().ungreedy) && !cleared.contains('U');
                    if c == ':' {
                        self.push_group(&format!("{flags}:"));
                        self.frame().ungreedy = ungreedy;
                        return Ok(());
                    }
                    self.frame().ungreedy = ungreedy;
                    if flags.len() > 2 {
                        self.out.push_str(&flags);
                        self.out.push(')');
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        self.error("invalid or unsupported Perl syntax", start, self.position)
    }

    fn close(&mut self) -> Result<(), GoRegexError> {
        if self.frames.len() < 2 {
            return self.error_whole("unexpected )");
        }
        self.position += 1;
        let (weight, start) = self.frames.pop().map_or((1, 0), |frame| (frame.weight, frame.start));
        self.out.push(')');
        let end = self.out.len();
        let frame = self.frame();
        frame.weight = frame.weight.max(weight);
        let ungreedy = frame.ungreedy;
        frame.atom = Some(Atom { start, end, weight, repeated: false, ungreedy });
        Ok(())
    }

    /// Applies a repetition whose text was just read; `count` is its larger number.
    fn repeat(
        &mut self,
        start: usize,
        before: Option<usize>,
        operator: &str,
        count: Option<u64>,
    ) -> Result<(), GoRegexError> {
        let mut text = operator.to_owned();
        if self.peek(0) == Some('?') {
            self.position += 1;
            text.push('?');
        }
        if let Some(before) = before {
            return self.error("invalid nested repetition operator", before, self.position);
        }
        let Some(atom) = self.frame().atom else {
            return self.error("missing argument to repetition operator", start, self.position);
        };
        // The text goes to the end of the atom, where the flag may be another one than here.
        if self.frame().ungreedy != atom.ungreedy {
            text = text
                .strip_suffix('?')
                .filter(|text| !text.is_empty())
                .map_or(format!("{text}?"), str::to_owned);
        }
        let weight = atom.weight * count.unwrap_or(1).max(1);
        if weight > REPEAT_MAX {
            return self.error("invalid repeat count", start, self.position);
        }
        if atom.repeated {
            self.out.insert(atom.end, ')');
            self.out.insert_str(atom.start, "(?:");
        }
        let end = atom.end + if atom.repeated { "(?:)".len() } else { 0 };
        self.out.insert_str(end, &text);
        let frame = self.frame();
        frame.weight = frame.weight.max(weight);
        frame.atom = Some(Atom {
            start: atom.start,
            end: end + text.len(),
            weight,
            repeated: true,
            ungreedy: atom.ungreedy,
        });
        self.repeat_before = Some(start);
        Ok(())
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`; any other brace is a literal.
    fn brace(&mut self, before: Option<usize>) -> Result<(), GoRegexError> {
        let start = self.position;
        let Some((min, max, length)) = self.counts() else {
            self.position += 1;
            self.literal('{' as u32);
            return Ok(());
        };
        self.position += length;
        let backwards = max.is_some_and(|max| max < min);
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX) || backwards {
            return self.error("invalid repeat count", start, self.position);
        }
        let operator = self.fragment(start, self.position);
        self.repeat(start, before, &operator, Some(max.unwrap_or(min)))
    }

    /// Returns the numbers between braces and how many characters they take, braces included.
    fn counts(&self) -> Option<(u64, Option<u64>, usize)> {
        let mut at = 1;
        let number = |at: &mut usize| -> Option<u64> {
            let start = *at;
            let mut value = 0_u64;
            while let Some(digit) = self.peek(*at).and_then(|c| c.to_digit(10)) {
                value = (value * 10 + u64::from(digit)).min(REPEAT_MAX + 1);
                *at += 1;
            }
            let padded = *at - start > 1 && self.peek(start) == Some('0');
            (*at > start && !padded).then_some(value)
        };
        let min = number(&mut at)?;
        let max = match self.peek(at)? {
            '}' => Some(min),
            ',' if self.peek(at + 1) == Some('}') => {
                at += 1;
                None
            }
            ',' => {
                at += 1;
                Some(number(&mut at)?)
            }
            _ => return None,
        };
        (self.peek(at) == Some('}')).then_some((min, max, at + 1))
    }

    fn backslash(&mut self) -> Result<(), GoRegexError> {
        let start = self.position;
        match self.peek(1) {
            Some('A') => self.simple_escape("\\A"),
            Some('z') => self.simple_escape("\\z"),
            Some('b') => self.simple_escape("(?-u:\\b)"),
            Some('B') => self.simple_escape("(?-u:\\B)"),
            Some('C') => return self.error("invalid escape sequence", start, start + 2),
            Some('Q') => self.quoted(),
            _ => {
                if let Some(item) = self.read_class_escape()? {
                    self.atom(&format!("[{item}]"));
                } else {
                    let code = self.read_escape()?;
                    self.literal(code);
                }
            }
        }
        Ok(())
    }

    fn simple_escape(&mut self, text: &str) {
        self.position += 2;
        self.atom(text);
    }

    /// Reads `\Q…\E`; the end may be missing.
    fn quoted(&mut self) {
        self.position += 2;
        while let Some(c) = self.peek(0) {
            if c == '\\' && self.peek(1) == Some('E') {
                self.position += 2;
                return;
            }
            self.position += 1;
            self.literal(c as u32);
        }
    }
}

/// Removes a flag from the first half if the second half takes it away again.
fn without_contradictions(flags: &str) -> String {
    match flags.split_once('-') {
        None => flags.to_owned(),
        Some((set, cleared)) => {
            let kept: String = set.chars().filter(|&c| !cleared.contains(c)).collect();
            format!("{kept}-{cleared}")
        }
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;
