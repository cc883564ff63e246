//! Health, metrics, and who answers here.

use crate::error::{HttpError, TEXT};
use crate::state::State;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_store::Readiness;
use std::sync::Arc;

/// The Loki version whose behaviour is answered; clients choose features by it.
pub(crate) const LOKI_VERSION: &str = "3.7.6";

/// Media type of Prometheus text; our text is OpenMetrics', which differs only in comments.
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
    let mut body = String::new();
    prometheus_client::encoding::text::encode(&mut body, &state.registry).map_err(|error| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode metrics: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, METRICS_TEXT)], body).into_response())
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

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body).into_response()
}
