//! The sources of an agent: which run, and what each was started with.
//!
//! A source is known by its settings: new settings start what is new, stop what is gone and leave what is equal alone, with
//! its tasks, responses, connections and open files. Files are one source whose jobs change. Everything new is compiled,
//! and its ports are opened, before anything is stopped: settings that cannot be used change nothing.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use logyard_pipeline::{LinesFrom, Pipeline};
use logyard_sys::{Clock, Disk, Random};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use crate::discovery::DockerRules;
use crate::docker_engine::Engine;
use crate::docker_target::TargetParts;
use crate::engine_place::{EnginePlace, engine_places};
use crate::error::Error;
use crate::file_jobs::{FileJob, default_files, file_jobs};
use crate::forward_key::check_key;
use crate::forward_parts::Parts;
use crate::listen_tls;
use crate::log_looks::Looks;
use crate::machine::{machine_name, own_container_id};
use crate::metrics::Metrics;
use crate::pieces::Pieces;
use crate::ports::Ports;
use crate::receive_tcp::listen_address;
use crate::received::{JobSettings, ReceiveJob, Receiving};
use crate::report::Board;
use crate::settings::{AgentSettings, DockerSettings, FileSettings};
use crate::settings_receive::{
    ForwardSettings, GelfSettings, JournalSettings, LokiPushSettings, StdinSettings, SyslogSettings,
    Transport,
};
use crate::source_docker::{self, DockerSource, Presence};
use crate::source_file::{self, FileSource};
use crate::spool_shared::SharedSpool;
use crate::stage_metrics::StageMetrics;
use crate::staging::{StageParts, compile_stages};
use crate::{source_forward, source_gelf, source_journal, source_loki_push, source_stdin, source_syslog};

/// How long the start waits for the engines, and again for their first lists.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How long the end waits for the sources.
const SOURCES_END: Duration = Duration::from_secs(2);

/// What new settings changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Sources that were started.
    pub started: Vec<String>,
    /// Sources that were stopped. One whose settings changed is among both.
    pub stopped: Vec<String>,
    /// Sources that went on as they were.
    pub kept: Vec<String>,
    /// Settings that differ and count from the next start of the process.
    pub at_next_start: Vec<String>,
}

/// What starting sources takes.
#[derive(Clone, Debug)]
pub(crate) struct Sourcing {
    /// The agent's folder.
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    pub(crate) metrics: Metrics,
    pub(crate) stage_metrics: StageMetrics,
    pub(crate) board: Board,
    pub(crate) spool: SharedSpool,
    pub(crate) pieces: Pieces,
    /// Turns true at the end of the standard input.
    pub(crate) input_ended: watch::Sender<bool>,
}

/// The sources that run.
#[derive(Debug)]
pub(crate) struct Sources {
    sourcing: Sourcing,
    settings: AgentSettings,
    running: Vec<RunningSource>,
    /// Receivers that were stopped and still hold entries that nobody else has, while the spool is full.
    ending: Vec<JoinHandle<()>>,
    files: Option<RunningFiles>,
    presence: Presence,
    ports: Ports,
    own_id: Option<String>,
    /// Lines in parts, of all ports for the forward protocol.
    forward_parts: OnceLock<Arc<Parts>>,
    /// Hands over those that nobody goes on with.
    forgotten: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    /// Value of the label `host` where the settings give none, once it was looked for.
    found_host: Option<String>,
}

/// What a source was started with; equal ones are the same source.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    source: Source,
    /// Labels of `agent.labels`, and `host`.
    common_labels: BTreeMap<String, String>,
    line_bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Syslog(SyslogSettings),
    Gelf(GelfSettings),
    Forward(ForwardSettings),
    LokiPush(LokiPushSettings),
    Journal(JournalSettings),
    Stdin(StdinSettings),
    /// One engine, and the settings of all without their addresses.
    Docker(EnginePlace, Box<DockerSettings>),
}

