//! What an agent would ship, told instead of shipped.
//!
//! Sources, rules and stages are those of the agent at work, and so are the places where reading begins: the positions in
//! the data folder are read, also beside an agent that runs. Nothing is written, and nothing is sent. Ports are not
//! opened: whoever pushes there would take its entries for delivered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use logyard_codec::encode_batch;
use logyard_model::LabelSet;
use logyard_sys::{Clock, Disk, Random, SimDisk};
use logyard_wal::{log_files, scan_file};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::batch::{PIECES_WAITING_MAX, Piece, SealedBatch};
use crate::error::Error;
use crate::import::{ImportedPositions, import};
use crate::metrics::Metrics;
use crate::pieces::{Handed, Pieces};
use crate::report::Board;
use crate::settings::AgentSettings;
use crate::sources::{Sources, Sourcing, note_failure, take_ports};
use crate::spool::{Spool, SpoolBounds, SpoolParts, spool_dir};
use crate::spool_mark::MarkSettings;
use crate::spool_replay::Replay;
use crate::spool_shared::SharedSpool;
use crate::stage_metrics::StageMetrics;

/// An entry that would be shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryEntry {
    /// Its time, in ns since the Unix epoch.
    pub ts_ns: i64,
    /// Labels of its stream.
    pub labels: Arc<LabelSet>,
    /// Structured metadata.
    pub metadata: LabelSet,
    /// Its line; any bytes.
    pub line: Vec<u8>,
}

/// What it needs from outside.
#[derive(Debug)]
pub struct DryParts {
    /// Holds the files that are read, and the positions.
    pub disk: Arc<dyn Disk>,
    /// Time of entries that bear none.
    pub clock: Arc<dyn Clock>,
    /// For the stage `sampling`.
    pub random: Arc<Random>,
    /// The data folder of the agent.
    pub data_dir: PathBuf,
    /// How far another agent has read; counts while this one has no positions of its own.
    pub imported: ImportedPositions,
    /// Takes the entries. Full: reading waits.
    pub tell: mpsc::Sender<DryEntry>,
}

/// A dry run under way.
#[derive(Debug)]
pub struct DryRun {
    sources: Sources,
    telling: JoinHandle<()>,
    input_seen: watch::Receiver<bool>,
    /// Ends waits for an import.
    _stop: watch::Sender<bool>,
}

impl DryRun {
    /// Starts to read. Returns it with the names of the ports that are left out.
    ///
    /// Errors: settings that cannot be used; positions that cannot be read. Must run inside a tokio runtime.
    pub async fn start(mut settings: AgentSettings, parts: DryParts) -> Result<(Self, Vec<String>), Error> {
        settings.check()?;
        let had_sources = settings.names_sources();
        let left_out = take_ports(&mut settings);
        if had_sources && !settings.names_sources() && !settings.docker.enabled {
            return Err(Error::Setting {
                setting: "files",
                reason: "only ports are named, which a dry run does not open: there is nothing to read"
                    .to_owned(),
            });
        }
        let DryParts { disk, clock, random, data_dir, imported, tell } = parts;
        let metrics = Metrics::default();
        let spool = spool_in_memory(&clock, &random, &metrics)?;
        let (stop, mut stop_seen) = watch::channel(false);
        let positions = read_positions(&*disk, &data_dir.join("agent"))?;
        if !positions.positions.is_empty() {
            spool.append(positions, &mut stop_seen).await;
        }
        import(&imported, &settings.journal, &*disk, &spool, &mut stop_seen).await;
        let (sender, taken) = mpsc::channel(PIECES_WAITING_MAX);
        let board = Board::default();
        let (input_ended, input_seen) = watch::channel(false);
        let sourcing = Sourcing {
            // Not the agent's: one may be at work there.
            dir: data_dir.join("look"),
            disk,
            stage_metrics: StageMetrics::new(Arc::clone(&clock)),
            clock,
            random,
            metrics,
            pieces: Pieces::new(sender, Handed::default(), board.clone()),
            board,
            spool,
            input_ended,
        };
        let telling = tokio::spawn(tell_all(taken, tell));
        let sources = Sources::start(sourcing, settings).await?;
        Ok((Self { sources, telling, input_seen, _stop: stop }, left_out))
    }

    /// Resolves at the end of the standard input, if that is read; all of it is told by then or on its way. Safe to
    /// cancel.
    pub fn input_ended(&self) -> impl Future<Output = ()> + use<> {
        let mut seen = self.input_seen.clone();
        async move {
            if seen.wait_for(|is_ended| *is_ended).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends reading. What was read is told meanwhile; the sender of entries is dropped behind the last.
    pub async fn stop(self) {
        self.sources.stop().await;
        note_failure(self.telling.await);
    }
}

async fn tell_all(mut taken: mpsc::Receiver<Piece>, tell: mpsc::Sender<DryEntry>) {
    while let Some(piece) = taken.recv().await {
        for (labels, entries) in &piece.chunks {
            for row in 0..entries.len() {
                let entry = DryEntry {
                    ts_ns: entries.ts_ns().get(row).copied().unwrap_or_default(),
                    labels: Arc::clone(labels),
                    metadata: LabelSet::from_pairs(entries.metadata(row).iter()),
                    line: entries.line(row).to_vec(),
                };
                if tell.send(entry).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A spool that is never written to but for where reading begins.
fn spool_in_memory(
    clock: &Arc<dyn Clock>,
    random: &Arc<Random>,
    metrics: &Metrics,
) -> Result<SharedSpool, Error> {
    let (spool, _) = Spool::open(SpoolParts {
        disk: Arc::new(SimDisk::new()),
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        dir: PathBuf::from("/"),
        bounds: SpoolBounds::new(1 << 30),
        destinations: MarkSettings::only(),
    })?;
    Ok(SharedSpool::new(spool, metrics.clone(), vec![metrics.destination("", true)]))
}

/// Reads the positions of the spool in an agent's folder, as of its last record. An agent may be at work there.
fn read_positions(disk: &dyn Disk, dir: &Path) -> Result<SealedBatch, Error> {
    let dir = spool_dir(dir);
    let mut replay = Replay::default();
    let is_there = disk.metadata(&dir).map_err(Error::file("look at", &dir))?.is_some();
    let files = if is_there { log_files(disk, &dir).map_err(Error::file("list", &dir))? } else { Vec::new() };
    for (_, path) in files {
        let scanned = scan_file(disk, &path, &mut |record| {
            // One that cannot be read is left out by the agent as well.
            drop(replay.take(record.sequence, record.payload, [0; 16]));
        });
        match scanned {
            Ok(_) => {}
            // Trimmed since it was listed.
            Err(_) if disk.metadata(&path).is_ok_and(|meta| meta.is_none()) => {}
            Err(source) => return Err(Error::Spool { action: "read", path: dir, source }),
        }
    }
    let positions = replay.into_positions().into_iter().map(|(key, stored)| (key, stored.position)).collect();
    Ok(SealedBatch { encoded: Bytes::from(encode_batch(&[])), entries: 0, positions })
}
