//! Any bytes as Loki's protobuf push, packed and unpacked: refused, or decoded without a panic and within
//! the cap; label texts are read too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_wire::body::unpack_snappy;
use logyard_wire::label_text;
use logyard_wire::loki_push::{PushLabels, PushRequest, decode_protobuf};

const UNPACKED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = decode_protobuf(bytes) {
        read_labels(&request);
    }
    if let Ok(unpacked) = unpack_snappy(bytes, UNPACKED_BYTES_MAX) {
        assert!(unpacked.len() <= UNPACKED_BYTES_MAX);
        if let Ok(request) = decode_protobuf(&unpacked) {
            read_labels(&request);
        }
    }
});

fn read_labels(request: &PushRequest<'_>) {
    for stream in &request.streams {
        if let PushLabels::Text(text) = &stream.labels {
            drop(label_text::parse(text));
        }
    }
}
