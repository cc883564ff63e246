//! OpenTelemetry's log export: what it holds, and how it becomes streams and entries.
//!
//! Protobuf and JSON are read into one tree of resources, scopes and records; then each resource becomes a
//! stream: attributes that tell where logs come from are its labels, everything else is structured metadata
//! of each entry (Loki v3.7.6). Names of metadata are left as they are, with `_` between nested ones: ingest
//! normalises them.
//!
//! Memory: the caller's bound holds for the unpacked body, and for the tree and the entries together.

use crate::body::{Encoding, unpack};
use crate::budget::{ALLOCATION_BYTES, Budget};
use crate::go_time::GoTime;
use crate::json_text::{push_joined, push_string};
use crate::loki_push::{Collector, Pair, PushLabels, PushRequest, PushStream};
use crate::{Error, otlp_json, otlp_protobuf};
use bytes::Bytes;
use std::borrow::Cow;
use std::io::Write as _;

/// Media type of a [`status`], as Loki v3.7.6 sends it.
pub const STATUS_TYPE: &str = "application/octet-stream";

/// Encodes the answer to an export that failed: protobuf `google.rpc.Status` with field 2, `message`, alone.
pub fn status(message: &str) -> Vec<u8> {
    let mut bytes = vec![2 << 3 | 2];
    let mut length = message.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(message.as_bytes());
    bytes
}

/// Attributes of a resource that become labels, and the names of the labels.
const LABELS: [(&str, &str); 18] = [
    ("service.name", "service_name"),
    ("service.namespace", "service_namespace"),
    ("service.instance.id", "service_instance_id"),
    ("deployment.environment", "deployment_environment"),
    ("deployment.environment.name", "deployment_environment_name"),
    ("cloud.region", "cloud_region"),
    ("cloud.availability_zone", "cloud_availability_zone"),
    ("k8s.cluster.name", "k8s_cluster_name"),
    ("k8s.namespace.name", "k8s_namespace_name"),
    ("k8s.pod.name", "k8s_pod_name"),
    ("k8s.container.name", "k8s_container_name"),
    ("container.name", "container_name"),
    ("k8s.replicaset.name", "k8s_replicaset_name"),
    ("k8s.deployment.name", "k8s_deployment_name"),
    ("k8s.statefulset.name", "k8s_statefulset_name"),
    ("k8s.daemonset.name", "k8s_daemonset_name"),
    ("k8s.cronjob.name", "k8s_cronjob_name"),
    ("k8s.job.name", "k8s_job_name"),
];

/// Deepest nesting of values; deeper ones are refused.
pub(crate) const DEPTH_MAX: usize = 64;

/// An attribute: its key and value.
pub(crate) type Attribute<'a> = (Cow<'a, str>, AnyValue<'a>);

/// A value of any type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AnyValue<'a> {
    #[default]
    None,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(Vec<AnyValue<'a>>),
    Map(Vec<Attribute<'a>>),
}

/// The records of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResourceLogs<'a> {
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) scopes: Vec<ScopeLogs<'a>>,
}

/// The records of one scope of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScopeLogs<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) dropped_attributes: u64,
    pub(crate) records: Vec<Record<'a>>,
}

/// One record. Zero and the empty text mean "not given".
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) time_ns: u64,
    pub(crate) observed_ns: u64,
    pub(crate) severity_number: i64,
    pub(crate) severity_text: Cow<'a, str>,
    pub(crate) body: AnyValue<'a>,
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) dropped_attributes: u64,
    pub(crate) flags: u64,
    /// In hexadecimal.
    pub(crate) trace_id: Cow<'a, str>,
    /// In hexadecimal.
    pub(crate) span_id: Cow<'a, str>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    Json,
    /// `application/x-protobuf`.
    Protobuf,
}

/// The body of an export after unpacking; [`UnpackedExport::decode`] borrows from it.
#[derive(Debug)]
pub struct UnpackedExport {
    form: Form,
    bytes: Bytes,
    bytes_max: usize,
}

