//! Functions that Go's templates have of themselves: comparing, measuring, picking, printing.

use crate::call::{Function, Param, Surroundings, check_length, function, text, variadic};
use crate::encoding::query_escape;
use crate::print::{print_all, print_line};
use crate::printf::printf;
use crate::value::{IntType, Value};
use std::cmp::Ordering;

const ANY: &[Param] = &[Param::Any];
const PAIR: &[Param] = &[Param::Any, Param::Any];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("not", ANY, |_, args| Ok(Value::Bool(!args.first().is_some_and(Value::is_true)))),
    function("len", ANY, len),
    variadic("index", ANY, Param::Any, index),
    variadic("slice", ANY, Param::Any, slice),
    variadic("eq", ANY, Param::Any, equal),
    function("ne", PAIR, |_, args| {
        compared(args, false).map(|equal| Value::Bool(equal != Some(Ordering::Equal)))
    }),
    function("lt", PAIR, |_, args| ordered(args, Ordering::is_lt)),
    function("le", PAIR, |_, args| ordered(args, Ordering::is_le)),
    function("gt", PAIR, |_, args| ordered(args, Ordering::is_gt)),
    function("ge", PAIR, |_, args| ordered(args, Ordering::is_ge)),
    variadic("print", &[], Param::Any, |_, args| Ok(Value::Text(print_all(args)))),
    variadic("println", &[], Param::Any, |_, args| Ok(Value::Text(print_line(args)))),
    variadic("printf", &[Param::Text], Param::Any, |_, args| {
        let out = printf(text(args, 0), args.get(1..).unwrap_or_default());
        check_length(out.len())?;
        Ok(Value::Text(out))
    }),
    variadic("html", &[], Param::Any, |_, args| Ok(Value::Text(html(&print_all(args))))),
    variadic("js", &[], Param::Any, |_, args| Ok(Value::Text(js(&print_all(args))))),
    variadic("urlquery", &[], Param::Any, |_, args| Ok(Value::Text(query_escape(&print_all(args))))),
];

fn len(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let length = match args.first().unwrap_or(&Value::Nil) {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Labels(set) => set.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::int(length as i64))
}

/// Turns an index into a position below `length`, or up to it if `open`.
fn position(index: &Value, length: usize, open: bool) -> Result<usize, String> {
    let number = match index {
        Value::Int(number, _) => *number,
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let place = usize::try_from(number).ok().filter(|place| *place < length || open && *place == length);
    place.ok_or_else(|| format!("index out of range: {number}"))
}

fn index(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let (first, indexes) = args.split_first().ok_or("index of untyped nil")?;
    let mut item = first.clone();
    for index in indexes {
        let key = || match index {
            Value::Text(key) => Ok(String::from_utf8_lossy(key).into_owned()),
            Value::Nil => Err("value is nil; should be of type string".to_owned()),
            other => Err(format!("value has type {}; should be string", other.type_name())),
        };
        item = match &item {
            Value::Text(text) => {
                let byte = text.get(position(index, text.len(), false)?).copied().unwrap_or_default();
                Value::Int(i64::from(byte), IntType::Byte)
            }
            Value::List(items) => {
                items.get(position(index, items.len(), false)?).cloned().unwrap_or(Value::Nil)
            }
            Value::Map(map) => map.get(&key()?).cloned().unwrap_or(Value::Nil),
            Value::Labels(set) => Value::text(set.get(&key()?).unwrap_or_default()),
            Value::Nil => return Err("index of untyped nil".to_owned()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let (item, indexes) = args.split_first().ok_or("slice of untyped nil")?;
    let length = match item {
        Value::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let at = |number: usize, default: usize| match indexes.get(number) {
        Some(index) => position(index, length, true),
        None => Ok(default),
    };
    let (start, end) = (at(0, 0)?, at(1, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match item {
        Value::Text(text) => Value::text(text.get(start..end).unwrap_or_default()),
        Value::List(items) => Value::List(items.get(start..end).unwrap_or_default().to_vec().into()),
        _ => Value::Nil,
    })
}

fn equal(_: &Surroundings<'_>, args: &[Value]) -> Result<Value, String> {
    let (first, others) = args.split_first().ok_or("missing argument for comparison")?;
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if compare(first, other, false)? == Some(Ordering::Equal) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn compared(args: &[Value], by_order: bool) -> Result<Option<Ordering>, String> {
    let nil = Value::Nil;
    compare(args.first().unwrap_or(&nil), args.get(1).unwrap_or(&nil), by_order)
}

fn ordered(args: &[Value], test: fn(Ordering) -> bool) -> Result<Value, String> {
    Ok(Value::Bool(compared(args, true)?.is_some_and(test)))
}

/// Compares values of one basic kind; NaN has no order.
fn compare(left: &Value, right: &Value, by_order: bool) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (
            Value::Int(left, _) | Value::Named(_, _, left),
            Value::Int(right, _) | Value::Named(_, _, right),
        ) => Ok(Some(left.cmp(right))),
        (Value::Float(left), Value::Float(right)) => Ok(left.partial_cmp(right)),
        (Value::Text(left), Value::Text(right)) => Ok(Some(left.cmp(right))),
        (Value::Bool(left), Value::Bool(right)) if !by_order => Ok(Some(left.cmp(right))),
        (Value::Time(left), Value::Time(right)) if !by_order => Ok(Some(left.cmp(right))),
        (Value::Nil, Value::Nil) if !by_order => Ok(Some(Ordering::Equal)),
        (Value::Nil, _) | (_, Value::Nil) if !by_order => Ok(None),
        (Value::List(_) | Value::Map(_) | Value::Labels(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Labels(_))
            if !by_order =>
        {
            Err("non-comparable types for comparison".to_owned())
        }
        (left, right)
            if std::mem::discriminant(left) == std::mem::discriminant(right)
                || by_order && !is_basic(left) =>
        {
            Err("invalid type for comparison".to_owned())
        }
        (left, right) => {
            Err(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
        }
    }
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Int(..) | Value::Float(_) | Value::Text(_) | Value::Bool(_) | Value::Named(..))
}

fn html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            byte => out.push(*byte),
        }
    }
    out
}

fn js(text: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.into_bytes()
}
