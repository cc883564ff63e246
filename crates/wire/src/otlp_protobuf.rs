//! Reads OpenTelemetry's protobuf (package `opentelemetry.proto`, proto3).
//!
//! ```text
//! ExportLogsServiceRequest 1 resource_logs*       Resource  1 attributes*
//! ResourceLogs 1 resource, 2 scope_logs*          Scope     1 name, 2 version, 3 attributes*, 4 dropped
//! ScopeLogs    1 scope, 2 log_records*            KeyValue  1 key, 2 value
//! LogRecord    1 time fixed64, 2 severity_number, 3 severity_text, 5 body, 6 attributes*, 7 dropped,
//!              8 flags fixed32, 9 trace_id, 10 span_id, 11 observed_time fixed64
//! AnyValue     1 string, 2 bool, 3 int, 4 double fixed64, 5 array {1 values*}, 6 kvlist {1 values*}, 7 bytes
//! ```
//!
//! Unknown fields are skipped. Only values nest, up to a depth.

use crate::Error;
use crate::budget::Budget;
use crate::otlp::{AnyValue, Attribute, DEPTH_MAX, Record, ResourceLogs, ScopeLogs};
use crate::protobuf::{Fields, Value};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::borrow::Cow;

pub(crate) fn decode<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Vec<ResourceLogs<'a>>, Error> {
    let mut resources = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        if let (1, Value::Bytes(bytes)) = field {
            let resource = resource_logs(bytes, budget)?;
            budget.push(&mut resources, resource)?;
        } else {
            budget.idle()?;
        }
    }
    Ok(resources)
}

fn resource_logs<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<ResourceLogs<'a>, Error> {
    let mut logs = ResourceLogs::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(resource)) => {
                budget.idle()?;
                let mut fields = Fields::new(resource);
                while let Some(field) = fields.next()? {
                    match field {
                        (1, Value::Bytes(bytes)) => push_attribute(bytes, &mut logs.attributes, 0, budget)?,
                        _ => budget.idle()?,
                    }
                }
            }
            (2, Value::Bytes(bytes)) => {
                let scope = scope_logs(bytes, budget)?;
                budget.push(&mut logs.scopes, scope)?;
            }
            _ => budget.idle()?,
        }
    }
    Ok(logs)
}

fn scope_logs<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<ScopeLogs<'a>, Error> {
    let mut logs = ScopeLogs::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(scope)) => {
                budget.idle()?;
                let mut fields = Fields::new(scope);
                while let Some(field) = fields.next()? {
                    match field {
                        (1, Value::Bytes(text)) => {
                            let text = valid(text, budget)?;
                            budget.set(&mut logs.name, text)?;
                        }
                        (2, Value::Bytes(text)) => {
                            let text = valid(text, budget)?;
                            budget.set(&mut logs.version, text)?;
                        }
                        (3, Value::Bytes(bytes)) => push_attribute(bytes, &mut logs.attributes, 0, budget)?,
                        (4, Value::Number(number)) => budget.set(&mut logs.dropped_attributes, number)?,
                        _ => budget.idle()?,
                    }
                }
            }
            (2, Value::Bytes(bytes)) => {
                let record = record(bytes, budget)?;
                budget.push(&mut logs.records, record)?;
            }
            _ => budget.idle()?,
        }
    }
    Ok(logs)
}

