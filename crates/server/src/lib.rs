//! The HTTP faces of Logyard: push, query, labels, live tail, rules, health and metrics, as Loki's clients expect them.
//!
//! Owns: routes, parameter forms, statuses and texts of errors, the bounds on what runs at once, and
//! [`Select`](logyard_engine::Select) for the local store, by which rules ask it too. Deliberately absent: what a push,
//! a query or a rule means (see `ingest`, `engine`, `rules`), byte formats (see `wire`).
//!
//! Invariants: a request is answered in bounded memory; queries run on blocking threads, never on the
//! runtime; a client that goes away stops its query; an error is a status with the bare text.
//!
//! Change an endpoint, also touch: its row in [`openapi`], `schemas/http.md` and the conformance family.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod access;
mod agent_face;
mod agent_html;
mod answer;
mod connection;
mod delete;
mod detected;
mod documents;
mod drilldown;
mod error;
mod gzip;
mod labels;
mod metrics;
pub mod openapi;
mod param_forms;
mod params;
mod patterns;
mod push;
mod query;
mod reload;
mod router;
mod routes;
mod rules;
mod rules_evaluate;
mod rules_standing;
mod rules_state;
mod secret;
mod select_local;
mod server;
mod settings;
mod snapshot;
mod state;
mod status;
mod storage;
mod tail;
mod tail_feed;
mod tail_shared;
mod tails;
mod tenant;
mod tls;
mod volume;

pub use access::{Need, Scope, TokenSettings};
pub use agent_face::{AgentFace, AgentFaceParts, AgentPage, AgentTarget};
pub use delete::parse_delete;
pub use labels::parse_selector;
pub use reload::{ReloadAnswer, ReloadReport, Reloads};
pub use routes::Route;
pub use rules_evaluate::RuleQueries;
pub use secret::{SECRET_BYTES_MAX, Secret};
pub use server::{OwnDoor, Server, ServerParts};
pub use settings::ServerSettings;
pub use tls::{Tls, TlsPems, TlsSettings};
