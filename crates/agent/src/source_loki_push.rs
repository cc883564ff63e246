//! Loki's push API, as Promtail's `loki_push_api` has it: other agents push to this one.
//!
//! A request is answered with 204 once all of it is in the spool; it is decoded whole before anything of it is taken.
//! While the spool is full requests are refused with 429, which senders take as a sign to come again. Bounds: one
//! body, and all bodies at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use logyard_model::LabelSet;
use logyard_pipeline::label_name_of;
use logyard_sys::Disk;
use logyard_wire::body::{Encoding, unpack};
use logyard_wire::{label_text, loki_push};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::Error;
use crate::listen_tls::{self, Secured};
use crate::receive_tcp::{self, Door};
use crate::received::{Arrived, JobSettings, Lane, ReceiveJob, Receiving, SentAt};
use crate::report::{TargetKind, TargetState};
use crate::settings_receive::LokiPushSettings;
use crate::spool_shared::{SharedSpool, stopped};

/// Longest time for the head of a request, and between requests of a connection.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest time for a body to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(120);
/// Bytes of bodies that are read and decoded at once, if one may not be larger.
const ROOM_BYTES: usize = 64 << 20;
/// What a sender is to wait while the spool is full.
const RETRY_AFTER_SECS: u64 = 5;

/// Returns what the settings say about labels and stages.
pub(crate) fn job_settings(settings: &LokiPushSettings) -> JobSettings<'_> {
    JobSettings {
        job: "loki_push",
        paths: ["loki_push.relabel", "loki_push.stages"],
        labels: &settings.labels,
        default_labels: false,
        takes_labels: true,
        relabel: &settings.relabel,
        stages: &settings.stages,
    }
}

/// Returns the name of the receiver.
pub(crate) fn name(settings: &LokiPushSettings) -> String {
    format!("loki push {}", settings.listen)
}

/// What the requests of a port share.
#[derive(Debug)]
struct Port {
    takes_sent_time: bool,
    body_bytes_max: usize,
    room: Arc<Semaphore>,
    job: Arc<ReceiveJob>,
    parts: Receiving,
    spool: SharedSpool,
}

/// Opens the port and answers until the agent stops. Errors name the setting.
pub(crate) async fn start(
    settings: &LokiPushSettings,
    job: Arc<ReceiveJob>,
    parts: &Receiving,
    spool: &SharedSpool,
    disk: &dyn Disk,
) -> Result<JoinHandle<()>, Error> {
    let tls = listen_tls::acceptor("loki_push.tls", &settings.tls, disk)?;
    let listener = parts.ports.tcp("loki_push.listen", &settings.listen).await?;
    let name = name(settings);
    parts.board.name_target(TargetKind::Receiver, &name, &name, job.shown_labels());
    parts.board.set_state(&name, TargetState::Follow, "");
    let body_bytes_max = settings.body_bytes_max as usize;
    let port = Arc::new(Port {
        takes_sent_time: settings.use_incoming_timestamp,
        body_bytes_max,
        room: Arc::new(Semaphore::new(body_bytes_max.max(ROOM_BYTES))),
        job,
        parts: parts.clone(),
        spool: spool.clone(),
    });
    let door = Door {
        name: "loki push",
        fault: "loki_push",
        connections_max: settings.connections_max as usize,
        tls,
        metrics: parts.metrics.clone(),
        stop: parts.stop.clone(),
    };
    Ok(tokio::spawn(receive_tcp::accept_all(listener, door, move |stream, _| {
        let port = Arc::clone(&port);
        async move {
            serve(stream, port).await;
            Ok(())
        }
    })))
}

