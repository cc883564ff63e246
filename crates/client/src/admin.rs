//! Snapshots of a store, over HTTP.

use bytes::Bytes;

use crate::error::Error;
use crate::http::Client;

/// Most bytes of an answer about snapshots, of which a store keeps a handful.
const ANSWER_BYTES_MAX: usize = 4 << 20;

const PATH: [&str; 4] = ["logyard", "v1", "admin", "snapshot"];

impl Client {
    /// Makes a snapshot, named by the store if `id` is none, and returns its description as JSON.
    ///
    /// Errors: `Invalid` for a name that cannot be one or is taken, `Limited` if there are too many, `Unavailable`
    /// if nobody answers or the store cannot. Source: `schemas/http.md`.
    pub async fn create_snapshot(&self, id: Option<&str>) -> Result<Bytes, Error> {
        let request = self.post(&PATH);
        let request = match id {
            Some(id) => request.query(&[("id", id)]),
            None => request,
        };
        self.call(request, ANSWER_BYTES_MAX).await
    }

    /// Returns the descriptions of all snapshots as JSON. Errors: as [`Client::create_snapshot`].
    pub async fn snapshots(&self) -> Result<Bytes, Error> {
        self.call(self.get(&PATH), ANSWER_BYTES_MAX).await
    }

    /// Removes a snapshot. Errors: as [`Client::create_snapshot`]; `Invalid` if there is none of that name.
    pub async fn delete_snapshot(&self, id: &str) -> Result<(), Error> {
        self.call(self.delete(&PATH).query(&[("id", id)]), ANSWER_BYTES_MAX).await.map(drop)
    }
}
