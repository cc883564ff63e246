//! GELF over UDP and TCP, as Docker's log driver `gelf` and Graylog's libraries send it.
//!
//! There are no acknowledgements: over TCP a sender is read no faster than entries get to the spool, over UDP what does
//! not fit is counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use logyard_model::LabelSet;
use logyard_pipeline::label_name_of;
use logyard_sys::Disk;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::gelf_message::{Chunks, GelfFault, GelfMessage, unpack};
use crate::listen_tls;
use crate::receive_tcp::{self, Door, Protocol};
use crate::receive_udp::{self, Datagrams};
use crate::received::{Arrived, JobSettings, Lane, ReceiveJob, Receiving, SentAt};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::{GelfSettings, Transport};

/// Fields that are no structured metadata: they are line, time, label or nothing of interest.
const NO_METADATA: [&str; 9] = [
    "version",
    "host",
    "short_message",
    "full_message",
    "timestamp",
    "level",
    "_container_name",
    "_image_name",
    "_id",
];
/// Most fields of a message that become structured metadata.
const METADATA_MAX: usize = 64;

/// How messages become entries.
#[derive(Clone, Debug)]
struct Rules {
    takes_sent_time: bool,
    keeps_json: bool,
    message_bytes_max: usize,
}

/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &GelfSettings) -> JobSettings<'_> {
    JobSettings {
        job: "gelf",
        paths: ["gelf.relabel", "gelf.stages"],
        labels: &settings.labels,
        default_labels: settings.default_labels,
        takes_labels: settings.default_labels,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Returns the name of the receiver.
pub(crate) fn name(settings: &GelfSettings) -> String {
    format!("gelf {} {}", settings.protocol.as_str(), settings.listen)
}

/// Opens the port and reads it until the agent stops. Errors name the setting.
pub(crate) async fn start(
    settings: &GelfSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    disk: Arc<dyn Disk>,
) -> Result<JoinHandle<()>, Error> {
    let rules = Rules {
        takes_sent_time: settings.use_incoming_timestamp,
        keeps_json: settings.keep_json,
        message_bytes_max: settings.message_bytes_max as usize,
    };
    let name = name(settings);
    parts.board.name_target(TargetKind::Receiver, &name, &name, job.shown_labels());
    parts.board.set_state(&name, TargetState::Follow, "");
    let stop = parts.stop.clone();
    if settings.protocol == Transport::Udp {
        let socket = parts.ports.udp("gelf.listen", &settings.listen)?;
        let reader = GelfDatagrams {
            chunks: Chunks::new(rules.message_bytes_max),
            rules,
            clock: Arc::clone(&parts.clock),
        };
        return Ok(tokio::spawn(receive_udp::run(socket, disk, Lane::new(&job, parts), reader, stop)));
    }
    let tls = listen_tls::acceptor("gelf.tls", &settings.tls, &*disk)?;
    let listener = parts.ports.tcp("gelf.listen", &settings.listen).await?;
    let door = Door {
        name: "gelf",
        fault: "gelf_connection",
        connections_max: settings.connections_max as usize,
        tls,
        metrics: parts.metrics.clone(),
        stop: stop.clone(),
    };
    let idle_max = (settings.idle_secs > 0).then(|| Duration::from_secs(settings.idle_secs));
    let parts = parts.clone();
    Ok(tokio::spawn(receive_tcp::accept_all(listener, door, move |mut stream, peer| {
        let (mut lane, stop) = (Lane::new(&job, &parts), parts.stop.clone());
        let mut connection =
            GelfConnection { rules: rules.clone(), peer: peer.ip(), held: Vec::new(), is_too_long: false };
        async move { receive_tcp::read_all(&mut stream, &mut connection, &mut lane, idle_max, stop).await }
    })))
}

impl Rules {
    /// Makes an entry of a message that may be packed.
    fn take(&self, bytes: &[u8], peer: IpAddr, lane: &mut Lane) {
        let taken = unpack(bytes, self.message_bytes_max).and_then(|text| {
            let message = GelfMessage::parse(&text)?;
            let line = if self.keeps_json { text } else { message.line().into_owned().into_bytes().into() };
            if line.is_empty() {
                lane.metrics().discarded("empty", 1);
                return Ok(());
            }
            lane.push(Arrived {
                labels: labels(&message, peer),
                at: match message.sent_ns() {
                    Some(ns) if self.takes_sent_time => SentAt::Coarse(ns),
                    _ => SentAt::Unknown,
                },
                line: &line,
                cut_bytes: 0,
                metadata: metadata(&message),
            });
            Ok(())
        });
        if let Err(fault) = taken {
            refuse(fault, lane);
        }
    }
}

fn refuse(fault: GelfFault, lane: &Lane) {
    lane.metrics().refused(fault.as_str(), 1);
}

fn labels(message: &GelfMessage, peer: IpAddr) -> LabelSet {
    let peer = peer.to_canonical().to_string();
    let host = message.text("host").filter(|host| !host.is_empty());
    let mut labels = LabelSet::default();
    labels.insert("host", host.as_deref().unwrap_or(&peer));
    let level = message.level();
    if let Some(container) = message.text("_container_name") {
        labels.insert("container", container.trim_start_matches('/'));
        // Docker's driver tells the outputs apart by level alone.
        match level {
            Some(6) => labels.insert("stream", "stdout"),
            Some(3) => labels.insert("stream", "stderr"),
            _ => {}
        }
    }
    let known = [
        ("image", message.text("_image_name")),
        ("__gelf_message_host", host),
        ("__gelf_message_version", message.text("version")),
        ("__gelf_message_facility", message.text("facility")),
        ("__gelf_message_level", level.and_then(level_name).map(Into::into)),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            labels.insert(name, &*value);
        }
    }
    for (name, _) in message.fields.iter().filter(|(name, _)| name.starts_with('_')) {
        if let Some(value) = message.text(name) {
            labels.insert(label_name_of(&format!("__gelf_message_{name}")), &*value);
        }
    }
    labels
}

