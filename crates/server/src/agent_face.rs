//! The pages of an agent that runs alone: whether it is ready, what it reads and why not, metrics, settings.
//!
//! What the agent is stays elsewhere: whoever starts it hands in what tells of it ([`AgentPage`]), asked at each request.
//! Tokens and TLS are those of `server`, as for a store: pages take a token that may read, a reload one that may do all.

use crate::access::{self, Need};
use crate::agent_html;
use crate::error::HttpError;
use crate::metrics::Metrics;
use crate::reload::{self, Reloads, json};
use crate::server::Serving;
use crate::settings::ServerSettings;
use crate::status::{metrics_of, text};
use crate::tls::Tls;
use axum::Router;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Media type of the settings.
const YAML_TEXT: &str = "text/plain; charset=utf-8";
/// What a page may fetch or run: nothing but its own style.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'";

/// What an agent tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentPage {
    /// Why it does not do all of its work; empty: it does.
    pub problems: Vec<String>,
    /// Name, version and address of each engine that answers.
    pub engines: Vec<String>,
    /// Where it pushes to, without secrets.
    pub pushes_to: String,
    /// Bytes that wait on disk for the store, compressed.
    pub spool_bytes: u64,
    /// Everything that is read, and what is not.
    pub targets: Vec<AgentTarget>,
}

/// One target of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentTarget {
    /// `container`, `file`, `journal` or `receiver`.
    pub kind: String,
    /// Name of the container, path of the file, address of the receiver.
    pub name: String,
    /// What happens to it, in a word.
    pub state: String,
    /// Why, in states that need a reason.
    pub why: String,
    /// Entries read since the start of the process.
    pub entries: u64,
    /// Labels of its stream.
    pub labels: BTreeMap<String, String>,
}

/// What the pages are made of.
pub struct AgentFaceParts {
    /// Tokens, TLS, prefix and bounds.
    pub settings: ServerSettings,
    /// Speaks TLS and nothing else, if given.
    pub tls: Option<Tls>,
    /// Every metric of the process, complete except for those of its pages.
    pub registry: Registry,
    /// Tells of the agent; does not wait.
    pub page: Box<dyn Fn() -> AgentPage + Send + Sync>,
    /// Prints the settings in force, without secrets; does not wait.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// Reads the settings anew.
    pub reloads: Reloads,
}

impl fmt::Debug for AgentFaceParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentFaceParts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The server of these pages.
#[derive(Debug)]
pub struct AgentFace {
    parts: Arc<AgentFaceParts>,
    metrics: Arc<Metrics>,
}

impl AgentFace {
    /// Puts it together. Opens nothing yet.
    pub fn new(mut parts: AgentFaceParts) -> Self {
        let metrics = Arc::new(Metrics::register(&mut parts.registry));
        Self { parts: Arc::new(parts), metrics }
    }

    /// Returns the pages as a service, for tests and for embedding.
    pub fn router(&self) -> Router {
        let routes = Router::new();
        let routes = self.add(routes, "/", get(status_page), Need::Read);
        let routes = self.add(routes, "/ready", get(ready), Need::Open);
        let routes = self.add(routes, "/metrics", get(metrics), Need::Read);
        let routes = self.add(routes, "/targets", get(targets), Need::Read);
        let routes = self.add(routes, "/config", get(config), Need::Read);
        let routes = self.add(routes, "/reload", post(reload_now), Need::Operator);
        let prefix = self.parts.settings.path_prefix.trim_end_matches('/');
        let routes = if prefix.is_empty() { routes } else { Router::new().nest(prefix, routes) };
        routes
            .fallback(|| async { HttpError::not_found() })
            .layer(from_fn_with_state(Arc::clone(&self.metrics), around))
            .with_state(Arc::clone(&self.parts))
    }

    fn add(
        &self,
        routes: Router<Arc<AgentFaceParts>>,
        path: &'static str,
        method: axum::routing::MethodRouter<Arc<AgentFaceParts>>,
        need: Need,
    ) -> Router<Arc<AgentFaceParts>> {
        let guard = from_fn_with_state((Arc::clone(&self.parts), need), guard);
        routes.route(path, method.route_layer(guard))
    }

