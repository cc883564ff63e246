//! Requests to delete entries: make, list, cancel. Parameters are those of the address alone, also for POST, and
//! times whole seconds or RFC 3339 (Loki v3.7.6).

use crate::error::HttpError;
use crate::params::Params;
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderName, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_codec::{Block, RunView};
use logyard_engine::EntryFilter;
use logyard_logql::{Expr, GoDuration, LogExpr, StageKind, parse_go_duration};
use logyard_model::{Matcher, Prefilter, TimeRange};
use logyard_store::{CancelOutcome, DeleteFilter, DeleteRequest, Store};
use logyard_wire::go_time::parse_rfc3339;
use logyard_wire::json_text::push_string;
use std::io::Write as _;
use std::sync::Arc;

/// Names the request that was made.
const ID_HEADER: HeaderName = HeaderName::from_static("x-delete-request-id");

const NS_PER_SEC: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

/// Longest `max_interval` (Loki's default of `delete_max_interval`).
const INTERVAL_MAX_NS: i64 = 24 * 3600 * NS_PER_SEC;

/// `POST|PUT /loki/api/v1/delete`
pub(crate) async fn create(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let params = Params::of_url(request.uri())?;
    let (query, range) = asked(&params, state.ingest.now_ns())?;
    let made = blocking(&state, move |store| store.request_delete(&tenant, &query, range)).await??;
    Ok((StatusCode::NO_CONTENT, [(ID_HEADER, made.id)]).into_response())
}

