//! Syslog over TCP and UDP, RFC 5424 and RFC 3164.
//!
//! Syslog has no acknowledgements: over TCP a sender is read no faster than entries get to the spool, over UDP what
//! does not fit is counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use logyard_model::LabelSet;
use logyard_pipeline::label_name_of;
use logyard_sys::Disk;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::listen_tls;
use crate::receive_tcp::{self, Door, Protocol};
use crate::receive_udp::{self, Datagrams};
use crate::received::{Arrived, JobSettings, Lane, ReceiveJob, Receiving, SentAt};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::{SyslogFormat, SyslogSettings, Transport};
use crate::syslog_frames::{SyslogFrame, SyslogFrames, without_end};
use crate::syslog_message::{Dialect, SyslogMessage, parse};

/// How messages become entries.
#[derive(Clone, Debug)]
struct Rules {
    dialect: Dialect,
    zone: TimeZone,
    takes_sent_time: bool,
    labels_data: bool,
    keeps_whole: bool,
    message_bytes_max: usize,
}

/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &SyslogSettings) -> JobSettings<'_> {
    JobSettings {
        job: "syslog",
        paths: ["syslog.relabel", "syslog.stages"],
        labels: &settings.labels,
        default_labels: settings.default_labels,
        takes_labels: settings.default_labels,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Returns the name of the receiver.
pub(crate) fn name(settings: &SyslogSettings) -> String {
    format!("syslog {} {}", settings.protocol.as_str(), settings.listen)
}

/// Opens the port and reads it until the agent stops. Errors name the setting.
pub(crate) async fn start(
    settings: &SyslogSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    disk: Arc<dyn Disk>,
) -> Result<JoinHandle<()>, Error> {
    let rules = Rules::compile(settings)?;
    let name = name(settings);
    parts.board.name_target(TargetKind::Receiver, &name, &name, job.shown_labels());
    parts.board.set_state(&name, TargetState::Follow, "");
    let stop = parts.stop.clone();
    if settings.protocol == Transport::Udp {
        let socket = parts.ports.udp("syslog.listen", &settings.listen)?;
        let lane = Lane::new(&job, parts);
        return Ok(tokio::spawn(receive_udp::run(socket, disk, lane, SyslogDatagrams { rules }, stop)));
    }
    let tls = listen_tls::acceptor("syslog.tls", &settings.tls, &*disk)?;
    let listener = parts.ports.tcp("syslog.listen", &settings.listen).await?;
    let door = Door {
        name: "syslog",
        fault: "syslog_framing",
        connections_max: settings.connections_max as usize,
        tls,
        metrics: parts.metrics.clone(),
        stop: stop.clone(),
    };
    let idle_max = (settings.idle_secs > 0).then(|| Duration::from_secs(settings.idle_secs));
    let parts = parts.clone();
    Ok(tokio::spawn(receive_tcp::accept_all(listener, door, move |mut stream, peer| {
        let (mut lane, stop) = (Lane::new(&job, &parts), parts.stop.clone());
        let mut connection = SyslogConnection::new(rules.clone(), peer.ip());
        async move { receive_tcp::read_all(&mut stream, &mut connection, &mut lane, idle_max, stop).await }
    })))
}

/// Errors: a time zone that nobody knows.
pub(crate) fn check(settings: &SyslogSettings) -> Result<(), Error> {
    Rules::compile(settings).map(drop)
}

impl Rules {
    fn compile(settings: &SyslogSettings) -> Result<Self, Error> {
        let zone = match settings.time_zone.as_str() {
            "" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|_| Error::Setting {
                setting: "syslog.time_zone",
                reason: format!("{name:?} is no time zone; use a name such as Europe/Berlin"),
            })?,
        };
        Ok(Self {
            dialect: match settings.format {
                SyslogFormat::Auto => Dialect::Auto,
                SyslogFormat::Rfc5424 => Dialect::Rfc5424,
                SyslogFormat::Rfc3164 => Dialect::Rfc3164,
            },
            zone,
            takes_sent_time: settings.use_incoming_timestamp,
            labels_data: settings.label_structured_data,
            keeps_whole: settings.keep_header,
            message_bytes_max: settings.message_bytes_max as usize,
        })
    }

    /// Makes an entry of a message.
    fn take(&self, frame: SyslogFrame<'_>, peer: IpAddr, lane: &mut Lane) {
        let message = parse(frame.bytes, self.dialect, &self.zone, lane.now_ns());
        if message.text.is_empty() && message.data.is_empty() && !self.keeps_whole {
            lane.metrics().discarded("empty", 1);
            return;
        }
        let fault = message.fault.or((!frame.is_whole).then_some("its connection ended before it did"));
        if fault.is_some() {
            lane.metrics().refused("syslog_partly", 1);
        }
        lane.push(Arrived {
            labels: self.labels(&message, peer),
            at: match message.sent_ns {
                Some(ns) if self.takes_sent_time => SentAt::Coarse(ns),
                _ => SentAt::Unknown,
            },
            line: if self.keeps_whole { frame.bytes } else { message.text },
            cut_bytes: frame.cut_bytes,
            metadata: metadata(&message, fault),
        });
    }

    fn labels(&self, message: &SyslogMessage<'_>, peer: IpAddr) -> LabelSet {
        let peer = peer.to_canonical().to_string();
        let mut labels = LabelSet::default();
        labels.insert("host", message.hostname.unwrap_or(&peer));
        let known = [
            ("app", message.app_name),
            ("__syslog_connection_ip_address", Some(&*peer)),
            // Names of addresses are not asked for: an answer may take seconds, and anybody may give it.
            ("__syslog_connection_hostname", Some(&*peer)),
            ("__syslog_message_severity", message.severity),
            ("__syslog_message_facility", message.facility),
            ("__syslog_message_hostname", message.hostname),
            ("__syslog_message_app_name", message.app_name),
            ("__syslog_message_proc_id", message.proc_id),
            ("__syslog_message_msg_id", message.msg_id),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                labels.insert(name, value);
            }
        }
        if self.labels_data {
            for (id, name, value) in &message.data {
                labels.insert(label_name_of(&format!("__syslog_message_sd_{id}_{name}")), &**value);
            }
        }
        labels
    }
}