#[derive(Debug)]
struct RunningSource {
    wanted: Wanted,
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct RunningFiles {
    jobs: watch::Sender<Vec<Arc<FileJob>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A source that can be started.
struct Prepared {
    wanted: Wanted,
    made: Made,
    /// Held so that it stays open.
    _port: Option<Arc<dyn Any + Send + Sync>>,
}

enum Made {
    Receive(Arc<ReceiveJob>),
    Docker(Box<DockerMade>),
}

struct DockerMade {
    rules: DockerRules,
    pipeline: Pipeline,
    /// One that answered already.
    engine: Option<Engine>,
}

impl Sources {
    /// Starts what the settings name. Waits for the first answers of engines, but not long.
    ///
    /// Errors: settings that cannot be used, and ports that are taken; then nothing runs.
    pub(crate) async fn start(sourcing: Sourcing, settings: AgentSettings) -> Result<Self, Error> {
        let own_id = own_container_id(&*sourcing.disk);
        let mut sources = Self {
            sourcing,
            settings: AgentSettings::default(),
            running: Vec::new(),
            ending: Vec::new(),
            files: None,
            presence: Presence::default(),
            ports: Ports::default(),
            own_id,
            forward_parts: OnceLock::new(),
            forgotten: None,
            found_host: None,
        };
        sources.change_to(settings, true).await?;
        Ok(sources)
    }

    /// Puts other settings in force.
    ///
    /// Errors: settings that cannot be used, and ports that are taken; then everything goes on as it did.
    pub(crate) async fn reload(&mut self, mut settings: AgentSettings) -> Result<Reloaded, Error> {
        settings.check()?;
        let mut at_next_start = Vec::new();
        if settings.listen != self.settings.listen {
            at_next_start.push("agent.listen".to_owned());
            settings.listen.clone_from(&self.settings.listen);
        }
        if settings.spool != self.settings.spool {
            at_next_start.push("agent.spool".to_owned());
            settings.spool.clone_from(&self.settings.spool);
        }
        // It is read once, by whoever began.
        if settings.stdin != self.settings.stdin {
            at_next_start.push("agent.stdin".to_owned());
            settings.stdin.clone_from(&self.settings.stdin);
        }
        Ok(Reloaded { at_next_start, ..self.change_to(settings, false).await? })
    }

    async fn change_to(&mut self, settings: AgentSettings, waits: bool) -> Result<Reloaded, Error> {
        let places = match settings.docker.enabled {
            true => engine_places(&settings.docker, &self.sourcing.dir)
                .map_err(|error| Error::Setting { setting: "docker", reason: error.to_string() })?,
            false => Vec::new(),
        };
        let engines = self.connect(&places).await;
        let own = places.iter().zip(&engines).find(|(place, _)| place.label.is_none());
        let common_labels = self.common_labels(&settings, own.and_then(|(_, engine)| engine.as_ref())).await;
        let has_engine = engines.iter().any(Option::is_some) || self.sourcing.board.has_engine();
        let wanted = wanted(&settings, &places, &common_labels);
        let line_bytes_max = settings.line_bytes_max as usize;
        let files = self.files_of(&settings, has_engine);
        let jobs_before = self.files.as_ref().map(|files| files.jobs.borrow().clone()).unwrap_or_default();
        let jobs = file_jobs(&files, &common_labels, line_bytes_max, &jobs_before)?;
        let (kept, new) = self.split(wanted)?;
        let forgotten_job = forgotten_job(&common_labels, line_bytes_max)?;
        let mut prepared = Vec::new();
        let disk = Arc::clone(&self.sourcing.disk);
        for wanted in new {
            let engine = match &wanted.source {
                Source::Docker(place, _) => {
                    let place = places.iter().position(|other| other == place);
                    place.and_then(|at| engines.get(at).cloned().flatten())
                }
                _ => None,
            };
            prepared.push(self.prepare(wanted, engine, &*disk).await?);
        }
        // Nothing can fail from here on, but for what changes at this very moment.
        let mut reloaded = Reloaded::default();
        let (staying, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|source| kept.contains(&source.wanted));
        reloaded.kept.extend(staying.iter().map(|source| source.wanted.source.name()));
        reloaded.stopped.extend(going.iter().map(|source| source.wanted.source.name()));
        self.running = staying;
        let keys: Vec<String> = places.iter().map(|place| place.key.clone()).collect();
        self.sourcing.board.expect_engines(&keys);
        self.presence.expect(&keys);
        self.end(going).await;
        let (mut first_lists, mut fault) = (Vec::new(), None);
        for prepared in prepared {
            let name = prepared.wanted.source.name();
            match self.launch(prepared, &settings).await {
                Ok(first_list) => {
                    first_lists.extend(first_list);
                    reloaded.started.push(name);
                }
                // What was right a moment ago: a file that is gone since. The others start all the same.
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        self.hand_over_forgotten(forgotten_job, line_bytes_max);
        self.put_files(jobs, &jobs_before, &mut reloaded);
        self.note_journals().await;
        self.show_metrics();
        self.settings = settings;
        if waits {
            // A late list is none of the start's business.
            drop(timeout(FIRST_ANSWER, join_all(first_lists)).await);
        }
        fault.map_or(Ok(reloaded), Err)
    }

    /// Connects to the engines that nothing reads yet. One that does not answer holds up the others no longer than it
    /// would alone.
    async fn connect(&self, places: &[EnginePlace]) -> Vec<Option<Engine>> {
        let disk = &self.sourcing.disk;
        let answers = places.iter().map(|place| async {
            let is_read = self.running.iter().any(
                |source| matches!(&source.wanted.source, Source::Docker(read, _) if read.key == place.key),
            );
            match is_read {
                true => None,
                false => timeout(FIRST_ANSWER, Engine::connect(place, &**disk)).await.ok()?.ok(),
            }
        });
        join_all(answers).await
    }

    async fn common_labels(
        &mut self,
        settings: &AgentSettings,
        own_engine: Option<&Engine>,
    ) -> BTreeMap<String, String> {
        let host = match (&*settings.host, &self.found_host) {
            ("", Some(found)) => found.clone(),
            ("", None) => {
                let disk = &*self.sourcing.disk;
                let found = host_label("", own_engine, self.own_id.is_some(), disk).await;
                self.found_host.insert(found).clone()
            }
            (given, _) => given.to_owned(),
        };
        let mut labels = settings.labels.clone();
        labels.insert("host".to_owned(), host);
        labels
    }

    fn files_of(&self, settings: &AgentSettings, has_engine: bool) -> Vec<FileSettings> {
        if settings.names_sources() || has_engine {
            return settings.files.clone();
        }
        // Without an engine a machine's own logs are what there is to read.
        tracing::info!(
            "no engine answers and nothing else is named to read, so the files in /var/log are read"
        );
        default_files()
    }

    /// Tells what runs already from what is new. Errors: a port that two receivers want.
    fn split(&self, wanted: Vec<Wanted>) -> Result<(Vec<Wanted>, Vec<Wanted>), Error> {
        check_ports(&wanted)?;
        Ok(wanted.into_iter().partition(|wanted| {
            // One that ended by a fault of its own begins anew; the standard input has an end.
            let goes_on = |source: &RunningSource| {
                !source.task.is_finished() || matches!(source.wanted.source, Source::Stdin(_))
            };
            self.running.iter().any(|source| source.wanted == *wanted && goes_on(source))
        }))
    }

    /// Compiles what a source needs, looks at its files, and opens its port.
    async fn prepare(
        &self,
        wanted: Wanted,
        engine: Option<Engine>,
        disk: &dyn Disk,
    ) -> Result<Prepared, Error> {
        let mut made = wanted.compile(disk)?;
        if let Made::Docker(docker) = &mut made {
            docker.engine = engine;
        }
        if matches!(wanted.source, Source::Journal(_)) {
            source_journal::check()?;
        }
        let port: Option<Arc<dyn Any + Send + Sync>> = match wanted.source.port() {
            None => None,
            Some((setting, Transport::Tcp, address)) => Some(self.ports.tcp(setting, address).await?),
            Some((setting, Transport::Udp, address)) => Some(self.ports.udp(setting, address)?),
        };
        Ok(Prepared { wanted, made, _port: port })
    }

    /// Starts a source; returns what tells of an engine's first list, if one is to come.
    async fn launch(
        &mut self,
        prepared: Prepared,
        settings: &AgentSettings,
    ) -> Result<Option<oneshot::Receiver<()>>, Error> {
        let Prepared { wanted, made, _port } = prepared;
        let (stop, stop_seen) = watch::channel(false);
        let mut first_list = None;
        let (pipeline, task) = match (made, &wanted.source) {
            (Made::Receive(job), source) => {
                let row = source.board_key().unwrap_or_default();
                let receiving = self.receiving(wanted.line_bytes_max, (stop_seen, row.into()));
                (job.pipeline.clone(), self.receive(source, job, &receiving).await?)
            }
            (Made::Docker(made), Source::Docker(place, docker)) => {
                let DockerMade { rules, pipeline, engine } = *made;
                let (listed, heard) = oneshot::channel();
                first_list = engine.is_some().then_some(heard);
                let sourcing = &self.sourcing;
                let source = DockerSource {
                    place: place.clone(),
                    presence: self.presence.clone(),
                    own_id: self.own_id.clone(),
                    parts: Arc::new(TargetParts {
                        pieces: sourcing.pieces.clone(),
                        board: sourcing.board.clone(),
                        metrics: sourcing.metrics.clone(),
                        clock: Arc::clone(&sourcing.clock),
                        random: Arc::clone(&sourcing.random),
                        rules,
                        pipeline: pipeline.clone(),
                        staging: self.staging(wanted.line_bytes_max),
                        initial: docker.initial,
                        disk: Arc::clone(&sourcing.disk),
                        looks: Looks::default(),
                    }),
                    has_lifecycle: docker.lifecycle_entries,
                    read: settings.docker.read,
                    spool: sourcing.spool.clone(),
                    stop: stop_seen,
                    listed,
                };
                (pipeline, tokio::spawn(source_docker::run(source, engine)))
            }
            (Made::Docker(_), _) => return Ok(None),
        };
        self.running.push(RunningSource { wanted, pipeline, stop, task });
        Ok(first_list)
    }

    async fn receive(
        &self,
        source: &Source,
        job: Arc<ReceiveJob>,
        receiving: &Receiving,
    ) -> Result<JoinHandle<()>, Error> {
        let Sourcing { disk, spool, input_ended, .. } = &self.sourcing;
        let disk = Arc::clone(disk);
        Ok(match source {
            Source::Syslog(settings) => source_syslog::start(settings, job, receiving, disk).await?,
            Source::Gelf(settings) => source_gelf::start(settings, job, receiving, disk).await?,
            Source::Forward(settings) => {
                source_forward::start(settings, job, receiving, (&*disk, self.forward_parts())).await?
            }
            Source::LokiPush(settings) => {
                source_loki_push::start(settings, job, receiving, spool, &*disk).await?
            }
            Source::Journal(settings) => source_journal::start(settings, job, receiving, spool),
            Source::Stdin(_) | Source::Docker(..) => {
                source_stdin::start(std::io::stdin(), &job, receiving, input_ended.clone())
            }
        })
    }

    /// Returns the lines in parts; read from the disk when they are needed first.
    fn forward_parts(&self) -> Arc<Parts> {
        let open = || Arc::new(Parts::open(Arc::clone(&self.sourcing.disk), self.forward_parts_path()));
        Arc::clone(self.forward_parts.get_or_init(open))
    }

    fn forward_parts_path(&self) -> PathBuf {
        self.sourcing.dir.join("forward-parts")
    }

    /// Has lines in parts handed over that nobody goes on with, from when there may be any.
    fn hand_over_forgotten(&mut self, unknown: Arc<ReceiveJob>, line_bytes_max: usize) {
        // Without a port there are those of a process before this one; what cannot be looked at, opening tells of.
        let may_be_some = self.forward_parts.get().is_some()
            || !matches!(self.sourcing.disk.metadata(&self.forward_parts_path()), Ok(None));
        if !may_be_some {
            return;
        }
        // Labels and bounds may be others now. What it has taken it hands over to the end.
        if let Some((stop, task)) = self.forgotten.take() {
            stop.send_replace(true);
            self.ending.push(task);
        }
        let (stop, stop_seen) = watch::channel(false);
        let receiving = self.receiving(line_bytes_max, (stop_seen, "".into()));
        let handing = source_forward::hand_over_forgotten(self.forward_parts(), unknown, receiving);
        self.forgotten = Some((stop, tokio::spawn(handing)));
    }

    fn receiving(&self, line_bytes_max: usize, (stop, row): (watch::Receiver<bool>, Arc<str>)) -> Receiving {
        Receiving {
            pieces: self.sourcing.pieces.clone(),
            ports: self.ports.clone(),
            clock: Arc::clone(&self.sourcing.clock),
            metrics: self.sourcing.metrics.clone(),
            board: self.sourcing.board.clone(),
            staging: self.staging(line_bytes_max),
            stop,
            row,
        }
    }

    fn staging(&self, line_bytes_max: usize) -> StageParts {
        let Sourcing { random, metrics, .. } = &self.sourcing;
        StageParts { line_bytes_max, random: Arc::clone(random), metrics: metrics.clone() }
    }

    /// Has files read as these jobs say. The source that reads them goes on until the agent stops, once it began.
    fn put_files(&mut self, jobs: Vec<Arc<FileJob>>, before: &[Arc<FileJob>], reloaded: &mut Reloaded) {
        for job in before {
            let is_kept = jobs.iter().any(|now| Arc::ptr_eq(now, job));
            let list = if is_kept { &mut reloaded.kept } else { &mut reloaded.stopped };
            list.push(job.name());
        }
        let new = jobs.iter().filter(|job| !before.iter().any(|was| Arc::ptr_eq(was, job)));
        reloaded.started.extend(new.map(|job| job.name()));
        match &self.files {
            Some(files)
                if jobs.len() == before.len() && jobs.iter().zip(before).all(|(a, b)| Arc::ptr_eq(a, b)) =>
            {
                debug_assert!(!files.task.is_finished(), "it ends with the agent");
            }
            Some(files) => drop(files.jobs.send_replace(jobs)),
            None if jobs.is_empty() => {}
            None => {
                let (sender, jobs) = watch::channel(jobs);
                let (stop, stop_seen) = watch::channel(false);
                let source = FileSource {
                    disk: Arc::clone(&self.sourcing.disk),
                    clock: Arc::clone(&self.sourcing.clock),
                    metrics: self.sourcing.metrics.clone(),
                    board: self.sourcing.board.clone(),
                    spool: self.sourcing.spool.clone(),
                    pieces: self.sourcing.pieces.clone(),
                    jobs,
                    // Each job has its own bound.
                    staging: self.staging(0),
                };
                let task = tokio::spawn(source_file::run(source, stop_seen));
                self.files = Some(RunningFiles { jobs: sender, stop, task });
            }
        }
    }

    /// Says which journals are there: the positions of others are kept for a while.
    async fn note_journals(&self) {
        let keys = self.running.iter().filter_map(|source| match &source.wanted.source {
            Source::Journal(settings) => Some(source_journal::key(settings)),
            _ => None,
        });
        self.sourcing.spool.note_present(source_journal::TARGET_PREFIX, keys.collect()).await;
    }

    fn show_metrics(&self) {
        let files = self.files.as_ref().map(|files| files.jobs.borrow().clone()).unwrap_or_default();
        let of_files = files.iter().map(|job| job.pipeline.clone());
        let mut pipelines: Vec<Pipeline> =
            self.running.iter().map(|source| source.pipeline.clone()).collect();
        pipelines.extend(of_files);
        self.sourcing.stage_metrics.show(&pipelines);
    }

    /// Stops sources and takes them off the board. Who can read again what it holds is cut off if it does not end, or
    /// it would hand it over beside its successor.
    async fn end(&mut self, sources: Vec<RunningSource>) {
        let (mut readers, mut receivers) = (Vec::new(), Vec::new());
        for source in sources {
            source.stop.send_replace(true);
            if let Some(key) = source.wanted.source.board_key() {
                self.sourcing.board.remove_target(&key);
            }
            match source.wanted.source {
                Source::Docker(..) | Source::Journal(_) => readers.push(source.task),
                _ => receivers.push(source.task),
            }
        }
        end_tasks(readers).await;
        let deadline = Instant::now() + SOURCES_END;
        self.ending.retain(|task| !task.is_finished());
        for mut task in receivers {
            match timeout_at(deadline, &mut task).await {
                Ok(ended) => note_failure(ended),
                Err(_) => self.ending.push(task),
            }
        }
    }

    /// Stops all sources.
    pub(crate) async fn stop(self) {
        let mut tasks = self.ending;
        for source in self.running {
            source.stop.send_replace(true);
            tasks.push(source.task);
        }
        if let Some(files) = self.files {
            files.stop.send_replace(true);
            tasks.push(files.task);
        }
        if let Some((stop, task)) = self.forgotten {
            stop.send_replace(true);
            tasks.push(task);
        }
        end_tasks(tasks).await;
    }
}

async fn end_tasks(tasks: Vec<JoinHandle<()>>) {
    let deadline = Instant::now() + SOURCES_END;
    for mut task in tasks {
        match timeout_at(deadline, &mut task).await {
            Ok(ended) => note_failure(ended),
            Err(_) => {
                // It waits for an engine or a disk that does not answer. What it read and did not hand over is read
                // again.
                tracing::debug!("a source does not end, so it is cut off");
                task.abort();
            }
        }
    }
}

/// Tells of a task that failed. What it held was not spooled and is read again.
pub(crate) fn note_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the agent failed, this is a bug; what it had read is read again at the next start");
    }
}

/// Returns labels and stages of lines in parts whose port nobody knows any more: those that a port has by default.
fn forgotten_job(common: &BTreeMap<String, String>, line_bytes_max: usize) -> Result<Arc<ReceiveJob>, Error> {
    let settings = ForwardSettings::default();
    ReceiveJob::compile(source_forward::job_settings(&settings), common, line_bytes_max)
}

/// Lists the sources that settings name, besides files.
fn wanted(
    settings: &AgentSettings,
    places: &[EnginePlace],
    common_labels: &BTreeMap<String, String>,
) -> Vec<Wanted> {
    let mut sources: Vec<Source> = Vec::new();
    sources.extend(settings.syslog.iter().cloned().map(Source::Syslog));
    sources.extend(settings.gelf.iter().cloned().map(Source::Gelf));
    sources.extend(settings.forward.iter().cloned().map(Source::Forward));
    sources.extend(settings.loki_push.iter().cloned().map(Source::LokiPush));
    sources.extend(settings.journal.iter().cloned().map(Source::Journal));
    if settings.stdin.enabled {
        sources.push(Source::Stdin(settings.stdin.clone()));
    }
    let docker = DockerSettings { host: String::new(), engines: Vec::new(), ..settings.docker.clone() };
    sources.extend(places.iter().map(|place| Source::Docker(place.clone(), Box::new(docker.clone()))));
    let line_bytes_max = settings.line_bytes_max as usize;
    let common = |source| Wanted { source, common_labels: common_labels.clone(), line_bytes_max };
    sources.into_iter().map(common).collect()
}

/// Checks settings as far as a start would before it opens anything but files: every rule, stage, pattern, certificate.
///
/// `dir` is the data folder. Errors: the first setting that cannot be used.
pub fn check_settings(settings: &AgentSettings, dir: &Path, disk: &dyn Disk) -> Result<(), Error> {
    settings.check()?;
    let places = match settings.docker.enabled {
        true => engine_places(&settings.docker, &dir.join("agent"))
            .map_err(|error| Error::Setting { setting: "docker", reason: error.to_string() })?,
        false => Vec::new(),
    };
    let labels = &settings.labels;
    file_jobs(&settings.files, labels, settings.line_bytes_max as usize, &[])?;
    let wanted = wanted(settings, &places, labels);
    check_ports(&wanted)?;
    wanted.iter().try_for_each(|wanted| wanted.compile(disk).map(drop))
}

/// Errors: a port that two receivers want.
fn check_ports(wanted: &[Wanted]) -> Result<(), Error> {
    let mut ports: Vec<(Transport, String)> = Vec::new();
    for wanted in wanted {
        let Some((setting, transport, address)) = wanted.source.port() else { continue };
        let port = (transport, listen_address(address));
        if ports.contains(&port) {
            let reason = format!("two receivers want {address} over {}", transport.as_str());
            return Err(Error::Setting { setting, reason });
        }
        ports.push(port);
    }
    Ok(())
}

impl Wanted {
    /// Compiles labels, rules and stages, and reads the files that the settings name.
    fn compile(&self, disk: &dyn Disk) -> Result<Made, Error> {
        self.source.check_files(disk)?;
        let compile = |job: JobSettings<'_>| {
            ReceiveJob::compile(job, &self.common_labels, self.line_bytes_max).map(Made::Receive)
        };
        match &self.source {
            Source::Syslog(settings) => compile(source_syslog::job_settings(settings)),
            Source::Gelf(settings) => compile(source_gelf::job_settings(settings)),
            Source::Forward(settings) => compile(source_forward::job_settings(settings)),
            Source::LokiPush(settings) => compile(source_loki_push::job_settings(settings)),
            Source::Journal(settings) => compile(source_journal::job_settings(settings)),
            Source::Stdin(settings) => compile(source_stdin::job_settings(settings)),
            Source::Docker(place, docker) => {
                let mut labels = self.common_labels.clone();
                if let Some(label) = &place.label {
                    labels.insert("host".to_owned(), label.clone());
                }
                let pipeline =
                    compile_stages("docker.stages", &docker.stages, LinesFrom::Engine, self.line_bytes_max)?;
                let rules = DockerRules::compile(docker, labels)?;
                Ok(Made::Docker(Box::new(DockerMade { rules, pipeline, engine: None })))
            }
        }
    }
}

/// Takes the ports out of settings; returns their names.
pub(crate) fn take_ports(settings: &mut AgentSettings) -> Vec<String> {
    let mut sources: Vec<Source> = Vec::new();
    sources.extend(settings.syslog.drain(..).map(Source::Syslog));
    sources.extend(settings.gelf.drain(..).map(Source::Gelf));
    sources.extend(settings.forward.drain(..).map(Source::Forward));
    sources.extend(settings.loki_push.drain(..).map(Source::LokiPush));
    sources.iter().map(Source::name).collect()
}

impl Source {
    /// Returns what it is called in reports.
    fn name(&self) -> String {
        match self {
            Self::Syslog(settings) => source_syslog::name(settings),
            Self::Gelf(settings) => source_gelf::name(settings),
            Self::Forward(settings) => source_forward::name(settings),
            Self::LokiPush(settings) => source_loki_push::name(settings),
            Self::Journal(settings) => format!("journal {}", source_journal::name(settings)),
            Self::Stdin(_) => source_stdin::NAME.to_owned(),
            Self::Docker(place, _) => format!("docker {}", place.host),
        }
    }

