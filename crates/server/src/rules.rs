//! Rules by the API: list, read, make, remove, as Grafana and `lokitool` do. Texts are Loki's, which Grafana reads to
//! learn whether rules can be edited.
//!
//! Under `/loki/api/v1/rules` and, the same, `/api/prom/rules`. Names of namespaces and groups may hold anything but
//! be `.` or `..`, a slash too, as `%2F`.

use crate::error::HttpError;
use crate::params::Params;
use crate::state::State;
use crate::tenant;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use logyard_model::Tenant;
use logyard_rules::{
    Kind, Pairs, RULE_BYTES_MAX, RuleGroup, Ruler, print_group, print_namespaces, read_group,
};
use logyard_wire::json_text::push_string;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Answer to a change.
const DONE: &str = r#"{"status":"success","data":null,"errorType":"","error":""}"#;

/// Longest time for a group to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// `GET /loki/api/v1/rules?labels=`
pub(crate) async fn list(
    Shared(state): Shared<Arc<State>>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let tenant = tenant_of(request.headers(), &state)?;
    let having = having(&Params::of_url(request.uri())?)?;
    listed(&state.ruler, &tenant, None, &having)
}

/// `GET /loki/api/v1/rules/{namespace}?labels=`
pub(crate) async fn list_namespace(
    Shared(state): Shared<Arc<State>>,
    Path(namespace): Path<String>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let tenant = tenant_of(request.headers(), &state)?;
    let having = having(&Params::of_url(request.uri())?)?;
    listed(&state.ruler, &tenant, Some(&checked(namespace)?), &having)
}

