//! Health, metrics, and who answers here.

use crate::error::{HttpError, TEXT};
use crate::state::State;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_store::Readiness;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The Loki version whose behaviour is answered; clients choose features by it.
pub(crate) const LOKI_VERSION: &str = "3.7.6";

/// Media type of Prometheus text.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /ready`: 200 as soon as pushes and queries are answered, else 503 with the reason.
pub(crate) async fn ready(Shared(state): Shared<Arc<State>>) -> Result<Response, HttpError> {
    match state.store.readiness() {
        Readiness::Ready => Ok(text("ready\n".to_owned())),
        Readiness::Recovering { done_bytes, total_bytes } => {
            let text =
                format!("recovering: {done_bytes} of {total_bytes} bytes of the write-ahead log read\n");
            Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
        Readiness::DiskFull { reason } => {
            Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, format!("disk full: {reason}\n")))
        }
        Readiness::ReadOnly { reason } => {
            Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, format!("read-only: {reason}\n")))
        }
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> Result<Response, HttpError> {
    metrics_of(&state.registry)
}

/// Answers with everything that a registry holds.
pub(crate) fn metrics_of(registry: &Registry) -> Result<Response, HttpError> {
    let mut body = String::new();
    prometheus_client::encoding::text::encode(&mut body, registry).map_err(|error| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode metrics: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, METRICS_TEXT)], prometheus_text(&body)).into_response())
}

/// Turns OpenMetrics' text, which the registry writes, into Prometheus' older one, which every Prometheus reads.
///
/// They differ in the comments: the older ones name a counter as its samples do, with `_total`, know no units, and no
/// end. Read as they are, counters would have neither type nor help.
fn prometheus_text(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + open.len() / 8);
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), rest) => help = Some((name, rest.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let end = if kind == "counter" { "_total" } else { "" };
                if let Some((_, help)) = help.take_if(|(of, _)| *of == name) {
                    text.extend(["# HELP ", name, end, " ", help, "\n"]);
                }
                let kind = if kind == "unknown" { "untyped" } else { kind };
                text.extend(["# TYPE ", name, end, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// `GET /loki/api/v1/status/buildinfo`
pub(crate) async fn buildinfo() -> Response {
    let body = format!(
        "{{\"version\":\"{LOKI_VERSION}\",\"revision\":\"\",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}\n"
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /services`: the parts of the process, which all run as long as it answers.
pub(crate) async fn services() -> Response {
    text(["server", "store", "ingest", "engine"].map(|name| format!("{name} => Running\n")).concat())
}

pub(crate) fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_are() {
        let open = "# HELP a_b Things done.\n# TYPE a_b counter\na_b_total{c=\"# d\"} 1\n# HELP e_seconds Wait.\n\
                    # TYPE e_seconds histogram\n# UNIT e_seconds seconds\ne_seconds_sum 0.5\n# TYPE f gauge\nf 2\n# EOF\n";
        let want = "# HELP a_b_total Things done.\n# TYPE a_b_total counter\na_b_total{c=\"# d\"} 1\n\
                    # HELP e_seconds Wait.\n# TYPE e_seconds histogram\ne_seconds_sum 0.5\n# TYPE f gauge\nf 2\n";
        assert_eq!(prometheus_text(open), want);
    }
}
