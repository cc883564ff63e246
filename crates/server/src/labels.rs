//! What streams there are: label names, values, series, and how much a selector covers.

use crate::error::HttpError;
use crate::param_forms::{self, Bounds};
use crate::params::Params;
use crate::query::check_length;
use crate::select_local::{self, label_names, label_values, streams};
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use logyard_logql::Expr;
use logyard_model::{LabelSet, MatchOp, Matcher, Stream, Tenants, TimeRange};
use logyard_wire::json_text::push_list;
use logyard_wire::loki_answer::{self, JSON_CONTENT_TYPE};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most selectors of one series request.
const SELECTORS_MAX: usize = 1000;

/// What all requests of this file have.
pub(crate) struct Asked {
    pub(crate) tenants: Tenants,
    pub(crate) range: TimeRange,
    pub(crate) params: Params,
}

/// Reads what all requests of this file have.
pub(crate) async fn asked(state: &State, request: Request<Body>) -> Result<Asked, HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let params = Params::read(request).await?;
    let bounds = param_forms::bounds(&params, state.ingest.now_ns())?;
    check_length(state, bounds)?;
    Ok(Asked { tenants, range: TimeRange { start_ns: bounds.start_ns, end_ns: bounds.end_ns }, params })
}

/// `GET|POST /loki/api/v1/labels` and `/label`
pub(crate) async fn names(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let names = find_names(&state, request).await?;
    Ok(json(loki_answer::names(names.iter().map(String::as_str))))
}

/// `GET|POST /loki/api/v1/label/{name}/values`
pub(crate) async fn values(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let values = find_values(&state, name, request).await?;
    Ok(json(loki_answer::names(values.iter().map(String::as_str))))
}

/// `GET|POST /api/prom/label`
pub(crate) async fn old_names(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let names = find_names(&state, request).await?;
    Ok(json(old_list(&names)))
}

/// `GET|POST /api/prom/label/{name}/values`
pub(crate) async fn old_values(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let values = find_values(&state, name, request).await?;
    Ok(json(old_list(&values)))
}

/// `GET|POST /loki/api/v1/series`
pub(crate) async fn series(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let Asked { tenants, range, params } = asked(&state, request).await?;
    let texts: Vec<&str> =
        params.all("match[]").chain(params.all("match")).filter(|text| !text.is_empty()).collect();
    if texts.len() > SELECTORS_MAX {
        return Err(HttpError::bad_request(format!(
            "too many selectors: {}, limit is {SELECTORS_MAX}",
            texts.len()
        )));
    }
    let mut selectors: Vec<Vec<Matcher>> = texts.into_iter().map(loose_selector).collect::<Result<_, _>>()?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let shared = Arc::clone(&state);
    let body = state
        .run_read(move |_, _| {
            let mut found: BTreeMap<u128, Arc<Stream>> = BTreeMap::new();
            for matchers in &selectors {
                let streams = streams(&shared.store, &tenants, matchers, range)?;
                found.extend(streams.into_iter().map(|stream| (stream.id.0, stream)));
            }
            let mut sets: Vec<&LabelSet> = found.values().map(|stream| &*stream.labels).collect();
            sets.sort_unstable();
            Ok(loki_answer::series(sets))
        })
        .await?;
    Ok(json(body))
}

/// `GET|POST /loki/api/v1/index/stats`: the bare object, without an envelope.
pub(crate) async fn stats(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let Asked { tenants, range, params } = asked(&state, request).await?;
    // Has no meaning here, but Loki checks it.
    let TimeRange { start_ns, end_ns } = range;
    param_forms::step_ns(&params, Bounds { start_ns, end_ns })?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let shared = Arc::clone(&state);
    let stats = state
        .run_read(move |_, _| Ok(select_local::stats(&shared.store, &tenants, &matchers, range)?))
        .await?;
    let body = format!(
        "{{\"streams\":{},\"chunks\":{},\"bytes\":{},\"entries\":{}}}\n",
        stats.streams, stats.chunks, stats.bytes, stats.entries
    );
    Ok(json(body.into_bytes()))
}

