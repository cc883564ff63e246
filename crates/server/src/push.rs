//! The push endpoints: Loki's and our own.

use crate::error::HttpError;
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use logyard_ingest::{LokiPush, NativePush};
use logyard_model::Tenant;
use logyard_wire::native_push::{self, BatchId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Longest time for a body to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(120);

/// Most memory that is taken for a body because its header promises that size.
const CAPACITY_BYTES_MAX: usize = 1 << 20;

/// `POST /loki/api/v1/push` and `/api/prom/push`: 204, or a text that says what was rejected.
pub(crate) async fn loki(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let (headers, body, room) = read_body(&state, request).await?;
    let push = loki_push(tenant, &headers, body, room);
    let verdict =
        state.ingest.push_loki(push).await.map_err(|error| HttpError::from(error).with_newline())?;
    match verdict.message() {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(text) => Err(HttpError::bad_request(text).with_newline()),
    }
}

/// `POST /otlp/v1/logs`: 204, or a protobuf `Status` that says what was rejected. A missing tenant is text, as a missing
/// token is.
pub(crate) async fn otlp(Shared(state): Shared<Arc<State>>, request: Request<Body>) -> Response {
    let pushed = async {
        let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
        let (headers, body, room) = read_body(&state, request).await?;
        let push = loki_push(tenant, &headers, body, room);
        let verdict = state.ingest.push_otlp(push).await.map_err(HttpError::from)?;
        match verdict.message() {
            None => Ok(StatusCode::NO_CONTENT.into_response()),
            Some(text) => Err(HttpError::bad_request(text)),
        }
    };
    pushed.await.unwrap_or_else(|error: HttpError| match error.status {
        StatusCode::UNAUTHORIZED => error.into_response(),
        _ => error.into_otlp(),
    })
}

/// `POST /logyard/v1/push`: 200 with counts, see `schemas/native-push.md`.
pub(crate) async fn native(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let media_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type != native_push::CONTENT_TYPE {
        return Err(HttpError::bad_request(format!(
            "cannot read batch: Content-Type {media_type:?}, want {}\n",
            native_push::CONTENT_TYPE
        )));
    }
    let id: Option<BatchId> = match request.headers().get(native_push::BATCH_HEADER) {
        None => None,
        Some(value) => {
            let text = String::from_utf8_lossy(value.as_bytes());
            Some(text.parse().map_err(|error| HttpError::bad_request(format!("{error}\n")))?)
        }
    };
    let (_, body, room) = read_body(&state, request).await?;
    let verdict = state
        .ingest
        .push_native(NativePush { tenant, id, body, room: Some(room) })
        .await
        .map_err(|error| HttpError::from(error).with_newline())?;
    Ok((
        [(header::CONTENT_TYPE, logyard_wire::loki_answer::JSON_CONTENT_TYPE)],
        verdict.to_answer().to_json(),
    )
        .into_response())
}

/// `GET /loki/api/v1/push`: 404, as in Loki.
pub(crate) async fn wrong_method() -> HttpError {
    HttpError::not_found()
}

/// `POST /flush`: 204 once everything in memory is in segments.
pub(crate) async fn flush(Shared(state): Shared<Arc<State>>) -> Result<Response, HttpError> {
    state.store.flush().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Makes a push of a request that was read.
pub(crate) fn loki_push(
    tenant: Tenant,
    headers: &HeaderMap,
    body: Bytes,
    room: OwnedSemaphorePermit,
) -> LokiPush {
    let text = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    LokiPush {
        tenant,
        body,
        content_type: text(header::CONTENT_TYPE).filter(|value| !value.is_empty()),
        content_encoding: text(header::CONTENT_ENCODING).unwrap_or_default(),
        room: Some(room),
    }
}

/// Reads a push body whole. The permit stands for its bytes until it is dropped: whoever keeps the body
/// keeps it.
pub(crate) async fn read_body(
    state: &State,
    request: Request<Body>,
) -> Result<(HeaderMap, Bytes, OwnedSemaphorePermit), HttpError> {
    let bytes_max = state.ingest.settings().push_body_bytes_max;
    let (parts, body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large(bytes_max));
    }
    // A body of unknown length may become as large as any.
    let room = state.push_room(announced.unwrap_or(bytes_max)).await?;
    let read = read_bounded(body, announced.unwrap_or(0).min(CAPACITY_BYTES_MAX), bytes_max);
    match tokio::time::timeout(BODY_WAIT_MAX, read).await {
        Ok(bytes) => Ok((parts.headers, bytes?, room)),
        Err(_) => Err(HttpError::body_is_late().with_newline()),
    }
}

async fn read_bounded(mut body: Body, capacity: usize, bytes_max: usize) -> Result<Bytes, HttpError> {
    let mut bytes = BytesMut::with_capacity(capacity);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::of_body(&error).with_newline())?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn too_large(bytes_max: usize) -> HttpError {
    let text = format!(
        "request body too large: limit is {bytes_max} bytes; send smaller batches or raise limits.push_body_bytes_max\n"
    );
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}
