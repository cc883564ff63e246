//! Pushes of an agent to stores of others: a Loki in the form that costs it least, or a receiver of OpenTelemetry's logs.

use bytes::Bytes;
use logyard_wire::loki_push_encode;
use logyard_wire::native_push;
use logyard_wire::otlp_encode::{self, PartialSuccess};
use reqwest::header::HeaderValue;

use crate::error::Error;
use crate::http::Client;

/// Most bytes of an answer to a push.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Client {
    /// Asks who is there: a store of ours marks all its answers, also one that is not ready.
    ///
    /// Errors: `Unavailable` if nobody answers, or a proxy says that nobody does.
    pub async fn is_logyard(&self) -> Result<bool, Error> {
        let response = self.get(&["ready"]).send().await.map_err(|error| self.no_answer(&error))?;
        let is_ours = response.headers().contains_key(native_push::VERSION_HEADER);
        match response.status().as_u16() {
            status @ 500.. if !is_ours => Err(Error::from_status(status, "", None)),
            _ => Ok(is_ours),
        }
    }

    /// Sends a body of `wire::loki_push_encode` to `<base>/loki/api/v1/push`.
    ///
    /// `Ok` is the ack as such a store gives it: 204, or another 2xx without a word. What it means for the disk is that
    /// store's promise. Sending the same again may store it twice, if its copy is no longer in memory there.
    ///
    /// Errors: as [`Client::push_native`]; some entries of a refused body may have been stored.
    pub async fn push_loki_packed(&self, body: Bytes) -> Result<(), Error> {
        let request = self
            .post(&["loki", "api", "v1", "push"])
            .header("content-type", loki_push_encode::CONTENT_TYPE)
            .body(body);
        let answer = self.call(request, ANSWER_BYTES_MAX).await?;
        match answer.is_empty() {
            true => Ok(()),
            // A page of a proxy that wants a login, for one.
            false => Err(Error::unavailable(format!(
                "{} gave no answer of a Loki to a push; check the address",
                self.base()
            ))),
        }
    }

    /// Sends a body of `wire::otlp_encode`, packed with gzip, to `<base>/v1/logs`; returns what was not taken.
    ///
    /// Errors: as [`Client::push_native`].
    pub async fn push_otlp(&self, body: Bytes) -> Result<PartialSuccess, Error> {
        let request = self
            .post(&["v1", "logs"])
            .header("content-type", otlp_encode::CONTENT_TYPE)
            .header("content-encoding", "gzip")
            .body(body);
        let answer = self.call(request, ANSWER_BYTES_MAX).await?;
        otlp_encode::decode_answer(&answer).map_err(|_| {
            Error::unavailable(format!(
                "{} gave no answer of an OTLP receiver to an export; check the address",
                self.base()
            ))
        })
    }
}

/// Returns the text of a refusal: receivers of OpenTelemetry put it into a message of protobuf.
pub(crate) fn reason(media_type: Option<&HeaderValue>, body: &[u8]) -> Option<String> {
    let media_type = media_type?.to_str().ok()?;
    let is_binary = [otlp_encode::CONTENT_TYPE, "application/octet-stream"]
        .iter()
        .any(|kind| media_type.starts_with(kind));
    is_binary.then(|| otlp_encode::decode_status(body)).flatten()
}