/// Undoes the compression of an export.
///
/// Errors: `Invalid` for a media type that is neither JSON nor protobuf, a corrupt body or an unknown encoding,
/// `Limited` above `bytes_max`. Cost: decompression, at most `bytes_max` bytes.
pub fn unpack_export(
    body: Bytes,
    content_type: Option<&str>,
    content_encoding: &str,
    bytes_max: usize,
) -> Result<UnpackedExport, Error> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let form = match media_type.to_ascii_lowercase().as_str() {
        "application/json" => Form::Json,
        "application/x-protobuf" => Form::Protobuf,
        _ => {
            let text = format!(
                "cannot read export: content type {media_type:?}, want application/json or application/x-protobuf"
            );
            return Err(Error::invalid(text));
        }
    };
    let bytes = unpack(body, Encoding::from_header(content_encoding)?, bytes_max)?;
    Ok(UnpackedExport { form, bytes, bytes_max })
}

impl UnpackedExport {
    /// Returns the form of the body.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Decodes the whole export, or nothing of it; records without a time get `now_ns`.
    ///
    /// Errors: `Invalid` for bytes that do not follow the format, `Limited` if what they become takes more memory than
    /// the bound given to [`unpack_export`].
    pub fn decode(&self, now_ns: i64) -> Result<PushRequest<'_>, Error> {
        decode(self.form, &self.bytes, now_ns, self.bytes_max)
    }
}

/// Decodes an export that is no longer compressed, in memory of about `bytes_max` bytes; no streams for one without records.
pub fn decode(form: Form, bytes: &[u8], now_ns: i64, bytes_max: usize) -> Result<PushRequest<'_>, Error> {
    let mut collector = Collector::new(bytes_max);
    let resources = match form {
        Form::Json => otlp_json::decode(bytes, &mut collector.budget)?,
        Form::Protobuf => otlp_protobuf::decode(bytes, &mut collector.budget)?,
    };
    for resource in resources {
        add_resource(resource, now_ns, &mut collector)?;
    }
    Ok(collector.finish())
}

fn add_resource<'a>(
    resource: ResourceLogs<'a>,
    now_ns: i64,
    collector: &mut Collector<'a>,
) -> Result<(), Error> {
    let records: usize = resource.scopes.iter().map(|scope| scope.records.len()).sum();
    if records == 0 {
        return Ok(());
    }
    let mark = collector.budget.mark();
    let budget = &mut collector.budget;
    let (mut labels, mut common): (Vec<Pair<'a>>, Vec<Pair<'a>>) = (Vec::new(), Vec::new());
    for (key, value) in resource.attributes {
        match LABELS.iter().find(|(attribute, _)| *attribute == key) {
            // Of an attribute given twice the last counts, as in a map.
            Some((_, name)) => {
                labels.retain(|(have, _)| have != name);
                budget.push(&mut labels, (Cow::Borrowed(*name), value.into_text()))?;
            }
            None => flatten(key, value, &mut common, budget)?,
        }
    }
    let mut stream = PushStream { labels: PushLabels::Pairs(labels), ..PushStream::default() };
    stream.entries.reserve(records, budget)?;
    for scope in resource.scopes {
        let of_resource = common.len();
        let ScopeLogs { name, version, attributes, dropped_attributes, records } = scope;
        for (name, value) in [("scope_name", name), ("scope_version", version)] {
            add(name, value, &mut common, budget)?;
        }
        add_number("scope_dropped_attributes_count", dropped_attributes, &mut common, budget)?;
        for (key, value) in attributes {
            flatten(key, value, &mut common, budget)?;
        }
        for record in records {
            let pairs = stream.entries.next_pairs().0;
            for (name, value) in &common {
                // Text in the body counts too, since whoever takes the request will copy it.
                budget.take(name.len() + value.len() + 2 * ALLOCATION_BYTES)?;
                budget.push(pairs, (name.clone(), value.clone()))?;
            }
            let time = add_record(record, now_ns, pairs, budget)?;
            let (ts_ns, line) = time;
            let line = match line.into_text() {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            budget.take(line.len())?;
            stream.entries.push(GoTime::from_ns(ts_ns), line, budget)?;
        }
        common.truncate(of_resource);
    }
    collector.add(stream, mark)
}

/// Adds the metadata of a record; returns its time and body.
fn add_record<'a>(
    record: Record<'a>,
    now_ns: i64,
    pairs: &mut Vec<Pair<'a>>,
    budget: &mut Budget,
) -> Result<(i64, AnyValue<'a>), Error> {
    let Record { time_ns, observed_ns, severity_number, severity_text, body, .. } = record;
    let Record { attributes, dropped_attributes, flags, trace_id, span_id, .. } = record;
    if time_ns != 0 {
        add_number("observed_timestamp", observed_ns, pairs, budget)?;
    }
    if severity_number != 0 {
        add("severity_number", Cow::Owned(severity_number.to_string()), pairs, budget)?;
    }
    for (name, value) in [("severity_text", severity_text), ("trace_id", trace_id), ("span_id", span_id)] {
        add(name, value, pairs, budget)?;
    }
    add_number("flags", flags, pairs, budget)?;
    add_number("dropped_attributes_count", dropped_attributes, pairs, budget)?;
    for (key, value) in attributes {
        flatten(key, value, pairs, budget)?;
    }
    let given_ns = if time_ns != 0 { time_ns } else { observed_ns };
    let ts_ns = if given_ns == 0 { now_ns } else { i64::try_from(given_ns).unwrap_or(i64::MAX) };
    Ok((ts_ns, body))
}

