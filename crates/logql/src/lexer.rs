//! Text into words, one at a time: what stands behind a fault is never read.
//!
//! What is no word becomes a [`Kind::Fault`] and ends the words, so that the parser reports whichever
//! comes first, a misplaced word or the fault. So does a parenthesis where [`DEPTH_MAX`] are open, which
//! bounds the recursion of the parser. White space is exactly TAB, LF, CR and SPACE; comments are `#`,
//! `//` and `/* */`. Text escapes that yield no UTF-8 become U+FFFD, as lines do at ingest.

use crate::duration::{parse_any, parse_prometheus_duration};
use crate::error::Span;
use crate::size::parse_size;
use crate::token::{FUNCTIONS, Kind, SIGNS, Token, WORDS};
use crate::tree_metric::{RangeOp, VectorOp};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_until, take_while, take_while1};
use nom::character::complete::{char, one_of, satisfy};
use nom::combinator::{opt, recognize, value};
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

/// Deepest nesting of a query; real ones stay below 20.
pub(crate) const DEPTH_MAX: usize = 100;

/// The words of a query, as far as they have been asked for.
pub(crate) struct Words<'a> {
    text: &'a str,
    /// What has not been read yet; nothing behind the last word.
    rest: Option<&'a str>,
    read: Vec<Token>,
    /// Parentheses open behind what has been read.
    open: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, rest: Some(rest), read: Vec::new(), open: 0 }
    }

    /// Returns at least `count` words unless there are fewer, and any number more; the last one of the query
    /// is [`Kind::End`], or one that no query holds.
    pub(crate) fn first(&mut self, count: usize) -> &[Token] {
        // Two words behind a name tell whether it is a function.
        while self.read.len() < count + 2 && self.read_word() {}
        &self.read
    }

    /// Returns what has been asked for so far.
    pub(crate) fn read(&self) -> &[Token] {
        &self.read
    }

    /// Reads one more word; false behind the last one.
    fn read_word(&mut self) -> bool {
        let Some(rest) = self.rest else { return false };
        let rest = skip_blank(rest);
        let start = self.text.len() - rest.len();
        let (after, mut kind) = word(rest);
        match kind {
            Kind::Sign("(") if self.open == DEPTH_MAX => kind = Kind::TooDeep,
            Kind::Sign("(") => self.open += 1,
            Kind::Sign(")") => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        let last = matches!(kind, Kind::End | Kind::Unknown | Kind::Fault(_) | Kind::TooDeep);
        let end = match kind {
            Kind::Unknown | Kind::Fault(_) | Kind::TooDeep => start + faulty_bytes(rest),
            _ => self.text.len() - after.len(),
        };
        self.rest = (!last).then_some(after);
        self.read.push(Token { kind, span: Span { start, end } });
        // A name is known by the two words behind it; the last word is none.
        let unnamed = self.read.len().saturating_sub(3);
        for index in unnamed..if last { self.read.len() } else { unnamed + 1 } {
            name_function(&mut self.read, index);
        }
        true
    }
}

/// How much of what is no word is to blame: the brackets, the rest of the line of a text, the letters
/// and digits in a row, or a single character.
fn faulty_bytes(text: &str) -> usize {
    let line = text.split('\n').next().unwrap_or_default();
    match text.chars().next() {
        Some('[') => line.find(']').map_or(line.len(), |at| at + 1),
        Some('"' | '`') => line.len(),
        Some('0'..='9' | '.') => {
            line.len() - line.trim_start_matches(|c: char| c.is_alphanumeric() || "._".contains(c)).len()
        }
        Some(c) => c.len_utf8(),
        None => 0,
    }
}

/// Turns a name into a function where what follows makes it so.
fn name_function(tokens: &mut [Token], index: usize) {
    let kind = |at: usize| tokens.get(at).map(|token| &token.kind);
    let opens = |at: usize| matches!(kind(at), Some(Kind::Sign("(") | Kind::TooDeep));
    let groups = matches!(kind(index + 1), Some(Kind::Word("by" | "without")));
    if !(opens(index + 1) || groups && opens(index + 2)) {
        return;
    }
    if let Some(token) = tokens.get_mut(index)
        && let Kind::Identifier(name) = &token.kind
        && let Some(kind) = function(&name.to_lowercase())
    {
        token.kind = kind;
    }
}

