//! Functions of templates on texts.

use crate::call::{Function, Param, Surroundings, check_length, function, int, text, variadic};
use crate::value::Value;
use memchr::memmem;

const ONE: &[Param] = &[Param::Text];
const TWO: &[Param] = &[Param::Text, Param::Text];
const THREE: &[Param] = &[Param::Text, Param::Text, Param::Text];
const COUNTED: &[Param] = &[Param::Int, Param::Text];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("__line__", &[], |around, _| Ok(Value::text(around.line))),
    function("lower", ONE, |_, args| Ok(lower(text(args, 0)))),
    function("ToLower", ONE, |_, args| Ok(lower(text(args, 0)))),
    function("upper", ONE, |_, args| Ok(upper(text(args, 0)))),
    function("ToUpper", ONE, |_, args| Ok(upper(text(args, 0)))),
    function("title", ONE, |_, args| Ok(title(text(args, 0)))),
    function("trim", ONE, |_, args| Ok(trim_blanks(text(args, 0)))),
    function("TrimSpace", ONE, |_, args| Ok(trim_blanks(text(args, 0)))),
    function("Trim", TWO, |_, args| Ok(trim(text(args, 0), text(args, 1), true, true))),
    function("TrimLeft", TWO, |_, args| Ok(trim(text(args, 0), text(args, 1), true, false))),
    function("TrimRight", TWO, |_, args| Ok(trim(text(args, 0), text(args, 1), false, true))),
    function("trimAll", TWO, |_, args| Ok(trim(text(args, 1), text(args, 0), true, true))),
    function("TrimPrefix", TWO, |_, args| Ok(without_prefix(text(args, 0), text(args, 1)))),
    function("trimPrefix", TWO, |_, args| Ok(without_prefix(text(args, 1), text(args, 0)))),
    function("TrimSuffix", TWO, |_, args| Ok(without_suffix(text(args, 0), text(args, 1)))),
    function("trimSuffix", TWO, |_, args| Ok(without_suffix(text(args, 1), text(args, 0)))),
    function("Replace", &[Param::Text, Param::Text, Param::Text, Param::Int], |_, args| {
        replace(text(args, 0), text(args, 1), text(args, 2), int(args, 3))
    }),
    function("replace", THREE, |_, args| replace(text(args, 2), text(args, 0), text(args, 1), -1)),
    function("trunc", COUNTED, |_, args| Ok(truncate(int(args, 0), text(args, 1)))),
    function("substr", &[Param::Int, Param::Int, Param::Text], substring),
    function("alignLeft", COUNTED, |_, args| align(int(args, 0), text(args, 1), true)),
    function("alignRight", COUNTED, |_, args| align(int(args, 0), text(args, 1), false)),
    function("indent", COUNTED, |_, args| indent(int(args, 0), text(args, 1), "")),
    function("nindent", COUNTED, |_, args| indent(int(args, 0), text(args, 1), "\n")),
    function("repeat", COUNTED, repeat),
    function("contains", TWO, |_, args| {
        Ok(Value::Bool(memmem::find(text(args, 1), text(args, 0)).is_some()))
    }),
    function("hasPrefix", TWO, |_, args| Ok(Value::Bool(text(args, 1).starts_with(text(args, 0))))),
    function("hasSuffix", TWO, |_, args| Ok(Value::Bool(text(args, 1).ends_with(text(args, 0))))),
    variadic("default", &[Param::Any], Param::Any, |_, args| {
        let given = args.get(1).filter(|given| given.is_true()).or(args.first());
        Ok(given.cloned().unwrap_or(Value::Nil))
    }),
];

/// Maps characters that have a mapping of one character; others stay, as Go's simple mapping has it.
fn map(text: &[u8], mapping: impl Fn(char) -> char) -> Value {
    Value::text(String::from_utf8_lossy(text).chars().map(mapping).collect::<String>())
}

fn only<I: Iterator<Item = char>>(c: char, mut mapped: I) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

pub(crate) fn lower(text: &[u8]) -> Value {
    map(text, |c| if c == '\u{130}' { 'i' } else { only(c, c.to_lowercase()) })
}

fn upper_char(c: char) -> char {
    only(c, c.to_uppercase())
}

pub(crate) fn upper(text: &[u8]) -> Value {
    map(text, upper_char)
}

/// Raises the first letter of each word.
pub(crate) fn title(text: &[u8]) -> Value {
    let mut before = ' ';
    let raise = |c: char| {
        let starts = is_separator(before);
        before = c;
        if starts { upper_char(c) } else { c }
    };
    Value::text(String::from_utf8_lossy(text).chars().map(raise).collect::<String>())
}

