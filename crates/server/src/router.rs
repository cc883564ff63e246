//! Which path goes where, and what every answer gets.

use crate::access::Need;
use crate::error::HttpError;
use crate::routes::{Route, Routes};
use crate::state::State;
use crate::{
    delete, detected, documents, drilldown, gzip, labels, patterns, push, query, reload, rules, rules_state,
    snapshot, status, storage, tail, volume,
};
use axum::Router;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use logyard_wire::native_push;
use std::sync::Arc;

/// Returns all endpoints, and the list of them.
pub(crate) fn routes(state: &Arc<State>) -> (Router<Arc<State>>, Vec<Route>) {
    const GET: &[Method] = &[Method::GET];
    const POST: &[Method] = &[Method::POST];
    let routes = of_documents(Routes::new(state))
        .add(GET, "/", Need::Any, documents::root)
        .add(GET, "/ready", Need::Open, status::ready)
        .add(GET, "/metrics", Need::Read, status::metrics)
        .add(GET, "/services", Need::Read, status::services)
        .add(POST, "/flush", Need::Admin, push::flush)
        .add(POST, "/reload", Need::Operator, reload::reload)
        .add(GET, "/loki/api/v1/status/buildinfo", Need::Read, status::buildinfo)
        .add(GET, "/loki/api/v1/drilldown-limits", Need::Read, drilldown::limits)
        .push("/loki/api/v1/push", push::loki)
        .push("/api/prom/push", push::loki)
        .add(GET, "/loki/api/v1/push", Need::Open, push::wrong_method)
        .add(GET, "/api/prom/push", Need::Open, push::wrong_method)
        .push("/otlp/v1/logs", push::otlp)
        .push(native_push::PATH, push::native)
        .add(POST, "/logyard/v1/admin/snapshot", Need::Operator, snapshot::create)
        .add(GET, "/logyard/v1/admin/snapshot", Need::Operator, snapshot::list)
        .add(&[Method::DELETE], "/logyard/v1/admin/snapshot", Need::Operator, snapshot::delete)
        .add(POST, "/logyard/v1/admin/import", Need::Operator, storage::import)
        .add(GET, "/logyard/v1/storage", Need::Admin, storage::report)
        .add(&[Method::POST, Method::PUT], "/loki/api/v1/delete", Need::Admin, delete::create)
        .add(GET, "/loki/api/v1/delete", Need::Admin, delete::list)
        .add(&[Method::DELETE], "/loki/api/v1/delete", Need::Admin, delete::cancel)
        .add(GET, "/loki/api/v1/tail", Need::Read, tail::current)
        .add(GET, "/api/prom/tail", Need::Read, tail::old);
    of_rules(of_queries(routes)).finish()
}

fn of_rules(routes: Routes) -> Routes {
    const GET: &[Method] = &[Method::GET];
    const DELETE: &[Method] = &[Method::DELETE];
    const PATHS: [[&str; 3]; 2] = [
        ["/loki/api/v1/rules", "/loki/api/v1/rules/{namespace}", "/loki/api/v1/rules/{namespace}/{group}"],
        ["/api/prom/rules", "/api/prom/rules/{namespace}", "/api/prom/rules/{namespace}/{group}"],
    ];
    let routes = routes.add(GET, "/prometheus/api/v1/rules", Need::Read, rules_state::rules).add(
        GET,
        "/prometheus/api/v1/alerts",
        Need::Read,
        rules_state::alerts,
    );
    PATHS.into_iter().fold(routes, |routes, [all, namespace, group]| {
        routes
            .add(GET, all, Need::Read, rules::list)
            .add(GET, namespace, Need::Read, rules::list_namespace)
            .add(GET, group, Need::Read, rules::read)
            .add(&[Method::POST], namespace, Need::Admin, rules::write)
            .add(DELETE, namespace, Need::Admin, rules::remove_namespace)
            .add(DELETE, group, Need::Admin, rules::remove)
    })
}

fn of_documents(routes: Routes) -> Routes {
    const SETUP: [&str; 7] = [
        "/_ilm/policy/{name}",
        "/_index_template/{name}",
        "/_component_template/{name}",
        "/_template/{name}",
        "/_data_stream/{name}",
        "/_alias/{name}",
        "/_ingest/pipeline/{name}",
    ];
    let put_or_post = [Method::POST, Method::PUT];
    let routes = routes
        .push("/logyard/v1/push/jsonl", documents::lines)
        .add(&put_or_post, "/_bulk", Need::Write, documents::bulk)
        .add(&put_or_post, "/{index}/_bulk", Need::Write, documents::bulk)
        .add(&[Method::GET], "/_license", Need::Write, documents::license)
        .add(&[Method::GET], "/_xpack", Need::Write, documents::license)
        .add(&[Method::GET], "/_cluster/health", Need::Write, documents::health);
    let methods = [Method::GET, Method::PUT, Method::POST];
    SETUP.into_iter().fold(routes, |routes, path| routes.add(&methods, path, Need::Write, documents::setup))
}

fn of_queries(routes: Routes) -> Routes {
    routes
        .read("/loki/api/v1/query_range", query::range)
        .read("/loki/api/v1/query", query::instant)
        .read("/loki/api/v1/format_query", query::format)
        .read("/loki/api/v1/labels", labels::names)
        .read("/loki/api/v1/label", labels::names)
        .read("/loki/api/v1/label/{name}/values", labels::values)
        .read("/loki/api/v1/series", labels::series)
        .read("/loki/api/v1/index/stats", labels::stats)
        .read("/loki/api/v1/index/volume", volume::instant)
        .read("/loki/api/v1/index/volume_range", volume::range)
        .read("/loki/api/v1/detected_labels", detected::labels)
        .read("/loki/api/v1/detected_fields", detected::fields)
        .read("/loki/api/v1/detected_field/{name}/values", detected::values)
        .read("/loki/api/v1/patterns", patterns::patterns)
        .read("/api/prom/query", query::old)
        .read("/api/prom/label", labels::old_names)
        .read("/api/prom/label/{name}/values", labels::old_values)
        .read("/api/prom/series", labels::series)
}

/// Builds the router with all endpoints under the configured prefix.
pub(crate) fn router(state: &Arc<State>) -> Router {
    let (routes, _) = routes(state);
    let prefix = state.settings.path_prefix.trim_end_matches('/');
    let routes = if prefix.is_empty() { routes } else { Router::new().nest(prefix, routes) };
    routes
        .fallback(|| async { HttpError::not_found() })
        .layer(from_fn_with_state(Arc::clone(state), around))
        .with_state(Arc::clone(state))
}

/// Counts, compresses and signs every answer.
async fn around(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let begun_ns = state.ingest.monotonic_ns();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let gzip = gzip::is_asked(request.headers());
    // The router would answer HEAD like GET; Loki does not, Elasticsearch does.
    let prefix = state.settings.path_prefix.trim_end_matches('/');
    let own = route.strip_prefix(prefix).unwrap_or(&route);
    let is_elastic = matches!(own, "" | "/") || own.contains("/_");
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
