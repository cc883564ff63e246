//! Reads OpenTelemetry's JSON: the mapping of protobuf to JSON, ids in hexadecimal.
//!
//! Lenient where clients differ: members of another type than expected count as absent, 64-bit numbers are
//! numbers or texts, unknown members are skipped.

use crate::Error;
use crate::budget::{ALLOCATION_BYTES, Budget};
use crate::otlp::{AnyValue, Attribute, Record, ResourceLogs, ScopeLogs};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What an object takes at most until it is an attribute, a record or the like: a node of the parser's map, and twice
/// the largest of them, for lists that grow.
const OBJECT_BYTES: usize = 700 + 2 * size_of::<Record<'static>>();
/// What an item of a list, or a member of an object, takes at most in the parser's tree: lists double.
const ITEM_BYTES: usize = 2 * size_of::<Value>() + ALLOCATION_BYTES;

/// Decodes an export. The tree of the parser is counted from its braces and commas before it is built.
pub(crate) fn decode<'a>(bytes: &[u8], budget: &mut Budget) -> Result<Vec<ResourceLogs<'a>>, Error> {
    let count = |byte: u8| bytes.iter().filter(|have| **have == byte).count();
    budget.take(count(b'{').saturating_mul(OBJECT_BYTES))?;
    budget.take((count(b',') + count(b'[')).saturating_mul(ITEM_BYTES))?;
    budget.take(bytes.len())?;
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("cannot read export as JSON: {error}")))?;
    let Value::Object(mut export) = value else {
        return Err(Error::invalid("cannot read export as JSON: want an object"));
    };
    objects(&mut export, "resourceLogs").map(resource_logs).collect()
}

fn resource_logs<'a>(mut members: Map<String, Value>) -> Result<ResourceLogs<'a>, Error> {
    let mut resource = object(&mut members, "resource");
    let scopes = objects(&mut members, "scopeLogs").map(scope_logs).collect::<Result<_, _>>()?;
    Ok(ResourceLogs { attributes: attributes(&mut resource, "attributes")?, scopes })
}

fn scope_logs<'a>(mut members: Map<String, Value>) -> Result<ScopeLogs<'a>, Error> {
    let mut scope = object(&mut members, "scope");
    Ok(ScopeLogs {
        name: text(&mut scope, "name"),
        version: text(&mut scope, "version"),
        attributes: attributes(&mut scope, "attributes")?,
        dropped_attributes: number(&scope, "droppedAttributesCount")?,
        records: objects(&mut members, "logRecords").map(record).collect::<Result<_, _>>()?,
    })
}

fn record<'a>(mut members: Map<String, Value>) -> Result<Record<'a>, Error> {
    let severity_number = i64::try_from(number(&members, "severityNumber").unwrap_or(0)).unwrap_or(0);
    Ok(Record {
        time_ns: number(&members, "timeUnixNano")?,
        observed_ns: number(&members, "observedTimeUnixNano")?,
        severity_number,
        severity_text: text(&mut members, "severityText"),
        body: any_value(members.remove("body").unwrap_or_default())?,
        attributes: attributes(&mut members, "attributes")?,
        dropped_attributes: number(&members, "droppedAttributesCount")?,
        flags: number(&members, "flags")?,
        trace_id: id(&mut members, "traceId"),
        span_id: id(&mut members, "spanId"),
    })
}

/// Cost: recursion as deep as the parser allowed, 128 levels.
fn any_value<'a>(value: Value) -> Result<AnyValue<'a>, Error> {
    let Value::Object(mut members) = value else { return Ok(AnyValue::None) };
    for (name, value) in &mut members {
        let value = value.take();
        return Ok(match (name.as_str(), value) {
            (_, Value::Null) => continue,
            ("stringValue" | "bytesValue", Value::String(text)) => AnyValue::Text(Cow::Owned(text)),
            ("boolValue", Value::Bool(value)) => AnyValue::Bool(value),
            ("intValue", value) => AnyValue::Int(integer(&value, "intValue")?),
            ("doubleValue", value) => AnyValue::Double(double(&value)?),
            ("arrayValue", Value::Object(mut list)) => {
                let Some(Value::Array(items)) = list.remove("values") else {
                    return Ok(AnyValue::List(Vec::new()));
                };
                AnyValue::List(items.into_iter().map(any_value).collect::<Result<_, _>>()?)
            }
            ("kvlistValue", Value::Object(mut map)) => AnyValue::Map(attributes(&mut map, "values")?),
            _ => continue,
        });
    }
    Ok(AnyValue::None)
}

fn attributes<'a>(members: &mut Map<String, Value>, name: &str) -> Result<Vec<Attribute<'a>>, Error> {
    let attribute = |mut member: Map<String, Value>| {
        let key = text(&mut member, "key");
        Ok((key, any_value(member.remove("value").unwrap_or_default())?))
    };
    objects(members, name).map(attribute).collect()
}

fn objects(members: &mut Map<String, Value>, name: &str) -> impl Iterator<Item = Map<String, Value>> {
    let items = match members.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    items.into_iter().filter_map(|item| match item {
        Value::Object(members) => Some(members),
        _ => None,
    })
}

fn object(members: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match members.remove(name) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn text<'a>(members: &mut Map<String, Value>, name: &str) -> Cow<'a, str> {
    match members.remove(name) {
        Some(Value::String(text)) => Cow::Owned(text),
        _ => Cow::Borrowed(""),
    }
}

/// Reads an id; one of zeros is none.
fn id<'a>(members: &mut Map<String, Value>, name: &str) -> Cow<'a, str> {
    let id = text(members, name);
    if id.bytes().all(|byte| byte == b'0') { Cow::Borrowed("") } else { Cow::Owned(id.to_ascii_lowercase()) }
}

fn number(members: &Map<String, Value>, name: &str) -> Result<u64, Error> {
    let found = match members.get(name) {
        None | Some(Value::Null) => return Ok(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    };
    found.ok_or_else(|| bad_number(name))
}

fn integer(value: &Value, name: &str) -> Result<i64, Error> {
    let found = match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    };
    found.ok_or_else(|| bad_number(name))
}

/// Infinity and "not a number" are texts in JSON.
fn double(value: &Value) -> Result<f64, Error> {
    let found = match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    };
    found.ok_or_else(|| bad_number("doubleValue"))
}

fn bad_number(name: &str) -> Error {
    Error::invalid(format!("cannot read export as JSON: {name} is no number of its type"))
}