fn is_separator(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_alphanumeric() && c != '_';
    }
    !c.is_alphanumeric() && c.is_whitespace()
}

fn trim_blanks(text: &[u8]) -> Value {
    match std::str::from_utf8(text) {
        Ok(text) => Value::text(text.trim()),
        Err(_) => Value::text(text.trim_ascii()),
    }
}

fn trim(text: &[u8], set: &[u8], left: bool, right: bool) -> Value {
    let (text, set) = (String::from_utf8_lossy(text), String::from_utf8_lossy(set));
    let is_member = |c: char| set.contains(c);
    let text = if left { text.trim_start_matches(is_member) } else { &text };
    Value::text(if right { text.trim_end_matches(is_member) } else { text })
}

fn without_prefix(text: &[u8], prefix: &[u8]) -> Value {
    Value::text(text.strip_prefix(prefix).unwrap_or(text))
}

fn without_suffix(text: &[u8], suffix: &[u8]) -> Value {
    Value::text(text.strip_suffix(suffix).unwrap_or(text))
}

/// Replaces the first `count` finds, all of them if it is negative.
fn replace(text: &[u8], old: &[u8], new: &[u8], count: i64) -> Result<Value, String> {
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    let places: Box<dyn Iterator<Item = usize>> = if old.is_empty() {
        // The empty text is found before every character and at the end.
        let valid = String::from_utf8_lossy(text).into_owned();
        Box::new(valid.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>().into_iter())
    } else {
        Box::new(memmem::find_iter(text, old))
    };
    for place in places.take(most) {
        out.extend_from_slice(text.get(copied..place).unwrap_or_default());
        out.extend_from_slice(new);
        check_length(out.len())?;
        copied = place + old.len();
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    Ok(Value::Text(out))
}

/// Keeps the first bytes, or the last ones if the count is negative; may split a character.
fn truncate(count: i64, text: &[u8]) -> Value {
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if size >= text.len() {
        return Value::text(text);
    }
    let part = if count < 0 { text.get(text.len() - size..) } else { text.get(..size) };
    Value::text(part.unwrap_or_default())
}

fn substring(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let (start, end, text) = (int(args, 0), int(args, 1), text(args, 2));
    let length = text.len() as i64;
    let fault = |range: String| format!("runtime error: slice bounds out of range [{range}]");
    let (from, until) = if start < 0 {
        if end < 0 {
            return Err(fault(format!(":{end}")));
        }
        if end > length {
            return Err(format!("{} with length {length}", fault(format!(":{end}"))));
        }
        (0, end)
    } else if end < 0 || end > length {
        (start, length)
    } else {
        (start, end)
    };
    if from > until {
        return Err(fault(format!("{from}:{until}")));
    }
    let range = usize::try_from(from).unwrap_or(0)..usize::try_from(until).unwrap_or(0);
    Ok(Value::text(text.get(range).unwrap_or_default()))
}

/// Fits a text into so many characters: pads it with blanks or cuts it, keeping the side it is
/// aligned to.
fn align(count: i64, text: &[u8], left: bool) -> Result<Value, String> {
    let Ok(count) = usize::try_from(count) else { return Ok(Value::text(text)) };
    let valid = String::from_utf8_lossy(text);
    let length = valid.chars().count();
    if count >= length {
        check_length(count)?;
        let blanks = " ".repeat(count - length);
        return Ok(Value::text(if left { format!("{valid}{blanks}") } else { format!("{blanks}{valid}") }));
    }
    let kept: String =
        if left { valid.chars().take(count).collect() } else { valid.chars().skip(length - count).collect() };
    Ok(Value::text(kept))
}

fn indent(count: i64, text: &[u8], before: &str) -> Result<Value, String> {
    let Ok(count) = usize::try_from(count) else { return Err("strings: negative Repeat count".to_owned()) };
    let lines = memchr::memchr_iter(b'\n', text).count() + 1;
    check_length(count.saturating_mul(lines).saturating_add(text.len()))?;
    let blanks = vec![b' '; count];
    let mut out = [before.as_bytes(), &*blanks].concat();
    for byte in text {
        out.push(*byte);
        if *byte == b'\n' {
            out.extend_from_slice(&blanks);
        }
    }
    Ok(Value::Text(out))
}

fn repeat(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let text = text(args, 1);
    let Ok(count) = usize::try_from(int(args, 0)) else {
        return Err("strings: negative Repeat count".to_owned());
    };
    check_length(count.saturating_mul(text.len()))?;
    Ok(Value::Text(text.repeat(count)))
}
