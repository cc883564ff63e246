//! Fluent's forward protocol, as Fluentd, Fluent Bit and Docker's log driver `fluentd` send it.
//!
//! A sender that asks for acknowledgements gets one when everything of its chunk is in the spool, so nothing is lost. It
//! sends a chunk again when the acknowledgement did not reach it: chunks that were spooled lately are known, and
//! acknowledged without taking them twice. Without acknowledgements a sender is read no faster than entries get to
//! the spool. Lines that come in parts are joined; see `forward_parts`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use logyard_model::LabelSet;
use logyard_pipeline::label_name_of;
use logyard_sys::Disk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::Error;
use crate::forward_event::{Event, Field, Record, parse};
use crate::forward_key::{NotIn, SharedKey, Strangers};
use crate::forward_parts::{OpenLine, Part, Parts};
use crate::listen_tls::{self, Secured};
use crate::log_join::without_line_end;
use crate::msgpack::Ends;
use crate::receive_tcp::{self, Door};
use crate::received::{Arrived, Closed, JobSettings, Lane, ReceiveJob, Receiving, SentAt};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::ForwardSettings;
use crate::spool_shared::{stopped, stopped_within};

const READ_BYTES: usize = 64 << 10;
/// Fields that hold the line, the first that is there.
const LINE_FIELDS: [&str; 3] = ["log", "message", "msg"];
/// Fields of Docker's driver that are labels, or tell of parts of a line.
const NO_METADATA: [&str; 6] =
    ["container_name", "source", "partial_message", "partial_id", "partial_ordinal", "partial_last"];
/// Most fields that become structured metadata.
const METADATA_MAX: usize = 64;
/// Chunks remembered after they were spooled.
const CHUNKS_KNOWN_MAX: usize = 4_096;
/// Longest id of a chunk; Fluentd's have 24 bytes.
const CHUNK_ID_BYTES_MAX: usize = 256;
/// Longest id of a line in parts; Docker's have 64 bytes.
const PART_ID_BYTES_MAX: usize = 256;
/// Longest wait for a sender that reads no acknowledgements.
const ACK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Silence after which a connection has nothing more to give to an agent that stops.
const LAST_BYTES_WAIT: Duration = Duration::from_millis(20);

