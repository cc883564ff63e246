//! Snapshots of a store, over HTTP.

use bytes::Bytes;

use crate::error::Error;
use crate::http::Client;

/// Most bytes of an answer about snapshots, of which a store keeps a handful.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Most bytes of a report about storage: some hundred for each day of a tenant, and for each stream that is named.
const REPORT_BYTES_MAX: usize = 256 << 20;

const PATH: [&str; 4] = ["logyard", "v1", "admin", "snapshot"];

const IMPORT_PATH: [&str; 4] = ["logyard", "v1", "admin", "import"];

const STORAGE_PATH: [&str; 3] = ["logyard", "v1", "storage"];

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

    /// Returns what is stored as JSON, with the largest `streams` streams, of the days in `from` to `to`, both included.
    ///
    /// Errors: `Invalid` for what is no day or too many streams, `Unavailable` if nobody answers or the store cannot.
    /// Source: `schemas/http.md`.
    pub async fn storage(
        &self,
        streams: usize,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Bytes, Error> {
        let mut params = vec![("streams", streams.to_string())];
        params.extend(from.map(|day| ("from", day.to_owned())));
        params.extend(to.map(|day| ("to", day.to_owned())));
        self.call(self.get(&STORAGE_PATH).query(&params), REPORT_BYTES_MAX).await
    }

    /// Has the store take in the export in `imports/<id>` of its data folder, for `tenant` if there is one; returns what
    /// was done as JSON.
    ///
    /// Errors: `Invalid` for an export that is none or damaged, `Unavailable` if nobody answers, for a lack of room, or
    /// if the store cannot; nothing has changed then. Source: `schemas/http.md`.
    pub async fn import(&self, id: &str, tenant: Option<&str>) -> Result<Bytes, Error> {
        let mut params = vec![("id", id)];
        params.extend(tenant.map(|tenant| ("tenant", tenant)));
        self.call(self.post(&IMPORT_PATH).query(&params), ANSWER_BYTES_MAX).await
    }
}