async fn find_names(state: &Arc<State>, request: Request<Body>) -> Result<BTreeSet<String>, HttpError> {
    let Asked { tenants, range, params } = asked(state, request).await?;
    let matchers = matchers(&params)?;
    let shared = Arc::clone(state);
    state.run_read(move |_, _| Ok(label_names(&shared.store, &tenants, &matchers, range)?)).await
}

async fn find_values(
    state: &Arc<State>,
    name: String,
    request: Request<Body>,
) -> Result<BTreeSet<String>, HttpError> {
    if name.contains('/') {
        return Err(HttpError::not_found());
    }
    let Asked { tenants, range, params } = asked(state, request).await?;
    let matchers = matchers(&params)?;
    let shared = Arc::clone(state);
    state.run_read(move |_, _| Ok(label_values(&shared.store, &tenants, &name, &matchers, range)?)).await
}

/// Returns the matchers of the parameter `query`, if there is one.
fn matchers(params: &Params) -> Result<Vec<Matcher>, HttpError> {
    params.get("query").map_or_else(|| Ok(Vec::new()), selector)
}

/// Parses a selector such as `{app="a"}` for settings that hold one. Errors: LogQL's text.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, String> {
    selector(text).map_err(|error| error.text().to_owned())
}

/// Parses a selector without a pipeline.
pub(crate) fn selector(text: &str) -> Result<Vec<Matcher>, HttpError> {
    match logyard_logql::parse(text) {
        Ok(Expr::Log(log)) if log.stages.is_empty() => Ok(log.matchers),
        Ok(_) => Err(HttpError::bad_request("only label matchers are supported")),
        Err(error) => Err(HttpError::bad_request(error.to_string())),
    }
}

/// Reads a selector of the series endpoint, which may be negative alone, as in `{job!="x"}`, or empty.
///
/// Loki refuses those that ask for nothing but absence, as in `{job=""}`.
fn loose_selector(text: &str) -> Result<Vec<Matcher>, HttpError> {
    /// Satisfies the parser's rule; no stream can have it, so it never meets one of the same name.
    const EXTRA: &str = "__logyard_any__";
    let refused = match selector(text) {
        Ok(matchers) => return Ok(matchers),
        Err(error) => error,
    };
    let Some(rest) = text.trim_start().strip_prefix('{') else { return Err(refused) };
    if rest.trim().strip_suffix('}').is_some_and(|inner| inner.trim().is_empty()) {
        return Ok(Vec::new());
    }
    // Any other fault shows up again and is reported with the positions of the original text.
    let mut matchers = selector(&format!("{{{EXTRA}=~\".+\", {rest}")).map_err(|_| refused.clone())?;
    matchers.retain(|matcher| matcher.name() != EXTRA);
    let is_negative = |matcher: &Matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
    if matchers.iter().any(is_negative) { Ok(matchers) } else { Err(refused) }
}

fn old_list(items: &BTreeSet<String>) -> Vec<u8> {
    let mut body = b"{\"values\":".to_vec();
    push_list(&mut body, items.iter().map(String::as_str));
    body.extend_from_slice(b"}\n");
    body
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(matchers: Vec<Matcher>) -> String {
        matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn selectors_are_strict_and_loose() {
        assert_eq!(shown(selector(r#"{a="b"}"#).unwrap()), r#"a="b""#);
        for text in ["{}", r#"{a!="b"}"#, r#"{a="b"} |= "x""#, r#"rate({a="b"}[1m])"#, "a"] {
            assert!(selector(text).is_err(), "{text}");
        }
        assert_eq!(shown(loose_selector("{ }").unwrap()), "");
        assert_eq!(shown(loose_selector(r#" {a!="b"}"#).unwrap()), r#"a!="b""#);
        for text in ["{", r#"{a="b"} |= "x""#, "a", r#"{a~"b"}"#, "", r#"{a=""}"#] {
            assert!(loose_selector(text).is_err(), "{text}");
        }
    }
}