    /// Returns the key of its row on the board, if it has one of its own.
    fn board_key(&self) -> Option<String> {
        match self {
            Self::Journal(settings) => Some(source_journal::key(settings)),
            Self::Docker(..) => None,
            Self::Syslog(_) | Self::Gelf(_) | Self::Forward(_) | Self::LokiPush(_) | Self::Stdin(_) => {
                Some(self.name())
            }
        }
    }

    /// Errors: certificates that cannot be used, a time zone that nobody knows.
    fn check_files(&self, disk: &dyn Disk) -> Result<(), Error> {
        let (setting, tls) = match self {
            Self::Syslog(settings) => {
                source_syslog::check(settings)?;
                ("syslog.tls", &settings.tls)
            }
            Self::Gelf(settings) => ("gelf.tls", &settings.tls),
            Self::Forward(settings) => {
                check_key(&settings.shared_key_file, disk)?;
                ("forward.tls", &settings.tls)
            }
            Self::LokiPush(settings) => ("loki_push.tls", &settings.tls),
            Self::Journal(_) | Self::Stdin(_) | Self::Docker(..) => return Ok(()),
        };
        listen_tls::acceptor(setting, tls, disk).map(drop)
    }

    /// Returns the setting and the port that it listens on, if any.
    fn port(&self) -> Option<(&'static str, Transport, &str)> {
        match self {
            Self::Syslog(settings) => Some(("syslog.listen", settings.protocol, &settings.listen)),
            Self::Gelf(settings) => Some(("gelf.listen", settings.protocol, &settings.listen)),
            Self::Forward(settings) => Some(("forward.listen", Transport::Tcp, &settings.listen)),
            Self::LokiPush(settings) => Some(("loki_push.listen", Transport::Tcp, &settings.listen)),
            Self::Journal(_) | Self::Stdin(_) | Self::Docker(..) => None,
        }
    }
}

/// Returns the value of the label `host`: a container's own host name is an id, so there the engine knows better.
pub(crate) async fn host_label(
    setting: &str,
    engine: Option<&Engine>,
    is_in_container: bool,
    disk: &dyn Disk,
) -> String {
    if !setting.is_empty() {
        return setting.to_owned();
    }
    if let Some(engine) = engine.filter(|_| is_in_container)
        && let Some(name) = engine.host_name().await
    {
        return name;
    }
    machine_name(disk)
}
