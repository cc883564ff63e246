//! The agent as a whole: starts its parts in order, reports on them, stops them in order.
//!
//! Start: spool (replayed) → shipper → batcher → sources. Stop: sources → batcher (spools what it
//! holds) → one last push → sync. Nothing at the end waits long for the store: what is not pushed is in
//! the spool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use logyard_client::Client;
use logyard_pipeline::LinesFrom;
use logyard_sys::{Clock, Disk, LockGuard, Random};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use crate::batch::{self, BatchEnd, PIECES_WAITING_MAX, Piece};
use crate::discovery::DockerRules;
use crate::docker_engine::Engine;
use crate::docker_target::TargetParts;
use crate::engine_place::engine_places;
use crate::error::Error;
use crate::file_jobs::{default_files, file_jobs};
use crate::import::{ImportedPositions, import};
use crate::machine::{machine_name, own_container_id};
use crate::metrics::Metrics;
use crate::receive::{self, ReceiveParts};
use crate::received::Receiving;
use crate::refused::RefusedFolder;
use crate::report::{AgentReport, Board};
use crate::settings::AgentSettings;
use crate::ship::{self, ShipParts, ShipUntil};
use crate::source_docker::{self, DockerSource, Presence};
use crate::source_file::{self, FileSource};
use crate::spool::{Spool, SpoolBounds, SpoolParts};
use crate::spool_shared::SharedSpool;
use crate::stage_metrics::StageMetrics;
use crate::staging::{StageParts, compile_stages};

/// How long the start waits for the engine, and again for its first list.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How long the end waits for the sources.
const SOURCES_END: Duration = Duration::from_secs(2);
/// How long the end waits for the last push.
const LAST_PUSH: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

/// What the agent needs from outside.
#[derive(Debug)]
pub struct AgentParts<'a> {
    /// Holds the agent's folder, and the files that are read.
    pub disk: Arc<dyn Disk>,
    /// Time of entries that bear none.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub random: Arc<Random>,
    /// Gets the agent's metrics.
    pub registry: &'a mut Registry,
    /// The store to push to.
    pub client: Client,
    /// The data folder; the agent keeps to `agent` inside it.
    pub data_dir: PathBuf,
    /// How far another agent has read; counts while this one has no positions of its own.
    pub imported: ImportedPositions,
}

/// Reports on an agent as long as it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    board: Board,
    spool: SharedSpool,
}

impl Reporter {
    /// Returns what is read at the moment. Cost: copies the labels of all targets.
    pub fn report(&self) -> AgentReport {
        let (agent_id, spool_bytes) = self.spool.summary();
        self.board.report(agent_id, spool_bytes)
    }
}

/// A running agent. Dropping it ends reading without a last push; [`Agent::stop`] is kinder.
#[derive(Debug)]
pub struct Agent {
    board: Board,
    spool: SharedSpool,
    stop: watch::Sender<bool>,
    until: watch::Sender<ShipUntil>,
    /// Turns true when no source will send any more.
    last_call: watch::Sender<bool>,
    /// Turns true at the end of the standard input.
    input_seen: watch::Receiver<bool>,
    sources: Vec<JoinHandle<()>>,
    batcher: JoinHandle<()>,
    shipper: JoinHandle<()>,
    _lock: Box<dyn LockGuard>,
}

