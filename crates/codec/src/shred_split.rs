//! Splitting a line into a template and the values of its slots.
//!
//! Three splitters, chosen per line: JSON objects and logfmt keep keys in the template and make every value
//! a slot; in other lines a slot is a run of letters and digits that holds a digit, a quoted text, an
//! address, a UUID or a time of day. Whatever is not a slot stays in the template byte by byte, so a
//! line is its template with the values put in.
//!
//! Each slot has a *column key*: values of equal key are kept in one column, whichever template they come
//! from. In objects it is the key of the value, elsewhere the text in front of it; so the port behind ` port `
//! is one column over all the lines that hold one.

use memchr::{memchr2, memchr3};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Stands for a value in a template.
pub(crate) const SLOT: u8 = 0;
/// Stands before a byte of a line that would be taken for [`SLOT`] (then `ESCAPE`) or for itself (then 2).
pub(crate) const ESCAPE: u8 = 1;

/// Longer lines are not split: one value.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// Lines of more values are not split.
const VALUES_MAX: usize = 512;
/// Longer quoted texts are split like any other text.
const QUOTED_BYTES_MAX: usize = 1024;
/// Deeper objects are not objects to us.
const DEPTH_MAX: usize = 16;
/// A run of letters and digits of this length with a digit in it is an id, worth a slot inside a longer text.
const ID_BYTES_MIN: usize = 16;
/// Bytes of the text in front of a value that tell its column.
const CONTEXT_BYTES: usize = 16;
/// How far the end of a text is looked for byte by byte.
const NEAR_BYTES: usize = 32;
/// A text this short in front of a value does not tell its column alone.
const CONTEXT_BYTES_MIN: usize = 4;

/// How a line was split, and so what its template looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Splitter {
    /// Not at all: the template is one slot.
    Whole,
    /// As plain text.
    Plain,
    /// As one JSON object.
    Json,
    /// As `key=value` pairs.
    Logfmt,
}

/// What quotes are in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// What stands between them is a value.
    Slots,
    /// Text like any other.
    Text,
}

/// How a value was found, and so how the value of another line is found in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Up to the end of the line.
    Line,
    /// A token of this class.
    Token { class: u64 },
    /// The first token of a bare JSON value that begins so many bytes before it.
    BareToken { class: u64, bytes_before: u32 },
    /// What stands between quotes of plain text.
    Quoted,
    /// A text up to its closing quote, kept whole.
    Text { class: u64 },
    /// A bare JSON value, kept whole.
    JsonBare { class: u64 },
    /// A bare value of a pair, kept whole.
    PairBare { class: u64 },
}

/// A value: where it lies in the line, and the column it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotValue {
    pub(crate) start: u32,
    pub(crate) bytes: u32,
    pub(crate) column_key: u64,
    pub(crate) rule: Rule,
}

/// The parts of one line. Reused from line to line.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) splitter: Splitter,
    pub(crate) template: Vec<u8>,
    pub(crate) values: Vec<SlotValue>,
    /// Start of the text since the last value.
    literal: usize,
    /// Whether the line holds a byte that stands for something else in a template.
    has_marks: bool,
    last_key: u64,
    /// Whether another line with the same text between its values, each found by its rule, is of the same template.
    pub(crate) has_rules: bool,
}

impl Default for Split {
    fn default() -> Self {
        let (template, values) = (Vec::new(), Vec::new());
        let splitter = Splitter::Whole;
        Self { splitter, template, values, literal: 0, has_marks: false, last_key: 0, has_rules: false }
    }
}

impl Split {
    /// Splits a line of less than 4 GiB.
    pub(crate) fn split(&mut self, line: &[u8]) {
        let is_small = line.len() <= LINE_BYTES_MAX;
        self.has_marks = is_small && memchr2(SLOT, ESCAPE, line).is_some();
        let is_split = is_small
            && match line.first() {
                Some(b'{') if self.try_split(line, Splitter::Json) => true,
                Some(b'{') => self.try_split(line, Splitter::Plain),
                _ => self.try_split(line, Splitter::Logfmt) || self.try_split(line, Splitter::Plain),
            };
        if !is_split {
            self.keep_whole(line);
        }
    }

    /// Makes the line one value.
    pub(crate) fn keep_whole(&mut self, line: &[u8]) {
        self.start(Splitter::Whole);
        self.has_rules = false;
        self.push_value(line, 0, line.len(), 0, Rule::Line);
    }