/// Adds an attribute, or those that its map holds.
fn flatten<'a>(
    key: Cow<'a, str>,
    value: AnyValue<'a>,
    pairs: &mut Vec<Pair<'a>>,
    budget: &mut Budget,
) -> Result<(), Error> {
    let AnyValue::Map(members) = value else {
        let value = value.into_text();
        budget.take(key.len() + value.len())?;
        return budget.push(pairs, (key, value));
    };
    for (name, value) in members {
        budget.take_allocation(key.len() + name.len() + 1)?;
        flatten(Cow::Owned(format!("{key}_{name}")), value, pairs, budget)?;
    }
    Ok(())
}

/// Adds a pair unless the value is empty.
fn add<'a>(
    name: &'static str,
    value: Cow<'a, str>,
    pairs: &mut Vec<Pair<'a>>,
    budget: &mut Budget,
) -> Result<(), Error> {
    if value.is_empty() {
        return Ok(());
    }
    budget.take(value.len())?;
    budget.push(pairs, (Cow::Borrowed(name), value))
}

/// Adds a pair unless the number is 0.
fn add_number(
    name: &'static str,
    number: u64,
    pairs: &mut Vec<Pair<'_>>,
    budget: &mut Budget,
) -> Result<(), Error> {
    if number == 0 { Ok(()) } else { add(name, Cow::Owned(number.to_string()), pairs, budget) }
}

impl<'a> AnyValue<'a> {
    /// Returns text as it is, a single value as its text, lists and maps as JSON.
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::None => Cow::Borrowed(""),
            Self::Text(text) => text,
            Self::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Double(value) => Cow::Owned(double_text(value)),
            Self::List(_) | Self::Map(_) => {
                let mut json = Vec::new();
                self.push_json(&mut json);
                Cow::Owned(String::from_utf8(json).unwrap_or_default())
            }
        }
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(b"null"),
            Self::Text(text) => push_string(out, text),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            // Writing into memory cannot fail.
            Self::Int(value) => write!(out, "{value}").unwrap_or_default(),
            Self::Double(value) if value.is_finite() => out.extend_from_slice(double_text(*value).as_bytes()),
            Self::Double(value) => push_string(out, &double_text(*value)),
            Self::List(items) => {
                out.push(b'[');
                push_joined(out, items, |out, item| item.push_json(out));
                out.push(b']');
            }
            Self::Map(members) => {
                out.push(b'{');
                push_joined(out, members, |out, (name, value)| {
                    push_string(out, name);
                    out.push(b':');
                    value.push_json(out);
                });
                out.push(b'}');
            }
        }
    }
}

/// Prints a number as Go's JSON does: very large and very small ones with an exponent.
fn double_text(value: f64) -> String {
    let size = value.abs();
    if value.is_infinite() {
        return (if value > 0.0 { "+Inf" } else { "-Inf" }).to_owned();
    }
    if size == 0.0 || (1e-6..1e21).contains(&size) || value.is_nan() {
        return value.to_string();
    }
    let text = format!("{value:e}");
    // Go writes the sign of the exponent.
    if text.contains("e-") { text } else { text.replace('e', "e+") }
}

#[cfg(test)]
mod tests;