/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &ForwardSettings) -> JobSettings<'_> {
    JobSettings {
        job: "forward",
        paths: ["forward.relabel", "forward.stages"],
        labels: &settings.labels,
        default_labels: settings.default_labels,
        takes_labels: settings.default_labels,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Returns the name of the receiver.
pub(crate) fn name(settings: &ForwardSettings) -> String {
    format!("forward tcp {}", settings.listen)
}

/// What the connections of a port share.
#[derive(Clone, Debug)]
struct Rules {
    takes_sent_time: bool,
    chunk_bytes_max: usize,
    idle_max: Option<Duration>,
    key: Option<SharedKey>,
    strangers: Arc<Strangers>,
    known: Arc<Mutex<KnownChunks>>,
}

/// Chunks that are spooled, by sender and id, the oldest first.
#[derive(Debug, Default)]
struct KnownChunks(VecDeque<(IpAddr, Vec<u8>)>);

/// Opens the port and reads it until the agent stops. Errors name the setting.
pub(crate) async fn start(
    settings: &ForwardSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    (disk, lines): (&dyn Disk, Arc<Parts>),
) -> Result<JoinHandle<()>, Error> {
    let tls = listen_tls::acceptor("forward.tls", &settings.tls, disk)?;
    let key = SharedKey::read(&settings.shared_key_file, &parts.staging.random, disk)?;
    let listener = parts.ports.tcp("forward.listen", &settings.listen).await?;
    let name = name(settings);
    parts.board.name_target(TargetKind::Receiver, &name, &name, job.shown_labels());
    parts.board.set_state(&name, TargetState::Follow, "");
    let rules = Rules {
        takes_sent_time: settings.use_incoming_timestamp,
        chunk_bytes_max: settings.chunk_bytes_max as usize,
        key,
        idle_max: (settings.idle_secs > 0).then(|| Duration::from_secs(settings.idle_secs)),
        strangers: Arc::default(),
        known: Arc::default(),
    };
    let door = Door {
        name: "forward",
        fault: "forward_connection",
        connections_max: settings.connections_max as usize,
        tls,
        metrics: parts.metrics.clone(),
        stop: parts.stop.clone(),
    };
    let parts = parts.clone();
    lines.opened(&job);
    let accepting = receive_tcp::accept_all(listener, door, move |stream, peer| {
        let stop = parts.stop.clone();
        let mut connection = Connection {
            rules: rules.clone(),
            peer: peer.ip().to_canonical(),
            lane: Lane::new(&job, &parts),
            job: Arc::clone(&job),
            owner: lines.new_owner(),
            lines: Arc::clone(&lines),
            held: Vec::new(),
            ends: Ends::new(),
        };
        async move { connection.run(stream, stop).await }
    });
    Ok(tokio::spawn(accepting))
}

/// Hands over lines that nobody goes on with, as long as the agent runs: also those of ports that are closed since.
/// `unknown` has the labels and stages of those whose port is not known.
pub(crate) async fn hand_over_forgotten(lines: Arc<Parts>, unknown: Arc<ReceiveJob>, receiving: Receiving) {
    let owner = lines.new_owner();
    let mut stop = receiving.stop.clone();
    while !stopped_within(&mut stop, lines.forgotten_in()).await {
        let forgotten = lines.take_forgotten(owner);
        let ended = match forgotten.is_empty() {
            // What could not be written before.
            true => keep(&lines).await,
            false => {
                for (job, open) in forgotten {
                    let mut lane = Lane::new(job.as_ref().unwrap_or(&unknown), &receiving);
                    push(&mut lane, open);
                    // A closed way is told of below.
                    drop(lane.flush(true, None).await);
                }
                spool_all(&mut Lane::new(&unknown, &receiving), &lines, owner).await
            }
        };
        if let Err(reason) = ended {
            tracing::debug!(reason, "the file with parts of lines is not up to date");
        }
    }
}

/// Hands everything over, and waits until it is in the spool and the parts of lines that go on are on disk.
async fn spool_all(lane: &mut Lane, lines: &Parts, owner: u64) -> Result<(), String> {
    let (spooled, seen) = oneshot::channel();
    let flushed = lane.flush(true, Some(spooled)).await;
    if flushed.is_err() || seen.await.is_err() {
        return Err("the agent stops".to_owned());
    }
    lines.spooled(owner);
    keep(lines).await
}

async fn keep(lines: &Parts) -> Result<(), String> {
    lines.keep().await.map_err(|error| format!("cannot keep parts of lines: {error}"))
}

/// One connection.
struct Connection {
    rules: Rules,
    peer: IpAddr,
    lane: Lane,
    job: Arc<ReceiveJob>,
    lines: Arc<Parts>,
    /// This connection among those that send parts.
    owner: u64,
    held: Vec<u8>,
    ends: Ends,
}

impl Connection {
    /// Reads to the end of the connection. Errors: why it was left before.
    async fn run(&mut self, mut stream: Secured, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        if let Some(key) = &self.rules.key {
            let shaken = tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                shaken = key.shake(&mut stream) => shaken,
            };
            match shaken {
                Ok(()) => {}
                Err(NotIn::Left(reason)) => return Err(reason),
                Err(NotIn::Stranger(reason)) => {
                    self.lane.metrics().refused("forward_shared_key", 1);
                    self.rules.strangers.tell(self.peer, reason);
                    return Ok(());
                }
            }
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut is_stopping = false;
        let mut result = Ok(());
        loop {
            let due = self.lane.due_in();
            let wait = match is_stopping {
                true => Some(LAST_BYTES_WAIT),
                false => self.rules.idle_max.into_iter().chain(due).min(),
            };
            let read = tokio::select! {
                biased;
                () = stopped(&mut stop), if !is_stopping => {
                    is_stopping = true;
                    continue;
                }
                read = read_within(&mut stream, &mut buffer, wait) => read,
            };
            let count = match read {
                Some(Ok(count)) if count > 0 => count,
                // A stage wants to let go of something.
                None if !is_stopping && due.is_some() && wait == due => {
                    if self.lane.flush(false, None).await == Err(Closed) {
                        return Ok(());
                    }
                    continue;
                }
                _ => break,
            };
            result = self.take(&mut stream, buffer.get(..count).unwrap_or_default()).await;
            if result.is_err() {
                break;
            }
        }
        // The others wait for the sender's next connection.
        for open in self.lines.take_unpromised(self.owner) {
            push(&mut self.lane, open);
        }
        if self.lines.is_leaving(self.owner) {
            return result.and(spool_all(&mut self.lane, &self.lines, self.owner).await);
        }
        // Nobody is left to tell when the agent is at its end.
        drop(self.lane.flush(true, None).await);
        result
    }

    /// Takes the next bytes, and answers for the chunks that they complete.
    async fn take(&mut self, stream: &mut Secured, bytes: &[u8]) -> Result<(), String> {
        self.held.extend_from_slice(bytes);
        let mut held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        let mut fault = None;
        loop {
            let length = match self.ends.find(rest) {
                Ok(Some(length)) => length,
                Ok(None) if rest.len() > self.rules.chunk_bytes_max => {
                    fault = Some(format!(
                        "a message is longer than {} bytes; raise agent.forward.chunk_bytes_max",
                        self.rules.chunk_bytes_max
                    ));
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    fault = Some(error.to_string());
                    break;
                }
            };
            self.ends = Ends::new();
            let (message, after) = rest.split_at(length);
            rest = after;
            match self.message(message) {
                Ok(chunk) => chunks.extend(chunk),
                Err(error) => {
                    self.lane.metrics().refused("forward_event", 1);
                    fault = Some(error);
                    break;
                }
            }
            if self.lane.is_full() && self.lane.flush(false, None).await == Err(Closed) {
                return Err("the agent stops".to_owned());
            }
        }
        let taken = held.len() - rest.len();
        held.drain(..taken);
        self.held = held;
        self.settle(stream, chunks).await?;
        fault.map_or(Ok(()), Err)
    }

    /// Hands everything over, and acknowledges chunks once it is spooled.
    async fn settle(&mut self, stream: &mut Secured, chunks: Vec<Vec<u8>>) -> Result<(), String> {
        if !chunks.is_empty() {
            // Lines of which parts came are on disk before those are acknowledged.
            for open in self.lines.promise(self.owner) {
                push(&mut self.lane, open);
            }
        } else if !self.lines.is_leaving(self.owner) {
            // A closed way means that the agent stops; the connection ends with it.
            return self.lane.flush(false, None).await.map_err(|_| "the agent stops".to_owned());
        }
        spool_all(&mut self.lane, &self.lines, self.owner).await?;
        if chunks.is_empty() {
            return Ok(());
        }
        let mut acks = Vec::new();
        for chunk in chunks {
            acks.extend_from_slice(&[0x81, 0xa3]);
            acks.extend_from_slice(b"ack");
            let length = u16::try_from(chunk.len()).unwrap_or_default();
            acks.push(0xda);
            acks.extend_from_slice(&length.to_be_bytes());
            acks.extend_from_slice(&chunk);
            self.rules.known.lock().unwrap_or_else(PoisonError::into_inner).add(self.peer, chunk);
        }
        let written = async {
            stream.write_all(&acks).await?;
            stream.flush().await
        };
        match timeout(ACK_WAIT_MAX, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("cannot acknowledge: {error}")),
            Err(_) => Err("it reads no acknowledgements".to_owned()),
        }
    }

    /// Takes a whole message; returns the chunk to acknowledge. Errors: why it cannot be read.
    fn message(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let event = parse(bytes, self.rules.chunk_bytes_max).map_err(|fault| fault.to_string())?;
        let Some(event) = event else { return Ok(None) };
        let chunk = event.chunk.map(<[u8]>::to_vec);
        if let Some(chunk) = &chunk {
            if chunk.len() > CHUNK_ID_BYTES_MAX {
                return Err(format!("the id of a chunk is longer than {CHUNK_ID_BYTES_MAX} bytes"));
            }
            if self.rules.known.lock().unwrap_or_else(PoisonError::into_inner).has(self.peer, chunk) {
                self.lane.metrics().repeats_suppressed.inc();
                return Ok(Some(chunk.clone()));
            }
        }
        let Self { rules, peer, lane, lines, owner, .. } = self;
        event
            .each(lane.line_bytes_max(), &mut |record| {
                take(rules, *peer, &event, &record, lane, (lines, *owner));
            })
            .map_err(|fault| fault.to_string())?;
        Ok(chunk)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lines.leave(self.owner, &self.job);
    }
}

