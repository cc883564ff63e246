//! Calls of a store, and live tails.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Longest time of a call: a debug build on a busy machine may need it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A push that is refused for now is tried again after this, and so often.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const RETRIES_MAX: u64 = 3000;

/// Calls one store, over connections that it keeps. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        Self { agent: config.build().new_agent(), address }
    }

    /// Gets a path, and returns how long that took to the last byte, and the bytes. Panics at a refusal.
    pub(crate) fn get(&self, path: &str) -> (Duration, Vec<u8>) {
        let begun = Instant::now();
        let answer = self.agent.get(format!("http://{}{path}", self.address)).call();
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec().unwrap();
        let took = begun.elapsed();
        assert!(status == 200, "{path}: {status} {}", String::from_utf8_lossy(&body));
        (took, body)
    }

    /// Posts nothing to a path. Panics at a refusal.
    pub(crate) fn post(&self, path: &str) {
        let answer = self.agent.post(format!("http://{}{path}", self.address)).send_empty().unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Pushes a body until it is taken, and returns how long that took, and how often it was told to come again.
    /// Panics if it is refused for good.
    pub(crate) fn push(&self, content_type: &str, body: &[u8]) -> (Duration, u64) {
        let begun = Instant::now();
        let address = format!("http://{}/loki/api/v1/push", self.address);
        for retries in 0..RETRIES_MAX {
            let mut answer =
                self.agent.post(&address).header("Content-Type", content_type).send(body).unwrap();
            match answer.status().as_u16() {
                204 => return (begun.elapsed(), retries),
                429 | 503 => std::thread::sleep(RETRY_AFTER),
                status => panic!("push refused: {status} {}", answer.body_mut().read_to_string().unwrap()),
            }
        }
        panic!("push not taken after {:?}", begun.elapsed());
    }
}

/// Opens a live tail of a query.
pub(crate) async fn tail(address: SocketAddr, query: &str) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{address}/loki/api/v1/tail?query={}", escaped(query));
    let connection = TcpStream::connect(address).await.unwrap();
    client_async(url, connection).await.unwrap().0
}

/// Returns a text as an address holds it.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "%{byte:02X}").unwrap();
        escaped
    })
}