/// `GET /loki/api/v1/delete`: with `start` and `end` only those that meet that range.
pub(crate) async fn list(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let params = Params::of_url(request.uri())?;
    let range = match (params.get("start"), params.get("end")) {
        (Some(start), Some(end)) => {
            let (start_ns, end_ns) = (named_time("start", start)?, named_time("end", end)?);
            TimeRange { start_ns, end_ns: end_ns.saturating_add(1) }
        }
        _ => TimeRange::ALL,
    };
    let mut requests = blocking(&state, move |store| store.delete_requests(&tenant)).await?;
    requests.retain(|one| range.overlaps(one.range.start_ns, one.range.end_ns.saturating_sub(1)));
    let body = encode(&requests).map_err(|error| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode delete requests: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// `DELETE /loki/api/v1/delete?request_id=`: by `force=true` also when its entries are about to go.
pub(crate) async fn cancel(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenant = tenant::of_request(request.headers(), state.settings.auth_enabled)?;
    let params = Params::of_url(request.uri())?;
    let id = params.get("request_id").unwrap_or_default().to_owned();
    let is_forced = params.get("force") == Some("true");
    match blocking(&state, move |store| store.cancel_delete(&tenant, &id, is_forced)).await?? {
        CancelOutcome::Cancelled => Ok(StatusCode::NO_CONTENT.into_response()),
        CancelOutcome::Unknown => {
            let text = "could not find delete request with given id\n";
            Err(HttpError::new(StatusCode::NOT_FOUND, text))
        }
        CancelOutcome::Processed => Err(HttpError::bad_request(
            "deletion of request which is in process or already processed is not allowed\n",
        )),
        CancelOutcome::TooLate { cancel_secs } => {
            let ns = i64::try_from(cancel_secs).unwrap_or(i64::MAX).saturating_mul(NS_PER_SEC);
            let period = GoDuration(ns);
            Err(HttpError::bad_request(format!(
                "deletion of request past the deadline of {period} since its creation is not allowed\n"
            )))
        }
    }
}

/// Reads what is asked for: a query, and the times, of which the last is included.
fn asked(params: &Params, now_ns: i64) -> Result<(String, TimeRange), HttpError> {
    let bad = |text: &str| HttpError::bad_request(format!("{text}\n"));
    let query = params.get("query").ok_or_else(|| bad("query not set"))?;
    let log = log_query(query).map_err(|text| bad(&text))?;
    let start_ns = named_time("start", params.get("start").ok_or_else(|| bad("start time not set"))?)?;
    let now_ns = now_ns.div_euclid(NS_PER_MS) * NS_PER_MS;
    let end_ns = params.get("end").map_or(Ok(now_ns), |text| named_time("end", text))?;
    if end_ns > now_ns {
        return Err(bad("deletes in the future are not allowed"));
    }
    if start_ns >= end_ns {
        return Err(bad("start time can't be greater than or equal to end time"));
    }
    let filters = |kind: &StageKind| matches!(kind, StageKind::LineFilter(_) | StageKind::LabelFilter(_));
    if log.stages.iter().any(|stage| filters(&stage.kind)) {
        check_interval(params, end_ns.saturating_sub(start_ns))?;
    }
    Ok((query.to_owned(), TimeRange { start_ns, end_ns: end_ns.saturating_add(1) }))
}

/// Checks `max_interval`, by which Loki cuts a request: nothing is cut here, but what it refuses is refused.
fn check_interval(params: &Params, span_ns: i64) -> Result<(), HttpError> {
    let bad = |text: String| Err(HttpError::bad_request(text + "\n"));
    let Some(text) = params.get("max_interval") else {
        return match span_ns < NS_PER_SEC {
            true => bad("difference between start time and end time must be at least one second".to_owned()),
            false => Ok(()),
        };
    };
    match parse_go_duration(text) {
        Ok(interval_ns) if interval_ns > INTERVAL_MAX_NS => {
            bad(format!("max_interval can't be greater than {}", GoDuration(INTERVAL_MAX_NS)))
        }
        Ok(interval_ns) if interval_ns > span_ns => {
            let span = GoDuration(span_ns);
            bad(format!("max_interval can't be greater than the interval to be deleted ({span})"))
        }
        Ok(interval_ns) if interval_ns >= NS_PER_SEC => Ok(()),
        _ => bad("invalid max_interval: valid time units are 's', 'm', 'h'".to_owned()),
    }
}

fn named_time(name: &str, text: &str) -> Result<i64, HttpError> {
    let found = match parse_rfc3339(text) {
        Some(time) => time.to_ns().map(|ns| ns.div_euclid(NS_PER_MS) * NS_PER_MS),
        // Nothing but seconds of our time: a number of another length is of another unit.
        None if text.len() == 10 => text.parse::<i64>().ok().and_then(|secs| secs.checked_mul(NS_PER_SEC)),
        None => None,
    };
    found.ok_or_else(|| {
        HttpError::bad_request(format!("invalid {name} time: require unix seconds or RFC3339 format\n"))
    })
}

/// Parses a log query. Errors: Loki's text, and why on a line of its own.
fn log_query(text: &str) -> Result<LogExpr, String> {
    let refuse = |why: &str| format!("invalid query expression\n{why}");
    let expr = logyard_logql::parse(text).map_err(|error| refuse(&error.to_string()))?;
    logyard_logql::check_stream_names(text, &expr).map_err(|error| refuse(&error.to_string()))?;
    match expr {
        Expr::Log(log) => Ok(log),
        _ => Err(refuse("a log query is wanted: a selector, and filters behind it")),
    }
}

/// Reads the query of a delete request for the store; `now_ns` is when it was made.
///
/// Errors: Loki's text, and why on a line of its own.
pub fn parse_delete(text: &str, now_ns: i64) -> Result<Arc<dyn DeleteFilter>, String> {
    let log = log_query(text)?;
    let filter = EntryFilter::compile(&log, now_ns);
    filter
        .map(|filter| -> Arc<dyn DeleteFilter> { Arc::new(LogqlFilter(filter)) })
        .map_err(|error| format!("invalid query expression\n{error}"))
}

/// A log query as the store asks it.
#[derive(Debug)]
struct LogqlFilter(EntryFilter);

impl DeleteFilter for LogqlFilter {
    fn matchers(&self) -> &[Matcher] {
        self.0.matchers()
    }

    fn prefilter(&self) -> &Prefilter {
        self.0.prefilter()
    }

    fn takes_all(&self) -> bool {
        self.0.passes_all()
    }

    fn rows(&self, block: &Block, run: &RunView, range: TimeRange) -> Result<Vec<u32>, logyard_codec::Error> {
        self.0.rows(block, run, range)
    }
}

/// Encodes a list of requests. Whole seconds, since `logcli` reads no others; how many entries went is ours, and
/// only told of a request that is done.
fn encode(requests: &[DeleteRequest]) -> std::io::Result<Vec<u8>> {
    let mut body = b"[".to_vec();
    for (index, request) in requests.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"request_id\":");
        push_string(&mut body, &request.id);
        let start = request.range.start_ns.div_euclid(NS_PER_SEC);
        let end = request.range.end_ns.saturating_sub(1).div_euclid(NS_PER_SEC);
        write!(body, ",\"start_time\":{start},\"end_time\":{end},\"query\":")?;
        push_string(&mut body, &request.query);
        let status = if request.done_ns.is_some() { "processed" } else { "received" };
        let created_ms = request.created_ns.div_euclid(NS_PER_MS);
        let (secs, millis) = (created_ms.div_euclid(1000), created_ms.rem_euclid(1000));
        write!(body, ",\"status\":\"{status}\",\"created_at\":{secs}.{millis:03},\"user_id\":\"\"")?;
        if request.done_ns.is_some() {
            write!(body, ",\"deleted_entries\":{}", request.entries)?;
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]\n");
    Ok(body)
}

/// Asks the store on a thread that may block.
async fn blocking<T: Send + 'static>(
    state: &State,
    job: impl FnOnce(&Store) -> T + Send + 'static,
) -> Result<T, HttpError> {
    let store = state.store.clone();
    tokio::task::spawn_blocking(move || job(&store)).await.map_err(|_| {
        let text = "delete request failed: internal error, see the log of logyard\n";
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::of_text;

    const NOW_NS: i64 = 1_795_230_000 * NS_PER_SEC + 123_456_789;

    #[test]
    fn what_is_asked_for_is_checked_in_lokis_order() {
        let check = |text: &str, expect: Result<(i64, i64), &str>| {
            let found = asked(&of_text(text), NOW_NS);
            let found = found.map(|(_, range)| (range.start_ns, range.end_ns));
            let found = found.map_err(|error| error.text().trim_end().to_owned());
            assert_eq!(found, expect.map_err(str::to_owned), "{text}");
        };
        let query = "query=%7Ba%3D%22b%22%7D";
        let filter = "query=%7Ba%3D%22b%22%7D%7C%3D%22x%22";
        let at = |secs: i64| secs * NS_PER_SEC;
        check("start=1&end=2", Err("query not set"));
        check(query, Err("start time not set"));
        check(
            &format!("{query}&start=177059520"),
            Err("invalid start time: require unix seconds or RFC3339 format"),
        );
        check(
            &format!("{query}&start=1770595200&end=x"),
            Err("invalid end time: require unix seconds or RFC3339 format"),
        );
        check(
            &format!("{query}&start=1770595200&end=1795230001"),
            Err("deletes in the future are not allowed"),
        );
        check(
            &format!("{query}&start=1770595200&end=1770595200"),
            Err("start time can't be greater than or equal to end time"),
        );
        check(
            &format!("{query}&start=1770595200&end=1770598800"),
            Ok((at(1_770_595_200), at(1_770_598_800) + 1)),
        );
        // Without an end until now, to the millisecond.
        let now_ns = at(1_795_230_000) + 123_000_000;
        check(&format!("{query}&start=1770595200"), Ok((at(1_770_595_200), now_ns + 1)));
        check(
            &format!("{query}&start=2026-02-09T00:00:00.5Z&end=1770598800&max_interval=48h"),
            Ok((at(1_770_595_200) + 500_000_000, at(1_770_598_800) + 1)),
        );
        let hour = format!("{filter}&start=1770595200&end=1770598800");
        check(&format!("{hour}&max_interval=30m"), Ok((at(1_770_595_200), at(1_770_598_800) + 1)));
        check(&format!("{hour}&max_interval=24h1s"), Err("max_interval can't be greater than 24h0m0s"));
        check(
            &format!("{hour}&max_interval=2h"),
            Err("max_interval can't be greater than the interval to be deleted (1h0m0s)"),
        );
        // Times at the ends of what nanoseconds can say.
        let text = "invalid start time: require unix seconds or RFC3339 format";
        check(&format!("{filter}&start=9999999999&end=1770598800"), Err(text));
        let ages = Ok((-8_520_336_000 * NS_PER_SEC, at(1_770_598_800) + 1));
        check(&format!("{filter}&start=1700-01-01T00:00:00Z&end=1770598800"), ages);
        for wrong in ["1d", "10ms", "x"] {
            let text = "invalid max_interval: valid time units are 's', 'm', 'h'";
            check(&format!("{hour}&max_interval={wrong}"), Err(text));
        }
        check(
            &format!("{filter}&start=2026-02-09T00:00:00.5Z&end=1770595201"),
            Err("difference between start time and end time must be at least one second"),
        );
    }

    #[test]
    fn only_log_queries_about_single_entries_can_be_deleted() {
        for query in [r#"{a="b"}"#, r#"{a="b"} |= "x" | json | c="d""#] {
            assert!(parse_delete(query, 0).is_ok(), "{query}");
        }
        for query in ["", "{", r#"rate({a="b"}[1m])"#, r#"{a="b"} | distinct c"#, r#"{a="b"} |~ "(""#] {
            let error = parse_delete(query, 0).unwrap_err();
            assert!(error.starts_with("invalid query expression\n"), "{query}: {error}");
        }
        assert!(parse_delete(r#"{a="b"}"#, 0).unwrap().takes_all());
    }
}
