//! `drilldown-limits`: what Grafana's Logs Drilldown may ask for here.

use crate::state::State;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use logyard_ingest::SpanText;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// The answer, member by member as Loki v3.7.6 has it. Drilldown hides ranges longer than `retention_period` and offers
/// as many lines as `max_entries_limit_per_query`; without `pattern_ingester_enabled` it hides patterns.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DrilldownLimits")]
pub(crate) struct Answer {
    limits: Limits,
    pattern_ingester_enabled: bool,
    version: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Limits {
    discover_log_levels: bool,
    discover_service_name: &'static [&'static str],
    log_level_fields: &'static [&'static str],
    max_entries_limit_per_query: usize,
    max_line_size_truncate: bool,
    max_query_bytes_read: String,
    max_query_length: String,
    max_query_lookback: String,
    max_query_range: String,
    max_query_series: usize,
    metric_aggregation_enabled: bool,
    otlp_config: Empty,
    pattern_persistence_enabled: bool,
    query_timeout: String,
    retention_period: String,
    volume_enabled: bool,
    volume_max_series: usize,
}

#[derive(Serialize, JsonSchema)]
struct Empty {}

/// `GET /loki/api/v1/drilldown-limits`: the same for all tenants, so none need be named.
pub(crate) async fn limits(Shared(state): Shared<Arc<State>>) -> Response {
    let engine = state.engine.settings();
    let ingest = state.ingest.settings();
    let span = |secs| span_text(Duration::from_secs(secs));
    let limits = Limits {
        discover_log_levels: ingest.discover_levels,
        discover_service_name: if ingest.discover_service_name {
            &logyard_ingest::SERVICE_LABELS
        } else {
            &[]
        },
        log_level_fields: &logyard_ingest::LEVEL_FIELDS,
        max_entries_limit_per_query: engine.entries_max,
        max_line_size_truncate: false,
        max_query_bytes_read: format!("{}B", engine.bytes_read_max),
        max_query_length: span_text(state.settings.query_length_max.0),
        max_query_lookback: span(engine.lookback_secs_max),
        max_query_range: span(engine.range_secs_max),
        max_query_series: engine.series_max,
        metric_aggregation_enabled: false,
        otlp_config: Empty {},
        pattern_persistence_enabled: false,
        query_timeout: span(engine.timeout_secs),
        retention_period: span_text(state.store.retention_period().unwrap_or_default()),
        volume_enabled: true,
        volume_max_series: state.settings.volume_series_max,
    };
    // Patterns are answered, though nothing ingests them.
    let answer = Answer { limits, pattern_ingester_enabled: true, version: crate::status::LOKI_VERSION };
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Prints a span as Prometheus does, none as `0s`.
fn span_text(span: Duration) -> String {
    if span.is_zero() { "0s".to_owned() } else { SpanText(span).to_string() }
}
