//! Calls to a Docker or Podman engine.
//!
//! Events and facts of the engine go through bollard. The bytes of logs do not: its decoder guesses the
//! form of the response from the first byte, hides the daemon's errors among the lines and leaves
//! timestamps inside long terminal lines. Logs are a plain `GET` over a connection of their own. So are lists and
//! inspections, which bollard's models read once `engine_states` has seen them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, EventMessage, HostConfigLogConfig,
};
use bollard::query_parameters::EventsOptions;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use logyard_pipeline::parse_size;
use logyard_sys::Disk;

use crate::engine_place::{Connection, EnginePlace, Way};
use crate::engine_states::{tell_inspected, tell_listed};
use crate::labels::ContainerFacts;
use crate::log_join::JoinRule;
use crate::report::EngineReport;
use crate::timestamp::parse_timestamp;

/// Bound of everything but the body of a log: engines answer at once or are not well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bollard's own bound of an answer's beginning.
const BOLLARD_TIMEOUT_SECS: u64 = 120;
/// Read buffer of a log connection; also about the size of one turn of a target.
const READ_BYTES: usize = 64 << 10;
/// Longest error text read.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Largest list or inspection read: some ten thousand containers.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Size at which the driver `local` rotates if nobody says otherwise.
const LOCAL_ROTATION_BYTES: u64 = 20_000_000;
/// The first Podman, by its main and second number, that shows the newest parts of a log as they are.
///
/// Those before put the parts of a line behind the last part of the line before it, the last ones first, and leave out
/// the last line if nothing ends it.
const PODMAN_TAILS_SINCE: (u32, u32) = (4, 7);

/// An engine that answered.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    docker: Docker,
    way: Way,
    join_rule: JoinRule,
    report: EngineReport,
}

/// Why a call failed, for people.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct EngineError {
    text: String,
    /// Somebody took the connection, and then gave no good answer.
    is_taken: bool,
}

impl EngineError {
    pub(crate) fn new(text: String) -> Self {
        Self { text, is_taken: false }
    }

    /// Whether somebody was asked, who is not to be asked too often.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken
    }
}

/// A container of the list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) facts: ContainerFacts,
    pub(crate) was_started: bool,
    /// It ended and was not started again.
    pub(crate) is_over: bool,
}

/// A container as its inspection shows it.
#[derive(Clone, Debug)]
pub(crate) struct Inspected {
    pub(crate) facts: ContainerFacts,
    /// More meta labels, without their prefix.
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) is_tty: bool,
    pub(crate) driver: String,
    /// Size at which a file of its log is rotated; `None`: it is not, or not so that it matters.
    pub(crate) rotation_bytes: Option<u64>,
    pub(crate) is_running: bool,
    /// When the last run ended; 0 if unknown or none did.
    pub(crate) finished_ns: i64,
}

/// How much of the log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// The newest parts.
    Newest(u32),
    /// Everything that is kept.
    All,
}

/// Why a log could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The container is gone.
    NotFound,
    /// The engine cannot read this container's log.
    Unreadable(String),
    /// Worth another try.
    Failed(String),
}

/// An open log response; the connection closes when dropped.
#[derive(Debug)]
pub(crate) struct LogResponse {
    body: Incoming,
    _connection: OwnedTask,
}

