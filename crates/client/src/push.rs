//! Pushes: ours, one encoded batch with its id, and that of any Loki.

use std::fmt::Display;

use bytes::Bytes;
use logyard_wire::native_push::{self, PushAnswer};

use crate::error::Error;
use crate::http::Client;

/// Most bytes of an answer to a push: counts by reason and one sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Client {
    /// Sends entries as any Loki takes them, encoded by `wire::loki_push_text`.
    ///
    /// An `Ok` is the ack. Sending the same again is safe: equal entries are one, in Loki too.
    ///
    /// Errors: `Invalid` when some entries are refused, the others being stored, or when all are; `Limited` and
    /// `Unavailable` when the same call may succeed later.
    pub async fn push_loki(&self, body: Bytes) -> Result<(), Error> {
        let request = self.post(&["loki", "api", "v1", "push"]).header("content-type", "application/json");
        self.call(request.body(body), ANSWER_BYTES_MAX).await.map(drop)
    }

    /// Sends one batch, encoded by `codec::encode_batch`, under its id.
    ///
    /// An `Ok` is the ack: the batch is durable, now or since an earlier attempt. Sending the same id
    /// and bytes again is always safe, so a lost answer is met by repeating the call.
    ///
    /// `id` is a batch id of `codec`, which this crate does not see; only its text goes into a header.
    ///
    /// Errors: `Invalid` when the store cannot read the batch (repeating is useless), `Limited` and
    /// `Unavailable` when the same call may succeed later.
    pub async fn push_native(&self, id: &impl Display, body: Bytes) -> Result<PushAnswer, Error> {
        let request = self
            .post(&["logyard", "v1", "push"])
            .header("content-type", native_push::CONTENT_TYPE)
            .header(native_push::BATCH_HEADER, id.to_string())
            .body(body);
        let answer = self.call(request, ANSWER_BYTES_MAX).await?;
        // Whatever answered 200 without this form is no Logyard store, or a proxy's page in front of
        // one: the batch counts as not sent.
        PushAnswer::from_json(&answer).map_err(|error| {
            Error::unavailable(format!(
                "{} gave no Logyard answer to a push: {error}; check the address",
                self.base()
            ))
        })
    }
}