impl KnownChunks {
    fn has(&self, peer: IpAddr, chunk: &[u8]) -> bool {
        self.0.iter().any(|(own, id)| *own == peer && id == chunk)
    }

    fn add(&mut self, peer: IpAddr, chunk: Vec<u8>) {
        if self.has(peer, &chunk) {
            return;
        }
        if self.0.len() == CHUNKS_KNOWN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((peer, chunk));
    }
}

async fn read_within(
    stream: &mut Secured,
    buffer: &mut [u8],
    wait: Option<Duration>,
) -> Option<std::io::Result<usize>> {
    match wait {
        Some(wait) => timeout(wait, stream.read(buffer)).await.ok(),
        None => Some(stream.read(buffer).await),
    }
}

/// Makes an entry of a record, or a part of one.
fn take(
    rules: &Rules,
    peer: IpAddr,
    event: &Event<'_>,
    record: &Record<'_>,
    lane: &mut Lane,
    (lines, owner): (&Parts, u64),
) {
    let line_field = LINE_FIELDS.into_iter().find(|name| matches!(record.get(name), Some(Field::Bytes(_))));
    let line = match line_field.and_then(|name| record.get(name)) {
        Some(Field::Bytes(bytes)) => without_line_end(bytes).to_vec(),
        _ => record.json(lane.line_bytes_max()).into_bytes(),
    };
    let at = match record.sent_ns {
        Some(ns) if rules.takes_sent_time => SentAt::Coarse(ns),
        _ => SentAt::Unknown,
    };
    let part = record.get("partial_id").map(|id| id.text().into_owned());
    let is_last = record.get("partial_last").is_none_or(|last| last.text() != "false");
    let open = |line| OpenLine {
        labels: labels(peer, event, record),
        metadata: line_field.map(|name| metadata(event, record, name)).unwrap_or_default(),
        at,
        line,
        cut_bytes: 0,
        ordinal: 0,
    };
    let Some(id) = part.filter(|id| id.len() <= PART_ID_BYTES_MAX) else {
        push(lane, open(line));
        return;
    };
    let ordinal = record.get("partial_ordinal").and_then(|ordinal| ordinal.text().parse().ok());
    let part = Part { bytes: &line, is_last, ordinal };
    for whole in lines.add(owner, (peer, id), part, lane.line_bytes_max(), || open(Vec::new())) {
        push(lane, whole);
    }
}