fn function(name: &str) -> Option<Kind> {
    let range = RangeOp::ALL.iter().find(|op| op.as_str() == name).map(|op| Kind::RangeOp(*op));
    let vector = || VectorOp::ALL.iter().find(|op| op.as_str() == name).map(|op| Kind::VectorOp(*op));
    let other = || FUNCTIONS.iter().find(|known| **known == name).map(|known| Kind::Function(known));
    range.or_else(vector).or_else(other)
}

/// Skips white space and comments.
fn skip_blank(mut text: &str) -> &str {
    loop {
        let before = text.len();
        text = text.trim_start_matches(['\t', '\n', '\r', ' ']);
        if let Ok((rest, ())) = comment(text) {
            text = rest;
        }
        if text.len() == before {
            return text;
        }
    }
}

fn comment(text: &str) -> IResult<&str, ()> {
    let line = preceded(alt((tag("#"), tag("//"))), take_while(|c| c != '\n'));
    let block = (tag("/*"), take_until("*/"), tag("*/"));
    alt((value((), line), value((), block))).parse(text)
}

fn word(text: &str) -> (&str, Kind) {
    let Some(first) = text.chars().next() else { return ("", Kind::End) };
    match first {
        '/' if text.starts_with("/*") => return fault("comment not terminated"),
        '\0' => return fault("invalid character NUL"),
        '"' => return quoted_text(text),
        '`' => return raw_text(text),
        '[' => return range(text),
        '0'..='9' | '.' if starts_number(text) => return number(text),
        '-' => {
            if let Some(found) = flag(text).or_else(|| duration(text, "-")) {
                return found;
            }
        }
        _ => {}
    }
    if let Ok((rest, name)) = identifier(text) {
        let lower = name.to_lowercase();
        let word = WORDS.iter().find(|word| **word == lower);
        return (rest, word.map_or_else(|| Kind::Identifier(name.to_owned()), |word| Kind::Word(word)));
    }
    for sign in SIGNS {
        if let Some(rest) = text.strip_prefix(sign) {
            return (rest, Kind::Sign(sign));
        }
    }
    ("", Kind::Unknown)
}

fn fault(text: &str) -> (&'static str, Kind) {
    ("", Kind::Fault(text.to_owned()))
}

fn identifier(text: &str) -> IResult<&str, &str> {
    let first = satisfy(|c| c == '_' || c.is_alphabetic());
    recognize(pair(first, take_while(|c: char| c == '_' || c.is_alphabetic() || c.is_numeric()))).parse(text)
}

/// Returns whether a text reads as the name of a label without quotes.
pub(crate) fn is_bare_name(text: &str) -> bool {
    let lower = text.to_lowercase();
    matches!(identifier(text), Ok(("", _))) && !WORDS.contains(&&*lower)
}

fn flag(text: &str) -> Option<(&str, Kind)> {
    let (rest, name) =
        preceded(tag::<_, _, nom::error::Error<&str>>("--"), identifier_with_dashes).parse(text).ok()?;
    let known = ["--strict", "--keep-empty", "--arrays"]
        .into_iter()
        .find(|known| known.strip_prefix("--") == Some(name))?;
    Some((rest, Kind::Flag(known)))
}

fn identifier_with_dashes(text: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_alphabetic() || c == '-').parse(text)
}

fn starts_number(text: &str) -> bool {
    let mut chars = text.chars();
    match chars.next() {
        Some('.') => chars.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_ascii_digit(),
        None => false,
    }
}

/// The text of a number as Go's scanner reads it, without base prefixes.
fn number_text(text: &str) -> IResult<&str, &str> {
    let digits = || take_while(|c: char| c.is_ascii_digit() || c == '_');
    let exponent = (one_of("eE"), opt(one_of("+-")), digits());
    recognize((digits(), opt((char('.'), digits())), opt(exponent))).parse(text)
}

/// Why a number with a prefix for its base is refused.
pub(crate) const NOT_DECIMAL: &str = "only decimal numbers are supported";