/// Returns what is known of a message besides its line.
fn metadata(message: &SyslogMessage<'_>, fault: Option<&str>) -> LabelSet {
    let mut metadata = LabelSet::default();
    let known = [
        ("severity", message.severity),
        ("facility", message.facility),
        ("proc_id", message.proc_id),
        ("msg_id", message.msg_id),
        ("syslog_error", fault),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            metadata.insert(name, value);
        }
    }
    for (id, name, value) in &message.data {
        metadata.insert(label_name_of(&format!("sd_{id}_{name}")), &**value);
    }
    metadata
}

/// One connection.
struct SyslogConnection {
    frames: SyslogFrames,
    rules: Rules,
    peer: IpAddr,
}

impl SyslogConnection {
    fn new(rules: Rules, peer: IpAddr) -> Self {
        Self { frames: SyslogFrames::new(rules.message_bytes_max), rules, peer }
    }
}

impl Protocol for SyslogConnection {
    fn feed(&mut self, bytes: &[u8], lane: &mut Lane) -> Result<(), String> {
        let Self { frames, rules, peer } = self;
        frames.feed(bytes, &mut |frame| rules.take(frame, *peer, lane)).map_err(|fault| fault.to_string())
    }

    fn finish(&mut self, lane: &mut Lane) {
        let Self { frames, rules, peer } = self;
        frames.finish(&mut |frame| rules.take(frame, *peer, lane));
    }
}

/// One socket: a datagram is a message.
struct SyslogDatagrams {
    rules: Rules,
}

impl Datagrams for SyslogDatagrams {
    fn take(&mut self, bytes: &[u8], peer: IpAddr, lane: &mut Lane) {
        let text = without_end(bytes);
        let kept = text.get(..self.rules.message_bytes_max).unwrap_or(text);
        if !kept.is_empty() {
            let frame = SyslogFrame { bytes: kept, cut_bytes: text.len() - kept.len(), is_whole: true };
            self.rules.take(frame, peer, lane);
        }
    }

