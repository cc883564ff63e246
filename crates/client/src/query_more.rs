//! The read calls about what is stored, beside those that read it: statistics, volumes, detected fields.

use std::time::Duration;

use logyard_model::TimeRange;
use logyard_wire::loki_query::{
    DetectedFieldAnswer, FieldValuesAnswer, FieldsAnswer, IndexStatsAnswer, QueryAnswer,
};

use crate::error::Error;
use crate::http::Client;
use crate::query::range_params;

/// How many bytes lie in which streams.
#[derive(Clone, Debug)]
pub struct VolumeQuery {
    /// A selector.
    pub query: String,
    /// Which span of time.
    pub range: TimeRange,
    /// Most groups.
    pub limit: usize,
    /// Labels to group by; none: those that the selector names.
    pub target_labels: Vec<String>,
    /// Whether to count by names of labels instead of by their values.
    pub is_by_labels: bool,
}

/// Which fields the lines of a query have.
#[derive(Clone, Debug)]
pub struct FieldsQuery {
    /// LogQL.
    pub query: String,
    /// Which span of time.
    pub range: TimeRange,
    /// Most fields, or values of one.
    pub limit: usize,
    /// Most lines to look at.
    pub line_limit: usize,
    /// Distance that Loki's endpoint takes; it has no meaning for logs.
    pub step: Option<Duration>,
}

impl Client {
    /// Returns how much the streams of a selector hold.
    pub async fn index_stats(&self, query: &str, range: TimeRange) -> Result<IndexStatsAnswer, Error> {
        let mut params = vec![("query", query.to_owned())];
        params.extend(range_params(range));
        self.read(&["loki", "api", "v1", "index", "stats"], &params).await
    }

    /// Returns the bytes of a range by group, the largest first: a vector.
    pub async fn volume(&self, query: &VolumeQuery) -> Result<QueryAnswer, Error> {
        self.read(&["loki", "api", "v1", "index", "volume"], &volume_params(query)).await
    }

    /// Returns the bytes of a range by group and step: a matrix.
    pub async fn volume_range(&self, query: &VolumeQuery, step: Duration) -> Result<QueryAnswer, Error> {
        let mut params = volume_params(query);
        params.push(("step", step.as_secs_f64().to_string()));
        self.read(&["loki", "api", "v1", "index", "volume_range"], &params).await
    }

    /// Returns the fields found in a sample of the entries of a query.
    pub async fn detected_fields(&self, query: &FieldsQuery) -> Result<Vec<DetectedFieldAnswer>, Error> {
        let path = ["loki", "api", "v1", "detected_fields"];
        let answer: FieldsAnswer = self.read(&path, &fields_params(query)).await?;
        Ok(answer.fields.unwrap_or_default())
    }

    /// Returns the values of one field in a sample of the entries of a query.
    pub async fn detected_values(&self, field: &str, query: &FieldsQuery) -> Result<Vec<String>, Error> {
        let path = ["loki", "api", "v1", "detected_field", field, "values"];
        let answer: FieldValuesAnswer = self.read(&path, &fields_params(query)).await?;
        Ok(answer.values.unwrap_or_default())
    }
}

fn volume_params(query: &VolumeQuery) -> Vec<(&'static str, String)> {
    let mut params = vec![("query", query.query.clone())];
    params.extend(range_params(query.range));
    params.push(("limit", query.limit.to_string()));
    if !query.target_labels.is_empty() {
        params.push(("targetLabels", query.target_labels.join(",")));
    }
    if query.is_by_labels {
        params.push(("aggregateBy", "labels".to_owned()));
    }
    params
}

fn fields_params(query: &FieldsQuery) -> Vec<(&'static str, String)> {
    let mut params = vec![("query", query.query.clone())];
    params.extend(range_params(query.range));
    params.push(("limit", query.limit.to_string()));
    params.push(("line_limit", query.line_limit.to_string()));
    if let Some(step) = query.step {
        params.push(("step", step.as_secs_f64().to_string()));
    }
    params
}
