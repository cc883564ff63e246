//! Starts the parts of a role in order and stops them in the opposite one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_agent::{
    Agent, AgentParts, AgentSettings, Destination, FileSettings, ImportedPositions, Reloaded,
};
use logyard_client::{Tls as ClientTls, without_secrets};
use logyard_engine::Engine;
use logyard_ingest::Ingest;
use logyard_model::Tenant;
use logyard_rules::{Notifier, Recorder, Ruler, RulerParts, Spread, Target};
use logyard_server::{OwnDoor, ReloadReport, Reloads, RuleQueries, Secret, Server, ServerParts, Tls};
use logyard_store::{
    RetentionPolicy, RetentionPolicySettings, RetentionSettings, Store, StoreParts, StoreRules, StoreSettings,
};
use logyard_sys::{Clock, Disk, Random};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::agent_pages::{self, AgentPages, InForce, PagesParts};
use crate::banner::Facts;
use crate::command_run::Role;
use crate::command_targets;
use crate::config::{DeliverySettings, PushSettings, Settings};
use crate::logging::{OwnLog, with_causes};
use crate::reload::{self, ReloadMetrics};
use crate::secrets;
use crate::settings_source::SettingsSource;
use crate::tls::{self, ServerTls};

/// Where an engine listens if nobody says otherwise.
const ENGINE_SOCKET: &str = "/var/run/docker.sock";

/// Looks at the agent before the banner, and the pause between two: half a second in all, since the
/// banner may be poorer but must not be late.
const SETTLE_LOOKS: usize = 25;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// What the parts need from outside.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The machine's disk.
    pub(crate) disk: Arc<dyn Disk>,
    /// The machine's clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Writes events to a file as well, once told where.
    pub(crate) own_log: OwnLog,
    /// How far another agent has read.
    pub(crate) imported: ImportedPositions,
}

/// The parts of one process, running.
#[derive(Debug)]
pub(crate) struct Running {
    role: Role,
    /// As they were read; those of the agent as they are in force.
    settings: Settings,
    in_force: InForce,
    disk: Arc<dyn Disk>,
    reload_metrics: ReloadMetrics,
    agent: Option<Agent>,
    /// Its pages, if it runs alone.
    face: Option<AgentPages>,
    /// Renew what it shows of itself, one for each destination that speaks TLS.
    agent_tls: Vec<JoinHandle<()>>,
    /// Answers what it reads.
    status: Option<JoinHandle<()>>,
    keeping: Option<Keeping>,
    own_log: Option<PathBuf>,
    pushes_to: Option<String>,
    is_secured: bool,
}

/// A store and the server in front of it.
#[derive(Debug)]
struct Keeping {
    store: Store,
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    /// Renews the certificate.
    tls: Option<JoinHandle<()>>,
    stop_rules: oneshot::Sender<()>,
    rules: JoinHandle<()>,
}

