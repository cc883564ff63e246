//! `POST /reload`: has the process read its settings anew.
//!
//! Who does it is elsewhere and does one thing at a time, so requests wait in a short line, and no longer than a client does.

use crate::error::HttpError;
use crate::state::{BUSY_WAIT, State};
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Longest wait for the answer; a reload takes seconds where an engine does not answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// What came of reading the settings anew: what changed, or why nothing did.
pub type ReloadAnswer = Result<ReloadReport, String>;

/// Takes requests to read the settings anew; each brings where the answer goes.
pub type Reloads = mpsc::Sender<oneshot::Sender<ReloadAnswer>>;

/// What new settings changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReloadReport {
    /// Sources of logs that were started.
    pub started: Vec<String>,
    /// Sources that were stopped; one whose settings changed is among both.
    pub stopped: Vec<String>,
    /// Sources that went on as they were.
    pub kept: Vec<String>,
    /// Settings that differ and count from the next start of the process.
    pub at_next_start: Vec<String>,
}

/// `POST /reload` of a store.
pub(crate) async fn reload(Shared(state): Shared<Arc<State>>) -> Result<Response, HttpError> {
    match state.reloads.get() {
        Some(reloads) => ask(reloads).await,
        None => Err(HttpError::not_found()),
    }
}

/// Asks, and answers with what came of it.
pub(crate) async fn ask(reloads: &Reloads) -> Result<Response, HttpError> {
    let (answer, told) = oneshot::channel();
    let busy = |text: &str| {
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).retry_after(Some(BUSY_WAIT))
    };
    reloads.try_send(answer).map_err(|_| busy("settings are being read by others; ask again"))?;
    match tokio::time::timeout(ANSWER_WAIT, told).await {
        Ok(Ok(Ok(report))) => Ok(json(&report)),
        Ok(Ok(Err(reason))) => Err(HttpError::bad_request(format!("{reason}\n"))),
        Ok(Err(_)) => Err(busy("the process stops")),
        Err(_) => Err(busy("reading the settings takes long; see the log for what comes of it")),
    }
}

/// Answers with a document.
pub(crate) fn json(document: &impl Serialize) -> Response {
    let body = serde_json::to_string(document).unwrap_or_default() + "\n";
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