    fn start(&mut self, splitter: Splitter) {
        self.splitter = splitter;
        self.template.clear();
        self.values.clear();
        self.literal = 0;
        self.last_key = 0;
        self.has_rules = !self.has_marks;
    }

    fn try_split(&mut self, line: &[u8], splitter: Splitter) -> bool {
        self.start(splitter);
        let done = match splitter {
            Splitter::Json => self.json(line),
            Splitter::Logfmt => self.logfmt(line),
            _ => {
                self.plain(line, 0, line.len(), Quotes::Slots);
                Some(())
            }
        };
        self.push_literal(line, line.len());
        done.is_some() && self.values.len() <= VALUES_MAX
    }

    /// Adds what lies between the last value and `end` to the template.
    fn push_literal(&mut self, line: &[u8], end: usize) {
        let literal = &line[self.literal.min(end)..end];
        if !self.has_marks {
            self.template.extend_from_slice(literal);
        } else {
            for &byte in literal {
                match byte {
                    SLOT => self.template.extend_from_slice(&[ESCAPE, ESCAPE]),
                    ESCAPE => self.template.extend_from_slice(&[ESCAPE, 2]),
                    _ => self.template.push(byte),
                }
            }
        }
        self.literal = end;
    }

    fn push_value(&mut self, line: &[u8], start: usize, end: usize, column_key: u64, rule: Rule) {
        self.push_literal(line, start);
        self.template.push(SLOT);
        let place = |at: usize| u32::try_from(at).expect("lines are shorter than 4 GiB");
        self.values.push(SlotValue { start: place(start), bytes: place(end - start), column_key, rule });
        self.literal = end;
        self.last_key = column_key;
    }

    /// Adds a value of plain text: the text in front of it tells its column.
    fn push_plain(&mut self, line: &[u8], start: usize, end: usize, class: u64) {
        let context = &line[self.literal..start];
        let near = &context[context.len().saturating_sub(CONTEXT_BYTES)..];
        let before = if near.len() < CONTEXT_BYTES_MIN { self.last_key } else { 0 };
        let key = xxh3_64_with_seed(near, class ^ before.rotate_left(17));
        let rule = if class == CLASS_QUOTED { Rule::Quoted } else { Rule::Token { class } };
        self.push_value(line, start, end, key, rule);
    }

    /// Splits plain text between two places of a line.
    fn plain(&mut self, line: &[u8], from: usize, to: usize, quotes: Quotes) {
        let mut at = from;
        while at < to {
            match line[at] {
                b'"' => {
                    let end = quoted_end(&line[at + 1..to]).map(|bytes| at + 1 + bytes);
                    match end {
                        Some(end) if quotes == Quotes::Slots && !holds_id(&line[at + 1..end]) => {
                            self.push_plain(line, at + 1, end, CLASS_QUOTED);
                            at = end + 1;
                        }
                        _ => {
                            // What comes behind made this quote no border.
                            self.has_rules &= quotes == Quotes::Text;
                            at += 1;
                        }
                    }
                }
                byte if !is_in_token(byte) => at += 1,
                _ => {
                    let (end, class) = token(&line[..to], at);
                    if class != CLASS_WORD {
                        self.push_plain(line, at, end, class);
                    }
                    at = end;
                }
            }
        }
    }

    /// Adds the value of a key; a part of it if that is alike from line to line.
    fn push_keyed(&mut self, line: &[u8], start: usize, end: usize, key: u64, whole: fn(u64) -> Rule) {
        if let Some(class) = whole_class(&line[start..end]) {
            self.push_value(line, start, end, key ^ class, whole(class));
            return;
        }
        self.push_literal(line, start);
        self.last_key = key;
        let first = self.values.len();
        // A quote inside is an escaped one, and must stay beside its escape.
        self.plain(line, start, end, Quotes::Text);
        self.push_literal(line, end);
        if let Some(value) = self.values.get_mut(first)
            && let (Rule::Token { class }, Rule::JsonBare { .. }) = (value.rule, whole(0))
        {
            let start = u32::try_from(start).expect("lines are shorter than 4 GiB");
            value.rule = Rule::BareToken { class, bytes_before: value.start - start };
        }
    }

