//! The read calls, as any Loki client makes them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logyard_model::{Direction, TimeRange};
use logyard_sys::Random;
use logyard_wire::explain::{EXPLAIN_ANALYZE, EXPLAIN_PARAM, EXPLAIN_PLAN, ExplainAnswer, PlanStep};
use logyard_wire::loki_query::{
    self, Labels, NamesAnswer, PatternAnswer, PatternsAnswer, QueryAnswer, SeriesListAnswer,
};
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind};
use crate::http::Client;
use crate::retry::Backoff;

/// Most bytes of one answer: 5,000 entries of 64 KiB, the most a store hands out at once in practice.
const ANSWER_BYTES_MAX: usize = 320 << 20;

/// A query over a range of time.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// LogQL.
    pub query: String,
    /// For logs the end is exclusive; for metrics it is the last evaluation.
    pub range: TimeRange,
    /// Most entries, over all streams; metric queries ignore it.
    pub limit: usize,
    /// Which end of the range the limit keeps.
    pub direction: Direction,
    /// Distance between evaluations of a metric query; none lets the store choose.
    pub step: Option<Duration>,
}

/// What else may be asked for with a query over a range.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeExtras {
    /// Shortest distance between entries of a log query.
    pub interval: Option<Duration>,
    /// Whether the statistics of the store are read.
    pub wants_stats: bool,
}

/// A metric query at one point in time.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    /// LogQL.
    pub query: String,
    /// When to evaluate.
    pub time_ns: i64,
}

impl Client {
    /// Runs a query over a range; log entries come with their structured metadata and parsed labels
    /// kept apart from the labels of the stream.
    pub async fn query_range(&self, query: &RangeQuery) -> Result<QueryAnswer, Error> {
        self.read(&["loki", "api", "v1", "query_range"], &range_query_params(query)).await
    }

    /// Runs a query over a range with more parameters; returns what the store did for it as well, by name, if that is
    /// wanted.
    pub async fn query_range_with(
        &self,
        query: &RangeQuery,
        extras: RangeExtras,
    ) -> Result<(QueryAnswer, Vec<(String, String)>), Error> {
        let mut params = range_query_params(query);
        params.extend(extras.interval.map(|interval| ("interval", interval.as_secs_f64().to_string())));
        let body = self.read_bytes(&["loki", "api", "v1", "query_range"], &params).await?;
        let stats = if extras.wants_stats { loki_query::decode_stats(&body) } else { Ok(Vec::new()) };
        Ok((self.decoded(&body)?, stats.unwrap_or_default()))
    }

    /// Runs a metric query at one point in time.
    pub async fn query(&self, query: &InstantQuery) -> Result<QueryAnswer, Error> {
        let params = [("query", query.query.clone()), ("time", time_param(query.time_ns))];
        self.read(&["loki", "api", "v1", "query"], &params).await
    }

    /// Returns how the store evaluates a query over a range, after running it if `analyze` is set; `None`
    /// from a store that does not say.
    pub async fn explain(&self, query: &RangeQuery, analyze: bool) -> Result<Option<PlanStep>, Error> {
        let mut params = range_query_params(query);
        params.push((EXPLAIN_PARAM, if analyze { EXPLAIN_ANALYZE } else { EXPLAIN_PLAN }.to_owned()));
        let answer: ExplainAnswer = self.read(&["loki", "api", "v1", "query_range"], &params).await?;
        Ok(answer.explain)
    }

    /// Returns the label names of all streams with entries in the range, sorted.
    pub async fn labels(&self, range: TimeRange) -> Result<Vec<String>, Error> {
        let answer: NamesAnswer = self.read(&["loki", "api", "v1", "labels"], &range_params(range)).await?;
        Ok(answer.data)
    }

    /// Returns the values of one label, sorted; unknown labels have none.
    pub async fn label_values(&self, name: &str, range: TimeRange) -> Result<Vec<String>, Error> {
        let path = ["loki", "api", "v1", "label", name, "values"];
        let answer: NamesAnswer = self.read(&path, &range_params(range)).await?;
        Ok(answer.data)
    }

    /// Returns the label sets of the streams that match any of the selectors; none means all.
    pub async fn series(&self, selectors: &[String], range: TimeRange) -> Result<Vec<Labels>, Error> {
        let mut params = range_params(range);
        params.extend(selectors.iter().map(|selector| ("match[]", selector.clone())));
        let answer: SeriesListAnswer = self.read(&["loki", "api", "v1", "series"], &params).await?;
        Ok(answer.data)
    }

    /// Returns what kinds of lines the streams of a selector have, with counts by step.
    pub async fn patterns(
        &self,
        selector: &str,
        range: TimeRange,
        step: Duration,
    ) -> Result<Vec<PatternAnswer>, Error> {
        let mut params = range_params(range);
        params.push(("query", selector.to_owned()));
        params.push(("step", format!("{}s", step.as_secs())));
        let answer: PatternsAnswer = self.read(&["loki", "api", "v1", "patterns"], &params).await?;
        Ok(answer.data)
    }

    /// Makes a read call and decodes its answer.
    pub(crate) async fn read<A: DeserializeOwned>(
        &self,
        path: &[&str],
        params: &[(&str, String)],
    ) -> Result<A, Error> {
        let body = self.read_bytes(path, params).await?;
        self.decoded(&body)
    }

    fn decoded<A: DeserializeOwned>(&self, body: &[u8]) -> Result<A, Error> {
        loki_query::decode(body).map_err(|error| {
            Error::unavailable(format!(
                "{} gave an answer nobody can read: {error}; check the address",
                self.base()
            ))
        })
    }

    /// Makes a read call, again and again if it fails for a passing reason and the client's options say so.
    pub(crate) async fn read_bytes(&self, path: &[&str], params: &[(&str, String)]) -> Result<Bytes, Error> {
        let retries = self.retries();
        let mut backoff = Backoff::new(retries.backoff, Arc::new(Random::os()));
        loop {
            let request = self
                .get(path)
                .query(params)
                .header("accept", "application/json")
                .header(loki_query::ENCODING_FLAGS_HEADER, loki_query::CATEGORIZE_LABELS);
            match self.call(request, ANSWER_BYTES_MAX).await {
                Err(error) if error.kind() != Kind::Invalid && backoff.attempts() < retries.count => {
                    tokio::time::sleep(backoff.next_delay(error.retry_after())).await;
                }
                done => return done,
            }
        }
    }
}

fn range_query_params(query: &RangeQuery) -> Vec<(&'static str, String)> {
    let direction = match query.direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    let mut params = vec![
        ("query", query.query.clone()),
        ("start", time_param(query.range.start_ns)),
        ("end", time_param(query.range.end_ns)),
        ("limit", query.limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    if let Some(step) = query.step {
        params.push(("step", step.as_secs_f64().to_string()));
    }
    params
}

pub(crate) fn range_params(range: TimeRange) -> Vec<(&'static str, String)> {
    vec![("start", time_param(range.start_ns)), ("end", time_param(range.end_ns))]
}

/// Writes a time so that the store reads nanoseconds: integers of up to ten characters would be read
/// as seconds, so the few instants around 1970 lose their fraction.
fn time_param(ns: i64) -> String {
    let text = ns.to_string();
    match text.len() {
        0..=10 => ns.div_euclid(1_000_000_000).to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nanoseconds() {
        assert_eq!(time_param(1_795_229_946_884_000_000), "1795229946884000000");
        assert_eq!(time_param(0), "0");
        assert_eq!(time_param(5_000_000_000), "5");
        assert_eq!(time_param(10_000_000_000), "10000000000");
    }
}