#[derive(Debug)]
struct OwnedTask(JoinHandle<()>);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Engine {
    /// Connects and agrees on an API version.
    pub(crate) async fn connect(place: &EnginePlace, disk: &dyn Disk) -> Result<Self, EngineError> {
        let host = &place.host;
        let failed = |error: String| EngineError::new(format!("no engine answers at {host}: {error}"));
        let refused = |error: String| EngineError { is_taken: true, ..failed(error) };
        let connect = async {
            let way = Way::open(&place.address, disk).await.map_err(failed)?;
            let docker = docker(&way).map_err(|error| failed(with_causes(&error)))?;
            // Where nobody is, the first request says so, in words that people know.
            let is_taken = way.connect().await.is_ok();
            let told = |error: &BollardError| {
                let text = with_causes(error);
                if is_taken { refused(text) } else { failed(text) }
            };
            let docker = docker.negotiate_version().await.map_err(|error| told(&error))?;
            let version = docker.version().await.map_err(|error| told(&error))?;
            Ok((way, docker, version))
        };
        let (way, docker, version) = tokio::time::timeout(ANSWER_TIMEOUT, connect)
            .await
            .map_err(|_| EngineError::new(format!("the engine at {host} does not answer within 30 s")))??;
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.contains("Podman"));
        let report = EngineReport {
            name: if is_podman { "Podman" } else { "Docker" }.to_owned(),
            version: version.version.unwrap_or_default(),
            api_version: docker.client_version().to_string(),
            host: host.clone(),
        };
        let join_rule = if is_podman { JoinRule::Podman } else { JoinRule::Docker };
        Ok(Self { docker, way, join_rule, report })
    }

    pub(crate) fn report(&self) -> &EngineReport {
        &self.report
    }

    pub(crate) fn join_rule(&self) -> JoinRule {
        self.join_rule
    }

    /// Returns whether the newest parts of a log are shown as the whole log shows them.
    pub(crate) fn shows_tails(&self) -> bool {
        self.join_rule != JoinRule::Podman || second_version(&self.report.version) >= PODMAN_TAILS_SINCE
    }

    /// Returns whether many entries bear one time: Podman stamps all that it reads at once, and shows whole seconds.
    pub(crate) fn shares_times(&self) -> bool {
        self.join_rule == JoinRule::Podman
    }

    /// Returns the folder in which the engine keeps containers and their logs.
    pub(crate) async fn root(&self) -> Option<PathBuf> {
        let info = tokio::time::timeout(ANSWER_TIMEOUT, self.docker.info()).await.ok()?.ok()?;
        info.docker_root_dir.filter(|root| !root.is_empty()).map(PathBuf::from)
    }

    /// Returns the name of the engine's machine.
    pub(crate) async fn host_name(&self) -> Option<String> {
        self.docker.info().await.ok()?.name.filter(|name| !name.is_empty())
    }

    /// Lists all containers, running or not.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        let failed = |error: &str| EngineError::new(format!("cannot list containers: {error}"));
        let mut list = match self.shown("containers/json?all=1").await {
            Ok(list) => list,
            Err(OpenError::NotFound) => return Err(failed("the engine knows of no such thing")),
            Err(OpenError::Unreadable(text) | OpenError::Failed(text)) => return Err(failed(&text)),
        };
        tell_listed(&mut list);
        let list: Vec<ContainerSummary> =
            serde_json::from_value(list).map_err(|error| failed(&error.to_string()))?;
        Ok(list.into_iter().filter_map(listed).collect())
    }

    /// Inspects a container; `None` if it is gone.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let failed = |error: &str| EngineError::new(format!("cannot inspect container {id}: {error}"));
        let mut container = match self.shown(&format!("containers/{id}/json")).await {
            Ok(container) => container,
            Err(OpenError::NotFound) => return Ok(None),
            Err(OpenError::Unreadable(text) | OpenError::Failed(text)) => return Err(failed(&text)),
        };
        tell_inspected(&mut container);
        let container = serde_json::from_value(container).map_err(|error| failed(&error.to_string()))?;
        Ok(Some(inspected(container)))
    }

    /// Opens the events of containers from `since_ns` on.
    pub(crate) fn events(
        &self,
        since_ns: i64,
    ) -> impl Stream<Item = Result<EventMessage, BollardError>> + use<> {
        let since =
            format!("{}.{:09}", since_ns.div_euclid(1_000_000_000), since_ns.rem_euclid(1_000_000_000));
        let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()])]);
        let options = EventsOptions { since: Some(since), until: None, filters: Some(filters) };
        self.docker.events(Some(options))
    }

    /// Opens a container's log with timestamps.
    ///
    /// Never with `since`: engines before 23 then skip compressed rotated files, later ones pass
    /// everything behind the first match, and all decode the whole log to find the place.
    pub(crate) async fn open_log(
        &self,
        id: &str,
        tail: Tail,
        follow: bool,
    ) -> Result<LogResponse, OpenError> {
        let tail = match tail {
            Tail::Newest(count) => count.to_string(),
            Tail::All => "all".to_owned(),
        };
        let follow = u8::from(follow);
        let path = format!("containers/{id}/logs?stdout=1&stderr=1&timestamps=1&follow={follow}&tail={tail}");
        match tokio::time::timeout(ANSWER_TIMEOUT, self.get(&path)).await {
            Ok(Err(OpenError::Failed(error))) => {
                Err(OpenError::Failed(format!("cannot open the log: {error}")))
            }
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Failed("the engine did not open the log within 30 s".to_owned())),
        }
    }

    /// Returns what the engine shows at a path, read whole.
    async fn shown(&self, path: &str) -> Result<serde_json::Value, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Failed(error.to_string());
        let read = async {
            let LogResponse { body, _connection } = self.get(path).await?;
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| failed(&error))?;
            serde_json::from_slice(&body.to_bytes()).map_err(|error| failed(&error))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, read).await {
            Ok(shown) => shown,
            Err(_) => Err(OpenError::Failed("the engine did not answer within 30 s".to_owned())),
        }
    }

    /// Asks for a path below that of the API's version. Errors of transport come as `Failed`.
    async fn get(&self, path: &str) -> Result<LogResponse, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Failed(error.to_string());
        let stream = self.way.connect().await.map_err(|error| failed(&error))?;
        let (mut sender, connection) = handshake(stream).await.map_err(|error| failed(&error))?;
        let request = hyper::Request::get(format!("/v{}/{path}", self.report.api_version))
            .header(hyper::header::HOST, "engine")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(LogResponse { body: response.into_body(), _connection: connection });
        }
        let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refusal(status, &message_of(&body)))
    }
}