    fn logfmt(&mut self, line: &[u8]) -> Option<()> {
        let mut at = 0;
        let mut pairs = 0;
        while at < line.len() {
            let key_end = at + line[at..].iter().position(|&byte| !is_key(byte))?;
            if key_end == at || line[key_end] != b'=' {
                return None;
            }
            let key = xxh3_64_with_seed(&line[at..key_end], 2);
            at = key_end + 1;
            if line.get(at) == Some(&b'"') {
                let end = at + 1 + string_end(&line[at + 1..])?;
                self.push_keyed(line, at + 1, end, key, |class| Rule::Text { class });
                at = end + 1;
            } else {
                let end = at + pair_bare_end(&line[at..])?;
                self.push_keyed(line, at, end, key, |class| Rule::PairBare { class });
                at = end;
            }
            pairs += 1;
            if at < line.len() {
                if line[at] != b' ' || at + 1 == line.len() {
                    return None;
                }
                at += 1;
            }
        }
        (pairs > 1).then_some(())
    }

    fn json(&mut self, line: &[u8]) -> Option<()> {
        // The key that the values of each open object or array belong to.
        let mut open = [(0, 0); DEPTH_MAX];
        let mut depth = 0;
        let mut key = 0;
        let mut at = 0;
        loop {
            at = skip_space(line, at);
            let byte = *line.get(at)?;
            // A value, or the end of an empty object or array.
            match byte {
                b'{' | b'[' => {
                    *open.get_mut(depth)? = (byte, key);
                    depth += 1;
                    at = skip_space(line, at + 1);
                    let is_empty = *line.get(at)? == byte + 2;
                    if !is_empty {
                        if byte == b'{' {
                            (key, at) = json_key(line, at, key)?;
                        } else {
                            key = key.rotate_left(7) ^ 1;
                        }
                        continue;
                    }
                }
                b'"' => {
                    let end = at + 1 + string_end(&line[at + 1..])?;
                    self.push_keyed(line, at + 1, end, key, |class| Rule::Text { class });
                    at = end + 1;
                }
                _ => {
                    let end = at + json_bare_end(&line[at..])?;
                    self.push_keyed(line, at, end, key, |class| Rule::JsonBare { class });
                    at = end;
                }
            }
            // What follows a value: ends of objects and arrays, then a comma and the next value.
            loop {
                at = skip_space(line, at);
                let (bracket, outer) = open[depth.checked_sub(1)?];
                match *line.get(at)? {
                    b',' => {
                        if bracket == b'{' {
                            (key, at) = json_key(line, skip_space(line, at + 1), outer)?;
                        } else {
                            at += 1;
                        }
                        break;
                    }
                    byte if byte == bracket + 2 => {
                        depth -= 1;
                        key = outer;
                        at += 1;
                        if depth == 0 {
                            return (at == line.len()).then_some(());
                        }
                        if let (b'[', array) = open[depth - 1] {
                            key = array.rotate_left(7) ^ 1;
                        }
                    }
                    _ => return None,
                }
            }
        }
    }
}

/// Returns the class of a value that is kept whole: what its column is told by beside its key. `None` for one that is split.
fn whole_class(value: &[u8]) -> Option<u64> {
    let (mut kinds, mut colons) = (0, 0);
    for &byte in value {
        kinds |= KINDS[byte as usize];
        colons += usize::from(byte == b':');
    }
    // Words alone are neither numbers with punctuation nor ids.
    if kinds & DIGIT != 0 {
        let is_text_with_id = || holds_id(value) && token(value, 0).0 != value.len();
        if is_composed(value) || is_text_with_id() {
            return None;
        }
    }
    let is_timed = value.len() > 8 && colons > 1;
    Some(if is_timed { CLASS_TIME + value.len() as u64 } else { 0 })
}

/// Returns the length of a bare value of a pair; `None` for what is none.
fn pair_bare_end(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|&byte| byte <= b' ' || matches!(byte, b'"' | b'=' | b'\\'));
    let end = end.unwrap_or(text.len());
    text.get(end).is_none_or(|&byte| byte == b' ').then_some(end)
}

fn is_in_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// Returns the length of a bare JSON value; `None` for what is none.
fn json_bare_end(text: &[u8]) -> Option<usize> {
    let end = text.iter().take_while(|&&byte| is_in_bare(byte)).count();
    is_json_bare(&text[..end]).then_some(end)
}

impl Rule {
    /// Returns whether the rule finds in front of a text what it found before: most values are equal to one before them.
    pub(crate) fn finds(self, text: &[u8], known: &[u8]) -> bool {
        let behind = text.get(known.len()).copied();
        let is_end = match self {
            Self::Text { .. } | Self::Quoted => behind == Some(b'"'),
            Self::JsonBare { .. } => behind.is_some_and(|byte| !is_in_bare(byte)),
            Self::PairBare { .. } => behind.is_none_or(|byte| byte == b' '),
            // What may stand in times, addresses and UUIDs could make more of it.
            Self::Token { .. } => {
                behind.is_none_or(|byte| !is_in_token(byte) && !matches!(byte, b':' | b'.' | b'-' | b','))
            }
            Self::Line | Self::BareToken { .. } => false,
        };
        is_end && text.starts_with(known)
    }