    /// Answers until `shutdown` is ready.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let settings = &self.parts.settings;
        let serving = Serving {
            service: self.router(),
            listener,
            own_door: None,
            tls: self.parts.tls.clone(),
            metrics: Arc::clone(&self.metrics),
            connections_max: settings.connections_max,
            shutdown_timeout: settings.shutdown_timeout.0,
        };
        serving.run(shutdown, async {}).await;
    }
}

/// Looks at the token before the page is made.
async fn guard(
    Shared((parts, need)): Shared<(Arc<AgentFaceParts>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    // An agent keeps nobody's entries apart, so a token that is bound to tenants is as good as another.
    match access::admit(&parts.settings.tokens, false, need, request.headers_mut()) {
        Ok(()) => next.run(request).await,
        Err(error) => access::refuse(error),
    }
}

/// Counts answers, and has nobody keep them.
async fn around(Shared(metrics): Shared<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = if request.method() == "POST" { "POST" } else { "GET" };
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let mut response = next.run(request).await;
    metrics.count_answer(method, &route, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `GET /ready`: 200 while everything works, else 503 and what does not.
async fn ready(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Result<Response, HttpError> {
    let problems = (parts.page)().problems;
    match problems.is_empty() {
        true => Ok(text("ready\n".to_owned())),
        false => Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")),
    }
}

/// `GET /metrics`
async fn metrics(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Result<Response, HttpError> {
    metrics_of(&parts.registry)
}

/// `GET /targets`: everything that is read, as JSON.
async fn targets(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Response {
    json(&(parts.page)())
}

/// `GET /config`: the settings in force, without secrets.
async fn config(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Response {
    ([(header::CONTENT_TYPE, YAML_TEXT)], (parts.config)()).into_response()
}

/// `POST /reload`: reads the settings anew; 400 with file, line and reason if they cannot be used.
async fn reload_now(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Result<Response, HttpError> {
    reload::ask(&parts.reloads).await
}

/// `GET /`: the same for people.
async fn status_page(Shared(parts): Shared<Arc<AgentFaceParts>>) -> Response {
    let page = agent_html::status((parts.page)());
    let policy = HeaderValue::from_static(PAGE_POLICY);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, html), (header::CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Scope, TokenSettings};
    use crate::reload::ReloadReport;
    use crate::secret::Secret;
    use axum::body::{Body, to_bytes};
    use tokio::sync::mpsc;
    use tower::ServiceExt as _;

    fn face(problems: &[&str], tokens: Vec<TokenSettings>, prefix: &str, reloads: Reloads) -> AgentFace {
        let page = AgentPage {
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            engines: vec!["Docker 28 at <unix>".to_owned()],
            pushes_to: "http://logyard:3100".to_owned(),
            spool_bytes: 2_048,
            targets: vec![AgentTarget {
                kind: "container".to_owned(),
                name: "<script>alert(1)</script>".to_owned(),
                state: "following".to_owned(),
                why: "\"&'".to_owned(),
                entries: 7,
                labels: [("container".to_owned(), "a<b".to_owned())].into(),
            }],
        };
        let settings = ServerSettings { tokens, path_prefix: prefix.to_owned(), ..ServerSettings::default() };
        AgentFace::new(AgentFaceParts {
            settings,
            tls: None,
            registry: Registry::default(),
            page: Box::new(move || page.clone()),
            config: Box::new(|| "listen: a\n".to_owned()),
            reloads,
        })
    }

    async fn ask(face: &AgentFace, method: &str, path: &str, token: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = face.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn pages_tell_what_the_agent_tells() {
        let (reloads, _asked) = mpsc::channel(1);
        let face = face(&[], Vec::new(), "/logs", reloads);
        assert_eq!(ask(&face, "GET", "/logs/ready", "").await, (200, "ready\n".to_owned()));
        assert_eq!(ask(&face, "GET", "/logs/config", "").await, (200, "listen: a\n".to_owned()));
        assert_eq!(ask(&face, "GET", "/ready", "").await.0, 404);
        assert_eq!(ask(&face, "POST", "/logs/ready", "").await.0, 405);
        let (status, targets) = ask(&face, "GET", "/logs/targets", "").await;
        let targets: serde_json::Value = serde_json::from_str(&targets).unwrap();
        assert_eq!((status, &targets["targets"][0]["labels"]["container"]), (200, &"a<b".into()));
        assert_eq!(targets["targets"][0]["entries"], 7);
        let (_, metrics) = ask(&face, "GET", "/logs/metrics", "").await;
        let want = "logyard_server_requests_total{method=\"GET\",route=\"/logs/ready\",status=\"200\"} 1";
        assert!(metrics.contains(want), "{metrics}");
    }

    #[tokio::test]
    async fn what_does_not_work_is_told() {
        let (reloads, _asked) = mpsc::channel(1);
        let face = face(&["no engine answers", "the store refuses: 401"], Vec::new(), "", reloads);
        let want = "no engine answers\nthe store refuses: 401\n";
        assert_eq!(ask(&face, "GET", "/ready", "").await, (503, want.to_owned()));
    }

    #[tokio::test]
    async fn the_page_for_people_shows_text_as_text() {
        let (reloads, _asked) = mpsc::channel(1);
        let face = face(&["a < b"], Vec::new(), "", reloads);
        let (status, page) = ask(&face, "GET", "/", "").await;
        assert_eq!(status, 200);
        assert!(!page.contains("<script"), "{page}");
        for want in [
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "&quot;&amp;&#39;",
            "a &lt; b",
            "Docker 28 at &lt;unix&gt;",
        ] {
            assert!(page.contains(want), "{want} in {page}");
        }
        // Nothing is fetched from anywhere.
        for part in ["src=", "url(", "//cdn", "@import"] {
            assert!(!page.contains(part), "{part} in {page}");
        }
    }

    #[tokio::test]
    async fn tokens_are_asked_for_as_by_a_store() {
        let token = |name: &str, scopes: &[Scope], tenants: &[&str]| TokenSettings {
            name: name.to_owned(),
            token: Secret::new(name),
            scopes: scopes.to_vec(),
            tenants: tenants.iter().map(|&tenant| tenant.to_owned()).collect(),
            ..TokenSettings::default()
        };
        let tokens = vec![
            token("reads", &[Scope::Read], &[]),
            token("bound", &[Scope::Admin], &["a"]),
            token("all", &[Scope::Admin], &[]),
        ];
        let (reloads, mut asked) = mpsc::channel(1);
        let face = face(&[], tokens, "", reloads);
        for path in ["/", "/metrics", "/targets", "/config"] {
            assert_eq!(ask(&face, "GET", path, "").await.0, 401, "{path}");
            assert_eq!(ask(&face, "GET", path, "reads").await.0, 200, "{path}");
        }
        assert_eq!(ask(&face, "GET", "/ready", "").await.0, 200);
        for (token, want) in [("", 401), ("reads", 403), ("bound", 403)] {
            assert_eq!(ask(&face, "POST", "/reload", token).await.0, want, "{token}");
        }
        let answering = tokio::spawn(async move {
            for answer in [Ok(ReloadReport::default()), Err("line 5: no".to_owned())] {
                let asked: tokio::sync::oneshot::Sender<_> = asked.recv().await.unwrap();
                asked.send(answer).unwrap();
            }
        });
        let want = "{\"started\":[],\"stopped\":[],\"kept\":[],\"at_next_start\":[]}\n";
        assert_eq!(ask(&face, "POST", "/reload", "all").await, (200, want.to_owned()));
        assert_eq!(ask(&face, "POST", "/reload", "all").await, (400, "line 5: no\n".to_owned()));
        answering.await.unwrap();
        // Nobody takes requests any more.
        assert_eq!(ask(&face, "POST", "/reload", "all").await.0, 503);
    }
}
