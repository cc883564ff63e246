//! What happens on the socket: refusals reach clients that are still sending.

use super::{NOW_NS, SEC_NS, World, stream, world_with};
use logyard_ingest::IngestSettings;
use logyard_server::ServerSettings;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a port of its own.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    _folder: TempDir,
}

impl Serving {
    pub(crate) async fn start(world: World) -> Self {
        let World { server: Some(server), folder, .. } = world else { panic!("it serves once") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(listener, async move { drop(stopped.await) }));
        Self { address, stop, serving, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn push_head(more: &str) -> String {
    format!("POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}\r\n")
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_on() {
    let limits = IngestSettings { push_body_bytes_max: 1000, ..IngestSettings::default() };
    let serving = Serving::start(world_with(limits, ServerSettings::default()).await).await;
    // More than the buffers of both sides hold, so that a socket closed too early resets the connection.
    let body = vec![b' '; 16 << 20];
    for head in [push_head(&format!("Content-Length: {}\r\n", body.len())), {
        push_head("Transfer-Encoding: chunked\r\n") + &format!("{:x}\r\n", body.len())
    }] {
        let mut socket = serving.connect().await;
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("limits.push_body_bytes_max"), "{answer}");
    }
    serving.stop().await;
}

#[tokio::test]
async fn who_asks_before_sending_is_refused_at_once() {
    let limits = IngestSettings { push_body_bytes_max: 1000, ..IngestSettings::default() };
    let serving = Serving::start(world_with(limits, ServerSettings::default()).await).await;
    let mut socket = serving.connect().await;
    let head = push_head("Expect: 100-continue\r\nContent-Length: 1001\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(socket);
    serving.stop().await;
}

#[tokio::test]
async fn a_body_that_was_read_leaves_the_connection_open() {
    let serving =
        Serving::start(world_with(IngestSettings::default(), ServerSettings::default()).await).await;
    let body = format!("{{\"streams\":[{}]}}", stream(r#"{"app":"k"}"#, &[(NOW_NS - SEC_NS, "x")]));
    let request = push_head(&format!("Content-Length: {}\r\n", body.len())) + &body;
    let mut socket = serving.connect().await;
    for _ in 0..3 {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 204 "), "{}", String::from_utf8_lossy(&answer));
    }
    drop(socket);
    serving.stop().await;
}
