//! Writes OpenTelemetry's log export, and reads the answer to one: the schema is that of `otlp_protobuf`.
//!
//! A stream is a resource: its labels are the resource's attributes, under OpenTelemetry's names where it has one for
//! the same thing, else under their own. `service.name`, which every receiver asks for, is found as stores find
//! `service_name`, unless the stream names it. An entry is a record: the line its body, its metadata the attributes.
//! Lines become UTF-8: what is none is U+FFFD.

use logyard_codec::Entries;
use logyard_model::LabelSet;

use crate::Error;
use crate::protobuf::{Fields, Value};
use crate::protobuf_write as put;

/// Path of the endpoint behind the address of a receiver.
pub const PATH: &str = "/v1/logs";
/// Media type of the body and of the answer.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

const SERVICE_NAME: &str = "service.name";

/// Labels, and the attributes that tell the same (semantic conventions 1.30).
const ATTRIBUTES: [(&str, &str); 9] = [
    ("compose_project", "service.namespace"),
    ("container", "container.name"),
    ("container_id", "container.id"),
    ("filename", "log.file.path"),
    ("host", "host.name"),
    ("image", "container.image.name"),
    ("service_name", SERVICE_NAME),
    ("service_namespace", "service.namespace"),
    ("stream", "log.iostream"),
];

/// Labels of which the first that is there names the service, in the order of Loki's `discover_service_name`.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Encodes streams as an `ExportLogsServiceRequest`, not compressed.
///
/// Entries count as observed at their own time: one that is sent again is the same, and a receiver can tell.
/// Entries keep their order. Cost: a few buffers of about the raw size. Source: OTLP 1.5, `logs_service.proto`.
pub fn encode_export(chunks: &[(&LabelSet, &Entries)]) -> Vec<u8> {
    let mut request = Vec::new();
    let (mut resource, mut scope, mut record) = (Vec::new(), Vec::new(), Vec::new());
    let mut scratch = Scratch::default();
    for (labels, entries) in chunks {
        resource.clear();
        scope.clear();
        let mut attributes = Vec::new();
        write_resource(&mut attributes, labels, &mut scratch);
        put::bytes(&mut resource, 1, &attributes);
        for row in 0..entries.len() {
            record.clear();
            write_record(&mut record, entries, row, &mut scratch);
            put::bytes(&mut scope, 2, &record);
        }
        put::bytes(&mut resource, 2, &scope);
        put::bytes(&mut request, 1, &resource);
    }
    request
}

/// Buffers of inner messages.
#[derive(Debug, Default)]
struct Scratch {
    pair: Vec<u8>,
    value: Vec<u8>,
}

fn write_resource(out: &mut Vec<u8>, labels: &LabelSet, scratch: &mut Scratch) {
    let mut is_named = false;
    for (name, value) in labels.iter() {
        let known = ATTRIBUTES.iter().find(|(label, _)| *label == name);
        // Two labels may stand for one attribute; the one that bears its name wins.
        let is_taken = name == "compose_project" && labels.get("service_namespace").is_some();
        let attribute = known.filter(|_| !is_taken).map_or(name, |(_, attribute)| *attribute);
        is_named |= attribute == SERVICE_NAME;
        write_attribute(out, 1, attribute, value, scratch);
    }
    if !is_named {
        let found = SERVICE_LABELS.iter().find_map(|label| labels.get(label));
        write_attribute(out, 1, SERVICE_NAME, found.unwrap_or("unknown_service"), scratch);
    }
}

fn write_record(out: &mut Vec<u8>, entries: &Entries, row: usize, scratch: &mut Scratch) {
    let ts_ns = entries.ts_ns().get(row).copied().unwrap_or_default();
    put::fixed64(out, 1, u64::try_from(ts_ns).unwrap_or_default());
    let level = entries.level(row);
    if !level.is_empty() {
        if let Some(number) = severity(level) {
            put::number(out, 2, number);
        }
        put::bytes(out, 3, level.as_bytes());
    }
    scratch.value.clear();
    put::bytes(&mut scratch.value, 1, String::from_utf8_lossy(entries.line(row)).as_bytes());
    put::bytes(out, 5, &scratch.value);
    for (name, value) in entries.metadata(row).iter() {
        write_attribute(out, 6, name, value, scratch);
    }
    put::fixed64(out, 11, u64::try_from(ts_ns).unwrap_or_default());
}

fn write_attribute(out: &mut Vec<u8>, field: u8, name: &str, value: &str, scratch: &mut Scratch) {
    scratch.value.clear();
    put::bytes(&mut scratch.value, 1, value.as_bytes());
    scratch.pair.clear();
    put::bytes(&mut scratch.pair, 1, name.as_bytes());
    put::bytes(&mut scratch.pair, 2, &scratch.value);
    put::bytes(out, field, &scratch.pair);
}

/// Returns the number of a level: the lowest of its four.
fn severity(level: &str) -> Option<u64> {
    match level {
        "trace" => Some(1),
        "debug" => Some(5),
        "info" => Some(9),
        "warn" => Some(13),
        "error" => Some(17),
        "critical" | "fatal" => Some(21),
        _ => None,
    }
}

/// What a receiver did not take of an export that it answered with 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Records refused for good; 0: all were taken.
    pub rejected: u64,
    /// Why, or a remark; may be empty.
    pub message: String,
}

