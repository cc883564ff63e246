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
use crate::forward_key::SharedKey;
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
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                shaken = key.shake(&mut stream) => shaken?,
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
mod tests {
    use super::*;
    use crate::forward_event::tests::message;
    use crate::forward_key::tests::greet;
    use crate::received::tests::{Rig, rig, rows, shared_spool};
    use crate::settings::AgentSettings;
    use crate::sources::{Sources, Sourcing};
    use crate::stage_metrics::StageMetrics;
    use logyard_sys::SimDisk;
    use std::path::Path;
    use tokio::net::TcpStream;

    async fn started(more: &str) -> (Rig, String, JoinHandle<()>) {
        started_on(more, Arc::new(SimDisk::new())).await
    }

    async fn started_on(more: &str, disk: Arc<dyn Disk>) -> (Rig, String, JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap().to_string();
        drop(listener);
        let settings: ForwardSettings =
            serde_json::from_str(&format!(r#"{{"listen": "{free}"{more}}}"#)).unwrap();
        let rig = rig(job_settings(&settings));
        let lines = Arc::new(Parts::open(Arc::clone(&disk), "/forward-parts".into()));
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, (&*disk, lines)).await.unwrap();
        (rig, free, task)
    }

    const DOCKER: &[(&str, &str)] =
        &[("container_id", "ab"), ("container_name", "/web"), ("source", "stderr"), ("log", "hello\n")];

    #[tokio::test]
    async fn chunks_are_acknowledged_once_spooled_and_taken_once() {
        let (mut rig, address, task) = started("").await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(&[message("x", DOCKER, None), message("app", DOCKER, Some("id"))].concat())
            .await
            .unwrap();
        let mut found = Vec::new();
        let spooled = loop {
            let mut piece = rig.pieces.recv().await.unwrap();
            let spooled = piece.spooled.take();
            for (labels, entries) in &piece.chunks {
                found.extend((0..entries.len()).map(|row| {
                    (labels.to_string(), entries.line(row).to_vec(), entries.metadata(row).to_string())
                }));
            }
            if let Some(spooled) = spooled {
                break spooled;
            }
        };
        let labels = r#"{container="web", host="nas", job="forward", stream="stderr"}"#;
        let row = |tag: &str| {
            (labels.to_owned(), b"hello".to_vec(), format!(r#"{{container_id="ab", tag="{tag}"}}"#))
        };
        assert_eq!(found, [row("x"), row("app")]);
        let mut answer = [0; 10];
        let early = timeout(Duration::from_millis(50), stream.read(&mut answer)).await;
        assert!(early.is_err(), "nothing is acknowledged before it is spooled");
        spooled.send(()).unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
        // The sender did not see it, and sends again over another connection.
        let mut again = TcpStream::connect(&address).await.unwrap();
        again.write_all(&message("app", DOCKER, Some("id"))).await.unwrap();
        let mut piece = rig.pieces.recv().await.unwrap();
        assert!(piece.chunks.is_empty(), "{piece:?}");
        piece.spooled.take().unwrap().send(()).unwrap();
        again.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn parts_are_joined_and_an_open_one_survives_the_end() {
        let (mut rig, address, task) = started("").await;
        let part = |id: &str, last: &str, log: &str| {
            message("t", &[("partial_id", id), ("partial_last", last), ("log", log)], None)
        };
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let other = message("t", &[("level", "warn"), ("n", "1")], None);
        // Once an entry came, the connection is accepted.
        stream.write_all(&other).await.unwrap();
        let first = rig.pieces.recv().await.unwrap();
        assert_eq!(first.chunks[0].1.line(0), br#"{"level":"warn","n":"1"}"#);
        let bytes = [part("1", "false", "a"), part("2", "false", "open"), part("1", "true", "b"), vec![0xc0]];
        stream.write_all(&bytes.concat()).await.unwrap();
        rig.stop.send_replace(true);
        task.await.unwrap();
        let mut lines: Vec<String> = rows(&mut rig.pieces).into_iter().map(|row| row.2).collect();
        lines.sort();
        assert_eq!(lines, ["ab", "open"]);
    }

    /// Answers for all pieces that they are spooled, until one has a line; returns its lines.
    async fn spooled_lines(rig: &mut Rig) -> Vec<Vec<u8>> {
        loop {
            let mut piece = timeout(Duration::from_secs(60), rig.pieces.recv()).await.unwrap().unwrap();
            if let Some(spooled) = piece.spooled.take() {
                spooled.send(()).unwrap();
            }
            let lines = piece.chunks.iter().flat_map(|(_, entries)| {
                (0..entries.len()).map(|row| entries.line(row).to_vec()).collect::<Vec<_>>()
            });
            let lines: Vec<_> = lines.collect();
            if !lines.is_empty() {
                return lines;
            }
        }
    }

    /// A part of a line, to be acknowledged.
    fn part(last: &str, ordinal: &str, log: &str, chunk: &str) -> Vec<u8> {
        let fields =
            [("partial_id", "7"), ("partial_ordinal", ordinal), ("partial_last", last), ("log", log)];
        message("t", &fields, Some(chunk))
    }

    #[tokio::test]
    async fn parts_that_were_acknowledged_outlive_a_crash() {
        let disk = SimDisk::new();
        let (mut rig, address, task) = started_on("", Arc::new(disk.clone())).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut answer = [0; 10];
        // The sender waits for each acknowledgement before it sends the next part, as Docker's driver does.
        for (ordinal, log, chunk) in [("1", "a", "c1"), ("2", "b", "c2")] {
            stream.write_all(&part("false", ordinal, log, chunk)).await.unwrap();
            let mut piece = rig.pieces.recv().await.unwrap();
            assert!(piece.chunks.is_empty());
            piece.spooled.take().unwrap().send(()).unwrap();
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer[8..], chunk.as_bytes());
        }
        task.abort();
        let crashed = disk.crash();
        let (mut rig, address, task) = started_on("", Arc::new(crashed.clone())).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // The last acknowledgement did not reach it.
        let rest = [part("false", "2", "b", "c2"), part("true", "3", "c", "c3")].concat();
        stream.write_all(&rest).await.unwrap();
        assert_eq!(spooled_lines(&mut rig).await, [b"abc"]);
        for _ in 0..2 {
            stream.read_exact(&mut answer).await.unwrap();
        }
        assert_eq!(crashed.metadata(Path::new("/forward-parts")).unwrap(), None, "it is in the spool now");
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    /// Sends a part and answers for what is handed over meanwhile, until the part is acknowledged.
    async fn acknowledged(rig: &mut Rig, stream: &mut TcpStream, part: &[u8]) -> Vec<Vec<u8>> {
        stream.write_all(part).await.unwrap();
        let (mut answer, mut lines) = ([0; 10], Vec::new());
        loop {
            tokio::select! {
                read = stream.read_exact(&mut answer) => {
                    read.unwrap();
                    return lines;
                }
                piece = rig.pieces.recv() => {
                    let mut piece = piece.unwrap();
                    for (_, entries) in &piece.chunks {
                        lines.extend((0..entries.len()).map(|row| entries.line(row).to_vec()));
                    }
                    piece.spooled.take().into_iter().for_each(|spooled| spooled.send(()).unwrap());
                }
            }
        }
    }

    #[tokio::test]
    async fn a_line_goes_on_over_the_next_connection() {
        let (mut rig, address, task) = started("").await;
        for (last, ordinal, log, chunk, want) in [
            ("false", "1", "a", "c1", vec![]),
            ("false", "2", "b", "c2", vec![]),
            ("true", "3", "c", "c3", vec![b"abc".to_vec()]),
        ] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let part = part(last, ordinal, log, chunk);
            assert_eq!(acknowledged(&mut rig, &mut stream, &part).await, want);
        }
        rig.stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(rows(&mut rig.pieces), []);
    }

    #[tokio::test]
    async fn a_part_that_cannot_be_kept_is_not_acknowledged() {
        let disk = SimDisk::new();
        let (mut rig, address, task) = started_on("", Arc::new(disk.clone())).await;
        disk.fail_sync(1);
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&part("false", "1", "a", "c1")).await.unwrap();
        rig.pieces.recv().await.unwrap().spooled.take().unwrap().send(()).unwrap();
        let mut answer = Vec::new();
        drop(timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap());
        assert_eq!(answer, b"", "the connection is left");
        // So the sender sends it again.
        let mut stream = TcpStream::connect(&address).await.unwrap();
        assert!(acknowledged(&mut rig, &mut stream, &part("false", "1", "a", "c1")).await.is_empty());
        let lines = acknowledged(&mut rig, &mut stream, &part("true", "2", "b", "c2")).await;
        assert_eq!(lines, [b"ab"]);
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    /// A line of which a part is acknowledged, in the file.
    async fn kept(disk: &SimDisk, path: &str) -> Arc<Parts> {
        disk.create_dir_all(Path::new("/agent")).unwrap();
        let parts = Arc::new(Parts::open(Arc::new(disk.clone()), path.into()));
        let labels = LabelSet::from_pairs([("container", "web"), ("__forward_tag", "t")]);
        let line = OpenLine {
            labels,
            metadata: LabelSet::default(),
            at: SentAt::Unknown,
            line: Vec::new(),
            cut_bytes: 0,
            ordinal: 0,
        };
        let owner = parts.new_owner();
        let part = Part { bytes: b"abc", is_last: false, ordinal: Some(1) };
        parts.add(owner, ("192.0.2.7".parse().unwrap(), "7".to_owned()), part, 10, || line);
        parts.promise(owner);
        parts.keep().await.unwrap();
        let left = rig(JobSettings { job: "left", ..job_settings(&ForwardSettings::default()) });
        parts.leave(owner, &left.job);
        parts
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_nobody_goes_on_with_is_handed_over() {
        let disk = SimDisk::new();
        let parts = kept(&disk, "/agent/forward-parts").await;
        let mut rig = rig(job_settings(&ForwardSettings::default()));
        let handing = hand_over_forgotten(Arc::clone(&parts), Arc::clone(&rig.job), rig.parts.clone());
        let task = tokio::spawn(handing);
        let piece = rig.pieces.recv().await.unwrap();
        let labels = piece.chunks[0].0.to_string();
        assert_eq!(labels, r#"{container="web", host="nas", job="left"}"#, "those of its port");
        rig.pieces.recv().await.unwrap().spooled.take().unwrap().send(()).unwrap();
        while disk.metadata(Path::new("/agent/forward-parts")).unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_reaches_the_spool_though_there_is_no_port_any_more() {
        let disk = SimDisk::new();
        kept(&disk, "/agent/forward-parts").await;
        let disk = disk.crash();
        let rig = rig(job_settings(&ForwardSettings::default()));
        let (pieces, mut handed) = tokio::sync::mpsc::channel(64);
        let sourcing = Sourcing {
            dir: "/agent".into(),
            disk: Arc::new(disk),
            clock: Arc::clone(&rig.parts.clock),
            random: Arc::clone(&rig.parts.staging.random),
            metrics: rig.parts.metrics.clone(),
            stage_metrics: StageMetrics::new(Arc::clone(&rig.parts.clock)),
            board: rig.parts.board.clone(),
            spool: shared_spool(),
            pieces: pieces.into(),
            input_ended: watch::channel(false).0,
        };
        let mut settings = AgentSettings { host: "nas".to_owned(), ..AgentSettings::default() };
        settings.docker.enabled = false;
        let sources = Sources::start(sourcing, settings).await.unwrap();
        let piece = handed.recv().await.unwrap();
        assert_eq!(piece.chunks[0].0.to_string(), r#"{container="web", host="nas", job="forward"}"#);
        assert_eq!(piece.chunks[0].1.line(0), b"abc");
        drop(handed);
        sources.stop().await;
    }

    #[tokio::test]
    async fn nothing_is_taken_from_who_does_not_know_the_key() {
        let disk = SimDisk::new();
        disk.write_atomic(Path::new("/key"), b"sesame\n").unwrap();
        let (mut rig, address, task) = started_on(r#", "shared_key_file": "/key""#, Arc::new(disk)).await;
        let event = message("app", DOCKER, Some("id"));
        // Without a handshake, with a wrong key, and with the answer to an older nonce.
        let mut bare = TcpStream::connect(&address).await.unwrap();
        bare.write_all(&event).await.unwrap();
        let mut stranger = TcpStream::connect(&address).await.unwrap();
        assert!(!greet(&mut stranger, "open", None).await);
        let mut late = TcpStream::connect(&address).await.unwrap();
        assert!(!greet(&mut late, "sesame", Some([1; 16])).await);
        for stream in [&mut bare, &mut stranger, &mut late] {
            stream.write_all(&event).await.unwrap_or_default();
            let mut answer = Vec::new();
            // Closed, or reset since bytes were left.
            drop(timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap());
        }
        assert_eq!(rows(&mut rig.pieces), []);
        let mut friend = TcpStream::connect(&address).await.unwrap();
        assert!(greet(&mut friend, "sesame", None).await);
        friend.write_all(&event).await.unwrap();
        let mut piece = rig.pieces.recv().await.unwrap();
        assert_eq!(piece.chunks[0].1.line(0), b"hello");
        piece.spooled.take().unwrap().send(()).unwrap();
        let mut answer = [0; 10];
        friend.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x81\xa3ack\xda\x00\x02id");
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_event_ends_the_connection() {
        let (mut rig, address, task) = started(r#", "chunk_bytes_max": 1024"#).await;
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xdb, 0, 1, 0, 0], &[0xc1]] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(&message("t", &[("log", "before")], None)).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.write_all(&[0; 2_000]).await.unwrap_or_default();
            let mut answer = Vec::new();
            // Closed, or reset since bytes were left.
            drop(timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap());
        }
        rig.stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(rows(&mut rig.pieces).len(), 3);
    }
}
