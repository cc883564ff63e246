//! The settings of the HTTP server, section `server` of the config.

use crate::access::{self, TokenSettings};
use crate::tls::TlsSettings;
use logyard_ingest::SpanText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How HTTP requests are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Whether requests must name their tenant in X-Scope-OrgID. Default false: the header is ignored
    /// and everything belongs to one tenant, `fake`, as in Loki.
    pub auth_enabled: bool,
    /// Whether a read may name several tenants, `X-Scope-OrgID: a|b`, and gets the entries of all, with one label more,
    /// `__tenant_id__`. Default true: it shows nothing that one request for each would not. Loki has it off by default.
    pub multi_tenant_queries_enabled: bool,
    /// Who may do what. Default none: whoever reaches the port may do everything.
    pub tokens: Vec<TokenSettings>,
    /// HTTPS, and certificates of clients. Default none: plain HTTP.
    pub tls: TlsSettings,
    /// Path in front of all endpoints, as in `/logs`; empty for none. Default empty.
    pub path_prefix: String,
    /// Most connections at once, further ones wait to be accepted; and most live tails. Default 512.
    pub connections_max: usize,
    /// Most bytes of push bodies in memory at once; further pushes wait a little, then get 429.
    /// Default 268435456 (256 MiB), room for two of the largest allowed.
    pub push_inflight_bytes_max: usize,
    /// Most queries that run at once; further ones wait. Default 16: they alternate on the threads, so
    /// that light ones pass heavy ones, and what each holds in memory is bounded by section engine.
    pub queries_running_max: usize,
    /// Most queries that wait for their turn; further ones get 429. Default 512, enough for the widest
    /// dashboards.
    pub queries_waiting_max: usize,
    /// Longest range of a query; 0 for any. Default 721h (30d1h), as in Loki.
    pub query_length_max: SpanText,
    /// Most groups of streams in an answer about volumes. Default 1000, as in Loki.
    pub volume_series_max: usize,
    /// Most live tails of a tenant at once; further ones are closed with the reason. Default 10, as in Loki.
    pub tails_max: usize,
    /// Most bytes of entries that one live tail holds in memory: the past until it is sent, and what waits for `delay_for`.
    /// What finds no room is left out and told. Default 8388608 (8 MiB).
    pub tail_held_bytes_max: usize,
    /// Most bytes that all live tails hold so; beyond, each has its share of as much again. Default 67108864 (64 MiB).
    pub tails_held_bytes_max: usize,
    /// Longest time that a live tail lasts; clients begin a new one. Default 1h, as in Loki.
    pub tail_duration_max: SpanText,
    /// Longest time for requests under way when the server stops. Default 10s.
    pub shutdown_timeout: SpanText,
}

impl ServerSettings {
    /// Checks what the types do not say. Errors: the text of a fault, which begins with its key.
    pub fn check(&self) -> Result<(), String> {
        self.tls.check()?;
        check_prefix(&self.path_prefix)?;
        access::check_settings(&self.tokens, self.auth_enabled)
    }
}

/// Checks that a path stands for itself in a route and in an address. Errors: the text of the fault.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    let path = prefix.trim_end_matches('/');
    let is_good =
        path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
    match is_good {
        true => Ok(()),
        false => Err(format!(
            "server.path_prefix: want a path such as /logs, of letters, digits and any of -._~, got {prefix:?}"
        )),
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        let secs = |secs| SpanText(Duration::from_secs(secs));
        Self {
            auth_enabled: false,
            multi_tenant_queries_enabled: true,
            tokens: Vec::new(),
            tls: TlsSettings::default(),
            path_prefix: String::new(),
            connections_max: 512,
            push_inflight_bytes_max: 256 << 20,
            queries_running_max: 16,
            queries_waiting_max: 512,
            query_length_max: secs(721 * 3600),
            volume_series_max: 1000,
            tails_max: 10,
            tail_held_bytes_max: 8 << 20,
            tails_held_bytes_max: 64 << 20,
            tail_duration_max: secs(3600),
            shutdown_timeout: secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_paths() {
        let check = |prefix: &str| {
            ServerSettings { path_prefix: prefix.to_owned(), ..ServerSettings::default() }.check()
        };
        for good in ["", "/", "/logs", "/logs/", "/a/b-1.2_3~"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["logs", "/{a}", "/a b", "//a", "/a//b", "/*", "/a?b", "/a/../b", "https://a/logs", "/ä"]
        {
            let want = format!(
                "server.path_prefix: want a path such as /logs, of letters, digits and any of -._~, got {bad:?}"
            );
            assert_eq!(check(bad), Err(want));
        }
    }
}