/// Returns what is known of a message besides its line: additional fields without their underscore.
fn metadata(message: &GelfMessage) -> LabelSet {
    let mut metadata = LabelSet::default();
    // Of a container the level is that of its output, not of its line.
    if !message.fields.contains_key("_container_name")
        && let Some(level) = message.level().and_then(level_name)
    {
        metadata.insert("severity", level);
    }
    let fields = message.fields.iter().filter(|(name, _)| !NO_METADATA.contains(&name.as_str()));
    for (name, _) in fields.take(METADATA_MAX) {
        let plain = label_name_of(name.strip_prefix('_').unwrap_or(name));
        if let Some(value) = message.text(name).filter(|value| !value.is_empty()) {
            metadata.insert(plain, &*value);
        }
    }
    metadata
}

/// Names of syslog's severities.
const LEVELS: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

fn level_name(level: u64) -> Option<&'static str> {
    LEVELS.get(usize::try_from(level).ok()?).copied()
}

/// One socket.
struct GelfDatagrams {
    chunks: Chunks<IpAddr>,
    rules: Rules,
    clock: Arc<dyn logyard_sys::Clock>,
}

impl Datagrams for GelfDatagrams {
    fn take(&mut self, bytes: &[u8], peer: IpAddr, lane: &mut Lane) {
        match self.chunks.take(bytes, peer, self.clock.monotonic_ns()) {
            Ok(Some(message)) => self.rules.take(&message, peer, lane),
            Ok(None) => {}
            Err(fault) => refuse(fault, lane),
        }
    }

    fn tick(&mut self, lane: &mut Lane) {
        let late = self.chunks.expire(self.clock.monotonic_ns());
        if late > 0 {
            lane.metrics().dropped(GelfFault::Incomplete.as_str(), late);
        }
    }
}

/// One connection: messages end with a zero and are not packed.
struct GelfConnection {
    rules: Rules,
    peer: IpAddr,
    held: Vec<u8>,
    is_too_long: bool,
}