/// Reads an `ExportLogsServiceResponse`. Unknown fields are skipped; no bytes mean that all was taken.
///
/// An answer in JSON is read too, though protobuf is to be answered in kind. Errors: bytes that are neither.
pub fn decode_answer(bytes: &[u8]) -> Result<PartialSuccess, Error> {
    if bytes.first() == Some(&b'{') {
        return decode_json(bytes);
    }
    let mut answer = PartialSuccess::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        let (1, Value::Bytes(partial)) = field else { continue };
        let mut inner = Fields::new(partial);
        while let Some(field) = inner.next()? {
            match field {
                // A count below zero is nonsense, and none.
                (1, Value::Number(count)) => {
                    answer.rejected = u64::try_from(count.cast_signed()).unwrap_or_default()
                }
                (2, Value::Bytes(text)) => answer.message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    Ok(answer)
}

fn decode_json(bytes: &[u8]) -> Result<PartialSuccess, Error> {
    let answer: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("cannot read answer to an export: {error}")))?;
    let partial = answer.get("partialSuccess");
    // JSON of protobuf writes 64 bits as a text; plain numbers occur.
    let count = partial.and_then(|partial| partial.get("rejectedLogRecords"));
    let rejected = count.and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()));
    let message = partial.and_then(|partial| partial.get("errorMessage")?.as_str());
    Ok(PartialSuccess {
        rejected: rejected.unwrap_or_default(),
        message: message.unwrap_or_default().to_owned(),
    })
}

/// Returns the message of a `google.rpc.Status`, the body of a refusal; `None` if it is none.
pub fn decode_status(bytes: &[u8]) -> Option<String> {
    let mut fields = Fields::new(bytes);
    let mut message = None;
    while let Some(field) = fields.next().ok()? {
        if let (2, Value::Bytes(text)) = field {
            message = std::str::from_utf8(text).ok().map(str::to_owned);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_push::PushLabels;
    use crate::otlp::{Form, decode, status};

    #[test]
    fn our_own_reader_finds_streams_and_entries_again() {
        let mut entries = Entries::new();
        entries.push(1_700_000_000_000_000_007, b"one", "error", &LabelSet::from_pairs([("trace", "7")]));
        entries.push(1_700_000_000_000_000_008, b"caf\xe9", "", &LabelSet::default());
        let labels = LabelSet::from_pairs([("container", "web"), ("host", "nas"), ("team", "a")]);
        let export = encode_export(&[(&labels, &entries)]);
        let request = decode(Form::Protobuf, &export, 0, 1 << 20).unwrap();
        let [stream] = &request.streams[..] else { panic!("one stream") };
        let PushLabels::Pairs(pairs) = &stream.labels else { panic!("labels are pairs") };
        let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("container_name", "web"), ("service_name", "web")]);
        let found: Vec<_> = stream.entries.iter().collect();
        assert_eq!(found[0].time.to_ns(), Some(1_700_000_000_000_000_007));
        assert_eq!((found[0].line, found[1].line), (&b"one"[..], "caf\u{fffd}".as_bytes()));
        let metadata: Vec<String> =
            found[0].metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        // Observed at its own time, so that one which is sent again is the same.
        let observed = "observed_timestamp=1700000000000000007";
        for want in
            ["trace=7", "host.name=nas", "team=a", "severity_number=17", "severity_text=error", observed]
        {
            assert!(
                metadata.iter().any(|pair| pair.replace('.', "_") == want.replace('.', "_")),
                "{want}: {metadata:?}"
            );
        }
    }

    #[test]
    fn a_service_always_has_a_name() {
        let name_of = |pairs: &[(&'static str, &'static str)]| {
            let (mut out, mut scratch) = (Vec::new(), Scratch::default());
            write_resource(&mut out, &LabelSet::from_pairs(pairs.iter().copied()), &mut scratch);
            let text = String::from_utf8_lossy(&out).into_owned();
            let at = text.find(SERVICE_NAME).unwrap() + SERVICE_NAME.len() + 4;
            text.get(at..)
                .unwrap()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        assert_eq!(name_of(&[("service_name", "a"), ("app", "b")]), "a");
        assert_eq!(name_of(&[("container", "c"), ("app", "b")]), "b");
        assert_eq!(name_of(&[("x", "y")]), "unknown_service");
    }

    #[test]
    fn answers_and_refusals_are_read() {
        assert_eq!(decode_answer(b""), Ok(PartialSuccess::default()));
        let mut partial = Vec::new();
        put::number(&mut partial, 1, 3);
        put::bytes(&mut partial, 2, b"too old");
        let mut answer = Vec::new();
        put::bytes(&mut answer, 1, &partial);
        assert_eq!(decode_answer(&answer), Ok(PartialSuccess { rejected: 3, message: "too old".to_owned() }));
        let mut negative = Vec::new();
        put::number(&mut negative, 1, u64::MAX);
        let mut answer = Vec::new();
        put::bytes(&mut answer, 1, &negative);
        assert_eq!(decode_answer(&answer), Ok(PartialSuccess::default()));
        assert!(decode_answer(b"<html>").is_err() && decode_answer(b"{").is_err());
        assert_eq!(decode_answer(b"{}"), Ok(PartialSuccess::default()));
        let json = br#"{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "x"}}"#;
        assert_eq!(decode_answer(json), Ok(PartialSuccess { rejected: 2, message: "x".to_owned() }));
        assert_eq!(decode_status(&status("no tenant")), Some("no tenant".to_owned()));
        assert_eq!(decode_status(b"<html>"), None);
    }
}
