//! The agent as a whole: starts its parts in order, reports on them, stops them in order.
//!
//! Start: spool (replayed) → shipper → batcher → sources. Stop: sources → batcher (spools what it
//! holds) → one last push → sync. Nothing at the end waits long for the store: what is not pushed is in
//! the spool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logyard_sys::{Clock, Disk, LockGuard, Random};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::batch::{self, BatchEnd, PIECES_WAITING_MAX};
use crate::destination::{Destination, WhenFull};
use crate::error::Error;
use crate::import::{ImportedPositions, import};
use crate::metrics::Metrics;
use crate::pieces::{Handed, Pieces};
use crate::refused::RefusedFolder;
use crate::report::{AgentReport, Board, TargetMetrics};
use crate::settings::AgentSettings;
use crate::ship::{self, ShipParts, ShipUntil};
use crate::ship_send::Sender;
use crate::sources::{Reloaded, Sources, Sourcing, note_failure};
use crate::spool::{Spool, SpoolBounds, SpoolParts};
use crate::spool_mark::MarkSettings;
use crate::spool_shared::SharedSpool;
use crate::stage_metrics::StageMetrics;

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
    /// Where everything goes; at least one, and no name twice.
    pub destinations: Vec<Destination>,
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
    sources: Sources,
    batcher: JoinHandle<()>,
    shippers: Vec<JoinHandle<()>>,
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
        let AgentParts { disk, clock, random, registry, destinations, data_dir, imported } = parts;
        check_names(&destinations)?;
        let dir = data_dir.join("agent");
        disk.create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let lock_path = dir.join("lock");
        let lock = disk.lock(&lock_path).map_err(Error::file("lock", &lock_path))?;
        let metrics = Metrics::register(registry);
        let stage_metrics = StageMetrics::new(Arc::clone(&clock));
        registry.register_collector(Box::new(stage_metrics.clone()));
        let opening = Opening { settings: &settings, disk: &disk, clock: &clock, random: &random, dir: &dir };
        let spool = open_spool(&opening, &destinations, &metrics)?;
        let board = Board::default();
        registry.register_collector(Box::new(TargetMetrics(board.clone())));
        let (stop, mut stop_seen) = watch::channel(false);
        import(&imported, &settings.journal, &*disk, &spool, &mut stop_seen).await;
        let (until, until_seen) = watch::channel(ShipUntil::Never);
        let (last_call, last_call_seen) = watch::channel(false);
        let (pieces, pieces_taken) = mpsc::channel(PIECES_WAITING_MAX);
        let handed = Handed::default();
        let mut shippers = Vec::new();
        for (number, destination) in destinations.into_iter().enumerate() {
            let Destination { name, kind, client, .. } = destination;
            let of = (number > 0).then_some(&*name);
            let shipping = ShipParts {
                number,
                sender: Sender::new(client, kind),
                spool: spool.clone(),
                random: Arc::clone(&random),
                metrics: metrics.destination(&name, number == 0),
                board: (number == 0).then(|| board.clone()),
                refused: RefusedFolder::new(Arc::clone(&disk), &dir, settings.spool.refused_bytes_max, of),
                name,
            };
            shippers.push(tokio::spawn(ship::run(shipping, until_seen.clone())));
        }
        let batcher = tokio::spawn(batch::run(
            pieces_taken,
            spool.clone(),
            metrics.clone(),
            BatchEnd { stop: stop_seen, last_call: last_call_seen, handed: handed.clone() },
        ));
        let (input_ended, input_seen) = watch::channel(false);
        let sourcing = Sourcing {
            dir,
            disk,
            clock,
            random,
            metrics,
            stage_metrics,
            board: board.clone(),
            spool: spool.clone(),
            pieces: Pieces::new(pieces, handed, board.clone()),
            input_ended,
        };
        let sources = Sources::start(sourcing, settings).await?;
        Ok(Self { board, spool, stop, until, last_call, input_seen, sources, batcher, shippers, _lock: lock })
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

    /// Puts other settings in force while the agent runs: what is new is started, what is gone is stopped, and what is equal
    /// goes on as it was. Nothing is read twice or left out by it.
    ///
    /// Errors: settings that cannot be used, ports that are taken (`Kind::Invalid`); then everything goes on as it did.
    /// Takes as long as sources take to end, 2 s at most, and engines that are new to answer, 3 s at most.
    pub async fn reload(&mut self, settings: AgentSettings) -> Result<Reloaded, Error> {
        self.sources.reload(settings).await
    }

    /// Stops reading, spools what was read and gives the store 5 s to take it.
    ///
    /// What it does not take stays in the spool for the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.sources.stop().await;
        // One that was cut off may hold its end of the channel for long.
        self.last_call.send_replace(true);
        joined(self.batcher).await;
        self.until.send_replace(ShipUntil::Empty);
        let deadline = Instant::now() + LAST_PUSH;
        for mut shipper in self.shippers {
            match timeout_at(deadline, &mut shipper).await {
                Ok(ended) => note_failure(ended),
                Err(_) => {
                    self.until.send_replace(ShipUntil::Now);
                    joined(shipper).await;
                }
            }
        }
        self.spool.sync().await;
    }
}

