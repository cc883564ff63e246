//! Which path goes where, and what every answer gets.

use crate::error::HttpError;
use crate::state::State;
use crate::{
    delete, detected, documents, drilldown, gzip, labels, patterns, push, query, snapshot, status, storage,
    tail, tenant, volume,
};
use axum::Router;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use logyard_wire::native_push;
use std::sync::Arc;

/// Builds the router with all endpoints under the configured prefix.
pub(crate) fn router(state: &Arc<State>) -> Router {
    let names = get(labels::names).post(labels::names);
    let values = get(labels::values).post(labels::values);
    let setup = get(documents::setup).put(documents::setup).post(documents::setup);
    let of_all_tenants = Router::new()
        .route(
            "/logyard/v1/admin/snapshot",
            post(snapshot::create).get(snapshot::list).delete(snapshot::delete),
        )
        .route("/logyard/v1/admin/import", post(storage::import))
        .route_layer(from_fn_with_state(Arc::clone(state), tenant::refuse));
    let routes = Router::new()
        .route("/", get(documents::root))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/flush", post(push::flush))
        .route("/services", get(status::services))
        .route("/loki/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/loki/api/v1/drilldown-limits", get(drilldown::limits))
        .route("/loki/api/v1/push", push_route())
        .route("/api/prom/push", push_route())
        .route("/otlp/v1/logs", post(push::otlp))
        .route("/logyard/v1/push/jsonl", post(documents::lines))
        .route("/_bulk", post(documents::bulk).put(documents::bulk))
        .route("/{index}/_bulk", post(documents::bulk).put(documents::bulk))
        .route("/_license", get(documents::license))
        .route("/_xpack", get(documents::license))
        .route("/_cluster/health", get(documents::health))
        .route("/_ilm/policy/{name}", setup.clone())
        .route("/_index_template/{name}", setup.clone())
        .route("/_component_template/{name}", setup.clone())
        .route("/_template/{name}", setup.clone())
        .route("/_data_stream/{name}", setup.clone())
        .route("/_alias/{name}", setup.clone())
        .route("/_ingest/pipeline/{name}", setup)
        .route(native_push::PATH, post(push::native))
        .route("/logyard/v1/storage", get(storage::report))
        .route(
            "/loki/api/v1/delete",
            post(delete::create).put(delete::create).get(delete::list).delete(delete::cancel),
        )
        .route("/loki/api/v1/query_range", get(query::range).post(query::range))
        .route("/loki/api/v1/query", get(query::instant).post(query::instant))
        .route("/loki/api/v1/format_query", get(query::format).post(query::format))
        .route("/loki/api/v1/labels", names.clone())
        .route("/loki/api/v1/label", names)
        .route("/loki/api/v1/label/{name}/values", values)
        .route("/loki/api/v1/series", get(labels::series).post(labels::series))
        .route("/loki/api/v1/index/stats", get(labels::stats).post(labels::stats))
        .route("/loki/api/v1/index/volume", get(volume::instant).post(volume::instant))
        .route("/loki/api/v1/index/volume_range", get(volume::range).post(volume::range))
        .route("/loki/api/v1/detected_labels", get(detected::labels).post(detected::labels))
        .route("/loki/api/v1/detected_fields", get(detected::fields).post(detected::fields))
        .route("/loki/api/v1/detected_field/{name}/values", get(detected::values).post(detected::values))
        .route("/loki/api/v1/patterns", get(patterns::patterns).post(patterns::patterns))
        .route("/api/prom/query", get(query::old).post(query::old))
        .route("/loki/api/v1/tail", get(tail::current))
        .route("/api/prom/tail", get(tail::old))
        .route("/api/prom/label", get(labels::old_names).post(labels::old_names))
        .route("/api/prom/label/{name}/values", get(labels::old_values).post(labels::old_values))
        .route("/api/prom/series", get(labels::series).post(labels::series))
        .merge(of_all_tenants);
    let prefix = state.settings.path_prefix.trim_end_matches('/');
    let routes = if prefix.is_empty() { routes } else { Router::new().nest(prefix, routes) };
    routes
        .fallback(|| async { HttpError::not_found() })
        .layer(from_fn_with_state(Arc::clone(state), around))
        .with_state(Arc::clone(state))
}

fn push_route() -> MethodRouter<Arc<State>> {
    post(push::loki).get(push::wrong_method)
}

/// Counts, compresses and signs every answer.
async fn around(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let begun_ns = state.ingest.monotonic_ns();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let gzip = gzip::is_asked(request.headers());
    // The router would answer HEAD like GET; Loki does not, Elasticsearch does.
    let is_elastic = route.ends_with('/') || route.contains("/_");
    let answered = if method == Method::HEAD && !is_elastic {
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    } else {
        next.run(request).await
    };
    let is_upgrade = answered.status() == StatusCode::SWITCHING_PROTOCOLS;
    let mut response = if gzip && !is_upgrade { gzip::compress(answered).await } else { answered };
    let version = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert(HeaderName::from_static(native_push::VERSION_HEADER), version);
    let seconds = state.ingest.monotonic_ns().saturating_sub(begun_ns) as f64 / 1e9;
    state.metrics.count(known_method(&method), &route, response.status().as_u16(), seconds);
    response
}

/// Methods are whatever a client writes; metrics need a closed list.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
