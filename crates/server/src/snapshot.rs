//! Snapshots of the data folder: make, list, delete. Ours alone, Loki has no such thing.

use crate::error::HttpError;
use crate::params::Params;
use crate::state::State;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_store::snapshot::SnapshotInfo;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// What is answered to a GET.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Snapshots")]
pub(crate) struct Listed {
    snapshots: Vec<SnapshotInfo>,
}

/// `POST /logyard/v1/admin/snapshot`: makes one, with the name `id` if it is given, and describes it.
pub(crate) async fn create(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let params = Params::read(request).await?;
    let id = params.get("id").filter(|id| !id.is_empty());
    json(&state.store.create_snapshot(id).await?)
}

/// `GET /logyard/v1/admin/snapshot`: describes all, the oldest first.
pub(crate) async fn list(Shared(state): Shared<Arc<State>>) -> Result<Response, HttpError> {
    let store = state.store.clone();
    let snapshots = blocking(move || store.snapshots()).await?;
    json(&Listed { snapshots })
}

/// `DELETE /logyard/v1/admin/snapshot?id=`: 204, or 404 if there is none of that name.
pub(crate) async fn delete(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let params = Params::read(request).await?;
    let id = params.get("id").unwrap_or_default().to_owned();
    if id.is_empty() {
        return Err(HttpError::bad_request("cannot delete snapshot: its name is missing; send ?id=\n"));
    }
    let (store, name) = (state.store.clone(), id.clone());
    match blocking(move || store.delete_snapshot(&name)).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(HttpError::new(StatusCode::NOT_FOUND, format!("there is no snapshot {id}\n"))),
    }
}

/// Runs what reads or writes folders on a thread that may block.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, logyard_store::Error> + Send + 'static,
) -> Result<T, HttpError> {
    let done = tokio::task::spawn_blocking(job).await.map_err(|_| {
        HttpError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "snapshot failed: internal error, see the log of logyard",
        )
    })?;
    Ok(done?)
}

fn json(value: &impl Serialize) -> Result<Response, HttpError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode a snapshot: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
