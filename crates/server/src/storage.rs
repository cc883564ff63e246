//! What is stored and when it goes, and exports that are taken in. Ours alone, Loki has no such thing.

use crate::error::HttpError;
use crate::params::Params;
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_model::Tenant;
use logyard_store::import::ImportOptions;
use logyard_store::parse_day;
use logyard_store::storage_report::{STREAMS_MAX, StorageQuery};
use serde::Serialize;
use std::sync::Arc;

/// `GET /logyard/v1/storage`: what is stored, of the request's tenant; of all while there are no tenants.
pub(crate) async fn report(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let is_walled = state.settings.auth_enabled;
    let tenant = tenant::of_request(request.headers(), is_walled)?;
    let params = Params::read(request).await?;
    let query = StorageQuery {
        tenant: is_walled.then_some(tenant),
        days: day(&params, "from", i32::MIN)?..=day(&params, "to", i32::MAX)?,
        streams_max: streams_max(&params)?,
    };
    let shared = Arc::clone(&state);
    let report = state.run_read(move |_, _| Ok(shared.store.storage_report(&query)?)).await?;
    json(&report)
}

/// `POST /logyard/v1/admin/import?id=&tenant=`: takes an export in that lies in `imports/<id>` of the data folder.
///
/// It goes on when the client goes away.
pub(crate) async fn import(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let params = Params::read(request).await?;
    let Some(id) = params.get("id").map(str::to_owned) else {
        return Err(HttpError::bad_request("cannot import: the name of the export is missing; send ?id=\n"));
    };
    let tenant = params.get("tenant").map(Tenant::new).transpose();
    let tenant =
        tenant.map_err(|error| HttpError::bad_request(format!("cannot read parameter tenant: {error}\n")))?;
    let store = state.store.clone();
    let done = tokio::task::spawn_blocking(move || store.import_staged(&id, &ImportOptions { tenant }));
    let info = done.await.map_err(|_| {
        let text = "import failed: internal error, see the log of logyard";
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })??;
    json(&info)
}

fn json(value: &impl Serialize) -> Result<Response, HttpError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the answer: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn day(params: &Params, name: &str, default: i32) -> Result<i32, HttpError> {
    match params.get(name) {
        None => Ok(default),
        Some(text) => parse_day(text).ok_or_else(|| {
            HttpError::bad_request(format!(
                "cannot read parameter {name}: want a day as in 2026-06-01, got '{text}'\n"
            ))
        }),
    }
}

fn streams_max(params: &Params) -> Result<usize, HttpError> {
    match params.get("streams") {
        None => Ok(0),
        Some(text) => text.parse().ok().filter(|count| *count <= STREAMS_MAX).ok_or_else(|| {
            HttpError::bad_request(format!(
                "cannot read parameter streams: want a number up to {STREAMS_MAX}, got '{text}'\n"
            ))
        }),
    }
}
