//! Refusals as HTTP answers: a status and the bare message as text, never a JSON object.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_wire::otlp;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Media type of error texts, as Go's `http.Error` sends it.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// Status of a request whose sender went away.
const CLIENT_CLOSED: u16 = 499;

/// Why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    /// About a body that takes too long as a whole.
    pub(crate) fn body_is_late() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request body did not arrive in time")
    }

    /// About a body that cannot be read to its end.
    pub(crate) fn of_body(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(inner) = cause {
            let io = inner.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
                return Self::body_is_late();
            }
            cause = inner.source();
        }
        Self::bad_request(format!("cannot read request body: {error}"))
    }

    pub(crate) fn timed_out() -> Self {
        let text = "request timed out, decrease the duration of the request or add more label matchers \
                    (prefer exact match over regex match) to reduce the amount of data processed";
        Self::new(StatusCode::GATEWAY_TIMEOUT, text)
    }

    pub(crate) fn cancelled() -> Self {
        let status = StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "the request was cancelled by the client")
    }

    pub(crate) fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// Ends the text with a newline, as the push endpoint does.
    pub(crate) fn with_newline(mut self) -> Self {
        self.text.push('\n');
        self
    }
}

impl HttpError {
    /// Makes the answer that OpenTelemetry's exporters read: a protobuf `Status` with the text alone. They try again
    /// after 503 and not after 500, so that one is shown as 503.
    pub(crate) fn into_otlp(self) -> Response {
        let body = otlp::status(&self.text);
        let status = match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
            status => status,
        };
        let mut response = Self { status, ..self }.into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(otlp::STATUS_TYPE));
        *response.body_mut() = Body::from(body);
        response
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

impl From<logyard_ingest::Error> for HttpError {
    fn from(error: logyard_ingest::Error) -> Self {
        use logyard_ingest::Kind;
        let status = match error.kind() {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Empty => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(%error, "push failed");
        }
        Self::new(status, error.to_string()).retry_after(error.wait())
    }
}

impl From<logyard_store::Error> for HttpError {
    fn from(error: logyard_store::Error) -> Self {
        use logyard_store::Kind;
        let status = match error.kind() {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(%error, "store failed");
        }
        Self::new(status, error.to_string())
    }
}
