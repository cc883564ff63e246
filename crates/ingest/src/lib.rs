//! The front of the write path: decode, validate, limit, append.
//!
//! One validator for every way in: Loki's push, OpenTelemetry's, JSON documents, the native push of Logyard's own agent. An entry
//! is either accepted, and then durable when the call returns, or rejected with a reason that is
//! counted; a request that cannot be decoded changes nothing.
//!
//! Owns: what a stream and an entry may hold ([`IngestSettings`]), `service_name`, `detected_level`,
//! the names of structured metadata, the texts of refusals. Deliberately absent: HTTP, byte formats
//! (see `wire`), durability (see `store`).
//!
//! Change a limit or a text here, also touch: `schemas/http.md`, the conformance family `push`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod announced;
mod error;
mod ingest;
mod level;
mod level_line;
mod metadata_names;
mod metrics;
mod prepare;
mod prepare_documents;
mod prepare_native;
mod rate;
mod reason;
mod service_name;
mod settings;
mod span_text;
mod stream_labels;
mod validate;
mod verdict;

pub use error::{Error, Kind};
pub use ingest::{DocumentPush, Ingest, LokiPush, NativePush};
pub use level::LEVEL_FIELDS;
pub use prepare_documents::{DocumentVerdict, Item};
pub use reason::Reason;
pub use service_name::SERVICE_LABELS;
pub use settings::IngestSettings;
pub use span_text::SpanText;
pub use verdict::Verdict;