impl Running {
    /// Starts the parts of a role; what is asked over HTTP to be read anew goes to `reloads`. Errors say which part cannot
    /// start, why, and what to do.
    pub(crate) async fn start(
        role: Role,
        mut settings: Settings,
        parts: Parts,
        reloads: Reloads,
    ) -> anyhow::Result<Self> {
        let read = settings.clone();
        let in_force = InForce::new(&read);
        let mut registry = Registry::default();
        let reload_metrics = ReloadMetrics::register(&mut registry);
        let random = Arc::new(Random::os());
        secrets::read_files(&mut settings, &*parts.disk)?;
        settings.server.check().map_err(anyhow::Error::msg)?;
        settings.rules.pack.enabled.get_or_insert(role == Role::All);
        let mut tls = match role.keeps() || !settings.agent.listen.is_empty() {
            true => ServerTls::read(&settings.server.tls, &*parts.disk)?,
            false => None,
        };
        // With TLS the agent of this process has a door of its own, else a token of its own, if it takes one.
        let own_door = match role {
            Role::All if tls.is_some() => Some(tls::own_door(&random).await?),
            _ => None,
        };
        let own_token = match &own_door {
            Some((_, token)) => token.clone(),
            None if role.keeps() => secrets::own(&mut settings.server, &random),
            None => Secret::default(),
        };
        // The port first: a taken one is the most likely reason not to start, and the agent of this
        // process pushes to the port that was really bound.
        let listener = match role.keeps() {
            true => Some(bind(&settings, &settings.listen).await?),
            false => None,
        };
        let pages_listener = match role {
            Role::Agent => agent_pages::bind(&settings).await?,
            _ => None,
        };
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let front = match role.keeps() {
            true => Some(open_store(&settings, &parts, &random, &mut registry)?),
            false => None,
        };
        let data_dir = settings.data_dir.clone();
        let mut agent_settings = settings.agent.clone();
        let own_log =
            if role.reads() { follow_own_log(&mut agent_settings, &settings, &parts) } else { None };
        let is_secured = tls.is_some();
        let own_address = match &own_door {
            Some((listener, _)) => Some(listener.local_addr()?),
            None => address,
        };
        let push = own_address
            .map_or_else(|| settings.push.clone(), |address| own_push(address, &settings, own_token));
        let pushes_to = (!role.keeps()).then(|| without_secrets(&push.url));
        let (mut agent, mut agent_tls) = (None, Vec::new());
        if role.reads() {
            let (destinations, renewing) = destinations(&push)?;
            let start =
                start_agent(agent_settings, destinations, &settings.data_dir, &parts, &random, &mut registry);
            agent = Some(start.await?);
            agent_tls =
                renewing.into_iter().map(|(key, tls)| tokio::spawn(tls::keep_push(key, tls))).collect();
        }
        let mut face = None;
        if let (Some(agent), Some(listener)) = (&agent, pages_listener) {
            let tls = tls.take();
            let parts = PagesParts {
                settings: settings.server.clone(),
                tls,
                registry: std::mem::take(&mut registry),
                reporter: agent.reporter(),
                pushes_to: pushes_to.clone().unwrap_or_default(),
                in_force: in_force.clone(),
                reloads: reloads.clone(),
                disk: Arc::clone(&parts.disk),
            };
            face = Some(AgentPages::start(listener, parts)?);
        }
        let keeping = match (front, listener, address) {
            (Some((store, ingest)), Some(listener), Some(address)) => {
                let door = own_door.map(|(listener, token)| OwnDoor { listener, token });
                let kept = tls.map(|tls| (tls.tls.clone(), tokio::spawn(tls.keep(Arc::clone(&parts.disk)))));
                Some(start_server(
                    settings,
                    &parts,
                    (store, ingest),
                    (listener, address),
                    (kept, door),
                    random,
                    (registry, reloads),
                )?)
            }
            _ => None,
        };
        let status = agent
            .as_ref()
            .and_then(|agent| command_targets::serve(agent.reporter(), &data_dir, &*parts.disk));
        Ok(Self {
            role,
            settings: read,
            in_force,
            disk: Arc::clone(&parts.disk),
            reload_metrics,
            agent,
            face,
            agent_tls,
            status,
            keeping,
            own_log,
            pushes_to,
            is_secured,
        })
    }

    /// Reads the settings anew and puts in force what can be while the process runs; tells what came of it.
    ///
    /// Errors: settings that cannot be used; then those in force go on. Takes seconds at most.
    pub(crate) async fn reload(&mut self, source: &SettingsSource) -> anyhow::Result<ReloadReport> {
        let came_of_it = self.take_settings(source).await;
        self.reload_metrics.note(&came_of_it);
        came_of_it
    }

