//! Connections of clients that are slow, silent or gone. Time is the runtime's own and runs by itself whenever
//! both sides wait: what takes a minute here takes none.

use super::*;
use axum::http::StatusCode;
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection, as its client has it, and what it waits for.
struct Client {
    socket: DuplexStream,
    serving: JoinHandle<()>,
    begun: Instant,
    stop: watch::Sender<bool>,
}

impl Client {
    /// Connects; at most `room` bytes are between the two sides, each way.
    fn connect(room: usize) -> Self {
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            .route("/large", get(|| async { vec![b'x'; 1 << 20] }))
            .route("/refuse", post(|| async { (StatusCode::FORBIDDEN, "no") }))
            .route(
                "/read",
                post(|body: Body| async {
                    match body.collect().await {
                        Ok(body) => body.to_bytes().len().to_string(),
                        Err(error) => crate::error::HttpError::of_body(&error).text().to_owned(),
                    }
                }),
            );
        let (socket, io) = duplex(room);
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve_connection(io, router, Door::Front, stopping));
        Self { socket, serving, begun: Instant::now(), stop }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Reads until the answer ends as given.
    async fn read_to(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.socket.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.extend(byte);
        }
        String::from_utf8(answer).unwrap()
    }

    /// Waits for the end that the server makes, and returns when it came.
    async fn ended_after(self) -> Duration {
        self.serving.await.unwrap();
        self.begun.elapsed()
    }
}

fn about(wait: Duration) -> std::ops::Range<Duration> {
    wait..wait + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection() {
    let mut client = Client::connect(1024);
    assert_eq!(client.socket.read(&mut [0]).await.unwrap(), 0);
    assert!(about(HEAD_WAIT_MAX).contains(&client.ended_after().await));
}

#[tokio::test(start_paused = true)]
async fn a_head_in_drops_does_not_hold_a_connection() {
    let mut client = Client::connect(1024);
    for byte in GET.iter().take(20) {
        // The server is gone some time.
        if client.socket.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    client.serving.await.unwrap();
    let mut rest = String::new();
    client.socket.read_to_string(&mut rest).await.unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    assert!(client.begun.elapsed() < Duration::from_secs(75));
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_waits_as_long_for_its_next_request() {
    let mut client = Client::connect(1024);
    tokio::time::sleep(Duration::from_secs(50)).await;
    client.send(GET).await;
    client.read_to("hello").await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    client.send(GET).await;
    client.read_to("hello").await;
    let waits = Duration::from_secs(100) + HEAD_WAIT_MAX;
    assert!(about(waits).contains(&client.ended_after().await));
}

#[tokio::test(start_paused = true)]
async fn a_body_must_keep_coming() {
    let head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let mut slow = Client::connect(1024);
    slow.send(head).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        slow.send(b"x").await;
    }
    let answer = slow.read_to("\r\n\r\n10").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let mut stuck = Client::connect(1024);
    stuck.send(head).await;
    stuck.send(b"xxx").await;
    stuck.read_to("request body did not arrive in time").await;
    assert!(about(BODY_PAUSE_MAX).contains(&stuck.begun.elapsed()));
    // What is left of the body is waited for a little, then the connection is over.
    assert!(about(BODY_PAUSE_MAX + LINGER_WAIT_MAX).contains(&stuck.ended_after().await));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_answer_is_let_go() {
    let mut client = Client::connect(4096);
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (mut socket, begun) = (client.socket, client.begun);
    // Some of it is read after a while: the wait begins anew with each byte that moves.
    tokio::time::sleep(Duration::from_secs(40)).await;
    socket.read_exact(&mut [0; 4096]).await.unwrap();
    client.serving.await.unwrap();
    assert!(about(Duration::from_secs(40) + WRITE_WAIT_MAX).contains(&begun.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_refused_request_is_thrown_away_for_a_while() {
    let head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let mut polite = Client::connect(4096);
    polite.send(head).await;
    polite.send(&[b'x'; 1_000_000]).await;
    polite.socket.shutdown().await.unwrap();
    let mut answer = String::new();
    polite.socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("no"), "{answer}");
    assert!(polite.ended_after().await < Duration::from_secs(1));
    let mut stuck = Client::connect(4096);
    stuck.send(head).await;
    stuck.read_to("no").await;
    assert!(about(LINGER_WAIT_MAX).contains(&stuck.ended_after().await));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_idle_ends_at_once_when_the_server_stops() {
    let mut client = Client::connect(1024);
    client.send(GET).await;
    client.read_to("hello").await;
    client.stop.send_replace(true);
    assert!(client.ended_after().await < Duration::from_secs(1));
}

/// A transport that cannot say good-bye, as TLS to a client that reads nothing.
#[derive(Debug)]
struct Mute;

impl AsyncRead for Mute {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Mute {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_bye_that_nobody_reads_is_let_go() {
    let begun = Instant::now();
    let mut io = Careful::new(Mute, Unread::default());
    let ended = tokio::time::timeout(2 * WRITE_WAIT_MAX, io.shutdown()).await;
    assert_eq!(ended.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(about(WRITE_WAIT_MAX).contains(&begun.elapsed()));
}