    fn tick(&mut self, _: &mut Lane) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::{Rig, rig, rows};
    use logyard_sys::RealDisk;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpStream, UdpSocket};

    fn settings(json: &str) -> SyslogSettings {
        serde_json::from_str(json).unwrap()
    }

    fn taken(settings: &SyslogSettings, messages: &[&str]) -> (Rig, Vec<(String, i64, String, String)>) {
        let mut rig = rig(job_settings(settings));
        let rules = Rules::compile(settings).unwrap();
        for message in messages {
            let frame = SyslogFrame { bytes: message.as_bytes(), cut_bytes: 0, is_whole: true };
            rules.take(frame, "::ffff:192.0.2.7".parse().unwrap(), &mut rig.lane);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(rig.lane.flush(true, None)).unwrap();
        let rows = rows(&mut rig.pieces);
        (rig, rows)
    }

    const FULL: &str = r#"<165>1 2023-11-14T22:13:15Z web1 nginx 8710 ID47 [a@1 k="v"] hello"#;

    #[test]
    fn entries_of_messages() {
        let (rig, rows) = taken(&settings("{}"), &[FULL, "<13>gibberish", "<13>1 - h a - - -"]);
        let mut rows = rows;
        rows.sort_by(|a, b| a.2.cmp(&b.2));
        assert_eq!(rows.len(), 2);
        assert_eq!((&*rows[0].0, &*rows[0].2), (r#"{host="192.0.2.7", job="syslog"}"#, "gibberish"));
        assert!(rows[0].3.contains(r#"syslog_error="it has no time"#), "{}", rows[0].3);
        let (labels, ns, line, metadata) = &rows[1];
        assert_eq!(
            (&**labels, *ns),
            (r#"{app="nginx", host="web1", job="syslog"}"#, 1_699_999_995_000_000_000)
        );
        assert_eq!(line, "hello");
        let want = r#"{facility="local4", msg_id="ID47", proc_id="8710", sd_a_1_k="v", severity="notice"}"#;
        assert_eq!(metadata, want);
        assert_eq!(rig.parts.metrics.entries_read.get(), 1, "the empty one is counted as discarded");
    }

    #[test]
    fn labels_for_rules_as_promtail_has_them() {
        let settings = settings(
            r#"{"default_labels": false, "use_incoming_timestamp": false, "label_structured_data": true,
                "keep_header": true, "labels": {"job": "net"}, "relabel": [
                {"regex": "__syslog_(.*)", "action": "labelmap"}]}"#,
        );
        let (_, rows) = taken(&settings, &[FULL]);
        let want = concat!(
            r#"{connection_hostname="192.0.2.7", connection_ip_address="192.0.2.7", job="net", "#,
            r#"message_app_name="nginx", message_facility="local4", message_hostname="web1", message_msg_id="ID47", "#,
            r#"message_proc_id="8710", message_sd_a_1_k="v", message_severity="notice"}"#
        );
        assert_eq!(rows, [(want.to_owned(), 1_700_000_000_000_000_000, FULL.to_owned(), "{}".to_owned())]);
    }

    async fn address_of(listener: &str) -> (SyslogSettings, String) {
        // A port that was free a moment ago.
        let free = TcpStreamListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        (settings(&format!(r#"{{"listen": "{free}", "protocol": "{listener}"}}"#)), free)
    }

    use tokio::net::TcpListener as TcpStreamListener;

    #[tokio::test]
    async fn connections_are_read_to_their_end_when_the_agent_stops() {
        let (settings, address) = address_of("tcp").await;
        let mut rig = rig(job_settings(&settings));
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"<13>1 - h a - - - one\n21 <13>1 - h a - - - two").await.unwrap();
        let mut bad = TcpStream::connect(&address).await.unwrap();
        bad.write_all(b"<13>1 - h a - - - three\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut lines = Vec::new();
        while lines.len() < 3 {
            let piece = rig.pieces.recv().await.unwrap();
            for (_, entries) in &piece.chunks {
                lines.extend(
                    (0..entries.len()).map(|row| String::from_utf8_lossy(entries.line(row)).into_owned()),
                );
            }
        }
        stream.write_all(b"<13>1 - h a - - - four").await.unwrap();
        rig.stop.send_replace(true);
        task.await.unwrap();
        lines.extend(rows(&mut rig.pieces).into_iter().map(|row| row.2));
        lines.sort();
        assert_eq!(lines, ["four", "one", "three", "two"]);
        let error = receive_tcp::bind("syslog.listen", "256.0.0.1:1").await.unwrap_err().to_string();
        assert!(error.starts_with("cannot use setting agent.syslog.listen: cannot listen on 256"), "{error}");
    }

    #[tokio::test]
    async fn connections_may_be_secured() {
        let (mut settings, address) = address_of("tcp").await;
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [cert_file, key_file] =
            ["cert", "key"].map(|name| folder.path().join(name).display().to_string());
        RealDisk.write_atomic(cert_file.as_ref(), made.cert.pem().as_bytes()).unwrap();
        RealDisk.write_atomic(key_file.as_ref(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        settings.tls.cert_file = cert_file;
        settings.tls.key_file = "/none".to_owned();
        let mut rig = rig(job_settings(&settings));
        let error = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap_err();
        assert!(error.to_string().contains("agent.syslog.tls: key_file /none"), "{error}");
        settings.tls.key_file = key_file;
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap();
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = tokio_rustls::rustls::crypto::ring::default_provider();
        let config = tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(&address).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(b"<13>1 - h a - - - secret\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut plain = TcpStream::connect(&address).await.unwrap();
        plain.write_all(b"<13>1 - h a - - - open\n").await.unwrap();
        let piece = rig.pieces.recv().await.unwrap();
        assert_eq!(piece.chunks[0].1.line(0), b"secret");
        drop(plain);
        rig.stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(rows(&mut rig.pieces), [], "nothing is taken from a connection without TLS");
    }

    #[tokio::test]
    async fn datagrams_are_messages() {
        let (settings, address) = address_of("udp").await;
        let mut rig = rig(job_settings(&settings));
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, Arc::new(RealDisk)).await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for message in ["<13>1 - h a - - - one\n", "<13>Oct 11 22:14:15 h a: two\0", "\n"] {
            socket.send_to(message.as_bytes(), &address).await.unwrap();
        }
        // On this machine datagrams are there once they are sent.
        rig.stop.send_replace(true);
        task.await.unwrap();
        let mut lines: Vec<String> = rows(&mut rig.pieces).into_iter().map(|row| row.2).collect();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }
}