fn record<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Record<'a>, Error> {
    let mut record = Record::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Fixed64(time_ns)) => budget.set(&mut record.time_ns, time_ns)?,
            (2, Value::Number(number)) => budget.set(&mut record.severity_number, number.cast_signed())?,
            (3, Value::Bytes(text)) => {
                let value = valid(text, budget)?;
                budget.set(&mut record.severity_text, value)?;
            }
            (5, Value::Bytes(bytes)) => {
                let value = any_value(bytes, 0, budget)?;
                budget.set(&mut record.body, value)?;
            }
            (6, Value::Bytes(bytes)) => push_attribute(bytes, &mut record.attributes, 0, budget)?,
            (7, Value::Number(number)) => budget.set(&mut record.dropped_attributes, number)?,
            (8, Value::Fixed32(flags)) => budget.set(&mut record.flags, u64::from(flags))?,
            (9, Value::Bytes(id)) => {
                let value = hexadecimal(id, budget)?;
                budget.set(&mut record.trace_id, value)?;
            }
            (10, Value::Bytes(id)) => {
                let value = hexadecimal(id, budget)?;
                budget.set(&mut record.span_id, value)?;
            }
            (11, Value::Fixed64(time_ns)) => budget.set(&mut record.observed_ns, time_ns)?,
            _ => budget.idle()?,
        }
    }
    Ok(record)
}

fn push_attribute<'a>(
    bytes: &'a [u8],
    attributes: &mut Vec<Attribute<'a>>,
    depth: usize,
    budget: &mut Budget,
) -> Result<(), Error> {
    let (mut key, mut value) = (Cow::Borrowed(""), AnyValue::None);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => {
                let text = valid(text, budget)?;
                budget.set(&mut key, text)?;
            }
            (2, Value::Bytes(bytes)) => {
                let given = any_value(bytes, depth, budget)?;
                budget.set(&mut value, given)?;
            }
            _ => budget.idle()?,
        }
    }
    budget.push(attributes, (key, value))
}

fn any_value<'a>(bytes: &'a [u8], depth: usize, budget: &mut Budget) -> Result<AnyValue<'a>, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!("cannot read export: values nested deeper than {DEPTH_MAX}")));
    }
    let mut value = AnyValue::None;
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        let given = match field {
            (1, Value::Bytes(text)) => AnyValue::Text(valid(text, budget)?),
            (2, Value::Number(number)) => AnyValue::Bool(number != 0),
            (3, Value::Number(number)) => AnyValue::Int(number.cast_signed()),
            (4, Value::Fixed64(bits)) => AnyValue::Double(f64::from_bits(bits)),
            (5, Value::Bytes(list)) => {
                let mut items = Vec::new();
                let mut fields = Fields::new(list);
                while let Some(field) = fields.next()? {
                    let (1, Value::Bytes(bytes)) = field else {
                        budget.idle()?;
                        continue;
                    };
                    let item = any_value(bytes, depth + 1, budget)?;
                    budget.push(&mut items, item)?;
                }
                AnyValue::List(items)
            }
            (6, Value::Bytes(map)) => {
                let mut members = Vec::new();
                let mut fields = Fields::new(map);
                while let Some(field) = fields.next()? {
                    match field {
                        (1, Value::Bytes(bytes)) => push_attribute(bytes, &mut members, depth + 1, budget)?,
                        _ => budget.idle()?,
                    }
                }
                AnyValue::Map(members)
            }
            (7, Value::Bytes(bytes)) => AnyValue::Text(base64(bytes, budget)?),
            _ => {
                budget.idle()?;
                continue;
            }
        };
        budget.set(&mut value, given)?;
    }
    Ok(value)
}

fn valid<'a>(text: &'a [u8], budget: &mut Budget) -> Result<Cow<'a, str>, Error> {
    budget.valid(Cow::Borrowed(text))
}

/// Prints an id; one of zeros is none.
fn hexadecimal<'a>(id: &[u8], budget: &mut Budget) -> Result<Cow<'a, str>, Error> {
    if id.iter().all(|byte| *byte == 0) {
        return Ok(Cow::Borrowed(""));
    }
    budget.take_allocation(id.len().saturating_mul(2))?;
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    Ok(Cow::Owned(id.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()))
}

/// Prints bytes as JSON has them: base64 with padding.
fn base64<'a>(bytes: &[u8], budget: &mut Budget) -> Result<Cow<'a, str>, Error> {
    budget.take_allocation(bytes.len().saturating_mul(2))?;
    Ok(Cow::Owned(BASE64_STANDARD.encode(bytes)))
}