    async fn take_settings(&mut self, source: &SettingsSource) -> anyhow::Result<ReloadReport> {
        let now = reload::read(self.role, source, &self.disk).await?;
        let mut report = ReloadReport::default();
        if let Some(agent) = &mut self.agent {
            let mut wanted = now.agent.clone();
            if let Some(path) = &self.own_log
                && reads_nothing(&wanted)
            {
                wanted.files = machine_files(path);
            }
            let Reloaded { started, stopped, kept, at_next_start } = agent.reload(wanted).await?;
            report = ReloadReport { started, stopped, kept, at_next_start };
            let (listen, spool, stdin) = (
                self.settings.agent.listen.clone(),
                self.settings.agent.spool.clone(),
                self.settings.agent.stdin.clone(),
            );
            // What counts from the next start is not in force, and is named again then.
            self.settings.agent = AgentSettings { listen, spool, stdin, ..now.agent.clone() };
            self.in_force.set(&self.settings);
        }
        report.at_next_start.extend(reload::beyond_agent(&self.settings, &now));
        Ok(report)
    }

    /// Waits, for a moment only, until the agent knows whether there is an engine and what it runs, so
    /// that the banner can say so.
    pub(crate) async fn settle(&self) {
        let Some(agent) = &self.agent else { return };
        for _ in 0..SETTLE_LOOKS {
            let report = agent.report();
            if report.engine_problem().is_some() || !report.targets.is_empty() {
                return;
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Returns what the banner says.
    pub(crate) fn facts(&self, data_dir: PathBuf) -> Facts {
        Facts {
            reads: self.agent.as_ref().map(Agent::report),
            own_log: self.own_log.clone(),
            pushes_to: self.pushes_to.clone(),
            data_dir,
            address: self.keeping.as_ref().map(|keeping| keeping.address.to_string()),
            is_secured: self.is_secured,
            logq: logq_command(),
        }
    }

    /// Waits until the server ends by itself, which it never should. Safe to cancel.
    pub(crate) async fn server_ended(&mut self) -> anyhow::Error {
        let Some(keeping) = &mut self.keeping else { return std::future::pending().await };
        match (&mut keeping.server).await {
            Ok(Ok(())) => anyhow::anyhow!("the HTTP server ended by itself"),
            Ok(Err(error)) => anyhow::Error::from(error).context("the HTTP server failed"),
            Err(error) => anyhow::Error::from(error).context("the HTTP server failed"),
        }
    }

    /// Waits for the end of the standard input, if that is read. Safe to cancel.
    pub(crate) fn input_ended(&self) -> impl Future<Output = ()> + use<> {
        let ended = self.agent.as_ref().map(Agent::input_ended);
        async move {
            match ended {
                Some(ended) => ended.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops all parts, the agent first so that its last batches are still taken.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for task in self.status.into_iter().chain(self.agent_tls) {
            task.abort();
        }
        if let Some(face) = self.face {
            face.stop().await;
        }
        if let Some(agent) = self.agent {
            agent.stop().await;
        }
        let Some(keeping) = self.keeping else { return Ok(()) };
        if let Some(tls) = keeping.tls {
            tls.abort();
        }
        // Evaluations under way are let go of: the states of alerts are on the disk.
        drop(keeping.stop_rules);
        keeping.rules.await.context("stop the rules")?;
        // A server that has ended already does not listen to this.
        if keeping.shutdown.send(()).is_ok() && !keeping.server.is_finished() {
            keeping.server.await.context("stop the HTTP server")?.context("stop the HTTP server")?;
        }
        keeping.store.close().await.context("close the store")
    }
}

pub(crate) async fn bind(settings: &Settings, listen: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}: choose another address with --listen, or stop what listens there")
    })?;
    let is_open = !listener.local_addr()?.ip().is_loopback();
    if is_open && settings.server.tokens.is_empty() {
        tracing::warn!(
            listen,
            "listening beyond this machine without access control: whoever reaches this port reads and writes \
             all logs; set server.tokens, put a proxy with authentication in front, or listen on 127.0.0.1"
        );
    }
    Ok(listener)
}

fn open_store(
    settings: &Settings,
    parts: &Parts,
    random: &Arc<Random>,
    registry: &mut Registry,
) -> anyhow::Result<(Store, Ingest)> {
    let store_parts = StoreParts {
        disk: Arc::clone(&parts.disk),
        clock: Arc::clone(&parts.clock),
        random: Arc::clone(random),
        registry,
    };
    let (store_settings, policies) = store_settings(settings)?;
    if store_settings.retention.period().is_none() {
        tracing::info!(
            "entries are kept for ever: neither store.retention.period_secs nor limits.entry_age_max sets an age"
        );
    }
    let rules = StoreRules { policies, parse_delete: Some(logyard_server::parse_delete) };
    let store = Store::open_with_rules(&settings.data_dir, store_settings, rules, store_parts)?;
    let ingest = Ingest::new(settings.limits.clone(), store.clone(), Arc::clone(&parts.clock), registry);
    Ok((store, ingest))
}

/// Returns the store's settings as they are meant, with the policies of its retention parsed.
pub(crate) fn store_settings(settings: &Settings) -> anyhow::Result<(StoreSettings, Vec<RetentionPolicy>)> {
    let mut store_settings = settings.store.clone();
    store_settings.retention = store_settings.retention.covering(settings.limits.age_max());
    let policies = policies(&store_settings.retention)?;
    Ok((store_settings, policies))
}

/// Parses the selectors of the retention's policies.
fn policies(settings: &RetentionSettings) -> anyhow::Result<Vec<RetentionPolicy>> {
    let parse = |(number, policy): (usize, &RetentionPolicySettings)| {
        let at = || format!("cannot use store.retention.policies.{number}");
        let matchers = match policy.selector.as_str() {
            "" if policy.tenant.is_none() => anyhow::bail!(
                "{}: neither selector nor tenant; for all streams set store.retention.period_secs",
                at()
            ),
            "" => Vec::new(),
            text => logyard_server::parse_selector(text)
                .map_err(|error| anyhow::anyhow!(error))
                .with_context(|| format!("{}: selector {text:?}", at()))?,
        };
        let tenant = policy.tenant.as_deref().map(Tenant::new).transpose().with_context(at)?;
        Ok(RetentionPolicy { tenant, matchers, period_secs: policy.period_secs, priority: policy.priority })
    };
    settings.policies.iter().enumerate().map(parse).collect()
}

fn start_server(
    settings: Settings,
    parts: &Parts,
    (store, ingest): (Store, Ingest),
    (listener, address): (TcpListener, SocketAddr),
    (tls, own_door): (Option<(Tls, JoinHandle<()>)>, Option<OwnDoor>),
    random: Arc<Random>,
    (mut registry, reloads): (Registry, Reloads),
) -> anyhow::Result<Keeping> {
    let (tls, keeps_tls) = tls.unzip();
    let pack_tenant = pack_tenant(&settings)?;
    let engine = Arc::new(Engine::new(settings.engine));
    let targets = Target::all(&settings.notify, &*parts.disk).map_err(anyhow::Error::msg)?;
    let ruler = Ruler::open(RulerParts {
        settings: settings.rules,
        disk: Arc::clone(&parts.disk),
        clock: Arc::clone(&parts.clock),
        data_dir: &settings.data_dir,
        evaluate: Arc::new(RuleQueries::new(Arc::clone(&engine), store.clone())),
        targets: targets.iter().map(|target| target.name().to_owned()).collect(),
        pack_tenant,
        spread: Spread::ByName,
        registry: &mut registry,
    })
    .context("cannot start the rules")?;
    let recorder = Recorder::new(&ruler, &*parts.disk, Arc::clone(&random), &mut registry);
    let recorder = recorder.map_err(anyhow::Error::msg)?;
    let notifier = Notifier::new(ruler.clone(), targets, random, &mut registry);
    let server = Server::new(ServerParts {
        settings: settings.server,
        store: store.clone(),
        ingest,
        engine,
        ruler: ruler.clone(),
        registry,
        tls,
        own_door,
    });
    server.answer_reloads(reloads);
    let (shutdown, asked) = oneshot::channel::<()>();
    let server = tokio::spawn(server.serve(listener, async move {
        // Dropped instead of sent means that the process ends: the same.
        drop(asked.await);
    }));
    let (stop_rules, asked) = oneshot::channel::<()>();
    let rules = tokio::spawn(run_rules(ruler, (notifier, recorder), store.clone(), asked));
    Ok(Keeping { store, address, shutdown, server, tls: keeps_tls, stop_rules, rules })
}

/// Returns for whom the rules that come along are in force: for whom the agent of such a process pushes, if for anybody.
pub(crate) fn pack_tenant(settings: &Settings) -> anyhow::Result<Option<Tenant>> {
    if settings.rules.pack.enabled != Some(true) {
        return Ok(None);
    }
    match settings.push.delivery.tenant.as_str() {
        name if settings.server.auth_enabled && !name.is_empty() => {
            let tenant = Tenant::new(name).with_context(|| format!("cannot use push.tenant {name:?}"))?;
            Ok(Some(tenant))
        }
        _ => Ok(Some(Tenant::single())),
    }
}

/// Evaluates rules once everything that was kept can be asked for, and tells of their alerts, until told to stop.
async fn run_rules(
    ruler: Ruler,
    (notifier, recorder): (Notifier, Recorder),
    store: Store,
    mut stop: oneshot::Receiver<()>,
) {
    tokio::select! {
        // A store that cannot be recovered ends the process, and says so elsewhere.
        recovered = store.recovered() => if recovered.is_err() { return },
        _ = &mut stop => return,
    }
    let (stop_telling, stopped) = oneshot::channel::<()>();
    let telling = tokio::spawn(notifier.run(async move { drop(stopped.await) }));
    let (stop_recording, stopped) = oneshot::channel::<()>();
    let recording = tokio::spawn(recorder.run(async move { drop(stopped.await) }));
    ruler.run(async move { drop(stop.await) }).await;
    drop((stop_telling, stop_recording));
    for ended in [telling.await, recording.await] {
        if let Err(error) = ended {
            tracing::error!(%error, "telling of alerts and series failed: internal error");
        }
    }
}

/// What renews certificates, by the key of its destination in the settings.
pub(crate) type Renewing = Vec<(String, ClientTls)>;

/// Makes the destinations, and returns what of them renews its certificates, by key.
pub(crate) fn destinations(push: &PushSettings) -> anyhow::Result<(Vec<Destination>, Renewing)> {
    let (mut made, mut renewing) = (Vec::new(), Vec::new());
    for (number, settings) in push.all().iter().enumerate() {
        let key = settings.key(number);
        let tls = tls::of_push(&key, &settings.delivery.tls)?;
        made.push(settings.destination(number, tls.clone())?);
        renewing.extend(tls.map(|tls| (key, tls)));
    }
    Ok((made, renewing))
}

async fn start_agent(
    settings: AgentSettings,
    destinations: Vec<Destination>,
    data_dir: &Path,
    parts: &Parts,
    random: &Arc<Random>,
    registry: &mut Registry,
) -> anyhow::Result<Agent> {
    let agent_parts = AgentParts {
        disk: Arc::clone(&parts.disk),
        clock: Arc::clone(&parts.clock),
        random: Arc::clone(random),
        registry,
        destinations,
        data_dir: data_dir.to_owned(),
        imported: parts.imported.clone(),
    };
    Ok(Agent::start(settings, agent_parts).await?)
}

/// Returns where the agent of a process with a store pushes to: first to its own port, over loopback when it
/// listens everywhere.
fn own_push(address: SocketAddr, settings: &Settings, token: Secret) -> PushSettings {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let prefix = settings.server.path_prefix.trim_end_matches('/');
    let given = &settings.push.delivery;
    PushSettings {
        url: format!("http://{reachable}{prefix}"),
        delivery: DeliverySettings {
            token,
            when_full: given.when_full,
            spool_bytes_max: given.spool_bytes_max,
            tenant: given.tenant.clone(),
            timeout_secs: given.timeout_secs,
            // What else is shown is for another store.
            ..DeliverySettings::default()
        },
        also: settings.push.also.clone(),
    }
}

/// Where no engine listens and no files are named, the machine's logs and Logyard's own are read: this
/// writes the own log to a file and adds both to the agent's files. Returns the file's path.
fn follow_own_log(agent: &mut AgentSettings, settings: &Settings, parts: &Parts) -> Option<PathBuf> {
    if !reads_nothing(agent) {
        return None;
    }
    let dir = settings.data_dir.join("log");
    // The agent takes no relative paths; the data folder is one by default.
    let path = match std::path::absolute(&dir).and_then(|dir| parts.own_log.open(&parts.disk, &dir)) {
        Ok(path) => path,
        Err(error) => {
            tracing::warn!(path = %dir.display(), error = with_causes(&error), "cannot write the own log to a file");
            return None;
        }
    };
    agent.files = machine_files(&path);
    Some(path)
}

/// Whether settings name nothing to read, and there is no engine.
fn reads_nothing(agent: &AgentSettings) -> bool {
    let has_engine = agent.docker.enabled && engine_listens(&agent.docker.host);
    !(agent.names_sources() || has_engine)
}

/// Returns what is read on such a machine: its logs, and Logyard's own.
fn machine_files(own_log: &Path) -> Vec<FileSettings> {
    let files = |path: &str, job: &str| FileSettings {
        path: vec![path.to_owned()],
        labels: [("job".to_owned(), job.to_owned())].into(),
        ..FileSettings::default()
    };
    // The folder may have any name, also one that reads as a pattern.
    let own = files(&FileSettings::pattern_of(&own_log.to_string_lossy()), "logyard");
    vec![files("/var/log/**/*.log", "varlogs"), own]
}

/// Tells whether anybody listens where the engine is expected. Engines over TCP are taken at their word.
fn engine_listens(host: &str) -> bool {
    let named = match host {
        "" => std::env::var("DOCKER_HOST").unwrap_or_default(),
        host => host.to_owned(),
    };
    let socket = match named.strip_prefix("unix://") {
        Some(path) => path,
        None if named.is_empty() => ENGINE_SOCKET,
        None => return true,
    };
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Returns how to call `logq` from here: by its name if it is installed, else by its path beside this program.
fn logq_command() -> String {
    let Ok(program) = std::env::current_exe() else { return "logq".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| Some(dir.as_path()) == program.parent()));
    if on_path {
        return "logq".to_owned();
    }
    let beside = program.with_file_name("logq");
    let shown =
        std::env::current_dir().ok().and_then(|here| beside.strip_prefix(here).ok().map(Path::to_owned));
    shown.unwrap_or(beside).display().to_string()
}

#[cfg(test)]
mod tests {
    use logyard_sys::{SimClock, SimDisk};

    use super::*;

    #[test]
    fn the_own_agent_pushes_to_an_address_that_is_reachable() {
        let mut settings = Settings::default();
        settings.push.delivery.tenant = "team".to_owned();
        settings.server.path_prefix = "/logs/".to_owned();
        for (bound, want) in [
            ("127.0.0.1:3100", "http://127.0.0.1:3100"),
            ("0.0.0.0:4000", "http://127.0.0.1:4000"),
            ("[::]:4000", "http://[::1]:4000"),
            ("10.0.0.7:1", "http://10.0.0.7:1"),
        ] {
            let own = own_push(bound.parse().unwrap(), &settings, Secret::new("own"));
            assert_eq!((own.url, own.delivery.tenant.as_str()), (format!("{want}/logs"), "team"));
            assert_eq!(own.delivery.token, Secret::new("own"));
        }
    }

    #[test]
    fn without_an_engine_the_own_log_is_read() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let imported = ImportedPositions::default();
        let parts = Parts { disk, clock: Arc::new(SimClock::new(0)), own_log: OwnLog::default(), imported };
        let settings = Settings { data_dir: PathBuf::from("/data"), ..Settings::default() };
        let mut agent = settings.agent.clone();
        agent.docker.host = "unix:///nonexistent/docker.sock".to_owned();
        let path = follow_own_log(&mut agent, &settings, &parts).unwrap();
        let paths: Vec<&str> = agent.files.iter().map(|files| files.path[0].as_str()).collect();
        assert_eq!(paths, ["/var/log/**/*.log", "/data/log/logyard.log"]);
        assert_eq!(path, Path::new("/data/log/logyard.log"));
        // A data folder such as the default one lies in the working directory.
        let relative = Settings { data_dir: PathBuf::from("logyard-data"), ..Settings::default() };
        let mut beside = AgentSettings { files: Vec::new(), ..agent.clone() };
        let path = follow_own_log(&mut beside, &relative, &parts).unwrap();
        assert!(path.is_absolute() && path.ends_with("logyard-data/log/logyard.log"), "{path:?}");
        assert_eq!(beside.files[1].path, [path.to_string_lossy()]);
        let odd = Settings { data_dir: PathBuf::from("/data [1]"), ..Settings::default() };
        let mut beside = AgentSettings { files: Vec::new(), ..agent.clone() };
        assert_eq!(
            follow_own_log(&mut beside, &odd, &parts).unwrap(),
            Path::new("/data [1]/log/logyard.log")
        );
        assert_eq!(beside.files[1].path, ["/data [[]1[]]/log/logyard.log"]);
        // What somebody asked for is left as it is.
        assert_eq!(follow_own_log(&mut agent, &settings, &parts), None);
        assert_eq!(agent.files.len(), 2);
    }

    #[test]
    fn a_socket_without_a_listener_is_no_engine() {
        assert!(!engine_listens("unix:///nonexistent/docker.sock"));
        assert!(engine_listens("tcp://127.0.0.1:2375"));
    }

    #[test]
    fn rules_that_come_along_are_for_whom_the_own_agent_pushes() {
        let tenant = |enabled, auth_enabled, push_tenant: &str| {
            let mut settings = Settings::default();
            settings.rules.pack.enabled = enabled;
            settings.server.auth_enabled = auth_enabled;
            settings.push.delivery.tenant = push_tenant.to_owned();
            pack_tenant(&settings).map(|tenant| tenant.map(|tenant| tenant.to_string())).unwrap()
        };
        let fake = Some("fake".to_owned());
        assert_eq!(tenant(Some(true), false, ""), fake);
        assert_eq!(tenant(Some(true), false, "home"), fake, "whoever keeps none apart ignores the name");
        assert_eq!(tenant(Some(true), true, "home"), Some("home".to_owned()));
        assert_eq!(tenant(Some(false), false, ""), None);
    }

    #[test]
    fn policies_are_parsed_and_refused_by_name() {
        let check = |selector: &str, tenant: Option<&str>| {
            let policy = RetentionPolicySettings {
                selector: selector.to_owned(),
                tenant: tenant.map(str::to_owned),
                period_secs: 60,
                priority: 3,
            };
            policies(&RetentionSettings { policies: vec![policy], ..RetentionSettings::default() })
        };
        let good = check(r#"{app=~"a.*", job!="x"}"#, Some("t")).unwrap();
        assert_eq!((good[0].matchers.len(), good[0].period_secs, good[0].priority), (2, 60, 3));
        assert!(check("", Some("t")).unwrap()[0].matchers.is_empty());
        for (selector, tenant, part) in [
            ("", None, "neither selector nor tenant"),
            ("{app=", None, "store.retention.policies.0: selector"),
            (r#"{app="a"} |= "b""#, None, "selector"),
            (r#"{app="a"}"#, Some("../x"), "store.retention.policies.0"),
        ] {
            let error = check(selector, tenant).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
