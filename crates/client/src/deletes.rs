//! Requests to delete entries: make, list, cancel.

use logyard_model::TimeRange;
use logyard_wire::loki_query::{self, DeleteAnswer};

use crate::error::Error;
use crate::http::Client;

/// Most bytes of the list of requests.
const ANSWER_BYTES_MAX: usize = 16 << 20;

const PATH: [&str; 4] = ["loki", "api", "v1", "delete"];

/// Which entries of a query are to go.
#[derive(Clone, Debug)]
pub struct DeleteRange {
    /// Which span of time; the store takes whole seconds, those in which it begins and ends.
    pub range: TimeRange,
    /// Longest piece that Loki works on at a time, as a duration.
    pub max_interval: Option<String>,
}

impl Client {
    /// Asks a store to delete the entries of a query. Errors: as other calls; `Invalid` also where it may not.
    pub async fn create_delete(&self, query: &str, asked: &DeleteRange) -> Result<(), Error> {
        const NS_PER_SEC: i64 = 1_000_000_000;
        let TimeRange { start_ns, end_ns } = asked.range;
        let mut params = vec![
            ("query", query.to_owned()),
            ("start", start_ns.div_euclid(NS_PER_SEC).to_string()),
            ("end", end_ns.div_euclid(NS_PER_SEC).to_string()),
        ];
        params.extend(asked.max_interval.iter().map(|interval| ("max_interval", interval.clone())));
        self.call(self.post(&PATH).query(&params), ANSWER_BYTES_MAX).await.map(drop)
    }

    /// Returns all requests of the tenant.
    pub async fn deletes(&self) -> Result<Vec<DeleteAnswer>, Error> {
        let body = self.call(self.get(&PATH), ANSWER_BYTES_MAX).await?;
        // Loki answers `null` where there are none.
        let found: Option<Vec<DeleteAnswer>> = loki_query::decode(&body).map_err(|error| {
            Error::unavailable(format!("{} gave no list of requests: {error}", self.base()))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Cancels a request; by `is_forced` also one that is partly done.
    pub async fn cancel_delete(&self, id: &str, is_forced: bool) -> Result<(), Error> {
        let mut params = vec![("request_id", id)];
        if is_forced {
            params.push(("force", "true"));
        }
        self.call(self.delete(&PATH).query(&params), ANSWER_BYTES_MAX).await.map(drop)
    }
}
