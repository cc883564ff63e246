//! How many bytes of lines streams have: `index/volume` and `index/volume_range`.
//!
//! Bytes are those of lines, exact, recent ones included; Loki adds structured metadata and rounds to whole KiB.
//! Those of several tenants are summed, and no label tells them apart.

use crate::answer;
use crate::error::HttpError;
use crate::labels::selector;
use crate::param_forms;
use crate::params::Params;
use crate::query::{check_length, engine_error, lost};
use crate::select_local::{LocalSelect, TENANT_LABEL, without_damage};
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use logyard_engine::{Volume, VolumeGroups, VolumeRequest};
use logyard_model::{Matcher, Tenants, TimeRange};
use logyard_wire::loki_answer::{self, JSON_CONTENT_TYPE};
use std::cmp::Reverse;
use std::sync::Arc;

/// Groups of an answer whose request names no limit, or 0.
const LIMIT_DEFAULT: usize = 100;
/// The selector of all streams.
const EVERYTHING: &str = "{}";
const MS_NS: i64 = 1_000_000;

/// A request before it has its flag.
struct Asked {
    tenants: Tenants,
    matchers: Vec<Matcher>,
    range: TimeRange,
    bucket_ns: Option<i64>,
    required: Vec<String>,
    groups: VolumeGroups,
    limit: usize,
}

/// `GET|POST /loki/api/v1/index/volume`: a vector, stamped with the end of the range.
pub(crate) async fn instant(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    answer(&state, request, false).await
}

/// `GET|POST /loki/api/v1/index/volume_range`: a matrix.
pub(crate) async fn range(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    answer(&state, request, true).await
}

async fn answer(state: &Arc<State>, request: Request<Body>, by_step: bool) -> Result<Response, HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let params = Params::read(request).await?;
    let asked = read(state, tenants, &params, by_step)?;
    let shared = Arc::clone(state);
    let body = state
        .run_read(move |cancel, queue_ns| {
            let Asked { tenants, matchers, range, bucket_ns, required, groups, limit } = asked;
            let request = VolumeRequest {
                tenants,
                matchers,
                range,
                bucket_ns,
                required,
                groups,
                groups_max: shared.settings.volume_series_max,
                now_ns: shared.ingest.now_ns(),
                cancel: Arc::clone(cancel),
            };
            let begun_ns = shared.ingest.monotonic_ns();
            let source = LocalSelect::unlabelled(&shared.store);
            let outcome = without_damage(&shared.store, || shared.engine.volume(&source, &request))
                .map_err(engine_error)?;
            let warnings = lost(&shared.store, &request.tenants, range);
            let exec_ns = shared.ingest.monotonic_ns().saturating_sub(begun_ns);
            let mut volumes = outcome.groups;
            // Groups come in the order of their labels, and the sort keeps it among equals.
            volumes.sort_by_key(|volume| Reverse(volume.bytes));
            volumes.truncate(limit);
            let stats = answer::stats(&outcome.stats, 0, answer::Spent { exec_ns, queue_ns });
            Ok(match bucket_ns {
                None => loki_answer::vector(
                    volumes.iter().map(|volume| (&volume.labels, (range.end_ns, volume.bytes as f64))),
                    &stats,
                    &warnings,
                ),
                Some(width_ns) => loki_answer::matrix(
                    volumes.iter().map(|volume| (&volume.labels, points(volume, width_ns, range.end_ns))),
                    &stats,
                    &warnings,
                ),
            })
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response())
}

/// Buckets are stamped with their last millisecond, the last one with the end of the range.
fn points(volume: &Volume, width_ns: i64, range_end_ns: i64) -> impl Iterator<Item = (i64, f64)> {
    volume.buckets.iter().map(move |(start_ns, bytes)| {
        let end_ns = start_ns.saturating_add(width_ns);
        let stamp_ns = if end_ns < range_end_ns { end_ns - MS_NS } else { range_end_ns };
        (stamp_ns, *bytes as f64)
    })
}

fn read(state: &State, tenants: Tenants, params: &Params, by_step: bool) -> Result<Asked, HttpError> {
    let bounds = param_forms::bounds(params, state.ingest.now_ns())?;
    let query = params.get("query").unwrap_or_default();
    let is_everything = query.trim() == EVERYTHING;
    let matchers = if is_everything { Vec::new() } else { selector(query)? };
    let limit = match params.get("limit") {
        Some("0") | None => LIMIT_DEFAULT,
        Some(_) => param_forms::limit(params)?,
    };
    let bucket_ns = if by_step { Some(param_forms::step_ns(params, bounds)?) } else { None };
    let targets = params.get("targetLabels").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let targets: Vec<String> = targets.map(str::to_owned).collect();
    let is_shown = |name: &str| tenants.only().is_some() || name != TENANT_LABEL;
    let names = || matchers.iter().map(Matcher::name).filter(|name| is_shown(name));
    let by_matchers = || names().map(str::to_owned).collect();
    let groups = match (params.get("aggregateBy"), targets.is_empty()) {
        (None | Some("series"), true) if is_everything => VolumeGroups::Values(None),
        (None | Some("series"), true) => VolumeGroups::Values(Some(by_matchers())),
        (None | Some("series"), false) => VolumeGroups::Values(Some(targets.clone())),
        (Some("labels"), true) => VolumeGroups::Names(None),
        (Some("labels"), false) => VolumeGroups::Names(Some(targets.clone())),
        (Some(_), _) => return Err(HttpError::bad_request("invalid aggregation option")),
    };
    check_length(state, bounds)?;
    let range = TimeRange { start_ns: bounds.start_ns, end_ns: bounds.end_ns };
    Ok(Asked { tenants, matchers, range, bucket_ns, required: targets, groups, limit })
}
