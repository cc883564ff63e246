//! JSON documents: Elasticsearch's `_bulk` with the calls its clients make before it, and JSON lines.
//!
//! Filebeat, Logstash, Fluent Bit and Vector ask who answers, for a licence, and for templates and policies of
//! indexes, which Logyard has none of: it says yes to all of it, and keeps nothing.

use crate::error::HttpError;
use crate::params::Params;
use crate::push::{loki_push, read_body};
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_ingest::{DocumentPush, DocumentVerdict};
use logyard_wire::bulk;
use logyard_wire::documents::{FieldNames, Form};
use std::sync::Arc;

/// `POST|PUT /_bulk`, `/{index}/_bulk`: 200 and what became of each document.
pub(crate) async fn bulk(Shared(state): Shared<Arc<State>>, request: Request<Body>) -> Response {
    let begun_ns = state.ingest.monotonic_ns();
    let done = push(&state, Form::Bulk, request).await;
    let DocumentVerdict { verdict, items } = match done {
        Ok(done) => done,
        Err(error) => return failure(error),
    };
    let took_ms = state.ingest.monotonic_ns().saturating_sub(begun_ns) / 1_000_000;
    // The whole text stands with the first one: senders log that.
    let text = verdict.message().unwrap_or_default();
    let mut is_first = true;
    let faults: Vec<_> = items
        .iter()
        .map(|item| {
            let fault = item.rejected.map(|reason| if is_first { text.as_str() } else { reason.as_str() });
            is_first &= fault.is_none();
            (item.action, fault)
        })
        .collect();
    answer(StatusCode::OK, bulk::answer(took_ms, faults.into_iter()))
}

/// `POST /logyard/v1/push/jsonl`: 204, or a text that says what was rejected.
pub(crate) async fn lines(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let done = push(&state, Form::Lines, request).await.map_err(HttpError::with_newline)?;
    match done.verdict.message() {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(text) => Err(HttpError::bad_request(text).with_newline()),
    }
}

/// `GET /`: who answers. Vector's health check for Loki wants no more than the 200.
pub(crate) async fn root() -> Response {
    let body = format!(
        "{{\"name\":\"logyard\",\"cluster_name\":\"logyard\",\"cluster_uuid\":\"logyard\",\"version\":{{\"number\":\"{}\",\
         \"build_flavor\":\"default\",\"build_type\":\"docker\",\"lucene_version\":\"9.12.0\",\
         \"minimum_wire_compatibility_version\":\"7.17.0\",\"minimum_index_compatibility_version\":\"7.0.0\"}},\
         \"tagline\":\"Logyard {}\"}}\n",
        bulk::VERSION,
        env!("CARGO_PKG_VERSION")
    );
    answer(StatusCode::OK, body.into_bytes())
}

/// `GET /_license`, and `/_xpack`, where older clients look for it.
pub(crate) async fn license() -> Response {
    let body: &[u8] = br#"{"license":{"uid":"logyard","type":"basic","mode":"basic","status":"active"},"features":{"ilm":{"available":true,"enabled":true}}}"#;
    answer(StatusCode::OK, body.to_vec())
}

/// `GET /_cluster/health`: green, since a request that is answered is answered by all there is.
pub(crate) async fn health() -> Response {
    let body: &[u8] = br#"{"cluster_name":"logyard","status":"green","timed_out":false,"number_of_nodes":1,"number_of_data_nodes":1}"#;
    answer(StatusCode::OK, body.to_vec())
}

/// Templates, policies, aliases, pipelines and the like: there already, or accepted; nothing is kept.
pub(crate) async fn setup(method: Method) -> Response {
    let body: &[u8] =
        if matches!(method, Method::GET | Method::HEAD) { b"{}" } else { br#"{"acknowledged":true}"# };
    answer(StatusCode::OK, body.to_vec())
}

async fn push(state: &State, form: Form, request: Request<Body>) -> Result<DocumentVerdict, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let params = Params::of_url(request.uri())?;
    let names = FieldNames {
        labels: params.get("label_fields").map(|list| list.split(',').map(str::to_owned).collect()),
        line: params.get("line_field").map(str::to_owned),
        time: params.get("time_field").map(str::to_owned),
    };
    let (headers, body, room) = read_body(state, request).await?;
    let push = loki_push(tenant, &headers, body, room);
    Ok(state.ingest.push_documents(DocumentPush { push, form, names }).await?)
}

/// Makes the answer that clients of Elasticsearch read.
fn failure(error: HttpError) -> Response {
    let body = bulk::failure(error.status.as_u16(), error.text().trim_end());
    let mut response = error.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(bulk::JSON_CONTENT_TYPE));
    with_product(&mut response);
    *response.body_mut() = Body::from(body);
    response
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, bulk::JSON_CONTENT_TYPE)], body).into_response();
    with_product(&mut response);
    response
}

fn with_product(response: &mut Response) {
    let (name, value) = bulk::PRODUCT_HEADER;
    if let Ok(name) = HeaderName::try_from(name) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