    /// Returns where the value at `at` ends; `None` if the rule finds none there.
    pub(crate) fn end(self, line: &[u8], at: usize) -> Option<usize> {
        let text = &line[at..];
        let whole = |bytes: usize, class: u64| (whole_class(&text[..bytes])? == class).then_some(at + bytes);
        let of_class = |class: u64| {
            let (end, found) = if is_in_token(*text.first()?) { token(line, at) } else { return None };
            (found == class).then_some(end)
        };
        match self {
            Self::Line => Some(line.len()),
            Self::Token { class } => of_class(class),
            Self::BareToken { class, bytes_before } => {
                json_bare_end(&line[at.checked_sub(bytes_before as usize)?..])?;
                of_class(class)
            }
            Self::Quoted => {
                let bytes = quoted_end(text)?;
                (!holds_id(&text[..bytes])).then_some(at + bytes)
            }
            Self::Text { class } => whole(string_end(text)?, class),
            Self::JsonBare { class } => whole(json_bare_end(text)?, class),
            Self::PairBare { class } => whole(pair_bare_end(text)?, class),
        }
    }
}

/// Reads a key and the colon behind it: its hash, and where the value starts.
fn json_key(line: &[u8], at: usize, outer: u64) -> Option<(u64, usize)> {
    if *line.get(at)? != b'"' {
        return None;
    }
    let end = at + 1 + string_end(&line[at + 1..])?;
    let key = xxh3_64_with_seed(&line[at + 1..end], outer ^ 1);
    let colon = skip_space(line, end + 1);
    (*line.get(colon)? == b':').then_some((key, colon + 1))
}

fn skip_space(line: &[u8], at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Returns whether bytes are a JSON number, `true`, `false` or `null`.
pub(crate) fn is_json_bare(bytes: &[u8]) -> bool {
    if matches!(bytes, b"true" | b"false" | b"null") {
        return true;
    }
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let digits = |part: &[u8]| part.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = &unsigned[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        let sign = usize::from(matches!(exponent.first(), Some(b'+' | b'-')));
        let count = digits(&exponent[sign..]);
        if count == 0 {
            return false;
        }
        rest = &exponent[sign + count..];
    }
    rest.is_empty()
}

/// Returns the length of a JSON or logfmt text up to its closing quote, which is not escaped.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        // Most are short: a search that has to be called takes longer than a look at each byte.
        let near = &text[at..text.len().min(at + NEAR_BYTES)];
        at += match near.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
            Some(place) => place,
            None => near.len() + memchr3(b'"', b'\\', b'\n', &text[at + near.len()..])?,
        };
        match text[at] {
            b'"' => return Some(at),
            b'\\' if text.get(at + 1).is_some_and(|&byte| byte != b'\n') => at += 2,
            _ => return None,
        }
    }
}

/// Returns the length of a quoted part of plain text.
fn quoted_end(text: &[u8]) -> Option<usize> {
    let end = memchr2(b'"', b'\n', &text[..text.len().min(QUOTED_BYTES_MAX)])?;
    (end > 0 && text[end] == b'"').then_some(end)
}

fn is_key(byte: u8) -> bool {
    is_in_token(byte) || matches!(byte, b'_' | b'.' | b'-' | b'/' | b'@')
}

/// Returns whether a text holds an id: such texts hardly ever repeat as a whole.
fn holds_id(text: &[u8]) -> bool {
    if text.len() < ID_BYTES_MIN {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        if !is_in_token(text[at]) {
            at += 1;
            continue;
        }
        let (end, class) = token(text, at);
        if class != CLASS_WORD && end - at >= ID_BYTES_MIN {
            return true;
        }
        at = end;
    }
    false
}

/// Returns whether a value is two to four numbers or addresses with punctuation between them, and no time.
fn is_composed(value: &[u8]) -> bool {
    if !(3..=48).contains(&value.len()) {
        return false;
    }
    let (mut at, mut tokens, mut colons) = (0, 0, 0);
    while at < value.len() {
        let byte = value[at];
        match is_in_token(byte) {
            true => {
                let (end, class) = token(value, at);
                if class == CLASS_WORD || class == CLASS_MIXED || class >= CLASS_TIME {
                    return false;
                }
                tokens += 1;
                at = end;
            }
            false => {
                colons += usize::from(byte == b':');
                if byte <= b' ' || byte == b'\\' {
                    return false;
                }
                at += 1;
            }
        }
    }
    (2..=4).contains(&tokens) && colons < 2
}