/// `GET /loki/api/v1/rules/{namespace}/{group}`
pub(crate) async fn read(
    Shared(state): Shared<Arc<State>>,
    Path((namespace, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = tenant_of(&headers, &state)?;
    let group = state.ruler.group(&tenant, &checked(namespace)?, &checked(group)?)?;
    Ok(([(header::CONTENT_TYPE, YAML)], print_group(&group)).into_response())
}

/// `POST /loki/api/v1/rules/{namespace}`: one group.
pub(crate) async fn write(
    Shared(state): Shared<Arc<State>>,
    Path(namespace): Path<String>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let tenant = tenant_of(&parts.headers, &state)?;
    let namespace = checked(namespace)?;
    let group = read_group(&read_body(body).await?)?;
    change(&state, move |ruler| ruler.set_group(&tenant, &namespace, group)).await
}

async fn read_body(body: Body) -> Result<Bytes, HttpError> {
    match timeout(BODY_WAIT_MAX, Limited::new(body, RULE_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("cannot read the group, which may have {RULE_BYTES_MAX} bytes: it has more\n");
            Err(HttpError::bad_request(text))
        }
        Ok(Err(error)) => Err(HttpError::of_body(&*error).with_newline()),
        Err(_) => Err(HttpError::body_is_late().with_newline()),
    }
}

/// `DELETE /loki/api/v1/rules/{namespace}/{group}`: fine also if there is none (Loki v3.7.6).
pub(crate) async fn remove(
    Shared(state): Shared<Arc<State>>,
    Path((namespace, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = tenant_of(&headers, &state)?;
    let (namespace, group) = (checked(namespace)?, checked(group)?);
    change(&state, move |ruler| match ruler.delete_group(&tenant, &namespace, &group) {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        done => done,
    })
    .await
}

/// `DELETE /loki/api/v1/rules/{namespace}`
pub(crate) async fn remove_namespace(
    Shared(state): Shared<Arc<State>>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = tenant_of(&headers, &state)?;
    let namespace = checked(namespace)?;
    change(&state, move |ruler| ruler.delete_namespace(&tenant, &namespace)).await
}

fn listed(ruler: &Ruler, tenant: &Tenant, only: Option<&str>, having: &Pairs) -> Result<Response, Refused> {
    let namespaces = ruler.namespaces(tenant);
    let shown = namespaces.iter().filter(|(namespace, _)| only.is_none_or(|only| only == namespace.as_str()));
    let shown = shown.map(|(namespace, groups)| {
        (namespace.as_str(), groups.iter().map(|group| &**group).collect::<Vec<&RuleGroup>>())
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        return Err(HttpError::new(StatusCode::NOT_FOUND, "no rule groups found\n").into());
    }
    Ok(([(header::CONTENT_TYPE, YAML)], print_namespaces(shown, having)).into_response())
}

/// Changes rules on a thread that may wait for the disk.
async fn change(
    state: &State,
    job: impl FnOnce(&Ruler) -> Result<(), logyard_rules::Error> + Send + 'static,
) -> Result<Response, Refused> {
    let ruler = state.ruler.clone();
    let done = tokio::task::spawn_blocking(move || job(&ruler)).await.map_err(|_| {
        let text = "changing rules failed: internal error, see the log of logyard\n";
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    done?;
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, JSON)], DONE).into_response())
}

/// Refuses names that clients and proxies take for steps in a path.
fn checked(name: String) -> Result<String, HttpError> {
    match name.as_str() {
        "." | ".." => {
            Err(HttpError::bad_request(format!("invalid name of a namespace or group: {name:?}\n")))
        }
        _ => Ok(name),
    }
}

/// Reads `labels=name:value,name:value`.
fn having(params: &Params) -> Result<Pairs, HttpError> {
    let pair = |text: &str| match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(HttpError::bad_request(format!("invalid labels {text:?}: want name:value,name:value\n"))),
    };
    params.get("labels").unwrap_or_default().split(',').filter(|text| !text.is_empty()).map(pair).collect()
}

/// Reads the tenant; several get the answer of Loki's ruler, which is JSON.
pub(crate) fn tenant_of(headers: &HeaderMap, state: &State) -> Result<Tenant, Refused> {
    tenant::of_request(headers, state.settings.auth_enabled).map_err(|error| {
        match error.text().starts_with("multiple org IDs") {
            true => Refused::Json(StatusCode::BAD_REQUEST, "too many org ids found".to_owned()),
            false => Refused::Text(error),
        }
    })
}

/// Why a request about rules was not answered as asked.
#[derive(Debug)]
pub(crate) enum Refused {
    /// As text.
    Text(HttpError),
    /// As Prometheus' API has it.
    Json(StatusCode, String),
}

impl From<HttpError> for Refused {
    fn from(error: HttpError) -> Self {
        Self::Text(error)
    }
}

impl From<logyard_rules::Error> for Refused {
    fn from(error: logyard_rules::Error) -> Self {
        let status = match error.kind() {
            Kind::Invalid | Kind::Limited | Kind::ReadOnly => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status.is_server_error() {
            tracing::warn!(%error, "rules were not changed");
        }
        Self::Text(HttpError::new(status, format!("{error}\n")))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Text(error) => error.into_response(),
            Self::Json(status, text) => {
                let mut body = br#"{"status":"error","data":null,"errorType":"bad_data","error":"#.to_vec();
                push_string(&mut body, &text);
                body.push(b'}');
                (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_body_in_drops_is_not_waited_for() {
        let begun = Instant::now();
        let drops = futures_util::stream::unfold(0, |number| async move {
            sleep(Duration::from_secs(20)).await;
            (number < 100)
                .then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), number + 1))
        });
        let refused = read_body(Body::new(StreamBody::new(drops))).await.unwrap_err();
        assert_eq!(refused.text(), "request body did not arrive in time\n");
        assert!(begun.elapsed() < BODY_WAIT_MAX + Duration::from_secs(1));
        let large = read_body(Body::from(vec![b'x'; RULE_BYTES_MAX + 1])).await.unwrap_err();
        assert_eq!(large.text(), "cannot read the group, which may have 1048576 bytes: it has more\n");
    }
}
