//! `patterns`: what kinds of lines streams write, with counts by step.

use crate::error::HttpError;
use crate::labels::selector;
use crate::param_forms;
use crate::params::Params;
use crate::query::{check_length, engine_error};
use crate::select_local::{LocalSelect, without_damage};
use crate::state::State;
use crate::tenant;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use logyard_engine::{PatternCounts, PatternsRequest};
use logyard_model::TimeRange;
use logyard_wire::json_text::push_string;
use logyard_wire::loki_answer::JSON_CONTENT_TYPE;
use std::sync::Arc;

const SECOND_NS: i64 = 1_000_000_000;
/// Narrowest step; narrower ones are widened, as in Loki.
const STEP_MIN_NS: i64 = 10 * SECOND_NS;
/// Level of lines that have none.
const NO_LEVEL: &str = "unknown";

/// `GET|POST /loki/api/v1/patterns`
pub(crate) async fn patterns(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let tenants = tenant::all_of_request(request.headers(), &state.settings)?;
    let params = Params::read(request).await?;
    let bounds = param_forms::bounds(&params, state.ingest.now_ns())?;
    let step_ns = param_forms::step_ns(&params, bounds)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    check_length(&state, bounds)?;
    let shared = Arc::clone(&state);
    let job = move |cancel: &Arc<_>, _| {
        let request = PatternsRequest {
            tenants,
            matchers,
            range: TimeRange { start_ns: bounds.start_ns, end_ns: bounds.end_ns },
            // Samples are stamped with whole seconds.
            step_ns: (step_ns / SECOND_NS * SECOND_NS).max(STEP_MIN_NS),
            now_ns: shared.ingest.now_ns(),
            cancel: Arc::clone(cancel),
        };
        let source = LocalSelect::new(&shared.store);
        let found = without_damage(&shared.store, || shared.engine.patterns(&source, &request))
            .map_err(engine_error)?;
        Ok(encode(&found))
    };
    let body = state.run_read(job).await?;
    Ok(([(header::CONTENT_TYPE, JSON_CONTENT_TYPE)], body).into_response())
}

fn encode(found: &[PatternCounts]) -> Vec<u8> {
    let mut body = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (index, row) in found.iter().enumerate() {
        body.extend_from_slice(if index > 0 { b",{\"pattern\":" } else { b"{\"pattern\":" });
        push_string(&mut body, &row.pattern);
        body.extend_from_slice(b",\"level\":");
        push_string(&mut body, if row.level.is_empty() { NO_LEVEL } else { &row.level });
        let samples: Vec<String> = row
            .counts
            .iter()
            .map(|(step_ns, lines)| format!("[{},{lines}]", step_ns.div_euclid(SECOND_NS)))
            .collect();
        body.extend_from_slice(format!(",\"samples\":[{}]}}", samples.join(",")).as_bytes());
    }
    body.extend_from_slice(b"]}\n");
    body
}