const DIGIT: u8 = 1;
/// A letter that is also a hexadecimal digit.
const HEX: u8 = 2;
const LETTER: u8 = 4;

/// The kind of each byte, a bit each; 0 for what is in no token.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => HEX,
            b'g'..=b'z' | b'G'..=b'Z' | 0x80.. => LETTER,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// Returns whether a byte is a letter or digit.
fn is_in_token(byte: u8) -> bool {
    KINDS[byte as usize] != 0
}

const CLASS_WORD: u64 = 0;
const CLASS_DIGITS: u64 = 1;
const CLASS_MIXED: u64 = 2;
const CLASS_ADDRESS: u64 = 3;
const CLASS_UUID: u64 = 4;
const CLASS_QUOTED: u64 = 5;
/// Hexadecimal digits with letters among them; their length is added.
const CLASS_HEX: u64 = 1 << 8;
/// Holds a time of day; its length is added.
const CLASS_TIME: u64 = 1 << 32;

/// Returns where the token at `at`, a letter or digit, ends, and its class; words hold no digit.
fn token(text: &[u8], at: usize) -> (usize, u64) {
    let run_end = |from: usize| from + text[from..].iter().take_while(|&&byte| is_in_token(byte)).count();
    let (mut kinds, mut end) = (0, at);
    for &byte in &text[at..] {
        let kind = KINDS[byte as usize];
        if kind == 0 {
            break;
        }
        kinds |= kind;
        end += 1;
    }
    if kinds & DIGIT == 0 {
        return (end, CLASS_WORD);
    }
    let bytes = end - at;
    let is_hex = kinds & LETTER == 0;
    match text.get(end) {
        Some(b':' | b'.') if bytes >= 2 => {
            if let Some(time_end) = time_end(text, end) {
                let time_end = run_end(time_end);
                return (time_end, CLASS_TIME + (time_end - at) as u64);
            }
        }
        Some(b'-') if bytes == 8 && is_hex => {
            if let Some(uuid_end) = uuid_end(text, at) {
                return (uuid_end, CLASS_UUID);
            }
        }
        _ => {}
    }
    if kinds == DIGIT {
        return match text.get(end) {
            Some(b'.') if bytes <= 3 => {
                address_end(text, end).map_or((end, CLASS_DIGITS), |end| (end, CLASS_ADDRESS))
            }
            _ => (end, CLASS_DIGITS),
        };
    }
    if is_hex && bytes >= 7 {
        return (end, CLASS_HEX + bytes as u64);
    }
    (end, CLASS_MIXED)
}

fn are_digits(text: &[u8], at: usize, count: usize) -> bool {
    text.get(at..at + count).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
}

