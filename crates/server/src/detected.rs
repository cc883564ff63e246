//! What can be browsed by: labels of streams worth showing, fields of entries and their values.
//!
//! Fields are found in a sample, the newest lines that the query yields; labels in all streams.

use crate::error::HttpError;
use crate::labels::{Asked, asked, selector};
use crate::param_forms;
use crate::params::Params;
use crate::query::{check_length, check_limit, engine_error, parse};
use crate::select_local::{evaluate, streams};
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use logyard_engine::{
    DetectedField, LogEntry, QueryKind, QueryRequest, QueryResult, detect_fields, detect_values,
};
use logyard_logql::Expr;
use logyard_model::Direction;
use logyard_wire::json_text::{push_joined, push_list, push_string};
use logyard_wire::loki_answer::JSON_CONTENT_TYPE;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Fields, or values of one, in an answer whose request names no limit.
const FIELDS_DEFAULT: usize = 1000;
/// Lines that are looked at if the request does not say how many.
const LINES_DEFAULT: usize = 100;
/// Labels that are shown whatever their values are.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

/// `GET|POST /loki/api/v1/detected_labels`
pub(crate) async fn labels(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let Asked { tenants, range, params } = asked(&state, request).await?;
    let matchers = match params.get("query").map(str::trim) {
        None | Some("{}") => Vec::new(),
        Some(text) => selector(text)?,
    };
    let shared = Arc::clone(&state);
    let job = move |_: &_, _| {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for stream in streams(&shared.store, &tenants, &matchers, range)? {
            for (name, value) in stream.labels.iter() {
                let values = match found.get_mut(name) {
                    Some(values) => values,
                    None => found.entry(name.to_owned()).or_default(),
                };
                if !values.contains(value) {
                    values.insert(value.to_owned());
                }
            }
        }
        Ok(found)
    };
    let found = state.run_read(job).await?;
    let mut body = b"{\"detectedLabels\":[".to_vec();
    let shown = found.iter().filter(|(name, values)| is_worth_showing(name, values));
    for (index, (name, values)) in shown.enumerate() {
        body.extend_from_slice(if index > 0 { b",{\"label\":" } else { b"{\"label\":" });
        push_string(&mut body, name);
        body.extend_from_slice(format!(",\"cardinality\":{}}}", values.len()).as_bytes());
    }
    body.extend_from_slice(b"]}\n");
    Ok(json(body))
}

/// `GET|POST /loki/api/v1/detected_fields`
pub(crate) async fn fields(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let (fields, limit) = sample(&state, request, detect_fields).await?;
    let mut body = b"{\"fields\":[".to_vec();
    push_joined(&mut body, &fields, |body, (name, field)| push_field(body, name, field));
    body.extend_from_slice(format!("],\"limit\":{limit}}}\n").as_bytes());
    Ok(json(body))
}

/// `GET|POST /loki/api/v1/detected_field/{name}/values`
pub(crate) async fn values(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let pick = move |entries: &[LogEntry], limit| detect_values(entries, &name, limit);
    let (values, limit) = sample(&state, request, pick).await?;
    let mut body = b"{\"values\":".to_vec();
    push_list(&mut body, values.iter().map(|value| &**value));
    body.extend_from_slice(format!(",\"limit\":{limit}}}\n").as_bytes());
    Ok(json(body))
}

/// Runs the query of a request over its newest lines and picks something from them, with the limit of the request.
async fn sample<T: Send + 'static>(
    state: &Arc<State>,
    request: Request<Body>,
    pick: impl FnOnce(&[LogEntry], usize) -> T + Send + 'static,
) -> Result<(T, usize), HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let params = Params::read(request).await?;
    let bounds = param_forms::bounds(&params, state.ingest.now_ns())?;
    let limit = match params.get("field_limit") {
        Some(_) => param_forms::count(&params, "field_limit", FIELDS_DEFAULT)?,
        None => param_forms::count(&params, "limit", FIELDS_DEFAULT)?,
    };
    let lines = param_forms::count(&params, "line_limit", LINES_DEFAULT)?;
    let step_ns = param_forms::step_ns(&params, bounds)?;
    let expr = parse(&params)?;
    if !matches!(expr, Expr::Log(_)) {
        return Err(HttpError::bad_request("only log selector is supported"));
    }
    check_length(state, bounds)?;
    check_limit(state, lines)?;
    let shared = Arc::clone(state);
    let job = move |cancel: &Arc<_>, _| {
        let request = QueryRequest {
            tenants,
            expr: Arc::new(expr),
            kind: QueryKind::Range { start_ns: bounds.start_ns, end_ns: bounds.end_ns, step_ns },
            limit: lines,
            direction: Direction::Backward,
            interval_ns: 0,
            partial_series: false,
            now_ns: shared.ingest.now_ns(),
            cancel: Arc::clone(cancel),
        };
        let outcome = evaluate(&shared.engine, &shared.store, &request).map_err(engine_error)?;
        let entries = match outcome.result {
            QueryResult::Entries(entries) => entries,
            _ => Vec::new(),
        };
        Ok((pick(&entries, limit), limit))
    };
    state.run_read(job).await
}

/// Labels whose values are all ids lead nowhere; a flag of 0 and 1 is none.
fn is_worth_showing(name: &str, values: &BTreeSet<String>) -> bool {
    let is_flag = values.len() == 2 && ["0", "1"].iter().all(|value| values.contains(*value));
    is_flag || ALWAYS_SHOWN.contains(&name) || !values.iter().all(|value| is_number(value) || is_uuid(value))
}

fn is_number(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

/// Whether a text is a UUID: 32 hexadecimal digits, bare or parted 8-4-4-4-12, then also in braces or behind `urn:uuid:`.
fn is_uuid(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() == 32 {
        return is_hex(text);
    }
    let braced = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let bare = braced.or_else(|| text.strip_prefix("urn:uuid:")).unwrap_or(text);
    bare.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && bare.split('-').all(is_hex)
}

/// Clients tell metadata by `parsers` being null, so it is never an empty list.
fn push_field(body: &mut Vec<u8>, name: &str, field: &DetectedField) {
    let DetectedField { kind, cardinality, parsers, json_path } = field;
    body.extend_from_slice(b"{\"label\":");
    push_string(body, name);
    let numbers = format!(",\"type\":\"{}\",\"cardinality\":{cardinality},\"parsers\":", kind.as_str());
    body.extend_from_slice(numbers.as_bytes());
    if parsers.is_empty() {
        body.extend_from_slice(b"null");
    } else {
        push_list(body, parsers.iter().copied());
    }
    if !json_path.is_empty() {
        body.extend_from_slice(b",\"jsonPath\":");
        push_list(body, json_path.iter().map(String::as_str));
    }
    body.push(b'}');
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_ids_are_hidden() {
        let shown = |name: &str, values: &[&str]| {
            is_worth_showing(name, &values.iter().map(|value| (*value).to_owned()).collect())
        };
        let uuid = "123e4567-e89b-12d3-a456-426614174000";
        let bare = uuid.replace('-', "");
        for (values, expect) in [
            (vec!["a"], true),
            (vec!["1", "2"], false),
            (vec!["0", "1"], true),
            (vec!["1"], false),
            (vec!["1.5", "-2e3"], false),
            (vec!["nan", "1"], true),
            (vec![uuid, &bare, "{123e4567-e89b-12d3-a456-426614174000}"], false),
            (vec![uuid, "x"], true),
            (vec!["123e4567-e89b-12d3-a456-42661417400g"], true),
        ] {
            assert_eq!(shown("id", &values), expect, "{values:?}");
        }
        assert!(shown("pod", &["1"]));
    }
}
