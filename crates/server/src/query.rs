//! The query endpoints, and the reprinting of a query.

use crate::answer::{self, Spent};
use crate::error::HttpError;
use crate::param_forms::{self, Bounds};
use crate::params::Params;
use crate::select_local::evaluate;
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logyard_engine::{PlanStep, QueryKind, QueryOutcome, QueryRequest, QueryResult, QueryStats};
use logyard_ingest::SpanText;
use logyard_logql::Expr;
use logyard_model::{Direction, Tenants, TimeRange};
use logyard_store::Store;
use logyard_wire::explain::{self, EXPLAIN_ANALYZE, EXPLAIN_PARAM, EXPLAIN_PLAN};
use logyard_wire::go_time::GoTime;
use logyard_wire::json_text::push_string;
use logyard_wire::loki_answer::JSON_CONTENT_TYPE;
use logyard_wire::loki_query::{ENCODING_FLAGS_HEADER, QUERY_TAGS_HEADER};
use std::sync::Arc;

/// How Logs Drilldown names itself as the source of a query.
const DRILLDOWN: &str = "grafana-lokiexplore-app";

/// Most lost segments that one answer names.
const LOST_SHOWN_MAX: usize = 10;

/// A query before it has its tenant and its flag.
struct Asked {
    tenants: Tenants,
    expr: Expr,
    kind: QueryKind,
    limit: usize,
    direction: Direction,
    interval_ns: i64,
    flags: Vec<String>,
    partial_series: bool,
    explain: Explain,
    shape: Shape,
}

/// How entries are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Current,
    /// As `/api/prom/query` answers.
    Old,
}

/// Whether an answer tells how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Explain {
    No,
    /// Nothing is run: the answer is empty.
    Plan,
    Analyze,
}

impl Explain {
    fn read(params: &Params) -> Result<Self, HttpError> {
        match params.get(EXPLAIN_PARAM) {
            None => Ok(Self::No),
            Some(EXPLAIN_PLAN) => Ok(Self::Plan),
            Some(EXPLAIN_ANALYZE) => Ok(Self::Analyze),
            Some(other) => Err(HttpError::bad_request(format!(
                "cannot read parameter explain: want {EXPLAIN_PLAN} or {EXPLAIN_ANALYZE}, got '{other}'"
            ))),
        }
    }
}

/// `GET|POST /loki/api/v1/query_range`
pub(crate) async fn range(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let asked = read_range(&state, request, |_, expr| Ok(expr)).await?;
    run(&state, asked).await
}

/// `GET|POST /api/prom/query`: entries in the older shape, with a line filter in the parameter `regexp`.
pub(crate) async fn old(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let with_regexp = |params: &Params, expr: Expr| {
        if !matches!(expr, Expr::Log(_)) {
            return Err(HttpError::bad_request("legacy endpoints only support streams result type"));
        }
        let Some(regexp) = params.get("regexp") else { return Ok(expr) };
        let query = params.get("query").unwrap_or_default();
        parse_text(&format!("{query}\n|~ {}", logyard_logql::quoted(regexp)))
    };
    let asked = read_range(&state, request, with_regexp).await?;
    run(&state, Asked { shape: Shape::Old, ..asked }).await
}

/// Reads a query over a range; `change` may replace what is asked.
async fn read_range(
    state: &State,
    request: Request<Body>,
    change: impl FnOnce(&Params, Expr) -> Result<Expr, HttpError>,
) -> Result<Asked, HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let flags = encoding_flags(request.headers());
    let partial_series = is_drilldown(request.headers());
    let params = Params::read(request).await?;
    let bounds = param_forms::bounds(&params, state.ingest.now_ns())?;
    let limit = param_forms::limit(&params)?;
    let direction = param_forms::direction(&params)?;
    let step_ns = param_forms::step_ns(&params, bounds)?;
    let interval_ns = param_forms::interval_ns(&params)?;
    let explain = Explain::read(&params)?;
    let expr = change(&params, parse(&params)?)?;
    check_length(state, bounds)?;
    let kind = match expr {
        Expr::Log(_) => {
            check_limit(state, limit)?;
            QueryKind::Range { start_ns: bounds.start_ns, end_ns: bounds.end_ns, step_ns }
        }
        _ => on_grid(bounds, step_ns),
    };
    let shape = Shape::Current;
    Ok(Asked { tenants, expr, kind, limit, direction, interval_ns, flags, partial_series, explain, shape })
}