/// Returns where a time of day ends whose hours end at `at`: `:mm:ss`, or `.mm.ss.` and a fraction.
fn time_end(text: &[u8], at: usize) -> Option<usize> {
    let separator = text[at];
    let is_time = are_digits(text, at - 2, 2)
        && are_digits(text, at + 1, 2)
        && text.get(at + 3) == Some(&separator)
        && are_digits(text, at + 4, 2);
    if !is_time {
        return None;
    }
    let end = at + 6;
    let fraction = match text.get(end) {
        Some(b'.' | b',' | b':') => text[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    if separator == b'.' && fraction < 6 {
        return None;
    }
    Some(if fraction == 0 { end } else { end + 1 + fraction })
}

/// Returns where an IPv4 address ends whose first number ends at `at`.
fn address_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for _ in 0..3 {
        if text.get(end) != Some(&b'.') {
            return None;
        }
        let digits = text[end + 1..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        end += 1 + digits;
    }
    (!text.get(end).is_some_and(|&byte| is_in_token(byte))).then_some(end)
}

fn uuid_end(text: &[u8], at: usize) -> Option<usize> {
    let uuid = text.get(at..at + 36)?;
    if [8, 13, 18, 23].iter().any(|&dash| uuid[dash] != b'-') {
        return None;
    }
    let digits = [0..8, 9..13, 14..18, 19..23, 24..36];
    let is_hex =
        |part: Range<usize>| uuid[part].iter().all(|&byte| KINDS[byte as usize] & (DIGIT | HEX) != 0);
    let goes_on = text.get(at + 36).is_some_and(|&byte| is_in_token(byte));
    (!goes_on && digits.into_iter().all(is_hex)).then_some(at + 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template with `<value>` for each slot, and the splitter.
    fn check(line: &str, splitter: Splitter, expect: &str) {
        let mut split = Split::default();
        split.split(line.as_bytes());
        let mut shown = Vec::new();
        let mut values = split.values.iter();
        for &byte in &split.template {
            if byte == SLOT {
                let value = values.next().unwrap();
                let start = value.start as usize;
                shown.push(b'<');
                shown.extend_from_slice(&line.as_bytes()[start..start + value.bytes as usize]);
                shown.push(b'>');
            } else {
                shown.push(byte);
            }
        }
        assert_eq!((String::from_utf8(shown).unwrap().as_str(), split.splitter), (expect, splitter));
        assert!(values.next().is_none());
    }

    #[test]
    fn plain_lines_keep_words_and_give_what_varies() {
        check("a b", Splitter::Plain, "a b");
        check(
            "Nov 14 06:00:14 LabSZ sshd[15789]: Failed password for root from 192.168.1.32 port 66171 ssh2",
            Splitter::Plain,
            "Nov <14> <06:00:14> LabSZ sshd[<15789>]: Failed password for root from <192.168.1.32> port <66171> <ssh2>",
        );
        check(
            r#"1.2.3.4 - - [14/Nov/2026:06:00:14 +0000] "GET / HTTP/1.1" 200 "-""#,
            Splitter::Plain,
            r#"<1.2.3.4> - - [<14>/Nov/<2026:06:00:14> +<0000>] "<GET / HTTP/1.1>" <200> "<->""#,
        );
        check(
            "x \"GET /0123456789abcdef0123/y\" 0.25s",
            Splitter::Plain,
            "x \"GET /<0123456789abcdef0123>/y\" <0>.<25s>",
        );
        check(
            "t 2026-11-14-15.42.50.675872 1.2.3",
            Splitter::Plain,
            "t <2026>-<11>-<14>-<15.42.50.675872> <1>.<2>.<3>",
        );
        check(
            "id e8e42435-0d37-4b78-abcd-93ab76f647a8!",
            Splitter::Plain,
            "id <e8e42435-0d37-4b78-abcd-93ab76f647a8>!",
        );
        check("2026-11-14T06:00:08,254Z \"", Splitter::Plain, "<2026>-<11>-<14T06:00:08,254Z> \"");
    }

    #[test]
    fn objects_keep_keys_and_give_values() {
        check(
            r#"{"a":1, "b": "x y", "c":{"d":[true,null,-1.5e3]}, "e":{}}"#,
            Splitter::Json,
            r#"{"a":<1>, "b": "<x y>", "c":{"d":[<true>,<null>,<-1.5e3>]}, "e":{}}"#,
        );
        check(r#"{"a":"1.2.3.4:80","b":"q\"\\"}"#, Splitter::Json, r#"{"a":"<1.2.3.4>:<80>","b":"<q\"\\>"}"#);
        check(r#"{"a":""}"#, Splitter::Json, r#"{"a":"<>"}"#);
        check(r#"{"a":01}"#, Splitter::Plain, r#"{"<a>":<01>}"#);
        check(r#"{"a":1} x"#, Splitter::Plain, r#"{"<a>":<1>} x"#);
        check("{}", Splitter::Json, "{}");
        check(
            r#"time="2026-11-14T06:00:08Z" level=info msg="a b" took=12.5ms empty= x=/a/b"#,
            Splitter::Logfmt,
            r#"time="<2026-11-14T06:00:08Z>" level=<info> msg="<a b>" took=<12.5ms> empty=<> x=</a/b>"#,
        );
        check("a=1", Splitter::Plain, "a=<1>");
        check("a=1 b", Splitter::Plain, "a=<1> b");
    }

    #[test]
    fn odd_bytes_are_escaped_and_odd_lines_are_whole() {
        let mut split = Split::default();
        split.split(b"a\0b\x01 7");
        assert_eq!(split.template, b"a\x01\x01b\x01\x02 \0");
        split.split(&vec![b' '; LINE_BYTES_MAX + 1]);
        assert_eq!((split.splitter, split.template.as_slice()), (Splitter::Whole, &[SLOT][..]));
        split.split("1 ".repeat(VALUES_MAX + 1).as_bytes());
        assert_eq!(split.splitter, Splitter::Whole);
    }
}