fn number(text: &str) -> (&str, Kind) {
    let prefixed = text.strip_prefix('0').is_some_and(|rest| rest.starts_with(['x', 'X', 'o', 'O', 'b']));
    if prefixed {
        return fault(NOT_DECIMAL);
    }
    let Ok((rest, digits)) = number_text(text) else { return fault("invalid number") };
    if digits.ends_with(['e', 'E', '+', '-']) {
        return fault("exponent has no digits");
    }
    if let Some(found) = duration(text, digits).or_else(|| bytes(text, digits)) {
        return found;
    }
    if digits.ends_with('_') || digits.contains("__") || digits.contains("_.") || digits.contains("._") {
        return fault("'_' must separate successive digits");
    }
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    if let Some(digit) = digits.chars().find(|c| matches!(c, '8' | '9'))
        && whole
        && digits.len() > 1
        && digits.starts_with('0')
    {
        return fault(&format!("invalid digit '{digit}' in octal literal"));
    }
    match digits.replace('_', "").parse() {
        Ok(value) => (rest, Kind::Number { value, text: digits.to_owned() }),
        Err(_) => fault("invalid number"),
    }
}

/// Extends the text of a number by the characters that `allowed` accepts; none is no extension.
fn extended<'a>(text: &'a str, number: &str, allowed: fn(char) -> bool) -> Option<(&'a str, &'a str)> {
    let after = text.get(number.len()..)?;
    let rest = after.trim_start_matches(allowed);
    (rest.len() < after.len()).then(|| text.split_at(text.len() - rest.len()))
}

fn duration<'a>(text: &'a str, number: &str) -> Option<(&'a str, Kind)> {
    let allowed = |c: char| c.is_numeric() || c == '.' || "nu\u{b5}mshdwy".contains(c);
    let (run, rest) = extended(text, number, allowed)?;
    // `-0` is a number; only a unit makes a duration.
    run.contains(|c: char| c.is_alphabetic()).then_some(())?;
    Some((rest, Kind::Duration(parse_any(run)?)))
}

fn bytes<'a>(text: &'a str, number: &str) -> Option<(&'a str, Kind)> {
    let allowed = |c: char| c.is_numeric() || c == '.' || "BikKMGTP".contains(c);
    let (run, rest) = extended(text, number, allowed)?;
    Some((rest, Kind::Bytes(parse_size(run).ok()?)))
}

fn range(text: &str) -> (&str, Kind) {
    let inside = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let Some((inside, rest)) = inside else { return fault("missing closing ']' in duration") };
    match parse_prometheus_duration(inside) {
        Ok(range_ns) => (rest, Kind::Range(range_ns)),
        Err(reason) => fault(&reason),
    }
}

fn raw_text(text: &str) -> (&str, Kind) {
    match text.strip_prefix('`').and_then(|text| text.split_once('`')) {
        // Go drops carriage returns from raw texts.
        Some((inside, rest)) => (rest, Kind::Text(inside.replace('\r', ""))),
        None => fault("literal not terminated"),
    }
}

fn quoted_text(text: &str) -> (&str, Kind) {
    let mut bytes = Vec::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let plain = rest.find(['"', '\\', '\n']).unwrap_or(rest.len());
        let (before, after) = rest.split_at(plain);
        bytes.extend_from_slice(before.as_bytes());
        let mut chars = after.chars();
        match chars.next() {
            None | Some('\n') => return fault("literal not terminated"),
            Some('"') => {
                let content = String::from_utf8_lossy(&bytes).into_owned();
                return (chars.as_str(), Kind::Text(content));
            }
            Some(_) => match escape(chars.as_str(), &mut bytes) {
                Some(after) => rest = after,
                None if chars.as_str().is_empty() => return fault("literal not terminated"),
                None => return fault("invalid char escape"),
            },
        }
    }
}

/// Reads what follows a backslash; returns what follows that.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let (digits, radix) = match chars.next()? {
        'a' => return push(bytes, 0x07, chars.as_str()),
        'b' => return push(bytes, 0x08, chars.as_str()),
        'f' => return push(bytes, 0x0c, chars.as_str()),
        'n' => return push(bytes, b'\n', chars.as_str()),
        'r' => return push(bytes, b'\r', chars.as_str()),
        't' => return push(bytes, b'\t', chars.as_str()),
        'v' => return push(bytes, 0x0b, chars.as_str()),
        '\\' => return push(bytes, b'\\', chars.as_str()),
        '"' => return push(bytes, b'"', chars.as_str()),
        '0'..='7' => {
            let (code, rest) = digits_of(text, 3, 8)?;
            return push(bytes, u8::try_from(code).ok()?, rest);
        }
        'x' => {
            let (code, rest) = digits_of(chars.as_str(), 2, 16)?;
            return push(bytes, u8::try_from(code).ok()?, rest);
        }
        'u' => (4, 16),
        'U' => (8, 16),
        _ => return None,
    };
    let (code, rest) = digits_of(chars.as_str(), digits, radix)?;
    let c = char::from_u32(code)?;
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn push<'a>(bytes: &mut Vec<u8>, byte: u8, rest: &'a str) -> Option<&'a str> {
    bytes.push(byte);
    Some(rest)
}

