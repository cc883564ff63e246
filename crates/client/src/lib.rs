//! HTTP client of a store: push, query, live tail, retry with backoff; and of those who are told of alerts.
//!
//! Owns: outgoing HTTP to a Logyard or Loki store or a receiver of OpenTelemetry's logs, the kinds of its failures and the pauses between
//! attempts. Deliberately absent: what is sent (callers encode with `wire` and `codec`), when to give
//! up (callers loop with [`Backoff`]), sockets of the server side. Both sides' TLS is set up here.
//!
//! Every answer is read up to a bound, so a mistaken address cannot fill the memory.
//!
//! Change a path or header here, also touch `wire` and `server`, which answer it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod deletes;
mod error;
mod file;
mod health;
mod http;
mod notify;
mod options;
mod push;
mod push_foreign;
mod query;
mod query_more;
mod retry;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_tls;
mod tls;
mod tls_accept;
mod tls_held;

pub use deletes::DeleteRange;
pub use error::{Error, Kind};
pub use http::{Client, ClientSettings, Token, without_secrets};
pub use options::{ClientOptions, Login, Proxy, Retries};
pub use query::{InstantQuery, RangeExtras, RangeQuery};
pub use query_more::{FieldsQuery, VolumeQuery};
pub use retry::{Backoff, BackoffSettings};
pub use tail::{TailQuery, Tailing};
pub use tls::{Tls, TlsFiles};
pub use tls_accept::{AcceptFiles, accept_config};