async fn serve(stream: Secured, port: Arc<Port>) {
    let mut stop: watch::Receiver<bool> = port.parts.stop.clone();
    let service = service_fn(move |request| {
        let port = Arc::clone(&port);
        async move { Ok::<_, Infallible>(port.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection that pushes ended");
            }
            return;
        }
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    // What is being answered is answered yet.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection that pushes ended");
    }
}

/// Why a request is refused.
struct Refusal(StatusCode, String);

impl Port {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = match (request.method(), request.uri().path()) {
            (&Method::POST, "/loki/api/v1/push" | "/api/prom/push") => self.push(request, false).await,
            (&Method::POST, "/promtail/api/v1/raw") => self.push(request, true).await,
            (&Method::GET, "/ready") => return plain(StatusCode::OK, "ready\n".to_owned()),
            (_, path) => Err(Refusal(
                StatusCode::NOT_FOUND,
                format!("nothing is at {path}; push to /loki/api/v1/push or /promtail/api/v1/raw"),
            )),
        };
        match answered {
            Ok(()) => plain(StatusCode::NO_CONTENT, String::new()),
            Err(Refusal(status, text)) => {
                self.parts.metrics.refused("loki_push", 1);
                let mut response = plain(status, format!("{text}\n"));
                if status == StatusCode::TOO_MANY_REQUESTS {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
                }
                response
            }
        }
    }

    async fn push(&self, request: Request<Incoming>, is_raw: bool) -> Result<(), Refusal> {
        if self.spool.is_full().await {
            let text =
                "the spool is full; come again, or raise agent.spool.bytes_max of this agent".to_owned();
            return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, text));
        }
        let (headers, body, _room) = self.read(request).await?;
        let mut lane = Lane::new(&self.job, &self.parts);
        let (spooled, seen) = oneshot::channel();
        let flushed = match is_raw {
            true => self.take_raw(&headers, body, &mut lane).await,
            false => self.take_loki(&headers, body, &mut lane).await,
        };
        // Nothing is held back by stages: what is acknowledged is in the spool.
        flushed?;
        let is_spooled = lane.flush(true, Some(spooled)).await.is_ok() && seen.await.is_ok();
        match is_spooled {
            true => Ok(()),
            false => Err(stopping()),
        }
    }

    /// Reads a body; the permit stands for its bytes, and those that they become.
    async fn read(
        &self,
        request: Request<Incoming>,
    ) -> Result<(HeaderMap, Bytes, OwnedSemaphorePermit), Refusal> {
        let (head, body) = request.into_parts();
        let too_large = || {
            let text = format!(
                "the body is larger than {} bytes; raise agent.loki_push.body_bytes_max",
                self.body_bytes_max
            );
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        let announced = hyper::body::Body::size_hint(&body)
            .exact()
            .map_or(self.body_bytes_max, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if announced > self.body_bytes_max {
            return Err(too_large());
        }
        let permits = u32::try_from(announced).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| stopping())?;
        match timeout(BODY_WAIT_MAX, Limited::new(body, self.body_bytes_max).collect()).await {
            Ok(Ok(collected)) => Ok((head.headers, collected.to_bytes(), room)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Refusal(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}"))),
            Err(_) => {
                Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come within 120 s".to_owned()))
            }
        }
    }

    async fn take_loki(&self, headers: &HeaderMap, body: Bytes, lane: &mut Lane) -> Result<(), Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal(StatusCode::BAD_REQUEST, error.to_string());
        let content_type = text(headers, CONTENT_TYPE);
        let encoding = text(headers, CONTENT_ENCODING).unwrap_or_default();
        let unpacked = loki_push::unpack_push(body, content_type.as_deref(), &encoding, self.body_bytes_max)
            .map_err(|error| bad(&error))?;
        let request = unpacked.decode().map_err(|error| bad(&error))?;
        let mut streams = Vec::with_capacity(request.streams.len());
        for stream in &request.streams {
            let labels = stream_labels(&stream.labels).map_err(|error| bad(&error))?;
            streams.push((labels, &stream.entries));
        }
        for (labels, entries) in streams {
            for entry in entries {
                let metadata = LabelSet::from_pairs(
                    entry.metadata.iter().map(|(name, value)| (label_name_of(name), &**value)),
                );
                lane.push(Arrived {
                    labels: labels.clone(),
                    at: match entry.time.to_ns().filter(|ns| *ns > 0) {
                        Some(ns) if self.takes_sent_time => SentAt::Exact(ns),
                        _ => SentAt::Unknown,
                    },
                    line: entry.line,
                    cut_bytes: 0,
                    metadata,
                });
                if lane.is_full() {
                    lane.flush(false, None).await.map_err(|_| stopping())?;
                }
            }
        }
        Ok(())
    }

    async fn take_raw(&self, headers: &HeaderMap, body: Bytes, lane: &mut Lane) -> Result<(), Refusal> {
        let encoding = text(headers, CONTENT_ENCODING).unwrap_or_default();
        let unpacked = Encoding::from_header(&encoding)
            .and_then(|encoding| unpack(body, encoding, self.body_bytes_max))
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        for line in unpacked.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            lane.push(Arrived {
                labels: LabelSet::default(),
                at: SentAt::Unknown,
                line,
                cut_bytes: 0,
                metadata: LabelSet::default(),
            });
            if lane.is_full() {
                lane.flush(false, None).await.map_err(|_| stopping())?;
            }
        }
        Ok(())
    }
}