impl LogResponse {
    /// Returns the next bytes; `None` when the engine ended the response properly.
    ///
    /// Safe to cancel: no bytes are lost. Errors: the connection broke.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

async fn handshake(stream: Box<dyn Connection>) -> Result<(Sender, OwnedTask), hyper::Error> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(READ_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // Its error comes out of the body as well.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, OwnedTask(task)))
}

/// Returns bollard's client for calls over a way. It brings connections of its own for all but TLS.
fn docker(way: &Way) -> Result<Docker, BollardError> {
    let secs = BOLLARD_TIMEOUT_SECS;
    if let Some(socket) = way.socket() {
        return Docker::connect_with_unix(socket, secs, API_DEFAULT_VERSION);
    }
    if let Some(authority) = way.clear_authority() {
        return Docker::connect_with_http(&format!("tcp://{authority}"), secs, API_DEFAULT_VERSION);
    }
    let way = way.clone();
    let call = move |request: BollardRequest| call(way.clone(), request);
    Docker::connect_with_custom_transport(call, Some("http://engine"), secs, API_DEFAULT_VERSION)
}

/// Shows an error with what caused it: what a peer says of certificates is a cause.
fn with_causes(error: &BollardError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// Makes one call over a connection of its own.
async fn call(way: Way, request: BollardRequest) -> Result<hyper::Response<Incoming>, BollardError> {
    let stream = way.connect().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, which nobody but bollard holds; its error comes out of the answer as well.
    tokio::spawn(async move { drop(connection.await) });
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse();
    head.uri = path.map_err(|error| BollardError::from(std::io::Error::other(error)))?;
    head.headers.insert(hyper::header::HOST, hyper::header::HeaderValue::from_static("engine"));
    Ok(sender.send_request(hyper::Request::from_parts(head, body)).await?)
}

fn refusal(status: u16, message: &str) -> OpenError {
    let is_driver = status == 501 || message.contains("does not support reading");
    if is_driver {
        return OpenError::Unreadable(message.to_owned());
    }
    let is_leaving = message.contains("dead or marked for removal");
    if status == 404 || is_leaving {
        return OpenError::NotFound;
    }
    if status == 403 {
        return OpenError::Unreadable(format!(
            "the engine refuses to show it ({message}); a socket proxy must allow CONTAINERS, EVENTS, INFO, PING and VERSION"
        ));
    }
    OpenError::Failed(format!("the engine answered {status}: {message}"))
}

/// Returns the first two numbers of a version, 0 for what is none.
fn second_version(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Takes the text out of `{"message":"…"}`.
fn message_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message.trim().to_owned(),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

fn listed(summary: ContainerSummary) -> Option<Listed> {
    use bollard::models::ContainerSummaryStateEnum as State;
    let names = summary.names.unwrap_or_default();
    // A linked container has further names of the form /other/alias.
    let own_name = names.iter().find(|name| name.matches('/').count() == 1).or(names.first());
    Some(Listed {
        id: summary.id?,
        facts: ContainerFacts {
            name: own_name.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
        },
        was_started: summary.state != Some(State::CREATED),
        is_over: matches!(summary.state, Some(State::EXITED | State::DEAD)),
    })
}

/// Describes networks, ports and the rest of what only an inspection tells, for the rules of relabelling. A network's
/// scope and labels are not in it.
fn meta_of(answer: &ContainerInspectResponse) -> BTreeMap<String, String> {
    let mut meta = BTreeMap::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            meta.insert(name.to_owned(), value.to_owned());
        }
    };
    let config = answer.config.as_ref();
    let host = answer.host_config.as_ref();
    put("container_image_id", answer.image.as_deref());
    put("container_hostname", config.and_then(|config| config.hostname.as_deref()));
    put("container_network_mode", host.and_then(|host| host.network_mode.as_deref()));
    put("container_log_driver", host.and_then(|host| host.log_config.as_ref()?.typ.as_deref()));
    put(
        "container_tty",
        Some(if config.and_then(|config| config.tty) == Some(true) { "true" } else { "false" }),
    );
    let settings = answer.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    if let Some((name, network)) = networks.and_then(|networks| networks.iter().min_by_key(|(name, _)| *name))
    {
        put("network_name", Some(name));
        put("network_id", network.network_id.as_deref());
        put("network_ip", network.ip_address.as_ref().map(ToString::to_string).as_deref());
    }
    let ports = settings.and_then(|settings| settings.ports.as_ref());
    let tcp = |(port, public): (&String, _)| Some((port.strip_suffix("/tcp")?.parse::<u16>().ok()?, public));
    if let Some((port, public)) =
        ports.and_then(|ports| ports.iter().filter_map(tcp).min_by_key(|(port, _)| *port))
    {
        put("port_private", Some(&port.to_string()));
        let bound = public.as_ref().and_then(|bound| bound.first());
        put("port_public", bound.and_then(|bound| bound.host_port.as_deref()));
        put(
            "port_public_ip",
            bound.and_then(|bound| bound.host_ip.as_ref()).map(ToString::to_string).as_deref(),
        );
    }
    meta
}

/// Reads from a log's options at which size its files are rotated.
fn rotation_bytes(log: Option<&HostConfigLogConfig>) -> Option<u64> {
    let log = log?;
    let given = log.config.as_ref().and_then(|options| options.get("max-size"));
    let size = given.and_then(|text| parse_size(text).ok()).and_then(|bytes| u64::try_from(bytes).ok());
    match log.typ.as_deref() {
        Some("json-file") => size.filter(|bytes| *bytes > 0),
        // Its own default.
        Some("local") => Some(size.unwrap_or(LOCAL_ROTATION_BYTES)),
        _ => None,
    }
}

fn inspected(answer: ContainerInspectResponse) -> Inspected {
    let meta = meta_of(&answer);
    let config = answer.config.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let rotation_bytes =
        rotation_bytes(answer.host_config.as_ref().and_then(|host| host.log_config.as_ref()));
    let log_config = answer.host_config.and_then(|host| host.log_config);
    let status = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    let finished_ns =
        state.finished_at.and_then(|text| parse_timestamp(text.as_bytes())).map_or(0, |(ns, _)| ns);
    Inspected {
        facts: ContainerFacts {
            name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: config.image.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
        },
        meta,
        is_tty: config.tty.unwrap_or(false),
        driver: log_config.and_then(|log| log.typ).unwrap_or_default(),
        rotation_bytes,
        is_running: state.running.unwrap_or(false) || status == ContainerStateStatusEnum::RUNNING,
        finished_ns: finished_ns.max(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_rotation() {
        let of = |driver: &str, size: Option<&str>| {
            let options = size.map(|size| HashMap::from([("max-size".to_owned(), size.to_owned())]));
            rotation_bytes(Some(&HostConfigLogConfig { typ: Some(driver.to_owned()), config: options }))
        };
        assert_eq!(of("json-file", Some("10m")), Some(10 << 20));
        assert_eq!((of("json-file", None), of("json-file", Some("-1"))), (None, None));
        assert_eq!((of("local", None), of("local", Some("512k"))), (Some(20_000_000), Some(512 << 10)));
        assert_eq!((of("journald", None), rotation_bytes(None)), (None, None));
    }

    #[test]
    fn versions_are_compared_by_two_numbers() {
        let shown = ["4.3.1", "4.6.0-rc1", "", "4.7.0-rc1", "4.10", "5.4.2-dev", "6"]
            .map(|version| second_version(version) >= PODMAN_TAILS_SINCE);
        assert_eq!(shown, [false, false, false, true, true, true, true]);
    }

    #[test]
    fn refusals_say_what_to_do_next() {
        let text = message_of(br#"{"message":"configured logging driver does not support reading"}"#);
        assert!(matches!(refusal(501, &text), OpenError::Unreadable(_)));
        assert!(matches!(refusal(404, "No such container: x"), OpenError::NotFound));
        assert!(matches!(refusal(409, "container is dead or marked for removal"), OpenError::NotFound));
        assert!(matches!(refusal(403, "forbidden"), OpenError::Unreadable(text) if text.contains("proxy")));
        assert!(matches!(refusal(500, "x"), OpenError::Failed(_)));
    }
}