/// Waits for a task. What a panicking one held was not spooled and is read again.
async fn joined(task: JoinHandle<()>) {
    note_failure(task.await);
}

/// What opening the spool takes.
#[derive(Debug)]
struct Opening<'a> {
    settings: &'a AgentSettings,
    disk: &'a Arc<dyn Disk>,
    clock: &'a Arc<dyn Clock>,
    random: &'a Arc<Random>,
    dir: &'a Path,
}

/// Two destinations of one name would share a place in the spool.
fn check_names(destinations: &[Destination]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    let bad = destinations
        .iter()
        .map(|destination| &*destination.name)
        .find(|name| !Destination::is_name(name) || !seen.insert(*name));
    match bad {
        _ if destinations.is_empty() => {
            Err(Error::Setting { setting: "destinations", reason: "there is none".to_owned() })
        }
        Some(name) => {
            let reason = format!("{name:?} is the name of two, or none: want letters, digits, - and _");
            Err(Error::Setting { setting: "destinations", reason })
        }
        None => Ok(()),
    }
}

fn open_spool(
    opening: &Opening<'_>,
    destinations: &[Destination],
    metrics: &Metrics,
) -> Result<SharedSpool, Error> {
    let marks = destinations.iter().map(|destination| MarkSettings {
        name: destination.name.clone(),
        bytes_max: destination.spool_bytes_max,
        drops: destination.when_full == WhenFull::DropOldest,
    });
    let (spool, found) = Spool::open(SpoolParts {
        disk: Arc::clone(opening.disk),
        clock: Arc::clone(opening.clock),
        random: Arc::clone(opening.random),
        dir: opening.dir.to_owned(),
        bounds: SpoolBounds::new(opening.settings.spool.bytes_max),
        destinations: marks.collect(),
    })?;
    if found.is_damaged {
        tracing::warn!(path = %opening.dir.display(), "the spool was damaged; what it lost is read again as far as its sources still hold it");
    }
    if found.batches > 0 {
        tracing::info!(
            batches = found.batches,
            entries = found.entries,
            "the spool holds entries from before; pushing them first"
        );
    }
    // What others wait for was counted when the first one had it.
    let replayed = spool.backlogs().next().unwrap_or_default().entries;
    metrics.entries_replayed.inc_by(replayed);
    metrics.entries_waiting.inc_by(i64::try_from(replayed).unwrap_or(i64::MAX));
    let named = destinations.iter().enumerate();
    let counts = named.map(|(number, destination)| metrics.destination(&destination.name, number == 0));
    Ok(SharedSpool::new(spool, metrics.clone(), counts.collect()))
}