fn stopping() -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "the agent stops; come again".to_owned())
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned()).filter(|text| !text.is_empty())
}

/// Reads the labels of a stream.
fn stream_labels(labels: &loki_push::PushLabels<'_>) -> Result<LabelSet, String> {
    let set = match labels {
        loki_push::PushLabels::Text(bytes) => {
            let pairs = label_text::parse(bytes).map_err(|error| error.to_string())?;
            LabelSet::from_pairs(pairs)
        }
        loki_push::PushLabels::Pairs(pairs) => {
            if let Some((name, _)) = pairs.iter().find(|(name, _)| !label_text::is_name(name)) {
                return Err(format!(
                    "{name:?} is no label name; use letters, digits and _, and no digit first"
                ));
            }
            LabelSet::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)))
        }
    };
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::{Rig, rig, rows, shared_spool};
    use logyard_sys::RealDisk;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn started(more: &str) -> (Rig, String, JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap().to_string();
        drop(listener);
        let settings: LokiPushSettings =
            serde_json::from_str(&format!(r#"{{"listen": "{free}"{more}}}"#)).unwrap();
        let rig = rig(job_settings(&settings));
        let spool = shared_spool();
        let task = start(&settings, Arc::clone(&rig.job), &rig.parts, &spool, &RealDisk).await.unwrap();
        (rig, free, task)
    }

    /// Sends a request and returns the answer's first line and text.
    async fn ask(address: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), text.to_owned())
    }

    const PUSH: &str = r#"{"streams": [{"stream": {"app": "a", "__x": "1"}, "values": [["1600000000000000005", "one", {"id": "7"}], ["1600000000000000005", "two"]]}]}"#;

    #[tokio::test]
    async fn a_push_is_answered_once_it_is_spooled() {
        let (mut rig, address, task) = started(
            r#", "labels": {"site": "home"}, "relabel": [{"source_labels": ["__x"], "target_label": "x"}]"#,
        )
        .await;
        let asked = tokio::spawn({
            let address = address.clone();
            async move { ask(&address, "/loki/api/v1/push", PUSH).await }
        });
        let mut piece = rig.pieces.recv().await.unwrap();
        let (labels, entries) = &piece.chunks[0];
        assert_eq!(labels.to_string(), r#"{app="a", site="home", x="1"}"#);
        assert_eq!((entries.ts_ns(), entries.line(0)), (&[1_600_000_000_000_000_005; 2][..], &b"one"[..]));
        assert_eq!(entries.metadata(0).to_string(), r#"{id="7"}"#);
        assert!(!asked.is_finished(), "not before it is spooled");
        piece.spooled.take().unwrap().send(()).unwrap();
        assert_eq!(asked.await.unwrap().0, "HTTP/1.1 204 No Content");
        // One that cannot be spooled is not acknowledged.
        let asked =
            tokio::spawn(async move { ask(&address, "/promtail/api/v1/raw", "three\n\nfour\r\n").await });
        let piece = rig.pieces.recv().await.unwrap();
        let lines: Vec<&[u8]> = (0..2).map(|row| piece.chunks[0].1.line(row)).collect();
        assert_eq!(lines, [b"three", &b"four"[..]]);
        drop(piece);
        assert_eq!(asked.await.unwrap().0, "HTTP/1.1 503 Service Unavailable");
        rig.stop.send_replace(true);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_whole() {
        let (mut rig, address, task) = started(r#", "body_bytes_max": 1024"#).await;
        let long = "x".repeat(2_000);
        for (path, body, status, text) in [
            ("/loki/api/v1/push", "{", "HTTP/1.1 400 Bad Request", ""),
            (
                "/loki/api/v1/push",
                r#"{"streams": [{"stream": {"a": "b"}, "values": [["1", "x"]]}, {"stream": {"9": "b"}, "values": [["1", "x"]]}]}"#,
                "HTTP/1.1 400 Bad Request",
                "is no label name",
            ),
            (
                "/loki/api/v1/push",
                &*long,
                "HTTP/1.1 413 Payload Too Large",
                "raise agent.loki_push.body_bytes_max",
            ),
            ("/other", "x", "HTTP/1.1 404 Not Found", "push to /loki/api/v1/push"),
        ] {
            let (got, answer) = ask(&address, path, body).await;
            assert_eq!(got, status, "{answer}");
            assert!(answer.contains(text), "{answer}");
        }
        rig.stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(rows(&mut rig.pieces), []);
    }
}
