//! Following a query live over a websocket.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use logyard_wire::loki_query::{self, CATEGORIZE_LABELS, ENCODING_FLAGS_HEADER};
use logyard_wire::loki_tail::TailAnswer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::error::Error;
use crate::http::Client;
use crate::tls;

/// Most bytes of one frame: 100 entries of 256 KiB, each byte escaped, is what no store sends in practice.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Longest silence: a store pings every second.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reason of the end that only asks for a new beginning (Loki v3.7.6).
const LASTED_ITS_TIME: &str = "reached tail max duration limit";

/// A log query to follow.
#[derive(Clone, Debug)]
pub struct TailQuery {
    /// LogQL.
    pub query: String,
    /// Entries stored before are sent from here on.
    pub start_ns: i64,
    /// Most entries that were stored before.
    pub limit: usize,
}

/// An open tail. Dropped, it ends.
#[derive(Debug)]
pub struct Tailing {
    socket: WebSocketStream<Box<dyn Transport>>,
}

/// A connection, plain or not.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Transport for T {}

impl Client {
    /// Begins to follow a log query; structured metadata and parsed labels are kept apart from those of the stream.
    ///
    /// Errors: as other calls; `Kind::Invalid` also from a store, or a proxy before it, that has no websockets.
    pub async fn tail(&self, query: &TailQuery) -> Result<Tailing, Error> {
        self.tail_delayed(query, Duration::ZERO).await
    }

    /// Follows as [`Client::tail`]; the store holds entries back for so many whole seconds, to put late ones in order.
    pub async fn tail_delayed(&self, query: &TailQuery, delay: Duration) -> Result<Tailing, Error> {
        if !self.is_direct() {
            return Err(Error::invalid("a live tail does not pass a proxy"));
        }
        let mut url = self.url(&["loki", "api", "v1", "tail"]);
        url.query_pairs_mut()
            .append_pair("query", &query.query)
            .append_pair("start", &query.start_ns.to_string())
            .append_pair("limit", &query.limit.to_string());
        if !delay.is_zero() {
            url.query_pairs_mut().append_pair("delay_for", &delay.as_secs().to_string());
        }
        let address =
            (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or(80));
        let text = url.as_str().replacen("http", "ws", 1);
        let mut request =
            text.into_client_request().map_err(|error| Error::invalid(format!("cannot tail: {error}")))?;
        for (name, value) in self.headers() {
            request.headers_mut().insert(name, value.clone());
        }
        let flags = tungstenite::http::HeaderValue::from_static(CATEGORIZE_LABELS);
        request.headers_mut().insert(ENCODING_FLAGS_HEADER, flags);
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let opened = async {
            // IPv6 addresses stand in brackets in a URL, and without them here.
            let host = address.0.trim_start_matches('[').trim_end_matches(']');
            let connection = self.transport(host, address.1).await.map_err(tungstenite::Error::Io)?;
            client_async_with_config(request, connection, Some(config)).await
        };
        match tokio::time::timeout(self.timeout(), opened).await {
            Ok(Ok((socket, _))) => Ok(Tailing { socket }),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(Error::from_status(response.status().as_u16(), &String::from_utf8_lossy(body), None))
            }
            Ok(Err(error @ tungstenite::Error::Io(_))) => {
                let text = tls::fault(&error).unwrap_or_else(|| error.to_string());
                Err(Error::unavailable(format!("cannot reach {}: {text}", self.base())))
            }
            Ok(Err(error)) => Err(Error::invalid(format!("{} has no live tail: {error}", self.base()))),
            Err(_) => Err(Error::unavailable(format!("{} did not answer in time", self.base()))),
        }
    }

    async fn transport(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Transport>> {
        let plain = TcpStream::connect((host, port)).await?;
        let Some(tls) = self.tls() else { return Ok(Box::new(plain)) };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls.config())).connect(name, plain).await?))
    }
}

impl Tailing {
    /// Waits for the next frame; `None` when the connection is lost or over, to be begun again.
    ///
    /// Errors: `Kind::Limited` with the reason for which the store ended the tail; `Kind::Invalid` for a frame that
    /// is none. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<TailAnswer>, Error> {
        loop {
            match tokio::time::timeout(SILENCE_MAX, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    let answer = loki_query::decode(text.as_bytes());
                    return answer.map(Some).map_err(|error| Error::invalid(error.to_string()));
                }
                Ok(Some(Ok(Message::Close(Some(CloseFrame { reason, .. })))))
                    if !reason.is_empty() && reason.as_str() != LASTED_ITS_TIME =>
                {
                    return Err(Error::limited(format!("the store ended the tail: {reason}")));
                }
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return Ok(None),
                Ok(Some(Ok(_))) => {}
            }
        }
    }
}