impl Agent {
    /// Starts the agent.
    ///
    /// Waits for the engine's first answer (or its absence), so that a report right after it is of use,
    /// but not for the store: what cannot be pushed is spooled.
    ///
    /// Errors: settings that cannot be used (`Kind::Invalid`); a data folder that cannot be read or
    /// written, or that another agent holds (`Kind::Unavailable`). Must run inside a tokio runtime.
    pub async fn start(settings: AgentSettings, parts: AgentParts<'_>) -> Result<Self, Error> {
        settings.check()?;
        let AgentParts { disk, clock, random, registry, client, data_dir, imported } = parts;
        let dir = data_dir.join("agent");
        disk.create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let lock_path = dir.join("lock");
        let lock = disk.lock(&lock_path).map_err(Error::file("lock", &lock_path))?;
        let metrics = Metrics::register(registry);
        let stage_metrics = StageMetrics::new(Arc::clone(&clock));
        registry.register_collector(Box::new(stage_metrics.clone()));
        let spool = open_spool(&settings, &disk, &clock, &random, &dir, &metrics)?;
        let board = Board::default();
        let (stop, mut stop_seen) = watch::channel(false);
        import(&imported, &settings.journal, &*disk, &spool, &mut stop_seen).await;
        let (until, until_seen) = watch::channel(ShipUntil::Never);
        let (last_call, last_call_seen) = watch::channel(false);
        let (pieces, pieces_taken) = mpsc::channel(PIECES_WAITING_MAX);
        let shipping = ShipParts {
            client,
            spool: spool.clone(),
            random: Arc::clone(&random),
            metrics: metrics.clone(),
            refused: RefusedFolder::new(Arc::clone(&disk), &dir, settings.spool.refused_bytes_max),
        };
        let shipper = tokio::spawn(ship::run(shipping, until_seen));
        let batcher = tokio::spawn(batch::run(
            pieces_taken,
            spool.clone(),
            metrics.clone(),
            BatchEnd { stop: stop_seen.clone(), last_call: last_call_seen },
        ));
        let (input_ended, input_seen) = watch::channel(false);
        let shared = Sourcing {
            settings,
            dir,
            disk,
            clock,
            random,
            metrics,
            stage_metrics,
            board: board.clone(),
            spool: spool.clone(),
            pieces,
            stop: stop_seen,
            input_ended,
        };
        let sources = shared.start().await?;
        Ok(Self { board, spool, stop, until, last_call, input_seen, sources, batcher, shipper, _lock: lock })
    }

    /// Returns what is read at the moment. Cost: copies the labels of all targets.
    pub fn report(&self) -> AgentReport {
        self.reporter().report()
    }

    /// Returns what reports for whoever asks later.
    pub fn reporter(&self) -> Reporter {
        Reporter { board: self.board.clone(), spool: self.spool.clone() }
    }

    /// Resolves at the end of the standard input, if that is read. Safe to cancel.
    pub fn input_ended(&self) -> impl Future<Output = ()> + use<> {
        let mut seen = self.input_seen.clone();
        async move {
            if seen.wait_for(|is_ended| *is_ended).await.is_err() {
                // Nothing reads it.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops reading, spools what was read and gives the store 5 s to take it.
    ///
    /// What it does not take stays in the spool for the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + SOURCES_END;
        for mut source in self.sources {
            match timeout_at(deadline, &mut source).await {
                Ok(ended) => note_failure(ended),
                Err(_) => {
                    // It waits for an engine or a disk that does not answer. What it read is not spooled, so it is
                    // read again.
                    tracing::debug!("a source does not end, so it is cut off");
                    source.abort();
                }
            }
        }
        // One that was cut off may hold its end of the channel for long.
        self.last_call.send_replace(true);
        joined(self.batcher).await;
        self.until.send_replace(ShipUntil::Empty);
        let mut shipper = self.shipper;
        if timeout(LAST_PUSH, &mut shipper).await.is_err() {
            self.until.send_replace(ShipUntil::Now);
            joined(shipper).await;
        }
        self.spool.sync().await;
    }
}

/// Waits for a task. What a panicking one held was not spooled and is read again.
async fn joined(task: JoinHandle<()>) {
    note_failure(task.await);
}

fn note_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the agent failed, this is a bug; what it had read is read again at the next start");
    }
}

fn open_spool(
    settings: &AgentSettings,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    random: &Arc<Random>,
    dir: &Path,
    metrics: &Metrics,
) -> Result<SharedSpool, Error> {
    let (spool, found) = Spool::open(SpoolParts {
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        dir: dir.to_owned(),
        bounds: SpoolBounds::new(settings.spool.bytes_max),
    })?;
    if found.is_damaged {
        tracing::warn!(path = %dir.display(), "the spool was damaged; what it lost is read again as far as its sources still hold it");
    }
    if found.batches > 0 {
        tracing::info!(
            batches = found.batches,
            entries = found.entries,
            "the spool holds entries from before; pushing them first"
        );
    }
    metrics.entries_replayed.inc_by(found.entries);
    metrics.entries_waiting.inc_by(i64::try_from(found.entries).unwrap_or(i64::MAX));
    Ok(SharedSpool::new(spool, metrics.clone()))
}

/// What starting the sources takes.
#[derive(Debug)]
struct Sourcing {
    settings: AgentSettings,
    /// The agent's folder.
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    metrics: Metrics,
    stage_metrics: StageMetrics,
    board: Board,
    spool: SharedSpool,
    pieces: mpsc::Sender<Piece>,
    stop: watch::Receiver<bool>,
    input_ended: watch::Sender<bool>,
}