fn digits_of(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let plain = digits.chars().all(|c| c.is_digit(radix));
    plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten().map(|code| (code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        Words::new(text).first(usize::MAX - 2).iter().map(|token| token.kind.clone()).collect()
    }

    fn check(text: &str, expect: &[Kind]) {
        let mut found = kinds(text);
        assert_eq!(found.pop(), Some(Kind::End), "{text}");
        assert_eq!(found, expect, "{text}");
    }

    fn check_fault(text: &str, expect: &str) {
        assert_eq!(kinds(text).pop(), Some(Kind::Fault(expect.to_owned())), "{text}");
    }

    fn number(value: f64, text: &str) -> Kind {
        Kind::Number { value, text: text.to_owned() }
    }

    #[test]
    fn numbers_durations_sizes() {
        const MINUTE: i64 = 60_000_000_000;
        check(
            "5 5. .5 1e3 1_000 007",
            &[
                number(5.0, "5"),
                number(5.0, "5."),
                number(0.5, ".5"),
                number(1e3, "1e3"),
                number(1000.0, "1_000"),
                number(7.0, "007"),
            ],
        );
        check(
            "5m 1h30m 30m1h -5m 1.5h 1d",
            &[
                Kind::Duration(5 * MINUTE),
                Kind::Duration(90 * MINUTE),
                Kind::Duration(90 * MINUTE),
                Kind::Duration(-5 * MINUTE),
                Kind::Duration(90 * MINUTE),
                Kind::Duration(1440 * MINUTE),
            ],
        );
        check("-0", &[Kind::Sign("-"), number(0.0, "0")]);
        check("1KB 1.5GiB 20B", &[Kind::Bytes(1000), Kind::Bytes(1_610_612_736), Kind::Bytes(20)]);
        check("1kb", &[Kind::Bytes(1000), Kind::Identifier("b".to_owned())]);
        check("5m5", &[number(5.0, "5"), Kind::Identifier("m5".to_owned())]);
        check_fault("1EB", "exponent has no digits");
        check_fault("08", "invalid digit '8' in octal literal");
        check_fault("0x10", "only decimal numbers are supported");
        check("[5m][0]", &[Kind::Range(5 * MINUTE), Kind::Range(0)]);
        check_fault("[5", "missing closing ']' in duration");
        check_fault("[]", "empty duration string");
    }

    #[test]
    fn texts() {
        let text = |text: &str| Kind::Text(text.to_owned());
        check(r#""a\n\"\\\x41\101\u00e9\U0001F600" `\n"`"#, &[text("a\n\"\\AAé😀"), text("\\n\"")]);
        check("`a\r\nb`", &[text("a\nb")]);
        check(r#""\xff""#, &[text("\u{fffd}")]);
        check_fault(r#""\q""#, "invalid char escape");
        check_fault(r#""\'""#, "invalid char escape");
        check_fault("\"a\nb\"", "literal not terminated");
        check_fault("`a", "literal not terminated");
        check_fault("\"\\", "literal not terminated");
        check_fault("a \0", "invalid character NUL");
    }

    #[test]
    fn names_words_functions() {
        let name = |text: &str| Kind::Identifier(text.to_owned());
        check("rate été _x1", &[name("rate"), name("été"), name("_x1")]);
        check("RATE (", &[Kind::RangeOp(RangeOp::Rate), Kind::Sign("(")]);
        check("sum By (", &[Kind::VectorOp(VectorOp::Sum), Kind::Word("by"), Kind::Sign("(")]);
        check("sum by x", &[name("sum"), Kind::Word("by"), name("x")]);
        check(
            "JSON --strict --keep-empty",
            &[Kind::Word("json"), Kind::Flag("--strict"), Kind::Flag("--keep-empty")],
        );
        check("| = != |>", &[Kind::Sign("|"), Kind::Sign("="), Kind::Sign("!="), Kind::Sign("|>")]);
        check("# a\n// b\n/* c */", &[]);
        assert_eq!(kinds("\u{a0}|"), [Kind::Unknown]);
    }
}
