//! Bytes on the network: Loki's push and query formats, OpenTelemetry's export, JSON documents, the native push,
//! Prometheus' remote write, the journal's export, and the small text forms (label sets, times) they share. Encode and
//! decode only.
//!
//! Owns: the decoders of push bodies and the encoders of those that go to other stores, the encoder of query answers,
//! the structs a client decodes answers into. Deliberately absent: sockets, HTTP types, limits of a tenant (see `ingest`), the
//! compressed form of chunks (see `codec`).
//!
//! Every decoder is total: any bytes give a value or an [`Error`], in memory bounded by the caps
//! that the caller passes: what a body becomes is counted, not only its bytes. Decoders borrow from
//! the body they are given.
//!
//! Change a byte of a format here, also touch its page in `schemas` and its fuzz target.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice, clippy::print_stdout))]

pub mod body;
mod budget;
pub mod bulk;
pub mod documents;
mod error;
pub mod explain;
pub mod go_time;
pub mod journal_export;
pub mod json_text;
pub mod label_text;
pub mod loki_answer;
pub mod loki_push;
pub mod loki_push_encode;
mod loki_push_entries;
mod loki_push_json;
mod loki_push_protobuf;
pub mod loki_push_text;
pub mod loki_query;
pub mod loki_stats;
pub mod loki_tail;
pub mod native_push;
pub mod otlp;
pub mod otlp_encode;
mod otlp_json;
mod otlp_protobuf;
mod protobuf;
mod protobuf_write;
pub mod remote_write;

pub use error::{Error, Kind};
