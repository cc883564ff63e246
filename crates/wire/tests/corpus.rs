//! Replays the corpora of the fuzz targets, so that what was once found stays found.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use logyard_wire::body::unpack_snappy;
use logyard_wire::documents::{self, FieldNames};
use logyard_wire::loki_push::{PushRequest, decode_json, decode_protobuf};
use logyard_wire::otlp;
use std::path::Path;

/// Names of the samples that decode, in order, with their numbers of streams and entries.
fn replay(target: &str, decode: impl Fn(&[u8]) -> Option<(usize, usize)>) -> Vec<(String, usize, usize)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut decoded: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|item| {
            let path = item.unwrap().path();
            let (streams, entries) = decode(&std::fs::read(&path).unwrap())?;
            Some((path.file_name()?.to_str()?.to_owned(), streams, entries))
        })
        .collect();
    decoded.sort();
    decoded
}

fn counts(request: &PushRequest<'_>) -> (usize, usize) {
    (request.streams.len(), request.streams.iter().map(|stream| stream.entries.len()).sum())
}

fn check(decoded: &[(String, usize, usize)], name: &str, streams: usize, entries: usize) {
    assert!(decoded.contains(&(name.to_owned(), streams, entries)), "{name} in {decoded:?}");
}

#[test]
fn the_json_corpus_decodes_or_is_refused() {
    let decoded = replay("loki_push_json", |bytes| decode_json(bytes).ok().map(|request| counts(&request)));
    check(&decoded, "current", 1, 3);
    check(&decoded, "invalid_utf8", 1, 1);
    check(&decoded, "older", 1, 1);
}

#[test]
fn the_protobuf_corpus_decodes_or_is_refused() {
    let decoded = replay("loki_push_protobuf", |bytes| {
        let unpacked = unpack_snappy(bytes, 1 << 20).unwrap_or_else(|_| bytes.to_vec());
        decode_protobuf(&unpacked).ok().map(|request| counts(&request))
    });
    check(&decoded, "bare", 1, 1);
    check(&decoded, "invalid_utf8", 1, 1);
    check(&decoded, "one_entry", 1, 1);
}

#[test]
fn the_corpus_of_documents_decodes_or_is_refused() {
    let read = |form, bytes: &[u8]| {
        let read = documents::decode(form, bytes, &FieldNames::default(), 1, 1 << 20).ok()?;
        Some((read.request.streams.len(), read.items.len()))
    };
    check(&replay("documents", |bytes| read(documents::Form::Bulk, bytes)), "filebeat", 1, 1);
    check(&replay("documents", |bytes| read(documents::Form::Lines, bytes)), "lines", 2, 3);
}

#[test]
fn the_corpus_of_exports_decodes_or_is_refused() {
    let read = |form, bytes: &[u8]| Some(counts(&otlp::decode(form, bytes, 1, 1 << 20).ok()?));
    check(&replay("otlp", |bytes| read(otlp::Form::Json, bytes)), "json", 1, 1);
    check(&replay("otlp", |bytes| read(otlp::Form::Protobuf, bytes)), "protobuf", 1, 1);
}
