//! Parameters of a request: the query of the address and, for POST, a form in the body.
//!
//! Merged as Go's `ParseForm` does: values of the body come first, and the first value of a name
//! counts. An empty value counts as absent. Unknown names are ignored.
//!
//! Forms of all requests together have [`ROOM_BYTES`] of memory, for as long as their parameters are kept.

use crate::error::HttpError;
use crate::state::BUSY_WAIT;
use axum::body::{Body, HttpBody as _};
use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Largest form in a body (Go's and Loki's bound).
const FORM_BYTES_MAX: usize = 10 << 20;

/// Longest wait for room for one before it is answered 429.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest time for one to arrive.
const FORM_WAIT_MAX: Duration = Duration::from_secs(60);

/// Most parameters of a request: ten times as many as the longest list of selectors that is answered.
const PARAMS_MAX: usize = 10_000;

/// Memory for forms: some of the largest, and thousands of those that clients send.
const ROOM_BYTES: usize = 64 << 20;

/// What a semaphore counts.
const ROOM_UNIT_BYTES: usize = 1 << 10;

static ROOM: Semaphore = Semaphore::const_new(ROOM_BYTES / ROOM_UNIT_BYTES);

/// Merged parameters in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// Of a form.
    _room: Option<Arc<SemaphorePermit<'static>>>,
}

impl Params {
    /// Reads the parameters of a request, consuming its body if it is a form.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, HttpError> {
        let (parts, body) = request.into_parts();
        let mut params = Self::default();
        let media_type =
            parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = media_type
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        if parts.method == Method::POST && is_form {
            params._room = Some(Arc::new(room(&ROOM, body.size_hint().exact()).await?));
            let collected = timeout(FORM_WAIT_MAX, Limited::new(body, FORM_BYTES_MAX).collect()).await;
            let bytes = match collected {
                Ok(Ok(collected)) => collected.to_bytes(),
                Ok(Err(error)) if error.is::<LengthLimitError>() => {
                    return Err(HttpError::bad_request(
                        "http: request body too large, a form may have 10 MiB",
                    ));
                }
                Ok(Err(error)) => return Err(HttpError::of_body(&*error)),
                Err(_) => return Err(HttpError::body_is_late()),
            };
            let text = String::from_utf8_lossy(&bytes);
            params.add(&text)?;
        }
        params.add(parts.uri.query().unwrap_or_default())?;
        Ok(params)
    }

    /// Reads the parameters of an address alone.
    pub(crate) fn of_url(uri: &Uri) -> Result<Self, HttpError> {
        let mut params = Self::default();
        params.add(uri.query().unwrap_or_default())?;
        Ok(params)
    }

    fn add(&mut self, text: &str) -> Result<(), HttpError> {
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(HttpError::bad_request("invalid semicolon separator in query"));
            }
            if self.pairs.len() >= PARAMS_MAX {
                let text = format!("too many parameters, at most {PARAMS_MAX} are read");
                return Err(HttpError::bad_request(text));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            self.pairs.push((unescape(name)?, unescape(value)?));
        }
        Ok(())
    }

    /// Returns the first value of a parameter unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(have, _)| have == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// Returns all values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// Waits for room for a form of so many bytes, if that is known. Errors: none in time.
async fn room(all: &'static Semaphore, bytes: Option<u64>) -> Result<SemaphorePermit<'static>, HttpError> {
    // One of unknown length may become as large as any; one that is too large is refused when it is read.
    let bytes =
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(FORM_BYTES_MAX).min(FORM_BYTES_MAX);
    let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES)).unwrap_or(u32::MAX);
    match timeout(ROOM_WAIT_MAX, all.acquire_many(units)).await {
        Ok(Ok(room)) => Ok(room),
        _ => {
            let text = "too many bytes of forms at once; send later";
            Err(HttpError::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(Some(BUSY_WAIT)))
        }
    }
}

/// Undoes percent and plus encoding; a broken escape is an error, as in Go.
fn unescape(text: &str) -> Result<String, HttpError> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let byte = hex_pair(after).ok_or_else(|| {
                    let shown: Cow<'_, str> = String::from_utf8_lossy(after.get(..2).unwrap_or(after));
                    HttpError::bad_request(format!("invalid URL escape \"%{shown}\""))
                })?;
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            plain => bytes.push(plain),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
pub(crate) fn of_text(text: &str) -> Params {
    let mut params = Params::default();
    params.add(text).unwrap();
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_body_comes_first() {
        let request = Request::builder()
            .method("POST")
            .uri("/x?query=url&start=5&start=6&empty=")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Body::from("query=%7Ba%3D%22b%22%7D+%7C&limit=3"))
            .unwrap();
        let params = Params::read(request).await.unwrap();
        assert_eq!(params.get("query"), Some("{a=\"b\"} |"));
        assert_eq!(params.all("query").collect::<Vec<_>>(), ["{a=\"b\"} |", "url"]);
        assert_eq!(
            (params.get("start"), params.get("limit"), params.get("empty"), params.get("x")),
            (Some("5"), Some("3"), None, None)
        );
    }

    #[tokio::test]
    async fn other_bodies_are_not_read() {
        let request = Request::builder()
            .method("POST")
            .uri("/x?a=1")
            .header("content-type", "application/json")
            .body(Body::from("b=2"))
            .unwrap();
        assert_eq!(Params::read(request).await.unwrap().pairs, of_text("a=1").pairs);
    }

    #[tokio::test(start_paused = true)]
    async fn forms_are_bounded_one_by_one_and_together() {
        let form = |body: Body| {
            Request::post("/x")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body)
                .unwrap()
        };
        let many = "a&".repeat(PARAMS_MAX);
        assert!(Params::read(form(Body::from(many.clone()))).await.is_ok());
        let refused = Params::read(form(Body::from(many + "a"))).await.unwrap_err();
        assert_eq!(refused.text(), "too many parameters, at most 10000 are read");
        static OWN: Semaphore = Semaphore::const_new(ROOM_BYTES / ROOM_UNIT_BYTES);
        let mut kept = Vec::new();
        for _ in 0..ROOM_BYTES / FORM_BYTES_MAX {
            kept.push(room(&OWN, None).await.unwrap());
        }
        let refused = room(&OWN, Some(u64::MAX)).await.unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), refused.text()),
            (429, "too many bytes of forms at once; send later")
        );
        assert_eq!(room(&OWN, Some(1025)).await.unwrap().num_permits(), 2);
        kept.pop();
        drop(room(&OWN, None).await.unwrap());
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["a=%", "a=%z1", "a=%1", "a;b=1"] {
            assert!(Params::default().add(text).is_err(), "{text}");
        }
        assert_eq!(of_text("a=%ff").get("a"), Some("\u{fffd}"));
    }
}