fn push(lane: &mut Lane, open: OpenLine) {
    let OpenLine { labels, metadata, at, line, cut_bytes, .. } = open;
    lane.push(Arrived { labels, at, line: &line, cut_bytes, metadata });
}

fn labels(peer: IpAddr, event: &Event<'_>, record: &Record<'_>) -> LabelSet {
    let mut labels = LabelSet::default();
    if !peer.is_loopback() {
        labels.insert("host", peer.to_string());
    }
    if let Some(name) = record.get("container_name") {
        labels.insert("container", name.text().trim_start_matches('/'));
        if let Some(output) = record.get("source") {
            labels.insert("stream", &*output.text());
        }
    }
    labels.insert("__forward_tag", &*event.tag);
    labels.insert("__forward_connection_ip_address", peer.to_string());
    for (name, field) in record.fields.iter().filter(|(name, _)| !LINE_FIELDS.contains(&&**name)) {
        labels.insert(label_name_of(&format!("__forward_record_{name}")), &*field.text());
    }
    labels
}

/// Returns the tag, and the fields of a record besides its line.
fn metadata(event: &Event<'_>, record: &Record<'_>, line_field: &str) -> LabelSet {
    let mut metadata = LabelSet::default();
    if !event.tag.is_empty() {
        metadata.insert("tag", &*event.tag);
    }
    let fields =
        record.fields.iter().filter(|(name, _)| name != line_field && !NO_METADATA.contains(&&**name));
    for (name, field) in fields.take(METADATA_MAX) {
        let text = field.text();
        if !text.is_empty() {
            metadata.insert(label_name_of(name), &*text);
        }
    }
    metadata
}

#[cfg(test)]
mod tests;
