//! Any bytes as OpenTelemetry's export, protobuf and JSON: refused, or decoded; then no stream is empty.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logyard_wire::otlp::{Form, decode};

fuzz_target!(|bytes: &[u8]| {
    for form in [Form::Protobuf, Form::Json] {
        let Ok(request) = decode(form, bytes, 1_795_230_000_000_000_000, 1 << 20) else { continue };
        assert!(request.streams.iter().all(|stream| !stream.entries.is_empty()));
    }
});