impl Protocol for GelfConnection {
    fn feed(&mut self, bytes: &[u8], lane: &mut Lane) -> Result<(), String> {
        for piece in bytes.split_inclusive(|byte| *byte == 0) {
            self.held.extend_from_slice(piece);
            if piece.ends_with(&[0]) {
                self.finish(lane);
            } else if self.held.len() > self.rules.message_bytes_max {
                // The rest of it is passed over.
                self.is_too_long = true;
                self.held.clear();
            }
        }
        Ok(())
    }

    fn finish(&mut self, lane: &mut Lane) {
        let held = std::mem::take(&mut self.held);
        let text = held.strip_suffix(&[0]).unwrap_or(&held);
        if std::mem::take(&mut self.is_too_long) {
            refuse(GelfFault::TooLong, lane);
        } else if text.iter().any(|byte| !byte.is_ascii_whitespace()) {
            self.rules.take(text, self.peer, lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::{rig, rows};
    use logyard_sys::RealDisk;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpStream, UdpSocket};

    async fn settings(protocol: &str, more: &str) -> GelfSettings {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap();
        serde_json::from_str(&format!(r#"{{"listen": "{free}", "protocol": "{protocol}"{more}}}"#)).unwrap()
    }

    const DOCKER: &str = r#"{"version":"1.1","host":"nas","short_message":"hello","timestamp":1699999999.5,"level":3,"_container_id":"ab","_container_name":"/web","_image_name":"nginx:1","_tag":"ab","_site":"home"}"#;

    #[tokio::test]
    async fn datagrams_of_docker() {
        let settings = settings("udp", "").await;
        let mut rig = rig(job_settings(&settings));
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let chunk =
            |number: u8, data: &[u8]| [&[0x1e, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, number, 2], data].concat();
        let (front, back) = DOCKER.as_bytes().split_at(50);
        for datagram in [DOCKER.as_bytes(), b"nonsense", &chunk(1, back), &chunk(0, front)] {
            socket.send_to(datagram, &settings.listen).await.unwrap();
        }
        rig.stop.send_replace(true);
        task.await.unwrap();
        let rows = rows(&mut rig.pieces);
        let labels = r#"{container="web", host="nas", image="nginx:1", job="gelf", stream="stderr"}"#;
        let metadata = r#"{container_id="ab", site="home", tag="ab"}"#;
        let ns = 1_699_999_999_500_000_000;
        let want = [ns, ns + 1].map(|ns| (labels.to_owned(), ns, "hello".to_owned(), metadata.to_owned()));
        assert_eq!(rows, want);
        assert_eq!(
            rig.parts
                .metrics
                .messages_refused
                .get_or_create(&crate::metrics::Reason { reason: "gelf_not_json".into() })
                .get(),
            1
        );
    }

    #[tokio::test]
    async fn connections_and_labels_for_rules() {
        let settings = settings(
            "tcp",
            r#", "default_labels": false, "keep_json": true, "use_incoming_timestamp": false, "message_bytes_max": 1024,
                "relabel": [{"regex": "__gelf_(.*)", "action": "labelmap"}]"#,
        )
        .await;
        let mut rig = rig(job_settings(&settings));
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap();
        let mut stream = TcpStream::connect(&settings.listen).await.unwrap();
        let long = "x".repeat(5_000);
        let text = r#"{"host":"a","short_message":"one","level":6,"_k":"v"}"#;
        stream.write_all(format!("{text}\0\n\0{long}\0{text}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut found = Vec::new();
        while found.len() < 2 {
            let piece = rig.pieces.recv().await.unwrap();
            found.extend(piece.chunks.iter().flat_map(|(labels, entries)| {
                (0..entries.len()).map(|row| (labels.to_string(), entries.line(row).to_vec()))
            }));
        }
        let labels = r#"{message__k="v", message_host="a", message_level="informational"}"#;
        assert_eq!(found, vec![(labels.to_owned(), text.as_bytes().to_vec()); 2]);
        rig.stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(rows(&mut rig.pieces), []);
    }
}