impl Sourcing {
    async fn start(self) -> Result<Vec<JoinHandle<()>>, Error> {
        let places = match self.settings.docker.enabled {
            true => engine_places(&self.settings.docker, &self.dir)
                .map_err(|error| Error::Setting { setting: "docker", reason: error.to_string() })?,
            false => Vec::new(),
        };
        // One that does not answer holds up the others no longer than it would the start.
        let answers = places.iter().map(|place| timeout(FIRST_ANSWER, Engine::connect(place, &*self.disk)));
        let mut engines: Vec<Option<Engine>> =
            join_all(answers).await.into_iter().map(|answer| answer.ok().and_then(Result::ok)).collect();
        let has_engine = engines.iter().any(Option::is_some);
        let own_id = own_container_id(&*self.disk);
        let own = places.iter().zip(&engines).find(|(place, _)| place.label.is_none());
        let own_engine = own.and_then(|(_, engine)| engine.as_ref());
        let host_label = host_label(&self.settings.host, own_engine, own_id.is_some(), &*self.disk).await;
        let mut common_labels = self.settings.labels.clone();
        common_labels.insert("host".to_owned(), host_label);
        let line_bytes_max = self.settings.line_bytes_max as usize;
        let staging =
            StageParts { line_bytes_max, random: Arc::clone(&self.random), metrics: self.metrics.clone() };
        let mut sources = Vec::new();
        let receiving = Receiving {
            pieces: self.pieces.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            board: self.board.clone(),
            staging: staging.clone(),
            stop: self.stop.clone(),
        };
        let received = receive::start(ReceiveParts {
            settings: &self.settings,
            common_labels: &common_labels,
            receiving,
            disk: &self.disk,
            stage_metrics: &self.stage_metrics,
            spool: &self.spool,
            input_ended: &self.input_ended,
        });
        sources.extend(received.await?);
        let files = match self.settings.names_sources() {
            true => self.settings.files.clone(),
            // Without an engine a machine's own logs are what there is to read.
            false if !has_engine => {
                tracing::info!(
                    "no engine answers and nothing else is named to read, so the files in /var/log are read"
                );
                default_files()
            }
            false => Vec::new(),
        };
        if !files.is_empty() {
            let jobs = file_jobs(&files, &common_labels, line_bytes_max)?;
            jobs.iter().for_each(|job| self.stage_metrics.add(&job.pipeline));
            let source = FileSource {
                disk: Arc::clone(&self.disk),
                clock: Arc::clone(&self.clock),
                metrics: self.metrics.clone(),
                board: self.board.clone(),
                spool: self.spool.clone(),
                pieces: self.pieces.clone(),
                jobs,
                staging: staging.clone(),
            };
            let stop = self.stop.clone();
            sources.push(tokio::spawn(source_file::run(source, stop)));
        }
        if self.settings.docker.enabled {
            let docker = &self.settings.docker;
            let pipeline =
                compile_stages("docker.stages", &docker.stages, LinesFrom::Engine, line_bytes_max)?;
            self.stage_metrics.add(&pipeline);
            let presence = Presence::new(places.len());
            let mut first_lists = Vec::new();
            for (number, (place, engine)) in places.into_iter().zip(engines.drain(..)).enumerate() {
                let mut labels = common_labels.clone();
                if let Some(label) = &place.label {
                    labels.insert("host".to_owned(), label.clone());
                }
                let parts = Arc::new(TargetParts {
                    pieces: self.pieces.clone(),
                    board: self.board.clone(),
                    metrics: self.metrics.clone(),
                    clock: Arc::clone(&self.clock),
                    random: Arc::clone(&self.random),
                    rules: DockerRules::compile(docker, labels)?,
                    pipeline: pipeline.clone(),
                    staging: staging.clone(),
                    initial: docker.initial,
                    disk: Arc::clone(&self.disk),
                });
                let (listed, first_list) = oneshot::channel();
                first_lists.extend(engine.is_some().then_some(first_list));
                let source = DockerSource {
                    place,
                    number,
                    presence: presence.clone(),
                    own_id: own_id.clone(),
                    parts,
                    has_lifecycle: docker.lifecycle_entries,
                    read: docker.read,
                    spool: self.spool.clone(),
                    stop: self.stop.clone(),
                    listed,
                };
                sources.push(tokio::spawn(source_docker::run(source, engine)));
            }
            // A late list is none of the start's business.
            drop(timeout(FIRST_ANSWER, join_all(first_lists)).await);
        }
        Ok(sources)
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