/// `GET|POST /loki/api/v1/query`
pub(crate) async fn instant(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let flags = encoding_flags(request.headers());
    let partial_series = is_drilldown(request.headers());
    let params = Params::read(request).await?;
    let time_ns = param_forms::instant(&params, state.ingest.now_ns())?;
    let limit = param_forms::limit(&params)?;
    let direction = param_forms::direction(&params)?;
    let explain = Explain::read(&params)?;
    let expr = parse(&params)?;
    if matches!(expr, Expr::Log(_)) {
        return Err(HttpError::bad_request(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    let kind = QueryKind::Instant { time_ns };
    let (interval_ns, shape) = (0, Shape::Current);
    let asked =
        Asked { tenants, expr, kind, limit, direction, interval_ns, flags, partial_series, explain, shape };
    run(&state, asked).await
}

/// `GET|POST /loki/api/v1/format_query`: the one endpoint of the family whose errors are JSON.
pub(crate) async fn format(request: Request<Body>) -> Result<Response, HttpError> {
    let parsed = Params::read(request).await.and_then(|params| {
        let query = params.get("query").unwrap_or_default();
        logyard_logql::parse(query).map_err(|error| HttpError::bad_request(error.to_string()))
    });
    let mut body = Vec::new();
    let status = match parsed {
        Ok(expr) => {
            body.extend_from_slice(b"{\"status\":\"success\",\"data\":");
            push_string(&mut body, &logyard_logql::pretty(&expr));
            StatusCode::OK
        }
        Err(error) if error.status == StatusCode::BAD_REQUEST => {
            body.extend_from_slice(b"{\"status\":\"invalid-query\",\"error\":");
            push_string(&mut body, error.text());
            error.status
        }
        Err(error) => return Err(error),
    };
    body.extend_from_slice(b"}\n");
    Ok((status, [(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response())
}

/// Parses the parameter `query`.
pub(crate) fn parse(params: &Params) -> Result<Expr, HttpError> {
    parse_text(params.get("query").unwrap_or_default())
}

pub(crate) fn parse_text(text: &str) -> Result<Expr, HttpError> {
    let refuse = |error: logyard_logql::ParseError| HttpError::bad_request(error.to_string());
    let expr = logyard_logql::parse(text).map_err(refuse)?;
    logyard_logql::check_stream_names(text, &expr).map_err(refuse)?;
    Ok(expr)
}

/// Refuses more entries than `engine.entries_max`.
pub(crate) fn check_limit(state: &State, limit: usize) -> Result<(), HttpError> {
    let limit_max = state.engine.settings().entries_max;
    if limit > limit_max {
        let text = format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {limit_max})"
        );
        return Err(HttpError::bad_request(text));
    }
    Ok(())
}

/// Refuses ranges above `server.query_length_max`.
pub(crate) fn check_length(state: &State, bounds: Bounds) -> Result<(), HttpError> {
    let length_max = state.settings.query_length_max;
    let length_ns = bounds.end_ns.saturating_sub(bounds.start_ns);
    let length = std::time::Duration::from_nanos(u64::try_from(length_ns).unwrap_or(0));
    if length_max.0.is_zero() || length <= length_max.0 {
        return Ok(());
    }
    let shown = go_hours(length.as_secs());
    let text = format!(
        "the query time range exceeds the limit (query length: {shown}, limit: {}); shorten the range or raise server.query_length_max",
        SpanText(length_max.0)
    );
    Err(HttpError::bad_request(text))
}

/// Prints whole seconds as Go prints a duration of an hour or more.
fn go_hours(secs: u64) -> String {
    format!("{}h{}m{}s", secs / 3600, secs / 60 % 60, secs % 60)
}

/// Metric queries are evaluated at multiples of the step: start rounded down, end rounded up.
fn on_grid(bounds: Bounds, step_ns: i64) -> QueryKind {
    let start_ns = bounds.start_ns.div_euclid(step_ns).saturating_mul(step_ns);
    let past = bounds.end_ns.rem_euclid(step_ns);
    let end_ns = if past == 0 { bounds.end_ns } else { bounds.end_ns.saturating_add(step_ns - past) };
    QueryKind::Range { start_ns, end_ns, step_ns }
}

/// The flags of the first header line, as they are: not trimmed, unknown ones kept for the echo.
pub(crate) fn encoding_flags(headers: &HeaderMap) -> Vec<String> {
    let value = headers.get(ENCODING_FLAGS_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').filter(|flag| !flag.is_empty()).map(str::to_owned).collect()
}

/// Returns whether Logs Drilldown asks: of too many series it shows some, with a warning (Loki v3.7.6).
fn is_drilldown(headers: &HeaderMap) -> bool {
    let tags = headers.get(QUERY_TAGS_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').filter_map(|tag| tag.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("source") && value.trim().eq_ignore_ascii_case(DRILLDOWN)
    })
}

async fn run(state: &Arc<State>, asked: Asked) -> Result<Response, HttpError> {
    let shared = Arc::clone(state);
    let body = state
        .run_read(move |cancel, queue_ns| {
            let Asked { tenants, expr, kind, limit, direction, interval_ns, .. } = asked;
            let Asked { flags, partial_series, explain, shape, .. } = asked;
            let request = QueryRequest {
                tenants,
                expr: Arc::new(expr),
                kind,
                limit,
                direction,
                interval_ns,
                partial_series,
                now_ns: shared.ingest.now_ns(),
                cancel: Arc::clone(cancel),
            };
            let begun_ns = shared.ingest.monotonic_ns();
            let mut outcome = match explain {
                Explain::Plan => nothing(&request),
                Explain::No | Explain::Analyze => {
                    evaluate(&shared.engine, &shared.store, &request).map_err(engine_error)?
                }
            };
            outcome.warnings.extend(lost(&shared.store, &request.tenants, range_of(&request)));
            let exec_ns = shared.ingest.monotonic_ns().saturating_sub(begun_ns);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let spent = Spent { exec_ns, queue_ns };
            let mut body = match shape {
                Shape::Current => answer::encode(&outcome, &flags, spent),
                Shape::Old => answer::encode_old(&outcome, spent),
            };
            if explain != Explain::No {
                let scans = (explain == Explain::Analyze).then_some(&*outcome.scans);
                let plan = shared.engine.explain(&request, scans).map_err(engine_error)?;
                explain::add_to(&mut body, &on_wire(plan));
            }
            Ok(body)
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response())
}

/// The answer of a query that was not run.
fn nothing(request: &QueryRequest) -> QueryOutcome {
    let result = match (&*request.expr, request.kind) {
        (Expr::Log(_), _) => QueryResult::Entries(Vec::new()),
        (_, QueryKind::Range { .. }) => QueryResult::Matrix(Vec::new()),
        (_, QueryKind::Instant { .. }) => QueryResult::Vector(Vec::new()),
    };
    QueryOutcome { result, stats: QueryStats::default(), scans: Vec::new(), warnings: Vec::new() }
}

fn on_wire(plan: PlanStep) -> explain::PlanStep {
    let fact = |(name, value): (&str, String)| explain::Fact { name: name.to_owned(), value };
    let count = |(name, value): (&str, u64)| explain::Count { name: name.to_owned(), value };
    explain::PlanStep {
        step: plan.step,
        facts: plan.facts.into_iter().map(fact).collect(),
        counts: plan.counts.into_iter().map(count).collect(),
        inputs: plan.inputs.into_iter().map(on_wire).collect(),
    }
}

/// Returns the range that a query asks for. The windows of a metric query reach further back than its first instant;
/// naming a lost segment too few there is accepted, since the next query over it tells.
fn range_of(request: &QueryRequest) -> TimeRange {
    match request.kind {
        QueryKind::Range { start_ns, end_ns, .. } => TimeRange { start_ns, end_ns: end_ns.saturating_add(1) },
        QueryKind::Instant { time_ns } => TimeRange { start_ns: time_ns, end_ns: time_ns.saturating_add(1) },
    }
}

/// Says which lost segments and damaged blocks an answer over a range lacks.
pub(crate) fn lost(store: &Store, tenants: &Tenants, range: TimeRange) -> Vec<String> {
    let span = |min_ns, max_ns| (GoTime::from_ns(min_ns).rfc3339(), GoTime::from_ns(max_ns).rfc3339());
    let damaged = tenants.iter().flat_map(|tenant| store.damaged_blocks(tenant, range)).map(|block| {
        let (from, to) = span(block.min_ns, block.max_ns);
        format!(
            "answer is incomplete: the block at offset {} of {} with {} entries from {from} to {to} is damaged",
            block.offset, block.file, block.entries
        )
    });
    let lost = tenants.iter().flat_map(|tenant| store.lost_segments(tenant, range)).map(|lost| {
        let (from, to) = span(lost.min_ns, lost.max_ns);
        format!(
            "answer is incomplete: segment {} with {} entries from {from} to {to} is lost: {}",
            lost.ulid, lost.entries, lost.reason
        )
    });
    lost.chain(damaged).take(LOST_SHOWN_MAX).collect()
}

/// Turns an error of the engine into an answer.
pub(crate) fn engine_error(error: logyard_engine::Error) -> HttpError {
    use logyard_engine::Kind;
    match error.kind() {
        Kind::Invalid => HttpError::bad_request(error.to_string()),
        Kind::Limited => HttpError::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
        Kind::Cancelled => HttpError::cancelled(),
        Kind::Deadline => HttpError::timed_out(),
        Kind::Unavailable => HttpError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Kind::Corrupt | Kind::Internal => {
            // With its causes: they name the damaged file and what to do.
            let text = Chain(&error).to_string();
            tracing::error!(error = text, "query failed");
            HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

/// Prints an error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_covers_the_range() {
        let check = |start_ns, end_ns, step_ns, expect: (i64, i64)| {
            let kind = on_grid(Bounds { start_ns, end_ns }, step_ns);
            assert_eq!(kind, QueryKind::Range { start_ns: expect.0, end_ns: expect.1, step_ns });
        };
        check(7, 600, 60, (0, 600));
        check(7, 601, 60, (0, 660));
        check(-7, -1, 60, (-60, 0));
    }

    #[test]
    fn flags_are_not_trimmed() {
        let mut headers = HeaderMap::new();
        headers.insert(ENCODING_FLAGS_HEADER, "categorize-labels, x,".parse().unwrap());
        assert_eq!(encoding_flags(&headers), ["categorize-labels", " x"]);
        assert!(!is_drilldown(&headers));
        headers.insert(QUERY_TAGS_HEADER, "a=b,Source=grafana-lokiexplore-app".parse().unwrap());
        assert!(is_drilldown(&headers));
        headers.insert(QUERY_TAGS_HEADER, "source=grafana".parse().unwrap());
        assert!(!is_drilldown(&headers));
        assert_eq!(go_hours(800 * 3600 + 60), "800h1m0s");
    }
}
