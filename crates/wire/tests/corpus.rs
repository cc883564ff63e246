//! Replays the corpora of the fuzz targets, so that what was once found stays found.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use logyard_wire::body::unpack_snappy;
use logyard_wire::loki_push::{PushRequest, decode_json, decode_protobuf};
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
