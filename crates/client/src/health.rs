//! Whether a store takes pushes and answers queries.

use crate::error::Error;
use crate::http::Client;

/// Most bytes of an answer, which is a word; a wrong address may answer with a page.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Client {
    /// Asks whether the store takes pushes and answers queries; no token is needed.
    ///
    /// Errors: `Unavailable` with the store's reason while it does not, and if nobody answers; `Invalid` if something
    /// else listens there. Source: `GET /ready` of `schemas/http.md`.
    pub async fn ready(&self) -> Result<(), Error> {
        self.call(self.get(&["ready"]), ANSWER_BYTES_MAX).await.map(drop)
    }
}
